//! Counters of the network: written by the swarm task, read by anyone without asking it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::Lane;

/// What one lane carried since start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LaneStats {
    /// Bytes received, prefixes included, transport overhead not.
    pub bytes_in: u64,
    /// Bytes sent, prefixes included, transport overhead not.
    pub bytes_out: u64,
    /// Requests of others that were handed to the caller.
    pub requests_in: u64,
    /// Requests of others that were declined.
    pub refused_in: u64,
    /// Own requests that were handed to a connection or a dial.
    pub requests_out: u64,
    /// Own requests that failed.
    pub errors_out: u64,
}

/// A snapshot of all counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetworkStats {
    /// Hops, receipts, acknowledgements.
    pub train: LaneStats,
    /// Chunks.
    pub fetch: LaneStats,
    /// Peers with a connection now.
    pub connected_peers: u64,
    /// Of these, peers that the chain does not list.
    pub connected_strangers: u64,
    /// Of all, peers that are reached through relays only.
    pub relayed_peers: u64,
    /// Bad messages counted.
    pub strikes: u64,
    /// Peers that were put on the ignore list.
    pub ignored: u64,
}

#[derive(Debug, Default)]
pub(crate) struct LaneCounters {
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) requests_in: AtomicU64,
    pub(crate) refused_in: AtomicU64,
    pub(crate) requests_out: AtomicU64,
    pub(crate) errors_out: AtomicU64,
}

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    lanes: [LaneCounters; 2],
    pub(crate) connected_peers: AtomicU64,
    pub(crate) connected_strangers: AtomicU64,
    pub(crate) relayed_peers: AtomicU64,
    pub(crate) strikes: AtomicU64,
    pub(crate) ignored: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Adds the size of a frame with this payload.
pub(crate) fn count_frame(counter: &AtomicU64, payload: usize) {
    let bytes = u64::try_from(payload.saturating_add(crate::frame::PREFIX)).unwrap_or(u64::MAX);
    counter.fetch_add(bytes, Relaxed);
}

impl Counters {
    pub(crate) fn lane(&self, lane: Lane) -> &LaneCounters {
        let [train, fetch] = &self.lanes;
        match lane {
            Lane::Train => train,
            Lane::Fetch => fetch,
        }
    }

    pub(crate) fn snapshot(&self) -> NetworkStats {
        NetworkStats {
            train: self.lane(Lane::Train).snapshot(),
            fetch: self.lane(Lane::Fetch).snapshot(),
            connected_peers: self.connected_peers.load(Relaxed),
            connected_strangers: self.connected_strangers.load(Relaxed),
            relayed_peers: self.relayed_peers.load(Relaxed),
            strikes: self.strikes.load(Relaxed),
            ignored: self.ignored.load(Relaxed),
        }
    }
}

impl LaneCounters {
    fn snapshot(&self) -> LaneStats {
        LaneStats {
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            requests_in: self.requests_in.load(Relaxed),
            refused_in: self.refused_in.load(Relaxed),
            requests_out: self.requests_out.load(Relaxed),
            errors_out: self.errors_out.load(Relaxed),
        }
    }
}
