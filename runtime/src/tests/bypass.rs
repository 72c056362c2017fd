//! Restricted calls inside of other calls: what may not be sent in safe mode, on a chain of long epochs or by a
//! bounded proxy is not done either by a batch, a derived account, a multisig or a proxy around it.
//!
//! Each carrier is also tried without the restriction, and then does the call: so that a carrier that
//! does nothing is no proof.

use iota_protocol::params::RunParams;
use polkadot_sdk::{
    frame_support::{
        storage::with_transaction,
        traits::fungible::{Inspect, Mutate},
        weights::Weight,
    },
    pallet_balances, pallet_multisig, pallet_proxy, pallet_utility,
    sp_genesis_builder::LOCAL_TESTNET_RUNTIME_PRESET,
    sp_runtime::{traits::Dispatchable, DispatchError, TransactionOutcome},
};
use Sr25519Keyring::{Alice, Bob, Dave};

use super::*;
use crate::{
    filters::ProxyType,
    genesis::{TESTNET_LEAST_EPOCH, TESTNET_RUNTIME_PRESET},
};

/// What carries another call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Carrier {
    Nothing,
    Batch,
    BatchAll,
    ForceBatch,
    IfElse,
    Fallback,
    AsDerivative,
    MultisigOfOne,
    MultisigOfTwo,
    Proxy,
    ProxyInBatch,
    BatchInProxy,
}

const CARRIERS: [Carrier; 12] = [
    Carrier::Nothing,
    Carrier::Batch,
    Carrier::BatchAll,
    Carrier::ForceBatch,
    Carrier::IfElse,
    Carrier::Fallback,
    Carrier::AsDerivative,
    Carrier::MultisigOfOne,
    Carrier::MultisigOfTwo,
    Carrier::Proxy,
    Carrier::ProxyInBatch,
    Carrier::BatchInProxy,
];

fn pair() -> Vec<AccountId> {
    let mut pair = [Alice, Bob].map(|key| key.to_account_id()).to_vec();
    pair.sort();
    pair
}

fn batch(call: RuntimeCall) -> RuntimeCall {
    pallet_utility::Call::batch { calls: vec![call] }.into()
}

fn proxied(real: Sr25519Keyring, call: RuntimeCall) -> RuntimeCall {
    let real = MultiAddress::Id(real.to_account_id());
    pallet_proxy::Call::proxy { real, force_proxy_type: None, call: Box::new(call) }.into()
}

fn transfer(to: Sr25519Keyring) -> RuntimeCall {
    let dest = MultiAddress::Id(to.to_account_id());
    pallet_balances::Call::transfer_allow_death { dest, value: UNIT }.into()
}

/// A call that fails.
fn failing() -> RuntimeCall {
    pallet_iota::Call::claim { account: AccountId::new([0xee; 32]) }.into()
}

impl Carrier {
    /// The account that the carried call comes from when Alice sends the carrier.
    fn acts(self) -> AccountId {
        match self {
            Self::AsDerivative => pallet_utility::derivative_account_id(Alice.to_account_id(), 0),
            Self::MultisigOfOne => Multisig::multi_account_id(&pair(), 1),
            Self::MultisigOfTwo => Multisig::multi_account_id(&pair(), 2),
            Self::Proxy | Self::ProxyInBatch | Self::BatchInProxy => Dave.to_account_id(),
            _ => Alice.to_account_id(),
        }
    }

    fn around(self, call: RuntimeCall) -> RuntimeCall {
        let other = vec![Bob.to_account_id()];
        match self {
            Self::Nothing => call,
            Self::Batch => batch(call),
            Self::BatchAll => pallet_utility::Call::batch_all { calls: vec![call] }.into(),
            Self::ForceBatch => pallet_utility::Call::force_batch { calls: vec![call] }.into(),
            Self::IfElse => {
                let (main, fallback) = (Box::new(call), Box::new(failing()));
                pallet_utility::Call::if_else { main, fallback }.into()
            }
            Self::Fallback => {
                let (main, fallback) = (Box::new(failing()), Box::new(call));
                pallet_utility::Call::if_else { main, fallback }.into()
            }
            Self::AsDerivative => {
                pallet_utility::Call::as_derivative { index: 0, call: Box::new(call) }.into()
            }
            Self::MultisigOfOne => {
                let call = Box::new(call);
                pallet_multisig::Call::as_multi_threshold_1 { other_signatories: other, call }.into()
            }
            Self::MultisigOfTwo => approval(Bob, None, call),
            Self::Proxy => proxied(Dave, call),
            Self::ProxyInBatch => batch(proxied(Dave, call)),
            Self::BatchInProxy => proxied(Dave, batch(call)),
        }
    }

    /// Alice sends it; of a multisig of two, Bob approves before.
    fn send(self, call: RuntimeCall) -> Result<(), DispatchError> {
        if self == Self::MultisigOfTwo {
            sent(Bob, approval(Alice, None, call.clone()))?;
            let first = pallet_multisig::Timepoint { height: System::block_number(), index: 0 };
            return sent(Alice, approval(Bob, Some(first), call));
        }
        sent(Alice, self.around(call))
    }
}

fn approval(
    other: Sr25519Keyring,
    maybe_timepoint: Option<pallet_multisig::Timepoint<BlockNumber>>,
    call: RuntimeCall,
) -> RuntimeCall {
    pallet_multisig::Call::as_multi {
        threshold: 2,
        other_signatories: vec![other.to_account_id()],
        maybe_timepoint,
        call: Box::new(call),
        max_weight: Weight::MAX,
    }
    .into()
}

fn sent(by: Sr25519Keyring, call: RuntimeCall) -> Result<(), DispatchError> {
    let answer = call.dispatch(RuntimeOrigin::signed(by.to_account_id()));
    answer.map(|_| ()).map_err(|refused| refused.error)
}

/// A network on which every account that a carrier acts for is rich, and Alice is Dave's proxy for all.
fn on_network(preset: &str, runs: Value, test: impl FnOnce()) {
    on_chain(preset, runs, || {
        open_block();
        for account in CARRIERS.map(Carrier::acts).iter().chain(&pair()) {
            assert_ok!(Balances::mint_into(account, 10_000 * UNIT));
        }
        assert_ok!(Proxy::add_proxy(by(Dave), MultiAddress::Id(Alice.to_account_id()), ProxyType::Any, 0));
        test();
    });
}

/// Whether `seen` answers otherwise after the carrier was sent; nothing of it stays.
fn changes<V: PartialEq>(carrier: Carrier, call: &RuntimeCall, seen: impl Fn() -> V) -> bool {
    with_transaction(|| {
        let before = seen();
        // A batch that fails answers that it went well.
        let _ = carrier.send(call.clone());
        TransactionOutcome::Rollback(Ok::<_, DispatchError>(seen() != before))
    })
    .unwrap()
}

#[test]
fn row_18_in_safe_mode_nothing_carries_a_transfer() {
    on_network(LOCAL_TESTNET_RUNTIME_PRESET, json!([]), || {
        let call = transfer(Sr25519Keyring::Eve);
        let balance = || Balances::balance(&Sr25519Keyring::Eve.to_account_id());
        for carrier in CARRIERS {
            assert!(changes(carrier, &call, balance), "{carrier:?} transfers when it may");
        }
        let admin = governance::Admin::<Runtime>::get().unwrap();
        assert_ok!(SafeMode::force_enter(RuntimeOrigin::signed(admin)));
        for carrier in CARRIERS {
            assert!(!changes(carrier, &call, balance), "{carrier:?} transfers in safe mode");
        }
        // A multisig passes itself: what it carries is refused, and not it.
        assert_ok!(Carrier::MultisigOfTwo.send(call));
        let events = System::events();
        let refused = Err(frame_system::Error::<Runtime>::CallFiltered.into());
        let executed = events.iter().find_map(|record| match &record.event {
            RuntimeEvent::Multisig(pallet_multisig::Event::MultisigExecuted { result, .. }) => Some(*result),
            _ => None,
        });
        assert_eq!(executed, Some(refused));
    });
}

#[test]
fn row_18_row_23_nothing_carries_a_run_of_short_epochs_past_the_bound() {
    on_network(TESTNET_RUNTIME_PRESET, run(), || {
        let short = Iota::run_view(RUN).unwrap();
        let mut short_too = short.clone();
        short_too.train.lr_ppm += 1;
        let mut long = short_too.clone();
        long.phases.train = TESTNET_LEAST_EPOCH;
        let runs = || (pallet_iota::NextRun::<Runtime>::get(), Iota::run_view(RUN));
        let calls = |params: &RunParams| -> [RuntimeCall; 3] {
            let params = params.clone();
            [
                pallet_iota::Call::create_run { params: params.clone() }.into(),
                pallet_iota::Call::sponsor_run { params: params.clone() }.into(),
                pallet_iota::Call::schedule_params { run: RUN, params }.into(),
            ]
        };
        for carrier in CARRIERS {
            // Even for the admin itself.
            governance::Admin::<Runtime>::put(carrier.acts());
            for call in calls(&short_too) {
                assert!(!changes(carrier, &call, runs), "{carrier:?} carries {call:?}");
            }
            for call in calls(&long) {
                assert!(changes(carrier, &call, runs), "{carrier:?} does not carry {call:?}");
            }
        }
    });
}

/// What Alice, as a proxy of Bob's for members alone, sends around a transfer of Bob's money or more rights.
fn attempts() -> Vec<RuntimeCall> {
    let money = transfer(Alice);
    let boxed = Box::new(money.clone());
    let alice = MultiAddress::Id(Alice.to_account_id());
    let mut attempts: Vec<RuntimeCall> = [
        Carrier::Batch,
        Carrier::BatchAll,
        Carrier::ForceBatch,
        Carrier::IfElse,
        Carrier::Fallback,
        Carrier::AsDerivative,
    ]
    .map(|carrier| carrier.around(money.clone()))
    .to_vec();
    let all =
        pallet_proxy::Call::<Runtime>::add_proxy { delegate: alice, proxy_type: ProxyType::Any, delay: 0 };
    attempts.extend([
        money.clone(),
        proxied(Bob, money),
        pallet_multisig::Call::as_multi_threshold_1 {
            other_signatories: vec![Alice.to_account_id()],
            call: boxed,
        }
        .into(),
        all.into(),
        pallet_proxy::Call::<Runtime>::remove_proxies {}.into(),
        pallet_balances::Call::<Runtime>::burn { value: UNIT, keep_alive: false }.into(),
        pallet_iota::Call::<Runtime>::sponsor_run { params: Iota::run_view(RUN).unwrap() }.into(),
        frame_system::Call::<Runtime>::remark_with_event { remark: vec![1] }.into(),
    ]);
    attempts
}

#[test]
fn row_18_a_proxy_for_members_moves_no_money_and_gets_no_more_rights() {
    on_network(LOCAL_TESTNET_RUNTIME_PRESET, run(), || {
        let alice = || MultiAddress::Id(Alice.to_account_id());
        let seen = || {
            let bob = Bob.to_account_id();
            let proxies = pallet_proxy::Proxies::<Runtime>::get(&bob);
            (Balances::balance(&bob), Balances::total_issuance(), proxies)
        };
        for kind in [ProxyType::Members, ProxyType::Claim] {
            assert_ok!(Proxy::add_proxy(by(Bob), alice(), kind, 0));
            for call in attempts() {
                // Asked for by its narrow type, by any that there is, and by one that there is not.
                for wanted in [Some(kind), None, Some(ProxyType::Any)] {
                    System::reset_events();
                    let real = MultiAddress::Id(Bob.to_account_id());
                    let carried = Box::new(call.clone());
                    let call = pallet_proxy::Call::<Runtime>::proxy {
                        real,
                        force_proxy_type: wanted,
                        call: carried,
                    };
                    let before = seen();
                    let answer = sent(Alice, call.clone().into());
                    assert_eq!(seen(), before, "{call:?} as {kind:?}");
                    let refused = System::events().iter().all(|record| {
                        !matches!(record.event, RuntimeEvent::System(frame_system::Event::Remarked { .. }))
                    });
                    assert!(refused, "{call:?} as {kind:?}: {answer:?}");
                }
            }
            assert_ok!(Proxy::remove_proxy(by(Bob), alice(), kind, 0));
        }
        // The same proxy registers a member for Bob: it is not refused for being a proxy.
        assert_ok!(Proxy::add_proxy(by(Bob), alice(), ProxyType::Members, 0));
        let (bob, own) = (AccountKey(Bob.public().0), hot(7));
        let payload = register_payload(&genesis_hash(), RUN, &bob, &AccountKey(own.public().0));
        let call = pallet_iota::Call::<Runtime>::register {
            run: RUN,
            hotkey: account(&own),
            role: Role::Miner,
            proof: own.sign(&payload.0).0,
            max_price: 100 * UNIT,
        };
        assert_ok!(sent(Alice, proxied(Bob, call.into())));
        assert!(pallet_iota::UidOf::<Runtime>::contains_key(RUN, account(&own)));
    });
}
