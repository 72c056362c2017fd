//! What the chain answers: the types on both sides of the runtime API.

use super::check_vectors;
use super::sheet::Sheet;
use crate::emission::{EmissionSplit, Terms};
use crate::ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Stage, Uid};
use crate::view::{
    AgreementCell, AgreementView, ClockView, CommitView, EpochReportView, MemberView, MergeView, Payout,
    RunState, ScoreView, SnapshotEntry, SnapshotValidator, SnapshotView,
};
use crate::work::{Bitmap, Role, ScoreEntry, ShardStatus, WorkCommit};

const KEY: AccountKey = AccountKey([0xc0; 32]);

fn clock() -> ClockView {
    ClockView {
        run: RunId(1),
        state: RunState::Running,
        epoch: Epoch(2),
        start: 300,
        extensions: 1,
        train_seed: Hash([1; 32]),
        seed: Some(Hash([2; 32])),
        data_base: 4_000,
        tokens: 5_000_000,
    }
}

fn member() -> MemberView {
    MemberView {
        uid: Uid(6),
        incarnation: Incarnation(7),
        hotkey: KEY,
        coldkey: KEY,
        role: Role::Miner,
        stage: Some(Stage(1)),
        endpoint: None,
        weight: 1_000,
        bond: 1 << 70,
        registered_at: 44,
    }
}

fn merge() -> MergeView {
    let root = Hash([3; 32]);
    let work = WorkCommit { entry_root: root, log_root: root, receipts_root: root, samples: 9, started: 3 };
    let commit = CommitView {
        uid: Uid(6),
        incarnation: Incarnation(7),
        work,
        attested: Some(Bitmap(1)),
        blind: None,
        opened: true,
        root: Some(root),
    };
    MergeView {
        commits: vec![commit],
        entry_set: Some(Bitmap(1)),
        shards: vec![ShardStatus::Single(root)],
        canonical_root: None,
    }
}

fn snapshot() -> SnapshotView {
    let (incarnation, coldkey) = (Incarnation(7), KEY);
    SnapshotView {
        miners: vec![SnapshotEntry { uid: Uid(6), incarnation, stage: Stage(1), coldkey, samples: 9 }],
        validators: vec![SnapshotValidator {
            uid: Uid(8),
            incarnation,
            hotkey: KEY,
            coldkey,
            stake: 1 << 60,
        }],
    }
}

fn report() -> EpochReportView {
    EpochReportView {
        epoch: Epoch(2),
        block: 500,
        void: false,
        terms: Terms::plain(Epoch(3), 77),
        split: EmissionSplit { minted: 10, burned: 2, miners: 5, validators: 4, treasury: 1 },
        payouts_root: Hash([4; 32]),
        bonds_root: Hash([5; 32]),
        payouts: vec![Payout { uid: Uid(6), incarnation: Incarnation(7), coldkey: KEY, amount: 5 }],
    }
}

#[test]
fn views_keep_their_bytes() {
    let mut sheet = Sheet::new();
    sheet.add("clock", &clock());
    sheet.add_all("run_state", &[RunState::Waiting, RunState::Running, RunState::Ended, RunState::Paused]);
    sheet.add("member", &member());
    sheet.add("merge", &merge());
    let cell = AgreementCell { shard: 0, low: Uid(3), high: Uid(6), status: ShardStatus::Missing };
    sheet.add("agreement", &AgreementView { members: vec![(Uid(3), Incarnation(7))], cells: vec![cell] });
    sheet.add("snapshot", &snapshot());
    let entry = ScoreEntry { uid: Uid(6), incarnation: Incarnation(7), score: 65_535 };
    let score = ScoreView {
        uid: Uid(8),
        incarnation: Incarnation(7),
        commit: Hash([5; 32]),
        entries: Some(vec![entry]),
        report_root: Some(Hash([6; 32])),
    };
    sheet.add("score", &score);
    sheet.add("report", &report());
    check_vectors("views.json", &sheet.vectors);
}
