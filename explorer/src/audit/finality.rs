//! I11: the block that paid is final: two thirds of the chain's voters signed it or a block after it.
//!
//! Nothing but the genesis hash is believed. It gives the header of block 0, whose state root gives the
//! first voters. Each change of the voters stands in a header that the voters before it signed. The last of
//! them signed the block that paid, or one of the next few, whose headers lead back to it. The votes are
//! counted by the library that the nodes count with; signatures are checked by the rule that they use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use codec::{Compact, Decode, Encode};
use ed25519_zebra::{Signature, VerificationKey};
use finality_grandpa::voter_set::VoterSet;
use finality_grandpa::{validate_commit, Chain, Commit, Error as GrandpaError, Message};
use iota_chain::item_key;
use iota_protocol::ids::Hash;

use super::proof::{blake2_256, whole};
use super::{paid_at, trie, Finding};
use crate::bundle::{Bundle, Finality, Proof};

/// The engine of GRANDPA's entries in a header's digest.
const ENGINE: [u8; 4] = *b"FRNK";

/// Hash of a header.
pub(crate) type HeaderHash = [u8; 32];
type Voter = [u8; 32];
/// Voters with their weights, as the chain stores and announces them.
pub(crate) type Voters = Vec<(Voter, u64)>;

/// A header of this chain.
#[derive(Encode, Decode, Clone)]
pub(crate) struct Header {
    pub(crate) parent: HeaderHash,
    pub(crate) number: Compact<u32>,
    pub(crate) state_root: [u8; 32],
    extrinsics_root: [u8; 32],
    digest: Vec<DigestItem>,
}

#[derive(Encode, Decode, Clone)]
enum DigestItem {
    #[codec(index = 0)]
    Other(Vec<u8>),
    #[codec(index = 4)]
    Consensus([u8; 4], Vec<u8>),
    #[codec(index = 5)]
    Seal([u8; 4], Vec<u8>),
    #[codec(index = 6)]
    PreRuntime([u8; 4], Vec<u8>),
    #[codec(index = 8)]
    RuntimeEnvironmentUpdated,
}

/// What GRANDPA announces in a digest: a change at a given delay, or one forced from outside. Other kinds
/// change no voters.
const SCHEDULED: u8 = 1;
const FORCED: u8 = 2;

/// What a header says about the voters after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// These vote on all blocks after it.
    Next(Voters),
    /// A change that this audit does not follow: forced, or with a delay. The chain makes neither.
    Unusual,
}

/// The justification of a block, as nodes store and send it.
#[derive(Decode)]
struct Justification {
    round: u64,
    commit: Commit<HeaderHash, u32, [u8; 64], Voter>,
    ancestries: Vec<Header>,
}

impl Header {
    /// Reads a header that uses up all bytes.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        whole(bytes)
    }

    pub(crate) fn hash(&self) -> HeaderHash {
        blake2_256(&self.encode())
    }

    /// Who votes after it.
    pub(crate) fn change(&self) -> Change {
        let ours = self.digest.iter().filter_map(|item| match item {
            DigestItem::Consensus(engine, body) if *engine == ENGINE => Some(body.as_slice()),
            _ => None,
        });
        // The first change of a block counts.
        let mut changes = ours.filter(|body| matches!(body.first(), Some(&SCHEDULED | &FORCED)));
        let Some(body) = changes.next() else { return Change::None };
        match whole::<(u8, Voters, u32)>(body) {
            Some((SCHEDULED, voters, 0)) => Change::Next(voters),
            _ => Change::Unusual,
        }
    }
}

/// The headers that a justification brings along, from later blocks back to the voted one.
struct Ancestry(BTreeMap<HeaderHash, HeaderHash>);

impl Chain<HeaderHash, u32> for Ancestry {
    fn ancestry(&self, base: HeaderHash, block: HeaderHash) -> Result<Vec<HeaderHash>, GrandpaError> {
        let (mut route, mut current) = (Vec::new(), block);
        while current != base {
            current = *self.0.get(&current).ok_or(GrandpaError::NotDescendent)?;
            // A hash cannot be its own ancestor, so that the way ends.
            route.push(current);
        }
        route.pop();
        Ok(route)
    }
}

/// Storage key of the voters.
#[must_use]
pub fn voters_key() -> Vec<u8> {
    item_key("Grandpa", "Authorities")
}

/// Checks that voters of the set with this id signed a block; its hash and number.
///
/// # Errors
/// What does not hold, in words.
pub(crate) fn justified(bytes: &[u8], voters: &Voters, set: u64) -> Result<(HeaderHash, u32), String> {
    let Justification { round, commit, ancestries } =
        whole(bytes).ok_or_else(|| "the justification does not decode".to_owned())?;
    let list = VoterSet::new(voters.iter().copied())
        .ok_or_else(|| format!("set {set} has no voters or too much weight"))?;
    let known: BTreeMap<_, _> = ancestries.iter().map(|header| (header.hash(), header.parent)).collect();
    let ancestry = Ancestry(known);
    let counted = validate_commit(&commit, &list, &ancestry)
        .map_err(|error| format!("the votes cannot be counted: {error}"))?;
    if !counted.is_valid() || counted.num_invalid_voters() > 0 {
        let signed = commit.precommits.len();
        return Err(format!("{signed} votes of set {set} with {} voters do not suffice", voters.len()));
    }
    for vote in &commit.precommits {
        let message = Message::<HeaderHash, u32>::Precommit(vote.precommit.clone());
        let signed = (message, round, set).encode();
        let key = VerificationKey::try_from(vote.id);
        let genuine = key.and_then(|key| key.verify(&Signature::from(vote.signature), &signed));
        genuine.map_err(|_| format!("the signature of voter 0x{} is wrong", hex::encode(vote.id)))?;
    }
    let lowest = commit.precommits.iter().min_by_key(|vote| vote.precommit.target_number);
    let mut needed = BTreeSet::new();
    for vote in &commit.precommits {
        let base = lowest.map_or(commit.target_hash, |lowest| lowest.precommit.target_hash);
        let top = vote.precommit.target_hash;
        if top != base {
            needed.insert(top);
            needed.extend(ancestry.ancestry(base, top).map_err(|error| error.to_string())?);
        }
    }
    if !needed.iter().eq(ancestry.0.keys()) || ancestries.len() != needed.len() {
        return Err("the justification brings headers that no vote needs".into());
    }
    Ok((commit.target_hash, commit.target_number))
}

/// Which changes of the voters were found signed before, so that whoever audits many epochs of one chain checks
/// each once. What is kept of a change is a hash over it and all before it back to block 0.
#[derive(Default)]
pub struct Memory(Mutex<Vec<Hash>>);

impl Memory {
    /// Whether the change at this place of the list, after those before it, was found signed.
    fn knows(&self, at: usize, chain: &Hash) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(at) == Some(chain)
    }

    fn keep(&self, at: usize, chain: Hash) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another list takes the place of the old one from where they differ.
        known.truncate(at);
        if known.len() == at {
            known.push(chain);
        }
    }
}

/// I11.
pub(crate) fn voted(bundle: &Bundle, memory: &Memory) -> Finding {
    let claim = "The block that paid is final by the votes of the chain's voters";
    let finding = Finding::new("I11", claim).at(paid_at(bundle));
    let Some(proof) = &bundle.proof else {
        return finding.note("no proof was read in the block that paid: the indexer came later");
    };
    let Some(finality) = &bundle.finality else {
        return finding.note(
            "there is no justification yet, or the indexer does not know all changes of the voters since block 0",
        );
    };
    match check(bundle.genesis, proof, finality, memory) {
        Ok(found) => finding
            .side("voters", found.voters)
            .side("set of voters", found.set)
            .side("signed block", found.block)
            .note(format!(
                "the voters follow from block 0 by {} changes, each signed by those before",
                found.set
            ))
            .judged(true),
        Err(reason) => finding.note(reason).judged(false),
    }
}

/// What the votes show.
struct Voted {
    voters: usize,
    set: u64,
    block: u32,
}

fn check(genesis: Hash, proof: &Proof, finality: &Finality, memory: &Memory) -> Result<Voted, String> {
    let mut voters = first_voters(genesis, finality)?;
    let (mut set, mut last, mut chain) = (0u64, 0u32, genesis);
    for (at, handoff) in finality.handoffs.iter().enumerate() {
        let (header, _) = header(&handoff.header)?;
        let number = header.number.0;
        let Change::Next(next) = header.change() else {
            return Err(format!("block {number} does not change the voters in the usual way"));
        };
        chain = Hash(blake2_256(&(chain, &handoff.header, &handoff.justification).encode()));
        if !memory.knows(at, &chain) {
            let target = justified(&bytes(&handoff.justification)?, &voters, set)?;
            if target != (header.hash(), number) {
                return Err(format!(
                    "the voters of set {set} did not sign block {number}, which replaces them"
                ));
            }
            memory.keep(at, chain);
        }
        if number <= last {
            return Err(format!("block {number} follows block {last} in the list of changes"));
        }
        (voters, set, last) = (next, set.saturating_add(1), number);
    }
    let (target, block) = justified(&bytes(&finality.justification)?, &voters, set)?;
    let tip = descend(proof, &finality.headers, last)?;
    if tip != (target, block) {
        return Err(format!("the signed block {block} does not stand at the end of the headers"));
    }
    Ok(Voted { voters: voters.len(), set, block })
}

/// The voters of block 0.
fn first_voters(genesis: Hash, finality: &Finality) -> Result<Voters, String> {
    let (header, bytes) = header(&finality.genesis_header)?;
    if Hash(blake2_256(&bytes)) != genesis {
        return Err(format!("the first header is not that of genesis {genesis}"));
    }
    let nodes: Result<Vec<Vec<u8>>, _> = finality.genesis_nodes.iter().map(hex::decode).collect();
    let nodes = nodes.map_err(|_| "a trie node of block 0 is no hex".to_owned())?;
    let value = trie::lookup(&header.state_root, &nodes, &voters_key()).map_err(|error| error.to_string())?;
    let value = value.ok_or_else(|| "block 0 stores no voters".to_owned())?;
    whole(&value).ok_or_else(|| "the voters of block 0 have another layout".to_owned())
}

/// Follows the headers after the block that paid; hash and number of the last. No voters may change on the
/// way, nor before, unless the list of changes says so.
fn descend(proof: &Proof, headers: &[String], last_change: u32) -> Result<(HeaderHash, u32), String> {
    let (first, _) = header(&proof.header)?;
    let mut tip = (first.hash(), first.number.0);
    let mut change = first.change();
    if tip.1 <= last_change {
        return Err(format!("block {last_change} changed the voters after block {} was final", tip.1));
    }
    for text in headers {
        if change != Change::None {
            return Err(format!("the voters changed at block {}, but signed later", tip.1));
        }
        let (next, _) = header(text)?;
        if next.parent != tip.0 || Some(next.number.0) != tip.1.checked_add(1) {
            return Err(format!("header {} does not follow block {}", next.number.0, tip.1));
        }
        (tip, change) = ((next.hash(), next.number.0), next.change());
    }
    Ok(tip)
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|_| "a justification is no hex".to_owned())
}

fn header(text: &str) -> Result<(Header, Vec<u8>), String> {
    let bytes = hex::decode(text).map_err(|_| "a header is no hex".to_owned())?;
    let header = Header::read(&bytes).ok_or_else(|| "a header does not decode".to_owned())?;
    Ok((header, bytes))
}
