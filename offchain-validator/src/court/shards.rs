//! Merge shards, recomputed: those on which the owners differ or that one opened alone, and one of the
//! agreed ones, whose owners may have agreed to lie (design.md, section 8).
//!
//! Entries stand under roots that their authors committed, and the rule gives everybody the same bytes, so
//! that a hash which differs is the fault of whoever opened it. An entry that cannot be had accuses nobody.

use std::ops::Range;
use std::time::Duration;

use codec::{Decode, Encode};
use iota_protocol::case::{Case, CASE_VERSION};
use iota_protocol::court::{AccusationView, Accused};
use iota_protocol::ids::{Epoch, Hash, RunId, Stage, Uid};
use iota_protocol::merge::{chunk_len, merge_shard, shard_hash, EntryShard};
use iota_protocol::merkle::{self, RangeProof};
use iota_protocol::params::{MergeParams, RunParams};
use iota_protocol::seed::audit_choices;
use iota_protocol::shard::Shards;
use iota_protocol::view::{AgreementCell, AgreementView, CommitView, MemberView, MergeView};
use iota_protocol::work::ShardStatus;
use iota_worker::fetch::{self, EntryRange, Until};
use iota_worker::session::RunSnapshot;
use tokio::time::Instant;

use super::{Court, Sitting, Tries, RECHECKS};
use crate::docket::Judgement;
use crate::examine;
use crate::gather;
use crate::witness::Witness;

/// Doubtful shards that one validator recomputes in an epoch: each costs the range's bytes of every entry of
/// the stage, and several validators choose differently.
const DOUBTFUL: u32 = 4;
/// Agreed shards that one validator recomputes in an epoch.
const AGREED: u32 = 1;
/// Time for one pass over the chosen shards: what the court has to say at this block waits for it.
const PASS: Duration = Duration::from_secs(8);

/// Parts of one entry, as its holders cut them, each with the proof that it stands under the entry's root.
type Piece = Vec<(Vec<u8>, RangeProof)>;

/// One shard with what the chain says about it.
struct Shard<'a> {
    params: &'a RunParams,
    stage: Stage,
    cell: AgreementCell,
    merge: &'a MergeView,
}

/// Where a shard lies in an entry.
struct Place {
    /// Chunks of a whole entry.
    total: usize,
    /// Those of the shard.
    range: Range<u32>,
}

/// A shard as it should be.
struct Recomputed {
    hash: Hash,
    /// Pieces of the entry set's entries, in the order of the committers, each encoded.
    pieces: Vec<Vec<u8>>,
}

impl Shard<'_> {
    fn place(&self) -> Option<Place> {
        let parameters = self.params.stage(self.stage)?.parameters;
        let chunks = u32::try_from(parameters.div_ceil(u64::from(self.params.merge.chunk.max(1)))).ok()?;
        // Which pair has which range is the seed's; where ranges lie is not.
        let shards = Shards::new(&Hash::ZERO, self.stage, self.merge.commits.len(), chunks)?;
        Some(Place { total: usize::try_from(chunks).ok()?, range: shards.chunks(self.cell.shard) })
    }

    /// Commits whose entries are merged.
    fn merged(&self) -> impl Iterator<Item = &CommitView> {
        let set = self.merge.entry_set.unwrap_or_default();
        self.merge.commits.iter().enumerate().filter(move |(at, _)| set.contains(*at)).map(|(_, own)| own)
    }

    /// The hash that this owner opened, as far as the chain shows it.
    fn opened_by(&self, uid: Uid) -> Option<Hash> {
        let opened = |uid| self.merge.commits.iter().any(|own| own.uid == uid && own.opened);
        self.cell.opened_by(uid, opened)
    }

    /// The rule over the shard's bytes in the entries of [`Self::merged`].
    fn hash_of(&self, run: RunId, epoch: Epoch, bytes: &[Vec<u8>]) -> Option<Hash> {
        let entries: Vec<EntryShard<'_>> = self
            .merged()
            .zip(bytes)
            .map(|(commit, bytes)| EntryShard { samples: commit.work.samples, bytes })
            .collect();
        let merged = merge_shard(&self.params.merge, &entries).ok()?;
        Some(shard_hash(run, epoch, self.stage, self.cell.shard, &merged))
    }
}

impl Place {
    /// Parts in which holders give the range.
    fn parts(&self, merge: &MergeParams) -> Vec<Range<u32>> {
        fetch::entry_parts(&self.range, merge).collect()
    }
}

/// Bytes of a piece.
fn joined(piece: &Piece) -> Vec<u8> {
    piece.iter().flat_map(|(bytes, _)| bytes).copied().collect()
}

/// A piece of a case, if it stands under the root.
fn decode_piece(encoded: &[u8], root: Hash, place: &Place, merge: &MergeParams) -> Option<Piece> {
    let piece = Piece::decode(&mut &*encoded).ok()?;
    let parts = place.parts(merge);
    let stands = |(part, (bytes, proof)): (&Range<u32>, &(Vec<u8>, RangeProof))| {
        let leaves = merkle::leaves(bytes, chunk_len(merge));
        let whole = bytes.len() == part.len().saturating_mul(chunk_len(merge));
        let first = usize::try_from(part.start).unwrap_or(usize::MAX);
        whole && proof.verify(&root, place.total, first, &leaves)
    };
    (piece.len() == parts.len() && parts.iter().zip(&piece).all(stands)).then_some(piece)
}

impl Court {
    /// Recomputes this validator's choice of the shards that were merged in an epoch, once; what it finds is
    /// in the docket, from where accusations are made. What cannot be had is tried again a few times.
    pub(super) async fn check_merges(
        &self,
        view: &RunSnapshot,
        epoch: Epoch,
        tries: &mut Tries,
    ) -> anyhow::Result<()> {
        let count = tries.merges.entry(epoch).or_default();
        if *count >= RECHECKS {
            return Ok(());
        }
        *count += 1;
        let Some(witness) = Witness::recall(self.examiner.dockets.dir(), epoch) else { return Ok(()) };
        let secret = examine::secret(&self.hotkey_secret, self.session.run, epoch);
        let mut whole = true;
        let deadline = Instant::now() + PASS;
        for (stage, cell, merge) in self.chosen(&witness, epoch, &view.clock.train_seed, &secret).await? {
            let shard = Shard { params: &witness.params, stage, cell, merge: &merge };
            let found = tokio::time::timeout_at(deadline, self.recompute(epoch, &witness, &shard, &[])).await;
            match found.unwrap_or_else(|_| Err("no answer in time".into())) {
                Ok(found) => self.compare(epoch, &shard, &found)?,
                Err(error) => {
                    tracing::debug!(%epoch, %stage, shard = cell.shard, error, "shard not recomputed yet");
                    whole = false;
                }
            }
        }
        if whole {
            tries.merges.insert(epoch, RECHECKS);
        }
        Ok(())
    }

    /// Doubtful shards and agreed ones, by seed and secret.
    async fn chosen(
        &self,
        witness: &Witness,
        epoch: Epoch,
        seed: &Hash,
        secret: &[u8; 32],
    ) -> anyhow::Result<Vec<(Stage, AgreementCell, MergeView)>> {
        let at = self.session.chain.at_finalized().await?;
        let mut cells = Vec::new();
        for stage in (0..witness.params.n_stages()).map(Stage) {
            let found = at.agreement(self.session.run, epoch, stage).await?;
            let all = found.map_or_else(Vec::new, |AgreementView { cells, .. }| cells);
            cells.extend(all.into_iter().map(|cell| (stage, cell)));
        }
        let (doubtful, rest): (Vec<_>, Vec<_>) = cells.into_iter().partition(|(_, cell)| cell.is_doubtful());
        let mut chosen = audit_choices(seed, secret, &doubtful, DOUBTFUL);
        let is_agreed = |own: &(Stage, AgreementCell)| matches!(own.1.status, ShardStatus::Agreed(_));
        let agreed: Vec<_> = rest.into_iter().filter(is_agreed).collect();
        chosen.extend(audit_choices(seed, secret, &agreed, AGREED));
        let mut with_merges = Vec::new();
        for (stage, cell) in chosen {
            let merge = at.merge(self.session.run, epoch, stage).await?.unwrap_or_default();
            with_merges.push((stage, cell, merge));
        }
        Ok(with_merges)
    }

    /// Fetches what the rule takes, from `given` where that stands under the roots, and applies it.
    async fn recompute(
        &self,
        epoch: Epoch,
        witness: &Witness,
        shard: &Shard<'_>,
        given: &[Vec<u8>],
    ) -> Result<Recomputed, String> {
        let place = shard.place().ok_or("the run has no such shard")?;
        let (mut bytes, mut pieces) = (Vec::new(), Vec::new());
        for commit in shard.merged() {
            let root = commit.work.entry_root;
            let known = given.iter().find_map(|piece| decode_piece(piece, root, &place, &shard.params.merge));
            let piece = match known {
                Some(piece) => piece,
                // A stage with fewer chunks than pairs has shards of nothing, which have a hash all the same.
                None if place.range.is_empty() => {
                    bytes.push(Vec::new());
                    continue;
                }
                None => self.fetch_piece(epoch, witness, shard, commit, &place).await?,
            };
            bytes.push(joined(&piece));
            pieces.push(piece.encode());
        }
        let hash = tokio::task::block_in_place(|| shard.hash_of(self.session.run, epoch, &bytes));
        Ok(Recomputed { hash: hash.ok_or("the entries of the set cannot be merged")?, pieces })
    }

    /// From the owners first: they attested that they hold it, and they are two.
    async fn fetch_piece(
        &self,
        epoch: Epoch,
        witness: &Witness,
        shard: &Shard<'_>,
        commit: &CommitView,
        place: &Place,
    ) -> Result<Piece, String> {
        let holders: Vec<MemberView> = [shard.cell.low, shard.cell.high, commit.uid]
            .into_iter()
            .filter_map(|uid| gather::latest(&self.session, witness, uid))
            .collect();
        let (author, root, total) = (commit.uid, commit.work.entry_root, place.total);
        let merge = &shard.params.merge;
        let mut piece = Piece::new();
        for part in place.parts(merge) {
            let (first, count) = (part.start, part.end.saturating_sub(part.start));
            let wanted = EntryRange { author, root, total, first, count, chunk_len: chunk_len(merge) };
            let fetched = fetch::entry(
                &self.examiner.network,
                &holders,
                self.session.run,
                epoch,
                wanted,
                Until::DROPPED,
            )
            .await;
            piece.push(fetched.map_err(|error| error.to_string())?);
        }
        Ok(piece)
    }

    /// Judges each owner by what it opened. The evidence is on disk before a judgement that rests on it.
    fn compare(&self, epoch: Epoch, shard: &Shard<'_>, found: &Recomputed) -> anyhow::Result<()> {
        let number = Accused::Shard(shard.cell.shard).number();
        for commit in &shard.merge.commits {
            let (uid, incarnation) = (commit.uid, commit.incarnation);
            let Some(opened) = shard.opened_by(uid) else { continue };
            let guilty = opened != found.hash;
            tracing::info!(%uid, %epoch, stage = %shard.stage, shard = shard.cell.shard, guilty, "merge recomputed");
            if !guilty {
                continue;
            }
            self.examiner.dockets.keep_case(&Case {
                version: CASE_VERSION,
                run: self.session.run,
                epoch,
                uid,
                incarnation,
                segment: number,
                receipts: Vec::new(),
                log: Vec::new(),
                states: Vec::new(),
                codes: found.pieces.clone(),
            })?;
            let judgement =
                Judgement { uid, incarnation, segment: number, guilty, root: found.hash, own: true };
            self.examiner.dockets.judge(epoch, judgement)?;
        }
        Ok(())
    }

    /// Recomputes the shard that somebody is accused of; what is found is in the docket before it is returned.
    /// Nothing where it cannot be decided here.
    pub(super) async fn recheck_shard(
        &self,
        sitting: &Sitting<'_>,
        accusation: &AccusationView,
        number: u16,
    ) -> anyhow::Result<Option<Judgement>> {
        let (run, epoch, uid) = (self.session.run, sitting.epoch, accusation.uid);
        let Some(witness) = Witness::recall(self.examiner.dockets.dir(), epoch) else { return Ok(None) };
        let Some((stage, commit)) = self.commit_of(sitting, uid).await? else { return Ok(None) };
        let at = self.session.chain.at_finalized().await?;
        let Some(agreement) = at.agreement(run, epoch, stage).await? else { return Ok(None) };
        let merge = at.merge(run, epoch, stage).await?.unwrap_or_default();
        let cell = agreement.cells.iter().find(|cell| cell.shard == number).copied();
        let shard = cell.map(|cell| Shard { params: &witness.params, stage, cell, merge: &merge });
        let claimed = shard.as_ref().and_then(|shard| Some((shard, shard.opened_by(uid)?)));
        let (guilty, root) = match claimed {
            // It opened nothing for this shard: nothing of its own is wrong there.
            None => (false, Hash::ZERO),
            Some((shard, opened)) => {
                let given = self.case(sitting, accusation).await.map(|case| case.codes).unwrap_or_default();
                let found = tokio::time::timeout(PASS, self.recompute(epoch, &witness, shard, &given)).await;
                match found.unwrap_or_else(|_| Err("no answer in time".into())) {
                    Ok(found) => (opened != found.hash, found.hash),
                    Err(error) => {
                        tracing::debug!(%uid, %epoch, %stage, shard = number, error, "shard not recomputed");
                        return Ok(None);
                    }
                }
            }
        };
        let segment = accusation.segment;
        let found = Judgement { uid, incarnation: commit.incarnation, segment, guilty, root, own: false };
        self.examiner.dockets.judge(epoch, found).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_compute::presets::run_params;
    use iota_protocol::ids::Incarnation;
    use iota_protocol::params::DataParams;
    use iota_protocol::work::{Bitmap, WorkCommit};

    const RUN: RunId = RunId(0);
    const EPOCH: Epoch = Epoch(3);

    fn params() -> RunParams {
        let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1_000, heldout_windows: 10 };
        run_params("nano", 2, 1, 5, 2, data).unwrap()
    }

    fn leaves(entry: &[Vec<u8>]) -> Vec<Hash> {
        entry.iter().map(|chunk| merkle::leaf(chunk)).collect()
    }

    /// An entry whose codes are all this.
    fn entry(params: &RunParams, total: usize, code: u8) -> Vec<Vec<u8>> {
        let length = chunk_len(&params.merge);
        let exponents = length / 33;
        let chunk = |_| [vec![0; exponents], vec![code; length - exponents]].concat();
        (0..total).map(chunk).collect()
    }

    fn commit(uid: u16, entry: &[Vec<u8>], opened: bool) -> CommitView {
        let work = WorkCommit {
            entry_root: merkle::root(&leaves(entry)),
            log_root: Hash::ZERO,
            receipts_root: Hash::ZERO,
            samples: 10,
            started: 10,
        };
        let incarnation = Incarnation(0);
        CommitView { uid: Uid(uid), incarnation, work, attested: None, blind: None, opened, root: None }
    }

    /// A stage of two whose entries hold 2 and 6, and where its one shard lies.
    fn scene(params: &RunParams, status: ShardStatus) -> (MergeView, AgreementCell, [Vec<Vec<u8>>; 2]) {
        let total = params.stage(Stage(0)).unwrap().parameters.div_ceil(u64::from(params.merge.chunk));
        let entries = [2, 6].map(|code| entry(params, usize::try_from(total).unwrap(), code));
        let commits = vec![commit(4, &entries[0], true), commit(7, &entries[1], true)];
        let entry_set = Some(Bitmap::default().with(0).with(1));
        let merge = MergeView { commits, entry_set, ..MergeView::default() };
        (merge, AgreementCell { shard: 0, low: Uid(4), high: Uid(7), status }, entries)
    }

    #[test]
    fn who_opened_what_the_rule_does_not_give_is_named_and_its_partner_is_not() {
        let params = params();
        // The second's norm is three times the lower median: it is cut to twice that, 6 to 4. Mean of 2 and 4.
        let bytes: Vec<u8> = entry(&params, 1, 3).concat();
        let (merge, cell, entries) = scene(&params, ShardStatus::Missing);
        let shard = Shard { params: &params, stage: Stage(0), cell, merge: &merge };
        let both: Vec<Vec<u8>> = entries.iter().map(|entry| entry.concat()).collect();
        let right = shard.hash_of(RUN, EPOCH, &both).unwrap();
        let expected = bytes.repeat(entries[0].len());
        assert_eq!(right, shard_hash(RUN, EPOCH, Stage(0), 0, &expected));
        let lie = Hash([9; 32]);
        let differs = AgreementCell { status: ShardStatus::Differs(right, lie), ..cell };
        let shard = Shard { cell: differs, ..shard };
        let guilty: Vec<Uid> =
            [4, 7].map(Uid).into_iter().filter(|uid| shard.opened_by(*uid) != Some(right)).collect();
        assert_eq!(guilty, [Uid(7)]);
    }

    #[test]
    fn a_piece_counts_only_under_the_root_and_in_the_place_that_it_is_for() {
        let params = params();
        let (merge, cell, entries) = scene(&params, ShardStatus::Missing);
        let place = Shard { params: &params, stage: Stage(0), cell, merge: &merge }.place().unwrap();
        assert_eq!(
            (place.range.start, place.range.end as usize),
            (0, place.total),
            "two committers, one shard"
        );
        let piece = |entry: &[Vec<u8>], chunks: Vec<Vec<u8>>| {
            let proof = merkle::prove_range(&leaves(entry), 0, entry.len()).unwrap();
            vec![(chunks.concat(), proof)].encode()
        };
        let (own, other) = (&entries[0], &entries[1]);
        let root = merkle::root(&leaves(own));
        let stands = |piece: &[u8]| decode_piece(piece, root, &place, &params.merge).is_some();
        assert!(stands(&piece(own, own.clone())));
        assert!(!stands(&piece(other, other.clone())), "another's entry");
        assert!(!stands(&piece(own, other.clone())), "other bytes");
        assert!(!stands(&piece(own, own[1..].to_vec())), "a part");
        assert!(!stands(&[1, 2, 3]));
    }
}
