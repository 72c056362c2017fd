//! What `scripts/weights` measures: every call at its worst, and every part of a hook by its lengths.
//!
//! Each benchmark is also a test over the mock, with six values of each component. Components and order
//! are those of [`crate::weights::WeightInfo`]. FRAME takes all benchmarks of a pallet from one module, and the
//! names of their components reach no section of another file, so that this file is long; what they start from is
//! in `world`.

mod shape;
mod world;

use alloc::vec::Vec;
use iota_protocol::{
    equivocation::{Equivocation, SignedHeader},
    hash::{register_payload, serve_payload},
    ids::{AccountKey, Attempt, Epoch, Hash, Incarnation, RunId, Sample, Stage, Uid},
    params::{WireCodec, MAX_MEMBERS},
    phase::Phase,
    receipt::Direction,
    shard::Shards as ShardMap,
    wire::{HopHeader, WIRE_VERSION},
    work::{blind_hash, transcripts_hash, Bitmap, Role, ShardHashes},
};
use polkadot_sdk::{
    frame_benchmarking::v2::*,
    frame_support::{
        traits::{
            fungible::{Inspect, Mutate, MutateHold},
            Get,
        },
        BoundedVec,
    },
    frame_system::{self, RawOrigin},
    sp_core::{crypto::KeyTypeId, ed25519},
    sp_io,
    sp_runtime::AccountId32,
};

use crate::{
    evidence::EvidenceRequest,
    pallet::*,
    rollback::Ballot,
    types::{key, Arrival, Clock, Handover, Member, Payment, State, Swap, Unbonding, Vesting},
    verdicts::{Accusation, MAX_ACCUSATIONS, VERDICT_EPOCHS},
    weights::Meter,
};
use world::{
    at, closing, coldkey, full, hotkey, ids, member, merge, merge_of, params, rich, run, score, seat, shards,
    sign, signer, snapshot, EPOCH, MINERS, SCORED, VALIDATORS,
};

/// Writes the state of a run into storage whose `Close` fits into one block; the number of that block.
pub fn before_close<T: Config>() -> u32 {
    closing::<T>(48, 4, 16).1
}

/// The first validator of a full run.
const JUDGE: u32 = MINERS;

fn by(who: AccountId32) -> RawOrigin<AccountId32> {
    RawOrigin::Signed(who)
}

/// A full run in `Train`, in which the epoch before has a snapshot.
fn judged<T: Config>() -> RunId {
    let run = full::<T>(Phase::Train);
    snapshot::<T>(run, SCORED, MINERS, 3, VALIDATORS);
    run
}

/// A full run in a window of an epoch whose predecessor has a snapshot.
fn judged_now<T: Config>(phase: Phase) -> RunId {
    let run = full::<T>(phase);
    snapshot::<T>(run, SCORED, MINERS, 3, VALIDATORS);
    run
}

/// Votes of so many validators, the last first, for one value; not counted yet.
fn ballot<V: Clone>(count: u32, value: V) -> Ballot<V> {
    let votes: Vec<(Uid, V)> =
        (0..count).map(|at| (ids(JUDGE + VALIDATORS - 1 - at).0, value.clone())).collect();
    Ballot { votes: BoundedVec::truncate_from(votes), decided: None }
}

/// An accusation of miner 0's segment, with votes; the accusers of different segments differ.
fn accusation<T: Config>(run: RunId, segment: u32, votes: u32) {
    let accuser = JUDGE + VALIDATORS - 1 - segment % VALIDATORS;
    let (uid, accuser_incarnation) = ids(accuser);
    let deposit = T::AccusationDeposit::get();
    T::Currency::hold(&HoldReason::Accusation.into(), &coldkey(accuser), deposit).expect("it is rich");
    let votes: Vec<(Uid, bool)> = (0..votes).map(|at| (ids(JUDGE + 1 + at).0, true)).collect();
    let accusation = Accusation {
        incarnation: Incarnation(0),
        accuser: uid,
        accuser_incarnation,
        coldkey: key(&coldkey(accuser)),
        evidence: Hash::ZERO,
        deposit,
        votes: BoundedVec::truncate_from(votes),
        verdict: None,
    };
    Accusations::<T>::insert((run, SCORED), (Uid(0), segment), accusation);
}

/// A request about a miner by all validators but the first `missing`.
fn request<T: Config>(run: RunId, epoch: Epoch, index: u32, missing: u32) {
    let (uid, incarnation) = ids(index);
    let askers: Vec<Uid> = (JUDGE + missing..JUDGE + VALIDATORS).map(|at| ids(at).0).collect();
    let askers = BoundedVec::truncate_from(askers);
    let wanted = Hash([1; 32]);
    let request = EvidenceRequest { incarnation, again: true, wanted, askers, quorum: true, answer: None };
    EvidenceRequests::<T>::insert((run, epoch), uid, request);
}

/// The hold of a newcomer on miner 0's coldkey, and pay that has vested.
fn entry<T: Config>(run: RunId, until: Epoch) {
    let amount = T::MinValidatorBond::get();
    T::Currency::hold(&HoldReason::Entry.into(), &coldkey(0), amount).expect("it is rich");
    Vestings::<T>::mutate(run, Incarnation(0), |record| {
        let record = record.as_mut().expect("miners have one");
        (record.entry, record.entry_until) = (amount, Some(until));
    });
    T::Currency::mint_into(&Pallet::<T>::pot(), 1 << 60).expect("the pot can take it");
    TotalOwed::<T>::put(1u128 << 60);
}

/// Consent of a new hotkey of that name.
fn consent<T: Config>(run: RunId, owner: &AccountId32, name: &[u8]) -> (AccountId32, [u8; 64]) {
    let public = signer(name);
    let hotkey = AccountId32::new(public.0);
    let payload = register_payload(&Pallet::<T>::genesis_hash(), run, &key(owner), &AccountKey(public.0));
    (hotkey, sign(&public, &payload))
}

/// How many commits each stage has so that pairs of committers are `pairs` in all, or a little fewer.
fn groups(mut pairs: u32, stages: u32) -> Vec<u32> {
    let group = |_| {
        let most = (1..=64u32).rev().find(|n| n * (n - 1) / 2 <= pairs).unwrap_or(1);
        pairs -= most * (most - 1) / 2;
        most
    };
    (0..stages).map(group).collect()
}

#[benchmarks(where T: Config)]
mod benchmarks {
    use super::*;

    #[benchmark]
    fn create_run(s: Linear<1, 64>) {
        run::<T>(64);
        ActiveRuns::<T>::mutate(|active| active.pop());
        #[extrinsic_call]
        _(RawOrigin::Root, params(s));
        assert_eq!(ActiveRuns::<T>::get().len() as u32, T::MaxRuns::get());
    }

    #[benchmark]
    fn register() {
        let run = full::<T>(Phase::Train);
        let owner = rich::<T>(1_000);
        MeanPay::<T>::insert(run, 1_000_000);
        let (hot, proof) = consent::<T>(run, &owner, b"//newcomer");
        let arrival = |at: u32| Arrival {
            uid: Uid(at as u16),
            incarnation: Incarnation(at),
            hotkey: key(&hotkey(2_000 + at)),
            coldkey: key(&coldkey(at)),
            role: Role::Miner,
        };
        let arrivals = (0..crate::seats::MAX_ARRIVALS - 1).map(arrival).collect();
        Arrivals::<T>::insert(run, BoundedVec::truncate_from(arrivals));
        #[extrinsic_call]
        _(by(owner), run, hot, Role::Miner, proof, u128::MAX);
        assert_eq!(Arrivals::<T>::get(run).len() as u32, crate::seats::MAX_ARRIVALS);
    }

    #[benchmark]
    fn register_now() {
        let run = full::<T>(Phase::Train);
        Clocks::<T>::insert(run, Clock::waiting());
        let owner = rich::<T>(1_000);
        MeanPay::<T>::insert(run, 1_000_000);
        // A validator goes: its bond unbonds.
        let (uid, incarnation) = ids(JUDGE);
        Members::<T>::mutate(run, uid, |own| own.as_mut().map(|own| own.standing = None));
        Vestings::<T>::insert(run, incarnation, Vesting::new(key(&coldkey(JUDGE))));
        Handovers::<T>::insert(run, uid, Handover { to: key(&coldkey(0)), ready_at: 1 });
        let (hot, proof) = consent::<T>(run, &owner, b"//newcomer");
        #[extrinsic_call]
        register(by(owner), run, hot.clone(), Role::Miner, proof, u128::MAX);
        assert_eq!(UidOf::<T>::get(run, hot), Some(uid));
        assert!(Unbondings::<T>::contains_key((run, incarnation), coldkey(JUDGE)));
    }

    #[benchmark]
    fn bond() {
        let run = full::<T>(Phase::Train);
        #[extrinsic_call]
        _(by(coldkey(JUDGE)), run, ids(JUDGE).0, T::MinValidatorBond::get());
    }

    #[benchmark]
    fn serve(a: Linear<1, 5>) {
        let run = full::<T>(Phase::Train);
        let peer = sp_io::crypto::ed25519_generate(KeyTypeId(*b"wght"), Some(b"//peer".to_vec()));
        let payload = serve_payload(&Pallet::<T>::genesis_hash(), &key(&hotkey(0)));
        let signature = sp_io::crypto::ed25519_sign(KeyTypeId(*b"wght"), &peer, &payload.0);
        let ed25519::Signature { .. } = signature.expect("the key was just made");
        let endpoint = iota_protocol::work::Endpoint { peer: peer.0, ..world::endpoint(a) };
        #[extrinsic_call]
        _(by(hotkey(0)), run, endpoint, signature.expect("as above").0);
        assert_eq!(Endpoints::<T>::get(run, Uid(0)).expect("served").peer, peer.0);
    }

    #[benchmark]
    fn leave() {
        let run = full::<T>(Phase::Train);
        // Between two epochs a member leaves at once, with all that it has, and its key is kept among those of
        // everybody else.
        Clocks::<T>::mutate(run, |clock| clock.as_mut().map(|clock| clock.state = State::Paused));
        world::former::<T>(run, SCORED, 0..MAX_MEMBERS);
        FormerSigners::<T>::mutate((run, SCORED), |all| all.retain(|own| own.uid != ids(JUDGE).0));
        Vestings::<T>::insert(run, Incarnation(JUDGE), Vesting::new(key(&coldkey(JUDGE))));
        Handovers::<T>::insert(run, ids(JUDGE).0, Handover { to: key(&coldkey(0)), ready_at: 1 });
        #[extrinsic_call]
        _(by(coldkey(JUDGE)), run, ids(JUDGE).0);
        assert!(!Members::<T>::contains_key(run, ids(JUDGE).0));
        assert_eq!(FormerSigners::<T>::get((run, SCORED)).len() as u32, MAX_MEMBERS);
    }

    #[benchmark]
    fn commit_work() {
        let run = full::<T>(Phase::Commit);
        merge_of::<T>(run, 64, |_| ());
        Merges::<T>::mutate((run, EPOCH, Stage(0)), |merge| merge.as_mut().map(|own| own.commits.remove(0)));
        #[extrinsic_call]
        _(by(hotkey(0)), run, EPOCH, world::work(9));
    }

    #[benchmark]
    fn attest() {
        let run = full::<T>(Phase::Attest);
        merge_of::<T>(run, 64, |commit| commit.attested = None);
        #[extrinsic_call]
        _(by(hotkey(0)), run, EPOCH, Bitmap(u64::MAX));
    }

    #[benchmark]
    fn blind_merge() {
        let run = full::<T>(Phase::Blind);
        merge_of::<T>(run, 64, |commit| (commit.blind, commit.opened) = (None, false));
        #[extrinsic_call]
        _(by(hotkey(0)), run, EPOCH, Hash([1; 32]));
    }

    #[benchmark]
    fn open_merge(h: Linear<1, 63>) {
        let run = full::<T>(Phase::Open);
        let map = ShardMap::new(&Hash([8; 32]), Stage(0), h as usize + 1, 2_016).expect("2 to 64 commit");
        let owned: Vec<_> = map.owned_by(0).into_iter().map(|at| (at, Some(Hash([2; 32])))).collect();
        let hashes: ShardHashes = BoundedVec::truncate_from(owned);
        let blind = blind_hash(Uid(0), Incarnation(0), EPOCH, &[3; 32], &hashes);
        merge_of::<T>(run, h + 1, |commit| (commit.blind, commit.opened) = (Some(blind), false));
        shards::<T>(run, EPOCH, 0, h + 1);
        #[extrinsic_call]
        _(by(hotkey(0)), run, EPOCH, [3; 32], hashes);
    }

    #[benchmark]
    fn commit_root() {
        let run = full::<T>(Phase::Root);
        merge_of::<T>(run, 64, |commit| commit.root = None);
        #[extrinsic_call]
        _(by(hotkey(0)), run, EPOCH, Hash([1; 32]));
    }

    #[benchmark]
    fn commit_scores() {
        let run = judged::<T>();
        #[extrinsic_call]
        _(by(hotkey(JUDGE)), run, SCORED, Hash([1; 32]));
    }

    #[benchmark]
    fn reveal_scores(e: Linear<0, 256>) {
        let run = run::<T>(64);
        world::block_of_reveals::<T>(run);
        let void = Epoch(SCORED.0 - 1);
        world::report::<T>(run, void, true);
        snapshot::<T>(run, void, MAX_MEMBERS, 3, VALIDATORS);
        snapshot::<T>(run, SCORED, MAX_MEMBERS, 3, VALIDATORS);
        score::<T>(run, SCORED, MAX_MEMBERS, e, false);
        #[extrinsic_call]
        _(by(coldkey(0)), run, SCORED, ids(MAX_MEMBERS).0, world::reveal(MAX_MEMBERS, e));
        assert!(Scores::<T>::get((run, SCORED), ids(MAX_MEMBERS).0).is_some_and(|own| own.row.is_some()));
    }

    #[benchmark]
    fn claim() {
        let run = full::<T>(Phase::Train);
        entry::<T>(run, EPOCH);
        Rewards::<T>::insert(coldkey(3_000), T::MinValidatorBond::get());
        #[extrinsic_call]
        _(by(coldkey(0)), coldkey(3_000));
        assert_eq!(T::Currency::balance(&coldkey(3_000)), T::MinValidatorBond::get());
    }

    #[benchmark]
    fn release() {
        let run = full::<T>(Phase::Train);
        entry::<T>(run, EPOCH);
        #[extrinsic_call]
        _(by(coldkey(1)), run, Incarnation(0));
    }

    #[benchmark]
    fn unbond() {
        let run = full::<T>(Phase::Train);
        #[extrinsic_call]
        _(by(coldkey(JUDGE)), run, ids(JUDGE).0, 1);
    }

    #[benchmark]
    fn withdraw() {
        let run = full::<T>(Phase::Train);
        Unbondings::<T>::insert(
            (run, Incarnation(JUDGE)),
            coldkey(JUDGE),
            Unbonding { amount: 1, free_at: 1 },
        );
        #[extrinsic_call]
        _(by(coldkey(0)), run, Incarnation(JUDGE), coldkey(JUDGE));
    }

    #[benchmark]
    fn resume() {
        let run = full::<T>(Phase::Train);
        let lost = T::MaxMissedReveals::get();
        Members::<T>::mutate(run, ids(JUDGE).0, |own| own.as_mut().map(|own| own.missed_reveals = lost));
        #[extrinsic_call]
        _(by(hotkey(JUDGE)), run);
    }

    #[benchmark]
    fn swap_hotkey() {
        let run = full::<T>(Phase::Train);
        let (hot, proof) = consent::<T>(run, &coldkey(0), b"//swap");
        let swap = |at: u32| Swap {
            uid: Uid(at as u16),
            incarnation: Incarnation(at),
            hotkey: key(&hotkey(2_000 + at)),
        };
        let waiting = (1..crate::keys::MAX_SWAPS).map(swap).collect();
        Swaps::<T>::insert(run, BoundedVec::truncate_from(waiting));
        #[extrinsic_call]
        _(by(coldkey(0)), run, Uid(0), hot, proof);
        assert_eq!(Swaps::<T>::get(run).len() as u32, crate::keys::MAX_SWAPS);
    }

    #[benchmark]
    fn announce_coldkey() {
        let run = full::<T>(Phase::Train);
        #[extrinsic_call]
        _(by(coldkey(0)), run, Uid(0), coldkey(1));
    }

    #[benchmark]
    fn cancel_coldkey() {
        let run = full::<T>(Phase::Train);
        Handovers::<T>::insert(run, Uid(0), Handover { to: key(&coldkey(1)), ready_at: 1 });
        #[extrinsic_call]
        _(by(coldkey(0)), run, Uid(0));
    }

    #[benchmark]
    fn take_over() {
        let run = full::<T>(Phase::Train);
        // A validator that was a miner's newcomer has both a bond and a hold to move: the worst.
        let amount = T::MinValidatorBond::get();
        T::Currency::hold(&HoldReason::Entry.into(), &coldkey(JUDGE), amount).expect("it is rich");
        let mut record = Vestings::<T>::get(run, Incarnation(0)).expect("miners have one");
        record.entry = amount;
        Vestings::<T>::insert(run, Incarnation(JUDGE), record);
        let to = rich::<T>(4_000);
        Handovers::<T>::insert(run, ids(JUDGE).0, Handover { to: key(&to), ready_at: 1 });
        #[extrinsic_call]
        _(by(to), run, ids(JUDGE).0);
    }

    #[benchmark]
    fn accuse() {
        let run = judged::<T>();
        (1..MAX_ACCUSATIONS).for_each(|segment| accusation::<T>(run, segment, VALIDATORS - 1));
        #[extrinsic_call]
        _(by(hotkey(JUDGE)), run, SCORED, Uid(0), Incarnation(0), 0, Hash([1; 32]));
    }

    #[benchmark]
    fn vote() {
        let run = judged::<T>();
        entry::<T>(run, Epoch(EPOCH.0 + 1));
        // One more vote is two thirds: the miner forfeits, the deposit returns.
        accusation::<T>(run, 0, 2 * VALIDATORS / 3);
        #[extrinsic_call]
        _(by(hotkey(JUDGE)), run, SCORED, Uid(0), 0, true);
        assert!(!Gated::<T>::get((run, SCORED)).is_empty());
    }

    #[benchmark]
    fn request_evidence() {
        let run = judged::<T>();
        request::<T>(run, SCORED, 0, 1);
        EvidenceRequests::<T>::mutate((run, SCORED), Uid(0), |own| own.as_mut().map(|own| own.again = false));
        #[extrinsic_call]
        _(by(hotkey(JUDGE)), run, SCORED, Uid(0), Incarnation(0), Hash([1; 32]));
    }

    #[benchmark]
    fn answer_evidence() {
        let run = judged::<T>();
        request::<T>(run, SCORED, 0, 0);
        EvidenceRequests::<T>::mutate((run, SCORED), Uid(0), |own| own.as_mut().map(|own| own.again = false));
        #[extrinsic_call]
        _(by(hotkey(0)), run, SCORED, Hash([1; 32]));
    }

    #[benchmark]
    fn commit_transcripts() {
        let run = judged::<T>();
        #[extrinsic_call]
        _(by(hotkey(JUDGE)), run, SCORED, Hash([1; 32]));
    }

    #[benchmark]
    fn submit_transcripts(t: Linear<1, 2>) {
        let run = judged::<T>();
        world::block_of_reveals::<T>(run);
        let (transcripts, genesis) = (world::transcripts(t), Pallet::<T>::genesis_hash());
        let author = key(&hotkey(JUDGE));
        let commit = transcripts_hash(&genesis, run, &author, SCORED, &[1; 32], &transcripts);
        let (uid, incarnation) = ids(JUDGE);
        let work = crate::transcripts::AuditWork { incarnation, commit, opened: None };
        AuditWorks::<T>::insert((run, SCORED), uid, work);
        #[extrinsic_call]
        _(by(hotkey(JUDGE)), run, SCORED, [1; 32], transcripts);
    }

    #[benchmark]
    fn report_equivocation() {
        let run = full::<T>(Phase::Train);
        entry::<T>(run, Epoch(EPOCH.0 + 1));
        let oldest = Epoch(EPOCH.0 - VERDICT_EPOCHS);
        // Everybody else gave up a key in each of the epochs, so that all lists are read to no avail.
        (oldest.0..=EPOCH.0).for_each(|epoch| world::former::<T>(run, Epoch(epoch), 1..MAX_MEMBERS));
        let public = signer(b"//liar");
        Members::<T>::mutate(run, Uid(0), |own| own.as_mut().map(|own| own.hotkey = AccountKey(public.0)));
        let header = |codes: u8| HopHeader {
            version: WIRE_VERSION,
            run,
            epoch: oldest,
            sample: Sample(0),
            attempt: Attempt(0),
            stage: Stage(0),
            direction: Direction::Forward,
            from: Uid(0),
            values: 1,
            codec: WireCodec::Int8,
            codes_hash: Hash([codes; 32]),
            parent: Hash::ZERO,
        };
        let signed = |codes| {
            let unsigned = SignedHeader { header: header(codes), signature: [0; 64] };
            let bytes = unsigned.signed_bytes(&Pallet::<T>::genesis_hash());
            SignedHeader { signature: sign(&public, &bytes), ..unsigned }
        };
        let proof = Equivocation { first: signed(1), second: signed(2) };
        #[extrinsic_call]
        _(by(coldkey(1)), proof);
        assert!(!Gated::<T>::get((run, oldest)).is_empty());
    }

    #[benchmark]
    fn sponsor_run(s: Linear<1, 64>) {
        run::<T>(64);
        ActiveRuns::<T>::mutate(|active| active.pop());
        let owner = rich::<T>(0);
        #[extrinsic_call]
        _(by(owner), params(s));
        assert_eq!(ActiveRuns::<T>::get().len() as u32, T::MaxRuns::get());
    }

    #[benchmark]
    fn set_run_share() {
        let run = full::<T>(Phase::Train);
        #[extrinsic_call]
        _(RawOrigin::Root, run, 1);
    }

    #[benchmark]
    fn schedule_params(s: Linear<1, 64>) {
        let run = run::<T>(s);
        at::<T>(run, Phase::Train);
        #[extrinsic_call]
        _(RawOrigin::Root, run, params(s));
        assert!(Pending::<T>::contains_key(run));
    }

    #[benchmark]
    fn pause_run() {
        let run = full::<T>(Phase::Train);
        #[extrinsic_call]
        _(RawOrigin::Root, run);
    }

    #[benchmark]
    fn resume_run() {
        let run = full::<T>(Phase::Train);
        Clocks::<T>::mutate(run, |clock| clock.as_mut().map(|clock| clock.state = State::Paused));
        #[extrinsic_call]
        _(RawOrigin::Root, run);
    }

    #[benchmark]
    fn end_run() {
        let run = full::<T>(Phase::Train);
        Clocks::<T>::mutate(run, |clock| clock.as_mut().map(|clock| clock.state = State::Paused));
        Pending::<T>::insert(run, params(64));
        #[extrinsic_call]
        _(RawOrigin::Root, run);
    }

    #[benchmark]
    fn attest_root() {
        let run = judged_now::<T>(Phase::Root);
        RootVotes::<T>::insert(run, Stage(0), ballot(VALIDATORS - 1, Hash([1; 32])));
        #[extrinsic_call]
        _(by(hotkey(JUDGE)), run, EPOCH, Stage(0), Hash([1; 32]));
        assert_eq!(RootVotes::<T>::get(run, Stage(0)).expect("voted").decided, Some(Hash([1; 32])));
    }

    #[benchmark]
    fn vote_rollback() {
        let run = judged_now::<T>(Phase::Train);
        world::checkpoint::<T>(run, SCORED, 64);
        Rollbacks::<T>::insert(run, ballot(VALIDATORS - 1, SCORED));
        #[extrinsic_call]
        _(by(hotkey(JUDGE)), run, EPOCH, SCORED);
        assert_eq!(Rollbacks::<T>::get(run).expect("voted").decided, Some(SCORED));
    }

    #[benchmark]
    fn roll_back() {
        let run = judged_now::<T>(Phase::Train);
        world::checkpoint::<T>(run, SCORED, 64);
        Rollbacks::<T>::insert(run, ballot(VALIDATORS - 1, SCORED));
        #[extrinsic_call]
        _(RawOrigin::Root, run, SCORED);
        assert_eq!(Rollbacks::<T>::get(run).expect("ordered").decided, Some(SCORED));
    }

    #[benchmark]
    fn hook_idle(r: Linear<0, { T::MaxRuns::get() }>) {
        run::<T>(64);
        let runs: Vec<RunId> = ActiveRuns::<T>::get().into_iter().take(r as usize).collect();
        for run in &runs {
            at::<T>(*run, Phase::Train);
        }
        ActiveRuns::<T>::put(BoundedVec::truncate_from(runs));
        let now = Pallet::<T>::now();
        #[block]
        {
            Pallet::<T>::advance_runs(now + 1);
        }
    }

    #[benchmark]
    fn hook_waiting(n: Linear<0, 256>) {
        let run = run::<T>(64);
        ActiveRuns::<T>::put(BoundedVec::truncate_from(alloc::vec![run]));
        for index in 0..n {
            seat::<T>(run, index, Member { served_in: None, ..member(index, Role::Miner) });
        }
        #[block]
        {
            Pallet::<T>::advance_runs(1);
        }
        assert_eq!(Clocks::<T>::get(run).expect("a run").state, State::Waiting);
    }

    #[benchmark]
    fn hook_start(m: Linear<64, 256>, s: Linear<4, 64>) {
        let run = run::<T>(s);
        ActiveRuns::<T>::put(BoundedVec::truncate_from(alloc::vec![run]));
        Runs::<T>::mutate(run, |params| params.as_mut().map(|params| params.start_replicas = 1));
        (0..m).for_each(|index| seat::<T>(run, index, member(index, Role::Miner)));
        #[block]
        {
            Pallet::<T>::advance_runs(2);
        }
        assert_eq!(Clocks::<T>::get(run).expect("a run").state, State::Running);
    }

    #[benchmark]
    fn hook_extend(c: Linear<64, 256>, s: Linear<4, 64>) {
        let run = run::<T>(s);
        ActiveRuns::<T>::put(BoundedVec::truncate_from(alloc::vec![run]));
        let schedule = at::<T>(run, Phase::Attest);
        (0..s - 1).for_each(|stage| drop(merge::<T>(run, EPOCH, stage, s - 1, c)));
        #[block]
        {
            Pallet::<T>::advance_runs(schedule.window(Phase::Attest).start);
        }
        assert_eq!(Clocks::<T>::get(run).expect("a run").extensions, 1);
    }

    #[benchmark]
    fn hook_seed() {
        let run = full::<T>(Phase::Attest);
        ActiveRuns::<T>::put(BoundedVec::truncate_from(alloc::vec![run]));
        let seed_block = at::<T>(run, Phase::Attest).seed_block();
        #[block]
        {
            Pallet::<T>::advance_runs(seed_block + 1);
        }
        assert!(Seeds::<T>::contains_key((run, EPOCH)));
    }

    #[benchmark]
    fn hook_entries(c: Linear<64, 256>, s: Linear<4, 64>) {
        let run = run::<T>(s);
        ActiveRuns::<T>::put(BoundedVec::truncate_from(alloc::vec![run]));
        let schedule = at::<T>(run, Phase::Blind);
        (0..s).for_each(|stage| drop(merge::<T>(run, EPOCH, stage, s, c)));
        #[block]
        {
            Pallet::<T>::advance_runs(schedule.window(Phase::Blind).start);
        }
        assert!(Merges::<T>::get((run, EPOCH, Stage(0))).is_some_and(|own| own.entry_set.is_some()));
    }

    #[benchmark]
    fn hook_shards(p: Linear<0, 8064>, s: Linear<4, 64>) {
        let run = run::<T>(s);
        ActiveRuns::<T>::put(BoundedVec::truncate_from(alloc::vec![run]));
        let schedule = at::<T>(run, Phase::Open);
        for (stage, n) in (0..).zip(groups(p, s)) {
            merge::<T>(run, EPOCH, stage, s, s * n);
        }
        #[block]
        {
            Pallet::<T>::advance_runs(schedule.window(Phase::Open).start);
        }
        assert!(Shards::<T>::contains_key((run, EPOCH, Stage(0))));
    }

    #[benchmark]
    fn close_settle(m: Linear<64, 192>, v: Linear<1, 64>) {
        let (run, _) = closing::<T>(m, 64, v);
        let (params, mut clock) = (params(64), Clocks::<T>::get(run).expect("a run"));
        #[block]
        {
            Pallet::<T>::settle_scored(run, &params, &mut clock, SCORED, &mut Meter::default());
        }
        assert_eq!(Payouts::<T>::get((run, SCORED)).len() as u32, m + v, "everybody is paid");
    }

    #[benchmark]
    fn close_record(m: Linear<64, 192>, s: Linear<4, 64>, v: Linear<1, 64>) {
        let (run, _) = closing::<T>(m, s, v);
        let (params, mut clock) = (params(s), Clocks::<T>::get(run).expect("a run"));
        // Every stage was attested another root, and then all go back.
        for stage in 0..s {
            let attested = Ballot { decided: Some(Hash([1; 32])), ..ballot(VALIDATORS, Hash([1; 32])) };
            RootVotes::<T>::insert(run, Stage(stage as u16), attested);
        }
        world::checkpoint::<T>(run, SCORED, s);
        world::checkpoint::<T>(run, Epoch(EPOCH.0 - crate::rollback::CHECKPOINT_EPOCHS), s);
        Rollbacks::<T>::insert(run, Ballot { decided: Some(SCORED), ..ballot(VALIDATORS, SCORED) });
        #[block]
        {
            Pallet::<T>::record(run, &params, &mut clock, &mut Meter::default());
        }
        let snapshot = Snapshots::<T>::get((run, EPOCH)).expect("recorded");
        assert_eq!((snapshot.miners.len() as u32, snapshot.validators.len() as u32), (m, v));
        assert_eq!(Checkpoints::<T>::get((run, EPOCH)), Checkpoints::<T>::get((run, SCORED)));
    }

    #[benchmark]
    fn close_retire(n: Linear<0, 256>) {
        let run = run::<T>(64);
        world::members::<T>(run, n, 64, 0);
        let committers = crate::close::Committers::new();
        // Nobody committed for the second time: everybody loses its stage and its endpoint.
        #[block]
        {
            Pallet::<T>::retire_members(run, &committers, &mut Meter::default());
        }
        assert!(Members::<T>::iter_prefix_values(run).all(|own| own.stage.is_none()));
    }

    #[benchmark]
    fn close_turn(m: Linear<64, 256>, s: Linear<4, 64>, v: Linear<1, 64>) {
        let (run, now) = closing::<T>(m, s, v);
        let (params, clock) = (params(s), Clocks::<T>::get(run).expect("a run"));
        world::report::<T>(run, SCORED, false);
        let paid = |index: u32| {
            let (uid, incarnation) = ids(index);
            Payment { uid, incarnation, coldkey: key(&coldkey(index)), amount: u128::from(index) }
        };
        Payouts::<T>::insert((run, SCORED), BoundedVec::truncate_from((0..m).map(paid).collect()));
        Pending::<T>::insert(run, params.clone());
        #[block]
        {
            Pallet::<T>::next_epoch(run, &params, clock, now, &mut Meter::default());
        }
        assert_eq!(Clocks::<T>::get(run).expect("a run").epoch, EPOCH.next());
        let forgotten = Epoch(EPOCH.0 - T::HistoryDepth::get());
        assert!(!Merges::<T>::contains_key((run, forgotten, Stage(0))));
    }

    #[benchmark]
    fn close_leaving(l: Linear<0, { crate::close::MAX_LEAVING }>) {
        let run = full::<T>(Phase::Close);
        // Validators have a bond that unbonds.
        let leaving: Vec<(Uid, Member)> = (JUDGE..JUDGE + l)
            .filter_map(|index| Some((ids(index).0, Members::<T>::get(run, ids(index).0)?)))
            .collect();
        for (uid, own) in &leaving {
            Vestings::<T>::insert(run, own.incarnation, Vesting::new(own.coldkey));
            Handovers::<T>::insert(run, uid, Handover { to: key(&coldkey(0)), ready_at: 1 });
        }
        // As many changed their keys in this `Close`.
        world::former::<T>(run, EPOCH, 0..crate::keys::MAX_SWAPS);
        #[block]
        {
            leaving.iter().for_each(|(uid, own)| Pallet::<T>::remove_member(run, *uid, own));
        }
        assert_eq!(FreeUids::<T>::get(run).len() as u32, l);
    }

    #[benchmark]
    fn close_arrivals(a: Linear<0, { crate::seats::MAX_ARRIVALS }>) {
        let run = run::<T>(64);
        at::<T>(run, Phase::Close);
        let arrival = |index: u32| Arrival {
            uid: Uid(index as u16),
            incarnation: Incarnation(index),
            hotkey: key(&hotkey(index)),
            coldkey: key(&coldkey(index)),
            role: Role::Miner,
        };
        Arrivals::<T>::insert(run, BoundedVec::truncate_from((0..a).map(arrival).collect()));
        FreeUids::<T>::insert(run, BoundedVec::truncate_from((0..a).map(|at| Uid(at as u16)).collect()));
        #[block]
        {
            Pallet::<T>::seat_arrivals(run, &mut Meter::default());
        }
        assert_eq!(Members::<T>::iter_prefix(run).count() as u32, a);
    }

    #[benchmark]
    fn close_swaps(w: Linear<0, { crate::keys::MAX_SWAPS }>) {
        let run = full::<T>(Phase::Close);
        let swap = |index: u32| {
            frame_system::Pallet::<T>::inc_providers(&hotkey(5_000 + index));
            Swap {
                uid: Uid(index as u16),
                incarnation: Incarnation(index),
                hotkey: key(&hotkey(5_000 + index)),
            }
        };
        Swaps::<T>::insert(run, BoundedVec::truncate_from((0..w).map(swap).collect()));
        #[block]
        {
            Pallet::<T>::apply_swaps(run, &mut Meter::default());
        }
        assert!((0..w).all(|index| UidOf::<T>::contains_key(run, hotkey(5_000 + index))));
    }

    #[benchmark]
    fn close_evidence(h: Linear<0, { MINERS }>) {
        let run = judged::<T>();
        for index in 0..h {
            let (uid, incarnation) = ids(index);
            request::<T>(run, SCORED, index, 0);
            // Answered, and so credited: that costs more than to lapse.
            EvidenceRequests::<T>::mutate((run, SCORED), uid, |own| {
                own.as_mut().map(|own| (own.answer, own.quorum) = (Some(Hash::ZERO), false))
            });
            let held = Payment { uid, incarnation, coldkey: key(&coldkey(index)), amount: 1 };
            HeldPay::<T>::insert((run, SCORED), uid, held);
        }
        TotalHeld::<T>::put(u128::from(h));
        #[block]
        {
            Pallet::<T>::close_evidence(run, SCORED, &mut Meter::default());
        }
        assert_eq!(TotalHeld::<T>::get(), 0);
    }

    #[benchmark]
    fn close_verdicts(a: Linear<0, { MAX_ACCUSATIONS }>) {
        let run = judged::<T>();
        for index in 0..a {
            accusation::<T>(run, index, VALIDATORS - 1);
        }
        world::former::<T>(run, SCORED, 0..MAX_MEMBERS);
        #[block]
        {
            Pallet::<T>::close_verdicts(run, SCORED, &mut Meter::default());
        }
        assert_eq!(Accusations::<T>::iter_prefix((run, SCORED)).count(), 0);
    }

    #[benchmark]
    fn close_end() {
        let run = run::<T>(64);
        at::<T>(run, Phase::Close);
        let owner = rich::<T>(0);
        let deposit = T::RunDeposit::get();
        T::Currency::hold(&HoldReason::Run.into(), &owner, deposit).expect("it is rich");
        Controls::<T>::mutate(run, |own| (own.owner, own.deposit) = (Some(key(&owner)), deposit));
        Pending::<T>::insert(run, params(64));
        let clock = Clocks::<T>::get(run).expect("a run");
        #[block]
        {
            Pallet::<T>::end(run, clock, &mut Meter::default());
        }
        assert_eq!(Clocks::<T>::get(run).expect("a run").state, State::Ended);
    }

    #[benchmark]
    fn ended_look() {
        let run = run::<T>(64);
        Pallet::<T>::enqueue_ended(run, 1);
        let spare = frame_system::limits::BlockWeights::default().max_block;
        #[block]
        {
            Pallet::<T>::drop_ended(1, spare);
        }
        assert!(EndedRuns::<T>::contains_key(EndedQueue::<T>::get().0));
    }

    #[benchmark]
    fn ended_step() {
        // What a `Close` drops in part, here as a whole.
        let (run, _) = closing::<T>(MINERS, 64, VALIDATORS);
        let (uids, kept) = (ids(0).0, ids(1).0);
        assert!(Members::<T>::contains_key(run, uids) && Members::<T>::contains_key(run, kept));
        let _ = Members::<T>::clear_prefix(run, MAX_MEMBERS, None);
        world::report::<T>(run, SCORED, false);
        (0..64).for_each(|stage| {
            merge::<T>(run, SCORED, stage, 64, MINERS);
            shards::<T>(run, SCORED, stage, 3);
        });
        let ended = crate::ended::Ended { run, due: 1, next: SCORED };
        #[block]
        {
            Pallet::<T>::drop_step(0, ended);
        }
        assert!(!Snapshots::<T>::contains_key((run, SCORED)));
        assert_eq!(Scores::<T>::iter_prefix((run, SCORED)).count(), 0);
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::for_benchmarks(), crate::mock::Test);
}
