//! What the pool hears about protocol calls: which go first, and which exclude each other.

use iota_protocol::{
    equivocation::{Equivocation, SignedHeader},
    ids::{Attempt, Epoch, Incarnation, Sample, Stage, Uid},
    params::WireCodec,
    phase::Phase,
    receipt::Direction,
    wire::{HopHeader, WIRE_VERSION},
    work::{ScoreReveal, WorkCommit},
};
use polkadot_sdk::{
    frame_support::{
        dispatch::CheckIfFeeless,
        traits::fungible::{Inspect, Mutate},
    },
    pallet_multisig, pallet_proxy, pallet_utility,
    sp_runtime::transaction_validity::{InvalidTransaction, TransactionTag, TransactionValidityError},
};

use super::*;
use crate::{filters::ProxyType, protocol_payment::FREE_PRIORITY};

/// The first sample of a miner of stage 0 or 1, distinguished by its root.
fn commit_work(index: u8, root: u8) -> RuntimeCall {
    let uid = pallet_iota::UidOf::<Runtime>::get(RUN, account(&hot(index))).unwrap();
    let first =
        pallet_iota::Members::<Runtime>::get(RUN, uid).unwrap().stage == Some(iota_protocol::ids::Stage(0));
    let root = Hash32([root; 32]);
    let work = WorkCommit {
        entry_root: root,
        log_root: root,
        receipts_root: root,
        samples: 1,
        started: u32::from(first),
    };
    RuntimeCall::Iota(pallet_iota::Call::commit_work { run: RUN, epoch: Epoch(0), work })
}

/// Tags of a valid transaction without those of its nonce.
fn slots(transaction: UncheckedExtrinsic, who: &AccountId, nonce: Nonce) -> Vec<TransactionTag> {
    let nonce_tag = (who, nonce).encode();
    ask(transaction).unwrap().provides.into_iter().filter(|tag| *tag != nonce_tag).collect()
}

fn payment_refused(validity: &TransactionValidity) -> bool {
    *validity == Err(TransactionValidityError::Invalid(InvalidTransaction::Payment))
}

/// Runs until the next block is the first of `Commit`.
fn before_commit(schedule: &Schedule) {
    open_to(schedule.window(Phase::Commit).start - 1);
}

#[test]
fn a_call_in_its_window_goes_first_though_its_sender_owns_nothing() {
    on_running_chain(|schedule| {
        before_commit(&schedule);
        let validity = ask(signed(&hot(1), 1, commit_work(1, 5))).unwrap();
        assert_eq!(validity.priority, FREE_PRIORITY);
        let tip = ProtocolPayment::with_tip(1_000_000 * UNIT);
        let remark = RuntimeCall::System(frame_system::Call::remark { remark: vec![1; 40] });
        let mut outbidding = extension(0);
        outbidding.8 = tip;
        let rich = Sr25519Keyring::Alice;
        assert_ok!(Balances::mint_into(&rich.to_account_id(), 2_000_000 * UNIT));
        let payload = SignedPayload::new(remark.clone(), outbidding.clone()).unwrap();
        let signature = payload.using_encoded(|bytes| rich.pair().sign(bytes));
        let address = MultiAddress::Id(rich.to_account_id());
        let paying =
            UncheckedExtrinsic::new_signed(remark, address, MultiSignature::Sr25519(signature), outbidding);
        assert!(ask(paying).unwrap().priority < FREE_PRIORITY, "a million tokens outbid a member");
        open_block();
        assert_ok!(Executive::apply_extrinsic(signed(&hot(1), 1, commit_work(1, 5))).unwrap());
    });
}

#[test]
fn duplicates_of_a_member_exclude_each_other_and_nobody_else() {
    on_running_chain(|schedule| {
        before_commit(&schedule);
        let (one, two) = (account(&hot(1)), account(&hot(2)));
        let first = slots(signed(&hot(1), 1, commit_work(1, 5)), &one, 1);
        let again = slots(signed(&hot(1), 2, commit_work(1, 6)), &one, 2);
        let other = slots(signed(&hot(2), 1, commit_work(2, 5)), &two, 1);
        assert_eq!(first.len(), 1);
        assert_eq!(first, again, "another root under another nonce is the same slot");
        assert_ne!(first, other);
    });
}

#[test]
fn row_19_out_of_its_window_a_call_has_no_priority_and_pays() {
    on_running_chain(|schedule| {
        let call = commit_work(1, 5);
        assert!(payment_refused(&ask(signed(&hot(1), 1, call.clone()))), "two blocks into train");
        let hotkey = account(&hot(1));
        assert_ok!(Balances::mint_into(&hotkey, UNIT));
        let paid = ask(signed(&hot(1), 1, call.clone())).unwrap();
        assert!(paid.priority < FREE_PRIORITY);
        assert_eq!(paid.provides, vec![(&hotkey, 1u32).encode()]);
        let before = Balances::balance(&hotkey);
        assert!(Executive::apply_extrinsic(signed(&hot(1), 1, call.clone())).unwrap().is_err());
        assert!(Balances::balance(&hotkey) < before, "a call that fails pays all the same");
        before_commit(&schedule);
        assert_eq!(ask(signed(&hot(1), 2, call)).unwrap().priority, FREE_PRIORITY);
    });
}

#[test]
fn a_call_that_is_stored_is_free_no_more() {
    on_running_chain(|schedule| {
        before_commit(&schedule);
        open_block();
        assert_ok!(Executive::apply_extrinsic(signed(&hot(1), 1, commit_work(1, 5))).unwrap());
        assert!(payment_refused(&ask(signed(&hot(1), 2, commit_work(1, 6)))));
    });
}

#[test]
fn a_reveal_fills_the_slot_of_its_author_whoever_sends_it() {
    on_running_chain(|_| {
        let score =
            pallet_iota::types::Score { incarnation: Incarnation(7), commit: Hash32([0; 32]), row: None };
        pallet_iota::Scores::<Runtime>::insert((RUN, Epoch(0)), Uid(3), score);
        let reveal = |author: u16| {
            RuntimeCall::Iota(pallet_iota::Call::reveal_scores {
                run: RUN,
                epoch: Epoch(0),
                author: Uid(author),
                reveal: ScoreReveal {
                    entries: Default::default(),
                    salt: [0; 32],
                    report_root: Hash32([0; 32]),
                },
            })
        };
        let of = |who: u8, author: u16| {
            crate::protocol_payment::first_and_once(&reveal(author), &account(&hot(who))).provides
        };
        assert_eq!(of(1, 3), of(2, 3));
        assert_ne!(of(1, 3), of(1, 4), "nobody committed for member 4");
    });
}

#[test]
fn a_judge_has_a_slot_for_each_thing_that_it_judges_and_a_proof_one_for_all() {
    on_running_chain(|_| {
        let slot = |who: u8, call: pallet_iota::Call<Runtime>| {
            crate::protocol_payment::first_and_once(&RuntimeCall::Iota(call), &account(&hot(who))).provides
        };
        let vote = |segment, guilty| pallet_iota::Call::vote {
            run: RUN,
            epoch: Epoch(0),
            uid: Uid(0),
            segment,
            guilty,
        };
        assert_eq!(slot(1, vote(3, true)), slot(1, vote(3, false)), "one vote, whatever it says");
        assert_ne!(slot(1, vote(3, true)), slot(1, vote(4, true)));
        assert_ne!(slot(1, vote(3, true)), slot(2, vote(3, true)));
        let ask = |uid| pallet_iota::Call::request_evidence {
            run: RUN,
            epoch: Epoch(0),
            uid: Uid(uid),
            incarnation: Incarnation(0),
            wanted: Hash32([0; 32]),
        };
        assert_ne!(slot(1, ask(0)), slot(1, ask(1)));
        let header = |codes| SignedHeader {
            header: HopHeader {
                version: WIRE_VERSION,
                run: RUN,
                epoch: Epoch(0),
                sample: Sample(3),
                attempt: Attempt(0),
                stage: Stage(1),
                direction: Direction::Forward,
                from: Uid(0),
                values: 64,
                codec: WireCodec::Int8,
                codes_hash: Hash32([codes; 32]),
                parent: Hash32([0; 32]),
            },
            signature: [0; 64],
        };
        let proof = |codes| pallet_iota::Call::report_equivocation {
            proof: Equivocation { first: header(0), second: header(codes) },
        };
        assert_eq!(slot(1, proof(1)), slot(2, proof(2)), "one proof against one member is enough");
    });
}

/// Every call that carries another, around `inner`.
fn wrapped(inner: &RuntimeCall, sender: &AccountId) -> Vec<RuntimeCall> {
    let boxed = Box::new(inner.clone());
    let other = Sr25519Keyring::Bob.to_account_id();
    vec![
        pallet_utility::Call::batch { calls: vec![inner.clone()] }.into(),
        pallet_utility::Call::batch_all { calls: vec![inner.clone()] }.into(),
        pallet_utility::Call::force_batch { calls: vec![inner.clone()] }.into(),
        pallet_utility::Call::as_derivative { index: 0, call: boxed.clone() }.into(),
        pallet_utility::Call::if_else { main: boxed.clone(), fallback: boxed.clone() }.into(),
        pallet_multisig::Call::as_multi_threshold_1 {
            other_signatories: vec![other.clone()],
            call: boxed.clone(),
        }
        .into(),
        pallet_multisig::Call::as_multi {
            threshold: 2,
            other_signatories: vec![other],
            maybe_timepoint: None,
            call: boxed.clone(),
            max_weight: Default::default(),
        }
        .into(),
        pallet_proxy::Call::proxy {
            real: MultiAddress::Id(sender.clone()),
            force_proxy_type: Some(ProxyType::Any),
            call: boxed,
        }
        .into(),
    ]
}

#[test]
fn nothing_is_free_inside_of_another_call() {
    on_running_chain(|schedule| {
        before_commit(&schedule);
        open_block();
        let hotkey = account(&hot(1));
        let inner = commit_work(1, 5);
        assert!(inner.is_feeless(&RuntimeOrigin::signed(hotkey.clone())));
        for call in wrapped(&inner, &hotkey) {
            let validity = ask(signed(&hot(1), 1, call.clone()));
            assert!(payment_refused(&validity), "{call:?}: {validity:?}");
        }
        assert_ok!(Balances::mint_into(&hotkey, 10 * UNIT));
        for call in wrapped(&inner, &hotkey) {
            let validity = ask(signed(&hot(1), 1, call.clone())).unwrap();
            assert!(validity.priority < FREE_PRIORITY, "{call:?}");
            assert_eq!(validity.provides.len(), 1, "{call:?} has the tag of its nonce alone");
        }
    });
}
