//! Crowds: many keys of one owner in a run without free seats, and whoever comes for the seat of a member that is
//! about to be paid. Epochs are as long as a real network's, for prices and immunity go by blocks.

use std::collections::BTreeSet;

use iota_protocol::{
    ids::{Epoch, Incarnation, Uid},
    price::Quote,
    work::Role,
};

use super::super::{Balance, Iota, Runtime, System, RUN, UNIT};
use super::{
    chain::{clock, member, on_arena, Keys, Shape},
    fault::Fault,
    outcome::{is_wanted, percent, Outcome, Scale},
    world::{Actor, Setup, World},
};

/// Numbers of keys that are nobody's at the start.
const FIRST: u16 = 10_000;
/// Blocks of `Train` that make an epoch half an hour long.
const TRAIN: u32 = 1_766;

/// One owner's keys.
struct Crowd {
    keys: Vec<Keys>,
    /// What a seat may cost.
    most: Balance,
    burned: Balance,
    next: u16,
}

/// What came of it.
struct Flood {
    registered: usize,
    seated: usize,
    burned: Balance,
    earned: Balance,
    unseated: usize,
    unpaid: usize,
}

impl Crowd {
    fn new(most: Balance) -> Self {
        Self { keys: Vec::new(), most, burned: 0, next: FIRST }
    }

    /// Registers as many as fit below the price, the next first.
    fn come(&mut self) {
        loop {
            let price = Iota::price_now();
            let keys = Keys::new(self.next);
            if price > self.most || keys.register(Role::Miner).is_err() {
                return;
            }
            self.burned += price;
            self.next += 1;
            self.keys.push(keys);
        }
    }

    /// Those that have taken their seats become members that can be reached and do nothing.
    fn settle(&mut self, world: &mut World) {
        let (seated, waiting): (Vec<_>, Vec<_>) = self.keys.drain(..).partition(|own| own.uid().is_some());
        self.keys = waiting;
        for keys in seated {
            keys.serve();
            let uid = keys.uid().unwrap();
            let incarnation = member(uid).unwrap().incarnation;
            world.adopt(Actor {
                keys,
                role: Role::Miner,
                fault: Some(Fault::NeverTrains),
                bends: None,
                uid,
                incarnation,
            });
        }
    }
}

/// Honest members that hold no seat any more.
fn unseated(world: &World, honest: usize) -> BTreeSet<(Uid, Incarnation)> {
    let gone = world.actors[..honest].iter().filter(|own| own.keys.uid().is_none());
    gone.map(|own| (own.uid, own.incarnation)).collect()
}

fn flood(setup: Setup, most: Balance) -> Flood {
    let mut found = None;
    on_arena(setup.shape, || {
        let mut world = World::start(setup);
        // The rush of the start is long over: a seat costs what the first one did.
        pallet_iota::RegistrationPrice::<Runtime>::put(Quote { price: UNIT, block: System::block_number() });
        let honest = world.actors.len();
        let mut crowd = Crowd::new(most);
        let (mut gone, mut unpaid) = (BTreeSet::new(), 0);
        for _ in 0..setup.shape.epochs {
            let epoch = clock().epoch;
            crowd.come();
            world.epoch();
            crowd.settle(&mut world);
            unpaid += without_pay(epoch, &gone);
            // Whoever went at this `Close` worked in the epoch that it ended, which the next one pays.
            gone = unseated(&world, honest);
        }
        Iota::check_invariants().unwrap();
        world.nobody_honest_is_punished();
        let seated = world.actors.len() - honest;
        let earned = world.actors[honest..].iter().map(|own| own.keys.income()).sum();
        let registered = seated + crowd.keys.len();
        let unseated = unseated(&world, honest).len();
        found = Some(Flood { registered, seated, burned: crowd.burned, earned, unseated, unpaid });
    });
    found.unwrap()
}

/// Of these, those that stand in the snapshot of the epoch before and are not paid for it.
fn without_pay(epoch: Epoch, gone: &BTreeSet<(Uid, Incarnation)>) -> usize {
    let Some(settled) = epoch.previous() else { return 0 };
    let report = Iota::report_view(RUN, settled).unwrap();
    let worked = super::chain::snapshot(settled).miners;
    let due = worked.iter().filter(|own| own.samples > 0).map(|own| (own.uid, own.incarnation));
    let paid: BTreeSet<_> = report.payouts.iter().map(|own| (own.uid, own.incarnation)).collect();
    due.filter(|own| gone.contains(own) && !paid.contains(own)).count()
}

#[test]
fn many_keys_of_one_owner_earn_nothing_and_who_gives_way_is_paid_for_its_work() {
    let scale = Scale::asked();
    if !is_wanted("chain-crowds") {
        return;
    }
    let epochs = scale.pick(7, 24);
    // As many members as a run has seats, and few samples: what they earn is not the question.
    let shape = Shape { train: TRAIN, rounds: 10, ..Shape::full(epochs) };
    let mut out = Outcome::new();
    out.note(format!(
        "{shape:?}, seed 1: a full run whose members joined in its first block. One owner registers miners that never \
         train in every epoch, while a seat costs at most so much; nobody is immune for longer than four epochs."
    ));
    let mut rows = Vec::new();
    for most in scale.pick(&[2 * UNIT][..], &[UNIT / 2, 2 * UNIT, 20 * UNIT]) {
        let flood = flood(Setup::new(shape, 1), *most);
        let tokens = |amount: Balance| format!("{:.2}", amount as f64 / UNIT as f64);
        rows.push(vec![
            tokens(*most),
            flood.registered.to_string(),
            flood.seated.to_string(),
            tokens(flood.burned),
            tokens(flood.earned),
            format!("{} ({})", flood.unseated, percent(flood.unseated as f64 / 256.0)),
        ]);
        let text = format!("Keys that never train, at {} tokens a seat at most, earn nothing", tokens(*most));
        out.claim(text, tokens(flood.earned), flood.earned == 0 && flood.seated > 0 && flood.burned > 0);
        let text = format!(
            "Whoever gives its seat to one of them at {} tokens is paid for its last epoch",
            tokens(*most)
        );
        out.claim(text, format!("{} unpaid", flood.unpaid), flood.unpaid == 0 && flood.unseated > 0);
    }
    let columns = [
        "most for a seat (tokens)",
        "registered",
        "seated",
        "burned",
        "earned",
        "honest members without a seat at the end",
    ];
    out.table("Many keys of one owner in a full run", &columns, rows);
    out.finish("chain-crowds", scale);
}
