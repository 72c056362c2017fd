//! The scenarios: who cheats, how many of them, for how long, and what is claimed of the result.

use std::collections::BTreeSet;

use iota_protocol::ids::Epoch;
use pallet_iota::types::State;
use polkadot_sdk::frame_support::{assert_ok, traits::fungible::Inspect};

use super::super::{Balances, Iota, Runtime, RuntimeOrigin, System, RUN, UNIT};
use super::{
    chain::{clock, on_arena, open_block, schedule, Shape},
    fault::{Fault, ValidatorFault, CHEATS, VALIDATOR_CHEATS},
    outcome::{is_wanted, percent, Outcome, Scale},
    story::Sign,
    world::{Setup, World},
};

/// A run of that setup, in which `bend` chooses who cheats.
fn played(setup: Setup, bend: impl FnOnce(&mut World) -> Vec<usize>, look: impl FnOnce(&World, &[usize])) {
    on_arena(setup.shape, || {
        let mut world = World::start(setup);
        let cheats = bend(&mut world);
        for _ in 0..setup.shape.epochs {
            world.epoch();
        }
        look(&world, &cheats);
    });
}

/// What everybody gets in a run of that setup without a cheat.
fn fair(setup: Setup) -> Vec<u128> {
    let mut incomes = Vec::new();
    played(setup, |_| Vec::new(), |world, _| incomes = world.incomes());
    incomes
}

fn signs(found: &BTreeSet<Sign>) -> String {
    found.iter().map(|sign| format!("{sign:?}")).collect::<Vec<_>>().join(", ")
}

/// One row of a table of cheats.
fn line(name: String, world: &World, cheats: &[usize]) -> Vec<String> {
    let (found, epochs, by) = world.found(cheats);
    vec![
        name,
        format!("{found} of {}", cheats.len()),
        signs(&by),
        if found == 0 { "-".into() } else { format!("{epochs:.1}") },
        world.punished().to_string(),
        percent(cheats.iter().map(|own| world.kept(*own)).sum::<f64>() / cheats.len() as f64),
        format!("{:+.1} %", world.gain(cheats) * 100.0),
    ]
}

const COLUMNS: [&str; 7] =
    ["cheat", "found", "by", "epochs until", "honest punished", "pay kept", "return on cheating"];

#[test]
fn no_cheat_of_a_miner_pays_on_the_real_chain() {
    let scale = Scale::asked();
    if !is_wanted("chain-miners") {
        return;
    }
    let (seeds, epochs) = scale.pick((1, 20), (5, 100));
    let mut out = Outcome::new();
    out.note(format!(
        "3 stages of 5 miners, 4 validators, {epochs} epochs, seeds 0 to {}: each cheat alone (two where it takes \
         two). Pay is compared with the same seed without the cheat; the return counts the work that the cheat \
         saves, at 60 % of the pay, as in the laboratory.",
        seeds - 1
    ));
    let mut rows = Vec::new();
    let setup = |seed| Setup::new(Shape::small(epochs), seed);
    let honest: Vec<Vec<u128>> = (0..seeds).map(|seed| fair(setup(seed))).collect();
    for fault in CHEATS {
        let mut gains = Vec::new();
        for (seed, fair) in (0..seeds).zip(&honest) {
            let choose = |world: &mut World| {
                world.measure_by(fair);
                world.cheat(fault, fault.stage(3), fault.least())
            };
            played(setup(seed), choose, |world, cheats| {
                world.holds_together();
                gains.push(world.gain(cheats));
                if seed == 0 {
                    rows.push(line(format!("{fault:?}"), world, cheats));
                }
            });
        }
        let gain = gains.iter().sum::<f64>() / gains.len() as f64;
        // A hundredth is the noise of scores that are rounded.
        out.below(&format!("{fault:?} does not pay on the real chain"), gain, 0.01);
    }
    out.table("Cheats of miners on the real chain (seed 0)", &COLUMNS, rows);
    out.finish("chain-miners", scale);
}

#[test]
fn coalitions_in_a_full_run_do_not_pay_and_punish_nobody() {
    let scale = Scale::asked();
    if !is_wanted("chain-coalitions") {
        return;
    }
    let (shape, shares) =
        scale.pick((Shape::small(12), &[0.4][..]), (Shape::full(40), &[0.1, 0.2, 0.3, 0.4]));
    let faults: &[Fault] = scale.pick(
        &[Fault::CollusiveShard, Fault::ReturnsNoise],
        &[
            Fault::ReturnsNoise,
            Fault::SkipsLocalSteps,
            Fault::LowerPrecision,
            Fault::CollusiveShard,
            Fault::MissingShard,
            Fault::DeniedReceipts,
            Fault::RefusesStrangers,
            Fault::RefusesEvidence,
        ],
    );
    let mut out = Outcome::new();
    out.note(format!("{shape:?}, seed 7: that share of one stage, or of every stage."));
    let mut rows = Vec::new();
    let fair = fair(Setup::new(shape, 7));
    for fault in faults {
        for share in shares {
            for everywhere in [false, true] {
                let bad = (f64::from(shape.replicas) * share) as u16;
                let held = if everywhere { 0..shape.stages } else { 1..2 };
                let choose = |world: &mut World| {
                    world.measure_by(&fair);
                    held.flat_map(|stage| world.cheat(*fault, stage, bad)).collect::<Vec<_>>()
                };
                played(Setup::new(shape, 7), choose, |world, cheats| {
                    world.holds_together();
                    let place = if everywhere { "every stage" } else { "one stage" };
                    let name = format!("{fault:?}, {} of {place}", percent(*share));
                    let text = format!("{name}, does not pay on the real chain");
                    out.below(&text, world.gain(cheats), 0.01);
                    rows.push(line(name, world, cheats));
                });
            }
        }
    }
    out.table("Coalitions on the real chain", &COLUMNS, rows);
    out.finish("chain-coalitions", scale);
}

#[test]
fn validators_that_cheat_with_less_than_half_of_the_stake_punish_nobody() {
    let scale = Scale::asked();
    if !is_wanted("chain-validators") {
        return;
    }
    let epochs = scale.pick(16, 200);
    let mut out = Outcome::new();
    out.note(format!(
        "3 stages of 5 miners, equal stakes, {epochs} epochs, seed 3. The victim is the honest miner of the lowest \
         uid; pay is a part of what the validator, or the miner, got in the same run without the cheat."
    ));
    let mut rows = Vec::new();
    for fault in VALIDATOR_CHEATS {
        for (bad, of) in [(1, 4), (2, 5)] {
            let shape = Shape { validators: of, ..Shape::small(epochs) };
            let pay = |bend: &dyn Fn(&mut World) -> Vec<usize>| {
                let mut pay = (0.0, 0.0, 0.0);
                played(Setup::new(shape, 3), bend, |world, _| {
                    world.holds_together();
                    let income = |index: usize| world.actors[index].keys.income() as f64;
                    let bond = Iota::members_view(RUN).iter().map(|own| own.bond).max().unwrap_or(0) as f64;
                    let own = usize::from(shape.miners());
                    let left = pallet_iota::Members::<Runtime>::get(RUN, world.actors[own].uid).unwrap().bond;
                    pay = (income(own), income(0), bond - left as f64);
                });
                pay
            };
            let (fair, bent) = (pay(&|_| Vec::new()), pay(&|world| world.bend(fault, bad)));
            let lost = bent.2 / UNIT as f64;
            rows.push(vec![
                format!("{fault:?}"),
                format!("{bad} of {of}"),
                percent(bent.0 / fair.0),
                percent(bent.1 / fair.1),
                format!("{lost:.0}"),
            ]);
            // Of five, the three others are not two thirds: nothing is decided, and the deposit returns.
            if fault == ValidatorFault::AccusesFalsely && bad == 1 {
                let text = format!("{bad} of {of} validators that accuses falsely loses its deposits");
                out.claim(text, format!("{lost:.0} tokens"), lost > 0.0);
            }
            if fault == ValidatorFault::NotRevealing {
                let text = format!("{bad} of {of} validators that do not reveal are not paid");
                out.claim(text, percent(bent.0 / fair.0), bent.0 < fair.0 / 10.0);
            }
        }
    }
    let columns = ["cheat", "validators", "pay of one of them", "pay of the victim", "bond lost (tokens)"];
    out.table("Cheats of validators on the real chain", &columns, rows);
    out.finish("chain-validators", scale);
}

/// What runs of honest members came to.
#[derive(Default)]
struct Honest {
    epochs: u32,
    punished: usize,
    cut: u32,
    lost: u32,
    late: u32,
    kept: Vec<f64>,
}

impl Honest {
    /// Runs one more, with so many of a hundred in trouble, and three slow and three restless ones if there are any.
    fn play(&mut self, shape: Shape, seed: u64, trouble: u64) {
        let setup = Setup { trouble, ..Setup::new(shape, seed) };
        let choose = |world: &mut World| {
            let few = if trouble > 0 { 3 } else { 0 };
            [world.cheat(Fault::Straggler, 1, few), world.cheat(Fault::Flapping, 2, few)].concat()
        };
        played(setup, choose, |world, restless| {
            self.punished += world.punished();
            world.holds_together();
            self.epochs += world.story.epochs;
            self.cut += world.story.cut.values().sum::<u32>();
            (self.lost, self.late) = (self.lost + world.mail.lost, self.late + world.mail.late);
            let others = (0..usize::from(shape.miners())).filter(|own| !restless.contains(own));
            self.kept.extend(others.map(|own| world.kept(own)));
        });
    }

    /// The tenth, the half and the nine tenths of what miners kept of an even share.
    fn spread(&mut self) -> [String; 3] {
        self.kept.sort_by(f64::total_cmp);
        [1, 5, 9].map(|tenths| percent(self.kept[self.kept.len() * tenths / 10]))
    }
}

#[test]
fn a_full_run_of_honest_members_in_trouble_punishes_nobody() {
    let scale = Scale::asked();
    if !is_wanted("chain-honest") {
        return;
    }
    let (shape, seeds) = scale.pick((Shape::full(12), 1), (Shape::full(250), 4));
    let mut out = Outcome::new();
    let (mut troubled, mut calm) = (Honest::default(), Honest::default());
    (0..seeds).for_each(|seed| troubled.play(shape, seed, 20));
    calm.play(shape, seeds, 0);
    out.note(format!(
        "{shape:?}, seeds 0 to {}. In each epoch one honest miner in five is slow, away for a while, away for the \
         merge, or cut off from the chain; three are always slow and three always away for a third of the epoch. The \
         network lost {} sendings; {} calls came to no block in time. Seed {seeds} without any trouble beside it.",
        seeds - 1,
        troubled.lost,
        troubled.late
    ));
    let (epochs, punished) = (troubled.epochs, troubled.punished);
    let text = format!("No honest member is gated or has pay held in {epochs} epochs of a full run");
    out.claim(text, punished.to_string(), punished == 0);
    let share = f64::from(troubled.cut) / f64::from(epochs * u32::from(shape.miners()));
    let text = "CLASP takes pay in fewer than 1 of 1,000 honest miner-epochs of a full run";
    out.claim(text, format!("{:.3} %", share * 100.0), share < 0.001);
    let row = |name: &str, honest: &mut Honest| {
        let [low, half, high] = honest.spread();
        vec![name.into(), honest.epochs.to_string(), low, half, high]
    };
    let rows = vec![row("one in five in trouble", &mut troubled), row("no trouble", &mut calm)];
    let columns =
        ["epochs with", "epochs", "lowest tenth keeps at most", "half", "highest tenth keeps at least"];
    out.table("What honest miners keep of an even share of their stage's pay", &columns, rows);
    out.note(
        "Weights follow pay and pay follows weights, so that what chance takes from a miner nothing gives back, down to \
         the floor of half the stage's median: the spread without trouble is that of luck alone.",
    );
    out.finish("chain-honest", scale);
}

#[test]
fn an_epoch_whose_validators_are_cut_off_is_void_and_paid_with_the_next() {
    let setup = Setup::new(Shape::small(6), 11);
    on_arena(setup.shape, || {
        let mut world = World::start(setup);
        world.epoch();
        world.epoch();
        // Two of four do not hold more than half of the stake.
        let away: BTreeSet<usize> = world.validators().take(2).collect();
        let windows = schedule().score_commit().start..schedule().score_reveal().end;
        world.mail.cut(windows, away);
        world.epoch();
        assert_eq!((world.story.void, world.story.minted > 0), (1, true));
        let minted = world.story.minted;
        world.epoch();
        let report = Iota::report_view(RUN, clock().epoch.previous().and_then(|own| own.previous()).unwrap());
        assert!(!report.unwrap().void, "the network is whole again");
        assert!(world.story.minted > minted);
        let again = Iota::report_view(RUN, Epoch(1)).unwrap();
        assert!(!again.void && again.split.minted > 0, "the void epoch was settled with the next: {again:?}");
        Iota::check_invariants().unwrap();
        world.nobody_honest_is_punished();
    });
}

#[test]
fn whatever_was_minted_reaches_its_owner_after_the_run() {
    let setup = Setup { trouble: 10, ..Setup::new(Shape::small(4), 5) };
    on_arena(setup.shape, || {
        let mut world = World::start(setup);
        world.cheat(Fault::ReturnsNoise, 1, 1);
        while clock().state != State::Ended {
            world.epoch();
        }
        world.funds_are_conserved();
        // Vesting goes on by the length of epochs.
        let all = System::block_number() + 18 * 90;
        while System::block_number() < all {
            open_block(setup.seed);
        }
        for actor in &world.actors {
            let anybody = RuntimeOrigin::signed(world.actors[0].keys.coldkey.clone());
            let _ = Iota::release(anybody.clone(), RUN, actor.incarnation);
            if Iota::owed_view(&actor.keys.coldkey).claimable > 0 {
                assert_ok!(Iota::claim(anybody, actor.keys.coldkey.clone()));
            }
            assert_eq!(actor.keys.income(), 0, "uid {:?}", actor.uid);
        }
        assert_eq!(pallet_iota::TotalOwed::<Runtime>::get(), 0);
        let pot = Balances::free_balance(Iota::pot());
        assert!(pot <= Balances::minimum_balance(), "{pot} are nobody's");
        world.funds_are_conserved();
    });
}

#[test]
fn the_same_seed_tells_the_same_story_and_another_seed_another() {
    let tell = |seed| {
        let mut told = Vec::new();
        let choose = |world: &mut World| world.cheat(Fault::SlowLoris, 1, 1);
        played(Setup { trouble: 30, ..Setup::new(Shape::small(3), seed) }, choose, |world, _| {
            told = world.actors.iter().map(|own| own.keys.income()).collect();
        });
        told
    };
    let (one, same, other) = (tell(1), tell(1), tell(2));
    assert_eq!(one, same);
    assert_ne!(one, other);
}
