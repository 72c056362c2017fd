//! Parameters for tests of rules that need some.

use alloc::vec::Vec;

use crate::ids::Hash;
use crate::params::{
    DataParams, MergeParams, ModelParams, PhaseParams, RunParams, StageParams, TrainParams, WireCodec,
};

/// A valid tiny run but for the shares, whose number is the number of stages.
pub fn params_with_shares(shares: &[u32]) -> RunParams {
    let stage = |(first_layer, share_ppm): (u16, &u32)| StageParams {
        first_layer,
        layers: 1,
        parameters: 400_000,
        share_ppm: *share_ppm,
    };
    let stages: Vec<StageParams> = (0u16..).zip(shares).map(stage).collect();
    RunParams {
        preset: b"tiny".to_vec().try_into().unwrap(),
        seed: 1,
        model: model(u16::try_from(shares.len()).unwrap()),
        stages: stages.try_into().unwrap(),
        train: train(),
        merge: MergeParams {
            chunk: 1_024,
            exponent_min: -30,
            outer_lr_ppm: 700_000,
            momentum_start_ppm: 500_000,
            momentum_end_ppm: 900_000,
            momentum_ramp: 20,
        },
        phases: phases(),
        data: DataParams { manifest_root: Hash([3; 32]), train_windows: 1_000, heldout_windows: 10 },
        start_replicas: 3,
        epochs: 5,
    }
}

fn model(n_layers: u16) -> ModelParams {
    ModelParams {
        d_model: 128,
        n_layers,
        n_heads: 4,
        n_kv_heads: 2,
        d_ff: 344,
        vocab: 256,
        seq_len: 128,
        bottleneck: 16,
        rope_base: 10_000,
        zero_boundary: false,
    }
}

fn train() -> TrainParams {
    TrainParams {
        windows_per_sample: 4,
        samples_per_step: 1,
        in_flight: 4,
        lr_ppm: 3_000,
        beta1_ppm: 900_000,
        beta2_ppm: 950_000,
        weight_decay_ppm: 50_000,
        ramp_steps: 10,
        lr_decay_after_tokens: 10_000_000,
        keep_moments: false,
        wire: WireCodec::Int8,
        max_samples: 1_000,
    }
}

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

#[test]
fn the_sample_is_valid() {
    assert_eq!(params_with_shares(&[500_000, 500_000]).validate(), Ok(()));
}
