//! `iota-run set`: changing what may change of a run's parameters, by their names.
//!
//! The pallet decides who may (the admin's account, or whoever made the run behind a deposit) and which; the
//! same rule of `iota-protocol` is asked here first, so that a refusal names the field.

use std::path::PathBuf;

use anyhow::{bail, Context};
use clap::Args;
use iota_chain::Call;
use iota_protocol::ids::RunId;
use iota_protocol::params::RunParams;
use iota_protocol::phase::Phase;
use iota_protocol::view::{ClockView, RunState};
use iota_worker::answer::Answer;
use serde_json::{json, Value};

use super::{submit, Node, Told};

/// Arguments of `set`.
#[derive(Args)]
pub struct Set {
    #[command(flatten)]
    node: Node,
    /// The run.
    #[arg(long)]
    run: u32,
    /// Key file of the account that made the run, or of the chain's admin.
    #[arg(long, required_unless_present_any = ["dry_run", "print_call"])]
    coldkey: Option<PathBuf>,
    /// Say what would change, and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the call as hex instead of sending it, for an admin that is a multisig.
    #[arg(long)]
    print_call: bool,
    /// What to change, by the names that `iota-run create --dry-run` prints: `train.lr_ppm=1500`, `epochs=8`.
    #[arg(required = true)]
    changes: Vec<String>,
}

impl Set {
    /// Shows the changes, and sends them unless told otherwise.
    ///
    /// # Errors
    /// When a name or value does not fit, the run may not change so, or the chain refuses.
    pub(super) async fn run(&self, told: Told<'_>) -> anyhow::Result<()> {
        let chain = self.node.connect(told.file).await?;
        let (run, at) = (RunId(self.run), chain.at_finalized().await?);
        let (now, clock) = (at.run(run).await?, at.clock(run).await?);
        let (now, clock) = now.zip(clock).with_context(|| format!("this chain has no run {run}"))?;
        let next = changed(&now, &self.changes)?;
        let changes = differences(&now, &next)?;
        if told.answer == Answer::Text {
            changes.iter().for_each(|line| println!("{line}"));
        }
        allowed(&now, &next, &clock, at.head().number)?;
        let call = Call::schedule_params(run, &next);
        if self.print_call {
            let call = format!("0x{}", hex::encode(chain.call_bytes(&call).await?));
            return told.answer.say(&call, &json!({ "run": run, "changes": changes, "call": call }));
        }
        let facts = json!({ "run": run, "changes": changes, "from": since(&clock), "sent": !self.dry_run });
        let Some(coldkey) = self.coldkey.as_ref().filter(|_| !self.dry_run) else {
            return if told.answer == Answer::Json { told.answer.say("", &facts) } else { Ok(()) };
        };
        submit(&chain, coldkey, &call).await?;
        told.answer.say(format_args!("run {run} has these parameters from {}", since(&clock)), &facts)
    }
}

fn since(clock: &ClockView) -> String {
    match clock.state {
        RunState::Running => format!("epoch {} on", clock.epoch.next()),
        _ => "now on".into(),
    }
}

/// The parameters after `name=value` changes.
fn changed(now: &RunParams, changes: &[String]) -> anyhow::Result<RunParams> {
    let mut tree = serde_json::to_value(now)?;
    for change in changes {
        let (name, text) = change.split_once('=').with_context(|| {
            format!("{change:?} is no change; write a name, an equals sign and a value: train.lr_ppm=1500")
        })?;
        let pointer = format!("/{}", name.trim().replace('.', "/"));
        let known = tree.pointer_mut(&pointer).filter(|value| !value.is_object());
        let place = known.with_context(|| {
            format!("a run has no parameter {name:?}; `iota-run create --dry-run` prints all names")
        })?;
        // What is no JSON is text, such as the name of a codec.
        *place = serde_json::from_str(text.trim()).unwrap_or_else(|_| Value::String(text.trim().into()));
    }
    serde_json::from_value(tree).with_context(|| format!("{} does not fit", changes.join(" ")))
}

/// One line for each value that differs.
fn differences(now: &RunParams, next: &RunParams) -> anyhow::Result<Vec<String>> {
    let (mut lines, before, after) = (Vec::new(), serde_json::to_value(now)?, serde_json::to_value(next)?);
    collect(&before, &after, "", &mut lines);
    if lines.is_empty() {
        bail!("the run has these values already; nothing would change");
    }
    Ok(lines)
}

fn collect(before: &Value, after: &Value, name: &str, lines: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(fields), Value::Object(_)) => {
            for (field, value) in fields {
                let below = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                collect(value, &after[field], &below, lines);
            }
        }
        _ if before != after => lines.push(format!("{name}: {before} becomes {after}")),
        _ => {}
    }
}

/// What the pallet will ask, with the field or the window that stands against it.
fn allowed(now: &RunParams, next: &RunParams, clock: &ClockView, block: u32) -> anyhow::Result<()> {
    if clock.state == RunState::Ended {
        bail!("run {} has ended; make a new one with `iota-run create`", clock.run);
    }
    now.may_become(next).context("a run may not change so once it was made; make a new run instead")?;
    if clock.state == RunState::Running {
        let phase = clock.schedule(now).phase_at(block);
        if now.is_settling(clock.epoch) {
            bail!("epoch {} only settles: the run ends with it", clock.epoch);
        }
        if phase >= Phase::Attest {
            bail!(
                "epoch {} is in {phase:?}: from Attest on everybody counts on what the next epoch will be; try again in \
                 block {}",
                clock.epoch,
                clock.schedule(now).next_start()
            );
        }
    }
    if next.epochs <= clock.epoch.0 && clock.state != RunState::Waiting {
        bail!(
            "epochs={} would end before epoch {} that trains now; use `iota-run end`",
            next.epochs,
            clock.epoch
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use iota_compute::presets::run_params;
    use iota_protocol::ids::{Epoch, Hash};
    use iota_protocol::params::DataParams;

    use super::*;

    fn params() -> RunParams {
        let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1_000, heldout_windows: 10 };
        run_params("nano", 2, 1, 5, 2, data).unwrap()
    }

    fn clock(state: RunState, epoch: u32) -> ClockView {
        ClockView {
            run: RunId(0),
            state,
            epoch: Epoch(epoch),
            start: 100,
            extensions: 0,
            train_seed: Hash::ZERO,
            seed: None,
            data_base: 0,
            tokens: 0,
        }
    }

    fn set(changes: &[&str]) -> anyhow::Result<RunParams> {
        changed(&params(), &changes.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_changed_by_name_and_shown() {
        let next = set(&["train.lr_ppm=1500", "epochs = 8"]).unwrap();
        assert_eq!((next.train.lr_ppm, next.epochs), (1_500, 8));
        let lines = differences(&params(), &next).unwrap();
        assert_eq!(lines[0], "epochs: 5 becomes 8");
        assert!(lines[1].ends_with("becomes 1500") && lines.len() == 2, "{lines:?}");
        allowed(&params(), &next, &clock(RunState::Running, 1), 101).unwrap();
        assert!(differences(&params(), &params()).is_err());
    }

    #[test]
    fn what_is_no_parameter_or_no_value_of_it_is_refused() {
        let refused = |change: &str, expected: &str| {
            let error = format!("{:#}", set(&[change]).unwrap_err());
            assert!(error.contains(expected), "{change}: {error}");
        };
        refused("train.lr=1", "no parameter \"train.lr\"");
        refused("train=1", "no parameter");
        refused("epochs", "equals sign");
        refused("epochs=many", "does not fit");
        refused("train.in_flight=300", "does not fit");
    }

    #[test]
    fn the_pallets_rule_is_asked_before_anything_is_sent() {
        let check = |changes: &[&str], clock: &ClockView, block, expected: &str| {
            let next = set(changes).unwrap();
            let error = format!("{:#}", allowed(&params(), &next, clock, block).unwrap_err());
            assert!(error.contains(expected), "{changes:?}: {error}");
        };
        let running = clock(RunState::Running, 3);
        check(&["model.d_ff=1"], &running, 101, "may not change so");
        check(&["seed=9"], &running, 101, "seed");
        check(&["epochs=3"], &running, 101, "would end before epoch 3");
        let attest = running.schedule(&params()).window(Phase::Attest).start;
        check(&["epochs=9"], &running, attest, "is in Attest");
        check(&["epochs=9"], &clock(RunState::Running, 5), 101, "only settles");
        check(&["epochs=9"], &clock(RunState::Ended, 5), 101, "has ended");
        allowed(&params(), &set(&["epochs=1"]).unwrap(), &clock(RunState::Waiting, 0), 1).unwrap();
    }
}
