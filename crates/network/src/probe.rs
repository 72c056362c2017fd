//! The AutoNAT client, with the gift of forgetting. Libp2p's asks one witness for each address and remembers a refusal
//! until the program ends, so that one witness that is wrong would hold a node at its relays for good. This one can
//! begin anew: it forgets addresses and witnesses, and hears of both again with the next connection.

use std::collections::HashSet;
use std::task::{Context, Poll};

use libp2p::{
    autonat::v2::client,
    core::{transport::PortUse, Endpoint},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
    Multiaddr, PeerId,
};

/// Asks connected peers to dial this node.
#[derive(Default)]
pub(crate) struct Probe {
    inner: client::Behaviour,
    /// Connections that `inner` has heard of; of others it must not hear the end.
    known: HashSet<ConnectionId>,
}

impl Probe {
    /// Forgets what was asked and of whom. What older connections still answer is not heard.
    pub(crate) fn begin_anew(&mut self) {
        *self = Self::default();
    }
}

impl NetworkBehaviour for Probe {
    type ConnectionHandler = <client::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = client::Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(id, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match &event {
            FromSwarm::ConnectionEstablished(established) => {
                self.known.insert(established.connection_id);
            }
            FromSwarm::ConnectionClosed(closed) if !self.known.remove(&closed.connection_id) => return,
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        if self.known.contains(&id) {
            self.inner.on_connection_handler_event(peer, id, event);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<client::Event, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}
