//! The state of a stage right after a local step: masters and moments, and the root over them.
//!
//! A miner keeps or regenerates such states, a validator fetches one behind its root and replays the
//! events after it ([`crate::replay`]).

use codec::{Decode, Encode};
use iota_protocol::hash::{hash_of, Domain};
use iota_protocol::ids::{Attempt, Hash, Sample, Version};

use crate::flat;
use crate::host;
use crate::layout::StageLayout;
use crate::outer::OuterState;

/// One start of one sample.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub struct SampleKey {
    /// The sample.
    pub sample: Sample,
    /// Which start of it.
    pub attempt: Attempt,
}

impl std::fmt::Display for SampleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sample {} attempt {}", self.sample, self.attempt)
    }
}

/// Why a state does not fit its stage.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// A buffer of another length.
    #[error(
        "the {buffer} have {got} values, the stage takes {expected}; the state is of another stage or run"
    )]
    Length {
        /// Which buffer.
        buffer: &'static str,
        /// Padded length of the stage.
        expected: usize,
        /// Values given.
        got: usize,
    },
    /// The weights of the version before are not those that the root names.
    #[error(
        "the weights before version {version} hash to {got}, the state names {expected}; ask another holder"
    )]
    Previous {
        /// Version of the state.
        version: Version,
        /// Hash that the state's root covers.
        expected: Hash,
        /// Hash of the weights given.
        got: Hash,
    },
    /// Gradients were already summed when the state was taken.
    #[error(
        "{pending} samples were summed since the step of version {version}; take states right after a step"
    )]
    Pending {
        /// Version of the state.
        version: Version,
        /// Samples summed.
        pending: u32,
    },
}

/// Masters and moments of a stage after a local step.
#[derive(Clone, PartialEq, Debug, Encode, Decode)]
pub struct StepState {
    /// Local steps since the merge.
    pub version: Version,
    /// Steps since the moments were zero; equals `version` unless moments are kept across merges.
    pub adam_steps: u32,
    /// Weights, padded length.
    pub weights: Vec<f32>,
    /// First moments.
    pub first: Vec<f32>,
    /// Second moments.
    pub second: Vec<f32>,
    /// Hash of the weights of `version − 1`; zero at the start of an epoch.
    pub previous_root: Hash,
    /// The weights of `version − 1`, if forward passes that ran with them are still outstanding.
    pub previous: Option<Vec<f32>>,
    /// Samples whose gradients were summed since the step; a replay starts from a state with none.
    pub pending: u32,
}

impl StepState {
    /// The state that every member of a stage starts an epoch with: merged weights, no moments.
    #[must_use]
    pub fn start_of_epoch(outer: &OuterState) -> Self {
        let zeros = vec![0.0; outer.weights.len()];
        Self {
            version: Version(0),
            adam_steps: 0,
            weights: outer.weights.clone(),
            first: zeros.clone(),
            second: zeros,
            previous_root: Hash::ZERO,
            previous: None,
            pending: 0,
        }
    }

    /// Checks the buffers against a stage and the older weights against their hash.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn check(&self, layout: &StageLayout) -> Result<(), StateError> {
        let expected = layout.padded_len();
        let previous = self.previous.as_ref().map(|weights| ("older weights", weights));
        let buffers =
            [("weights", &self.weights), ("first moments", &self.first), ("second moments", &self.second)];
        for (buffer, values) in buffers.into_iter().chain(previous) {
            if values.len() != expected {
                return Err(StateError::Length { buffer, expected, got: values.len() });
            }
        }
        let got = self.previous.as_deref().map_or(self.previous_root, buffer_root);
        if got != self.previous_root {
            return Err(StateError::Previous { version: self.version, expected: self.previous_root, got });
        }
        Ok(())
    }
}

/// The root that a step puts into the event log.
///
/// Covers version, optimizer steps, masters and moments, and the hash of the weights before: also
/// what ran with those can be checked from this root.
#[must_use]
pub fn state_root(state: &StepState) -> Hash {
    let roots = MasterRoots::of(&state.weights, &state.first, &state.second);
    roots.state_root(state.version, state.adam_steps, state.previous_root)
}

/// Hash of one buffer.
pub(crate) fn buffer_root(values: &[f32]) -> Hash {
    root_of_chunks(values.len(), &flat::chunk_hashes(Domain::State, &[values]))
}

/// Hash of a buffer of `len` values whose chunks have these hashes.
fn root_of_chunks(len: usize, chunks: &[Hash]) -> Hash {
    hash_of(Domain::State, &(b"buffer", len as u64, chunks))
}

/// Hash of chunk `index` of a buffer.
pub(crate) fn chunk_hash(index: u32, values: &[f32]) -> Hash {
    flat::chunk_hash(Domain::State, index, &host::bytes(values))
}

/// Hashes of masters and moments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MasterRoots {
    pub(crate) weights: Hash,
    first: Hash,
    second: Hash,
}

impl MasterRoots {
    pub(crate) fn of(weights: &[f32], first: &[f32], second: &[f32]) -> Self {
        Self { weights: buffer_root(weights), first: buffer_root(first), second: buffer_root(second) }
    }

    /// From the chunks of three buffers of `len` values: weights, first and second moments.
    pub(crate) fn of_chunks(len: usize, chunks: &[Vec<Hash>; 3]) -> Self {
        let [weights, first, second] = chunks.each_ref().map(|chunks| root_of_chunks(len, chunks));
        Self { weights, first, second }
    }

    pub(crate) fn state_root(&self, version: Version, adam_steps: u32, previous: Hash) -> Hash {
        let parts = (self.weights, self.first, self.second, previous);
        hash_of(Domain::State, &(b"state", version, adam_steps, parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::tests::nano;
    use iota_protocol::ids::Stage;

    fn start() -> (StageLayout, StepState) {
        let run = nano(3);
        let layout = StageLayout::new(&run, Stage(1)).unwrap();
        let state = StepState::start_of_epoch(&OuterState::initial(&run, &layout));
        (layout, state)
    }

    #[test]
    fn every_trained_field_is_under_the_root() {
        let (_, state) = start();
        let mut roots = vec![state_root(&state)];
        let mut push = |change: fn(&mut StepState)| {
            let mut changed = state.clone();
            change(&mut changed);
            roots.push(state_root(&changed));
        };
        push(|state| state.version.0 += 1);
        push(|state| state.adam_steps += 1);
        push(|state| state.weights[9] += 1e-3);
        push(|state| state.first[9] += 1e-3);
        push(|state| state.second[9] += 1e-3);
        push(|state| state.previous_root = Hash([1; 32]));
        roots.sort();
        roots.dedup();
        assert_eq!(roots.len(), 7);
    }

    #[test]
    fn wrong_buffers_are_refused() {
        let (layout, state) = start();
        state.check(&layout).unwrap();
        assert_eq!(StepState::decode(&mut state.encode().as_slice()).unwrap(), state);
        let mut short = state.clone();
        short.first.pop();
        assert!(matches!(short.check(&layout), Err(StateError::Length { buffer: "first moments", .. })));
        let mut older = state.clone();
        older.previous = Some(state.weights.clone());
        assert!(matches!(older.check(&layout), Err(StateError::Previous { .. })));
        older.previous_root = buffer_root(&state.weights);
        older.check(&layout).unwrap();
    }
}
