//! The outer step of a stage, shard by shard, into a new state: the start is read once and the result written
//! once, and merged codes are never there as values in memory.

use std::ops::Range;

use iota_protocol::params::MergeParams;
use iota_protocol::wide;

use crate::entry::{split_chunk, EntryError};
use crate::outer::{outer_momentum, ppm, OuterError, OuterState};
use crate::scale::{power_of_two, BLOCK};

/// Why a step did not go on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepError {
    /// Merged bytes are no entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Merged bytes do not fit the state.
    #[error(transparent)]
    Outer(#[from] OuterError),
}

/// A state on its way from one merge to the next. Ranges are given in rising order without gaps.
pub struct OuterStep<'a> {
    start: &'a OuterState,
    merge: &'a MergeParams,
    mu: f32,
    lr: f32,
    weights: Vec<f32>,
    momentum: Vec<f32>,
}

impl<'a> OuterStep<'a> {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(start: &'a OuterState, merge: &'a MergeParams) -> Self {
        let empty = || Vec::with_capacity(start.weights.len());
        let (mu, lr) = (outer_momentum(start.merges, merge), ppm(merge.outer_lr_ppm));
        Self { start, merge, mu, lr, weights: empty(), momentum: empty() }
    }

    /// A range that no shard covers: it stays as it was.
    ///
    /// # Errors
    /// [`OuterError::Range`]; nothing has changed then.
    pub fn keep(&mut self, range: Range<usize>) -> Result<(), StepError> {
        let (weights, momentum) = self.before(&range, range.len())?;
        self.weights.extend_from_slice(weights);
        self.momentum.extend_from_slice(momentum);
        Ok(())
    }

    /// Applies the merged pseudo-gradient, as canonical bytes of whole chunks, to the values in `range`, as
    /// [`OuterState::apply`] would.
    ///
    /// # Errors
    /// [`OuterError::Range`] and [`EntryError`]; the step is of no use then.
    pub fn merged(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), StepError> {
        let chunk = self.merge.chunk as usize;
        let given = bytes.len().checked_div(iota_protocol::merge::chunk_len(self.merge)).unwrap_or(0) * chunk;
        let (weights, momentum) = self.before(&range, given)?;
        let values = weights.chunks_exact(chunk).zip(momentum.chunks_exact(chunk));
        let parts = bytes.chunks(iota_protocol::merge::chunk_len(self.merge));
        for (index, (bytes, (weights, momentum))) in parts.zip(values).enumerate() {
            self.chunk(index, bytes, weights, momentum)?;
        }
        Ok(())
    }

    fn chunk(
        &mut self,
        index: usize,
        bytes: &[u8],
        weights: &[f32],
        momentum: &[f32],
    ) -> Result<(), EntryError> {
        let (exponents, codes) = split_chunk(index, bytes, self.merge)?;
        let scale = |exponent| power_of_two(i32::from(self.merge.exponent_min) + i32::from(exponent));
        let codes = exponents.iter().zip(codes.as_chunks::<BLOCK>().0);
        let values = weights.as_chunks::<BLOCK>().0.iter().zip(momentum.as_chunks::<BLOCK>().0);
        for ((exponent, codes), (weights, momentum)) in codes.zip(values) {
            let (mut weights, mut momentum) = (*weights, *momentum);
            step_block(self.mu, self.lr, scale(*exponent), codes, &mut weights, &mut momentum);
            self.weights.extend_from_slice(&weights);
            self.momentum.extend_from_slice(&momentum);
        }
        Ok(())
    }

    /// The start's values in the next range, for which `given` came.
    fn before(&self, range: &Range<usize>, given: usize) -> Result<(&'a [f32], &'a [f32]), OuterError> {
        let (start, len) = (self.start, self.start.weights.len());
        let values = (start.weights.get(range.clone()), start.momentum.get(range.clone()));
        match values {
            (Some(weights), Some(momentum)) if range.start == self.weights.len() && given == range.len() => {
                Ok((weights, momentum))
            }
            _ => Err(OuterError::Range { start: range.start, end: range.end, got: given, len }),
        }
    }

    /// The state with all ranges applied; [`OuterState::finish`] is still to come.
    ///
    /// # Errors
    /// [`OuterError::Range`] when some are missing.
    pub fn done(self) -> Result<OuterState, StepError> {
        let (got, len) = (self.weights.len(), self.start.weights.len());
        if got != len {
            return Err(OuterError::Range { start: 0, end: len, got, len }.into());
        }
        let (merges, tokens) = (self.start.merges, self.start.tokens);
        Ok(OuterState { weights: self.weights, momentum: self.momentum, merges, tokens })
    }
}

wide! {
    /// The step of one block, as [`OuterState::apply`] writes it.
    fn step_block(
        mu: f32,
        lr: f32,
        scale: f32,
        codes: &[u8; BLOCK],
        weights: &mut [f32; BLOCK],
        momentum: &mut [f32; BLOCK],
    ) {
        for ((weight, momentum), code) in weights.iter_mut().zip(momentum).zip(codes) {
            let g = f32::from(code.cast_signed()) * scale;
            *momentum = mu * *momentum + g;
            *weight -= lr * (g + mu * *momentum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{decode_merged, encode_chunks};
    use proptest::prelude::*;

    const CHUNK: usize = 1024;

    fn merge() -> MergeParams {
        let merge = crate::presets::tests::nano(1).merge;
        assert_eq!(merge.chunk as usize, CHUNK);
        merge
    }

    fn state(seed: u32, chunks: usize) -> OuterState {
        let value = |at: usize| (at as f32 * 0.37 + seed as f32).sin();
        let weights = (0..chunks * CHUNK).map(value).collect();
        let momentum = (0..chunks * CHUNK).map(|at| value(at + 7) * 1e-3).collect();
        OuterState { weights, momentum, merges: seed % 30, tokens: 5 }
    }

    fn gradient(start: &OuterState, size: f32) -> Vec<u8> {
        let local: Vec<f32> = start.weights.iter().map(|weight| weight - weight.cos() * size).collect();
        encode_chunks(&start.weights, &local, &merge()).unwrap()
    }

    proptest! {
        /// The same bits as the plain form, whatever is merged and whatever stays.
        #[test]
        fn as_applying_to_a_copy(seed in 0u32..100, chunks in 1usize..6, cut in 0usize..6, size in 1e-6f32..1.0) {
            let (merge, start, cut) = (merge(), state(seed, chunks), cut.min(chunks));
            let (bytes, kept) = (gradient(&start, size), 0..cut * CHUNK);
            let changed = cut * CHUNK..chunks * CHUNK;
            let part = &bytes[cut * iota_protocol::merge::chunk_len(&merge)..];
            let mut step = OuterStep::new(&start, &merge);
            step.keep(kept).unwrap();
            step.merged(changed.clone(), part).unwrap();
            let mut values = Vec::new();
            decode_merged(part, &merge, &mut values).unwrap();
            let mut plain = start.clone();
            plain.apply(changed, &values, &merge).unwrap();
            prop_assert_eq!(step.done().unwrap().root(), plain.root());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (merge, start) = (merge(), state(1, 2));
        let bytes = gradient(&start, 0.1);
        let step = || OuterStep::new(&start, &merge);
        let range = |result: Result<(), StepError>| {
            assert!(matches!(result, Err(StepError::Outer(OuterError::Range { .. }))), "{result:?}");
        };
        range(step().keep(CHUNK..2 * CHUNK));
        range(step().keep(0..3 * CHUNK));
        range(step().merged(0..CHUNK, &bytes));
        range(step().merged(0..2 * CHUNK, &bytes[1..]));
        range(step().done().map(drop));
        let mut broken = bytes;
        broken[0] = 20;
        let error = step().merged(0..2 * CHUNK, &broken).unwrap_err();
        assert!(
            matches!(error, StepError::Entry(EntryError::Byte { chunk: 0, offset: 0, byte: 20 })),
            "{error}"
        );
    }
}
