//! The embedded database: one SQLite file, one writer, any number of readers.
//!
//! A block and everything learned from it is written in one transaction together with the cursor, so
//! that a kill at any moment leaves neither a hole nor a duplicate. Documents that only this program
//! reads are JSON columns; what is searched or summed has columns of its own.

mod read;
mod schema;
mod stamp;
mod votes;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iota_protocol::ids::{Epoch, Hash, RunId};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::look::Known;
pub use read::{
    BlockRow, EpochRow, EventRow, LossRow, MemberRow, PayoutRow, Reader, ReportRow, RunRow, SearchHit,
    VestingRow,
};
pub use stamp::Stamp;

/// How long a reader waits for the writer's checkpoint before it gives up; both take milliseconds.
const BUSY: Duration = Duration::from_secs(5);

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// SQLite failed.
    #[error("database {}: {cause}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        cause: rusqlite::Error,
    },
    /// The file belongs to another chain.
    #[error("database {} holds the chain with genesis {found}, the node has {expected}; choose another file with --data", path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// In the file.
        found: String,
        /// Of the node.
        expected: Hash,
    },
    /// The file was written by another version.
    #[error("database {} has layout {found}, this program {}; move it away and index again", path.display(), schema::VERSION)]
    Layout {
        /// The file.
        path: PathBuf,
        /// In the file.
        found: i64,
    },
    /// A block that is not the next one.
    #[error("block {got} was to be written where block {expected} is next")]
    OutOfOrder {
        /// The cursor.
        expected: u32,
        /// The block.
        got: u32,
    },
    /// A finalized block contradicts one in the database.
    #[error("block {number} of the node does not fit the database: {what} is {got}, expected {expected}; the node follows another fork or its data were reset")]
    Fork {
        /// The block.
        number: u32,
        /// Which hash.
        what: &'static str,
        /// In the database.
        expected: String,
        /// From the node.
        got: Hash,
    },
    /// A stored document does not read back.
    #[error("database holds a {what} that does not read back: {cause}")]
    Document {
        /// Which.
        what: &'static str,
        /// Why.
        cause: serde_json::Error,
    },
}

/// A shared handle to the database. Clones share the one writer.
#[derive(Clone)]
pub struct Store {
    path: Arc<PathBuf>,
    writer: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens or makes the file for the chain with this genesis. Indexing starts at block `from`; an
    /// existing file goes on where it ends, or first fills what lies between `from` and its beginning.
    ///
    /// # Errors
    /// When the file cannot be opened, or is of another chain or layout.
    pub fn open(path: &Path, genesis: Hash, from: u32) -> Result<Self, StoreError> {
        let connection = open(path).map_err(|cause| StoreError::Sqlite { path: path.to_owned(), cause })?;
        let store = Self { path: Arc::new(path.to_owned()), writer: Arc::new(Mutex::new(connection)) };
        store.prepare(genesis, from)?;
        Ok(store)
    }

    fn prepare(&self, genesis: Hash, from: u32) -> Result<(), StoreError> {
        let mut writer = self.writer();
        let found: i64 =
            writer.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|e| self.sqlite(e))?;
        if found != 0 && found != schema::VERSION {
            return Err(StoreError::Layout { path: self.path.to_path_buf(), found });
        }
        let tx = writer.transaction().map_err(|e| self.sqlite(e))?;
        let made = (|| {
            tx.execute_batch(schema::TABLES)?;
            tx.pragma_update(None, "user_version", schema::VERSION)?;
            tx.execute("INSERT OR IGNORE INTO meta VALUES ('genesis', ?1)", [genesis.to_string()])?;
            tx.execute("INSERT OR IGNORE INTO meta VALUES ('first', ?1), ('cursor', ?1)", [from])?;
            tx.execute(
                "UPDATE meta SET value = ?1 WHERE key IN ('first', 'cursor')
                 AND CAST((SELECT value FROM meta WHERE key = 'first') AS INTEGER) > ?1",
                [from],
            )?;
            tx.query_row("SELECT value FROM meta WHERE key = 'genesis'", [], |row| row.get::<_, String>(0))
        })();
        let found = made.map_err(|e| self.sqlite(e))?;
        if found != genesis.to_string() {
            return Err(StoreError::Genesis { path: self.path.to_path_buf(), found, expected: genesis });
        }
        tx.commit().map_err(|e| self.sqlite(e))
    }

    /// The next block to index, and what is known before it.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn next(&self) -> Result<(u32, Known), StoreError> {
        let writer = self.writer();
        let read = || {
            let cursor = cursor(&writer)?;
            let before = cursor.checked_sub(1);
            let state: Option<bool> = writer
                .query_row("SELECT has_state FROM blocks WHERE number = ?1", [before], |row| row.get(0))
                .optional()?;
            // As the block before left it: while a gap is filled, newer blocks are known, too.
            let mut runs = writer.prepare_cached(
                "SELECT run, MAX(epoch) FROM epochs WHERE first_block <= ?1 GROUP BY run ORDER BY run",
            )?;
            let runs = runs
                .query_map([before], |row| Ok((RunId(row.get(0)?), Epoch(row.get(1)?))))?
                .collect::<Result<_, _>>()?;
            Ok((cursor, Known { runs, continuous: state == Some(true) }))
        };
        read().map_err(|e| self.sqlite(e))
    }

    /// A reader of its own, which never waits for the writer.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&*self.path, flags).map_err(|e| self.sqlite(e))?;
        connection.busy_timeout(BUSY).map_err(|e| self.sqlite(e))?;
        Ok(Reader::new(connection, Arc::clone(&self.path)))
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere rolls its transaction back; the connection stays whole.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sqlite(&self, cause: rusqlite::Error) -> StoreError {
        StoreError::Sqlite { path: self.path.to_path_buf(), cause }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // Readers see the last whole block while the next is written.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // With WAL, a power cut may lose the newest blocks, never half of one; they are read again.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

fn cursor(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'cursor'", [], |row| row.get(0))
}
