//! What audits have to be for cheating not to pay: the rule of `iota_protocol::deterrence`, tables,
//! and a simulation that knows nothing of the rule.

use iota_protocol::deterrence::{audit_rate_ppm, audits_needed, Deterrence, LEAST_AUDIT_PPM};
use iota_protocol::params::PPM;

use crate::calibration;
use crate::noise::Noise;
use crate::outcome::{percent, Outcome, Scale, Table};
use crate::plot::{lines, Axes, Line};
use crate::world::VEST_EPOCHS;

const PLAIN: Deterrence = Deterrence {
    audit_ppm: 0,
    segments: 1,
    false_accept_ppm: 0,
    vest_epochs: VEST_EPOCHS as u32,
    stake_ppm: 0,
    cost_ppm: PPM,
};

fn share(ppm: u32) -> String {
    percent(f64::from(ppm) / f64::from(PPM))
}

/// Mean gain per epoch of a cheat over many epochs, in epochs of pay, counted: each epoch's reward vests
/// in equal parts, an audit comes with its probability and sees each segment with its own.
#[must_use]
pub fn simulated_gain(given: &Deterrence, cheated: f64, epochs: u32, seed: u64) -> f64 {
    let rate = |ppm: u32| f64::from(ppm) / f64::from(PPM);
    let mut noise = Noise::new(seed, "audits");
    let vest = given.vest_epochs.max(1) as usize;
    let mut unvested = std::collections::VecDeque::from(vec![1.0; vest]);
    let mut balance = 0.0;
    for _ in 0..epochs {
        balance += cheated * rate(given.cost_ppm);
        let seen = (0..given.segments).any(|_| noise.chance(cheated * (1.0 - rate(given.false_accept_ppm))));
        if noise.chance(rate(given.audit_ppm)) && seen {
            // This epoch's pay and what of earlier ones has not vested. A caught miner is taken to have
            // worked on until it had as much to lose again: the rule states a standing cheat's balance.
            let earlier: f64 =
                (1..vest).zip(&unvested).map(|(age, paid)| paid * (1.0 - age as f64 / vest as f64)).sum();
            balance -= 1.0 + earlier + given.stake_ppm as f64 / f64::from(PPM);
        }
        unvested.pop_back();
        unvested.push_front(1.0);
    }
    balance / f64::from(epochs)
}

/// The row.
///
/// # Errors
/// When a plot cannot be drawn.
pub fn run(scale: Scale) -> anyhow::Result<Outcome> {
    let mut out = Outcome::default();
    out.note(
        "A cheat on a share f of its work saves f of its cost. Audited (with probability q), it is caught if \
         a replayed segment shows the cheat, and loses the epoch's pay and the (V - 1)/2 epochs that have not \
         vested. With one segment, f cancels: q (1 + (V - 1)/2 + stake) > cost/pay. A false accept of the \
         replay divides q. Work at no margin (cost = pay) is the worst case and is assumed here. With more \
         segments small cheats are seen more often; cheating on everything is then what decides.",
    );
    defaults(&mut out);
    rates(&mut out);
    needed(&mut out);
    alarms(&mut out);
    let epochs = scale.pick(20_000, 400_000);
    agreement(&mut out, epochs);
    out.plots.push(curves(epochs / 20)?);
    Ok(out)
}

/// Networks that the rule is applied to: miners and validators.
const NETWORKS: [(u32, u32); 6] = [(9, 2), (15, 4), (64, 2), (64, 8), (246, 10), (192, 64)];
/// Shares of an epoch's work that a cheat leaves out; every one above one per cent has to lose.
const SHARES: [u32; 5] = [10_000, 50_000, 100_000, 500_000, PPM];

/// What the defaults make of a cheat: as many audits as a validator takes by itself, the runtime's vesting,
/// no stake, work without a margin, and the worst replay that the calibration allows.
fn defaults(out: &mut Outcome) {
    let lax = (calibration::worst_false_accept() * f64::from(PPM)).ceil() as u32;
    out.note(format!(
        "Defaults: pay vests over {VEST_EPOCHS} epochs, a validator takes as many audits as give every miner at \
         least {}, and a replay passes a cheat with {} at most: the worst upper bound (95 %) of the calibration.",
        share(LEAST_AUDIT_PPM),
        share(lax)
    ));
    let columns =
        ["miners", "validators", "audits of each", "audit rate", "f = 1 %", "5 %", "10 %", "50 %", "100 %"];
    let mut table = Table::new("Gain per epoch by the defaults, in epochs of pay", &columns);
    let mut most = i64::MIN;
    for (miners, validators) in NETWORKS {
        let each = audits_needed(validators, miners, LEAST_AUDIT_PPM);
        let audit_ppm = audit_rate_ppm(validators, each, miners);
        let given = Deterrence { audit_ppm, false_accept_ppm: lax, ..PLAIN };
        let gains = SHARES.map(|share| given.expected_gain_ppm(share));
        most = gains.into_iter().fold(most, i64::max);
        let mut cells = vec![miners.to_string(), validators.to_string(), each.to_string(), share(audit_ppm)];
        cells.extend(gains.map(|gain| format!("{:+.4}", gain as f64 / f64::from(PPM))));
        table.rows.push(cells);
    }
    out.tables.push(table);
    let got = format!("{:+.4} epochs of pay at most", most as f64 / f64::from(PPM));
    out.claim("By the defaults cheating on 1 % of the work or more loses", got, most < 0);
    let least = Deterrence { false_accept_ppm: lax, ..PLAIN };
    let at_rate = Deterrence { audit_ppm: LEAST_AUDIT_PPM, ..least };
    let rate = least.least_audit_ppm(SHARES[0]).map_or("none".into(), share);
    let vesting = at_rate.least_vest_epochs(SHARES[0]).map_or("none".into(), |epochs| epochs.to_string());
    let stake = least_stake(Deterrence { vest_epochs: 1, ..at_rate });
    out.note(format!(
        "Each alone: the least audit rate at this vesting is {rate}; the least vesting at this audit rate is \
         {vesting} epochs; and where nothing vests it would take a stake of {stake} epochs' pay."
    ));
}

/// The least stake in tenths of an epoch's pay that deters.
fn least_stake(given: Deterrence) -> String {
    let deters =
        |tenth: &u64| Deterrence { stake_ppm: tenth * u64::from(PPM) / 10, ..given }.deters(SHARES[0]);
    (0..10_000u64)
        .find(deters)
        .map_or("more than 1,000".into(), |tenth| format!("{:.1}", tenth as f64 / 10.0))
}

/// How often honest work would be judged guilty if replays rejected it at the upper bound that was measured,
/// each validator's machine for itself.
fn alarms(out: &mut Outcome) {
    let reject = calibration::worst_false_reject();
    let columns = ["miners", "validators", "audits per epoch", "accusations per epoch", "verdicts per epoch"];
    let mut table =
        Table::new("Honest miners, if replays rejected at the upper bound that was measured", &columns);
    for (miners, validators) in NETWORKS {
        let each = audits_needed(validators, miners, LEAST_AUDIT_PPM);
        let audits = f64::from(validators * each);
        // The accuser is one of two thirds.
        let wanted = (validators * 2).div_ceil(3).saturating_sub(1);
        let verdict = reject * at_least(wanted, validators - 1, reject);
        table.push([
            miners.to_string(),
            validators.to_string(),
            (validators * each).to_string(),
            format!("{:.4}", audits * reject),
            format!("{:.1e}", audits * verdict),
        ]);
    }
    out.tables.push(table);
    out.note(format!(
        "No honest segment was rejected; {} is the upper bound (95 %) of the check that was tried least. It counts \
         if validators' machines err independently of each other. Where all validators run one kind of machine \
         and the miner another, they err together, and what stands between the miner and a verdict is the \
         factor of four between honest distances and the bounds.",
        percent(reject)
    ));
}

/// Probability of at least `wanted` of `count` independent events.
fn at_least(wanted: u32, count: u32, chance: f64) -> f64 {
    let exactly = |hits: u32| {
        let ways: f64 = (0..hits).map(|i| f64::from(count - i) / f64::from(i + 1)).product();
        ways * chance.powi(hits as i32) * (1.0 - chance).powi((count - hits) as i32)
    };
    (wanted..=count).map(exactly).sum()
}

fn rates(out: &mut Outcome) {
    let columns =
        ["vesting (epochs)", "stake (epochs of pay)", "least audit rate", "with 20 % false accepts"];
    let mut table = Table::new("Least audit rate per miner and epoch", &columns);
    for vest_epochs in [1, 10, 20, 50, 100, 200] {
        for stake in [0u64, 10] {
            let given = Deterrence { vest_epochs, stake_ppm: stake * u64::from(PPM), ..PLAIN };
            let lax = Deterrence { false_accept_ppm: 200_000, ..given };
            let cell =
                |given: &Deterrence| given.least_audit_ppm(10_000).map_or("none is enough".into(), share);
            table.push([vest_epochs.to_string(), stake.to_string(), cell(&given), cell(&lax)]);
        }
    }
    out.tables.push(table);
}

fn needed(out: &mut Outcome) {
    let columns = [
        "miners",
        "validators",
        "audits of each",
        "audit rate of a miner",
        "least vesting",
        "at 10 epochs' stake",
    ];
    let mut table = Table::new("Vesting that a number of audits needs", &columns);
    for (miners, validators, each) in
        [(9, 2, 1), (15, 4, 1), (64, 8, 1), (256, 10, 1), (256, 64, 1), (256, 10, 8)]
    {
        let audit_ppm = audit_rate_ppm(validators, each, miners);
        let bare = Deterrence { audit_ppm, ..PLAIN };
        let staked = Deterrence { stake_ppm: 10 * u64::from(PPM), ..bare };
        let cell = |given: &Deterrence| {
            given.least_vest_epochs(10_000).map_or("-".into(), |epochs| format!("{epochs} epochs"))
        };
        table.push([
            miners.to_string(),
            validators.to_string(),
            each.to_string(),
            share(audit_ppm),
            cell(&bare),
            cell(&staked),
        ]);
    }
    out.tables.push(table);
}

fn agreement(out: &mut Outcome, epochs: u32) {
    let columns = ["f", "q", "segments", "vesting", "rule", "simulated"];
    let mut table = Table::new("Gain per epoch in epochs of pay: rule and simulation", &columns);
    let mut worst = 0.0f64;
    for (audit_ppm, segments, vest_epochs) in
        [(50_000, 1, 20), (120_000, 1, 20), (120_000, 4, 20), (40_000, 2, 60)]
    {
        for cheated in [0.05, 0.5, 1.0] {
            let given = Deterrence { audit_ppm, segments, vest_epochs, ..PLAIN };
            let rule = given.expected_gain_ppm((cheated * 1e6) as u32) as f64 / 1e6;
            let simulated = simulated_gain(&given, cheated, epochs, u64::from(audit_ppm + segments));
            let penalty = given.penalty_ppm() as f64 / 1e6;
            let chance = f64::from(given.detection_ppm((cheated * 1e6) as u32)) / 1e6;
            let error = penalty * (chance * (1.0 - chance) / f64::from(epochs)).sqrt();
            worst = worst.max((rule - simulated).abs() / error);
            table.push([
                percent(cheated),
                share(audit_ppm),
                segments.to_string(),
                vest_epochs.to_string(),
                format!("{rule:+.4}"),
                format!("{simulated:+.4}"),
            ]);
        }
    }
    out.tables.push(table);
    let got = format!("largest difference {worst:.1} standard errors");
    out.claim("A simulation of audits agrees with the rule", got, worst < 4.0);
}

fn curves(epochs: u32) -> anyhow::Result<crate::outcome::Plot> {
    let mut drawn = Vec::new();
    for vest_epochs in [1, 10, 20, 50] {
        let at = |step: u32| {
            let given = Deterrence { audit_ppm: step * 10_000, vest_epochs, ..PLAIN };
            (f64::from(step) / 100.0, simulated_gain(&given, 0.5, epochs, u64::from(step)))
        };
        drawn.push(Line { name: format!("vesting {vest_epochs}"), points: (0..=30).map(at).collect() });
    }
    let title = "Return on cheating on half of the work, by audit rate (simulated)";
    lines(
        &Axes {
            file: "return-by-audit-rate.svg",
            title,
            x: "audits per miner and epoch",
            y: "epochs of pay per epoch",
        },
        &drawn,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_defaults_every_network_deters() {
        let mut out = Outcome::default();
        defaults(&mut out);
        assert_eq!(out.broken().count(), 0, "{:?}", out.claims);
        // One audit of each of ten validators among 246 miners, what used to be the default, is not enough.
        let audit_ppm = audit_rate_ppm(10, 1, 246);
        assert!(!Deterrence { audit_ppm, ..PLAIN }.deters(SHARES[0]), "{audit_ppm}");
    }

    #[test]
    fn chances_of_several_by_hand() {
        // Two or three of three coins: 4 of 8.
        assert!((at_least(2, 3, 0.5) - 0.5).abs() < 1e-12);
        assert!((at_least(0, 5, 0.3) - 1.0).abs() < 1e-12);
        assert!((at_least(5, 5, 0.1) - 1e-5).abs() < 1e-12);
    }

    #[test]
    fn at_the_least_rate_cheating_on_any_share_loses() {
        for vest_epochs in [5, 20, 100] {
            let given = Deterrence { vest_epochs, ..PLAIN };
            let audit_ppm = given.least_audit_ppm(10_000).unwrap();
            let just = Deterrence { audit_ppm: audit_ppm + audit_ppm / 5, ..given };
            for cheated in [0.1, 0.5, 1.0] {
                let gain = simulated_gain(&just, cheated, 200_000, 7);
                assert!(gain < 0.0, "vesting {vest_epochs}, share {cheated}: {gain}");
            }
        }
    }
}
