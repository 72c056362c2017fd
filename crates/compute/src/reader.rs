//! Turns what a stage is given into tensors, and refuses what cannot be one sample.

use iota_protocol::ids::Stage;
use iota_protocol::params::{RunParams, WireCodec};
use tch::{Device, Tensor};

use crate::codec;
use crate::model::token_tensor;
use crate::stage_error::StageError;
use crate::stage_io::StageInput;
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
    device: Device,
}

impl InputReader {
    pub(crate) fn new(run: &RunParams, stage: Stage, device: Device) -> Self {
        Self {
            stage,
            tokens: run.tokens_per_sample() as usize,
            values: run.values_per_message() as usize,
            seq_len: i64::from(run.model.seq_len),
            channels: i64::from(run.model.bottleneck),
            vocab: run.model.vocab,
            wire: run.train.wire,
            device,
        }
    }

    /// The input as a tensor, tokens `[B, T]` or a leaf `[B, T, b]`, and whether it is tokens.
    pub(crate) fn read(&self, key: SampleKey, input: StageInput<'_>) -> Result<(Tensor, bool), StageError> {
        let first = self.stage == Stage(0);
        match (first, input) {
            (true, StageInput::Tokens(tokens)) => {
                self.check_tokens(key, tokens)?;
                Ok((token_tensor(tokens, self.seq_len, self.device)?, true))
            }
            (false, StageInput::Codes(codes)) => Ok((self.read_codes(key, codes)?, false)),
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

    fn read_codes(&self, key: SampleKey, codes: &[u8]) -> Result<Tensor, StageError> {
        let mut values = Vec::new();
        codec::decode(self.wire, codes, self.values, &mut values)
            .map_err(|error| StageError::Activation { key, error })?;
        let shape = [-1, self.seq_len, self.channels];
        let tensor = Tensor::f_from_slice(&values)?.f_view_(shape)?.f_to_device(self.device)?;
        Ok(tensor.f_set_requires_grad(true)?)
    }
}
