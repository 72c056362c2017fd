//! A protocol call is free exactly when it would be accepted now.

use iota_protocol::{
    ids::{Epoch, Hash},
    phase::Phase,
    work::{Bitmap, Role},
};
use polkadot_sdk::frame_support::dispatch::{CheckIfFeeless, DispatchResult, PostDispatchInfo};
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
