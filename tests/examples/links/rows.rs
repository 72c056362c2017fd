//! The rows: which compression behind which link, the most telling first.

use std::error::Error;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Miners of every row: two stages of one, so that every sample crosses the one boundary.
pub const MINERS: u32 = 2;
/// Validators of every row.
pub const VALIDATORS: u32 = 1;
/// Blocks of `Train`, of a second each.
const TRAIN: u32 = 30;
/// Samples open at a time: at 100 ms and a fifth of a second of work for each, two would leave both
/// stages idle half of the time whatever the rate.
const IN_FLIGHT: u32 = 4;

/// A boundary of `tiny` (128 channels) by its nominal ratio to bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Nominal.
    pub times: u32,
    channels: u32,
    codec: &'static str,
}

/// All ratios.
pub const RATIOS: [Ratio; 4] = [
    Ratio { times: 1, channels: 128, codec: "bf16" },
    Ratio { times: 16, channels: 16, codec: "int8" },
    Ratio { times: 64, channels: 8, codec: "int4" },
    Ratio { times: 128, channels: 4, codec: "int4" },
];

/// A link by what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Megabits per second, both ways.
    pub mbit: u32,
    /// Round trip, milliseconds.
    pub rtt: u32,
    /// Packets lost, percent.
    pub loss: u32,
}

const fn link(mbit: u32, rtt: u32, loss: u32) -> Link {
    Link { mbit, rtt, loss }
}

/// The link that all others are held against.
pub const OFFICE: Link = link(1_000, 0, 0);

/// The links that are measured at every ratio, then all others.
const FIRST: [Link; 4] = [OFFICE, link(50, 100, 0), link(10, 100, 0), link(10, 20, 0)];

/// Every rate, delay and loss of the grid.
pub fn links() -> Vec<Link> {
    let mut links = FIRST.to_vec();
    for loss in [0, 1] {
        for rtt in [20, 100, 0] {
            for mbit in [50, 100, 10, 1_000] {
                let next = link(mbit, rtt, loss);
                if !links.contains(&next) {
                    links.push(next);
                }
            }
        }
    }
    links
}

/// One devnet.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its boundary.
    pub ratio: Ratio,
    /// Its link.
    pub link: Link,
}

/// All rows.
pub fn all() -> Vec<Row> {
    links().into_iter().flat_map(|link| RATIOS.map(|ratio| Row { ratio, link })).collect()
}

impl Row {
    /// Its name in results and on the command line.
    pub fn name(&self) -> String {
        let Link { mbit, rtt, loss } = self.link;
        format!("{mbit}mbit-{rtt}ms-{loss}%-{}x", self.ratio.times)
    }

    /// The devnet's command line.
    pub fn arguments(&self, dir: &Path) -> Vec<String> {
        let Link { mbit, rtt, loss } = self.link;
        let link = format!("rate={mbit}mbit,rtt={rtt}ms,loss={loss}%");
        let text = format!(
            "devnet --stages 2 --miners 1 --validators {VALIDATORS} --epochs 2 --train-blocks {TRAIN} \
             --in-flight {IN_FLIGHT} --channels {} --codec {} --link {link} --dir",
            self.ratio.channels, self.ratio.codec
        );
        text.split_whitespace().map(str::to_owned).chain([dir.join("devnet").display().to_string()]).collect()
    }
}

/// What a row gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Its name.
    pub row: String,
    /// Tokens per second of `Train`, by epoch.
    pub rates: Vec<f64>,
    /// Bytes per token at the boundary, both ways, as the miners counted them.
    pub bytes_per_token: Vec<f64>,
    /// Work commits and score reveals on chain in time.
    pub made: u32,
    /// How many there should be.
    pub due: u32,
    /// Shards merged.
    pub agreed: u32,
}

impl Outcome {
    /// Mean over the epochs.
    pub fn rate(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len().max(1) as f64
    }
}

/// Results so far; none when there is no file.
pub fn read(state: &Path) -> Result<Vec<Outcome>, Box<dyn Error>> {
    let text = match std::fs::read_to_string(state) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(format!("reading {}: {error}", state.display()).into()),
    };
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
