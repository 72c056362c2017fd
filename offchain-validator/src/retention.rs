//! How long a validator keeps what it remembers of past epochs: what scoring and judging need goes by the number of
//! epochs, what anybody may want to look at later goes by age.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use iota_protocol::ids::Epoch;
use iota_service::retention::{days, sweep, Moment, Rule};

use crate::config::ValidatorConfig;

/// Epochs of which rows and witnesses are kept, the current one included: the chain keeps rows for three epochs
/// and judges for two, and one more serves those who look late.
const KEPT_EPOCHS: u32 = 5;
/// Epochs that may still be judged, the current one included: what was said and shown about them stays whatever
/// its age, also over a pause that is longer than files are kept.
const JUDGED_EPOCHS: u32 = 3;
/// Between two looks at the folder within an epoch.
const LOOK: Duration = Duration::from_secs(60 * 60);

/// Witnesses, rows with their salts, transcripts and dockets are what a restart needs to say the same again; they
/// hold nobody's text. A case holds a miner's inputs, and the accusation is nothing without it.
const WORKING: [Rule; 5] = [
    Rule { prefix: "witness-", epochs: Some(KEPT_EPOCHS), ageless: Some(JUDGED_EPOCHS) },
    Rule { prefix: "scores-", epochs: Some(KEPT_EPOCHS), ageless: Some(2) },
    Rule { prefix: "transcripts-", epochs: Some(KEPT_EPOCHS), ageless: Some(JUDGED_EPOCHS) },
    Rule { prefix: "docket-", epochs: Some(KEPT_EPOCHS), ageless: Some(JUDGED_EPOCHS) },
    Rule { prefix: "case-", epochs: Some(KEPT_EPOCHS), ageless: Some(JUDGED_EPOCHS) },
];
/// What is published stays for those who ask about an old payment.
const PUBLISHED: [Rule; 2] = [
    Rule { prefix: "report-", epochs: None, ageless: Some(1) },
    Rule { prefix: "heldout-", epochs: None, ageless: Some(1) },
];

/// Deletes at each epoch's edge, and once an hour within an epoch, whether or not there is anything to score.
pub struct Tidy {
    dir: PathBuf,
    keep: Duration,
    looked: Option<(Epoch, SystemTime)>,
}

impl Tidy {
    /// As the operator set it.
    #[must_use]
    pub fn new(config: &ValidatorConfig) -> Self {
        Self { dir: config.data_dir.clone(), keep: days(config.keep_days.get()), looked: None }
    }

    /// Looks at the folder if it is time to.
    pub fn look(&mut self, epoch: Epoch, now: SystemTime) {
        let recent = |(seen, at): (Epoch, SystemTime)| {
            seen == epoch && now.duration_since(at).is_ok_and(|since| since < LOOK)
        };
        if self.looked.is_some_and(recent) {
            return;
        }
        self.looked = Some((epoch, now));
        let at = Moment { epoch: epoch.0, now, keep: self.keep };
        sweep(&self.dir, &WORKING, at);
        sweep(&self.dir, &PUBLISHED, at);
    }

    /// The run is over: nothing is scored or judged any more. Reports stay, and nobody deletes them from then on.
    pub fn end(&self) {
        let at = Moment { epoch: u32::MAX, now: SystemTime::now(), keep: self.keep };
        sweep(&self.dir, &WORKING, at);
        tracing::info!("the run has ended; reports and the newest checkpoint stay, the rest is deleted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 7] = [
        "witness-E",
        "scores-E",
        "transcripts-E",
        "docket-E",
        "case-E-3-7",
        "report-E.json",
        "heldout-E.json",
    ];

    fn folder() -> (tempfile::TempDir, Tidy) {
        let dir = tempfile::tempdir().unwrap();
        for epoch in 1..=6 {
            for kind in KINDS {
                std::fs::write(dir.path().join(kind.replace('E', &epoch.to_string())), b"1").unwrap();
            }
        }
        std::fs::create_dir(dir.path().join("checkpoint")).unwrap();
        let config = ValidatorConfig { data_dir: dir.path().to_owned(), ..ValidatorConfig::default() };
        (dir, Tidy::new(&config))
    }

    /// Epochs of which a kind is left.
    fn left(dir: &tempfile::TempDir, kind: &str) -> Vec<u32> {
        (1..=6).filter(|epoch| dir.path().join(kind.replace('E', &epoch.to_string())).exists()).collect()
    }

    #[test]
    fn what_scoring_and_judging_need_goes_by_epochs_and_reports_stay() {
        let (dir, mut tidy) = folder();
        tidy.look(Epoch(6), SystemTime::now());
        for kind in &KINDS[..5] {
            assert_eq!(left(&dir, kind), [2, 3, 4, 5, 6], "{kind}");
        }
        tidy.look(Epoch(9), SystemTime::now());
        assert_eq!(left(&dir, "scores-E"), [5, 6], "an idle validator looks, too");
        assert_eq!(left(&dir, "report-E.json").len(), 6);
    }

    #[test]
    fn everything_old_goes_but_what_the_next_row_and_open_verdicts_need() {
        let (dir, mut tidy) = folder();
        tidy.look(Epoch(6), SystemTime::now() + days(29));
        assert_eq!(left(&dir, "report-E.json").len(), 6);
        tidy.look(Epoch(6), SystemTime::now() + days(31));
        for kind in ["witness-E", "transcripts-E", "docket-E", "case-E-3-7"] {
            assert_eq!(left(&dir, kind), [4, 5, 6], "{kind}");
        }
        assert_eq!(left(&dir, "scores-E"), [5, 6]);
        for kind in &KINDS[5..] {
            assert_eq!(left(&dir, kind), [6], "{kind}");
        }
        assert!(dir.path().join("checkpoint").exists());
    }

    #[test]
    fn after_the_run_reports_are_left() {
        let (dir, tidy) = folder();
        tidy.end();
        for kind in &KINDS[..5] {
            assert!(left(&dir, kind).is_empty(), "{kind}");
        }
        assert_eq!(left(&dir, "report-E.json").len(), 6);
    }
}
