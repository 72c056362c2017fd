//! Which requests of others are taken: counts for each peer, a rate for all strangers together.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures::future::AbortHandle;
use libp2p::{request_response::InboundRequestId, PeerId};

use crate::{config::Lane, frame::Charge};

/// Unanswered requests of one stranger: enough to keep a download going, little enough to share.
const STRANGER_IN_FLIGHT: usize = 4;

/// Why a request is declined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Declined {
    /// Strangers may not train.
    NotListed,
    /// All strangers together ask too often.
    Rate,
    /// This peer has too many unanswered requests.
    InFlight,
}

/// Who is asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Listed,
    Stranger,
}

/// A request that is being answered.
#[derive(Debug)]
struct Serving {
    peer: PeerId,
    /// How to stop waiting for the answer.
    wait: AbortHandle,
    /// Memory of the answer, from when it is given until it is out.
    _answer: Charge,
}

/// Requests that are being answered.
#[derive(Debug)]
pub(crate) struct Admission {
    max_per_peer: usize,
    strangers: Rate,
    serving: HashMap<(Lane, InboundRequestId), Serving>,
    in_flight: HashMap<PeerId, usize>,
}

impl Admission {
    pub(crate) fn new(max_per_peer: usize, strangers_per_second: u32, now: Instant) -> Self {
        Self {
            max_per_peer,
            strangers: Rate::new(strangers_per_second, now),
            serving: HashMap::new(),
            in_flight: HashMap::new(),
        }
    }

    /// Whether a request may be taken. Says nothing about room in the queue.
    pub(crate) fn check(
        &mut self,
        peer: &PeerId,
        standing: Standing,
        lane: Lane,
        now: Instant,
    ) -> Result<(), Declined> {
        let most = match standing {
            Standing::Listed => self.max_per_peer,
            Standing::Stranger if lane == Lane::Train => return Err(Declined::NotListed),
            Standing::Stranger => STRANGER_IN_FLIGHT.min(self.max_per_peer),
        };
        if self.in_flight.get(peer).is_some_and(|held| *held >= most) {
            return Err(Declined::InFlight);
        }
        if standing == Standing::Stranger && !self.strangers.take(now) {
            return Err(Declined::Rate);
        }
        Ok(())
    }

    /// Requests of this peer that are being answered.
    pub(crate) fn held_by(&self, peer: &PeerId) -> usize {
        self.in_flight.get(peer).copied().unwrap_or(0)
    }

    /// Records a request that was taken, and how to stop waiting for its answer.
    pub(crate) fn begin(&mut self, peer: PeerId, lane: Lane, id: InboundRequestId, wait: AbortHandle) {
        self.serving.insert((lane, id), Serving { peer, wait, _answer: Charge::default() });
        *self.in_flight.entry(peer).or_default() += 1;
    }

    /// Keeps what an answer takes of the memory until its request is over.
    pub(crate) fn charge(&mut self, lane: Lane, id: InboundRequestId, answer: Charge) {
        if let Some(serving) = self.serving.get_mut(&(lane, id)) {
            serving._answer = answer;
        }
    }

    /// Records that a request is over, answered or not. Requests that were declined are not known here.
    pub(crate) fn end(&mut self, lane: Lane, id: InboundRequestId) {
        let Some(Serving { peer, wait, .. }) = self.serving.remove(&(lane, id)) else { return };
        wait.abort();
        if let Some(held) = self.in_flight.get_mut(&peer) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.in_flight.remove(&peer);
            }
        }
    }
}

/// A token bucket of whole requests.
#[derive(Debug)]
struct Rate {
    burst: u32,
    interval: Option<Duration>,
    tokens: u32,
    since: Instant,
}

impl Rate {
    fn new(per_second: u32, now: Instant) -> Self {
        let burst = per_second.saturating_mul(2);
        let interval = Duration::from_secs(1).checked_div(per_second);
        Self { burst, interval, tokens: burst, since: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let Some(interval) = self.interval else { return false };
        while self.tokens < self.burst && now.duration_since(self.since) >= interval {
            self.tokens += 1;
            self.since += interval;
        }
        if self.tokens == self.burst {
            self.since = now;
        }
        let allowed = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_may_fetch_but_not_train() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut admission = Admission::new(8, 1, now);
        assert_eq!(admission.check(&peer, Standing::Stranger, Lane::Train, now), Err(Declined::NotListed));
        assert_eq!(admission.check(&peer, Standing::Stranger, Lane::Fetch, now), Ok(()));
        assert_eq!(admission.check(&peer, Standing::Listed, Lane::Train, now), Ok(()));
    }

    #[test]
    fn strangers_share_one_rate_that_listed_peers_do_not_feel() {
        let now = Instant::now();
        let mut admission = Admission::new(8, 2, now);
        let ask = |admission: &mut Admission, at| {
            admission.check(&PeerId::random(), Standing::Stranger, Lane::Fetch, at)
        };
        assert!((0..4).all(|_| ask(&mut admission, now).is_ok()), "the burst is two seconds' worth");
        assert_eq!(ask(&mut admission, now), Err(Declined::Rate));
        assert_eq!(admission.check(&PeerId::random(), Standing::Listed, Lane::Fetch, now), Ok(()));
        let later = now + Duration::from_millis(500);
        assert_eq!(ask(&mut admission, later), Ok(()));
        assert_eq!(ask(&mut admission, later), Err(Declined::Rate));
    }

    #[test]
    fn rate_of_zero_lets_no_stranger_ask() {
        let now = Instant::now();
        let mut admission = Admission::new(8, 0, now);
        let verdict = admission.check(&PeerId::random(), Standing::Stranger, Lane::Fetch, now);
        assert_eq!(verdict, Err(Declined::Rate));
    }
}
