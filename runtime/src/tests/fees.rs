//! Who pays, and who is paid for it.

use polkadot_sdk::{
    frame_support::traits::fungible::{Inspect, Mutate},
    pallet_session,
    sp_genesis_builder::{DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET},
    sp_runtime::transaction_validity::{InvalidTransaction, TransactionValidityError},
};

use super::*;

#[test]
fn row_19_a_member_without_money_serves_for_free_and_once() {
    on_chain(DEV_RUNTIME_PRESET, run(), || {
        open_block();
        register(9, Role::Miner);
        assert_eq!(Balances::balance(&account(&hot(9))), 0);
        assert_ok!(Executive::apply_extrinsic(signed(&hot(9), 0, serve(9))).unwrap());
        let second = Executive::apply_extrinsic(signed(&hot(9), 1, serve(9)));
        assert_eq!(second, Err(TransactionValidityError::Invalid(InvalidTransaction::Payment)));
    });
}

#[test]
fn fees_go_to_the_author_of_the_block() {
    on_chain(LOCAL_TESTNET_RUNTIME_PRESET, json!([]), || {
        open_block();
        let (payer, author) = (Sr25519Keyring::Bob, Sr25519Keyring::Alice.to_account_id());
        let call = RuntimeCall::System(frame_system::Call::remark { remark: vec![0; 100] });
        let (before, issued) = (Balances::balance(&author), Balances::total_issuance());
        let paid_before = Balances::balance(&payer.to_account_id());
        assert_ok!(Executive::apply_extrinsic(signed(&payer.pair(), 0, call)).unwrap());
        let fee = paid_before - Balances::balance(&payer.to_account_id());
        assert!(fee > 0 && fee < UNIT / 100, "a remark costs {fee}");
        assert_eq!(Balances::balance(&author), before + fee);
        assert_eq!(Balances::total_issuance(), issued);
    });
}

#[test]
fn row_15_row_17_dust_goes_to_the_treasury_and_is_not_lost() {
    on_chain(DEV_RUNTIME_PRESET, json!([]), || {
        open_block();
        let (least, short) = (Balances::minimum_balance(), account(&hot(9)));
        assert_ok!(Balances::mint_into(&short, 3 * least));
        let treasury = || Balances::balance(&Iota::treasury());
        let (before, issued) = (treasury(), Balances::total_issuance());
        let rest = least - 1;
        let dest = MultiAddress::Id(Sr25519Keyring::Bob.to_account_id());
        let origin = RuntimeOrigin::signed(short.clone());
        assert_ok!(Balances::transfer_allow_death(origin, dest, 3 * least - rest));
        assert!(!frame_system::Account::<Runtime>::contains_key(&short), "less than the least keeps nobody");
        assert_eq!(treasury(), before + rest);
        assert_eq!(Balances::total_issuance(), issued);
    });
}

#[test]
fn row_17_a_fee_that_its_author_cannot_take_goes_to_the_treasury() {
    on_chain(LOCAL_TESTNET_RUNTIME_PRESET, json!([]), || {
        open_block();
        // The author of the block is an account that does not exist.
        let nobody = account(&hot(9));
        pallet_session::Validators::<Runtime>::mutate(|authors| authors.fill(nobody.clone()));
        let payer = Sr25519Keyring::Bob;
        let treasury = || Balances::balance(&Iota::treasury());
        let (before, issued) = (treasury(), Balances::total_issuance());
        let paid_before = Balances::balance(&payer.to_account_id());
        let call = RuntimeCall::System(frame_system::Call::remark { remark: Vec::new() });
        assert_ok!(Executive::apply_extrinsic(signed(&payer.pair(), 0, call)).unwrap());
        let fee = paid_before - Balances::balance(&payer.to_account_id());
        assert!(
            0 < fee && fee < Balances::minimum_balance(),
            "a fee of {fee} makes an account of its author"
        );
        assert_eq!((treasury(), Balances::balance(&nobody)), (before + fee, 0));
        assert_eq!(Balances::total_issuance(), issued);
    });
}
