//! A process may be killed at any moment: its journal then ends at any record.

use std::collections::BTreeMap;

use iota_protocol::ids::{Attempt, Sample, Uid};
use iota_protocol::receipt::{Direction, LogEvent};
use iota_protocol::wire::Hop;

use super::world::{Life, World, SAMPLES};
use crate::journal::Record;

type Key = (Sample, Direction, Attempt, Uid);

fn sent_before(records: &[Record]) -> BTreeMap<Key, Hop> {
    let sent = records.iter().filter_map(|record| match record {
        Record::Sent { to, hop } => Some((key(*to, hop), hop.clone())),
        _ => None,
    });
    sent.collect()
}

fn key(to: Uid, hop: &Hop) -> Key {
    (hop.header.sample, hop.header.direction, hop.header.attempt, to)
}

/// A whole life, then a stray sample that the end of the window gives up.
async fn live(world: &World) -> (Vec<Record>, Vec<LogEvent>, Vec<f32>) {
    let folder = world.folder_with(&[]);
    let (mut life, records) = world.start(&folder).await.unwrap();
    assert!(records.is_empty());
    life.resume(world).await;
    life.finish(world).await;
    life.assert_whole("undisturbed");
    if world.stage.0 == 1 {
        repeat_and_abandon(world, &mut life).await;
    }
    let (log, weights) = (life.training.log.clone(), life.trainer.weights().await.unwrap());
    drop(life);
    let (_, records) = world.start(&folder).await.unwrap();
    (records, log, weights)
}

/// A finished sample comes again from a new upstream; another one comes too late to be finished.
async fn repeat_and_abandon(world: &World, life: &mut Life) {
    let again = world.hop_in(Sample(1), Attempt(1), Direction::Forward, world.upstream(1));
    life.training.forward_arrived(again, &mut life.trainer).await.unwrap();
    let late = world.hop_in(Sample(SAMPLES), Attempt(0), Direction::Forward, world.upstream(0));
    life.training.forward_arrived(late, &mut life.trainer).await.unwrap();
    life.run_jobs().await;
    life.exchange(world);
    life.training.abandon_open(&mut life.trainer).await.unwrap();
    assert!(matches!(life.training.log.last(), Some(LogEvent::Abandon { sample: Sample(SAMPLES), .. })));
}

/// Restarts from the first `cut` records and checks everything that a restart promises.
async fn check_cut(
    world: &World,
    records: &[Record],
    cut: usize,
    log: &[LogEvent],
) -> (Life, tempfile::TempDir) {
    let when = format!("stage {} killed after record {cut} of {}", world.stage, records.len());
    let kept = &records[..cut];
    let folder = world.folder_with(kept);
    let (mut life, read) = world.start(&folder).await.unwrap_or_else(|error| panic!("{when}: {error:#}"));
    assert_eq!(read, kept, "{when}");
    // State roots stand in the log: equal logs are equal weights and moments, bit for bit.
    let rebuilt = life.training.log.clone();
    assert!(log.starts_with(&rebuilt), "{when}: the log went another way");
    let journalled = kept.iter().filter(|record| matches!(record, Record::Ran(_))).count();
    assert!(rebuilt.len() >= journalled, "{when}: events were lost");

    life.resume(world).await;
    let before = sent_before(kept);
    for outgoing in &life.training.outbox {
        if let Some(hop) = before.get(&key(outgoing.to, &outgoing.hop)) {
            assert_eq!(&outgoing.hop, hop, "{when}: other bytes under the same attempt");
        }
    }
    (life, folder)
}

/// After the cut, life goes on and ends as it should: nothing ran twice, everything has a receipt.
async fn check_going_on(world: &World, mut life: Life, folder: &tempfile::TempDir, cut: usize) {
    let when = format!("stage {} went on after record {cut}", world.stage);
    life.finish(world).await;
    let stray = (Sample(SAMPLES), Direction::Forward);
    if !life.passes().contains_key(&stray) {
        life.assert_whole(&when);
    }
    assert!(life.passes().values().all(|count| *count == 1), "{when}: {:?}", life.passes());
    let (log, receipts) = (life.training.log.clone(), life.training.receipts.clone());
    drop(life);
    let (again, _) =
        world.start(folder).await.unwrap_or_else(|error| panic!("{when}, then again: {error:#}"));
    assert_eq!(again.training.log, log, "{when}, then again");
    assert_eq!(again.training.receipts, receipts, "{when}, then again");
}

async fn killed_anywhere(stage: u16, samples_per_step: u16) {
    let world = World::new(stage, samples_per_step).await;
    let (records, log, weights) = live(&world).await;
    assert!(records.len() > SAMPLES as usize * 5, "{} records", records.len());
    for cut in 0..=records.len() {
        let (mut life, folder) = check_cut(&world, &records, cut, &log).await;
        if cut == records.len() {
            assert_eq!(life.training.log, log);
            let rebuilt = life.trainer.weights().await.unwrap();
            let same = rebuilt.iter().map(|w| w.to_bits()).eq(weights.iter().map(|w| w.to_bits()));
            assert!(same, "stage {stage}: other weights after the replay");
        }
        check_going_on(&world, life, &folder, cut).await;
    }
}

#[tokio::test]
async fn first_stage_killed_at_any_record_goes_on_with_the_same_weights_and_bytes() {
    killed_anywhere(0, 1).await;
}

#[tokio::test]
async fn middle_stage_killed_at_any_record_goes_on_with_the_same_weights_and_bytes() {
    killed_anywhere(1, 2).await;
}

#[tokio::test]
async fn last_stage_killed_at_any_record_goes_on_with_the_same_weights_and_bytes() {
    killed_anywhere(2, 1).await;
}

#[tokio::test]
async fn a_hop_without_an_acknowledgement_is_sent_again_as_it_was() {
    let world = World::new(1, 1).await;
    let (records, _, _) = live(&world).await;
    let at = records.iter().position(|record| matches!(record, Record::Sent { .. })).unwrap();
    let Record::Sent { to, hop } = &records[at] else { unreachable!("position found a sent hop") };
    let folder = world.folder_with(&records[..=at]);
    let (mut life, _) = world.start(&folder).await.unwrap();
    life.training.resume(&mut life.trainer).await.unwrap();
    let outbox = &life.training.outbox;
    assert_eq!(outbox.len(), 1);
    assert_eq!((&outbox[0].to, &outbox[0].hop), (to, hop), "signature included");
    drop(life);
    let (_, after) = world.start(&folder).await.unwrap();
    assert_eq!(after.len(), at + 1, "the same hop needs no second record");
}

#[tokio::test]
async fn a_journal_without_an_input_is_refused() {
    let world = World::new(1, 1).await;
    let (records, _, _) = live(&world).await;
    let torn: Vec<Record> =
        records.into_iter().filter(|record| !matches!(record, Record::Arrived(_))).collect();
    let Err(error) = world.start(&world.folder_with(&torn)).await else { panic!("it was taken") };
    assert!(format!("{error:#}").contains("lacks codes"), "{error:#}");
}
