//! What the miner writes to disk before it acts, one file per epoch. After a kill at any moment the
//! epoch is rebuilt from it: same passes, same weights, same bytes on the wire.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use codec::{Decode, Encode};
use iota_protocol::ids::{Attempt, Epoch, Hash, Sample, Uid};
use iota_protocol::receipt::{LogEvent, Receipt};
use iota_protocol::wire::Hop;
use iota_protocol::work::{ShardHashes, WorkCommit};
use iota_service::journal::Journal;

use crate::store::{CodesAt, Store};

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

impl Record {
    /// The sample that it is about, if it is about one.
    #[must_use]
    pub fn sample(&self) -> Option<Sample> {
        match self {
            Self::Started(sample) | Self::Rebound { sample, .. } => Some(*sample),
            Self::Arrived(hop) | Self::Sent { hop, .. } => Some(hop.header.sample),
            Self::Ran(
                LogEvent::Forward { sample, .. }
                | LogEvent::Backward { sample, .. }
                | LogEvent::Abandon { sample, .. },
            ) => Some(*sample),
            Self::Receipt(receipt) => Some(receipt.sample),
            Self::Ran(LogEvent::Step { .. }) | Self::Commit(_) | Self::Blind { .. } => None,
        }
    }
}

/// The journal of one epoch. What it holds of code bytes, the store serves from its file.
pub struct EpochJournal {
    journal: Journal,
    store: Arc<Store>,
    epoch: Epoch,
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
    pub fn open(store: &Arc<Store>, epoch: Epoch) -> anyhow::Result<(Self, Vec<Record>)> {
        let path = path(store.dir(), epoch);
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
        let found = Self { journal, store: Arc::clone(store), epoch };
        for (record, end) in records.iter().zip(Journal::ends(&raw)) {
            found.keep_codes(record, end);
        }
        Ok((found, records))
    }

    /// Says to the store where the codes of a record lie: they are its last bytes.
    fn keep_codes(&self, record: &Record, end: u64) {
        let (Record::Arrived(hop) | Record::Sent { hop, .. }) = record else { return };
        let at = CodesAt { end, len: hop.codes.len() };
        self.store.keep_codes_at(self.epoch, hop.header.codes_hash, at);
    }

    /// Appends records; durable after `sync`.
    ///
    /// # Errors
    /// When the disk is full or gone; the file stays readable.
    pub fn append(&mut self, record: &Record) -> anyhow::Result<()> {
        self.journal.append(&record.encode()).context("writing the journal")?;
        self.keep_codes(record, self.journal.len_bytes());
        Ok(())
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// When the disk is full or gone.
    pub fn sync(&mut self) -> anyhow::Result<()> {
        self.journal.sync().context("syncing the journal")
    }
}

#[cfg(test)]
mod tests {
    use iota_protocol::ids::{RunId, Stage, Version};
    use iota_protocol::params::WireCodec;
    use iota_protocol::receipt::Direction;
    use iota_protocol::wire::{codes_hash, HopHeader, WIRE_VERSION};

    use super::*;

    const EPOCH: Epoch = Epoch(4);

    fn hop() -> Hop {
        let codes = vec![9; 33];
        let header = HopHeader {
            version: WIRE_VERSION,
            run: RunId(1),
            epoch: EPOCH,
            sample: Sample(3),
            attempt: Attempt(1),
            stage: Stage(2),
            direction: Direction::Backward,
            from: Uid(8),
            values: 32,
            codec: WireCodec::Int8,
            codes_hash: codes_hash(&codes),
            parent: Hash([6; 32]),
        };
        Hop { header, signature: [5; 64], codes }
    }

    fn receipt() -> Receipt {
        Receipt {
            sample: Sample(3),
            attempt: Attempt(1),
            stage: Stage(2),
            direction: Direction::Forward,
            from: Uid(1),
            to: Uid(2),
            input: Hash([1; 32]),
            output: Hash([2; 32]),
            version: Version(7),
            sequence: 11,
            skips: Default::default(),
            loss_micro: Some(5_500_000),
            logits: Hash([3; 32]),
        }
    }

    fn one_of_each() -> Vec<Record> {
        let root = Hash([4; 32]);
        let work =
            WorkCommit { entry_root: root, log_root: root, receipts_root: root, samples: 12, started: 0 };
        vec![
            Record::Started(Sample(3)),
            Record::Arrived(hop()),
            Record::Ran(LogEvent::Step { version: Version(2), state_root: root }),
            Record::Sent { to: Uid(2), hop: hop() },
            Record::Receipt(receipt()),
            Record::Commit(work),
            Record::Blind { salt: [8; 32], hashes: vec![(1, Some(root)), (2, None)].try_into().unwrap() },
            Record::Rebound { sample: Sample(3), attempt: Attempt(2), upstream: Uid(5), parent: root },
        ]
    }

    fn store(dir: &Path) -> Arc<Store> {
        Store::open(dir).unwrap()
    }

    fn written(dir: &Path) -> Vec<Record> {
        let (mut journal, records) = EpochJournal::open(&store(dir), EPOCH).unwrap();
        assert!(records.is_empty());
        for record in one_of_each() {
            journal.append(&record).unwrap();
        }
        journal.sync().unwrap();
        one_of_each()
    }

    #[test]
    fn every_record_reads_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let written = written(dir.path());
        let (_, read) = EpochJournal::open(&store(dir.path()), EPOCH).unwrap();
        assert_eq!(read, written);
        let (_, other) = EpochJournal::open(&store(dir.path()), EPOCH.next()).unwrap();
        assert!(other.is_empty(), "each epoch has its own file");
    }

    #[test]
    fn a_torn_end_costs_the_last_record_only_and_the_journal_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = written(dir.path());
        let path = path(dir.path(), EPOCH);
        let bytes = std::fs::read(&path).unwrap();
        let last = written.pop().unwrap();
        for torn in 1..last.encoded_size() + 12 {
            std::fs::write(&path, &bytes[..bytes.len() - torn]).unwrap();
            let (mut journal, read) = EpochJournal::open(&store(dir.path()), EPOCH).unwrap();
            assert_eq!(read, written, "{torn} bytes torn off");
            journal.append(&last).unwrap();
            drop(journal);
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "{torn} bytes torn off");
        }
    }

    #[test]
    fn a_record_of_another_version_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        let (mut journal, _) = Journal::open(&path(dir.path(), EPOCH)).unwrap();
        journal.append(&[200, 1, 2]).unwrap();
        drop(journal);
        let Err(error) = EpochJournal::open(&store(dir.path()), EPOCH) else { panic!("it was read") };
        assert!(format!("{error:#}").contains("record 8 is of another version"), "{error:#}");
    }

    /// Codes that are only in the file are had from it: those just written, and those of a journal
    /// that was opened again. A hash that the bytes do not have is not served.
    #[test]
    fn codes_are_served_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let sent = |byte: u8| {
            let codes = vec![byte; 300 + usize::from(byte)];
            let header = HopHeader { codes_hash: codes_hash(&codes), ..hop().header };
            Record::Sent { to: Uid(2), hop: Hop { header, codes, ..hop() } }
        };
        let expected = |byte: u8| Some(vec![byte; 300 + usize::from(byte)]);
        let of = |byte: u8| codes_hash(&vec![byte; 300 + usize::from(byte)]);
        let first = store(dir.path());
        let (mut journal, _) = EpochJournal::open(&first, EPOCH).unwrap();
        for byte in 1..=3 {
            journal.append(&sent(byte)).unwrap();
        }
        drop(journal);
        let again = store(dir.path());
        drop(EpochJournal::open(&again, EPOCH).unwrap());
        for store in [&first, &again] {
            for byte in 1..=3 {
                assert_eq!(store.codes(EPOCH, &of(byte)).map(|codes| codes.to_vec()), expected(byte));
            }
            assert!(store.codes(EPOCH, &of(4)).is_none() && !store.has_codes(EPOCH, &of(4)));
        }
        let path = path(dir.path(), EPOCH);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(again.codes(EPOCH, &of(3)).is_none(), "the disk gave other bytes back");
        assert!(again.codes(EPOCH, &of(2)).is_some());
    }
}
