//! Everything numerical: presets, the model cut into stages, codecs, optimizers, merging of weights,
//! replay, data, checkpoints, evaluation and text generation.
//!
//! The only crate that knows libtorch. It does no networking and keeps no clock; callers give it
//! samples and store what it returns. On the CPU with one thread every result is the same bits on
//! every run. Call [`init_runtime`] first.

mod atomic;
mod boundary;
pub mod checkpoint;
pub mod codec;
pub mod data;
mod device_optimizer;
pub mod entry;
pub mod evaluate;
pub mod flat;
pub mod generate;
mod gradients;
mod host;
pub mod layout;
mod loss;
mod manifest;
mod model;
mod native;
mod optimizer;
pub mod outer;
pub mod outer_step;
mod overlap;
mod pass_times;
pub mod plan;
pub mod presets;
mod reader;
pub mod replay;
mod rng;
mod runtime;
mod scale;
pub mod stage;
mod stage_error;
mod stage_io;
mod staging;
pub mod state;
pub mod tolerance;
mod versions;

pub use pass_times::PassTimes;
pub use runtime::init_runtime;
pub use stage::{Launched, StageTrainer};
pub use stage_error::StageError;
pub use stage_io::{tokens_hash, BackwardOut, ForwardOut, PassOut, StageInput, StepOut};
pub use state::{state_root, SampleKey, StepState};
pub use tch::Device;
