//! A stage's log, replayed from a state with the recorded inputs, gives the stage's bits: from the
//! start of an epoch, and from any step within it, with samples in flight and one abandoned.

use std::collections::HashMap;

use iota_compute::outer::OuterState;
use iota_compute::replay::{EventInput, ReplayError, Replayed, Replayer};
use iota_compute::{state_root, Device, ForwardOut, SampleKey, StageInput, StageTrainer, StepState};
use iota_protocol::ids::{Stage, Version};
use iota_protocol::params::RunParams;
use iota_protocol::receipt::LogEvent;

use crate::line::{self, key, nano, sample, sentences};

const SAMPLES: u32 = 14;
/// A sample whose gradient never comes.
const LOST: u32 = 5;
/// Backward passes follow so many forward passes later, so that steps fall between.
const DELAY: u32 = 2;
const TOKENS: u64 = 1_000;

enum Owned {
    Tokens(Vec<u32>),
    Codes(Vec<u8>),
}

impl Owned {
    fn borrow(&self) -> StageInput<'_> {
        match self {
            Self::Tokens(tokens) => StageInput::Tokens(tokens),
            Self::Codes(codes) => StageInput::Codes(codes),
        }
    }
}

/// A stage with everything that it was given, and its state after each step.
struct Recorded {
    trainer: StageTrainer,
    inputs: HashMap<SampleKey, (Owned, Option<Vec<u32>>)>,
    grads: HashMap<SampleKey, Vec<u8>>,
    /// Position in the log right after a step, and the state there.
    states: Vec<(usize, StepState)>,
}

impl Recorded {
    fn forward(&mut self, key: SampleKey, input: Owned, targets: Option<Vec<u32>>) -> ForwardOut {
        let out = self.trainer.forward(key, input.borrow(), targets.as_deref()).unwrap();
        self.inputs.insert(key, (input, targets));
        out
    }

    fn backward(&mut self, key: SampleKey, grad: Vec<u8>) -> Option<Vec<u8>> {
        let out = self.trainer.backward(key, &grad).unwrap();
        self.grads.insert(key, grad);
        out.grad
    }

    fn step(&mut self) {
        if let Some(out) = self.trainer.step_if_due(TOKENS).unwrap() {
            let state = self.trainer.snapshot().unwrap();
            assert_eq!(state_root(&state), out.state_root);
            self.states.push((self.trainer.log().len(), state));
        }
    }

    fn input_of(&self, event: &LogEvent) -> EventInput<'_> {
        match *event {
            LogEvent::Forward { sample, attempt, .. } => {
                let (input, targets) = &self.inputs[&SampleKey { sample, attempt }];
                EventInput::Forward { input: input.borrow(), targets: targets.as_deref() }
            }
            LogEvent::Backward { sample, attempt, .. } => {
                match self.grads.get(&SampleKey { sample, attempt }) {
                    Some(grad) => EventInput::Gradient(grad),
                    None => EventInput::Nothing,
                }
            }
            _ => EventInput::Nothing,
        }
    }

    /// Replays these events and returns the first that came out otherwise.
    fn replay(&self, replayer: &mut Replayer, events: &[LogEvent]) -> Option<(usize, Replayed)> {
        let replayed = events.iter().map(|event| replayer.apply(event, self.input_of(event)).unwrap());
        replayed.enumerate().find(|(index, replayed)| replayed.event != events[*index])
    }
}

/// Trains three stages on one sample after another, several in flight.
fn record(run: &RunParams, states: &[OuterState]) -> Vec<Recorded> {
    iota_compute::init_runtime(1);
    let trainer = |(stage, state)| StageTrainer::new(run, Stage(stage), state, Device::Cpu).unwrap();
    let recorded =
        |trainer| Recorded { trainer, inputs: HashMap::new(), grads: HashMap::new(), states: Vec::new() };
    let mut stages: Vec<Recorded> = (0..).zip(states).map(trainer).map(recorded).collect();
    let mut grads = HashMap::new();
    for index in 0..SAMPLES + DELAY {
        if index < SAMPLES {
            grads.insert(index, forward(run, &mut stages, index));
        }
        match index.checked_sub(DELAY) {
            Some(LOST) => stages[..2].iter_mut().for_each(|stage| stage.trainer.abandon(key(LOST))),
            Some(back) => backward(&mut stages, back, grads.remove(&back).unwrap()),
            None => {}
        }
        stages.iter_mut().for_each(Recorded::step);
    }
    stages
}

fn forward(run: &RunParams, stages: &mut [Recorded], index: u32) -> Vec<u8> {
    let (tokens, targets) = sample(run, &sentences(), index as usize);
    let mut input = Owned::Tokens(tokens);
    let last = stages.len() - 1;
    for (place, stage) in stages.iter_mut().enumerate() {
        match stage.forward(key(index), input, (place == last).then(|| targets.clone())) {
            ForwardOut::Codes { bytes, .. } => input = Owned::Codes(bytes),
            ForwardOut::Loss { grad, .. } => return grad,
        }
    }
    unreachable!("the last stage returns a loss")
}

fn backward(stages: &mut [Recorded], index: u32, mut grad: Vec<u8>) {
    for stage in stages[..2].iter_mut().rev() {
        grad = stage.backward(key(index), grad).unwrap_or_default();
    }
}

fn replayer(run: &RunParams, stage: usize, state: &StepState) -> Replayer {
    let stage = Stage(u16::try_from(stage).unwrap());
    Replayer::new(run, stage, state.clone(), TOKENS, Device::Cpu).unwrap()
}

/// Forward passes before `position` whose backward pass or abandonment comes at or after it.
fn outstanding(log: &[LogEvent], position: usize) -> Vec<LogEvent> {
    let key_of = |event: &LogEvent| match *event {
        LogEvent::Forward { sample, attempt, .. }
        | LogEvent::Backward { sample, attempt, .. }
        | LogEvent::Abandon { sample, attempt } => Some((sample, attempt)),
        LogEvent::Step { .. } => None,
    };
    let ended = |event: &LogEvent| {
        log[..position]
            .iter()
            .any(|end| !matches!(end, LogEvent::Forward { .. }) && key_of(end) == key_of(event))
    };
    let forwards = log[..position].iter().filter(|event| matches!(event, LogEvent::Forward { .. }));
    forwards.filter(|event| !ended(event)).copied().collect()
}

#[test]
fn a_whole_epoch_is_replayed_bit_for_bit() {
    let run = nano(3);
    let states = line::initial(&run);
    for (stage, recorded) in record(&run, &states).iter().enumerate() {
        let log = recorded.trainer.log();
        let versions: Vec<Version> = recorded.states.iter().map(|(_, state)| state.version).collect();
        assert!(versions.len() >= 6, "stage {stage} steps: {versions:?}");
        let mut replayer = replayer(&run, stage, &StepState::start_of_epoch(&states[stage]));
        assert_eq!(recorded.replay(&mut replayer, log), None, "stage {stage}");
        assert_eq!(replayer.snapshot().unwrap(), recorded.trainer.snapshot().unwrap());
    }
}

#[test]
fn any_segment_is_replayed_bit_for_bit_from_the_state_before_it() {
    let run = nano(3);
    let recorded = record(&run, &line::initial(&run));
    let mut with_older_weights = 0;
    for (stage, recorded) in recorded.iter().enumerate() {
        let log = recorded.trainer.log();
        for (position, state) in &recorded.states {
            let earlier = outstanding(log, *position);
            with_older_weights += usize::from(state.previous.is_some());
            assert_eq!(stage < 2 && !earlier.is_empty(), state.previous.is_some());
            let mut replayer = replayer(&run, stage, state);
            assert_eq!(recorded.replay(&mut replayer, &earlier), None, "stage {stage} {position}");
            assert_eq!(recorded.replay(&mut replayer, &log[*position..]), None, "stage {stage} {position}");
        }
        let lost = log.iter().any(|event| matches!(event, LogEvent::Abandon { .. }));
        assert_eq!(lost, stage < 2);
    }
    assert!(with_older_weights >= 6, "{with_older_weights} segments start with samples in flight");
}

#[test]
fn steps_wait_for_passes_on_older_weights() {
    let run = nano(3);
    let recorded = record(&run, &line::initial(&run));
    let steps = |stage: usize| recorded[stage].states.len();
    assert_eq!(steps(2), SAMPLES as usize, "the last stage has none in flight");
    assert!(steps(1) < SAMPLES as usize - 1, "{} steps were not deferred", steps(1));
    for recorded in &recorded {
        let mut current = Version(0);
        for event in recorded.trainer.log() {
            match *event {
                LogEvent::Backward { version, .. } => {
                    assert!(version.0 + 1 >= current.0, "three versions alive")
                }
                LogEvent::Step { version, .. } => current = version,
                _ => {}
            }
        }
    }
}

#[test]
fn changed_work_comes_out_otherwise() {
    let run = nano(3);
    let states = line::initial(&run);
    let mut recorded = record(&run, &states);
    let start = StepState::start_of_epoch(&states[1]);
    let changed = recorded[1].grads.get_mut(&key(3)).unwrap();
    let place = changed.len() - 1;
    changed[place] ^= 1;
    let mut replayer_after = replayer(&run, 1, &start);
    let (index, _) = recorded[1].replay(&mut replayer_after, recorded[1].trainer.log()).unwrap();
    let LogEvent::Backward { sample, .. } = recorded[1].trainer.log()[index] else { panic!("{index}") };
    assert_eq!(sample, key(3).sample);
    let mut weights = start;
    weights.weights[100] += 1.0;
    let (index, _) = recorded[1].replay(&mut replayer(&run, 1, &weights), recorded[1].trainer.log()).unwrap();
    assert_eq!(index, 0, "other weights show in the first pass");
}

#[test]
fn logs_that_cannot_have_happened_are_errors() {
    let run = nano(3);
    let states = line::initial(&run);
    let recorded = &record(&run, &states)[1];
    let log = recorded.trainer.log();
    let start = || replayer(&run, 1, &StepState::start_of_epoch(&states[1]));
    let find = |wanted: fn(&LogEvent) -> bool| log.iter().find(|event| wanted(event)).unwrap();
    let check = |replayer: &mut Replayer, event: &LogEvent| {
        replayer.apply(event, recorded.input_of(event)).unwrap_err()
    };
    let backward = find(|event| matches!(event, LogEvent::Backward { .. }));
    assert!(matches!(check(&mut start(), backward), ReplayError::Unmatched { index: 0, .. }));
    let step = find(|event| matches!(event, LogEvent::Step { .. }));
    assert!(matches!(check(&mut start(), step), ReplayError::StepNotDue { samples: 0, .. }));
    let late = LogEvent::Step { version: Version(9), state_root: Default::default() };
    assert!(matches!(check(&mut start(), &late), ReplayError::Version { expected: Version(1), .. }));
    let missing = start().apply(&log[0], EventInput::Nothing).unwrap_err();
    assert!(matches!(missing, ReplayError::Input { .. }), "{missing}");
    let mut pending = recorded.states[0].1.clone();
    pending.pending = 1;
    let refused = Replayer::new(&run, Stage(1), pending, TOKENS, Device::Cpu);
    assert!(refused.is_err());
}
