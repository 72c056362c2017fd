//! Pieces of a miner's evidence. Each is checked against what the miner committed when it is taken,
//! wherever it comes from: a published case, or the miner itself.

use std::collections::BTreeMap;
use std::time::Duration;

use codec::Decode;
use iota_compute::{state_root, StepState};
use iota_network::Network;
use iota_protocol::case::{Case, CASE_VERSION};
use iota_protocol::ids::{Epoch, Hash, RunId, Version};
use iota_protocol::receipt::{LogEvent, Receipt};
use iota_protocol::view::MemberView;
use iota_protocol::wire::{codes_hash, FetchReply, FetchRequest, STEP_STATE_PART};
use iota_protocol::work::WorkCommit;
use iota_worker::fetch::list_root;
use iota_worker::{exchange, fetch};

use crate::audit::{Found, Stop};

/// Wait for one piece that the miner only has to look up; a home link moves a few megabytes in it, and
/// one that stalls leaves time for the rest of an audit.
const PIECE_TIME: Duration = Duration::from_secs(4);
/// Wait for one part of a trainer state; the miner may have to replay up to 16 steps first.
const STATE_TIME: Duration = Duration::from_secs(10);
/// Most parts of a trainer state or a case that are fetched: 256 MiB.
const MAX_PARTS: u32 = 64;

/// Evidence about one miner and epoch.
pub struct Exhibits<'a> {
    network: &'a Network,
    member: &'a MemberView,
    run: RunId,
    epoch: Epoch,
    log: Option<Vec<LogEvent>>,
    states: BTreeMap<Hash, Vec<u8>>,
    codes: BTreeMap<Hash, Vec<u8>>,
    waiting: Option<Hash>,
    /// Events as the replay gave them; set by the audit.
    pub replayed: Vec<LogEvent>,
}

/// Whether a miner serves what somebody says that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It does.
    Served,
    /// It does not.
    Missing,
    /// It committed to nothing of that hash, or only to something that nobody can ask for.
    Unknown,
}

impl<'a> Exhibits<'a> {
    /// Nothing yet; everything is asked of the miner.
    #[must_use]
    pub fn of(network: &'a Network, member: &'a MemberView, run: RunId, epoch: Epoch) -> Self {
        Self {
            network,
            member,
            run,
            epoch,
            log: None,
            states: BTreeMap::new(),
            codes: BTreeMap::new(),
            waiting: None,
            replayed: Vec::new(),
        }
    }

    /// With what a case holds; the miner is asked for what is missing or wrong in it.
    #[must_use]
    pub fn with(mut self, case: Case) -> Self {
        self.log = Some(case.log);
        let rooted = |bytes: Vec<u8>| {
            StepState::decode(&mut bytes.as_slice()).ok().map(|state| (state_root(&state), bytes))
        };
        self.states = case.states.into_iter().filter_map(rooted).collect();
        self.codes = case.codes.into_iter().map(|codes| (codes_hash(&codes), codes)).collect();
        self
    }

    /// What was taken so far, for others to check. `segment` is the one that was replayed.
    #[must_use]
    pub fn into_case(self, segment: Version, receipts: &[Receipt]) -> Case {
        Case {
            version: CASE_VERSION,
            run: self.run,
            epoch: self.epoch,
            uid: self.member.uid,
            incarnation: self.member.incarnation,
            segment: segment.0,
            receipts: receipts.to_vec(),
            log: self.log.unwrap_or_default(),
            states: self.states.into_values().collect(),
            codes: self.codes.into_values().collect(),
        }
    }

    /// The piece that is being waited for, if a wait was cut short.
    #[must_use]
    pub fn waits_for(&self) -> Option<Hash> {
        self.waiting
    }

    /// The event log under its root.
    pub(crate) async fn log(&mut self, root: Hash) -> Found<Vec<LogEvent>> {
        if let Some(log) = self.log.as_ref().filter(|log| list_root(log) == root) {
            return Ok(log.clone());
        }
        self.waiting = Some(root);
        let fetched =
            timed(PIECE_TIME, fetch::log(self.network, self.member, self.run, self.epoch, root)).await;
        self.waiting = None;
        let log = fetched.map_err(|reason| Stop::Missing(root, reason))?;
        self.log = Some(log.clone());
        Ok(log)
    }

    /// All receipts under their root; from a case where it has the right ones.
    pub(crate) async fn receipts(&mut self, root: Hash) -> Found<Vec<Receipt>> {
        let fetched =
            timed(PIECE_TIME, fetch::receipts(self.network, self.member, self.run, self.epoch, root)).await;
        fetched.map_err(|reason| Stop::Missing(root, reason))
    }

    /// The trainer state after a local step, under its root in the log.
    pub(crate) async fn state(&mut self, version: Version, root: Hash) -> Found<StepState> {
        let right =
            |bytes: &[u8]| StepState::decode(&mut &*bytes).ok().filter(|state| state_root(state) == root);
        if let Some(state) = self.states.get(&root).and_then(|bytes| right(bytes)) {
            return Ok(state);
        }
        self.waiting = Some(root);
        let (run, epoch) = (self.run, self.epoch);
        let request = |part| FetchRequest::StepState { run, epoch, version, part };
        let fetched = parts(self.network, self.member, STATE_TIME, request).await;
        self.waiting = None;
        let bytes = fetched.map_err(|reason| Stop::Missing(root, reason))?;
        let wrong = || format!("what is served as the state after step {version} does not match {root}");
        let state = right(&bytes).ok_or_else(|| Stop::Missing(root, wrong()))?;
        self.states.insert(root, bytes);
        Ok(state)
    }

    /// Code bytes by their hash.
    pub(crate) async fn codes(&mut self, hash: Hash) -> Found<Vec<u8>> {
        if let Some(codes) = self.codes.get(&hash) {
            return Ok(codes.clone());
        }
        self.waiting = Some(hash);
        let fetched =
            timed(PIECE_TIME, fetch::codes(self.network, self.member, self.run, self.epoch, hash)).await;
        self.waiting = None;
        let codes = fetched.map_err(|reason| Stop::Missing(hash, reason))?;
        self.codes.insert(hash, codes.clone());
        Ok(codes)
    }

    /// Asks the miner for what somebody says that it withholds.
    pub async fn probe(&mut self, wanted: Hash, work: &WorkCommit, first_stage: bool) -> Probe {
        let answered = |got: bool| if got { Probe::Served } else { Probe::Missing };
        let Ok(receipts) = self.receipts(work.receipts_root).await else { return Probe::Missing };
        if wanted == work.receipts_root {
            return Probe::Served;
        }
        let Ok(log) = self.log(work.log_root).await else { return Probe::Missing };
        if wanted == work.log_root {
            return Probe::Served;
        }
        match piece(wanted, &log, &receipts, first_stage) {
            Some(Piece::State(version)) => answered(self.state(version, wanted).await.is_ok()),
            Some(Piece::Codes) => answered(self.codes(wanted).await.is_ok()),
            None => Probe::Unknown,
        }
    }
}

/// What a hash in a miner's log stands for, where it has to serve that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    State(Version),
    Codes,
}

/// Tokens are nobody's to serve, and what was never delivered may be gone after a restart.
fn piece(wanted: Hash, log: &[LogEvent], receipts: &[Receipt], first_stage: bool) -> Option<Piece> {
    if wanted == Hash::ZERO {
        return None;
    }
    log.iter().find_map(|event| match event {
        LogEvent::Step { version, state_root } if *state_root == wanted => Some(Piece::State(*version)),
        LogEvent::Forward { input, .. } if *input == wanted && !first_stage => Some(Piece::Codes),
        LogEvent::Backward { input, .. } if *input == wanted => Some(Piece::Codes),
        LogEvent::Forward { output, .. } | LogEvent::Backward { output, .. } if *output == wanted => {
            receipts.iter().any(|receipt| receipt.output == wanted).then_some(Piece::Codes)
        }
        _ => None,
    })
}

async fn timed<T>(
    limit: Duration,
    work: impl std::future::Future<Output = Result<T, fetch::FetchError>>,
) -> Result<T, String> {
    let late = || format!("no answer within {} s", limit.as_secs());
    tokio::time::timeout(limit, work).await.map_err(|_| late())?.map_err(|error| error.to_string())
}

/// Bytes that a member serves in parts of `STEP_STATE_PART`.
///
/// # Errors
/// With what the member said instead.
pub async fn parts(
    network: &Network,
    from: &MemberView,
    limit: Duration,
    request: impl Fn(u32) -> FetchRequest,
) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for part in 0..MAX_PARTS {
        let reply = exchange::fetch(network, from, &request(part), limit).await;
        match reply.map_err(|error| error.to_string())? {
            FetchReply::Bytes(piece) => {
                let last = piece.len() < STEP_STATE_PART;
                bytes.extend(piece);
                if last {
                    return Ok(bytes);
                }
            }
            FetchReply::NotReady => return Err("not ready".into()),
            FetchReply::NotFound => return Err("not found".into()),
            FetchReply::Chunks { .. } => return Err("an answer to another question".into()),
        }
    }
    Err(format!("more than {MAX_PARTS} parts"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_protocol::ids::{Attempt, Sample, Stage, Uid};
    use iota_protocol::receipt::Direction;

    fn receipt(output: u8) -> Receipt {
        Receipt {
            sample: Sample(1),
            attempt: Attempt(0),
            stage: Stage(1),
            direction: Direction::Forward,
            from: Uid(0),
            to: Uid(2),
            input: Hash([1; 32]),
            output: Hash([output; 32]),
            version: Version(0),
            sequence: 0,
            skips: Default::default(),
            loss_micro: None,
            logits: Hash::ZERO,
        }
    }

    #[test]
    fn only_what_a_miner_must_have_counts_as_a_piece_of_its_evidence() {
        let pass = |input: u8, output: u8| LogEvent::Forward {
            sample: Sample(1),
            attempt: Attempt(0),
            version: Version(0),
            input: Hash([input; 32]),
            output: Hash([output; 32]),
        };
        let step = LogEvent::Step { version: Version(4), state_root: Hash([9; 32]) };
        let log = [pass(1, 2), pass(3, 4), step];
        let receipts = [receipt(2)];
        let of = |wanted: u8, first| piece(Hash([wanted; 32]), &log, &receipts, first);
        assert_eq!(of(9, false), Some(Piece::State(Version(4))));
        assert_eq!(of(1, false), Some(Piece::Codes));
        assert_eq!(of(1, true), None, "tokens of the first stage");
        assert_eq!(of(2, false), Some(Piece::Codes), "delivered");
        assert_eq!(of(4, false), None, "computed, and never taken by anybody");
        assert_eq!(of(7, false), None, "not in the log");
        assert_eq!(piece(Hash::ZERO, &log, &receipts, false), None);
    }
}
