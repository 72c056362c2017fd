//! Tables. Amounts are decimal text: SQLite's integers end at 2^63, ours at 2^128.

/// Raised with every change of the tables and of what is kept in them; a file of another layout is refused, not converted, since
/// everything in it can be read from the chain again.
pub(super) const VERSION: i64 = 4;

pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS blocks (
    number INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    parent TEXT NOT NULL,
    state_root TEXT NOT NULL,
    header BLOB NOT NULL,
    has_state INTEGER NOT NULL,
    timestamp_ms INTEGER,
    issuance TEXT
);

-- Votes on blocks; a handoff is a block that replaces the voters, and may wait for its votes.
CREATE TABLE IF NOT EXISTS justifications (
    block INTEGER PRIMARY KEY,
    handoff INTEGER NOT NULL,
    justification BLOB
);

CREATE TABLE IF NOT EXISTS events (
    block INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    extrinsic INTEGER,
    pallet TEXT NOT NULL,
    name TEXT NOT NULL,
    run INTEGER,
    epoch INTEGER,
    uid INTEGER,
    fields TEXT NOT NULL,
    PRIMARY KEY (block, idx)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_by_epoch ON events (run, epoch, block);
CREATE INDEX IF NOT EXISTS events_by_uid ON events (run, uid, block);

CREATE TABLE IF NOT EXISTS event_accounts (
    account TEXT NOT NULL,
    block INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    PRIMARY KEY (account, block, idx)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS runs (
    run INTEGER PRIMARY KEY,
    at_block INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    params TEXT NOT NULL,
    clock TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS epochs (
    run INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    first_block INTEGER,
    started_ms INTEGER,
    closed_block INTEGER,
    closed_ms INTEGER,
    clock TEXT,
    clock_block INTEGER,
    members TEXT,
    merges TEXT,
    merges_block INTEGER,
    snapshot TEXT,
    scores TEXT,
    scores_block INTEGER,
    report TEXT,
    money TEXT,
    proof TEXT,
    court TEXT,
    court_block INTEGER,
    paid_block INTEGER GENERATED ALWAYS AS (report ->> 'block') VIRTUAL,
    PRIMARY KEY (run, epoch)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS epochs_by_payment ON epochs (paid_block) WHERE proof IS NOT NULL;

-- What revealed scores were salted with; it stands in calls only.
CREATE TABLE IF NOT EXISTS salts (
    run INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    salt TEXT NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (run, epoch, uid, salt)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS members (
    run INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    at_block INTEGER NOT NULL,
    present INTEGER NOT NULL,
    hotkey TEXT NOT NULL,
    coldkey TEXT NOT NULL,
    member TEXT NOT NULL,
    PRIMARY KEY (run, uid, incarnation)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS members_by_hotkey ON members (hotkey);
CREATE INDEX IF NOT EXISTS members_by_coldkey ON members (coldkey);

-- What vests, as an epoch began.
CREATE TABLE IF NOT EXISTS vestings (
    run INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    at_block INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    coldkey TEXT NOT NULL,
    vesting TEXT NOT NULL,
    PRIMARY KEY (run, incarnation)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS vestings_by_coldkey ON vestings (coldkey);

-- What accounts have, as an epoch began.
CREATE TABLE IF NOT EXISTS accounts (
    account TEXT PRIMARY KEY,
    at_block INTEGER NOT NULL,
    funds TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS payouts (
    run INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    coldkey TEXT NOT NULL,
    amount TEXT NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (run, epoch, uid)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS payouts_by_coldkey ON payouts (coldkey);

CREATE TABLE IF NOT EXISTS reports (
    run INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    root TEXT NOT NULL,
    body BLOB NOT NULL,
    train_loss REAL,
    heldout_micro INTEGER,
    PRIMARY KEY (run, epoch, uid)
) WITHOUT ROWID;
";
