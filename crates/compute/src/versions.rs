//! The weight versions of a stage that are alive: the current one, and the one before while passes
//! wait on it.

use iota_protocol::ids::Version;
use tch::{TchError, Tensor};

use crate::model::{to_vec, StageModel};

/// Weights that passes run with.
struct WeightVersion {
    version: Version,
    flat: Tensor,
    leaves: Vec<Tensor>,
}

/// Versions in ascending order.
#[derive(Default)]
pub(crate) struct WeightVersions {
    alive: Vec<WeightVersion>,
}

impl WeightVersions {
    /// Adds a version; `flat` must not change while passes wait on it. A step that wrote into the
    /// newest version's own memory only gives it its new number.
    pub(crate) fn publish(
        &mut self,
        version: Version,
        flat: Tensor,
        model: &StageModel,
    ) -> Result<(), TchError> {
        match self.alive.last_mut() {
            Some(newest) if newest.flat.data_ptr() == flat.data_ptr() => {
                newest.version = version;
                Ok(())
            }
            _ => self.push(version, flat, model),
        }
    }

    /// Adds a version beside the ones before.
    pub(crate) fn push(
        &mut self,
        version: Version,
        flat: Tensor,
        model: &StageModel,
    ) -> Result<(), TchError> {
        let leaves = model.leaves(&flat, true)?;
        self.alive.push(WeightVersion { version, flat, leaves });
        Ok(())
    }

    /// Drops the versions for which `wanted` is false.
    pub(crate) fn retain(&mut self, wanted: impl Fn(Version) -> bool) {
        self.alive.retain(|weights| wanted(weights.version));
    }

    /// Leaves of one version, in the order of the layout.
    pub(crate) fn leaves(&self, version: Version) -> Option<&[Tensor]> {
        let found = self.alive.iter().find(|weights| weights.version == version);
        found.map(|weights| weights.leaves.as_slice())
    }

    /// Weights of the version before `current`, if it is alive: the first `trained` ones of its buffer
    /// and the padding, which no step changes.
    pub(crate) fn before(
        &self,
        current: Version,
        trained: usize,
        padding: &[f32],
    ) -> Result<Option<Vec<f32>>, TchError> {
        let Some(older) = self.alive.iter().find(|weights| weights.version < current) else {
            return Ok(None);
        };
        let mut values = to_vec(&older.flat)?;
        values.truncate(trained);
        values.extend_from_slice(padding);
        Ok(Some(values))
    }
}
