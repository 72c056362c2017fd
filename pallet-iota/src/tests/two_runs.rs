//! Two runs at once, each with its own members, windows and share of the emission; one hotkey is in both.

use std::collections::{BTreeMap, BTreeSet};

use codec::Encode;
use iota_protocol::{
    emission::INITIAL_PER_EPOCH,
    hash::register_payload,
    ids::{Epoch, Hash, Incarnation, RunId, Stage, Uid},
    params::RunParams,
    phase::{Phase, Schedule},
    shard::Shards as ShardMap,
    work::{blind_hash, scores_hash, Bitmap, Role, ScoreEntry, ScoreReveal, ShardHashes, WorkCommit},
};
use polkadot_sdk::{frame_support::assert_ok, sp_core::Pair, sp_runtime::AccountId32};

use crate::{
    mock::*,
    pallet::*,
    types::{key, Clock, Member, State},
};

const OTHER: RunId = RunId(1);
/// Miners, then validators, by their keys. Miner 0 works in both, with one hotkey.
const MEMBERS: [(RunId, [u8; 4], [u8; 2]); 2] =
    [(RUN, [0, 1, 2, 3], [4, 5]), (OTHER, [0, 11, 12, 13], [14, 15])];
const SALT: [u8; 32] = [4; 32];

fn clock_of(run: RunId) -> Clock {
    Clocks::<Test>::get(run).unwrap()
}

fn schedule_of(run: RunId) -> Schedule {
    clock_of(run).schedule(&Runs::<Test>::get(run).unwrap())
}

fn member_in(run: RunId, index: u8) -> (Uid, Member) {
    let uid = UidOf::<Test>::get(run, hotkey(index)).unwrap();
    (uid, Members::<Test>::get(run, uid).unwrap())
}

/// What the pallet stores under keys that begin with a run: hashed, then the run in the clear.
fn stored_of(run: RunId) -> BTreeMap<Vec<u8>, Vec<u8>> {
    // Two names of 16 bytes each, and 8 bytes of hash.
    const RUN_AT: usize = 40;
    let prefix = polkadot_sdk::sp_io::hashing::twox_128(b"Iota");
    let (mut key, mut all) = (prefix.to_vec(), BTreeMap::new());
    while let Some(next) = polkadot_sdk::sp_io::storage::next_key(&key).filter(|key| key.starts_with(&prefix))
    {
        if next.get(RUN_AT..RUN_AT + 4) == Some(&run.encode()) {
            all.insert(next.clone(), polkadot_sdk::sp_io::storage::get(&next).unwrap().to_vec());
        }
        key = next;
    }
    all
}

/// Does what concerns `run`, and holds that nothing of the other run changed.
fn only(run: RunId, what: impl FnOnce()) {
    let other = if run == RUN { OTHER } else { RUN };
    let before = stored_of(other);
    assert!(!before.is_empty(), "keys of {other:?} are not recognised");
    what();
    assert_eq!(stored_of(other), before, "what {run:?} did changed {other:?}");
}

/// Registers and serves; a validator bonds. Returns the price.
fn join_in(run: RunId, index: u8, role: Role) -> u128 {
    let (owner, price) = (coldkey(index), Iota::price_now());
    let payload = register_payload(&Iota::genesis_hash(), run, &key(&owner), &key(&hotkey(index)));
    let proof = hotkey_pair(index).sign(&payload.0).0;
    assert_ok!(Iota::register(signed(owner.clone()), run, hotkey(index), role, proof, price));
    let (endpoint, signature) = endpoint(index);
    assert_ok!(Iota::serve(signed(hotkey(index)), run, endpoint, signature));
    if role == Role::Validator {
        assert_ok!(Iota::bond(signed(owner), run, member_in(run, index).0, MIN_BOND));
    }
    price
}

fn hashes_of(run: RunId, index: u8) -> ShardHashes {
    let (uid, member) = member_in(run, index);
    let (clock, stage) = (clock_of(run), member.stage.unwrap());
    let merge = Merges::<Test>::get((run, clock.epoch, stage)).unwrap();
    let (position, _) = merge.find(uid, member.incarnation).unwrap();
    let map = ShardMap::new(&clock.seed.unwrap(), stage, merge.commits.len(), 4).unwrap();
    let own: Vec<_> = map.owned_by(position).into_iter().map(|s| (s, Some(Hash([9; 32])))).collect();
    own.try_into().unwrap()
}

/// What a miner owes its run in this window.
fn mine(run: RunId, index: u8, phase: Phase) {
    let (who, epoch) = (signed(hotkey(index)), clock_of(run).epoch);
    let (uid, member) = member_in(run, index);
    let sent = match phase {
        Phase::Commit => {
            let root = Hash([index; 32]);
            let started = if member.stage == Some(Stage(0)) { 10 } else { 0 };
            let work =
                WorkCommit { entry_root: root, log_root: root, receipts_root: root, samples: 9, started };
            Iota::commit_work(who, run, epoch, work)
        }
        Phase::Attest => Iota::attest(who, run, epoch, Bitmap(0b11)),
        Phase::Blind => {
            let hash = blind_hash(uid, member.incarnation, epoch, &SALT, &hashes_of(run, index));
            Iota::blind_merge(who, run, epoch, hash)
        }
        Phase::Open => Iota::open_merge(who, run, epoch, SALT, hashes_of(run, index)),
        Phase::Root => Iota::commit_root(who, run, epoch, Hash([5; 32])),
        Phase::Train | Phase::Close => Ok(()),
    };
    assert_ok!(sent);
}

/// What a validator says about the epoch before; `open` reveals what was committed.
fn judge(run: RunId, index: u8, open: bool) {
    let Some(scored) = clock_of(run).epoch.previous() else { return };
    let snapshot = Snapshots::<Test>::get((run, scored)).unwrap();
    let entry =
        |m: &crate::types::MinerRecord| ScoreEntry { uid: m.uid, incarnation: m.incarnation, score: 9 };
    let entries: Vec<_> = snapshot.miners.iter().map(entry).collect();
    let row = ScoreReveal { entries: entries.try_into().unwrap(), salt: SALT, report_root: Hash::ZERO };
    let (uid, member) = member_in(run, index);
    if open {
        assert_ok!(Iota::reveal_scores(signed(hotkey(index)), run, scored, uid, row));
    } else {
        let author = key(&hotkey(index));
        let hash = scores_hash(&Iota::genesis_hash(), run, &author, member.incarnation, scored, &row);
        assert_ok!(Iota::commit_scores(signed(hotkey(index)), run, scored, hash));
    }
}

/// What all members of a run do in this block: everything in the first block of a window.
fn duties(run: RunId, miners: &[u8], validators: &[u8]) {
    let (schedule, now) = (schedule_of(run), System::block_number());
    if clock_of(run).state != State::Running {
        return;
    }
    for phase in [Phase::Commit, Phase::Attest, Phase::Blind, Phase::Open, Phase::Root] {
        if schedule.window(phase).start == now {
            miners.iter().for_each(|index| mine(run, *index, phase));
        }
    }
    for (window, open) in [(schedule.score_commit(), false), (schedule.score_reveal(), true)] {
        if window.start == now {
            validators.iter().for_each(|index| judge(run, *index, open));
        }
    }
}

/// A second run with longer epochs; three quarters of the emission are its.
fn begin() -> BTreeMap<RunId, u128> {
    let mut longer = RunParams { epochs: 9, ..params() };
    longer.phases.train += 25;
    assert_ok!(Iota::sponsor_run(signed(coldkey(20)), longer));
    assert_ok!(Iota::set_run_share(RuntimeOrigin::root(), RUN, 250_000));
    assert_ok!(Iota::set_run_share(RuntimeOrigin::root(), OTHER, 750_000));
    let mut burned = BTreeMap::new();
    for (run, miners, validators) in MEMBERS {
        only(run, || {
            let sum: u128 = miners.map(|index| join_in(run, index, Role::Miner)).iter().sum();
            let more: u128 = validators.map(|index| join_in(run, index, Role::Validator)).iter().sum();
            burned.insert(run, sum + more);
        });
    }
    burned
}

fn paid_to(run: RunId, epoch: Epoch) -> BTreeSet<AccountId32> {
    let report = Iota::report_view(run, epoch).unwrap();
    report.payouts.iter().map(|payout| crate::types::account(&payout.coldkey)).collect()
}

#[test]
fn two_runs_train_score_and_pay_side_by_side_and_neither_touches_the_other() {
    with_run(RunParams { epochs: 9, ..params() }, || {
        let burned = begin();
        while MEMBERS.iter().any(|(run, ..)| clock_of(*run).epoch < Epoch(3)) {
            run_to(System::block_number() + 1);
            assert!(System::block_number() < 1_000, "{:?} {:?}", clock_of(RUN), clock_of(OTHER));
            for (run, miners, validators) in MEMBERS {
                only(run, || duties(run, &miners, &validators));
            }
        }
        assert!(clock_of(RUN).epoch > clock_of(OTHER).epoch, "shorter epochs do not come faster");
        let mut minted = 0;
        for (run, miners, validators) in MEMBERS {
            let share = if run == RUN { 250_000 } else { 750_000 };
            for epoch in (0..clock_of(run).epoch.0 - 1).map(Epoch) {
                let report = Iota::report_view(run, epoch).unwrap();
                let whole = INITIAL_PER_EPOCH * u128::from(share) / 1_000_000;
                assert_eq!((report.void, report.terms.share_ppm, report.split.minted), (false, share, whole));
                minted += report.split.minted;
                let members: BTreeSet<_> =
                    miners.iter().chain(&validators).map(|own| coldkey(*own)).collect();
                assert_eq!(paid_to(run, epoch), members, "{run:?} {epoch:?}");
            }
            assert_eq!(Iota::members_view(run).len(), 6);
            let first = Iota::report_view(run, Epoch(0)).unwrap().split.burned;
            assert_eq!(Some(&first), burned.get(&run), "{run:?} counts what its own members burned");
        }
        assert_eq!(TotalMinted::<Test>::get(), minted);
        leaves_one_and_stays_in_the_other();
    });
}

/// The hotkey that is in both has two members, with pay and vesting of their own.
fn leaves_one_and_stays_in_the_other() {
    let (here, there) = (member_in(RUN, 0), member_in(OTHER, 0));
    let vests = |run, incarnation| Vestings::<Test>::get(run, incarnation).unwrap().tranches.total();
    let pay: Vec<u128> =
        [(RUN, &here), (OTHER, &there)].map(|(run, own)| vests(run, own.1.incarnation)).into();
    assert!(matches!(pay[..], [less, more] if 0 < less && less < more), "{pay:?}");
    assert_eq!((here.1.incarnation, there.1.incarnation), (Incarnation(0), Incarnation(0)));
    only(RUN, || {
        assert_ok!(Iota::leave(signed(hotkey(0)), RUN, here.0));
        assert_ok!(Iota::release(signed(coldkey(30)), RUN, here.1.incarnation));
        assert!(Iota::forfeit(RUN, here.0, here.1.incarnation) > 0);
    });
    assert_eq!(member_in(OTHER, 0), there);
}
