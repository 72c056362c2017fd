//! Receipts: what each hop leaves behind, and the event log that orders a miner's work.
//!
//! A receipt is authenticated by the Merkle root in the miner's signed `commit_work`; the
//! receiver's own receipt that names the same code hash is the countersignature.
#![cfg_attr(
    not(test),
    expect(clippy::cast_possible_truncation, reason = "the code derived for SCALE casts variant indices")
)]

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::ids::{Attempt, Hash, Sample, Stage, Uid, Version};

/// Which way a message goes.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Hash,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Activations, towards the head.
    Forward,
    /// Gradients, towards the embedding.
    Backward,
}

/// Why the sender did not take a miner that came earlier in its order.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum SkipCause {
    /// It said that its queue was full.
    Busy,
    /// It said that it would not.
    Refused,
    /// It did not answer in time, or lost the sample.
    Unreachable,
}

/// A miner that was skipped.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct Skip {
    /// Who was skipped.
    pub uid: Uid,
    /// Why.
    pub cause: SkipCause,
}

/// Most skips kept in one receipt; a sender that skipped more has no reachable stage.
pub const MAX_SKIPS: u32 = 8;

/// One pass of one sample through one stage.
#[derive(
    Clone,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct Receipt {
    /// The sample.
    pub sample: Sample,
    /// Which start of it.
    pub attempt: Attempt,
    /// The stage of the miner that leaves this receipt.
    pub stage: Stage,
    /// Forward or backward.
    pub direction: Direction,
    /// From whom the input came; its own uid where the stage reads data.
    pub from: Uid,
    /// To whom the output went; its own uid where the pass ends here.
    pub to: Uid,
    /// Hash of the input's code bytes (of the token bytes at stage 0).
    pub input: Hash,
    /// Hash of the output's code bytes; zero where there is none.
    pub output: Hash,
    /// Weights that the pass ran with.
    pub version: Version,
    /// Position in the event log.
    pub sequence: u32,
    /// Who was skipped on the way out.
    pub skips: BoundedVec<Skip, ConstU32<MAX_SKIPS>>,
    /// Last stage, forward: mean loss in millionths of a nat per token.
    pub loss_micro: Option<u32>,
    /// Last stage, forward: hash of the top-k logits; zero elsewhere.
    pub logits: Hash,
}

/// One entry of a miner's event log, totally ordered; `root` commits to all of them.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub enum LogEvent {
    /// A forward pass ran.
    Forward {
        /// The sample.
        sample: Sample,
        /// Its attempt.
        attempt: Attempt,
        /// Weights that it ran with.
        version: Version,
        /// Hash of the input code bytes.
        input: Hash,
        /// Hash of the output code bytes.
        output: Hash,
    },
    /// A backward pass ran on the weights of its forward pass.
    Backward {
        /// The sample.
        sample: Sample,
        /// Its attempt.
        attempt: Attempt,
        /// Weights that it ran with.
        version: Version,
        /// Hash of the incoming gradient's code bytes; zero at the last stage.
        input: Hash,
        /// Hash of the outgoing gradient's code bytes; zero at stage 0.
        output: Hash,
    },
    /// A forward pass was given up: its graph is dropped without a backward pass.
    Abandon {
        /// The sample.
        sample: Sample,
        /// Its attempt.
        attempt: Attempt,
    },
    /// A local step finished.
    Step {
        /// Weights after it.
        version: Version,
        /// Hash of masters and moments after it.
        state_root: Hash,
    },
}
