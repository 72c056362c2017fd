//! The known ways in which pallets lose money or stop chains, one test for each that this pallet's
//! membership and money could fall into. The number is the row of the list in `rows`, which says where
//! tests of the other rows stand.

use codec::MaxEncodedLen;
use iota_protocol::{
    hash::register_payload,
    ids::{Epoch, Hash, Incarnation, RunId, Uid},
    params::RunParams,
    work::Role,
};
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok,
        traits::{
            fungible::{Inspect, InspectHold, Mutate},
            tokens::Preservation,
            StorageInfoTrait,
        },
    },
    sp_core::Pair,
    sp_runtime::TokenError,
};

use crate::{
    mock::*,
    pallet::*,
    types::{Member, Vesting},
};

type E = Error<Test>;

#[test]
fn row_03_the_largest_numbers_are_refused_and_wrap_nothing() {
    with_epoch(params(), || {
        let bond = |amount| Bare::bond(signed(coldkey(4)), RUN, uid(4), amount);
        assert_noop!(bond(u128::MAX), TokenError::FundsUnavailable);
        assert_noop!(bond(u128::MAX - MIN_BOND), TokenError::FundsUnavailable);
        assert_noop!(Bare::unbond(signed(coldkey(4)), RUN, uid(4), u128::MAX), E::BadAmount);
        let (run, uid) = (RunId(u32::MAX), Uid(u16::MAX));
        assert_noop!(Bare::unbond(signed(coldkey(4)), RUN, uid, 1), E::NotMember);
        assert_noop!(Bare::release(signed(coldkey(4)), run, Incarnation(u32::MAX)), E::NothingVested);
        assert_eq!(Iota::forfeit(run, uid, Incarnation(u32::MAX)), 0);
        // A quote from the end of time and a block before it.
        RegistrationPrice::<Test>::put(iota_protocol::price::Quote { price: u128::MAX, block: u32::MAX });
        assert_eq!(Iota::price_now(), RegistrationPricing::get().max);
    });
}

#[test]
fn row_04_stored_records_are_no_larger_than_weights_assume() {
    // 256 members of 256 bytes are the 64 KiB that a registration in a full run reads.
    assert!(Member::max_encoded_len() <= 256, "{}", Member::max_encoded_len());
    assert!(Vesting::max_encoded_len() <= 2 * 1024, "{}", Vesting::max_encoded_len());
}

#[test]
fn row_05_every_stored_value_has_a_bound() {
    for item in Iota::storage_info() {
        let name = String::from_utf8(item.storage_name).unwrap();
        assert!(item.max_size.is_some(), "{name} has no largest size");
    }
}

#[test]
fn row_09_nobody_pays_more_than_it_said() {
    with_run(params(), || {
        let (owner, most) = (coldkey(1), Iota::price_now());
        let call =
            |most| Bare::register(signed(owner.clone()), RUN, hotkey(1), Role::Miner, proof(&owner, 1), most);
        register(0, Role::Miner);
        assert_noop!(call(most), E::PriceTooHigh);
        assert_ok!(call(Iota::price_now()));
    });
}

#[test]
fn row_10_a_consent_is_good_for_one_chain_one_run_and_one_owner() {
    with_run(params(), || {
        let (owner, hot) = (coldkey(0), hotkey(0));
        let sign = |genesis: Hash, run, owner: &polkadot_sdk::sp_runtime::AccountId32| {
            let payload =
                register_payload(&genesis, run, &crate::types::key(owner), &crate::types::key(&hot));
            hotkey_pair(0).sign(&payload.0).0
        };
        let call = |who: u8, proof| {
            Bare::register(signed(coldkey(who)), RUN, hot.clone(), Role::Miner, proof, u128::MAX)
        };
        let genesis = Iota::genesis_hash();
        assert_noop!(call(0, sign(Hash([7; 32]), RUN, &owner)), E::BadProof);
        assert_noop!(call(0, sign(genesis, RunId(1), &owner)), E::BadProof);
        assert_noop!(call(0, sign(genesis, RUN, &coldkey(1))), E::BadProof);
        let good = sign(genesis, RUN, &owner);
        assert_noop!(call(1, good), E::BadProof);
        assert_ok!(call(0, good));
        assert_noop!(call(0, good), E::AlreadyRegistered);
        // After it left, the same owner may use it again: it is the same consent.
        assert_ok!(Bare::leave(signed(owner.clone()), RUN, uid(0)));
        assert_noop!(call(1, good), E::BadProof);
        assert_ok!(call(0, good));
    });
}

/// Keys in storage, without events and what the blocks write.
fn keys_of_pallet() -> usize {
    let prefix = polkadot_sdk::sp_io::hashing::twox_128(b"Iota");
    let mut key = prefix.to_vec();
    let mut count = 0;
    while let Some(next) = polkadot_sdk::sp_io::storage::next_key(&key) {
        if !next.starts_with(&prefix) {
            break;
        }
        count += 1;
        key = next;
    }
    count
}

#[test]
fn row_14_coming_and_going_costs_the_price_and_leaves_nothing_behind() {
    with_run(params(), || {
        register(0, Role::Miner);
        assert_ok!(Bare::leave(signed(coldkey(0)), RUN, uid(0)));
        let (before, issuance) = (keys_of_pallet(), Balances::total_issuance());
        let mut burned = 0;
        for index in 1..20 {
            burned += Iota::price_now();
            let uid = register(index, Role::Miner);
            serve(index);
            assert_ok!(Bare::announce_coldkey(signed(coldkey(index)), RUN, uid, coldkey(30)));
            assert_ok!(Bare::leave(signed(hotkey(index)), RUN, uid));
        }
        assert_eq!(keys_of_pallet(), before);
        assert_eq!(Balances::total_issuance(), issuance - burned);
        assert!(burned >= 19 * PRICE);
    });
}

#[test]
fn row_16_what_is_on_hold_cannot_be_sent_away() {
    with_epoch(params(), || {
        let (owner, all) = (coldkey(4), Balances::total_balance(&coldkey(4)));
        let send = |amount| Balances::transfer(&owner, &coldkey(30), amount, Preservation::Expendable);
        assert!(send(all).is_err());
        assert!(send(all - MIN_BOND + 1).is_err());
        assert_ok!(send(all - MIN_BOND - ED));
        assert_eq!(Balances::balance_on_hold(&HoldReason::Bond.into(), &owner), MIN_BOND);
        // Unbonding is on hold as before.
        assert_ok!(Bare::unbond(signed(owner.clone()), RUN, uid(4), MIN_BOND));
        assert!(send(ED + 1).is_err());
    });
}

#[test]
fn row_22_keys_that_users_choose_are_hashed_against_crowding() {
    let by_account = ["UidOf", "Rewards", "Unbondings"];
    for entry in Iota::storage_metadata().entries {
        let described = format!("{:?}", entry.ty);
        let Some((_, rest)) = described.split_once("hashers: [") else { continue };
        let hashers: Vec<&str> = rest.split(']').next().unwrap().split(", ").collect();
        let sound = |hasher: &&str| ["Blake2_128Concat", "Twox64Concat"].contains(hasher);
        assert!(hashers.iter().all(sound), "{}: {hashers:?}", entry.name);
        if by_account.contains(&entry.name) {
            assert!(hashers.contains(&"Blake2_128Concat"), "{}: {hashers:?}", entry.name);
        }
    }
}

#[test]
fn row_28_a_close_deposits_a_bounded_number_of_events() {
    with_epoch(RunParams { epochs: 9, ..params() }, || {
        whole_epoch();
        score_epoch(&[4, 5]);
        merge_to_root();
        System::reset_events();
        run_to_close();
        // Six payments, a settlement, two roots, the start, and at most one more for each member.
        assert!(System::events().len() <= 6 + 1 + 2 + 1 + 6, "{}", System::events().len());
        assert_eq!(clock().epoch, Epoch(2));
    });
}

fn merge_to_root() {
    let miners = [0, 1, 2, 3];
    run_to_phase(iota_protocol::phase::Phase::Commit);
    miners.iter().for_each(|index| commit(*index));
    run_to(schedule().close() - 1);
}
