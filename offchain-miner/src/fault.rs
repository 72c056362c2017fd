//! Named misbehaviour for adversary tests. An honest miner has none; a miner with one says so
//! loudly at start.

use std::sync::Arc;

use iota_protocol::params::RunParams;
use serde::{Deserialize, Serialize};

/// What a miner does wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Sends pseudo-random activations instead of what its stage computed.
    GarbageActivations,
    /// Takes its local steps at the least learning rate there is: claims to train and learns nothing.
    SkipsSteps,
    /// Serves receipts, so that it is scored, and neither log, states nor codes to anybody who would
    /// audit it.
    RefusesEvidence,
    /// Signs two bodies for every hop.
    Equivocates,
    /// Opens wrong results for the merge shards that it owns.
    WrongShards,
}

impl Fault {
    /// The parameters that a miner with this fault works with instead of the run's.
    #[must_use]
    pub fn params(self, params: &Arc<RunParams>) -> Arc<RunParams> {
        match self {
            Self::SkipsSteps => {
                let mut own = (**params).clone();
                own.train.lr_ppm = 1;
                Arc::new(own)
            }
            _ => Arc::clone(params),
        }
    }

    /// Code bytes that look like int8 codes and mean nothing; `salt` keeps samples apart.
    #[must_use]
    pub fn garbage(len: usize, salt: u32) -> Vec<u8> {
        let mut state = u64::from(salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        // -128 is no code: it would be refused unread.
        let code = || match next() {
            0x80 => 0x7f,
            byte => byte,
        };
        let mut bytes: Vec<u8> = std::iter::repeat_with(code).take(len).collect();
        // The scales come first in a coded message: keep them near those of real activations, so
        // that the garbage has the right shape and size.
        let scales = len / 33;
        for byte in bytes.iter_mut().take(scales) {
            *byte = (-4i8).to_le_bytes()[0];
        }
        bytes
    }
}
