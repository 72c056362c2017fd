//! The epoch's clock: which window is open at which block. No timer lives anywhere else.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use core::ops::Range;
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::params::{PhaseParams, SEED_DELAY_BLOCKS};

/// A window of an epoch (design.md, section 5).
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Samples, local steps, receipts; scores of the epoch before.
    Train,
    /// Samples in flight finish; `commit_work`.
    Commit,
    /// Owners fetch and verify entries; `attest`.
    Attest,
    /// Owners merge; `blind_merge`.
    Blind,
    /// `open_merge`.
    Open,
    /// Everyone applies the outer step; `commit_root`.
    Root,
    /// One block: consensus, emission, assignment, snapshot.
    Close,
}

/// Block numbers at which the windows of one epoch end. Ranges are half open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    start: u32,
    /// Last block of `Train` plus one, and so on.
    train_end: u32,
    commit_end: u32,
    attest_end: u32,
    blind_end: u32,
    open_end: u32,
    root_end: u32,
    score_commit_end: u32,
    score_reveal_end: u32,
}

impl Schedule {
    /// The schedule of an epoch that started at block `start`.
    ///
    /// Each extension adds one more `Train` and `Commit` after the `Commit` that found a stage
    /// without a commit. A settling epoch has only the two score windows and `Close`.
    #[must_use]
    pub fn new(params: &PhaseParams, settling: bool, start: u32, extensions: u8) -> Self {
        let score_commit_end = start.saturating_add(params.score_commit);
        let score_reveal_end = score_commit_end.saturating_add(params.score_reveal);
        let round = params.train.saturating_add(params.commit);
        let extra = round.saturating_mul(u32::from(extensions));
        let train_end = if settling {
            score_reveal_end
        } else {
            start.saturating_add(params.train).saturating_add(extra)
        };
        let then = |end: u32, length: u32| if settling { end } else { end.saturating_add(length) };
        let commit_end = then(train_end, params.commit);
        let attest_end = then(commit_end, params.attest);
        let blind_end = then(attest_end, params.blind);
        let open_end = then(blind_end, params.open);
        let root_end = then(open_end, params.root);
        Self {
            start,
            train_end,
            commit_end,
            attest_end,
            blind_end,
            open_end,
            root_end,
            score_commit_end,
            score_reveal_end,
        }
    }

    /// The window that contains `block`. Blocks before the epoch count as `Train`.
    #[must_use]
    pub fn phase_at(&self, block: u32) -> Phase {
        let ends = [
            (self.train_end, Phase::Train),
            (self.commit_end, Phase::Commit),
            (self.attest_end, Phase::Attest),
            (self.blind_end, Phase::Blind),
            (self.open_end, Phase::Open),
            (self.root_end, Phase::Root),
        ];
        ends.into_iter().find(|(end, _)| block < *end).map_or(Phase::Close, |(_, phase)| phase)
    }

    /// Blocks of one window.
    #[must_use]
    pub fn window(&self, phase: Phase) -> Range<u32> {
        match phase {
            Phase::Train => self.start..self.train_end,
            Phase::Commit => self.train_end..self.commit_end,
            Phase::Attest => self.commit_end..self.attest_end,
            Phase::Blind => self.attest_end..self.blind_end,
            Phase::Open => self.blind_end..self.open_end,
            Phase::Root => self.open_end..self.root_end,
            Phase::Close => self.close()..self.close().saturating_add(1),
        }
    }

    /// The one block of `Close`; the next epoch starts in the block after it.
    #[must_use]
    pub fn close(&self) -> u32 {
        self.root_end
    }

    /// First block of the next epoch.
    #[must_use]
    pub fn next_start(&self) -> u32 {
        self.close().saturating_add(1)
    }

    /// Blocks in which `commit_scores` for the epoch before is accepted.
    #[must_use]
    pub fn score_commit(&self) -> Range<u32> {
        self.start..self.score_commit_end
    }

    /// Blocks in which `reveal_scores` for the epoch before is accepted.
    #[must_use]
    pub fn score_reveal(&self) -> Range<u32> {
        self.score_commit_end..self.score_reveal_end
    }

    /// Block from which on evidence of an earlier epoch is not asked for any more, unless an answer was a
    /// lie: windows in which to answer are left.
    #[must_use]
    pub fn evidence_asked_until(&self) -> u32 {
        if self.is_settling() {
            self.score_commit_end
        } else {
            self.train_end
        }
    }

    /// Block from which on requests for evidence are not answered any more: time to find out that an answer
    /// is a lie is left before `Close`. Three windows of an epoch; in a settling one, which has none after
    /// `Train`, the second half of the window for reveals, the middle block included.
    #[must_use]
    pub fn evidence_answered_until(&self) -> u32 {
        if self.is_settling() {
            self.score_commit_end.midpoint(self.score_reveal_end)
        } else {
            self.attest_end
        }
    }

    /// No window of another epoch is empty.
    fn is_settling(&self) -> bool {
        self.commit_end == self.train_end
    }

    /// The block whose hash is the epoch's seed: two after the end of `Commit`.
    #[must_use]
    pub fn seed_block(&self) -> u32 {
        self.commit_end.saturating_add(SEED_DELAY_BLOCKS).saturating_sub(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn params() -> PhaseParams {
        PhaseParams {
            train: 48,
            commit: 7,
            attest: 9,
            blind: 5,
            open: 5,
            root: 7,
            score_commit: 28,
            score_reveal: 18,
            margin: 1,
            max_extensions: 3,
        }
    }

    #[test]
    fn worked_example_of_a_training_epoch() {
        let schedule = Schedule::new(&params(), false, 100, 0);
        assert_eq!(schedule.window(Phase::Train), 100..148);
        assert_eq!(schedule.window(Phase::Commit), 148..155);
        assert_eq!(schedule.seed_block(), 156);
        assert_eq!(schedule.window(Phase::Attest), 155..164);
        assert_eq!(schedule.close(), 181);
        assert_eq!(schedule.next_start(), 182);
        assert_eq!(schedule.score_commit(), 100..128);
        assert_eq!(schedule.score_reveal(), 128..146);
    }

    #[test]
    fn an_extension_adds_a_train_and_a_commit() {
        let schedule = Schedule::new(&params(), false, 100, 1);
        assert_eq!(schedule.window(Phase::Train), 100..203);
        assert_eq!(schedule.window(Phase::Commit), 203..210);
    }

    #[test]
    fn a_settling_epoch_is_two_score_windows_and_close() {
        let schedule = Schedule::new(&params(), true, 100, 0);
        assert_eq!(schedule.close(), 146);
        assert_eq!(schedule.phase_at(145), Phase::Train);
        assert_eq!(schedule.phase_at(146), Phase::Close);
        assert!(schedule.window(Phase::Commit).is_empty());
    }

    #[test]
    fn evidence_is_asked_for_answered_and_contradicted_in_turn() {
        let training = Schedule::new(&params(), false, 100, 0);
        assert_eq!((training.evidence_asked_until(), training.evidence_answered_until()), (148, 164));
        // Commits of rows end at 128, reveals at 146: nine blocks to answer in and nine to contradict.
        let settling = Schedule::new(&params(), true, 100, 0);
        assert_eq!((settling.evidence_asked_until(), settling.evidence_answered_until()), (128, 137));
    }

    proptest! {
        #[test]
        fn requests_answers_and_contradictions_each_have_time(
            start in 0u32..1_000_000, extensions in 0u8..4, settling: bool,
        ) {
            let schedule = Schedule::new(&params(), settling, start, extensions);
            let (asked, answered) = (schedule.evidence_asked_until(), schedule.evidence_answered_until());
            prop_assert!(start < asked && asked < answered && answered < schedule.close());
        }

        #[test]
        fn every_block_is_in_exactly_the_window_that_phase_at_names(
            start in 0u32..1_000_000, extensions in 0u8..4, settling: bool, offset: u32,
        ) {
            let schedule = Schedule::new(&params(), settling, start, extensions);
            let block = start + offset % (schedule.close() + 1 - start);
            let all = [Phase::Train, Phase::Commit, Phase::Attest, Phase::Blind, Phase::Open, Phase::Root, Phase::Close];
            let within: alloc::vec::Vec<_> =
                all.into_iter().filter(|phase| schedule.window(*phase).contains(&block)).collect();
            prop_assert_eq!(within, alloc::vec![schedule.phase_at(block)]);
        }
    }
}
