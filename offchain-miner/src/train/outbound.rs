//! Messages out: offers to the next stage, gradients to the one before, and what comes of them.

use std::time::{Duration, Instant};

use codec::Encode;
use iota_protocol::hash::Domain;
use iota_protocol::ids::{Attempt, Hash, Sample, Stage, Uid};
use iota_protocol::pathway;
use iota_protocol::receipt::{Direction, SkipCause};
use iota_protocol::view::MemberView;
use iota_protocol::wire::{codes_hash, Hop, HopHeader, TrainReply, TrainRequest, WIRE_VERSION};
use iota_worker::exchange::{self, ExchangeError};
use iota_worker::identity::Identity;
use tokio::task::JoinSet;

use super::{Outgoing, TrainEpoch};
use crate::fault::Fault;
use crate::flight::Stand;
use crate::journal::Record;
use crate::ledger::Part;

/// Wait before a hop that nobody took is offered again.
const RETRY: Duration = Duration::from_millis(300);
/// Least wait for the answer to one hop; the receiver answers after its own disk sync.
const HOP_TIMEOUT: Duration = Duration::from_secs(4);

/// What came of a message or a probe.
pub(super) enum Answer {
    /// Of a hop.
    Hop {
        /// Whom it was sent to.
        to: Uid,
        /// Its header.
        header: HopHeader,
        /// The answer.
        reply: Result<TrainReply, ExchangeError>,
    },
    /// Of a probe.
    Probe {
        /// Who was asked.
        to: Uid,
        /// After which sample.
        sample: Sample,
        /// The answer.
        reply: Result<TrainReply, ExchangeError>,
    },
}

/// Where a hop goes and what it belongs to.
#[derive(Clone, Copy, Debug)]
struct Leg {
    to: Uid,
    sample: Sample,
    attempt: Attempt,
    /// The receiver's stage.
    stage: Stage,
    direction: Direction,
    parent: Hash,
}

impl TrainEpoch {
    /// Offers a sample's output to the next miner in its order.
    pub(super) fn offer(&mut self, sample: Sample) -> anyhow::Result<()> {
        let Some(next) = self.ctx.stage.0.checked_add(1).map(Stage) else { return Ok(()) };
        let order = self.order(sample, next);
        let Some(flight) = self.flights.get_mut(&sample) else { return Ok(()) };
        let (Some(to), Some(output)) = (flight.candidate(&order), flight.output) else {
            self.retries.push((Instant::now() + RETRY, sample));
            return Ok(());
        };
        flight.offered.insert(to);
        let leg = Leg {
            to,
            sample,
            attempt: flight.attempt,
            stage: next,
            direction: Direction::Forward,
            parent: flight.parent,
        };
        self.post(leg, output)
    }

    fn order(&self, sample: Sample, stage: Stage) -> Vec<Uid> {
        pathway::preference(&self.ctx.train_seed, sample, stage, &self.ctx.stage_uids(stage))
    }

    /// Sends a finished sample's gradient to whoever sent the sample last.
    pub(super) fn return_gradient(&mut self, sample: Sample) -> anyhow::Result<()> {
        let Some(flight) = self.flights.get(&sample) else { return Ok(()) };
        let (Some(to), Some(gradient)) = (flight.upstream, flight.gradient_out) else { return Ok(()) };
        let Some(previous) = self.ctx.stage.0.checked_sub(1).map(Stage) else { return Ok(()) };
        let (attempt, parent) = (flight.attempt, flight.parent);
        let leg = Leg { to, sample, attempt, stage: previous, direction: Direction::Backward, parent };
        self.post(leg, gradient)
    }

    /// Signs a hop, journals it and queues it.
    fn post(&mut self, leg: Leg, codes_hash: Hash) -> anyhow::Result<()> {
        let Leg { to, sample, attempt, stage, direction, parent } = leg;
        self.ledger.stop(sample);
        let codes = self.ctx.kept_codes(&codes_hash)?;
        let header = HopHeader {
            version: WIRE_VERSION,
            run: self.ctx.run,
            epoch: self.ctx.epoch,
            sample,
            attempt,
            stage,
            direction,
            from: self.ctx.me.uid,
            values: self.ctx.params.values_per_message(),
            codec: self.ctx.params.train.wire,
            codes_hash,
            parent,
        };
        let began = Instant::now();
        let id = header.id();
        let signature = self.ctx.identity.sign(Domain::Message, self.ctx.epoch, &id);
        self.ledger.spend(sample, Part::Sign, began);
        if let Some(flight) = self.flights.get_mut(&sample).filter(|_| direction == Direction::Forward) {
            flight.sent.insert(id);
        }
        let hop = Hop { header, signature, codes };
        self.record(&Record::Sent { to, hop: hop.clone() })?;
        if self.ctx.fault == Some(Fault::Equivocates) {
            self.outbox.push(Outgoing { to, hop: self.contradicting(&hop) });
        }
        self.outbox.push(Outgoing { to, hop });
        self.ledger.run(sample, Part::Wait);
        Ok(())
    }

    /// Another body for the same hop, signed as well.
    fn contradicting(&self, hop: &Hop) -> Hop {
        let codes = Fault::garbage(hop.codes.len(), hop.header.sample.0);
        let header = HopHeader { codes_hash: codes_hash(&codes), ..hop.header.clone() };
        let signature = self.ctx.identity.sign(Domain::Message, self.ctx.epoch, &header.id());
        Hop { header, signature, codes }
    }

    /// Sends a hop from a task of its own, whose result is the answer.
    pub(super) fn send(&self, outgoing: Outgoing, sends: &mut JoinSet<Answer>) {
        let Outgoing { to, hop } = outgoing;
        let Some(member) = self.ctx.members.iter().find(|m| m.uid == to).cloned() else { return };
        let (network, identity) = (self.ctx.network.clone(), self.ctx.identity.clone());
        let (header, boundary) = (hop.header.clone(), self.ctx.stage.0.min(hop.header.stage.0));
        let request = TrainRequest::Hop(hop.into());
        self.ctx.meter.add(boundary, request.encoded_size());
        let wait = HOP_TIMEOUT.max(self.patience.limit());
        sends.spawn(async move {
            let reply = exchange::train(&network, &member, &request, wait).await;
            let reply = reply.map(|reply| vouched(reply, &identity, &member, &header));
            Answer::Hop { to, header, reply }
        });
    }

    pub(super) fn answered(&mut self, answer: Answer) -> anyhow::Result<()> {
        match answer {
            Answer::Hop { to, header, reply } => match header.direction {
                Direction::Forward => self.forward_answered(to, &header, reply),
                Direction::Backward => self.backward_answered(to, &header, reply),
            },
            Answer::Probe { to, sample, reply } => self.probe_answered(to, sample, reply),
        }
    }

    fn forward_answered(
        &mut self,
        to: Uid,
        header: &HopHeader,
        reply: Result<TrainReply, ExchangeError>,
    ) -> anyhow::Result<()> {
        let order = self.order(header.sample, header.stage);
        let Some(flight) = self.flights.get_mut(&header.sample) else { return Ok(()) };
        if flight.stand != Stand::Sending {
            // The gradient overtook the acknowledgement, or the sample was given up.
            return if matches!(reply, Ok(TrainReply::Accepted { .. })) {
                self.leave_forward(header, to)
            } else {
                Ok(())
            };
        }
        let cause = match reply {
            Ok(TrainReply::Accepted { .. }) => {
                flight.stand = Stand::Awaiting(to);
                flight.heard = Instant::now();
                flight.sent_at = flight.heard;
                return self.leave_forward(header, to);
            }
            Ok(TrainReply::Busy) => SkipCause::Busy,
            Ok(_) => SkipCause::Refused,
            Err(error) => {
                tracing::debug!(%to, sample = %header.sample, %error, "hop not delivered");
                flight.attempt = flight.attempt.next();
                SkipCause::Unreachable
            }
        };
        flight.skip(to, cause, &order);
        if flight.skips.is_empty() && self.leaving {
            self.give_up(header.sample);
            return Ok(());
        }
        if flight.skips.is_empty() {
            self.retries.push((Instant::now() + RETRY, header.sample));
            return Ok(());
        }
        self.offer(header.sample)
    }

    fn backward_answered(
        &mut self,
        to: Uid,
        header: &HopHeader,
        reply: Result<TrainReply, ExchangeError>,
    ) -> anyhow::Result<()> {
        match reply {
            Ok(TrainReply::Accepted { .. }) => self.leave_backward(header, to),
            Ok(TrainReply::Refused) => Ok(()),
            _ => {
                self.retries.push((Instant::now() + RETRY, header.sample));
                Ok(())
            }
        }
    }

    fn probe_answered(
        &mut self,
        to: Uid,
        sample: Sample,
        reply: Result<TrainReply, ExchangeError>,
    ) -> anyhow::Result<()> {
        let Some(next) = self.ctx.stage.0.checked_add(1).map(Stage) else { return Ok(()) };
        let order = self.order(sample, next);
        let Some(flight) = self.flights.get_mut(&sample) else { return Ok(()) };
        flight.probing = false;
        if flight.stand != Stand::Awaiting(to) {
            return Ok(());
        }
        if matches!(reply, Ok(TrainReply::Working)) && flight.sent_at.elapsed() < self.patience.cap() {
            flight.heard = Instant::now();
            return Ok(());
        }
        let (silent, patience) = (flight.heard.elapsed(), self.patience.limit());
        tracing::info!(%sample, %to, ?silent, ?patience, "downstream lost the sample; starting again at the next in its order");
        self.ctx.gauges.rerouted();
        flight.attempt = flight.attempt.next();
        flight.stand = Stand::Sending;
        flight.skip(to, SkipCause::Unreachable, &order);
        self.offer(sample)
    }
}

/// An acknowledgement counts only under the receiver's own signature; without it the receiver could
/// deny the delivery, so it is taken for a refusal.
fn vouched(reply: TrainReply, identity: &Identity, by: &MemberView, header: &HopHeader) -> TrainReply {
    match reply {
        TrainReply::Accepted { signature }
            if !identity.verify(&by.hotkey, Domain::Message, header.epoch, &header.id(), &signature) =>
        {
            tracing::warn!(uid = %by.uid, sample = %header.sample, "acknowledgement with a wrong signature");
            TrainReply::Refused
        }
        reply => reply,
    }
}

#[cfg(test)]
mod vouched_tests {
    use super::*;
    use iota_protocol::ids::{AccountKey, Epoch, Incarnation, RunId};
    use iota_protocol::params::WireCodec;
    use iota_protocol::work::Role;
    use iota_service::keys::Hotkey;

    #[test]
    fn an_acknowledgement_without_the_receivers_signature_is_a_refusal() {
        let receiver = Identity::new(Hotkey::from_seed([7; 32]), Hash([1; 32]), RunId(0));
        let sender = Identity::new(Hotkey::from_seed([8; 32]), Hash([1; 32]), RunId(0));
        let member = MemberView {
            uid: Uid(4),
            incarnation: Incarnation(0),
            hotkey: receiver.public(),
            coldkey: AccountKey([0; 32]),
            role: Role::Miner,
            stage: Some(Stage(1)),
            endpoint: None,
            weight: 1,
            bond: 0,
            registered_at: 0,
        };
        let header = HopHeader {
            version: WIRE_VERSION,
            run: RunId(0),
            epoch: Epoch(2),
            sample: Sample(3),
            attempt: Attempt(0),
            stage: Stage(1),
            direction: Direction::Forward,
            from: Uid(1),
            values: 0,
            codec: WireCodec::Int8,
            codes_hash: Hash::ZERO,
            parent: Hash::ZERO,
        };
        let signed = |by: &Identity| TrainReply::Accepted {
            signature: by.sign(Domain::Message, Epoch(2), &header.id()),
        };
        assert_eq!(vouched(signed(&sender), &sender, &member, &header), TrainReply::Refused);
        let genuine = signed(&receiver);
        assert_eq!(vouched(genuine.clone(), &sender, &member, &header), genuine);
        assert_eq!(vouched(TrainReply::Busy, &sender, &member, &header), TrainReply::Busy);
    }
}
