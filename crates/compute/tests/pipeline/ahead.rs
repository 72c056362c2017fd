//! Passes that are launched before the ones before them are finished: the same log, the same bytes and the same
//! weights as one after the other, on every device that this machine has.

use iota_compute::{
    init_runtime, Device, ForwardOut, Launched, PassOut, StageError, StageInput, StageTrainer,
};
use iota_protocol::ids::Stage;
use iota_protocol::params::RunParams;
use iota_protocol::receipt::LogEvent;

use crate::line::{initial, key, nano, sample, sentences};

const SAMPLES: u32 = 8;

fn devices() -> Vec<Device> {
    let found = init_runtime(1);
    if found == Device::Cpu {
        vec![found]
    } else {
        vec![Device::Cpu, found]
    }
}

fn stages(run: &RunParams, device: Device) -> Vec<StageTrainer> {
    let trainer = |(stage, state)| StageTrainer::new(run, Stage(stage), state, device).unwrap();
    (0..).zip(&initial(run)).map(trainer).collect()
}

/// What a stage was given, and what came of it.
#[derive(PartialEq, Debug, Default)]
struct Course {
    log: Vec<LogEvent>,
    outs: Vec<PassOut>,
    weights: Vec<f32>,
}

/// Passes of one stage, in the order in which a miner might have them.
enum Step<'a> {
    Forward(u32, StageInput<'a>, Option<&'a [u32]>),
    Backward(u32, &'a [u8]),
}

fn launch(stage: &mut StageTrainer, step: &Step<'_>) -> Launched {
    match step {
        Step::Forward(sample, input, targets) => stage.launch_forward(key(*sample), *input, *targets),
        Step::Backward(sample, grad) => stage.launch_backward(key(*sample), grad),
    }
}

/// Runs all steps, each launched before the one before is finished where `ahead` says so.
fn run_all(mut stage: StageTrainer, steps: &[Step<'_>], ahead: bool) -> Course {
    let mut course = Course::default();
    let mut waiting: Option<Launched> = None;
    for step in steps {
        let launched = launch(&mut stage, step);
        if let Some(before) = waiting.take() {
            course.outs.push(stage.finish(before).unwrap());
            stage.step_if_due(0).unwrap();
        }
        if ahead && !stage.completes_step(&launched) {
            waiting = Some(launched);
        } else {
            course.outs.push(stage.finish(launched).unwrap());
            stage.step_if_due(0).unwrap();
        }
    }
    if let Some(launched) = waiting {
        course.outs.push(stage.finish(launched).unwrap());
    }
    stage.step_rest(0).unwrap();
    (course.log, course.weights) = (stage.log().to_vec(), stage.weights().unwrap());
    course
}

/// Codes that enter the second stage, and gradients that come back to it, one for each sample.
fn recorded(run: &RunParams, device: Device) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let text = sentences();
    let mut stages = stages(run, device);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for index in 0..SAMPLES {
        let (inputs, targets) = sample(run, &text, index as usize);
        let key = key(index);
        let out = stages[0].forward(key, StageInput::Tokens(&inputs), None).unwrap();
        let ForwardOut::Codes { bytes, .. } = out else { unreachable!("codes leave the first stage") };
        let out = stages[1].forward(key, StageInput::Codes(&bytes), None).unwrap();
        up.push(bytes);
        let ForwardOut::Codes { bytes, .. } = out else { unreachable!("codes leave the second stage") };
        let out = stages[2].forward(key, StageInput::Codes(&bytes), Some(&targets)).unwrap();
        let ForwardOut::Loss { grad, .. } = out else { unreachable!("the last stage returns a loss") };
        down.push(grad);
    }
    (up, down)
}

/// Two samples in flight: forwards run before the backward passes of the samples before them.
fn middle<'a>(up: &'a [Vec<u8>], down: &'a [Vec<u8>]) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    for (sample, codes) in (0u32..).zip(up) {
        steps.push(Step::Forward(sample, StageInput::Codes(codes), None));
        if let Some(before) = sample.checked_sub(1) {
            steps.push(Step::Backward(before, &down[before as usize]));
        }
    }
    steps.push(Step::Backward(SAMPLES - 1, &down[SAMPLES as usize - 1]));
    steps
}

fn close(a: &Course, b: &Course) -> bool {
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
    a.log.len() == b.log.len() && a.weights.iter().zip(&b.weights).all(near)
}

#[test]
fn a_pass_launched_ahead_changes_nothing() {
    let text = sentences();
    for device in devices() {
        for samples_per_step in [1, 3] {
            let mut run = nano(3);
            run.train.samples_per_step = samples_per_step;
            let (up, down) = recorded(&run, device);
            let fresh = |place| stages(&run, device).swap_remove(place);
            let steps = middle(&up, &down);
            let (one, ahead) = (run_all(fresh(1), &steps, false), run_all(fresh(1), &steps, true));
            let data: Vec<_> = (0..SAMPLES).map(|index| sample(&run, &text, index as usize)).collect();
            let last: Vec<Step<'_>> = (0..)
                .zip(&up)
                .map(|(at, codes)| Step::Forward(at, StageInput::Codes(codes), Some(&data[at as usize].1)))
                .collect();
            let (end, end_ahead) = (run_all(fresh(2), &last, false), run_all(fresh(2), &last, true));
            assert!(one.outs.len() == 2 * SAMPLES as usize && end.outs.len() == SAMPLES as usize);
            assert_ne!(one.weights, initial(&run)[1].weights);
            if device == Device::Cpu {
                assert_eq!((one, end), (ahead, end_ahead), "{samples_per_step} samples a step");
            } else {
                // Backward passes of a GPU need not have the same bits twice.
                assert!(close(&one, &ahead) && close(&end, &end_ahead), "{device:?} {samples_per_step}");
            }
        }
    }
}

#[test]
fn passes_are_finished_in_turn_and_steps_wait_for_them() {
    for device in devices() {
        let run = nano(3);
        let (up, down) = recorded(&run, device);
        let mut stage = stages(&run, device).swap_remove(1);
        let forward = |stage: &mut StageTrainer, at: u32| {
            stage.launch_forward(key(at), StageInput::Codes(&up[at as usize]), None)
        };
        let (first, second) = (forward(&mut stage, 0), forward(&mut stage, 1));
        let twice = forward(&mut stage, 1);
        let refused = stage.forward(key(2), StageInput::Codes(&up[2]), None).unwrap_err();
        assert!(matches!(refused, StageError::Underway { .. }), "{refused}");
        assert!(matches!(stage.finish(second), Err(StageError::OutOfTurn { .. })));
        stage.finish(first).unwrap();
        assert_eq!(stage.outstanding().count(), 1);
        // What was lost out of turn blocks the rest until an epoch begins.
        assert!(matches!(stage.finish(twice), Err(StageError::OutOfTurn { .. })));
        stage.begin_epoch(&initial(&run)[1]).unwrap();
        let (first, twice) = (forward(&mut stage, 0), forward(&mut stage, 0));
        stage.finish(first).unwrap();
        assert!(matches!(stage.finish(twice), Err(StageError::Duplicate { .. })));
        let backward = stage.launch_backward(key(0), &down[0]);
        let later = forward(&mut stage, 1);
        assert!(stage.completes_step(&backward) && !stage.completes_step(&later));
        stage.finish(backward).unwrap();
        assert_eq!(stage.step_rest(0).unwrap(), None, "a pass on these weights is under way");
        stage.finish(later).unwrap();
        assert!(stage.step_if_due(0).unwrap().is_some());
        let stale = forward(&mut stage, 2);
        stage.begin_epoch(&initial(&run)[1]).unwrap();
        assert!(matches!(stage.finish(stale), Err(StageError::OutOfTurn { .. })));
        assert!(stage.log().is_empty());
    }
}

#[test]
fn what_is_refused_when_launched_is_said_when_finished() {
    for device in devices() {
        let run = nano(3);
        let (up, down) = recorded(&run, device);
        let mut stage = stages(&run, device).swap_remove(1);
        let short = stage.launch_forward(key(0), StageInput::Codes(&up[0][1..]), None);
        let right = stage.launch_forward(key(1), StageInput::Codes(&up[1]), None);
        assert!(matches!(stage.finish(short), Err(StageError::Activation { .. })));
        stage.finish(right).unwrap();
        let bad = stage.launch_backward(key(1), &down[1][1..]);
        assert!(matches!(stage.finish(bad), Err(StageError::Gradient { .. })));
        stage.backward(key(1), &down[1]).unwrap();
        assert_eq!(stage.log().len(), 2);
    }
}
