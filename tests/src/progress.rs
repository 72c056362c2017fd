//! What people see while a devnet runs: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use iota_protocol::ids::Epoch;
use iota_protocol::params::RunParams;
use iota_protocol::phase::Schedule;
use iota_protocol::view::RunState;

use crate::collect::Records;
use crate::network::Devnet;
use crate::summary::heldout_at_start;

/// Blocks of the dev preset take a second each.
const BLOCKS_PER_MINUTE: u32 = 60;

/// Blocks until the settling epoch closes, when no `Train` is extended.
fn blocks_left(params: &RunParams, epoch: Epoch, now: &Schedule, block: u32) -> u32 {
    let later = epoch.0.saturating_add(1)..=params.epochs;
    let end = later.fold(now.next_start(), |start, epoch| {
        Schedule::new(&params.phases, params.is_settling(Epoch(epoch)), start, 0).next_start()
    });
    end.saturating_sub(block)
}

/// Shows where the run stands.
pub struct Progress {
    bar: Option<ProgressBar>,
    last: String,
    told: Option<Epoch>,
}

impl Progress {
    /// A bar on a terminal, lines elsewhere.
    #[must_use]
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(100);
            if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed_precise}] {bar:30} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, last: String::new(), told: None }
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// The newest state of the run.
    pub fn show(&mut self, devnet: &Devnet, records: &Records) {
        let Some(clock) = &records.clock else { return };
        if clock.state == RunState::Waiting {
            self.line("waiting for miners to publish their addresses".into(), 0);
            return;
        }
        let schedule = clock.schedule(&devnet.params);
        let phase = schedule.phase_at(records.block);
        let close = schedule.close();
        let length = close.saturating_sub(clock.start).max(1);
        let done = records.block.saturating_sub(clock.start).min(length);
        let settling = if devnet.params.is_settling(clock.epoch) { " (settling)" } else { "" };
        let percent = u64::from(done) * 100 / u64::from(length);
        self.line(format!("epoch {}{settling}: {phase:?}", clock.epoch), percent);
        if let Some(bar) = &self.bar {
            let minutes = blocks_left(&devnet.params, clock.epoch, &schedule, records.block)
                .div_ceil(BLOCKS_PER_MINUTE);
            bar.set_message(format!(
                "epoch {}{settling}: {phase:?}, block {} of {close}; about {minutes} min left in all",
                clock.epoch, records.block
            ));
        }
        self.tell_losses(devnet, clock.epoch);
    }

    /// Held-out loss, once for each epoch, as soon as a validator has measured it.
    fn tell_losses(&mut self, devnet: &Devnet, epoch: Epoch) {
        if self.told == Some(epoch) {
            return;
        }
        if let Some(loss) = heldout_at_start(devnet, epoch) {
            self.told = Some(epoch);
            match epoch.previous() {
                None => self.say(&format!("held-out loss before training: {loss:.3} nats per byte")),
                Some(done) => self.say(&format!("held-out loss after epoch {done}: {loss:.3} nats per byte")),
            }
        }
    }

    fn line(&mut self, text: String, percent: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(percent);
            bar.set_message(text.clone());
        } else if text != self.last {
            eprintln!("{text}");
        }
        self.last = text;
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
