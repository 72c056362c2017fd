//! Eclipse of a newcomer: what a miner keeps to whom some senders send nothing.

use iota_protocol::ids::Uid;

use super::Paired;
use crate::outcome::{mean_and_error, percent, Miss, Outcome, Scale, Table};
use crate::world::fault::Fault;
use crate::world::{Ledger, Setup};

/// Adds the table and its claim to the row of cheats.
pub fn newcomer(scale: Scale, out: &mut Outcome) {
    let (seeds, epochs) = scale.pick((1, 8), (6, 40));
    let columns = ["senders that skip it", "pay kept by the newcomer", "pay kept by the senders"];
    let mut table = Table::new("A newcomer to whom senders of the stage before send nothing", &columns);
    for bad in 1..=4u16 {
        let pairs: Vec<(f64, f64)> = (0..seeds).map(|seed| once(seed, epochs, bad)).collect();
        let mean = |of: fn(&(f64, f64)) -> f64| mean_and_error(&pairs.iter().map(of).collect::<Vec<_>>()).0;
        let (victim, senders) = (mean(|pair| pair.0), mean(|pair| pair.1));
        table.push([format!("{bad} of 5"), percent(victim), percent(senders)]);
        if bad == 1 {
            let why = "a fifth of its samples goes elsewhere, its weight follows its pay, and so less comes the next \
                       time, down to the floor of half the median";
            out.target(
                "One sender of five that eclipses a newcomer takes less than a third of its pay",
                format!("keeps {}", percent(victim)),
                victim > 2.0 / 3.0,
                Miss::known(victim > 0.45, why),
            );
        }
    }
    out.tables.push(table);
}

/// Pay of the newcomer, the last of stage 2, and of the senders, the first of stage 1, beside honest senders.
fn once(seed: u64, epochs: u32, bad: u16) -> (f64, f64) {
    let setup = Setup::small(seed, epochs).with_audits_needed();
    let senders: Vec<Uid> = (0..bad).map(|own| Uid(setup.replicas + own)).collect();
    let pair = Paired::run(&setup, Fault::EclipsesNewcomer, &senders);
    let victim = Uid(3 * setup.replicas - 1);
    let kept = |story: &crate::world::Story| story.ledgers.get(&victim).map_or(0.0, Ledger::kept);
    (kept(&pair.cheated) / kept(&pair.honest), pair.pay())
}
