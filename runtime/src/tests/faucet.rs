//! The faucet: through the pool, without signature, within its limits.

use polkadot_sdk::{
    frame_support::traits::fungible::{Inspect, Mutate},
    sp_genesis_builder::DEV_RUNTIME_PRESET,
    sp_runtime::{
        transaction_validity::{InvalidTransaction, TransactionValidityError},
        DispatchError,
    },
};

use super::*;
use crate::faucet::{work_hash, zero_bits, CurrentTerms, LastDrip, Terms};

/// Cheap work: sixteen hashes.
const TERMS: Terms = Terms { drip: 5 * UNIT, cooldown: 20, per_block: 2, difficulty: 4 };
/// What the faucet holds in these tests: three drips and what keeps its account alive.
const FUND: Balance = 15 * UNIT + UNIT / 1_000;

fn on_faucet(test: impl FnOnce()) {
    on_chain(DEV_RUNTIME_PRESET, json!([]), || {
        CurrentTerms::<Runtime>::put(TERMS);
        assert_ok!(Balances::mint_into(&Faucet::account(), FUND));
        open_block();
        test();
    });
}

fn newcomer(index: u8) -> AccountId {
    AccountId::new([index; 32])
}

/// The first nonce whose work is enough, or is not.
fn nonce(to: &AccountId, last: u32, enough: bool) -> u64 {
    let fits = |nonce: &u64| {
        (zero_bits(&work_hash(&genesis_hash(), to, last, *nonce)) >= TERMS.difficulty) == enough
    };
    (0..).find(fits).unwrap()
}

fn request(to: &AccountId, nonce: u64) -> UncheckedExtrinsic {
    let call = crate::faucet::Call::drip { to: to.clone(), nonce };
    UncheckedExtrinsic::new_transaction(call.into(), extension(0))
}

fn worked(to: &AccountId) -> UncheckedExtrinsic {
    request(to, nonce(to, LastDrip::<Runtime>::get(to), true))
}

fn refused(because: InvalidTransaction) -> TransactionValidityError {
    TransactionValidityError::Invalid(because)
}

#[test]
fn zero_bits_are_counted_from_the_front() {
    let mut hash = [0xff; 32];
    assert_eq!(zero_bits(&hash), 0);
    hash[0] = 0;
    hash[1] = 0b0001_0000;
    assert_eq!(zero_bits(&hash), 11);
    assert_eq!(zero_bits(&[0; 32]), 256);
}

#[test]
fn an_account_that_has_nothing_gets_a_drip_and_nothing_is_minted() {
    on_faucet(|| {
        let (to, issued) = (newcomer(1), Balances::total_issuance());
        let tags = ask(worked(&to)).unwrap().provides;
        assert_eq!(tags, vec![(b"iota-faucet", &to).encode()], "one request of an account in the pool");
        assert_ok!(Executive::apply_extrinsic(worked(&to)).unwrap());
        assert_eq!(Balances::balance(&to), TERMS.drip);
        assert_eq!(Balances::balance(&Faucet::account()), FUND - TERMS.drip);
        assert_eq!(Balances::total_issuance(), issued);
    });
}

#[test]
fn a_request_made_for_an_account_is_accepted() {
    on_faucet(|| {
        let to = newcomer(1);
        let request = crate::requests::drip(genesis_hash().0, &to, 0, TERMS.difficulty).unwrap();
        assert_eq!(request.encode(), worked(&to).encode());
        assert_ok!(Executive::apply_extrinsic(request).unwrap());
        assert_eq!(Balances::balance(&to), TERMS.drip);
    });
}

#[test]
fn row_27_a_drip_costs_work_for_this_account_and_this_time() {
    on_faucet(|| {
        let to = newcomer(1);
        let too_little = Err(refused(InvalidTransaction::BadProof));
        assert_eq!(Executive::apply_extrinsic(request(&to, nonce(&to, 0, false))), too_little);
        let first = nonce(&to, 0, true);
        assert_ok!(Executive::apply_extrinsic(request(&to, first)).unwrap());
        open_to(System::block_number() + TERMS.cooldown);
        let last = LastDrip::<Runtime>::get(&to);
        let reused = zero_bits(&work_hash(&genesis_hash(), &to, last, first)) >= TERMS.difficulty;
        assert!(!reused, "another seed for this test: the old work happens to do");
        assert_eq!(ask(request(&to, first)), Err(refused(InvalidTransaction::BadProof)));
        assert_ok!(Executive::apply_extrinsic(worked(&to)).unwrap());
        assert_eq!(Balances::balance(&to), 2 * TERMS.drip);
    });
}

#[test]
fn an_account_waits_for_the_cool_down() {
    on_faucet(|| {
        let to = newcomer(1);
        assert_ok!(Executive::apply_extrinsic(worked(&to)).unwrap());
        open_to(System::block_number() + TERMS.cooldown - 1);
        assert_eq!(Executive::apply_extrinsic(worked(&to)), Err(refused(InvalidTransaction::Stale)));
        open_block();
        assert_ok!(Executive::apply_extrinsic(worked(&to)).unwrap());
    });
}

#[test]
fn a_block_has_so_many_drips() {
    on_faucet(|| {
        assert_ok!(Executive::apply_extrinsic(worked(&newcomer(1))).unwrap());
        assert_ok!(Executive::apply_extrinsic(worked(&newcomer(2))).unwrap());
        let third = Executive::apply_extrinsic(worked(&newcomer(3)));
        assert_eq!(third, Err(refused(InvalidTransaction::ExhaustsResources)));
        open_block();
        assert_ok!(Executive::apply_extrinsic(worked(&newcomer(3))).unwrap());
    });
}

#[test]
fn an_empty_faucet_keeps_its_account_and_can_be_filled() {
    on_faucet(|| {
        for index in 1..=3 {
            assert_ok!(Executive::apply_extrinsic(worked(&newcomer(index))).unwrap());
            open_block();
        }
        assert_eq!(Balances::balance(&Faucet::account()), Balances::minimum_balance());
        let fourth = worked(&newcomer(4));
        assert_eq!(Executive::apply_extrinsic(fourth.clone()), Err(refused(InvalidTransaction::Payment)));
        assert_ok!(Balances::mint_into(&Faucet::account(), TERMS.drip));
        assert_ok!(Executive::apply_extrinsic(fourth).unwrap());
    });
}

#[test]
fn a_chain_without_terms_has_no_faucet() {
    on_faucet(|| {
        let request = worked(&newcomer(1));
        let admin = Sr25519Keyring::Alice;
        assert_ok!(Faucet::set_terms(by(admin), None));
        assert_eq!(Executive::apply_extrinsic(request.clone()), Err(refused(InvalidTransaction::Stale)));
        assert_ok!(Faucet::set_terms(by(admin), Some(TERMS)));
        assert_ok!(Executive::apply_extrinsic(request).unwrap());
    });
}

#[test]
fn a_signature_opens_no_second_way() {
    on_faucet(|| {
        let to = newcomer(1);
        let nonce = nonce(&to, 0, true);
        let call = crate::faucet::Call::drip { to: to.clone(), nonce };
        let sent = Executive::apply_extrinsic(signed(&Sr25519Keyring::Bob.pair(), 0, call.into())).unwrap();
        assert_eq!(sent, Err(DispatchError::BadOrigin));
        assert_eq!(Balances::balance(&to), 0);
    });
}
