//! sr25519 hotkeys and coldkeys in files, compatible with Substrate's signatures.
//!
//! A key file holds the seed in plain hex: a worker must start unattended, and whoever reads its files can
//! also read its memory. The file is therefore only accepted when nobody but its owner can read it. Keep the
//! coldkey off the training machine. Encrypted files would be a new `version`.

use std::{
    fmt, fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey, PublicKey, Signature};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{journal::write_new, ss58};

/// Substrate signs everything in this context.
const CONTEXT: &[u8] = b"substrate";

/// The version of the file format written by [`Hotkey::save`].
const VERSION: u32 = 1;

/// Nobody but the owner may read or write.
const OWNER_ONLY: u32 = 0o600;

/// Larger than any key file; what is longer is not read.
const MAX_FILE_BYTES: u64 = 16 << 10;

/// An sr25519 key pair. The secret is wiped when dropped and never shown by `Debug`.
#[derive(Clone)]
pub struct Hotkey {
    pair: Keypair,
    seed: Zeroizing<[u8; 32]>,
}

/// A key that owns funds: the same kind of key, kept elsewhere.
pub type Coldkey = Hotkey;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    scheme: String,
    address: String,
    seed: String,
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

impl Hotkey {
    /// A new key from the system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self::of(&MiniSecretKey::generate())
    }

    /// The key of a seed (Substrate's "mini secret"); the same seed always gives the same key.
    #[must_use]
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let secret = MiniSecretKey::from_bytes(&seed).expect("every 32 bytes are a mini secret; qed");
        seed.zeroize();
        Self::of(&secret)
    }

    fn of(secret: &MiniSecretKey) -> Self {
        let pair = secret.expand_to_keypair(ExpansionMode::Ed25519);
        Self { pair, seed: Zeroizing::new(secret.to_bytes()) }
    }

    /// The public key: the account's id on chain.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.pair.public.to_bytes()
    }

    /// The public key as SS58 text.
    #[must_use]
    pub fn address(&self) -> String {
        ss58::encode(&self.public())
    }

    /// The seed, for handing the key to another signer. The caller wipes its copy.
    #[must_use]
    pub fn expose_seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }

    /// Signs a message. Two signatures over the same message differ: sr25519 is randomised.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign_simple(CONTEXT, message).to_bytes()
    }

    /// Writes the key to a new file with mode 0600: complete, or not at all.
    ///
    /// # Errors
    /// [`SaveError::Exists`] rather than overwriting a key; otherwise what the disk says.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        let file = KeyFile {
            version: VERSION,
            scheme: "sr25519".to_owned(),
            address: self.address(),
            seed: hex::encode(*self.seed),
        };
        let text = serde_json::to_vec_pretty(&file).expect("strings and numbers are JSON; qed");
        let text = Zeroizing::new(text);
        write_new(path, &text, OWNER_ONLY).map_err(|cause| match cause.kind() {
            io::ErrorKind::AlreadyExists => SaveError::Exists { path: path.to_owned() },
            _ => SaveError::Io { path: path.to_owned(), cause },
        })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`LoadError`]; in particular a file that others can read is refused.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let text = read_private(path)?;
        let malformed = |cause: String| LoadError::Malformed { path: path.to_owned(), cause };
        // The parser's own message may quote the file, and so the seed.
        let file: KeyFile = serde_json::from_slice(&text)
            .map_err(|error| malformed(format!("line {}, column {}", error.line(), error.column())))?;
        if file.version != VERSION {
            return Err(LoadError::Version { path: path.to_owned(), got: file.version });
        }
        if file.scheme != "sr25519" {
            return Err(malformed(format!("scheme {:?}, expected \"sr25519\"", file.scheme)));
        }
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(file.seed.trim_start_matches("0x"), seed.as_mut_slice())
            .map_err(|_| malformed("the seed is not 64 hex digits".to_owned()))?;
        let key = Self::from_seed(*seed);
        if key.address() != file.address {
            let (path, expected) = (path.to_owned(), file.address.clone());
            return Err(LoadError::Mismatch { path, expected, got: key.address() });
        }
        Ok(key)
    }
}

impl fmt::Debug for Hotkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hotkey").field(&self.address()).finish()
    }
}

/// Whether `signature` over `message` was made by the sr25519 key behind `public`.
#[must_use]
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let (Ok(public), Ok(signature)) = (PublicKey::from_bytes(public), Signature::from_bytes(signature))
    else {
        return false;
    };
    public.verify_simple(CONTEXT, message, &signature).is_ok()
}

/// Reads a file that only its owner can read. Checks the opened file, not the name, so that nobody can
/// exchange it in between.
fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    let io_error = |cause| match cause {
        cause if io::Error::kind(&cause) == io::ErrorKind::NotFound => {
            LoadError::Missing { path: path.to_owned() }
        }
        cause => LoadError::Io { path: path.to_owned(), cause },
    };
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    let file =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(io_error)?;
    let metadata = file.metadata().map_err(io_error)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(LoadError::Exposed { path: path.to_owned(), mode });
    }
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        let cause = format!("not a file of at most {MAX_FILE_BYTES} bytes");
        return Err(LoadError::Malformed { path: path.to_owned(), cause });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0)));
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE_BYTES), &mut text).map_err(io_error)?;
    Ok(text)
}

/// Why a key was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// Something is there already.
    #[error("key file {} exists and is never overwritten; move it away or choose another path", path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The disk failed.
    #[error("cannot write key file {}: {cause}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// Why a key was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No such file.
    #[error("no key file at {}; make one with `keys new --out FILE`", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// Others can read it.
    #[error(
        "key file {} has mode {mode:03o}, so that others can read it; run: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a key file.
    #[error("key file {} cannot be understood: {cause}", path.display())]
    Malformed {
        /// The path.
        path: PathBuf,
        /// What is wrong with it; never a part of the secret.
        cause: String,
    },
    /// Written by a later program.
    #[error("key file {} has version {got}, expected {VERSION}; use the program that wrote it", path.display())]
    Version {
        /// The path.
        path: PathBuf,
        /// Its version.
        got: u32,
    },
    /// The seed does not give the address beside it.
    #[error("key file {} says {expected} but its seed gives {got}; one of them was edited", path.display())]
    Mismatch {
        /// The path.
        path: PathBuf,
        /// The address in the file.
        expected: String,
        /// The address of the seed.
        got: String,
    },
    /// The disk failed.
    #[error("cannot read key file {}: {cause}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

#[cfg(test)]
mod tests {
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
        check(good.replace("\"version\": 1", "\"version\": 2"), "has version 2");
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
    fn debug_shows_the_address_and_not_the_secret() {
        let text = format!("{:?}", alice());
        assert_eq!(text, "Hotkey(\"5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY\")");
    }
}
