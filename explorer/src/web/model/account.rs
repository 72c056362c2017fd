//! Accounts, and where a text that somebody searches for may lead.

use iota_protocol::ids::{AccountKey, Epoch, Hash, RunId, Stage, Uid};
use iota_protocol::work::Role;
use iota_service::ss58;
use serde::Serialize;

use super::{Got, MAX_EVENTS};
use crate::store::{EventRow, MemberRow, PayoutRow, Reader, SearchHit, VestingRow};

/// An account.
#[derive(Serialize)]
pub(in crate::web) struct Account {
    pub address: String,
    pub hex: String,
    pub members: Vec<Membership>,
    pub paid_total: String,
    pub balance: Option<Balance>,
    pub vesting: Vec<Vests>,
    pub payouts: Vec<PayoutRow>,
    pub events: Vec<EventRow>,
}

/// What the account had when that was read last.
#[derive(Serialize)]
pub(in crate::web) struct Balance {
    /// It can spend this, but for what keeps the account alive.
    pub free: String,
    /// On hold: bonds, deposits, what a newcomer registers with.
    pub held: String,
    /// Rewards that it may claim.
    pub claimable: String,
    pub at_block: u32,
}

/// What one member of the account has earned and not yet got, as an epoch began.
#[derive(Serialize)]
pub(in crate::web) struct Vests {
    pub run: RunId,
    pub uid: Option<Uid>,
    pub incarnation: u32,
    pub at_epoch: Epoch,
    pub at_block: u32,
    /// Vested, and not yet released to be claimed.
    pub vested: String,
    /// Lost if the member is found guilty.
    pub unvested: String,
    /// What vests in each coming epoch.
    pub by_epoch: Vec<(Epoch, String)>,
    /// On hold since the registration.
    pub entry: String,
    pub entry_until: Option<Epoch>,
}

impl Vests {
    fn of(row: VestingRow, members: &[MemberRow]) -> Self {
        let own = row.vesting;
        let (vested, coming): (Vec<_>, Vec<_>) =
            own.parts.into_iter().partition(|(epoch, _)| *epoch <= row.epoch);
        let sum = |parts: &[(Epoch, u128)]| parts.iter().map(|(_, part)| part).sum::<u128>().to_string();
        let member = members.iter().find(|m| m.run == row.run && m.member.incarnation == own.incarnation);
        Self {
            run: row.run,
            uid: member.map(|row| row.member.uid),
            incarnation: own.incarnation.0,
            at_epoch: row.epoch,
            at_block: row.at_block,
            vested: sum(&vested),
            unvested: sum(&coming),
            by_epoch: coming.iter().map(|(epoch, part)| (*epoch, part.to_string())).collect(),
            entry: own.entry.to_string(),
            entry_until: own.entry_until,
        }
    }
}

/// A member that the account signs for or owns.
#[derive(Serialize)]
pub(in crate::web) struct Membership {
    pub run: RunId,
    pub uid: Uid,
    pub incarnation: u32,
    pub role: Role,
    pub stage: Option<Stage>,
    pub present: bool,
    pub is_hotkey: bool,
    pub bond: String,
    pub addresses: Vec<String>,
}

pub(in crate::web) fn account(reader: &Reader, key: &AccountKey) -> Got<Account> {
    let payouts = reader.payouts_to(key, u32::MAX)?;
    let total: u128 = payouts.iter().map(|payout| payout.amount).sum();
    let rows = reader.memberships(key)?;
    let vesting = reader.vestings_of(key)?.into_iter().map(|row| Vests::of(row, &rows)).collect();
    let balance = reader.account(key)?.map(|(at_block, funds)| Balance {
        free: funds.free.to_string(),
        held: funds.held.to_string(),
        claimable: funds.claimable.to_string(),
        at_block,
    });
    let members = rows.into_iter().map(|row| Membership {
        run: row.run,
        uid: row.member.uid,
        incarnation: row.member.incarnation.0,
        role: row.member.role,
        stage: row.member.stage,
        present: row.present,
        is_hotkey: row.member.hotkey == *key,
        bond: row.member.bond.to_string(),
        addresses: row.member.addresses,
    });
    Ok(Account {
        address: ss58::encode(&key.0),
        hex: key.to_string(),
        members: members.collect(),
        paid_total: total.to_string(),
        balance,
        vesting,
        payouts: payouts.into_iter().take(MAX_EVENTS as usize).collect(),
        events: reader.events_of(key, MAX_EVENTS)?,
    })
}

/// An address or 64 hex digits.
pub(in crate::web) fn parse_account(text: &str) -> Option<AccountKey> {
    let hex = || iota_protocol::ids::parse_hex32(text);
    hex().or_else(|| ss58::decode(text).ok()).map(AccountKey)
}

/// Where a text may lead: an address, a block by number or hash, an epoch or a uid by number.
pub(in crate::web) fn search(reader: &Reader, text: &str) -> Got<Vec<SearchHit>> {
    let text = text.trim();
    let mut hits = Vec::new();
    let mut hit = |title: String, path: String| hits.push(SearchHit { title, path });
    if let Some(key) = parse_account(text) {
        if let Some(block) = reader.block_by_hash(&Hash(key.0))? {
            hit(format!("Block {}", block.number), format!("/block/{}", block.number));
        } else {
            hit(format!("Account {}", ss58::encode(&key.0)), format!("/account/{}", ss58::encode(&key.0)));
        }
    }
    if let Ok(number) = text.parse::<u32>() {
        for run in reader.runs()? {
            let run = run.run;
            if reader.epoch(run, Epoch(number))?.is_some() {
                hit(format!("Run {run}, epoch {number}"), format!("/run/{run}/epoch/{number}"));
            }
            for row in reader.members(run)?.iter().filter(|row| u32::from(row.member.uid.0) == number) {
                let address = ss58::encode(&row.member.hotkey.0);
                hit(format!("Run {run}, uid {number} ({address})"), format!("/account/{address}"));
            }
        }
        if reader.block(number)?.is_some() {
            hit(format!("Block {number}"), format!("/block/{number}"));
        }
    }
    Ok(hits)
}
