//! The voters of the made-up chain: three, and from block 41 on three others; and what becomes of an audit
//! whose votes were tampered with.

use codec::Encode;
use ed25519_zebra::{SigningKey, VerificationKey};
use finality_grandpa::{Commit, Message, Precommit, SignedPrecommit};
use iota_chain::Head;
use iota_protocol::ids::{Epoch, Hash};

use super::audit::indexed;
use super::world::RUN;
use crate::audit::finality::{justified, voted, Header, Voters};
use crate::audit::{audit, audit_with, Memory, Status};
use crate::bundle::Bundle;
use crate::cli::read_bundle;
use crate::store::Store;

/// The block that replaces the voters.
const HANDOFF: u32 = 40;
/// A node keeps votes on every block of which this is a divisor, and on handoffs.
const PERIOD: u32 = 5;
const ROUND: u64 = 12;

fn keys(set: u64) -> Vec<SigningKey> {
    (0..3u8).map(|n| SigningKey::from([n + 1 + 10 * set as u8; 32])).collect()
}

fn id(key: &SigningKey) -> [u8; 32] {
    VerificationKey::from(key).into()
}

/// Voters of a set, all of one weight.
pub fn voters(set: u64) -> Voters {
    keys(set).iter().map(|key| (id(key), 1)).collect()
}

/// The set that votes on a block.
pub fn set_at(number: u32) -> u64 {
    u64::from(number > HANDOFF)
}

/// Whether the node keeps votes on a block.
pub fn are_kept(number: u32) -> bool {
    number > 0 && (number.is_multiple_of(PERIOD) || number == HANDOFF)
}

/// The digest of a block: an entry of the block's author, and the next voters.
pub fn digest(number: u32) -> Vec<(u8, [u8; 4], Vec<u8>)> {
    let mut items = vec![(6, *b"aura", number.encode())];
    if number == HANDOFF {
        items.push((4, *b"FRNK", (1u8, voters(1), 0u32).encode()));
    }
    items
}

type Vote = SignedPrecommit<[u8; 32], u32, [u8; 64], [u8; 32]>;

fn vote(key: &SigningKey, target: Head, set: u64) -> Vote {
    let precommit = Precommit { target_hash: target.hash.0, target_number: target.number };
    let signed = (Message::<[u8; 32], u32>::Precommit(precommit.clone()), ROUND, set).encode();
    SignedPrecommit { precommit, signature: key.sign(&signed).into(), id: id(key) }
}

fn with_votes(target: Head, precommits: Vec<Vote>, ancestries: &[Vec<u8>]) -> Vec<u8> {
    let commit = Commit { target_hash: target.hash.0, target_number: target.number, precommits };
    let mut bytes = (ROUND, commit, codec::Compact(ancestries.len() as u32)).encode();
    bytes.extend(ancestries.concat());
    bytes
}

/// The votes of a whole set on a block.
pub fn justification(target: Head, set: u64) -> Vec<u8> {
    with_votes(target, keys(set).iter().map(|key| vote(key, target, set)).collect(), &[])
}

fn head(number: u32, salt: u8) -> Head {
    Head { number, hash: Hash([salt; 32]) }
}

#[test]
fn two_thirds_of_the_set_must_have_signed_just_that() {
    let (block, keys) = (head(9, 7), keys(0));
    let votes = |count: usize, target, set| keys[..count].iter().map(|key| vote(key, target, set)).collect();
    let check = |bytes: Vec<u8>| justified(&bytes, &voters(0), 0);
    assert_eq!(check(justification(block, 0)), Ok((block.hash.0, 9)));
    let refused = |bytes: Vec<u8>, expected: &str| {
        let error = check(bytes).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    refused(with_votes(block, votes(2, block, 0), &[]), "do not suffice");
    refused(with_votes(block, votes(3, block, 1), &[]), "is wrong");
    refused(with_votes(block, votes(3, head(9, 8), 0), &[]), "do not suffice");
    refused(justification(block, 1), "do not suffice");
    let mut twice: Vec<Vote> = votes(2, block, 0);
    twice.push(twice[0].clone());
    refused(with_votes(block, twice, &[]), "do not suffice");
    assert!(justified(&justification(block, 0), &Vec::new(), 0).unwrap_err().contains("no voters"));
}

#[test]
fn votes_on_a_later_block_count_with_the_headers_between_and_only_with_them() {
    let base = head(9, 7);
    let header = (base.hash, codec::Compact(10u32), [1u8; 32], [2u8; 32], digest(10)).encode();
    let above = Head { number: 10, hash: Hash(Header::read(&header).unwrap().hash()) };
    let keys = keys(0);
    let votes = || vec![vote(&keys[0], base, 0), vote(&keys[1], base, 0), vote(&keys[2], above, 0)];
    let check = |ancestries: &[Vec<u8>]| justified(&with_votes(base, votes(), ancestries), &voters(0), 0);
    assert_eq!(check(std::slice::from_ref(&header)), Ok((base.hash.0, 9)));
    assert!(check(&[]).is_err());
    let stray = (base.hash, codec::Compact(10u32), [3u8; 32], [2u8; 32], digest(10)).encode();
    assert!(check(&[header, stray]).unwrap_err().contains("no vote needs"));
}

#[test]
fn every_altered_bit_of_a_justification_is_refused() {
    let (block, voters) = (head(9, 7), voters(0));
    let honest = justification(block, 0);
    for at in 0..honest.len() {
        let mut altered = honest.clone();
        altered[at] ^= 1 << (at % 8);
        assert!(justified(&altered, &voters, 0).is_err(), "byte {at} of {}", honest.len());
    }
    let longer = [honest.clone(), vec![0]].concat();
    assert!(justified(&longer, &voters, 0).is_err());
    assert!(justified(&honest[..honest.len() - 1], &voters, 0).is_err());
}

async fn bundle(epoch: u32) -> Bundle {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = indexed(dir.path()).await;
    Bundle::collect(&store.reader().unwrap(), RUN, Epoch(epoch)).unwrap().unwrap()
}

fn finding(bundle: &Bundle) -> (Status, String) {
    let finding = audit(bundle).into_iter().find(|finding| finding.id == "I11").unwrap();
    (finding.status, format!("{:?} {:?}", finding.sides, finding.notes))
}

#[tokio::test]
async fn finality_follows_from_the_genesis_hash_alone() {
    let honest = bundle(1).await;
    let finality = honest.finality.clone().unwrap();
    assert_eq!(finality.handoffs.len(), 1, "the voters changed before the epoch was paid");
    assert!(!finality.headers.is_empty() && finality.headers.len() < PERIOD as usize);
    assert_eq!(finding(&honest).0, Status::Pass, "{}", finding(&honest).1);
    let check = |expected: &str, lie: &dyn Fn(&mut Bundle)| {
        let mut bundle = honest.clone();
        lie(&mut bundle);
        let (status, text) = finding(&bundle);
        assert!(status == Status::Fail && text.contains(expected), "{expected}: {status:?} {text}");
    };
    fn finality_of(bundle: &mut Bundle) -> &mut crate::bundle::Finality {
        bundle.finality.as_mut().unwrap()
    }
    check("not that of genesis", &|b| b.genesis = Hash([1; 32]));
    check("not that of genesis", &|b| finality_of(b).genesis_header = b.proof.clone().unwrap().header);
    check("lacks a node", &|b| finality_of(b).genesis_nodes.clear());
    // Without the change the first voters would have to have signed.
    check("do not suffice", &|b| finality_of(b).handoffs.clear());
    check("does not change the voters", &|b| {
        finality_of(b).handoffs[0].header = b.proof.clone().unwrap().header;
    });
    check("do not suffice", &|b| {
        finality_of(b).handoffs[0].justification = finality_of(b).justification.clone()
    });
    check("does not stand at the end", &|b| drop(finality_of(b).headers.pop()));
    check("does not follow", &|b| drop(finality_of(b).headers.remove(0)));
    check("does not decode", &|b| {
        finality_of(b).headers[0].pop();
        finality_of(b).headers[0].pop();
    });
    check("no hex", &|b| finality_of(b).justification.push('x'));
    let none = Bundle { finality: None, ..honest.clone() };
    assert_eq!(finding(&none).0, Status::NotChecked);
}

/// Somebody makes up a whole chain of voters of its own.
#[tokio::test]
async fn voters_that_do_not_follow_from_genesis_are_refused() {
    let mut bundle = bundle(0).await;
    let proof = bundle.proof.clone().unwrap();
    let finality = bundle.finality.as_mut().unwrap();
    let block = Head { number: proof.block, hash: proof.hash };
    finality.headers.clear();
    finality.justification = hex::encode(justification(block, 7));
    assert_eq!(finding(&bundle).0, Status::Fail);
}

/// Flips one bit of each byte of a hex text in turn and says at which it was not noticed.
fn unnoticed(honest: &Bundle, field: impl Fn(&mut Bundle) -> &mut String) -> Vec<usize> {
    let bytes = hex::decode(field(&mut honest.clone())).unwrap();
    let altered = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let mut bundle = honest.clone();
        *field(&mut bundle) = hex::encode(bytes);
        voted(&bundle, &Memory::default()).status
    };
    (0..bytes.len()).filter(|at| altered(*at) != Status::Fail).collect()
}

/// Whoever alters a byte can seal the file anew; every part that finality rests on is checked for itself.
#[tokio::test]
async fn every_altered_byte_that_finality_rests_on_is_refused_whatever_the_digest() {
    fn of(bundle: &mut Bundle) -> &mut crate::bundle::Finality {
        bundle.finality.as_mut().unwrap()
    }
    let honest = bundle(1).await;
    let parts = honest.finality.clone().unwrap();
    let none: Vec<usize> = Vec::new();
    assert_eq!(unnoticed(&honest, |b| &mut of(b).genesis_header), none, "header of block 0");
    // The made-up node proves more than it was asked for; what no value rests on says nothing.
    let is_needed = |at: &usize| {
        let mut bundle = honest.clone();
        of(&mut bundle).genesis_nodes.remove(*at);
        voted(&bundle, &Memory::default()).status == Status::Fail
    };
    let needed: Vec<usize> = (0..parts.genesis_nodes.len()).filter(is_needed).collect();
    assert!(!needed.is_empty());
    for at in needed {
        assert_eq!(unnoticed(&honest, |b| &mut of(b).genesis_nodes[at]), none, "node {at} of block 0");
    }
    for at in 0..parts.handoffs.len() {
        assert_eq!(unnoticed(&honest, |b| &mut of(b).handoffs[at].header), none, "header of change {at}");
        let votes = unnoticed(&honest, |b| &mut of(b).handoffs[at].justification);
        assert_eq!(votes, none, "votes on change {at}");
    }
    for at in 0..parts.headers.len() {
        assert_eq!(unnoticed(&honest, |b| &mut of(b).headers[at]), none, "header {at} after the payment");
    }
    assert_eq!(unnoticed(&honest, |b| &mut of(b).justification), none, "votes");
    assert_eq!(unnoticed(&honest, |b| &mut b.proof.as_mut().unwrap().header), none, "header that paid");
}

/// Whoever audits many epochs checks each change of the voters once, and is not fooled by another list.
#[tokio::test]
async fn what_was_seen_to_be_signed_is_believed_and_nothing_else() {
    let honest = bundle(1).await;
    let memory = Memory::default();
    let with = |bundle: &Bundle| {
        audit_with(bundle, &memory).into_iter().find(|finding| finding.id == "I11").unwrap().status
    };
    let mut forged = honest.clone();
    let handoff = &mut forged.finality.as_mut().unwrap().handoffs[0];
    handoff.justification = handoff.justification.replace('1', "2");
    assert_eq!(with(&forged), Status::Fail, "before anything is known");
    assert_eq!(with(&honest), Status::Pass);
    assert_eq!(with(&forged), Status::Fail, "after the honest one is known");
    assert_eq!(with(&honest), Status::Pass);
    assert_eq!(with(&bundle(2).await), Status::Pass);
    let mut other = honest.clone();
    other.genesis = Hash([1; 32]);
    assert_eq!(with(&other), Status::Fail);
}

/// While the votes on a change of the voters are missing, nothing is claimed: votes that came later are those of
/// others.
#[tokio::test]
async fn a_change_of_the_voters_whose_votes_are_missing_is_not_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = indexed(dir.path()).await;
    let status = |epoch: u32| {
        let bundle = Bundle::collect(&store.reader().unwrap(), RUN, Epoch(epoch)).unwrap().unwrap();
        finding(&bundle).0
    };
    let paid = world.paid_at(Epoch(0));
    assert!(paid > HANDOFF, "the payment comes after the change");
    assert_eq!(status(0), Status::Pass);
    let forget = |block: u32| {
        store
            .writer()
            .execute("UPDATE justifications SET justification = NULL WHERE block = ?1", [block])
            .unwrap();
    };
    // A change between the payment and the first votes after it, as if those on it were not fetched yet.
    store.put_handoff(paid + 1).unwrap();
    store.put_justification(paid + 2, &justification(head(paid + 2, 1), 1)).unwrap();
    assert_eq!(status(0), Status::NotChecked);
    forget(HANDOFF);
    assert_eq!(status(1), Status::NotChecked);
}

/// An index that begins with block 1 lacks nothing that finality rests on.
#[tokio::test]
async fn changes_of_the_voters_are_followed_from_block_1_on() {
    let world = std::sync::Arc::new(super::world::World::new());
    let status = async |from: u32| {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store::open(&dir.path().join("explorer.sqlite"), crate::source::Source::genesis(&*world), from);
        let store = store.unwrap();
        super::resume::index_all(&world, &store).await;
        super::audit::fetch_all(&world, &store).await;
        let bundle = Bundle::collect(&store.reader().unwrap(), RUN, Epoch(1)).unwrap().unwrap();
        finding(&bundle).0
    };
    assert_eq!(status(0).await, Status::Pass);
    assert_eq!(status(1).await, Status::Pass);
    assert_eq!(status(2).await, Status::NotChecked, "block 1 may have changed the voters");
}

#[tokio::test]
async fn what_an_older_bundle_has_can_be_left_out() {
    let whole = bundle(1).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.json");
    let read = |bundle: &Bundle, older: Option<&Bundle>| {
        std::fs::write(&path, serde_json::to_string(bundle).unwrap()).unwrap();
        read_bundle(&path, older).map_err(|error| format!("{error:#}"))
    };
    let short = whole.clone().for_who_knows(7);
    let finality = short.finality.clone().unwrap();
    assert_eq!((finality.left_out, finality.handoffs.len()), (1, 0), "there is one change, which is known");
    assert_eq!(short.digest, whole.digest);
    let refused = |expected: &str, older: Option<&Bundle>| {
        let error = read(&short, older).expect_err(expected);
        assert!(error.contains(expected), "{expected}: {error}");
    };
    refused("--older", None);
    refused("has 0 from the first on", Some(&short));
    refused("of chain", Some(&Bundle { genesis: Hash([1; 32]), ..whole.clone() }));
    // The change came before the first epoch was paid, so that its bundle has it.
    let completed = read(&short, Some(&bundle(0).await)).unwrap();
    assert_eq!(completed, whole);
    assert_eq!(finding(&completed).0, Status::Pass);
    // An older bundle that somebody altered completes nothing.
    let mut altered = whole.clone();
    let handoff = &mut altered.finality.as_mut().unwrap().handoffs[0];
    handoff.justification.replace_range(..1, if handoff.justification.starts_with('0') { "1" } else { "0" });
    refused("was altered", Some(&altered));
    assert_eq!(read(&whole, None).unwrap(), whole, "a whole one needs no other");
    assert_eq!(whole.clone().for_who_knows(0), whole);
}
