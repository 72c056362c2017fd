//! CLASP on losses of a real run, as they are and with harm added to one miner at a time.

use std::collections::BTreeSet;

use anyhow::Context;
use iota_protocol::clasp::{self, Config, MinerEffect, Observation};
use iota_protocol::ids::{Sample, Uid};

use crate::noise::Noise;
use crate::outcome::{percent, Outcome, Scale, Table};

/// Observations that a devnet's validator published; how they came about stands in the file.
const LOSSES: &str = include_str!("../data/devnet-losses.csv");
/// Nats added to a miner's samples; 0.25 is a tenth of these losses, the paper's attacker.
const HARMS: [f64; 5] = [0.0, 0.05, 0.1, 0.25, 0.5];

/// One epoch of the real run.
#[derive(Debug)]
pub struct RealEpoch {
    /// Its number.
    pub epoch: u32,
    /// Miners of each stage that any sample prefers.
    pub stages: Vec<Vec<Uid>>,
    /// Its observations.
    pub seen: Vec<Observation>,
}

/// Reads the epochs of the file.
///
/// # Errors
/// When a line is broken, with its text.
pub fn epochs() -> anyhow::Result<Vec<RealEpoch>> {
    let mut epochs: Vec<RealEpoch> = Vec::new();
    for line in LOSSES.lines().filter(|line| !line.starts_with('#')) {
        let (epoch, seen) = observation(line).with_context(|| format!("line {line}"))?;
        if epochs.last().is_none_or(|last| last.epoch != epoch) {
            epochs.push(RealEpoch { epoch, stages: Vec::new(), seen: Vec::new() });
        }
        if let Some(last) = epochs.last_mut() {
            last.seen.push(seen);
        }
    }
    for epoch in &mut epochs {
        let places = epoch.seen.first().map_or(0, |seen| seen.preference.len());
        let of = |place: usize| epoch.seen.iter().filter_map(move |seen| seen.preference.get(place));
        epoch.stages =
            (0..places).map(|p| of(p).copied().collect::<BTreeSet<_>>().into_iter().collect()).collect();
    }
    Ok(epochs)
}

fn observation(line: &str) -> anyhow::Result<(u32, Observation)> {
    let cells: Vec<u64> = line.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let [epoch, sample, reporter, loss, difficulty, bin, preference @ ..] = cells.as_slice() else {
        anyhow::bail!("{} cells, expected at least 7", cells.len());
    };
    let preference: Result<Vec<Uid>, _> = preference.iter().map(|uid| u16::try_from(*uid).map(Uid)).collect();
    let seen = Observation {
        sample: Sample(u32::try_from(*sample)?),
        preference: preference?,
        reporter: Uid(u16::try_from(*reporter)?),
        loss_micro: u32::try_from(*loss)?,
        difficulty: f64::from_bits(*difficulty),
        time_bin: u16::try_from(*bin)?,
    };
    Ok((u32::try_from(*epoch)?, seen))
}

/// A bootstrap sample of an epoch, in which samples that prefer `victim` cost `harm` nats more.
fn resampled(epoch: &RealEpoch, victim: Uid, harm: f64, noise: &mut Noise) -> Vec<Observation> {
    let draw = |sample: u32| {
        let mut seen = epoch.seen[noise.below(epoch.seen.len())].clone();
        seen.sample = Sample(sample);
        if seen.preference.contains(&victim) {
            seen.loss_micro = seen.loss_micro.saturating_add((harm * 1e6) as u32);
        }
        seen
    };
    (0..epoch.seen.len() as u32).map(draw).collect()
}

/// The row.
///
/// # Errors
/// When the stored losses cannot be read.
pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
    let mut out = Outcome::default();
    let epochs = epochs()?;
    out.note(
        "Two epochs of an honest devnet run of the preset `tiny`, as one validator reported them. First \
         as they are; then drawn anew with repetition (bootstrap, one draw per miner and seed) with nats \
         added to the samples that prefer one miner. No two samples of these epochs read the same text: \
         the run is older than repeated samples.",
    );
    out.tables.push(as_they_are(&epochs, &mut out.claims));
    let seeds = scale.pick(3, 60);
    let columns =
        ["epoch", "nats added", "of the mean loss", "found", "factor 0", "others flagged as harmful"];
    let mut table = Table::new("Harm added to one miner at a time", &columns);
    for epoch in &epochs {
        for harm in HARMS {
            let counts = harmed(epoch, harm, seeds);
            if harm >= 0.25 {
                let text = format!("Epoch {}: {harm} nats on one miner are found", epoch.epoch);
                out.claim(text, percent(counts.found), counts.found > 0.95);
            }
            table.push([
                epoch.epoch.to_string(),
                harm.to_string(),
                percent(harm / mean_loss(&epoch.seen)),
                percent(counts.found),
                percent(counts.unpaid),
                percent(counts.wrong),
            ]);
        }
    }
    out.tables.push(table);
    Ok(out)
}

fn mean_loss(seen: &[Observation]) -> f64 {
    seen.iter().map(|seen| f64::from(seen.loss_micro)).sum::<f64>() / 1e6 / seen.len() as f64
}

fn as_they_are(epochs: &[RealEpoch], claims: &mut Vec<crate::outcome::Claim>) -> Table {
    let columns =
        ["epoch", "samples", "miner", "stage", "contribution (nats)", "95 % interval", "factor", "paper's z"];
    let mut table = Table::new("An honest run: contribution of every miner", &columns);
    let (mut cut, mut all) = (0, 0);
    for epoch in epochs {
        let means = clasp::mean_z(&epoch.stages, &epoch.seen);
        for effect in clasp::estimate(&epoch.stages, &epoch.seen, &Config::default()) {
            let z = means.iter().find(|mean| mean.uid == effect.uid).map_or(0.0, |mean| mean.z);
            let interval = effect.interval().map(|(low, high)| format!("{:.3} to {:.3}", -high, -low));
            all += 1;
            cut += usize::from(effect.factor_ppm < 1_000_000);
            table.push([
                epoch.epoch.to_string(),
                epoch.seen.len().to_string(),
                effect.uid.to_string(),
                effect.stage.to_string(),
                format!("{:.3}", -effect.effect),
                interval.unwrap_or_default(),
                format!("{:.3}", f64::from(effect.factor_ppm) / 1e6),
                format!("{z:.2}"),
            ]);
        }
    }
    claims.push(crate::outcome::Claim {
        text: "No honest miner of the real epochs loses pay to CLASP".into(),
        got: format!("{cut} of {all}"),
        holds: cut == 0,
        known_miss: None,
    });
    table
}

struct Harmed {
    found: f64,
    unpaid: f64,
    wrong: f64,
}

fn harmed(epoch: &RealEpoch, harm: f64, seeds: u64) -> Harmed {
    let (mut found, mut unpaid, mut wrong, mut trials, mut others) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for victim in epoch.stages.iter().flatten() {
        for seed in 0..seeds {
            let mut noise = Noise::new(seed, &format!("real/{}/{victim}/{harm}", epoch.epoch));
            let seen = resampled(epoch, *victim, harm, &mut noise);
            let effects = clasp::estimate(&epoch.stages, &seen, &Config::default());
            let harmful = |e: &&MinerEffect| e.significant && e.effect > 0.0;
            trials += 1.0;
            for effect in effects.iter().filter(harmful) {
                if effect.uid == *victim {
                    found += 1.0;
                    unpaid += f64::from(u8::from(effect.factor_ppm == 0));
                } else {
                    wrong += 1.0;
                }
            }
            others += (effects.len() - 1) as f64;
        }
    }
    Harmed { found: found / trials, unpaid: unpaid / trials, wrong: wrong / others }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_losses_are_those_of_two_epochs_of_three_stages() {
        let epochs = epochs().unwrap();
        assert_eq!(epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [1, 2]);
        assert!(epochs.iter().all(|epoch| epoch.stages.len() == 3 && epoch.seen.len() > 400));
        assert!((1.0..4.0).contains(&mean_loss(&epochs[0].seen)));
    }
}
