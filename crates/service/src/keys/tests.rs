//! Key files: what they hold, who may read them, and what is refused.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use zeroize::Zeroizing;

use super::*;

const ALICE_SEED: &str = "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";
const ALICE_PUBLIC: &str = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";

fn alice() -> Hotkey {
    let mut seed = [0; 32];
    hex::decode_to_slice(ALICE_SEED, &mut seed).expect("hex");
    Hotkey::from_seed(seed)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
}

#[test]
fn substrate_seed_gives_the_well_known_public_key() {
    assert_eq!(hex::encode(alice().public()), ALICE_PUBLIC);
    assert_eq!(alice().address(), "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY");
}

#[test]
fn signature_holds_for_its_message_and_key_only() {
    let signature = alice().sign(b"receipt");
    assert!(verify(&alice().public(), b"receipt", &signature));
    assert!(!verify(&alice().public(), b"receipts", &signature));
    assert!(!verify(&Hotkey::generate().public(), b"receipt", &signature));
    assert!(!verify(&alice().public(), b"receipt", &[0; 64]));
    assert!(!verify(&[0xff; 32], b"receipt", &signature));
}

#[test]
fn saved_key_loads_again_and_only_its_owner_can_read_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("hotkey.json");
    let key = Hotkey::generate();
    key.save(&path).expect("saved");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(Hotkey::load(&path).expect("loaded").public(), key.public());
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1, "no temporary file stays");
}

#[test]
fn key_file_is_never_overwritten() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("hotkey.json");
    let first = Hotkey::generate();
    first.save(&path).expect("saved");
    let error = Hotkey::generate().save(&path).expect_err("exists");
    assert!(matches!(error, SaveError::Exists { .. }), "{error}");
    assert_eq!(Hotkey::load(&path).expect("loaded").public(), first.public());
}

#[test]
fn key_file_that_others_can_read_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("hotkey.json");
    alice().save(&path).expect("saved");
    for mode in [0o640, 0o604, 0o660, 0o644] {
        set_mode(&path, mode);
        let error = Hotkey::load(&path).expect_err("exposed").to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
    set_mode(&path, 0o400);
    Hotkey::load(&path).expect("stricter is fine");
}

#[test]
fn wrong_key_files_are_named_without_showing_the_seed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("hotkey.json");
    alice().save(&path).expect("saved");
    let good = fs::read_to_string(&path).expect("text");
    let check = |text: String, expected: &str| {
        fs::write(&path, text).expect("own file");
        let error = Hotkey::load(&path).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains(&ALICE_SEED[..8]), "{error}");
    };
    check(String::new(), "cannot be understood");
    check(good.replace("\"version\": 1", "\"version\": 2"), "its content differ");
    check(good.replace("\"version\": 1", "\"version\": 3"), "has version 3");
    check(good.replace("sr25519", "ed25519"), "scheme \"ed25519\"");
    check(good.replace("5Grw", "5Hrw"), "one of them was edited");
    check(good.replace(ALICE_SEED, &ALICE_SEED[..10]), "64 hex digits");
    check(good.replace(&format!("\"{ALICE_SEED}\""), ALICE_SEED), "line 5");
    check("x".repeat(20_000), "at most");
    fs::remove_file(&path).expect("own file");
    let error = Hotkey::load(&path).expect_err("missing").to_string();
    assert!(error.contains("no key file"), "{error}");
}

#[test]
fn sealed_key_opens_with_its_passphrase_only_and_holds_no_secret_in_clear() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("coldkey.json");
    alice().save_sealed(&path, "open sesame").expect("saved");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).expect("text");
    assert!(!text.contains(ALICE_SEED) && text.contains("argon2id"), "{text}");
    let with = |passphrase: &str| {
        let passphrase = Zeroizing::new(passphrase.to_owned());
        Hotkey::load_with(&path, || Ok(passphrase))
    };
    assert_eq!(with("open sesame").expect("opened").public(), alice().public());
    let error = with("open").expect_err("another passphrase").to_string();
    assert!(error.contains("does not open"), "{error}");
    set_mode(&path, 0o644);
    assert!(matches!(with("open sesame"), Err(LoadError::Exposed { .. })), "sealed, and still not for all");
    set_mode(&path, 0o600);
    fs::write(&path, text.replace("5Grw", "5Hrw")).expect("own file");
    assert!(matches!(with("open sesame"), Err(LoadError::Passphrase { .. })), "the address is sealed too");
}

#[test]
fn plain_key_asks_for_no_passphrase_and_an_expanded_one_is_kept_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("hotkey.json");
    let expanded = Hotkey::expanded(alice().pair.secret.clone());
    assert_eq!(expanded.public(), alice().public());
    expanded.save(&path).expect("saved");
    let loaded = Hotkey::load_with(&path, || panic!("asked for a passphrase")).expect("loaded");
    assert!(verify(&alice().public(), b"work", &loaded.sign(b"work")));
}

#[test]
fn debug_shows_the_address_and_not_the_secret() {
    let text = format!("{:?}", alice());
    assert_eq!(text, "Hotkey(\"5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY\")");
}
