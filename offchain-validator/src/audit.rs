//! Replaying one segment of a miner's event log: the passes between two local steps and the step.
//!
//! `Invalid` accuses; whatever could not be fetched is `Undecided` and accuses nobody.

use codec::Decode;
use iota_compute::codec as values;
use iota_compute::data::Dataset;
use iota_compute::outer::OuterState;
use iota_compute::replay::{EventInput, ReplayError, Replayer};
use iota_compute::{state_root, tokens_hash, Device, StageInput, StepState};
use iota_network::Network;
use iota_protocol::ids::{Epoch, Hash, RunId, Sample, Stage, Version};
use iota_protocol::params::RunParams;
use iota_protocol::receipt::{LogEvent, Receipt};
use iota_protocol::report::{AuditLine, Verdict};
use iota_protocol::seed::audit_choice;
use iota_protocol::view::MemberView;
use iota_protocol::wire::{FetchReply, FetchRequest, STEP_STATE_PART};
use iota_protocol::work::WorkCommit;
use iota_worker::segment::{sample_tokens, segment};
use iota_worker::{exchange, fetch};
use serde::{Deserialize, Serialize};

/// Relative L2 distance between replayed and claimed values up to which another machine's rounding
/// explains the difference. Bit equality is expected on one kind of machine; this bound is not yet
/// calibrated per device pair.
const TOLERANCE: f64 = 0.02;
/// Wait for one part of a trainer state; the miner may have to replay up to 16 steps first.
const STATE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
/// Most parts of a trainer state that are fetched: 256 MiB.
const MAX_STATE_PARTS: u32 = 64;

/// A finished audit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Audit {
    /// Who was audited.
    pub uid: iota_protocol::ids::Uid,
    /// The segment starts after this local step.
    pub from_version: Version,
    /// What was found.
    pub verdict: Verdict,
    /// Events replayed.
    pub events: u32,
    /// Why, for people.
    pub reason: String,
}

impl From<&Audit> for AuditLine {
    fn from(audit: &Audit) -> Self {
        Self {
            uid: audit.uid,
            from_version: audit.from_version.0,
            verdict: audit.verdict,
            events: audit.events,
        }
    }
}

/// Whom to audit, with what is known of its epoch.
pub struct Subject<'a> {
    /// The miner as it can be reached now.
    pub member: &'a MemberView,
    /// Its stage.
    pub stage: Stage,
    /// What it committed.
    pub work: &'a WorkCommit,
    /// Its verified receipts.
    pub receipts: &'a [Receipt],
}

/// What all audits of an epoch share.
pub struct Auditor<'a> {
    /// Peers.
    pub network: &'a Network,
    /// The run.
    pub run: RunId,
    /// Its parameters.
    pub params: &'a RunParams,
    /// The audited epoch.
    pub epoch: Epoch,
    /// Its seed, later than every commitment.
    pub seed: Hash,
    /// Our secret of the epoch.
    pub secret: [u8; 32],
    /// First sample position of the epoch.
    pub data_base: u64,
    /// Training tokens recorded by the end of the epoch before.
    pub tokens: u64,
    /// The data set.
    pub dataset: &'a Dataset,
    /// Device.
    pub device: Device,
}

enum Stop {
    Invalid(String),
    Undecided(String),
}

type Found<T> = Result<T, Stop>;

fn undecided(error: impl std::fmt::Display) -> Stop {
    Stop::Undecided(error.to_string())
}

impl Auditor<'_> {
    /// Audits one seeded segment. `start` is the state that the epoch started with, for segments that
    /// begin there.
    pub async fn audit(&self, subject: &Subject<'_>, start: Option<&OuterState>) -> Audit {
        let uid = subject.member.uid;
        match self.try_audit(subject, start).await {
            Ok((from_version, events)) => {
                Audit { uid, from_version, verdict: Verdict::Sound, events, reason: String::new() }
            }
            Err((from_version, Stop::Invalid(reason))) => {
                tracing::warn!(%uid, epoch = %self.epoch, reason, "audit: invalid");
                Audit { uid, from_version, verdict: Verdict::Invalid, events: 0, reason }
            }
            Err((from_version, Stop::Undecided(reason))) => {
                tracing::info!(%uid, epoch = %self.epoch, reason, "audit: undecided");
                Audit { uid, from_version, verdict: Verdict::Undecided, events: 0, reason }
            }
        }
    }

    /// As `audit`, but gives up in time: undecided.
    pub async fn audit_within(
        &self,
        limit: std::time::Duration,
        subject: &Subject<'_>,
        start: Option<&OuterState>,
    ) -> Audit {
        tokio::time::timeout(limit, self.audit(subject, start)).await.unwrap_or_else(|_| Audit {
            uid: subject.member.uid,
            from_version: Version(0),
            verdict: Verdict::Undecided,
            events: 0,
            reason: format!("not finished within {} s", limit.as_secs()),
        })
    }

    async fn try_audit(
        &self,
        subject: &Subject<'_>,
        start: Option<&OuterState>,
    ) -> Result<(Version, u32), (Version, Stop)> {
        let none = Version(0);
        let log = fetch::log(self.network, subject.member, self.run, self.epoch, subject.work.log_root).await;
        let log = log.map_err(|error| match error {
            fetch::FetchError::Invalid { .. } => (none, Stop::Invalid(error.to_string())),
            other => (none, undecided(other)),
        })?;
        receipts_match_log(subject.receipts, &log).map_err(|reason| (none, Stop::Invalid(reason)))?;
        let steps = log.iter().filter(|event| matches!(event, LogEvent::Step { .. })).count();
        let choice = audit_choice(&self.seed, &self.secret_for(subject), u64::try_from(steps).unwrap_or(0));
        let from = Version(u32::try_from(choice).unwrap_or(0));
        if steps == 0 {
            let work = subject.work.samples;
            return Err((
                from,
                Stop::Invalid(format!("{work} samples are claimed and no local step is logged")),
            ));
        }
        self.replay(subject, start, &log, from)
            .await
            .map(|events| (from, events))
            .map_err(|stop| (from, stop))
    }

    fn secret_for(&self, subject: &Subject<'_>) -> [u8; 32] {
        let label = subject.member.uid.0.to_le_bytes();
        iota_protocol::hash::hash_parts(iota_protocol::hash::Domain::Audit, &[&self.secret, &label]).0
    }

    async fn replay(
        &self,
        subject: &Subject<'_>,
        start: Option<&OuterState>,
        log: &[LogEvent],
        from: Version,
    ) -> Found<u32> {
        let state = self.start_state(subject, start, log, from).await?;
        let to = Version(from.0.saturating_add(1));
        let events = segment(log, from, to);
        let mut inputs = Vec::new();
        for event in &events {
            inputs.push(self.inputs(subject, event).await?);
        }
        let replayed = tokio::task::block_in_place(|| self.run_segment(subject, state, &events, &inputs))?;
        let mut exact = true;
        for (event, mine) in events.iter().zip(&replayed) {
            if event != &mine.event {
                self.explain(subject, event, mine, exact).await?;
                exact = false;
            }
            check_loss(subject, event, mine)?;
        }
        Ok(u32::try_from(events.len()).unwrap_or(u32::MAX))
    }

    fn run_segment(
        &self,
        subject: &Subject<'_>,
        state: StepState,
        events: &[LogEvent],
        inputs: &[Inputs],
    ) -> Found<Vec<iota_compute::replay::Replayed>> {
        let mut replayer =
            Replayer::new(self.params, subject.stage, state, self.tokens, self.device).map_err(undecided)?;
        let mut replayed = Vec::new();
        for (event, input) in events.iter().zip(inputs) {
            replayed.push(replayer.apply(event, input.as_event_input()).map_err(|error| match error {
                // libtorch out of memory is our problem, a log that cannot have happened is the miner's.
                ReplayError::Stage(stage) => undecided(stage),
                impossible => Stop::Invalid(impossible.to_string()),
            })?);
        }
        Ok(replayed)
    }

    async fn start_state(
        &self,
        subject: &Subject<'_>,
        start: Option<&OuterState>,
        log: &[LogEvent],
        from: Version,
    ) -> Found<StepState> {
        if from.0 == 0 {
            let start = start
                .ok_or_else(|| Stop::Undecided("the state at the epoch's start is not known here".into()))?;
            return Ok(StepState::start_of_epoch(start));
        }
        let committed = log.iter().find_map(|event| match event {
            LogEvent::Step { version, state_root } if *version == from => Some(*state_root),
            _ => None,
        });
        let committed = committed.ok_or_else(|| Stop::Invalid(format!("the log has no step {from}")))?;
        let bytes = self.fetch_state(subject, from).await?;
        let state = StepState::decode(&mut bytes.as_slice())
            .map_err(|_| Stop::Invalid(format!("what is served as the state after step {from} is none")))?;
        let got = state_root(&state);
        if got == committed {
            Ok(state)
        } else {
            Err(Stop::Invalid(format!(
                "state after step {from}: root {got} does not match the committed {committed}"
            )))
        }
    }

    async fn fetch_state(&self, subject: &Subject<'_>, version: Version) -> Found<Vec<u8>> {
        let mut bytes = Vec::new();
        for part in 0..MAX_STATE_PARTS {
            let request = FetchRequest::StepState { run: self.run, epoch: self.epoch, version, part };
            match exchange::fetch(self.network, subject.member, &request, STATE_TIMEOUT)
                .await
                .map_err(undecided)?
            {
                FetchReply::Bytes(piece) => {
                    let last = piece.len() < STEP_STATE_PART;
                    bytes.extend(piece);
                    if last {
                        return Ok(bytes);
                    }
                }
                other => {
                    return Err(Stop::Undecided(format!("state after step {version}: {}", kind(&other))))
                }
            }
        }
        Err(Stop::Undecided(format!("state after step {version} is larger than {MAX_STATE_PARTS} parts")))
    }

    async fn codes(&self, subject: &Subject<'_>, hash: Hash) -> Found<Vec<u8>> {
        fetch::codes(self.network, subject.member, self.run, self.epoch, hash).await.map_err(undecided)
    }

    async fn inputs(&self, subject: &Subject<'_>, event: &LogEvent) -> Found<Inputs> {
        let last = subject.stage == self.params.last_stage();
        match event {
            LogEvent::Forward { sample, input, .. } => {
                let (tokens, targets) = self.tokens(subject, *sample)?;
                if subject.stage.0 != 0 {
                    return Ok(Inputs::Codes(self.codes(subject, *input).await?, targets));
                }
                if tokens_hash(&tokens) != *input {
                    return Err(Stop::Invalid(format!(
                        "sample {sample} was not trained on its assigned positions"
                    )));
                }
                Ok(Inputs::Tokens(tokens, targets))
            }
            LogEvent::Backward { input, .. } if !last => {
                Ok(Inputs::Gradient(self.codes(subject, *input).await?))
            }
            _ => Ok(Inputs::Nothing),
        }
    }

    fn tokens(&self, subject: &Subject<'_>, sample: Sample) -> Found<(Vec<u32>, Option<Vec<u32>>)> {
        let last = subject.stage == self.params.last_stage();
        if subject.stage.0 != 0 && !last {
            return Ok((Vec::new(), None));
        }
        let (inputs, targets) =
            sample_tokens(self.dataset, self.params, self.data_base, sample).map_err(undecided)?;
        Ok((inputs, last.then_some(targets)))
    }

    /// Replay and log differ in a hash: within tolerance when the claimed values are near ours.
    async fn explain(
        &self,
        subject: &Subject<'_>,
        event: &LogEvent,
        mine: &iota_compute::replay::Replayed,
        exact: bool,
    ) -> Found<()> {
        let claimed = match event {
            LogEvent::Forward { output, .. } | LogEvent::Backward { output, .. } if *output != Hash::ZERO => {
                *output
            }
            // Every pass was the same bits, so the machines compute alike, and only the step is not.
            LogEvent::Step { version, .. } if exact => {
                return Err(Stop::Invalid(format!(
                    "step {version} does not follow from the passes before it"
                )));
            }
            LogEvent::Step { version, .. } => {
                return Err(Stop::Undecided(format!(
                    "state after step {version} differs from the replay on this machine"
                )));
            }
            other => {
                return Err(Stop::Invalid(format!("replay gives {:?}, the log says {other:?}", mine.event)))
            }
        };
        let theirs = self.codes(subject, claimed).await?;
        let distance = self.distance(&mine.codes, &theirs).map_err(Stop::Invalid)?;
        if distance <= TOLERANCE {
            return Ok(());
        }
        Err(Stop::Invalid(format!(
            "{event:?}: replayed values are {distance:.3} away (relative L2), allowed {TOLERANCE}"
        )))
    }

    fn distance(&self, mine: &[u8], theirs: &[u8]) -> Result<f64, String> {
        let count = usize::try_from(self.params.values_per_message()).unwrap_or(usize::MAX);
        let wire = self.params.train.wire;
        let (mine, my_ids) = values::split(wire, mine, count);
        let (theirs, their_ids) = values::split(wire, theirs, count);
        if my_ids != their_ids {
            return Err("the token ids after the codes are not those of the sample".into());
        }
        let decode = |codes: &[u8]| {
            let mut out = Vec::new();
            values::decode(wire, codes, count, &mut out).map_err(|error| error.to_string())?;
            Ok::<_, String>(out)
        };
        let (mine, theirs) = (decode(mine)?, decode(theirs)?);
        let square = |x: f64| x * x;
        let difference: f64 = mine.iter().zip(&theirs).map(|(a, b)| square(f64::from(a - b))).sum();
        let norm: f64 = mine.iter().map(|a| square(f64::from(*a))).sum();
        Ok((difference / norm.max(f64::MIN_POSITIVE)).sqrt())
    }
}

enum Inputs {
    Nothing,
    Tokens(Vec<u32>, Option<Vec<u32>>),
    Codes(Vec<u8>, Option<Vec<u32>>),
    Gradient(Vec<u8>),
}

impl Inputs {
    fn as_event_input(&self) -> EventInput<'_> {
        match self {
            Self::Nothing => EventInput::Nothing,
            Self::Tokens(tokens, targets) => {
                EventInput::Forward { input: StageInput::Tokens(tokens), targets: targets.as_deref() }
            }
            Self::Codes(codes, targets) => {
                EventInput::Forward { input: StageInput::Codes(codes), targets: targets.as_deref() }
            }
            Self::Gradient(gradient) => EventInput::Gradient(gradient),
        }
    }
}

fn kind(reply: &FetchReply) -> &'static str {
    match reply {
        FetchReply::NotReady => "not ready",
        FetchReply::NotFound => "not found",
        FetchReply::Bytes(_) | FetchReply::Chunks { .. } => "an answer to another question",
    }
}

/// Every receipt names an event of the log; the hashes must be the same.
fn receipts_match_log(receipts: &[Receipt], log: &[LogEvent]) -> Result<(), String> {
    for receipt in receipts {
        let event = usize::try_from(receipt.sequence).ok().and_then(|place| log.get(place));
        let same = match event {
            Some(
                LogEvent::Forward { sample, input, output, .. }
                | LogEvent::Backward { sample, input, output, .. },
            ) => *sample == receipt.sample && *input == receipt.input && *output == receipt.output,
            _ => false,
        };
        if !same {
            return Err(format!(
                "receipt of sample {} names event {}, which says something else",
                receipt.sample, receipt.sequence
            ));
        }
    }
    Ok(())
}

/// A last-stage miner's reported loss is what the replay gives.
fn check_loss(subject: &Subject<'_>, event: &LogEvent, mine: &iota_compute::replay::Replayed) -> Found<()> {
    let (LogEvent::Forward { sample, .. }, Some(loss)) = (event, mine.loss) else { return Ok(()) };
    let reported = subject.receipts.iter().find(|r| r.sample == *sample && r.loss_micro.is_some());
    let Some(claimed) = reported.and_then(|receipt| receipt.loss_micro) else { return Ok(()) };
    let claimed = f64::from(claimed) / 1e6;
    if (claimed - f64::from(loss)).abs() <= TOLERANCE * f64::from(loss).max(1e-3) {
        Ok(())
    } else {
        Err(Stop::Invalid(format!("sample {sample}: reported loss {claimed:.4}, replayed {loss:.4}")))
    }
}
