//! Why a stage could not do what it was asked.

use iota_protocol::ids::{Stage, Version};

use crate::codec::CodecError;
use crate::layout::LayoutError;
use crate::state::{SampleKey, StateError};

/// Why a stage could not do what it was asked. Training can go on after each of these, except
/// [`StageError::Torch`], which depends on its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The run has no such stage.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The state is not of this stage.
    #[error(transparent)]
    State(#[from] StateError),
    /// Activations that the stage before cannot have encoded.
    #[error("activations of {key}: {error}")]
    Activation {
        /// The pass.
        key: SampleKey,
        /// What is wrong with the bytes.
        error: CodecError,
    },
    /// A gradient that the stage after cannot have encoded; the pass still waits.
    #[error("gradient of {key}: {error}")]
    Gradient {
        /// The pass.
        key: SampleKey,
        /// What is wrong with the bytes.
        error: CodecError,
    },
    /// Tokens given to a later stage, or codes to the first.
    #[error("{key}: stage {stage} reads {}; check the routing", if *first { "tokens" } else { "codes" })]
    InputKind {
        /// The pass.
        key: SampleKey,
        /// The stage.
        stage: Stage,
        /// Whether it is the first.
        first: bool,
    },
    /// Targets missing at the last stage, or given to another.
    #[error("{key}: stage {stage} {} targets; check the routing", if *last { "needs" } else { "takes no" })]
    Targets {
        /// The pass.
        key: SampleKey,
        /// The stage.
        stage: Stage,
        /// Whether it is the last.
        last: bool,
    },
    /// Not one sample of tokens, or tokens outside the vocabulary.
    #[error("{key}: expected {expected} tokens below {vocab}, got {got}, the largest {largest}; check the data shards")]
    Tokens {
        /// The pass.
        key: SampleKey,
        /// Tokens of a sample.
        expected: usize,
        /// Tokens given.
        got: usize,
        /// Size of the vocabulary.
        vocab: u32,
        /// Largest token given.
        largest: u32,
    },
    /// The sample already waits for its gradient.
    #[error("{key} already waits at stage {stage}; answer from the stored output instead")]
    Duplicate {
        /// The pass.
        key: SampleKey,
        /// The stage.
        stage: Stage,
    },
    /// No forward pass of this sample waits here.
    #[error("no forward pass of {key} waits at stage {stage}; start it again under the next attempt")]
    Unknown {
        /// The pass.
        key: SampleKey,
        /// The stage.
        stage: Stage,
    },
    /// Passes are launched and not finished.
    #[error("{key}: passes of stage {stage} are under way; finish them first")]
    Underway {
        /// The pass.
        key: SampleKey,
        /// The stage.
        stage: Stage,
    },
    /// Another pass is to be finished first, or the epoch in which this one was launched is over.
    #[error("stage {stage}: a pass was finished out of turn, or after its epoch; its result is lost")]
    OutOfTurn {
        /// The stage.
        stage: Stage,
    },
    /// Too much is kept already.
    #[error("{key}: {waiting} passes wait and {events} events are logged; answer busy")]
    Full {
        /// The pass.
        key: SampleKey,
        /// Forward passes that wait.
        waiting: usize,
        /// Events of this epoch.
        events: usize,
    },
    /// The weights that a pass ran with are not kept any more.
    #[error("{key}: weights of version {version} are gone, the current version is {current}")]
    Version {
        /// The pass.
        key: SampleKey,
        /// Version asked for.
        version: Version,
        /// Current version.
        current: Version,
    },
    /// A value is infinite or not a number; the sample is left out.
    #[error("{key}: {what} of stage {stage} is not finite; the sample is left out of the step")]
    NotFinite {
        /// The pass.
        key: SampleKey,
        /// The stage.
        stage: Stage,
        /// Which value.
        what: &'static str,
    },
    /// libtorch failed.
    #[error("libtorch: {0}; if memory ran out, lower windows per sample or samples in flight")]
    Torch(#[from] tch::TchError),
}
