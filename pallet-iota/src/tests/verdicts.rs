//! Accusations, votes, gates and proofs of equivocation.

use iota_protocol::{
    equivocation::{Equivocation, SignedHeader},
    ids::{Attempt, Epoch, Hash, Incarnation, RunId, Sample, Stage, Uid},
    params::{RunParams, WireCodec},
    receipt::Direction,
    wire::{HopHeader, WIRE_VERSION},
    work::Role,
};
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok,
        dispatch::{DispatchResult, Pays},
        traits::fungible::InspectHold,
    },
    frame_system,
    sp_core::Pair,
};

use crate::{mock::*, pallet::*, verdicts::MAX_ACCUSATIONS, weights::WeightInfo};

type E = Error<Test>;

const ACCUSED: Epoch = Epoch(0);
const EVIDENCE: Hash = Hash([8; 32]);

/// Runs `test` in the first block of epoch 1, with three validators of equal stake, each with a deposit
/// beyond the least bond.
fn with_judges(epochs: u32, test: impl FnOnce()) {
    with_run(RunParams { epochs, ..params() }, || {
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

fn accuse(by: u8, miner: u8, segment: u32) -> DispatchResult {
    let incarnation = member(miner).incarnation;
    Bare::accuse(signed(hotkey(by)), RUN, ACCUSED, uid(miner), incarnation, segment, EVIDENCE)
}

fn vote(by: u8, miner: u8, segment: u32, guilty: bool) -> DispatchResult {
    Bare::vote(signed(hotkey(by)), RUN, ACCUSED, uid(miner), segment, guilty)
}

fn deposited(index: u8) -> u128 {
    Balances::balance_on_hold(&HoldReason::Accusation.into(), &coldkey(index))
}

fn treasury() -> u128 {
    Balances::free_balance(Iota::treasury())
}

#[test]
fn two_thirds_for_gate_the_miner_and_return_the_deposit() {
    with_judges(3, || {
        assert_ok!(accuse(4, 0, 7));
        assert_eq!((deposited(4), member(4).bond), (DEPOSIT, MIN_BOND + DEPOSIT));
        assert!(Gated::<Test>::get((RUN, ACCUSED)).is_empty(), "one third is no verdict");
        assert_ok!(vote(5, 0, 7, true));
        assert_eq!(Gated::<Test>::get((RUN, ACCUSED)), vec![(uid(0), member(0).incarnation)]);
        assert_eq!((deposited(4), member(4).bond), (0, MIN_BOND + 2 * DEPOSIT));
        score_epoch(&[4, 5, 6]);
        run_to_close();
        let report = Iota::report_view(RUN, ACCUSED).unwrap();
        assert_eq!(report.terms.gated, vec![(uid(0), member(0).incarnation)]);
        assert_eq!(owed(0), 0);
        // The others get what they would have got: a quarter of half of the emission each.
        (1..4).for_each(|index| assert_eq!(owed(index), report.split.minted / 8, "{index}"));
    });
}

#[test]
fn an_accusation_is_charged_for_the_others_that_there_are() {
    with_judges(3, || {
        let accused = (uid(0), member(0).incarnation);
        let accuse = |segment| {
            let sent = Iota::accuse(signed(hotkey(4)), RUN, ACCUSED, accused.0, accused.1, segment, EVIDENCE);
            sent.unwrap().actual_weight.unwrap()
        };
        let read = |count| <Test as frame_system::Config>::DbWeight::get().reads(count);
        let (all, others) = (<() as WeightInfo>::accuse(), u64::from(MAX_ACCUSATIONS) - 1);
        assert!(all.ref_time() > read(others).ref_time());
        assert_eq!(accuse(0), all - read(others));
        assert_eq!(accuse(1), all - read(others - 1));
    });
}

#[test]
fn the_view_of_an_epochs_court_shows_accusation_votes_and_gates() {
    with_judges(3, || {
        assert!(Iota::court_view(RUN, ACCUSED).is_empty());
        assert_ok!(accuse(4, 0, 7));
        let court = Iota::court_view(RUN, ACCUSED);
        let accusation = court.accusation(uid(0), 7).unwrap();
        assert_eq!((accusation.accuser, accusation.evidence), (uid(4), EVIDENCE));
        assert_eq!((&accusation.votes[..], accusation.verdict), (&[(uid(4), true)][..], None));
        assert_ok!(vote(5, 0, 7, true));
        let court = Iota::court_view(RUN, ACCUSED);
        assert_eq!(court.accusation(uid(0), 7).unwrap().verdict, Some(true));
        assert_eq!(court.gated, vec![(uid(0), member(0).incarnation)]);
        assert_eq!(court.wrong_gates(&Iota::snapshot_view(RUN, ACCUSED).unwrap()), vec![]);
    });
}

#[test]
fn two_thirds_against_take_the_deposit_for_the_treasury() {
    with_judges(3, || {
        let before = treasury();
        assert_ok!(accuse(4, 0, 7));
        assert_ok!(vote(5, 0, 7, false));
        assert_eq!(deposited(4), DEPOSIT, "one third is no verdict");
        assert_ok!(vote(6, 0, 7, false));
        assert_eq!((deposited(4), treasury()), (0, before + DEPOSIT));
        assert_eq!(member(4).bond, MIN_BOND + DEPOSIT, "it does not come back");
        assert!(Gated::<Test>::get((RUN, ACCUSED)).is_empty());
        assert_noop!(vote(4, 0, 7, true), E::AlreadyDecided);
        assert_noop!(accuse(5, 0, 7), E::AlreadyAccused);
    });
}

#[test]
fn without_a_verdict_the_deposit_returns_at_the_second_close_after() {
    with_judges(4, || {
        assert_ok!(accuse(4, 0, 7));
        assert_ok!(vote(5, 0, 7, false));
        score_epoch(&[4, 5, 6]);
        run_to_close();
        assert_eq!(deposited(4), DEPOSIT, "it may still be judged in the next epoch");
        assert!(owed(0) > 0, "an accusation alone stops no pay");
        let epoch = clock().epoch;
        while clock().epoch == epoch {
            assert_eq!(deposited(4), DEPOSIT);
            run_to(System::block_number() + 1);
        }
        assert_eq!((deposited(4), member(4).bond), (0, MIN_BOND + 2 * DEPOSIT));
        assert!(Accusations::<Test>::iter().next().is_none());
        assert_noop!(accuse(4, 0, 8), E::WrongEpoch);
        assert_noop!(vote(6, 0, 7, true), E::WrongEpoch);
    });
}

#[test]
fn the_end_of_a_run_returns_deposits() {
    with_judges(1, || {
        assert_ok!(accuse(4, 0, 7));
        run_to_close();
        assert_eq!(
            (clock().epoch, deposited(4)),
            (Epoch(2), DEPOSIT),
            "it may still be judged in the next epoch"
        );
        run_to(clock().start);
        run_to_close();
        assert_eq!(clock().state, crate::types::State::Ended);
        assert_eq!((deposited(4), member(4).bond), (0, MIN_BOND + 2 * DEPOSIT));
    });
}

#[test]
fn accusations_are_refused_with_their_own_errors() {
    with_judges(3, || {
        let incarnation = member(0).incarnation;
        let by = |index: u8, run, epoch, uid, incarnation| {
            Bare::accuse(signed(hotkey(index)), run, epoch, uid, incarnation, 0, EVIDENCE)
        };
        assert_noop!(by(4, RunId(9), ACCUSED, uid(0), incarnation), E::UnknownRun);
        assert_noop!(by(4, RUN, Epoch(1), uid(0), incarnation), E::WrongEpoch);
        assert_noop!(by(4, RUN, Epoch(9), uid(0), incarnation), E::WrongEpoch);
        assert_noop!(by(30, RUN, ACCUSED, uid(0), incarnation), E::NotMember);
        assert_noop!(by(0, RUN, ACCUSED, uid(0), incarnation), E::NotValidator);
        assert_noop!(by(4, RUN, ACCUSED, Uid(200), incarnation), E::UnknownMiner);
        assert_noop!(by(4, RUN, ACCUSED, uid(0), Incarnation(99)), E::UnknownMiner);
        assert_ok!(accuse(4, 0, 1));
        assert_noop!(accuse(5, 0, 1), E::AlreadyAccused);
        assert_ok!(accuse(4, 0, 2));
        assert_noop!(accuse(4, 0, 3), E::BondTooLow);
        assert_noop!(vote(4, 0, 1, false), E::AlreadyVoted);
        assert_noop!(vote(5, 0, 9, true), E::NoAccusation);
        assert_noop!(vote(1, 0, 1, true), E::NotValidator);
        assert_noop!(vote(30, 0, 1, true), E::NotMember);
        let elsewhere = || Bare::vote(signed(hotkey(5)), RunId(9), ACCUSED, uid(0), 1, true);
        assert_noop!(elsewhere(), E::UnknownRun);
    });
}

#[test]
fn a_validator_without_a_permit_in_that_epoch_does_not_judge() {
    with_judges(3, || {
        join(7, Role::Validator);
        assert_ok!(Bare::bond(signed(coldkey(7)), RUN, uid(7), 10 * DEPOSIT));
        assert_noop!(accuse(7, 0, 1), E::NotValidator);
        assert_ok!(accuse(4, 0, 1));
        assert_noop!(vote(7, 0, 1, true), E::NotValidator);
    });
}

#[test]
fn accusations_of_one_epoch_are_bounded() {
    with_judges(3, || {
        assert_ok!(Bare::bond(signed(coldkey(4)), RUN, uid(4), 100 * DEPOSIT));
        for segment in 0..MAX_ACCUSATIONS {
            assert_ok!(accuse(4, 0, segment));
        }
        assert_noop!(accuse(4, 0, MAX_ACCUSATIONS), E::TooManyAccusations);
        assert_eq!(deposited(4), u128::from(MAX_ACCUSATIONS) * DEPOSIT);
        run_to_close();
        run_to_close();
        assert_eq!(deposited(4), 0, "all of them end at one close");
    });
}

/// What a miner says about a hop of the accused epoch.
pub(super) fn header(from: Uid, codes: u8) -> HopHeader {
    HopHeader {
        version: WIRE_VERSION,
        run: RUN,
        epoch: ACCUSED,
        sample: Sample(3),
        attempt: Attempt(0),
        stage: Stage(1),
        direction: Direction::Forward,
        from,
        values: 64,
        codec: WireCodec::Int8,
        codes_hash: Hash([codes; 32]),
        parent: Hash::ZERO,
    }
}

/// The header under the signature of a hotkey.
pub(super) fn sign(by: u8, header: HopHeader) -> SignedHeader {
    let unsigned = SignedHeader { header, signature: [0; 64] };
    let bytes = unsigned.signed_bytes(&Iota::genesis_hash());
    SignedHeader { signature: hotkey_pair(by).sign(&bytes.0).0, ..unsigned }
}

/// Somebody brings a proof.
pub(super) fn report(
    proof: Equivocation,
) -> polkadot_sdk::frame_support::dispatch::DispatchResultWithPostInfo {
    Iota::report_equivocation(signed(coldkey(20)), proof)
}

#[test]
fn anyone_may_prove_that_a_miner_signed_two_bodies() {
    with_judges(3, || {
        let proof = Equivocation { first: sign(0, header(uid(0), 1)), second: sign(0, header(uid(0), 2)) };
        assert_eq!(report(proof.clone()).unwrap().pays_fee, Pays::No);
        assert_noop!(report(proof), E::AlreadyGated);
        score_epoch(&[4, 5, 6]);
        run_to_close();
        assert_eq!(owed(0), 0);
        assert!(owed(1) > 0);
    });
}

#[test]
fn what_proves_nothing_is_refused() {
    with_judges(4, || {
        let of = |first, second| report(Equivocation { first, second });
        let one = sign(0, header(uid(0), 1));
        assert_noop!(of(one.clone(), one.clone()), E::NoEquivocation);
        let other = sign(0, HopHeader { attempt: Attempt(1), ..header(uid(0), 2) });
        assert_noop!(of(one.clone(), other), E::NoEquivocation);
        // Signed by somebody else, or for another chain.
        assert_noop!(of(one.clone(), sign(1, header(uid(0), 2))), E::BadProof);
        let mut foreign = sign(0, header(uid(0), 2));
        foreign.signature = hotkey_pair(0).sign(&foreign.signed_bytes(&Hash([9; 32])).0).0;
        assert_noop!(of(one, foreign), E::BadProof);
        let both = |change: &dyn Fn(HopHeader) -> HopHeader| {
            of(sign(0, change(header(uid(0), 1))), sign(0, change(header(uid(0), 2))))
        };
        assert_noop!(both(&|own| HopHeader { run: RunId(9), ..own }), E::UnknownRun);
        assert_noop!(both(&|own| HopHeader { epoch: Epoch(2), ..own }), E::WrongEpoch);
        assert_noop!(both(&|own| HopHeader { from: Uid(200), ..own }), E::NotMember);
        for _ in 0..2 {
            run_to_close();
        }
        run_to(System::block_number() + 1);
        assert_noop!(both(&|own| own), E::WrongEpoch);
    });
}

#[test]
fn a_proof_may_be_about_the_current_epoch() {
    with_judges(3, || {
        let now = |codes| HopHeader { epoch: Epoch(1), ..header(uid(0), codes) };
        assert_ok!(report(Equivocation { first: sign(0, now(1)), second: sign(0, now(2)) }));
        assert_eq!(Gated::<Test>::get((RUN, Epoch(1))).len(), 1);
    });
}
