//! A run: its losses, stages and members.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use axum::Router;
use iota_protocol::ids::RunId;
use iota_protocol::work::Role;
use maud::{html, Markup};
use serde::Deserialize;

use super::super::api;
use super::super::model::{self, DataSet, EpochLine, MemberLine, Run};
use super::super::page::{account, chart, figure, grouped, maybe, nats, rounded, short, table, tokens};
use super::super::{Failure, Served};
use super::{lines, not_found, run_links, shown, uid_cell};

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/run/{run}", get(run)).route("/run/{run}/members", get(members))
}

async fn run(State(served): State<Served>, Path(id): Path<u32>) -> Result<Response, Failure> {
    let manifests = Arc::clone(&served.manifests);
    let Some(run) = served.read(move |reader| model::run(reader, RunId(id), &manifests)).await? else {
        return Ok(not_found().await);
    };
    let source = format!("/api/v1/runs/{id}");
    let body = html! {
        h1 { "Run " (id) }
        (run_links(RunId(id), "Loss and stages"))
        (figures(&run))
        h2 { "Loss" }
        p { "Lower is better. Training loss is the mean over the epoch's samples, held-out loss that of the merged weights on text that nobody trains on. Both are as validators published them." }
        @if run.epochs.iter().any(|line| line.train_loss.or(line.heldout_loss).is_some()) {
            (chart("loss", &source, "Loss by epoch; the same numbers stand in the table of epochs"))
        } @else { p.quiet { "No loss is known yet: validators publish it while the epoch after trains." } }
        (epochs_table(&run))
        h2 { "Throughput" }
        @if run.epochs.iter().any(|line| line.tokens_per_second.is_some()) {
            (chart("throughput", &source, "Tokens per second by epoch; the same numbers stand in the table of epochs"))
        } @else { p.quiet { "Not known yet: an epoch counts when it has been seen from its beginning to its end." } }
        h2 { "Stages and their replicas" }
        (stages_table(&run))
        h2 { "Pathways" }
        (pathways(&run))
        h2 { "Text" }
        (data_set(&run.data))
    };
    Ok(shown(&format!("Run {id}"), &body))
}

fn figures(run: &Run) -> Markup {
    let (plain, codes) = (run.bytes_per_token_uncompressed, run.bytes_per_token_codes);
    html! {
        dl.figures data-run=(run.line.run) {
            (figure("Model", &html! { (run.line.preset) }))
            (figure("Parameters", &html! { (grouped(run.line.parameters)) }))
            (figure("Tokens trained", &html! { span data-live="tokens" { (grouped(run.line.tokens)) } }))
            (figure("Epoch", &html! { span data-live="epoch" { (run.line.epoch) } " of " (run.line.epochs) }))
            (figure("Phase", &html! { span.badge data-live="phase" { (run.line.phase) } }))
            (figure("Bytes per token at a boundary", &html! { (format!("{codes:.1}")) " instead of " (format!("{plain:.0}")) }))
            (figure("Compression", &html! { (format!("{:.1}", plain / codes.max(f64::MIN_POSITIVE))) " times " span.quiet { "by the codec, without headers" } }))
        }
    }
}

/// Who hands on to whom, in the newest epoch of which that is known.
fn pathways(run: &Run) -> Markup {
    let Some(epoch) = run.newest_report else {
        return html! { p.quiet { "No validator's report is at hand yet." } };
    };
    let path = format!("/run/{}/epoch/{epoch}", run.line.run);
    html! {
        p { "A sample takes one miner of each stage, forward and back. The width is how many samples prefer which miner after which in epoch " (epoch) ", as a validator's report counts them. " a href=(format!("{path}#pathways")) { "The same as a table" } }
        (chart("flow", &format!("/api/v1/runs/{}/epochs/{epoch}", run.line.run), &format!("Flow of samples between miners in epoch {epoch}; the page of that epoch has the same numbers as a table")))
    }
}

/// What the text behind the run is.
fn data_set(data: &DataSet) -> Markup {
    html! {
        p { "The chain names the text by the hash of its manifest, " (short(&data.manifest_root.to_string())) ". " }
        dl.figures {
            (figure("Windows to train on", &html! { (grouped(data.train_windows)) }))
            (figure("Windows held out", &html! { (grouped(data.heldout_windows)) }))
            @if let Some(own) = &data.manifest {
                (figure("Tokens", &html! { (grouped(own.tokens)) }))
                (figure("Windows that occur twice", &html! { (grouped(own.duplicates)) }))
                (figure("Held-out windows seen in training", &html! { (grouped(own.overlap)) }))
                (figure("Encoding errors", &maybe(own.encoding_errors, |errors| html! { (grouped(errors)) })))
                (figure("Tokenizer", &html! { (own.tokenizer) }))
                (figure("Licence", &html! { (own.license) }))
            }
        }
        @if data.manifest.is_none() {
            p.quiet { "This explorer was not given the manifest, so licence, duplicates and encoding errors are not shown (" code { "--manifest FILE" } ")." }
        }
    }
}

fn epochs_table(run: &Run) -> Markup {
    table(
        "Epochs",
        &html! {
            thead { tr {
                th scope="col" { "Epoch" } th scope="col" { "Train loss" } th scope="col" { "Held-out loss" }
                th scope="col" { "Tokens" } th scope="col" { "Tokens/s" } th scope="col" { "Miners" }
                th scope="col" { "Shards agreed / differ / missing" } th scope="col" { "Minted" } th scope="col" { "Audit" }
            } }
            tbody { @for line in run.epochs.iter().rev() { (epoch_row(run.line.run, line)) } }
        },
    )
}

fn epoch_row(run: RunId, line: &EpochLine) -> Markup {
    let path = format!("/run/{run}/epoch/{}", line.epoch);
    html! {
        tr {
            td.num { a href=(path) { (line.epoch) } @if line.settling { " " span.quiet { "settling" } } }
            td { (maybe(line.train_loss, nats)) }
            td { (maybe(line.heldout_loss, nats)) }
            td.num { (maybe(line.tokens, |tokens| html! { (grouped(tokens)) })) }
            td.num { (maybe(line.tokens_per_second, |rate| html! { (grouped(format!("{rate:.0}"))) })) }
            td.num { (line.contributors) }
            td.num { (line.agreed_shards) " / " (line.differing_shards) " / " (line.missing_shards) }
            td { (maybe(line.minted.as_ref(), |minted| if line.void == Some(true) { html! { "void" } } else { tokens(minted) })) }
            td { @if line.paid_block.is_some() { a href=(format!("{path}/audit")) { "audit" } } @else { span.quiet.num { "not paid yet" } } }
        }
    }
}

fn stages_table(run: &Run) -> Markup {
    table(
        "Stages",
        &html! {
            thead { tr { th scope="col" { "Stage" } th scope="col" { "Layers" } th scope="col" { "Parameters" } th scope="col" { "Share of pay" } th scope="col" { "Replicas (uids)" } } }
            tbody { @for stage in &run.stages {
                tr {
                    td.num { (stage.stage) }
                    td.num { (stage.first_layer) " to " (stage.first_layer + stage.layers - 1) }
                    td.num { (grouped(stage.parameters)) }
                    td.num { (format!("{:.1} %", f64::from(stage.share_ppm) / 1e4)) }
                    @if stage.replicas.is_empty() { td { span.quiet { "none" } } }
                    @else { td { (stage.replicas.len()) ": " @for uid in &stage.replicas { span.badge { (uid) } " " } } }
                }
            } }
        },
    )
}

#[derive(Deserialize)]
struct Order {
    #[serde(default)]
    sort: String,
    #[serde(default)]
    order: String,
}

/// Columns by which members can be sorted, with their headings.
const COLUMNS: [(&str, &str); 10] = [
    ("uid", "uid"),
    ("role", "Role"),
    ("stage", "Stage"),
    ("bond", "Bond"),
    ("samples", "Samples"),
    ("clasp", "CLASP effect"),
    ("agreement", "Agreement"),
    ("score", "Score"),
    ("paid", "Paid last epoch"),
    ("total", "Paid in all"),
];

async fn members(
    State(served): State<Served>,
    Path(id): Path<u32>,
    Query(order): Query<Order>,
) -> Result<Response, Failure> {
    let Some(found) = served.read(move |reader| model::members(reader, RunId(id))).await? else {
        return Ok(not_found().await);
    };
    let mut lines = found.members;
    lines.sort_by(|a, b| compare(&order.sort, a, b));
    let falling = order.order == "desc";
    if falling {
        lines.reverse();
    }
    let body = html! {
        h1 { "Members of run " (id) }
        (run_links(RunId(id), "Members"))
        p {
            @match found.epoch {
                Some(epoch) => { "Samples, scores and pay are of epoch " a href=(format!("/run/{id}/epoch/{epoch}")) { (epoch) } ", the newest that was paid. " }
                None => "No epoch has been paid yet. ",
            }
            "CLASP says by how many nats the samples of a miner are worse (positive) or better than those of its stage's median. The highest score is 65,535."
        }
        (table("Members", &html! {
            thead { tr {
                @for (key, name) in COLUMNS { (heading(id, key, name, &order.sort, falling)) }
                th scope="col" { "Why unpaid" } th scope="col" { "Owner" } th scope="col" { "Reached at" }
            } }
            tbody { @for line in &lines { (member_row(line)) } }
        }))
    };
    Ok(shown("Members", &body))
}

fn heading(run: u32, key: &str, name: &str, sorted: &str, falling: bool) -> Markup {
    let current = sorted == key || (sorted.is_empty() && key == "uid");
    let next = if current && !falling { "desc" } else { "asc" };
    let state = match (current, falling) {
        (false, _) => "none",
        (true, false) => "ascending",
        (true, true) => "descending",
    };
    html! {
        th scope="col" aria-sort=(state) {
            a href=(format!("/run/{run}/members?sort={key}&order={next}")) { (name) @if current { @if falling { " ↓" } @else { " ↑" } } }
        }
    }
}

fn member_row(line: &MemberLine) -> Markup {
    html! {
        tr.gone[!line.present] {
            td { (uid_cell(line.uid, &line.hotkey)) @if !line.present { " " span.quiet { "left" } } }
            td { (api::role(line.role)) }
            td.num { (maybe(line.stage, |stage| html! { (stage) })) }
            td { @if line.role == Role::Validator { (tokens(&line.bond)) } @else { span.quiet { "–" } } }
            td.num { (maybe(line.samples, |samples| html! { (grouped(samples)) })) }
            td { (clasp(line.clasp.as_ref())) }
            td.num { (maybe(line.agreement, |share| html! { (format!("{:.0} %", share * 100.0)) })) }
            td.num { (maybe(line.score, |score| html! { (format!("{score:.0}")) })) }
            td { (rounded(&line.paid_last)) }
            td { (rounded(&line.paid_total)) }
            @if let Some(why) = &line.why_unpaid { td.words { (why) } } @else { td {} }
            td { (account(&line.coldkey)) }
            td { (lines(&line.addresses)) }
        }
    }
}

/// Effect and interval; marked where it counts.
pub(super) fn clasp(clasp: Option<&model::Clasp>) -> Markup {
    maybe(clasp, |clasp| {
        html! {
            span.num.harm[clasp.significant && clasp.effect > 0.0].help[clasp.significant && clasp.effect < 0.0] {
                (format!("{:+.3}", clasp.effect))
            }
            @if let Some((low, high)) = clasp.interval {
                " " span.quiet.num { (format!("{low:+.2} to {high:+.2}")) }
            } @else { " " span.quiet { "no estimate" } }
        }
    })
}

fn compare(column: &str, a: &MemberLine, b: &MemberLine) -> Ordering {
    let amount = |text: &str| text.parse::<u128>().unwrap_or(0);
    let float = |a: Option<f64>, b: Option<f64>| {
        a.unwrap_or(f64::NEG_INFINITY).total_cmp(&b.unwrap_or(f64::NEG_INFINITY))
    };
    let by = match column {
        "role" => (a.role == Role::Validator).cmp(&(b.role == Role::Validator)),
        "stage" => a.stage.cmp(&b.stage),
        "bond" => amount(&a.bond).cmp(&amount(&b.bond)),
        "samples" => a.samples.cmp(&b.samples),
        "clasp" => float(a.clasp.as_ref().map(|c| c.effect), b.clasp.as_ref().map(|c| c.effect)),
        "agreement" => float(a.agreement, b.agreement),
        "score" => float(a.score, b.score),
        "paid" => amount(&a.paid_last).cmp(&amount(&b.paid_last)),
        "total" => amount(&a.paid_total).cmp(&amount(&b.paid_total)),
        _ => Ordering::Equal,
    };
    by.then((a.uid, a.incarnation).cmp(&(b.uid, b.incarnation)))
}
