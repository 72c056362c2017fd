//! Own requests that libp2p has not finished with, and what their failures mean to the caller.

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicU8, Ordering::Relaxed},
        Arc,
    },
};

use libp2p::{
    request_response::{OutboundFailure, OutboundRequestId},
    swarm::DialError,
    PeerId,
};
use tokio::sync::{oneshot, OwnedSemaphorePermit};

use crate::{
    config::Lane,
    frame::FrameError,
    handle::RequestError,
    key::{PeerPublic, Short},
};

/// How far a request has come, shared with its caller so that a timeout can be told apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicU8>);

/// The steps of [`Progress`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Waiting for a slot or for the task.
    Queued,
    /// Waiting for a connection.
    Dialling,
    /// On a connection.
    Sent,
}

impl Progress {
    pub(crate) fn set(&self, step: Step) {
        let value = match step {
            Step::Queued => 0,
            Step::Dialling => 1,
            Step::Sent => 2,
        };
        self.0.store(value, Relaxed);
    }

    pub(crate) fn step(&self) -> Step {
        match self.0.load(Relaxed) {
            0 => Step::Queued,
            1 => Step::Dialling,
            _ => Step::Sent,
        }
    }
}

pub(crate) type Answer = oneshot::Sender<Result<Vec<u8>, RequestError>>;

/// A request in libp2p's hands.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) peer: PeerId,
    pub(crate) public: PeerPublic,
    pub(crate) progress: Progress,
    pub(crate) answer: Answer,
    /// Why its dial failed, if it did.
    pub(crate) dial_error: Option<String>,
    /// A slot of its lane; free again when libp2p is done, even if the caller left long before.
    pub(crate) _slot: OwnedSemaphorePermit,
}

/// All requests in libp2p's hands.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    pending: HashMap<(Lane, OutboundRequestId), Pending>,
    of_peer: HashMap<PeerId, usize>,
}

impl Outbound {
    pub(crate) fn held_by(&self, peer: &PeerId) -> usize {
        self.of_peer.get(peer).copied().unwrap_or(0)
    }

    pub(crate) fn insert(&mut self, lane: Lane, id: OutboundRequestId, pending: Pending) {
        *self.of_peer.entry(pending.peer).or_default() += 1;
        self.pending.insert((lane, id), pending);
    }

    pub(crate) fn take(&mut self, lane: Lane, id: OutboundRequestId) -> Option<Pending> {
        let pending = self.pending.remove(&(lane, id))?;
        if let Some(held) = self.of_peer.get_mut(&pending.peer) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.of_peer.remove(&pending.peer);
            }
        }
        Some(pending)
    }

    /// Marks the requests that waited for this peer's connection as sent.
    pub(crate) fn connected(&self, peer: &PeerId) {
        self.pending
            .values()
            .filter(|pending| pending.peer == *peer)
            .for_each(|p| p.progress.set(Step::Sent));
    }
}

impl Outbound {
    /// Notes why a peer could not be dialled; libp2p reports the failed requests after it.
    pub(crate) fn not_connected(&mut self, peer: &PeerId, error: &DialError) {
        let cause = dial_cause(error);
        let waiting = self.pending.values_mut().filter(|pending| pending.peer == *peer);
        waiting.for_each(|pending| pending.dial_error = Some(cause.clone()));
    }
}

/// A dial error in one line.
fn dial_cause(error: &DialError) -> String {
    let DialError::Transport(attempts) = error else { return error.to_string() };
    let attempts = attempts.iter().map(|(address, error)| format!("{address}: {}", innermost(error)));
    attempts.collect::<Vec<_>>().join("; ")
}

/// The last cause in a chain of errors: what the operating system says, without the layers above it.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What a libp2p failure means to the caller.
pub(crate) fn explain(failure: OutboundFailure, lane: Lane, pending: &Pending) -> RequestError {
    let peer = pending.public;
    match failure {
        OutboundFailure::DialFailure => {
            let cause = pending.dial_error.clone().unwrap_or_else(|| "no listed address answered".to_owned());
            RequestError::Unreachable { peer, cause }
        }
        OutboundFailure::Timeout => RequestError::TimedOut { peer, lane },
        OutboundFailure::ConnectionClosed => RequestError::Closed { peer },
        OutboundFailure::UnsupportedProtocols => RequestError::Refused { peer, lane },
        OutboundFailure::Io(error) => explain_io(&error, lane, peer),
    }
}

fn explain_io(error: &std::io::Error, lane: Lane, peer: PeerPublic) -> RequestError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<FrameError>()) {
        Some(FrameError::Missing) => RequestError::Refused { peer, lane },
        Some(FrameError::TooLarge { got, limit }) => {
            RequestError::AnswerTooLarge { peer, lane, got: *got, limit: *limit }
        }
        Some(FrameError::Stalled { .. }) => RequestError::TimedOut { peer, lane },
        // A stream that is reset while we write or wait was dropped by the other side on purpose; a dying
        // connection is reported as such.
        _ => {
            tracing::debug!(peer = %Short(peer), %lane, %error, "request stream failed");
            RequestError::Refused { peer, lane }
        }
    }
}
