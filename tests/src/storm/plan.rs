//! Which fault comes when, how long it lasts, and whom it meets: from a seed, before anything runs.

use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// SIGKILL of a miner, which is started again.
    KillMiner,
    /// SIGSTOP of a miner, and SIGCONT.
    StopMiner,
    /// A miner's link carries nothing.
    CutLink,
    /// A miner's link becomes a bad one.
    ThrottleLink,
    /// SIGKILL of a validator, which is started again.
    KillValidator,
    /// SIGKILL of a node, which is started again.
    RestartNode,
    /// A miner's disk is full.
    FullDisk,
    /// A miner registers and joins.
    LateJoin,
}

/// How often each kind stands in one round of the draw: miners are many, and a node that is down stalls
/// finality for everybody.
const ROUND: [(Kind, usize); 8] = [
    (Kind::KillMiner, 4),
    (Kind::StopMiner, 3),
    (Kind::CutLink, 3),
    (Kind::ThrottleLink, 3),
    (Kind::KillValidator, 1),
    (Kind::RestartNode, 2),
    (Kind::FullDisk, 1),
    (Kind::LateJoin, 1),
];

impl Kind {
    /// Shortest and longest time that it lasts, in seconds; a process that was killed is started after it.
    fn lasts(self) -> (u64, u64) {
        match self {
            Self::KillMiner | Self::KillValidator => (2, 6),
            Self::StopMiner => (2, 10),
            Self::CutLink => (3, 10),
            Self::ThrottleLink => (10, 20),
            Self::RestartNode => (2, 4),
            Self::FullDisk => (5, 10),
            Self::LateJoin => (0, 0),
        }
    }
}

/// One fault to come.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// After the storm began.
    pub at: Duration,
    /// What.
    pub kind: Kind,
    /// How long.
    pub lasts: Duration,
    /// Picks whom it meets among those that it can.
    pub dice: u64,
}

/// A Poisson process of so many faults an hour, for so long, none of which lasts beyond `longest`. Kinds are
/// dealt like cards, a round at a time, so that all of them come.
pub fn storm(seed: u64, per_hour: f64, length: Duration, longest: Duration) -> Vec<Planned> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut planned = Vec::new();
    let mut deck: Vec<Kind> = Vec::new();
    let mut at = 0.0;
    loop {
        // Inverse of the exponential distribution; 1 - u is never 0.
        at -= (1.0 - rng.random::<f64>()).ln() * 3600.0 / per_hour;
        if at >= length.as_secs_f64() {
            return planned;
        }
        if deck.is_empty() {
            deck = ROUND.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count)).collect();
            deck.shuffle(&mut rng);
        }
        let Some(kind) = deck.pop() else { return planned };
        let (least, most) = kind.lasts();
        let lasts = Duration::from_millis(rng.random_range(least * 1_000..=most * 1_000)).min(longest);
        planned.push(Planned { at: Duration::from_secs_f64(at), kind, lasts, dice: rng.random() });
    }
}

#[test]
fn a_storm_is_its_seed_and_comes_as_often_as_it_says() {
    let of = |seed| storm(seed, 200.0, Duration::from_secs(36_000), Duration::from_secs(12));
    let all = of(5);
    assert_eq!(format!("{all:?}"), format!("{:?}", of(5)));
    assert_ne!(format!("{all:?}"), format!("{:?}", of(6)));
    // 2,000 expected, with a standard deviation of 45.
    assert!((1_800..2_200).contains(&all.len()), "{}", all.len());
    assert!(all.iter().all(|own| own.lasts <= Duration::from_secs(12)));
    assert!(all.windows(2).all(|pair| pair[0].at <= pair[1].at));
    for (kind, count) in ROUND {
        let seen = all.iter().filter(|own| own.kind == kind).count();
        let expected = all.len() * count / 18;
        assert!(seen.abs_diff(expected) <= count, "{kind:?}: {seen} of {expected}");
    }
}
