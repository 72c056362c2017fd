//! A protocol call is free exactly when it would be accepted now.

use iota_protocol::{
    equivocation::{Equivocation, SignedHeader},
    ids::{Attempt, Epoch, Hash, Sample, Stage},
    params::{RunParams, WireCodec},
    phase::Phase,
    receipt::Direction,
    wire::{HopHeader, WIRE_VERSION},
    work::{transcripts_hash, Bitmap, Role, Transcript, Transcripts},
};
use polkadot_sdk::frame_support::{
    assert_ok,
    dispatch::{CheckIfFeeless, DispatchResult, PostDispatchInfo},
};
use polkadot_sdk::sp_core::Pair;
use polkadot_sdk::sp_runtime::traits::Dispatchable;
use polkadot_sdk::sp_runtime::AccountId32;

use crate::{mock::*, pallet::Call};

fn is_free(who: AccountId32, call: Call<Test>) -> bool {
    RuntimeCall::Iota(call).is_feeless(&signed(who))
}

fn send(who: AccountId32, call: Call<Test>) -> DispatchResult {
    let done: Result<PostDispatchInfo, _> = RuntimeCall::Iota(call).dispatch(signed(who));
    done.map(|_| ()).map_err(|failed| failed.error)
}

/// The call is free and accepted, and neither a second time.
fn free_once(who: AccountId32, call: Call<Test>) {
    assert!(is_free(who.clone(), call.clone()), "{call:?} should be free");
    send(who.clone(), call.clone()).unwrap();
    assert!(!is_free(who.clone(), call.clone()), "{call:?} should not be free twice");
}

#[test]
fn each_protocol_call_of_an_epoch_is_free_once() {
    with_epoch(params(), || {
        let (run, epoch) = (RUN, Epoch(0));
        let root = Call::commit_root { run, epoch, root: Hash([5; 32]) };
        for index in 0..4 {
            assert!(!is_free(hotkey(index), root.clone()), "not in its window");
        }
        run_to_phase(Phase::Commit);
        for index in 0..4 {
            free_once(hotkey(index), Call::commit_work { run, epoch, work: work(index) });
        }
        run_to_phase(Phase::Attest);
        (0..4).for_each(|i| free_once(hotkey(i), Call::attest { run, epoch, entries: Bitmap(0b11) }));
        run_to_phase(Phase::Blind);
        let hashes: Vec<_> = (0..4).map(|index| shard_hashes(index, 1)).collect();
        for (index, hashes) in (0..4).zip(&hashes) {
            let hash = iota_protocol::work::blind_hash(
                uid(index),
                member(index).incarnation,
                epoch,
                &[0; 32],
                hashes,
            );
            free_once(hotkey(index), Call::blind_merge { run, epoch, hash });
        }
        run_to_phase(Phase::Open);
        for (index, hashes) in (0..4).zip(hashes) {
            let wrong = Call::open_merge { run, epoch, salt: [1; 32], hashes: hashes.clone() };
            assert!(!is_free(hotkey(index), wrong), "what does not match is not free");
            free_once(hotkey(index), Call::open_merge { run, epoch, salt: [0; 32], hashes });
        }
        run_to_phase(Phase::Root);
        (0..4).for_each(|index| free_once(hotkey(index), root.clone()));
    });
}

#[test]
fn scores_are_free_for_validators_and_reveals_for_anyone_who_has_them() {
    with_epoch(params(), || {
        merge_epoch(&[0, 1, 2, 3]);
        run_to(System::block_number() + 1);
        let (run, epoch) = (RUN, Epoch(0));
        let reveal = reveal_of(epoch, 10);
        let hash = score_hash(4, epoch, &reveal);
        assert!(!is_free(hotkey(0), Call::commit_scores { run, epoch, hash }), "a miner does not score");
        free_once(hotkey(4), Call::commit_scores { run, epoch, hash });
        run_to(schedule().score_reveal().start);
        let author = uid(4);
        let wrong = Call::reveal_scores { run, epoch, author, reveal: reveal_of(epoch, 11) };
        assert!(!is_free(hotkey(4), wrong));
        free_once(coldkey(20), Call::reveal_scores { run, epoch, author, reveal });
    });
}

#[test]
fn roots_and_the_way_back_are_free_for_each_judge_once() {
    with_judges(|| {
        let (run, epoch, to) = (RUN, Epoch(1), Epoch(0));
        let attest = |stage| Call::attest_root { run, epoch, stage: Stage(stage), root: Hash([7; 32]) };
        assert!(!is_free(hotkey(4), attest(0)), "not in its window");
        assert!(!is_free(hotkey(4), Call::vote_rollback { run, epoch, to: Epoch(1) }), "not closed yet");
        assert!(!is_free(hotkey(1), Call::vote_rollback { run, epoch, to }), "a miner does not judge");
        free_once(hotkey(4), Call::vote_rollback { run, epoch, to });
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        run_to_phase(Phase::Root);
        assert!(!is_free(hotkey(1), attest(0)), "a miner does not judge");
        free_once(hotkey(4), attest(0));
        free_once(hotkey(4), attest(1));
        free_once(hotkey(5), attest(1));
    });
}

/// Runs `test` in the first block of epoch 1, with three validators that can afford a deposit.
fn with_judges(test: impl FnOnce()) {
    with_run(RunParams { epochs: 4, ..params() }, || {
        (0..4).for_each(|index| join(index, Role::Miner));
        for index in 4..7 {
            join(index, Role::Validator);
            assert_ok!(Bare::bond(signed(coldkey(index)), RUN, uid(index), 2 * DEPOSIT));
        }
        run_to(System::block_number() + 1);
        merge_epoch(&[0, 1, 2, 3]);
        run_to(System::block_number() + 1);
        test();
    });
}

#[test]
fn judging_is_free_for_judges_once_for_each_thing() {
    with_judges(|| {
        let (run, epoch, incarnation) = (RUN, Epoch(0), member(0).incarnation);
        let accuse =
            |segment| Call::accuse { run, epoch, uid: uid(0), incarnation, segment, evidence: Hash::ZERO };
        let vote = Call::vote { run, epoch, uid: uid(0), segment: 0, guilty: true };
        assert!(!is_free(hotkey(1), accuse(0)), "a miner does not judge");
        assert!(!is_free(hotkey(5), vote.clone()), "nobody is accused");
        free_once(hotkey(4), accuse(0));
        free_once(hotkey(4), accuse(1));
        assert!(!is_free(hotkey(4), accuse(2)), "its bond has no third deposit");
        assert!(!is_free(hotkey(4), vote.clone()), "who accuses has voted");
        free_once(hotkey(5), vote);
    });
}

#[test]
fn asking_for_evidence_and_answering_are_free_once() {
    with_judges(|| {
        let (run, epoch, incarnation) = (RUN, Epoch(0), member(0).incarnation);
        let ask = Call::request_evidence { run, epoch, uid: uid(0), incarnation, wanted: Hash::ZERO };
        let answer = Call::answer_evidence { run, epoch, root: Hash::ZERO };
        assert!(!is_free(hotkey(1), ask.clone()));
        assert!(!is_free(hotkey(0), answer.clone()), "nobody asked");
        free_once(hotkey(4), ask.clone());
        free_once(hotkey(0), answer);
        free_once(hotkey(4), ask);
    });
}

#[test]
fn transcripts_are_free_in_their_windows() {
    with_judges(|| {
        let (run, epoch) = (RUN, Epoch(0));
        let one = Transcript {
            uid: uid(0),
            incarnation: member(0).incarnation,
            segment: 1,
            root: Hash([3; 32]),
            agrees: true,
        };
        let (salt, transcripts): (_, Transcripts) = ([1; 32], vec![one].try_into().unwrap());
        let author = crate::types::key(&hotkey(4));
        let hash = transcripts_hash(&Iota::genesis_hash(), run, &author, epoch, &salt, &transcripts);
        let commit = Call::commit_transcripts { run, epoch, hash };
        let open = Call::submit_transcripts { run, epoch, salt, transcripts: transcripts.clone() };
        assert!(!is_free(hotkey(0), commit.clone()), "a miner audits nobody");
        free_once(hotkey(4), commit);
        assert!(!is_free(hotkey(4), open.clone()), "not in its window");
        run_to(schedule().score_reveal().start);
        let wrong = Call::submit_transcripts { run, epoch, salt: [2; 32], transcripts };
        assert!(!is_free(hotkey(4), wrong), "what does not match is not free");
        free_once(hotkey(4), open);
    });
}

#[test]
fn a_proof_of_equivocation_is_free_for_anybody_who_has_one() {
    with_judges(|| {
        let signed_header = |codes: u8| {
            let header = HopHeader {
                version: WIRE_VERSION,
                run: RUN,
                epoch: Epoch(0),
                sample: Sample(3),
                attempt: Attempt(0),
                stage: Stage(1),
                direction: Direction::Forward,
                from: uid(0),
                values: 64,
                codec: WireCodec::Int8,
                codes_hash: Hash([codes; 32]),
                parent: Hash::ZERO,
            };
            let unsigned = SignedHeader { header, signature: [0; 64] };
            let bytes = unsigned.signed_bytes(&Iota::genesis_hash());
            SignedHeader { signature: hotkey_pair(0).sign(&bytes.0).0, ..unsigned }
        };
        let proof = Equivocation { first: signed_header(1), second: signed_header(2) };
        let mut forged = proof.clone();
        forged.second.signature = [0; 64];
        assert!(!is_free(coldkey(20), Call::report_equivocation { proof: forged }));
        free_once(coldkey(20), Call::report_equivocation { proof });
    });
}

#[test]
fn serving_is_free_once_an_epoch_and_allowed_again_for_a_fee() {
    with_run(params(), || {
        let (endpoint, peer_signature) = endpoint(0);
        let call = Call::serve { run: RUN, endpoint, peer_signature };
        assert!(!is_free(hotkey(0), call.clone()), "strangers pay");
        register(0, Role::Miner);
        free_once(hotkey(0), call.clone());
        send(hotkey(0), call).unwrap();
    });
}

#[test]
fn calls_of_no_or_any_other_origin_are_never_free() {
    with_epoch(params(), || {
        run_to_phase(Phase::Commit);
        let call = RuntimeCall::Iota(Call::commit_work { run: RUN, epoch: Epoch(0), work: work(0) });
        assert!(!call.is_feeless(&RuntimeOrigin::none()));
        assert!(!call.is_feeless(&RuntimeOrigin::root()));
        assert!(call.is_feeless(&signed(hotkey(0))));
    });
}

#[test]
fn what_costs_is_not_free() {
    with_epoch(params(), || {
        let claim = Call::claim { account: coldkey(0) };
        assert!(!is_free(coldkey(0), claim));
        assert!(!is_free(coldkey(4), Call::bond { run: RUN, uid: uid(4), amount: 1 }));
        assert!(!is_free(coldkey(0), Call::leave { run: RUN, uid: uid(0) }));
    });
}
