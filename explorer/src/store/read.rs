//! Queries. A reader has its own connection and sees whole blocks only.

use std::path::PathBuf;
use std::sync::Arc;

use codec::Decode;
use iota_chain::{AccountFunds, Vesting};
use iota_protocol::court::CourtView;
use iota_protocol::ids::{parse_hex32, AccountKey, Epoch, Hash, RunId, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::report::Report;
use iota_protocol::view::{ClockView, EpochReportView, MergeView, ScoreView, SnapshotView};
use rusqlite::types::FromSql;
use rusqlite::{params, Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::Value as Json;

use super::StoreError;
use crate::look::Money;
use crate::member::Member;

/// A block.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BlockRow {
    /// Its number.
    pub number: u32,
    /// Its hash.
    pub hash: String,
    /// Root of its state.
    pub state_root: String,
    /// Whether its state could be read.
    pub has_state: bool,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Total issuance, smallest units.
    pub issuance: Option<String>,
}

/// An event.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct EventRow {
    /// Its block.
    pub block: u32,
    /// Its position there.
    pub index: u32,
    /// Name of the pallet.
    pub pallet: String,
    /// Name of the event.
    pub name: String,
    /// Its fields.
    pub fields: Json,
}

/// A run as last seen.
#[derive(Clone, PartialEq, Debug)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// The block of the last look.
    pub at_block: u32,
    /// Its parameters.
    pub params: RunParams,
    /// Its clock.
    pub clock: ClockView,
}

/// Everything kept of an epoch.
#[derive(Clone, PartialEq, Debug)]
pub struct EpochRow {
    /// The epoch.
    pub epoch: Epoch,
    /// First block whose clock showed it.
    pub first_block: Option<u32>,
    /// When that was, milliseconds since 1970.
    pub started_ms: Option<i64>,
    /// Block of its `Close`.
    pub closed_block: Option<u32>,
    /// When that was.
    pub closed_ms: Option<i64>,
    /// Its clock as last seen.
    pub clock: Option<ClockView>,
    /// Members as it began.
    pub members: Vec<Member>,
    /// Merges in stage order.
    pub merges: Vec<Option<MergeView>>,
    /// Who may be paid.
    pub snapshot: Option<SnapshotView>,
    /// Commits and reveals.
    pub scores: Vec<ScoreView>,
    /// Emission.
    pub report: Option<EpochReportView>,
    /// What was held and owed in the block that paid it.
    pub money: Option<Money>,
    /// Hex of the trie nodes that prove what it paid.
    pub proof: Option<Vec<String>>,
    /// Accusations, requests for evidence and held pay, as last seen.
    pub court: Option<CourtView>,
}

/// What a member has to lose, as an epoch began.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VestingRow {
    /// The run.
    pub run: RunId,
    /// That epoch.
    pub epoch: Epoch,
    /// Its first block.
    pub at_block: u32,
    /// By epoch.
    pub vesting: Vesting,
}

/// A member as last seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberRow {
    /// The run.
    pub run: RunId,
    /// Block at which it was last seen.
    pub at_block: u32,
    /// Whether it is still a member.
    pub present: bool,
    /// The member.
    pub member: Member,
}

/// A payment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PayoutRow {
    /// The run.
    pub run: RunId,
    /// The scored epoch.
    pub epoch: Epoch,
    /// Who earned it.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: u32,
    /// Smallest units.
    #[serde(serialize_with = "amount")]
    pub amount: u128,
    /// Block that credited it.
    pub block: u32,
}

fn amount<S: serde::Serializer>(amount: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}

/// A validator's published report.
#[derive(Clone, PartialEq, Debug)]
pub struct ReportRow {
    /// The validator.
    pub uid: Uid,
    /// The report, whose root was checked against the chain when it came.
    pub report: Report,
}

/// Losses of an epoch in nats.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LossRow {
    /// The epoch.
    pub epoch: Epoch,
    /// Mean over its samples.
    pub train: Option<f64>,
    /// Held-out loss of the weights that it started with.
    pub heldout_before: Option<f64>,
}

/// Where a search leads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SearchHit {
    /// What was found, for people.
    pub title: String,
    /// Its page.
    pub path: String,
}

pub(super) type Got<T> = Result<T, StoreError>;

/// One connection that only reads.
pub struct Reader {
    pub(super) connection: Connection,
    path: Arc<PathBuf>,
}

/// A document column, absent or read.
fn document<T: DeserializeOwned>(what: &'static str, text: Option<String>) -> Got<Option<T>> {
    let read =
        |text: String| serde_json::from_str(&text).map_err(|cause| StoreError::Document { what, cause });
    text.map(read).transpose()
}

impl Reader {
    pub(super) fn new(connection: Connection, path: Arc<PathBuf>) -> Self {
        Self { connection, path }
    }

    pub(super) fn sqlite(&self, cause: rusqlite::Error) -> StoreError {
        StoreError::Sqlite { path: self.path.to_path_buf(), cause }
    }

    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Got<Vec<T>> {
        let query = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map(params, read)?;
            rows.collect::<rusqlite::Result<Vec<T>>>()
        };
        query().map_err(|e| self.sqlite(e))
    }

    fn meta<T: FromSql>(&self, key: &str) -> Got<T> {
        let sql = "SELECT value FROM meta WHERE key = ?1";
        self.connection.query_row(sql, [key], |row| row.get(0)).map_err(|e| self.sqlite(e))
    }

    /// Hash of block 0.
    ///
    /// # Errors
    /// See [`StoreError`]; the same for every read below.
    pub fn genesis(&self) -> Got<String> {
        self.meta("genesis")
    }

    /// The newest block before the cursor, if there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn newest(&self) -> Got<Option<BlockRow>> {
        let rows = self.blocks("ORDER BY number DESC LIMIT 1", [])?;
        Ok(rows.into_iter().next())
    }

    /// One block.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn block(&self, number: u32) -> Got<Option<BlockRow>> {
        Ok(self.blocks("WHERE number = ?1", [number])?.into_iter().next())
    }

    fn blocks(&self, clause: &str, params: impl rusqlite::Params) -> Got<Vec<BlockRow>> {
        let sql = format!(
            "SELECT number, hash, state_root, has_state, timestamp_ms, issuance FROM blocks {clause}"
        );
        self.rows(&sql, params, |row| {
            Ok(BlockRow {
                number: row.get(0)?,
                hash: row.get(1)?,
                state_root: row.get(2)?,
                has_state: row.get(3)?,
                timestamp_ms: row.get(4)?,
                issuance: row.get(5)?,
            })
        })
    }

    /// Whether every block between two is there with its state.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn is_whole(&self, from: u32, to: u32) -> Got<bool> {
        let sql = "SELECT COUNT(*) FROM blocks WHERE number BETWEEN ?1 AND ?2 AND has_state";
        let row = self.connection.query_row(sql, [from, to], |row| row.get::<_, u32>(0));
        let count = row.map_err(|e| self.sqlite(e))?;
        Ok(to.checked_sub(from).and_then(|gap| gap.checked_add(1)) == Some(count))
    }

    /// The header of a block as SCALE bytes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn header(&self, number: u32) -> Got<Option<Vec<u8>>> {
        let sql = "SELECT header FROM blocks WHERE number = ?1";
        let row = self.connection.query_row(sql, [number], |row| row.get(0));
        row.optional().map_err(|e| self.sqlite(e))
    }

    /// Blocks from the first indexed one to the newest: first, newest, how many, how many with state.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn coverage(&self) -> Got<(Option<u32>, Option<u32>, u32, u32)> {
        let sql = "SELECT MIN(number), MAX(number), COUNT(*), COALESCE(SUM(has_state), 0) FROM blocks";
        let row = self
            .connection
            .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
        row.map_err(|e| self.sqlite(e))
    }

    /// All runs in the order of their ids.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn runs(&self) -> Got<Vec<RunRow>> {
        let rows = self.rows("SELECT run, at_block, params, clock FROM runs ORDER BY run", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        let read = |(run, at_block, params, clock): (u32, u32, String, String)| {
            let what = "run";
            let params =
                serde_json::from_str(&params).map_err(|cause| StoreError::Document { what, cause })?;
            let clock = serde_json::from_str(&clock).map_err(|cause| StoreError::Document { what, cause })?;
            Ok(RunRow { run: RunId(run), at_block, params, clock })
        };
        rows.into_iter().map(read).collect()
    }

    /// One run.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn run(&self, run: RunId) -> Got<Option<RunRow>> {
        Ok(self.runs()?.into_iter().find(|row| row.run == run))
    }

    /// The newest `limit` epochs of a run, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn epochs(&self, run: RunId, limit: u32) -> Got<Vec<EpochRow>> {
        let mut rows =
            self.epochs_where("WHERE run = ?1 ORDER BY epoch DESC LIMIT ?2", params![run.0, limit])?;
        rows.reverse();
        Ok(rows)
    }

    /// The newest `limit` epochs that were paid, of those before `before`, newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn paid_epochs(&self, run: RunId, before: Option<Epoch>, limit: u32) -> Got<Vec<Epoch>> {
        let sql = "SELECT epoch FROM epochs WHERE run = ?1 AND report IS NOT NULL AND epoch < ?2
                   ORDER BY epoch DESC LIMIT ?3";
        let before = before.map_or(i64::from(u32::MAX) + 1, |epoch| i64::from(epoch.0));
        self.rows(sql, params![run.0, before, limit], |row| Ok(Epoch(row.get(0)?)))
    }

    /// One epoch.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn epoch(&self, run: RunId, epoch: Epoch) -> Got<Option<EpochRow>> {
        let rows = self.epochs_where("WHERE run = ?1 AND epoch = ?2", params![run.0, epoch.0])?;
        Ok(rows.into_iter().next())
    }

    fn epochs_where(&self, clause: &str, params: impl rusqlite::Params) -> Got<Vec<EpochRow>> {
        let sql = format!(
            "SELECT epoch, first_block, started_ms, closed_block, closed_ms, clock, members, merges,
                    snapshot, scores, report, money, proof, court FROM epochs {clause}"
        );
        type Documents = [Option<String>; 9];
        let rows = self.rows(&sql, params, |row| {
            let mut documents = Documents::default();
            for (at, document) in documents.iter_mut().enumerate() {
                *document = row.get(5 + at)?;
            }
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, documents))
        })?;
        let read = |(epoch, first_block, started_ms, closed_block, closed_ms, documents): (
            _,
            _,
            _,
            _,
            _,
            Documents,
        )| {
            let [clock, members, merges, snapshot, scores, report, money, proof, court] = documents;
            Ok(EpochRow {
                epoch: Epoch(epoch),
                first_block,
                started_ms,
                closed_block,
                closed_ms,
                clock: document("clock", clock)?,
                members: document("member list", members)?.unwrap_or_default(),
                merges: document("merge", merges)?.unwrap_or_default(),
                snapshot: document("snapshot", snapshot)?,
                scores: document("score row", scores)?.unwrap_or_default(),
                report: document("epoch report", report)?,
                money: document("sum of funds", money)?,
                proof: document("proof", proof)?,
                court: document("record of verdicts", court)?,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Members of a run in uid order; with those that left, if asked for.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn members(&self, run: RunId) -> Got<Vec<MemberRow>> {
        self.members_where("WHERE run = ?1 ORDER BY uid, incarnation", params![run.0])
    }

    /// Memberships of an account, as hotkey or as coldkey.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn memberships(&self, account: &AccountKey) -> Got<Vec<MemberRow>> {
        let clause = "WHERE hotkey = ?1 OR coldkey = ?1 ORDER BY run, uid, incarnation";
        self.members_where(clause, [account.to_string()])
    }

    fn members_where(&self, clause: &str, params: impl rusqlite::Params) -> Got<Vec<MemberRow>> {
        let sql = format!("SELECT run, at_block, present, member FROM members {clause}");
        let rows = self.rows(&sql, params, |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?))
        })?;
        let read = |(run, at_block, present, member): (u32, u32, bool, String)| {
            let member = serde_json::from_str(&member)
                .map_err(|cause| StoreError::Document { what: "member", cause })?;
            Ok(MemberRow { run: RunId(run), at_block, present, member })
        };
        rows.into_iter().map(read).collect()
    }

    /// What members owned by a coldkey have to lose.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn vestings_of(&self, coldkey: &AccountKey) -> Got<Vec<VestingRow>> {
        let sql =
            "SELECT run, epoch, at_block, vesting FROM vestings WHERE coldkey = ?1 ORDER BY run, incarnation";
        let rows = self.rows(sql, [coldkey.to_string()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?))
        })?;
        let read = |(run, epoch, at_block, vesting): (u32, u32, u32, String)| {
            let vesting = serde_json::from_str(&vesting)
                .map_err(|cause| StoreError::Document { what: "record of vesting pay", cause })?;
            Ok(VestingRow { run: RunId(run), epoch: Epoch(epoch), at_block, vesting })
        };
        rows.into_iter().map(read).collect()
    }

    /// What an account had, and the block at which that was read.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn account(&self, account: &AccountKey) -> Got<Option<(u32, AccountFunds)>> {
        let sql = "SELECT at_block, funds FROM accounts WHERE account = ?1";
        let rows =
            self.rows(sql, [account.to_string()], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        let read = |(at_block, text): (u32, String)| {
            let funds = serde_json::from_str(&text)
                .map_err(|cause| StoreError::Document { what: "balance", cause })?;
            Ok((at_block, funds))
        };
        rows.into_iter().next().map(read).transpose()
    }

    /// What a validator's revealed scores were salted with; several where one extrinsic revealed in vain, too.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn salts(&self, run: RunId, epoch: Epoch) -> Got<Vec<(Uid, Hash)>> {
        let sql = "SELECT uid, salt FROM salts WHERE run = ?1 AND epoch = ?2 ORDER BY uid, block, salt";
        let rows =
            self.rows(sql, params![run.0, epoch.0], |row| Ok((Uid(row.get(0)?), row.get::<_, String>(1)?)))?;
        // Written by this program.
        Ok(rows.into_iter().filter_map(|(uid, salt)| Some((uid, Hash(parse_hex32(&salt)?)))).collect())
    }

    /// Payments to members owned by a coldkey, newest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn payouts_to(&self, coldkey: &AccountKey, limit: u32) -> Got<Vec<PayoutRow>> {
        self.payouts(
            "WHERE coldkey = ?1 ORDER BY block DESC, uid LIMIT ?2",
            params![coldkey.to_string(), limit],
        )
    }

    /// All payments of a run.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn payouts_of(&self, run: RunId) -> Got<Vec<PayoutRow>> {
        self.payouts("WHERE run = ?1 ORDER BY epoch, uid", params![run.0])
    }

    fn payouts(&self, clause: &str, params: impl rusqlite::Params) -> Got<Vec<PayoutRow>> {
        let sql = format!("SELECT run, epoch, uid, incarnation, amount, block FROM payouts {clause}");
        self.rows(&sql, params, |row| {
            Ok(PayoutRow {
                run: RunId(row.get(0)?),
                epoch: Epoch(row.get(1)?),
                uid: Uid(row.get(2)?),
                incarnation: row.get(3)?,
                // Written by this program from a u128.
                amount: row.get::<_, String>(4)?.parse().unwrap_or(0),
                block: row.get(5)?,
            })
        })
    }

    /// Reports of an epoch that validators published and whose roots stand on chain.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn reports(&self, run: RunId, epoch: Epoch) -> Got<Vec<ReportRow>> {
        let sql = "SELECT uid, body FROM reports WHERE run = ?1 AND epoch = ?2 ORDER BY uid";
        let rows =
            self.rows(sql, params![run.0, epoch.0], |row| Ok((Uid(row.get(0)?), row.get::<_, Vec<u8>>(1)?)))?;
        let read = |(uid, body): (Uid, Vec<u8>)| {
            Some(ReportRow { uid, report: Report::decode(&mut body.as_slice()).ok()? })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// The newest epoch of which a published report is at hand.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn newest_report(&self, run: RunId) -> Got<Option<Epoch>> {
        let found: Vec<Option<u32>> =
            self.rows("SELECT MAX(epoch) FROM reports WHERE run = ?1", params![run.0], |row| row.get(0))?;
        Ok(found.into_iter().flatten().next().map(Epoch))
    }

    /// Losses of each epoch, by the first validator that published them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn losses(&self, run: RunId) -> Got<Vec<LossRow>> {
        let sql = "SELECT epoch, MIN(uid), train_loss, MAX(heldout_micro) FROM reports
                   WHERE run = ?1 GROUP BY epoch ORDER BY epoch";
        self.rows(sql, params![run.0], |row| {
            let micro: Option<f64> = row.get(3)?;
            Ok(LossRow {
                epoch: Epoch(row.get(0)?),
                train: row.get(2)?,
                heldout_before: micro.map(|micro| micro / 1e6),
            })
        })
    }

    /// Events in a block.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn events_in(&self, block: u32) -> Got<Vec<EventRow>> {
        self.events("WHERE block = ?1 ORDER BY idx", params![block])
    }

    /// Events between two blocks, both included, of a pallet and name.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn events_between(&self, from: u32, to: u32) -> Got<Vec<EventRow>> {
        self.events("WHERE block BETWEEN ?1 AND ?2 ORDER BY block, idx", params![from, to])
    }

    /// The newest events of our pallet.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn latest_events(&self, limit: u32) -> Got<Vec<EventRow>> {
        self.events("WHERE pallet = 'Iota' ORDER BY block DESC, idx DESC LIMIT ?1", params![limit])
    }

    /// The newest events that name an account.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn events_of(&self, account: &AccountKey, limit: u32) -> Got<Vec<EventRow>> {
        let clause = "JOIN event_accounts USING (block, idx) WHERE account = ?1
                      ORDER BY block DESC, idx DESC LIMIT ?2";
        self.events(clause, params![account.to_string(), limit])
    }

    /// Events of an epoch of a run.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn events_of_epoch(&self, run: RunId, epoch: Epoch, limit: u32) -> Got<Vec<EventRow>> {
        let clause = "WHERE run = ?1 AND epoch = ?2 ORDER BY block, idx LIMIT ?3";
        self.events(clause, params![run.0, epoch.0, limit])
    }

    fn events(&self, clause: &str, params: impl rusqlite::Params) -> Got<Vec<EventRow>> {
        let sql = format!("SELECT block, idx, pallet, name, fields FROM events {clause}");
        self.rows(&sql, params, |row| {
            let fields: String = row.get(4)?;
            Ok(EventRow {
                block: row.get(0)?,
                index: row.get(1)?,
                pallet: row.get(2)?,
                name: row.get(3)?,
                // Written by this program from JSON.
                fields: serde_json::from_str(&fields).unwrap_or(Json::Null),
            })
        })
    }

    /// The block with this hash.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn block_by_hash(&self, hash: &Hash) -> Got<Option<BlockRow>> {
        Ok(self.blocks("WHERE hash = ?1", [hash.to_string()])?.into_iter().next())
    }
}
