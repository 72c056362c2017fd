//! Honest miners in trouble: the row `honest`.

use std::collections::BTreeMap;

use iota_protocol::ids::Uid;

use crate::outcome::{percent, share_at_most, Miss, Outcome, Scale, Table};
use crate::world::fault::Fault;
use crate::world::{Ledger, Setup, Sign, World};

/// The row: honest epochs full of trouble.
///
/// # Errors
/// Never; rows share a signature.
pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
    let (seeds, epochs) = scale.pick((2, 10), (25, 40));
    let mut out = Outcome::default();
    out.note(format!(
        "{seeds} runs of {epochs} epochs. In each epoch every miner is in trouble with probability 1/5: slow, \
         away for a while, missing the merge, or cut off from one other. Two miners besides are always five \
         times slower and always away for a third of the epoch."
    ));
    let columns = ["", "count", "of"];
    let mut table = Table::new("What happened to honest miners", &columns);
    let mut total: BTreeMap<&str, usize> = BTreeMap::new();
    let mut least = f64::INFINITY;
    let mut lost: Vec<f64> = Vec::new();
    let (mut samples, mut missing) = (0u32, 0usize);
    for seed in 0..seeds {
        let setup = Setup { trouble: 0.2, ..Setup::small(seed, epochs) };
        let slow = [Uid(6)];
        let story = World::new(setup.with(Fault::Straggler, &slow).with(Fault::Flapping, &[Uid(12)])).run();
        *total.entry("accused").or_default() += story.accused.len();
        *total.entry("cut").or_default() += story.cut.values().sum::<u32>() as usize;
        *total.entry("skips").or_default() +=
            story.pointed.values().filter(|(_, sign)| *sign == Sign::Skips).count();
        samples += story.samples.iter().sum::<u32>();
        *total.entry("unpaid").or_default() += story.unpaid_skips as usize;
        missing += story.missing_shards;
        for (uid, (_, not)) in &story.uncounted {
            *total.entry("uncounted").or_default() += *not as usize;
            let stage = uid.0 / 5 * 5;
            let fellows: Vec<Uid> = (stage..stage + 5).map(Uid).collect();
            lost.push(story.lost_by_count(*uid, &fellows));
        }
        let kept: Vec<f64> = story.ledgers.values().map(Ledger::kept).collect();
        let mean = kept.iter().sum::<f64>() / kept.len() as f64;
        let healthy = story.ledgers.iter().filter(|(uid, _)| !slow.contains(uid) && uid.0 != 12);
        least = healthy.fold(least, |least, (_, ledger)| least.min(ledger.kept() / mean));
    }
    let (runs, epochs_run) = (seeds as usize, seeds as usize * epochs as usize);
    let count = |name| total.get(name).copied().unwrap_or(0);
    let mut push = |what: &str, count: usize, of: usize| {
        table.push([what.to_owned(), count.to_string(), of.to_string()]);
    };
    push("miners marked Invalid or named by agreement", count("accused"), runs * 15);
    push("miner-epochs in which CLASP took pay", count("cut"), epochs_run * 15);
    push("miners that the skip test ever named as senders", count("skips"), runs * 15);
    push(
        "passes not paid to honest senders for skips beyond the limit",
        count("unpaid"),
        samples as usize * 2,
    );
    push("stops of samples that do not count for who took them", count("uncounted"), samples as usize * 2);
    push("samples that went all the way", samples as usize, epochs_run * 375);
    push("shards that nobody merged", missing, epochs_run * 30);
    out.tables.push(table);
    let text = format!("No honest miner is marked Invalid in {epochs_run} honest epochs");
    let limit = share_at_most(count("accused"), epochs_run * 15);
    let got = format!("{} (at most {} of miner-epochs, 95 %)", count("accused"), percent(limit));
    out.claim(text, got, count("accused") == 0);
    let cut = count("cut") as f64 / (epochs_run * 15) as f64;
    let why =
        "a replica that missed a merge's worth of samples is truly behind, and the allowance for lag is a \
               quarter of what the epoch taught";
    out.target(
        "CLASP takes pay in fewer than 1 of 1,000 honest miner-epochs",
        percent(cut),
        cut < 0.001,
        Miss::known(cut < 0.003, why),
    );
    let losses = lost.iter().map(|lost| lost.max(0.0)).sum::<f64>() / lost.len() as f64;
    out.claim(
        "What does not count of honest work moves less than 0.5 % of pay",
        format!(
            "{}, most for one miner in a run {}",
            percent(losses),
            percent(lost.iter().copied().fold(0.0, f64::max))
        ),
        losses < 0.005,
    );
    let why = "weights follow pay and pay follows weights: what a miner lost by chance or in trouble nothing gives back, \
               down to the floor of half the median; the share shrinks with samples and with quiet epochs";
    out.target(
        "Healthy miners keep at least two thirds of the mean pay beside troubled ones",
        format!("least {}", percent(least)),
        least > 0.66,
        // The floor of half the median.
        Miss::known(least > 0.4, why),
    );
    Ok(out)
}
