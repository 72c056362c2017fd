//! A peer's ed25519 identity, and its relation to the libp2p peer id.
//!
//! The chain lists raw public keys; an ed25519 peer id contains its key, so either gives the other.

use std::fmt;

use libp2p::{
    identity::{ed25519, KeyType, Keypair, PublicKey},
    PeerId,
};

/// A peer's ed25519 public key, as the chain lists it.
pub type PeerPublic = [u8; 32];

/// A peer's ed25519 key pair. `Debug` shows the public half only.
#[derive(Clone)]
pub struct PeerKey(ed25519::Keypair);

impl PeerKey {
    /// The key pair of a secret seed; the same seed always gives the same peer.
    #[must_use]
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        // The callee wipes the array it is given.
        let secret = ed25519::SecretKey::try_from_bytes(&mut seed).expect("every 32 bytes are a seed; qed");
        Self(ed25519::Keypair::from(secret))
    }

    /// The public key to be published on chain.
    #[must_use]
    pub fn public(&self) -> PeerPublic {
        self.0.public().to_bytes()
    }

    /// Signs bytes; the chain asks for it as proof that the peer key belongs to the hotkey's owner.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).try_into().expect("an ed25519 signature has 64 bytes; qed")
    }

    /// The libp2p peer id in base58, `12D3Koo…`.
    #[must_use]
    pub fn peer_id(&self) -> String {
        self.libp2p_id().to_base58()
    }

    pub(crate) fn libp2p_id(&self) -> PeerId {
        self.libp2p().public().to_peer_id()
    }

    pub(crate) fn libp2p(&self) -> Keypair {
        Keypair::from(self.0.clone())
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerKey").field(&self.peer_id()).finish()
    }
}

/// Whether `signature` over `message` was made by the key behind `public`.
#[must_use]
pub fn verify(public: &PeerPublic, message: &[u8], signature: &[u8; 64]) -> bool {
    ed25519::PublicKey::try_from_bytes(public).is_ok_and(|key| key.verify(message, signature))
}

/// The base58 peer id of a public key, or `None` if the bytes are no point of the curve.
#[must_use]
pub fn peer_id_of(public: &PeerPublic) -> Option<String> {
    libp2p_id_of(public).map(PeerId::to_base58)
}

pub(crate) fn libp2p_id_of(public: &PeerPublic) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(public).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The public key inside a peer id, or `None` for peers with another kind of key.
pub(crate) fn public_of(peer: &PeerId) -> Option<PeerPublic> {
    // Multihash code 0 is "identity": the digest is the encoded key itself.
    if peer.as_ref().code() != 0 {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    (key.key_type() == KeyType::Ed25519).then_some(())?;
    Some(key.try_into_ed25519().ok()?.to_bytes())
}

/// The first four bytes of a public key, for messages.
pub(crate) struct Short(pub(crate) PeerPublic);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "0x{a:02x}{b:02x}{c:02x}{d:02x}…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_id_and_public_key_give_each_other() {
        let key = PeerKey::from_seed([7; 32]);
        let id = libp2p_id_of(&key.public()).expect("a real key");
        assert_eq!(id, key.libp2p_id());
        assert_eq!(public_of(&id), Some(key.public()));
    }

    #[test]
    fn peer_id_without_an_ed25519_key_has_no_public_key() {
        assert_eq!(public_of(&PeerId::random()), None);
    }

    #[test]
    fn signature_holds_for_its_message_and_key_only() {
        let key = PeerKey::from_seed([7; 32]);
        let signature = key.sign(b"serve");
        assert!(verify(&key.public(), b"serve", &signature));
        assert!(!verify(&key.public(), b"serve!", &signature));
        assert!(!verify(&PeerKey::from_seed([8; 32]).public(), b"serve", &signature));
    }

    #[test]
    fn debug_does_not_show_the_seed() {
        let seed = [0x5a; 32];
        let text = format!("{:?}", PeerKey::from_seed(seed));
        assert!(text.starts_with("PeerKey(\"12D3Koo"), "{text}");
        assert!(!text.contains("90, 90") && !text.contains("5a5a"), "{text}");
    }
}
