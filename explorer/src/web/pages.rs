//! The pages. Each shows its tables with the server's data alone; charts come on top.

mod audit;
mod epoch;
mod run;
mod verdicts;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::Router;
use iota_protocol::ids::RunId;
use maud::{html, Markup};
use serde::Deserialize;
use serde_json::Value;

use super::model::{self, Overview, RunLine};
use super::page::{account, block, figure, grouped, maybe, page, rounded, short, table, time, tokens};
use super::{api, Failure, Served};
use crate::store::EventRow;

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/", get(overview))
        .route("/search", get(search))
        .route("/account/{account}", get(of_account))
        .route("/block/{block}", get(of_block))
        .route("/api", get(about_api))
        .merge(run::routes())
        .merge(epoch::routes())
        .merge(audit::routes())
        .merge(verdicts::routes())
}

/// A page with status 200.
fn shown(title: &str, body: &Markup) -> Response {
    page(title, body).into_string().pipe_html(StatusCode::OK)
}

trait PipeHtml {
    fn pipe_html(self, status: StatusCode) -> Response;
}

impl PipeHtml for String {
    fn pipe_html(self, status: StatusCode) -> Response {
        (status, axum::response::Html(self)).into_response()
    }
}

pub(super) async fn not_found() -> Response {
    let body = html! {
        h1 { "Nothing here" }
        p { "There is no such page, or the explorer has not read that far yet. " a href="/" { "Back to the overview" } }
    };
    page("Nothing here", &body).into_string().pipe_html(StatusCode::NOT_FOUND)
}

async fn overview(State(served): State<Served>) -> Result<Response, Failure> {
    let (status, events) =
        served.read(|reader| Ok((model::status(reader)?, reader.latest_events(15)?))).await?;
    let body = html! {
        h1 { "Overview" }
        p { "One language model, trained on machines that do not trust each other, and paid for what can be verified." }
        (index_line(&status))
        @for run in &status.runs { (run_card(run)) }
        @if status.runs.is_empty() { p { "No run has been seen yet." } }
        h2 { "Latest events" }
        (events_table(&events))
    };
    Ok(shown("Overview", &body))
}

fn index_line(status: &Overview) -> Markup {
    let missing = status.blocks - status.blocks_with_state;
    html! {
        dl.figures {
            (figure("Newest finalized block", &maybe(status.newest.as_ref(), |b| html! { span data-live="block" { (block(b.number)) } })))
            (figure("Its time", &maybe(status.newest.as_ref().and_then(|b| b.timestamp_ms), time)))
            (figure("Currency in existence", &maybe(status.newest.as_ref().and_then(|b| b.issuance.as_ref()), |i| rounded(i))))
            (figure("Blocks indexed", &html! { (grouped(status.blocks)) @if missing > 0 { " (" (grouped(missing)) " without state)" } }))
        }
    }
}

fn run_card(run: &RunLine) -> Markup {
    let path = format!("/run/{}", run.run);
    html! {
        section.card data-run=(run.run) {
            h2 { a href=(path) { "Run " (run.run) } " " span.quiet { (run.preset) ", " (grouped(run.parameters)) " parameters" } }
            dl.figures {
                (figure("Epoch", &html! { span data-live="epoch" { (run.epoch) } " of " (run.epochs) }))
                (figure("Phase", &html! { span.badge data-live="phase" { (run.phase) } }))
                (figure("Phase ends before block", &maybe(run.phase_ends, |end| html! { span data-live="phase_ends" { (end) } })))
                (figure("Tokens trained", &html! { span data-live="tokens" { (grouped(run.tokens)) } }))
                (figure("Stages", &html! { (run.stages) }))
                (figure("Miners, validators", &html! { (run.miners) ", " (run.validators) }))
            }
            p.links {
                a href=(path) { "Loss and stages" }
                a href=(format!("{path}/members")) { "Members" }
                a href=(format!("{path}/epoch/{}", run.epoch)) { "Current epoch" }
                a href=(format!("{path}/audit")) { "Emission audit" }
            }
        }
    }
}

/// Events with their fields as text.
fn events_table(events: &[EventRow]) -> Markup {
    if events.is_empty() {
        return html! { p.quiet { "None." } };
    }
    table(
        "Events",
        &html! {
            thead { tr { th scope="col" { "Block" } th scope="col" { "Event" } th scope="col" { "What" } } }
            tbody {
                @for event in events {
                    tr {
                        td { (block(event.block)) }
                        td { @if event.pallet != "Iota" { (event.pallet) "." } (event.name) }
                        td.words { (fields(event)) }
                    }
                }
            }
        },
    )
}

fn fields(event: &EventRow) -> Markup {
    let Some(fields) = event.fields.as_object() else { return html! {} };
    html! {
        @for (name, value) in fields {
            span.field {
                span.quiet { (name) " " }
                @match value {
                    Value::String(text) if is_amount(event, name) => (tokens(text)),
                    Value::String(text) => (short(text)),
                    Value::Object(parts) => (parts_of(parts)),
                    Value::Array(parts) => { (parts.len()) " of them" },
                    other => (short(&other.to_string())),
                }
            }
            " "
        }
    }
}

/// What stands in a field that has fields of its own: its numbers and short words. Hashes are left to the API.
fn parts_of(parts: &serde_json::Map<String, Value>) -> Markup {
    let word = |value: &Value| match value {
        Value::String(text) => Some(text.clone()).filter(|text| text.chars().count() <= SHORT_WORD),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    let words = || parts.iter().filter_map(|(name, value)| Some((name, word(value)?)));
    html! {
        @for (name, value) in words() { span.quiet { (name) " " } code { (value) } " " }
        @if words().next().is_none() { (parts.len()) " fields" }
    }
}

/// Longest text that is read at a glance: anything longer is a hash.
const SHORT_WORD: usize = 16;

/// Fields that are sums of money, which people read in whole units.
fn is_amount(event: &EventRow, field: &str) -> bool {
    const SUMS: [&str; 8] =
        ["amount", "price", "minted", "burned", "treasury", "deposit", "bond", "actual_fee"];
    // Elsewhere these are counts.
    let of_settling = event.name == "EpochSettled" && matches!(field, "miners" | "validators");
    SUMS.contains(&field) || of_settling
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    q: String,
}

async fn search(State(served): State<Served>, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let text = asked.q.clone();
    let hits = served.read(move |reader| model::search(reader, &text)).await?;
    if let [only] = hits.as_slice() {
        return Ok(Redirect::to(&only.path).into_response());
    }
    let body = html! {
        h1 { "Search" }
        @if hits.is_empty() {
            p { "Nothing is known as “" (asked.q) "”. An address, a uid, a block's number or hash, or an epoch can be found." }
        } @else {
            p { "“" (asked.q) "” may be:" }
            ul { @for hit in &hits { li { a href=(hit.path) { (hit.title) } } } }
        }
    };
    Ok(shown("Search", &body))
}

async fn of_account(State(served): State<Served>, Path(text): Path<String>) -> Result<Response, Failure> {
    let Some(key) = model::parse_account(&text) else { return Ok(not_found().await) };
    let about = served.read(move |reader| model::account(reader, &key)).await?;
    let body = html! {
        h1 { "Account" }
        p { code.whole { (about.address) } br; code.whole.quiet { (about.hex) } }
        dl.figures {
            (figure("Rewards credited", &tokens(&about.paid_total)))
            (figure("Memberships", &html! { (about.members.len()) }))
            @if let Some(balance) = &about.balance {
                (figure("Free balance", &tokens(&balance.free)))
                (figure("On hold", &tokens(&balance.held)))
                (figure("May be claimed", &tokens(&balance.claimable)))
            }
        }
        @match &about.balance {
            Some(balance) => p.quiet { "Balances as of block " (block(balance.at_block)) ", when an epoch began or was paid. On hold are bonds, deposits, and what a newcomer registers with." },
            None => p.quiet { "Balances are shown of accounts that are or own members of a run." },
        }
        h2 { "Members that it signs for or owns" }
        @if about.members.is_empty() { p.quiet { "None." } } @else { (table("Memberships", &html! {
            thead { tr { th scope="col" { "Run" } th scope="col" { "uid" } th scope="col" { "Role" } th scope="col" { "Stage" } th scope="col" { "As" } th scope="col" { "Bond" } th scope="col" { "Reached at" } th scope="col" { "Still a member" } } }
            tbody { @for member in &about.members {
                tr {
                    td { a href=(format!("/run/{}/members", member.run)) { (member.run) } }
                    td.num { (member.uid) }
                    td { (api::role(member.role)) }
                    td.num { (maybe(member.stage, |s| html! { (s) })) }
                    td { @if member.is_hotkey { "hotkey" } @else { "coldkey" } }
                    td { (tokens(&member.bond)) }
                    td { (lines(&member.addresses)) }
                    td { @if member.present { "yes" } @else { "no" } }
                }
            } }
        })) }
        h2 { "What vests" }
        (vesting(&about.vesting))
        h2 { "Rewards" }
        @if about.payouts.is_empty() { p.quiet { "None were credited to it." } } @else { (table("Rewards", &html! {
            thead { tr { th scope="col" { "Block" } th scope="col" { "Run" } th scope="col" { "Epoch" } th scope="col" { "uid" } th scope="col" { "Amount" } } }
            tbody { @for payout in &about.payouts {
                tr {
                    td { (block(payout.block)) }
                    td.num { (payout.run) }
                    td.num { a href=(format!("/run/{}/epoch/{}", payout.run, payout.epoch)) { (payout.epoch) } }
                    td.num { (payout.uid) }
                    td { (tokens(&payout.amount.to_string())) }
                }
            } }
        })) }
        h2 { "Events that name it" }
        (events_table(&about.events))
    };
    Ok(shown("Account", &body))
}

fn vesting(all: &[model::Vests]) -> Markup {
    if all.is_empty() {
        return html! { p.quiet { "Nothing of its members' pay waits to vest." } };
    }
    html! {
        p { "A miner's pay vests in equal parts, one with each epoch. What has not vested is lost if the miner is found guilty. What has vested is released with its next pay, or by " code { "iota-miner claim" } "." }
        (table("What vests, as the epoch named began", &html! {
            thead { tr { th scope="col" { "Run" } th scope="col" { "uid" } th scope="col" { "As of epoch" } th scope="col" { "Vested" } th scope="col" { "Not vested" } th scope="col" { "On hold since registration" } } }
            tbody { @for own in all {
                tr {
                    td.num { (own.run) }
                    td.num { (maybe(own.uid, |uid| html! { (uid) })) }
                    td.num { a href=(format!("/run/{}/epoch/{}", own.run, own.at_epoch)) { (own.at_epoch) } span.quiet { " block " (block(own.at_block)) } }
                    td { (tokens(&own.vested)) }
                    td { (tokens(&own.unvested)) }
                    td { (tokens(&own.entry)) @if let Some(until) = own.entry_until { span.quiet { " free from epoch " (until) } } }
                }
            } }
        }))
        @for own in all.iter().filter(|own| !own.by_epoch.is_empty()) {
            details {
                summary { "By epoch, uid " (maybe(own.uid, |uid| html! { (uid) })) " of run " (own.run) }
                (table("What vests in each coming epoch", &html! {
                    thead { tr { th scope="col" { "Epoch" } th scope="col" { "Vests" } } }
                    tbody { @for (epoch, part) in &own.by_epoch { tr { td.num { (epoch) } td { (tokens(part)) } } } }
                }))
            }
        }
    }
}

async fn of_block(State(served): State<Served>, Path(number): Path<String>) -> Result<Response, Failure> {
    let Ok(number) = number.parse::<u32>() else { return Ok(not_found().await) };
    let found = served.read(move |reader| Ok((reader.block(number)?, reader.events_in(number)?))).await?;
    let (Some(about), events) = found else { return Ok(not_found().await) };
    let body = html! {
        h1 { "Block " (about.number) }
        dl.figures {
            (figure("Time", &maybe(about.timestamp_ms.filter(|ms| *ms > 0), time)))
            (figure("Currency in existence", &maybe(about.issuance.as_ref(), |i| rounded(i))))
        }
        p { "Hash " code.whole { (about.hash) } br; "State root " code.whole { (about.state_root) } }
        @if !about.has_state { p.warn { "The node had dropped this block's state when it was indexed, so its events are not known." } }
        p.links {
            @if let Some(before) = number.checked_sub(1) { a href=(format!("/block/{before}")) { "Block before" } }
            a href=(format!("/block/{}", number.saturating_add(1))) { "Block after" }
        }
        h2 { "Events" }
        (events_table(&events))
    };
    Ok(shown(&format!("Block {number}"), &body))
}

async fn about_api() -> Response {
    let body = html! {
        h1 { "API" }
        p { "Every page is made from the same data as the JSON below. Amounts are decimal text in the smallest unit; a token has 10" sup { "9" } " of them. " a href="/api/openapi.json" { "OpenAPI description" } }
        // A list, because a phone would show the addresses of a table and not what they give.
        dl.addresses { @for (path, what, _) in api::PATHS { dt { code { (path) } } dd { (what) } } }
        p { "Charts are drawn by Apache ECharts, whose " a href="/assets/echarts.LICENSE.txt" { "licence" } " allows it." }
    };
    shown("API", &body)
}

/// Links between the pages of a run.
fn run_links(run: RunId, here: &str) -> Markup {
    let base = format!("/run/{run}");
    let links = [
        ("Loss and stages", base.clone()),
        ("Members", format!("{base}/members")),
        ("Verdicts", format!("{base}/verdicts")),
        ("Emission audit", format!("{base}/audit")),
    ];
    html! {
        nav.links aria-label="Run" {
            @for (name, path) in &links {
                @if *name == here { a aria-current="page" href=(path) { (name) } } @else { a href=(path) { (name) } }
            }
        }
    }
}

/// Texts of strangers, one below the other.
fn lines(texts: &[String]) -> Markup {
    html! { @for text in texts { code.line { (text) } } }
}

/// A member's account as a link on its uid.
fn uid_cell(uid: impl std::fmt::Display, hotkey: &str) -> Markup {
    html! { (uid) " " (account(hotkey)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_with_fields_of_its_own_shows_what_can_be_read() {
        let event = |work: serde_json::Value| EventRow {
            block: 7,
            index: 0,
            pallet: "Iota".into(),
            name: "WorkCommitted".into(),
            fields: json!({ "uid": "3", "work": work }),
        };
        let root = format!("0x{}", "ab".repeat(32));
        let shown =
            fields(&event(json!({ "entry_root": root, "samples": "206", "started": "0" }))).into_string();
        assert!(shown.contains("<code>206</code>") && shown.contains("samples "), "{shown}");
        assert!(!shown.contains("entry_root"), "{shown}");
        assert!(fields(&event(json!({ "entry_root": root }))).into_string().contains("1 fields"));
    }
}
