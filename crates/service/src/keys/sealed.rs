//! Key files that a passphrase seals: Argon2id makes the key, ChaCha20-Poly1305 seals the secret.
//!
//! Salt and nonce are new in every file, and with the salt the cipher's key, so that no nonce can repeat. The costs stand in the file, so that they can rise later; a
//! file that asks for absurd ones is refused before any work is done.

use argon2::{Algorithm, Argon2, Params, Version};
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey, CHACHA20_POLY1305};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What a guess costs: 64 MiB three times, a third of a second on one core of 2020. RFC 9106 names these
/// as the second recommendation, with one lane instead of four: a worker's machine is busy.
const COST: Cost = Cost { memory_kib: 64 << 10, passes: 3, lanes: 1 };
/// Dearest file that is opened: a gigabyte, and half a minute.
const DEAREST: Cost = Cost { memory_kib: 1 << 20, passes: 16, lanes: 8 };
/// 128 bits of salt never repeat.
const SALT: usize = 16;
/// Bytes of the cipher's nonce.
const NONCE: usize = ring::aead::NONCE_LEN;
/// Names of what this version uses, in the file.
const KDF: &str = "argon2id";
const CIPHER: &str = "chacha20poly1305";

/// What a guess costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// A sealed secret, as a key file holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    kdf: String,
    cost: Cost,
    salt: String,
    cipher: String,
    nonce: String,
    /// The sealed bytes and their tag, in hex.
    sealed: String,
}

/// Why a secret stays sealed; never a part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OpenError {
    /// Wrong passphrase, or an altered file: the cipher cannot tell which.
    Refused,
    /// Another derivation, cipher, length or cost than this program has.
    Unsupported,
}

/// Seals `secret` for the key with that address, which is sealed with it, so that the parts of two
/// files cannot be put together.
pub(super) fn seal(secret: &[u8], address: &str, passphrase: &[u8]) -> Sealed {
    let (salt, nonce): ([u8; SALT], [u8; NONCE]) = (rand::random(), rand::random());
    let key = derive(passphrase, &salt, COST).expect("the costs above are valid; qed");
    let (nonce_of_file, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(address.as_bytes()));
    let mut sealed = secret.to_vec();
    let done = cipher(&key).seal_in_place_append_tag(nonce_of_file, aad, &mut sealed);
    done.expect("a secret is far shorter than the cipher's limit; qed");
    Sealed {
        kdf: KDF.into(),
        cost: COST,
        salt: hex::encode(salt),
        cipher: CIPHER.into(),
        nonce: hex::encode(nonce),
        sealed: hex::encode(sealed),
    }
}

impl Sealed {
    /// The secret.
    pub(super) fn open(&self, address: &str, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let cheap = self.cost.memory_kib <= DEAREST.memory_kib
            && self.cost.passes <= DEAREST.passes
            && self.cost.lanes <= DEAREST.lanes;
        if self.kdf != KDF || self.cipher != CIPHER || !cheap {
            return Err(OpenError::Unsupported);
        }
        let (mut salt, mut nonce) = ([0; SALT], [0; NONCE]);
        hex::decode_to_slice(&self.salt, &mut salt).map_err(|_| OpenError::Unsupported)?;
        hex::decode_to_slice(&self.nonce, &mut nonce).map_err(|_| OpenError::Unsupported)?;
        let mut opened = Zeroizing::new(hex::decode(&self.sealed).map_err(|_| OpenError::Unsupported)?);
        let key = derive(passphrase, &salt, self.cost).ok_or(OpenError::Unsupported)?;
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(address.as_bytes()));
        let length = match cipher(&key).open_in_place(nonce, aad, &mut opened) {
            Ok(plain) => plain.len(),
            Err(_) => return Err(OpenError::Refused),
        };
        opened.truncate(length);
        Ok(opened)
    }
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the cipher's length; qed"))
}

fn derive(passphrase: &[u8], salt: &[u8], cost: Cost) -> Option<Zeroizing<[u8; 32]>> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(passphrase, salt, key.as_mut_slice()).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_passphrase_and_the_address_open_it() {
        let sealed = seal(b"the secret", "5Alice", b"open sesame");
        assert_eq!(sealed.open("5Alice", b"open sesame").unwrap().as_slice(), b"the secret");
        assert_eq!(sealed.open("5Alice", b"open sesamE"), Err(OpenError::Refused));
        assert_eq!(sealed.open("5Bob", b"open sesame"), Err(OpenError::Refused));
        let again = seal(b"the secret", "5Alice", b"open sesame");
        assert!(again.salt != sealed.salt && again.nonce != sealed.nonce && again.sealed != sealed.sealed);
    }

    #[test]
    fn any_altered_byte_and_any_absurd_cost_is_refused() {
        let good = seal(b"the secret", "5Alice", b"p");
        let altered = |change: fn(&mut Sealed)| {
            let mut sealed = good.clone();
            change(&mut sealed);
            sealed.open("5Alice", b"p").unwrap_err()
        };
        assert_eq!(
            altered(|s| s.sealed.replace_range(0..2, if s.sealed.starts_with("00") { "01" } else { "00" })),
            OpenError::Refused
        );
        assert_eq!(
            altered(|s| s.salt.replace_range(0..2, if s.salt.starts_with("00") { "01" } else { "00" })),
            OpenError::Refused
        );
        assert_eq!(
            altered(|s| s.nonce.replace_range(0..2, if s.nonce.starts_with("00") { "01" } else { "00" })),
            OpenError::Refused
        );
        assert_eq!(altered(|s| s.cost.passes = 4), OpenError::Refused);
        assert_eq!(altered(|s| s.cost.memory_kib = u32::MAX), OpenError::Unsupported);
        assert_eq!(altered(|s| s.cost.memory_kib = 0), OpenError::Unsupported);
        assert_eq!(altered(|s| s.kdf = "md5".into()), OpenError::Unsupported);
        assert_eq!(altered(|s| s.sealed = "xy".into()), OpenError::Unsupported);
    }

    /// Computed with the reference implementation's command line: `echo -n password | argon2 somesaltsomesalt -id -t 3 -k 65536 -p 1 -l 32 -r`.
    #[test]
    fn the_derivation_is_argon2id_as_others_compute_it() {
        let key = derive(b"password", b"somesaltsomesalt", COST).unwrap();
        assert_eq!(hex::encode(*key), "7664ad4ba1a3c999fcdd0991ffc2270f78302d2383233db5e7befc85d1bb1819");
    }
}
