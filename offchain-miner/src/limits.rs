//! When a miner rests: outside the hours that its owner gave, and while its owner has paused it from
//! another terminal. Looked at before each epoch; what has begun is finished, merged and committed, so
//! that nothing is lost.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// A file of this name in the data folder pauses the miner of that folder.
const PAUSED: &str = "paused";
const MINUTES_OF_DAY: u32 = 24 * 60;

/// Hours of the day in which to work, such as 22-07; UTC, like the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    from: u32,
    to: u32,
}

impl Hours {
    /// Whether a minute of the day lies within. Equal ends are the whole day.
    #[must_use]
    pub fn contain(self, minute: u32) -> bool {
        let (from, to) = (self.from * 60, self.to * 60);
        match from < to {
            true => (from..to).contains(&minute),
            false => minute >= from || minute < to,
        }
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form 22-07: two hours of the day, 0 to 24");
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let hour = |text: &str| text.trim().parse::<u32>().ok().filter(|hour| *hour <= 24);
        Ok(Self { from: hour(from).ok_or_else(wrong)?, to: hour(to).ok_or_else(wrong)? })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}-{:02}", self.from, self.to)
    }
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        hours.to_string()
    }
}

/// Why the miner of that folder rests now; `None` if it works.
#[must_use]
pub fn resting(data_dir: &Path, hours: Option<Hours>) -> Option<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let minute = u32::try_from(now.as_secs() / 60 % u64::from(MINUTES_OF_DAY)).unwrap_or(0);
    resting_at(data_dir, hours, minute)
}

fn resting_at(data_dir: &Path, hours: Option<Hours>, minute: u32) -> Option<String> {
    if file(data_dir).exists() {
        return Some("paused: `iota-miner resume` in the same folder goes on".into());
    }
    let hours = hours.filter(|hours| !hours.contain(minute))?;
    Some(format!("resting: its hours are {hours} (UTC)"))
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join(PAUSED)
}

/// Pauses the miner of that folder after its current epoch.
///
/// # Errors
/// When the folder is none, or not ours.
pub fn pause(data_dir: &Path) -> anyhow::Result<()> {
    std::fs::write(file(data_dir), b"").with_context(|| {
        format!("pausing {}; give the running miner's folder with --data-dir", data_dir.display())
    })
}

/// Lets it go on.
///
/// # Errors
/// When it is not paused.
pub fn resume(data_dir: &Path) -> anyhow::Result<()> {
    std::fs::remove_file(file(data_dir))
        .with_context(|| format!("the miner of {} is not paused", data_dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_may_span_midnight() {
        let night: Hours = "22-07".parse().unwrap();
        for (minute, works) in
            [(21 * 60 + 59, false), (22 * 60, true), (0, true), (6 * 60 + 59, true), (7 * 60, false)]
        {
            assert_eq!(night.contain(minute), works, "minute {minute}");
        }
        let day: Hours = "8-20".parse().unwrap();
        assert!(day.contain(8 * 60) && !day.contain(20 * 60) && !day.contain(0));
        assert!("0-24".parse::<Hours>().unwrap().contain(23 * 60 + 59));
        assert!("9-9".parse::<Hours>().unwrap().contain(0), "the whole day");
        assert_eq!(night.to_string(), "22-07");
        for wrong in ["22", "22-25", "x-7", "22:00-07:00"] {
            assert!(wrong.parse::<Hours>().unwrap_err().contains("22-07"), "{wrong}");
        }
    }

    #[test]
    fn a_pause_lasts_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        assert!(resume(dir.path()).is_err());
        assert_eq!(resting_at(dir.path(), None, 0), None);
        pause(dir.path()).unwrap();
        assert!(resting_at(dir.path(), None, 0).unwrap().contains("resume"));
        resume(dir.path()).unwrap();
        let hours = Some("8-20".parse().unwrap());
        assert_eq!(resting_at(dir.path(), hours, 9 * 60), None);
        assert!(resting_at(dir.path(), hours, 21 * 60).unwrap().contains("08-20"));
        assert!(pause(&dir.path().join("none")).is_err());
    }
}
