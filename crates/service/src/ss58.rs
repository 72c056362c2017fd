//! SS58, the text form of public keys: base58 of prefix, key and a checksum.

use blake2::{Blake2b512, Digest};

/// The generic network prefix: keys look the same on every test network.
pub const PREFIX: u8 = 42;

/// What is hashed in front of the content, so that the checksum fits no other format.
const CONTEXT: &[u8] = b"SS58PRE";

/// Bytes of prefix, key and checksum.
const PREFIX_LEN: usize = 1;
const CHECKSUM_LEN: usize = 2;
const LEN: usize = PREFIX_LEN + 32 + CHECKSUM_LEN;

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Ss58Error {
    /// Characters that base58 does not have.
    #[error("address {text:?} is not base58 ({cause}); copy it again")]
    NotBase58 {
        /// As given.
        text: String,
        /// What the decoder says.
        cause: String,
    },
    /// Not the length of a 32-byte key.
    #[error("address {text:?} holds {got} bytes, expected {LEN}; it is cut short or of another kind")]
    Length {
        /// As given.
        text: String,
        /// Decoded bytes.
        got: usize,
    },
    /// An address of another network.
    #[error("address {text:?} has network prefix {got}, expected {PREFIX}; use the generic substrate form")]
    Prefix {
        /// As given.
        text: String,
        /// The prefix found.
        got: u8,
    },
    /// A typing error.
    #[error("address {text:?} has a wrong checksum; a character was mistyped")]
    Checksum {
        /// As given.
        text: String,
    },
}

/// The address of a public key, `5…`.
#[must_use]
pub fn encode(public: &[u8; 32]) -> String {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.push(PREFIX);
    bytes.extend_from_slice(public);
    bytes.extend_from_slice(&checksum(&bytes));
    bs58::encode(bytes).into_string()
}

/// The public key of an address.
///
/// # Errors
/// [`Ss58Error`], naming what is wrong with the text.
pub fn decode(text: &str) -> Result<[u8; 32], Ss58Error> {
    let owned = || text.to_owned();
    let bytes = bs58::decode(text)
        .into_vec()
        .map_err(|error| Ss58Error::NotBase58 { text: owned(), cause: error.to_string() })?;
    let wrong_length = Ss58Error::Length { text: owned(), got: bytes.len() };
    let Some((content, sum)) = bytes.split_last_chunk::<CHECKSUM_LEN>() else { return Err(wrong_length) };
    let Some((prefix, key)) = content.split_first() else { return Err(wrong_length) };
    let Ok(key) = <[u8; 32]>::try_from(key) else { return Err(wrong_length) };
    if *prefix != PREFIX {
        return Err(Ss58Error::Prefix { text: owned(), got: *prefix });
    }
    if checksum(content) != *sum {
        return Err(Ss58Error::Checksum { text: owned() });
    }
    Ok(key)
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = Blake2b512::new().chain_update(CONTEXT).chain_update(content).finalize();
    let mut sum = [0; CHECKSUM_LEN];
    sum.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";

    #[test]
    fn well_known_address_reads_and_writes() {
        let public = decode(ALICE).expect("a real address");
        assert_eq!(hex::encode(public), "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d");
        assert_eq!(encode(&public), ALICE);
    }

    #[test]
    fn each_kind_of_mistake_is_named() {
        let check = |text: &str, expected: &str| {
            let error = decode(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&ALICE.replace("GKutQY", "GKutQZ"), "checksum");
        check("0OIl", "not base58");
        check("", "holds 0 bytes");
        check(&ALICE[..40], "bytes, expected 35");
        // Alice on Polkadot, prefix 0.
        check("15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5", "prefix 0");
    }
}
