//! Token ids at the end of a message that goes up, where the run's boundaries need them.

use iota_protocol::params::RunParams;

use super::CodecError;

/// How the tokens of one sample are written: little endian, the fewest bytes that hold any of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenIds {
    tokens: usize,
    bytes_each: usize,
    vocab: u32,
}

impl TokenIds {
    /// Of a run; runs whose boundaries need no tokens write none.
    #[must_use]
    pub fn of_run(run: &RunParams) -> Self {
        let tokens = if run.token_bytes_per_message() == 0 { 0 } else { run.tokens_per_sample() as usize };
        Self { tokens, bytes_each: run.model.token_id_bytes(), vocab: run.model.vocab }
    }

    /// The bytes of tokens within the vocabulary; empty in a run without token ids.
    #[must_use]
    pub fn encode(&self, tokens: &[u32]) -> Vec<u8> {
        let written = tokens.iter().take(self.tokens);
        written.flat_map(|token| token.to_le_bytes().into_iter().take(self.bytes_each)).collect()
    }

    /// The tokens; empty in a run without token ids.
    ///
    /// # Errors
    /// [`CodecError::Tokens`] for another number of bytes or a token outside the vocabulary.
    pub fn decode(&self, bytes: &[u8]) -> Result<Vec<u32>, CodecError> {
        let expected = self.tokens * self.bytes_each;
        let refused = |largest| CodecError::Tokens { expected, got: bytes.len(), vocab: self.vocab, largest };
        if bytes.len() != expected {
            return Err(refused(0));
        }
        let token = |id: &[u8]| id.iter().rev().fold(0, |token, byte| token << 8 | u32::from(*byte));
        let tokens: Vec<u32> = bytes.chunks_exact(self.bytes_each).map(token).collect();
        match tokens.iter().max() {
            Some(largest) if *largest >= self.vocab => Err(refused(*largest)),
            _ => Ok(tokens),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hand_worked_bytes() {
        let ids = TokenIds { tokens: 2, bytes_each: 3, vocab: 128_256 };
        assert_eq!(ids.encode(&[1, 0x01_f4ff]), [1, 0, 0, 0xff, 0xf4, 0x01]);
        assert_eq!(ids.decode(&[1, 0, 0, 0xff, 0xf4, 0x01]).unwrap(), [1, 0x01_f4ff]);
        assert!(ids.decode(&[1, 0, 0, 0x00, 0xf5, 0x01]).is_err(), "128,256 is outside the vocabulary");
        assert!(ids.decode(&[1, 0, 0]).is_err());
        let none = TokenIds { tokens: 0, ..ids };
        assert!(none.encode(&[1, 2]).is_empty() && none.decode(&[]).unwrap().is_empty());
        assert!(none.decode(&[1]).is_err(), "a run without token ids takes no bytes");
    }

    proptest! {
        #[test]
        fn tokens_read_back(vocab in 2u32..1 << 20, picks in prop::collection::vec(any::<u32>(), 1..50)) {
            let bytes_each = if vocab <= 0x100 { 1 } else if vocab <= 0x1_0000 { 2 } else { 3 };
            let ids = TokenIds { tokens: picks.len(), bytes_each, vocab };
            let tokens: Vec<u32> = picks.iter().map(|pick| pick % vocab).collect();
            prop_assert_eq!(ids.decode(&ids.encode(&tokens)).unwrap(), tokens);
        }
    }
}
