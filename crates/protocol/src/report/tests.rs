//! Reports of a toy epoch: what follows from what, and the same bytes for the same samples.

use super::*;
use crate::seed::Draw;
use proptest::prelude::*;

/// Two stages of two; whoever prefers uid 1 loses half a nat more.
fn report(harm_micro: u32) -> (Report, Vec<Vec<Uid>>) {
    let stages = vec![vec![Uid(0), Uid(1)], vec![Uid(2), Uid(3)]];
    let observations = (0u32..80)
        .map(|sample| {
            let first = Uid(u16::try_from(sample % 2).unwrap());
            let second = Uid(2 + u16::try_from(sample / 2 % 2).unwrap());
            let loss = 3_000_000 + (sample * 7_919) % 40_000 + u32::from(first.0) * harm_micro;
            ObservationLine {
                sample: Sample(sample),
                preference: vec![first, second],
                reporter: second,
                loss_micro: loss,
                difficulty_bits: f64::from(sample % 5).to_bits(),
                time_bin: 0,
            }
        })
        .collect();
    let mut report = Report {
        version: REPORT_VERSION,
        run: RunId(0),
        epoch: Epoch(0),
        miners: Vec::new(),
        absent: Vec::new(),
        control: None,
        skips: Vec::new(),
        observations,
        audits: Vec::new(),
        secret: Hash::ZERO,
        next_secret: Hash::ZERO,
        heldout_micro: None,
    };
    let effects = report.effects(&stages);
    let means = clasp::mean_z(&stages, &report.seen());
    let line =
        |effect: &MinerEffect| MinerLine::new(Incarnation(0), 40, 40, effect, mean_z_of(&means, effect.uid));
    report.miners = effects.iter().map(line).collect();
    report.control =
        clasp::analyse(&stages, &report.seen(), &clasp::Config::default()).control.as_ref().map(Into::into);
    (report, stages)
}

#[test]
fn worked_example_harm_shows_in_line_and_row() {
    let (report, stages) = report(500_000);
    assert_eq!(report.wrong_lines(&stages), []);
    let line = &report.miners[1];
    assert!(line.significant, "{line:?}");
    assert!((f64::from_bits(line.effect_bits) - 0.5).abs() < 0.02, "{line:?}");
    assert_eq!(line.factor_ppm, 0);
    let scores: Vec<u16> = report.row().iter().map(|entry| entry.score).collect();
    assert_eq!(scores, [65_535, 0, 65_535, 65_535]);
}

#[test]
fn the_same_samples_in_another_order_give_the_same_bytes() {
    let (report, stages) = report(200_000);
    let mut seen = report.seen();
    Draw::new(&Hash([9; 32]), b"order").shuffle(&mut seen);
    assert_ne!(seen, report.seen());
    let effects = clasp::estimate(&stages, &seen, &clasp::Config::default());
    let means = clasp::mean_z(&stages, &seen);
    seen.sort_by_key(|observation| observation.sample);
    let line =
        |effect: &MinerEffect| MinerLine::new(Incarnation(0), 40, 40, effect, mean_z_of(&means, effect.uid));
    let other = Report {
        miners: effects.iter().map(line).collect(),
        observations: seen.iter().map(Into::into).collect(),
        ..report.clone()
    };
    assert_eq!((other.encode(), other.root()), (report.encode(), report.root()));
}

#[test]
fn every_line_carries_a_contribution_with_its_interval() {
    let (report, _) = report(500_000);
    let (contribution, (low, high)) = report.miners[1].contribution().unwrap();
    assert!(low < contribution && contribution < high && low < -0.5 && -0.5 < high, "{low} {high}");
    assert!(report.miners.iter().all(|line| line.contribution().is_some()));
    assert!(report.control.is_some_and(|control| control.pairs == 1));
    assert!(f64::from_bits(report.miners[1].mean_z_bits) > 0.7);
}

proptest! {
    #[test]
    fn a_changed_line_or_loss_is_noticed(which in 0usize..4, bit in 0u32..52, sample in 0usize..80) {
        let (honest, stages) = report(500_000);
        let mut changed = honest.clone();
        changed.miners[which].error_bits ^= 1u64 << bit;
        prop_assert_eq!(changed.wrong_lines(&stages), [honest.miners[which].uid]);
        let mut changed = honest.clone();
        changed.observations[sample].loss_micro += 100_000;
        prop_assert!(!changed.wrong_lines(&stages).is_empty());
        prop_assert_ne!(changed.root(), honest.root());
    }
}

#[test]
fn a_report_opens_the_secret_that_the_one_before_it_fixed() {
    let secret = Hash([7; 32]);
    let before = Report { next_secret: Report::secret_hash(&secret), ..report(0).0 };
    let after = Report { epoch: before.epoch.next(), secret, ..report(0).0 };
    assert!(after.opens(&before));
    assert!(!Report { secret: Hash([8; 32]), ..after.clone() }.opens(&before), "another secret");
    assert!(!Report { epoch: before.epoch, ..after }.opens(&before), "of the same epoch");
}
