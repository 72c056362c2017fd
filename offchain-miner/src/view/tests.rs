//! Pictures of the live view on a made-up terminal.

use iota_protocol::ids::{Attempt, Hash, Sample, Version};
use iota_protocol::receipt::LogEvent;
use ratatui::backend::TestBackend;
use ratatui::Terminal;
use serde_json::json;

use super::*;

fn picture(view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn a_training_miner_shows_where_it_stands_and_what_it_earned() {
    let gauges = Gauges::default();
    gauges.doing("training");
    gauges.fact("uid", json!(3));
    gauges.fact("stage", json!(1));
    gauges.fact("stages", json!(3));
    gauges.fact("phase", json!("Train"));
    gauges.fact("phase_blocks_left", json!(12));
    gauges.fact("owed", json!("26298700000"));
    let clasp = json!([
        { "validator": 4, "factor_ppm": 1_030_000, "contribution": { "mean": 0.0426, "low": 0.0256, "high": 0.0596 } },
        { "validator": 5, "factor_ppm": 1_000_000, "contribution": null },
    ]);
    let paid = json!([
        { "epoch": 0, "void": false, "paid": "1500000000", "samples": 77, "scores": [65535, 60000] },
    ]);
    gauges.fact("clasp", json!({ "0": clasp }));
    gauges.fact("seconds_per_block", json!(1.5));
    gauges.fact("epoch_blocks_left", json!(200));
    for (name, millis) in [("forward", 2_500), ("backward", 6_000)] {
        let counter = |metric| gauges.registry().counter(metric, "", Some(("pass", name)));
        counter("iota_passes_timed_total").add(1);
        counter("iota_pass_microseconds_total").add(millis);
    }
    let mut stats = iota_network::NetworkStats::default();
    (stats.train.bytes_in, stats.fetch.bytes_in, stats.train.bytes_out) = (1_000_000, 500_000, 3_100_000);
    gauges.carried(&stats);
    gauges.fact("history", paid);
    (0..40).for_each(|sample| gauges.loss(3.0 - f64::from(sample) / 40.0));
    let part = Some(("part", "compute"));
    gauges.registry().counter("iota_sample_microseconds_total", "", part).add(4_500);
    let mut view = View::default();
    view.update(gauges.status());
    let picture = picture(&view, 110, 34);
    for expected in [
        "uid 3",
        "stage 1 (of 3)",
        "Train, 12 blocks left, 18 s;",
        "200 blocks, 5 min, until the epoch closes",
        "a forward pass     2.5 ms",
        "a backward pass    6.0 ms",
        "sent, received     3.1, 1.5 MB",
        "1.03 * (+0.043 ±0.017 nats)",
        "now: training",
        "26.299",
        "1.500",
        "77",
        "65535, 60000",
        "loss 2.",
        "computes           4.5 ms a sample",
    ] {
        assert!(picture.contains(expected), "{expected:?} is missing in\n{picture}");
    }
}

#[test]
fn nothing_known_and_a_tiny_terminal_still_give_a_picture() {
    let mut view = View::default();
    view.update(Gauges::default().status());
    assert!(picture(&view, 80, 24).contains("no stage yet"));
    for (width, height) in [(1, 1), (20, 5), (40, 10)] {
        assert!(!picture(&view, width, height).is_empty());
    }
}

#[test]
fn the_median_of_a_stage_is_not_measured_against_itself() {
    let line = |interval| json!([{ "validator": 4, "factor_ppm": 1_000_000, "contribution": interval }]);
    let median = line(json!({ "mean": -0.0, "low": -0.0, "high": 0.0 }));
    assert_eq!(judgement(&median), "1.00 (the stage's median)");
    assert_eq!(judgement(&line(Value::Null)), "1.00");
    assert_eq!(judgement(&Value::Null), "-");
}

#[test]
fn the_last_stage_times_both_passes_at_once() {
    let gauges = Gauges::default();
    let counter = |metric| gauges.registry().counter(metric, "", Some(("pass", "both")));
    counter("iota_passes_timed_total").add(2);
    counter("iota_pass_microseconds_total").add(9_000);
    let mut view = View::default();
    view.update(gauges.status());
    let picture = picture(&view, 110, 34);
    assert!(picture.contains("forward, backward  4.5 ms at once"), "{picture}");
    assert!(!picture.contains("a forward pass"), "{picture}");
}

#[test]
fn throughput_is_per_second() {
    let gauges = Gauges::default();
    let mut view = View::default();
    for _ in 0..FRAMES_PER_POINT {
        view.update(gauges.status());
    }
    assert_eq!(view.rate, [0]);
    let backward = LogEvent::Backward {
        sample: Sample(1),
        attempt: Attempt(0),
        version: Version(0),
        input: Hash::ZERO,
        output: Hash::ZERO,
    };
    (0..3).for_each(|_| gauges.event(&backward));
    for _ in 0..FRAMES_PER_POINT {
        view.update(gauges.status());
    }
    assert_eq!(view.rate, [0, 3_000], "three samples in the second that two frames take");
}
