//! The composed libp2p behaviour and the transports under it.

use std::{sync::Arc, time::Duration};

use libp2p::{
    autonat,
    connection_limits::{self, ConnectionLimits},
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version, Transport},
    dcutr, identify,
    identity::Keypair,
    noise, ping, quic, relay,
    request_response::{self, ProtocolSupport},
    swarm::{behaviour::toggle::Toggle, NetworkBehaviour},
    tcp, upnp, yamux, PeerId, StreamProtocol, Swarm, SwarmBuilder,
};

use crate::{
    codec::LaneCodec,
    config::{Lane, NetworkConfig, MAX_STREAMS},
    frame::{Budget, FrameBounds},
    gate::Gate,
    handle::StartError,
    outward::Outward,
    probe::Probe,
    reach::is_loopback,
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
    /// Ways in: whether others get through, the router, relays, holes.
    pub(crate) probe: Toggle<Probe>,
    witness: autonat::v2::server::Behaviour,
    upnp: Toggle<upnp::tokio::Behaviour>,
    pub(crate) relay: Toggle<relay::Behaviour>,
    circuits: relay::client::Behaviour,
    punch: Toggle<dcutr::Behaviour>,
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

    fn new(config: &NetworkConfig, circuits: relay::client::Behaviour) -> Self {
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
        let own: PeerId = config.keypair.libp2p_id();
        let ping = ping::Config::new().with_interval(config.ping_interval).with_timeout(config.ping_interval);
        Self {
            limits: connection_limits::Behaviour::new(limits),
            gate: Gate::new(config.stranger_connections, config.private_addresses),
            ping: ping::Behaviour::new(ping),
            identify: identify::Behaviour::new(identify),
            probe: looks_out(config).then(Probe::default).into(),
            witness: autonat::v2::server::Behaviour::default(),
            upnp: looks_out(config).then(upnp::tokio::Behaviour::default).into(),
            relay: config.relay.map(|limits| relay::Behaviour::new(own, limits.to_libp2p())).into(),
            circuits,
            punch: config.nat.then(|| dcutr::Behaviour::new(own)).into(),
            train: lane_behaviour(config, Lane::Train, &budget, pace(Lane::Train)),
            fetch: lane_behaviour(config, Lane::Fetch, &budget, pace(Lane::Fetch)),
        }
    }
}

/// Whether this node has to find out how it is reached: not when its owner says so, nor when it listens on this
/// machine only, nor when it only asks.
pub(crate) fn looks_out(config: &NetworkConfig) -> bool {
    let wide = |text: &String| text.parse().is_ok_and(|address| !is_loopback(&address));
    config.nat && config.external.is_empty() && config.listen.iter().any(wide)
}

fn lane_behaviour(
    config: &NetworkConfig,
    lane: Lane,
    budget: &Budget,
    pace: Pace,
) -> request_response::Behaviour<LaneCodec> {
    let request = FrameBounds {
        limit_bytes: config.request_limit(lane),
        start: config.stall_timeout,
        stall: config.stall_timeout,
        turn: config.stall_timeout,
        budget: Some(budget.clone()),
    };
    let answer = FrameBounds {
        limit_bytes: config.answer_limit(lane),
        start: config.stall_timeout,
        stall: config.answer_stall_timeout,
        turn: config.request_timeout,
        budget: None,
    };
    let codec = LaneCodec { request, answer, pace };
    let streams = config.max_inbound_per_peer.saturating_add(config.max_outbound_per_peer);
    let settings = request_response::Config::default()
        .with_request_timeout(config.request_timeout)
        .with_max_concurrent_streams(streams);
    let protocol = StreamProtocol::new(lane.protocol());
    request_response::Behaviour::with_codec(codec, [(protocol, ProtocolSupport::Full)], settings)
}

/// Builds a swarm with TCP (Noise, Yamux), QUIC and name resolution. Listens on nothing yet.
pub(crate) fn build_swarm(config: &NetworkConfig) -> Result<Swarm<Behaviour>, StartError> {
    let idle = config.idle_timeout;
    let swarm = SwarmBuilder::with_existing_identity(config.keypair.libp2p())
        .with_tokio()
        .with_other_transport(|keys| Ok(wires(keys, config.private_addresses)?))
        .map_err(|error| StartError::Transport { cause: error.to_string() })?
        .with_dns()
        .map_err(|error| StartError::Transport { cause: format!("name resolver: {error}") })?
        .with_relay_client(noise::Config::new, muxer)
        .map_err(|error| StartError::Transport { cause: format!("relay client: {error}") })?
        .with_behaviour(|_, circuits| Behaviour::new(config, circuits))
        .map_err(|error| StartError::Transport { cause: error.to_string() })?
        .with_swarm_config(|swarm| {
            swarm.with_idle_connection_timeout(idle).with_max_negotiating_inbound_streams(MAX_STREAMS / 2)
        })
        .with_connection_timeout(config.dial_timeout)
        .build();
    Ok(swarm)
}

/// What connects this node with others.
type Wires = Outward<Boxed<(PeerId, StreamMuxerBox)>>;

/// TCP and QUIC; on other networks than those of one house both dial outwards only.
fn wires(keys: &Keypair, private: bool) -> Result<Wires, noise::Error> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keys)?)
        .multiplex(muxer())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let mut config = quic::Config::new(keys);
    config.max_concurrent_stream_limit = u32::try_from(MAX_STREAMS).unwrap_or(u32::MAX);
    config.keep_alive_interval = Duration::from_secs(5);
    let quic = quic::tokio::Transport::new(config);
    let quic = quic.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let both = tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed();
    Ok(Outward::new(both, private))
}

fn muxer() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS);
    config
}
