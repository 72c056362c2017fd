//! The outer state of a stage (merged weights and Nesterov momentum) and its step.
//!
//! Plain f32 arithmetic in a fixed order, outside libtorch: every replica of a stage gets the same
//! bits from the same merged shards. The state's root and its chunks are what newcomers verify.

use std::ops::Range;

use codec::{Decode, Encode};
use iota_protocol::hash::{hash_of, Domain};
use iota_protocol::ids::Hash;
use iota_protocol::params::{MergeParams, RunParams, PPM};

use crate::flat;
use crate::layout::StageLayout;

/// Why a state could not be stepped, verified or assembled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OuterError {
    /// The merged values do not fit the range, or the range does not fit the state.
    #[error("merged values {start}..{end} came with {got} values for a state of {len}; refuse the shard")]
    Range {
        /// First value.
        start: usize,
        /// One past the last value.
        end: usize,
        /// Values given.
        got: usize,
        /// Values of the state.
        len: usize,
    },
    /// The manifest contradicts itself.
    #[error("a state of {len} values has {expected} chunks, the manifest lists {got}; ask another holder")]
    ManifestShape {
        /// Values of the weights.
        len: u64,
        /// Chunks that they and their momentum take.
        expected: usize,
        /// Chunks listed.
        got: usize,
    },
    /// A chunk's bytes do not match the manifest.
    #[error("chunk {index} hashes to {got}, the manifest has {expected}; ask another holder")]
    Chunk {
        /// Which chunk.
        index: usize,
        /// Hash in the manifest.
        expected: Hash,
        /// Hash of the bytes.
        got: Hash,
    },
    /// Not all chunks are there, or too many.
    #[error("{got} of {expected} chunks given; fetch the missing ones first")]
    ChunkCount {
        /// Chunks of the state.
        expected: usize,
        /// Chunks given.
        got: usize,
    },
}

/// Merged weights and outer momentum of one stage after some merges.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
pub struct OuterState {
    /// Weights, padded length; the padding is zero.
    pub weights: Vec<f32>,
    /// Nesterov momentum of each weight.
    pub momentum: Vec<f32>,
    /// Merges applied so far.
    pub merges: u32,
    /// Verified tokens of the run at the last merge.
    pub tokens: u64,
}

impl OuterState {
    /// The state that every member starts from: initial weights, no momentum.
    #[must_use]
    pub fn initial(run: &RunParams, layout: &StageLayout) -> Self {
        let weights = layout.init(run);
        let momentum = vec![0.0; weights.len()];
        Self { weights, momentum, merges: 0, tokens: 0 }
    }

    /// Applies the merged pseudo-gradient `g` to the values in `range`:
    /// `m ← μ·m + g; w ← w − lr·(g + μ·m)`. Ranges that no shard covers stay as they are.
    ///
    /// # Errors
    /// [`OuterError::Range`]; nothing has changed then.
    pub fn apply(&mut self, range: Range<usize>, g: &[f32], merge: &MergeParams) -> Result<(), OuterError> {
        let len = self.weights.len();
        if range.start > range.end || range.end > len || range.len() != g.len() || self.momentum.len() != len
        {
            return Err(OuterError::Range { start: range.start, end: range.end, got: g.len(), len });
        }
        let mu = outer_momentum(self.merges, merge);
        let lr = ppm(merge.outer_lr_ppm);
        let pairs = self.weights[range.clone()].iter_mut().zip(&mut self.momentum[range]);
        for ((weight, momentum), g) in pairs.zip(g) {
            *momentum = mu * *momentum + g;
            *weight -= lr * (g + mu * *momentum);
        }
        Ok(())
    }

    /// Closes the merge once all agreed shards are applied; `tokens` is the run's verified total.
    pub fn finish(&mut self, tokens: u64) {
        self.merges = self.merges.saturating_add(1);
        self.tokens = tokens;
    }

    /// Hashes of all chunks: weights first, then momentum.
    #[must_use]
    pub fn chunk_hashes(&self) -> Vec<Hash> {
        flat::chunk_hashes(Domain::Weights, &[&self.weights, &self.momentum])
    }

    /// What others need to fetch this state piece by piece.
    #[must_use]
    pub fn manifest(&self) -> StateManifest {
        StateManifest {
            merges: self.merges,
            tokens: self.tokens,
            len: self.weights.len() as u64,
            chunk_hashes: self.chunk_hashes(),
        }
    }

    /// The root that `commit_root` carries.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.manifest().root()
    }

    /// Bytes of chunk `index`; empty past the last.
    #[must_use]
    pub fn chunk(&self, index: usize) -> Vec<u8> {
        let first_of_momentum = flat::chunk_count(self.weights.len());
        let (buffer, index) = match index.checked_sub(first_of_momentum) {
            None => (&self.weights, index),
            Some(index) => (&self.momentum, index),
        };
        buffer.chunks(flat::CHUNK_VALUES).nth(index).map(flat::to_bytes).unwrap_or_default()
    }
}

/// Outer momentum of the merge after `merges` merges: rises from start to end in equal steps.
pub(crate) fn outer_momentum(merges: u32, merge: &MergeParams) -> f32 {
    let (from, to) = (f64::from(merge.momentum_start_ppm), f64::from(merge.momentum_end_ppm));
    let ramp = u32::from(merge.momentum_ramp);
    let share = if merges >= ramp { 1.0 } else { f64::from(merges) / f64::from(ramp) };
    ((from + (to - from) * share) / f64::from(PPM)) as f32
}

/// A rate in millionths as a float.
pub(crate) fn ppm(rate: u32) -> f32 {
    (f64::from(rate) / f64::from(PPM)) as f32
}

/// The root of a state whose chunks hash to `chunk_hashes`.
#[must_use]
pub fn root_from_chunks(merges: u32, tokens: u64, len: u64, chunk_hashes: &[Hash]) -> Hash {
    hash_of(Domain::Weights, &(b"root", merges, tokens, len, chunk_hashes))
}

/// Describes a state so that each chunk can be verified on its own.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct StateManifest {
    /// Merges applied so far.
    pub merges: u32,
    /// Verified tokens of the run at the last merge.
    pub tokens: u64,
    /// Weights of the stage, padding included.
    pub len: u64,
    /// Hash of each chunk, weights first.
    pub chunk_hashes: Vec<Hash>,
}

impl StateManifest {
    /// The root; compare it with the one on chain before anything is fetched.
    #[must_use]
    pub fn root(&self) -> Hash {
        root_from_chunks(self.merges, self.tokens, self.len, &self.chunk_hashes)
    }

    /// Checks that the manifest fits a stage.
    ///
    /// # Errors
    /// [`OuterError::ManifestShape`].
    pub fn check(&self, layout: &StageLayout) -> Result<(), OuterError> {
        let expected = 2 * flat::chunk_count(layout.padded_len());
        let got = self.chunk_hashes.len();
        if self.len == layout.padded_len() as u64 && got == expected {
            return Ok(());
        }
        Err(OuterError::ManifestShape { len: self.len, expected, got })
    }

    /// Checks one chunk's bytes.
    ///
    /// # Errors
    /// [`OuterError::Chunk`]; an index past the last counts as one.
    pub fn verify_chunk(&self, index: usize, bytes: &[u8]) -> Result<(), OuterError> {
        let expected = self.chunk_hashes.get(index).copied().unwrap_or(Hash::ZERO);
        let got = flat::chunk_hash(Domain::Weights, u32::try_from(index).unwrap_or(u32::MAX), bytes);
        if got == expected {
            Ok(())
        } else {
            Err(OuterError::Chunk { index, expected, got })
        }
    }

    /// Builds the state from all its chunks in order, verifying each.
    ///
    /// # Errors
    /// [`OuterError::ChunkCount`], [`OuterError::Chunk`] and [`OuterError::ManifestShape`].
    pub fn assemble(&self, chunks: &[Vec<u8>]) -> Result<OuterState, OuterError> {
        let (expected, got) = (self.chunk_hashes.len(), chunks.len());
        if got != expected {
            return Err(OuterError::ChunkCount { expected, got });
        }
        let mut values = Vec::new();
        for (index, bytes) in chunks.iter().enumerate() {
            self.verify_chunk(index, bytes)?;
            values.extend(flat::from_bytes(bytes).unwrap_or_default());
        }
        let len = usize::try_from(self.len).unwrap_or(usize::MAX);
        if Some(values.len()) != len.checked_mul(2) {
            return Err(OuterError::ManifestShape {
                len: self.len,
                expected: 2 * flat::chunk_count(len),
                got,
            });
        }
        let momentum = values.split_off(len);
        Ok(OuterState { weights: values, momentum, merges: self.merges, tokens: self.tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::tests::nano;
    use iota_protocol::ids::Stage;

    fn initial() -> (RunParams, StageLayout, OuterState) {
        let run = nano(3);
        let layout = StageLayout::new(&run, Stage(0)).unwrap();
        let outer = OuterState::initial(&run, &layout);
        (run, layout, outer)
    }

    #[test]
    fn hand_worked_nesterov() {
        let (run, _, mut outer) = initial();
        (outer.weights[0], outer.momentum[0], outer.merges) = (1.0, 0.5, 10);
        outer.apply(0..1, &[0.25], &run.merge).unwrap();
        // mu = 0.5 + 0.4 * 10/20 = 0.7; m = 0.7*0.5 + 0.25 = 0.6; w = 1 - 0.7*(0.25 + 0.7*0.6).
        assert!((outer.momentum[0] - 0.6).abs() < 1e-6);
        assert!((outer.weights[0] - (1.0 - 0.7 * 0.67)).abs() < 1e-6);
        assert_eq!(outer_momentum(20, &run.merge), 0.9);
        assert_eq!(outer_momentum(1000, &run.merge), 0.9);
    }

    #[test]
    fn shards_that_did_not_merge_stay() {
        let (run, _, mut outer) = initial();
        let before = outer.clone();
        outer.apply(1024..2048, &vec![0.125; 1024], &run.merge).unwrap();
        outer.finish(77);
        assert_eq!((outer.merges, outer.tokens), (1, 77));
        assert_eq!(
            (&outer.weights[..1024], &outer.momentum[..1024]),
            (&before.weights[..1024], &before.momentum[..1024])
        );
        assert_eq!(outer.weights[2048..], before.weights[2048..]);
        assert!(outer.weights[1024..2048].iter().zip(&before.weights[1024..]).all(|(a, b)| a < b));
        let error = outer.apply(0..2, &[0.0], &run.merge).unwrap_err();
        assert!(matches!(error, OuterError::Range { .. }), "{error}");
    }

    #[test]
    fn state_is_rebuilt_from_verified_chunks() {
        let (run, layout, mut outer) = initial();
        let all = 0..outer.weights.len();
        outer.apply(all.clone(), &vec![0.01; all.len()], &run.merge).unwrap();
        outer.finish(5);
        let manifest = outer.manifest();
        manifest.check(&layout).unwrap();
        assert_eq!(StateManifest::decode(&mut manifest.encode().as_slice()).unwrap(), manifest);
        let mut chunks: Vec<_> = (0..manifest.chunk_hashes.len()).map(|index| outer.chunk(index)).collect();
        assert_eq!(manifest.assemble(&chunks).unwrap(), outer);
        assert!(outer.chunk(chunks.len()).is_empty());
        chunks[0][9] ^= 1;
        assert!(matches!(manifest.assemble(&chunks), Err(OuterError::Chunk { index: 0, .. })));
        chunks.pop();
        assert!(matches!(manifest.assemble(&chunks), Err(OuterError::ChunkCount { .. })));
    }

    #[test]
    fn every_field_is_under_the_root() {
        let (_, _, outer) = initial();
        let mut roots = vec![outer.root()];
        let mut push = |change: fn(&mut OuterState)| {
            let mut changed = outer.clone();
            change(&mut changed);
            roots.push(changed.root());
        };
        push(|outer| outer.merges += 1);
        push(|outer| outer.tokens += 1);
        push(|outer| outer.weights[3] += 1.0);
        push(|outer| outer.momentum[3] += 1.0);
        push(|outer| outer.weights.extend([0.0; 1024]));
        roots.sort();
        roots.dedup();
        assert_eq!(roots.len(), 6);
    }
}
