//! `iota-miner plan`: what a preset would need of a machine and give on it, before anything is fetched
//! or allocated. The numbers are [`iota_compute::plan`]'s; this file reads sizes and prints.

use std::fmt::Write;

use clap::Args;
use iota_compute::plan::{plan, Limit, Machine, Plan, Wish};
use iota_service::quantity::{BitRate, ByteSize};
use iota_worker::answer::Answer;
use serde_json::{json, Value};

/// What to plan.
#[derive(Args)]
pub struct PlanArgs {
    /// Model: nano, tiny, 1.5b, 15b, 50b or 100b.
    #[arg(long)]
    preset: String,
    /// Memory of one miner's device, such as 24GB (10^9 bytes) or 24GiB (2^30).
    #[arg(long)]
    gpu: ByteSize,
    /// What one miner's link sends, such as 100Mbit or 1Gbit, per second.
    #[arg(long)]
    uplink: BitRate,
    /// Latency between two miners, one way, in milliseconds.
    #[arg(long, default_value_t = 50.0)]
    latency_ms: f64,
    /// Peak of the device in dense bf16, in 10^12 operations per second. The default is a card with 24 GB
    /// of 2020.
    #[arg(long, default_value_t = 71.0)]
    tflops: f64,
    /// Part of the peak that training reaches. The default is what Orion-100B published; this project has
    /// measured none.
    #[arg(long, default_value_t = 0.308)]
    utilisation: f64,
    /// Stages; the fewest that fit the device when absent.
    #[arg(long)]
    stages: Option<u16>,
    /// Miners of each stage.
    #[arg(long, default_value_t = 3)]
    replicas: u16,
    /// Samples in flight for each miner of the first stage; as many as fit, up to the preset's, when absent.
    #[arg(long)]
    in_flight: Option<u8>,
}

/// Prints the plan.
///
/// # Errors
/// When the preset is unknown or does not fit.
pub fn run(args: &PlanArgs, answer: Answer) -> anyhow::Result<()> {
    let machine = Machine {
        memory: args.gpu.0,
        flops: args.tflops * 1e12 * args.utilisation,
        uplink: args.uplink.0 as f64,
        latency: args.latency_ms / 1e3,
    };
    anyhow::ensure!(
        machine.flops > 0.0 && machine.latency >= 0.0,
        "--tflops and --utilisation must be above zero, --latency-ms not below"
    );
    let wish = Wish {
        preset: &args.preset,
        stages: args.stages,
        replicas: args.replicas,
        in_flight: args.in_flight,
        machine,
    };
    let plan = plan(&wish)?;
    answer.say(describe(&plan).trim_end(), &facts(&plan))
}

/// The plan for programs: bytes, seconds, tokens.
fn facts(plan: &Plan) -> Value {
    let stages: Vec<Value> = plan
        .stages
        .iter()
        .map(|stage| {
            json!({
                "layers": stage.layers, "parameters": stage.parameters, "state_bytes": stage.state_bytes,
                "pass_bytes": stage.pass_bytes, "memory_bytes": stage.memory(),
                "compute_seconds": stage.compute, "sent_bytes_per_sample": stage.sent_bytes,
                "sending_seconds": stage.sending,
            })
        })
        .collect();
    json!({
        "parameters": plan.run.total_parameters(), "replicas": plan.replicas, "stages": stages,
        "tokens_per_sample": plan.tokens_per_sample, "in_flight": plan.run.train.in_flight,
        "round_trip_seconds": plan.round_trip, "tokens_per_second": plan.tokens_per_second,
        "limit": limit(plan), "merge_bytes": plan.merge_bytes, "merge_seconds": plan.merge_seconds,
        "merge_window_blocks": merge_blocks(plan),
    })
}

fn limit(plan: &Plan) -> String {
    match plan.limit {
        Limit::Compute(stage) => format!("stage {stage} computes longest"),
        Limit::Link(stage) => format!("the uplink of stage {stage}"),
        Limit::InFlight => "too few samples in flight to fill the pipeline (--in-flight)".into(),
    }
}

/// The plan as text for people.
fn describe(plan: &Plan) -> String {
    let mut text = String::new();
    let gb = |bytes: u64| bytes as f64 / 1e9;
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} parameters in {} stages of {} miners each, {} miners in all; {} tokens a sample, {} samples in flight\n\n\
         stage  layers   parameters  state GB  passes GB  total GB  compute ms  sent MB/sample  sending ms",
        plan.run.total_parameters(),
        plan.stages.len(),
        plan.replicas,
        plan.stages.len() * usize::from(plan.replicas),
        plan.tokens_per_sample,
        plan.run.train.in_flight,
    );
    for (number, stage) in plan.stages.iter().enumerate() {
        let _ = writeln!(
            text,
            "{number:>5}  {:>6} {:>12}  {:>8.2}  {:>9.2}  {:>8.2}  {:>10.1}  {:>14.3}  {:>10.1}",
            stage.layers,
            stage.parameters,
            gb(stage.state_bytes),
            gb(stage.pass_bytes),
            gb(stage.memory()),
            1e3 * stage.compute,
            stage.sent_bytes as f64 / 1e6,
            1e3 * stage.sending,
        );
    }
    let limit = limit(plan);
    let _ = writeln!(
        text,
        "\none sample up and back: {:.2} s\nexpected while training: {:.0} tokens/s over {} replicas; limit: {limit}\n\
         a merge moves {:.2} GB for each miner of the largest stage, {:.0} s on this uplink; the preset's windows for \
         it hold {} blocks",
        plan.round_trip,
        plan.tokens_per_second,
        plan.replicas,
        plan.merge_bytes / 1e9,
        plan.merge_seconds,
        merge_blocks(plan),
    );
    text
}

/// Blocks between the end of training and the roots: entries and results travel in them.
fn merge_blocks(plan: &Plan) -> u32 {
    let phases = &plan.run.phases;
    phases.commit + phases.attest + phases.blind + phases.open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_what_limits_it() {
        let machine = Machine { memory: 24_000_000_000, flops: 2e13, uplink: 1e8, latency: 0.05 };
        let wish = Wish { preset: "15b", stages: None, replicas: 3, in_flight: None, machine };
        let text = describe(&plan(&wish).unwrap());
        for part in ["tokens/s over 3 replicas", "limit: ", "state GB", "a merge moves"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let facts = facts(&plan(&wish).unwrap());
        assert_eq!(facts["stages"].as_array().unwrap().len(), plan(&wish).unwrap().stages.len());
        assert!(facts["tokens_per_second"].as_f64().unwrap() > 0.0, "{facts}");
        assert!(text.contains(facts["limit"].as_str().unwrap()), "{facts}");
    }
}
