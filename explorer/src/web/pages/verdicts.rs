//! Judging: accusations and votes, requests for evidence, pay that was held or lapsed.

use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use axum::Router;
use iota_protocol::ids::RunId;
use maud::{html, Markup};

use super::super::model::{self, Accusation, Judged, Pay, Request};
use super::super::page::{block, maybe, short, table, tokens};
use super::super::{Failure, Served};
use super::{events_table, not_found, run_links, shown};

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/run/{run}/verdicts", get(verdicts))
}

async fn verdicts(State(served): State<Served>, Path(run): Path<u32>) -> Result<Response, Failure> {
    let Some(found) = served.read(move |reader| model::verdicts(reader, RunId(run))).await? else {
        return Ok(not_found().await);
    };
    let body = html! {
        h1 { "Verdicts in run " (run) }
        (run_links(RunId(run), "Verdicts"))
        p { "A validator that finds wrong work accuses its miner behind a deposit. The others repeat the same piece of training or merging and vote. Two thirds of the stake decide: a guilty miner is not paid for the epoch and loses what had not vested; an innocent one costs the accuser its deposit. A miner whose evidence more than half of the stake cannot get is not accused: its pay is held, and lapses if it stays so for a second epoch." }
        @if found.epochs.is_empty() { p.quiet { "Nobody was accused, and nobody's evidence was asked for." } }
        @for judged in &found.epochs {
            h2 { a href=(format!("/run/{run}/epoch/{}", judged.epoch)) { "Epoch " (judged.epoch) } }
            (tables(judged))
            @if !judged.events.is_empty() {
                details { summary { "Events (" (judged.events.len()) ")" } (events_table(&judged.events)) }
            }
        }
    };
    Ok(shown("Verdicts", &body))
}

/// The tables of one epoch; empty ones are left out.
pub(super) fn tables(judged: &Judged) -> Markup {
    html! {
        @if !judged.accusations.is_empty() { h3 { "Accusations" } (accusations(&judged.accusations)) }
        @if !judged.requests.is_empty() { h3 { "Requests for evidence" } (requests(&judged.requests)) }
        @if !judged.pay.is_empty() { h3 { "Pay that was held or lapsed" } (pay(&judged.pay)) }
        @if judged.accusations.is_empty() && judged.requests.is_empty() && judged.pay.is_empty() {
            p.quiet { "Nobody was accused, and nobody's evidence was asked for." }
        }
    }
}

fn accusations(all: &[Accusation]) -> Markup {
    table(
        "Accusations",
        &html! {
            thead { tr { th scope="col" { "Accused uid" } th scope="col" { "Of what" } th scope="col" { "By uid" } th scope="col" { "Deposit" } th scope="col" { "Votes" } th scope="col" { "Stake for guilty" } th scope="col" { "Stake against" } th scope="col" { "Outcome" } th scope="col" { "Evidence" } } }
            tbody { @for own in all {
                tr {
                    td.num { (own.uid) }
                    td.num { (own.about) }
                    td.num { (own.accuser) }
                    td { (tokens(&own.deposit)) }
                    td { @for vote in &own.votes { span.field { "uid " (vote.uid) " " @if vote.guilty { span.badge.bad { "guilty" } } @else { span.badge.good { "innocent" } } } " " } }
                    td.num { (percent(own.guilty_stake)) }
                    td.num { (percent(own.innocent_stake)) }
                    td.words { (own.outcome) }
                    td { (short(&own.evidence.to_string())) }
                }
            } }
        },
    )
}

fn percent(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

fn requests(all: &[Request]) -> Markup {
    table(
        "Requests for evidence",
        &html! {
            thead { tr { th scope="col" { "Miner uid" } th scope="col" { "Asked" } th scope="col" { "What" } th scope="col" { "Cannot get it" } th scope="col" { "Answered" } th scope="col" { "What follows" } } }
            tbody { @for own in all {
                tr {
                    td.num { (own.uid) }
                    td.num { @if own.again { "a second time" } @else { "once" } }
                    td { (short(&own.wanted.to_string())) }
                    td { @for uid in &own.askers { span.badge { "uid " (uid) } " " } }
                    td { @if own.answered { "yes" } @else { "no" } }
                    td.words { (own.outcome) }
                }
            } }
        },
    )
}

fn pay(all: &[Pay]) -> Markup {
    table(
        "Pay that was held or lapsed",
        &html! {
            thead { tr { th scope="col" { "uid" } th scope="col" { "Amount" } th scope="col" { "What became of it" } th scope="col" { "Block" } } }
            tbody { @for own in all {
                tr {
                    td.num { (own.uid) }
                    td { (tokens(&own.amount)) }
                    td.words { (own.what) }
                    td { (maybe(own.block, block)) }
                }
            } }
        },
    )
}
