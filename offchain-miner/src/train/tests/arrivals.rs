//! What arrives twice, late, or from someone else.

use iota_protocol::equivocation::{Equivocation, SignedHeader};
use iota_protocol::ids::{Attempt, Epoch, Sample, Stage, Uid};
use iota_protocol::receipt::Direction;
use iota_protocol::wire::TrainReply;

use super::super::inbound::Refusal;
use super::world::{peer_of, Life, World};

async fn middle() -> (World, Life, tempfile::TempDir) {
    let world = World::new(1, 1).await;
    let folder = world.folder_with(&[]);
    let (life, _) = world.start(&folder).await.unwrap();
    (world, life, folder)
}

async fn middle_with_a_finished_sample() -> (World, Life, tempfile::TempDir) {
    let (world, mut life, folder) = middle().await;
    life.finish(&world).await;
    (world, life, folder)
}

#[tokio::test]
async fn regression_a_repeated_hop_after_done_returns_the_stored_gradient_and_runs_nothing() {
    let (world, mut life, _folder) = middle_with_a_finished_sample().await;
    let log = life.training.log.clone();
    let first = life
        .sent
        .iter()
        .find(|(_, hop)| hop.header.sample == Sample(0) && hop.header.direction == Direction::Backward);
    let gradient = first.unwrap().1.codes.clone();

    let again = world.hop_in(Sample(0), Attempt(1), Direction::Forward, world.upstream(1));
    let reply = life.training.forward_arrived(again.clone(), &mut life.trainer).await.unwrap();
    assert!(matches!(reply, TrainReply::Accepted { .. }));
    life.run_jobs().await;
    assert_eq!(life.training.log, log, "no second pass");
    let [returned] = life.training.outbox.as_slice() else { panic!("{:?}", life.training.outbox) };
    assert_eq!(returned.to, world.upstream(1), "to the one who asked again");
    assert_eq!(returned.hop.codes, gradient);
    assert_eq!((returned.hop.header.attempt, returned.hop.header.parent), (Attempt(1), again.header.id()));
}

#[tokio::test]
async fn regression_a_straggling_hop_does_not_take_the_gradient_from_the_newer_sender() {
    let (world, mut life, _folder) = middle().await;
    let hop = |attempt, from| world.hop_in(Sample(0), Attempt(attempt), Direction::Forward, from);
    for (attempt, from) in [(0, world.upstream(0)), (1, world.upstream(1)), (0, world.upstream(0))] {
        life.training.forward_arrived(hop(attempt, from), &mut life.trainer).await.unwrap();
    }
    life.finish(&world).await;
    let (to, returned) =
        life.sent.iter().find(|(_, hop)| hop.header.direction == Direction::Backward).unwrap();
    assert_eq!((*to, returned.header.attempt), (world.upstream(1), Attempt(1)));
    let forward = life.training.receipts.iter().find(|r| r.direction == Direction::Forward).unwrap();
    assert_eq!(forward.from, world.upstream(0), "the pass ran on what the first sender sent");
}

#[tokio::test]
async fn a_repeated_acknowledgement_leaves_one_receipt() {
    let (world, mut life, _folder) = middle_with_a_finished_sample().await;
    let receipts = life.training.receipts.len();
    // The same upstream lost our gradient and sends the same hop again.
    let again = world.hop_in(Sample(0), Attempt(0), Direction::Forward, world.upstream(0));
    life.training.forward_arrived(again, &mut life.trainer).await.unwrap();
    life.exchange(&world);
    assert_eq!(life.training.receipts.len(), receipts);
}

#[tokio::test]
async fn a_gradient_that_overtakes_the_acknowledgement_names_its_sender() {
    let (world, mut life, _folder) = middle().await;
    let hop = world.hop_in(Sample(0), Attempt(0), Direction::Forward, world.upstream(0));
    life.training.forward_arrived(hop, &mut life.trainer).await.unwrap();
    life.run_jobs().await;
    let sent = life.training.outbox[0].clone();
    let gradient = world.hop_in(Sample(0), Attempt(0), Direction::Backward, sent.to);
    life.training.gradient_arrived(gradient, &mut life.trainer).await.unwrap();
    life.run_jobs().await;
    life.exchange(&world);
    let of = |direction| life.training.receipts.iter().find(|r| r.direction == direction).unwrap();
    assert_eq!(of(Direction::Forward).to, sent.to, "the late acknowledgement still leaves its receipt");
    assert_eq!(of(Direction::Backward).from, sent.to);
}

#[tokio::test]
async fn two_bodies_for_one_hop_are_proof_and_two_parents_are_none() {
    let (mut world, mut life, _folder) = middle().await;
    let first = world.hop_in(Sample(0), Attempt(0), Direction::Forward, world.upstream(0));
    life.training.testify(&first);
    life.training.testify(&first);
    let other_sender = world.hop_in(Sample(0), Attempt(0), Direction::Forward, world.upstream(1));
    life.training.testify(&other_sender);
    assert!(world.found.try_recv().is_err(), "sent again, or by somebody else");
    let second = world.contradicting(&first);
    assert!(life.training.check(&second, &peer_of(world.upstream(0))).is_ok(), "each for itself is fine");
    life.training.testify(&second);
    let proof = world.found.try_recv().unwrap();
    assert_eq!(proof.check(), Ok(()));
    assert_eq!((proof.first.header, proof.second.header), (first.header, second.header));
}

/// Two upstream miners with the same attempt number: the one's neighbour fell silent when the other did.
#[tokio::test]
async fn regression_answering_two_upstreams_under_one_attempt_contradicts_nothing() {
    let (world, mut life, _folder) = middle().await;
    let hop = |from| world.hop_in(Sample(0), Attempt(1), Direction::Forward, from);
    let mut second = hop(world.upstream(1));
    second.header.parent = iota_protocol::ids::Hash([4; 32]);
    life.training.forward_arrived(hop(world.upstream(0)), &mut life.trainer).await.unwrap();
    life.finish(&world).await;
    life.training.forward_arrived(second, &mut life.trainer).await.unwrap();
    life.exchange(&world);
    let said: Vec<SignedHeader> = life
        .sent
        .iter()
        .filter(|(_, hop)| hop.header.sample == Sample(0) && hop.header.direction == Direction::Backward)
        .map(|(_, hop)| SignedHeader { header: hop.header.clone(), signature: hop.signature })
        .collect();
    let [first, second] = said.as_slice() else { panic!("{said:?}") };
    assert!(first.is_same_hop(second) && first.header.parent != second.header.parent);
    let proof = Equivocation { first: first.clone(), second: second.clone() };
    assert!(proof.check().is_err(), "an honest miner must not be provably guilty");
}

#[tokio::test]
async fn hops_are_checked_before_they_are_taken() {
    let (world, life, _folder) = middle().await;
    let from = world.upstream(0);
    let good = world.hop_in(Sample(0), Attempt(0), Direction::Forward, from);
    let check = |hop: &_, peer| life.training.check(hop, &peer_of(peer));
    assert!(check(&good, from).is_ok());
    assert!(matches!(check(&good, Uid(4)), Err(Refusal::Bad(_))), "another peer sends it");

    let edited = |edit: &dyn Fn(&mut iota_protocol::wire::Hop)| {
        let mut hop = good.clone();
        edit(&mut hop);
        life.training.unpack(hop.into()).and_then(|hop| check(&hop, from))
    };
    assert!(matches!(edited(&|hop| hop.header.stage = Stage(2)), Err(Refusal::NotOurs)));
    assert!(matches!(edited(&|hop| hop.header.epoch = Epoch(2)), Err(Refusal::NotOurs)));
    assert!(matches!(edited(&|hop| hop.header.epoch = Epoch(4)), Err(Refusal::Later)));
    assert!(matches!(edited(&|hop| hop.header.from = Uid(5)), Err(Refusal::NotOurs)), "not from upstream");
    assert!(matches!(edited(&|hop| hop.header.direction = Direction::Backward), Err(Refusal::NotOurs)));
    assert!(matches!(edited(&|hop| hop.header.attempt = Attempt(9)), Err(Refusal::Bad(_))), "signature");
    assert!(matches!(edited(&|hop| hop.codes[0] ^= 1), Err(Refusal::Bad(_))), "codes");
    assert!(matches!(edited(&|hop| hop.codes.truncate(9)), Err(Refusal::Bad(_))), "length");
    assert!(matches!(edited(&|hop| hop.header.version = 1), Err(Refusal::Bad(_))), "version");
}

/// A gradient travels with four bytes of its parent's id; whoever sent that one finds it again, also
/// after a restart, and a parent that was never sent is somebody else's business.
#[tokio::test]
async fn a_gradient_finds_its_parent_among_what_was_sent() {
    let (world, mut life, folder) = middle().await;
    let arrived = world.hop_in(Sample(0), Attempt(0), Direction::Forward, world.upstream(0));
    life.training.forward_arrived(arrived, &mut life.trainer).await.unwrap();
    life.run_jobs().await;
    let sent = life.training.outbox[0].clone();
    let mut gradient = world.hop_in(Sample(0), Attempt(0), Direction::Backward, sent.to);
    gradient.header.parent = sent.hop.header.id();
    let unpacked = |life: &Life| life.training.unpack(gradient.clone().into());
    assert_eq!(unpacked(&life).unwrap(), gradient);
    drop(life);
    let (life, _) = world.start(&folder).await.unwrap();
    assert_eq!(unpacked(&life).unwrap(), gradient, "the journal says what was sent");
    let mut stray = gradient.clone();
    stray.header.parent = iota_protocol::ids::Hash([4; 32]);
    assert!(matches!(life.training.unpack(stray.into()), Err(Refusal::NotOurs)));
}
