//! Rebuilding an epoch from its journal after a restart, at whatever record the journal ends.
//!
//! The journal says what arrived, what ran and what was sent. Replaying the passes gives the same
//! weights and the same bytes; whatever the dead process had not got to is done now, and hops whose
//! acknowledgement it did not journal are sent again as they were.

use std::sync::Arc;
use std::time::Instant;

use iota_compute::outer::OuterState;
use iota_protocol::ids::{Attempt, Hash, Sample, Uid};
use iota_protocol::receipt::{Direction, LogEvent, Receipt};
use iota_protocol::wire::{codes_hash, Hop};

use super::passes::LossPass;
use super::{EpochContext, Outgoing, TrainEpoch};
use crate::flight::{Flight, Stand};
use crate::journal::Record;
use crate::trainer::{Begin, Done, Input, Job, Outcome, Trainer};

impl TrainEpoch {
    /// Takes over what the journal of this epoch holds and brings the trainer to the same point.
    /// A fresh epoch has no records.
    ///
    /// # Errors
    /// When the journal lacks the input of a pass, the replay differs from the journal, or the disk or
    /// the trainer fails.
    pub async fn begin(
        &mut self,
        state: &OuterState,
        records: &[Record],
        trainer: &mut Trainer,
    ) -> anyhow::Result<()> {
        self.restore(records);
        let replay = replay_jobs(&self.ctx, &self.log)?;
        if !self.log.is_empty() {
            tracing::info!(epoch = %self.ctx.epoch, events = self.log.len(), "replaying this epoch's journal");
        }
        let begin = Begin {
            params: Arc::clone(&self.ctx.params),
            epoch: self.ctx.epoch,
            stage: self.ctx.stage,
            outer: state.clone(),
            tokens: self.ctx.tokens,
            replay,
            log: self.log.clone(),
        };
        let mut replayed = 0usize;
        for done in trainer.begin(begin).await? {
            self.journal_missing(&done, &mut replayed)?;
            self.keep_replayed(done)?;
        }
        Ok(())
    }

    fn restore(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Started(sample) => self.restore_start(*sample),
                Record::Arrived(hop) => self.restore_arrival(hop),
                Record::Ran(event) => self.restore_event(*event),
                Record::Sent { to, hop } => self.restore_sent(*to, hop),
                Record::Receipt(receipt) => self.restore_receipt(receipt),
                Record::Rebound { sample, attempt, upstream, parent } => {
                    if let Some(flight) = self.flights.get_mut(sample) {
                        flight.rebind(*attempt, *upstream, *parent);
                    }
                }
                Record::Commit(_) | Record::Blind { .. } => {}
            }
        }
    }

    fn restore_start(&mut self, sample: Sample) {
        self.next_start = self.next_start.saturating_add(1);
        let flight = Flight::arrived(sample, Attempt(0), None, Hash::ZERO, Hash::ZERO, Instant::now());
        self.flights.insert(sample, flight);
    }

    fn restore_arrival(&mut self, hop: &Hop) {
        let header = &hop.header;
        match header.direction {
            Direction::Forward => {
                let (from, id) = (Some(header.from), header.id());
                let flight = Flight::arrived(
                    header.sample,
                    header.attempt,
                    from,
                    id,
                    header.codes_hash,
                    Instant::now(),
                );
                self.flights.insert(header.sample, flight);
            }
            Direction::Backward => {
                if let Some(flight) = self.flights.get_mut(&header.sample) {
                    flight.stand = Stand::Backwarding;
                    (flight.gradient_in, flight.gradient_from) = (header.codes_hash, Some(header.from));
                }
            }
        }
    }

    fn restore_event(&mut self, event: LogEvent) {
        self.log_event(event);
        let (sample, stand) = match event {
            LogEvent::Forward { sample, .. } => (sample, Stand::Sending),
            LogEvent::Backward { sample, .. } => (sample, Stand::Done),
            LogEvent::Abandon { sample, .. } => (sample, Stand::Abandoned),
            LogEvent::Step { .. } => return,
        };
        if let Some(flight) = self.flights.get_mut(&sample) {
            flight.stand = stand;
        }
    }

    /// A hop that left, or was about to. Until a receipt says that it was taken, it counts as not.
    fn restore_sent(&mut self, to: Uid, hop: &Hop) {
        let header = &hop.header;
        let Some(flight) = self.flights.get_mut(&header.sample) else { return };
        flight.attempt = flight.attempt.max(header.attempt);
        match header.direction {
            Direction::Forward => {
                flight.output = Some(header.codes_hash);
                flight.offered.insert(to);
                flight.sent.insert(header.id());
                flight.stand = Stand::Sending;
            }
            Direction::Backward => flight.gradient_out = Some(header.codes_hash),
        }
        self.unacknowledged.insert((header.sample, header.direction), Outgoing { to, hop: hop.clone() });
    }

    fn restore_receipt(&mut self, receipt: &Receipt) {
        let key = (receipt.sample, receipt.direction);
        let acknowledged = self
            .unacknowledged
            .get(&key)
            .is_some_and(|sent| sent.to == receipt.to && sent.hop.header.attempt == receipt.attempt);
        if acknowledged {
            self.unacknowledged.remove(&key);
            if let Some(flight) = self.flights.get_mut(&receipt.sample) {
                if receipt.direction == Direction::Forward && flight.stand == Stand::Sending {
                    flight.stand = Stand::Awaiting(receipt.to);
                }
            }
        }
        self.keep_receipt(receipt.clone());
    }

    /// A pass may add several events, and the process may have died between two of their records.
    fn journal_missing(&mut self, done: &Done, replayed: &mut usize) -> anyhow::Result<()> {
        for event in &done.events {
            if *replayed >= self.log.len() {
                self.restore_event(*event);
                self.record(&Record::Ran(*event))?;
            }
            *replayed = replayed.saturating_add(1);
        }
        Ok(())
    }

    /// Takes back the bytes that a replayed pass put out, and leaves the receipt of a pass that ends
    /// here if the process died before it did.
    fn keep_replayed(&mut self, done: Done) -> anyhow::Result<()> {
        let sample = done.sample;
        match done.outcome {
            Outcome::Forward { codes, .. } => {
                self.ctx.store.put_codes(self.ctx.epoch, codes_hash(&codes), codes)
            }
            Outcome::Loss { loss, gradient, version, logits } => {
                if !self.has_receipt(sample, Direction::Forward) {
                    self.leave_forward_of_last(sample, LossPass { loss, version, logits })?;
                }
                self.keep_gradient(sample, gradient);
            }
            Outcome::Backward { gradient: Some(gradient), .. } => self.keep_gradient(sample, gradient),
            Outcome::Backward { gradient: None, version } => {
                if !self.has_receipt(sample, Direction::Backward) {
                    self.leave_backward_of_first(sample, version)?;
                }
            }
            Outcome::Abandoned | Outcome::Failed(_) => {}
        }
        Ok(())
    }

    /// Queues again what was queued or ready when the process died.
    pub(super) async fn resume(&mut self, trainer: &mut Trainer) -> anyhow::Result<()> {
        let unacknowledged = std::mem::take(&mut self.unacknowledged);
        let again: Vec<Outgoing> =
            unacknowledged.into_values().filter(|sent| self.still_holds(sent)).collect();
        let resent: Vec<(Sample, Direction)> =
            again.iter().map(|sent| (sent.hop.header.sample, sent.hop.header.direction)).collect();
        self.outbox.extend(again);
        let samples: Vec<Sample> = self.flights.keys().copied().collect();
        for sample in samples {
            let Some(flight) = self.flights.get(&sample).cloned() else { continue };
            match flight.stand {
                Stand::Forwarding => self.resume_forward(&flight, trainer).await?,
                Stand::Backwarding => self.resume_backward(&flight, trainer).await?,
                Stand::Sending if !resent.contains(&(sample, Direction::Forward)) => {
                    self.resume_output(sample)?
                }
                Stand::Done
                    if !resent.contains(&(sample, Direction::Backward)) && !self.is_returned(&flight) =>
                {
                    self.return_gradient(sample)?;
                }
                Stand::Sending | Stand::Done | Stand::Awaiting(_) | Stand::Abandoned => {}
            }
        }
        Ok(())
    }

    /// Whether a journalled hop is still what we would send: a gradient goes to the newest sender only,
    /// and a sample that was given up goes nowhere.
    fn still_holds(&self, sent: &Outgoing) -> bool {
        let header = &sent.hop.header;
        self.flights.get(&header.sample).is_some_and(|flight| match header.direction {
            Direction::Forward => flight.stand != Stand::Abandoned,
            Direction::Backward => header.attempt == flight.attempt && Some(sent.to) == flight.upstream,
        })
    }

    /// Whether the newest sender acknowledged the gradient.
    fn is_returned(&self, flight: &Flight) -> bool {
        self.receipts.iter().any(|r| {
            (r.sample, r.direction, r.attempt) == (flight.sample, Direction::Backward, flight.attempt)
                && flight.upstream.is_none_or(|upstream| r.to == upstream)
        })
    }

    async fn resume_forward(&mut self, flight: &Flight, trainer: &mut Trainer) -> anyhow::Result<()> {
        let (sample, attempt) = (flight.sample, flight.key);
        if flight.upstream.is_none() {
            return self.start(sample, trainer).await;
        }
        let codes = self.ctx.kept_codes(&flight.input)?;
        let targets = if self.ctx.is_last() { Some(self.ctx.tokens_of(sample)?.1) } else { None };
        trainer.send(Job::Forward { sample, attempt, input: Input::Codes(codes), targets }).await
    }

    async fn resume_backward(&mut self, flight: &Flight, trainer: &mut Trainer) -> anyhow::Result<()> {
        let gradient = self.ctx.kept_codes(&flight.gradient_in)?;
        trainer.send(Job::Backward { sample: flight.sample, attempt: flight.key, gradient }).await
    }

    /// The pass had run but its output was not on disk: the replay has just computed it again.
    fn resume_output(&mut self, sample: Sample) -> anyhow::Result<()> {
        let output = self.event_of(sample, Direction::Forward).and_then(|(_, event)| match event {
            LogEvent::Forward { output, .. } => Some(output),
            _ => None,
        });
        let output = output.filter(|output| self.ctx.store.has_codes(self.ctx.epoch, output));
        if let (Some(flight), Some(output)) = (self.flights.get_mut(&sample), output) {
            flight.output = Some(output);
        }
        self.offer(sample)
    }
}

/// The jobs that reproduce an event log, with the inputs that the journal recorded.
fn replay_jobs(ctx: &EpochContext, log: &[LogEvent]) -> anyhow::Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for event in log {
        jobs.extend(replay_job(ctx, *event)?);
    }
    Ok(jobs)
}

/// The job of one event; none for local steps and for what the last stage's forward pass includes.
fn replay_job(ctx: &EpochContext, event: LogEvent) -> anyhow::Result<Option<Job>> {
    Ok(match event {
        LogEvent::Forward { sample, attempt, input, .. } => {
            let reads = ctx.is_first() || ctx.is_last();
            let (inputs, targets) = if reads { ctx.tokens_of(sample)? } else { Default::default() };
            let input =
                if ctx.is_first() { Input::Tokens(inputs) } else { Input::Codes(ctx.kept_codes(&input)?) };
            Some(Job::Forward { sample, attempt, input, targets: ctx.is_last().then_some(targets) })
        }
        LogEvent::Backward { .. } if ctx.is_last() => None,
        LogEvent::Backward { sample, attempt, input, .. } => {
            Some(Job::Backward { sample, attempt, gradient: ctx.kept_codes(&input)? })
        }
        LogEvent::Abandon { sample, attempt } => Some(Job::Abandon { sample, attempt }),
        LogEvent::Step { .. } => None,
    })
}
