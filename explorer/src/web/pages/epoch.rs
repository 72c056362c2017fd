//! An epoch: its clock, what was committed and revealed, who agreed, who was paid.

use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use axum::Router;
use iota_protocol::ids::{Epoch, RunId};
use iota_protocol::report::Verdict;
use maud::{html, Markup};

use super::super::model::{self, EpochPage, Matrix, MinerRow, Turn, ValidatorLine};
use super::super::page::{account, block, chart, figure, grouped, maybe, nats, short, table, tokens};
use super::super::{Failure, Served};
use super::run::clasp;
use super::{events_table, not_found, shown, verdicts};

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/run/{run}/epoch/{epoch}", get(epoch))
}

async fn epoch(State(served): State<Served>, Path((run, id)): Path<(u32, u32)>) -> Result<Response, Failure> {
    let found = served.read(move |reader| model::epoch(reader, RunId(run), Epoch(id))).await?;
    let Some(about) = found else { return Ok(not_found().await) };
    let source = format!("/api/v1/runs/{run}/epochs/{id}");
    let body = html! {
        h1 { a href=(format!("/run/{run}")) { "Run " (run) } ", epoch " (id) }
        nav.links aria-label="Epochs" {
            @if let Some(before) = id.checked_sub(1) { a href=(format!("/run/{run}/epoch/{before}")) { "Epoch before" } }
            @if about.has_next { a href=(format!("/run/{run}/epoch/{}", id.saturating_add(1))) { "Epoch after" } }
            a href=(format!("/run/{run}/epoch/{id}/audit")) { "Emission audit" }
        }
        (figures(&about))
        h2 { "Clock" }
        (clock(&about))
        h2 { "Miners" }
        (table("Miners", &html! {
            thead { tr { th scope="col" { "uid" } th scope="col" { "Stage" } th scope="col" { "Samples" } th scope="col" { "CLASP effect" } th scope="col" { "Factor" } th scope="col" { "Scores by validator" } th scope="col" { "Paid" } } }
            tbody { @for line in &about.miners { (miner(line)) } }
        }))
        h2 { "Validators" }
        (table("Validators", &html! {
            thead { tr { th scope="col" { "uid" } th scope="col" { "Stake" } th scope="col" { "Committed" } th scope="col" { "Revealed" } th scope="col" { "Report" } th scope="col" { "Audits that it published" } } }
            tbody { @for line in &about.validators { (validator(line)) } }
        }))
        h2 { "Verdicts" }
        (verdicts::tables(&about.judged))
        h2 { "Agreement on merged shards" }
        p { "Two miners merge each shard and must come to the same bytes. A cell is the shard that a pair owns." }
        @for matrix in &about.matrices { (agreement(matrix, &source)) }
        @if about.matrices.is_empty() { p.quiet { "Nothing was committed yet." } }
        h2 id="pathways" { "Pathways" }
        p { "How many samples prefer which miner after which, from stage to stage, as the first published report counts them." }
        @if about.flow.is_empty() { p.quiet { "No report is at hand." } } @else {
            (chart("flow", &source, "Flow of samples between miners; the same numbers stand in the table below"))
            details { summary { "Table of pathways" } (flow(&about)) }
        }
        h2 { "Payments" }
        (payments(&about))
        h2 { "Events" }
        (events_table(&about.events))
    };
    Ok(shown(&format!("Epoch {id}"), &body))
}

fn figures(about: &EpochPage) -> Markup {
    let line = &about.line;
    html! {
        dl.figures {
            (figure("Train loss", &maybe(line.train_loss, nats)))
            (figure("Held-out loss after it", &maybe(line.heldout_loss, nats)))
            (figure("Tokens", &maybe(line.tokens, |tokens| html! { (grouped(tokens)) })))
            (figure("Shards agreed, differ, missing", &html! { (line.agreed_shards) ", " (line.differing_shards) ", " (line.missing_shards) }))
            (figure("Minted", &maybe(about.split.as_ref(), |split| tokens(&split.minted))))
            (figure("Paid in block", &maybe(line.paid_block, block)))
        }
    }
}

fn clock(about: &EpochPage) -> Markup {
    table(
        "Windows of the epoch",
        &html! {
            thead { tr { th scope="col" { "Window" } th scope="col" { "First block" } th scope="col" { "Last block" } th scope="col" { "Blocks" } } }
            tbody { @for window in &about.windows {
                tr { td { (window.phase) } td.num { (window.from) } td.num { (window.to) } td.num { (window.to + 1 - window.from) } }
            } }
        },
    )
}

fn miner(line: &MinerRow) -> Markup {
    html! {
        tr {
            td.num { (line.uid) }
            td.num { (line.stage) }
            td.num { (grouped(line.samples)) }
            td { (clasp(line.clasp.as_ref())) }
            td.num { (maybe(line.clasp.as_ref(), |c| html! { (format!("{:.2}", c.factor)) })) }
            td { @for (uid, score) in &line.scores { span.field { span.quiet { "uid " (uid) ": " } span.num { (score) } } " " } }
            td { (tokens(&line.paid)) }
        }
    }
}

fn validator(line: &ValidatorLine) -> Markup {
    html! {
        tr {
            td.num { (line.uid) }
            td { (tokens(&line.stake)) }
            td { (turn(line.committed)) }
            td { (turn(line.revealed)) }
            td { (maybe(line.report_root.as_ref(), |root| html! { (short(&root.to_string())) @if !line.report_at_hand { " " span.quiet { "not fetched" } } })) }
            td { @for audit in &line.audits {
                span.field {
                    "uid " (audit.uid) " "
                    @match audit.verdict {
                        Verdict::Sound => span.badge.good { "sound" },
                        Verdict::Invalid => span.badge.bad { "invalid" },
                        Verdict::Undecided => span.badge { "undecided" },
                    }
                } " "
            } }
        }
    }
}

fn turn(turn: Turn) -> Markup {
    match turn {
        Turn::Done => html! { span.badge.good { "yes" } },
        Turn::Missed => html! { span.badge.bad { "missed" } },
        Turn::Open { until: Some(last) } => html! { span.badge { "until block " (last) } },
        Turn::Open { until: None } => html! { span.badge { "in the next epoch" } },
    }
}

fn agreement(matrix: &Matrix, source: &str) -> Markup {
    let state = |row, column| {
        matrix
            .cells
            .iter()
            .find(|cell| cell.row == row && cell.column == column)
            .map_or("", |cell| cell.state)
    };
    html! {
        h3 { "Stage " (matrix.stage) }
        p { "Root of the merged weights: " (maybe(matrix.canonical_root.as_ref(), |root| short(&root.to_string()))) }
        div.chart data-chart="agreement" data-source=(source) data-stage=(matrix.stage) role="img" aria-label=(format!("Agreement in stage {}; the same stands in the table below", matrix.stage)) {}
        (table(&format!("Agreement in stage {}", matrix.stage), &html! {
            thead { tr { th scope="col" { "uid" } @for uid in &matrix.uids { th scope="col" { (uid) } } } }
            tbody { @for row in &matrix.uids {
                tr { th scope="row" { (row) } @for column in &matrix.uids { td class=(format!("cell {}", state(*row, *column))) { (state(*row, *column)) } } }
            } }
        }))
    }
}

fn flow(about: &EpochPage) -> Markup {
    table(
        "Pathways",
        &html! {
            thead { tr { th scope="col" { "From stage" } th scope="col" { "uid" } th scope="col" { "to uid" } th scope="col" { "Samples" } } }
            tbody { @for flow in &about.flow {
                tr { td.num { (flow.from_stage) } td.num { (flow.from) } td.num { (flow.to) } td.num { (grouped(flow.samples)) } }
            } }
        },
    )
}

fn payments(about: &EpochPage) -> Markup {
    let Some(split) = &about.split else {
        return html! { p.quiet { "Not paid yet: an epoch is scored while the next one trains." } };
    };
    html! {
        dl.figures {
            (figure("To miners", &tokens(&split.miners)))
            (figure("To validators", &tokens(&split.validators)))
            (figure("To the treasury", &tokens(&split.treasury)))
            (figure("Burned since the report before", &tokens(&split.burned)))
        }
        (table("Payments", &html! {
            thead { tr { th scope="col" { "uid" } th scope="col" { "To" } th scope="col" { "Amount" } } }
            tbody { @for paid in &about.payouts {
                tr { td.num { (paid.uid) } td { (account(&paid.coldkey)) } td { (tokens(&paid.amount)) } }
            } }
        }))
    }
}
