//! Keys that other programs made: mnemonics and seeds of Substrate, JSON files of polkadot-js, and
//! unencrypted hotkey files of bittensor.
//!
//! Derivation paths (`//hard/soft`) are not supported: a key that needs one has to be exported as a
//! seed by the program that derived it.

use base64::Engine;
use bip39::{Language, Mnemonic};
use poly1305::universal_hash::KeyInit;
use poly1305::Poly1305;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use salsa20::XSalsa20;
use schnorrkel::SecretKey;
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use super::Hotkey;

/// In front of the secret in what polkadot-js seals: PKCS #8 of a key of 64 bytes.
const HEADER: [u8; 16] = [48, 83, 2, 1, 1, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
/// Between secret and public key.
const DIVIDER: [u8; 5] = [161, 35, 3, 33, 0];
/// Salt, then three numbers of four bytes, then the nonce.
const SCRYPT_SALT: usize = 32;
const SCRYPT: usize = SCRYPT_SALT + 12;
const NONCE: usize = 24;
/// Dearest scrypt that is done: 2^20 blocks of 1 KiB are a gigabyte.
const MOST_N: u32 = 1 << 20;
const MOST_P: u32 = 16;
const MOST_R: u32 = 8;

/// Why nothing was imported; never a part of the secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Words that are no mnemonic.
    #[error("that is no mnemonic of BIP 39 in English ({cause}); derivation paths are not supported")]
    Mnemonic {
        /// What the parser says.
        cause: String,
    },
    /// Not a seed.
    #[error("a seed is 64 hex digits; {got} characters were given")]
    Seed {
        /// How many.
        got: usize,
    },
    /// Not such a file.
    #[error("that is no {kind} file that this program reads: {cause}")]
    Format {
        /// Which kind was expected.
        kind: &'static str,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// It does not open.
    #[error("the passphrase does not open it")]
    Passphrase,
    /// The secret gives another address than the file states.
    #[error("the file says {expected} but its secret gives {got}; one of them was edited")]
    Mismatch {
        /// In the file.
        expected: String,
        /// Of the secret.
        got: String,
    },
}

fn format(kind: &'static str, cause: &'static str) -> ImportError {
    ImportError::Format { kind, cause }
}

impl Hotkey {
    /// The key of a mnemonic, as `subkey` and every Substrate wallet make it, without a derivation path.
    ///
    /// # Errors
    /// [`ImportError::Mnemonic`].
    pub fn from_mnemonic(words: &str) -> Result<Self, ImportError> {
        let words = Zeroizing::new(words.split_whitespace().collect::<Vec<_>>().join(" "));
        let wrong = |cause: String| ImportError::Mnemonic { cause };
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &words)
            .map_err(|error| wrong(cause_of(&error).to_owned()))?;
        let entropy = Zeroizing::new(mnemonic.to_entropy());
        let secret = substrate_bip39::mini_secret_from_entropy(&entropy, "")
            .map_err(|_| wrong("its length".into()))?;
        Ok(Self::of(&secret))
    }

    /// The key of a seed in hex, with or without `0x`.
    ///
    /// # Errors
    /// [`ImportError::Seed`].
    pub fn from_hex_seed(text: &str) -> Result<Self, ImportError> {
        let text = text.trim();
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, seed.as_mut_slice())
            .map_err(|_| ImportError::Seed { got: text.chars().count() })?;
        Ok(Self::from_seed(*seed))
    }

    /// The key in a JSON file that polkadot-js or a wallet built on it exported.
    ///
    /// # Errors
    /// [`ImportError::Format`] for other schemes and versions than sr25519 sealed by scrypt and
    /// XSalsa20-Poly1305 or not sealed, `Passphrase`, `Mismatch`.
    pub fn from_polkadot_js(text: &[u8], passphrase: &str) -> Result<Self, ImportError> {
        const KIND: &str = "polkadot-js";
        let file: PolkadotFile = serde_json::from_slice(text).map_err(|_| format(KIND, "not its JSON"))?;
        let has = |list: &[String], wanted: &str| list.iter().any(|each| each == wanted);
        if !has(&file.encoding.content, "sr25519") {
            return Err(format(KIND, "the key is not sr25519"));
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(&file.encoded);
        let bytes = Zeroizing::new(bytes.map_err(|_| format(KIND, "`encoded` is not base64"))?);
        let plain = if has(&file.encoding.kind, "scrypt") && has(&file.encoding.kind, "xsalsa20-poly1305") {
            unseal(&bytes, passphrase)?
        } else if has(&file.encoding.kind, "none") {
            bytes
        } else {
            return Err(format(KIND, "sealed in a way that is not known; export it anew"));
        };
        let secret = plain.strip_prefix(&HEADER).and_then(|rest| rest.split_at_checked(64));
        let (secret, rest) = secret.ok_or_else(|| format(KIND, "no PKCS #8 of 64 bytes"))?;
        if !rest.starts_with(&DIVIDER) {
            return Err(format(KIND, "no public key behind the secret"));
        }
        let secret = SecretKey::from_ed25519_bytes(secret).map_err(|_| format(KIND, "no sr25519 secret"))?;
        Self::expanded(secret).stated(&file.address)
    }

    /// The key in a hotkey file of bittensor that is not encrypted.
    ///
    /// # Errors
    /// [`ImportError::Format`], `Mismatch`.
    pub fn from_bittensor(text: &[u8]) -> Result<Self, ImportError> {
        const KIND: &str = "bittensor hotkey";
        let file: BittensorFile = serde_json::from_slice(text)
            .map_err(|_| format(KIND, "not its JSON; an encrypted one has to be decrypted there first"))?;
        let key = match (&file.seed, &file.phrase) {
            (Some(seed), _) => Self::from_hex_seed(seed)?,
            (None, Some(phrase)) => Self::from_mnemonic(phrase)?,
            (None, None) => return Err(format(KIND, "neither secretSeed nor secretPhrase is in it")),
        };
        key.stated(&file.address)
    }

    /// This key, if it has the address that its file states, in whatever network's form.
    fn stated(self, address: &str) -> Result<Self, ImportError> {
        let key = |text: &str| {
            let bytes = bs58::decode(text).into_vec().ok()?;
            // Prefix of one byte or two, the key, two bytes of checksum.
            let start = bytes.len().checked_sub(34)?;
            bytes.get(start..start + 32).map(<[u8]>::to_vec)
        };
        if key(address).as_deref() == Some(self.public().as_slice()) {
            return Ok(self);
        }
        Err(ImportError::Mismatch { expected: address.to_owned(), got: self.address() })
    }
}

/// The parser's own message quotes the words.
fn cause_of(error: &bip39::Error) -> &'static str {
    match error {
        bip39::Error::BadWordCount(_) => "12, 15, 18, 21 or 24 words",
        bip39::Error::UnknownWord(_) => "a word is not in the list",
        bip39::Error::InvalidChecksum => "a word is wrong or misplaced",
        _ => "unreadable",
    }
}

#[derive(Deserialize)]
struct PolkadotFile {
    encoded: String,
    encoding: Encoding,
    address: String,
}

#[derive(Deserialize)]
struct Encoding {
    content: Vec<String>,
    #[serde(rename = "type")]
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct BittensorFile {
    #[serde(rename = "secretSeed")]
    seed: Option<String>,
    #[serde(rename = "secretPhrase")]
    phrase: Option<String>,
    #[serde(rename = "ss58Address")]
    address: String,
}

impl Drop for BittensorFile {
    fn drop(&mut self) {
        self.seed.zeroize();
        self.phrase.zeroize();
    }
}

/// Opens what polkadot-js sealed.
fn unseal(bytes: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    const KIND: &str = "polkadot-js";
    let short = || format(KIND, "`encoded` is cut short");
    let (head, rest) = bytes.split_at_checked(SCRYPT).ok_or_else(short)?;
    let (nonce, sealed) = rest.split_at_checked(NONCE).ok_or_else(short)?;
    let (salt, numbers) = head.split_at(SCRYPT_SALT);
    let mut numbers = numbers
        .chunks_exact(4)
        .map(|four| four.iter().rev().fold(0u32, |n, byte| (n << 8) | u32::from(*byte)));
    let (Some(n), Some(p), Some(r)) = (numbers.next(), numbers.next(), numbers.next()) else {
        return Err(short());
    };
    if !n.is_power_of_two() || !(2..=MOST_N).contains(&n) || p > MOST_P || r > MOST_R {
        return Err(format(KIND, "costs of scrypt that this program refuses"));
    }
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| short())?;
    let params = scrypt::Params::new(log_n, r, p, 64).map_err(|_| format(KIND, "costs of scrypt"))?;
    let mut key = Zeroizing::new([0; 64]);
    scrypt::scrypt(passphrase.as_bytes(), salt, &params, key.as_mut_slice()).map_err(|_| short())?;
    open_box(&key[..32], nonce, sealed).ok_or(ImportError::Passphrase)
}

/// Opens a box of NaCl: the first 32 bytes of the stream are the key of the tag, which stands in front.
fn open_box(key: &[u8], nonce: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (tag, content) = sealed.split_at_checked(16)?;
    let mut stream = XSalsa20::new_from_slices(key, nonce).ok()?;
    let mut one_time = Zeroizing::new([0; 32]);
    stream.apply_keystream(one_time.as_mut_slice());
    let expected = Poly1305::new_from_slice(one_time.as_slice()).ok()?.compute_unpadded(content);
    // Whoever can time this already holds the file and guesses offline.
    if expected.as_slice() != tag {
        return None;
    }
    let mut opened = Zeroizing::new(content.to_vec());
    stream.apply_keystream(&mut opened);
    Some(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that every Substrate tool knows, and the address that polkadot-js gives them.
    const WORDS: &str = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
    const ADDRESS: &str = "5DfhGyQdFobKM8NsWvEeAKk5EQQgYe9AydgJ7rMB6E1EqRzV";
    /// Both written by @polkadot/keyring from those words; the first sealed with `open sesame`.
    const SEALED: &str = r#"{"encoded":"eJNf9u2bULNPDjrDUKc25lflk3Zn+IFj1zjNSUg0bgAAAAIAAQAAAAgAAAAP2lY55D3ejUpBWeL11izgkTJn1ZmfCc8P8r18dM81LjXbA22/lqPO90Qpb6cyrVu+bZDhzBUeHYpdevUCxS3WQ1c52c5oDKN/0VLTD+30WS6FlLE4WbJbXMVRriYC41cqjNIz6OA9Uo1Pc7RP9yajvMWNMo0CTmAYuP/kD9j7e2w8BEM/oHZS1ZerH+/9rX5cy7Ek9Uknt3YiSTFJ","encoding":{"content":["pkcs8","sr25519"],"type":["scrypt","xsalsa20-poly1305"],"version":"3"},"address":"5DfhGyQdFobKM8NsWvEeAKk5EQQgYe9AydgJ7rMB6E1EqRzV","meta":{"name":"alice-root"}}"#;
    const PLAIN: &str = r#"{"encoded":"MFMCAQEwBQYDK2VwBCIEICiwriIca7BoVrKH9g1+oNmFUupaFtsWlWhJqjcds+tR/RkMznTfNWQytBC9ZGgjCdbe2yfHaEXa84hVfLrDyjShIwMhAEbr3e+M2bsWfcMIeNcRO34Wjm8GRr7/131p05utdrR6","encoding":{"content":["pkcs8","sr25519"],"type":["none"],"version":"3"},"address":"5DfhGyQdFobKM8NsWvEeAKk5EQQgYe9AydgJ7rMB6E1EqRzV","meta":{"name":"alice-root"}}"#;
    const SEED: &str = "0xfac7959dbfe72f052e5a0c3c8d6530f202b02fd8f9f5ca3580ec8deb7797479e";

    #[test]
    fn words_and_their_seed_give_the_key_that_every_wallet_gives() {
        assert_eq!(Hotkey::from_mnemonic(WORDS).unwrap().address(), ADDRESS);
        assert_eq!(
            Hotkey::from_mnemonic(&format!("  {}\n", WORDS.replace(' ', "\n "))).unwrap().address(),
            ADDRESS
        );
        assert_eq!(Hotkey::from_hex_seed(SEED).unwrap().address(), ADDRESS);
        let wrong = |words: &str| Hotkey::from_mnemonic(words).unwrap_err().to_string();
        assert!(wrong("bottom drive").contains("12, 15"));
        assert!(wrong(&WORDS.replace("obey", "walk")).contains("wrong or misplaced"));
        let unknown = wrong(&WORDS.replace("obey", "sesame"));
        assert!(unknown.contains("not in the list") && !unknown.contains("sesame"), "{unknown}");
        assert!(Hotkey::from_hex_seed("0x12").unwrap_err().to_string().contains("64 hex digits"));
    }

    #[test]
    fn an_export_of_polkadot_js_gives_the_same_key_and_its_signatures_hold() {
        for (text, passphrase) in [(SEALED, "open sesame"), (PLAIN, "")] {
            let key = Hotkey::from_polkadot_js(text.as_bytes(), passphrase).unwrap();
            assert_eq!(key.address(), ADDRESS);
            assert!(super::super::verify(&key.public(), b"work", &key.sign(b"work")));
        }
        let refused =
            |text: &str, passphrase: &str| Hotkey::from_polkadot_js(text.as_bytes(), passphrase).unwrap_err();
        assert!(matches!(refused(SEALED, "open"), ImportError::Passphrase));
        let other = SEALED.replace(
            "5DfhGyQdFobKM8NsWvEeAKk5EQQgYe9AydgJ7rMB6E1EqRzV",
            "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
        );
        assert!(matches!(refused(&other, "open sesame"), ImportError::Mismatch { .. }));
        assert!(matches!(refused(&PLAIN.replace("sr25519", "ed25519"), ""), ImportError::Format { .. }));
        assert!(matches!(refused(&PLAIN.replace("MFMC", "MFMD"), ""), ImportError::Format { .. }));
        assert!(matches!(refused(&PLAIN[..40], ""), ImportError::Format { .. }));
        // A cost of 2^31 blocks would need two terabytes.
        let engine = base64::engine::general_purpose::STANDARD;
        let encoded = SEALED.split('"').nth(3).unwrap();
        let mut bytes = engine.decode(encoded).unwrap();
        bytes[SCRYPT_SALT..SCRYPT_SALT + 4].copy_from_slice(&(1u32 << 31).to_le_bytes());
        let dear = SEALED.replace(encoded, &engine.encode(bytes));
        assert!(matches!(refused(&dear, "open sesame"), ImportError::Format { .. }));
    }

    #[test]
    fn a_hotkey_file_of_bittensor_gives_its_key() {
        let with = |secret: &str| {
            format!(r#"{{"accountId":"0x46eb","publicKey":"0x46eb",{secret}"ss58Address":"{ADDRESS}"}}"#)
        };
        let seed = with(&format!(r#""secretPhrase":null,"secretSeed":"{SEED}","#));
        let phrase = with(&format!(r#""secretPhrase":"{WORDS}","secretSeed":null,"#));
        for text in [&seed, &phrase] {
            assert_eq!(Hotkey::from_bittensor(text.as_bytes()).unwrap().address(), ADDRESS);
        }
        let refused = |text: &str| Hotkey::from_bittensor(text.as_bytes()).unwrap_err();
        assert!(matches!(refused(&with("")), ImportError::Format { .. }));
        assert!(matches!(refused("$NACL..."), ImportError::Format { .. }));
        assert!(matches!(refused(&seed.replace("0xfac7", "0xfac8")), ImportError::Mismatch { .. }));
    }
}
