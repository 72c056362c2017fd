//! Accounts, and where a text that somebody searches for may lead.

use iota_protocol::ids::{AccountKey, Epoch, Hash, RunId, Stage, Uid};
use iota_protocol::work::Role;
use iota_service::ss58;
use serde::Serialize;

use super::{Got, MAX_EVENTS};
use crate::store::{EventRow, PayoutRow, Reader, SearchHit};

/// An account.
#[derive(Serialize)]
pub(in crate::web) struct Account {
    pub address: String,
    pub hex: String,
    pub members: Vec<Membership>,
    pub paid_total: String,
    pub payouts: Vec<PayoutRow>,
    pub events: Vec<EventRow>,
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
    let members = reader.memberships(key)?.into_iter().map(|row| Membership {
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
