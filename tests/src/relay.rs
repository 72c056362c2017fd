//! When a packet that enters a made-up link leaves it: rate, delay, jitter and loss, from a seed.
//! Pure: time is given, nothing is slept, so that every rule below is tested without a network.

use std::cmp::Ordering;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{bail, Context};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a queue at the link's slow end holds before it drops: 100 ms at its rate, as home routers do.
pub const QUEUE: Duration = Duration::from_millis(100);
/// At a low rate 100 ms would not hold one congestion window; 64 KiB is the least that routers have.
const LEAST_QUEUE: u64 = 64 * 1024;

/// One member's connection, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// Bits per second.
    pub rate: u64,
    /// From a member to another and back.
    pub rtt: Duration,
    /// Largest addition to the delay of a packet, drawn evenly; reorders packets.
    pub jitter: Duration,
    /// Packets lost, in millionths.
    pub loss_ppm: u32,
}

impl FromStr for LinkSpec {
    type Err = anyhow::Error;

    /// `rate=50mbit,rtt=100ms,jitter=5ms,loss=1%`; only the rate has to be given.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut link = Self { rate: 0, rtt: Duration::ZERO, jitter: Duration::ZERO, loss_ppm: 0 };
        for part in text.split(',') {
            let (key, value) = part.split_once('=').with_context(|| {
                format!("link '{text}': '{part}' is not of the form key=value, as in rate=50mbit,rtt=100ms,loss=1%")
            })?;
            match key {
                "rate" => link.rate = rate(value)?,
                "rtt" => link.rtt = millis(value)?,
                "jitter" => link.jitter = millis(value)?,
                "loss" => link.loss_ppm = percent(value)?,
                _ => bail!("link '{text}': unknown key '{key}' (expected rate, rtt, jitter or loss)"),
            }
        }
        if link.rate == 0 {
            bail!("link '{text}': give a rate above zero, as in rate=50mbit");
        }
        Ok(link)
    }
}

fn number(value: &str, unit: &str) -> anyhow::Result<f64> {
    let digits =
        value.strip_suffix(unit).with_context(|| format!("'{value}': expected a number and '{unit}'"))?;
    let number: f64 = digits.parse().with_context(|| format!("'{value}': '{digits}' is not a number"))?;
    if !(number.is_finite() && number >= 0.0) {
        bail!("'{value}': expected zero or more");
    }
    Ok(number)
}

fn rate(value: &str) -> anyhow::Result<u64> {
    let (unit, scale) = if value.ends_with("gbit") { ("gbit", 1e9) } else { ("mbit", 1e6) };
    Ok(whole(number(value, unit)? * scale))
}

fn millis(value: &str) -> anyhow::Result<Duration> {
    Ok(Duration::from_secs_f64(number(value, "ms")?.min(60_000.0) / 1e3))
}

fn percent(value: &str) -> anyhow::Result<u32> {
    Ok(u32::try_from(whole(number(value, "%")?.min(100.0) * 1e4)).unwrap_or(1_000_000))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be finite and not negative"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

impl LinkSpec {
    /// How long `bytes` take at its rate.
    #[must_use]
    pub fn time(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 * 8.0 / self.rate as f64)
    }

    /// The most that waits at its slow end.
    #[must_use]
    pub fn queue(&self) -> Duration {
        QUEUE.max(self.time(LEAST_QUEUE))
    }
}

/// The far side of one member's link: what comes down to it.
pub struct Downlink {
    link: LinkSpec,
    free_at: Instant,
    dice: ChaCha8Rng,
}

impl Downlink {
    /// Empty from `now`; the same seed draws the same fates.
    #[must_use]
    pub fn new(link: LinkSpec, seed: u64, now: Instant) -> Self {
        Self { link, free_at: now, dice: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// From now on it is like this.
    pub fn change(&mut self, link: LinkSpec) {
        self.link = link;
    }

    /// When a packet of so many bytes arrives, or `None` if it is lost or finds the queue full.
    pub fn arrival(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        if self.dice.random_range(0..1_000_000) < self.link.loss_ppm {
            return None;
        }
        let start = self.free_at.max(now);
        if start.duration_since(now) > self.link.queue() {
            return None;
        }
        self.free_at = start + self.link.time(bytes as u64);
        let jitter = self.link.jitter.mul_f64(self.dice.random::<f64>());
        Some(self.free_at + self.link.rtt / 2 + jitter)
    }
}

/// A packet under way; the earliest is the greatest, as a heap wants it.
pub struct Packet {
    /// When it arrives.
    pub at: Instant,
    /// Entered as the n-th: packets of the same instant keep their order.
    pub number: u64,
    /// Whose it is.
    pub to: usize,
    /// The packet.
    pub bytes: Vec<u8>,
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Packet {}

impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Packet {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(text: &str) -> LinkSpec {
        text.parse().unwrap()
    }

    #[test]
    fn reads_what_people_write_and_says_what_is_wrong() {
        let full = link("rate=50mbit,rtt=100ms,jitter=5ms,loss=1%");
        assert_eq!(full.rate, 50_000_000);
        assert_eq!(full.rtt, Duration::from_millis(100));
        assert_eq!(full.jitter, Duration::from_millis(5));
        assert_eq!(full.loss_ppm, 10_000);
        assert_eq!(link("rate=1gbit").rate, 1_000_000_000);
        for bad in ["", "50mbit", "rate=0mbit", "rtt=20ms", "rate=50", "rate=-1mbit", "rate=1mbit,ping=3ms"] {
            let error = bad.parse::<LinkSpec>().unwrap_err().to_string();
            assert!(error.contains('\'') && error.len() > 20, "{bad}: {error}");
        }
    }

    /// 1,250 bytes at 10 Mb/s take 1 ms; the second waits for the first; half the round trip follows.
    #[test]
    fn rate_and_delay_by_hand() {
        let now = Instant::now();
        let mut down = Downlink::new(link("rate=10mbit,rtt=20ms"), 1, now);
        assert_eq!(down.arrival(now, 1_250), Some(now + Duration::from_millis(11)));
        assert_eq!(down.arrival(now, 1_250), Some(now + Duration::from_millis(12)));
        let later = now + Duration::from_millis(50);
        assert_eq!(
            down.arrival(later, 1_250),
            Some(later + Duration::from_millis(11)),
            "idle links save nothing up"
        );
    }

    #[test]
    fn a_full_queue_drops_and_holds_no_more_than_its_length() {
        let now = Instant::now();
        let mut down = Downlink::new(link("rate=10mbit"), 1, now);
        let taken = (0..1_000).filter(|_| down.arrival(now, 1_250).is_some()).count();
        // 100 ms at 1 ms each, and the one that starts at the very end.
        assert_eq!(taken, 101);
    }

    #[test]
    fn loss_is_what_was_asked_for_and_the_same_for_one_seed() {
        let fates = |seed| {
            let now = Instant::now();
            let mut down = Downlink::new(link("rate=1gbit,loss=1%"), seed, now);
            let step = Duration::from_millis(1);
            (0..20_000u32).map(|n| down.arrival(now + step * n, 100).is_some()).collect::<Vec<_>>()
        };
        let lost = fates(7).iter().filter(|kept| !**kept).count();
        assert!((120..=280).contains(&lost), "{lost} of 20,000 at one percent: 200 give or take six sigma");
        assert_eq!(fates(7), fates(7));
        assert_ne!(fates(7), fates(8));
    }

    #[test]
    fn jitter_reorders_and_a_heap_gives_the_earliest_first() {
        let now = Instant::now();
        let mut down = Downlink::new(link("rate=1gbit,rtt=20ms,jitter=30ms"), 3, now);
        let mut heap = std::collections::BinaryHeap::new();
        for number in 0..100 {
            let at = down.arrival(now, 100).unwrap();
            heap.push(Packet { at, number, to: 0, bytes: Vec::new() });
        }
        let out: Vec<_> =
            std::iter::from_fn(|| heap.pop()).map(|packet| (packet.at, packet.number)).collect();
        assert!(out.windows(2).all(|pair| pair[0] <= pair[1]), "in order of arrival");
        assert!(out.windows(2).any(|pair| pair[0].1 > pair[1].1), "and not in order of sending");
    }
}
