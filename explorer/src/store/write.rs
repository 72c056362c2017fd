//! Writing one look at a block, and what validators published.
//!
//! Where an older block is filled in after newer ones, what is known of the newer stays.

use iota_chain::ChainEvent;
use iota_protocol::ids::{Epoch, RunId, Uid};
use iota_protocol::report::Report;
use iota_protocol::view::{ClockView, EpochReportView};
use rusqlite::{params, OptionalExtension, Transaction, TransactionBehavior};
use serde::Serialize;
use serde_json::Value as Json;

use super::{cursor, Store, StoreError};
use crate::look::{concerns, number, Detail, EpochLook, Holdings, Look, RunLook, PALLET};
use crate::member::Member;

/// Why one transaction was given up.
enum Stop {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

type Written = Result<(), Stop>;

impl Store {
    /// Writes a block and moves the cursor behind it, all or nothing.
    ///
    /// # Errors
    /// `OutOfOrder`, `Fork`, or when SQLite fails; then nothing is written.
    pub fn apply(&self, look: &Look) -> Result<(), StoreError> {
        self.transact(|tx| {
            let block = &look.block;
            let expected = cursor(tx)?;
            if block.head.number != expected {
                return Err(StoreError::OutOfOrder { expected, got: block.head.number }.into());
            }
            if put_block(tx, look)? {
                put_events(tx, look)?;
                put_salts(tx, look)?;
                for run in &look.runs {
                    put_run(tx, look, run)?;
                }
            }
            tx.execute("UPDATE meta SET value = ?1 WHERE key = 'cursor'", [expected.saturating_add(1)])?;
            Ok(())
        })
    }

    /// Keeps a validator's report, whose root the caller has checked.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn put_report(&self, uid: Uid, report: &Report) -> Result<(), StoreError> {
        self.transact(|tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO reports VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
                .execute(params![
                    report.run.0,
                    report.epoch.0,
                    uid.0,
                    report.root().to_string(),
                    codec::Encode::encode(report),
                    report.train_loss(),
                    report.heldout_micro
                ])?;
            Ok(())
        })
    }

    fn transact(&self, work: impl FnOnce(&Transaction<'_>) -> Written) -> Result<(), StoreError> {
        let mut writer = self.writer();
        let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.map_err(|e| self.sqlite(e))?;
        match work(&tx) {
            Ok(()) => tx.commit().map_err(|e| self.sqlite(e)),
            Err(Stop::Sqlite(cause)) => Err(self.sqlite(cause)),
            Err(Stop::Store(error)) => Err(error),
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("our documents have text keys and finite numbers; qed")
}

/// Milliseconds since 1970; SQLite's integers reach far beyond any clock.
fn timestamp(look: &Look) -> Option<i64> {
    look.block.content.as_ref().and_then(|content| i64::try_from(content.timestamp_ms).ok())
}

/// Writes the block; false if it is known already with more than this look tells.
fn put_block(tx: &Transaction<'_>, look: &Look) -> Result<bool, Stop> {
    let block = &look.block;
    let number = block.head.number;
    let stored = |number: Option<u32>| {
        tx.prepare_cached("SELECT hash, has_state FROM blocks WHERE number = ?1")?
            .query_row([number], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)))
            .optional()
    };
    let fork = |what, expected, got| StoreError::Fork { number, what, expected, got };
    if let Some((expected, _)) = stored(number.checked_sub(1))? {
        if expected != block.parent.to_string() {
            return Err(fork("the parent's hash", expected, block.parent).into());
        }
    }
    if let Some((expected, has_state)) = stored(Some(number))? {
        if expected != block.head.hash.to_string() {
            return Err(fork("the hash", expected, block.head.hash).into());
        }
        if has_state && block.content.is_none() {
            return Ok(false);
        }
    }
    tx.prepare_cached("INSERT OR REPLACE INTO blocks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(
        params![
            number,
            block.head.hash.to_string(),
            block.parent.to_string(),
            block.state_root.to_string(),
            block.header,
            block.content.is_some(),
            timestamp(look),
            look.issuance.map(|issuance| issuance.to_string()),
        ],
    )?;
    Ok(true)
}

fn put_events(tx: &Transaction<'_>, look: &Look) -> Written {
    let block = look.block.head.number;
    let events = look.block.content.iter().flat_map(|content| &content.events);
    let mut insert =
        tx.prepare_cached("INSERT OR REPLACE INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    let mut name = tx.prepare_cached("INSERT OR IGNORE INTO event_accounts VALUES (?1, ?2, ?3)")?;
    for event in events.filter(|event| is_kept(event)) {
        let ours = |field: &str| (event.pallet == PALLET).then(|| number(&event.fields, field)).flatten();
        insert.execute(params![
            block,
            event.index,
            event.extrinsic,
            event.pallet,
            event.name,
            ours("run"),
            ours("epoch"),
            ours("uid"),
            event.fields.to_string(),
        ])?;
        for account in accounts(&event.fields) {
            name.execute(params![account, block, event.index])?;
        }
    }
    Ok(())
}

/// Salts of the reveals that the chain took: an extrinsic may hold calls that failed, too.
fn put_salts(tx: &Transaction<'_>, look: &Look) -> Written {
    let Some(content) = &look.block.content else { return Ok(()) };
    let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO salts VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for own in &content.salts {
        let took = content.events.iter().any(|event| {
            event.name == "ScoresRevealed"
                && event.extrinsic == Some(own.extrinsic)
                && concerns(event, own.run)
                && number(&event.fields, "epoch") == Some(own.epoch.0)
                && number(&event.fields, "uid") == Some(own.author.0.into())
        });
        if took {
            let block = look.block.head.number;
            insert.execute(params![own.run.0, own.epoch.0, own.author.0, own.salt.to_string(), block])?;
        }
    }
    Ok(())
}

/// Every extrinsic leaves an event of success and of its fee's bookkeeping; they tell nobody anything.
fn is_kept(event: &ChainEvent) -> bool {
    !matches!(
        (event.pallet.as_str(), event.name.as_str()),
        ("System", "ExtrinsicSuccess") | ("TransactionPayment" | "SkipFeelessPayment", _)
    )
}

/// Fields that hold an account: those that name one.
fn accounts(fields: &Json) -> impl Iterator<Item = &str> {
    const NAMES: [&str; 8] = ["who", "account", "hotkey", "coldkey", "from", "to", "owner", "dest"];
    NAMES.into_iter().filter_map(|name| fields.get(name)?.as_str()).filter(|text| text.len() == 66)
}

fn put_run(tx: &Transaction<'_>, look: &Look, run: &RunLook) -> Written {
    let block = look.block.head.number;
    let (id, epoch) = (run.clock.run.0, run.clock.epoch.0);
    let clock = json(&run.clock);
    tx.prepare_cached(
        "INSERT INTO runs VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET
           at_block = excluded.at_block, epoch = excluded.epoch,
           params = excluded.params, clock = excluded.clock
         WHERE excluded.at_block >= runs.at_block",
    )?
    .execute(params![id, block, epoch, json(&run.params), clock])?;
    let timestamp = timestamp(look);
    if let Some(before) = run.clock.epoch.previous() {
        // The clock shows an epoch from the block on that closed the one before.
        tx.prepare_cached(
            "UPDATE epochs SET closed_block = ?3, closed_ms = ?4
             WHERE run = ?1 AND epoch = ?2 AND (closed_block IS NULL OR closed_block > ?3)",
        )?
        .execute(params![id, before.0, block, timestamp])?;
    }
    tx.prepare_cached(
        "INSERT INTO epochs (run, epoch, clock_block, first_block, started_ms, clock)
         VALUES (?1, ?2, ?3, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET
           started_ms = CASE WHEN first_block IS NULL OR first_block > excluded.first_block
                             THEN excluded.started_ms ELSE started_ms END,
           first_block = MIN(COALESCE(first_block, excluded.first_block), excluded.first_block),
           clock = CASE WHEN clock IS NULL OR excluded.clock_block >= clock_block
                        THEN excluded.clock ELSE clock END,
           clock_block = MAX(COALESCE(clock_block, excluded.clock_block), excluded.clock_block)",
    )?
    .execute(params![id, epoch, block, timestamp, clock])?;
    match &run.detail {
        Some(detail) => put_detail(tx, block, run, detail),
        None => Ok(()),
    }
}

fn put_detail(tx: &Transaction<'_>, block: u32, run: &RunLook, detail: &Detail) -> Written {
    let id = run.clock.run;
    put_members(tx, block, id, &detail.members)?;
    tx.prepare_cached("UPDATE epochs SET members = ?3 WHERE run = ?1 AND epoch = ?2 AND first_block = ?4")?
        .execute(params![id.0, run.clock.epoch.0, json(&detail.members), block])?;
    for epoch in &detail.epochs {
        put_epoch(tx, block, id, epoch)?;
    }
    match &detail.holdings {
        Some(holdings) => put_holdings(tx, block, &run.clock, holdings),
        None => Ok(()),
    }
}

/// Records that are gone from the chain are empty from then on.
fn put_holdings(tx: &Transaction<'_>, block: u32, clock: &ClockView, holdings: &Holdings) -> Written {
    let (run, epoch) = (clock.run.0, clock.epoch.0);
    tx.prepare_cached("DELETE FROM vestings WHERE run = ?1 AND at_block <= ?2")?
        .execute(params![run, block])?;
    let mut insert =
        tx.prepare_cached("INSERT INTO vestings VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING")?;
    for own in &holdings.vestings {
        let coldkey = own.coldkey.to_string();
        insert.execute(params![run, own.incarnation.0, block, epoch, coldkey, json(own)])?;
    }
    let mut insert = tx.prepare_cached(
        "INSERT INTO accounts VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET
           at_block = excluded.at_block, funds = excluded.funds
         WHERE excluded.at_block >= accounts.at_block",
    )?;
    for own in &holdings.accounts {
        insert.execute(params![own.account.to_string(), block, json(own)])?;
    }
    Ok(())
}

fn put_members(tx: &Transaction<'_>, block: u32, run: RunId, members: &[Member]) -> Written {
    tx.prepare_cached("UPDATE members SET present = 0 WHERE run = ?1 AND at_block <= ?2")?
        .execute(params![run.0, block])?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO members VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET
           at_block = excluded.at_block, present = 1, hotkey = excluded.hotkey,
           coldkey = excluded.coldkey, member = excluded.member
         WHERE excluded.at_block >= members.at_block",
    )?;
    for member in members {
        insert.execute(params![
            run.0,
            member.uid.0,
            member.incarnation.0,
            block,
            member.hotkey.to_string(),
            member.coldkey.to_string(),
            json(member),
        ])?;
    }
    Ok(())
}

/// Each document is replaced by a newer one, by the block at which that document was seen; what the
/// chain has dropped since is kept. A void epoch that was scored with the next has a second report:
/// sums and proof are those of the newest report's block.
fn put_epoch(tx: &Transaction<'_>, block: u32, run: RunId, look: &EpochLook) -> Written {
    let merges = look.merges.iter().any(Option::is_some).then(|| json(&look.merges));
    let scores = (!look.scores.is_empty()).then(|| json(&look.scores));
    tx.prepare_cached(
        "INSERT INTO epochs (run, epoch, merges_block, scores_block, merges, snapshot, scores, report, money, proof,
                             court, court_block)
         VALUES (?1, ?2, iif(?4 IS NULL, NULL, ?3), iif(?6 IS NULL, NULL, ?3), ?4, ?5, ?6, ?7, ?8, ?9, ?10,
                 iif(?10 IS NULL, NULL, ?3)) ON CONFLICT DO UPDATE SET
           court = CASE WHEN court IS NULL OR excluded.court_block >= court_block
                        THEN COALESCE(excluded.court, court) ELSE court END,
           court_block = COALESCE(MAX(court_block, excluded.court_block), court_block, excluded.court_block),
           merges = CASE WHEN merges IS NULL OR excluded.merges_block >= merges_block
                         THEN excluded.merges ELSE merges END,
           merges_block = COALESCE(MAX(merges_block, excluded.merges_block), merges_block, excluded.merges_block),
           snapshot = COALESCE(snapshot, excluded.snapshot),
           scores = CASE WHEN scores IS NULL OR excluded.scores_block >= scores_block
                         THEN excluded.scores ELSE scores END,
           scores_block = COALESCE(MAX(scores_block, excluded.scores_block), scores_block, excluded.scores_block),
           report = CASE WHEN report IS NULL OR excluded.report ->> 'block' >= report ->> 'block'
                         THEN COALESCE(excluded.report, report) ELSE report END,
           money = CASE WHEN excluded.report ->> 'block' > report ->> 'block' THEN excluded.money
                        WHEN report IS NULL OR excluded.report ->> 'block' = report ->> 'block'
                        THEN COALESCE(money, excluded.money) ELSE money END,
           proof = CASE WHEN excluded.report ->> 'block' > report ->> 'block' THEN excluded.proof
                        WHEN report IS NULL OR excluded.report ->> 'block' = report ->> 'block'
                        THEN COALESCE(proof, excluded.proof) ELSE proof END",
    )?
    .execute(params![
        run.0,
        look.epoch.0,
        block,
        merges,
        look.snapshot.as_ref().map(json),
        scores,
        look.report.as_ref().map(json),
        look.paid.as_ref().map(|paid| json(&paid.money)),
        look.paid.as_ref().map(|paid| json(&paid.proof.iter().map(hex::encode).collect::<Vec<_>>())),
        look.court.as_ref().map(json),
    ])?;
    look.report.as_ref().map_or(Ok(()), |report| put_payouts(tx, run, look.epoch, report))
}

fn put_payouts(tx: &Transaction<'_>, run: RunId, epoch: Epoch, report: &EpochReportView) -> Written {
    let mut insert =
        tx.prepare_cached("INSERT OR REPLACE INTO payouts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for payout in &report.payouts {
        insert.execute(params![
            run.0,
            epoch.0,
            payout.uid.0,
            payout.incarnation.0,
            payout.coldkey.to_string(),
            payout.amount.to_string(),
            report.block,
        ])?;
    }
    Ok(())
}
