//! Authorities that change, the admin, safe mode.

use polkadot_sdk::{
    frame_support::{assert_noop, assert_storage_noop, traits::fungible::Inspect},
    pallet_aura, pallet_balances, pallet_multisig, pallet_session,
    sp_genesis_builder::LOCAL_TESTNET_RUNTIME_PRESET,
    sp_runtime::{DispatchError, DispatchResult},
};
use Sr25519Keyring::{Alice, Bob, Charlie, Dave, Eve};

use super::*;
use crate::{genesis::multisig, governance::Error};

/// Blocks of a session in these tests.
const SESSION: u32 = 5;

fn on_local_network(test: impl FnOnce()) {
    let patch = json!({ "governance": { "sessionBlocks": SESSION }, "iota": { "runs": run() } });
    on_patched(LOCAL_TESTNET_RUNTIME_PRESET, patch, || {
        open_block();
        test();
    });
}

fn admin() -> AccountId {
    multisig(&[Alice, Bob, Charlie].map(|key| key.to_account_id()), 2)
}

/// The account publishes keys that the keystore makes for it.
fn set_keys(who: Sr25519Keyring) -> SessionKeys {
    let generated = SessionKeys::generate(&who.to_account_id().encode(), None);
    let (keys, proof) = (generated.keys, generated.proof.encode());
    assert_ok!(Session::set_keys(by(who), keys.clone(), proof));
    keys
}

fn set_authorities(origin: RuntimeOrigin, who: &[Sr25519Keyring]) -> DispatchResult {
    let authorities: Vec<_> = who.iter().map(|key| key.to_account_id()).collect();
    Governance::set_authorities(origin, authorities.try_into().unwrap())
}

fn authors() -> Vec<AccountId> {
    pallet_session::Validators::<Runtime>::get()
}

fn accounts(keys: &[Sr25519Keyring]) -> Vec<AccountId> {
    keys.iter().map(|key| key.to_account_id()).collect()
}

/// Opens blocks through two session ends and one more.
fn two_sessions() {
    let now = System::block_number();
    open_to((now / SESSION + 2) * SESSION + 1);
}

#[test]
fn a_new_authority_authors_and_votes_two_sessions_later() {
    on_local_network(|| {
        let keys = set_keys(Dave);
        assert_ok!(set_authorities(RuntimeOrigin::signed(admin()), &[Alice, Bob, Dave]));
        assert_eq!(authors(), accounts(&[Alice, Bob, Charlie]), "nothing changes within a session");
        two_sessions();
        assert_eq!(authors(), accounts(&[Alice, Bob, Dave]));
        assert_eq!(pallet_aura::Authorities::<Runtime>::get().last(), Some(&keys.aura));
        assert_eq!(Grandpa::grandpa_authorities().last(), Some(&(keys.grandpa, 1)));
        let set = Grandpa::current_set_id();
        two_sessions();
        assert_eq!(Grandpa::current_set_id(), set, "no change, no new set");
    });
}

#[test]
fn a_new_set_of_voters_begins_every_six_sessions() {
    on_local_network(|| {
        let mut began = Vec::new();
        for session in 1..=14 {
            let before = Grandpa::current_set_id();
            open_to(session * SESSION + 1);
            assert_eq!(Session::current_index(), session);
            if Grandpa::current_set_id() != before {
                began.push(session);
            }
        }
        assert_eq!(began, [2, 8, 14]);
        assert_eq!(authors(), accounts(&[Alice, Bob, Charlie]));
    });
}

#[test]
fn an_authority_rotates_its_keys_by_itself() {
    on_local_network(|| {
        let keys = set_keys(Bob);
        two_sessions();
        assert_eq!(pallet_aura::Authorities::<Runtime>::get().get(1), Some(&keys.aura));
        assert_eq!(authors(), accounts(&[Alice, Bob, Charlie]));
    });
}

#[test]
fn an_authority_that_takes_back_its_keys_is_left_out_until_it_has_some() {
    on_local_network(|| {
        assert_ok!(Session::purge_keys(by(Charlie)));
        two_sessions();
        assert_eq!(authors(), accounts(&[Alice, Bob]));
        set_keys(Charlie);
        two_sessions();
        assert_eq!(authors(), accounts(&[Alice, Bob, Charlie]));
    });
}

#[test]
fn the_last_keys_that_are_taken_back_change_nothing() {
    on_local_network(|| {
        assert_ok!(set_authorities(RuntimeOrigin::signed(admin()), &[Alice]));
        two_sessions();
        assert_eq!(authors(), accounts(&[Alice]));
        let planned = pallet_session::QueuedKeys::<Runtime>::get();
        assert_eq!(planned.len(), 1);
        assert_eq!(<Governance as pallet_session::SessionManager<AccountId>>::new_session(9), None);
    });
}

#[test]
fn fees_go_to_the_account_of_the_author_also_after_a_change() {
    on_local_network(|| {
        set_keys(Dave);
        assert_ok!(set_authorities(RuntimeOrigin::signed(admin()), &[Dave]));
        two_sessions();
        let before = Balances::balance(&Dave.to_account_id());
        let remark = RuntimeCall::System(frame_system::Call::remark { remark: vec![0; 10] });
        assert_ok!(Executive::apply_extrinsic(signed(&Bob.pair(), 0, remark)).unwrap());
        assert!(Balances::balance(&Dave.to_account_id()) > before);
    });
}

#[test]
fn only_the_admin_governs() {
    on_local_network(|| {
        let hash = Hash::repeat_byte(3);
        let strangers = [RuntimeOrigin::none(), by(Alice), by(Eve), RuntimeOrigin::signed(account(&hot(1)))];
        for origin in strangers {
            let refused = Err(DispatchError::BadOrigin);
            assert_storage_noop!(assert_eq!(set_authorities(origin.clone(), &[Alice]), refused));
            assert_noop!(
                Governance::offer_admin(origin.clone(), Eve.to_account_id()),
                DispatchError::BadOrigin
            );
            assert_noop!(Governance::authorize_upgrade(origin.clone(), hash), DispatchError::BadOrigin);
            assert_noop!(Faucet::set_terms(origin.clone(), None), DispatchError::BadOrigin);
            assert!(SafeMode::force_enter(origin.clone()).is_err());
            let params = Iota::run_view(RUN).unwrap();
            assert!(Iota::create_run(origin, params).is_err());
        }
        assert_ok!(Governance::authorize_upgrade(RuntimeOrigin::signed(admin()), hash));
        assert_eq!(System::authorized_upgrade().map(|upgrade| *upgrade.code_hash()), Some(hash));
    });
}

#[test]
fn a_list_that_would_stop_the_chain_is_refused() {
    on_local_network(|| {
        let set = |who: &[Sr25519Keyring]| set_authorities(RuntimeOrigin::signed(admin()), who);
        assert_storage_noop!(assert_eq!(set(&[]), Err(Error::<Runtime>::NoAuthority.into())));
        assert_storage_noop!(assert_eq!(set(&[Bob, Alice, Bob]), Err(Error::<Runtime>::Duplicate.into())));
        assert_storage_noop!(assert_eq!(set(&[Alice, Eve]), Err(Error::<Runtime>::NoKeys.into())));
    });
}

#[test]
fn a_new_admin_has_to_accept() {
    on_local_network(|| {
        let eve = Eve.to_account_id();
        assert_noop!(Governance::accept_admin(by(Eve)), Error::<Runtime>::NotOffered);
        assert_ok!(Governance::offer_admin(RuntimeOrigin::signed(admin()), eve.clone()));
        assert_eq!(governance::Admin::<Runtime>::get(), Some(admin()), "an offer changes nothing");
        assert_noop!(Governance::accept_admin(by(Dave)), Error::<Runtime>::NotOffered);
        assert_ok!(Governance::accept_admin(by(Eve)));
        assert_eq!(governance::Admin::<Runtime>::get(), Some(eve));
        assert_noop!(Governance::accept_admin(by(Eve)), Error::<Runtime>::NotOffered);
        assert_storage_noop!(assert!(set_authorities(RuntimeOrigin::signed(admin()), &[Alice]).is_err()));
    });
}

#[test]
fn two_of_three_signatories_act_as_admin() {
    on_local_network(|| {
        let call: RuntimeCall =
            governance::Call::set_authorities { authorities: accounts(&[Alice, Bob]).try_into().unwrap() }
                .into();
        let others = |me: Sr25519Keyring| {
            let mut others = accounts(&[Alice, Bob, Charlie]);
            others.retain(|other| *other != me.to_account_id());
            others.sort();
            others
        };
        let approve = |me: Sr25519Keyring, timepoint| {
            let weight = frame_support::weights::Weight::from_parts(10_000_000_000, 100_000);
            Multisig::as_multi(by(me), 2, others(me), timepoint, Box::new(call.clone()), weight)
        };
        assert_ok!(approve(Alice, None));
        assert_eq!(governance::Authorities::<Runtime>::get().len(), 3, "one signature is not enough");
        let timepoint = pallet_multisig::Timepoint { height: System::block_number(), index: 0 };
        assert_ok!(approve(Bob, Some(timepoint)));
        assert_eq!(governance::Authorities::<Runtime>::get().to_vec(), accounts(&[Alice, Bob]));
    });
}

#[test]
fn in_safe_mode_work_goes_on_and_money_stands_still() {
    on_local_network(|| {
        register(1, Role::Miner);
        assert_ok!(SafeMode::force_enter(RuntimeOrigin::signed(admin())));
        let transfer = pallet_balances::Call::transfer_allow_death {
            dest: MultiAddress::Id(Eve.to_account_id()),
            value: UNIT,
        };
        let sent = Executive::apply_extrinsic(signed(&Bob.pair(), 0, transfer.clone().into())).unwrap();
        assert_eq!(sent, Err(frame_system::Error::<Runtime>::CallFiltered.into()));
        assert_ok!(Executive::apply_extrinsic(signed(&hot(1), 0, serve(1))).unwrap());
        assert_ok!(SafeMode::force_exit(RuntimeOrigin::signed(admin())));
        assert_ok!(Executive::apply_extrinsic(signed(&Bob.pair(), 1, transfer.into())).unwrap());
    });
}

/// Calls by which somebody with root's rights would move what is another's, or put another runtime in place.
fn of_root() -> Vec<RuntimeCall> {
    let (alice, eve) = (MultiAddress::Id(Alice.to_account_id()), MultiAddress::Id(Eve.to_account_id()));
    vec![
        RuntimeCall::System(frame_system::Call::set_code { code: vec![1] }),
        RuntimeCall::System(frame_system::Call::set_code_without_checks { code: vec![1] }),
        RuntimeCall::System(frame_system::Call::set_storage { items: vec![(vec![1], vec![1])] }),
        RuntimeCall::System(frame_system::Call::kill_storage { keys: vec![vec![1]] }),
        RuntimeCall::System(frame_system::Call::kill_prefix { prefix: vec![], subkeys: 9 }),
        RuntimeCall::System(frame_system::Call::authorize_upgrade_without_checks { code_hash: Hash::zero() }),
        RuntimeCall::Balances(pallet_balances::Call::force_set_balance { who: eve.clone(), new_free: 1 }),
        RuntimeCall::Balances(pallet_balances::Call::force_transfer { source: alice, dest: eve, value: 1 }),
        RuntimeCall::Balances(pallet_balances::Call::force_adjust_total_issuance {
            direction: pallet_balances::AdjustmentDirection::Increase,
            delta: 1,
        }),
    ]
}

/// There is no orchestrator: nobody assigns, scores or pays by a key. The nearest to one is the admin, and this
/// is what whoever steals its key cannot do, and how late what it can do takes effect; parameters of runs wait for
/// the edge of an epoch (`row_13_row_32` of the pallet).
#[test]
fn row_32_the_admins_key_is_no_orchestrators() {
    use polkadot_sdk::{frame_support::traits::GetCallName, sp_runtime::traits::Dispatchable};
    on_local_network(|| {
        for call in of_root() {
            let answer = || call.clone().dispatch(RuntimeOrigin::signed(admin())).unwrap_err().error;
            assert_storage_noop!(assert_eq!(answer(), DispatchError::BadOrigin, "{call:?}"));
        }
        // No call of the pallet gives a stage, a score or a payment.
        let names = pallet_iota::Call::<Runtime>::get_call_names();
        let words = ["assign", "set_weight", "set_score", "set_stage", "mint", "pay_", "slash", "gate"];
        assert!(names.iter().all(|name| words.iter().all(|word| !name.contains(word))), "{names:?}");
        // Other authorities author two sessions later, and everybody sees it coming.
        System::reset_events();
        let before = authors();
        assert_ok!(set_authorities(RuntimeOrigin::signed(admin()), &[Alice]));
        let announced = |event: &RuntimeEvent| {
            matches!(event, RuntimeEvent::Governance(governance::Event::AuthoritiesSet { .. }))
        };
        assert!(System::events().iter().any(|record| announced(&record.event)));
        open_block();
        assert_eq!(authors(), before);
        // Another runtime is announced by its hash before anybody can put it in place.
        let call = governance::Call::authorize_upgrade { code_hash: Hash::repeat_byte(1) };
        assert_ok!(RuntimeCall::Governance(call).dispatch(RuntimeOrigin::signed(admin())));
        let early = RuntimeCall::System(frame_system::Call::apply_authorized_upgrade { code: vec![1, 2] });
        assert!(early.dispatch(RuntimeOrigin::signed(admin())).is_err());
        assert!(System::authorized_upgrade().is_some());
    });
}
