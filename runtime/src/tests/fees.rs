//! Who pays, and who is paid for it.

use polkadot_sdk::{
    frame_support::traits::fungible::Inspect,
    sp_genesis_builder::{DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET},
    sp_runtime::transaction_validity::{InvalidTransaction, TransactionValidityError},
};

use super::*;

#[test]
fn a_member_without_money_serves_for_free_and_once() {
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
