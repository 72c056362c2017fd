//! Commands for test networks: a spec from a ceremony, a request to the faucet.

use std::{fs, io::Write, path::Path};

use codec::Encode;
use iota_runtime::{ceremony::Ceremony, requests};

use crate::{
    chain_spec,
    cli::{FaucetRequest, TestnetSpec},
};

impl TestnetSpec {
    /// Writes the spec.
    ///
    /// # Errors
    /// What is wrong with the ceremony, or why a file cannot be read or written.
    pub fn run(&self) -> Result<(), String> {
        let ceremony = read(&self.ceremony)?;
        let spec = chain_spec::of_ceremony(&ceremony)?;
        let json = spec.as_json(false)?;
        let at = |error: std::io::Error| format!("{}: {error}", self.output.display());
        let mut file = fs::File::create_new(&self.output).map_err(at)?;
        file.write_all(json.as_bytes()).map_err(at)?;
        println!("wrote {}; publish its raw form (export-chain-spec --raw)", self.output.display());
        Ok(())
    }
}

fn read(path: &Path) -> Result<Ceremony, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

impl FaucetRequest {
    /// The transaction as hex, for `author_submitExtrinsic`.
    ///
    /// # Errors
    /// The genesis hash is none.
    pub fn transaction(&self) -> Result<String, String> {
        let digits = self.genesis.trim_start_matches("0x");
        let mut genesis = [0u8; 32];
        hex::decode_to_slice(digits, &mut genesis)
            .map_err(|error| format!("--genesis {}: {error}; expected 64 hex digits", self.genesis))?;
        let request = requests::drip(genesis, &self.account, self.last, self.difficulty)
            .ok_or_else(|| format!("no work of {} bits was found", self.difficulty))?;
        Ok(format!("0x{}", hex::encode(request.encode())))
    }
}

#[cfg(test)]
mod tests {
    use iota_runtime::{AccountId, UncheckedExtrinsic};

    use super::*;

    fn request(genesis: &str) -> FaucetRequest {
        FaucetRequest { account: AccountId::new([1; 32]), genesis: genesis.into(), difficulty: 4, last: 0 }
    }

    #[test]
    fn a_request_is_a_transaction_of_the_chain() {
        let text = request(&"00".repeat(32)).transaction().unwrap();
        let bytes = hex::decode(text.trim_start_matches("0x")).unwrap();
        let decoded: UncheckedExtrinsic = codec::Decode::decode(&mut bytes.as_slice()).unwrap();
        assert!(!decoded.is_signed());
    }

    #[test]
    fn a_short_genesis_hash_is_named() {
        let error = request("0x12").transaction().unwrap_err();
        assert!(error.starts_with("--genesis 0x12: "), "{error}");
    }

    #[test]
    fn a_ceremony_that_is_missing_is_named() {
        let command = TestnetSpec { ceremony: "no/such.json".into(), output: "no/out.json".into() };
        let error = command.run().unwrap_err();
        assert!(error.starts_with("no/such.json: "), "{error}");
    }
}
