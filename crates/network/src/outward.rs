//! The last look before a socket opens: where a name has led. The chain lists addresses that strangers wrote, and a
//! name may stand for a machine of this house; `peers` and `gate` see the name only. Names are resolved above this
//! transport, so that what arrives here is an address.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use libp2p::{
    core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent},
    Multiaddr,
};

use iota_protocol::reach::is_public;

use crate::gate::Denied;

/// Dials what points outwards, and the rest on networks of one house only.
pub(crate) struct Outward<T> {
    inner: T,
    private: bool,
}

impl<T> Outward<T> {
    /// `private` addresses are dialled, or not.
    pub(crate) fn new(inner: T, private: bool) -> Self {
        Self { inner, private }
    }
}

impl<T: Transport<Error = io::Error> + Unpin> Transport for Outward<T> {
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<T::Dial, TransportError<io::Error>> {
        if !self.private && !is_public(address.to_string().as_bytes()) {
            let denied = Denied::Inward(address);
            return Err(TransportError::Other(io::Error::new(io::ErrorKind::PermissionDenied, denied)));
        }
        self.inner.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<T::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::transport::{dummy::DummyTransport, PortUse};
    use libp2p::core::Endpoint;

    use super::*;

    /// Whether an address reaches the transport below, which dials nothing.
    fn passes(text: &str, private: bool) -> bool {
        let below = DummyTransport::<()>::new();
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        match Outward::new(below, private).dial(text.parse().unwrap(), options) {
            Err(TransportError::MultiaddrNotSupported(_)) => true,
            Err(TransportError::Other(error)) => {
                assert!(error.to_string().contains("points inwards"), "{error}");
                assert!(error.to_string().contains(text), "{error}");
                false
            }
            Ok(_) => panic!("a transport that dials nothing dialled {text}"),
        }
    }

    #[test]
    fn row_30_where_a_name_has_led_inwards_nobody_is_dialled_but_on_networks_of_one_house() {
        for inward in ["/ip4/127.0.0.1/tcp/22", "/ip4/192.168.1.1/udp/53/quic-v1", "/ip6/::1/tcp/1"] {
            assert!(!passes(inward, false), "{inward}");
            assert!(passes(inward, true), "{inward}");
        }
        assert!(passes("/ip4/8.8.8.8/tcp/4001", false));
        assert!(passes("/ip4/8.8.8.8/udp/4001/quic-v1", false));
    }
}
