//! Peers and transfers: who may talk to us, and how bytes get there and back.
//!
//! Owns the libp2p swarm and every socket. Called by the miner, the validator and the explorer, which put
//! SCALE messages of `iota-protocol` into the opaque bytes. It deliberately knows nothing of what the bytes
//! mean, of the chain (the caller hands over the list of peers) or of disk.
//!
//! ```text
//!  caller ── Network::request ──▶ commands ──▶ ┌───────────────┐ ──▶ sockets
//!  caller ◀── Result<Vec<u8>> ── oneshot ◀──── │  swarm task   │
//!  caller ◀── Inbound ◀── bounded queue ◀───── │ (owns it all) │ ◀── sockets
//!  caller ── Reply::send ── oneshot ─────────▶ └───────────────┘
//! ```
//!
//! Two lanes keep small, urgent hops from waiting behind large chunks: [`Lane::Train`] takes requests from
//! listed peers only, [`Lane::Fetch`] also takes them from strangers, within a quota. Each request is one
//! stream, closed after its answer. A request that is not answered with bytes (queue full, quota spent, not
//! listed, [`Reply`] dropped) ends with a closed stream, and the asker gets [`RequestError::Refused`].
//!
//! Homes are behind NAT. AutoNAT tells whether others get through, UPnP asks the router to let them, and a node that
//! nobody reaches takes places at relays, which listed peers with a public address are ([`Reach`]). Two peers that
//! meet at a relay punch a hole (DCUtR) where their routers allow it; over QUIC, whose one socket is the one that
//! others dial. Where they do not, frames go through the relay, within [`RelayLimits`].
//!
//! Everything is bounded: frames by a limit for each lane, memory of unanswered requests by one byte budget,
//! requests in flight by counts for each peer, queues by their capacity, and what is sent by a rate where the
//! owner of the line gave one.

mod admission;
mod behaviour;
mod codec;
mod config;
mod frame;
mod gate;
mod handle;
mod key;
mod outbound;
mod outward;
mod peers;
mod probe;
mod reach;
mod stats;
mod strikes;
mod swarm_task;
mod upload;

pub use config::{ConfigError, Lane, NetworkConfig};
pub use frame::{read_frame, write_frame, Budget, Charge, Frame, FrameBounds, FrameError};
pub use handle::{Inbound, Network, Reply, ReplyError, RequestClass, RequestError, StartError};
pub use key::{peer_id_of, verify, PeerKey, PeerPublic};
pub use peers::{is_address, PeerInfo};
pub use reach::{is_relayed_address, Reach, RelayLimits};
pub use stats::{LaneStats, NetworkStats};
pub use upload::{Pace, Upload};
