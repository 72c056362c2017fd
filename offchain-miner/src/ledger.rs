//! What a sample's time at this stage goes into, from its arrival until its gradient has left.
//!
//! The training task tells what it just did, the trainer what a pass took; what runs between two tellings
//! (a queue, the disk sync, the way to the next stage and back) is an interval that one ends and the next
//! begins. Each part is timed for itself and the whole life too, so that what the parts leave unexplained
//! shows. Decides nothing; the numbers end in the metrics.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use iota_protocol::ids::Sample;
use iota_service::metrics::{Counter, Registry};

use crate::trainer::Timing;

/// What time can go into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Queues: the inbox, the trainer's two, the next disk sync.
    Wait,
    /// The model: forward, backward, local steps that were due.
    Compute,
    /// Between numbers and code bytes, both ways.
    Codec,
    /// Hashes of codes, and of weights and moments after a local step.
    Hash,
    /// Signing and checking signatures.
    Sign,
    /// The journal, its sync, kept trainer states.
    Disk,
    /// At the next stages, and on the links to them and back.
    Away,
}

/// All parts with their names in the metrics.
pub const PARTS: [(Part, &str); 7] = [
    (Part::Wait, "wait"),
    (Part::Compute, "compute"),
    (Part::Codec, "encode"),
    (Part::Hash, "hash"),
    (Part::Sign, "sign"),
    (Part::Disk, "disk"),
    (Part::Away, "away"),
];

/// Sums over all finished samples, in microseconds. Clones share them.
#[derive(Clone, Debug)]
pub struct SampleTimes {
    parts: [Counter; PARTS.len()],
    life: Counter,
}

impl SampleTimes {
    /// The counters of a registry.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let part = |(_, name): (Part, &str)| {
            registry.counter(
                "iota_sample_microseconds_total",
                "Time of finished samples at this stage, by what it went into.",
                Some(("part", name)),
            )
        };
        let life = registry.counter(
            "iota_sample_life_microseconds_total",
            "Time of finished samples at this stage, from arrival until the gradient has left.",
            None,
        );
        Self { parts: PARTS.map(part), life }
    }

    /// Microseconds of each part, in the order of [`PARTS`].
    #[must_use]
    pub fn parts(&self) -> [u64; PARTS.len()] {
        self.parts.each_ref().map(Counter::value)
    }

    /// Microseconds of whole lives.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.life.value()
    }

    fn add(&self, account: &Account, now: Instant) {
        for (counter, spent) in self.parts.iter().zip(account.spent) {
            counter.add(micros(spent));
        }
        self.life.add(micros(now.saturating_duration_since(account.began)));
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// One sample's time.
#[derive(Debug)]
struct Account {
    began: Instant,
    spent: [Duration; PARTS.len()],
    /// What it waits for, and since when.
    running: Option<(Part, Instant)>,
}

impl Account {
    fn add(&mut self, part: Part, time: Duration) {
        if let Some(spent) = self.spent.get_mut(part as usize) {
            *spent = spent.saturating_add(time);
        }
    }

    fn stop(&mut self, at: Instant) {
        if let Some((part, since)) = self.running.take() {
            self.add(part, at.saturating_duration_since(since));
        }
    }
}

/// Accounts of the samples that are open here: at most as many as the stage takes.
#[derive(Debug)]
pub struct Ledger {
    open: BTreeMap<Sample, Account>,
    times: SampleTimes,
}

impl Ledger {
    /// Nothing is open.
    #[must_use]
    pub fn new(times: SampleTimes) -> Self {
        Self { open: BTreeMap::new(), times }
    }

    /// A sample begins here, or what it waited for has come; it lay in a queue since `at`.
    pub fn arrive(&mut self, sample: Sample, at: Instant) {
        let fresh = || Account { began: at, spent: Default::default(), running: None };
        let account = self.open.entry(sample).or_insert_with(fresh);
        account.stop(at);
        account.add(Part::Wait, at.elapsed());
    }

    /// Something was done for it since `since`. Nothing while an interval runs, which covers it already.
    pub fn spend(&mut self, sample: Sample, part: Part, since: Instant) {
        if let Some(account) = self.open.get_mut(&sample).filter(|account| account.running.is_none()) {
            account.add(part, since.elapsed());
        }
    }

    /// From now on it waits, until the next call about it.
    pub fn run(&mut self, sample: Sample, part: Part) {
        if let Some(account) = self.open.get_mut(&sample) {
            let now = Instant::now();
            account.stop(now);
            account.running = Some((part, now));
        }
    }

    /// The wait is over.
    pub fn stop(&mut self, sample: Sample) {
        if let Some(account) = self.open.get_mut(&sample) {
            account.stop(Instant::now());
        }
    }

    /// A pass came back from the trainer, having waited in its queues before and after.
    pub fn ran(&mut self, sample: Sample, timing: &Timing) {
        let Some(account) = self.open.get_mut(&sample) else { return };
        let Timing { began, ended, codec, hash, disk } = *timing;
        account.stop(began);
        let beside = codec.saturating_add(hash).saturating_add(disk);
        account.add(Part::Compute, ended.saturating_duration_since(began).saturating_sub(beside));
        for (part, time) in [(Part::Codec, codec), (Part::Hash, hash), (Part::Disk, disk)] {
            account.add(part, time);
        }
        account.add(Part::Wait, ended.elapsed());
    }

    /// It waited for the disk sync that ran from `began` to `ended`.
    pub fn synced(&mut self, sample: Sample, began: Instant, ended: Instant) {
        if let Some(account) = self.open.get_mut(&sample) {
            account.stop(began);
            account.add(Part::Disk, ended.saturating_duration_since(began));
        }
    }

    /// It is done here: its time is added to the sums.
    pub fn close(&mut self, sample: Sample) {
        let Some(mut account) = self.open.remove(&sample) else { return };
        let now = Instant::now();
        account.stop(now);
        self.times.add(&account, now);
    }

    /// It was given up; its time is not counted.
    pub fn forget(&mut self, sample: Sample) {
        self.open.remove(&sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Sample = Sample(3);

    fn ledger() -> (Ledger, SampleTimes) {
        let times = SampleTimes::new(&Registry::new());
        (Ledger::new(times.clone()), times)
    }

    fn before(millis: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_millis(millis)).unwrap()
    }

    /// Worked by hand, on made-up clocks: the sample arrived 900 ms ago, lay in the inbox, was checked for
    /// 20 ms, and a pass ran from 700 to 300 ms ago, of which 50 went into codes and 30 into hashes.
    #[test]
    fn the_parts_of_a_life_come_to_the_whole() {
        let (mut ledger, times) = ledger();
        ledger.arrive(SAMPLE, before(900));
        ledger.open.get_mut(&SAMPLE).unwrap().spent[0] = Duration::from_millis(80);
        ledger.spend(SAMPLE, Part::Sign, before(20));
        ledger.open.get_mut(&SAMPLE).unwrap().running = Some((Part::Wait, before(800)));
        let timing = Timing {
            began: before(700),
            ended: before(300),
            codec: Duration::from_millis(50),
            hash: Duration::from_millis(30),
            disk: Duration::ZERO,
        };
        ledger.ran(SAMPLE, &timing);
        ledger.close(SAMPLE);
        let millis = times.parts().map(|micros| micros / 1_000);
        let near = |got: u64, expected: u64| (expected..expected + 50).contains(&got);
        let expected = [480, 320, 50, 30, 20, 0, 0];
        assert!(millis.iter().zip(expected).all(|(got, expected)| near(*got, expected)), "{millis:?}");
        let (sum, life) = (times.parts().iter().sum::<u64>(), times.life());
        assert!(sum <= life + 1_000 && sum * 100 >= life * 95, "{sum} of {life}");
    }

    #[test]
    fn an_interval_is_not_counted_twice_and_what_is_given_up_not_at_all() {
        let (mut ledger, times) = ledger();
        ledger.arrive(SAMPLE, Instant::now());
        ledger.run(SAMPLE, Part::Away);
        ledger.spend(SAMPLE, Part::Sign, before(500));
        ledger.forget(SAMPLE);
        ledger.close(SAMPLE);
        ledger.spend(SAMPLE, Part::Sign, before(500));
        assert_eq!((times.parts(), times.life()), ([0; 7], 0));
        ledger.arrive(SAMPLE, Instant::now());
        ledger.run(SAMPLE, Part::Away);
        ledger.spend(SAMPLE, Part::Sign, before(500));
        ledger.close(SAMPLE);
        assert!(times.life() < 400_000, "what was done meanwhile is part of being away: {times:?}");
        assert_eq!(times.parts()[Part::Sign as usize], 0);
    }

    #[test]
    fn a_part_has_the_counter_of_its_name() {
        for (index, (part, _)) in PARTS.into_iter().enumerate() {
            assert_eq!(part as usize, index);
        }
    }
}
