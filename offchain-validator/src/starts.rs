//! States that epochs start with, which audits of their first segments start from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iota_compute::outer::OuterState;
use iota_protocol::ids::{Epoch, Stage};

/// Epochs whose states are kept: the one that trains, and the one that is audited meanwhile.
const KEPT: usize = 2;

type States = Arc<Vec<OuterState>>;

/// The newest known states, shared by the task that evaluates and those that audit.
#[derive(Clone, Default)]
pub struct Starts(Arc<Mutex<Vec<(Epoch, States)>>>);

impl Starts {
    fn inner(&self) -> MutexGuard<'_, Vec<(Epoch, States)>> {
        // A panic while holding the lock leaves a plain list behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the states of all stages at the start of an epoch.
    pub fn keep(&self, epoch: Epoch, states: Vec<OuterState>) {
        let mut known = self.inner();
        known.retain(|(of, _)| *of != epoch);
        known.push((epoch, Arc::new(states)));
        known.sort_by_key(|(of, _)| *of);
        while known.len() > KEPT {
            known.remove(0);
        }
    }

    /// Whether any are known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner().is_empty()
    }

    /// The state of a stage at the start of an epoch.
    #[must_use]
    pub fn of(&self, epoch: Epoch, stage: Stage) -> Option<OuterState> {
        let states =
            self.inner().iter().find(|(of, _)| *of == epoch).map(|(_, states)| Arc::clone(states))?;
        states.get(usize::from(stage.0)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_newest_epochs_are_known() {
        let starts = Starts::default();
        assert!(starts.is_empty());
        let state = |merges| OuterState { weights: vec![1.0], momentum: vec![0.0], merges, tokens: 0 };
        for epoch in 0..4 {
            starts.keep(Epoch(epoch), vec![state(epoch), state(100 + epoch)]);
        }
        assert!(starts.of(Epoch(1), Stage(0)).is_none(), "forgotten");
        assert_eq!(starts.of(Epoch(2), Stage(1)).map(|state| state.merges), Some(102));
        assert_eq!(starts.of(Epoch(3), Stage(0)).map(|state| state.merges), Some(3));
        assert!(starts.of(Epoch(3), Stage(2)).is_none());
    }
}
