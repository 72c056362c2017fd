//! What the swarm task does with requests and answers: hand them over, decline them, count what is bad.

use std::time::Instant;

use futures::{future::abortable, FutureExt};
use libp2p::{
    request_response::{self, InboundRequestId, Message, ResponseChannel},
    PeerId,
};
use tokio::sync::oneshot;

use super::{Answered, SwarmTask};
use crate::{
    admission::{Declined, Standing},
    codec::Request,
    config::Lane,
    frame::{Frame, FrameError},
    handle::{Inbound, Reply, RequestError},
    key::public_of,
    outbound::explain,
    stats::{count, count_frame},
    strikes::Verdict,
};

/// Answers up to this size are not counted: acknowledgements must leave however much is on its way.
const SMALL: usize = 1 << 10;

type LaneEvent = request_response::Event<Request, Vec<u8>>;

impl SwarmTask {
    pub(super) fn on_reply(&mut self, answered: Option<Answered>) {
        // None: the exchange ended before its answer, and waiting was given up.
        let Some(Answered { lane, id, channel, bytes }) = answered else { return };
        // Dropping the channel closes the stream: the asker is declined.
        let Some(bytes) = bytes else {
            count(&self.links.counters.lane(lane).refused_in);
            return;
        };
        let size = bytes.len();
        if size > SMALL {
            // Held until the answer is out: whoever asks for more than it takes is declined meanwhile.
            let Some(charge) = self.answers.take(size) else {
                tracing::debug!(%lane, size, "no memory left for an answer; the asker is declined");
                count(&self.links.counters.lane(lane).refused_in);
                return;
            };
            self.admission.charge(lane, id, charge);
        }
        if self.swarm.behaviour_mut().lane(lane).send_response(channel, bytes).is_ok() {
            count_frame(&self.links.counters.lane(lane).bytes_out, size);
        }
    }

    pub(super) fn on_lane(&mut self, lane: Lane, event: LaneEvent) {
        match event {
            LaneEvent::Message { peer, message, .. } => match message {
                Message::Request { request_id, request, channel } => match request {
                    Ok(frame) => self.on_request(peer, lane, request_id, frame, channel),
                    Err(error) => self.on_bad_request(peer, lane, &error),
                },
                Message::Response { request_id, response } => {
                    count_frame(&self.links.counters.lane(lane).bytes_in, response.len());
                    if let Some(pending) = self.outbound.take(lane, request_id) {
                        // The caller may have given up.
                        let _gone = pending.answer.send(Ok(response));
                    }
                }
            },
            LaneEvent::OutboundFailure { request_id, error, .. } => {
                let Some(pending) = self.outbound.take(lane, request_id) else { return };
                let error = explain(error, lane, &pending);
                if matches!(error, RequestError::AnswerTooLarge { .. }) {
                    self.strike(pending.peer);
                }
                count(&self.links.counters.lane(lane).errors_out);
                let _gone = pending.answer.send(Err(error));
            }
            LaneEvent::InboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, %lane, %error, "request of a peer ended unanswered");
                self.admission.end(lane, request_id);
            }
            LaneEvent::ResponseSent { request_id, .. } => self.admission.end(lane, request_id),
        }
    }

    fn on_request(
        &mut self,
        peer: PeerId,
        lane: Lane,
        id: InboundRequestId,
        frame: Frame,
        channel: ResponseChannel<Vec<u8>>,
    ) {
        count_frame(&self.links.counters.lane(lane).bytes_in, frame.bytes.len());
        let listed = self.swarm.behaviour().gate.is_listed(&peer);
        let standing = if listed { Standing::Listed } else { Standing::Stranger };
        let verdict = self.admission.check(&peer, standing, lane, Instant::now());
        if let Err(declined) = verdict {
            tracing::debug!(%peer, %lane, ?declined, "request declined");
            count(&self.links.counters.lane(lane).refused_in);
            if declined != Declined::InFlight {
                self.strike(peer);
            }
            return;
        }
        let Some(public) = public_of(&peer) else { return };
        let Frame { bytes, charge } = frame;
        let (answer, answered) = oneshot::channel();
        let limit_bytes = self.config.answer_limit(lane);
        let reply = Reply { answer, lane, limit_bytes, _charge: charge };
        let inbound = Inbound { peer: public, listed, lane, bytes, at: Instant::now(), reply };
        if self.links.inbound.try_send(inbound).is_err() {
            tracing::debug!(%peer, %lane, "inbound queue is full, request declined");
            count(&self.links.counters.lane(lane).refused_in);
            return;
        }
        count(&self.links.counters.lane(lane).requests_in);
        let wait = answered.map(move |bytes| Answered { lane, id, channel, bytes: bytes.ok() });
        let (wait, abort) = abortable(wait);
        self.admission.begin(peer, lane, id, abort);
        self.replies.push(wait.map(Result::ok).boxed());
    }

    /// A request that could not be read. Only what no honest peer sends is held against it: links stall and
    /// streams are cut without anyone's fault.
    fn on_bad_request(&mut self, peer: PeerId, lane: Lane, error: &FrameError) {
        tracing::debug!(%peer, %lane, %error, "request cannot be read");
        count(&self.links.counters.lane(lane).refused_in);
        if matches!(error, FrameError::TooLarge { .. }) {
            self.strike(peer);
        }
    }

    pub(super) fn strike(&mut self, peer: PeerId) {
        let now = Instant::now();
        count(&self.links.counters.strikes);
        if self.strikes.add(peer, now) == Verdict::Tolerated {
            return;
        }
        tracing::info!(%peer, ignored_for = ?self.config.ignore_for, "peer is ignored after bad messages");
        count(&self.links.counters.ignored);
        self.swarm.behaviour_mut().gate.ignore(peer, now, self.config.ignore_for);
        let _absent = self.swarm.disconnect_peer_id(peer);
    }
}
