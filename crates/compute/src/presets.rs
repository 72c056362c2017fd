//! Model presets, and run parameters made from them.
//!
//! `tiny` trains on one CPU in minutes, `nano` in seconds (for tests); the large ones take their
//! shapes from the published configurations of the reference network (`reference/iota.md`, b.1).

use bounded_collections::BoundedVec;
use iota_protocol::ids::Stage;
use iota_protocol::params::{
    BoundaryTier, DataParams, MergeParams, ModelParams, ParamsError, PhaseParams, RunParams, StageParams,
    TrainParams, WireCodec, MAX_STAGES, PPM,
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
/// Layers are split so that the heaviest stage is as light as can be, the head counted with the last.
/// A stage's share of emission is its share of floating-point operations.
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
    let tier = if model.has_bottleneck() { BoundaryTier::Bottleneck } else { BoundaryTier::Codes };
    let stages = cut(preset, &model, tier, stages, chunk)?;
    let name = preset.as_bytes().to_vec().try_into().expect("names of presets are short; qed");
    let phases = phases();
    let merge = merge(chunk);
    let run =
        RunParams { preset: name, seed, model, stages, train, merge, phases, data, start_replicas, epochs };
    run.validate().map_err(|error| PresetError::Invalid { preset: preset.to_owned(), error })?;
    Ok(run)
}

/// Samples that a preset has in flight for each miner of its first stage.
pub(crate) fn in_flight(preset: &str) -> Option<u8> {
    find(preset).map(|preset| preset.train.in_flight)
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
            // Half of the reference recipe's rate: at the full one training through the bottleneck stands still
            // for hundreds of samples (docs/results/gaps-lr-3000.md; gaps.md has this one).
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
        // A token is a byte.
        vocab: 256,
        seq_len: 32,
        bottleneck: 8,
        // The usual base for short windows.
        rope_base: 10_000,
        // Only a control run carries zeros.
        zero_boundary: false,
    }
}

fn tiny_model() -> ModelParams {
    ModelParams {
        // The least width with which eight minutes on two cores give words.
        d_model: 128,
        // Two for each of three stages, so that no stage is its ends alone.
        n_layers: 6,
        // Of 32 channels each.
        n_heads: 4,
        // As many as query heads: at this size shared ones would save nothing.
        n_kv_heads: 4,
        // 8/3 of the width, to a multiple of eight: as many parameters as a block of two matrices.
        d_ff: 344,
        // A few lines of verse.
        seq_len: 128,
        // An eighth of the width; docs/results/compression.md has what narrower ones cost.
        bottleneck: 16,
        ..nano_model()
    }
}

/// Local training as `bench/tiny.py` found it to work.
fn train() -> TrainParams {
    TrainParams {
        // Of 128 tokens each: a message then carries 8 KB of codes, and headers are two percent of it.
        windows_per_sample: 4,
        // At this size a step costs next to nothing; a large stage steps every fourth sample.
        samples_per_step: 1,
        // The second sample fills the way to the next stage and back; more of them train on older weights.
        in_flight: 2,
        lr_ppm: 3_000,
        // AdamW's own, as in the published recipe.
        beta1_ppm: 900_000,
        // As in the published recipe: an average over some twenty steps, since the moments begin anew in each epoch.
        beta2_ppm: 950_000,
        // Half of what the published recipe takes for a thousand times as many parameters.
        weight_decay_ppm: 50_000,
        // Moments begin at zero after a merge, and the first steps by them would be as long as any.
        ramp_steps: 10,
        // A hundred times what the small presets see in a long run: their rate never falls.
        lr_decay_after_tokens: 1_000_000_000,
        // Who joins has none, and all replicas of a stage begin an epoch alike.
        keep_moments: false,
        // A byte for each channel; what each codec costs in loss is in docs/results/compression.md.
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
        // Small models have one leaf for a KiB of codes; large ones one for 64 KiB, as large as a chunk of a state.
        chunk,
        // Scales 2^-24 to 2^-5: weights move by 1e-6 to 4 in an epoch of up to some hundred steps.
        exponent_min: -24,
        // DiLoCo's constants: rate 0.7 and momentum 0.9.
        outer_lr_ppm: 700_000,
        // A run of few merges would not outlive a momentum of 0.9 from its first on.
        momentum_start_ppm: 500_000,
        // DiLoCo's.
        momentum_end_ppm: 900_000,
        // As the reference network ramps.
        momentum_ramp: 20,
    }
}

/// Window lengths for blocks of a few seconds: each is longer than latency and margin, and `train`
/// holds both score windows.
fn phases() -> PhaseParams {
    PhaseParams {
        // Holds both score windows; on two cores nine miners train some 380,000 tokens of `tiny` in it.
        train: 48,
        // What is in flight finishes, and an entry is encoded and committed.
        commit: 7,
        // Its seed, then fetching and verifying all entries of a shard: the longest work of a merge.
        attest: 9,
        // Merging takes less than a block; a hash goes to the chain.
        blind: 5,
        // The opened hash goes to the chain.
        open: 5,
        // Merged shards are fetched, applied, and the root goes to the chain.
        root: 7,
        // Receipts are fetched and segments replayed before scores are committed.
        score_commit: 28,
        // Only a call has to get in, with time for a node that was away.
        score_reveal: 18,
        // A head is seen one block after it was built, and a call gets into the next.
        margin: 1,
        // Three times the window give a stage that lost all its miners time to get others.
        max_extensions: 3,
    }
}

type Stages = BoundedVec<StageParams, bounded_collections::ConstU32<MAX_STAGES>>;

/// Cuts a model into stages.
fn cut(
    preset: &str,
    model: &ModelParams,
    tier: BoundaryTier,
    stages: u16,
    chunk: u32,
) -> Result<Stages, PresetError> {
    let refuse = || PresetError::Stages { preset: preset.to_owned(), layers: model.n_layers, stages };
    if stages == 0 || u32::from(stages) > most(model.n_layers) {
        return Err(refuse());
    }
    let cuts = cuts(model, stages);
    let shares = shares(&cuts.iter().map(|cut| flops_per_token(model, *cut)).collect::<Vec<_>>());
    let params = cuts.iter().zip(shares).map(|(cut, share_ppm)| StageParams {
        first_layer: cut.first_layer,
        layers: cut.layers,
        parameters: StageLayout::of_cut(model, tier, *cut, chunk as usize).len() as u64,
        share_ppm,
    });
    params.collect::<Vec<_>>().try_into().map_err(|_| refuse())
}

/// The same run with another boundary: `bottleneck` channels (all of `d_model` for codes alone) in this
/// codec, which also names the tier. Sizes and shares of the stages follow.
///
/// # Errors
/// [`PresetError::Invalid`] if the two do not go together.
pub fn with_boundary(run: &RunParams, bottleneck: u32, wire: WireCodec) -> Result<RunParams, PresetError> {
    let mut run = run.clone();
    run.model.bottleneck = bottleneck;
    run.train.wire = wire;
    let name = String::from_utf8_lossy(&run.preset).into_owned();
    run.stages = cut(&name, &run.model, run.tier(), run.n_stages(), run.merge.chunk)?;
    run.validate().map_err(|error| PresetError::Invalid { preset: name, error })?;
    Ok(run)
}

/// The parts of a model in so many stages.
fn cuts(model: &ModelParams, stages: u16) -> Vec<Cut> {
    let mut first_layer = 0;
    let mut cuts = Vec::new();
    for (stage, layers) in (0..).zip(split_layers(model, stages)) {
        cuts.push(Cut { stage, stages, first_layer, layers });
        first_layer += layers;
    }
    cuts
}

/// Layers of each stage: one each, then one after another to the stage that has the least work, the
/// leftmost among equals. As every layer costs the same, no other split has a lighter heaviest stage.
fn split_layers(model: &ModelParams, stages: u16) -> Vec<u16> {
    let mut split = vec![1u16; usize::from(stages)];
    let work = |(stage, layers): (u16, &u16)| {
        flops_per_token(model, Cut { stage, stages, first_layer: 0, layers: *layers })
    };
    for _ in stages..model.n_layers {
        let least = (0u16..).zip(&split).min_by_key(|part| work(*part)).map_or(0, |(stage, _)| stage);
        split[usize::from(least)] += 1;
    }
    split
}

/// Multiply-adds of one stage's forward pass per token.
pub fn stage_flops(run: &RunParams, stage: Stage) -> u64 {
    let layers = run.stage(stage).map_or(0, |stage| stage.layers);
    let cut = Cut { stage: stage.0, stages: run.n_stages(), first_layer: 0, layers };
    flops_per_token(&run.model, cut)
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
    use iota_protocol::ids::Hash;

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
    fn layers_are_spread_by_work_with_the_head_counted() {
        let layers = |name: &str, stages: u16| -> Vec<u16> {
            preset(name, stages).stages.iter().map(|stage| stage.layers).collect()
        };
        assert_eq!(layers("tiny", 3), [2, 2, 2]);
        assert_eq!(layers("tiny", 4), [2, 2, 1, 1]);
        assert_eq!(layers("nano", 1), [3]);
        // The head of 1.5b is 263 million products, a layer 63: four layers less for the last stage.
        assert_eq!(layers("1.5b", 2), [10, 6]);
        assert_eq!(layers("15b", 5), [11, 11, 10, 10, 8]);
    }

    #[test]
    fn no_other_split_has_a_lighter_heaviest_stage() {
        let heaviest = |model: &ModelParams, split: &[u16]| {
            let stages = u16::try_from(split.len()).unwrap();
            let work = |(stage, layers): (u16, &u16)| {
                flops_per_token(model, Cut { stage, stages, first_layer: 0, layers: *layers })
            };
            (0..).zip(split).map(work).max().unwrap()
        };
        for name in ["tiny", "1.5b"] {
            let model = preset(name, 1).model;
            let n = model.n_layers;
            let ours = heaviest(&model, &split_layers(&model, 3));
            for first in 1..n - 1 {
                for second in 1..n - first {
                    assert!(ours <= heaviest(&model, &[first, second, n - first - second]), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_boundary_can_be_chosen_for_any_run() {
        let run = preset("tiny", 3);
        let sizes = |run: &RunParams| run.stages.iter().map(|stage| stage.parameters).collect::<Vec<_>>();
        let same = with_boundary(&run, run.model.bottleneck, run.train.wire).unwrap();
        assert_eq!(same, run);
        let wide = with_boundary(&run, 128, WireCodec::Int8).unwrap();
        assert_eq!((wide.tier(), run.tier()), (BoundaryTier::Codes, BoundaryTier::Bottleneck));
        // Encoders and decoders of two boundaries, 128 x 16 each.
        assert_eq!(run.total_parameters() - wide.total_parameters(), 4 * 128 * 16);
        let subspace = with_boundary(&run, 16, WireCodec::SubspaceInt8).unwrap();
        assert_eq!(subspace.tier(), BoundaryTier::Subspace);
        // Embedding, output and down projections have 16 instead of 128 channels of the stream.
        let narrower = 112 * (256 + 6 * (128 + 344));
        assert_eq!(wide.total_parameters() - subspace.total_parameters(), narrower);
        assert_eq!(sizes(&subspace).len(), 3);
        assert!(with_boundary(&run, 128, WireCodec::SubspaceInt8).is_err(), "nothing to leave out");
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
