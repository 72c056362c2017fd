//! What time brings: retries, questions to a silent neighbour, new samples, the end of the window.

use std::time::{Duration, Instant};

use iota_protocol::ids::{Attempt, Hash, Sample};
use iota_protocol::params::RunParams;
use iota_protocol::phase::{Phase, Schedule};
use iota_protocol::position;
use iota_protocol::wire::TrainRequest;
use iota_worker::exchange;
use iota_worker::session::{RunSnapshot, FINALITY_LAG_BLOCKS};
use tokio::task::JoinSet;

use super::outbound::Answer;
use super::TrainEpoch;
use crate::flight::{Flight, Stand};
use crate::journal::Record;
use crate::leave::Leaving;
use crate::ledger::Part;
use crate::trainer::{Input, Job, Trainer};

/// Quiet time after which a stage believes that no more samples of this epoch will come.
const QUIET: Duration = Duration::from_millis(1_200);

impl TrainEpoch {
    pub(super) fn ticked(&mut self, sends: &mut JoinSet<Answer>) -> anyhow::Result<()> {
        self.ctx.gauges.open(self.open());
        self.retry()?;
        self.probe_silent(sends);
        Ok(())
    }

    fn retry(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let due: Vec<Sample> =
            self.retries.iter().filter(|(at, _)| *at <= now).map(|(_, sample)| *sample).collect();
        self.retries.retain(|(at, _)| *at > now);
        for sample in due {
            match self.flights.get(&sample).map(|flight| &flight.stand) {
                Some(Stand::Sending) => self.offer(sample)?,
                Some(Stand::Done) => self.return_gradient(sample)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Asks after samples that downstream has been silent about. The question goes out at half of
    /// the patience and may take the other half, so that a re-route starts within the whole of it.
    fn probe_silent(&mut self, sends: &mut JoinSet<Answer>) {
        let half = self.patience.limit() / 2;
        for flight in self.flights.values_mut() {
            let Stand::Awaiting(to) = flight.stand else { continue };
            if flight.probing || flight.heard.elapsed() < half {
                continue;
            }
            let Some(member) = self.ctx.members.iter().find(|m| m.uid == to) else { continue };
            flight.probing = true;
            let member = member.clone();
            let network = self.ctx.network.clone();
            let (run, epoch, sample) = (self.ctx.run, self.ctx.epoch, flight.sample);
            sends.spawn(async move {
                let reply =
                    exchange::train(&network, &member, &TrainRequest::Probe { run, epoch, sample }, half)
                        .await;
                Answer::Probe { to, sample, reply }
            });
        }
    }

    /// Starts samples in the place of finished ones, where this is the first stage and there is time left.
    pub(super) async fn start_samples(
        &mut self,
        view: &RunSnapshot,
        trainer: &mut Trainer,
    ) -> anyhow::Result<()> {
        if self.ctx.is_first() && may_start(&view.schedule, view.head.number) {
            self.fill(trainer).await
        } else {
            Ok(())
        }
    }

    /// Starts samples until as many are in flight as the run allows.
    pub(super) async fn fill(&mut self, trainer: &mut Trainer) -> anyhow::Result<()> {
        let Some((rank, n0)) = self.ctx.stage0_rank() else { return Ok(()) };
        let (in_flight, most) = (self.ctx.params.train.in_flight, self.ctx.params.train.max_samples);
        let most_open = usize::from(in_flight).min(self.ctx.most_open);
        while self.open() < most_open && self.next_start < most {
            let Some(sample) = position::sample_of(self.next_start, rank, n0) else { break };
            self.next_start = self.next_start.saturating_add(1);
            self.record(&Record::Started(sample))?;
            self.start(sample, trainer).await?;
        }
        Ok(())
    }

    pub(super) async fn start(&mut self, sample: Sample, trainer: &mut Trainer) -> anyhow::Result<()> {
        let began = Instant::now();
        self.ledger.arrive(sample, began);
        let (inputs, targets) = self.ctx.tokens_of(sample)?;
        self.ledger.spend(sample, Part::Disk, began);
        let flight = Flight::arrived(sample, Attempt(0), None, Hash::ZERO, Hash::ZERO, Instant::now());
        self.flights.insert(sample, flight);
        self.last_activity = Instant::now();
        let targets = self.ctx.is_last().then_some(targets);
        self.ledger.run(sample, Part::Wait);
        trainer
            .send(Job::Forward { sample, attempt: Attempt(0), input: Input::Tokens(inputs), targets })
            .await
    }

    pub(super) fn open(&self) -> usize {
        self.flights.values().filter(|flight| flight.is_open()).count()
    }

    /// In `Commit`, once nothing is open and nothing has come for a while, or when the window is
    /// about to close.
    pub(super) fn should_commit(&self, view: &RunSnapshot) -> bool {
        match view.phase() {
            Phase::Train => false,
            Phase::Commit => {
                let quiet = self.open() == 0 && self.last_activity.elapsed() > QUIET;
                quiet || view.head.number >= commit_cutoff(&view.schedule, &self.ctx.params)
            }
            _ => true,
        }
    }

    /// Takes no new samples from now on, and gives up those that wait for somebody to take them: the stage before
    /// still has them.
    pub(super) fn wind_down(&mut self) -> anyhow::Result<()> {
        self.leaving = true;
        self.ctx.gauges.doing("leaving: what is open here is finished, nothing new is taken");
        tracing::info!(open = self.open(), "leaving: no new samples; what is open here is finished");
        let waiting: Vec<Sample> = self.retries.drain(..).map(|(_, sample)| sample).collect();
        for sample in waiting {
            match self.flights.get(&sample).map(|flight| &flight.stand) {
                Some(Stand::Sending) => self.give_up(sample),
                Some(Stand::Done) => self.return_gradient(sample)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets go of a sample that nobody downstream takes; who asks after it hears that it is not known here. It is
    /// abandoned in the journal with whatever else is open at the end.
    pub(super) fn give_up(&mut self, sample: Sample) {
        self.let_go.insert(sample);
    }

    /// Whether a miner that leaves holds nothing any more, or has no time left. A message that nobody has
    /// acknowledged yet is still in its hands.
    pub(super) fn has_left(&self, leave: &Leaving, sends: usize) -> bool {
        let held = self.flights.values().any(|f| f.is_open() && !self.let_go.contains(&f.sample));
        let unsent = sends > 0 || !self.retries.is_empty() || !self.outbox.is_empty();
        self.leaving && (leave.is_over() || !(held || unsent))
    }

    pub(super) async fn abandon_open(&mut self, trainer: &mut Trainer) -> anyhow::Result<()> {
        let open: Vec<(Sample, Attempt)> = self
            .flights
            .values()
            .filter(|flight| flight.is_open())
            .map(|flight| (flight.sample, flight.key))
            .collect();
        if !open.is_empty() {
            tracing::info!(samples = open.len(), "samples still in flight are given up");
        }
        for (sample, attempt) in open {
            trainer.send(Job::Abandon { sample, attempt }).await?;
        }
        for done in trainer.finish_queue().await? {
            self.ran(done, trainer).await?;
        }
        Ok(())
    }
}

/// New samples start while at least two blocks of `Train` remain: what starts later cannot finish.
fn may_start(schedule: &Schedule, head: u32) -> bool {
    head.saturating_add(FINALITY_LAG_BLOCKS).saturating_add(2) < schedule.window(Phase::Train).end
}

/// Finalized head at which a miner stops waiting for samples in flight: the commit must still be
/// signed, pooled and included before the window closes.
fn commit_cutoff(schedule: &Schedule, params: &RunParams) -> u32 {
    schedule
        .window(Phase::Commit)
        .end
        .saturating_sub(params.phases.margin)
        .saturating_sub(FINALITY_LAG_BLOCKS)
        .saturating_sub(2)
}
