//! `Close` in steps: cut after any of them it ends as if it had not been cut; one run closes in a block;
//! crowds leave in parts.

use std::collections::BTreeMap;

use iota_protocol::{
    ids::{Epoch, Hash, RunId},
    params::{RunParams, MAX_MEMBERS},
    phase::Phase,
    work::Role,
};
use polkadot_sdk::frame_support::{
    assert_noop, assert_ok, hypothetically, weights::constants::WEIGHT_REF_TIME_PER_SECOND,
};

use crate::{
    close::{CloseStep, MAX_LEAVING},
    mock::*,
    pallet::*,
    types::State,
};

const OTHER: RunId = RunId(1);

/// What is special about a `Close`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Ordinary,
    /// All stages go back, by the admin's order.
    GoingBack,
    /// The run pauses, and the pay of one miner is held.
    PausingAndHolding,
    /// The run ends.
    Last,
    /// The run would end if the pay of one miner were not held.
    LastAndHolding,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Ordinary, Self::GoingBack, Self::PausingAndHolding, Self::Last, Self::LastAndHolding];

    /// Whether the epoch that closes only settles.
    fn is_last(self) -> bool {
        matches!(self, Self::Last | Self::LastAndHolding)
    }

    /// Where it is cut if no two steps fit into one block.
    fn cuts(self) -> Vec<CloseStep> {
        use CloseStep::*;
        let rest: &[CloseStep] = if self.is_last() { &[End] } else { &[Record, Retire, Turn] };
        [&[SettleVoid, Settle], rest].concat()
    }

    /// Brings it about, in the first block of epoch 2.
    fn prepare(self) {
        match self {
            Self::Ordinary | Self::Last => {}
            Self::GoingBack => {
                assert_ok!(Iota::roll_back(RuntimeOrigin::root(), RUN, Epoch(0)));
            }
            Self::PausingAndHolding | Self::LastAndHolding => {
                if self == Self::PausingAndHolding {
                    assert_ok!(Iota::pause_run(RuntimeOrigin::root(), RUN));
                }
                let (uid, incarnation, wanted) = (uid(1), member(1).incarnation, Hash([9; 32]));
                for index in [4, 5, 6] {
                    let who = signed(hotkey(index));
                    assert_ok!(Iota::request_evidence(who, RUN, Epoch(1), uid, incarnation, wanted));
                }
            }
        }
    }
}

/// Brings a chain to the last block before a `Close` in which every step has something to do: an
/// accusation lapses, epoch 0 was void and is settled with epoch 1, a hotkey changes, a miner leaves.
fn before_a_full_close(kind: Kind, test: impl FnOnce()) {
    let epochs = if kind.is_last() { 2 } else { 9 };
    with_run(RunParams { epochs, ..params() }, || {
        (0..4).for_each(|index| join(index, Role::Miner));
        for index in 4..7 {
            join(index, Role::Validator);
            assert_ok!(Bare::bond(signed(coldkey(index)), RUN, uid(index), 2 * DEPOSIT));
        }
        run_to(System::block_number() + 1);
        merge_epoch(&[0, 1, 2, 3]);
        merge_epoch(&[0, 1, 2, 3]);
        assert!(Reports::<Test>::get((RUN, Epoch(0))).unwrap().void);
        run_to(System::block_number() + 1);
        kind.prepare();
        let (incarnation, evidence) = (member(0).incarnation, Hash([8; 32]));
        assert_ok!(Bare::accuse(signed(hotkey(4)), RUN, Epoch(0), uid(0), incarnation, 7, evidence));
        score_epoch(&[4, 5, 6]);
        assert_ok!(Bare::leave(signed(coldkey(2)), RUN, uid(2)));
        let consent = proof(&coldkey(3), 20);
        assert_ok!(Bare::swap_hotkey(signed(coldkey(3)), RUN, uid(3), hotkey(20), consent));
        if !kind.is_last() {
            run_to_phase(Phase::Commit);
            (0..4).for_each(commit);
        }
        run_to(schedule().close() - 1);
        test();
    });
    BlockCompute::set(WEIGHT_REF_TIME_PER_SECOND);
}

/// Everything that the pallet stores, but for the three numbers of blocks that a cut moves.
fn stored() -> BTreeMap<Vec<u8>, Vec<u8>> {
    Clocks::<Test>::mutate(RUN, |clock| clock.as_mut().unwrap().start = 0);
    Reports::<Test>::translate_values(|mut report: crate::types::Report| {
        report.block = 0;
        Some(report)
    });
    EndedRuns::<Test>::translate_values(|mut ended: crate::ended::Ended| {
        ended.due = 0;
        Some(ended)
    });
    let prefix = polkadot_sdk::sp_io::hashing::twox_128(b"Iota");
    let (mut key, mut all) = (prefix.to_vec(), BTreeMap::new());
    while let Some(next) = polkadot_sdk::sp_io::storage::next_key(&key).filter(|key| key.starts_with(&prefix))
    {
        all.insert(next.clone(), polkadot_sdk::sp_io::storage::get(&next).unwrap().to_vec());
        key = next;
    }
    all
}

/// Where the `Close` was cut if a block has so much compute, and what is stored after it.
fn closed_with(kind: Kind, compute: u64) -> (Vec<CloseStep>, BTreeMap<Vec<u8>, Vec<u8>>) {
    let (mut cuts, mut after) = (Vec::new(), BTreeMap::new());
    before_a_full_close(kind, || {
        BlockCompute::set(compute);
        while clock().epoch == Epoch(2) && clock().state == State::Running {
            run_to(System::block_number() + 1);
            if let Some(cut) = Closing::<Test>::get(RUN) {
                assert_eq!(schedule().phase_at(System::block_number()), Phase::Close);
                cuts.push(cut);
            }
        }
        let state = match kind {
            Kind::Last => State::Ended,
            Kind::PausingAndHolding => State::Paused,
            _ => State::Running,
        };
        assert_eq!(clock().state, state, "{kind:?}");
        let starts = clock().start == System::block_number() + 1;
        assert_eq!(starts, kind != Kind::Last, "{kind:?}");
        let holds = matches!(kind, Kind::PausingAndHolding | Kind::LastAndHolding);
        assert_eq!(!Iota::held_view(RUN, Epoch(1)).is_empty(), holds, "{kind:?}");
        BlockCompute::set(WEIGHT_REF_TIME_PER_SECOND);
        after = hypothetically!(stored());
    });
    (cuts, after)
}

#[test]
fn a_close_that_is_cut_anywhere_ends_as_if_it_were_whole() {
    for kind in Kind::ALL {
        // A second has room for everything.
        let (cuts, whole) = closed_with(kind, WEIGHT_REF_TIME_PER_SECOND);
        assert!(cuts.is_empty(), "{kind:?}: {cuts:?}");
        let (cuts, stepwise) = closed_with(kind, 1);
        assert_eq!(cuts, kind.cuts(), "{kind:?}: without room each step has its block");
        assert_eq!(stepwise, whole, "{kind:?}");
        // Between the two the cuts fall elsewhere: from one to three of them.
        let mut some = 0;
        let pace = if kind == Kind::Ordinary { 1 } else { 4 };
        for part in (1..20).step_by(pace) {
            let (cuts, parts) = closed_with(kind, part * WEIGHT_REF_TIME_PER_SECOND / 40);
            some += usize::from((1..kind.cuts().len()).contains(&cuts.len()));
            assert_eq!(parts, whole, "{kind:?}: cut before {cuts:?}");
        }
        assert!(some > 0, "{kind:?}: no compute cut it in parts");
    }
}

#[test]
fn what_a_cut_close_has_decided_cannot_be_judged_again() {
    before_a_full_close(Kind::Ordinary, || {
        BlockCompute::set(1);
        run_to(schedule().close());
        assert!(Closing::<Test>::contains_key(RUN));
        let (incarnation, evidence) = (member(1).incarnation, Hash([8; 32]));
        let accuse = |epoch| Bare::accuse(signed(hotkey(5)), RUN, epoch, uid(1), incarnation, 7, evidence);
        assert_noop!(accuse(Epoch(0)), Error::<Test>::WrongPhase);
        assert_noop!(accuse(Epoch(1)), Error::<Test>::WrongPhase);
        run_to_close();
        run_to(System::block_number() + 1);
        assert_ok!(accuse(Epoch(1)));
    });
}

#[test]
fn one_run_closes_in_a_block_and_the_other_in_the_next() {
    with_epoch(RunParams { epochs: 9, ..params() }, || {
        assert_ok!(Bare::sponsor_run(signed(coldkey(20)), RunParams { epochs: 9, ..params() }));
        let twin = crate::types::Clock { minted: 0, ..clock() };
        Clocks::<Test>::insert(OTHER, twin);
        let other = || Clocks::<Test>::get(OTHER).unwrap();
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        // Nobody works in the other: its `Train` would be extended.
        Runs::<Test>::mutate(OTHER, |params| params.as_mut().unwrap().phases.max_extensions = 0);
        let close = schedule().close();
        run_to(close);
        assert_eq!((clock().epoch, other().epoch), (Epoch(1), Epoch(0)));
        run_to(close + 1);
        assert_eq!((other().epoch, other().start, clock().start), (Epoch(1), close + 2, close + 1));
    });
}

#[test]
fn a_crowd_leaves_in_parts() {
    with_epoch(RunParams { epochs: 9, ..params() }, || {
        fill_run();
        let crowd: Vec<_> =
            Iota::members_of(RUN).into_iter().map(|(uid, _)| uid).filter(|uid| uid.0 > 5).collect();
        for uid in &crowd {
            assert_ok!(Bare::leave(signed(coldkey(39)), RUN, *uid));
        }
        let members = || u32::try_from(Iota::members_of(RUN).len()).unwrap();
        whole_epoch();
        assert_eq!(members(), MAX_MEMBERS - MAX_LEAVING);
        whole_epoch();
        assert_eq!(members(), MAX_MEMBERS - 2 * MAX_LEAVING);
        let left = Iota::members_of(RUN);
        assert!(left.iter().filter(|(uid, _)| uid.0 > 5).all(|(_, member)| member.leaving));
    });
}
