//! Calls 40 to 55 in random sequences: accusations, votes, evidence, transcripts, equivocations, roots and
//! the way back, and runs that are made, changed, paused and ended beside the first.

use iota_protocol::{
    equivocation::{Equivocation, SignedHeader},
    ids::{AccountKey, Attempt, Epoch, Hash, Incarnation, RunId, Sample, Stage, Uid},
    params::{RunParams, WireCodec, PPM},
    receipt::Direction,
    wire::{HopHeader, WIRE_VERSION},
    work::{transcripts_hash, Role, Transcript, Transcripts},
};
use polkadot_sdk::sp_core::Pair;

use super::{Random, Tally, KEYS};
use crate::{
    mock::*,
    pallet::*,
    types::{account, Snapshot, State, ValidatorRecord},
};

const SALT: [u8; 32] = [3; 32];

/// One of two epochs that can be judged, if it has a snapshot.
fn judged(random: &mut Random) -> Option<(Epoch, Snapshot)> {
    let back = 1 + u32::try_from(random.below(2)).unwrap();
    let epoch = Epoch(clock().epoch.0.checked_sub(back)?);
    Some((epoch, Snapshots::<Test>::get((RUN, epoch))?))
}

fn pick<'a, T>(random: &mut Random, all: &'a [T]) -> Option<&'a T> {
    let count = u64::try_from(all.len()).unwrap();
    (count > 0).then(|| &all[usize::try_from(random.below(count)).unwrap()])
}

fn miner(random: &mut Random, snapshot: &Snapshot) -> Option<(Uid, Incarnation)> {
    pick(random, &snapshot.miners).map(|miner| (miner.uid, miner.incarnation))
}

/// One call of a validator or a miner about an epoch that was worked.
pub fn about_an_epoch(random: &mut Random, tally: &mut Tally) {
    let Some((epoch, snapshot)) = judged(random) else { return };
    let validator: Option<ValidatorRecord> = pick(random, &snapshot.validators).cloned();
    let (Some(judge), Some((uid, incarnation))) = (validator, miner(random, &snapshot)) else { return };
    let (run, who, segment) = (RUN, account(&judge.hotkey), u32::try_from(random.below(3)).unwrap());
    match random.below(8) {
        0 | 1 => {
            let evidence = Hash([8; 32]);
            let call = Call::accuse { run, epoch, uid, incarnation, segment, evidence };
            tally.send("accuse", who, call);
        }
        2..=4 => {
            let open: Vec<(Uid, u32)> = Accusations::<Test>::iter_key_prefix((RUN, epoch)).collect();
            let (uid, segment) = pick(random, &open).copied().unwrap_or((uid, segment));
            let guilty = random.below(2) == 0;
            tally.send("vote", who, Call::vote { run, epoch, uid, segment, guilty });
        }
        5 | 6 => ask(random, tally, epoch, &snapshot),
        _ => equivocate(random, tally),
    }
}

/// All validators ask one miner for evidence, else there would hardly ever be a quorum; half of the time it
/// answers. It may have been asked before.
fn ask(random: &mut Random, tally: &mut Tally, epoch: Epoch, snapshot: &Snapshot) {
    let asked: Vec<Uid> = EvidenceRequests::<Test>::iter_key_prefix((RUN, epoch)).collect();
    let Some((uid, incarnation)) = miner(random, snapshot) else { return };
    let (run, wanted) = (RUN, Hash([7; 32]));
    for judge in &snapshot.validators {
        let call = Call::request_evidence { run, epoch, uid, incarnation, wanted };
        tally.send("request_evidence", account(&judge.hotkey), call);
    }
    let uid = pick(random, &asked).copied().filter(|_| random.below(2) == 0).unwrap_or(uid);
    if let Some(member) = Members::<Test>::get(RUN, uid).filter(|_| random.below(2) == 0) {
        let call = Call::answer_evidence { run, epoch, root: wanted };
        tally.send("answer_evidence", account(&member.hotkey), call);
    }
}

/// Two headers of some uid, signed by some key of ours: mostly the one that it had in that epoch.
fn equivocate(random: &mut Random, tally: &mut Tally) {
    let from = random.uid();
    let current = clock().epoch;
    let epoch = Epoch(current.0.saturating_sub(u32::try_from(random.below(3)).unwrap()));
    let Some(then) = Iota::signer_of(RUN, epoch, current, from) else { return };
    let own = (0..u8::try_from(KEYS).unwrap()).find(|key| account(&then.hotkey) == hotkey(*key));
    let signer = hotkey_pair(own.unwrap_or_else(|| random.key()));
    let header = |codes: u8| HopHeader {
        version: WIRE_VERSION,
        run: RUN,
        epoch,
        sample: Sample(0),
        attempt: Attempt(0),
        stage: Stage(0),
        direction: Direction::Forward,
        from,
        values: 1,
        codec: WireCodec::Int8,
        codes_hash: Hash([codes; 32]),
        parent: Hash::ZERO,
    };
    let signed = |codes| {
        let unsigned = SignedHeader { header: header(codes), signature: [0; 64] };
        let bytes = unsigned.signed_bytes(&Iota::genesis_hash());
        SignedHeader { signature: signer.sign(&bytes.0).0, ..unsigned }
    };
    let proof = Equivocation { first: signed(1), second: signed(2) };
    tally.send("report_equivocation", hotkey(random.key()), Call::report_equivocation { proof });
}

/// Validators name a root of a stage, mostly the same, or an epoch to go back to; seldom the admin does.
pub fn about_the_state(random: &mut Random, tally: &mut Tally) {
    let (run, epoch) = (RUN, clock().epoch);
    let back = 1 + u32::try_from(random.below(4)).unwrap();
    let to = Epoch(epoch.0.saturating_sub(back));
    if random.below(12) == 0 {
        return tally.send_as("roll_back", RuntimeOrigin::root(), Call::roll_back { run, to });
    }
    let stage = Stage(u16::try_from(random.below(3)).unwrap());
    let attests = random.below(3) > 0;
    let sleeper = random.uid();
    for (uid, member) in Iota::members_of(RUN) {
        let who = account(&member.hotkey);
        if member.role != Role::Validator || uid == sleeper {
            continue;
        }
        if attests {
            let root = Hash([u8::try_from(random.below(8).min(1)).unwrap(); 32]);
            tally.send("attest_root", who, Call::attest_root { run, epoch, stage, root });
        } else {
            tally.send("vote_rollback", who, Call::vote_rollback { run, epoch, to });
        }
    }
}

/// The transcripts that a validator opens: about the first miner of the epoch.
fn transcripts(snapshot: &Snapshot) -> Transcripts {
    let about = snapshot.miners.iter().take(1).map(|miner| Transcript {
        uid: miner.uid,
        incarnation: miner.incarnation,
        segment: 0,
        root: Hash([6; 32]),
        agrees: true,
    });
    about.collect::<Vec<_>>().try_into().unwrap()
}

/// A validator commits to transcripts while rows are committed, and opens them while rows are revealed.
pub fn audit(tally: &mut Tally, author: &AccountKey, epoch: Epoch, opening: bool) {
    let Some(snapshot) = Snapshots::<Test>::get((RUN, epoch)) else { return };
    let (transcripts, run, who) = (transcripts(&snapshot), RUN, account(author));
    if opening {
        let call = Call::submit_transcripts { run, epoch, salt: SALT, transcripts };
        tally.send("submit_transcripts", who, call);
    } else {
        let hash = transcripts_hash(&Iota::genesis_hash(), RUN, author, epoch, &SALT, &transcripts);
        tally.send("commit_transcripts", who, Call::commit_transcripts { run, epoch, hash });
    }
}

/// The first run, or the newest that has not ended.
fn some_run(random: &mut Random) -> RunId {
    let newest = ActiveRuns::<Test>::get().last().copied();
    newest.filter(|_| random.below(2) == 0).unwrap_or(RUN)
}

/// One call about a run, by root, its owner, or somebody.
pub fn about_a_run(random: &mut Random, tally: &mut Tally) {
    if clock().state == State::Paused && random.below(2) == 0 {
        // Paused for long, nothing would happen.
        return tally.send_as("resume_run", RuntimeOrigin::root(), Call::resume_run { run: RUN });
    }
    let run = some_run(random);
    let owner = Controls::<Test>::get(run).owner.map(|owner| account(&owner));
    let origin = match (random.below(4), owner) {
        (0 | 1, Some(owner)) => signed(owner),
        (3, _) => signed(coldkey(random.key())),
        _ => RuntimeOrigin::root(),
    };
    match random.below(16) {
        0 => tally.send_as("create_run", origin, Call::create_run { params: params() }),
        1 | 2 => tally.send("sponsor_run", coldkey(random.key()), Call::sponsor_run { params: params() }),
        3..=5 => {
            let share_ppm = u32::try_from(random.below(u64::from(PPM) + 2)).unwrap();
            tally.send_as("set_run_share", origin, Call::set_run_share { run, share_ppm });
        }
        6 | 7 => {
            let epochs = 26 + u32::try_from(random.below(6)).unwrap();
            let mut params = RunParams { epochs, ..params() };
            params.phases.train += u32::try_from(random.below(3)).unwrap();
            tally.send_as("schedule_params", origin, Call::schedule_params { run, params });
        }
        8 | 9 => tally.send_as("pause_run", origin, Call::pause_run { run }),
        10..=13 => tally.send_as("resume_run", origin, Call::resume_run { run }),
        // The first run ends seldom: what follows would be about nothing.
        _ if run != RUN || random.below(40) == 0 => tally.send_as("end_run", origin, Call::end_run { run }),
        _ => {}
    }
}
