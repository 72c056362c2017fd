//! The parameters of a run that benchmarks start from.

use alloc::vec::Vec;
use iota_protocol::{
    ids::Hash,
    params::{
        DataParams, MergeParams, ModelParams, PhaseParams, RunParams, StageParams, TrainParams, WireCodec,
        PPM,
    },
};

/// Parameters with so many stages; each has a chunk for every pair of 64 miners.
pub fn params(stages: u32) -> RunParams {
    let share = PPM / stages;
    let stage = |index: u32| StageParams {
        first_layer: index as u16,
        layers: 1,
        parameters: 64 * 2_016,
        share_ppm: if index == 0 { PPM - share * (stages - 1) } else { share },
    };
    let stages_of: Vec<_> = (0..stages).map(stage).collect();
    RunParams {
        preset: b"benchmark".to_vec().try_into().expect("it is short"),
        seed: 7,
        model: ModelParams {
            d_model: 16,
            n_layers: stages as u16,
            n_heads: 2,
            n_kv_heads: 1,
            d_ff: 32,
            vocab: 256,
            seq_len: 8,
            bottleneck: 4,
            rope_base: 10_000,
            zero_boundary: false,
        },
        stages: stages_of.try_into().expect("at most 64"),
        train: TrainParams {
            windows_per_sample: 2,
            samples_per_step: 4,
            in_flight: 2,
            lr_ppm: 1_000,
            beta1_ppm: 900_000,
            beta2_ppm: 950_000,
            weight_decay_ppm: 0,
            ramp_steps: 10,
            lr_decay_after_tokens: 1_000_000,
            keep_moments: false,
            wire: WireCodec::Int8,
            max_samples: 1_000,
        },
        merge: MergeParams {
            chunk: 64,
            exponent_min: -30,
            outer_lr_ppm: 700_000,
            momentum_start_ppm: 500_000,
            momentum_end_ppm: 900_000,
            momentum_ramp: 20,
        },
        // Epochs of half an hour, which the longest least length of a chain allows.
        phases: PhaseParams {
            train: 2_000,
            commit: 100,
            attest: 100,
            blind: 100,
            open: 100,
            root: 100,
            score_commit: 600,
            score_reveal: 600,
            margin: 1,
            max_extensions: 3,
        },
        data: DataParams { manifest_root: Hash([1; 32]), train_windows: 1_000, heldout_windows: 10 },
        start_replicas: 4,
        epochs: 1_000,
    }
}
