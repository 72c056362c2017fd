//! What a stage refuses, and that it trains on as if nothing had happened.

use iota_compute::{Device, SampleKey, StageError, StageInput, StageTrainer, StepState};
use iota_protocol::ids::{Attempt, Stage};
use iota_protocol::params::RunParams;
use iota_protocol::receipt::LogEvent;

use crate::line::{exact, initial, key, nano, shifted_sample, Line};

fn first_stage(run: &RunParams) -> (StageTrainer, Vec<u32>) {
    iota_compute::init_runtime(1);
    let trainer = StageTrainer::new(run, Stage(0), &initial(run)[0], Device::Cpu).unwrap();
    (trainer, shifted_sample(run, 0, 1).0)
}

#[test]
fn wrong_inputs_leave_no_trace() {
    let run = nano(3);
    let (mut stage, tokens) = first_stage(&run);
    let mut check = |input: StageInput<'_>, targets: Option<&[u32]>, word: &str| {
        let error = stage.forward(key(1), input, targets).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    check(StageInput::Codes(&[1, 2]), None, "reads tokens");
    check(StageInput::Tokens(&tokens[1..]), None, "expected 64 tokens");
    check(StageInput::Tokens(&[256; 64]), None, "largest 256");
    check(StageInput::Tokens(&tokens), Some(&tokens), "takes no targets");
    let unknown = stage.backward(key(1), &[]).unwrap_err();
    assert!(matches!(unknown, StageError::Unknown { .. }), "{unknown}");
    stage.abandon(key(1));
    assert!(stage.log().is_empty());
    stage.forward(key(1), StageInput::Tokens(&tokens), None).unwrap();
    let twice = stage.forward(key(1), StageInput::Tokens(&tokens), None).unwrap_err();
    assert!(matches!(twice, StageError::Duplicate { .. }), "{twice}");
    let second_attempt = SampleKey { attempt: Attempt(1), ..key(1) };
    stage.forward(second_attempt, StageInput::Tokens(&tokens), None).unwrap();
    assert_eq!(stage.outstanding().count(), 2);
}

#[test]
fn a_bad_gradient_is_refused_and_the_right_one_still_taken() {
    let run = nano(3);
    let mut line = Line::new(&run);
    let (inputs, targets) = shifted_sample(&run, 0, 1);
    let (_, grad) = line.forward(0, &inputs, &targets);
    let short = line.stages[1].backward(key(0), &grad[1..]).unwrap_err();
    assert!(matches!(short, StageError::Gradient { .. }), "{short}");
    line.backward(0, grad);
    assert_eq!(line.stages[1].backwards_since_step(), 1);
}

#[test]
fn a_gradient_that_overflows_costs_its_sample_only() {
    let run = exact(nano(3));
    let (mut stage, tokens) = first_stage(&run);
    let values = tokens.len() * run.model.d_model as usize;
    let huge: Vec<u8> = std::iter::repeat_n(f32::MAX.to_le_bytes(), values).flatten().collect();
    let small: Vec<u8> = std::iter::repeat_n(1e-3f32.to_le_bytes(), values).flatten().collect();
    for sample in 0..2 {
        stage.forward(key(sample), StageInput::Tokens(&tokens), None).unwrap();
    }
    let error = stage.backward(key(0), &huge).unwrap_err();
    assert!(matches!(error, StageError::NotFinite { what: "gradient", .. }), "{error}");
    assert!(matches!(stage.log().last(), Some(LogEvent::Abandon { .. })));
    assert_eq!(stage.step_if_due(0).unwrap(), None);
    stage.backward(key(1), &small).unwrap();
    let step = stage.step_if_due(0).unwrap().unwrap();
    assert!(step.samples == 1 && step.grad_norm.is_finite());
    assert!(stage.weights().unwrap().iter().all(|weight| weight.is_finite()));
}

#[test]
fn broken_weights_are_an_error_of_the_sample() {
    let run = nano(3);
    let mut states = initial(&run);
    states[0].weights[..8192].fill(f32::INFINITY); // the embedding
    let mut stage = StageTrainer::new(&run, Stage(0), &states[0], Device::Cpu).unwrap();
    let (tokens, _) = shifted_sample(&run, 0, 1);
    let error = stage.forward(key(0), StageInput::Tokens(&tokens), None).unwrap_err();
    assert!(matches!(error, StageError::NotFinite { what: "boundary value", .. }), "{error}");
    assert_eq!(stage.outstanding().count(), 0);
}

#[test]
fn an_epoch_starts_from_merged_weights_with_an_empty_log() {
    for keep_moments in [false, true] {
        let mut run = nano(3);
        run.train.keep_moments = keep_moments;
        let states = initial(&run);
        let mut line = Line::new(&run);
        line.train(3, &crate::line::sentences());
        let stage = &mut line.stages[1];
        let trained = stage.snapshot().unwrap();
        assert_ne!(trained.weights, states[1].weights);
        stage.begin_epoch(&states[1]).unwrap();
        let fresh = StepState::start_of_epoch(&states[1]);
        let kept = StepState { first: trained.first, second: trained.second, adam_steps: 3, ..fresh.clone() };
        assert_eq!(stage.snapshot().unwrap(), if keep_moments { kept } else { fresh });
        assert!(stage.log().is_empty());
        let other = stage.begin_epoch(&states[0]).unwrap_err();
        assert!(matches!(other, StageError::State(_)), "{other}");
    }
}

#[test]
fn fewer_samples_than_a_step_takes_are_stepped_at_the_end_of_an_epoch() {
    let mut run = nano(3);
    run.train.samples_per_step = 4;
    let mut line = Line::new(&run);
    let (inputs, targets) = shifted_sample(&run, 0, 1);
    for sample in 0..3 {
        line.run_sample(sample, &inputs, &targets);
    }
    let stage = &mut line.stages[1];
    assert_eq!(stage.step_if_due(0).unwrap(), None);
    let step = stage.step_rest(0).unwrap().unwrap();
    assert_eq!((step.samples, step.version.0), (3, 1));
    assert_eq!(stage.step_rest(0).unwrap(), None);
}
