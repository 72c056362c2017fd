//! The emission audit: all epochs at a glance, and one with its numbers.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::Router;
use iota_protocol::ids::{Epoch, RunId};
use maud::{html, Markup};
use serde::Deserialize;

use super::super::model::Audited;
use super::super::page::{block, short, table};
use super::super::{Failure, Served};
use super::{not_found, run_links, shown};
use crate::audit::{Finding, Status};

/// Epochs on one page of the overview of audits: each is settled again to be shown.
const SHOWN: u32 = 20;

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/audit", get(newest))
        .route("/run/{run}/audit", get(of_run))
        .route("/run/{run}/epoch/{epoch}/audit", get(of_epoch))
}

async fn newest(State(served): State<Served>) -> Result<Response, Failure> {
    let runs = served.read(|reader| reader.runs()).await?;
    Ok(match runs.last() {
        Some(run) => Redirect::to(&format!("/run/{}/audit", run.run)).into_response(),
        None => not_found().await,
    })
}

/// Which epochs the overview shows: the newest, or those before one.
#[derive(Deserialize)]
struct Shown {
    before: Option<u32>,
    limit: Option<u32>,
}

async fn of_run(
    State(served): State<Served>,
    Path(run): Path<u32>,
    Query(shown_of): Query<Shown>,
) -> Result<Response, Failure> {
    let id = RunId(run);
    let limit = shown_of.limit.unwrap_or(SHOWN).clamp(1, SHOWN);
    let before = shown_of.before.map(Epoch);
    let made = Arc::clone(&served.audits);
    let read = served
        .read(move |reader| {
            // One more than is shown says whether there are older ones.
            let mut epochs = reader.paid_epochs(id, before, limit.saturating_add(1))?;
            let is_last = epochs.len() <= limit as usize;
            epochs.truncate(limit as usize);
            let oldest = epochs.last().copied().filter(|_| !is_last);
            let mut audits = Vec::new();
            for epoch in epochs {
                audits.extend(made.of(reader, id, epoch)?);
            }
            Ok(reader.run(id)?.map(|_| (audits, oldest)))
        })
        .await?;
    let Some((audits, oldest)) = read else { return Ok(not_found().await) };
    let body = html! {
        h1 { "Emission audit of run " (run) }
        (run_links(id, "Emission audit"))
        p { "For every paid epoch this program repeats what the chain did: it settles consensus and payments anew, compares issuance, proofs and published reports, and says where something does not fit. " (limit) " epochs are shown at a time." }
        @if audits.is_empty() { p { "No epoch has been paid " @if before.is_some() { "before this one." } @else { "yet." } } } @else { (grid(run, &audits)) }
        (turns(&shown_of, run, oldest))
        h2 { "What is checked" }
        @if let Some(first) = audits.first() {
            dl.claims { @for finding in &first.findings { dt { (finding.id) } dd { (finding.claim) } } }
        }
        p { "Do not believe this page either: download an epoch's bundle and run " code { "iota-explorer verify-epoch --bundle FILE" } " on a machine of your own." }
    };
    Ok(shown("Emission audit", &body))
}

/// Links to the newest and to older epochs, where there are any.
fn turns(of: &Shown, run: u32, oldest: Option<Epoch>) -> Markup {
    let limit = of.limit.map_or_else(String::new, |limit| format!("&limit={limit}"));
    html! {
        @if of.before.is_some() || oldest.is_some() {
            p {
                @if of.before.is_some() { a href=(format!("/run/{run}/audit")) { "Newest epochs" } " " }
                @if let Some(epoch) = oldest { a href=(format!("/run/{run}/audit?before={epoch}{limit}")) { "Older epochs" } }
            }
        }
    }
}

fn grid(run: u32, audits: &[Audited]) -> Markup {
    table(
        "Audits",
        &html! {
            thead { tr {
                th scope="col" { "Epoch" }
                @for finding in audits.first().into_iter().flat_map(|a| &a.findings) { th scope="col" title=(finding.claim) { (finding.id) } }
            } }
            tbody { @for audit in audits {
                tr {
                    th scope="row" { a href=(format!("/run/{run}/epoch/{}/audit", audit.epoch)) { (audit.epoch) } }
                    @for finding in &audit.findings { td { (badge(finding.status)) } }
                }
            } }
        },
    )
}

fn badge(status: Status) -> Markup {
    match status {
        Status::Pass => html! { span.badge.good { "pass" } },
        Status::Fail => html! { span.badge.bad { "FAIL" } },
        Status::NotChecked => {
            html! { span.badge title="something that it needs is missing" { "not checked" } }
        }
    }
}

async fn of_epoch(
    State(served): State<Served>,
    Path((run, epoch)): Path<(u32, u32)>,
) -> Result<Response, Failure> {
    let made = Arc::clone(&served.audits);
    let audit = served.read(move |reader| made.of(reader, RunId(run), Epoch(epoch))).await?;
    let Some(audit) = audit else { return Ok(not_found().await) };
    let path = format!("/run/{run}/epoch/{epoch}");
    let body = html! {
        h1 { "Emission audit of " a href=(path) { "run " (run) ", epoch " (epoch) } }
        p.verdict { (badge(audit.verdict)) " "
            @match audit.verdict {
                Status::Pass => "Everything that is checked holds.",
                Status::Fail => "Something does not hold. See below which, and on which numbers.",
                Status::NotChecked => "Nothing contradicts, but not everything could be checked.",
            }
        }
        p.quiet { "Amounts are in the smallest unit; a whole token of the currency has 10" sup { "9" } " of them." }
        @for finding in &audit.findings { (one(finding)) }
        h2 { "Check it yourself" }
        p { a.button href=(format!("/api/v1/runs/{run}/epochs/{epoch}/bundle")) download { "Download the bundle" } }
        p { "Then run " code { "iota-explorer verify-epoch --bundle FILE" } ". Its digest is " code.whole { (audit.digest) } ". Compare digest and block hash with those that somebody else shows you." }
    };
    Ok(shown(&format!("Audit of epoch {epoch}"), &body))
}

fn one(finding: &Finding) -> Markup {
    html! {
        section.card.finding {
            h2 { (finding.id) " " (badge(finding.status)) }
            p { (finding.claim) @if let Some(number) = finding.block { span.quiet { " · checked at block " } (block(number)) } }
            @if !finding.sides.is_empty() {
                dl.sides { @for side in &finding.sides { dt { (label(&side.label)) } dd.num { (value(&side.value)) } } }
            }
            @if !finding.notes.is_empty() {
                details open[finding.status == Status::Fail] {
                    summary { "Details (" (finding.notes.len()) ")" }
                    ul { @for note in &finding.notes { li { (note) } } }
                }
            }
        }
    }
}

/// What a side is, with the sums in it grouped as its value is.
fn label(text: &str) -> String {
    let word = |word: &str| match word.parse::<u128>() {
        Ok(sum) if sum >= 100_000 => super::grouped(sum),
        _ => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn value(text: &str) -> Markup {
    if text.starts_with("0x") {
        return short(text);
    }
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        html! { (super::grouped(text)) }
    } else {
        html! { (text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_in_a_label_are_grouped_and_blocks_are_not() {
        let text = "issuance after block 1170 + 100000000000 minted - 9536279886 burned";
        assert_eq!(label(text), "issuance after block 1170 + 100,000,000,000 minted - 9,536,279,886 burned");
    }
}
