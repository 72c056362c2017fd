//! Answers to fetch requests of peers. Reads the store, never the training task; heavy answers
//! (regenerating a trainer state for an audit) run one at a time on a blocking thread.

use std::sync::Arc;

use anyhow::Context;
use codec::{Decode, Encode};
use iota_compute::replay::{EventInput, Replayer};
use iota_compute::{StageInput, StepState};
use iota_network::Inbound;
use iota_protocol::ids::{Epoch, RunId, Sample, Stage, Uid, Version};
use iota_protocol::params::RunParams;
use iota_protocol::receipt::LogEvent;
use iota_protocol::wire::{self, FetchReply, FetchRequest, STEP_STATE_PART};
use iota_worker::segment::{sample_tokens, segment};
use tokio::sync::{mpsc, watch, Semaphore};

use crate::store::Store;

/// Longest fetch request: an enum tag and a few ids.
const REQUEST_LIMIT: usize = 256;

/// What this miner was in an epoch, which answers about that epoch depend on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Past {
    /// The epoch.
    pub epoch: Epoch,
    /// Our stage in it.
    pub stage: Stage,
    /// Tokens recorded by the end of the epoch before.
    pub tokens: u64,
    /// First sample position of the epoch.
    pub data_base: u64,
    /// The run's parameters in it.
    pub params: RunParams,
}

/// What answers are made from.
#[derive(Clone)]
pub struct Server {
    /// The run.
    pub run: RunId,
    /// Ourselves, once registered.
    pub me: Uid,
    /// The store.
    pub store: Arc<Store>,
    /// Tokens, where the stage reads them.
    pub dataset: Option<Arc<iota_compute::data::Dataset>>,
    /// Device for regenerating states.
    pub device: iota_compute::Device,
    /// Past and current epochs of this miner, newest last.
    pub past: watch::Receiver<Vec<Past>>,
    /// One regeneration at a time: it competes with training for the same cores.
    pub regenerations: Arc<Semaphore>,
    /// From this epoch on evidence is withheld; never by an honest miner.
    pub withholds_from: Option<Epoch>,
}

impl Server {
    /// Answers until the channel closes.
    pub async fn run(self, mut requests: mpsc::Receiver<Inbound>) {
        while let Some(inbound) = requests.recv().await {
            let Ok(request) = wire::decode::<FetchRequest>(&inbound.bytes, REQUEST_LIMIT) else { continue };
            if let FetchRequest::StepState { run, epoch, version, part } = request {
                // Regenerating costs up to 16 local steps: for members only.
                if !inbound.listed {
                    continue;
                }
                let server = self.clone();
                tokio::spawn(async move {
                    let reply = if run == server.run && !server.withholds(epoch) {
                        server.step_state(epoch, version, part).await
                    } else {
                        FetchReply::NotFound
                    };
                    drop(inbound.reply.send(reply.encode()));
                });
            } else if let FetchRequest::Codes { .. }
            | FetchRequest::StateManifest { .. }
            | FetchRequest::StateChunk { .. } = request
            {
                // From the disk, perhaps. The network bounds how many one peer may ask for at once.
                let server = self.clone();
                tokio::task::spawn_blocking(move || {
                    drop(inbound.reply.send(server.answer(&request).encode()));
                });
            } else {
                drop(inbound.reply.send(self.answer(&request).encode()));
            }
        }
    }

    /// Whether evidence of an epoch is withheld on purpose.
    pub(crate) fn withholds(&self, epoch: Epoch) -> bool {
        self.withholds_from.is_some_and(|first| epoch >= first)
    }

    fn answer(&self, request: &FetchRequest) -> FetchReply {
        match *request {
            FetchRequest::Log { epoch, .. } | FetchRequest::Codes { epoch, .. } if self.withholds(epoch) => {
                FetchReply::NotFound
            }
            FetchRequest::Entry { run, epoch, author, first, count } if run == self.run => {
                self.entry(epoch, author, first, count)
            }
            FetchRequest::Merged { run, epoch, shard, part, .. } if run == self.run => {
                match self.store.merged(epoch, shard) {
                    Some(merged) => part_of(&merged, part).map_or(FetchReply::NotFound, FetchReply::Bytes),
                    None => FetchReply::NotReady,
                }
            }
            FetchRequest::Receipts { run, epoch } if run == self.run => bytes(self.store.receipts(epoch)),
            FetchRequest::Log { run, epoch } if run == self.run => bytes(self.store.log(epoch)),
            FetchRequest::Codes { run, epoch, hash } if run == self.run => {
                bytes(self.store.codes(epoch, &hash))
            }
            FetchRequest::StateManifest { run, epoch, stage } if run == self.run => {
                match self.store.manifest(epoch) {
                    Some(state) if state.0 == stage => FetchReply::Bytes(state.1.encode()),
                    Some(_) => FetchReply::NotFound,
                    None => FetchReply::NotReady,
                }
            }
            FetchRequest::StateChunk { run, epoch, stage, index } if run == self.run => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                self.store.state_chunk(epoch, stage, index).map_or(FetchReply::NotFound, FetchReply::Bytes)
            }
            _ => FetchReply::NotFound,
        }
    }

    fn entry(&self, epoch: Epoch, author: Uid, first: u32, count: u32) -> FetchReply {
        if author != self.me {
            let held = self.store.held(epoch, author, first);
            let held = held.filter(|held| held.count == count);
            return held.map_or(FetchReply::NotFound, |held| FetchReply::Chunks {
                bytes: held.bytes.clone(),
                proof: held.proof.clone(),
            });
        }
        let Some(entry) = self.store.entry(epoch) else { return FetchReply::NotReady };
        let range = usize::try_from(first).ok().zip(usize::try_from(count).ok());
        match range.and_then(|(first, count)| entry.range(first, count)) {
            Some((bytes, proof)) => FetchReply::Chunks { bytes: bytes.to_vec(), proof },
            None => FetchReply::NotFound,
        }
    }

    /// The trainer's state right after a local step: replayed from the newest kept one.
    pub(crate) async fn step_state(&self, epoch: Epoch, version: Version, part: u32) -> FetchReply {
        let known = self.past.borrow().iter().rev().find(|past| past.epoch == epoch).cloned();
        let Some(past) = known else { return FetchReply::NotFound };
        let Ok(_permit) = self.regenerations.acquire().await else { return FetchReply::NotFound };
        let path = self.store.dir().join(format!("epoch-{epoch}")).join(format!("audit-{version}"));
        if !path.exists() {
            let server = self.clone();
            let target = path.clone();
            let made = tokio::task::spawn_blocking(move || server.regenerate(&past, version, &target)).await;
            match made {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%epoch, %version, %error, "trainer state not regenerated");
                    return FetchReply::NotFound;
                }
                Err(error) => {
                    tracing::error!(%epoch, %version, %error, "regeneration failed");
                    return FetchReply::NotFound;
                }
            }
        }
        read_part(&path, part).map_or(FetchReply::NotFound, FetchReply::Bytes)
    }

    fn regenerate(&self, past: &Past, version: Version, target: &std::path::Path) -> anyhow::Result<()> {
        let epoch = past.epoch;
        let kept = self
            .store
            .step_at_or_before(epoch, version.0)
            .context("no trainer state is kept for the epoch")?;
        let state = StepState::decode(&mut std::fs::read(&kept)?.as_slice())
            .context("reading the kept trainer state")?;
        let encoded = self.store.log(epoch).context("the epoch's log is not committed")?;
        let log = Vec::<LogEvent>::decode(&mut encoded.as_slice()).context("reading the epoch's log")?;
        let state =
            if state.version == version { state } else { self.replay_to(past, state, &log, version)? };
        iota_service::journal::atomic_write(target, &state.encode()).context("keeping the regenerated state")
    }

    fn replay_to(
        &self,
        past: &Past,
        state: StepState,
        log: &[LogEvent],
        version: Version,
    ) -> anyhow::Result<StepState> {
        let from = state.version;
        let mut replayer = Replayer::new(&past.params, past.stage, state, past.tokens, self.device)?;
        for event in segment(log, from, version) {
            self.replay_event(past, &mut replayer, &event)?;
        }
        Ok(replayer.snapshot()?)
    }

    fn replay_event(&self, past: &Past, replayer: &mut Replayer, event: &LogEvent) -> anyhow::Result<()> {
        let codes = |hash| {
            self.store
                .codes(past.epoch, hash)
                .with_context(|| format!("codes {hash} of epoch {}", past.epoch))
        };
        match event {
            LogEvent::Forward { sample, input, .. } => {
                let (inputs, targets) = self.tokens(past, *sample)?;
                let last = past.stage == past.params.last_stage();
                let targets = last.then_some(targets.as_slice());
                if past.stage.0 == 0 {
                    replayer
                        .apply(event, EventInput::Forward { input: StageInput::Tokens(&inputs), targets })?;
                } else {
                    let codes = codes(input)?;
                    replayer
                        .apply(event, EventInput::Forward { input: StageInput::Codes(&codes), targets })?;
                }
            }
            LogEvent::Backward { input, .. } if past.stage != past.params.last_stage() => {
                let codes = codes(input)?;
                replayer.apply(event, EventInput::Gradient(&codes))?;
            }
            other => {
                replayer.apply(other, EventInput::Nothing)?;
            }
        }
        Ok(())
    }

    fn tokens(&self, past: &Past, sample: Sample) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
        let reads = past.stage.0 == 0 || past.stage == past.params.last_stage();
        match (&self.dataset, reads) {
            (Some(dataset), true) => sample_tokens(dataset, &past.params, past.data_base, sample),
            (None, true) => anyhow::bail!("the stage reads tokens, but no data set is open"),
            (_, false) => Ok((Vec::new(), Vec::new())),
        }
    }
}

fn bytes(found: Option<Arc<Vec<u8>>>) -> FetchReply {
    found.map_or(FetchReply::NotReady, |bytes| FetchReply::Bytes(bytes.to_vec()))
}

fn read_part(path: &std::path::Path, part: u32) -> Option<Vec<u8>> {
    part_of(&std::fs::read(path).ok()?, part)
}

/// A part of `STEP_STATE_PART` bytes; the last is shorter.
fn part_of(bytes: &[u8], part: u32) -> Option<Vec<u8>> {
    let start = usize::try_from(part).ok()?.checked_mul(STEP_STATE_PART)?;
    let end = start.saturating_add(STEP_STATE_PART).min(bytes.len());
    bytes.get(start..end).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use iota_protocol::ids::Hash;
    use iota_protocol::merkle;

    use super::*;
    use crate::store::{EntryBytes, EntryChunks, HeldRange};

    const RUN: RunId = RunId(2);
    const EPOCH: Epoch = Epoch(4);
    const CHUNK: usize = 9;

    fn server() -> (tempfile::TempDir, Server) {
        let dir = tempfile::tempdir().unwrap();
        let (_, past) = watch::channel(Vec::new());
        let server = Server {
            run: RUN,
            me: Uid(1),
            store: Store::open(dir.path()).unwrap(),
            dataset: None,
            device: iota_compute::init_runtime(1),
            past,
            regenerations: Arc::new(Semaphore::new(1)),
            withholds_from: None,
        };
        (dir, server)
    }

    fn entry_request(author: u16, first: u32, count: u32) -> FetchRequest {
        FetchRequest::Entry { run: RUN, epoch: EPOCH, author: Uid(author), first, count }
    }

    fn check_under(root: &Hash, first: usize, reply: FetchReply) {
        let FetchReply::Chunks { bytes, proof } = reply else { panic!("{reply:?}") };
        assert!(proof.verify(root, 6, first, &merkle::leaves(&bytes, CHUNK)));
    }

    #[test]
    fn own_and_held_entries_are_served_with_a_proof_under_their_authors_roots() {
        let (dir, server) = server();
        assert_eq!(server.answer(&entry_request(1, 0, 2)), FetchReply::NotReady);
        std::fs::create_dir(dir.path().join("epoch-4")).unwrap();
        let entry = |salt: u8| {
            let bytes = (0..6).flat_map(|n| [n + salt; CHUNK]).collect();
            EntryBytes { bytes, chunk_len: CHUNK }
        };
        let root = server.store.put_commit(EPOCH, Vec::new(), Vec::new(), entry(0)).unwrap();
        assert_eq!(root, EntryChunks::new(entry(0)).root());
        check_under(&root, 1, server.answer(&entry_request(1, 1, 4)));
        assert_eq!(server.answer(&entry_request(1, 4, 3)), FetchReply::NotFound, "past the end");

        let other = EntryChunks::new(entry(50));
        let (bytes, proof) = other.range(2, 3).unwrap();
        server.store.put_held(EPOCH, Uid(7), 2, HeldRange { count: 3, bytes: bytes.to_vec(), proof });
        check_under(&other.root(), 2, server.answer(&entry_request(7, 2, 3)));
        assert_eq!(server.answer(&entry_request(7, 2, 2)), FetchReply::NotFound, "another length");
        assert_eq!(server.answer(&entry_request(8, 2, 3)), FetchReply::NotFound, "another author");
    }

    #[test]
    fn nothing_is_answered_for_another_run_or_stage() {
        let (_dir, server) = server();
        server.store.put_codes(EPOCH, Hash([1; 32]), vec![3]);
        let codes = |run| server.answer(&FetchRequest::Codes { run, epoch: EPOCH, hash: Hash([1; 32]) });
        assert_eq!(codes(RUN), FetchReply::Bytes(vec![3]));
        assert_eq!(codes(RunId(3)), FetchReply::NotFound);

        let outer = iota_compute::outer::OuterState {
            weights: vec![1.0; 8],
            momentum: vec![0.0; 8],
            merges: 1,
            tokens: 2,
        };
        server.store.put_state(EPOCH, Stage(1), outer.clone()).unwrap();
        let chunk =
            |stage, index| server.answer(&FetchRequest::StateChunk { run: RUN, epoch: EPOCH, stage, index });
        assert_eq!(chunk(Stage(1), 0), FetchReply::Bytes(outer.chunk(0)));
        assert_eq!(chunk(Stage(2), 0), FetchReply::NotFound);
        let manifest = FetchRequest::StateManifest { run: RUN, epoch: EPOCH, stage: Stage(1) };
        assert_eq!(server.answer(&manifest), FetchReply::Bytes(outer.manifest().encode()));
    }

    #[test]
    fn parts_of_a_file_join_to_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let whole: Vec<u8> = (0..STEP_STATE_PART + 5).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &whole).unwrap();
        let parts = [read_part(&path, 0).unwrap(), read_part(&path, 1).unwrap()];
        assert_eq!(parts[1].len(), 5);
        assert_eq!(parts.concat(), whole);
        assert_eq!(read_part(&path, 2), None);
        assert_eq!(read_part(&path, u32::MAX), None);
    }
}
