//! Replaying one segment of a miner's event log: the passes between two local steps and the step. After the
//! last of them stand the weights that the miner's entry was made of, so that replaying the last segment ties
//! what it gave to the merge to its log.
//!
//! `Invalid` accuses, and rests only on what stands under the miner's own roots on chain, so that every
//! other validator finds the same. Whatever could not be fetched, bytes that do not match their root
//! included, is `Undecided` and accuses nobody: such bytes carry no signature that would prove who sent them.

use iota_compute::data::Dataset;
use iota_compute::entry::{encode_chunks, EntryError};
use iota_compute::outer::OuterState;
use iota_compute::replay::{EventInput, ReplayError, Replayed, Replayer};
use iota_compute::tolerance::{self, codes_distance, loss_distance, state_distance};
use iota_compute::{tokens_hash, Device, StageInput, StepState};
use iota_protocol::ids::{Epoch, Hash, Incarnation, Sample, Stage, Uid, Version};
use iota_protocol::merge::chunk_len;
use iota_protocol::merkle;
use iota_protocol::params::{MergeParams, RunParams};
use iota_protocol::receipt::{LogEvent, Receipt};
use iota_protocol::report::{AuditLine, Verdict};
use iota_protocol::seed::audit_choice;
use iota_protocol::view::MemberView;
use iota_protocol::work::WorkCommit;
use iota_worker::fetch::list_root;
use iota_worker::segment::{sample_tokens, segment};
use serde::{Deserialize, Serialize};

use crate::docket::Judgement;
use crate::exhibits::Exhibits;

/// Time for one audit, whatever the audited miner does: two fit well into the commit window of the
/// shortest preset (28 blocks), and a row that is late pays nobody.
const AUDIT_TIME: std::time::Duration = std::time::Duration::from_secs(8);

/// One audit in so many replays the last segment too, whose weights the entry is made of: a false entry saves
/// next to nothing, and being found once costs half of what has not vested, so that rare looks are enough.
const ENTRY_EVERY: u64 = 4;

/// A finished audit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Audit {
    /// Who was audited.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The segment starts after this local step.
    pub from_version: Version,
    /// What was found.
    pub verdict: Verdict,
    /// Events replayed.
    pub events: u32,
    /// Why, for people.
    pub reason: String,
    /// What of the evidence could not be had from the miner.
    pub missing: Option<Hash>,
    /// Root over the events as the replay gives them: what a transcript says.
    pub root: Hash,
}

impl Audit {
    /// An audit whose finding was kept before a restart.
    #[must_use]
    pub fn known(judgement: &Judgement) -> Self {
        Self {
            uid: judgement.uid,
            incarnation: judgement.incarnation,
            from_version: Version(judgement.segment),
            verdict: if judgement.guilty { Verdict::Invalid } else { Verdict::Sound },
            events: 0,
            reason: "found before a restart".into(),
            missing: None,
            root: judgement.root,
        }
    }
}

/// Which segment is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that seed and secret choose.
    Seeded,
    /// The one after this local step, which somebody accuses.
    Segment(Version),
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
    /// The run's parameters in that epoch.
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

/// Why an audit ends before its end.
pub(crate) enum Stop {
    /// What the miner committed contradicts itself or the replay: anybody can find the same.
    Invalid(String),
    /// The miner does not serve this piece of what it committed.
    Missing(Hash, String),
    /// Something failed here.
    Undecided(String),
}

pub(crate) type Found<T> = Result<T, Stop>;

fn undecided(error: impl std::fmt::Display) -> Stop {
    Stop::Undecided(error.to_string())
}

impl Auditor<'_> {
    /// Audits one segment, within a time. `start` is the state that the epoch started with, for segments
    /// that begin there.
    pub async fn audit(
        &self,
        subject: &Subject<'_>,
        start: Option<&OuterState>,
        which: Which,
        exhibits: &mut Exhibits<'_>,
    ) -> Audit {
        let mut from = Version(0);
        let work = self.try_audit(subject, start, which, exhibits, &mut from);
        let found = tokio::time::timeout(AUDIT_TIME, work).await.unwrap_or_else(|_| {
            let late = format!("not finished within {} s", AUDIT_TIME.as_secs());
            // Who makes us wait for a piece withholds it.
            Err(exhibits
                .waits_for()
                .map_or(Stop::Undecided(late.clone()), |wanted| Stop::Missing(wanted, late)))
        });
        let (uid, incarnation) = (subject.member.uid, subject.member.incarnation);
        let root = list_root(&exhibits.replayed);
        let of = |verdict, events, reason: String, missing| {
            tracing::info!(%uid, epoch = %self.epoch, %from, ?verdict, events, reason, "audited");
            Audit { uid, incarnation, from_version: from, verdict, events, reason, missing, root }
        };
        match found {
            Ok(events) => of(Verdict::Sound, events, String::new(), None),
            Err(Stop::Invalid(reason)) => of(Verdict::Invalid, 0, reason, None),
            Err(Stop::Missing(wanted, reason)) => of(Verdict::Undecided, 0, reason, Some(wanted)),
            Err(Stop::Undecided(reason)) => of(Verdict::Undecided, 0, reason, None),
        }
    }

    async fn try_audit(
        &self,
        subject: &Subject<'_>,
        start: Option<&OuterState>,
        which: Which,
        exhibits: &mut Exhibits<'_>,
        from: &mut Version,
    ) -> Found<u32> {
        if let Which::Segment(segment) = which {
            *from = segment;
        }
        let log = exhibits.log(subject.work.log_root).await?;
        let steps = steps_in_order(&log).map_err(Stop::Invalid)?;
        receipts_match_log(subject.receipts, &log).map_err(Stop::Invalid)?;
        if steps == 0 {
            let work = subject.work.samples;
            return Err(Stop::Invalid(format!("{work} samples are claimed and no local step is logged")));
        }
        match which {
            Which::Seeded => {
                let choice = audit_choice(&self.seed, &self.secret_for(subject), steps.into());
                *from = Version(u32::try_from(choice).unwrap_or(0));
            }
            // Nothing of the miner's is wrong there: the accusation names no work.
            Which::Segment(segment) if segment.0 >= steps => return Ok(0),
            Which::Segment(_) => {}
        }
        let events = self.replay(subject, start, &log, *from, exhibits).await?;
        let last = Version(steps.saturating_sub(1));
        if which != Which::Seeded || *from == last || start.is_none() || !self.wants_entry(subject) {
            return Ok(events);
        }
        let (chosen, replayed) = (*from, std::mem::take(&mut exhibits.replayed));
        *from = last;
        let more = self.replay(subject, start, &log, last, exhibits).await?;
        (*from, exhibits.replayed) = (chosen, replayed);
        Ok(events.saturating_add(more))
    }

    /// Whether seed and secret choose the last segment as well.
    fn wants_entry(&self, subject: &Subject<'_>) -> bool {
        let secret = iota_protocol::hash::hash_parts(
            iota_protocol::hash::Domain::Audit,
            &[&self.secret_for(subject), b"entry"],
        );
        audit_choice(&self.seed, &secret.0, ENTRY_EVERY) == 0
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
        exhibits: &mut Exhibits<'_>,
    ) -> Found<u32> {
        let state = start_state(start, log, from, exhibits).await?;
        let to = Version(from.0.saturating_add(1));
        let events = segment(log, from, to);
        let mut inputs = Vec::new();
        for event in &events {
            inputs.push(self.inputs(subject, event, exhibits).await?);
        }
        let replay = tokio::task::block_in_place(|| self.run_segment(subject, &state, &events, &inputs))?;
        exhibits.replayed = replay.events.iter().map(|mine| mine.event).collect();
        let mut end = None;
        for (event, mine) in events.iter().zip(&replay.events) {
            match *event {
                _ if *event == mine.event => {}
                LogEvent::Step { version, state_root } => {
                    let theirs = exhibits.state(version, state_root).await?;
                    check_step(version, state_distance(&state, &replay.end, &theirs))?;
                    end = Some(theirs);
                }
                _ => self.explain(event, mine, exhibits).await?,
            }
            check_loss(subject, event, mine)?;
        }
        if steps_in_order(log) == Ok(to.0) {
            let start = start
                .ok_or_else(|| undecided("the epoch's start, of which entries are made, is not known"))?;
            let end = end.unwrap_or(replay.end);
            check_entry(&start.weights, &end.weights, &self.params.merge, subject.work.entry_root)?;
        }
        Ok(u32::try_from(events.len()).unwrap_or(u32::MAX))
    }

    fn run_segment(
        &self,
        subject: &Subject<'_>,
        state: &StepState,
        events: &[LogEvent],
        inputs: &[Inputs],
    ) -> Found<Replay> {
        let mut replayer = Replayer::new(self.params, subject.stage, state.clone(), self.tokens, self.device)
            .map_err(undecided)?;
        let mut replayed = Vec::new();
        for (event, input) in events.iter().zip(inputs) {
            replayed.push(replayer.apply(event, input.as_event_input()).map_err(|error| match error {
                // libtorch out of memory is our problem, a log that cannot have happened is the miner's.
                ReplayError::Stage(stage) => undecided(stage),
                impossible => Stop::Invalid(impossible.to_string()),
            })?);
        }
        Ok(Replay { events: replayed, end: replayer.snapshot().map_err(undecided)? })
    }

    async fn inputs(
        &self,
        subject: &Subject<'_>,
        event: &LogEvent,
        exhibits: &mut Exhibits<'_>,
    ) -> Found<Inputs> {
        let last = subject.stage == self.params.last_stage();
        match event {
            LogEvent::Forward { sample, input, .. } => {
                let (tokens, targets) = self.tokens(subject, *sample)?;
                if subject.stage.0 != 0 {
                    return Ok(Inputs::Codes(exhibits.codes(*input).await?, targets));
                }
                if tokens_hash(&tokens) != *input {
                    return Err(Stop::Invalid(format!(
                        "sample {sample} was not trained on its assigned positions"
                    )));
                }
                Ok(Inputs::Tokens(tokens, targets))
            }
            LogEvent::Backward { input, .. } if !last => Ok(Inputs::Gradient(exhibits.codes(*input).await?)),
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

    /// Replay and log differ in the hash of a message: allowed while the values are near ours.
    async fn explain(&self, event: &LogEvent, mine: &Replayed, exhibits: &mut Exhibits<'_>) -> Found<()> {
        let claimed = match event {
            LogEvent::Forward { output, .. } | LogEvent::Backward { output, .. } if *output != Hash::ZERO => {
                *output
            }
            other => {
                return Err(Stop::Invalid(format!("replay gives {:?}, the log says {other:?}", mine.event)))
            }
        };
        let theirs = exhibits.codes(claimed).await?;
        let distance = codes_distance(self.params, &mine.codes, &theirs).map_err(Stop::Invalid)?;
        if distance <= tolerance::CODES {
            return Ok(());
        }
        Err(Stop::Invalid(format!(
            "{event:?}: replayed values are {distance:.2e} away (relative L2), allowed {:.0e}",
            tolerance::CODES
        )))
    }
}

/// What a segment gives on this machine.
struct Replay {
    events: Vec<Replayed>,
    /// The state after its step.
    end: StepState,
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

/// The state before a segment: the public one at the epoch's start, else the one that the miner serves
/// under the root in its log.
async fn start_state(
    start: Option<&OuterState>,
    log: &[LogEvent],
    from: Version,
    exhibits: &mut Exhibits<'_>,
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
    exhibits.state(from, committed).await
}

/// How many local steps a log has; they are numbered from 1 on without a gap, or no segment is what it
/// says.
fn steps_in_order(log: &[LogEvent]) -> Result<u32, String> {
    let mut last = 0u32;
    for event in log {
        let LogEvent::Step { version, .. } = event else { continue };
        let expected = last.saturating_add(1);
        if version.0 != expected {
            return Err(format!("the log has step {version} where step {expected} is next"));
        }
        last = expected;
    }
    Ok(last)
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

/// The step follows from the passes before it, up to the rounding of another machine. Passes that are the
/// same bits prove no like machine: codes are coarse, and the gradients of the weights never are.
fn check_step(version: Version, distance: f64) -> Found<()> {
    if distance <= tolerance::UPDATE {
        return Ok(());
    }
    Err(Stop::Invalid(format!(
        "step {version} does not follow from the passes before it: {distance:.2e} away (relative L2), allowed {:.0e}",
        tolerance::UPDATE
    )))
}

/// What was committed for the merge is the way from the epoch's start to the weights after the last local step,
/// which the log names: the same bytes on every machine.
fn check_entry(start: &[f32], end: &[f32], merge: &MergeParams, root: Hash) -> Found<()> {
    let bytes = encode_chunks(start, end, merge).map_err(|error| match error {
        EntryError::Shape { .. } => undecided(error),
        broken => Stop::Invalid(format!("the last step's weights give no entry: {broken}")),
    })?;
    let follows = merkle::root(&merkle::leaves(&bytes, chunk_len(merge)));
    if follows == root {
        return Ok(());
    }
    Err(Stop::Invalid(format!("the entry {root} was committed, and the log's last step gives {follows}")))
}

/// A last-stage miner's reported loss is what the replay gives.
fn check_loss(subject: &Subject<'_>, event: &LogEvent, mine: &iota_compute::replay::Replayed) -> Found<()> {
    let (LogEvent::Forward { sample, .. }, Some(loss)) = (event, mine.loss) else { return Ok(()) };
    let reported = subject.receipts.iter().find(|r| r.sample == *sample && r.loss_micro.is_some());
    let Some(claimed) = reported.and_then(|receipt| receipt.loss_micro) else { return Ok(()) };
    let claimed = f64::from(claimed) / 1e6;
    if loss_distance(f64::from(loss), claimed) <= tolerance::LOSS {
        Ok(())
    } else {
        Err(Stop::Invalid(format!("sample {sample}: reported loss {claimed:.4}, replayed {loss:.4}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(version: u32) -> LogEvent {
        LogEvent::Step { version: Version(version), state_root: Hash::ZERO }
    }

    #[test]
    fn a_step_that_was_not_taken_is_named_and_rounding_is_not() {
        assert!(check_step(Version(3), 0.0).is_ok());
        assert!(check_step(Version(3), tolerance::UPDATE).is_ok());
        for distance in [1.0, tolerance::UPDATE * 1.01, f64::NAN, f64::INFINITY] {
            assert!(matches!(check_step(Version(3), distance), Err(Stop::Invalid(_))), "{distance}");
        }
    }

    #[test]
    fn an_entry_follows_from_the_last_steps_weights_alone() {
        let merge = MergeParams {
            chunk: 32,
            exponent_min: -24,
            outer_lr_ppm: 700_000,
            momentum_start_ppm: 500_000,
            momentum_end_ppm: 900_000,
            momentum_ramp: 20,
        };
        let start: Vec<f32> = (0..64u16).map(|at| f32::from(at) * 0.01).collect();
        let moved = |by: f32| start.iter().map(|value| value - by * (1.0 + value)).collect::<Vec<_>>();
        let root = |end: &[f32]| {
            let bytes = encode_chunks(&start, end, &merge).unwrap();
            merkle::root(&merkle::leaves(&bytes, chunk_len(&merge)))
        };
        let end = moved(0.02);
        assert!(check_entry(&start, &end, &merge, root(&end)).is_ok());
        // That of another epoch, fifty times its own, its own turned around, none.
        for other in [0.021, 1.0, -0.02, 0.0].map(moved) {
            let found = check_entry(&start, &end, &merge, root(&other));
            assert!(matches!(found, Err(Stop::Invalid(_))));
        }
        let broken = vec![f32::NAN; 64];
        assert!(matches!(check_entry(&start, &broken, &merge, Hash::ZERO), Err(Stop::Invalid(_))));
        assert!(matches!(check_entry(&start, &end[1..], &merge, root(&end)), Err(Stop::Undecided(_))));
    }

    #[test]
    fn steps_are_counted_only_where_none_is_left_out() {
        assert_eq!(steps_in_order(&[]), Ok(0));
        assert_eq!(steps_in_order(&[step(1), step(2), step(3)]), Ok(3));
        for log in [vec![step(2)], vec![step(1), step(3)], vec![step(1), step(1)], vec![step(0)]] {
            assert!(steps_in_order(&log).is_err(), "{log:?}");
        }
    }
}
