//! What the network is told at start: addresses, limits, timeouts, and the relations between them.

use std::{fmt, time::Duration};

use crate::{key::PeerKey, reach::RelayLimits, upload::LEAST_RATE};

/// One of the two request-response protocols.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Hops of samples between stages, receipts, acknowledgements. Listed peers only.
    Train,
    /// Chunks of entries, checkpoints and evidence. Strangers may ask within a quota.
    Fetch,
}

impl Lane {
    /// Both lanes, in this order wherever there is one value for each.
    pub const ALL: [Self; 2] = [Self::Train, Self::Fetch];

    /// The protocol name that is negotiated on the wire.
    #[must_use]
    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Train => "/iota/train/1",
            Self::Fetch => "/iota/fetch/1",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Fetch => "fetch",
        })
    }
}

/// Everything the network needs to start. [`NetworkConfig::new`] gives defaults that fit a home connection.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Multiaddresses to listen on, such as `/ip4/0.0.0.0/udp/4001/quic-v1` or `/ip4/0.0.0.0/tcp/4001`.
    /// Port 0 takes a free one. Empty: this node only asks.
    pub listen: Vec<String>,
    /// This node's identity.
    pub keypair: PeerKey,
    /// Largest request and largest answer on [`Lane::Train`].
    pub train_limit_bytes: usize,
    /// Largest answer on [`Lane::Fetch`].
    pub fetch_limit_bytes: usize,
    /// Largest request on [`Lane::Fetch`]: it names what is wanted, and strangers may send it.
    pub fetch_request_limit_bytes: usize,
    /// Upper bound of a request's whole life, on both sides: sending, thinking, answering.
    pub request_timeout: Duration,
    /// How long a frame may take to begin, and 64 KiB of a request, before the stream is given up.
    pub stall_timeout: Duration,
    /// How long 64 KiB of an answer may take once it has begun: whoever is slower is left for another holder.
    pub answer_stall_timeout: Duration,
    /// How long one dial may take, all addresses of a peer being tried at once.
    pub dial_timeout: Duration,
    /// A connection without streams is closed after this long.
    pub idle_timeout: Duration,
    /// How often a connection is probed; one that fails the probe is closed.
    pub ping_interval: Duration,
    /// Requests of one listed peer that may be unanswered here. More are refused.
    pub max_inbound_per_peer: usize,
    /// Requests to one peer that may be unanswered there. More fail at once.
    pub max_outbound_per_peer: usize,
    /// Requests to all peers in flight on [`Lane::Train`]. More wait within their own timeout.
    pub max_outbound_train: usize,
    /// Requests to all peers in flight on [`Lane::Fetch`]; times the limit it bounds memory for answers.
    pub max_outbound_fetch: usize,
    /// Requests waiting for the caller to take them. When full, new ones are refused.
    pub inbound_queue: usize,
    /// Bytes of unanswered requests held at any moment, all peers together.
    pub inbound_memory_bytes: usize,
    /// Whether listed addresses that point inwards (loopback, private, link-local) are dialled: on the network of one
    /// machine or house. Anywhere else they would make this node knock at its neighbours' doors.
    pub private_addresses: bool,
    /// Bytes a second that all lanes and peers together are sent at most; no limit when absent.
    pub max_upload_bytes_per_second: Option<u64>,
    /// Bytes of answers on their way out held at any moment, all peers together. Small ones are not counted.
    pub answer_memory_bytes: usize,
    /// Addresses at which the owner knows that others get through, such as a forwarded port.
    pub external: Vec<String>,
    /// Whether a node that is not told how it is reached finds out, and takes places at relays if it is not.
    pub nat: bool,
    /// How long a node that nobody gets through to waits before it asks other peers whether that is still so.
    pub probe_again: Duration,
    /// What is relayed for others while this node is reached directly; nothing when absent.
    pub relay: Option<RelayLimits>,
    /// Connected peers that the chain does not list.
    pub stranger_connections: usize,
    /// Requests a second from all strangers together; the burst is twice that.
    pub stranger_requests_per_second: u32,
    /// Bad messages within a minute after which a peer is ignored.
    pub strike_limit: u32,
    /// How long a peer over the strike limit is ignored.
    pub ignore_for: Duration,
}

/// Streams that one connection may carry. Twice the outbound and inbound limits must fit below it, because
/// a muxer that runs out of streams closes the whole connection.
pub(crate) const MAX_STREAMS: usize = 2048;

impl NetworkConfig {
    /// Defaults for a node with this identity that listens on these addresses.
    #[must_use]
    pub fn new(keypair: PeerKey, listen: Vec<String>) -> Self {
        Self {
            listen,
            keypair,
            // A hop of a 4096-token sequence of 1.5b at 128x is about 130 KiB; fp32 test codecs need more.
            train_limit_bytes: 4 << 20,
            fetch_limit_bytes: 8 << 20,
            fetch_request_limit_bytes: 64 << 10,
            // 4 MiB, the longest part of anything, from a holder at the lowest upload limit (64 kB/s) that serves
            // two askers at once take 131 s, and 140 with what is added for headers.
            request_timeout: Duration::from_secs(180),
            // 64 KiB in 10 s is 50 kbit/s: slower links cannot train.
            stall_timeout: Duration::from_secs(10),
            // 13 kB/s. The lowest upload limit is 64 kB/s, of which two answers get half each, and hops between
            // their pieces may take half of that again.
            answer_stall_timeout: Duration::from_secs(5),
            dial_timeout: Duration::from_secs(8),
            idle_timeout: Duration::from_secs(600),
            ping_interval: Duration::from_secs(10),
            // A witness is dialled and dials back: little, and a node loses minutes by a wrong one, not the day.
            probe_again: Duration::from_secs(300),
            max_inbound_per_peer: 256,
            max_outbound_per_peer: 256,
            max_outbound_train: 512,
            max_outbound_fetch: 32,
            inbound_queue: 512,
            inbound_memory_bytes: 256 << 20,
            private_addresses: false,
            max_upload_bytes_per_second: None,
            answer_memory_bytes: 256 << 20,
            external: Vec::new(),
            nat: true,
            relay: Some(RelayLimits::default()),
            stranger_connections: 16,
            stranger_requests_per_second: 8,
            strike_limit: 10,
            ignore_for: Duration::from_secs(300),
        }
    }

    /// Checks every relation between the fields.
    ///
    /// # Errors
    /// The first relation that does not hold, with both values.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_sizes()?;
        self.validate_counts()?;
        if let Some(rate) = self.max_upload_bytes_per_second.filter(|rate| *rate < LEAST_RATE) {
            let as_usize = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
            return Err(ConfigError::TooLow {
                name: "max_upload_bytes_per_second",
                got: as_usize(rate),
                least: as_usize(LEAST_RATE),
            });
        }
        for (name, value) in [
            ("request_timeout", self.request_timeout),
            ("stall_timeout", self.stall_timeout),
            ("answer_stall_timeout", self.answer_stall_timeout),
            ("dial_timeout", self.dial_timeout),
            ("idle_timeout", self.idle_timeout),
            ("ping_interval", self.ping_interval),
            ("probe_again", self.probe_again),
        ] {
            if value.is_zero() {
                return Err(ConfigError::Zero { name });
            }
        }
        Ok(())
    }

    fn validate_sizes(&self) -> Result<(), ConfigError> {
        for (name, value) in [
            ("train_limit_bytes", self.train_limit_bytes),
            ("fetch_limit_bytes", self.fetch_limit_bytes),
            ("fetch_request_limit_bytes", self.fetch_request_limit_bytes),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero { name });
            }
            // The length prefix has four bytes, and a quarter of its range is far above any sane message.
            if value > 1 << 30 {
                return Err(ConfigError::TooHigh { name, got: value, most: 1 << 30 });
            }
        }
        let largest = self.train_limit_bytes.max(self.fetch_request_limit_bytes);
        // Buffers grow by doubling, so that a frame may be charged for twice its size while it arrives.
        let least = largest.saturating_mul(2);
        if self.inbound_memory_bytes < least {
            return Err(ConfigError::TooLow {
                name: "inbound_memory_bytes",
                got: self.inbound_memory_bytes,
                least,
            });
        }
        let (got, least) = (self.answer_memory_bytes, self.train_limit_bytes.max(self.fetch_limit_bytes));
        if got < least {
            return Err(ConfigError::TooLow { name: "answer_memory_bytes", got, least });
        }
        Ok(())
    }

    fn validate_counts(&self) -> Result<(), ConfigError> {
        for (name, value) in [
            ("max_inbound_per_peer", self.max_inbound_per_peer),
            ("max_outbound_per_peer", self.max_outbound_per_peer),
            ("max_outbound_train", self.max_outbound_train),
            ("max_outbound_fetch", self.max_outbound_fetch),
            ("inbound_queue", self.inbound_queue),
            ("strike_limit", usize::try_from(self.strike_limit).unwrap_or(usize::MAX)),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero { name });
            }
        }
        let streams = self.max_inbound_per_peer.saturating_add(self.max_outbound_per_peer);
        if streams > MAX_STREAMS / 2 {
            return Err(ConfigError::TooHigh {
                name: "max_inbound_per_peer + max_outbound_per_peer",
                got: streams,
                most: MAX_STREAMS / 2,
            });
        }
        Ok(())
    }

    /// Largest request on a lane.
    pub(crate) fn request_limit(&self, lane: Lane) -> usize {
        match lane {
            Lane::Train => self.train_limit_bytes,
            Lane::Fetch => self.fetch_request_limit_bytes,
        }
    }

    /// Largest answer on a lane.
    pub(crate) fn answer_limit(&self, lane: Lane) -> usize {
        match lane {
            Lane::Train => self.train_limit_bytes,
            Lane::Fetch => self.fetch_limit_bytes,
        }
    }
}

/// A relation that a [`NetworkConfig`] breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field that must be positive is zero.
    #[error("network setting {name} is zero; give a positive value")]
    Zero {
        /// The field.
        name: &'static str,
    },
    /// A field is below what another field needs.
    #[error("network setting {name} is {got}, expected at least {least}; raise it")]
    TooLow {
        /// The field.
        name: &'static str,
        /// Its value.
        got: usize,
        /// The least value that works.
        least: usize,
    },
    /// A field is above what the transport can carry.
    #[error("network setting {name} is {got}, expected at most {most}; lower it")]
    TooHigh {
        /// The field.
        name: &'static str,
        /// Its value.
        got: usize,
        /// The greatest value that works.
        most: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> NetworkConfig {
        NetworkConfig::new(PeerKey::from_seed([1; 32]), Vec::new())
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn each_broken_relation_is_named() {
        let check = |edit: fn(&mut NetworkConfig), expected: &str| {
            let mut broken = config();
            edit(&mut broken);
            let text = broken.validate().expect_err("must be refused").to_string();
            assert!(text.contains(expected), "{text}");
        };
        check(|c| c.train_limit_bytes = 0, "train_limit_bytes is zero");
        check(|c| c.fetch_limit_bytes = usize::MAX, "fetch_limit_bytes");
        check(|c| c.inbound_memory_bytes = c.train_limit_bytes, "inbound_memory_bytes");
        check(|c| c.answer_memory_bytes = c.fetch_limit_bytes - 1, "answer_memory_bytes");
        check(|c| c.max_inbound_per_peer = MAX_STREAMS, "max_inbound_per_peer");
        check(|c| c.stall_timeout = Duration::ZERO, "stall_timeout is zero");
        check(
            |c| c.max_upload_bytes_per_second = Some(1),
            "max_upload_bytes_per_second is 1, expected at least",
        );
    }
}
