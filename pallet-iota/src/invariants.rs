//! What always holds between storage items. Checked after every block of every test, and by
//! `try-runtime` against a live state.
//!
//! 1. A run has parameters that validate and a clock; it is active unless it has ended.
//! 2. Uids and hotkeys of a run map to each other one to one; uids given out are members or free.
//! 3. Incarnations are unique in a run and below the next one.
//! 4. Only miners hold stages, which exist; only validators hold bonds.
//! 5. What is on hold on a coldkey is the sum of its members' bonds, of what it unbonded, of its open
//!    accusations and of its runs.
//! 6. `TotalOwed` is the sum of `Rewards` and `Vestings`, `TotalHeld` that of `HeldPay`, and the pot holds
//!    both; what newcomers put on hold is on hold on the coldkeys of their records, and no record is empty.
//! 7. What the runs minted sums to `TotalMinted`, at most the supply.
//! 8. Reports add up, void ones minted nothing, and payouts match sums and roots.
//! 9. Commits ascend by uid; bitmaps name committers; who opened had blinded.
//! 10. Shard statuses are as many as the pairs of committers.
//! 11. Snapshots ascend by uid; scores are by validators of the snapshot, rows ascend.
//! 12. Nothing is kept beyond the history.
//! 13. Arrivals wait for seats that leaving members hold, each for another; arriving and new hotkeys
//!     are nobody's yet; who changes owner is a member.
//! 14. Gates ascend; accusations and requests are of epochs that are judged; shares of active runs sum
//!     to at most the whole, and ended runs have none.
//! 15. Bonds between validators and miners ascend by miner, and those of one miner sum to one whole.
//! 16. The queue of ended runs has no gap, names each run once, and no other run that ended has members or
//!     reports.
//! 17. A checkpoint names a root for each stage, those of the epochs that a run can go back to, the newest
//!     as its merges do; votes about roots and the way back are of validators with a permit, each once,
//!     what is decided has two thirds of the stake or is the admin's, and there is a way to go back.
//! 18. Keys that were given up ascend by uid and are of epochs that are judged and of members that were.

use alloc::collections::{BTreeMap, BTreeSet};
use iota_protocol::{
    consensus::bonds::BOND_ONE,
    emission::{payouts_root, MAX_SUPPLY},
    ids::{AccountKey, Epoch, Incarnation, RunId, Uid},
    params::{MAX_MEMBERS, PPM},
    work::{Bitmap, Role},
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{
            fungible::{Inspect, InspectHold},
            Get,
        },
    },
    sp_runtime::TryRuntimeError,
};

use crate::{
    epoch::stages,
    pallet::{
        Accusations, ActiveRuns, Arrivals, Checkpoints, Clocks, Config, Controls, EndedQueue, EndedRuns,
        EvidenceRequests, FormerSigners, FreeUids, Gated, Handovers, HeldPay, HoldReason, Members, Merges,
        NextIncarnation, NextRun, NextUid, Pallet, Payouts, Reports, Rewards, Rollbacks, RootVotes, Runs,
        Scores, Shards, Snapshots, Supports, Swaps, TotalHeld, TotalMinted, TotalOwed, UidOf, Unbondings,
        Vestings,
    },
    rollback::{Ballot, CHECKPOINT_EPOCHS},
    types::{account, key, Merge, State},
    verdicts::VERDICT_EPOCHS,
};

type Check = Result<(), TryRuntimeError>;

fn ascending<K: Ord>(keys: impl Iterator<Item = K> + Clone) -> bool {
    keys.clone().zip(keys.skip(1)).all(|(a, b)| a < b)
}

impl<T: Config> Pallet<T> {
    /// Checks what always holds: the list at the top of this file.
    ///
    /// # Errors
    /// The number in the list and what is wrong.
    pub fn check_invariants() -> Result<(), TryRuntimeError> {
        for run in (0..NextRun::<T>::get().0).map(RunId) {
            Self::check_run(run)?;
            Self::check_members(run)?;
            Self::check_changes(run)?;
        }
        Self::check_holds()?;
        Self::check_money()?;
        Self::check_reports()?;
        Self::check_merges()?;
        Self::check_scores()?;
        Self::check_history()?;
        Self::check_supports()?;
        Self::check_verdicts()?;
        Self::check_ended()?;
        Self::check_checkpoints()?;
        Self::check_ballots()?;
        Self::check_signers()
    }

    fn check_signers() -> Check {
        for ((run, epoch), signers) in FormerSigners::<T>::iter() {
            let clock = Clocks::<T>::get(run).ok_or("18: keys of no run were given up")?;
            let judged = clock.state != State::Ended && epoch.0 + VERDICT_EPOCHS >= clock.epoch.0;
            ensure!(judged && epoch <= clock.epoch, "18: keys that were given up are kept for too long");
            ensure!(!signers.is_empty(), "18: an empty list of keys is kept");
            ensure!(ascending(signers.iter().map(|own| own.uid)), "18: given up keys do not ascend");
            let (uids, next) = (NextUid::<T>::get(run), NextIncarnation::<T>::get(run));
            let known = signers.iter().all(|own| own.uid.0 < uids && own.incarnation < next);
            ensure!(known, "18: somebody who was no member gave up a key");
        }
        Ok(())
    }

    fn check_checkpoints() -> Check {
        for ((run, epoch), checkpoint) in Checkpoints::<T>::iter() {
            let params = Runs::<T>::get(run).ok_or("17: a checkpoint of no run")?;
            let clock = Clocks::<T>::get(run).ok_or("17: a checkpoint of no run")?;
            ensure!(checkpoint.roots.len() == params.stages.len(), "17: a checkpoint lacks a stage");
            // The last step of a `Close` may be yet to come.
            let kept = epoch.0 + CHECKPOINT_EPOCHS >= clock.epoch.0 && epoch <= clock.epoch;
            ensure!(kept, "17: a checkpoint is too old, or not closed");
            for (stage, root) in stages(&params).zip(&checkpoint.roots) {
                let canonical = Merges::<T>::get((run, epoch, stage)).and_then(|merge| merge.canonical_root);
                ensure!(canonical.is_none_or(|own| own == *root), "17: a checkpoint contradicts a merge");
            }
        }
        Ok(())
    }

    fn check_ballots() -> Check {
        for (run, stage, ballot) in RootVotes::<T>::iter() {
            let exists = Runs::<T>::get(run).is_some_and(|params| params.stage(stage).is_some());
            ensure!(exists, "17: a root is attested for a stage that does not exist");
            ensure!(!ballot.votes.is_empty(), "17: an empty ballot is kept");
            let decided = Self::check_ballot(run, &ballot)?;
            ensure!(ballot.decided == decided, "17: another root is decided than two thirds attest");
        }
        for (run, ballot) in Rollbacks::<T>::iter() {
            let decided = Self::check_ballot(run, &ballot)?;
            // The admin decides without votes and over them.
            ensure!(decided.is_none() || ballot.decided.is_some(), "17: two thirds decided nothing");
            let mut named = ballot.votes.iter().map(|(_, to)| *to).chain(ballot.decided);
            let recorded = named.all(|to| Checkpoints::<T>::contains_key((run, to)));
            ensure!(recorded, "17: there is no way to go back");
        }
        Ok(())
    }

    /// What two thirds of the stake name; the voters have a permit, and no vote is theirs twice.
    fn check_ballot<V: Copy + PartialEq>(
        run: RunId,
        ballot: &Ballot<V>,
    ) -> Result<Option<V>, TryRuntimeError> {
        let clock = Clocks::<T>::get(run).ok_or("17: a ballot of no run")?;
        ensure!(clock.state == State::Running, "17: a ballot of a run that rests");
        let voters: BTreeSet<Uid> = ballot.votes.iter().map(|(voter, _)| *voter).collect();
        ensure!(voters.len() == ballot.votes.len(), "17: somebody voted twice");
        let snapshot = clock.epoch.previous().and_then(|before| Snapshots::<T>::get((run, before)));
        // The admin needs no snapshot, votes do.
        let Some(snapshot) = snapshot else {
            ensure!(voters.is_empty(), "17: votes without a snapshot");
            return Ok(None);
        };
        let permitted = voters.iter().all(|voter| snapshot.validators.iter().any(|own| own.uid == *voter));
        ensure!(permitted, "17: somebody voted without a permit");
        Ok(ballot.count(&snapshot))
    }

    fn check_ended() -> Check {
        let (first, after) = EndedQueue::<T>::get();
        let queued: BTreeSet<RunId> =
            (first..after).filter_map(EndedRuns::<T>::get).map(|ended| ended.run).collect();
        let places = usize::try_from(after.saturating_sub(first)).unwrap_or(usize::MAX);
        ensure!(queued.len() == places, "16: the queue has a gap or names a run twice");
        ensure!(EndedRuns::<T>::iter_keys().count() == places, "16: an entry is outside of the queue");
        let ended = |run: &RunId| Clocks::<T>::get(run).is_some_and(|clock| clock.state == State::Ended);
        ensure!(queued.iter().all(ended), "16: a run in the queue has not ended");
        let all = (0..NextRun::<T>::get().0).map(RunId);
        for run in all.filter(|run| ended(run) && !queued.contains(run)) {
            ensure!(Members::<T>::iter_key_prefix(run).next().is_none(), "16: a dropped run has members");
            ensure!(NextUid::<T>::get(run) == 0, "16: a dropped run has uids");
        }
        ensure!(
            Reports::<T>::iter_keys().all(|(run, _)| queued.contains(&run) || !ended(&run)),
            "16: a dropped run has reports"
        );
        Ok(())
    }

    fn check_verdicts() -> Check {
        for (_, gated) in Gated::<T>::iter() {
            ensure!(ascending(gated.iter()), "14: gates do not ascend");
        }
        let judged = |(run, epoch): (RunId, Epoch)| {
            Clocks::<T>::get(run)
                .is_some_and(|clock| clock.state != State::Ended && epoch.0 + VERDICT_EPOCHS >= clock.epoch.0)
        };
        ensure!(Accusations::<T>::iter_keys().all(|(at, _)| judged(at)), "14: an accusation is too old");
        ensure!(EvidenceRequests::<T>::iter_keys().all(|(at, _)| judged(at)), "14: a request is too old");
        ensure!(HeldPay::<T>::iter_keys().all(|(at, _)| judged(at)), "14: pay is held for too long");
        let active = ActiveRuns::<T>::get();
        let shares: u32 = active.iter().map(|run| Controls::<T>::get(run).share_ppm).sum();
        ensure!(shares <= PPM, "14: runs share more than the whole emission");
        ensure!(Controls::<T>::iter_keys().all(|run| active.contains(&run)), "14: an ended run has controls");
        Ok(())
    }

    fn check_run(run: RunId) -> Check {
        let params = Runs::<T>::get(run).ok_or("1: a run lacks parameters")?;
        let clock = Clocks::<T>::get(run).ok_or("1: a run lacks a clock")?;
        ensure!(params.validate().is_ok(), "1: parameters of a run contradict each other");
        let active = ActiveRuns::<T>::get().contains(&run);
        ensure!(active == (clock.state != State::Ended), "1: active runs are not those that have not ended");
        Ok(())
    }

    fn check_members(run: RunId) -> Check {
        let params = Runs::<T>::get(run).ok_or("1: a run lacks parameters")?;
        let members = Self::members_of(run);
        let free = FreeUids::<T>::get(run);
        let given = NextUid::<T>::get(run);
        ensure!(u32::from(given) <= MAX_MEMBERS, "2: more uids than members may be");
        ensure!(members.len() + free.len() == usize::from(given), "2: a uid is neither held nor free");
        ensure!(ascending(free.iter()), "2: free uids do not ascend");
        ensure!(
            UidOf::<T>::iter_prefix(run).count() == members.len(),
            "2: hotkeys are not as many as members"
        );
        let mut incarnations = BTreeSet::new();
        for (uid, member) in &members {
            ensure!(uid.0 < given && !free.contains(uid), "2: a member holds a free uid");
            let hotkey = account(&member.hotkey);
            ensure!(UidOf::<T>::get(run, hotkey) == Some(*uid), "2: a member's hotkey has another uid");
            ensure!(
                member.incarnation < NextIncarnation::<T>::get(run),
                "3: an incarnation is from the future"
            );
            ensure!(incarnations.insert(member.incarnation), "3: two members share an incarnation");
            let stage_exists = member.stage.is_none_or(|stage| params.stage(stage).is_some());
            ensure!(stage_exists, "4: a member holds a stage that does not exist");
            let fits = match member.role {
                Role::Miner => member.bond == 0,
                Role::Validator => member.stage.is_none(),
            };
            ensure!(fits, "4: a miner has a bond or a validator a stage");
        }
        Ok(())
    }

    fn check_changes(run: RunId) -> Check {
        let (mut seats, mut hotkeys) = (BTreeSet::new(), BTreeSet::new());
        for arrival in Arrivals::<T>::get(run) {
            let held = Members::<T>::get(run, arrival.uid);
            ensure!(held.is_some_and(|member| member.leaving), "13: an arrival waits for no leaving member");
            ensure!(seats.insert(arrival.uid), "13: two arrivals wait for one seat");
            ensure!(hotkeys.insert(arrival.hotkey), "13: a hotkey arrives twice");
            ensure!(
                arrival.incarnation < NextIncarnation::<T>::get(run),
                "3: an incarnation is from the future"
            );
        }
        for swap in Swaps::<T>::get(run) {
            ensure!(hotkeys.insert(swap.hotkey), "13: a hotkey is promised twice");
        }
        let unused = hotkeys.iter().all(|hotkey| !UidOf::<T>::contains_key(run, account(hotkey)));
        ensure!(unused, "13: a promised hotkey is a member's");
        let owned = Handovers::<T>::iter_key_prefix(run).all(|uid| Members::<T>::contains_key(run, uid));
        ensure!(owned, "13: nobody's coldkey is to change");
        Ok(())
    }

    fn check_holds() -> Check {
        let mut bonds = BTreeMap::<AccountKey, u128>::new();
        for (_, _, member) in Members::<T>::iter() {
            *bonds.entry(member.coldkey).or_default() += member.bond;
        }
        for (_, coldkey, unbonding) in Unbondings::<T>::iter() {
            ensure!(unbonding.amount > 0, "5: nothing is unbonding");
            *bonds.entry(key(&coldkey)).or_default() += unbonding.amount;
        }
        for (coldkey, bond) in bonds {
            let held = T::Currency::balance_on_hold(&HoldReason::Bond.into(), &account(&coldkey));
            ensure!(held == bond, "5: what is on hold is not the sum of bonds");
            let held = T::Currency::balance_on_hold(&HoldReason::Accusation.into(), &account(&coldkey));
            ensure!(held == Self::deposited_by(&coldkey), "5: deposits are not those of open accusations");
        }
        for control in Controls::<T>::iter_values().filter(|control| control.owner.is_some()) {
            let owner = control.owner.map(|owner| account(&owner)).ok_or("5: a run lost its owner")?;
            let held = T::Currency::balance_on_hold(&HoldReason::Run.into(), &owner);
            ensure!(held >= control.deposit, "5: a run's deposit is not on hold");
        }
        Ok(())
    }

    fn check_money() -> Check {
        let vesting: u128 = Vestings::<T>::iter_values().map(|record| record.tranches.total()).sum();
        let owed = Rewards::<T>::iter_values().sum::<u128>() + vesting;
        ensure!(owed == TotalOwed::<T>::get(), "6: rewards and vesting pay are not the total owed");
        let held: u128 = HeldPay::<T>::iter_values().map(|payment| payment.amount).sum();
        ensure!(held == TotalHeld::<T>::get(), "6: the sum of held pay is not the total held");
        ensure!(T::Currency::balance(&Self::pot()) >= owed + held, "6: the pot holds less than is owed");
        let mut entries = BTreeMap::<AccountKey, u128>::new();
        for (run, incarnation, record) in Vestings::<T>::iter() {
            ensure!(!record.tranches.is_empty() || record.entry > 0, "6: a record of nothing is kept");
            ensure!(incarnation < NextIncarnation::<T>::get(run), "6: a record is from the future");
            *entries.entry(record.coldkey).or_default() += record.entry;
        }
        for (coldkey, entry) in entries {
            let held = T::Currency::balance_on_hold(&HoldReason::Entry.into(), &account(&coldkey));
            ensure!(held == entry, "6: what newcomers hold is not the sum of their records");
        }
        let minted: u128 = Clocks::<T>::iter_values().map(|clock| clock.minted).sum();
        ensure!(minted == TotalMinted::<T>::get(), "7: runs minted another sum than the chain");
        ensure!(minted <= MAX_SUPPLY, "7: more was minted than the supply");
        Ok(())
    }

    fn check_reports() -> Check {
        for (at, report) in Reports::<T>::iter() {
            let split = report.split;
            let whole = split.miners + split.validators + split.treasury;
            ensure!(split.minted == whole, "8: shares of an epoch do not sum to what it minted");
            let table = Payouts::<T>::get(at);
            let paid: u128 = table.iter().map(|payment| payment.amount).sum();
            ensure!(paid == split.miners + split.validators, "8: payouts do not sum to the shares");
            ensure!(!report.void || split.minted == 0, "8: a void epoch minted");
            let payouts = report.view(at.1, &table).payouts;
            ensure!(payouts_root(&payouts) == report.payouts_root, "8: payouts do not match their root");
        }
        Ok(())
    }

    fn check_merges() -> Check {
        for (at, merge) in Merges::<T>::iter() {
            ensure!(ascending(merge.commits.iter().map(|commit| commit.uid)), "9: commits do not ascend");
            Self::check_commits(&merge)?;
            let (n, shards) = (merge.commits.len(), Shards::<T>::get(at).len());
            let expected = if n == 1 { 1 } else { n * n.saturating_sub(1) / 2 };
            ensure!(shards == 0 || shards == expected, "10: shards are not as many as pairs");
        }
        Ok(())
    }

    fn check_commits(merge: &Merge) -> Check {
        let all = (0..merge.commits.len()).fold(Bitmap::default(), Bitmap::with);
        let named = |bitmap: Option<Bitmap>| bitmap.is_none_or(|bitmap| bitmap.0 & !all.0 == 0);
        ensure!(named(merge.entry_set), "9: the entry set names nobody");
        for commit in &merge.commits {
            ensure!(named(commit.attested), "9: an attestation names nobody");
            ensure!(!commit.opened || commit.blind.is_some(), "9: a merge was opened without a blind");
        }
        Ok(())
    }

    fn check_scores() -> Check {
        for (_, snapshot) in Snapshots::<T>::iter() {
            ensure!(ascending(snapshot.miners.iter().map(|m| m.uid)), "11: miners do not ascend");
            ensure!(ascending(snapshot.validators.iter().map(|v| v.uid)), "11: validators do not ascend");
        }
        for (at, uid, score) in Scores::<T>::iter() {
            let snapshot = Snapshots::<T>::get(at).ok_or("11: scores of an epoch without a snapshot")?;
            let permitted =
                snapshot.validators.iter().any(|v| v.uid == uid && v.incarnation == score.incarnation);
            ensure!(permitted, "11: scores by a validator that the snapshot does not hold");
            let ordered = score.row.is_none_or(|row| ascending(row.entries.iter().map(|entry| entry.uid)));
            ensure!(ordered, "11: a row does not ascend");
        }
        Ok(())
    }

    fn check_supports() -> Check {
        let mut wholes = BTreeMap::<(RunId, Uid, Incarnation), u64>::new();
        for (run, _, support) in Supports::<T>::iter() {
            ensure!(ascending(support.bonds.iter().map(|bond| bond.uid)), "15: bonds do not ascend");
            for bond in &support.bonds {
                *wholes.entry((run, bond.uid, bond.incarnation)).or_default() += u64::from(bond.part);
            }
        }
        let whole = wholes.values().all(|sum| *sum == u64::from(BOND_ONE));
        ensure!(whole, "15: bonds of a miner are not one whole");
        Ok(())
    }

    fn check_history() -> Check {
        let oldest = |run: RunId, kept: u32| {
            Clocks::<T>::get(run).map_or(0, |clock| clock.epoch.0.saturating_sub(kept.saturating_add(1)))
        };
        let (short, long) = (T::HistoryDepth::get(), T::EpochHistory::get());
        let merges = Merges::<T>::iter_keys().all(|(run, epoch, _)| epoch.0 >= oldest(run, short));
        let snapshots = Snapshots::<T>::iter_keys().all(|(run, epoch)| epoch.0 >= oldest(run, short));
        let reports = Reports::<T>::iter_keys().all(|(run, epoch)| epoch.0 >= oldest(run, long));
        ensure!(merges && snapshots && reports, "12: something older than the history is kept");
        Ok(())
    }
}
