//! One sample on its way through this stage: who sent it, where it went, what it waits for.
//!
//! Pure bookkeeping, no IO. The rule of design.md, section 6: whatever happens to a neighbour, the
//! stage runs a sample forward once and backward once; a new upstream is given what is already
//! there.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use iota_protocol::ids::{Attempt, Hash, Sample, Uid};
use iota_protocol::packed::prefix;
use iota_protocol::receipt::{Skip, SkipCause, MAX_SKIPS};

/// Shortest silence after which a neighbour is asked whether it still works on a sample.
pub const MIN_PATIENCE: Duration = Duration::from_secs(2);
/// Least time that a neighbour that answers probes has for a sample.
pub const LONGEST_WORK: Duration = Duration::from_secs(20);
/// The slowest line that a member may say it has, bytes per second: the least limit on upload.
const SLOWEST_LINE: u64 = 64_000;
/// Service times that the median is taken over; old ones leave as new ones come.
const SERVICE_WINDOW: usize = 33;

/// Where a sample stands at this stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stand {
    /// Forward pass queued or running.
    Forwarding,
    /// Output ready; looking for a miner that takes it.
    Sending,
    /// Taken by this miner; its gradient is awaited.
    Awaiting(Uid),
    /// Backward pass queued or running.
    Backwarding,
    /// Finished here. The gradient for upstream is kept until the epoch's audit has closed.
    Done,
    /// Given up.
    Abandoned,
}

/// One sample at this stage.
#[derive(Clone, Debug)]
pub struct Flight {
    /// The sample.
    pub sample: Sample,
    /// Attempt under which the pass ran here; keys trainer and log.
    pub key: Attempt,
    /// Newest attempt that upstream used; answers go out under it.
    pub attempt: Attempt,
    /// Who sent the input that the pass ran on; `None` at stage 0.
    pub origin: Option<Uid>,
    /// Who sent it last and is owed the gradient; `None` at stage 0.
    pub upstream: Option<Uid>,
    /// Id of the message that brought it last; zero at stage 0.
    pub parent: Hash,
    /// Where it stands.
    pub stand: Stand,
    /// Hash of the input codes.
    pub input: Hash,
    /// Hash of the codes for the next stage, which the store keeps.
    pub output: Option<Hash>,
    /// Hash of the incoming gradient's codes.
    pub gradient_in: Hash,
    /// Who sent that gradient; `None` at the last stage.
    pub gradient_from: Option<Uid>,
    /// Hash of the gradient codes for upstream, once computed; the store keeps them.
    pub gradient_out: Option<Hash>,
    /// Who was skipped, and why.
    pub skips: Vec<Skip>,
    /// Last time that downstream gave a sign of life.
    pub heard: Instant,
    /// When downstream took it; a neighbour that only ever says "working" is given up in the end.
    pub sent_at: Instant,
    /// Everyone that it was offered to: only they can have its gradient.
    pub offered: BTreeSet<Uid>,
    /// Ids of the messages that it was offered with, at most one for each attempt and sender of the input:
    /// a gradient names the one that it answers by its first bytes.
    pub sent: BTreeSet<Hash>,
    /// A probe is on its way.
    pub probing: bool,
    /// When it arrived here.
    pub since: Instant,
}

impl Flight {
    /// A sample that has just arrived.
    #[must_use]
    pub fn arrived(
        sample: Sample,
        attempt: Attempt,
        upstream: Option<Uid>,
        parent: Hash,
        input: Hash,
        now: Instant,
    ) -> Self {
        Self {
            sample,
            key: attempt,
            attempt,
            origin: upstream,
            upstream,
            parent,
            stand: Stand::Forwarding,
            input,
            output: None,
            gradient_in: Hash::ZERO,
            gradient_from: None,
            gradient_out: None,
            skips: Vec::new(),
            heard: now,
            sent_at: now,
            offered: BTreeSet::new(),
            sent: BTreeSet::new(),
            probing: false,
            since: now,
        }
    }

    /// Takes the sender of a repeated message for the one who is owed the gradient, unless a newer
    /// attempt has come since. Returns whether it did.
    pub fn rebind(&mut self, attempt: Attempt, upstream: Uid, parent: Hash) -> bool {
        if attempt < self.attempt {
            return false;
        }
        (self.attempt, self.upstream, self.parent) = (attempt, Some(upstream), parent);
        true
    }

    /// The message among those sent downstream whose id begins so.
    #[must_use]
    pub fn sent_with(&self, first: [u8; 4]) -> Option<Hash> {
        self.sent.iter().copied().find(|id| prefix(id) == first)
    }

    /// Whether it still needs work here.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.stand, Stand::Done | Stand::Abandoned)
    }

    /// The first miner of `order` that has not been skipped.
    #[must_use]
    pub fn candidate(&self, order: &[Uid]) -> Option<Uid> {
        let skipped: BTreeSet<Uid> = self.skips.iter().map(|skip| skip.uid).collect();
        order.iter().copied().find(|uid| !skipped.contains(uid))
    }

    /// Records a skip. When every miner of the order has been skipped the list starts over, so
    /// that a stage that was busy or restarting gets another chance.
    pub fn skip(&mut self, uid: Uid, cause: SkipCause, order: &[Uid]) {
        let full = self.skips.len() >= usize::try_from(MAX_SKIPS).unwrap_or(usize::MAX);
        if !full {
            self.skips.push(Skip { uid, cause });
        }
        if full || self.candidate(order).is_none() {
            self.skips.clear();
        }
    }
}

/// Median of recent service times and the patience that follows from it.
#[derive(Clone, Debug, Default)]
pub struct Patience {
    recent: VecDeque<Duration>,
    /// What the messages of all samples that may be open take on the slowest line.
    line: Duration,
}

impl Patience {
    /// For messages of so many bytes, as many of which may share a line. While no sample has come back, silence may
    /// be a full line: who then sends the same again fills it with repeats, and nothing ever comes back.
    #[must_use]
    pub fn for_messages(bytes: usize, at_once: u8) -> Self {
        let all = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(u64::from(at_once));
        let line = Duration::from_millis(all.saturating_mul(1_000) / SLOWEST_LINE);
        Self { recent: VecDeque::new(), line }
    }

    /// Adds the time from sending a sample downstream to its gradient's arrival.
    pub fn served(&mut self, took: Duration) {
        if self.recent.len() == SERVICE_WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(took);
    }

    /// Lower median of the recent times, zero before the first.
    #[must_use]
    pub fn median(&self) -> Duration {
        let mut sorted: Vec<Duration> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        let middle = sorted.len().saturating_sub(1) / 2;
        sorted.get(middle).copied().unwrap_or_default()
    }

    /// Time after which a sample is taken elsewhere although downstream says that it works on it:
    /// twice what silence may last, and long enough for a stage that is merely starved of processor
    /// time.
    #[must_use]
    pub fn cap(&self) -> Duration {
        LONGEST_WORK.max(self.median().saturating_mul(8))
    }

    /// Silence after which downstream is asked: max(2 s, 4 × median) (issue text, design section 6); before the
    /// first time is known, 2 s and what a slow line takes.
    #[must_use]
    pub fn limit(&self) -> Duration {
        if self.recent.is_empty() {
            return MIN_PATIENCE.saturating_add(self.line);
        }
        MIN_PATIENCE.max(self.median().saturating_mul(4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight() -> Flight {
        Flight::arrived(Sample(1), Attempt(0), Some(Uid(0)), Hash::ZERO, Hash::ZERO, Instant::now())
    }

    #[test]
    fn the_order_is_followed_past_those_that_were_skipped() {
        let order = [Uid(5), Uid(2), Uid(9)];
        let mut flight = flight();
        assert_eq!(flight.candidate(&order), Some(Uid(5)));
        flight.skip(Uid(5), SkipCause::Busy, &order);
        assert_eq!(flight.candidate(&order), Some(Uid(2)));
    }

    #[test]
    fn after_the_last_skip_the_order_starts_over() {
        let order = [Uid(5), Uid(2)];
        let mut flight = flight();
        flight.skip(Uid(5), SkipCause::Busy, &order);
        flight.skip(Uid(2), SkipCause::Unreachable, &order);
        assert_eq!(flight.candidate(&order), Some(Uid(5)));
    }

    #[test]
    fn regression_a_straggler_does_not_redirect_the_gradient() {
        let mut flight = flight();
        assert!(flight.rebind(Attempt(2), Uid(7), Hash([2; 32])));
        assert!(!flight.rebind(Attempt(1), Uid(3), Hash([1; 32])));
        assert_eq!(
            (flight.attempt, flight.upstream, flight.parent),
            (Attempt(2), Some(Uid(7)), Hash([2; 32]))
        );
        assert_eq!(
            (flight.key, flight.origin),
            (Attempt(0), Some(Uid(0))),
            "the pass keeps its first sender"
        );
    }

    #[test]
    fn patience_is_two_seconds_until_the_stage_is_slower() {
        let mut patience = Patience::default();
        assert_eq!(patience.limit(), MIN_PATIENCE);
        for millis in [100, 900, 1_000] {
            patience.served(Duration::from_millis(millis));
        }
        assert_eq!(patience.median(), Duration::from_millis(900));
        assert_eq!(patience.limit(), Duration::from_millis(3_600));
    }

    /// Four messages of 128 KiB at 64 kB/s take 8.192 s; a known time counts instead, also a shorter one.
    #[test]
    fn patience_has_time_for_a_slow_line_until_it_knows_better() {
        let mut patience = Patience::for_messages(128 * 1024, 4);
        assert_eq!(patience.limit(), MIN_PATIENCE + Duration::from_millis(8_192));
        patience.served(Duration::from_millis(100));
        assert_eq!(patience.limit(), MIN_PATIENCE);
        assert_eq!(
            Patience::for_messages(usize::MAX, 255).limit(),
            MIN_PATIENCE + Duration::from_millis(u64::MAX / SLOWEST_LINE)
        );
    }
}
