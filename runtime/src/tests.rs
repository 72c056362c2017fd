//! The runtime as a whole: presets, fees, what it does not contain.

use codec::{Decode, DecodeAll, Encode};
use iota_protocol::{
    hash::{register_payload, serve_payload},
    ids::{AccountKey, Hash as Hash32, RunId},
    work::{Endpoint, Role},
};
use pallet_iota::runtime_api::runtime_decl_for_iota_api::IotaApi;
use polkadot_sdk::{
    frame_support::{
        assert_ok,
        traits::{fungible::Inspect, PalletsInfoAccess},
        view_functions::{ViewFunction, ViewFunctionId},
    },
    frame_system, pallet_aura, pallet_skip_feeless_payment, pallet_transaction_payment,
    sp_consensus_aura::{Slot, AURA_ENGINE_ID},
    sp_core::{ed25519, sr25519, Pair},
    sp_genesis_builder::{
        runtime_decl_for_genesis_builder::GenesisBuilder, PresetId, DEV_RUNTIME_PRESET,
        LOCAL_TESTNET_RUNTIME_PRESET,
    },
    sp_io::TestExternalities,
    sp_keyring::Sr25519Keyring,
    sp_runtime::{
        generic::Era,
        traits::Header as _,
        transaction_validity::{InvalidTransaction, TransactionValidityError},
        Digest, DigestItem, MultiAddress, MultiSignature,
    },
};
use serde_json::{json, Value};

use crate::*;

/// A preset merged into the default configuration, as a node does it.
fn configuration(name: &str) -> Value {
    let parse = |bytes: Option<Vec<u8>>| -> Value { serde_json::from_slice(&bytes.unwrap()).unwrap() };
    let mut whole = parse(Runtime::get_preset(&None));
    merge(&mut whole, parse(Runtime::get_preset(&Some(PresetId::from(name)))));
    whole
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

/// Runs `test` on the genesis of that preset with `runs` patched in.
fn on_chain(name: &str, runs: Value, test: impl FnOnce()) {
    let mut configuration = configuration(name);
    merge(&mut configuration, json!({ "iota": { "runs": runs } }));
    TestExternalities::new_empty().execute_with(|| {
        assert_ok!(Runtime::build_state(serde_json::to_vec(&configuration).unwrap()));
        test();
    });
}

/// A run as it stands in a patched chain spec.
fn run() -> Value {
    let stage =
        |first: u16| json!({ "first_layer": first, "layers": 1, "parameters": 640, "share_ppm": 500_000 });
    json!([{
        "preset": [116], "seed": 1,
        "model": { "d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "d_ff": 32, "vocab": 256,
                   "seq_len": 8, "bottleneck": 4, "rope_base": 10_000, "zero_boundary": false },
        "stages": [stage(0), stage(1)],
        "train": { "windows_per_sample": 1, "samples_per_step": 4, "in_flight": 2, "lr_ppm": 1_000,
                   "beta1_ppm": 900_000, "beta2_ppm": 950_000, "weight_decay_ppm": 0, "ramp_steps": 10,
                   "lr_decay_after_tokens": 1_000, "keep_moments": false, "wire": "int8",
                   "max_samples": 100 },
        "merge": { "chunk": 64, "exponent_min": -30, "outer_lr_ppm": 700_000, "momentum_start_ppm": 500_000,
                   "momentum_end_ppm": 900_000, "momentum_ramp": 20 },
        "phases": { "train": 14, "commit": 5, "attest": 8, "blind": 5, "open": 5, "root": 5,
                    "score_commit": 6, "score_reveal": 6, "margin": 1, "max_extensions": 1 },
        "data": { "manifest_root": "0x01".to_string() + &"00".repeat(31), "train_windows": 100,
                  "heldout_windows": 10 },
        "start_replicas": 1, "epochs": 2
    }])
}

fn signed(pair: &sr25519::Pair, nonce: Nonce, call: RuntimeCall) -> UncheckedExtrinsic {
    let extension: TxExtension = (
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(Era::Immortal),
        frame_system::CheckNonce::from(nonce),
        frame_system::CheckWeight::new(),
        pallet_skip_feeless_payment::SkipCheckIfFeeless::from(
            pallet_transaction_payment::ChargeTransactionPayment::from(0),
        ),
    );
    let genesis = System::block_hash(0);
    let implicit = ((), VERSION.spec_version, VERSION.transaction_version, genesis, genesis, (), (), ());
    let payload =
        polkadot_sdk::sp_runtime::generic::SignedPayload::from_raw(call.clone(), extension.clone(), implicit);
    let signature = payload.using_encoded(|bytes| pair.sign(bytes));
    let account = AccountId::from(pair.public());
    UncheckedExtrinsic::new_signed(
        call,
        MultiAddress::Id(account),
        MultiSignature::Sr25519(signature),
        extension,
    )
}

/// Opens block 1, authored in slot 0, whose author is the first authority.
fn open_block() {
    let digest = Digest { logs: vec![DigestItem::PreRuntime(AURA_ENGINE_ID, Slot::from(3).encode())] };
    let parent = System::block_hash(0);
    let header = Header::new(1, Default::default(), Default::default(), parent, digest);
    Executive::initialize_block(&header);
}

#[test]
fn every_preset_builds_and_issues_what_it_endows() {
    assert_eq!(Runtime::preset_names().len(), 2);
    for (name, authorities) in [(DEV_RUNTIME_PRESET, 1), (LOCAL_TESTNET_RUNTIME_PRESET, 3)] {
        on_chain(name, json!([]), || {
            assert_eq!(pallet_aura::Authorities::<Runtime>::get().len(), authorities);
            assert_eq!(Grandpa::grandpa_authorities().len(), authorities);
            let accounts = frame_system::Account::<Runtime>::iter_values();
            let sum: Balance = accounts.map(|account| account.data.free + account.data.reserved).sum();
            assert_eq!(Balances::total_issuance(), sum);
            assert!(Balances::balance(&Iota::treasury()) >= Balances::minimum_balance());
        });
    }
    assert_eq!(Runtime::get_preset(&Some(PresetId::from("production"))), None);
}

#[test]
fn a_run_patched_into_the_spec_exists_from_the_first_block() {
    on_chain(DEV_RUNTIME_PRESET, run(), || {
        let stored = Iota::run_view(RunId(0)).unwrap();
        assert_eq!(stored.n_stages(), 2);
        assert_eq!(stored.data.manifest_root.0.first(), Some(&1));
    });
}

/// Asks one view function the way a client does: by id, with encoded arguments.
fn ask<V: ViewFunction + Encode>(query: V) -> V::ReturnType
where
    V::ReturnType: Decode,
{
    let answer = Runtime::execute_view_function(V::id(), query.encode()).unwrap();
    V::ReturnType::decode_all(&mut &answer[..]).unwrap()
}

#[test]
fn view_functions_answer_like_the_runtime_api() {
    on_chain(DEV_RUNTIME_PRESET, run(), || {
        open_block();
        let (known, unknown) = (RunId(0), RunId(7));
        assert_eq!(ask(pallet_iota::RunParamsViewFunction::<Runtime>::new(known)), Runtime::run(known));
        assert!(Runtime::run(known).is_some());
        assert_eq!(ask(pallet_iota::ClockViewFunction::<Runtime>::new(known)), Runtime::clock(known));
        assert!(Runtime::clock(known).is_some());
        assert_eq!(ask(pallet_iota::ClockViewFunction::<Runtime>::new(unknown)), None);
        assert_eq!(ask(pallet_iota::MembersViewFunction::<Runtime>::new(known)), Runtime::members(known));
        let account = Sr25519Keyring::Alice.to_account_id();
        assert_eq!(ask(pallet_iota::OwedViewFunction::<Runtime>::new(account)), 0);
        let strange = ViewFunctionId { prefix: [1; 16], suffix: [2; 16] };
        assert!(Runtime::execute_view_function(strange, Vec::new()).is_err());
    });
}

#[test]
#[should_panic(expected = "genesis run")]
fn a_spec_with_a_contradictory_run_does_not_build() {
    let mut unsound = run();
    unsound[0]["epochs"] = json!(0);
    on_chain(DEV_RUNTIME_PRESET, unsound, || {});
}

#[test]
fn pallets_keep_their_indices_and_there_is_no_sudo() {
    let pallets: Vec<_> =
        AllPalletsWithSystem::infos().into_iter().map(|pallet| (pallet.index, pallet.name)).collect();
    let expected = [
        (0, "System"),
        (1, "Timestamp"),
        (2, "Aura"),
        (3, "Grandpa"),
        (5, "Balances"),
        (6, "TransactionPayment"),
        (10, "Iota"),
        (11, "Utility"),
        (23, "SkipFeelessPayment"),
    ];
    assert_eq!(pallets, expected);
    assert!(pallets.iter().all(|(_, name)| !name.contains("Sudo") && !name.contains("Random")));
}

#[test]
fn a_member_without_money_serves_for_free_and_once() {
    on_chain(DEV_RUNTIME_PRESET, run(), || {
        open_block();
        let hot = sr25519::Pair::from_seed(&[9; 32]);
        let hotkey = AccountId::from(hot.public());
        let genesis = Hash32(System::block_hash(0).0);
        let (hot_key, cold_key) = (AccountKey(hot.public().0), AccountKey(Sr25519Keyring::Alice.public().0));
        let proof = hot.sign(&register_payload(&genesis, RunId(0), &cold_key, &hot_key).0).0;
        let alice = RuntimeOrigin::signed(Sr25519Keyring::Alice.to_account_id());
        assert_ok!(Iota::register(alice, RunId(0), hotkey.clone(), Role::Miner, proof, UNIT));
        assert_eq!(Balances::balance(&hotkey), 0);

        let peer = ed25519::Pair::from_seed(&[8; 32]);
        let peer_signature = peer.sign(&serve_payload(&genesis, &hot_key).0).0;
        let address = b"/ip4/127.0.0.1/tcp/1".to_vec().try_into().unwrap();
        let endpoint = Endpoint { peer: peer.public().0, addresses: vec![address].try_into().unwrap() };
        let call = RuntimeCall::Iota(pallet_iota::Call::serve { run: RunId(0), endpoint, peer_signature });
        assert_ok!(Executive::apply_extrinsic(signed(&hot, 0, call.clone())).unwrap());
        let second = Executive::apply_extrinsic(signed(&hot, 1, call));
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
