//! The odds that a random draw puts more bad miners into a stage than merging bears.

use iota_protocol::assignment::assign;
use iota_protocol::ids::{Hash, Uid};
use iota_protocol::seed::derive;

use crate::outcome::{percent, Outcome, Scale, Table};
use crate::world::Setup;

/// Miners of the largest run.
const MINERS: u64 = 256;
/// The share that a stage bears.
const SHARE: f64 = 0.3;

/// Natural logarithm of a factorial; sums of logarithms are exact enough for 256.
fn ln_factorial(n: u64) -> f64 {
    (2..=n).map(|k| (k as f64).ln()).sum()
}

/// Probability that more than `SHARE` of a stage of `size` are bad when `bad` of `all` are.
#[must_use]
pub fn exceeds(all: u64, bad: u64, size: u64) -> f64 {
    let ln_choose = |n: u64, k: u64| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    let least = (SHARE * size as f64 + 1e-9).floor() as u64 + 1;
    let term = |hits: u64| {
        (hits <= bad && size - hits <= all - bad)
            .then(|| (ln_choose(bad, hits) + ln_choose(all - bad, size - hits) - ln_choose(all, size)).exp())
    };
    (least..=size).filter_map(term).sum()
}

/// The same by the real assignment of newcomers, counted over seeds and stages.
fn drawn(size: u16, bad: u16, seeds: u64) -> f64 {
    let stages = MINERS as u16 / size;
    let setup = Setup { stages, replicas: size, ..Setup::small(0, 1) };
    let (params, uids) = (setup.params(), (0..stages * size).map(Uid).collect::<Vec<_>>());
    let (mut over, mut all) = (0u32, 0u32);
    for seed in 0..seeds {
        let drawn = assign(&params, &derive(&Hash::ZERO, b"lab/odds", seed), &[], &uids);
        for stage in 0..stages {
            let members = drawn.iter().filter(|(_, at)| at.0 == stage);
            let (total, hits) = members
                .fold((0u32, 0u32), |(total, hits), (uid, _)| (total + 1, hits + u32::from(uid.0 < bad)));
            over += u32::from(f64::from(hits) > SHARE * f64::from(total) + 1e-9);
            all += 1;
        }
    }
    f64::from(over) / f64::from(all.max(1))
}

/// The row.
///
/// # Errors
/// Never; rows share a signature.
pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
    let seeds = scale.pick(20, 500);
    let mut out = Outcome::default();
    out.note(format!(
        "Probability that more than 30 % of one stage are bad, of {MINERS} miners drawn into stages without \
         repetition (hypergeometric), and the same counted over {seeds} seeds of the real assignment."
    ));
    let columns = ["replicas", "10 % bad", "counted", "20 % bad", "counted", "30 % bad", "counted"];
    let mut table = Table::new("Odds that a stage gets more than 30 % bad miners", &columns);
    let mut worst = 0.0f64;
    for size in [4u16, 8, 16, 32, 64] {
        let mut cells = vec![size.to_string()];
        for share in [0.1, 0.2, 0.3] {
            let bad = (MINERS as f64 * share).round() as u64;
            let (exact, counted) = (exceeds(MINERS, bad, size.into()), drawn(size, bad as u16, seeds));
            cells.extend([percent(exact), percent(counted)]);
            let error = (exact * (1.0 - exact) / (seeds as f64 * f64::from(256 / size))).sqrt();
            // Stages of one draw share their miners, so the count spreads a little less than this.
            worst = worst.max((exact - counted).abs() / error.max(0.002));
        }
        table.rows.push(cells);
    }
    out.tables.push(table);
    let got = format!("largest difference {worst:.1} standard errors");
    out.claim("The real assignment draws like a hypergeometric", got, worst < 4.5);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_odds() {
        // 2 bad of 4, a stage of 2: both bad in 1 of 6, one in 4 of 6; more than 30 % is one or two.
        assert!((exceeds(4, 2, 2) - 5.0 / 6.0).abs() < 1e-12);
        assert!(exceeds(10, 0, 5).abs() < 1e-12);
        assert!((exceeds(10, 10, 5) - 1.0).abs() < 1e-12);
    }
}
