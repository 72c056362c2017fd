//! What a run of a preset would need and give: memory, traffic and speed, from its shape alone.
//!
//! Called by `iota-miner plan` and by the report on scaling. Nothing is allocated and no tensor is made:
//! every number follows from the preset, the machine described, and the counts below, which say what a
//! [`crate::StageTrainer`] keeps. Sizes are bytes, rates are per second.

use iota_protocol::ids::{Hash, Stage};
use iota_protocol::params::{DataParams, ModelParams, RunParams};
use iota_protocol::receipt::Direction;
use iota_protocol::wire::{message_len, HOP_OVERHEAD};

use crate::loss;
use crate::presets::{self, PresetError};

/// Bytes that a trainer keeps for each parameter: fp32 masters, two moments, summed gradients.
const BYTES_PER_PARAMETER: u64 = 4 + 2 * 4 + 4;
/// And the older weights that samples in flight beside another still read.
const BYTES_PER_OLDER_PARAMETER: u64 = 4;
/// Bytes of one kept value; boundaries, norms and saved products are fp32.
const BYTES_PER_VALUE: u64 = 4;
/// Logits and their logarithms, of one chunk of tokens at a time.
const VALUES_PER_LOGIT: u64 = 2;
/// Floating-point operations of training for each multiply-add of a forward pass: two each for the pass
/// itself, for the inputs' gradients and for the weights' gradients.
const TRAINING_FLOPS: f64 = 6.0;
/// Bytes over the link for each byte of a stage's encoded weights at a merge, and what is less with few
/// replicas: every member sends its entry to two owners of each shard and fetches two results, 6W − 8W/N
/// in all (design, section 8).
const MERGE_BYTES: (f64, f64) = (6.0, 8.0);
/// Bytes of one parameter in an entry: an int8 code and its part of the block's exponent.
const ENTRY_BYTES: f64 = 1.0 + 1.0 / 32.0;

/// Why there is no plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// No such preset, or it cannot be cut so.
    #[error(transparent)]
    Preset(#[from] PresetError),
    /// Some stage does not fit.
    #[error(
        "{stages} stages of {preset} need {needed} bytes of memory in stage {stage}, the machine has {have}; \
         take more stages, fewer samples in flight or a larger machine"
    )]
    Memory {
        /// The preset.
        preset: String,
        /// Stages tried.
        stages: u16,
        /// The heaviest stage.
        stage: u16,
        /// What it needs.
        needed: u64,
        /// What there is.
        have: u64,
    },
}

/// One miner's machine and link; all miners are taken to be alike.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Machine {
    /// Memory of the device in bytes.
    pub memory: u64,
    /// Floating-point operations that it really does in a second of training: peak times utilisation.
    pub flops: f64,
    /// Bits that its link sends in a second.
    pub uplink: f64,
    /// Seconds that a byte takes to another miner.
    pub latency: f64,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Wish<'a> {
    /// Name of the preset.
    pub preset: &'a str,
    /// Stages; the fewest that fit the machine when absent.
    pub stages: Option<u16>,
    /// Miners of each stage.
    pub replicas: u16,
    /// Samples that each miner of the first stage has in flight; as many as fit, up to the preset's,
    /// when absent.
    pub in_flight: Option<u8>,
    /// Every miner's machine.
    pub machine: Machine,
}

/// One stage of a plan.
#[derive(Clone, PartialEq, Debug)]
pub struct StagePlan {
    /// Transformer layers.
    pub layers: u16,
    /// Trained parameters.
    pub parameters: u64,
    /// Bytes of weights, moments and gradients.
    pub state_bytes: u64,
    /// Bytes of what passes take beside it, at most.
    pub pass_bytes: u64,
    /// Seconds that a sample computes, both passes.
    pub compute: f64,
    /// Bytes sent for a sample, both directions, headers included.
    pub sent_bytes: u64,
    /// Seconds that those take.
    pub sending: f64,
}

/// What keeps a pipeline from being faster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// The stage that computes longest.
    Compute(Stage),
    /// The stage that sends longest.
    Link(Stage),
    /// Too few samples in flight to fill the pipeline.
    InFlight,
}

/// A plan: memory, traffic and speed of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Parameters of the run.
    pub run: RunParams,
    /// The stages in order.
    pub stages: Vec<StagePlan>,
    /// Miners of each stage.
    pub replicas: u16,
    /// Tokens of one sample.
    pub tokens_per_sample: u32,
    /// Seconds of one sample from its first stage up and back down, on an idle pipeline.
    pub round_trip: f64,
    /// Tokens per second of all replicas while they train.
    pub tokens_per_second: f64,
    /// What limits it.
    pub limit: Limit,
    /// Bytes that a miner of the largest stage sends and receives at a merge.
    pub merge_bytes: f64,
    /// Seconds that those take over the uplink.
    pub merge_seconds: f64,
}

impl StagePlan {
    /// Bytes of memory in all.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.state_bytes + self.pass_bytes
    }
}

/// Plans a run.
///
/// # Errors
/// [`PlanError`].
pub fn plan(wish: &Wish<'_>) -> Result<Plan, PlanError> {
    let draft = parameters(wish, 1, 1)?;
    let layers =
        draft.model.n_layers.min(u16::try_from(iota_protocol::params::MAX_STAGES).unwrap_or(u16::MAX));
    let most = presets::in_flight(wish.preset).unwrap_or(1);
    let depths = wish.in_flight.map_or(1..=most, |samples| samples..=samples);
    let mut refused = None;
    for depth in depths.rev() {
        for count in wish.stages.map_or(1..=layers, |stages| stages..=stages) {
            match attempt(wish, count, depth) {
                Err(error @ PlanError::Memory { .. }) => refused = Some(error),
                other => return other,
            }
        }
    }
    let none = || PresetError::Unknown { name: wish.preset.to_owned() }.into();
    Err(refused.unwrap_or_else(none))
}

/// The plan for so many stages and samples in flight, if they fit.
fn attempt(wish: &Wish<'_>, count: u16, in_flight: u8) -> Result<Plan, PlanError> {
    let run = parameters(wish, count, in_flight)?;
    let stages: Vec<StagePlan> = (0..count).map(|stage| stage_plan(&run, Stage(stage), wish)).collect();
    let heaviest = (0u16..).zip(&stages).max_by_key(|(_, stage)| stage.memory());
    let (needed, have) = (heaviest.map_or(0, |(_, heavy)| heavy.memory()), wish.machine.memory);
    if needed <= have {
        return Ok(whole(run, stages, wish));
    }
    let (preset, stage) = (wish.preset.to_owned(), heaviest.map_or(0, |(stage, _)| stage));
    Err(PlanError::Memory { preset, stages: count, stage, needed, have })
}

fn parameters(wish: &Wish<'_>, stages: u16, in_flight: u8) -> Result<RunParams, PlanError> {
    let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1, heldout_windows: 1 };
    let mut run = presets::run_params(wish.preset, stages, 0, 1, 1, data)?;
    run.train.in_flight = in_flight;
    Ok(run)
}

/// Bytes that a stage takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Weights, moments and summed gradients.
    pub state: u64,
    /// What the forward passes of all samples in flight keep for their backward passes.
    pub samples: u64,
    /// The most that one pass takes beside that.
    pub pass: u64,
}

impl Memory {
    /// Everything beside the state.
    #[must_use]
    pub fn passes(self) -> u64 {
        self.samples + self.pass
    }
}

/// Memory of a stage with so many samples in flight.
///
/// A pass takes most at one of three moments: where the head has one chunk of logits, where the backward
/// pass of the last layer begins, and where a backward pass ends, with a gradient for every parameter and
/// nothing left of its sample.
///
/// # Complexity
/// Constant.
#[must_use]
pub fn memory(run: &RunParams, stage: Stage, in_flight: u8) -> Memory {
    let (layers, parameters) = run.stage(stage).map_or((0, 0), |stage| (stage.layers, stage.parameters));
    let model = &run.model;
    let [tokens, vocab, d] = [run.tokens_per_sample(), model.vocab, model.d_model].map(u64::from);
    let last = stage == run.last_stage();
    // The last stage runs its backward pass at once, so that it never keeps more than one sample.
    let samples = if last { 1 } else { u64::from(in_flight.max(1)) };
    let older = if samples > 1 { BYTES_PER_OLDER_PARAMETER } else { 0 };
    let kept = tokens * u64::from(layers) * values_per_token(model);
    let (head, chunk) = match last {
        true => (vocab * d, VALUES_PER_LOGIT * (tokens * vocab).min(loss::CHUNK_LOGITS.unsigned_abs())),
        false => (0, 0),
    };
    let begun = head + chunk.max(tokens * values_of_backward(model));
    let ended = parameters.saturating_sub(kept);
    Memory {
        state: parameters * (BYTES_PER_PARAMETER + older),
        samples: samples * kept * BYTES_PER_VALUE,
        pass: begun.max(ended) * BYTES_PER_VALUE,
    }
}

fn stage_plan(run: &RunParams, stage: Stage, wish: &Wish<'_>) -> StagePlan {
    let params = &run.stages[usize::from(stage.0)];
    let tokens = u64::from(run.tokens_per_sample());
    let (first, last) = (stage.0 == 0, stage == run.last_stage());
    let memory = memory(run, stage, run.train.in_flight);
    let message = |direction| (message_len(run, direction) + HOP_OVERHEAD) as u64;
    let up = if last { 0 } else { message(Direction::Forward) };
    let down = if first { 0 } else { message(Direction::Backward) };
    StagePlan {
        layers: params.layers,
        parameters: params.parameters,
        state_bytes: memory.state,
        pass_bytes: memory.passes(),
        compute: presets::stage_flops(run, stage) as f64 * TRAINING_FLOPS * tokens as f64
            / wish.machine.flops,
        sent_bytes: up + down,
        sending: 8.0 * (up + down) as f64 / wish.machine.uplink,
    }
}

/// Values that one layer keeps for its backward pass, per token: two norms with their results and the
/// stream around them, projected and turned queries, keys and values, attention's result in two orders,
/// both halves of the hidden layer, their activation and their product.
fn values_per_token(model: &ModelParams) -> u64 {
    let [d, d_ff] = [model.d_model, model.d_ff].map(u64::from);
    let kv = u64::from(model.n_kv_heads) * u64::from(model.head_dim());
    10 * d + 3 * kv + 4 * d_ff
}

/// Values per token that a layer's backward pass makes before it gives any back: the gradients of the hidden
/// layer's product, of its activation, of both halves and of the two together, and of the stream twice.
fn values_of_backward(model: &ModelParams) -> u64 {
    5 * u64::from(model.d_ff) + 2 * u64::from(model.d_model)
}

fn whole(run: RunParams, stages: Vec<StagePlan>, wish: &Wish<'_>) -> Plan {
    let slowest = |time: fn(&StagePlan) -> f64| {
        let of = (0u16..).zip(&stages).map(|(stage, plan)| (Stage(stage), time(plan)));
        of.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((Stage(0), 0.0))
    };
    let (computing, compute) = slowest(|stage| stage.compute);
    let (sending, send) = slowest(|stage| stage.sending);
    let hops = 2.0 * (stages.len() as f64 - 1.0);
    let busy: f64 = stages.iter().map(|stage| stage.compute + stage.sending).sum();
    let round_trip = busy + hops * wish.machine.latency;
    let spacing = round_trip / f64::from(run.train.in_flight);
    let (seconds, limit) =
        [(compute, Limit::Compute(computing)), (send, Limit::Link(sending)), (spacing, Limit::InFlight)]
            .into_iter()
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap_or((compute, Limit::Compute(computing)));
    let largest = stages.iter().map(|stage| stage.parameters).max().unwrap_or(0) as f64 * ENTRY_BYTES;
    let replicas = f64::from(wish.replicas.max(1));
    let merge_bytes =
        if wish.replicas < 2 { 0.0 } else { largest * (MERGE_BYTES.0 - MERGE_BYTES.1 / replicas).max(0.0) };
    Plan {
        tokens_per_sample: run.tokens_per_sample(),
        replicas: wish.replicas,
        round_trip,
        tokens_per_second: f64::from(run.tokens_per_sample()) * replicas / seconds,
        limit,
        merge_bytes,
        merge_seconds: 8.0 * merge_bytes / 2.0 / wish.machine.uplink,
        run,
        stages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    fn machine() -> Machine {
        Machine { memory: 24 * GIB, flops: 20e12, uplink: 100e6, latency: 0.05 }
    }

    fn wish(preset: &str) -> Wish<'_> {
        Wish { preset, stages: None, replicas: 3, in_flight: None, machine: machine() }
    }

    #[test]
    fn hand_worked_stage_of_tiny() {
        let plan = plan(&Wish { stages: Some(3), ..wish("tiny") }).unwrap();
        let middle = &plan.stages[1];
        assert_eq!((middle.layers, middle.parameters, plan.tokens_per_sample), (2, 399_872, 512));
        assert_eq!(middle.state_bytes, 20 * 399_872);
        // Two samples of 512 tokens, two layers of 10·128 + 3·128 + 4·344 values, and a layer's backward
        // pass with 5·344 + 2·128.
        assert_eq!(middle.pass_bytes, (2 * 512 * 2 * 3_040 + 512 * 1_976) * 4);
        // 512 tokens of 16 channels as int8, a scale for 32 of them: 8,448 bytes each way.
        assert_eq!(middle.sent_bytes, 2 * (8_448 + HOP_OVERHEAD as u64));
        // Multiply-adds of a token: two layers of 128·384 + 128² + 3·128·344 weights and 128·128 of
        // attention, and 128·16 of encoder and of decoder.
        let products = 2.0 * (49_152.0 + 16_384.0 + 132_096.0 + 16_384.0) + 2.0 * 2_048.0;
        assert!((middle.compute - products * 6.0 * 512.0 / 20e12).abs() < 1e-12);
    }

    #[test]
    fn hand_worked_memory_where_the_head_is_and_where_parameters_outweigh_passes() {
        let run = parameters(&Wish { stages: Some(6), ..wish("1.5b") }, 6, 4).unwrap();
        // 4,096 tokens of one layer with 10·2048 + 3·512 + 4·8192 values, the gradient of the head, and a
        // chunk of 2^27 logits twice: more than a layer's backward pass.
        let state = 16 * run.stages[5].parameters;
        let pass = (128_256 * 2_048 + 2 * (1 << 27)) * 4;
        let last = Memory { state, samples: 4_096 * 54_784 * 4, pass };
        assert_eq!((memory(&run, Stage(5), 1), last.passes()), (last, last.samples + pass));
        assert_eq!(memory(&run, Stage(5), 4), last, "its backward pass runs at once");
        let mut short = run;
        (short.train.windows_per_sample, short.model.seq_len) = (1, 1);
        let parameters = short.stages[1].parameters;
        // One token of three layers is freed while gradients come, whatever else is in flight.
        let kept = 3 * 54_784 * 4;
        let pass = 4 * parameters - kept;
        assert_eq!(memory(&short, Stage(1), 2), Memory { state: 20 * parameters, samples: 2 * kept, pass });
    }

    #[test]
    fn the_fewest_stages_that_fit_are_taken() {
        let found = plan(&wish("1.5b")).unwrap();
        let count = found.run.n_stages();
        assert!(count > 1 && found.stages.iter().all(|stage| stage.memory() <= 24 * GIB));
        let depth = Some(found.run.train.in_flight);
        let fewer = Wish { stages: Some(count - 1), in_flight: depth, ..wish("1.5b") };
        let error = plan(&fewer).unwrap_err();
        assert!(matches!(error, PlanError::Memory { .. }), "{error}");
        let tiny = Machine { memory: 1 << 20, ..machine() };
        assert!(plan(&Wish { machine: tiny, ..wish("nano") }).is_ok(), "a megabyte holds nano");
        assert!(matches!(plan(&Wish { machine: tiny, ..wish("15b") }), Err(PlanError::Memory { .. })));
        assert!(matches!(plan(&wish("huge")), Err(PlanError::Preset(_))));
    }

    #[test]
    fn fewer_samples_in_flight_are_taken_where_no_number_of_stages_holds_more() {
        let wish = Wish { machine: Machine { memory: 24_000_000_000, ..machine() }, ..wish("15b") };
        let found = plan(&wish).unwrap();
        let depth = found.run.train.in_flight;
        assert!((1..4).contains(&depth), "{depth}");
        assert!(plan(&Wish { in_flight: Some(depth + 1), ..wish }).is_err());
    }

    #[test]
    fn what_limits_is_named() {
        let limit = |machine: Machine, in_flight| {
            let wish = Wish { stages: Some(3), in_flight: Some(in_flight), machine, ..wish("1.5b") };
            plan(&Wish { machine: Machine { memory: u64::MAX, ..wish.machine }, ..wish }).unwrap().limit
        };
        let near = Machine { latency: 0.0, ..machine() };
        assert_eq!(limit(Machine { uplink: 1e3, ..near }, 64), Limit::Link(Stage(1)));
        assert!(matches!(limit(Machine { uplink: 1e12, ..near }, 64), Limit::Compute(_)));
        assert_eq!(limit(Machine { latency: 10.0, uplink: 1e12, ..near }, 2), Limit::InFlight);
    }

    #[test]
    fn every_large_preset_can_be_planned_without_allocating_it() {
        for preset in ["1.5b", "15b", "50b", "100b"] {
            let machine = Machine { memory: u64::MAX, ..machine() };
            let plan = plan(&Wish { stages: Some(4), machine, ..wish(preset) }).unwrap();
            let total: u64 = plan.stages.iter().map(|stage| stage.parameters).sum();
            assert_eq!(total, plan.run.total_parameters(), "{preset}");
        }
    }

    proptest! {
        #[test]
        fn a_better_machine_is_never_slower(
            flops in 1e12f64..1e15, uplink in 1e6f64..1e10, latency in 0.0f64..0.5, stages in 1u16..16,
        ) {
            let at = |flops, uplink, latency| {
                let machine = Machine { memory: u64::MAX, flops, uplink, latency };
                plan(&Wish { stages: Some(stages), machine, ..wish("1.5b") }).unwrap().tokens_per_second
            };
            let base = at(flops, uplink, latency);
            prop_assert!(base > 0.0);
            for better in [at(2.0 * flops, uplink, latency), at(flops, 2.0 * uplink, latency), at(flops, uplink, 0.0)] {
                prop_assert!(better >= base * (1.0 - 1e-9), "{flops} {uplink} {latency}: {base} {better}");
            }
        }
    }
}
