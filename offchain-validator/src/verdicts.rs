//! `iota-validator verdicts`: accusations, votes, requests for evidence and what came of them, by epoch, as the chain
//! has them. An explorer keeps older ones.

use clap::Args;
use iota_chain::Chain;
use iota_protocol::court::{AccusationView, Accused, CourtView, RequestView};
use iota_protocol::ids::{Epoch, RunId, Uid};
use iota_worker::answer::{tokens, Answer};
use iota_worker::command::Target;
use serde::Serialize;

/// Epochs that are looked at, the current one included: an epoch is judged in the two after it, and a verdict can be
/// looked up for one more.
const SHOWN: u32 = 4;

/// Arguments of `verdicts`.
#[derive(Args)]
pub struct Verdicts {
    #[command(flatten)]
    target: Target,
    /// This epoch only; all that the chain still keeps when absent.
    #[arg(long)]
    epoch: Option<u32>,
}

/// What happened about one epoch of training.
#[derive(Debug, Serialize)]
struct Judged {
    epoch: Epoch,
    #[serde(flatten)]
    court: CourtView,
}

impl Verdicts {
    /// What of the configuration was given.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Asks the chain and tells.
    ///
    /// # Errors
    /// When the run does not exist, or the node does not answer.
    pub async fn run(&self, chain: &Chain, run: RunId, answer: Answer) -> anyhow::Result<()> {
        let at = chain.at_finalized().await?;
        let Some(clock) = at.clock(run).await? else {
            anyhow::bail!("run {run} does not exist on this chain");
        };
        let mut judged = Vec::new();
        for epoch in epochs(clock.epoch, self.epoch) {
            judged.push(Judged { epoch, court: at.court(run, epoch).await? });
        }
        answer.say(judged.iter().flat_map(told).collect::<Vec<_>>().join("\n"), &judged)
    }
}

fn epochs(current: Epoch, wanted: Option<u32>) -> Vec<Epoch> {
    let first = current.0.saturating_sub(SHOWN - 1);
    wanted.map_or_else(|| (first..=current.0).map(Epoch).collect(), |epoch| vec![Epoch(epoch)])
}

fn told(judged: &Judged) -> Vec<String> {
    let court = &judged.court;
    let mut lines: Vec<String> = court.accusations.iter().map(accusation).collect();
    lines.extend(court.requests.iter().map(request));
    lines.extend(
        court.held.iter().map(|pay| {
            format!("held: {} of uid {}, until its evidence is there", tokens(pay.amount), pay.uid)
        }),
    );
    lines.extend(court.gated.iter().map(|(uid, _)| format!("gate: uid {uid} is not paid for this epoch")));
    lines.extend(court.audits.iter().map(|own| match &own.opened {
        Some(opened) => format!("audits: validator {} opened {} transcripts", own.uid, opened.len()),
        None => format!("audits: validator {} committed to transcripts and has not opened them", own.uid),
    }));
    if lines.is_empty() {
        lines.push("nobody accused, asked for evidence or opened an audit".into());
    }
    lines.into_iter().map(|line| format!("epoch {:>4}  {line}", judged.epoch)).collect()
}

fn accusation(of: &AccusationView) -> String {
    let what = match Accused::of(of.segment) {
        Accused::Segment(step) => format!("the segment after step {step}"),
        Accused::Shard(shard) => format!("merge shard {shard}"),
    };
    let outcome = match of.verdict {
        Some(true) => "guilty",
        Some(false) => "not guilty",
        None => "open",
    };
    let side = |guilty: bool| list(of.votes.iter().filter(|vote| vote.1 == guilty).map(|vote| vote.0));
    format!(
        "{outcome}: validator {} accuses uid {} of {what}, {} on hold; guilty say {}, not guilty {}",
        of.accuser,
        of.uid,
        tokens(of.deposit),
        side(true),
        side(false)
    )
}

fn request(of: &RequestView) -> String {
    let stake = if of.quorum { "more than half of the stake" } else { "less than half of the stake" };
    let answer = if of.answer.is_some() { "it answered that it serves it" } else { "no answer" };
    let again = if of.again { ", again" } else { "" };
    format!(
        "asked{again}: uid {} for {} by {} ({stake}): {answer}",
        of.uid,
        of.wanted,
        list(of.askers.iter().copied())
    )
}

fn list(uids: impl Iterator<Item = Uid>) -> String {
    let uids: Vec<String> = uids.map(|uid| uid.to_string()).collect();
    if uids.is_empty() {
        return "none".into();
    }
    uids.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_protocol::emission::UNIT;
    use iota_protocol::ids::{Hash, Incarnation};

    #[test]
    fn the_last_epochs_are_shown_unless_one_is_asked_for() {
        assert_eq!(epochs(Epoch(9), None), [6, 7, 8, 9].map(Epoch));
        assert_eq!(epochs(Epoch(1), None), [0, 1].map(Epoch));
        assert_eq!(epochs(Epoch(9), Some(2)), [Epoch(2)]);
    }

    #[test]
    fn each_accusation_says_of_what_by_whom_and_how_it_ended() {
        let view = AccusationView {
            uid: Uid(5),
            incarnation: Incarnation(1),
            segment: Accused::Shard(2).number(),
            accuser: Uid(7),
            accuser_incarnation: Incarnation(2),
            evidence: Hash([1; 32]),
            deposit: 10 * UNIT,
            votes: vec![(Uid(7), true), (Uid(8), false), (Uid(9), true)],
            verdict: None,
        };
        let court = CourtView { accusations: vec![view.clone()], ..CourtView::default() };
        let [line] = &told(&Judged { epoch: Epoch(3), court })[..] else { panic!("one line") };
        assert_eq!(
            line,
            "epoch    3  open: validator 7 accuses uid 5 of merge shard 2, 10 tokens on hold; guilty say 7, 9, not guilty 8"
        );
        let ended = AccusationView { segment: 40, verdict: Some(true), votes: Vec::new(), ..view };
        let line = accusation(&ended);
        assert!(
            line.starts_with("guilty: ") && line.contains("after step 40") && line.contains("say none"),
            "{line}"
        );
    }

    #[test]
    fn missing_evidence_and_an_epoch_without_anything_are_told() {
        let request = RequestView {
            uid: Uid(4),
            incarnation: Incarnation(0),
            again: true,
            wanted: Hash([2; 32]),
            askers: vec![Uid(7), Uid(8)],
            quorum: true,
            answer: None,
        };
        let line = super::request(&request);
        assert!(line.contains("asked, again: uid 4") && line.contains("by 7, 8 (more than half"), "{line}");
        let empty = told(&Judged { epoch: Epoch(0), court: CourtView::default() });
        assert!(empty.len() == 1 && empty[0].contains("nobody accused"), "{empty:?}");
        let json = serde_json::to_value(Judged { epoch: Epoch(3), court: CourtView::default() }).unwrap();
        assert!(json["epoch"] == 3 && json["accusations"].is_array(), "{json}");
    }
}
