//! The paper's toy: five stages of five miners, losses around 4.5, cheats that raise them by a tenth.

use super::*;
use crate::ids::Hash;
use crate::seed::Draw;
use proptest::prelude::*;

const SIZE: u16 = 5;

fn stages() -> Vec<Vec<Uid>> {
    (0..SIZE).map(|stage| (0..SIZE).map(|miner| Uid(stage * SIZE + miner)).collect()).collect()
}

/// Standard normal: twelve uniforms.
fn normal(draw: &mut Draw) -> f64 {
    let uniform = |draw: &mut Draw| draw.next_u64() as f64 / u64::MAX as f64;
    (0..12).map(|_| uniform(draw)).sum::<f64>() - 6.0
}

/// A toy epoch. A difficulty that varies (in nats) adds to the loss, `time` per bin too.
struct Toy {
    seed: u8,
    samples: u32,
    bad: Vec<Uid>,
    difficulty: f64,
    time: f64,
}

impl Toy {
    fn new(seed: u8, samples: u32, bad: &[u16]) -> Self {
        Self { seed, samples, bad: bad.iter().copied().map(Uid).collect(), difficulty: 0.0, time: 0.0 }
    }

    fn run(&self) -> Vec<Observation> {
        let mut draw = Draw::new(&Hash([self.seed; 32]), b"toy");
        (0..self.samples).map(|sample| self.observe(sample, &mut draw)).collect()
    }

    fn observe(&self, sample: u32, draw: &mut Draw) -> Observation {
        let pick = |draw: &mut Draw, members: &[Uid]| members[draw.index(members.len()).unwrap()];
        let preference: Vec<Uid> = stages().iter().map(|members| pick(draw, members)).collect();
        let hit = preference.iter().any(|uid| self.bad.contains(uid));
        let scale = if hit { 1.1 } else { 1.0 };
        let difficulty = normal(draw) * self.difficulty;
        let time_bin = u16::try_from(sample * 10 / self.samples).unwrap();
        let loss = scale * (4.5 + 0.2 * normal(draw)) + difficulty + self.time * f64::from(time_bin);
        Observation {
            sample: Sample(sample),
            reporter: *preference.last().unwrap(),
            preference,
            loss_micro: (loss * 1e6) as u32,
            difficulty,
            time_bin,
        }
    }
}

fn flagged(effects: &[MinerEffect]) -> Vec<Uid> {
    effects.iter().filter(|effect| effect.significant).map(|effect| effect.uid).collect()
}

fn check_flags(toy: &Toy, expected: &[u16]) {
    let effects = estimate(&stages(), &toy.run(), &Config::default());
    let expected: Vec<Uid> = expected.iter().copied().map(Uid).collect();
    assert_eq!(flagged(&effects), expected, "seed {}", toy.seed);
}

#[test]
fn one_cheat_is_found_in_twenty_runs_and_nobody_else() {
    let mut found = 0;
    let mut wrong = 0;
    for seed in 0..20 {
        let flags = flagged(&estimate(&stages(), &Toy::new(seed, 1_000, &[11]).run(), &Config::default()));
        found += u32::from(flags.contains(&Uid(11)));
        wrong += flags.iter().filter(|uid| **uid != Uid(11)).count();
    }
    assert_eq!(found, 20);
    // The rate allows one false flag in a hundred; 20 runs have 20 true ones.
    assert_eq!(wrong, 0);
}

#[test]
fn two_cheats_of_one_stage_are_found_where_mean_and_z_miss_both() {
    for seed in 0..20 {
        let toy = Toy::new(seed, 1_000, &[11, 12]);
        check_flags(&toy, &[11, 12]);
        let hidden = mean_z(&stages(), &toy.run());
        assert!(hidden.iter().filter(|score| [11, 12].contains(&score.uid.0)).all(|score| score.z < 1.5));
    }
}

#[test]
fn mean_and_z_find_a_lone_cheat() {
    let scores = mean_z(&stages(), &Toy::new(1, 1_000, &[11]).run());
    assert_eq!(scores.len(), 25);
    assert!(scores[11].z > 1.5 && scores[11].uid == Uid(11));
}

#[test]
fn cheats_in_three_stages_are_told_apart() {
    check_flags(&Toy::new(3, 2_000, &[0, 11, 23]), &[0, 11, 23]);
}

#[test]
fn nobody_is_flagged_when_all_are_honest() {
    let flags: usize = (0..20)
        .map(|seed| flagged(&estimate(&stages(), &Toy::new(seed, 500, &[]).run(), &Config::default())).len())
        .sum();
    // 20 runs in which each flag is false: the rate allows one in a hundred runs.
    assert_eq!(flags, 0);
}

#[test]
fn covariates_take_what_is_not_the_miners() {
    let toy = Toy { difficulty: 0.8, time: -0.1, ..Toy::new(7, 1_000, &[11]) };
    let effects = estimate(&stages(), &toy.run(), &Config::default());
    let plain = estimate(&stages(), &Toy::new(7, 1_000, &[11]).run(), &Config::default());
    assert_eq!(flagged(&effects), [Uid(11)]);
    assert!((effects[11].error / plain[11].error - 1.0).abs() < 0.05, "covariates must leave no noise");
    let blind: Vec<Observation> =
        toy.run().into_iter().map(|seen| Observation { difficulty: 0.0, time_bin: 0, ..seen }).collect();
    assert!(estimate(&stages(), &blind, &Config::default())[11].error > 3.0 * effects[11].error);
}

#[test]
fn effect_and_interval_hold_the_truth() {
    let effects = estimate(&stages(), &Toy::new(9, 2_000, &[11]).run(), &Config::default());
    let (low, high) = effects[11].interval().unwrap();
    assert!(low < 0.45 && 0.45 < high, "{low} {high}");
    assert_eq!(effects[11].factor_ppm, 0);
    assert!(effects.iter().filter(|effect| !effect.significant).all(|effect| effect.factor_ppm == PPM));
}

#[test]
fn a_minority_of_reporters_cannot_blame_a_miner() {
    // The reporters 20 and 21 of five add half a nat whenever miner 7 is preferred.
    let lie = |mut seen: Observation| {
        if seen.preference[1] == Uid(7) && seen.reporter.0 <= 21 {
            seen.loss_micro += 500_000;
        }
        seen
    };
    let mut observations: Vec<Observation> = Toy::new(4, 3_000, &[]).run().into_iter().map(lie).collect();
    let blames = |observations: &[Observation], config: &Config| {
        flagged(&estimate(&stages(), observations, config)).contains(&Uid(7))
    };
    let gullible = Config { stand_z: f64::NEG_INFINITY, ..Config::default() };
    assert!(blames(&observations, &gullible), "the lie alone is significant");
    assert!(!blames(&observations, &Config::default()));
    for seen in &mut observations {
        if seen.preference[1] == Uid(7) && seen.reporter.0 > 21 {
            seen.loss_micro += 500_000;
        }
    }
    assert!(blames(&observations, &Config::default()), "all reporters say so");
}

#[test]
fn a_last_stage_miner_cannot_praise_itself() {
    let mut observations = Toy::new(5, 2_000, &[]).run();
    for seen in observations.iter_mut().filter(|seen| seen.reporter == Uid(22)) {
        seen.loss_micro -= 400_000;
    }
    let effects = estimate(&stages(), &observations, &Config::default());
    assert!(effects[22].effect < -0.3);
    assert_eq!((effects[22].significant, effects[22].factor_ppm), (false, PPM));
}

#[test]
fn a_miner_that_helps_earns_more() {
    let mut observations = Toy::new(6, 2_000, &[]).run();
    for seen in observations.iter_mut().filter(|seen| seen.preference[2] == Uid(13)) {
        seen.loss_micro -= 300_000;
    }
    let effects = estimate(&stages(), &observations, &Config::default());
    assert_eq!(flagged(&effects), [Uid(13)]);
    assert_eq!(effects[13].factor_ppm, 1_200_000);
}

#[test]
fn factors_between_the_ends() {
    let config = Config::default();
    let factor = |effect: f64, significant| {
        let blank = without_estimate(Stage(0), Uid(0), 100);
        factor_ppm(&MinerEffect { effect, error: 0.001, significant, ..blank }, 0.0, &config)
    };
    assert_eq!(factor(0.25, false), 1_000_000);
    assert_eq!(factor(0.025, true), 750_000);
    assert_eq!(factor(0.2, true), 0);
    assert_eq!(factor(-0.05, true), 1_100_000);
    assert_eq!(factor(-5.0, true), 1_200_000);
}

#[test]
fn what_cannot_be_told_apart_gets_no_estimate() {
    // Miner 1 of stage 0 and miner 6 of stage 1 always go together.
    let mut observations = Toy::new(8, 1_000, &[1]).run();
    observations.retain(|seen| (seen.preference[0] == Uid(1)) == (seen.preference[1] == Uid(6)));
    let effects = estimate(&stages(), &observations, &Config::default());
    for uid in [1, 6] {
        assert_eq!(
            (effects[uid].effect, effects[uid].error, effects[uid].significant),
            (0.0, f64::INFINITY, false)
        );
        assert!(effects[uid].samples > 8 && effects[uid].interval().is_none());
    }
    assert!(effects[2].error.is_finite());
}

#[test]
fn a_miner_with_seven_samples_gets_no_effect() {
    let mut left = 7;
    let mut observations = Toy::new(2, 600, &[11]).run();
    observations.retain(|seen| {
        seen.preference[2] != Uid(11) || {
            left -= 1;
            left >= 0
        }
    });
    let effects = estimate(&stages(), &observations, &Config::default());
    assert_eq!((effects[11].samples, effects[11].error, effects[11].factor_ppm), (7, f64::INFINITY, PPM));
}

#[test]
fn nothing_and_nonsense_give_no_effects() {
    let config = Config::default();
    assert!(estimate(&[], &[], &config).is_empty());
    let effects = estimate(&stages(), &[], &config);
    assert!(effects.len() == 25 && effects.iter().all(|effect| effect.factor_ppm == PPM));
    let mut broken = Toy::new(1, 200, &[]).run();
    for (index, seen) in broken.iter_mut().enumerate() {
        match index % 3 {
            0 => seen.difficulty = f64::NAN,
            1 => seen.preference[0] = Uid(999),
            _ => seen.preference.truncate(2),
        }
    }
    assert_eq!(estimate(&stages(), &broken, &config), effects);
}

#[test]
fn samples_that_ran_twice_tell_text_from_noise() {
    // The text's own part has a spread of 0.4 nats and no covariate knows it; the rest has 0.2.
    let toy = Toy { difficulty: 0.4, ..Toy::new(3, 20_000, &[]) };
    let mut texts = std::collections::BTreeMap::new();
    let mut observations = toy.run();
    for seen in &mut observations {
        texts.insert(seen.sample, seen.difficulty);
        if let Some(first) = crate::position::repeated(seen.sample) {
            seen.loss_micro =
                (f64::from(seen.loss_micro) / 1e6 - seen.difficulty + texts[&first]).mul_add(1e6, 0.0) as u32;
        }
        seen.difficulty = 0.0;
    }
    let control = analyse(&stages(), &observations, &Config::default()).control.unwrap();
    assert_eq!(control.pairs, 400);
    assert!((control.variance - 0.20).abs() < 0.02, "{control:?}");
    assert!((control.without_text - 0.04).abs() < 0.01, "{control:?}");
    assert!((control.text_share() - 0.8).abs() < 0.05, "{control:?}");
    assert_eq!(analyse(&stages(), &observations[..48], &Config::default()).control, None);
}

#[test]
fn the_largest_run_is_estimated_in_seconds() {
    let stages: Vec<Vec<Uid>> =
        (0..16).map(|stage| (0..16).map(|miner| Uid(stage * 16 + miner)).collect()).collect();
    let mut draw = Draw::new(&Hash([1; 32]), b"large");
    let observe = |sample: u32| {
        let preference: Vec<Uid> = stages.iter().map(|members| members[draw.index(16).unwrap()]).collect();
        let harm = if preference[3] == Uid(50) { 100_000 } else { 0 };
        Observation {
            sample: Sample(sample),
            reporter: preference[15],
            loss_micro: 2_000_000 + harm + u32::try_from(draw.below(300_000)).unwrap(),
            preference,
            difficulty: 1.0,
            time_bin: u16::try_from(sample / 2_000).unwrap(),
        }
    };
    let observations: Vec<Observation> = (0..100_000).map(observe).collect();
    let start = std::time::Instant::now();
    let effects = estimate(&stages, &observations, &Config::default());
    assert_eq!(flagged(&effects), [Uid(50)]);
    // The laboratory measures it on one free core (docs/results/trust.md); here others build.
    assert!(start.elapsed().as_secs() < 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn order_of_observations_changes_no_bit(seed: u8, other: [u8; 32]) {
        let toy = Toy { difficulty: 0.5, time: 0.1, ..Toy::new(seed, 300, &[3]) };
        let mut observations = toy.run();
        let before = estimate(&stages(), &observations, &Config::default());
        Draw::new(&Hash(other), b"order").shuffle(&mut observations);
        let bits = |effects: &[MinerEffect]| -> Vec<_> {
            effects.iter().map(|effect| (effect.effect.to_bits(), effect.error.to_bits(), effect.factor_ppm)).collect()
        };
        prop_assert_eq!(bits(&before), bits(&estimate(&stages(), &observations, &Config::default())));
    }

    #[test]
    fn any_observations_give_finite_effects_and_bounded_factors(
        seen in prop::collection::vec((0u16..4, 0u16..4, any::<u32>(), any::<f64>(), 0u16..4), 0..120),
    ) {
        let stages: Vec<Vec<Uid>> = vec![(0..3).map(Uid).collect(), (0..4).map(Uid).collect()];
        let observations: Vec<Observation> = (0u32..).zip(seen).map(|(sample, (a, b, loss_micro, difficulty, time_bin))| {
            Observation { sample: Sample(sample), preference: vec![Uid(a), Uid(b)], reporter: Uid(b), loss_micro, difficulty, time_bin }
        }).collect();
        for effect in estimate(&stages, &observations, &Config::default()) {
            prop_assert!(effect.effect.is_finite() && !effect.error.is_nan() && effect.factor_ppm <= 1_200_000);
        }
    }
}

#[test]
fn an_honest_lag_within_a_quarter_of_the_epochs_fall_costs_nothing() {
    let config = Config::default();
    let effect = |effect: f64| MinerEffect {
        uid: Uid(0),
        stage: Stage(0),
        samples: 60,
        effect,
        error: 0.01,
        significant: true,
        factor_ppm: PPM,
    };
    // The loss fell by 2 nats: half a nat is honest, 0.05 beyond it is half of full harm.
    let lag = config.lag_share * 2.0;
    assert_eq!(factor_ppm(&effect(0.5), lag, &config), PPM);
    assert_eq!(factor_ppm(&effect(0.55), lag, &config) / 1_000, 500);
    assert_eq!(factor_ppm(&effect(0.61), lag, &config), 0);
    assert_eq!(factor_ppm(&effect(-0.5), lag, &config), PPM);
}

#[test]
fn the_fall_is_that_from_the_first_to_the_last_time_bin() {
    let seen = |time_bin: u16, loss_micro: u32| Observation {
        sample: Sample(u32::from(time_bin)),
        preference: vec![Uid(0)],
        reporter: Uid(0),
        loss_micro,
        difficulty: 0.0,
        time_bin,
    };
    let all = [seen(0, 5_000_000), seen(0, 4_000_000), seen(3, 9_000_000), seen(9, 2_500_000)];
    let fall = |seen: &[Observation]| Table::new(&[vec![Uid(0)]], &seen.iter().collect::<Vec<_>>()).fall();
    assert!((fall(&all) - 2.0).abs() < 1e-12);
    assert!(fall(&[seen(0, 1_000_000), seen(1, 2_000_000)]).abs() < 1e-12);
    assert!(fall(&[]).abs() < 1e-12);
}
