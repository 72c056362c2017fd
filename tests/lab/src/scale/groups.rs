//! Merge groups: what stages above 64 replicas would cost if the seed split them, which no rule does today.

use std::time::Instant;

use iota_protocol::ids::{Epoch, Hash, Stage};
use iota_protocol::seed::{derive, Draw};

use crate::noise::Noise;
use crate::outcome::{mean_and_error, percent, Outcome, Scale, Table};
use crate::toymerge::{encode, everyone, merge, Committer, Owner, Place, CHUNK};

/// Largest group: what a bitmap of the chain holds.
const MOST: usize = 64;
/// Values of a replica: a chunk for each pair of the largest group.
const VALUES: usize = 2_016 * CHUNK;
/// Merges with groups drawn anew.
const MERGES: u64 = 4;

/// Members of each group: as few groups as hold everybody, of even sizes, drawn by the seed.
fn split(replicas: usize, seed: &Hash) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..replicas).collect();
    Draw::new(seed, b"groups").shuffle(&mut order);
    let count = replicas.div_ceil(MOST);
    (0..count).map(|group| order.iter().copied().skip(group).step_by(count).collect()).collect()
}

/// Adds the table.
pub fn table(scale: Scale, out: &mut Outcome) {
    let columns = [
        "replicas",
        "groups",
        "shards of a stage",
        "hashes opened (bytes)",
        "traffic per member (entries)",
        "rule, one owner (s)",
        "between groups after 1 merge",
        "after 4",
    ];
    let mut table = Table::new("Merge groups of a stage", &columns);
    for replicas in scale.pick(&[64usize][..], &[16, 64, 156, 256]) {
        let found = measure(*replicas);
        table.push([
            replicas.to_string(),
            found.groups.to_string(),
            found.shards.to_string(),
            found.bytes.to_string(),
            format!("{:.2}", found.traffic),
            format!("{:.4}", found.seconds),
            percent(found.apart.0),
            percent(found.apart.1),
        ]);
    }
    out.tables.push(table);
    out.note(
        "Merge groups are measured as if a seed split a stage anew for each merge; the chain admits 64 committers of a \
         stage and has no rule for more. \"Between groups\" is the spread of the groups' merged weights over the \
         length of an update: each group's result is a state of its own, so that a stage has no single root until a second \
         level merges the groups. That level is what is missing, not time: hashes grow linearly once groups are full.",
    );
}

struct Found {
    groups: usize,
    shards: usize,
    bytes: usize,
    traffic: f64,
    seconds: f64,
    apart: (f64, f64),
}

fn measure(replicas: usize) -> Found {
    let seed = |epoch: u64| derive(&Hash::ZERO, b"lab/groups", epoch);
    let groups = split(replicas, &seed(0));
    let pairs: Vec<usize> = groups.iter().map(|own| own.len() * (own.len() - 1) / 2).collect();
    let largest = groups.iter().map(Vec::len).max().unwrap_or(1);
    // Both owners open a shard: its number, whether there is a hash, and the hash.
    let bytes = pairs.iter().sum::<usize>() * 2 * (2 + 1 + 32);
    let spreads = drift(replicas, &seed);
    Found {
        groups: groups.len(),
        shards: pairs.iter().sum(),
        bytes,
        traffic: 6.0 - 8.0 / largest as f64,
        seconds: timed(largest),
        apart: (spreads[0], spreads[spreads.len() - 1]),
    }
}

/// Seconds that the merge rule takes one owner of a group for its shards.
fn timed(members: usize) -> f64 {
    let mut noise = Noise::new(3, "groups");
    let values = VALUES / 8;
    let stage: Vec<Committer> = (0..members)
        .map(|_| Committer {
            samples: 100,
            entry: encode(&(0..values).map(|_| noise.normal(0.0, 0.1)).collect::<Vec<_>>()),
            owner: Owner::Honest,
            holds: everyone(members),
        })
        .collect();
    let place = Place { seed: Hash::ZERO, epoch: Epoch(0), stage: Stage(0) };
    let start = Instant::now();
    drop(std::hint::black_box(merge(&place, &stage)));
    // All shards were merged once; an owner merges its own, two of `members` parts of them.
    start.elapsed().as_secs_f64() * 2.0 / members as f64 * (VALUES / values) as f64
}

/// Spread between groups after each merge, over the length of an update: each replica moves by a common update
/// and noise of its own as large, its group takes the mean, and groups are drawn anew.
fn drift(replicas: usize, seed: &impl Fn(u64) -> Hash) -> Vec<f64> {
    const SEEN: usize = 256;
    let mut noise = Noise::new(5, "drift");
    let mut weights = vec![vec![0.0; SEEN]; replicas];
    let mut spreads = Vec::new();
    for merge in 0..MERGES {
        let common: Vec<f64> = (0..SEEN).map(|_| noise.standard()).collect();
        for own in &mut weights {
            own.iter_mut().zip(&common).for_each(|(value, update)| *value += update + noise.standard());
        }
        let groups = split(replicas, &seed(merge));
        let mean = |at: usize, own: &[usize]| {
            own.iter().map(|one| weights[*one][at]).sum::<f64>() / own.len() as f64
        };
        let means: Vec<Vec<f64>> =
            groups.iter().map(|own| (0..SEEN).map(|at| mean(at, own)).collect()).collect();
        let apart = |at: usize| {
            let (_, error) = mean_and_error(&means.iter().map(|own| own[at]).collect::<Vec<_>>());
            error * error * means.len() as f64
        };
        let square = (0..SEEN).map(apart).sum::<f64>() / SEEN as f64;
        // An update is the common part and a noise as long.
        spreads.push(if means.len() < 2 { 0.0 } else { (square / 2.0).sqrt() });
        for (own, mean) in groups.iter().zip(&means) {
            own.iter().for_each(|one| weights[*one].clone_from(mean));
        }
    }
    spreads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_everybody_once_and_are_even() {
        for replicas in [1, 64, 65, 156, 1_000] {
            let groups = split(replicas, &Hash([4; 32]));
            let mut all: Vec<usize> = groups.concat();
            all.sort_unstable();
            assert_eq!(all, (0..replicas).collect::<Vec<_>>());
            let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(*most <= MOST && most - least <= 1, "{sizes:?}");
        }
    }

    #[test]
    fn one_group_has_no_spread_and_three_drift_apart_no_further_than_a_random_walk() {
        let seed = |epoch: u64| derive(&Hash::ZERO, b"test", epoch);
        assert_eq!(drift(64, &seed), [0.0; 4]);
        let spreads = drift(156, &seed);
        // The mean of 52 noises of 1, over the root of two: 0.098 after one merge.
        assert!((spreads[0] - 0.098).abs() < 0.015 && spreads[3] < 0.2, "{spreads:?}");
    }
}
