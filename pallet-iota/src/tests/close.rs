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
};

const OTHER: RunId = RunId(1);

/// Brings a chain to the last block before a `Close` in which every step has something to do: an
/// accusation lapses, epoch 0 was void and is settled with epoch 1, a hotkey changes, a miner leaves.
fn before_a_full_close(test: impl FnOnce()) {
    with_run(RunParams { epochs: 9, ..params() }, || {
        (0..4).for_each(|index| join(index, Role::Miner));
        for index in 4..7 {
            join(index, Role::Validator);
            assert_ok!(Iota::bond(signed(coldkey(index)), RUN, uid(index), 2 * DEPOSIT));
        }
        run_to(System::block_number() + 1);
        merge_epoch(&[0, 1, 2, 3]);
        merge_epoch(&[0, 1, 2, 3]);
        assert!(Reports::<Test>::get((RUN, Epoch(0))).unwrap().void);
        run_to(System::block_number() + 1);
        let (incarnation, evidence) = (member(0).incarnation, Hash([8; 32]));
        assert_ok!(Iota::accuse(signed(hotkey(4)), RUN, Epoch(0), uid(0), incarnation, 7, evidence));
        score_epoch(&[4, 5, 6]);
        assert_ok!(Iota::leave(signed(coldkey(2)), RUN, uid(2)));
        let consent = proof(&coldkey(3), 20);
        assert_ok!(Iota::swap_hotkey(signed(coldkey(3)), RUN, uid(3), hotkey(20), consent));
        run_to_phase(Phase::Commit);
        (0..4).for_each(commit);
        run_to(schedule().close() - 1);
        test();
    });
    BlockCompute::set(WEIGHT_REF_TIME_PER_SECOND);
}

/// Everything that the pallet stores, but for the two numbers of blocks that a cut moves.
fn stored() -> BTreeMap<Vec<u8>, Vec<u8>> {
    Clocks::<Test>::mutate(RUN, |clock| clock.as_mut().unwrap().start = 0);
    Reports::<Test>::translate_values(|mut report: crate::types::Report| {
        report.block = 0;
        Some(report)
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
fn closed_with(compute: u64) -> (Vec<CloseStep>, BTreeMap<Vec<u8>, Vec<u8>>) {
    let (mut cuts, mut after) = (Vec::new(), BTreeMap::new());
    before_a_full_close(|| {
        BlockCompute::set(compute);
        while clock().epoch == Epoch(2) {
            run_to(System::block_number() + 1);
            if let Some(cut) = Closing::<Test>::get(RUN) {
                assert_eq!(schedule().phase_at(System::block_number()), Phase::Close);
                cuts.push(cut);
            }
        }
        assert_eq!(clock().start, System::block_number() + 1);
        BlockCompute::set(WEIGHT_REF_TIME_PER_SECOND);
        after = hypothetically!(stored());
    });
    (cuts, after)
}

#[test]
fn a_close_that_is_cut_anywhere_ends_as_if_it_were_whole() {
    use CloseStep::*;
    // A second has room for everything.
    let (cuts, whole) = closed_with(WEIGHT_REF_TIME_PER_SECOND);
    assert!(cuts.is_empty(), "{cuts:?}");
    let (cuts, stepwise) = closed_with(1);
    assert_eq!(cuts, [SettleVoid, Settle, Record, Retire, Turn], "without room each step has its block");
    assert_eq!(stepwise, whole);
    // Between the two the cuts fall elsewhere: from one to three of them.
    let mut some = 0;
    for part in 1..20 {
        let (cuts, parts) = closed_with(part * WEIGHT_REF_TIME_PER_SECOND / 40);
        some += usize::from((1..5).contains(&cuts.len()));
        assert_eq!(parts, whole, "cut before {cuts:?}");
    }
    assert!(some > 0, "no compute cut it in parts");
}

#[test]
fn what_a_cut_close_has_decided_cannot_be_judged_again() {
    before_a_full_close(|| {
        BlockCompute::set(1);
        run_to(schedule().close());
        assert!(Closing::<Test>::contains_key(RUN));
        let (incarnation, evidence) = (member(1).incarnation, Hash([8; 32]));
        let accuse = |epoch| Iota::accuse(signed(hotkey(5)), RUN, epoch, uid(1), incarnation, 7, evidence);
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
        assert_ok!(Iota::sponsor_run(signed(coldkey(20)), RunParams { epochs: 9, ..params() }));
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
            assert_ok!(Iota::leave(signed(coldkey(39)), RUN, *uid));
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
