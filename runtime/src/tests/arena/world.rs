//! A run in the arena: its members, and what each of them does in each block.

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::{
    ids::{Epoch, Hash as Hash32, Incarnation, Uid},
    phase::Phase,
    seed::Draw,
    work::{Role, ShardHashes},
};
use pallet_iota::{types::State, Call};
use polkadot_sdk::sp_runtime::DispatchError;

use super::super::{Iota, Runtime, System, RUN};
use super::{
    chain::{clock, member, open_block, schedule, stages, Keys, Shape},
    court::Case,
    fault::{Fault, ValidatorFault},
    mail::{Mail, Weather},
    stage::{uniform, Runner, Trained, Training, Trouble},
    story::{Sign, Story},
};

/// Blocks for which a miner in trouble is cut off from the chain while it merges.
const CUT: u32 = 4;

/// A member of the run.
pub struct Actor {
    /// Its keys.
    pub keys: Keys,
    /// Miner or validator.
    pub role: Role,
    /// What it does wrong as a miner.
    pub fault: Option<Fault>,
    /// What it does wrong as a validator.
    pub bends: Option<ValidatorFault>,
    /// Its uid, as long as it is a member.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
}

impl Actor {
    /// Whether it breaks no rule.
    pub fn is_honest(&self) -> bool {
        !self.fault.is_some_and(Fault::is_cheat) && self.bends.is_none()
    }
}

/// How a run is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Who takes part.
    pub shape: Shape,
    /// Seed of everything.
    pub seed: u64,
    /// What the network does.
    pub weather: Weather,
    /// Honest miners in a hundred that are in trouble in an epoch.
    pub trouble: u64,
}

impl Setup {
    /// A network that loses one sending in twenty and takes up to two blocks, and nobody in trouble.
    pub fn new(shape: Shape, seed: u64) -> Self {
        Self { shape, seed, weather: Weather { delay: 2, lost: 5 }, trouble: 0 }
    }
}

/// A run in progress.
pub struct World {
    /// How it was set up.
    pub setup: Setup,
    /// Everybody who ever joined.
    pub actors: Vec<Actor>,
    /// What happened.
    pub story: Story,
    pub(super) draw: Draw,
    pub(super) mail: Mail,
    pub(super) of: BTreeMap<(Uid, Incarnation), usize>,
    pub(super) trained: BTreeMap<Epoch, Trained>,
    pub(super) troubles: BTreeMap<usize, Trouble>,
    pub(super) openings: BTreeMap<usize, ShardHashes>,
    pub(super) case: Case,
}

impl World {
    /// Everybody joins; the run starts.
    pub fn start(setup: Setup) -> Self {
        println!("arena: {setup:?}");
        let key = iota_protocol::seed::derive(&Hash32::ZERO, b"arena", setup.seed);
        let mut world = Self {
            setup,
            actors: Vec::new(),
            story: Story::new(),
            draw: Draw::new(&key, b"world"),
            mail: Mail::new(setup.weather, key),
            of: BTreeMap::new(),
            trained: BTreeMap::new(),
            troubles: BTreeMap::new(),
            openings: BTreeMap::new(),
            case: Case::default(),
        };
        let miners = (0..setup.shape.miners()).map(|number| (number, Role::Miner));
        let validators = (0..setup.shape.validators).map(|own| (setup.shape.miners() + own, Role::Validator));
        miners.chain(validators).for_each(|(number, role)| world.join(number, role));
        world.story.count_from_here();
        open_block(setup.seed);
        assert_eq!(clock().state, State::Running, "{setup:?}");
        world
    }

    fn join(&mut self, number: u16, role: Role) {
        let keys = Keys::new(number);
        keys.join(role);
        let uid = keys.uid().unwrap();
        let incarnation = member(uid).unwrap().incarnation;
        self.adopt(Actor { keys, role, fault: None, bends: None, uid, incarnation });
    }

    /// Takes in a member that has its seat.
    pub fn adopt(&mut self, actor: Actor) {
        self.of.insert((actor.uid, actor.incarnation), self.actors.len());
        self.actors.push(actor);
    }

    /// Lets `count` miners of a stage cheat from now on, the lowest uids; who they are.
    pub fn cheat(&mut self, fault: Fault, stage: u16, count: u16) -> Vec<usize> {
        let held = stages().into_iter().nth(stage.into()).unwrap_or_default();
        let cheats: Vec<usize> = held.iter().take(count.into()).map(|own| self.of[&(own.0, own.1)]).collect();
        cheats.iter().for_each(|index| self.actors[*index].fault = Some(fault));
        cheats
    }

    /// Lets so many validators cheat from now on; who they are.
    pub fn bend(&mut self, fault: ValidatorFault, count: u16) -> Vec<usize> {
        let first = usize::from(self.setup.shape.miners());
        let bent: Vec<usize> = (first..first + usize::from(count)).collect();
        bent.iter().for_each(|index| self.actors[*index].bends = Some(fault));
        bent
    }

    /// Validators, by their places.
    pub fn validators(&self) -> impl Iterator<Item = usize> + use<'_> {
        (0..self.actors.len()).filter(|index| self.actors[*index].role == Role::Validator)
    }

    /// Runs an epoch, from where it stands to its `Close`.
    pub fn epoch(&mut self) {
        let epoch = clock().epoch;
        self.train(epoch);
        self.prepare_case(epoch);
        while clock().epoch == epoch && clock().state == State::Running {
            self.act();
            open_block(self.setup.seed);
            self.deliver();
        }
        self.take_notes(epoch);
    }

    /// Everything that members do in this block.
    fn act(&mut self) {
        let (now, schedule) = (System::block_number(), schedule());
        if clock().state != State::Running || now >= schedule.close() {
            return;
        }
        let window = |phase| schedule.window(phase);
        for phase in [Phase::Commit, Phase::Attest, Phase::Blind, Phase::Open, Phase::Root] {
            // A settling epoch has none of these.
            if window(phase).start == now && !window(phase).is_empty() {
                self.merge(phase, window(phase).end);
            }
        }
        if schedule.score_commit().start == now {
            self.commit_scores(schedule.score_commit().end);
        }
        if schedule.score_reveal().start == now {
            self.reveal_scores(schedule.score_reveal().end);
        }
        if now.is_multiple_of(2) {
            self.judge(schedule.close());
        }
    }

    fn deliver(&mut self) {
        for (from, call) in self.mail.arrive(System::block_number()) {
            let honest = self.actors[from].is_honest();
            if let Err(refused) = self.actors[from].keys.send(call) {
                self.story.refuse(honest, name(refused));
            }
        }
    }

    pub(super) fn post(&mut self, from: usize, call: Call<Runtime>, until: u32) {
        self.mail.post(System::block_number(), from, call, until);
    }

    /// Trains an epoch at its beginning: what its pathways are is known then.
    fn train(&mut self, epoch: Epoch) {
        let held = stages();
        self.draw_troubles(&held);
        let runner = |own: &(Uid, Incarnation, u32)| {
            let index = self.of[&(own.0, own.1)];
            let fault = self.actors[index].fault;
            let trouble = self.troubles.get(&index).copied();
            (own.0, Runner { incarnation: own.1, weight: own.2, fault, trouble })
        };
        let stages = held.iter().map(|stage| stage.iter().map(runner).collect()).collect();
        let (seed, rounds) = (clock().train_seed, self.setup.shape.rounds);
        let trained = Training { seed, rounds, stages, draw: &mut self.draw }.run();
        self.story.samples.push(trained.finished);
        self.trained.insert(epoch, trained);
        self.trained.retain(|own, _| own.0 + 3 > epoch.0);
    }

    fn draw_troubles(&mut self, held: &[Vec<(Uid, Incarnation, u32)>]) {
        self.troubles.clear();
        let indices: Vec<usize> = held.iter().flatten().map(|own| self.of[&(own.0, own.1)]).collect();
        for index in indices {
            if !self.actors[index].is_honest() || self.draw.below(100) >= self.setup.trouble {
                continue;
            }
            let trouble = match self.draw.below(4) {
                0 => Trouble::Slow,
                1 => Trouble::Away(uniform(&mut self.draw) * 0.7),
                2 => Trouble::MissesMerge,
                _ => Trouble::CutOff,
            };
            if matches!(trouble, Trouble::CutOff) {
                let merge = schedule().window(Phase::Commit).start..schedule().close();
                let length = merge.end - merge.start;
                let from = merge.start + u32::try_from(self.draw.below(length.into())).unwrap();
                self.mail.cut(from..from + CUT, BTreeSet::from([index]));
            }
            self.troubles.insert(index, trouble);
        }
    }

    /// Reads what the epoch that just closed decided.
    fn take_notes(&mut self, epoch: Epoch) {
        self.story.epochs += 1;
        for judged in [Some(epoch), epoch.previous()].into_iter().flatten() {
            for gated in pallet_iota::Gated::<Runtime>::get((RUN, judged)) {
                if let Some(index) = self.of.get(&gated) {
                    self.story.gated.insert((*index, judged));
                    self.story.point(*index, epoch, Sign::Verdict);
                }
            }
            for payout in Iota::held_view(RUN, judged) {
                if let Some(index) = self.of.get(&(payout.uid, payout.incarnation)) {
                    self.story.held.insert((*index, judged));
                    self.story.point(*index, epoch, Sign::Evidence);
                }
            }
        }
        let Some(settled) = epoch.previous() else { return };
        let Some(report) = Iota::report_view(RUN, settled) else { return };
        self.story.void += u32::from(report.void);
        self.story.minted += report.split.minted;
        let Some(trained) = self.trained.get(&settled) else { return };
        let indices: Vec<Vec<usize>> = trained
            .stages
            .iter()
            .map(|stage| stage.iter().map(|uid| self.of[&(*uid, trained.incarnations[uid])]).collect())
            .collect();
        self.story.even_parts(&report, &indices);
    }
}

/// The name of an error.
fn name(refused: DispatchError) -> String {
    match refused {
        DispatchError::Module(own) => own.message.map_or_else(|| format!("{own:?}"), str::to_owned),
        other => format!("{other:?}"),
    }
}
