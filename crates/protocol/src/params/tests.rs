//! Every relation of `validate()` refuses the parameters that break it, and names the field.

use super::*;
use crate::sample_params::params_with_shares;

fn check(field: &str, change: impl Fn(&mut RunParams)) {
    let mut params = params_with_shares(&[500_000, 500_000]);
    change(&mut params);
    assert_eq!(params.validate().map_err(|error| error.field), Err(field), "{params:?}");
}

#[test]
fn a_broken_model_is_refused() {
    check("model.d_model", |params| params.model.d_model = 0);
    check("model.n_layers", |params| params.model.n_layers = 0);
    check("model.n_heads", |params| params.model.n_heads = 0);
    check("model.n_heads", |params| params.model.n_heads = 3);
    check("model.n_heads", |params| params.model.n_heads = 128);
    check("model.n_kv_heads", |params| params.model.n_kv_heads = 3);
    check("model.d_ff", |params| params.model.d_ff = u32::MAX);
    check("model.vocab", |params| params.model.vocab = 1);
    check("model.seq_len", |params| params.model.seq_len = 0);
    check("model.bottleneck", |params| params.model.bottleneck = 129);
}

#[test]
fn broken_stages_are_refused() {
    check("stages", |params| params.stages = BoundedVec::default());
    check("stages.first_layer", |params| params.stages[1].first_layer = 2);
    check("stages.layers", |params| params.stages[1].layers = 0);
    check("stages.layers", |params| params.stages[1].layers = 2);
    check("stages.parameters", |params| params.stages[0].parameters = 0);
    check("stages.share_ppm", |params| params.stages[0].share_ppm += 1);
}

#[test]
fn the_tier_follows_from_channels_and_codec() {
    let mut params = params_with_shares(&[500_000, 500_000]);
    assert_eq!((params.tier(), params.token_bytes_per_message()), (BoundaryTier::Bottleneck, 0));
    params.train.wire = WireCodec::SubspaceInt4;
    // 4 windows of 128 tokens, one byte each.
    assert_eq!((params.tier(), params.token_bytes_per_message()), (BoundaryTier::Subspace, 512));
    assert_eq!(params.validate(), Ok(()));
    params.model.bottleneck = 128;
    assert_eq!(params.validate().map_err(|error| error.field), Err("train.wire"));
    params.train.wire = WireCodec::Int4;
    assert_eq!(params.tier(), BoundaryTier::Codes);
}

#[test]
fn a_codec_of_the_subspace_codes_values_as_its_namesake() {
    use WireCodec::{Bf16, Int4, Int8, SubspaceBf16, SubspaceF32, SubspaceInt4, SubspaceInt8, F32};
    let pairs = [(F32, SubspaceF32), (Bf16, SubspaceBf16), (Int8, SubspaceInt8), (Int4, SubspaceInt4)];
    for (plain, subspace) in pairs {
        assert_eq!((plain.values(), subspace.values()), (plain, plain));
        assert!(subspace.is_subspace() && !plain.is_subspace());
    }
    // Numbers on chain: new forms come after the old ones.
    assert_eq!([F32, Int4, SubspaceF32, SubspaceInt4].map(|c| codec::Encode::encode(&c)[0]), [0, 3, 4, 7]);
}

#[test]
fn broken_training_and_merging_are_refused() {
    check("train.windows_per_sample", |params| params.train.windows_per_sample = 0);
    check("train.samples_per_step", |params| params.train.samples_per_step = 0);
    check("train.in_flight", |params| params.train.in_flight = 65);
    check("train.lr_ppm", |params| params.train.lr_ppm = 0);
    check("train.beta1_ppm", |params| params.train.beta1_ppm = PPM);
    check("train.beta2_ppm", |params| params.train.beta2_ppm = PPM);
    check("train.max_samples", |params| params.train.max_samples = 0);
    check("merge.chunk", |params| params.merge.chunk = 33);
    check("merge.chunk", |params| params.merge.chunk = 0);
    check("merge.exponent_min", |params| params.merge.exponent_min = 1);
    check("merge.momentum_start_ppm", |params| params.merge.momentum_start_ppm = PPM);
    check("merge.momentum_end_ppm", |params| params.merge.momentum_end_ppm = PPM);
    check("merge.outer_lr_ppm", |params| params.merge.outer_lr_ppm = 0);
}

#[test]
fn windows_shorter_than_the_chain_is_slow_are_refused() {
    // Latency 3 and margin 1: 5 is the shortest window, 8 for attest, which waits for the seed.
    check("phases.commit", |params| params.phases.commit = 4);
    check("phases.attest", |params| params.phases.attest = 7);
    check("phases.blind", |params| params.phases.blind = u32::MAX);
    check("phases.score_reveal", |params| params.phases.train = 45);
    check("phases.train", |params| params.phases.train = 0);
}

#[test]
fn runs_of_nothing_are_refused() {
    check("data.train_windows", |params| params.data.train_windows = 0);
    check("data.heldout_windows", |params| params.data.heldout_windows = 0);
    check("start_replicas", |params| params.start_replicas = 0);
    check("epochs", |params| params.epochs = 0);
}

#[test]
fn a_run_that_could_never_start_is_refused() {
    check("start_replicas", |params| params.start_replicas = 65);
    let starting = |stages: usize, replicas| {
        let mut params = params_with_shares(&vec![1_000_000 / u32::try_from(stages).unwrap(); stages]);
        params.start_replicas = replicas;
        params.validate().map_err(|error| error.expected)
    };
    assert_eq!(starting(4, 64), Ok(()));
    assert_eq!(starting(5, 51), Ok(()));
    assert_eq!(starting(5, 52), Err("at most 256 miners over all stages"));
}

#[test]
fn derived_sizes() {
    let params = params_with_shares(&[500_000, 500_000]);
    assert_eq!((params.n_stages(), params.last_stage()), (2, Stage(1)));
    assert_eq!(params.tokens_per_sample(), 512);
    assert_eq!(params.values_per_message(), 8_192);
    assert_eq!(params.total_parameters(), 800_000);
    assert!(!params.is_settling(Epoch(4)) && params.is_settling(Epoch(5)));
}

#[test]
fn a_run_may_change_its_pace_and_not_its_model() {
    let params = params_with_shares(&[500_000, 500_000]);
    let refused = |change: &dyn Fn(&mut RunParams)| {
        let mut next = params.clone();
        change(&mut next);
        params.may_become(&next).map_err(|error| error.field)
    };
    assert_eq!(refused(&|_| ()), Ok(()));
    assert_eq!(refused(&|next| next.train.lr_ppm = 7), Ok(()));
    assert_eq!(refused(&|next| next.epochs = 900), Ok(()));
    assert_eq!(refused(&|next| next.phases.train += 5), Ok(()));
    assert_eq!(refused(&|next| next.phases.train = 0), Err("phases.train"), "it must hold together too");
    assert_eq!(refused(&|next| next.seed += 1), Err("seed"));
    assert_eq!(refused(&|next| next.preset = b"other".to_vec().try_into().unwrap()), Err("preset"));
    assert_eq!(refused(&|next| next.model.rope_base += 1), Err("model"));
    assert_eq!(refused(&|next| next.stages[0].parameters += 1), Err("stages"));
    assert_eq!(refused(&|next| next.data.train_windows += 1), Err("data"));
    assert_eq!(refused(&|next| next.start_replicas += 1), Err("start_replicas"));
    assert_eq!(refused(&|next| next.train.wire = WireCodec::F32), Err("train.wire"));
    assert_eq!(refused(&|next| next.train.keep_moments ^= true), Err("train.keep_moments"));
    assert_eq!(refused(&|next| next.train.windows_per_sample += 1), Err("train.windows_per_sample"));
    assert_eq!(refused(&|next| next.merge.chunk += 32), Err("merge.chunk"));
    assert_eq!(refused(&|next| next.merge.exponent_min -= 1), Err("merge.exponent_min"));
}
