//! What miners send while they merge: commits, attestations, blinded and opened results, roots.
//!
//! What a merge gives is a name here, a hash of the shard and the entries in the set, that every honest owner finds
//! alike. The laboratory merges bytes.

use iota_protocol::{
    hash::{hash_of, Domain},
    ids::{Epoch, Hash as Hash32, Stage},
    phase::Phase,
    shard::Shards as ShardMap,
    work::{blind_hash, Bitmap, ShardHashes, WorkCommit},
};
use pallet_iota::{types::Commit, Call};

use super::super::{Runtime, RUN};
use super::{
    chain::{chunks, clock},
    fault::Fault,
    stage::Trouble,
    world::World,
};

const SALT: [u8; 32] = [7; 32];

impl World {
    /// Everybody's part of one window.
    pub(super) fn merge(&mut self, phase: Phase, until: u32) {
        let epoch = clock().epoch;
        if phase == Phase::Blind {
            self.openings.clear();
        }
        for stage in (0..self.setup.shape.stages).map(Stage) {
            match phase {
                Phase::Commit => self.commit(epoch, stage, until),
                Phase::Attest => self.attest(epoch, stage, until),
                Phase::Blind => self.blind(epoch, stage, until),
                Phase::Open => self.open(epoch, stage, until),
                _ => self.root(epoch, stage, until),
            }
        }
    }

    fn commit(&mut self, epoch: Epoch, stage: Stage, until: u32) {
        let Some(trained) = self.trained.get(&epoch) else { return };
        let members: Vec<_> = trained.stages[usize::from(stage.0)]
            .iter()
            .map(|uid| (self.of[&(*uid, trained.incarnations[uid])], trained.taken.get(uid).copied()))
            .collect();
        for (index, done) in members {
            let samples = self.actors[index].fault.map_or(done, |own| done.map(|done| own.claims(done)));
            let samples = samples.unwrap_or(0);
            let own = hash_of(Domain::Seed, &(b"entry", epoch, self.actors[index].uid));
            let work = WorkCommit {
                entry_root: own,
                log_root: own,
                receipts_root: own,
                samples,
                started: if stage.0 == 0 { samples } else { 0 },
            };
            self.say(index, Call::commit_work { run: RUN, epoch, work }, until);
        }
    }

    /// Sends something of a merge, unless its miner is away for all of it.
    fn say(&mut self, index: usize, call: Call<Runtime>, until: u32) {
        if !matches!(self.troubles.get(&index), Some(Trouble::MissesMerge)) {
            self.post(index, call, until);
        }
    }

    /// Commits of a stage in uid order, with who sent them.
    fn committed(&self, epoch: Epoch, stage: Stage) -> Vec<(usize, Commit)> {
        let merge = pallet_iota::Merges::<Runtime>::get((RUN, epoch, stage));
        let commits = merge.map_or(Vec::new(), |merge| merge.commits.into_inner());
        commits.into_iter().map(|own| (self.of[&(own.uid, own.incarnation)], own)).collect()
    }

    fn attest(&mut self, epoch: Epoch, stage: Stage, until: u32) {
        let committed = self.committed(epoch, stage);
        for (position, (index, _)) in committed.iter().enumerate() {
            if self.actors[*index].fault == Some(Fault::MissingShard) {
                continue;
            }
            // Who changed its entry after the commit serves bytes that do not fit its root.
            let serves = |other: &usize| self.actors[*other].fault != Some(Fault::ChangedCommit);
            let mut entries = Bitmap::default();
            for (other, (who, _)) in committed.iter().enumerate() {
                if other == position || serves(who) {
                    entries = entries.with(other);
                }
            }
            if matches!(self.troubles.get(index), Some(Trouble::CutOff)) {
                let lacks = usize::try_from(self.draw.below(committed.len() as u64)).unwrap();
                if lacks != position {
                    entries = Bitmap(entries.0 & !(1 << lacks));
                }
            }
            self.say(*index, Call::attest { run: RUN, epoch, entries }, until);
        }
    }

    fn blind(&mut self, epoch: Epoch, stage: Stage, until: u32) {
        let committed = self.committed(epoch, stage);
        let Some(seed) = clock().seed else { return };
        let Some(map) = ShardMap::new(&seed, stage, committed.len(), chunks(stage)) else { return };
        let merge = pallet_iota::Merges::<Runtime>::get((RUN, epoch, stage)).unwrap();
        let set = merge.entry_set.unwrap_or_default();
        for (position, (index, commit)) in committed.iter().enumerate() {
            if self.actors[*index].fault == Some(Fault::MissingShard) {
                continue;
            }
            let own =
                |shard: u16| (shard, self.result(epoch, stage, &map, (shard, position), set, &committed));
            let hashes: Vec<_> = map.owned_by(position).into_iter().map(own).collect();
            let hashes: ShardHashes = hashes.try_into().unwrap();
            let hash = blind_hash(commit.uid, commit.incarnation, epoch, &SALT, &hashes);
            self.openings.insert(*index, hashes);
            self.say(*index, Call::blind_merge { run: RUN, epoch, hash }, until);
        }
    }

    /// What an owner finds for a shard; nothing if neither it nor its partner holds an entry of the set.
    fn result(
        &self,
        epoch: Epoch,
        stage: Stage,
        map: &ShardMap,
        (shard, position): (u16, usize),
        set: Bitmap,
        committed: &[(usize, Commit)],
    ) -> Option<Hash32> {
        let (index, commit) = &committed[position];
        let partner = map.partner(shard, position).map(|at| &committed[at]);
        let held = |commit: &Commit| commit.attested.unwrap_or_default().0;
        // Who changed its own entry holds what it changed it to.
        let held = held(commit) | partner.map_or(0, |(_, other)| held(other));
        if set.0 & !held != 0 {
            return None;
        }
        let fault = self.actors[*index].fault;
        let together = partner.is_some_and(|(other, _)| self.actors[*other].fault == fault);
        Some(match fault {
            Some(Fault::WrongShard) => hash_of(Domain::Seed, &(b"wrong", epoch, shard, commit.uid)),
            Some(Fault::CollusiveShard) if together => hash_of(Domain::Seed, &(b"wrong", epoch, shard)),
            _ => truth(epoch, stage, shard, set),
        })
    }

    fn open(&mut self, epoch: Epoch, stage: Stage, until: u32) {
        for (index, commit) in self.committed(epoch, stage) {
            // Whose blinded hash came to no block in time has nothing to open.
            let hashes = self.openings.get(&index).filter(|_| commit.blind.is_some()).cloned();
            if let Some(hashes) = hashes {
                self.say(index, Call::open_merge { run: RUN, epoch, salt: SALT, hashes }, until);
            }
        }
    }

    fn root(&mut self, epoch: Epoch, stage: Stage, until: u32) {
        let root = hash_of(Domain::Seed, &(b"root", epoch, stage));
        for (index, _) in self.committed(epoch, stage) {
            self.say(index, Call::commit_root { run: RUN, epoch, root }, until);
        }
    }
}

/// What merging the entries of a set gives for a shard.
pub fn truth(epoch: Epoch, stage: Stage, shard: u16, set: Bitmap) -> Hash32 {
    hash_of(Domain::Seed, &(b"truth", epoch, stage, shard, set))
}
