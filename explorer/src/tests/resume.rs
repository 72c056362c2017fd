//! The indexer, stopped at every step: at every read of the chain and at many points within the
//! transaction. What is in the database in the end is what an undisturbed run leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use iota_protocol::ids::Epoch;
use rusqlite::types::ValueRef;

use super::audit::{fetch_all, indexed};
use super::world::{World, RUN};
use crate::follow::Indexer;
use crate::look::look;
use crate::source::Source;
use crate::store::{Store, StoreError};

fn open(dir: &Path, world: &World, from: u32) -> Store {
    Store::open(&dir.join("explorer.sqlite"), world.genesis(), from).unwrap()
}

pub async fn index_all(world: &Arc<World>, store: &Store) {
    index_until(world, store, world.last()).await;
}

/// As if the chain had no block after `last`.
pub async fn index_until(world: &Arc<World>, store: &Store, last: u32) {
    let indexer = Indexer::new(Arc::clone(world), store.clone());
    while indexer.step(last).await.unwrap().is_some() {}
}

/// Every table, with the columns that order its rows; a test compares it with the database.
const TABLES: [(&str, &str); 13] = [
    ("meta", "1"),
    ("blocks", "1"),
    ("justifications", "1"),
    ("events", "1, 2"),
    ("event_accounts", "1, 2, 3"),
    ("runs", "1"),
    ("epochs", "1, 2"),
    ("members", "1, 2, 3"),
    ("vestings", "1, 2"),
    ("accounts", "1"),
    ("salts", "1, 2, 3, 4"),
    ("payouts", "1, 2, 3"),
    ("reports", "1, 2, 3"),
];

/// Every row of every table as text.
fn dump(store: &Store) -> Vec<String> {
    let connection = store.writer();
    let mut lines = Vec::new();
    for (table, order) in TABLES {
        let mut query = connection.prepare(&format!("SELECT * FROM {table} ORDER BY {order}")).unwrap();
        let columns = query.column_count();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells: Vec<String> = (0..columns)
                .map(|at| match row.get_ref(at).unwrap() {
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    other => format!("{other:?}"),
                })
                .collect();
            lines.push(format!("{table}: {}", cells.join(" | ")));
        }
    }
    lines
}

async fn reference(world: &Arc<World>) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), world, 0);
    index_all(world, &store).await;
    dump(&store)
}

/// What is compared is everything that there is, and there is something in every table.
#[tokio::test]
async fn no_table_is_left_out_of_the_comparison() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = indexed(dir.path()).await;
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let names: Vec<String> = {
        let connection = store.writer();
        let mut query = connection.prepare(sql).unwrap();
        let names = query.query_map([], |row| row.get(0)).unwrap();
        names.collect::<Result<_, _>>().unwrap()
    };
    let known: BTreeSet<&str> = TABLES.iter().map(|(table, _)| *table).collect();
    assert_eq!(names.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
    let lines = dump(&store);
    for table in known {
        assert!(lines.iter().any(|line| line.starts_with(&format!("{table}: "))), "{table} is empty");
    }
}

/// Votes and reports are fetched beside the blocks, and after any number of failed reads they are the same.
#[tokio::test]
async fn votes_that_could_not_be_read_are_fetched_again() {
    let world = Arc::new(World::new());
    let whole = tempfile::tempdir().unwrap();
    let store = open(whole.path(), &world, 0);
    index_all(&world, &store).await;
    fetch_all(&world, &store).await;
    let expected = dump(&store);
    let dir = tempfile::tempdir().unwrap();
    index_all(&world, &open(dir.path(), &world, 0)).await;
    let (mut failures, mut reads) = (0, 0);
    loop {
        // A new process each time, which has forgotten where it looked.
        let store = open(dir.path(), &world, 0);
        world.fails_after.store(reads, Ordering::SeqCst);
        let before = votes(&store);
        if crate::votes::round(&store, &*world, &mut BTreeMap::new()).await.is_ok() {
            break;
        }
        assert!(votes(&store) >= before, "votes were lost");
        (failures, reads) = (failures + 1, reads + 1);
    }
    world.fails_after.store(u32::MAX, Ordering::SeqCst);
    assert!(failures >= 4, "only {failures} reads failed");
    let store = open(dir.path(), &world, 0);
    fetch_all(&world, &store).await;
    assert_eq!(dump(&store), expected);
}

fn votes(store: &Store) -> usize {
    dump(store).iter().filter(|line| line.starts_with("justifications: ") && !line.ends_with("Null")).count()
}

#[tokio::test]
async fn dropped_at_every_read_it_leaves_neither_hole_nor_duplicate() {
    let world = Arc::new(World::new());
    let expected = reference(&world).await;
    let dir = tempfile::tempdir().unwrap();
    let (mut failures, mut reads) = (0u32, 0u32);
    loop {
        // A new process each time: the store is opened anew.
        let indexer = Indexer::new(Arc::clone(&world), open(dir.path(), &world, 0));
        world.fails_after.store(reads, Ordering::SeqCst);
        match indexer.step(world.last()).await {
            Ok(Some(_)) => reads = 0,
            Ok(None) => break,
            Err(_) => {
                failures += 1;
                reads += 1;
            }
        }
    }
    assert!(failures > 500, "only {failures} reads were tried");
    assert_eq!(dump(&open(dir.path(), &world, 0)), expected);
}

#[tokio::test]
async fn interrupted_within_the_transaction_nothing_of_the_block_stays() {
    let world = Arc::new(World::new());
    let expected = reference(&world).await;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), &world, 0);
    let mut interrupted = 0u32;
    loop {
        let (next, known) = store.next().unwrap();
        if next > world.last() {
            break;
        }
        let look = look(&*world, next, &known).await.unwrap();
        // Blocks with much to write, at ever later points of the transaction.
        let rich = look.runs.iter().any(|run| run.detail.as_ref().is_some_and(|d| !d.epochs.is_empty()));
        let before = rich.then(|| dump(&store));
        for allowed in (0..).step_by(7).take_while(|_| rich) {
            let left = AtomicU32::new(allowed);
            let stop =
                move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |l| l.checked_sub(1)).is_err();
            store.writer().progress_handler(40, Some(stop)).unwrap();
            let outcome = store.apply(&look);
            store.writer().progress_handler(0, None::<fn() -> bool>).unwrap();
            match outcome {
                Ok(()) => break,
                Err(StoreError::Sqlite { .. }) => interrupted += 1,
                Err(other) => panic!("{other}"),
            }
            assert_eq!(Some(dump(&store)), before, "block {next} after {allowed} steps");
        }
        if !rich {
            store.apply(&look).unwrap();
        }
    }
    assert!(interrupted > 50, "only {interrupted} transactions were interrupted");
    assert_eq!(dump(&store), expected);
}

#[tokio::test]
async fn a_block_comes_once_and_in_order() {
    let world = Arc::new(World::new());
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), &world, 0);
    let (next, known) = store.next().unwrap();
    let first = look(&*world, next, &known).await.unwrap();
    store.apply(&first).unwrap();
    assert!(matches!(store.apply(&first), Err(StoreError::OutOfOrder { expected: 1, got: 0 })));
}

#[tokio::test]
async fn another_fork_and_another_chain_are_refused() {
    let world = Arc::new(World::new());
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), &world, 0);
    store.apply(&look(&*world, 0, &store.next().unwrap().1).await.unwrap()).unwrap();
    let mut forged = look(&*world, 1, &store.next().unwrap().1).await.unwrap();
    forged.block.parent.0[0] ^= 1;
    assert!(matches!(store.apply(&forged), Err(StoreError::Fork { number: 1, .. })));
    let other = Store::open(&dir.path().join("explorer.sqlite"), iota_protocol::ids::Hash([9; 32]), 0);
    assert!(matches!(other, Err(StoreError::Genesis { .. })));
}

#[tokio::test]
async fn what_lies_before_a_late_start_is_filled_in_afterwards() {
    let world = Arc::new(World::new());
    let expected = reference(&world).await;
    let dir = tempfile::tempdir().unwrap();
    index_all(&world, &open(dir.path(), &world, 70)).await;
    let late = open(dir.path(), &world, 70);
    assert_eq!(late.reader().unwrap().coverage().unwrap().0, Some(70));
    index_all(&world, &open(dir.path(), &world, 0)).await;
    assert_eq!(dump(&open(dir.path(), &world, 0)), expected);
}

#[tokio::test]
async fn a_node_that_dropped_old_states_still_gives_blocks_and_reports() {
    let mut world = World::new();
    world.kept_from = world.last() - 5;
    let world = Arc::new(world);
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), &world, 0);
    index_all(&world, &store).await;
    let reader = store.reader().unwrap();
    assert_eq!(reader.coverage().unwrap(), (Some(0), Some(world.last()), world.last() + 1, 6));
    let epochs = reader.epochs(RUN, 10).unwrap();
    let paid: Vec<Epoch> = epochs.iter().filter(|row| row.report.is_some()).map(|row| row.epoch).collect();
    assert_eq!(paid, [Epoch(0), Epoch(1), Epoch(2)]);
    assert!(epochs[0].snapshot.is_none(), "what the chain has dropped is not invented");
}
