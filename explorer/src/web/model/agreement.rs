//! Which owners of a stage's shards agreed.

use iota_protocol::ids::{Hash, Stage, Uid};
use iota_protocol::shard::Shards;
use iota_protocol::work::ShardStatus;
use serde::Serialize;

use crate::store::EpochRow;

/// Share of a member's shards on which both owners agreed; `None` where none was opened.
pub(super) fn agreement(epoch: &EpochRow, stage: Stage, uid: Uid) -> Option<f64> {
    let matrix = matrices(epoch).into_iter().find(|matrix| matrix.stage == stage)?;
    let own: Vec<&Cell> =
        matrix.cells.iter().filter(|cell| cell.row == uid && cell.state != "missing").collect();
    let agreed = own.iter().filter(|cell| cell.state == "agreed").count();
    (!own.is_empty()).then(|| agreed as f64 / own.len() as f64)
}

/// Which owners of a stage agreed.
#[derive(Serialize, Clone)]
pub(in crate::web) struct Matrix {
    pub stage: Stage,
    pub uids: Vec<Uid>,
    pub cells: Vec<Cell>,
    pub canonical_root: Option<Hash>,
}

/// One pair of owners: `agreed`, `single`, `differs` or `missing`. Both orders are listed.
#[derive(Serialize, Clone)]
pub(in crate::web) struct Cell {
    pub row: Uid,
    pub column: Uid,
    pub state: &'static str,
}

/// Agreement matrices of an epoch. Empty cells before shards are opened or without the seed.
pub(in crate::web) fn matrices(epoch: &EpochRow) -> Vec<Matrix> {
    let seed = epoch.clock.as_ref().and_then(|clock| clock.seed);
    let stages = (0..=u16::MAX).map(Stage).zip(&epoch.merges);
    let matrix = |(stage, merge): (Stage, &Option<iota_protocol::view::MergeView>)| {
        let merge = merge.as_ref()?;
        let uids: Vec<Uid> = merge.commits.iter().map(|commit| commit.uid).collect();
        // Who owns what does not depend on the number of chunks.
        let shards = seed.and_then(|seed| Shards::new(&seed, stage, uids.len(), 1));
        let mut cells = Vec::new();
        for (index, status) in (0..=u16::MAX).zip(&merge.shards) {
            let Some((low, high)) = shards.as_ref().and_then(|shards| shards.owners(index)) else { continue };
            let (Some(low), Some(high)) = (uids.get(low), uids.get(high)) else { continue };
            let state = match status {
                ShardStatus::Missing => "missing",
                ShardStatus::Single(_) => "single",
                ShardStatus::Agreed(_) => "agreed",
                ShardStatus::Differs(..) => "differs",
            };
            cells.push(Cell { row: *low, column: *high, state });
            if low != high {
                cells.push(Cell { row: *high, column: *low, state });
            }
        }
        Some(Matrix { stage, uids, cells, canonical_root: merge.canonical_root })
    };
    stages.filter_map(matrix).collect()
}
