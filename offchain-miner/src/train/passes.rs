//! What the trainer hands back: the event log grows, and each result goes on its way.

use std::time::Instant;

use iota_protocol::ids::{Hash, Sample, Version};
use iota_protocol::receipt::LogEvent;
use iota_protocol::wire::codes_hash;

use super::TrainEpoch;
use crate::fault::Fault;
use crate::flight::Stand;
use crate::journal::Record;
use crate::ledger::Part;
use crate::trainer::{Done, Job, Outcome, Trainer};

/// What the last stage's pass gives beside the gradient.
#[derive(Clone, Copy, Debug)]
pub(super) struct LossPass {
    /// Mean nats per token.
    pub loss: f32,
    /// Weights that the pass ran with.
    pub version: Version,
    /// Hash of the top-k logits.
    pub logits: Hash,
}

impl TrainEpoch {
    /// Journals what a finished job added to the log, then acts on its outcome.
    pub(super) async fn ran(&mut self, mut done: Done, trainer: &mut Trainer) -> anyhow::Result<()> {
        self.ledger.ran(done.sample, &done.timing);
        self.ctx.gauges.passed(&done);
        if let Some(fault) = self.ctx.fault {
            misbehave(fault, &mut done);
        }
        for event in &done.events {
            self.log_event(*event);
            self.record(&Record::Ran(*event))?;
        }
        self.settle(done, trainer).await
    }

    /// Appends to the event log; a backward pass counts as a sample.
    pub(super) fn log_event(&mut self, event: LogEvent) {
        self.log.push(event);
        self.ctx.gauges.event(&event);
        if matches!(event, LogEvent::Backward { .. }) {
            self.samples = self.samples.saturating_add(1);
        }
    }

    async fn settle(&mut self, done: Done, trainer: &mut Trainer) -> anyhow::Result<()> {
        let sample = done.sample;
        let Some(flight) = self.flights.get_mut(&sample) else { return Ok(()) };
        match done.outcome {
            Outcome::Forward { codes, .. } => {
                let began = Instant::now();
                let output = codes_hash(&codes);
                self.ledger.spend(sample, Part::Hash, began);
                self.ctx.store.put_codes(self.ctx.epoch, output, codes);
                flight.output = Some(output);
                flight.stand = Stand::Sending;
                self.offer(sample)
            }
            Outcome::Loss { loss, gradient, version, logits } => {
                flight.stand = Stand::Done;
                self.leave_forward_of_last(sample, LossPass { loss, version, logits })?;
                self.keep_gradient(sample, gradient);
                self.pass_back(sample)
            }
            Outcome::Backward { gradient, version } => {
                flight.stand = Stand::Done;
                match gradient {
                    Some(gradient) => self.keep_gradient(sample, gradient),
                    None => self.leave_backward_of_first(sample, version)?,
                }
                self.pass_back(sample)
            }
            Outcome::Abandoned => {
                self.ledger.forget(sample);
                Ok(())
            }
            Outcome::Failed(reason) => {
                tracing::warn!(%sample, reason, "pass failed; the sample is given up here");
                flight.stand = Stand::Abandoned;
                let attempt = flight.key;
                trainer.send(Job::Abandon { sample, attempt }).await
            }
        }
    }

    /// Returns the gradient, if there is one: where there is none the sample ends here.
    fn pass_back(&mut self, sample: Sample) -> anyhow::Result<()> {
        let owed = self.flights.get(&sample).is_some_and(|flight| flight.gradient_out.is_some());
        if !owed {
            self.ledger.close(sample);
        }
        self.return_gradient(sample)
    }

    /// Keeps a gradient for upstream and for the audit; the last stage of one has none.
    pub(super) fn keep_gradient(&mut self, sample: Sample, gradient: Vec<u8>) {
        if gradient.is_empty() {
            return;
        }
        let began = Instant::now();
        let hash = codes_hash(&gradient);
        self.ledger.spend(sample, Part::Hash, began);
        self.ctx.store.put_codes(self.ctx.epoch, hash, gradient);
        if let Some(flight) = self.flights.get_mut(&sample) {
            flight.gradient_out = Some(hash);
        }
    }
}

fn misbehave(fault: Fault, done: &mut Done) {
    match fault {
        Fault::GarbageActivations => {
            let Outcome::Forward { codes, .. } = &mut done.outcome else { return };
            *codes = Fault::garbage(codes.len(), done.sample.0);
            let forged = codes_hash(codes);
            for event in &mut done.events {
                if let LogEvent::Forward { output, .. } = event {
                    *output = forged;
                }
            }
        }
        // These lie elsewhere: in the parameters, in what is served, in what is sent, in what is merged.
        Fault::SkipsSteps | Fault::RefusesEvidence | Fault::Equivocates | Fault::WrongShards => {}
    }
}
