//! More than one run: who may change one, its share of the emission, parameters at an epoch's edge,
//! pause and end.
//!
//! A run is made by the admin origin, and then takes what is left of the emission, or by anybody behind a
//! deposit, and then has no share until the admin origin gives it one. Parameters and shares change at
//! `Close` only, and not if they were sent after `Attest` began: from then on everybody knows what the
//! next epoch will be.

use codec::{Decode, Encode, MaxEncodedLen};
use iota_protocol::{
    ids::{AccountKey, RunId},
    params::{RunParams, PPM},
    phase::Phase,
};
use polkadot_sdk::{
    frame_support::{
        defensive, ensure,
        pallet_prelude::DispatchResult,
        storage::with_storage_layer,
        traits::{fungible::MutateHold, tokens::Precision, EnsureOrigin, Get},
    },
    frame_system::{ensure_signed, pallet_prelude::OriginFor},
    sp_runtime::{AccountId32, DispatchError},
};
use scale_info::TypeInfo;

use crate::{
    pallet::{ActiveRuns, Clocks, Config, Controls, Error, Event, HoldReason, Pallet, Pending, Runs},
    types::{account, key, Clock, State},
};

/// Who may change a run, and what will change at the next `Close`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Control {
    /// Who made it behind a deposit; `None` for runs of the admin origin.
    pub owner: Option<AccountKey>,
    /// On hold on the owner until the run ends, smallest units.
    pub deposit: u128,
    /// Its share of the chain's emission, millionths.
    pub share_ppm: u32,
    /// Its share from the next `Close` on.
    pub next_share_ppm: Option<u32>,
    /// It pauses at the next `Close`.
    pub pausing: bool,
}

impl Control {
    /// What must be free of the emission for it.
    fn reserved(&self) -> u32 {
        self.share_ppm.max(self.next_share_ppm.unwrap_or(0))
    }
}

impl<T: Config> Pallet<T> {
    /// What no active run but `except` has or will have of the emission, millionths.
    fn free_share(except: Option<RunId>) -> u32 {
        let others = ActiveRuns::<T>::get().into_iter().filter(|run| Some(*run) != except);
        others.fold(PPM, |free, run| free.saturating_sub(Controls::<T>::get(run).reserved()))
    }

    /// A run of the admin origin: it has all of the emission that is left.
    pub(crate) fn do_create_own_run(params: RunParams) -> Result<RunId, Error<T>> {
        let share_ppm = Self::free_share(None);
        let run = Self::do_create_run(params)?;
        Controls::<T>::insert(run, Control { share_ppm, ..Control::default() });
        Ok(run)
    }

    pub(crate) fn do_sponsor_run(owner: &AccountId32, params: RunParams) -> DispatchResult {
        let deposit = T::RunDeposit::get();
        // Together: a deposit that is refused leaves no run.
        with_storage_layer(|| {
            let run = Self::do_create_run(params)?;
            T::Currency::hold(&HoldReason::Run.into(), owner, deposit)?;
            Controls::<T>::insert(run, Control { owner: Some(key(owner)), deposit, ..Control::default() });
            Self::deposit_event(Event::RunSponsored { run, owner: owner.clone(), deposit });
            Ok(())
        })
    }

    /// Only the admin origin or the owner of a run.
    pub(crate) fn ensure_controls(origin: OriginFor<T>, run: RunId) -> Result<(), DispatchError> {
        let Err(origin) = T::AdminOrigin::try_origin(origin) else { return Ok(()) };
        let who = ensure_signed(origin)?;
        let owner = Controls::<T>::get(run).owner;
        ensure!(owner == Some(key(&who)), Error::<T>::NotOwner);
        Ok(())
    }

    /// Parameters and clock of a run that has not ended and is not in its freeze window.
    fn changeable(run: RunId) -> Result<(RunParams, Clock), Error<T>> {
        let (params, clock) = Self::run_of(run)?;
        ensure!(clock.state != State::Ended, Error::<T>::NotRunning);
        let frozen = clock.state == State::Running
            && (params.is_settling(clock.epoch)
                || clock.schedule(&params).phase_at(Self::now()) >= Phase::Attest);
        ensure!(!frozen, Error::<T>::Frozen);
        Ok((params, clock))
    }

    pub(crate) fn do_set_run_share(run: RunId, share_ppm: u32) -> DispatchResult {
        let (_, clock) = Self::changeable(run)?;
        ensure!(share_ppm <= Self::free_share(Some(run)), Error::<T>::ShareTaken);
        Controls::<T>::mutate(run, |control| control.next_share_ppm = Some(share_ppm));
        Self::deposit_event(Event::RunShareScheduled { run, share_ppm });
        if clock.state == State::Waiting {
            Self::apply_share(run);
        }
        Ok(())
    }

    pub(crate) fn do_schedule_params(run: RunId, next: RunParams) -> DispatchResult {
        let (params, clock) = Self::changeable(run)?;
        ensure!(params.may_become(&next).is_ok(), Error::<T>::InvalidParams);
        // The current epoch stays a training epoch.
        ensure!(next.epochs > clock.epoch.0 || clock.state == State::Waiting, Error::<T>::InvalidParams);
        Self::deposit_event(Event::ParamsScheduled { run });
        if clock.state == State::Running {
            Pending::<T>::insert(run, next);
        } else {
            Runs::<T>::insert(run, next);
            Self::deposit_event(Event::ParamsApplied { run });
        }
        Ok(())
    }

    pub(crate) fn do_pause_run(run: RunId) -> DispatchResult {
        let (_, clock) = Self::changeable(run)?;
        ensure!(clock.state == State::Running, Error::<T>::NotRunning);
        Controls::<T>::mutate(run, |control| control.pausing = true);
        Self::deposit_event(Event::RunPausing { run });
        Ok(())
    }

    /// The next epoch starts in the next block.
    pub(crate) fn do_resume_run(run: RunId) -> DispatchResult {
        let (_, clock) = Self::run_of(run)?;
        let pausing = Controls::<T>::get(run).pausing;
        ensure!(clock.state == State::Paused || pausing, Error::<T>::NotPaused);
        Controls::<T>::mutate(run, |control| control.pausing = false);
        if clock.state == State::Paused {
            Self::wake(run, clock);
        }
        Self::deposit_event(Event::RunResumed { run });
        Ok(())
    }

    fn wake(run: RunId, mut clock: Clock) {
        clock.state = State::Running;
        clock.start = Self::now().saturating_add(1);
        Self::deposit_event(Event::EpochStarted { run, epoch: clock.epoch, start: clock.start });
        Clocks::<T>::insert(run, clock);
    }

    /// The current epoch is the last that trains; a paused run goes on with the settling one. A run
    /// that has not started ends at once.
    pub(crate) fn do_end_run(run: RunId) -> DispatchResult {
        let (mut params, mut clock) = Self::changeable(run)?;
        if clock.state == State::Waiting {
            clock.state = State::Ended;
            Clocks::<T>::insert(run, clock);
            ActiveRuns::<T>::mutate(|active| active.retain(|other| *other != run));
            Self::release_run(run);
            Self::deposit_event(Event::RunEnded { run });
            Self::enqueue_ended(run, Self::now());
            return Ok(());
        }
        params.epochs = if clock.state == State::Paused { clock.epoch.0 } else { clock.epoch.next().0 };
        Pending::<T>::remove(run);
        Runs::<T>::insert(run, params);
        Controls::<T>::mutate(run, |control| control.pausing = false);
        Self::deposit_event(Event::RunEnding { run, last: clock.epoch });
        if clock.state == State::Paused {
            Self::wake(run, clock);
        }
        Ok(())
    }

    /// Gives the deposit back and the share free.
    pub(crate) fn release_run(run: RunId) {
        let control = Controls::<T>::take(run);
        Pending::<T>::remove(run);
        let Some(owner) = control.owner else { return };
        let owner = account(&owner);
        let released =
            T::Currency::release(&HoldReason::Run.into(), &owner, control.deposit, Precision::BestEffort);
        if released != Ok(control.deposit) {
            defensive!("a run's deposit was not on hold");
        }
    }

    fn apply_share(run: RunId) {
        Controls::<T>::mutate(run, |control| {
            control.share_ppm = control.next_share_ppm.take().unwrap_or(control.share_ppm);
        });
    }

    /// At `Close`: what was scheduled becomes true; whether the run pauses.
    pub(crate) fn apply_changes(run: RunId) -> bool {
        Self::apply_share(run);
        if let Some(next) = Pending::<T>::take(run) {
            Runs::<T>::insert(run, next);
            Self::deposit_event(Event::ParamsApplied { run });
        }
        Controls::<T>::mutate(run, |control| core::mem::take(&mut control.pausing))
    }
}
