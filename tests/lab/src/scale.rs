//! Cost of the pure functions with 10 to 10,000 miners, and what an epoch puts on chain.

mod groups;

use std::time::Instant;

use codec::Encode;
use iota_protocol::assignment::assign;
use iota_protocol::clasp::{self, Config, MinerEffect, Observation};
use iota_protocol::consensus::{solve, Miner, Row as ScoreRow};
use iota_protocol::ids::{Hash, Incarnation, Sample, Stage, Uid};
use iota_protocol::pathway::{preference, DEFAULT_WEIGHT};
use iota_protocol::shard::Shards;
use iota_protocol::work::{Bitmap, ScoreEntry, WorkCommit};

use crate::bench::observations;
use crate::outcome::{Outcome, Scale, Table};
use crate::world::Setup;

/// Replicas of a stage, the size that poisoned merging asks for and that a group of 64 holds.
const REPLICAS: u16 = 16;
/// Samples per miner and epoch.
const SAMPLES: u32 = 50;
/// Validators.
const VALIDATORS: u16 = 16;
/// Above so many miners CLASP is not run: its square of miners alone would take 800 MB at 10,000.
const CLASP_MOST: u32 = 1_000;

fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    drop(std::hint::black_box(result));
    seconds
}

struct Cost {
    assignment: f64,
    churn: f64,
    pathways: f64,
    consensus: f64,
    clasp: Option<f64>,
    by_stage: f64,
    bytes: u64,
    extrinsics: u64,
}

fn stages_of(miners: u32) -> u16 {
    (miners / u32::from(REPLICAS)).clamp(2, 64) as u16
}

fn cost(miners: u32) -> Cost {
    let stages = stages_of(miners);
    let params = Setup { stages, replicas: REPLICAS, ..Setup::small(0, 1) }.params();
    let uids: Vec<Uid> = (0..miners).map(|uid| Uid(uid as u16)).collect();
    let of = |uid: &Uid| Stage(uid.0 % stages);
    let current: Vec<(Uid, Stage)> = uids.iter().map(|uid| (*uid, of(uid))).collect();
    let (leavers, newcomers) = (uids.len() / 10, uids.len() / 10);
    let members: Vec<Vec<(Uid, u32)>> = (0..stages)
        .map(|stage| uids.iter().filter(|uid| of(uid).0 == stage).map(|uid| (*uid, DEFAULT_WEIGHT)).collect())
        .collect();
    let started = miners / u32::from(stages) * SAMPLES;
    let pathways = timed(|| {
        (0..started).fold(0usize, |sum, sample| {
            let one = |(stage, weights): (u16, &Vec<(Uid, u32)>)| {
                preference(&Hash::ZERO, Sample(sample), Stage(stage), weights).len()
            };
            sum + (0..stages).zip(&members).skip(1).map(one).sum::<usize>()
        })
    });
    let (groups, seen) = observations(stages, (miners / u32::from(stages)) as u16, started);
    Cost {
        assignment: timed(|| assign(&params, &Hash::ZERO, &[], &uids)),
        churn: timed(|| assign(&params, &Hash::ZERO, &current[leavers..], &uids[..newcomers])),
        pathways,
        consensus: consensus(stages, &uids, &of),
        clasp: (miners <= CLASP_MOST).then(|| timed(|| clasp::estimate(&groups, &seen, &Config::default()))),
        by_stage: timed(|| by_stage(&groups, &seen)),
        bytes: chain_bytes(&members),
        extrinsics: u64::from(miners) * 5 + u64::from(VALIDATORS) * 2,
    }
}

/// CLASP with a regression for each stage by itself. First preferences are drawn independently, so that what other
/// stages do to a loss is noise here: nothing is biased, and it takes more samples.
#[must_use]
pub fn by_stage(stages: &[Vec<Uid>], seen: &[Observation]) -> Vec<MinerEffect> {
    let one = |(place, members): (usize, &Vec<Uid>)| {
        let own: Vec<Observation> = seen
            .iter()
            .filter_map(|seen| {
                Some(Observation { preference: vec![*seen.preference.get(place)?], ..seen.clone() })
            })
            .collect();
        let stage = Stage(u16::try_from(place).unwrap_or(u16::MAX));
        let found = clasp::estimate(std::slice::from_ref(members), &own, &Config::default());
        found.into_iter().map(move |effect| MinerEffect { stage, ..effect })
    };
    stages.iter().enumerate().flat_map(one).collect()
}

fn consensus(stages: u16, uids: &[Uid], of: &impl Fn(&Uid) -> Stage) -> f64 {
    let incarnation = |uid: &Uid| Incarnation(u32::from(uid.0));
    let miners: Vec<Miner> =
        uids.iter().map(|uid| Miner { uid: *uid, incarnation: incarnation(uid), stage: of(uid) }).collect();
    let entries: Vec<ScoreEntry> = uids
        .iter()
        .map(|uid| ScoreEntry { uid: *uid, incarnation: incarnation(uid), score: uid.0.wrapping_mul(7_919) })
        .collect();
    let rows: Vec<ScoreRow<'_>> = (0..VALIDATORS)
        .map(|index| ScoreRow { uid: Uid(index), stake: 1_000 + u128::from(index), entries: &entries })
        .collect();
    timed(|| solve(stages, &miners, &rows))
}

/// Arguments that an epoch's calls carry: commit, attest, blind, open and root of every miner, commit
/// and reveal of every validator. Stages above 64 merge in groups of 64.
fn chain_bytes(members: &[Vec<(Uid, u32)>]) -> u64 {
    let commit = WorkCommit {
        entry_root: Hash::ZERO,
        log_root: Hash::ZERO,
        receipts_root: Hash::ZERO,
        samples: 0,
        started: 0,
    };
    let fixed = commit.encoded_size() + Bitmap::default().encoded_size() + Hash::ZERO.encoded_size() * 2;
    let mut bytes = 0u64;
    let mut miners = 0u64;
    for stage in members {
        for group in stage.chunks(64) {
            let shards = Shards::new(&Hash::ZERO, Stage(0), group.len(), 4_096);
            // Shard number, whether there is a hash, and the hash; a salt of 32.
            let opened = shards.map_or(0, |shards| shards.owned_by(0).len()) * (2 + 1 + 32) + 32;
            bytes += group.len() as u64 * (fixed + opened) as u64;
            miners += group.len() as u64;
        }
    }
    // A score is uid, incarnation and u16; a row has salt, root and the commit's hash besides.
    bytes + u64::from(VALIDATORS) * (miners * 8 + 32 * 3)
}

/// The row.
///
/// # Errors
/// Never; rows share a signature.
pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
    let mut out = Outcome::default();
    out.note(format!(
        "Stages of {REPLICAS} replicas, 2 to 64 of them (so that 10,000 miners make 64 stages of 156), {SAMPLES} \
         samples per miner and epoch, {VALIDATORS} validators with full rows. Seconds on one thread of a busy \
         machine. Today's bounds are 256 members and 64 replicas: what lies above shows the rules alone. Of \
         10,000 miners the assignment places 4,096, which is all that 64 stages of 64 hold. Pathways are the \
         work of a validator, that of one miner is its own samples. Churn is one miner in ten leaving and \
         joining. CLASP of 10,000 miners at once would hold the square of them, 800 MB, and take their cube, some thousand times \
         as long as 1,000; by stage is the same estimate with a regression for each stage alone, which no validator \
         runs today."
    ));
    let columns = [
        "miners",
        "stages",
        "assignment (s)",
        "with 10 % churn (s)",
        "pathways (s)",
        "consensus (s)",
        "CLASP (s)",
        "by stage (s)",
        "chain bytes per epoch",
        "extrinsics per epoch",
    ];
    let mut table = Table::new("Cost of an epoch", &columns);
    let sizes: &[u32] = scale.pick(&[10, 100], &[10, 100, 1_000, 10_000]);
    let mut costs = Vec::new();
    for miners in sizes {
        let cost = cost(*miners);
        table.push([
            miners.to_string(),
            stages_of(*miners).to_string(),
            format!("{:.5}", cost.assignment),
            format!("{:.5}", cost.churn),
            format!("{:.4}", cost.pathways),
            format!("{:.5}", cost.consensus),
            cost.clasp.map_or("not run".into(), |seconds| format!("{seconds:.3}")),
            format!("{:.3}", cost.by_stage),
            cost.bytes.to_string(),
            cost.extrinsics.to_string(),
        ]);
        costs.push((*miners, cost));
    }
    out.tables.push(table);
    growth(&costs, &mut out);
    power(scale, &mut out);
    groups::table(scale, &mut out);
    Ok(out)
}

/// Exponents between neighbouring sizes: 1 is linear.
fn growth(costs: &[(u32, Cost)], out: &mut Outcome) {
    let columns =
        ["from", "to", "assignment", "pathways", "consensus", "CLASP", "CLASP by stage", "chain bytes"];
    let mut table =
        Table::new("How fast it grows: exponent of miners between two sizes (1 is linear)", &columns);
    for pair in costs.windows(2) {
        let [(less, small), (more, large)] = pair else { continue };
        let by = (f64::from(*more) / f64::from(*less)).ln();
        let exponent = |before: f64, after: f64| format!("{:.2}", (after / before).ln() / by);
        let clasp =
            small.clasp.zip(large.clasp).map_or("-".into(), |(before, after)| exponent(before, after));
        table.push([
            less.to_string(),
            more.to_string(),
            exponent(small.assignment, large.assignment),
            exponent(small.pathways, large.pathways),
            exponent(small.consensus, large.consensus),
            clasp,
            exponent(small.by_stage, large.by_stage),
            exponent(small.bytes as f64, large.bytes as f64),
        ]);
    }
    out.tables.push(table);
    out.note(
        "Faster than linear: CLASP (the cube of miners once they outnumber samples per miner and stage, which \
         takes a regression by stage in place of one for all), pathways (samples grow with miners, and each \
         sample ranks every miner of every stage), and assignment (it looks at every stage for every \
         newcomer). Opened hashes grow with the square of a stage's replicas up to 64.",
    );
}

/// What leaving the other stages to noise costs: bad miners of the bench's pathways that each form finds.
fn power(scale: Scale, out: &mut Outcome) {
    let columns = [
        "stages x replicas",
        "pathways",
        "whole: bad found",
        "by stage: bad found",
        "honest flagged, by stage",
    ];
    let mut table = Table::new("CLASP by stage against CLASP: one miner in 25 adds 0.05 nats", &columns);
    for samples in scale.pick(&[4_000][..], &[2_000, 4_000, 8_000, 16_000]) {
        let (members, seen) = observations(8, 25, *samples);
        let bad = |effect: &&MinerEffect| effect.uid.0 % 25 == 3;
        let flagged = |effects: &[MinerEffect]| -> (usize, usize) {
            let harm = || effects.iter().filter(|own| own.significant && own.effect > 0.0);
            (harm().filter(bad).count(), harm().filter(|own| !bad(own)).count())
        };
        let whole = flagged(&clasp::estimate(&members, &seen, &Config::default()));
        let alone = flagged(&by_stage(&members, &seen));
        table.push([
            "8 x 25".into(),
            samples.to_string(),
            format!("{} of 8", whole.0),
            format!("{} of 8", alone.0),
            format!("{} of 192", alone.1),
        ]);
    }
    out.tables.push(table);
}
