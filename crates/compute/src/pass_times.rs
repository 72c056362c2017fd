//! Time within a stage's passes and steps that is not arithmetic of the model.

use std::time::Duration;

/// What passes and steps spent beside the model since the last question.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PassTimes {
    /// Between tensors and code bytes or tokens, both ways, copies from and to a device included.
    pub codec: Duration,
    /// Hashes of codes, and of weights and moments after a step.
    pub hash: Duration,
}
