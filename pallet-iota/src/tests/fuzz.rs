//! Random sequences of calls and blocks; every invariant and the sum of all money after each step.
//!
//! A step is a few blocks, the duty of all members in the open window, or one call that somebody
//! might send, sensible or not. Every call of the pallet is among them, and each is accepted at least
//! once; a refused one must not have changed a byte of storage, which `watch` sees and a digest of everything
//! confirms now and then. `IOTA_FUZZ_STEPS` makes the long run
//! longer, and `IOTA_FUZZ_FROM` lets it go on where another ended, by the first seed; the seed stands in the
//! failure's text, and a seed that ever failed goes into `REGRESSIONS`.

mod court;
mod watch;

use std::collections::{BTreeMap, BTreeSet};

use iota_protocol::{
    ids::{Incarnation, Uid},
    params::RunParams,
    phase::Phase,
    shard::Shards as ShardMap,
    work::{blind_hash, scores_hash, Bitmap, Role, ShardHashes},
};
use polkadot_sdk::{
    frame_support::{traits::GetCallName, weights::constants::WEIGHT_REF_TIME_PER_SECOND},
    sp_runtime::AccountId32,
};

use crate::{
    mock::*,
    pallet::*,
    types::{account, Member, State},
};

/// Seeds that once failed.
const REGRESSIONS: &[u64] = &[];
/// Calls of which one is also looked at by a digest of the whole storage, which takes as long as a step.
const DIGEST_EVERY: u32 = 256;
/// Keys that take part; the coldkey of an index need not own the hotkey of that index.
const KEYS: u64 = 14;
/// Steps of the long run in the gate: some seconds.
const STEPS: u32 = 6_000;
/// Steps on one chain; a run of 28 epochs ends within them, and the rest happens after its end.
const STEPS_PER_CHAIN: u32 = 2_000;

/// SplitMix64 (Steele et al., 2014): any seed gives a good sequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn key(&mut self) -> u8 {
        u8::try_from(self.below(KEYS)).unwrap()
    }

    fn uid(&mut self) -> Uid {
        Uid(u16::try_from(self.below(KEYS)).unwrap())
    }

    fn amount(&mut self) -> u128 {
        match self.below(4) {
            0 => MIN_BOND,
            1 => u128::from(self.below(10)),
            2 => u128::from(self.next()) % (2 * MIN_BOND),
            _ => u128::from(self.next()),
        }
    }
}

/// What happened: calls by name, accepted and sent, and money that was burned.
#[derive(Default)]
struct Tally {
    sent: BTreeMap<&'static str, (u32, u32)>,
    burned: u128,
    paid: u32,
    replaced: u32,
    calls: u32,
    /// Steps that met a `Close` half done.
    half_closed: u32,
    /// Calls by name, and why they were refused.
    refusals: BTreeSet<(&'static str, String)>,
}

impl Tally {
    fn send(&mut self, name: &'static str, who: AccountId32, call: Call<Test>) {
        self.send_as(name, signed(who), call);
    }

    fn send_as(&mut self, name: &'static str, origin: RuntimeOrigin, call: Call<Test>) {
        assert_eq!(call.get_call_name(), name);
        self.calls += 1;
        let before = self.calls.is_multiple_of(DIGEST_EVERY).then(storage_digest);
        // Without the layer that would take back what a refused call wrote.
        let (answer, changed) = watch::watched(|| bare(origin, call));
        let accepted = answer.is_ok();
        if let Err(error) = answer {
            self.refusals.insert((name, format!("{error:?}")));
            assert!(changed.is_empty(), "a refused {name} changed storage: {changed:?}");
        }
        if let Some(before) = before {
            let same = storage_digest() == before;
            assert_eq!(
                same,
                changed.is_empty(),
                "the recorder of {name} and a digest of everything disagree"
            );
        }
        let (accepted_before, sent) = self.sent.entry(name).or_default();
        *accepted_before += u32::from(accepted);
        *sent += 1;
    }

    /// Takes the events of a step out of the chain, which would keep them all.
    fn take_events(&mut self) {
        for record in System::events() {
            match record.event {
                RuntimeEvent::Iota(Event::Registered { price, .. }) => self.burned += price,
                RuntimeEvent::Iota(Event::EpochSettled { void: false, .. }) => self.paid += 1,
                RuntimeEvent::Iota(Event::Seated { .. }) => self.replaced += 1,
                _ => {}
            }
        }
        System::reset_events();
    }

    /// Nothing is made but by emission and lost but by registrations, and accounts hold all of it.
    fn check_money(&mut self, genesis: u128, context: &str) {
        self.take_events();
        let issuance = Balances::total_issuance();
        assert_eq!(issuance, genesis + TotalMinted::<Test>::get() - self.burned, "{context}");
        let held: u128 = polkadot_sdk::frame_system::Account::<Test>::iter_values()
            .map(|account| account.data.free + account.data.reserved)
            .sum();
        assert_eq!(held, issuance, "{context}");
    }
}

fn hashes_of(uid: Uid, member: &Member) -> Option<ShardHashes> {
    let clock = clock();
    let stage = member.stage?;
    let merge = Merges::<Test>::get((RUN, clock.epoch, stage))?;
    let (position, _) = merge.find(uid, member.incarnation)?;
    let map = ShardMap::new(&clock.seed?, stage, merge.commits.len(), 4)?;
    let hash = iota_protocol::ids::Hash([9; 32]);
    let owned: Vec<_> = map.owned_by(position).into_iter().map(|shard| (shard, Some(hash))).collect();
    owned.try_into().ok()
}

/// Every member does what the open window asks of it.
fn duty(random: &mut Random, tally: &mut Tally) {
    if clock().state != State::Running {
        return;
    }
    let (schedule, epoch) = (schedule(), clock().epoch);
    let phase = schedule.phase_at(System::block_number());
    for (uid, member) in Iota::members_of(RUN) {
        let who = account(&member.hotkey);
        match phase {
            // Now and then a validator sleeps, for two epochs in ten: it loses its permit.
            Phase::Train if random.below(4) == 0 || (u32::from(uid.0) + epoch.0 / 2).is_multiple_of(5) => {}
            Phase::Train => score(random, tally, uid, &member),
            Phase::Commit => {
                let mut work = iota_protocol::work::WorkCommit {
                    entry_root: iota_protocol::ids::Hash([1; 32]),
                    log_root: iota_protocol::ids::Hash([2; 32]),
                    receipts_root: iota_protocol::ids::Hash([3; 32]),
                    samples: 9,
                    started: 10,
                };
                if member.stage != Some(iota_protocol::ids::Stage(0)) {
                    work.started = 0;
                }
                tally.send("commit_work", who, Call::commit_work { run: RUN, epoch, work });
            }
            Phase::Attest => {
                let merge = member.stage.and_then(|stage| Merges::<Test>::get((RUN, epoch, stage)));
                let entries = (0..merge.map_or(0, |m| m.commits.len())).fold(Bitmap::default(), Bitmap::with);
                tally.send("attest", who, Call::attest { run: RUN, epoch, entries });
            }
            Phase::Blind | Phase::Open => {
                let Some(hashes) = hashes_of(uid, &member) else { continue };
                let (salt, run) = ([7; 32], RUN);
                if phase == Phase::Blind {
                    let hash = blind_hash(uid, member.incarnation, epoch, &salt, &hashes);
                    tally.send("blind_merge", who, Call::blind_merge { run, epoch, hash });
                } else {
                    tally.send("open_merge", who, Call::open_merge { run, epoch, salt, hashes });
                }
            }
            Phase::Root => {
                let root = iota_protocol::ids::Hash([5; 32]);
                tally.send("commit_root", who, Call::commit_root { run: RUN, epoch, root });
                if uid.0 == 0 && random.below(3) == 0 {
                    court::about_the_state(random, tally);
                }
            }
            Phase::Close => {}
        }
    }
}

/// A validator commits to or reveals scores of the epoch before.
fn score(random: &mut Random, tally: &mut Tally, uid: Uid, member: &Member) {
    let now = System::block_number();
    let Some(epoch) = clock().epoch.previous() else { return };
    if member.role != Role::Validator || !Snapshots::<Test>::contains_key((RUN, epoch)) {
        return;
    }
    let (who, reveal, run) = (account(&member.hotkey), reveal_of(epoch, 65_535), RUN);
    let opening = schedule().score_reveal().contains(&now);
    if random.below(2) == 0 {
        court::audit(tally, &member.hotkey, epoch, opening);
    }
    if schedule().score_commit().contains(&now) {
        let hash =
            scores_hash(&Iota::genesis_hash(), RUN, &member.hotkey, member.incarnation, epoch, &reveal);
        tally.send("commit_scores", who, Call::commit_scores { run, epoch, hash });
    } else if opening {
        tally.send("reveal_scores", who, Call::reveal_scores { run, epoch, author: uid, reveal });
    }
}

/// The coldkey that owns a uid, mostly; anybody else otherwise.
fn owner(random: &mut Random, uid: Uid) -> AccountId32 {
    let found = Members::<Test>::get(RUN, uid).map(|member| account(&member.coldkey));
    let stranger = coldkey(random.key());
    if random.below(8) == 0 {
        stranger
    } else {
        found.unwrap_or(stranger)
    }
}

fn somebodys_call(random: &mut Random, tally: &mut Tally) {
    let (run, uid) = (RUN, random.uid());
    let (cold, new) = (random.key(), random.key());
    let amount = random.amount();
    let own = owner(random, uid);
    let known = NextIncarnation::<Test>::get(RUN).0;
    let incarnation = Incarnation(u32::try_from(random.below(u64::from(known) + 1)).unwrap());
    match random.below(16) {
        0..=2 => {
            let role = if random.below(3) == 0 { Role::Validator } else { Role::Miner };
            let (proof, max_price) = (proof(&coldkey(cold), new), u128::MAX);
            let call = Call::register { run, hotkey: hotkey(new), role, proof, max_price };
            tally.send("register", coldkey(cold), call);
        }
        3 => tally.send("bond", own, Call::bond { run, uid, amount }),
        4 => {
            let (endpoint, peer_signature) = endpoint(new);
            tally.send("serve", hotkey(new), Call::serve { run, endpoint, peer_signature });
        }
        // A quarter: more would leave nobody to train.
        5 if random.below(4) == 0 => tally.send("leave", own, Call::leave { run, uid }),
        5 => {}
        6 => tally.send("claim", hotkey(new), Call::claim { account: coldkey(cold) }),
        7 => tally.send("release", hotkey(new), Call::release { run, incarnation }),
        8 => tally.send("unbond", own, Call::unbond { run, uid, amount }),
        9 => {
            let some = Unbondings::<Test>::iter_keys().next();
            let ((run, incarnation), coldkey) = some.unwrap_or(((run, incarnation), coldkey(cold)));
            tally.send("withdraw", hotkey(new), Call::withdraw { run, incarnation, coldkey });
        }
        10 => {
            let lost = Iota::members_of(RUN).into_iter().find(|(_, member)| !Iota::reveals_enough(member));
            let who = lost.map_or(hotkey(new), |(_, member)| account(&member.hotkey));
            tally.send("resume", who, Call::resume { run });
        }
        11 => {
            let proof = proof(&own, new);
            tally.send("swap_hotkey", own, Call::swap_hotkey { run, uid, hotkey: hotkey(new), proof });
        }
        12 => tally.send("announce_coldkey", own, Call::announce_coldkey { run, uid, to: coldkey(new) }),
        13 => tally.send("cancel_coldkey", own, Call::cancel_coldkey { run, uid }),
        14 => {
            let announced = Handovers::<Test>::get(RUN, uid).map(|handover| account(&handover.to));
            tally.send("take_over", announced.unwrap_or(coldkey(new)), Call::take_over { run, uid });
        }
        _ => {
            Iota::forfeit(run, uid, incarnation);
        }
    }
}

/// On what kind of chain a seed's sequence happens, so that the first six seeds have all combinations: every other
/// one takes as many blocks for a `Close` as it has steps, with calls in between, and the existential deposit is
/// the usual, the least and one of a tenth of what accounts begin with.
fn chain_of(seed: u64) -> (u64, u128) {
    let compute = if seed % 2 == 1 { 1 } else { WEIGHT_REF_TIME_PER_SECOND };
    let deposit = match seed % 3 {
        0 => ED,
        1 => 1,
        _ => RICH / 10,
    };
    (compute, deposit)
}

/// Runs `steps` steps on one chain and returns what happened.
fn fuzz(seed: u64, steps: u32, full: bool) -> Tally {
    let (mut tally, (compute, deposit)) = (Tally::default(), chain_of(seed));
    BlockCompute::set(compute);
    with_deposit(deposit, RunParams { epochs: 28, ..params() }, || {
        (0..u8::try_from(KEYS).unwrap()).for_each(enrich);
        start_epoch_0();
        if full {
            fill_run();
        }
        tally.take_events();
        let genesis = Balances::total_issuance() + tally.burned;
        let mut random = Random(seed);
        for step in 0..steps {
            match random.below(80) {
                0..=27 => run_to(System::block_number() + 1 + u32::try_from(random.below(3)).unwrap()),
                28..=55 => duty(&mut random, &mut tally),
                56..=67 => somebodys_call(&mut random, &mut tally),
                68..=75 => court::about_an_epoch(&mut random, &mut tally),
                76 => court::about_the_state(&mut random, &mut tally),
                _ => court::about_a_run(&mut random, &mut tally),
            }
            let context = format!("seed {seed}, step {step}, full {full}");
            tally.half_closed += u32::from(Closing::<Test>::contains_key(RUN));
            Iota::check_invariants().unwrap_or_else(|error| panic!("{context}: {error:?}"));
            tally.check_money(genesis, &context);
        }
    });
    BlockCompute::set(WEIGHT_REF_TIME_PER_SECOND);
    tally
}

#[test]
fn row_02_row_17_random_sequences_keep_every_invariant_and_every_unit() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let chains = number("IOTA_FUZZ_STEPS").unwrap_or(STEPS).div_ceil(STEPS_PER_CHAIN);
    let first = u64::from(number("IOTA_FUZZ_FROM").unwrap_or(0));
    let started = std::time::Instant::now();
    let (mut paid, mut sent, mut refusals) = (0, BTreeMap::<&str, (u32, u32)>::new(), BTreeSet::new());
    let mut half_closed = 0;
    for seed in (first..first + u64::from(chains)).chain(REGRESSIONS.iter().copied()) {
        let tally = fuzz(seed, STEPS_PER_CHAIN, false);
        paid += tally.paid;
        half_closed += tally.half_closed;
        refusals.extend(tally.refusals);
        for (name, (accepted, all)) in tally.sent {
            let sum = sent.entry(name).or_default();
            *sum = (sum.0 + accepted, sum.1 + all);
        }
    }
    let (steps, seconds) = (chains * STEPS_PER_CHAIN, started.elapsed().as_secs_f64());
    println!(
        "seeds {first} to {}: {steps} steps, {:.0} a second, {paid} epochs paid, {} refusals by call and error, \
         calls (accepted, sent): {sent:?}",
        first + u64::from(chains) - 1,
        f64::from(steps) / seconds,
        refusals.len(),
    );
    assert!(paid > 0, "the sequences never pay: they test nothing");
    assert!(half_closed > 0, "no call ever met a `Close` half done");
    let accepted = |name: &&&str| sent.get(**name).is_some_and(|(accepted, _)| *accepted > 0);
    let never: Vec<_> = Call::<Test>::get_call_names().iter().filter(|name| !accepted(name)).collect();
    assert!(never.is_empty(), "never accepted: {never:?}");
}

#[test]
fn random_sequences_in_a_full_run_keep_every_invariant_and_replace_members() {
    let tally = fuzz(77, 300, true);
    assert!(tally.replaced > 0, "nobody was replaced: the sequence tests nothing");
}
