//! What validators submitted: when (I6), and whether it follows from what they published (I9).

use iota_protocol::ids::{Hash, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::view::{ClockView, ScoreView, SnapshotValidator};
use iota_protocol::work::{scores_hash, ScoreEntry, ScoreReveal};

use super::{paid_at, Finding};
use crate::bundle::{Bundle, Submission};
use crate::member::stages;

/// I6: commits and reveals came in their windows, each reveal after its commit and hashing to it; who missed.
pub(super) fn windows(bundle: &Bundle) -> Finding {
    let claim =
        "Scores were committed and revealed in their windows, and what was revealed is what was committed";
    let finding = Finding::new("I6", claim).at(paid_at(bundle));
    let (Some(clock), Some(snapshot)) = (&bundle.scoring, &bundle.snapshot) else {
        return finding.note("the clock of the scoring epoch or the snapshot is missing");
    };
    let (mut finding, mut late, mut openings) = (finding, false, Vec::new());
    for validator in &snapshot.validators {
        let row = bundle
            .scores
            .iter()
            .find(|row| row.uid == validator.uid && row.incarnation == validator.incarnation);
        let Some(row) = row else {
            finding = finding.note(format!("uid {}: missed its commit", validator.uid));
            continue;
        };
        let timely = outcome(&bundle.params, clock, row, &bundle.submissions);
        let opening = row.entries.as_ref().map(|entries| opening(bundle, validator, row, entries));
        late |= timely.is_err();
        openings.extend(opening);
        let timely = timely.unwrap_or_else(|late| late);
        let opened = opening.map_or("", Opening::words);
        finding = finding.note(format!("uid {}: {timely}{opened}", validator.uid));
    }
    let unknown = bundle.scores.iter().find(|row| !snapshot.validators.iter().any(|v| v.uid == row.uid));
    if let Some(row) = unknown {
        return finding.note(format!("uid {} revealed without a permit", row.uid)).judged(false);
    }
    let finding = finding
        .side("validators with a permit", snapshot.validators.len())
        .side("of them revealed", openings.len())
        .side("reveals that hash to their commits", count(&openings, Opening::Opens));
    let wrong = late || count(&openings, Opening::Wrong) > 0;
    if !wrong && count(&openings, Opening::Unknown) > 0 {
        finding
    } else {
        finding.judged(!wrong)
    }
}

/// Whether a reveal is what its commit hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    Opens,
    Wrong,
    /// The call that revealed, and with it the salt, is not known.
    Unknown,
}

impl Opening {
    fn words(self) -> &'static str {
        match self {
            Self::Opens => "; what it revealed hashes to its commit",
            Self::Wrong => "; what it revealed does NOT hash to its commit",
            Self::Unknown => "; its salt is not known, so that its commit could not be opened",
        }
    }
}

fn count(openings: &[Opening], kind: Opening) -> usize {
    openings.iter().filter(|own| **own == kind).count()
}

/// Hashes what stands revealed, as the chain did, with each salt that its extrinsic names.
fn opening(bundle: &Bundle, author: &SnapshotValidator, row: &ScoreView, entries: &[ScoreEntry]) -> Opening {
    let hashed = |salt: Hash| {
        let entries = entries.to_vec().try_into().ok()?;
        let reveal = ScoreReveal { entries, salt: salt.0, report_root: row.report_root? };
        let (genesis, incarnation) = (bundle.genesis, row.incarnation);
        Some(scores_hash(&genesis, bundle.run, &author.hotkey, incarnation, bundle.epoch, &reveal))
    };
    let mut salts = bundle.salts.iter().filter(|own| own.uid == author.uid).peekable();
    if salts.peek().is_none() {
        Opening::Unknown
    } else if salts.any(|own| hashed(own.salt) == Some(row.commit)) {
        Opening::Opens
    } else {
        Opening::Wrong
    }
}

/// When one validator committed and revealed, or what is wrong with it.
fn outcome(
    params: &RunParams,
    clock: &ClockView,
    row: &ScoreView,
    submissions: &[Submission],
) -> Result<String, String> {
    let schedule = clock.schedule(params);
    let block = |reveal| submissions.iter().find(|s| s.uid == row.uid && s.reveal == reveal).map(|s| s.block);
    let check = |what: &str, window: std::ops::Range<u32>, block: Option<u32>| match block {
        Some(block) if window.contains(&block) => Ok(format!("{what} in block {block}")),
        Some(block) => Err(format!(
            "{what} in block {block}, outside of {} to {}",
            window.start,
            window.end.saturating_sub(1)
        )),
        None => Err(format!("{what} without an event that says when")),
    };
    let committed = check("committed", schedule.score_commit(), block(false))?;
    if row.entries.is_none() {
        return Ok(format!("{committed}, missed its reveal"));
    }
    let revealed = check("revealed", schedule.score_reveal(), block(true))?;
    Ok(format!("{committed}, {revealed}"))
}

/// I9: each revealed row follows from a published report, and that from its own observations.
pub(super) fn reports(bundle: &Bundle) -> Finding {
    let claim = "Each revealed row follows from the report behind its root";
    let finding = Finding::new("I9", claim).at(paid_at(bundle));
    let rows: Vec<&ScoreView> = bundle.scores.iter().filter(|row| row.entries.is_some()).collect();
    let (mut finding, mut wrong, mut missing) = (finding, 0u32, 0u32);
    for row in &rows {
        let (counter, text) = match judge(bundle, row) {
            Judgement::Follows(text) => (None, text),
            Judgement::Wrong(text) => (Some(&mut wrong), text),
            Judgement::Missing => (Some(&mut missing), "its report could not be fetched".to_owned()),
        };
        if let Some(counter) = counter {
            *counter += 1;
        }
        finding = finding.note(format!("uid {}: {text}", row.uid));
    }
    let stray = bundle.published.iter().find(|p| !rows.iter().any(|row| row.uid == p.uid));
    if let Some(stray) = stray {
        return finding
            .note(format!("uid {} published a report but revealed nothing", stray.uid))
            .judged(false);
    }
    let finding = finding.side("revealed rows", rows.len()).side("reports at hand", bundle.published.len());
    if wrong > 0 {
        finding.judged(false)
    } else if missing > 0 || rows.is_empty() {
        finding
    } else {
        finding.judged(true)
    }
}

enum Judgement {
    Follows(String),
    Wrong(String),
    Missing,
}

fn judge(bundle: &Bundle, row: &ScoreView) -> Judgement {
    let Some(published) = bundle.published.iter().find(|published| published.uid == row.uid) else {
        return Judgement::Missing;
    };
    let Some(report) = published.report() else {
        return Judgement::Wrong("its report does not decode".into());
    };
    if Some(report.root()) != row.report_root {
        return Judgement::Wrong(format!("the report has root {}, the reveal another", report.root()));
    }
    if (report.run, report.epoch) != (bundle.run, bundle.epoch) {
        return Judgement::Wrong(format!("the report is of run {} epoch {}", report.run, report.epoch));
    }
    if Some(report.row()) != row.entries {
        return Judgement::Wrong("the report gives another row".into());
    }
    if bundle.members.is_empty() {
        return Judgement::Follows("root and row follow; CLASP not run again, stages are unknown".into());
    }
    let wrong = report.wrong_lines(&stages(&bundle.members, bundle.params.n_stages()));
    if wrong.is_empty() {
        let samples = report.observations.len();
        Judgement::Follows(format!("root, row and CLASP over {samples} samples follow"))
    } else {
        let uids: Vec<String> = wrong.iter().map(Uid::to_string).collect();
        Judgement::Wrong(format!("CLASP gives other lines for uid {}", uids.join(", ")))
    }
}
