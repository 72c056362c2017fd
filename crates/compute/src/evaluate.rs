//! The whole model from the weights of all stages, for held-out loss and for text.
//!
//! Runs the stages one after another in one process with the wire codec between them, so that it
//! measures the model as it was trained.

use iota_protocol::ids::Stage;
use iota_protocol::params::{RunParams, WireCodec};
use tch::{Device, TchError, Tensor};

use crate::codec::{round_trip, CodecError};
use crate::layout::{LayoutError, StageLayout};
use crate::loss::{cross_entropy, CHUNK_LOGITS};
use crate::model::{to_vec, token_tensor, ModelInput, StageModel};
use crate::runtime::adopt_thread;

/// Most windows that are evaluated at a time.
const BATCH: usize = 64;

/// Why a model could not be evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The run has no such stage.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Weights of some stages are missing, or there are too many.
    #[error("weights of {got} stages given, the run has {expected}; load a checkpoint of each stage")]
    Stages {
        /// Stages of the run.
        expected: u16,
        /// Stages given.
        got: usize,
    },
    /// Weights of another shape.
    #[error("stage {stage} has {got} weights, expected {expected}; the checkpoint is of another run")]
    Weights {
        /// The stage.
        stage: Stage,
        /// Padded length of the stage.
        expected: usize,
        /// Weights given.
        got: usize,
    },
    /// Nothing to evaluate, or a window of another length.
    #[error(
        "window {index} has {got} tokens, expected {expected}; prepare the data with this sequence length"
    )]
    Window {
        /// Which window.
        index: usize,
        /// Tokens of a window and its target.
        expected: usize,
        /// Tokens given.
        got: usize,
    },
    /// A token outside the vocabulary.
    #[error("token {token} is outside the vocabulary of {vocab}")]
    Token {
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocab: u32,
    },
    /// A boundary value is infinite or not a number.
    #[error("boundary after stage {stage}: {error}")]
    Boundary {
        /// The stage before the boundary.
        stage: Stage,
        /// What is wrong.
        error: CodecError,
    },
    /// libtorch failed.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

/// All stages of a model, loaded for inference.
pub(crate) struct Pipeline {
    stages: Vec<(StageModel, Vec<Tensor>)>,
    wire: WireCodec,
    vocab: u32,
}

impl Pipeline {
    /// `weights` holds the flat buffer of every stage, padded length.
    pub(crate) fn load(run: &RunParams, weights: &[Vec<f32>], device: Device) -> Result<Self, EvaluateError> {
        adopt_thread();
        if weights.len() != run.stages.len() {
            return Err(EvaluateError::Stages { expected: run.n_stages(), got: weights.len() });
        }
        let load = |(stage, flat): (u16, &Vec<f32>)| {
            let stage = Stage(stage);
            let layout = StageLayout::new(run, stage)?;
            let (expected, got) = (layout.padded_len(), flat.len());
            if got != expected {
                return Err(EvaluateError::Weights { stage, expected, got });
            }
            let model = StageModel::new(run, &layout, device)?;
            let leaves = model.leaves(&Tensor::f_from_slice(flat)?.f_to_device(device)?, false)?;
            Ok((model, leaves))
        };
        let stages: Result<_, EvaluateError> = (0u16..).zip(weights).map(load).collect();
        Ok(Self { stages: stages?, wire: run.train.wire, vocab: run.model.vocab })
    }

    /// Logits `[B, T, V]` of tokens `[B, T]`, given flat.
    pub(crate) fn logits(&self, tokens: &[u32], seq_len: usize) -> Result<Tensor, EvaluateError> {
        if let Some(token) = tokens.iter().find(|token| **token >= self.vocab) {
            return Err(EvaluateError::Token { token: *token, vocab: self.vocab });
        }
        tch::no_grad(|| {
            let device = self.stages.first().map_or(Device::Cpu, |(model, _)| model.device());
            let tokens_bt = token_tensor(tokens, seq_len as i64, device)?;
            let mut x = tokens_bt.shallow_clone();
            for (stage, (model, leaves)) in (0u16..).zip(&self.stages) {
                let input = match stage {
                    0 => ModelInput::Tokens(&tokens_bt),
                    _ => ModelInput::Boundary(&x, Some(&tokens_bt)),
                };
                let out = model.forward(leaves, input)?;
                x = if model.is_last() { out } else { self.cross(Stage(stage), &out)? };
            }
            Ok(x)
        })
    }

    /// What the next stage sees of boundary values.
    fn cross(&self, stage: Stage, values: &Tensor) -> Result<Tensor, EvaluateError> {
        let seen = round_trip(self.wire, &to_vec(values)?)
            .map_err(|error| EvaluateError::Boundary { stage, error })?;
        Ok(Tensor::f_from_slice(&seen)?.f_view_(values.size())?.f_to_device(values.device())?)
    }
}

/// Mean nats per token over `windows`, each of `seq_len + 1` tokens; `stages` holds the flat weights
/// of every stage.
///
/// # Errors
/// [`EvaluateError`]; no windows count as one of length 0.
pub fn heldout_loss(
    run: &RunParams,
    stages: &[Vec<f32>],
    windows: &[Vec<u32>],
) -> Result<f32, EvaluateError> {
    let seq_len = run.model.seq_len as usize;
    check_windows(windows, seq_len + 1)?;
    let pipeline = Pipeline::load(run, stages, crate::init_runtime(1))?;
    let mut sum = 0.0;
    for batch in windows.chunks(batch(run)) {
        let inputs: Vec<u32> = batch.iter().flat_map(|window| &window[..seq_len]).copied().collect();
        let targets: Vec<u32> = batch.iter().flat_map(|window| &window[1..]).copied().collect();
        let logits = pipeline.logits(&inputs, seq_len)?;
        let mean = tch::no_grad(|| cross_entropy(&logits, &targets)?.f_double_value(&[]))?;
        sum += mean * batch.len() as f64;
    }
    Ok((sum / windows.len() as f64) as f32)
}

/// Windows whose logits fit into one chunk of them.
fn batch(run: &RunParams) -> usize {
    let logits = i64::from(run.model.seq_len) * i64::from(run.model.vocab);
    usize::try_from(CHUNK_LOGITS / logits.max(1)).unwrap_or(BATCH).clamp(1, BATCH)
}

/// Logits `[T, V]` of one window of up to `seq_len` tokens, row after row.
///
/// # Errors
/// [`EvaluateError`].
pub fn logits(run: &RunParams, stages: &[Vec<f32>], tokens: &[u32]) -> Result<Vec<f32>, EvaluateError> {
    let (got, expected) = (tokens.len(), run.model.seq_len as usize);
    if got == 0 || got > expected {
        return Err(EvaluateError::Window { index: 0, expected, got });
    }
    let pipeline = Pipeline::load(run, stages, crate::init_runtime(1))?;
    Ok(to_vec(&pipeline.logits(tokens, got)?)?)
}

fn check_windows(windows: &[Vec<u32>], expected: usize) -> Result<(), EvaluateError> {
    if windows.is_empty() {
        return Err(EvaluateError::Window { index: 0, expected, got: 0 });
    }
    let wrong = windows.iter().enumerate().find(|(_, window)| window.len() != expected);
    wrong.map_or(Ok(()), |(index, window)| Err(EvaluateError::Window { index, expected, got: window.len() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::tests::{nano, preset};

    fn initial(run: &RunParams) -> Vec<Vec<f32>> {
        (0..run.n_stages()).map(|stage| StageLayout::new(run, Stage(stage)).unwrap().init(run)).collect()
    }

    #[test]
    fn fewer_windows_of_a_large_vocabulary_are_evaluated_at_a_time() {
        // 32 · 256 logits a window, and 1,024 · 128,256: 2^27 hold one of those.
        assert_eq!((batch(&nano(3)), batch(&preset("1.5b", 3))), (64, 1));
    }

    #[test]
    fn untrained_model_is_uniform() {
        let run = nano(3);
        let windows: Vec<Vec<u32>> =
            (0..70u32).map(|i| (0..33).map(|t| (i * 7 + t) % 256).collect()).collect();
        let loss = heldout_loss(&run, &initial(&run), &windows).unwrap();
        assert!((loss - 256f32.ln()).abs() < 0.05, "{loss}");
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let run = nano(3);
        let weights = initial(&run);
        let window = vec![vec![0u32; 33]];
        assert!(matches!(heldout_loss(&run, &weights[..2], &window), Err(EvaluateError::Stages { .. })));
        assert!(matches!(heldout_loss(&run, &weights, &[]), Err(EvaluateError::Window { .. })));
        assert!(matches!(heldout_loss(&run, &weights, &[vec![0; 32]]), Err(EvaluateError::Window { .. })));
        assert!(matches!(heldout_loss(&run, &weights, &[vec![256; 33]]), Err(EvaluateError::Token { .. })));
        let mut short = weights;
        short[1].pop();
        assert!(matches!(heldout_loss(&run, &short, &window), Err(EvaluateError::Weights { .. })));
    }
}
