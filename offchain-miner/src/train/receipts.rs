//! Receipts of this stage's passes: who gave what, who took what, on which weights.

use iota_protocol::ids::{Hash, Sample, Uid, Version};
use iota_protocol::receipt::{Direction, LogEvent, Receipt};
use iota_protocol::wire::HopHeader;

use super::passes::LossPass;
use super::TrainEpoch;
use crate::journal::Record;

impl TrainEpoch {
    /// Journals a receipt, unless the same pass to the same neighbour under the same attempt has one:
    /// a repeated acknowledgement must not make two bodies for one key.
    fn leave(&mut self, receipt: Receipt) -> anyhow::Result<()> {
        let known = self.receipts.iter().rev().any(|r| {
            (r.sample, r.direction, r.attempt, r.to)
                == (receipt.sample, receipt.direction, receipt.attempt, receipt.to)
        });
        if known {
            return Ok(());
        }
        self.record(&Record::Receipt(receipt.clone()))?;
        self.keep_receipt(receipt);
        Ok(())
    }

    /// Takes a receipt that is in the journal.
    pub(super) fn keep_receipt(&mut self, receipt: Receipt) {
        if let Some(loss) = receipt.loss_micro {
            self.loss_sum += f64::from(loss) / 1e6;
            self.loss_count = self.loss_count.saturating_add(1);
            self.ctx.gauges.loss(f64::from(loss) / 1e6);
        }
        self.receipts.push(receipt);
    }

    /// Whether any receipt of a pass was left.
    pub(super) fn has_receipt(&self, sample: Sample, direction: Direction) -> bool {
        self.receipts.iter().any(|r| r.sample == sample && r.direction == direction)
    }

    /// The next stage has our output.
    pub(super) fn leave_forward(&mut self, header: &HopHeader, to: Uid) -> anyhow::Result<()> {
        match self.receipt(header.sample, Direction::Forward, to) {
            Some(receipt) => self.leave(Receipt { attempt: header.attempt, ..receipt }),
            None => Ok(()),
        }
    }

    /// The stage before has our gradient.
    pub(super) fn leave_backward(&mut self, header: &HopHeader, to: Uid) -> anyhow::Result<()> {
        match self.receipt(header.sample, Direction::Backward, to) {
            Some(receipt) => self.leave(Receipt { attempt: header.attempt, ..receipt }),
            None => Ok(()),
        }
    }

    /// Stage 0: the gradient ends here.
    pub(super) fn leave_backward_of_first(&mut self, sample: Sample, version: Version) -> anyhow::Result<()> {
        match self.receipt(sample, Direction::Backward, self.ctx.me.uid) {
            Some(receipt) => self.leave(Receipt { version, ..receipt }),
            None => Ok(()),
        }
    }

    /// Last stage: the activations end here in a loss.
    pub(super) fn leave_forward_of_last(&mut self, sample: Sample, pass: LossPass) -> anyhow::Result<()> {
        let LossPass { loss, version, logits } = pass;
        let loss_micro = Some(loss_micro(loss));
        match self.receipt(sample, Direction::Forward, self.ctx.me.uid) {
            Some(receipt) => self.leave(Receipt { version, loss_micro, logits, ..receipt }),
            None => Ok(()),
        }
    }

    fn receipt(&self, sample: Sample, direction: Direction, to: Uid) -> Option<Receipt> {
        let flight = self.flights.get(&sample)?;
        let (sequence, event) = self.event_of(sample, direction)?;
        let (LogEvent::Forward { version, input, output, .. }
        | LogEvent::Backward { version, input, output, .. }) = event
        else {
            return None;
        };
        // Where the stage reads data itself, nobody sent it.
        let from = match direction {
            Direction::Forward => flight.origin,
            Direction::Backward => flight.gradient_from,
        };
        Some(Receipt {
            sample,
            attempt: flight.attempt,
            stage: self.ctx.stage,
            direction,
            from: from.unwrap_or(self.ctx.me.uid),
            to,
            input,
            output,
            version,
            sequence,
            skips: flight.skips.clone().try_into().unwrap_or_default(),
            loss_micro: None,
            logits: Hash::ZERO,
        })
    }

    /// The event of a pass and its position in the log.
    pub(super) fn event_of(&self, sample: Sample, direction: Direction) -> Option<(u32, LogEvent)> {
        let found = self.log.iter().enumerate().rev().find(|(_, event)| match event {
            LogEvent::Forward { sample: s, .. } => direction == Direction::Forward && *s == sample,
            LogEvent::Backward { sample: s, .. } => direction == Direction::Backward && *s == sample,
            _ => false,
        })?;
        Some((u32::try_from(found.0).ok()?, *found.1))
    }
}

/// A loss in nats as the integer that receipts carry; losses above 4,000 nats saturate.
#[must_use]
pub fn loss_micro(loss: f32) -> u32 {
    let scaled = (f64::from(loss) * 1e6).round();
    if scaled.is_finite() {
        scaled.clamp(0.0, f64::from(u32::MAX)) as u32
    } else {
        u32::MAX
    }
}
