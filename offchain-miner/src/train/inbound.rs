//! Messages in: probes, activations from upstream, gradients from downstream.

use std::time::Instant;

use codec::Encode;
use iota_network::Inbound;
use iota_protocol::equivocation::SignedHeader;
use iota_protocol::hash::Domain;
use iota_protocol::ids::{Epoch, RunId, Sample, Stage};
use iota_protocol::packed::PackedHop;
use iota_protocol::receipt::Direction;
use iota_protocol::wire::{self, Hop, HopHeader, TrainReply, TrainRequest, WireError};

use super::{Acknowledgement, TrainEpoch};
use crate::flight::{Flight, Stand};
use crate::journal::Record;
use crate::ledger::Part;
use crate::trainer::{Input, Job, Trainer};

/// Why a hop is not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Another run, stage or a past epoch.
    NotOurs,
    /// We have not reached that epoch yet.
    Later,
    /// The sender broke the protocol.
    Bad(#[expect(dead_code, reason = "read by Debug in the log line")] String),
}

impl TrainEpoch {
    pub(super) async fn received(&mut self, inbound: Inbound, trainer: &mut Trainer) -> anyhow::Result<()> {
        let limit = wire::train_limit(&self.ctx.params);
        match wire::decode::<TrainRequest>(&inbound.bytes, limit) {
            Ok(TrainRequest::Probe { run, epoch, sample }) => {
                let known = run == self.ctx.run && epoch == self.ctx.epoch && self.probed(sample)?;
                drop(
                    inbound
                        .reply
                        .send(if known { TrainReply::Working } else { TrainReply::Unknown }.encode()),
                );
                Ok(())
            }
            Ok(TrainRequest::Hop(hop)) => self.received_hop(hop, inbound, trainer).await,
            Err(error) => {
                tracing::warn!(%error, "malformed message");
                self.ctx.network.penalise(inbound.peer).await;
                Ok(())
            }
        }
    }

    /// A neighbour asks about a sample. One that is finished here is sent again.
    fn probed(&mut self, sample: Sample) -> anyhow::Result<bool> {
        let Some(flight) = self.flights.get(&sample) else { return Ok(false) };
        match flight.stand {
            Stand::Abandoned => Ok(false),
            _ if self.let_go.contains(&sample) => Ok(false),
            Stand::Done => self.return_gradient(sample).map(|()| true),
            _ => Ok(true),
        }
    }

    async fn received_hop(
        &mut self,
        packed: PackedHop,
        inbound: Inbound,
        trainer: &mut Trainer,
    ) -> anyhow::Result<()> {
        let (sample, from) = (Sample(packed.sample), packed.from);
        if self.awaits(&packed) {
            self.ledger.arrive(sample, inbound.at);
        }
        let hop = match self.taken(packed, &inbound.peer) {
            Ok(hop) => hop,
            Err(refusal) => {
                tracing::debug!(?refusal, %sample, from, "hop refused");
                self.forget_unknown(sample);
                if matches!(refusal, Refusal::Bad(_)) {
                    self.ctx.network.penalise(inbound.peer).await;
                }
                let later = matches!(refusal, Refusal::Later);
                let answer = if later { TrainReply::Busy } else { TrainReply::Refused };
                drop(inbound.reply.send(answer.encode()));
                return Ok(());
            }
        };
        self.last_activity = Instant::now();
        self.testify(&hop);
        let boundary = match hop.header.direction {
            Direction::Forward => self.ctx.stage.0.saturating_sub(1),
            Direction::Backward => self.ctx.stage.0,
        };
        let answer = match hop.header.direction {
            Direction::Forward => self.forward_arrived(hop, trainer).await?,
            Direction::Backward => self.gradient_arrived(hop, trainer).await?,
        };
        self.forget_unknown(sample);
        self.acks.push(Acknowledgement { reply: inbound.reply, message: answer, boundary });
        Ok(())
    }

    /// Whether a message is the next thing that its sample waits for here.
    fn awaits(&self, packed: &PackedHop) -> bool {
        let stand = self.flights.get(&Sample(packed.sample)).map(|flight| &flight.stand);
        match packed.direction {
            Direction::Forward => stand.is_none(),
            Direction::Backward => matches!(stand, Some(Stand::Sending | Stand::Awaiting(_))),
        }
    }

    /// A message that was not taken begins nothing.
    fn forget_unknown(&mut self, sample: Sample) {
        if !self.flights.contains_key(&sample) {
            self.ledger.forget(sample);
        }
    }

    /// The whole hop after all checks, each timed.
    fn taken(&mut self, packed: PackedHop, peer: &[u8; 32]) -> Result<Hop, Refusal> {
        let (sample, began) = (Sample(packed.sample), Instant::now());
        let hop = self.unpack(packed)?;
        self.ledger.spend(sample, Part::Hash, began);
        let began = Instant::now();
        // Codes that mean nothing are refused here, not accepted and then lost in the trainer.
        iota_compute::codec::check_message(&self.ctx.params, hop.header.direction, &hop.codes)
            .map_err(|error| Refusal::Bad(error.to_string()))?;
        self.ledger.spend(sample, Part::Codec, began);
        let began = Instant::now();
        self.check(&hop, peer)?;
        self.ledger.spend(sample, Part::Sign, began);
        Ok(hop)
    }

    /// Remembers what a neighbour signed; a second body for the same hop goes to the chain.
    pub(super) fn testify(&mut self, hop: &Hop) {
        let said = SignedHeader { header: hop.header.clone(), signature: hop.signature };
        let Some(proof) = self.signed.heard(&said) else { return };
        if self.ctx.proofs.try_send(proof).is_err() {
            tracing::warn!(from = %hop.header.from, "too many proofs of equivocation wait; this one is dropped");
        }
    }

    /// The whole hop, if it is for this stage and epoch and has the run's shape.
    pub(super) fn unpack(&self, packed: PackedHop) -> Result<Hop, Refusal> {
        let ours = RunId(packed.run) == self.ctx.run && Stage(packed.stage) == self.ctx.stage;
        if !ours || Epoch(packed.epoch) < self.ctx.epoch {
            return Err(Refusal::NotOurs);
        }
        if Epoch(packed.epoch) > self.ctx.epoch {
            return Err(Refusal::Later);
        }
        let sent = |sample, first| self.flights.get(&sample)?.sent_with(first);
        packed.unpack(&self.ctx.params, sent).map_err(|error| match error {
            WireError::Parent => Refusal::NotOurs,
            error => Refusal::Bad(error.to_string()),
        })
    }

    /// Whether its sender may send it, and did.
    pub(super) fn check(&self, hop: &Hop, peer: &[u8; 32]) -> Result<(), Refusal> {
        let header = &hop.header;
        let neighbour = match header.direction {
            Direction::Forward => self.ctx.stage.0.checked_sub(1).map(Stage),
            Direction::Backward => self.ctx.stage.0.checked_add(1).map(Stage),
        };
        let sender = self
            .ctx
            .members
            .iter()
            .find(|m| m.uid == header.from && m.stage.is_some() && m.stage == neighbour);
        let sender = sender.ok_or(Refusal::NotOurs)?;
        if self.ctx.stage.0 == 1
            && header.direction == Direction::Forward
            && !self.ctx.starts(sender.uid, header.sample)
        {
            return Err(Refusal::Bad(format!(
                "sample {} is not uid {}'s to start",
                header.sample, header.from
            )));
        }
        if sender.endpoint.as_ref().map(|endpoint| &endpoint.peer) != Some(peer) {
            return Err(Refusal::Bad(format!("uid {} is published under another peer", header.from)));
        }
        let genuine = self.ctx.identity.verify(
            &sender.hotkey,
            Domain::Message,
            header.epoch,
            &header.id(),
            &hop.signature,
        );
        if genuine {
            Ok(())
        } else {
            Err(Refusal::Bad("wrong signature".into()))
        }
    }

    fn accept(&self, header: &HopHeader) -> TrainReply {
        let id = header.id();
        TrainReply::Accepted { signature: self.ctx.identity.sign(Domain::Message, self.ctx.epoch, &id) }
    }

    /// A sample's activations. One that is known here is not run again: its gradient will go, or goes
    /// again, to the newest sender.
    pub(super) async fn forward_arrived(
        &mut self,
        hop: Hop,
        trainer: &mut Trainer,
    ) -> anyhow::Result<TrainReply> {
        if let Some(flight) = self.flights.get(&hop.header.sample) {
            return match flight.stand {
                Stand::Abandoned => Ok(TrainReply::Refused),
                _ => self.rebind(&hop.header),
            };
        }
        if self.leaving {
            return Ok(TrainReply::Refused);
        }
        if self.open() >= self.ctx.most_open {
            return Ok(TrainReply::Busy);
        }
        self.record(&Record::Arrived(hop.clone()))?;
        let began = Instant::now();
        let answer = self.accept(&hop.header);
        self.ledger.spend(hop.header.sample, Part::Sign, began);
        self.begin_forward(hop, trainer).await?;
        Ok(answer)
    }

    /// The same sample again, from an upstream that was restarted or replaced. A straggler of an older
    /// attempt is acknowledged, but the gradient stays with the newer one.
    fn rebind(&mut self, header: &HopHeader) -> anyhow::Result<TrainReply> {
        let Some(flight) = self.flights.get_mut(&header.sample) else { return Ok(TrainReply::Refused) };
        if !flight.rebind(header.attempt, header.from, header.id()) {
            return Ok(self.accept(header));
        }
        let done = flight.stand == Stand::Done;
        self.record(&Record::Rebound {
            sample: header.sample,
            attempt: header.attempt,
            upstream: header.from,
            parent: header.id(),
        })?;
        if done {
            self.return_gradient(header.sample)?;
        }
        Ok(self.accept(header))
    }

    async fn begin_forward(&mut self, hop: Hop, trainer: &mut Trainer) -> anyhow::Result<()> {
        let HopHeader { sample, attempt, from, codes_hash, .. } = hop.header;
        let id = hop.header.id();
        let flight = Flight::arrived(sample, attempt, Some(from), id, codes_hash, Instant::now());
        self.flights.insert(sample, flight);
        let targets = if self.ctx.is_last() { Some(self.ctx.tokens_of(sample)?.1) } else { None };
        self.ledger.run(sample, Part::Wait);
        trainer.send(Job::Forward { sample, attempt, input: Input::Codes(hop.codes), targets }).await
    }

    pub(super) async fn gradient_arrived(
        &mut self,
        hop: Hop,
        trainer: &mut Trainer,
    ) -> anyhow::Result<TrainReply> {
        let header = hop.header.clone();
        let Some(flight) = self.flights.get_mut(&header.sample) else { return Ok(TrainReply::Refused) };
        match flight.stand {
            Stand::Abandoned | Stand::Forwarding => return Ok(TrainReply::Refused),
            Stand::Done | Stand::Backwarding => return Ok(self.accept(&header)),
            // A gradient from somebody who never had the sample could be anything.
            Stand::Sending | Stand::Awaiting(_) if !flight.offered.contains(&header.from) => {
                return Ok(TrainReply::Refused);
            }
            Stand::Sending | Stand::Awaiting(_) => {}
        }
        let took = flight.sent_at.elapsed();
        self.patience.served(took);
        self.ctx.gauges.served(self.patience.median());
        self.record(&Record::Arrived(hop.clone()))?;
        let began = Instant::now();
        let answer = self.accept(&header);
        self.ledger.spend(header.sample, Part::Sign, began);
        self.begin_backward(hop, trainer).await?;
        Ok(answer)
    }

    async fn begin_backward(&mut self, hop: Hop, trainer: &mut Trainer) -> anyhow::Result<()> {
        let header = hop.header;
        let Some(flight) = self.flights.get_mut(&header.sample) else { return Ok(()) };
        flight.stand = Stand::Backwarding;
        (flight.gradient_in, flight.gradient_from) = (header.codes_hash, Some(header.from));
        let (sample, attempt) = (flight.sample, flight.key);
        self.ledger.run(sample, Part::Wait);
        trainer.send(Job::Backward { sample, attempt, gradient: hop.codes }).await
    }
}
