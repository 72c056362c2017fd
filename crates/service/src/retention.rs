//! When files of past epochs go: by the number of epochs since, and by age.
//!
//! A data folder holds files and folders whose names are a prefix and an epoch: `epoch-7`, `report-7.json`,
//! `case-7-3-0`. Epochs alone are no measure of time: a run that pauses, or one that has ended, would leave
//! other people's text on a home disk for ever. So what has been there longer than a stated age goes, too.
//! The caller says what time it is.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long things are kept unless the operator says otherwise: a run that pauses for some weeks can still audit
/// its last epoch afterwards, and nobody's text stays on a home disk for longer than a month.
pub const KEEP_DAYS: NonZeroU32 = NonZeroU32::new(30).expect("30 is not zero; qed");

/// One kind of file.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What its name begins with; the epoch follows.
    pub prefix: &'static str,
    /// Epochs that are kept, the current one included; all when absent.
    pub epochs: Option<u32>,
    /// Newest epochs, the current one included, that stay whatever their age; all when absent.
    pub ageless: Option<u32>,
}

/// What is past, seen from where.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The run's epoch.
    pub epoch: u32,
    /// The time.
    pub now: SystemTime,
    /// How long things are kept that have no other reason to go.
    pub keep: Duration,
}

/// Days as a duration.
#[must_use]
pub fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 24 * 60 * 60)
}

/// Deletes what the rules let go; returns prefix and epoch of each file and folder that went. What cannot be
/// deleted is logged and tried again the next time.
pub fn sweep(dir: &Path, rules: &[Rule], at: Moment) -> Vec<(&'static str, u32)> {
    let mut gone = Vec::new();
    for (rule, epoch, path) in found(dir, rules) {
        let goes = rule.is_over(epoch, at.epoch) || (rule.may_age(epoch, at.epoch) && is_older(&path, at));
        if !goes {
            continue;
        }
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Ok(()) => gone.push((rule.prefix, epoch)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "not deleted; it takes up space for nothing");
            }
        }
    }
    gone
}

impl Rule {
    fn is_over(&self, epoch: u32, current: u32) -> bool {
        self.epochs.is_some_and(|kept| epoch.saturating_add(kept) <= current)
    }

    fn may_age(&self, epoch: u32, current: u32) -> bool {
        self.ageless.is_some_and(|newest| epoch.saturating_add(newest) <= current)
    }
}

fn found<'a>(dir: &Path, rules: &'a [Rule]) -> Vec<(&'a Rule, u32, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str()?;
            rules.iter().find_map(|rule| {
                let rest = name.strip_prefix(rule.prefix)?;
                let epoch = rest.split(['-', '.']).next()?.parse().ok()?;
                Some((rule, epoch, entry.path()))
            })
        })
        .collect()
}

/// Whether nothing of a file or folder has been written for so long. Times in the future and times that the
/// system does not tell count as new.
fn is_older(path: &Path, at: Moment) -> bool {
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let written = inside.chain([path.to_owned()]).map(|path| path.metadata().and_then(|m| m.modified()));
    let newest = written.map(|time| time.unwrap_or(at.now)).max().unwrap_or(at.now);
    at.now.duration_since(newest).is_ok_and(|age| age > at.keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [Rule; 3] = [
        Rule { prefix: "epoch-", epochs: Some(3), ageless: Some(1) },
        Rule { prefix: "report-", epochs: None, ageless: Some(0) },
        Rule { prefix: "state-", epochs: Some(3), ageless: None },
    ];

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for epoch in 1..=4 {
            let epoch_dir = dir.path().join(format!("epoch-{epoch}"));
            std::fs::create_dir(&epoch_dir).unwrap();
            std::fs::write(epoch_dir.join("journal"), b"1").unwrap();
            std::fs::write(dir.path().join(format!("report-{epoch}.json")), b"1").unwrap();
            std::fs::write(dir.path().join(format!("state-{epoch}")), b"1").unwrap();
        }
        for other in ["epoch-x", "peer.json", "reports", "paused"] {
            std::fs::write(dir.path().join(other), b"1").unwrap();
        }
        dir
    }

    fn left(dir: &Path) -> Vec<String> {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| !["epoch-x", "peer.json", "reports", "paused"].contains(&name.as_str()));
        names.sort();
        names
    }

    fn at(epoch: u32, later_days: u32) -> Moment {
        Moment { epoch, now: SystemTime::now() + days(later_days), keep: days(30) }
    }

    #[test]
    fn epochs_are_counted_and_what_none_of_the_rules_names_stays() {
        let dir = folder();
        let mut gone = sweep(dir.path(), &RULES, at(4, 0));
        gone.sort_unstable();
        assert_eq!(gone, [("epoch-", 1), ("state-", 1)]);
        assert_eq!(left(dir.path()).len(), 10);
        assert_eq!(sweep(dir.path(), &RULES, at(4, 29)), [], "not old enough");
        for other in ["epoch-x", "peer.json", "reports", "paused"] {
            assert!(dir.path().join(other).exists(), "{other}");
        }
    }

    #[test]
    fn what_lies_there_past_the_age_goes_although_the_run_stands_still() {
        let dir = folder();
        sweep(dir.path(), &RULES, at(4, 31));
        // The current epoch's folder says what was signed in it, states hold nobody's text.
        assert_eq!(left(dir.path()), ["epoch-4", "state-2", "state-3", "state-4"]);
    }

    #[test]
    fn a_folder_is_as_old_as_the_newest_file_in_it() {
        let dir = folder();
        let journal = dir.path().join("epoch-2").join("journal");
        let file = std::fs::File::options().append(true).open(journal).unwrap();
        file.set_modified(SystemTime::now() + days(20)).unwrap();
        sweep(dir.path(), &RULES, at(4, 31));
        assert_eq!(left(dir.path()), ["epoch-2", "epoch-4", "state-2", "state-3", "state-4"]);
    }
}
