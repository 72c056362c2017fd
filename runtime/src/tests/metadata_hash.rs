//! The hash of the metadata, with which a device that signs offline vouches for what it showed.
//!
//! The device decodes a transaction by parts of the metadata that it checks against one root (RFC 78), signs
//! that root with the transaction, and the chain puts its own in its place: if the two differ, so does what was
//! signed. The chain's own is compiled in from `.cargo/config.toml`. Here it is computed from the metadata by
//! the library that wallets use, and the file must hold the same.

use std::{fs, path::PathBuf};

use codec::Decode;
use frame_metadata::RuntimeMetadataPrefixed;
use merkleized_metadata::{generate_metadata_digest, ExtraInfo};
use polkadot_sdk::{
    frame_support::traits::Get,
    sp_genesis_builder::DEV_RUNTIME_PRESET,
    sp_runtime::{
        traits::TransactionExtension,
        transaction_validity::{InvalidTransaction, TransactionValidityError},
    },
};

use super::*;

type Check = frame_metadata_hash_extension::CheckMetadataHash<Runtime>;

/// The hash as a wallet computes it.
fn digest() -> [u8; 32] {
    let metadata = Runtime::metadata_at_version(15).unwrap();
    let metadata = RuntimeMetadataPrefixed::decode(&mut metadata.as_slice()).unwrap().1;
    let extra = ExtraInfo {
        spec_version: VERSION.spec_version,
        spec_name: VERSION.spec_name.to_string(),
        base58_prefix: <Runtime as frame_system::Config>::SS58Prefix::get(),
        decimals: TOKEN_DECIMALS,
        token_symbol: TOKEN_SYMBOL.to_string(),
    };
    generate_metadata_digest(&metadata, extra).unwrap().hash()
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cargo/config.toml")
}

/// The line of the file that holds the hash.
fn line(hash: &[u8; 32]) -> String {
    format!("RUNTIME_METADATA_HASH = {{ value = \"0x{}\", force = true }}", hex::encode(hash))
}

#[test]
fn golden_hash_that_is_compiled_in_is_that_of_the_metadata() {
    let (text, wanted) = (fs::read_to_string(path()).unwrap(), line(&digest()));
    let is_hash = |line: &&str| line.starts_with("RUNTIME_METADATA_HASH");
    assert_eq!(text.lines().filter(is_hash).count(), 1, "one line of .cargo/config.toml names the hash");
    if std::env::var_os("IOTA_BLESS").is_some() {
        let lines: Vec<_> =
            text.lines().map(|own| if is_hash(&own) { wanted.as_str() } else { own }).collect();
        fs::write(path(), lines.join("\n") + "\n").unwrap();
        return;
    }
    let stored = text.lines().find(is_hash).unwrap();
    assert_eq!(stored, wanted, "the metadata changed: bless it (see metadata.rs)");
    assert_eq!(Check::new(true).implicit(), Ok(Some(digest())), "what was compiled in is another hash");
}

/// A remark of Alice whose signature covers what `check` says about the metadata, as it arrives at the chain.
fn remark(check: Check) -> UncheckedExtrinsic {
    let call = RuntimeCall::System(frame_system::Call::remark { remark: b"shown".to_vec() });
    let mut extension = extension(0);
    extension.9 = check;
    let payload = SignedPayload::new(call.clone(), extension.clone()).unwrap();
    let pair = Sr25519Keyring::Alice.pair();
    let signature = MultiSignature::Sr25519(payload.using_encoded(|bytes| pair.sign(bytes)));
    let address = MultiAddress::Id(AccountId::from(pair.public()));
    let sent = UncheckedExtrinsic::new_signed(call, address, signature, extension);
    // Which hash was signed is nowhere in the bytes.
    UncheckedExtrinsic::decode(&mut sent.encode().as_slice()).unwrap()
}

fn on_dev_chain(test: impl FnOnce()) {
    on_chain(DEV_RUNTIME_PRESET, json!([]), || {
        open_block();
        test();
    });
}

#[test]
fn a_transaction_that_names_the_right_hash_or_none_is_accepted() {
    on_dev_chain(|| {
        for check in [Check::new(false), Check::new_with_custom_hash(digest())] {
            hypothetically!({
                let sent = remark(check.clone());
                assert!(ask(sent.clone()).is_ok(), "{check:?}");
                assert_ok!(Executive::apply_extrinsic(sent).unwrap());
            });
        }
    });
}

#[test]
fn a_transaction_that_names_another_hash_was_signed_for_something_else() {
    on_dev_chain(|| {
        let mut other = digest();
        other[31] ^= 1;
        let refused = ask(remark(Check::new_with_custom_hash(other)));
        assert_eq!(refused, Err(TransactionValidityError::Invalid(InvalidTransaction::BadProof)));
        // Neither does the mode change after signing.
        let mut switched = remark(Check::new(false)).encode();
        let at = switched.windows(7).position(|bytes| bytes == [&[0, 0, 20][..], b"show"].concat()).unwrap();
        switched[at - 1] = 1;
        let switched = UncheckedExtrinsic::decode(&mut switched.as_slice()).unwrap();
        assert_eq!(ask(switched), Err(TransactionValidityError::Invalid(InvalidTransaction::BadProof)));
    });
}
