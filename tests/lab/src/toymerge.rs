//! Merging toy vectors with the real rules: shards, entry sets, agreement, `merge_shard`.

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::duty;
use iota_protocol::ids::{Epoch, Hash, Incarnation, RunId, Stage, Uid};
use iota_protocol::merge::{entry_set, merge_shard, shard_hash, EntryShard};
use iota_protocol::params::MergeParams;
use iota_protocol::shard::Shards;
use iota_protocol::view::{AgreementCell, AgreementView, CommitView, MergeView};
use iota_protocol::work::{Bitmap, ShardStatus, WorkCommit};

/// Values in one chunk: one block of codes.
pub const CHUNK: usize = 32;
/// Exponent of an entry's smallest unit.
const EXPONENT_MIN: i8 = -24;
/// Largest code.
const MAX_CODE: f64 = 127.0;
/// Exponents of an entry.
const STEPS: i32 = 20;

/// Merge parameters of the toy.
#[must_use]
pub fn params() -> MergeParams {
    MergeParams {
        chunk: CHUNK as u32,
        exponent_min: EXPONENT_MIN,
        outer_lr_ppm: 700_000,
        momentum_start_ppm: 500_000,
        momentum_end_ppm: 900_000,
        momentum_ramp: 20,
    }
}

/// Canonical chunk bytes of values; what is too large for the codes is cut off, as in a real entry.
#[must_use]
pub fn encode(values: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() + values.len() / CHUNK);
    for block in values.chunks_exact(CHUNK) {
        let largest = block.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        let unit = |step: i32| 2f64.powi(i32::from(EXPONENT_MIN) + step);
        let fits = |step: &i32| (largest / unit(*step)).round() <= MAX_CODE;
        let step = (0..STEPS - 1).find(fits).unwrap_or(STEPS - 1);
        bytes.push(step as u8);
        let code = |value: &f64| (value / unit(step)).round().clamp(-MAX_CODE, MAX_CODE) as i8;
        bytes.extend(block.iter().map(|value| code(value).cast_unsigned()));
    }
    bytes
}

/// The values that chunk bytes stand for.
#[must_use]
pub fn decode(bytes: &[u8]) -> Vec<f64> {
    let block = |chunk: &[u8]| {
        let unit = 2f64.powi(i32::from(EXPONENT_MIN) + i32::from(chunk[0]));
        chunk[1..].iter().map(|code| f64::from(code.cast_signed()) * unit).collect::<Vec<_>>()
    };
    bytes.chunks_exact(CHUNK + 1).flat_map(block).collect()
}

/// What an owner does with the shards that it owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// Merges and opens.
    Honest,
    /// Opens nothing: dead, or too lazy.
    Silent,
    /// Opens bytes of its own for each shard.
    Wrong,
    /// Opens the same wrong bytes as its partner when both collude, and the truth otherwise.
    Colluding,
}

/// One committer of a stage.
pub struct Committer {
    /// Samples that it committed.
    pub samples: u32,
    /// Its entry, as committed.
    pub entry: Vec<u8>,
    /// What it does as an owner.
    pub owner: Owner,
    /// Whose entries it could fetch and verify, by position.
    pub holds: Bitmap,
}

/// A bitmap with the first `count` positions.
#[must_use]
pub fn everyone(count: usize) -> Bitmap {
    (0..count).fold(Bitmap::default(), Bitmap::with)
}

/// What came of a merge.
pub struct Merged {
    /// The merged update by value; `None` where nothing was merged.
    pub update: Vec<Option<f64>>,
    /// Entries that were merged.
    pub set: Bitmap,
    /// Shards by outcome.
    pub counts: Counts,
    /// Positions of owners that recomputation names.
    pub named: BTreeSet<usize>,
    /// Status and owners of every shard.
    pub statuses: Vec<((usize, usize), ShardStatus)>,
    /// Owners who opened something for a shard that stands, shard by shard, and whether it is wrong: what a
    /// validator that recomputes the shard would find.
    pub standing: Vec<(Vec<usize>, bool)>,
}

impl Merged {
    /// The part of its shards that each committer owed and did not deliver, by what a chain would show.
    #[must_use]
    pub fn undelivered(&self, uids: &[Uid], committers: &[Committer]) -> BTreeMap<Uid, u32> {
        let commit = |(uid, committer): (&Uid, &Committer)| CommitView {
            uid: *uid,
            incarnation: Incarnation(0),
            work: WorkCommit {
                entry_root: Hash::ZERO,
                log_root: Hash::ZERO,
                receipts_root: Hash::ZERO,
                samples: committer.samples,
                started: 0,
            },
            attested: None,
            blind: None,
            opened: committer.owner != Owner::Silent,
            root: None,
        };
        let commits = uids.iter().zip(committers).map(commit).collect();
        let cell = |(shard, ((low, high), status)): (u16, &((usize, usize), ShardStatus))| {
            Some(AgreementCell { shard, low: *uids.get(*low)?, high: *uids.get(*high)?, status: *status })
        };
        let members = uids.iter().map(|uid| (*uid, Incarnation(0))).collect();
        let cells = (0u16..).zip(&self.statuses).filter_map(cell).collect();
        let merge = MergeView { commits, ..MergeView::default() };
        duty::undelivered(&merge, &AgreementView { members, cells })
    }
}

/// Shards by outcome.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub all: usize,
    /// Both owners opened the same.
    pub agreed: usize,
    /// Of those, wrong ones.
    pub agreed_wrong: usize,
    /// One owner opened.
    pub single: usize,
    /// Of those, wrong ones.
    pub single_wrong: usize,
    /// The owners differed: everybody recomputes.
    pub differ: usize,
    /// Nobody opened.
    pub missing: usize,
}

/// Where a merge takes place.
pub struct Place {
    /// The epoch's seed.
    pub seed: Hash,
    /// The epoch.
    pub epoch: Epoch,
    /// The stage.
    pub stage: Stage,
}

/// Merges a stage; `None` without a committer.
#[must_use]
pub fn merge(place: &Place, committers: &[Committer]) -> Option<Merged> {
    let len = committers.first()?.entry.len();
    let chunks = len / (CHUNK + 1);
    let shards = Shards::new(&place.seed, place.stage, committers.len(), chunks as u32)?;
    let attested: Vec<Option<Bitmap>> =
        committers.iter().map(|c| (c.owner != Owner::Silent).then_some(c.holds)).collect();
    let set = entry_set(&attested);
    let mut merged = Merged {
        update: Vec::with_capacity(chunks * CHUNK),
        set,
        counts: Counts::default(),
        named: BTreeSet::new(),
        standing: Vec::new(),
        statuses: Vec::new(),
    };
    for shard in 0..shards.count() {
        let owners = shards.owners(shard)?;
        let range = shards.chunks(shard);
        let bytes = range.start as usize * (CHUNK + 1)..range.end as usize * (CHUNK + 1);
        let entries: Vec<EntryShard<'_>> = (0..committers.len())
            .filter(|position| set.contains(*position))
            .map(|position| EntryShard {
                samples: committers[position].samples,
                bytes: &committers[position].entry[bytes.clone()],
            })
            .collect();
        let truth = merge_shard(&params(), &entries).ok();
        Settling { place, committers, shard, owners, truth }.settle(bytes.len(), &mut merged);
    }
    Some(merged)
}

/// One shard on its way to a status.
struct Settling<'a> {
    place: &'a Place,
    committers: &'a [Committer],
    shard: u16,
    owners: (usize, usize),
    truth: Option<Vec<u8>>,
}

impl Settling<'_> {
    fn hash(&self, bytes: &[u8]) -> Hash {
        shard_hash(RunId(0), self.place.epoch, self.place.stage, self.shard, bytes)
    }

    /// What one owner opens.
    fn opened(&self, owner: usize) -> Option<Vec<u8>> {
        let truth = self.truth.as_ref()?;
        let partner = if owner == self.owners.0 { self.owners.1 } else { self.owners.0 };
        let committer = &self.committers[owner];
        // A partner that holds an entry hands it on.
        let held = Bitmap(committer.holds.0 | self.committers[partner].holds.0);
        let lacks = (0..self.committers.len()).any(|p| self.set().contains(p) && !held.contains(p));
        match committer.owner {
            Owner::Silent => None,
            _ if lacks => None,
            Owner::Honest => Some(truth.clone()),
            Owner::Wrong => Some(bent(truth, owner as u8)),
            Owner::Colluding if self.committers[partner].owner == Owner::Colluding => Some(bent(truth, 0)),
            Owner::Colluding => Some(truth.clone()),
        }
    }

    fn set(&self) -> Bitmap {
        let attested: Vec<Option<Bitmap>> =
            self.committers.iter().map(|c| (c.owner != Owner::Silent).then_some(c.holds)).collect();
        entry_set(&attested)
    }

    fn settle(&self, len: usize, merged: &mut Merged) {
        let mut openers = vec![self.owners.0];
        if self.owners.1 != self.owners.0 {
            openers.push(self.owners.1);
        }
        let opened: Vec<(usize, Vec<u8>)> =
            openers.into_iter().filter_map(|owner| self.opened(owner).map(|bytes| (owner, bytes))).collect();
        let status = opened.iter().fold(ShardStatus::Missing, |status, (owner, bytes)| {
            status.with(self.hash(bytes), *owner == self.owners.0)
        });
        let counts = &mut merged.counts;
        counts.all += 1;
        let is_true = |bytes: &Vec<u8>| Some(bytes) == self.truth.as_ref();
        let taken = match status {
            ShardStatus::Missing => {
                counts.missing += 1;
                None
            }
            ShardStatus::Single(_) | ShardStatus::Agreed(_) => {
                let bytes = opened.first().map(|(_, bytes)| bytes.clone());
                let wrong = usize::from(!bytes.as_ref().is_some_and(is_true));
                merged.standing.push((opened.iter().map(|(owner, _)| *owner).collect(), wrong > 0));
                if matches!(status, ShardStatus::Single(_)) {
                    counts.single += 1;
                    counts.single_wrong += wrong;
                } else {
                    counts.agreed += 1;
                    counts.agreed_wrong += wrong;
                }
                bytes
            }
            ShardStatus::Differs(..) => {
                counts.differ += 1;
                merged
                    .named
                    .extend(opened.iter().filter(|(_, bytes)| !is_true(bytes)).map(|(owner, _)| *owner));
                self.truth.clone()
            }
        };
        merged.statuses.push((self.owners, status));
        match taken {
            Some(bytes) => merged.update.extend(decode(&bytes).into_iter().map(Some)),
            None => merged.update.extend(std::iter::repeat_n(None, len / (CHUNK + 1) * CHUNK)),
        }
    }
}

/// A wrong result: every value of the shard turned around, with a mark of who made it.
fn bent(truth: &[u8], mark: u8) -> Vec<u8> {
    let mut bytes = truth.to_vec();
    for chunk in bytes.chunks_exact_mut(CHUNK + 1) {
        for code in &mut chunk[1..] {
            *code = code.cast_signed().saturating_neg().cast_unsigned();
        }
        // At most 63, so that the code stays in range.
        chunk[1] = mark % 64;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { seed: Hash([5; 32]), epoch: Epoch(3), stage: Stage(1) }
    }

    fn committers(owners: &[Owner]) -> Vec<Committer> {
        let entry = |index: usize| {
            encode(&(0..64 * 15).map(|at| (at as f64 + index as f64) * 0.001).collect::<Vec<_>>())
        };
        (0..owners.len())
            .map(|i| Committer {
                samples: 10,
                entry: entry(i),
                owner: owners[i],
                holds: everyone(owners.len()),
            })
            .collect()
    }

    #[test]
    fn values_come_back_within_half_a_code() {
        let values: Vec<f64> = (0..64).map(|i| (f64::from(i) - 31.0) * 0.013).collect();
        for (value, back) in values.iter().zip(decode(&encode(&values))) {
            assert!((value - back).abs() <= 0.42 / 127.0, "{value} {back}");
        }
    }

    #[test]
    fn honest_owners_agree_on_everything() {
        let merged = merge(&place(), &committers(&[Owner::Honest; 6])).unwrap();
        assert_eq!(merged.counts, Counts { all: 15, agreed: 15, ..Counts::default() });
        assert!(merged.update.iter().all(Option::is_some) && merged.named.is_empty());
    }

    #[test]
    fn a_wrong_owner_is_named_and_a_colluding_pair_is_not() {
        let mut owners = [Owner::Honest; 6];
        owners[2] = Owner::Wrong;
        let merged = merge(&place(), &committers(&owners)).unwrap();
        assert_eq!((merged.counts.differ, merged.named.into_iter().collect::<Vec<_>>()), (5, vec![2]));
        owners[2] = Owner::Colluding;
        owners[4] = Owner::Colluding;
        let merged = merge(&place(), &committers(&owners)).unwrap();
        assert_eq!((merged.counts.agreed_wrong, merged.counts.differ, merged.named.len()), (1, 0, 0));
    }
}
