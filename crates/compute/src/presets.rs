//! Model presets, and run parameters made from them.
//!
//! `tiny` trains on one CPU in minutes, `nano` in seconds (for tests); the large ones take their
//! shapes from the published configurations of the reference network (`reference/iota.md`, b.1).

use bounded_collections::BoundedVec;
use iota_protocol::params::{
    DataParams, MergeParams, ModelParams, ParamsError, PhaseParams, RunParams, StageParams, TrainParams,
    WireCodec, MAX_STAGES, PPM,
};

use crate::layout::{Cut, StageLayout};

/// Names that [`run_params`] knows.
pub const PRESETS: [&str; 6] = ["nano", "tiny", "1.5b", "15b", "50b", "100b"];

/// Why no parameters were made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresetError {
    /// No such preset.
    #[error("unknown preset {name:?}; known are {}", PRESETS.join(", "))]
    Unknown {
        /// The name given.
        name: String,
    },
    /// A stage would have no layer.
    #[error("preset {preset} has {layers} layers and cannot be cut into {stages} stages; use 1 to {}", most(*layers))]
    Stages {
        /// The preset.
        preset: String,
        /// Its layers.
        layers: u16,
        /// Stages asked for.
        stages: u16,
    },
    /// A relation between parameters does not hold.
    #[error("preset {preset}: {error}")]
    Invalid {
        /// The preset.
        preset: String,
        /// The relation.
        error: ParamsError,
    },
}

/// Most stages of a model.
fn most(layers: u16) -> u32 {
    u32::from(layers).min(MAX_STAGES)
}

/// What differs between presets.
struct Preset {
    model: ModelParams,
    train: TrainParams,
    chunk: u32,
}

/// Parameters of a run of a preset, checked with `RunParams::validate`.
///
/// Layers are split as evenly as possible; extra ones go to the middle stages from the left, then to
/// the first, then to the last, which carry the embedding and the head. A stage's share of emission
/// is its share of floating-point operations.
///
/// # Errors
/// [`PresetError`].
pub fn run_params(
    preset: &str,
    stages: u16,
    seed: u64,
    epochs: u32,
    start_replicas: u16,
    data: DataParams,
) -> Result<RunParams, PresetError> {
    let Preset { model, train, chunk } =
        find(preset).ok_or_else(|| PresetError::Unknown { name: preset.to_owned() })?;
    let stages = cut(preset, &model, stages, chunk)?;
    let name = preset.as_bytes().to_vec().try_into().expect("names of presets are short; qed");
    let phases = phases();
    let merge = merge(chunk);
    let run =
        RunParams { preset: name, seed, model, stages, train, merge, phases, data, start_replicas, epochs };
    run.validate().map_err(|error| PresetError::Invalid { preset: preset.to_owned(), error })?;
    Ok(run)
}

fn find(name: &str) -> Option<Preset> {
    let preset = match name {
        "nano" => Preset {
            model: nano_model(),
            train: TrainParams { windows_per_sample: 2, ..train() },
            chunk: 1024,
        },
        "tiny" => Preset {
            model: tiny_model(),
            // Half of the reference recipe's rate: with two samples in flight the full rate costs 12 % of
            // the loss, half of it next to nothing (docs/results/gaps-lr-1500.md, one seed).
            train: TrainParams { lr_ppm: 1_500, ..train() },
            chunk: 1024,
        },
        "1.5b" => large(2048, 16, 32, 8192, 32, 1024, 4),
        "15b" => large(5120, 50, 40, 13_824, 80, 2048, 2),
        // The published 45B shape with seven more layers.
        "50b" => large(7168, 73, 56, 25_088, 112, 4096, 1),
        "100b" => large(9216, 90, 72, 32_256, 144, 8192, 1),
        _ => return None,
    };
    Some(preset)
}

fn nano_model() -> ModelParams {
    ModelParams {
        d_model: 32,
        n_layers: 3,
        n_heads: 2,
        n_kv_heads: 1,
        d_ff: 64,
        vocab: 256,
        seq_len: 32,
        bottleneck: 8,
        rope_base: 10_000,
        zero_boundary: false,
    }
}

fn tiny_model() -> ModelParams {
    ModelParams {
        d_model: 128,
        n_layers: 6,
        n_heads: 4,
        n_kv_heads: 4,
        d_ff: 344,
        seq_len: 128,
        bottleneck: 16,
        ..nano_model()
    }
}

/// Local training as `bench/tiny.py` found it to work.
fn train() -> TrainParams {
    TrainParams {
        windows_per_sample: 4,
        samples_per_step: 1,
        in_flight: 2,
        lr_ppm: 3_000,
        beta1_ppm: 900_000,
        beta2_ppm: 950_000,
        weight_decay_ppm: 50_000,
        ramp_steps: 10,
        // A hundred times what the small presets see in a long run: their rate never falls.
        lr_decay_after_tokens: 1_000_000_000,
        keep_moments: false,
        wire: WireCodec::Int8,
        // Journals and receipts of one epoch stay within tens of MiB.
        max_samples: 4_096,
    }
}

/// A shape of the reference network: vocabulary of Llama 3, eight KV heads, `d / b` = 64.
fn large(
    d_model: u32,
    n_layers: u16,
    n_heads: u16,
    d_ff: u32,
    bottleneck: u32,
    seq_len: u32,
    windows: u16,
) -> Preset {
    let model = ModelParams {
        d_model,
        n_layers,
        n_heads,
        n_kv_heads: 8,
        d_ff,
        vocab: 128_256,
        seq_len,
        bottleneck,
        rope_base: 500_000,
        zero_boundary: false,
    };
    let train = TrainParams {
        windows_per_sample: windows,
        samples_per_step: 4,
        in_flight: 4,
        lr_ppm: 300,
        weight_decay_ppm: 100_000,
        ramp_steps: 10,
        lr_decay_after_tokens: 20_000_000_000,
        ..train()
    };
    // 64 Ki values: a leaf of the entry's tree is about as large as a chunk of a state.
    Preset { model, train, chunk: 65_536 }
}

fn merge(chunk: u32) -> MergeParams {
    MergeParams {
        chunk,
        // Scales 2^-24 to 2^-5: weights move by 1e-6 to 4 in an epoch of up to some hundred steps.
        exponent_min: -24,
        outer_lr_ppm: 700_000,
        momentum_start_ppm: 500_000,
        momentum_end_ppm: 900_000,
        momentum_ramp: 20,
    }
}

/// Window lengths for blocks of a few seconds: each is longer than latency and margin, and `train`
/// holds both score windows.
fn phases() -> PhaseParams {
    PhaseParams {
        train: 48,
        commit: 7,
        attest: 9,
        blind: 5,
        open: 5,
        root: 7,
        score_commit: 28,
        score_reveal: 18,
        margin: 1,
        max_extensions: 3,
    }
}

type Stages = BoundedVec<StageParams, bounded_collections::ConstU32<MAX_STAGES>>;

/// Cuts a model into stages.
fn cut(preset: &str, model: &ModelParams, stages: u16, chunk: u32) -> Result<Stages, PresetError> {
    let refuse = || PresetError::Stages { preset: preset.to_owned(), layers: model.n_layers, stages };
    if stages == 0 || u32::from(stages) > most(model.n_layers) {
        return Err(refuse());
    }
    let mut first_layer = 0;
    let mut cuts = Vec::new();
    for (stage, layers) in (0..).zip(split_layers(model.n_layers, stages)) {
        cuts.push(Cut { stage, stages, first_layer, layers });
        first_layer += layers;
    }
    let shares = shares(&cuts.iter().map(|cut| flops_per_token(model, *cut)).collect::<Vec<_>>());
    let params = cuts.iter().zip(shares).map(|(cut, share_ppm)| StageParams {
        first_layer: cut.first_layer,
        layers: cut.layers,
        parameters: StageLayout::of_cut(model, *cut, chunk as usize).len() as u64,
        share_ppm,
    });
    params.collect::<Vec<_>>().try_into().map_err(|_| refuse())
}

/// Layers of each stage.
fn split_layers(layers: u16, stages: u16) -> Vec<u16> {
    let mut split = vec![layers / stages; usize::from(stages)];
    let extra = usize::from(layers % stages);
    let last = split.len() - 1;
    let order = (1..last).chain([0]).chain((last > 0).then_some(last));
    order.take(extra).for_each(|stage| split[stage] += 1);
    split
}

/// Multiply-adds of a forward pass per token; attention counted at the mean causal context.
fn flops_per_token(model: &ModelParams, cut: Cut) -> u64 {
    let [d, b, d_ff] = [model.d_model, model.bottleneck, model.d_ff].map(u64::from);
    let heads = u64::from(model.n_heads) + 2 * u64::from(model.n_kv_heads);
    let projections = d * heads * u64::from(model.head_dim()) + d * d + 3 * d * d_ff;
    let attention = d * u64::from(model.seq_len);
    let boundary = if model.has_bottleneck() { d * b } else { 0 };
    let inner_ends = u64::from(cut.stage > 0) + u64::from(cut.stage + 1 < cut.stages);
    let head = if cut.stage + 1 == cut.stages { d * u64::from(model.vocab) } else { 0 };
    u64::from(cut.layers) * (projections + attention) + inner_ends * boundary + head
}

/// Shares in millionths that sum to one: rounded down, the rest to the largest remainders, ties to
/// the lower stage.
fn shares(weights: &[u64]) -> Vec<u32> {
    let total = weights.iter().map(|w| u128::from(*w)).sum::<u128>().max(1);
    let scaled = |weight: &u64| u128::from(*weight) * u128::from(PPM);
    let mut shares: Vec<u32> = weights
        .iter()
        .map(|w| u32::try_from(scaled(w) / total).expect("a share is at most a million; qed"))
        .collect();
    let missing = PPM.saturating_sub(shares.iter().sum());
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|stage| std::cmp::Reverse(scaled(&weights[*stage]) % total));
    order.into_iter().take(missing as usize).for_each(|stage| shares[stage] += 1);
    shares
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use iota_protocol::ids::{Hash, Stage};

    pub(crate) fn preset(name: &str, stages: u16) -> RunParams {
        let data = DataParams { manifest_root: Hash([1; 32]), train_windows: 1_000, heldout_windows: 10 };
        run_params(name, stages, 42, 3, 1, data).unwrap()
    }

    pub(crate) fn nano(stages: u16) -> RunParams {
        preset("nano", stages)
    }

    #[test]
    fn every_preset_is_valid_in_any_cut() {
        for name in PRESETS {
            let layers = preset(name, 1).model.n_layers;
            for stages in 1..=u16::try_from(most(layers)).unwrap() {
                let run = preset(name, stages);
                run.validate().unwrap();
                for stage in 0..stages {
                    let layout = StageLayout::new(&run, Stage(stage)).unwrap();
                    assert_eq!(
                        layout.len() as u64,
                        run.stage(Stage(stage)).unwrap().parameters,
                        "{name} {stage}"
                    );
                }
            }
        }
    }

    #[test]
    fn sizes_are_the_published_ones() {
        // Totals of reference/iota.md b.1 without bottlenecks, which one stage has none of.
        assert_eq!(preset("1.5b", 1).total_parameters(), 1_498_482_688);
        assert_eq!(preset("15b", 1).total_parameters(), 15_076_418_560);
        assert_eq!(preset("100b", 1).total_parameters(), 99_615_863_808);
        let fifty = preset("50b", 1).total_parameters();
        assert!((49_000_000_000..51_000_000_000).contains(&fifty), "{fifty}");
        let tiny = preset("tiny", 3).total_parameters();
        assert!((1_100_000..1_300_000).contains(&tiny), "{tiny}");
    }

    #[test]
    fn extra_layers_go_to_the_middle_and_the_left() {
        assert_eq!(split_layers(6, 3), [2, 2, 2]);
        assert_eq!(split_layers(6, 4), [1, 2, 2, 1]);
        assert_eq!(split_layers(5, 2), [3, 2]);
        assert_eq!(split_layers(11, 4), [3, 3, 3, 2]);
        assert_eq!(split_layers(3, 1), [3]);
    }

    #[test]
    fn shares_follow_work_and_sum_to_one() {
        assert_eq!(shares(&[1, 1, 1]), [333_334, 333_333, 333_333]);
        assert_eq!(shares(&[1, 3]), [250_000, 750_000]);
        let tiny = preset("tiny", 3);
        let shares: Vec<u32> = tiny.stages.iter().map(|stage| stage.share_ppm).collect();
        assert!(shares[2] > shares[0] && shares[1] > shares[0], "{shares:?}");
    }

    #[test]
    fn refusals_say_what_to_do() {
        let data = preset("nano", 1).data;
        let unknown = run_params("huge", 1, 0, 1, 1, data.clone()).unwrap_err().to_string();
        assert!(
            unknown.contains("huge") && unknown.contains("tiny") && unknown.contains("100b"),
            "{unknown}"
        );
        for stages in [0, 4] {
            let error = run_params("nano", stages, 0, 1, 1, data.clone()).unwrap_err().to_string();
            assert!(error.contains("3 layers") && error.contains("use 1 to 3"), "{error}");
        }
    }
}
