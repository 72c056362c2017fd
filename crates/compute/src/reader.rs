//! Turns what a stage is given into tensors, and refuses what cannot be one sample.

use std::sync::Arc;

use iota_protocol::ids::Stage;
use iota_protocol::params::{RunParams, WireCodec};
use tch::{TchError, Tensor};

use crate::codec::{self, TokenIds};
use crate::host;
use crate::model::ModelInput;
use crate::stage_error::StageError;
use crate::stage_io::StageInput;
use crate::staging::Staging;
use crate::state::SampleKey;

/// Shapes of one sample at one stage.
pub(crate) struct InputReader {
    stage: Stage,
    tokens: usize,
    values: usize,
    seq_len: i64,
    channels: i64,
    vocab: u32,
    wire: WireCodec,
    ids: TokenIds,
    staging: Arc<Staging>,
}

/// One sample as a stage reads it.
pub(crate) struct Sample {
    input: Tensor,
    /// Tokens `[B, T]` beside boundary values, where the run's tier needs them.
    tokens_bt: Option<Tensor>,
    is_tokens: bool,
    /// Token ids that end the message to the next stage; empty where the tier needs none.
    pub(crate) ids: Vec<u8>,
}

impl Sample {
    /// What the model reads.
    pub(crate) fn model_input(&self) -> ModelInput<'_> {
        if self.is_tokens {
            ModelInput::Tokens(&self.input)
        } else {
            ModelInput::Boundary(&self.input, self.tokens_bt.as_ref())
        }
    }

    /// The leaf whose gradient goes back; none at the first stage.
    pub(crate) fn into_leaf(self) -> Option<Tensor> {
        (!self.is_tokens).then_some(self.input)
    }
}

impl InputReader {
    pub(crate) fn new(run: &RunParams, stage: Stage, staging: &Arc<Staging>) -> Self {
        Self {
            stage,
            tokens: run.tokens_per_sample() as usize,
            values: run.values_per_message() as usize,
            seq_len: i64::from(run.model.seq_len),
            channels: i64::from(run.model.bottleneck),
            vocab: run.model.vocab,
            wire: run.train.wire,
            ids: TokenIds::of_run(run),
            staging: Arc::clone(staging),
        }
    }

    /// The input as tensors.
    pub(crate) fn read(&self, key: SampleKey, input: StageInput<'_>) -> Result<Sample, StageError> {
        let first = self.stage == Stage(0);
        match (first, input) {
            (true, StageInput::Tokens(tokens)) => {
                self.check_tokens(key, tokens)?;
                let input = self.staging.upload_tokens(tokens, self.seq_len)?;
                Ok(Sample { input, tokens_bt: None, is_tokens: true, ids: self.ids.encode(tokens) })
            }
            (false, StageInput::Codes(codes)) => self.read_codes(key, codes),
            _ => Err(StageError::InputKind { key, stage: self.stage, first }),
        }
    }

    /// Inputs and targets alike: one sample of tokens, all within the vocabulary.
    pub(crate) fn check_tokens(&self, key: SampleKey, tokens: &[u32]) -> Result<(), StageError> {
        let largest = tokens.iter().copied().max().unwrap_or(0);
        if tokens.len() == self.tokens && largest < self.vocab {
            return Ok(());
        }
        let (expected, vocab) = (self.tokens, self.vocab);
        Err(StageError::Tokens { key, expected, got: tokens.len(), vocab, largest })
    }

    fn read_codes(&self, key: SampleKey, message: &[u8]) -> Result<Sample, StageError> {
        let refused = |error| StageError::Activation { key, error };
        let (codes, ids) = codec::split(self.wire, message, self.values);
        let tokens = self.ids.decode(ids).map_err(refused)?;
        let shape = [-1, self.seq_len, self.channels];
        let input =
            decoded(self.wire, codes, self.values, &self.staging)?.map_err(refused)?.f_view_(shape)?;
        let tokens_bt = match tokens.is_empty() {
            true => None,
            false => Some(self.staging.upload_tokens(&tokens, self.seq_len)?),
        };
        let input = input.f_set_requires_grad(true)?;
        Ok(Sample { input, tokens_bt, is_tokens: false, ids: ids.to_vec() })
    }
}

/// Values of codes on the device, decoded straight into the memory of a flat tensor: on the host nothing is
/// copied.
pub(crate) fn decoded(
    wire: WireCodec,
    codes: &[u8],
    values: usize,
    staging: &Staging,
) -> Result<Result<Tensor, codec::CodecError>, TchError> {
    let mut tensor = staging.buffer(values)?;
    match codec::decode_into(wire, codes, host::values_mut(&mut tensor)?) {
        Ok(()) => staging.upload(tensor).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}
