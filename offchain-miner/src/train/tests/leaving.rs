//! A miner that is asked to stop: what it holds is finished, what comes goes elsewhere at once.

use std::time::{Duration, Instant};

use codec::Encode;
use iota_chain::Head;
use iota_protocol::ids::{Attempt, Epoch, Hash, RunId, Sample};
use iota_protocol::receipt::{Direction, LogEvent};
use iota_protocol::view::{ClockView, RunState};
use iota_protocol::wire::{TrainReply, TrainRequest};
use iota_service::tasks::Shutdown;
use iota_worker::session::{RunSnapshot, Views};
use tokio::sync::mpsc;

use super::super::outbound::Answer;
use super::super::Outgoing;
use super::world::{Life, World};
use crate::journal::{EpochJournal, Record};
use crate::leave::Leaving;
use crate::limits;
use crate::run::{refusal, works};
use crate::store::Store;

async fn asked(bound: Duration) -> Leaving {
    let stop = Shutdown::new();
    stop.request();
    let mut leave = Leaving::on(stop, bound);
    leave.asked().await;
    leave
}

#[tokio::test]
async fn a_miner_that_leaves_finishes_what_it_holds_and_refuses_the_rest() {
    let world = World::new(1, 1).await;
    let folder = world.folder_with(&[]);
    let (mut life, _) = world.start(&folder).await.unwrap();
    let leave = asked(Duration::from_secs(60)).await;
    let hop = |sample| world.hop_in(Sample(sample), Attempt(0), Direction::Forward, world.upstream(0));
    let taken = life.training.forward_arrived(hop(0), &mut life.trainer).await.unwrap();
    assert!(matches!(taken, TrainReply::Accepted { .. }));
    life.training.wind_down().unwrap();
    let late = life.training.forward_arrived(hop(1), &mut life.trainer).await.unwrap();
    assert_eq!(late, TrainReply::Refused);
    assert!(!life.training.has_left(&leave, 0), "sample 0 is still in its hands");
    // The world goes on feeding it, and takes refusals.
    life.finish(&world).await;
    let passes: Vec<_> = life.passes().into_iter().collect();
    assert_eq!(
        passes,
        [((Sample(0), Direction::Forward), 1), ((Sample(0), Direction::Backward), 1)],
        "sample 0 passed both ways, and nothing else was begun"
    );
    let (to, gradient) = life.sent.last().unwrap();
    assert_eq!((*to, gradient.header.direction), (world.upstream(0), Direction::Backward));
    assert!(!life.training.has_left(&leave, 1), "a message is still on its way");
    assert!(life.training.has_left(&leave, 0));
}

/// A first stage with one sample that is about to be offered.
async fn offering() -> (World, Life, Outgoing, tempfile::TempDir) {
    let world = World::with_samples(0, 1, 1).await;
    let folder = world.folder_with(&[]);
    let (mut life, _) = world.start(&folder).await.unwrap();
    life.training.fill(&mut life.trainer).await.unwrap();
    life.run_jobs().await;
    let first = life.training.outbox.pop().expect("an offer");
    (world, life, first, folder)
}

fn refuse(life: &mut Life, offer: Outgoing) -> Option<Outgoing> {
    let Outgoing { to, hop } = offer;
    life.training.answered(Answer::Hop { to, header: hop.header, reply: Ok(TrainReply::Refused) }).unwrap();
    life.training.outbox.pop()
}

#[tokio::test]
async fn a_refused_sample_goes_to_the_next_in_its_order_without_a_wait() {
    let (_world, mut life, first, _folder) = offering().await;
    let (to, sample) = (first.to, first.hop.header.sample);
    let began = Instant::now();
    let second = refuse(&mut life, first).expect("offered to somebody else in the same step");
    assert!(second.to != to && second.hop.header.sample == sample);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(life.training.retries.is_empty(), "nothing waits for a clock");
}

#[tokio::test]
async fn what_nobody_takes_is_let_go_by_a_miner_that_leaves() {
    let (_world, mut life, first, _folder) = offering().await;
    let leave = asked(Duration::from_secs(60)).await;
    life.training.wind_down().unwrap();
    let second = refuse(&mut life, first).expect("the other miner of the next stage");
    assert!(!life.training.has_left(&leave, 0));
    assert!(refuse(&mut life, second).is_none(), "both have refused");
    assert!(life.training.retries.is_empty() && life.training.has_left(&leave, 0));
}

/// The first block of the epoch, in which its `Train` begins.
fn beginning(world: &World, life: &Life) -> RunSnapshot {
    let ctx = &life.training.ctx;
    let clock = ClockView {
        run: RunId(7),
        state: RunState::Running,
        epoch: Epoch(world.epoch.0),
        start: 1,
        extensions: 0,
        train_seed: ctx.train_seed,
        seed: None,
        data_base: 0,
        tokens: 0,
    };
    let schedule = clock.schedule(&ctx.params);
    let head = Head { number: 1, hash: Hash::ZERO };
    RunSnapshot { head, clock, members: ctx.members.clone(), schedule, params: ctx.params.clone() }
}

#[tokio::test]
async fn a_paused_miner_takes_no_sample_until_it_is_let_go_on() {
    let world = World::new(1, 1).await;
    let folder = world.folder_with(&[]);
    let (life, _) = world.start(&folder).await.unwrap();
    let view = beginning(&world, &life);
    let works = || works(&view, limits::resting(folder.path(), None).as_deref());
    assert!(works());
    limits::pause(folder.path()).unwrap();
    assert!(!works(), "it rests although the run trains");
    let asked = |epoch: u32| {
        let mut hop = world.hop_in(Sample(0), Attempt(0), Direction::Forward, world.upstream(0));
        hop.header.epoch = Epoch(epoch);
        refusal(&TrainRequest::Hop(hop.into()).encode(), world.epoch.0)
    };
    assert_eq!(asked(world.epoch.0), TrainReply::Refused, "the sender takes the next in its order");
    assert_eq!(asked(world.epoch.0 + 1), TrainReply::Busy, "in the next epoch it may be back");
    let probe = TrainRequest::Probe { run: RunId(7), epoch: world.epoch, sample: Sample(0) };
    assert_eq!(refusal(&probe.encode(), world.epoch.0), TrainReply::Unknown);
    limits::resume(folder.path()).unwrap();
    assert!(works());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_leaves_within_its_bound_although_nobody_answers_and_its_journal_says_what_it_gave_up() {
    let world = World::with_samples(0, 1, 4).await;
    let folder = world.folder_with(&[]);
    let (life, _) = world.start(&folder).await.unwrap();
    let (sender, mut views) = Views::channel();
    sender.send_replace(Some(beginning(&world, &life)));
    let (_inbound, mut inbox) = mpsc::channel(1);
    let Life { training, mut trainer, .. } = life;
    let (stop, bound) = (Shutdown::new(), Duration::from_millis(500));
    let leave = Leaving::on(stop.clone(), bound);
    let began = Instant::now();
    let asking = async {
        tokio::time::sleep(bound).await;
        stop.request();
    };
    let (trained, ()) = tokio::join!(training.run(&mut views, &mut inbox, &mut trainer, leave), asking);
    // Both waits, and as long again for two cores that do other things.
    assert!(began.elapsed() < bound * 4 + Duration::from_secs(2), "{:?}", began.elapsed());
    let trained = trained.unwrap();
    assert!(trained.started > 0, "it had begun samples");
    let given_up = |log: &[LogEvent]| log.iter().filter(|e| matches!(e, LogEvent::Abandon { .. })).count();
    assert!(given_up(&trained.log) > 0, "{:?}", trained.log);
    let log = trained.log.clone();
    drop(trained);
    let store = Store::open(folder.path()).unwrap();
    let (_, records) = EpochJournal::open(&store, world.epoch).unwrap();
    let kept: Vec<LogEvent> = records
        .iter()
        .filter_map(|record| match record {
            Record::Ran(event) => Some(*event),
            _ => None,
        })
        .collect();
    assert_eq!(kept, log, "a restart knows the same");
}
