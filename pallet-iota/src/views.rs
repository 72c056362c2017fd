//! Reads behind the runtime API and the view functions.

use alloc::vec::Vec;
use iota_protocol::{
    court::{AccusationView, AuditsView, CourtView},
    ids::{Epoch, RunId, Stage},
    params::RunParams,
    shard::Shards as ShardMap,
    view::{
        AgreementCell, AgreementView, ClockView, EpochReportView, MemberView, MergeView, ScoreView,
        SnapshotView,
    },
    work::ShardStatus,
};
use polkadot_sdk::{frame_support::traits::fungible::Inspect, sp_runtime::AccountId32};

use crate::pallet::{
    Accusations, AuditWorks, Clocks, Config, Endpoints, EvidenceRequests, Gated, Merges, Pallet, Payouts,
    Reports, Runs, Scores, Seeds, Shards, Snapshots,
};
use crate::work::chunks;

impl<T: Config> Pallet<T> {
    /// Parameters of a run.
    pub fn run_view(run: RunId) -> Option<RunParams> {
        Runs::<T>::get(run)
    }

    /// The clock of a run.
    pub fn clock_view(run: RunId) -> Option<ClockView> {
        Clocks::<T>::get(run).map(|clock| clock.view(run))
    }

    /// Members of a run in uid order.
    pub fn members_view(run: RunId) -> Vec<MemberView> {
        let members = Self::members_of(run).into_iter();
        members.map(|(uid, member)| member.view(uid, Endpoints::<T>::get(run, uid))).collect()
    }

    /// The merge of one stage in one epoch.
    pub fn merge_view(run: RunId, epoch: Epoch, stage: Stage) -> Option<MergeView> {
        let merge = Merges::<T>::get((run, epoch, stage))?;
        Some(merge.view(&Shards::<T>::get((run, epoch, stage))))
    }

    /// Which pairs of a stage's committers agreed in one epoch; `None` before shards are opened.
    pub fn agreement_view(run: RunId, epoch: Epoch, stage: Stage) -> Option<AgreementView> {
        let params = Runs::<T>::get(run)?;
        let merge = Merges::<T>::get((run, epoch, stage))?;
        let seed = Seeds::<T>::get((run, epoch))?;
        let map = ShardMap::new(&seed, stage, merge.commits.len(), chunks(&params, stage))?;
        let uid_at = |position: usize| merge.commits.get(position).map(|commit| commit.uid);
        let statuses = Shards::<T>::get((run, epoch, stage));
        let cell = |(shard, status): (u16, &ShardStatus)| {
            let (low, high) = map.owners(shard)?;
            Some(AgreementCell { shard, low: uid_at(low)?, high: uid_at(high)?, status: *status })
        };
        Some(AgreementView {
            members: merge.commits.iter().map(|commit| (commit.uid, commit.incarnation)).collect(),
            cells: (0u16..).zip(&statuses).filter_map(cell).collect(),
        })
    }

    /// Everyone who may be paid for an epoch.
    pub fn snapshot_view(run: RunId, epoch: Epoch) -> Option<SnapshotView> {
        Snapshots::<T>::get((run, epoch)).map(|snapshot| snapshot.view())
    }

    /// Commits and reveals for a scored epoch in uid order.
    pub fn scores_view(run: RunId, epoch: Epoch) -> Vec<ScoreView> {
        let mut scores: Vec<ScoreView> =
            Scores::<T>::iter_prefix((run, epoch)).map(|(uid, score)| score.view(uid)).collect();
        scores.sort_unstable_by_key(|score| score.uid);
        scores
    }

    /// The judging of one epoch.
    pub fn court_view(run: RunId, epoch: Epoch) -> CourtView {
        let mut accusations: Vec<AccusationView> = Accusations::<T>::iter_prefix((run, epoch))
            .map(|((uid, segment), accusation)| accusation.view(uid, segment))
            .collect();
        accusations.sort_unstable_by_key(|own| (own.uid, own.segment));
        let mut requests: Vec<_> =
            EvidenceRequests::<T>::iter_prefix((run, epoch)).map(|(uid, own)| own.view(uid)).collect();
        requests.sort_unstable_by_key(|own| own.uid);
        let mut audits: Vec<AuditsView> =
            AuditWorks::<T>::iter_prefix((run, epoch)).map(|(uid, own)| own.view(uid)).collect();
        audits.sort_unstable_by_key(|own| own.uid);
        let gated = Gated::<T>::get((run, epoch)).to_vec();
        CourtView { accusations, gated, requests, held: Self::held_view(run, epoch), audits }
    }

    /// Whether a hotkey lost its permit by missing reveals, so that `resume` would give it back.
    pub fn may_resume(run: RunId, hotkey: &AccountId32) -> bool {
        Self::check_resume(run, hotkey).is_ok()
    }

    /// What a scored epoch minted and paid.
    pub fn report_view(run: RunId, epoch: Epoch) -> Option<EpochReportView> {
        let report = Reports::<T>::get((run, epoch))?;
        Some(report.view(epoch, &Payouts::<T>::get((run, epoch))))
    }

    /// Everything that exists, in circulation or not.
    pub fn issuance() -> u128 {
        T::Currency::total_issuance()
    }
}
