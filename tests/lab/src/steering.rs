//! Two ways to steer attribution, and that neither works: a sender that skips its friend on hard
//! samples, and a reporter that adds a little to the losses of a victim.

use iota_protocol::clasp::{self, skip_tests, Config, MinerEffect, Observation, Offers};
use iota_protocol::ids::{Sample, Uid};

use crate::noise::Noise;
use crate::outcome::{mean_and_error, percent, Miss, Outcome, Scale, Table};

const STAGES: u16 = 5;
const REPLICAS: u16 = 5;
/// Samples of an epoch.
const SAMPLES: u32 = 1_000;
/// Nats of spread of the text that a covariate sees, that it misses, and of everything else.
const SPREADS: [f64; 3] = [0.5, 0.3, 0.2];
/// The friend, in the stage after its sender's.
const FRIEND: Uid = Uid(11);
/// The senders' stage.
const SENDERS: u16 = 1;
/// The victim of reporters, in the middle stage.
const VICTIM: Uid = Uid(12);
/// Share of samples that a scheming sender takes for hard.
const HARD: f64 = 0.3;

/// A sample with what really happened to it.
struct Ran {
    seen: Observation,
    /// Whom the sample used in each stage.
    used: Vec<Uid>,
    /// How hard its text is, covariate and all.
    text: f64,
}

fn stages() -> Vec<Vec<Uid>> {
    (0..STAGES).map(|stage| (0..REPLICAS).map(|miner| Uid(stage * REPLICAS + miner)).collect()).collect()
}

/// What goes on in an epoch.
#[derive(Clone, Copy, Default)]
struct Plot {
    /// So many senders of five skip the friend on hard samples.
    scheming: u16,
    /// Nats that the friend costs whoever uses it.
    friend_harm: f64,
    /// So many last-stage miners of five lie about the victim.
    liars: u16,
    /// Share that they add to its losses.
    lie: f64,
}

fn epoch(plot: Plot, seed: u64) -> Vec<Ran> {
    let mut noise = Noise::new(seed, "steering");
    (0..SAMPLES).map(|sample| one(plot, sample, &mut noise)).collect()
}

fn one(plot: Plot, sample: u32, noise: &mut Noise) -> Ran {
    let preference: Vec<Uid> =
        (0..STAGES).map(|stage| Uid(stage * REPLICAS + noise.below(REPLICAS.into()) as u16)).collect();
    let [known, missed, rest] = SPREADS.map(|spread| noise.normal(0.0, spread));
    let text = known + missed;
    let mut used = preference.clone();
    let (at, next) = (usize::from(SENDERS), usize::from(SENDERS) + 1);
    let schemes = used[at].0 % REPLICAS < plot.scheming;
    // 0.524 standard deviations: three tenths of a normal lie above.
    let is_hard = text > 0.524 * SPREADS[0].hypot(SPREADS[1]);
    if schemes && is_hard && used[next] == FRIEND {
        used[next] = Uid((SENDERS + 1) * REPLICAS + (FRIEND.0 + 1) % REPLICAS);
    }
    let harm = if used[next] == FRIEND { plot.friend_harm } else { 0.0 };
    let mut loss = 4.5 + text + rest + harm;
    let reporter = used[used.len() - 1];
    if reporter.0 % REPLICAS < plot.liars && preference.contains(&VICTIM) {
        loss *= 1.0 + plot.lie;
    }
    let loss_micro = (loss.max(0.0) * 1e6) as u32;
    let seen = Observation {
        sample: Sample(sample),
        preference,
        reporter,
        loss_micro,
        difficulty: known,
        time_bin: 0,
    };
    Ran { seen, used, text }
}

/// Effects with membership as it is, and as it would be if it were the miner used.
fn effects(ran: &[Ran]) -> (Vec<MinerEffect>, Vec<MinerEffect>) {
    let first: Vec<Observation> = ran.iter().map(|ran| ran.seen.clone()).collect();
    let used = ran.iter().map(|ran| Observation { preference: ran.used.clone(), ..ran.seen.clone() });
    let estimate = |seen: &[Observation]| clasp::estimate(&stages(), seen, &Config::default());
    (estimate(&first), estimate(&used.collect::<Vec<_>>()))
}

fn of(effects: &[MinerEffect], uid: Uid) -> (f64, f64) {
    let own = effects.iter().find(|effect| effect.uid == uid);
    own.map_or((0.0, 1.0), |own| (own.effect, f64::from(own.factor_ppm) / 1e6))
}

/// The row.
///
/// # Errors
/// Never; rows share a signature.
pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
    let seeds = scale.pick(10, 300);
    let mut out = Outcome::default();
    out.note(format!(
        "5 x 5 miners, {SAMPLES} samples, {seeds} seeds each. Texts differ by {} nats that the covariate \
         knows and {} that it does not; the rest of the noise is {}. A scheming sender skips its friend on \
         the hardest {} of the samples.",
        SPREADS[0],
        SPREADS[1],
        SPREADS[2],
        percent(HARD)
    ));
    friends(seeds, &mut out);
    victims(seeds, &mut out);
    Ok(out)
}

fn friends(seeds: u64, out: &mut Outcome) {
    let columns = [
        "friend costs (nats)",
        "scheming senders of 5",
        "friend's effect, by preference",
        "factor",
        "effect if the miner used counted",
        "factor",
        "pair named by the skip test",
    ];
    let mut table = Table::new("A sender skips its friend on hard samples", &columns);
    for friend_harm in [0.0, 0.15] {
        for scheming in [0, 1, 3, 5] {
            let plot = Plot { scheming, friend_harm, ..Plot::default() };
            let (mut ours, mut factors, mut theirs, mut theirs_factors, mut named) =
                (vec![], vec![], vec![], vec![], 0usize);
            for seed in 0..seeds {
                let ran = epoch(plot, seed);
                let (first, used) = effects(&ran);
                let ((effect, factor), (other, other_factor)) = (of(&first, FRIEND), of(&used, FRIEND));
                ours.push(effect);
                factors.push(factor);
                theirs.push(other);
                theirs_factors.push(other_factor);
                named += usize::from(is_named(&ran));
            }
            let cell = |values: &[f64]| {
                let (mean, error) = mean_and_error(values);
                format!("{mean:.3} ± {error:.3}")
            };
            table.push([
                friend_harm.to_string(),
                scheming.to_string(),
                cell(&ours),
                cell(&factors),
                cell(&theirs),
                cell(&theirs_factors),
                percent(named as f64 / seeds as f64),
            ]);
            let factor = mean_and_error(&factors).0;
            if friend_harm == 0.0 && scheming > 0 {
                let text =
                    format!("{scheming} scheming senders of five leave an honest friend's factor at 1");
                out.claim(text, format!("{factor:.4}"), (factor - 1.0).abs() < 0.01);
            }
            if friend_harm == 0.0 && scheming == 0 {
                let share = named as f64 / seeds as f64;
                out.claim(
                    "The skip test names no honest pair in 19 of 20 epochs",
                    percent(share),
                    share <= 0.05,
                );
            }
        }
    }
    out.tables.push(table);
}

/// Whether the skip test names the pair of a scheming sender and the friend.
fn is_named(ran: &[Ran]) -> bool {
    let (at, next) = (usize::from(SENDERS), usize::from(SENDERS) + 1);
    let offers: Vec<Offers> = (0..REPLICAS)
        .map(|sender| {
            let sender = Uid(SENDERS * REPLICAS + sender);
            let mine = || ran.iter().filter(|r| r.used[at] == sender && r.seen.preference[next] == FRIEND);
            let skipped = mine().filter(|r| r.used[next] != FRIEND).count();
            Offers { sender, target: FRIEND, offered: mine().count() as u32, skipped: skipped as u32 }
        })
        .collect();
    debug_assert!(ran.iter().all(|r| r.text.is_finite()));
    skip_tests(&offers, 0.01).iter().any(|test| test.significant)
}

fn victims(seeds: u64, out: &mut Outcome) {
    let columns =
        ["lie", "liars of 5", "victim's effect (nats)", "victim's factor", "victim flagged", "liars' factor"];
    let mut table = Table::new("Last-stage miners add to the losses of a victim", &columns);
    for lie in [0.01, 0.1] {
        for liars in [0, 1, 2, 3] {
            let plot = Plot { liars, lie, ..Plot::default() };
            let (mut harm, mut factors, mut own, mut flagged) = (vec![], vec![], vec![], 0usize);
            for seed in 0..seeds {
                let (first, _) = effects(&epoch(plot, seed));
                let (effect, factor) = of(&first, VICTIM);
                harm.push(effect);
                factors.push(factor);
                flagged +=
                    usize::from(first.iter().any(|e| e.uid == VICTIM && e.significant && e.effect > 0.0));
                own.extend((0..liars).map(|liar| of(&first, Uid((STAGES - 1) * REPLICAS + liar)).1));
            }
            let (effect, error) = mean_and_error(&harm);
            let factor = mean_and_error(&factors).0;
            let share = flagged as f64 / seeds as f64;
            table.push([
                percent(lie),
                liars.to_string(),
                format!("{effect:.3} ± {error:.3}"),
                format!("{factor:.4}"),
                percent(share),
                if own.is_empty() { "-".into() } else { format!("{:.4}", mean_and_error(&own).0) },
            ]);
            if liars == 1 {
                let text =
                    format!("One liar of five that adds {} leaves its victim's factor at 1", percent(lie));
                out.claim(text, format!("{factor:.4}"), (factor - 1.0).abs() < 0.01);
            }
            if liars == 1 && lie < 0.05 {
                let gain = mean_and_error(&own).0;
                out.claim("and gains nothing", format!("its factor {gain:.4}"), gain < 1.005);
            }
            if liars == 3 && lie > 0.05 {
                let why =
                    "three of five reporters carry more than half of the samples: CLASP believes them, and \
                           replay of the last stage's loss is what stops them";
                out.target(
                    "Three liars of five do not harm a victim either",
                    format!("factor {factor:.4}"),
                    factor > 0.99,
                    // Nothing is worse than all of it, and in one run of few it is.
                    Miss::known(true, why),
                );
            }
        }
    }
    out.tables.push(table);
}
