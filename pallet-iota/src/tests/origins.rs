//! Every call against every origin, each call in a state in which the right sender is accepted.
//!
//! The list of calls is compared with the metadata, so that none can be forgotten. A refused body must not
//! have changed a byte, and answers what the call answers. Who is accepted pays nothing for exactly the calls
//! in `FREE`, and who is refused is never asked to pay nothing.

use std::collections::BTreeSet;

use iota_protocol::{
    equivocation::{Equivocation, SignedHeader},
    ids::{Attempt, Epoch, Hash, Sample, Stage},
    params::{RunParams, WireCodec},
    phase::Phase,
    receipt::Direction,
    wire::{HopHeader, WIRE_VERSION},
    work::{blind_hash, transcripts_hash, Bitmap, Role, Transcript, Transcripts},
};
use polkadot_sdk::{
    frame_support::{assert_ok, dispatch::CheckIfFeeless, storage::with_transaction, traits::GetCallName},
    sp_core::Pair,
    sp_runtime::{traits::Dispatchable, DispatchError, TransactionOutcome},
};
use Who::*;

use crate::{mock::*, pallet::*, types::key};

/// Who sends a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Nobody,
    Root,
    Stranger,
    MinerHotkey,
    MinerColdkey,
    ValidatorHotkey,
    ValidatorColdkey,
}

const EVERYBODY: [Who; 7] =
    [Nobody, Root, Stranger, MinerHotkey, MinerColdkey, ValidatorHotkey, ValidatorColdkey];
const ANYONE: [Who; 5] = [Stranger, MinerHotkey, MinerColdkey, ValidatorHotkey, ValidatorColdkey];

impl Who {
    fn origin(self) -> RuntimeOrigin {
        match self {
            Nobody => RuntimeOrigin::none(),
            Root => RuntimeOrigin::root(),
            Stranger => signed(coldkey(30)),
            MinerHotkey => signed(hotkey(0)),
            MinerColdkey => signed(coldkey(0)),
            ValidatorHotkey => signed(hotkey(4)),
            ValidatorColdkey => signed(coldkey(4)),
        }
    }
}

/// The calls that are free when they are accepted: what members owe a run in its windows, what judges say, and
/// a proof that is right. Everything else pays the author of its block.
const FREE: [&str; 18] = [
    "serve",
    "commit_work",
    "attest",
    "blind_merge",
    "open_merge",
    "commit_root",
    "commit_scores",
    "reveal_scores",
    "resume",
    "accuse",
    "vote",
    "request_evidence",
    "answer_evidence",
    "commit_transcripts",
    "submit_transcripts",
    "report_equivocation",
    "attest_root",
    "vote_rollback",
];

/// What happens in `what` stays nowhere.
fn rolled_back<V>(what: impl FnOnce() -> V) -> V {
    with_transaction(|| TransactionOutcome::Rollback(Ok::<_, DispatchError>(what()))).unwrap()
}

/// What a call answers to a sender; its body alone answers the same, and wrote nothing if it refused.
fn answer(call: &Call<Test>, who: Who) -> Result<(), DispatchError> {
    let sent = rolled_back(|| {
        let done = RuntimeCall::Iota(call.clone()).dispatch(who.origin());
        done.map(|_| ()).map_err(|refused| refused.error)
    });
    let body = rolled_back(|| {
        let before = storage_digest();
        let done = bare(who.origin(), call.clone());
        assert!(done.is_ok() || storage_digest() == before, "{call:?} by {who:?} changed storage");
        done
    });
    assert_eq!(body, sent, "{call:?} by {who:?}: the body and the call differ");
    sent
}

/// The calls that were tried, by name.
#[derive(Default)]
struct Tried(BTreeSet<&'static str>);

impl Tried {
    /// Only those in `may` are accepted.
    fn call(&mut self, call: Call<Test>, may: &[Who]) {
        self.0.insert(call.get_call_name());
        for who in EVERYBODY {
            let free = RuntimeCall::Iota(call.clone()).is_feeless(&who.origin());
            let answer = answer(&call, who);
            let listed = FREE.contains(&call.get_call_name());
            assert_eq!(free, answer.is_ok() && listed, "{call:?} by {who:?}: {answer:?}");
            assert_eq!(answer.is_ok(), may.contains(&who), "{call:?} by {who:?}: {answer:?}");
            if matches!(who, Nobody | Root) && !may.contains(&who) {
                assert_eq!(answer, Err(DispatchError::BadOrigin), "{call:?} by {who:?}");
            }
        }
    }
}

fn long_run(test: impl FnOnce()) {
    with_epoch(RunParams { epochs: 9, ..params() }, test);
}

/// Epoch 0 was paid, validator 5 unbonded, validator 4 lost its permit, and the stranger may take
/// miner 0 over.
fn membership(tried: &mut Tried) {
    (0..2).for_each(|_| whole_epoch());
    enrich(30);
    assert_ok!(Iota::unbond(signed(coldkey(5)), RUN, uid(5), MIN_BOND));
    assert_ok!(Iota::announce_coldkey(signed(coldkey(0)), RUN, uid(0), coldkey(30)));
    run_to(System::block_number() + COLDKEY_DELAY);
    Members::<Test>::mutate(RUN, uid(4), |member| member.as_mut().unwrap().missed_reveals = 2);
    let (run, miner, validator, proof_of) = (RUN, uid(0), uid(4), proof);
    // Only the coldkey to which the hotkey consented.
    let (hotkey, role, proof, max_price) = (hotkey(20), Role::Miner, proof_of(&coldkey(30), 20), u128::MAX);
    tried.call(Call::register { run, hotkey: hotkey.clone(), role, proof, max_price }, &[Stranger]);
    tried.call(Call::bond { run, uid: validator, amount: 1 }, &[ValidatorColdkey]);
    let (endpoint, peer_signature) = endpoint(0);
    tried.call(Call::serve { run, endpoint, peer_signature }, &[MinerHotkey]);
    tried.call(Call::leave { run, uid: miner }, &[MinerHotkey, MinerColdkey]);
    tried.call(Call::claim { account: coldkey(4) }, &ANYONE);
    tried.call(Call::release { run, incarnation: member(0).incarnation }, &ANYONE);
    tried.call(Call::unbond { run, uid: validator, amount: MIN_BOND }, &[ValidatorColdkey]);
    let unbonding = Call::withdraw { run, incarnation: member(5).incarnation, coldkey: coldkey(5) };
    tried.call(unbonding, &ANYONE);
    tried.call(Call::resume { run }, &[ValidatorHotkey]);
    let proof = proof_of(&coldkey(0), 20);
    tried.call(Call::swap_hotkey { run, uid: miner, hotkey, proof }, &[MinerColdkey]);
    tried.call(Call::announce_coldkey { run, uid: miner, to: coldkey(21) }, &[MinerColdkey]);
    tried.call(Call::cancel_coldkey { run, uid: miner }, &[MinerColdkey]);
    tried.call(Call::take_over { run, uid: miner }, &[Stranger]);
}

/// In each window of an epoch, what miner 0 may send in it.
fn merging(tried: &mut Tried) {
    let (run, epoch, miners) = (RUN, clock().epoch, [0u8, 1, 2, 3]);
    run_to_phase(Phase::Commit);
    tried.call(Call::commit_work { run, epoch, work: work(0) }, &[MinerHotkey]);
    miners.iter().for_each(|index| commit(*index));
    run_to_phase(Phase::Attest);
    let entries = Bitmap::default().with(position(0).0);
    tried.call(Call::attest { run, epoch, entries }, &[MinerHotkey]);
    miners.iter().for_each(|index| attest(*index));
    run_to_phase(Phase::Blind);
    let hashes = shard_hashes(0, 9);
    let hash = blind_hash(uid(0), member(0).incarnation, epoch, &[0; 32], &hashes);
    tried.call(Call::blind_merge { run, epoch, hash }, &[MinerHotkey]);
    blind(0, &hashes);
    run_to_phase(Phase::Open);
    tried.call(Call::open_merge { run, epoch, salt: [0; 32], hashes }, &[MinerHotkey]);
    run_to_phase(Phase::Root);
    tried.call(Call::commit_root { run, epoch, root: Hash::ZERO }, &[MinerHotkey]);
}

fn transcripts(miner: u8) -> Transcripts {
    let (uid, incarnation) = (uid(miner), member(miner).incarnation);
    vec![Transcript { uid, incarnation, segment: 0, root: Hash([6; 32]), agrees: true }].try_into().unwrap()
}

/// The two windows in which epoch 0 is scored; validator 5 committed before validator 4 opens.
fn scoring(tried: &mut Tried) {
    whole_epoch();
    let (run, epoch, reveal, salt) = (RUN, Epoch(0), reveal_of(Epoch(0), 7), [1; 32]);
    run_to(schedule().score_commit().start);
    tried.call(Call::commit_scores { run, epoch, hash: Hash::ZERO }, &[ValidatorHotkey]);
    tried.call(Call::commit_transcripts { run, epoch, hash: Hash::ZERO }, &[ValidatorHotkey]);
    commit_scores(4, epoch, &reveal);
    let (author, genesis) = (key(&hotkey(4)), Iota::genesis_hash());
    let hash = transcripts_hash(&genesis, run, &author, epoch, &salt, &transcripts(0));
    assert_ok!(Iota::commit_transcripts(signed(hotkey(4)), run, epoch, hash));
    run_to(schedule().score_reveal().start);
    tried.call(Call::reveal_scores { run, epoch, author: uid(4), reveal }, &ANYONE);
    let call = Call::submit_transcripts { run, epoch, salt, transcripts: transcripts(0) };
    tried.call(call, &[ValidatorHotkey]);
}

/// Two headers of miner 0 that contradict each other.
fn equivocation() -> Equivocation {
    let signed = |codes: u8| {
        let header = HopHeader {
            version: WIRE_VERSION,
            run: RUN,
            epoch: Epoch(0),
            sample: Sample(0),
            attempt: Attempt(0),
            stage: Stage(0),
            direction: Direction::Forward,
            from: uid(0),
            values: 1,
            codec: WireCodec::Int8,
            codes_hash: Hash([codes; 32]),
            parent: Hash::ZERO,
        };
        let unsigned = SignedHeader { header, signature: [0; 64] };
        let bytes = unsigned.signed_bytes(&Iota::genesis_hash());
        SignedHeader { signature: hotkey_pair(0).sign(&bytes.0).0, ..unsigned }
    };
    Equivocation { first: signed(1), second: signed(2) }
}

/// Epoch 0 is judged: validator 5 accused miner 1 and asked miner 0 for evidence.
fn judging(tried: &mut Tried) {
    for index in [4, 5] {
        assert_ok!(Iota::bond(signed(coldkey(index)), RUN, uid(index), 2 * DEPOSIT));
    }
    whole_epoch();
    run_to(System::block_number() + 1);
    let (run, epoch, evidence, wanted) = (RUN, Epoch(0), Hash([8; 32]), Hash([9; 32]));
    let (uid_0, incarnation) = (uid(0), member(0).incarnation);
    let call = Call::accuse { run, epoch, uid: uid_0, incarnation, segment: 0, evidence };
    tried.call(call, &[ValidatorHotkey]);
    let other = member(1).incarnation;
    assert_ok!(Iota::accuse(signed(hotkey(5)), run, epoch, uid(1), other, 0, evidence));
    tried.call(Call::vote { run, epoch, uid: uid(1), segment: 0, guilty: true }, &[ValidatorHotkey]);
    let call = Call::request_evidence { run, epoch, uid: uid_0, incarnation, wanted };
    tried.call(call, &[ValidatorHotkey]);
    assert_ok!(Iota::request_evidence(signed(hotkey(5)), run, epoch, uid_0, incarnation, wanted));
    tried.call(Call::answer_evidence { run, epoch, root: wanted }, &[MinerHotkey]);
    tried.call(Call::report_equivocation { proof: equivocation() }, &ANYONE);
}

/// The run is miner 0's coldkey's own and is about to pause; hotkeys have nothing to put on hold.
fn runs(tried: &mut Tried) {
    Controls::<Test>::mutate(RUN, |control| control.owner = Some(key(&coldkey(0))));
    let (run, owner, params) = (RUN, [Root, MinerColdkey], RunParams { epochs: 8, ..params() });
    tried.call(Call::create_run { params: params.clone() }, &[Root]);
    tried.call(Call::sponsor_run { params: params.clone() }, &[Stranger, MinerColdkey, ValidatorColdkey]);
    tried.call(Call::set_run_share { run, share_ppm: 1 }, &[Root]);
    tried.call(Call::schedule_params { run, params }, &owner);
    tried.call(Call::pause_run { run }, &owner);
    Controls::<Test>::mutate(RUN, |control| control.pausing = true);
    tried.call(Call::resume_run { run }, &owner);
    tried.call(Call::end_run { run }, &owner);
    Controls::<Test>::mutate(RUN, |control| control.pausing = false);
}

/// Epoch 0 has a checkpoint; in the `Root` of epoch 1 both stages' roots are attested and voted about.
fn going_back(tried: &mut Tried) {
    whole_epoch();
    run_to_phase(Phase::Commit);
    (0..4).for_each(commit);
    run_to_phase(Phase::Root);
    let (run, epoch, to) = (RUN, Epoch(1), Epoch(0));
    let call = Call::attest_root { run, epoch, stage: Stage(0), root: Hash::ZERO };
    tried.call(call, &[ValidatorHotkey]);
    tried.call(Call::vote_rollback { run, epoch, to }, &[ValidatorHotkey]);
    tried.call(Call::roll_back { run, to }, &[Root]);
}

#[test]
fn row_07_row_08_row_19_every_call_rejects_every_wrong_origin_unchanged_and_unpaid() {
    let mut tried = Tried::default();
    for scene in [membership, merging, scoring, judging, runs, going_back] {
        long_run(|| scene(&mut tried));
    }
    let all: BTreeSet<&str> = Call::<Test>::get_call_names().iter().copied().collect();
    assert_eq!(tried.0, all, "a call of the metadata is in no scene");
    assert!(FREE.iter().all(|name| all.contains(name)), "a free call that the metadata has not");
}
