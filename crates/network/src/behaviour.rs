//! The composed libp2p behaviour and the transports under it.

use std::{sync::Arc, time::Duration};

use libp2p::{
    connection_limits::{self, ConnectionLimits},
    identify, noise, ping,
    request_response::{self, ProtocolSupport},
    swarm::NetworkBehaviour,
    tcp, yamux, StreamProtocol, Swarm, SwarmBuilder,
};

use crate::{
    codec::LaneCodec,
    config::{Lane, NetworkConfig, MAX_STREAMS},
    frame::{Budget, FrameBounds},
    gate::Gate,
    handle::StartError,
    upload::{Pace, Upload},
};

/// Connections one peer may hold: one each way, the same again while a restart is noticed.
const MAX_CONNECTIONS_PER_PEER: u32 = 4;

/// All connections: a few hundred members of a run and the strangers, with room for reconnects.
const MAX_CONNECTIONS: u32 = 1024;

/// Handshakes under way. A flood of them costs signatures; listed peers retry.
const MAX_PENDING_INBOUND: u32 = 128;

/// Name of the identify protocol; tells networks of other programs apart.
const IDENTIFY: &str = "/iota/1";

/// Everything that runs on a connection. Limits and gate come first: they may deny it.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(crate) gate: Gate,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    pub(crate) train: request_response::Behaviour<LaneCodec>,
    pub(crate) fetch: request_response::Behaviour<LaneCodec>,
}

impl Behaviour {
    pub(crate) fn lane(&mut self, lane: Lane) -> &mut request_response::Behaviour<LaneCodec> {
        match lane {
            Lane::Train => &mut self.train,
            Lane::Fetch => &mut self.fetch,
        }
    }

    fn new(config: &NetworkConfig) -> Self {
        let budget = Budget::new(config.inbound_memory_bytes);
        let upload = config.max_upload_bytes_per_second.map(|rate| Arc::new(Upload::new(rate)));
        let pace = |lane| Pace::of(upload.clone(), lane);
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(MAX_PENDING_INBOUND))
            .with_max_established(Some(MAX_CONNECTIONS))
            .with_max_established_per_peer(Some(MAX_CONNECTIONS_PER_PEER));
        // The chain is the directory: addresses heard from peers are neither kept nor told.
        let identify = identify::Config::new(IDENTIFY.to_owned(), config.keypair.libp2p().public())
            .with_agent_version(concat!("iota/", env!("CARGO_PKG_VERSION")).to_owned())
            .with_cache_size(0);
        let ping = ping::Config::new().with_interval(config.ping_interval).with_timeout(config.ping_interval);
        Self {
            limits: connection_limits::Behaviour::new(limits),
            gate: Gate::new(config.stranger_connections),
            ping: ping::Behaviour::new(ping),
            identify: identify::Behaviour::new(identify),
            train: lane_behaviour(config, Lane::Train, &budget, pace(Lane::Train)),
            fetch: lane_behaviour(config, Lane::Fetch, &budget, pace(Lane::Fetch)),
        }
    }
}

fn lane_behaviour(
    config: &NetworkConfig,
    lane: Lane,
    budget: &Budget,
    pace: Pace,
) -> request_response::Behaviour<LaneCodec> {
    let bounds = |limit_bytes, budget| FrameBounds { limit_bytes, stall: config.stall_timeout, budget };
    let codec = LaneCodec {
        request: bounds(config.request_limit(lane), Some(budget.clone())),
        answer: bounds(config.answer_limit(lane), None),
        pace,
    };
    let streams = config.max_inbound_per_peer.saturating_add(config.max_outbound_per_peer);
    let settings = request_response::Config::default()
        .with_request_timeout(config.request_timeout)
        .with_max_concurrent_streams(streams);
    let protocol = StreamProtocol::new(lane.protocol());
    request_response::Behaviour::with_codec(codec, [(protocol, ProtocolSupport::Full)], settings)
}

/// Builds a swarm with TCP (Noise, Yamux), QUIC and name resolution. Listens on nothing yet.
pub(crate) fn build_swarm(config: &NetworkConfig) -> Result<Swarm<Behaviour>, StartError> {
    let behaviour = Behaviour::new(config);
    let idle = config.idle_timeout;
    let swarm = SwarmBuilder::with_existing_identity(config.keypair.libp2p())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, muxer)
        .map_err(|error| StartError::Transport { cause: error.to_string() })?
        .with_quic_config(|mut quic| {
            quic.max_concurrent_stream_limit = u32::try_from(MAX_STREAMS).unwrap_or(u32::MAX);
            quic.keep_alive_interval = Duration::from_secs(5);
            quic
        })
        .with_dns()
        .map_err(|error| StartError::Transport { cause: format!("name resolver: {error}") })?
        .with_behaviour(|_| behaviour)
        .map_err(|error| StartError::Transport { cause: error.to_string() })?
        .with_swarm_config(|swarm| {
            swarm.with_idle_connection_timeout(idle).with_max_negotiating_inbound_streams(MAX_STREAMS / 2)
        })
        .with_connection_timeout(config.dial_timeout)
        .build();
    Ok(swarm)
}

fn muxer() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS);
    config
}
