//! Votes on blocks, and which blocks replace the voters: written and read by the task that fetches them and
//! by bundles.

use iota_chain::Head;
use iota_protocol::ids::{parse_hex32, Hash};
use rusqlite::{params, OptionalExtension};

use super::read::{Got, Reader};
use super::{Store, StoreError};

/// A header, and its justification where it is known.
type Signed = (Vec<u8>, Option<Vec<u8>>);

impl Store {
    /// Keeps the votes on a block.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn put_justification(&self, block: u32, justification: &[u8]) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO justifications VALUES (?1, 0, ?2)
             ON CONFLICT DO UPDATE SET justification = excluded.justification",
            params![block, justification],
        )
    }

    /// Notes that a block replaces the voters.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn put_handoff(&self, block: u32) -> Result<(), StoreError> {
        let sql = "INSERT INTO justifications VALUES (?1, 1, NULL) ON CONFLICT DO UPDATE SET handoff = 1";
        self.execute(sql, params![block])
    }

    /// Notes up to which block changes of the voters were looked for.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn follow_voters(&self, end: u32) -> Result<(), StoreError> {
        self.execute("INSERT OR REPLACE INTO meta VALUES ('voters_followed', ?1)", params![end])
    }

    /// Keeps the header of block 0 and the proof of the first voters in its state.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn put_first_voters(&self, header: &[u8], nodes: &[Vec<u8>]) -> Result<(), StoreError> {
        let nodes: Vec<String> = nodes.iter().map(hex::encode).collect();
        let text = serde_json::to_string(&(hex::encode(header), nodes)).unwrap_or_default();
        self.execute("INSERT OR REPLACE INTO meta VALUES ('first_voters', ?1)", params![text])
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<(), StoreError> {
        self.writer().execute(sql, params).map(drop).map_err(|cause| self.sqlite(cause))
    }
}

impl Reader {
    /// Header of block 0 and hex of the trie nodes that prove the first voters; `None` before they were read.
    ///
    /// # Errors
    /// See [`StoreError`]; the same for every read below.
    pub fn first_voters(&self) -> Got<Option<(Vec<u8>, Vec<String>)>> {
        let sql = "SELECT value FROM meta WHERE key = 'first_voters'";
        let text: Option<String> = self.one(sql, params![])?;
        let read = |text: String| {
            let (header, nodes): (String, Vec<String>) = serde_json::from_str(&text)
                .map_err(|cause| StoreError::Document { what: "list of the first voters", cause })?;
            // Written by this program.
            Ok((hex::decode(header).unwrap_or_default(), nodes))
        };
        text.map(read).transpose()
    }

    /// The first block in which no change of the voters was looked for.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn voters_followed(&self) -> Got<u32> {
        Ok(self.one("SELECT value FROM meta WHERE key = 'voters_followed'", params![])?.unwrap_or(0))
    }

    /// Blocks that replace the voters and whose votes are missing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn handoffs_without_votes(&self) -> Got<Vec<Head>> {
        let sql = "SELECT number, hash FROM justifications JOIN blocks ON number = block
                   WHERE handoff AND justification IS NULL ORDER BY number LIMIT 100";
        self.rows(sql, params![], head)
    }

    /// Blocks that paid an epoch, with no votes on them or on one of so many blocks after; oldest first, for
    /// the votes on a later one would do for it, over more headers than it needs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn paid_without_votes(&self, reach: u32) -> Got<Vec<u32>> {
        let sql = "SELECT DISTINCT paid_block AS paid FROM epochs WHERE proof IS NOT NULL AND NOT EXISTS
                     (SELECT 1 FROM justifications WHERE justification IS NOT NULL
                      AND block BETWEEN paid_block AND paid_block + ?1)
                   ORDER BY paid";
        self.rows(sql, params![reach], |row| row.get(0))
    }

    /// The first block with votes from `paid` on, within `reach`: its number and justification.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn votes_from(&self, paid: u32, reach: u32) -> Got<Option<(u32, Vec<u8>)>> {
        let sql = "SELECT block, justification FROM justifications WHERE justification IS NOT NULL
                   AND block BETWEEN ?1 AND ?1 + ?2 ORDER BY block LIMIT 1";
        let found = self.rows(sql, params![paid, reach], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.into_iter().next())
    }

    /// Headers of the blocks that replaced the voters before a block, with their justifications.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn handoffs_before(&self, block: u32) -> Got<Vec<Signed>> {
        let sql = "SELECT header, justification FROM justifications JOIN blocks ON number = block
                   WHERE handoff AND block < ?1 ORDER BY block";
        self.rows(sql, params![block], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Whether the voters change in a block from `from` on and before `to`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn hands_over(&self, from: u32, to: u32) -> Got<bool> {
        let sql = "SELECT 1 FROM justifications WHERE handoff AND block >= ?1 AND block < ?2 LIMIT 1";
        Ok(!self.rows(sql, params![from, to], |row| row.get::<_, u32>(0))?.is_empty())
    }

    /// Number and hash of an indexed block.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn head(&self, number: u32) -> Got<Option<Head>> {
        Ok(self
            .rows("SELECT number, hash FROM blocks WHERE number = ?1", params![number], head)?
            .into_iter()
            .next())
    }

    fn one<T: rusqlite::types::FromSql>(&self, sql: &str, params: impl rusqlite::Params) -> Got<Option<T>> {
        self.connection
            .query_row(sql, params, |row| row.get(0))
            .optional()
            .map_err(|cause| self.sqlite(cause))
    }
}

fn head(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    let hash: String = row.get(1)?;
    // Written by this program.
    Ok(Head { number: row.get(0)?, hash: parse_hex32(&hash).map_or(Hash::ZERO, Hash) })
}
