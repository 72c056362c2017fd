//! Bad messages of each peer within the last minute, and when they are too many.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;

/// Strikes older than this no longer count: a slow drip of corrupted frames is not an attack.
const WINDOW: Duration = Duration::from_secs(60);

/// Peers remembered at once. More than the chain lists; strangers make new names for nothing.
const CAPACITY: usize = 4096;

/// What a strike led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Counted, nothing else.
    Tolerated,
    /// Over the limit: the peer is to be ignored.
    TooMany,
}

/// Counts strikes in fixed windows that start with a peer's first strike.
#[derive(Debug)]
pub(crate) struct Strikes {
    limit: u32,
    entries: HashMap<PeerId, (u32, Instant)>,
}

impl Strikes {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, entries: HashMap::new() }
    }

    /// Counts one strike. A peer over the limit starts again from nothing, as it will be ignored meanwhile.
    pub(crate) fn add(&mut self, peer: PeerId, now: Instant) -> Verdict {
        self.make_room(now);
        let entry = self.entries.entry(peer).or_insert((0, now));
        if now.duration_since(entry.1) > WINDOW {
            *entry = (0, now);
        }
        entry.0 = entry.0.saturating_add(1);
        if entry.0 < self.limit {
            return Verdict::Tolerated;
        }
        self.entries.remove(&peer);
        Verdict::TooMany
    }

    /// Forgets a peer's strikes.
    pub(crate) fn forgive(&mut self, peer: &PeerId) {
        self.entries.remove(peer);
    }

    fn make_room(&mut self, now: Instant) {
        if self.entries.len() < CAPACITY {
            return;
        }
        self.entries.retain(|_, (_, since)| now.duration_since(*since) <= WINDOW);
        if self.entries.len() >= CAPACITY {
            // All are recent: forget the mildest rather than grow.
            let mildest = self.entries.iter().min_by_key(|(_, (count, _))| *count).map(|(peer, _)| *peer);
            if let Some(peer) = mildest {
                self.entries.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strike_that_reaches_the_limit_is_one_too_many() {
        let (mut strikes, peer, now) = (Strikes::new(3), PeerId::random(), Instant::now());
        let verdicts = [0; 4].map(|_| strikes.add(peer, now));
        assert_eq!(verdicts, [Verdict::Tolerated, Verdict::Tolerated, Verdict::TooMany, Verdict::Tolerated]);
    }

    #[test]
    fn old_strikes_do_not_count() {
        let (mut strikes, peer, now) = (Strikes::new(2), PeerId::random(), Instant::now());
        assert_eq!(strikes.add(peer, now), Verdict::Tolerated);
        assert_eq!(strikes.add(peer, now + WINDOW * 2), Verdict::Tolerated);
    }

    #[test]
    fn table_stays_bounded_and_keeps_the_worst() {
        let (mut strikes, worst, now) = (Strikes::new(3), PeerId::random(), Instant::now());
        strikes.add(worst, now);
        strikes.add(worst, now);
        for _ in 0..CAPACITY + 10 {
            strikes.add(PeerId::random(), now);
        }
        assert!(strikes.entries.len() <= CAPACITY);
        assert_eq!(strikes.add(worst, now), Verdict::TooMany);
    }
}
