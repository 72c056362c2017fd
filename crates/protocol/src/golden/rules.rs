//! Every rule on fixed inputs, for implementations in other languages and for the next compiler.

use serde_json::json;

use super::{check_vectors, Vectors};
use crate::assignment::assign;
use crate::clasp::{estimate, Config, Observation};
use crate::fixed::{mul_div, neg_log2_q32};
use crate::ids::{Epoch, Hash, Incarnation, RunId, Sample, Stage, Uid};
use crate::merge::{merge_shard, shard_hash, EntryShard};
use crate::merkle::{leaf, prove_range, root};
use crate::pathway::{next_weights, preference};
use crate::position::{sample_windows, window};
use crate::sample_params::params_with_shares;
use crate::score::{row, Scored};
use crate::seed::{audit_choice, derive, run_seed, Draw};
use crate::shard::Shards;

const SEED: Hash = Hash([0x5e; 32]);

fn uids(uids: &[Uid]) -> Vec<u16> {
    uids.iter().map(|uid| uid.0).collect()
}

fn add(vectors: &mut Vectors, name: &str, value: serde_json::Value) {
    assert_eq!(vectors.insert(name.into(), value), None, "{name} twice");
}

#[test]
fn seeds_and_positions() {
    let mut vectors = Vectors::new();
    let params = params_with_shares(&[500_000, 500_000]);
    let mut draw = Draw::new(&SEED, b"golden");
    add(&mut vectors, "derive", json!(derive(&SEED, b"golden", 7)));
    add(&mut vectors, "run_seed", json!(run_seed(&params)));
    add(
        &mut vectors,
        "draw",
        json!([draw.next_u64(), draw.next_u64(), draw.below(1_000), draw.below(7)]
            .map(|drawn| drawn.to_string())),
    );
    let mut items: Vec<u8> = (0..10).collect();
    draw.shuffle(&mut items);
    add(&mut vectors, "shuffle", json!(items));
    add(&mut vectors, "audit_choice", json!(audit_choice(&SEED, &[1; 32], 1_000)));
    let windows: Vec<u64> = (0..12).map(|index| window(&SEED, 10, index)).collect();
    add(&mut vectors, "window_of_10", json!(windows));
    add(&mut vectors, "window_of_1e9", json!(window(&SEED, 1_000_000_000, 123_456_789)));
    add(&mut vectors, "sample_windows", json!(sample_windows(&params, 100, Sample(7))));
    check_vectors("seed.json", &vectors);
}

#[test]
fn arithmetic_and_trees() {
    let mut vectors = Vectors::new();
    let logs: Vec<u64> = [1, 3, 1_000, 1 << 40, u64::MAX].map(neg_log2_q32).to_vec();
    add(&mut vectors, "neg_log2_q32", json!(logs));
    add(&mut vectors, "mul_div", json!(mul_div(u128::MAX / 3, 1 << 90, (1 << 91) + 1).unwrap().to_string()));
    let leaves: Vec<Hash> = (0..7u8).map(|index| leaf(&[index])).collect();
    add(&mut vectors, "merkle_root", json!(root(&leaves)));
    add(&mut vectors, "merkle_proof_2_3", json!(prove_range(&leaves, 2, 3).unwrap().nodes));
    check_vectors("fixed.json", &vectors);
}

#[test]
fn pathways_shards_and_assignment() {
    let mut vectors = Vectors::new();
    let miners = [(Uid(1), 1_000), (Uid(2), 500), (Uid(5), 0), (Uid(9), 4_000)];
    let orders: Vec<Vec<u16>> =
        (0..6).map(|sample| uids(&preference(&SEED, Sample(sample), Stage(1), &miners))).collect();
    add(&mut vectors, "preference", json!(orders));
    let members =
        [(Uid(1), 1_000, Some(1_100)), (Uid(2), 800, Some(10)), (Uid(3), 0, None), (Uid(4), 9, None)];
    add(&mut vectors, "next_weights", json!(next_weights(&members)));
    let shards = Shards::new(&SEED, Stage(1), 4, 20).unwrap();
    let table: Vec<_> =
        (0..shards.count()).map(|shard| (shards.owners(shard).unwrap(), shards.chunks(shard))).collect();
    add(&mut vectors, "shards", json!(table));
    let params = params_with_shares(&[300_000, 300_000, 400_000]);
    let newcomers: Vec<Uid> = (0..8).map(Uid).collect();
    let first = assign(&params, &SEED, &[], &newcomers);
    add(&mut vectors, "assign_first", json!(first));
    let later: Vec<Uid> = (20..25).map(Uid).collect();
    add(&mut vectors, "assign_later", json!(assign(&params, &SEED, &first[2..], &later)));
    check_vectors("membership.json", &vectors);
}

#[test]
fn merges() {
    let mut vectors = Vectors::new();
    let params = params_with_shares(&[1_000_000]).merge;
    let mut draw = Draw::new(&SEED, b"entries");
    let mut entry = || -> Vec<u8> {
        let steps: Vec<u8> = (0..32).map(|_| u8::try_from(draw.below(20)).unwrap()).collect();
        let code = |drawn: u64| i8::try_from(i64::try_from(drawn).unwrap() - 127).unwrap().cast_unsigned();
        let codes: Vec<u8> = (0..1_024).map(|_| code(draw.below(255))).collect();
        [steps, codes].concat()
    };
    let entries: Vec<Vec<u8>> = (0..5).map(|_| entry()).collect();
    for count in 1..=5 {
        let shards: Vec<EntryShard<'_>> = (1u32..)
            .zip(&entries[..count])
            .map(|(samples, bytes)| EntryShard { samples: samples * 10, bytes })
            .collect();
        let merged = merge_shard(&params, &shards).unwrap();
        let hash = shard_hash(RunId(1), Epoch(2), Stage(3), 4, &merged);
        add(
            &mut vectors,
            &format!("merged_of_{count}"),
            json!({ "bytes": hex::encode(&merged), "hash": hash }),
        );
    }
    add(&mut vectors, "entries", json!(entries.iter().map(hex::encode).collect::<Vec<_>>()));
    check_vectors("merge.json", &vectors);
}

#[test]
fn scores_and_contributions() {
    let mut vectors = Vectors::new();
    let scored = |uid: u16, samples, factor_ppm| Scored {
        uid: Uid(uid),
        incarnation: Incarnation(1),
        stage: Stage(uid / 3),
        samples,
        factor_ppm,
    };
    let entries =
        row(&[scored(0, 100, 1_000_000), scored(1, 77, 1_150_000), scored(2, 90, 0), scored(4, 1, 1)]);
    add(&mut vectors, "row", json!(entries));
    let stages: Vec<Vec<Uid>> =
        (0..3).map(|stage| (0..4).map(|own| Uid(stage * 4 + own)).collect()).collect();
    let mut draw = Draw::new(&SEED, b"clasp");
    let observations: Vec<Observation> = (0..600).map(|sample| observe(sample, &stages, &mut draw)).collect();
    for effect in estimate(&stages, &observations, &Config::default()) {
        let value = json!({
            "samples": effect.samples,
            "effect_bits": format!("{:016x}", effect.effect.to_bits()),
            "error_bits": format!("{:016x}", effect.error.to_bits()),
            "significant": effect.significant,
            "factor_ppm": effect.factor_ppm,
        });
        add(&mut vectors, &format!("clasp/{}", effect.uid), value);
    }
    check_vectors("clasp.json", &vectors);
}

/// Miner 5 costs 0.06 nats; everything is drawn in integers, so that any language can repeat it.
fn observe(sample: u32, stages: &[Vec<Uid>], draw: &mut Draw) -> Observation {
    let preference: Vec<Uid> = stages.iter().map(|own| own[draw.index(own.len()).unwrap()]).collect();
    let difficulty_micro = u32::try_from(draw.below(500_000)).unwrap();
    let harm = if preference[1] == Uid(5) { 60_000 } else { 0 };
    Observation {
        sample: Sample(sample),
        reporter: preference[2],
        preference,
        loss_micro: 2_000_000 + harm + difficulty_micro + u32::try_from(draw.below(200_000)).unwrap(),
        difficulty: f64::from(difficulty_micro) / 1e6,
        time_bin: u16::try_from(sample / 100).unwrap(),
    }
}
