//! What goes into a stage and what comes out of it.

use iota_protocol::hash::{hash, Domain};
use iota_protocol::ids::{Hash, Version};

/// What a stage reads in a forward pass.
#[derive(Clone, Copy, Debug)]
pub enum StageInput<'a> {
    /// First stage: `B·T` input tokens, window after window.
    Tokens(&'a [u32]),
    /// Every other stage: code bytes of the activations `[B, T, b]`.
    Codes(&'a [u8]),
}

impl StageInput<'_> {
    /// Hash of the input's bytes, as it stands in receipts and in the log.
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            Self::Tokens(tokens) => tokens_hash(tokens),
            Self::Codes(codes) => hash(Domain::Codes, codes),
        }
    }
}

/// Hash of tokens as a stage's input: each as four bytes in little endian.
#[must_use]
pub fn tokens_hash(tokens: &[u32]) -> Hash {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    hash(Domain::Codes, &bytes)
}

/// What a forward pass gave.
#[derive(Clone, PartialEq, Debug)]
pub enum ForwardOut {
    /// Not the last stage: activations for the next one.
    Codes {
        /// Code bytes of `[B, T, b]`.
        bytes: Vec<u8>,
        /// Weights that the pass ran with.
        version: Version,
    },
    /// Last stage: forward and backward pass are both done.
    Loss {
        /// Mean nats per token.
        loss: f32,
        /// Weights that the pass ran with.
        version: Version,
        /// Code bytes of the gradient `[B, T, b]` for the stage before; empty if there is none.
        grad: Vec<u8>,
        /// Hash of each token's top logits.
        logits_hash: Hash,
    },
}

/// What a backward pass gave.
#[derive(Clone, PartialEq, Debug)]
pub struct BackwardOut {
    /// Code bytes of the gradient `[B, T, b]` for the stage before; `None` at the first stage.
    pub grad: Option<Vec<u8>>,
    /// Weights that the pass ran with.
    pub version: Version,
}

/// What a pass of either kind gave.
#[derive(Clone, PartialEq, Debug)]
pub enum PassOut {
    /// A forward pass.
    Forward(ForwardOut),
    /// A backward pass.
    Backward(BackwardOut),
}

/// A local step.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepOut {
    /// Weights after it.
    pub version: Version,
    /// Samples whose gradients were averaged.
    pub samples: u32,
    /// Learning rate.
    pub lr: f64,
    /// Norm of the mean gradient before the clip.
    pub grad_norm: f64,
    /// Root over masters and moments after the step.
    pub state_root: Hash,
}
