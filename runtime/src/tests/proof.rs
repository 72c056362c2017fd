//! A payment, proven to whoever has a header: a Merkle proof under the report's root, and a storage proof
//! of the report under the header's state root, from the real state of a runtime that paid an epoch.

use codec::DecodeAll;
use iota_protocol::{
    emission::{prove_payout, verify_payout},
    ids::{Epoch, Uid},
    phase::Phase,
    work::{scores_hash, ScoreEntry, ScoreReveal, WorkCommit},
};
use pallet_iota::{
    types::{Clock, Report, State},
    Clocks, Members, Reports, Runs, Snapshots, UidOf,
};
use polkadot_sdk::{
    frame_support::traits::fungible::Mutate,
    sp_genesis_builder::DEV_RUNTIME_PRESET,
    sp_runtime::traits::BlakeTwo256,
    sp_state_machine::{prove_read, read_proof_check},
};

use super::*;

fn clock() -> Clock {
    Clocks::<Runtime>::get(RUN).unwrap()
}

fn schedule() -> Schedule {
    clock().schedule(&Runs::<Runtime>::get(RUN).unwrap())
}

fn by_hotkey(index: u8) -> RuntimeOrigin {
    RuntimeOrigin::signed(account(&hot(index)))
}

fn uid(index: u8) -> Uid {
    UidOf::<Runtime>::get(RUN, account(&hot(index))).unwrap()
}

/// Miners 1 and 2 and validator 3 of a running epoch 0.
fn join() {
    assert_ok!(Balances::mint_into(&Sr25519Keyring::Alice.to_account_id(), 1_000_000 * UNIT));
    for (index, role) in [(1, Role::Miner), (2, Role::Miner), (3, Role::Validator)] {
        register(index, role);
        assert_ok!(Executive::apply_extrinsic(signed(&hot(index), 0, serve(index))).unwrap());
    }
    assert_ok!(Iota::bond(by(Sr25519Keyring::Alice), RUN, uid(3), 100 * UNIT));
    open_block();
    assert_eq!(clock().state, State::Running);
}

fn work_epoch() {
    open_to(schedule().window(Phase::Commit).start);
    for index in [1, 2] {
        let root = Hash32([index; 32]);
        let stage = Members::<Runtime>::get(RUN, uid(index)).unwrap().stage.unwrap();
        let started = if stage.0 == 0 { 10 } else { 0 };
        let work = WorkCommit { entry_root: root, log_root: root, receipts_root: root, samples: 9, started };
        assert_ok!(Iota::commit_work(by_hotkey(index), RUN, clock().epoch, work));
    }
    open_to(schedule().close() - 1);
}

/// Validator 3 scores both miners of epoch 0.
fn score() {
    let miners = Snapshots::<Runtime>::get((RUN, Epoch(0))).unwrap().miners;
    let entries: Vec<_> = miners
        .iter()
        .map(|miner| ScoreEntry { uid: miner.uid, incarnation: miner.incarnation, score: u16::MAX })
        .collect();
    let report_root = Hash32([6; 32]);
    let reveal = ScoreReveal { entries: entries.try_into().unwrap(), salt: [1; 32], report_root };
    let member = Members::<Runtime>::get(RUN, uid(3)).unwrap();
    let hash = scores_hash(&genesis_hash(), RUN, &member.hotkey, member.incarnation, Epoch(0), &reveal);
    open_to(schedule().score_commit().start);
    assert_ok!(Iota::commit_scores(by_hotkey(3), RUN, Epoch(0), hash));
    open_to(schedule().score_reveal().start);
    assert_ok!(Iota::reveal_scores(by_hotkey(3), RUN, Epoch(0), uid(3), reveal));
}

/// Closes the open block; its header, whose state root is that of the storage.
fn close_block() -> Header {
    let slot = u64::from(System::block_number()) + 2;
    assert_ok!(Timestamp::set(RuntimeOrigin::none(), slot * SLOT_DURATION));
    Executive::finalize_block()
}

#[test]
fn a_payout_is_proven_to_the_state_root_of_a_header() {
    let mut configuration = configuration(DEV_RUNTIME_PRESET);
    merge(&mut configuration, json!({ "iota": { "runs": run() } }));
    let mut chain = TestExternalities::new_empty();
    let header = chain.execute_with(|| {
        assert_ok!(Runtime::build_state(serde_json::to_vec(&configuration).unwrap()));
        open_block();
        join();
        work_epoch();
        open_to(schedule().close() + 1);
        score();
        work_epoch();
        open_block();
        assert_eq!(clock().epoch, Epoch(2));
        close_block()
    });
    let payouts = chain.execute_with(|| Iota::report_view(RUN, Epoch(0)).unwrap().payouts);
    assert_eq!(payouts.len(), 3, "two miners and a validator are paid");
    chain.commit_all().unwrap();

    // What a node hands out.
    let key = Reports::<Runtime>::hashed_key_for((RUN, Epoch(0)));
    let nodes = prove_read(chain.as_backend(), [&key]).unwrap();
    let position = payouts.iter().position(|payout| payout.uid == Uid(1)).unwrap();
    let proof = prove_payout(&payouts, position).unwrap();

    // What a stranger checks, with nothing but the header.
    let values = read_proof_check::<BlakeTwo256, _>(*header.state_root(), nodes.clone(), [&key]).unwrap();
    let report = Report::decode_all(&mut values[&key].as_deref().unwrap()).unwrap();
    let mut payout = payouts[position];
    assert!(verify_payout(&report.payouts_root, payouts.len(), position, &payout, &proof));
    payout.amount += 1;
    assert!(!verify_payout(&report.payouts_root, payouts.len(), position, &payout, &proof));
    assert!(read_proof_check::<BlakeTwo256, _>(Hash::repeat_byte(1), nodes, [&key]).is_err());
}
