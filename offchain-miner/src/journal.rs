//! What the miner writes to disk before it acts, one file per epoch. After a kill at any moment the
//! epoch is rebuilt from it: same passes, same weights, same bytes on the wire.

use std::path::{Path, PathBuf};

use anyhow::Context;
use codec::{Decode, Encode};
use iota_protocol::ids::{Attempt, Epoch, Hash, Sample, Uid};
use iota_protocol::receipt::{LogEvent, Receipt};
use iota_protocol::wire::Hop;
use iota_protocol::work::{ShardHashes, WorkCommit};
use iota_service::journal::Journal;

/// One line of an epoch's journal.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Record {
    /// Stage 0 started a sample.
    #[codec(index = 0)]
    Started(Sample),
    /// A hop arrived and is about to be acknowledged.
    #[codec(index = 1)]
    Arrived(Hop),
    /// The trainer ran a pass or a step.
    #[codec(index = 2)]
    Ran(LogEvent),
    /// A hop is about to be sent.
    #[codec(index = 3)]
    Sent {
        /// To whom.
        to: Uid,
        /// The bytes, signature included, that a restart sends again.
        hop: Hop,
    },
    /// A receipt was made.
    #[codec(index = 4)]
    Receipt(Receipt),
    /// The epoch's work is about to be committed.
    #[codec(index = 5)]
    Commit(WorkCommit),
    /// Shard hashes are about to be blinded.
    #[codec(index = 6)]
    Blind {
        /// Salt of the blinded hash.
        salt: [u8; 32],
        /// The hashes.
        hashes: ShardHashes,
    },
    /// A sample's newest attempt and sender.
    #[codec(index = 7)]
    Rebound {
        /// The sample.
        sample: Sample,
        /// The attempt.
        attempt: Attempt,
        /// The sender.
        upstream: Uid,
        /// Id of the message.
        parent: Hash,
    },
}

/// The journal of one epoch.
pub struct EpochJournal {
    journal: Journal,
}

/// File of an epoch's journal under the miner's data folder.
#[must_use]
pub fn path(data_dir: &Path, epoch: Epoch) -> PathBuf {
    data_dir.join(format!("epoch-{epoch}")).join("journal")
}

impl EpochJournal {
    /// Opens or creates an epoch's journal and returns what it holds.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds a record of another version.
    pub fn open(data_dir: &Path, epoch: Epoch) -> anyhow::Result<(Self, Vec<Record>)> {
        let path = path(data_dir, epoch);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        let (journal, raw) =
            Journal::open(&path).with_context(|| format!("opening journal {}", path.display()))?;
        let records = raw
            .iter()
            .enumerate()
            .map(|(index, bytes)| {
                Record::decode(&mut bytes.as_slice()).with_context(|| {
                    format!("journal {}: record {index} is of another version", path.display())
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok((Self { journal }, records))
    }

    /// Appends records; durable after `sync`.
    ///
    /// # Errors
    /// When the disk is full or gone; the file stays readable.
    pub fn append(&mut self, record: &Record) -> anyhow::Result<()> {
        self.journal.append(&record.encode()).context("writing the journal")
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// When the disk is full or gone.
    pub fn sync(&mut self) -> anyhow::Result<()> {
        self.journal.sync().context("syncing the journal")
    }
}
