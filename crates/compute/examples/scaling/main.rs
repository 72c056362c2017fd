//! Writes down what the large presets would need and give, beside the published figures of Orion-100B.
//! Run it with `scripts/bench scaling`; nothing is trained and nothing allocated.

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use iota_compute::plan::{plan, Limit, Machine, Plan, Wish};

/// Dense bf16 peak of an A100, which Orion ran on (NVIDIA's data sheet).
const A100_FLOPS: f64 = 312e12;
/// Utilisation that Orion-100B published as its average.
const ORION_UTILISATION: f64 = 0.308;
/// Median uplink that Orion-100B published.
const ORION_UPLINK: f64 = 856e6;
/// Dollars for an hour of one A100 that Orion-100B published.
const ORION_DOLLARS: f64 = 1.25;
/// Stages and replicas of Orion-100B.
const ORION: (u16, u16) = (16, 3);
/// Latency between data centres of one continent, one way; Orion published none.
const CONTINENT: f64 = 0.03;

/// Predicts the large presets.
#[derive(Parser)]
#[command(name = "scripts/bench scaling")]
struct Options {
    /// Report to write.
    #[arg(long, default_value = "docs/results/scaling.md")]
    out: PathBuf,
    /// Date that the report carries.
    #[arg(long, default_value = "not stated", hide = true)]
    date: String,
}

fn main() -> ExitCode {
    match write(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line of the table.
struct Case {
    preset: &'static str,
    machines: &'static str,
    stages: Option<u16>,
    in_flight: u8,
    machine: Machine,
    /// Dollars for an hour of one machine, where somebody published a price.
    dollars: Option<f64>,
}

fn cases() -> Vec<Case> {
    let a100 = |uplink| Machine {
        memory: 80_000_000_000,
        flops: A100_FLOPS * ORION_UTILISATION,
        uplink,
        latency: CONTINENT,
    };
    let home =
        Machine { memory: 24_000_000_000, flops: 71e12 * ORION_UTILISATION, uplink: 100e6, latency: 0.05 };
    let unlimited = |machine: Machine| Machine { memory: u64::MAX, ..machine };
    let case = |preset, machines, stages, in_flight, machine, dollars| Case {
        preset,
        machines,
        stages,
        in_flight,
        machine,
        dollars,
    };
    vec![
        case("1.5b", "24 GB card at home, 100 Mb/s", None, 4, home, None),
        case("15b", "24 GB card at home, 100 Mb/s", None, 1, home, None),
        case("1.5b", "A100 80 GB, 856 Mb/s", None, 4, a100(ORION_UPLINK), Some(ORION_DOLLARS)),
        case("15b", "A100 80 GB, 856 Mb/s", None, 4, a100(ORION_UPLINK), Some(ORION_DOLLARS)),
        case("50b", "A100 80 GB, 856 Mb/s", None, 2, a100(ORION_UPLINK), Some(ORION_DOLLARS)),
        case("100b", "A100 80 GB, 856 Mb/s", None, 1, a100(ORION_UPLINK), Some(ORION_DOLLARS)),
        case(
            "100b",
            "Orion's layout, memory left out",
            Some(ORION.0),
            16,
            unlimited(a100(ORION_UPLINK)),
            Some(ORION_DOLLARS),
        ),
        case("100b", "the same at 100 Mb/s", Some(ORION.0), 16, unlimited(a100(100e6)), Some(ORION_DOLLARS)),
    ]
}

fn write(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut text = format!(
        "# What the large presets would need and give\n\nPredictions from shapes and from the machines described; nothing here was \
         trained.\n\n* Command: `scripts/bench scaling`; for other machines `iota-miner plan`\n* Date: {}\n\n\
         | preset | machines | stages x replicas | in flight | largest stage, GB | of it for passes | sent for a sample, MB | \
         tokens/s | limit | 10^9 tokens, dollars | a merge, s |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |\n",
        options.date
    );
    for case in cases() {
        let wish = Wish {
            preset: case.preset,
            stages: case.stages,
            replicas: ORION.1,
            in_flight: Some(case.in_flight),
            machine: case.machine,
        };
        match plan(&wish) {
            Ok(plan) => text += &line(&case, &plan),
            Err(error) => {
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "| `{}` | {} | does not fit: {error} | {} | | | | | | | |",
                    case.preset, case.machines, case.in_flight
                );
            }
        }
    }
    text += READING;
    std::fs::write(&options.out, &text)?;
    print!("{text}");
    Ok(())
}

fn line(case: &Case, plan: &Plan) -> String {
    let Some(heavy) = plan.stages.iter().max_by_key(|stage| stage.memory()) else { return String::new() };
    let sent = plan.stages.iter().map(|stage| stage.sent_bytes).max().unwrap_or(0) as f64;
    let machines = plan.stages.len() as f64 * f64::from(plan.replicas);
    let cost = case.dollars.map_or("no price".into(), |dollars| {
        format!("{:.0}", dollars * machines * 1e9 / plan.tokens_per_second / 3600.0)
    });
    let limit = match plan.limit {
        Limit::Compute(stage) => format!("compute of stage {stage}"),
        Limit::Link(stage) => format!("uplink of stage {stage}"),
        Limit::InFlight => "samples in flight".into(),
    };
    format!(
        "| `{}` | {} | {} x {} | {} | {:.1} | {:.1} | {:.2} | {:.0} | {limit} | {cost} | {:.0} |\n",
        case.preset,
        case.machines,
        plan.stages.len(),
        plan.replicas,
        plan.run.train.in_flight,
        heavy.memory() as f64 / 1e9,
        heavy.pass_bytes as f64 / 1e9,
        sent / 1e6,
        plan.tokens_per_second,
        plan.merge_seconds,
    )
}

const READING: &str = "
## Orion-100B as published

| figure | published |
| --- | --- |
| machines | 16 stages x 3 replicas, 48 single A100 with 80 GB, five data centres |
| links | 856 Mb/s up, 1,322 Mb/s down, medians |
| throughput | about 9,000 tokens/s |
| utilisation of the peak | 30.8 % on average, 38 % at best |
| between stages | about 2.2 MB for 8,192 tokens, from 150 MB |
| price | 1.25 dollars for an hour of one A100 |

At its published utilisation 48 machines do 7,700 tokens/s of a 100B model by the usual six operations for each
parameter and token; 9,000 would be 36 %. Its 48 machines cost 60 dollars an hour, 1,850 dollars for 10^9 tokens at
9,000 tokens/s.

## Assumptions

* All machines and links are alike; a stage's replicas share its samples equally.
* Utilisation is Orion's published average of the dense bf16 peak, for every machine. **This project has measured none
  of its own on a GPU.** The card at home is taken at 71 x 10^12 operations per second, the data sheet's peak of a 24 GB
  card of 2020.
* Six operations for each multiply-add of a forward pass; embeddings cost none, the head counts as the matrix it is,
  attention at its mean causal context. Layers are spread so that the heaviest stage is lightest by that count; the
  count is not a measurement of each layer's time.
* Memory is what this project's trainer keeps: 16 bytes for each parameter, 4 more while samples are in flight beside
  each other, all that forward passes keep in fp32, and the most that one pass takes beside it (a layer's gradients, or a
  gradient for every parameter; at the last stage the head's gradient and one chunk of logits). For the stages of `1.5b`
  that were run it was held against what they took (large.md). **It does not recompute activations in the backward pass**,
  which is why the large presets need far more memory for passes than Orion, whose 16 stages it could not hold in 80 GB;
  the lines of Orion's layout leave memory out.
* A sample takes as long as the slowest stage computes or sends, or its whole way up and back over the samples in
  flight, whichever is longest. A middle stage sends activations up and gradients down over the same uplink. Latency is
  30 ms one way between data centres, 50 ms between homes. Training and merging do not overlap; the rate is that while
  training. The preset's windows (26 blocks of some seconds for a merge) are made for small models: a run of a large
  preset has to be given longer ones, at least as long as the last column.
* Bottleneck of d/64 with int8 codes, headers counted, about 124 times below a bf16 stream. Whether a model of that size
  learns as well through it is not shown here; compression.md says what was measured, on small models.
* No churn, no audits, no failed samples. Chain fees and validators' machines are not in the cost.
";
