//! Hand-worked logs.

use iota_protocol::ids::Hash;

use super::*;

fn forward(sample: u32, version: u32) -> LogEvent {
    let (sample, version) = (Sample(sample), Version(version));
    LogEvent::Forward { sample, attempt: Attempt(0), version, input: Hash::ZERO, output: Hash::ZERO }
}

fn backward(sample: u32, version: u32) -> LogEvent {
    let (sample, version) = (Sample(sample), Version(version));
    LogEvent::Backward { sample, attempt: Attempt(0), version, input: Hash::ZERO, output: Hash::ZERO }
}

fn abandon(sample: u32) -> LogEvent {
    LogEvent::Abandon { sample: Sample(sample), attempt: Attempt(0) }
}

fn step(version: u32) -> LogEvent {
    LogEvent::Step { version: Version(version), state_root: Hash::ZERO }
}

/// Two samples in flight, a step after each backward pass that nothing older waits for.
fn log() -> Vec<LogEvent> {
    vec![
        forward(0, 0),
        forward(1, 0),
        backward(0, 0),
        step(1),
        forward(2, 1),
        backward(1, 0),
        step(2),
        backward(2, 1),
        forward(3, 2),
        step(3),
        forward(4, 3),
        abandon(3),
        backward(4, 3),
        step(4),
    ]
}

fn check(from: u32, to: u32, expected: &[LogEvent]) {
    assert_eq!(segment(&log(), Version(from), Version(to)), expected, "{from} to {to}");
}

#[test]
fn the_first_segment_is_what_stands_before_the_first_step() {
    check(0, 1, &[forward(0, 0), forward(1, 0), backward(0, 0), step(1)]);
}

#[test]
fn forward_passes_that_the_segment_finishes_come_first() {
    check(1, 2, &[forward(1, 0), forward(2, 1), backward(1, 0), step(2)]);
    check(2, 3, &[forward(2, 1), backward(2, 1), forward(3, 2), step(3)]);
}

#[test]
fn an_abandoned_pass_counts_as_finished() {
    check(3, 4, &[forward(3, 2), forward(4, 3), abandon(3), backward(4, 3), step(4)]);
}

#[test]
fn passes_finished_before_the_segment_are_left_out() {
    let events = segment(&log(), Version(3), Version(4));
    assert!(!events.iter().any(|event| matches!(event, LogEvent::Forward { sample, .. } if sample.0 < 3)));
}

#[test]
fn several_steps_make_one_segment() {
    assert_eq!(segment(&log(), Version(0), Version(4)), log());
    check(2, 2, &[forward(2, 1)]);
}

#[test]
fn an_unknown_version_gives_nothing() {
    check(0, 5, &[]);
    check(5, 6, &[]);
    assert!(segment(&[], Version(0), Version(1)).is_empty());
}
