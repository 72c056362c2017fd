//! Tests of the runtime as a whole, on the genesis of its presets. Here is what they share.

mod admin;
mod arena;
mod bypass;
mod ceremony;
mod faucet;
mod fees;
mod metadata;
mod metadata_hash;
mod pool;
mod presets;
mod proof;
mod running;
mod storage;
mod stuck;
mod upgrade;
mod views;
mod worst_case;

use codec::Encode;
use iota_protocol::{
    hash::{register_payload, serve_payload},
    ids::{AccountKey, Hash as Hash32, RunId},
    phase::Schedule,
    work::{Endpoint, Role},
};
use polkadot_sdk::{
    frame_metadata_hash_extension,
    frame_support::{assert_ok, hypothetically, traits::OnFinalize},
    frame_system,
    sp_consensus_aura::{Slot, AURA_ENGINE_ID},
    sp_core::{ed25519, sr25519, Pair},
    sp_genesis_builder::{runtime_decl_for_genesis_builder::GenesisBuilder, PresetId},
    sp_io::TestExternalities,
    sp_keyring::Sr25519Keyring,
    sp_keystore::{testing::MemoryKeystore, KeystoreExt},
    sp_runtime::{
        generic::{Era, SignedPayload},
        traits::Header as _,
        transaction_validity::{TransactionSource, TransactionValidity},
        Digest, DigestItem, MultiAddress, MultiSignature,
    },
};
use serde_json::{json, Value};

use crate::{protocol_payment::ProtocolPayment, *};

/// The run of the tests.
const RUN: RunId = RunId(0);

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
    on_patched(name, json!({ "iota": { "runs": runs } }), test);
}

/// Runs `test` on the genesis of that preset with `patch` over it.
fn on_patched(name: &str, patch: Value, test: impl FnOnce()) {
    let mut configuration = configuration(name);
    merge(&mut configuration, patch);
    let mut externalities = TestExternalities::new_empty();
    externalities.register_extension(KeystoreExt::new(MemoryKeystore::new()));
    externalities.execute_with(|| {
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

fn extension(nonce: Nonce) -> TxExtension {
    (
        frame_system::AuthorizeCall::new(),
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(Era::Immortal),
        frame_system::CheckNonce::from(nonce),
        frame_system::CheckWeight::new(),
        ProtocolPayment::with_tip(0),
        frame_metadata_hash_extension::CheckMetadataHash::new(false),
    )
}

fn signed(pair: &sr25519::Pair, nonce: Nonce, call: RuntimeCall) -> UncheckedExtrinsic {
    let payload = SignedPayload::new(call.clone(), extension(nonce)).unwrap();
    let signature = payload.using_encoded(|bytes| pair.sign(bytes));
    let address = MultiAddress::Id(AccountId::from(pair.public()));
    UncheckedExtrinsic::new_signed(call, address, MultiSignature::Sr25519(signature), extension(nonce))
}

/// What the pool hears about a transaction for the next block.
fn ask(transaction: UncheckedExtrinsic) -> TransactionValidity {
    let parent = Hash::repeat_byte(7);
    hypothetically!(Executive::validate_transaction(TransactionSource::External, transaction, parent))
}

/// Opens the next block, authored by the authority whose turn it is; the one before is closed first, as
/// far as GRANDPA and the token's hooks care.
fn open_block() {
    let number = System::block_number();
    if number > 0 {
        Grandpa::on_finalize(number);
    }
    let slot = u64::from(number) + 3;
    let digest = Digest { logs: vec![DigestItem::PreRuntime(AURA_ENGINE_ID, Slot::from(slot).encode())] };
    let parent = System::block_hash(0);
    let header = Header::new(number + 1, Default::default(), Default::default(), parent, digest);
    Executive::initialize_block(&header);
}

/// Opens blocks until `number` is open.
fn open_to(number: BlockNumber) {
    while System::block_number() < number {
        open_block();
    }
}

fn hot(index: u8) -> sr25519::Pair {
    sr25519::Pair::from_seed(&[index; 32])
}

fn account(pair: &sr25519::Pair) -> AccountId {
    AccountId::from(pair.public())
}

fn by(key: Sr25519Keyring) -> RuntimeOrigin {
    RuntimeOrigin::signed(key.to_account_id())
}

fn genesis_hash() -> Hash32 {
    Hash32(System::block_hash(0).0)
}

/// Alice registers a hotkey that owns nothing.
fn register(index: u8, role: Role) {
    let hot = hot(index);
    let (hot_key, cold_key) = (AccountKey(hot.public().0), AccountKey(Sr25519Keyring::Alice.public().0));
    let proof = hot.sign(&register_payload(&genesis_hash(), RUN, &cold_key, &hot_key).0).0;
    assert_ok!(Iota::register(by(Sr25519Keyring::Alice), RUN, account(&hot), role, proof, 100 * UNIT));
}

fn serve(index: u8) -> RuntimeCall {
    let peer = ed25519::Pair::from_seed(&[!index; 32]);
    let hot_key = AccountKey(hot(index).public().0);
    let peer_signature = peer.sign(&serve_payload(&genesis_hash(), &hot_key).0).0;
    let address = b"/ip4/127.0.0.1/tcp/1".to_vec().try_into().unwrap();
    let endpoint = Endpoint { peer: peer.public().0, addresses: vec![address].try_into().unwrap() };
    RuntimeCall::Iota(pallet_iota::Call::serve { run: RUN, endpoint, peer_signature })
}

/// Miners 1 and 2 of a running epoch 0, who own nothing and sent one transaction each.
fn on_running_chain(test: impl FnOnce(Schedule)) {
    on_chain(polkadot_sdk::sp_genesis_builder::DEV_RUNTIME_PRESET, run(), || {
        open_block();
        for index in [1, 2] {
            register(index, Role::Miner);
            assert_ok!(Executive::apply_extrinsic(signed(&hot(index), 0, serve(index))).unwrap());
        }
        open_block();
        let clock = pallet_iota::Clocks::<Runtime>::get(RUN).unwrap();
        assert_eq!(clock.state, pallet_iota::types::State::Running);
        let phases = pallet_iota::Runs::<Runtime>::get(RUN).unwrap().phases;
        test(Schedule::new(&phases, false, clock.start, 0));
    });
}
