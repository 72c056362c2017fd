//! Checkpoints: the outer state of one stage as a safetensors file.
//!
//! Each tensor of the stage is stored under its name, its momentum under `momentum.` and the name;
//! what pads the buffer to whole merge chunks is a tensor too, because the root covers it.
//! The metadata say which run, stage and merge it is, and the root of the state, which a reader
//! computes again: a file that was cut, changed or mixed up is refused.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use iota_protocol::ids::{Hash, RunId, Stage};
use iota_protocol::params::RunParams;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::flat::{from_bytes, to_bytes};
use crate::layout::{LayoutError, StageLayout, TensorSpec};
use crate::outer::OuterState;

/// Key of our metadata: one string, because the format keeps no order among several.
const METADATA: &str = "iota";
const MOMENTUM: &str = "momentum.";
const PADDING: &str = "padding";
/// Version of the metadata.
const FORMAT: u32 = 1;

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The run has no such stage.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The state is not of this stage.
    #[error("stage {stage} has {expected} weights, the state {got}; it is of another stage or run")]
    State {
        /// The stage.
        stage: Stage,
        /// Padded length of the stage.
        expected: usize,
        /// Weights of the state.
        got: usize,
    },
    /// The file could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        error: std::io::Error,
    },
    /// The file is not a checkpoint.
    #[error("{path}: {reason}; fetch or write it again")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file is a checkpoint of something else.
    #[error("{path} is of {found}, expected {expected}")]
    Other {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The content does not hash to its root.
    #[error("{path} hashes to {got}, its metadata say {expected}; it is damaged, fetch it again")]
    Root {
        /// The file.
        path: PathBuf,
        /// Root in the metadata.
        expected: Hash,
        /// Root of the content.
        got: Hash,
    },
}

/// What a checkpoint says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Metadata {
    format: u32,
    run: RunId,
    stage: Stage,
    merges: u32,
    tokens: u64,
    root: Hash,
}

/// A tensor's bytes, for the writer.
struct Stored<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(to_bytes(self.values))
    }

    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}

/// Writes the state of one stage; equal states give equal files.
///
/// # Errors
/// [`CheckpointError::Layout`], [`CheckpointError::State`] and [`CheckpointError::Io`].
pub fn write(
    path: &Path,
    run_id: RunId,
    run: &RunParams,
    stage: Stage,
    outer: &OuterState,
) -> Result<(), CheckpointError> {
    let layout = StageLayout::new(run, stage)?;
    let (expected, got) = (layout.padded_len(), outer.weights.len().min(outer.momentum.len()));
    if got != expected || outer.weights.len() != outer.momentum.len() {
        return Err(CheckpointError::State { stage, expected, got });
    }
    let (merges, tokens) = (outer.merges, outer.tokens);
    let metadata = Metadata { format: FORMAT, run: run_id, stage, merges, tokens, root: outer.root() };
    let text = serde_json::to_string(&metadata).expect("metadata hold strings and integers only; qed");
    let tensors = named(&layout, outer);
    let bytes = safetensors::serialize(tensors, Some(HashMap::from([(METADATA.to_owned(), text)])))
        .map_err(|error| CheckpointError::Format { path: path.to_owned(), reason: error.to_string() })?;
    crate::atomic::write(path, &bytes).map_err(|error| CheckpointError::Io { path: path.to_owned(), error })
}

/// Names, shapes and places of all tensors, the padding last.
fn places(layout: &StageLayout) -> Vec<(String, Vec<usize>, Range<usize>)> {
    let place = |spec: &TensorSpec| {
        let shape = spec.shape.iter().map(|n| usize::try_from(*n).unwrap_or(0)).collect();
        (spec.name.clone(), shape, spec.range())
    };
    let padding = layout.len()..layout.padded_len();
    let tensors = layout.tensors().iter().map(place);
    tensors.chain([(PADDING.to_owned(), vec![padding.len()], padding)]).collect()
}

/// Weights, then momentum, each tensor under its name.
fn named<'a>(layout: &StageLayout, outer: &'a OuterState) -> Vec<(String, Stored<'a>)> {
    let mut named = Vec::new();
    for (prefix, buffer) in [("", &outer.weights), (MOMENTUM, &outer.momentum)] {
        for (name, shape, range) in places(layout) {
            named.push((format!("{prefix}{name}"), Stored { shape, values: &buffer[range] }));
        }
    }
    named
}

/// Reads the state of one stage and verifies it against its own root; compare
/// [`OuterState::root`] with the chain's.
///
/// # Errors
/// [`CheckpointError`].
pub fn read(
    path: &Path,
    run_id: RunId,
    run: &RunParams,
    stage: Stage,
) -> Result<OuterState, CheckpointError> {
    let layout = StageLayout::new(run, stage)?;
    let bytes = fs::read(path).map_err(|error| CheckpointError::Io { path: path.to_owned(), error })?;
    let format = |reason: String| CheckpointError::Format { path: path.to_owned(), reason };
    let file = SafeTensors::deserialize(&bytes).map_err(|error| format(error.to_string()))?;
    let metadata = read_metadata(&bytes).map_err(format)?;
    if (metadata.run, metadata.stage) != (run_id, stage) {
        let describe = |run: RunId, stage: Stage| format!("run {run} stage {stage}");
        let (expected, found) = (describe(run_id, stage), describe(metadata.run, metadata.stage));
        return Err(CheckpointError::Other { path: path.to_owned(), expected, found });
    }
    let outer = OuterState {
        weights: read_buffer(&file, &layout, "").map_err(format)?,
        momentum: read_buffer(&file, &layout, MOMENTUM).map_err(format)?,
        merges: metadata.merges,
        tokens: metadata.tokens,
    };
    let got = outer.root();
    if got != metadata.root {
        return Err(CheckpointError::Root { path: path.to_owned(), expected: metadata.root, got });
    }
    Ok(outer)
}

fn read_metadata(bytes: &[u8]) -> Result<Metadata, String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let text = header.metadata().as_ref().and_then(|entries| entries.get(METADATA));
    let text = text.ok_or_else(|| format!("no metadata under {METADATA:?}"))?;
    let metadata: Metadata = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if metadata.format == FORMAT {
        Ok(metadata)
    } else {
        Err(format!("format {}, this program reads {FORMAT}", metadata.format))
    }
}

fn read_buffer(file: &SafeTensors<'_>, layout: &StageLayout, prefix: &str) -> Result<Vec<f32>, String> {
    let mut buffer = vec![0.0; layout.padded_len()];
    for (name, shape, range) in places(layout) {
        let name = format!("{prefix}{name}");
        let tensor = file.tensor(&name).map_err(|error| error.to_string())?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            return Err(format!(
                "{name} is {:?} {:?}, expected F32 {shape:?}",
                tensor.dtype(),
                tensor.shape()
            ));
        }
        let values = from_bytes(tensor.data()).ok_or_else(|| format!("{name} has a broken length"))?;
        buffer[range].copy_from_slice(&values);
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets::tests::{nano, preset};

    const RUN: RunId = RunId(4);
    const STAGE: Stage = Stage(1);

    fn written() -> (tempfile::TempDir, PathBuf, OuterState) {
        let run = nano(3);
        let layout = StageLayout::new(&run, STAGE).unwrap();
        let mut outer = OuterState::initial(&run, &layout);
        let all = 0..layout.padded_len();
        outer.apply(all.clone(), &vec![0.01; all.len()], &run.merge).unwrap();
        outer.finish(99);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stage-1.safetensors");
        write(&path, RUN, &run, STAGE, &outer).unwrap();
        (dir, path, outer)
    }

    #[test]
    fn state_reads_back_and_equal_states_give_equal_files() {
        let (dir, path, outer) = written();
        assert_eq!(read(&path, RUN, &nano(3), STAGE).unwrap(), outer);
        let second = dir.path().join("again");
        write(&second, RUN, &nano(3), STAGE, &outer).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(&second).unwrap());
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let (_dir, path, _) = written();
        let bytes = fs::read(&path).unwrap();
        let check = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read(&path, RUN, &nano(3), STAGE).unwrap_err()
        };
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(matches!(check(&changed), CheckpointError::Root { .. }));
        assert!(matches!(check(&bytes[..bytes.len() - 4]), CheckpointError::Format { .. }));
        assert!(matches!(check(b"not a checkpoint"), CheckpointError::Format { .. }));
        fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path, RUN, &nano(3), STAGE), Err(CheckpointError::Io { .. })));
    }

    #[test]
    fn another_run_stage_or_model_is_refused() {
        let (_dir, path, outer) = written();
        let other = read(&path, RunId(5), &nano(3), STAGE).unwrap_err();
        assert!(other.to_string().contains("run 4 stage 1, expected run 5 stage 1"), "{other}");
        assert!(matches!(read(&path, RUN, &nano(3), Stage(2)), Err(CheckpointError::Other { .. })));
        assert!(matches!(read(&path, RUN, &preset("tiny", 3), STAGE), Err(CheckpointError::Format { .. })));
        let wrong = write(&path, RUN, &preset("tiny", 3), STAGE, &outer).unwrap_err();
        assert!(matches!(wrong, CheckpointError::State { .. }), "{wrong}");
    }
}
