//! What one process had resident over time, and whether it grows.

use std::collections::BTreeMap;
use std::time::Duration;

/// Growth that is not growth: pages that the allocator moves between its arenas.
const SLACK: f64 = 4.0;
/// And what epochs of other lengths and other samples differ by, as a share.
const SHARE: f64 = 0.02;
/// Bytes of a megabyte here.
const MB: f64 = 1_048_576.0;

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the warm-up.
    pub at: Duration,
    /// The epoch at that time.
    pub epoch: u32,
    /// Resident bytes.
    pub bytes: u64,
}

/// All looks at one process.
#[derive(Debug)]
pub struct Series {
    /// Name of the member.
    pub name: String,
    /// Number of its process.
    pub process: u32,
    /// In the order of time.
    pub samples: Vec<Sample>,
}

/// What a process has resident, in bytes.
///
/// # Errors
/// When it has ended.
pub fn resident(process: u32) -> std::io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    kib.map(|kib: u64| kib * 1_024).ok_or_else(|| std::io::Error::other("no VmRSS in its status"))
}

impl Series {
    /// Nothing seen yet.
    pub fn new(name: &str, process: u32) -> Self {
        Self { name: name.to_owned(), process, samples: Vec::new() }
    }

    /// Most megabytes in each epoch but the last, which is under way. Within an epoch memory comes and goes
    /// with training and merging, so that only whole epochs can be compared.
    pub fn peaks(&self) -> Vec<f64> {
        let mut peaks = BTreeMap::<u32, u64>::new();
        for sample in &self.samples {
            let peak = peaks.entry(sample.epoch).or_default();
            *peak = (*peak).max(sample.bytes);
        }
        peaks.pop_last();
        peaks.into_values().map(|bytes| bytes as f64 / MB).collect()
    }

    /// Megabytes that it gained each minute: the line with the least squares through all looks.
    pub fn slope(&self) -> f64 {
        let points =
            || self.samples.iter().map(|look| (look.at.as_secs_f64() / 60.0, look.bytes as f64 / MB));
        let count = self.samples.len() as f64;
        let (x, y) =
            points().fold((0.0, 0.0), |sum, point| (sum.0 + point.0 / count, sum.1 + point.1 / count));
        let (over, under) = points().fold((0.0, 0.0), |sum, point| {
            (sum.0 + (point.0 - x) * (point.1 - y), sum.1 + (point.0 - x).powi(2))
        });
        over / under
    }

    /// Highest peak of the first half of the epochs and of the second; nothing for fewer than four epochs.
    pub fn halves(&self) -> Option<(f64, f64)> {
        let peaks = self.peaks();
        if peaks.len() < 4 {
            return None;
        }
        let (first, second) = peaks.split_at(peaks.len() / 2);
        let most = |peaks: &[f64]| peaks.iter().copied().fold(0.0, f64::max);
        Some((most(first), most(second)))
    }

    /// Whether the second half stays within what is no growth; nothing for fewer than four epochs.
    pub fn is_flat(&self) -> Option<bool> {
        self.halves().map(|(first, second)| second <= first * (1.0 + SHARE) + SLACK)
    }
}
