//! `iota-miner explain`: why a miner got what it got for an epoch, term by term, from the chain's record
//! and the validators' published reports, by the functions that the chain pays by.
//!
//! This file computes and tells; `ask` fetches what it computes from.

pub(crate) mod ask;

use clap::Args;
use iota_protocol::consensus::{self, Miner, Row, ONE_Q32};
use iota_protocol::emission::{settle, AUDITS_PPM, SHARES};
use iota_protocol::ids::{Epoch, Incarnation, Stage, Uid};
use iota_protocol::params::{RunParams, PPM};
use iota_protocol::report::{MinerLine, Report};
use iota_protocol::view::{EpochReportView, ScoreView, SnapshotView, VestingView};
use iota_worker::answer::{waiting, Answer};
use iota_worker::command::Target;
use serde::Serialize;
use serde_json::{json, Value};

use crate::config::MinerConfig;
use crate::money::tokens;

/// Arguments of `explain`.
#[derive(Args)]
pub struct Explain {
    #[command(flatten)]
    target: Target,
    /// The epoch.
    #[arg(long)]
    epoch: u32,
}

impl Explain {
    /// What of the configuration was given.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Fetches, computes, tells.
    ///
    /// # Errors
    /// When the hotkey is no member, the epoch is not settled, or the node does not answer.
    pub async fn run(&self, config: &MinerConfig, answer: Answer) -> anyhow::Result<()> {
        let asking = ask::facts(config, Epoch(self.epoch));
        let facts = waiting("asking the chain and the validators", asking).await?;
        let terms = explain(&facts);
        let lines: Vec<_> = terms.iter().map(|term| format!("{:<12} {}", term.name, term.sentence)).collect();
        answer.say(lines.join("\n"), &terms)
    }
}

/// Everything that a payment follows from, as far as it can still be had.
pub struct Facts {
    /// Who asks.
    pub uid: Uid,
    /// Its registration.
    pub incarnation: Incarnation,
    /// The epoch.
    pub epoch: Epoch,
    /// Parameters of the run.
    pub params: RunParams,
    /// What the chain paid.
    pub report: EpochReportView,
    /// Who could be paid; the chain keeps it for three epochs.
    pub snapshot: Option<SnapshotView>,
    /// The rows that scored the epoch; kept as long.
    pub scores: Vec<ScoreView>,
    /// Reports of validators that answered, checked against their roots.
    pub reports: Vec<(Uid, Report)>,
    /// Pay of this epoch that waits for evidence.
    pub held: Option<u128>,
    /// What of this member's pay vests.
    pub vesting: Option<VestingView>,
}

/// One term of the payment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Term {
    /// Which one.
    pub name: &'static str,
    /// For people.
    pub sentence: String,
    /// The numbers in it.
    pub numbers: Value,
}

fn term(name: &'static str, sentence: String, numbers: Value) -> Term {
    Term { name, sentence, numbers }
}

/// The terms in the order in which they make the payment.
#[must_use]
pub fn explain(facts: &Facts) -> Vec<Term> {
    let mut terms = vec![paid(facts)];
    if facts.report.void {
        let sentence = "validators with half of the stake or more revealed nothing, so nothing was minted; the epoch is scored once more with the next".to_owned();
        terms.push(term("void", sentence, json!({ "void": true })));
        return terms;
    }
    let Some(snapshot) = &facts.snapshot else {
        let sentence = "the chain has forgotten who committed and who scored; it keeps that for three epochs, and an explorer for ever".to_owned();
        terms.push(term("forgotten", sentence, json!({})));
        return terms;
    };
    let own = snapshot.miners.iter().find(|m| (m.uid, m.incarnation) == (facts.uid, facts.incarnation));
    let Some(own) = own else {
        let sentence = "no work of this miner was on chain when the commit window closed, and only committed work is paid".to_owned();
        terms.push(term("samples", sentence, json!({ "committed": 0 })));
        return terms;
    };
    terms.push(samples(facts, own.samples));
    terms.extend(clasp(facts));
    terms.push(scores(facts));
    terms.push(consensus(facts, snapshot));
    terms.push(stage_share(facts, own.stage));
    terms.push(gate(facts));
    terms.push(recomputed(facts, snapshot));
    terms.extend(vesting(facts));
    terms
}

fn amount(facts: &Facts) -> u128 {
    let own =
        facts.report.payouts.iter().filter(|p| (p.uid, p.incarnation) == (facts.uid, facts.incarnation));
    own.map(|payout| payout.amount).sum()
}

fn paid(facts: &Facts) -> Term {
    let (amount, block) = (amount(facts), facts.report.block);
    let sentence =
        format!("uid {} was paid {} for epoch {}, in block {block}", facts.uid, tokens(amount), facts.epoch);
    term(
        "paid",
        sentence,
        json!({ "amount": amount.to_string(), "block": block, "uid": facts.uid, "epoch": facts.epoch }),
    )
}

fn own_lines(facts: &Facts) -> impl Iterator<Item = (Uid, &MinerLine)> {
    let own = |line: &&MinerLine| (line.uid, line.incarnation) == (facts.uid, facts.incarnation);
    facts.reports.iter().filter_map(move |(author, report)| Some((*author, report.miners.iter().find(own)?)))
}

fn samples(facts: &Facts, committed: u32) -> Term {
    let verified: Vec<(Uid, u32)> = own_lines(facts).map(|(author, line)| (author, line.verified)).collect();
    let list: Vec<String> =
        verified.iter().map(|(author, count)| format!("{count} stood before validator {author}")).collect();
    let list = if list.is_empty() { "no validator's report could be had".into() } else { list.join(", ") };
    let sentence = format!("{committed} samples were committed; {list}");
    term("samples", sentence, json!({ "committed": committed, "verified": verified }))
}

fn clasp(facts: &Facts) -> Vec<Term> {
    let lines = own_lines(facts).map(|(author, line)| {
        let factor = f64::from(line.factor_ppm) / 1e6;
        let meaning = match (line.significant, line.factor_ppm) {
            (false, _) => "too little to tell from chance, so the factor stays 1",
            (true, factor) if factor < PPM => "harm that stands out, which lowers the factor",
            (true, _) => "help that stands out, which raises the factor",
        };
        let estimate =
            line.contribution().map_or("its samples allow no estimate".to_owned(), |(mean, (low, high))| {
                format!("it took {mean:+.4} nats off a sample's loss (95 % between {low:+.4} and {high:+.4})")
            });
        let sentence = format!("validator {author}: {estimate}: {meaning} ({factor:.3})");
        let interval =
            line.contribution().map(|(mean, (low, high))| json!({ "mean": mean, "low": low, "high": high }));
        term(
            "clasp",
            sentence,
            json!({ "validator": author, "factor_ppm": line.factor_ppm, "contribution": interval }),
        )
    });
    lines.collect()
}

fn scores(facts: &Facts) -> Term {
    let score_of = |view: &ScoreView| {
        let own =
            view.entries.as_ref()?.iter().find(|e| (e.uid, e.incarnation) == (facts.uid, facts.incarnation));
        Some((view.uid, own.map_or(0, |entry| entry.score)))
    };
    let all: Vec<(Uid, u16)> = facts.scores.iter().filter_map(score_of).collect();
    let silent = facts.scores.len() - all.len();
    let list: Vec<String> =
        all.iter().map(|(author, score)| format!("{score} by validator {author}")).collect();
    let mut sentence = match list.is_empty() {
        true => "nobody revealed a score".to_owned(),
        false => {
            format!("samples times factor gave the score {} (the best of a stage has 65535)", list.join(", "))
        }
    };
    if silent > 0 {
        sentence.push_str(&format!("; {silent} committed and did not reveal"));
    }
    term("scores", sentence, json!({ "scores": all, "silent": silent }))
}

/// Consensus over the revealed rows, again.
fn consensus(facts: &Facts, snapshot: &SnapshotView) -> Term {
    let rows: Vec<Row<'_>> = snapshot
        .validators
        .iter()
        .map(|validator| {
            let own = facts
                .scores
                .iter()
                .find(|s| (s.uid, s.incarnation) == (validator.uid, validator.incarnation));
            let entries = own.and_then(|view| view.entries.as_deref()).unwrap_or_default();
            Row { uid: validator.uid, stake: validator.stake, entries }
        })
        .collect();
    let miners: Vec<Miner> = snapshot
        .miners
        .iter()
        .map(|miner| Miner { uid: miner.uid, incarnation: miner.incarnation, stage: miner.stage })
        .collect();
    let outcome = consensus::solve(facts.params.n_stages(), &miners, &rows);
    let place = miners.iter().position(|m| (m.uid, m.incarnation) == (facts.uid, facts.incarnation));
    let at = |values: &[u64]| place.and_then(|place| values.get(place)).copied().unwrap_or(0);
    let (supported, incentive) = (at(&outcome.consensus), at(&outcome.incentives));
    let sentence = format!(
        "half of the stake supports {} of the stage for it; after cutting every row to what half supports, it gets {} of its stage",
        percent(supported),
        percent(incentive)
    );
    term("consensus", sentence, json!({ "supported_q32": supported, "incentive_q32": incentive }))
}

fn percent(q32: u64) -> String {
    format!("{:.2} %", 100.0 * q32 as f64 / ONE_Q32 as f64)
}

fn stage_share(facts: &Facts, stage: Stage) -> Term {
    let (share, minted) =
        (facts.params.stage(stage).map_or(0, |about| about.share_ppm), facts.report.split.minted);
    let sentence = format!(
        "{} were minted, half of it for miners, of which stage {stage} has {:.2} % by its share of the computation",
        tokens(minted),
        f64::from(share) / 1e4
    );
    term(
        "stage",
        sentence,
        json!({
            "stage": stage, "share_ppm": share, "minted": minted.to_string(),
            "miners_ppm": SHARES.miners_ppm, "audits_ppm": AUDITS_PPM,
        }),
    )
}

fn gate(facts: &Facts) -> Term {
    let gated = facts.report.terms.gated.contains(&(facts.uid, facts.incarnation));
    let sentence = match (gated, facts.held) {
        (true, _) => {
            "a verdict or a proof of equivocation took this epoch's pay, and what had not vested".to_owned()
        }
        (false, Some(held)) => format!(
            "{} of it are held until the miner answers for evidence that validators asked for",
            tokens(held)
        ),
        (false, None) => "no verdict stood against it, and nothing is held".to_owned(),
    };
    term("gate", sentence, json!({ "gated": gated, "held": facts.held.map(|held| held.to_string()) }))
}

/// Bonds decide what validators get, not miners, so that none are needed here.
fn recomputed(facts: &Facts, snapshot: &SnapshotView) -> Term {
    let settlement = settle(&facts.params, snapshot, &facts.scores, &[], &facts.report.terms);
    let own = settlement.payouts.iter().find(|p| (p.uid, p.incarnation) == (facts.uid, facts.incarnation));
    let (again, chain) = (own.map_or(0, |payout| payout.amount), amount(facts));
    let sentence = match again == chain {
        true => format!("computed again from the above: {}, the same to the last unit", tokens(again)),
        false => format!(
            "computed again from the above: {}, but the chain paid {}; look at the explorer's audit",
            tokens(again),
            tokens(chain)
        ),
    };
    term("recomputed", sentence, json!({ "amount": again.to_string(), "agrees": again == chain }))
}

fn vesting(facts: &Facts) -> Option<Term> {
    let vesting = facts.vesting?;
    let sentence = format!(
        "a miner's pay vests in 16 equal parts, one with each epoch: {} of all its pay have vested and wait for `claim`, {} vest later",
        tokens(vesting.vested),
        tokens(vesting.unvested)
    );
    Some(term(
        "vesting",
        sentence,
        json!({ "vested": vesting.vested.to_string(), "unvested": vesting.unvested.to_string() }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_compute::presets;
    use iota_protocol::clasp::MinerEffect;
    use iota_protocol::emission::{Terms, UNIT};
    use iota_protocol::ids::{AccountKey, Hash, RunId};
    use iota_protocol::params::DataParams;
    use iota_protocol::report::REPORT_VERSION;
    use iota_protocol::view::{SnapshotEntry, SnapshotValidator};
    use iota_protocol::work::ScoreEntry;

    fn params() -> RunParams {
        let data = DataParams { manifest_root: Hash::ZERO, train_windows: 100, heldout_windows: 1 };
        presets::run_params("nano", 1, 0, 3, 2, data).unwrap()
    }

    /// Two miners of the only stage; uid 1 has a third of the score of uid 0. One validator.
    fn world() -> Facts {
        let params = params();
        let miner = |uid: u16, samples| SnapshotEntry {
            uid: Uid(uid),
            incarnation: Incarnation(u32::from(uid)),
            stage: Stage(0),
            coldkey: AccountKey([uid as u8; 32]),
            samples,
        };
        let validator = SnapshotValidator {
            uid: Uid(9),
            incarnation: Incarnation(9),
            hotkey: AccountKey([9; 32]),
            coldkey: AccountKey([9; 32]),
            stake: 100 * UNIT,
        };
        let snapshot = SnapshotView { miners: vec![miner(0, 60), miner(1, 20)], validators: vec![validator] };
        let effect = |uid: u16, factor_ppm| MinerEffect {
            uid: Uid(uid),
            stage: Stage(0),
            samples: 20,
            effect: 0.01,
            error: 0.002,
            significant: factor_ppm != PPM,
            factor_ppm,
        };
        let report = Report {
            version: REPORT_VERSION,
            run: RunId(0),
            epoch: Epoch(1),
            miners: vec![
                MinerLine::new(Incarnation(0), 60, 60, &effect(0, PPM), 0.0),
                MinerLine::new(Incarnation(1), 20, 20, &effect(1, PPM), 0.0),
            ],
            absent: Vec::new(),
            control: None,
            skips: Vec::new(),
            observations: Vec::new(),
            audits: Vec::new(),
            secret: Hash::ZERO,
            next_secret: Hash::ZERO,
            heldout_micro: None,
        };
        let row: Vec<ScoreEntry> = report.row();
        let scores = vec![ScoreView {
            uid: Uid(9),
            incarnation: Incarnation(9),
            commit: Hash::ZERO,
            entries: Some(row),
            report_root: Some(report.root()),
        }];
        let terms = Terms::plain(Epoch(1), 0);
        let settled = settle(&params, &snapshot, &scores, &[], &terms);
        let report_view = EpochReportView {
            epoch: Epoch(1),
            block: 150,
            void: false,
            terms,
            split: settled.split,
            payouts_root: Hash::ZERO,
            bonds_root: Hash::ZERO,
            payouts: settled.payouts,
        };
        Facts {
            uid: Uid(1),
            incarnation: Incarnation(1),
            epoch: Epoch(1),
            params,
            report: report_view,
            snapshot: Some(snapshot),
            scores,
            reports: vec![(Uid(9), report)],
            held: None,
            vesting: None,
        }
    }

    fn sentence(terms: &[Term], name: &str) -> String {
        terms
            .iter()
            .find(|term| term.name == name)
            .unwrap_or_else(|| panic!("no {name} in {terms:?}"))
            .sentence
            .clone()
    }

    #[test]
    fn a_payment_is_told_term_by_term_and_computed_again() {
        let terms = explain(&world());
        // A hundred tokens, half for miners, the only stage, a quarter of its score.
        assert!(sentence(&terms, "paid").contains("was paid 12.5"), "{terms:?}");
        assert!(
            sentence(&terms, "samples").contains("20 samples were committed; 20 stood before validator 9")
        );
        assert!(sentence(&terms, "clasp").contains("too little to tell from chance"));
        assert!(sentence(&terms, "scores").contains("21845 by validator 9"));
        assert!(sentence(&terms, "consensus").contains("gets 25.00 % of its stage"));
        assert!(
            sentence(&terms, "stage").contains("100 tokens were minted")
                && sentence(&terms, "stage").contains("100.00 %")
        );
        assert!(sentence(&terms, "recomputed").contains("the same to the last unit"));
    }

    #[test]
    fn what_the_chain_does_not_pay_by_its_own_rules_is_said() {
        let mut facts = world();
        facts.report.payouts.iter_mut().for_each(|payout| payout.amount += 1);
        assert!(sentence(&explain(&facts), "recomputed").contains("but the chain paid"));
        let mut facts = world();
        facts.report.terms.gated = vec![(Uid(1), Incarnation(1))].try_into().unwrap();
        assert!(sentence(&explain(&facts), "gate").contains("a verdict"));
    }

    #[test]
    fn the_unpaid_hear_why() {
        let mut facts = world();
        facts.report.void = true;
        assert!(sentence(&explain(&facts), "void").contains("nothing was minted"));
        let mut facts = world();
        facts.incarnation = Incarnation(7);
        assert!(sentence(&explain(&facts), "samples").contains("only committed work is paid"));
        let mut facts = world();
        facts.snapshot = None;
        assert!(sentence(&explain(&facts), "forgotten").contains("three epochs"));
        let mut facts = world();
        facts.scores[0].entries = None;
        facts.reports.clear();
        let terms = explain(&facts);
        assert!(sentence(&terms, "scores").contains("1 committed and did not reveal"));
        assert!(sentence(&terms, "samples").contains("no validator's report could be had"));
    }
}
