//! The rows: which compression behind which link, the most telling first.

use std::error::Error;
use std::path::Path;

use iota_tests::options::Options;
use serde::{Deserialize, Serialize};

/// Miners of every row: two stages of one, so that every sample crosses the one boundary.
pub const MINERS: u32 = 2;
/// Validators of every row.
pub const VALIDATORS: u32 = 1;
/// Blocks of `Train`, of a second each: sixty samples, and both score windows fit.
pub const TRAIN: u32 = 24;
/// Samples open at a time: as the large presets have it. At 100 ms and two fifths of a second of service for
/// each, two would leave both stages idle a part of the time whatever the rate.
pub const IN_FLIGHT: u32 = 4;
/// Least time of a pass, milliseconds. The work itself takes a twentieth of it, so that rows beside each other
/// and whatever else the machine does change nothing.
pub const PACE_MS: u32 = 200;
/// Windows of a sample, of 32 tokens each: an uncompressed message is 128 KiB, as with `tiny`.
const WINDOWS: u32 = 64;
/// Channels between stages of `nano`.
pub const CHANNELS: u32 = 32;

/// A boundary of `nano` (32 channels) by its nominal ratio to bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Nominal.
    pub times: u32,
    channels: u32,
    codec: &'static str,
}

/// All ratios.
pub const RATIOS: [Ratio; 4] = [
    Ratio { times: 1, channels: CHANNELS, codec: "bf16" },
    Ratio { times: 16, channels: 4, codec: "int8" },
    Ratio { times: 64, channels: 2, codec: "int4" },
    Ratio { times: 128, channels: 1, codec: "int4" },
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

/// The links that are measured at every ratio, then all others. Uncompressed, the stages send more than 1 Mb/s
/// holds: there the data link is full.
const FIRST: [Link; 5] = [OFFICE, link(50, 100, 0), link(10, 100, 0), link(1, 100, 0), link(1, 20, 0)];

/// Every rate, delay and loss of the grid.
pub fn links() -> Vec<Link> {
    let mut links = FIRST.to_vec();
    for loss in [0, 1] {
        for rtt in [20, 100, 0] {
            for mbit in [50, 10, 100, 1_000] {
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

    /// Its devnet.
    pub fn options(&self, dir: &Path) -> anyhow::Result<Options> {
        use clap::Parser;
        let Link { mbit, rtt, loss } = self.link;
        let text = format!(
            "devnet --preset nano --stages 2 --miners 1 --validators {VALIDATORS} --epochs 3 --train-blocks {TRAIN} \
             --in-flight {IN_FLIGHT} --windows {WINDOWS} --channels {} --codec {} --usual-priority \
             --link rate={mbit}mbit,rtt={rtt}ms,loss={loss}% --dir",
            self.ratio.channels, self.ratio.codec
        );
        let folder = dir.join("devnet").display().to_string();
        let words = text.split_whitespace().map(str::to_owned).chain([folder]);
        let mut options = Options::try_parse_from(words)?;
        for miner in 0..MINERS {
            let pace = vec!["--pace-ms".to_owned(), PACE_MS.to_string()];
            options.member_args.insert(format!("miner-{miner}"), pace);
        }
        Ok(options)
    }
}

/// What a row gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Its name.
    pub row: String,
    /// Tokens per second of `Train`: of the first epoch, in which connections are made, and of the second.
    pub rates: Vec<f64>,
    /// Bytes per token at the boundary, both ways, as the miners counted them.
    pub bytes_per_token: f64,
    /// Submissions that were due.
    pub due: u32,
    /// Those that were not on chain inside their windows, by what they are.
    pub late: Vec<String>,
    /// Shards merged.
    pub agreed: u32,
}

impl Outcome {
    /// Tokens per second of the second epoch.
    pub fn rate(&self) -> f64 {
        self.rates.last().copied().unwrap_or(0.0)
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
