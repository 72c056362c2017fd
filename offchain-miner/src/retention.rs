//! How long a miner keeps what it keeps for others. What has to be deleted is deleted while it trains,
//! waits or rests, and when the run ends: the disk is somebody's home.

use std::time::{Duration, SystemTime};

use iota_protocol::ids::Epoch;
use iota_service::retention::{days, Moment, Rule};

use crate::store::Store;

/// Epochs whose artefacts are kept: the one that trains, the one that is audited, and one more for a newcomer
/// that asks late.
pub const KEPT_EPOCHS: u32 = 3;
/// Between two looks at the folder within an epoch. What is deleted by age is days old.
const LOOK: Duration = Duration::from_secs(60 * 60);

/// Folders hold text, activations and receipts; the current epoch's journal also says what was signed, the
/// one before is audited: a pause of the run must not make an honest miner one that withholds. States are weights: they go by count, and the newest stays.
pub(crate) const RULES: [Rule; 2] = [
    Rule { prefix: "epoch-", epochs: Some(KEPT_EPOCHS), ageless: Some(2) },
    Rule { prefix: "state-", epochs: Some(KEPT_EPOCHS), ageless: None },
];

/// Deletes at each epoch's edge, and once an hour within an epoch.
pub struct Tidy {
    keep: Duration,
    looked: Option<(Epoch, SystemTime)>,
}

impl Tidy {
    /// Nothing stays longer than so many days.
    #[must_use]
    pub fn after(keep_days: u32) -> Self {
        Self { keep: days(keep_days), looked: None }
    }

    /// Looks at the store if it is time to. Whether the miner works does not matter.
    pub fn look(&mut self, store: &Store, epoch: Epoch, now: SystemTime) {
        let recent = |(seen, at): (Epoch, SystemTime)| {
            seen == epoch && now.duration_since(at).is_ok_and(|since| since < LOOK)
        };
        if self.looked.is_some_and(recent) {
            return;
        }
        self.looked = Some((epoch, now));
        store.forget(Moment { epoch: epoch.0, now, keep: self.keep });
    }

    /// The run is over: nobody can ask for anything, and nothing is signed any more.
    pub fn end(&self, store: &Store) {
        store.forget_all();
        tracing::info!(
            "the run has ended; its texts, receipts and journals are deleted, the last state stays"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_compute::outer::OuterState;
    use iota_protocol::ids::Stage;

    fn store(epochs: std::ops::RangeInclusive<u32>) -> (tempfile::TempDir, std::sync::Arc<Store>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for epoch in epochs {
            let outer = OuterState { weights: vec![1.0; 4], momentum: vec![0.0; 4], merges: 0, tokens: 0 };
            store.put_state(Epoch(epoch), Stage(0), outer).unwrap();
            let folder = dir.path().join(format!("epoch-{epoch}"));
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("journal"), b"text of others").unwrap();
        }
        (dir, store)
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_miner_that_only_waits_deletes_as_epochs_pass() {
        let (dir, store) = store(1..=3);
        let (mut tidy, now) = (Tidy::after(30), SystemTime::now());
        tidy.look(&store, Epoch(3), now);
        assert_eq!(names(&dir).len(), 6, "all three are kept");
        tidy.look(&store, Epoch(5), now);
        assert_eq!(names(&dir), ["epoch-3", "state-3"]);
        assert!(store.state(Epoch(2)).is_none());
    }

    #[test]
    fn in_a_run_that_stands_still_text_goes_by_its_age() {
        let (dir, store) = store(2..=4);
        let (mut tidy, now) = (Tidy::after(30), SystemTime::now());
        tidy.look(&store, Epoch(4), now + days(29));
        assert_eq!(names(&dir).len(), 6);
        // Within the hour nobody looks; after it somebody does.
        tidy.look(&store, Epoch(4), now + days(29) + LOOK / 2);
        tidy.look(&store, Epoch(4), now + days(31));
        assert_eq!(names(&dir), ["epoch-3", "epoch-4", "state-2", "state-3", "state-4"]);
    }

    #[test]
    fn after_the_run_the_last_state_is_all_that_is_left() {
        let (dir, store) = store(2..=4);
        std::fs::write(dir.path().join("miner.log"), b"1").unwrap();
        Tidy::after(30).end(&store);
        assert_eq!(names(&dir), ["miner.log", "state-4"]);
        assert!(store.state(Epoch(4)).is_some() && store.state(Epoch(3)).is_none());
    }
}
