//! Validators that cheat: the row `validators`.

use iota_protocol::ids::Uid;

use crate::outcome::{mean_and_error, percent, Miss, Outcome, Scale, Table};
use crate::world::fault::{ValidatorFault, VALIDATOR_CHEATS};
use crate::world::{Ledger, Setup, World};

/// Found here: clipping bounds what a row can give from above only.
const WHY_RANKS: &str =
    "a miner's rank is the stake-weighted sum of clipped weights: a row cannot give more than \
    the majority does, but it can give less, and what it withholds from others lifts its friends when \
    ranks are normalised; paying by the clip itself (the weighted median) would not";

struct Result {
    pay: f64,
    friend: f64,
    victim: f64,
    void: f64,
}

fn one(fault: ValidatorFault, bad: u16, of: u16, seed: u64, epochs: u32) -> Result {
    let mut setup = Setup { validators: of, ..Setup::small(seed, epochs) };
    let honest = World::new(setup.clone()).run();
    setup.validator_faults = (0..usize::from(bad)).map(|index| (index, fault)).collect();
    let story = World::new(setup).run();
    let kept = |story: &crate::world::Story, uid| story.ledgers.get(&Uid(uid)).map_or(0.0, Ledger::kept);
    Result {
        pay: story.validators[0] / honest.validators[0],
        friend: kept(&story, 0) / kept(&honest, 0),
        victim: kept(&story, 1) / kept(&honest, 1),
        void: f64::from(story.void) / f64::from(epochs),
    }
}

/// The row.
///
/// # Errors
/// Never; rows share a signature.
pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
    let (seeds, epochs) = scale.pick((1, 5), (5, 20));
    let mut out = Outcome::default();
    out.note(
        "Equal stakes. Friends are the miners with even uids; self-dealing means uid 0; the victim of a \
         false accusation is uid 1. A withheld report costs nothing today: nobody's pay depends on it.",
    );
    let columns = ["cheat", "validators", "their pay", "pay of uid 0", "pay of uid 1", "void epochs"];
    let mut table = Table::new("Validators that cheat, against the same run without", &columns);
    for fault in VALIDATOR_CHEATS {
        for (bad, of) in [(1u16, 4u16), (2, 5), (3, 5)] {
            let all: Vec<Result> = (0..seeds).map(|seed| one(fault, bad, of, seed, epochs)).collect();
            let mean = |of: fn(&Result) -> f64| mean_and_error(&all.iter().map(of).collect::<Vec<_>>()).0;
            let (pay, friend, victim) = (mean(|r| r.pay), mean(|r| r.friend), mean(|r| r.victim));
            table.push([
                format!("{fault:?}"),
                format!("{bad} of {of}"),
                percent(pay),
                percent(friend),
                percent(victim),
                percent(mean(|r| r.void)),
            ]);
            let minority = bad * 2 < of;
            if minority && matches!(fault, ValidatorFault::SelfDeals | ValidatorFault::ScoresFriends) {
                let text =
                    format!("{fault:?} with {bad} of {of} validators raises no miner by more than 1 %");
                out.target(
                    text,
                    format!("uid 0 keeps {}", percent(friend)),
                    friend < 1.01,
                    Miss::known(friend < 1.5, WHY_RANKS),
                );
            }
            if minority && fault == ValidatorFault::AccusesFalsely {
                let text = format!(
                    "{bad} of {of} validators that score a miner with nothing take less than 5 % of its pay"
                );
                out.target(
                    text,
                    format!("keeps {}", percent(victim)),
                    victim > 0.95,
                    Miss::known(victim > 0.6, WHY_RANKS),
                );
            }
        }
    }
    out.tables.push(table);
    Ok(out)
}
