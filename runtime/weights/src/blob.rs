//! Natively and in the wasm blob the runtime does the same, bit for bit.
//!
//! Each of the golden vectors of consensus is the epoch that a run's `Close` settles: once the native runtime runs
//! the block, once the blob that a node executes, from the same state. Both must leave the same storage root,
//! and the report and the payments that stand in the vector. That the blob has the same metadata hash as the
//! native runtime is asked of it by transactions.

use std::sync::LazyLock;

use codec::{Decode, Encode};
use iota_protocol::{
    consensus::bonds::BondRow,
    emission::Terms,
    ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Stage, Uid},
    params::RunParams,
    phase::Phase,
    work::{ScoreEntry, Transcript},
};
use iota_runtime::{
    protocol_payment::ProtocolPayment, AccountId, Executive, Header, Runtime, RuntimeCall, System,
    TxExtension, UncheckedExtrinsic, WASM_BINARY,
};
use pallet_iota::{
    transcripts::AuditWork,
    types::{Clock, MinerRecord, Row, Score, Snapshot, State, Support, ValidatorRecord},
    AuditWorks, Clocks, Controls, Gated, Payouts, Reports, Runs, Scores, Snapshots, Supports, TotalMinted,
};
use polkadot_sdk::{
    frame_metadata_hash_extension::CheckMetadataHash,
    frame_support::BoundedVec,
    frame_system,
    sc_executor::WasmExecutor,
    sp_consensus_aura::{Slot, AURA_ENGINE_ID},
    sp_core::{
        traits::{CallContext, RuntimeCode, WrappedRuntimeCode},
        Pair,
    },
    sp_externalities::{set_and_run_with_externalities, Extensions},
    sp_io::{self, hashing::blake2_256, SubstrateHostFunctions},
    sp_keyring::Sr25519Keyring,
    sp_runtime::{
        generic::{Era, SignedPayload},
        traits::{Header as _, TransactionExtension},
        transaction_validity::{
            InvalidTransaction, TransactionSource, TransactionValidity, TransactionValidityError,
        },
        Digest, DigestItem, MultiAddress, MultiSignature, StateVersion,
    },
    sp_state_machine::{Ext, OverlayedChanges, StateMachine},
    sp_storage::Storage,
};
use serde_json::{json, Value};

use crate::state;

const VECTORS: &str = include_str!("../../../tests/vectors/consensus.json");
const RUN: RunId = RunId(0);
/// The epoch that is settled, as in the vectors' terms.
const SCORED: Epoch = Epoch(5);
/// Incarnation of the vectors' validators.
const VALIDATOR: Incarnation = Incarnation(4);

/// One for all, because it keeps the blob compiled.
static EXECUTOR: LazyLock<WasmExecutor<SubstrateHostFunctions>> =
    LazyLock::new(|| WasmExecutor::builder().build());

type Changes = OverlayedChanges<polkadot_sdk::sp_runtime::traits::BlakeTwo256>;

fn blob() -> &'static [u8] {
    WASM_BINARY.expect("built without a blob: run this test without SKIP_WASM_BUILD")
}

/// Two stages with the shares of the vectors.
fn params() -> RunParams {
    let stage = |first: u16, share: u32| json!({ "first_layer": first, "layers": 1, "parameters": 640, "share_ppm": share });
    let params = json!({
        "preset": [116], "seed": 1,
        "model": { "d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "d_ff": 32, "vocab": 256,
                   "seq_len": 8, "bottleneck": 4, "rope_base": 10_000, "zero_boundary": false },
        "stages": [stage(0, 450_000), stage(1, 550_000)],
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
        "start_replicas": 1, "epochs": 20
    });
    serde_json::from_value(params).unwrap()
}

fn number<N: TryFrom<u64>>(value: &Value) -> N {
    value.as_u64().and_then(|value| N::try_from(value).ok()).unwrap()
}

fn key(uid: u16) -> AccountKey {
    AccountKey([u8::try_from(uid).unwrap(); 32])
}

fn bounded<V, const N: u32>(all: Vec<V>) -> BoundedVec<V, polkadot_sdk::frame_support::traits::ConstU32<N>> {
    all.try_into().ok().unwrap()
}

fn snapshot(vector: &Value) -> Snapshot {
    let miner = |own: &Value| MinerRecord {
        uid: Uid(number(&own[0])),
        incarnation: Incarnation(number(&own[1])),
        stage: Stage(number(&own[2])),
        coldkey: key(number(&own[0])),
        samples: 10,
    };
    let validator = |own: &Value| ValidatorRecord {
        uid: Uid(number(&own["uid"])),
        incarnation: VALIDATOR,
        hotkey: key(number(&own["uid"])),
        coldkey: key(number(&own["uid"])),
        stake: own["stake"].as_str().unwrap().parse().unwrap(),
    };
    Snapshot {
        miners: bounded(vector["miners"].as_array().unwrap().iter().map(miner).collect()),
        validators: bounded(vector["rows"].as_array().unwrap().iter().map(validator).collect()),
    }
}

fn put_rows(vector: &Value) {
    for own in vector["rows"].as_array().unwrap() {
        let entries: Option<Vec<ScoreEntry>> = serde_json::from_value(own["entries"].clone()).unwrap();
        let row = entries.map(|entries| Row { entries: bounded(entries), report_root: Hash::ZERO });
        let score = Score { incarnation: VALIDATOR, commit: Hash::ZERO, row };
        Scores::<Runtime>::insert((RUN, SCORED), Uid(number(&own["uid"])), score);
    }
    let bonds: Vec<BondRow> = serde_json::from_value(vector["bonds_before"].clone()).unwrap();
    for own in bonds {
        let support = Support { incarnation: own.incarnation, bonds: bounded(own.bonds) };
        Supports::<Runtime>::insert(RUN, own.uid, support);
    }
}

fn terms(vector: &Value) -> Terms {
    let bytes = hex::decode(vector["terms"]["scale"].as_str().unwrap()).unwrap();
    Terms::decode(&mut bytes.as_slice()).unwrap()
}

/// What stands in storage so that the pallet comes to those terms.
fn put_terms(terms: &Terms) {
    assert_eq!(terms.scored_by, SCORED);
    TotalMinted::<Runtime>::put(terms.minted_before);
    Controls::<Runtime>::mutate(RUN, |control| control.share_ppm = terms.share_ppm);
    Gated::<Runtime>::insert((RUN, SCORED), &terms.gated);
    for (uid, count) in &terms.transcripts {
        let one = |segment| Transcript {
            uid: Uid(0),
            incarnation: Incarnation(3),
            segment,
            root: Hash::ZERO,
            agrees: true,
        };
        let opened = Some(BoundedVec::truncate_from((0..*count).map(one).collect()));
        let work = AuditWork { incarnation: VALIDATOR, commit: Hash::ZERO, opened };
        AuditWorks::<Runtime>::insert((RUN, SCORED), uid, work);
    }
}

/// The state before the block in which a vector's epoch is settled, and the header of that block.
fn before_close(vector: &Value) -> (Storage, Header) {
    let mut block = 0;
    let storage = state::after(|| {
        Runs::<Runtime>::insert(RUN, params());
        pallet_iota::ActiveRuns::<Runtime>::put(BoundedVec::truncate_from(vec![RUN]));
        let clock = Clock {
            state: State::Running,
            epoch: SCORED.next(),
            start: 1_000,
            stage0: 1,
            ..Clock::waiting()
        };
        block = clock.schedule(&params()).window(Phase::Close).start;
        Clocks::<Runtime>::insert(RUN, clock);
        Snapshots::<Runtime>::insert((RUN, SCORED), snapshot(vector));
        put_rows(vector);
        put_terms(&terms(vector));
        System::set_block_number(block - 1);
    });
    let digest = DigestItem::PreRuntime(AURA_ENGINE_ID, Slot::from(u64::from(block)).encode());
    let digest = Digest { logs: vec![digest] };
    (storage.unwrap(), Header::new(block, Default::default(), Default::default(), Default::default(), digest))
}

/// What a block left: the storage root, and report and payments of the settled epoch.
#[derive(PartialEq, Debug)]
struct Left {
    root: Vec<u8>,
    void: bool,
    payouts_root: Hash,
    bonds_root: Hash,
    payouts: Vec<(Uid, u128)>,
}

fn left() -> Left {
    let report = Reports::<Runtime>::get((RUN, SCORED)).expect("the block settles the epoch");
    let payouts = Payouts::<Runtime>::get((RUN, SCORED));
    Left {
        root: sp_io::storage::root(StateVersion::V1),
        void: report.void,
        payouts_root: report.payouts_root,
        bonds_root: report.bonds_root,
        payouts: payouts.iter().map(|own| (own.uid, own.amount)).collect(),
    }
}

/// Calls the blob on a state; its answer, and what `then` sees in the changed state.
fn in_wasm<R>(storage: &Storage, method: &str, input: &[u8], then: impl FnOnce() -> R) -> (Vec<u8>, R) {
    let state = state::fresh(storage, false).unwrap();
    let fetcher = WrappedRuntimeCode(blob().into());
    let code = RuntimeCode { code_fetcher: &fetcher, hash: blake2_256(blob()).to_vec(), heap_pages: None };
    let (mut changes, mut extensions) = (Changes::default(), Extensions::default());
    let context = CallContext::Onchain { import: false };
    let answer =
        StateMachine::new(&state, &mut changes, &*EXECUTOR, method, input, &mut extensions, &code, context)
            .execute()
            .unwrap();
    let mut externalities = Ext::new(&mut changes, &state, Some(&mut extensions));
    (answer, set_and_run_with_externalities(&mut externalities, then))
}

#[test]
fn row_20_each_golden_vector_is_settled_alike_natively_and_in_wasm() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let epochs = vectors.as_object().unwrap().iter().filter(|(_, vector)| vector["settled"].is_object());
    let mut settled = 0;
    for (name, vector) in epochs {
        let (storage, header) = before_close(vector);
        let native = state::on(&state::fresh(&storage, false).unwrap(), || {
            Executive::initialize_block(&header);
            left()
        });
        let (_, wasm) = in_wasm(&storage, "Core_initialize_block", &header.encode(), left);
        assert_eq!(native, wasm, "{name}");
        let expected = &vector["settled"];
        let amounts: Vec<(Uid, String)> = serde_json::from_value(expected["payouts"].clone()).unwrap();
        let paid: Vec<_> = wasm.payouts.iter().map(|(uid, amount)| (*uid, amount.to_string())).collect();
        assert_eq!(paid, amounts, "{name}");
        assert_eq!(json!(wasm.payouts_root), expected["payouts_root"], "{name}");
        assert_eq!(json!(wasm.bonds_root), expected["bonds_root"], "{name}");
        assert_eq!(json!(wasm.void), expected["void"], "{name}");
        settled += 1;
    }
    assert_eq!(settled, 12, "vectors with an epoch");
}

/// A remark of Alice, whose signature covers what `check` says about the metadata.
fn remark(check: CheckMetadataHash<Runtime>) -> UncheckedExtrinsic {
    let extension: TxExtension = (
        frame_system::AuthorizeCall::new(),
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(Era::Immortal),
        frame_system::CheckNonce::from(0),
        frame_system::CheckWeight::new(),
        ProtocolPayment::with_tip(0),
        check,
    );
    let call = RuntimeCall::System(frame_system::Call::remark { remark: vec![1] });
    let payload = SignedPayload::new(call.clone(), extension.clone()).unwrap();
    let pair = Sr25519Keyring::Alice.pair();
    let signature = MultiSignature::Sr25519(payload.using_encoded(|bytes| pair.sign(bytes)));
    let address = MultiAddress::Id(AccountId::from(pair.public()));
    UncheckedExtrinsic::new_signed(call, address, signature, extension)
}

/// What the blob says about a transaction on the genesis of the development preset.
fn asked(check: CheckMetadataHash<Runtime>) -> TransactionValidity {
    let mut input = Vec::new();
    let storage = state::after(|| {
        // The newest block is the genesis, whose hash the signature covers.
        let newest = System::block_hash(0).encode();
        input = [TransactionSource::External.encode(), remark(check).encode(), newest].concat();
    });
    let storage = storage.unwrap();
    let (answer, ()) = in_wasm(&storage, "TaggedTransactionQueue_validate_transaction", &input, || ());
    TransactionValidity::decode(&mut answer.as_slice()).unwrap()
}

#[test]
fn the_blob_knows_the_hash_of_its_metadata() {
    let native = CheckMetadataHash::<Runtime>::new(true).implicit().unwrap().expect("compiled in");
    for check in [CheckMetadataHash::new(false), CheckMetadataHash::new_with_custom_hash(native)] {
        let answer = asked(check.clone());
        assert!(answer.is_ok(), "{check:?}: {answer:?}");
    }
    let refused = asked(CheckMetadataHash::new_with_custom_hash([7; 32]));
    assert_eq!(refused, Err(TransactionValidityError::Invalid(InvalidTransaction::BadProof)));
}
