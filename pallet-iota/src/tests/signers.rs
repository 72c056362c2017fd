//! Proofs of equivocation by members that changed their keys, left, or were replaced.

use iota_protocol::{
    equivocation::Equivocation,
    ids::{Epoch, Uid},
    params::RunParams,
    wire::HopHeader,
    work::Role,
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_runtime::DispatchResult,
};

use super::verdicts::{header, report, sign};
use crate::{
    mock::*,
    pallet::*,
    signers::Signer,
    types::{key, Member},
};

type E = Error<Test>;

/// The swapper and the leaver of these tests: its first hotkey and coldkey have this index.
const LIAR: u8 = 0;
/// It joins first.
const LIAR_UID: Uid = Uid(0);
/// Its next hotkey.
const NEXT: u8 = 20;
/// A newcomer.
const STRANGER: u8 = 21;

/// Two contradicting headers of `uid` in `epoch` under the hotkey of that index.
fn proof_of(uid: Uid, epoch: u32, hotkey: u8) -> Equivocation {
    let of = |codes| HopHeader { epoch: Epoch(epoch), ..header(uid, codes) };
    Equivocation { first: sign(hotkey, of(1)), second: sign(hotkey, of(2)) }
}

/// Runs `test` in the first block of epoch 1 of a long run, in which four miners worked.
fn after_an_epoch(test: impl FnOnce(Member)) {
    with_epoch(RunParams { epochs: 12, ..params() }, || {
        whole_epoch();
        assert_eq!((uid(LIAR), clock().epoch), (LIAR_UID, Epoch(1)));
        test(member(LIAR));
    });
}

fn swap() -> DispatchResult {
    let proof = proof(&coldkey(LIAR), NEXT);
    Iota::swap_hotkey(signed(coldkey(LIAR)), RUN, LIAR_UID, hotkey(NEXT), proof)
}

fn leave() {
    assert_ok!(Iota::leave(signed(coldkey(LIAR)), RUN, LIAR_UID));
}

fn former(epoch: u32) -> Vec<Signer> {
    FormerSigners::<Test>::get((RUN, Epoch(epoch))).to_vec()
}

fn signer(liar: &Member, index: u8) -> Signer {
    Signer { uid: LIAR_UID, incarnation: liar.incarnation, hotkey: key(&hotkey(index)) }
}

#[test]
fn a_new_hotkey_does_not_save_who_signed_twice_with_the_old_one() {
    after_an_epoch(|liar| {
        assert_ok!(swap());
        whole_epoch();
        assert_eq!(uid(NEXT), LIAR_UID);
        assert_eq!(former(1), [signer(&liar, LIAR)]);
        assert!(owed(LIAR) > 0, "epoch 0 was paid");
        // The new key never signed in epochs 0 and 1, the old one never in epoch 2.
        assert_noop!(report(proof_of(LIAR_UID, 0, NEXT)), E::BadProof);
        assert_noop!(report(proof_of(LIAR_UID, 1, NEXT)), E::BadProof);
        assert_noop!(report(proof_of(LIAR_UID, 2, LIAR)), E::BadProof);
        let treasury = Balances::free_balance(Iota::treasury());
        let all = owed(LIAR);
        assert_ok!(report(proof_of(LIAR_UID, 0, LIAR)));
        assert_eq!(Gated::<Test>::get((RUN, Epoch(0))), vec![(LIAR_UID, liar.incarnation)]);
        assert_eq!(owed(LIAR), claimable(LIAR), "nothing of it vests any more");
        assert_eq!(Balances::free_balance(Iota::treasury()) - treasury, all - claimable(LIAR));
        assert_noop!(report(proof_of(LIAR_UID, 0, LIAR)), E::AlreadyGated);
        assert_ok!(report(proof_of(LIAR_UID, 1, LIAR)));
        assert_ok!(report(proof_of(LIAR_UID, 2, NEXT)));
    });
}

#[test]
fn leaving_does_not_save_the_pay_of_who_signed_twice_and_its_successor_answers_for_nothing() {
    after_an_epoch(|liar| {
        leave();
        whole_epoch();
        assert!(Members::<Test>::get(RUN, LIAR_UID).is_none());
        assert_eq!(former(1), [signer(&liar, LIAR)]);
        enrich(STRANGER);
        assert_eq!(register(STRANGER, Role::Miner), LIAR_UID, "the seat is taken again");
        assert!(owed(LIAR) > 0, "epoch 0 was paid");
        let vests = |own: &Member| Vestings::<Test>::get(RUN, own.incarnation);
        let (paid, entry) = (vests(&liar), vests(&member(STRANGER)));
        assert!(paid.is_some() && entry.is_some());
        assert_noop!(report(proof_of(LIAR_UID, 1, STRANGER)), E::BadProof);
        assert_ok!(report(proof_of(LIAR_UID, 1, LIAR)));
        assert_noop!(report(proof_of(LIAR_UID, 1, LIAR)), E::AlreadyGated);
        assert_eq!(vests(&liar), None, "what has not vested is gone");
        assert_eq!(vests(&member(STRANGER)), entry, "a stranger pays for nobody");
        let rest = owed(LIAR);
        score_epoch(&[4, 5]);
        run_to_close();
        assert_eq!(owed(LIAR), rest, "its last epoch is not paid");
        assert!(owed(1) > 0 && !Iota::report_view(RUN, Epoch(1)).unwrap().void);
    });
}

#[test]
fn who_changes_its_key_and_leaves_answers_under_the_key_of_each_epoch() {
    after_an_epoch(|liar| {
        assert_ok!(swap());
        whole_epoch();
        serve(NEXT);
        leave();
        run_to_close();
        assert_eq!((former(1), former(2)), (vec![signer(&liar, LIAR)], vec![signer(&liar, NEXT)]));
        assert_noop!(report(proof_of(LIAR_UID, 1, NEXT)), E::BadProof);
        assert_noop!(report(proof_of(LIAR_UID, 2, LIAR)), E::BadProof);
        assert_noop!(report(proof_of(LIAR_UID, 3, NEXT)), E::NotMember);
        assert_ok!(report(proof_of(LIAR_UID, 1, LIAR)));
        assert_ok!(report(proof_of(LIAR_UID, 2, NEXT)));
    });
}

#[test]
fn who_does_both_at_one_close_signed_with_the_first_key() {
    after_an_epoch(|liar| {
        assert_ok!(swap());
        leave();
        run_to_close();
        assert_eq!(former(1), [signer(&liar, LIAR)]);
        assert_noop!(report(proof_of(LIAR_UID, 1, NEXT)), E::BadProof);
        assert_ok!(report(proof_of(LIAR_UID, 1, LIAR)));
    });
}

#[test]
fn who_leaves_between_two_epochs_signed_in_the_first() {
    after_an_epoch(|liar| {
        assert_ok!(Iota::pause_run(RuntimeOrigin::root(), RUN));
        merge_epoch(&[0, 1, 2, 3]);
        assert_eq!((clock().state, clock().epoch), (crate::types::State::Paused, Epoch(2)));
        leave();
        assert_eq!((former(1), former(2)), (vec![signer(&liar, LIAR)], vec![]));
        assert_eq!(register(STRANGER, Role::Miner), LIAR_UID);
        assert_noop!(report(proof_of(LIAR_UID, 1, LIAR)), E::NotRunning);
        assert_ok!(Iota::resume_run(RuntimeOrigin::root(), RUN));
        run_to(System::block_number() + 1);
        assert_ok!(report(proof_of(LIAR_UID, 1, LIAR)));
        assert_eq!(Gated::<Test>::get((RUN, Epoch(1))), vec![(LIAR_UID, liar.incarnation)]);
    });
}

#[test]
fn a_given_up_key_is_kept_as_long_as_proofs_about_it_count() {
    after_an_epoch(|liar| {
        assert_ok!(swap());
        whole_epoch();
        for epoch in 2..4 {
            assert_eq!(clock().epoch, Epoch(epoch));
            assert_eq!(former(1), [signer(&liar, LIAR)]);
            run_to_close();
        }
        assert_eq!(former(1), []);
        assert_noop!(report(proof_of(LIAR_UID, 1, LIAR)), E::WrongEpoch);
    });
}

#[test]
fn before_a_run_starts_and_after_it_ends_no_key_is_kept() {
    with_run(RunParams { epochs: 1, ..params() }, || {
        join(STRANGER, Role::Miner);
        assert_ok!(Iota::leave(signed(coldkey(STRANGER)), RUN, uid(STRANGER)));
        assert_eq!(FormerSigners::<Test>::iter().count(), 0);
        start_epoch_0();
        leave();
        whole_epoch();
        assert_eq!(former(0).len(), 1);
        while clock().state != crate::types::State::Ended {
            run_to_close();
        }
        assert_ok!(Iota::leave(signed(coldkey(1)), RUN, uid(1)));
        assert_eq!(FormerSigners::<Test>::iter().count(), 0);
    });
}
