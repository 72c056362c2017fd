//! Everything that the chain holds about the judging of one epoch: accusations and votes, gates,
//! requests for evidence, held pay, audit transcripts. Workers, explorer and tests read it in one call.

use alloc::vec::Vec;
use codec::{Decode, Encode};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::ids::{Hash, Incarnation, Uid};
use crate::verdict::decide;
use crate::view::{Payout, SnapshotView};
use crate::work::Transcript;

/// Marks the number in an accusation that names a shard: no log has so many local steps.
const SHARD_BIT: u32 = 1 << 31;

/// What a miner is accused of: the number in an accusation, read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Accused {
    /// The segment of its event log after this local step.
    Segment(u32),
    /// The hash that it opened for this shard of its stage.
    Shard(u16),
}

impl Accused {
    /// Reads the number of an accusation.
    #[must_use]
    pub fn of(number: u32) -> Self {
        match u16::try_from(number.wrapping_sub(SHARD_BIT)) {
            Ok(shard) if number >= SHARD_BIT => Self::Shard(shard),
            _ => Self::Segment(number),
        }
    }

    /// The number for an accusation.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Segment(step) => step,
            Self::Shard(shard) => SHARD_BIT | u32::from(shard),
        }
    }
}

impl core::fmt::Display for Accused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Segment(step) => write!(f, "segment {step}"),
            Self::Shard(shard) => write!(f, "merge shard {shard}"),
        }
    }
}

/// An accusation with its votes.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct AccusationView {
    /// The accused miner.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// First local step of the segment.
    pub segment: u32,
    /// Who accuses.
    pub accuser: Uid,
    /// Its incarnation.
    pub accuser_incarnation: Incarnation,
    /// Root of the evidence ([`crate::case::Case::root`]).
    pub evidence: Hash,
    /// What the accuser put on hold, smallest units.
    pub deposit: u128,
    /// Votes by validator in the order in which they came; `true` is guilty.
    pub votes: Vec<(Uid, bool)>,
    /// What was decided; `None` while it is open.
    pub verdict: Option<bool>,
}

/// What validators asked a miner for.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct RequestView {
    /// The miner.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Asked again, after its pay was held.
    pub again: bool,
    /// What the first asker missed: a root in the miner's commit or a hash in its log.
    pub wanted: Hash,
    /// Who says that it cannot get it; those who said so before the answer no longer count.
    pub askers: Vec<Uid>,
    /// Whether they carry more than half of the permitted stake: if it stays so until `Close`, the
    /// pay is held, or lapses.
    pub quorum: bool,
    /// What the miner answered.
    pub answer: Option<Hash>,
}

/// A validator's transcripts.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct AuditsView {
    /// The validator.
    pub uid: Uid,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its commit.
    pub commit: Hash,
    /// What it opened.
    pub opened: Option<Vec<Transcript>>,
}

/// The judging of one epoch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct CourtView {
    /// Accusations by miner and segment.
    pub accusations: Vec<AccusationView>,
    /// Miners that are not paid for the epoch, ascending.
    pub gated: Vec<(Uid, Incarnation)>,
    /// Requests for evidence in uid order.
    pub requests: Vec<RequestView>,
    /// Pay that waits for evidence, in uid order.
    pub held: Vec<Payout>,
    /// Transcripts in uid order of the validators.
    pub audits: Vec<AuditsView>,
}

impl CourtView {
    /// The accusation of one segment of one miner.
    #[must_use]
    pub fn accusation(&self, uid: Uid, segment: u32) -> Option<&AccusationView> {
        self.accusations.iter().find(|own| own.uid == uid && own.segment == segment)
    }

    /// The request about a miner.
    #[must_use]
    pub fn request(&self, uid: Uid) -> Option<&RequestView> {
        self.requests.iter().find(|own| own.uid == uid)
    }

    /// Whether nothing at all happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Miners that stand gated although no accusation of theirs has two thirds of the permitted stake
    /// behind it, and those whose accusation has and who are not gated, in uid order. The first kind
    /// is right only where somebody proved an equivocation, which leaves an event and no votes.
    #[must_use]
    pub fn wrong_gates(&self, snapshot: &SnapshotView) -> Vec<(Uid, Incarnation)> {
        let votes = |own: &AccusationView| {
            let of = |uid: Uid| own.votes.iter().find(|(voter, _)| *voter == uid).map(|(_, guilty)| *guilty);
            snapshot.validators.iter().map(|judge| (judge.stake, of(judge.uid))).collect::<Vec<_>>()
        };
        let guilty = self.accusations.iter().filter(|own| decide(&votes(own)) == Some(true));
        let mut guilty: Vec<_> = guilty.map(|own| (own.uid, own.incarnation)).collect();
        guilty.sort_unstable();
        guilty.dedup();
        let gated = self.gated.iter().filter(|member| guilty.binary_search(member).is_err());
        let free = guilty.iter().filter(|member| !self.gated.contains(member));
        let mut wrong: Vec<_> = gated.chain(free).copied().collect();
        wrong.sort_unstable();
        wrong
    }

    /// How many transcripts each validator opened, as an epoch's terms count them.
    #[must_use]
    pub fn opened(&self) -> Vec<(Uid, u32)> {
        let count =
            |own: &AuditsView| Some((own.uid, u32::try_from(own.opened.as_ref()?.len()).unwrap_or(u32::MAX)));
        self.audits.iter().filter_map(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AccountKey;
    use crate::view::SnapshotValidator;
    use alloc::{string::ToString, vec};
    use proptest::prelude::*;

    fn snapshot(stakes: &[u128]) -> SnapshotView {
        let validator = |(uid, stake): (u16, &u128)| SnapshotValidator {
            uid: Uid(uid),
            incarnation: Incarnation(uid.into()),
            hotkey: AccountKey([0; 32]),
            coldkey: AccountKey([0; 32]),
            stake: *stake,
        };
        SnapshotView { miners: vec![], validators: (0u16..).zip(stakes).map(validator).collect() }
    }

    fn accusation(uid: u16, votes: &[(u16, bool)]) -> AccusationView {
        AccusationView {
            uid: Uid(uid),
            incarnation: Incarnation(7),
            segment: 0,
            accuser: Uid(0),
            accuser_incarnation: Incarnation(0),
            evidence: Hash::ZERO,
            deposit: 1,
            votes: votes.iter().map(|(voter, guilty)| (Uid(*voter), *guilty)).collect(),
            verdict: None,
        }
    }

    #[test]
    fn worked_gates() {
        let snapshot = snapshot(&[1, 1, 1]);
        let condemned = accusation(9, &[(0, true), (2, true)]);
        let open = accusation(8, &[(0, true)]);
        let member = (Uid(9), Incarnation(7));
        let court = |gated: &[(Uid, Incarnation)]| CourtView {
            accusations: vec![open.clone(), condemned.clone()],
            gated: gated.to_vec(),
            ..CourtView::default()
        };
        assert_eq!(court(&[member]).wrong_gates(&snapshot), vec![]);
        assert_eq!(court(&[]).wrong_gates(&snapshot), vec![member], "two thirds, and still paid");
        let other = (Uid(8), Incarnation(7));
        assert_eq!(court(&[other, member]).wrong_gates(&snapshot), vec![other], "one third gates nobody");
    }

    #[test]
    fn only_opened_transcripts_count() {
        let transcript = Transcript {
            uid: Uid(1),
            incarnation: Incarnation(1),
            segment: 0,
            root: Hash::ZERO,
            agrees: true,
        };
        let of = |uid: u16, opened| AuditsView {
            uid: Uid(uid),
            incarnation: Incarnation(0),
            commit: Hash::ZERO,
            opened,
        };
        let audits = vec![of(3, Some(vec![transcript; 2])), of(4, None)];
        assert_eq!(CourtView { audits, ..CourtView::default() }.opened(), vec![(Uid(3), 2)]);
    }

    #[test]
    fn a_shard_is_named_by_a_number_that_no_step_has() {
        assert_eq!(Accused::Shard(3).number(), 2_147_483_651);
        assert_eq!(Accused::of(7), Accused::Segment(7));
        assert_eq!(Accused::of(2_147_483_651), Accused::Shard(3));
        // Beyond the last shard there is nothing but steps, which no log has.
        assert_eq!(Accused::of(u32::MAX), Accused::Segment(u32::MAX));
        assert_eq!(Accused::Shard(3).to_string(), "merge shard 3");
    }

    proptest! {
        #[test]
        fn an_accusation_is_read_as_it_was_written(shard: u16, step in 0u32..1 << 31, any: u32) {
            prop_assert_eq!(Accused::of(Accused::Shard(shard).number()), Accused::Shard(shard));
            prop_assert_eq!(Accused::of(step), Accused::Segment(step));
            prop_assert_eq!(Accused::of(any).number(), any);
        }

        #[test]
        fn gates_that_follow_from_the_votes_are_never_wrong(
            stakes in prop::collection::vec(1u128..1 << 60, 1..6),
            votes in prop::collection::vec(prop::collection::vec((0u16..6, any::<bool>()), 0..6), 0..5),
        ) {
            let snapshot = snapshot(&stakes);
            let accusations: Vec<_> = (10u16..).zip(&votes).map(|(uid, votes)| accusation(uid, votes)).collect();
            let mut court = CourtView { accusations, ..CourtView::default() };
            // With nobody gated, what is wrong is who ought to be.
            court.gated = court.wrong_gates(&snapshot);
            prop_assert_eq!(court.wrong_gates(&snapshot), vec![]);
        }
    }
}
