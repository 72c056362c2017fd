//! A stamp of everything that the audit of an epoch reads: while it stays, so does what the audit finds.

use iota_protocol::ids::{Epoch, RunId};
use rusqlite::params;
use rusqlite::types::Value;

use super::read::{Got, Reader};

/// What the audit of one epoch rests on, in short.
#[derive(Clone, PartialEq, Debug)]
pub struct Stamp(Vec<Value>);

/// Columns of the query.
const COLUMNS: usize = 15;
/// Documents stand whole where they are short; rows of scores only ever grow, so that their length tells.
/// Earlier epochs and blocks change only while a gap before the payment is filled, which moves the cursor; what
/// comes after the payment and the votes on it changes nothing.
const SQL: &str = "
    SELECT own.paid_block, LENGTH(own.scores), LENGTH(own.members), next.clock,
           CASE WHEN own.report -> 'terms' ->> 'scored_by' = own.epoch THEN 0 ELSE LENGTH(next.scores) END,
           (SELECT params FROM runs WHERE run = ?1),
           (SELECT COUNT(*) FROM reports WHERE run = ?1 AND epoch = ?2),
           (SELECT COUNT(*) FROM events WHERE run = ?1 AND epoch = ?2),
           (SELECT COUNT(*) FROM salts WHERE run = ?1 AND epoch = ?2),
           votes.block,
           (SELECT COUNT(*) FROM justifications
            WHERE handoff AND justification IS NULL AND block < COALESCE(votes.block, own.paid_block)),
           (SELECT MIN(CAST(value AS INTEGER), own.paid_block + 1) FROM meta WHERE key = 'cursor'),
           (SELECT value FROM meta WHERE key = 'first'),
           (SELECT MIN(CAST(value AS INTEGER), COALESCE(votes.block, own.paid_block + ?3) + 1) FROM meta
            WHERE key = 'voters_followed'),
           (SELECT COUNT(*) FROM meta WHERE key = 'first_voters')
    FROM epochs AS own LEFT JOIN epochs AS next ON next.run = own.run AND next.epoch = own.epoch + 1
    LEFT JOIN justifications AS votes ON votes.block =
        (SELECT MIN(block) FROM justifications
         WHERE justification IS NOT NULL AND block BETWEEN own.paid_block AND own.paid_block + ?3)
    WHERE own.run = ?1 AND own.epoch = ?2 AND own.paid_block IS NOT NULL";

impl Reader {
    /// The stamp of a paid epoch's audit; `None` for one that was not paid. `reach` is how far behind the
    /// payment votes are looked for.
    ///
    /// # Errors
    /// See [`StoreError`](super::StoreError).
    pub fn stamp(&self, run: RunId, epoch: Epoch, reach: u32) -> Got<Option<Stamp>> {
        let rows = self.rows(SQL, params![run.0, epoch.0, reach], |row| {
            (0..COLUMNS).map(|at| row.get::<_, Value>(at)).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(rows.into_iter().next().map(Stamp))
    }
}
