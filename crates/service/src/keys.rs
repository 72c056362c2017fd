//! sr25519 hotkeys and coldkeys in files, compatible with Substrate's signatures.
//!
//! A key file is plain or sealed with a passphrase (`sealed`). A plain one lets a worker start unattended:
//! whoever reads its files can also read its memory. Either kind is only accepted when nobody but its owner
//! can read it. Keep the coldkey off the training machine, and seal it. `import` reads keys of other programs,
//! `passphrase` says where passphrases come from.

use std::{
    fmt, fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey, PublicKey, SecretKey, Signature};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{journal::write_new, ss58};

mod import;
mod passphrase;
mod sealed;
#[cfg(test)]
mod tests;

pub use import::ImportError;
pub use passphrase::{chosen, existing, typed, PassphraseError};
use sealed::{seal, OpenError, Sealed};

/// Substrate signs everything in this context.
const CONTEXT: &[u8] = b"substrate";

/// The version of the file format written by [`Hotkey::save`]: the secret in hex.
const PLAIN: u32 = 1;
/// The version written by [`Hotkey::save_sealed`].
const SEALED: u32 = 2;

/// Nobody but the owner may read or write.
const OWNER_ONLY: u32 = 0o600;

/// Larger than any key file; what is longer is not read.
const MAX_FILE_BYTES: u64 = 16 << 10;

/// An sr25519 key pair. The secret is wiped when dropped and never shown by `Debug`.
#[derive(Clone)]
pub struct Hotkey {
    pair: Keypair,
    secret: Secret,
}

/// What the pair is made from, as it is kept.
#[derive(Clone)]
enum Secret {
    /// Substrate's "mini secret".
    Seed(Zeroizing<[u8; 32]>),
    /// The expanded secret in the form of ed25519: all that polkadot-js exports.
    Expanded(Zeroizing<[u8; 64]>),
}

impl Secret {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Seed(seed) => seed.as_slice(),
            Self::Expanded(secret) => secret.as_slice(),
        }
    }
}

/// A key that owns funds: the same kind of key, kept elsewhere.
pub type Coldkey = Hotkey;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    scheme: String,
    address: String,
    /// 64 hex digits of a seed, or 128 of an expanded secret; absent in a sealed file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    seed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
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
        Self { pair, secret: Secret::Seed(Zeroizing::new(secret.to_bytes())) }
    }

    fn expanded(secret: SecretKey) -> Self {
        let bytes = Zeroizing::new(secret.to_ed25519_bytes());
        Self { pair: secret.to_keypair(), secret: Secret::Expanded(bytes) }
    }

    /// The key of what a file holds; `None` for bytes that are no secret.
    fn of_secret(bytes: &[u8]) -> Option<Self> {
        if let Ok(seed) = <[u8; 32]>::try_from(bytes) {
            return Some(Self::from_seed(seed));
        }
        let secret = SecretKey::from_ed25519_bytes(bytes).ok()?;
        Some(Self::expanded(secret))
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

    /// The secret bytes, to derive other secrets from. The caller's copy wipes itself.
    #[must_use]
    pub fn expose_secret(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.secret.bytes().to_vec())
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
        let seed = hex::encode(self.secret.bytes());
        self.write(path, self.file(PLAIN, seed, None))
    }

    /// Writes the key to a new file that only the passphrase opens.
    ///
    /// # Errors
    /// As [`Hotkey::save`].
    pub fn save_sealed(&self, path: &Path, passphrase: &str) -> Result<(), SaveError> {
        let sealed = seal(self.secret.bytes(), &self.address(), passphrase.as_bytes());
        self.write(path, self.file(SEALED, String::new(), Some(sealed)))
    }

    fn file(&self, version: u32, seed: String, sealed: Option<Sealed>) -> KeyFile {
        KeyFile { version, scheme: "sr25519".to_owned(), address: self.address(), seed, sealed }
    }

    fn write(&self, path: &Path, file: KeyFile) -> Result<(), SaveError> {
        let text = serde_json::to_vec_pretty(&file).expect("strings and numbers are JSON; qed");
        let text = Zeroizing::new(text);
        write_new(path, &text, OWNER_ONLY).map_err(|cause| match cause.kind() {
            io::ErrorKind::AlreadyExists => SaveError::Exists { path: path.to_owned() },
            _ => SaveError::Io { path: path.to_owned(), cause },
        })
    }

    /// Reads a key file. For a sealed one the passphrase comes from where [`existing`] finds it.
    ///
    /// # Errors
    /// [`LoadError`]; in particular a file that others can read is refused.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Self::load_with(path, || existing(&path.display().to_string()))
    }

    /// Reads a key file, asking `passphrase` only if it is sealed.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load_with(
        path: &Path,
        passphrase: impl FnOnce() -> Result<Zeroizing<String>, PassphraseError>,
    ) -> Result<Self, LoadError> {
        let text = read_private(path)?;
        let malformed = |cause: String| LoadError::Malformed { path: path.to_owned(), cause };
        // The parser's own message may quote the file, and so the seed.
        let file: KeyFile = serde_json::from_slice(&text)
            .map_err(|error| malformed(format!("line {}, column {}", error.line(), error.column())))?;
        if file.scheme != "sr25519" {
            return Err(malformed(format!("scheme {:?}, expected \"sr25519\"", file.scheme)));
        }
        let secret = match (file.version, &file.sealed) {
            (PLAIN, None) => plain_secret(&file.seed).ok_or_else(|| {
                malformed("the seed is not 64 hex digits, nor 128 of an expanded one".into())
            })?,
            (SEALED, Some(sealed)) => {
                let opened = sealed.open(&file.address, passphrase()?.as_bytes());
                opened.map_err(|error| match error {
                    OpenError::Refused => LoadError::Passphrase { path: path.to_owned() },
                    OpenError::Unsupported => {
                        malformed("sealed in a way that this program does not know".into())
                    }
                })?
            }
            (PLAIN | SEALED, _) => return Err(malformed("its version and its content differ".into())),
            (got, _) => return Err(LoadError::Version { path: path.to_owned(), got }),
        };
        let key = Self::of_secret(&secret).ok_or_else(|| malformed("it holds no sr25519 secret".into()))?;
        if key.address() != file.address {
            let (path, expected) = (path.to_owned(), file.address.clone());
            return Err(LoadError::Mismatch { path, expected, got: key.address() });
        }
        Ok(key)
    }
}

fn plain_secret(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.trim_start_matches("0x");
    let fits = matches!(digits.len(), 64 | 128);
    fits.then(|| hex::decode(digits).ok()).flatten().map(Zeroizing::new)
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
    #[error("key file {} has version {got}, expected {PLAIN} or {SEALED}; use the program that wrote it", path.display())]
    Version {
        /// The path.
        path: PathBuf,
        /// Its version.
        got: u32,
    },
    /// It is sealed, and the passphrase is another one.
    #[error("the passphrase does not open key file {}, or the file was altered", path.display())]
    Passphrase {
        /// The path.
        path: PathBuf,
    },
    /// It is sealed, and there is no passphrase.
    #[error(transparent)]
    NoPassphrase(#[from] PassphraseError),
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
