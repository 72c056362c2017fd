//! Runs and who belongs to them: creation, registration, bonds, endpoints, leaving.

use iota_protocol::{
    hash::{register_payload, serve_payload},
    ids::{Epoch, Hash, RunId, Uid},
    params::RunParams,
    work::{Endpoint, Role},
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        pallet_prelude::DispatchResult,
        storage::with_storage_layer,
        traits::{
            fungible::Mutate,
            tokens::{Fortitude, Precision, Preservation},
            Get,
        },
    },
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_core::{ed25519, sr25519},
    sp_io,
    sp_runtime::{
        traits::{SaturatedConversion, Zero},
        AccountId32, DispatchError,
    },
};

use crate::{
    pallet::{
        ActiveRuns, Burned, Clocks, Config, Endpoints, Error, Event, FreeUids, Handovers, Members,
        NextIncarnation, NextRun, NextUid, Pallet, RegistrationPrice, Runs, UidOf,
    },
    seats::Place,
    types::{key, Arrival, Clock, Member, State},
};

impl<T: Config> Pallet<T> {
    /// Hash of the first block: binds signatures to this chain.
    pub(crate) fn genesis_hash() -> Hash {
        let genesis = frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero());
        let mut bytes = [0u8; 32];
        for (byte, from) in bytes.iter_mut().zip(genesis.as_ref()) {
            *byte = *from;
        }
        Hash(bytes)
    }

    /// Number of the current block.
    pub(crate) fn now() -> u32 {
        frame_system::Pallet::<T>::block_number().saturated_into::<u32>()
    }

    /// Parameters and clock of a run.
    pub(crate) fn run_of(run: RunId) -> Result<(RunParams, Clock), Error<T>> {
        let params = Runs::<T>::get(run).ok_or(Error::<T>::UnknownRun)?;
        let clock = Clocks::<T>::get(run).ok_or(Error::<T>::UnknownRun)?;
        Ok((params, clock))
    }

    /// The member behind a hotkey.
    pub(crate) fn member_of(run: RunId, hotkey: &AccountId32) -> Result<(Uid, Member), Error<T>> {
        let uid = UidOf::<T>::get(run, hotkey).ok_or(Error::<T>::NotMember)?;
        let member = Members::<T>::get(run, uid).ok_or(Error::<T>::NotMember)?;
        Ok((uid, member))
    }

    pub(crate) fn do_create_run(params: RunParams) -> Result<RunId, Error<T>> {
        ensure!(params.validate().is_ok(), Error::<T>::InvalidParams);
        let run = NextRun::<T>::get();
        let next = run.0.checked_add(1).ok_or(Error::<T>::TooManyRuns)?;
        ActiveRuns::<T>::try_mutate(|active| active.try_push(run)).map_err(|_| Error::<T>::TooManyRuns)?;
        NextRun::<T>::put(RunId(next));
        Runs::<T>::insert(run, params);
        Clocks::<T>::insert(run, Clock::waiting());
        Self::deposit_event(Event::RunCreated { run });
        Ok(run)
    }

    /// Returns where the newcomer sits, on which the weight depends.
    pub(crate) fn do_register(
        run: RunId,
        coldkey: AccountId32,
        hotkey: AccountId32,
        role: Role,
        proof: &[u8; 64],
        max_price: u128,
    ) -> Result<Place, DispatchError> {
        let clock = Clocks::<T>::get(run).ok_or(Error::<T>::UnknownRun)?;
        ensure!(clock.state != State::Ended, Error::<T>::NotRunning);
        ensure!(!Self::is_taken(run, &hotkey), Error::<T>::AlreadyRegistered);
        let price = Self::price_now();
        ensure!(price <= max_price, Error::<T>::PriceTooHigh);
        ensure!(Self::hotkey_consents(run, &coldkey, &hotkey, proof), Error::<T>::BadProof);
        let place = Self::place_for_newcomer(run, &clock)?;
        with_storage_layer(|| Self::charge(run, &coldkey, role, price))?;
        // The hotkey can send calls without owning anything; taken back when it leaves.
        frame_system::Pallet::<T>::inc_providers(&hotkey);
        let (uid, incarnation) = (place.uid(), Self::take_incarnation(run));
        let newcomer = Arrival { uid, incarnation, hotkey: key(&hotkey), coldkey: key(&coldkey), role };
        Self::deposit_event(Event::Registered { run, uid, incarnation, hotkey, coldkey, role, price });
        Self::place(run, place, newcomer);
        Ok(place)
    }

    /// What a registration burns in this block.
    pub fn price_now() -> u128 {
        T::RegistrationPricing::get().price_at(&RegistrationPrice::<T>::get(), Self::now())
    }

    /// Burns the price, raises it for the next, and holds what a newcomer has to lose.
    fn charge(run: RunId, coldkey: &AccountId32, role: Role, price: u128) -> DispatchResult {
        // Expendable would let a coldkey that spends its last unit lose its nonce.
        T::Currency::burn_from(coldkey, price, Preservation::Preserve, Precision::Exact, Fortitude::Polite)?;
        Burned::<T>::mutate(run, |burned| *burned = burned.saturating_add(price));
        RegistrationPrice::<T>::mutate(|quote| {
            *quote = T::RegistrationPricing::get().bumped(quote, Self::now());
        });
        let incarnation = NextIncarnation::<T>::get(run);
        Self::hold_entry(run, incarnation, coldkey, Self::entry_of(run, role))
    }

    pub(crate) fn hotkey_consents(
        run: RunId,
        coldkey: &AccountId32,
        hotkey: &AccountId32,
        proof: &[u8; 64],
    ) -> bool {
        let payload = register_payload(&Self::genesis_hash(), run, &key(coldkey), &key(hotkey));
        sp_io::crypto::sr25519_verify(
            &sr25519::Signature::from_raw(*proof),
            &payload.0,
            &sr25519::Public::from_raw(key(hotkey).0),
        )
    }

    /// Marks a uid as held.
    fn occupy(run: RunId, uid: Uid) {
        FreeUids::<T>::mutate(run, |free| free.retain(|other| *other != uid));
        NextUid::<T>::mutate(run, |next| *next = (*next).max(uid.0.saturating_add(1)));
    }

    pub(crate) fn add_member(run: RunId, newcomer: &Arrival) {
        let uid = newcomer.uid;
        Self::occupy(run, uid);
        UidOf::<T>::insert(run, crate::types::account(&newcomer.hotkey), uid);
        let member = Member {
            incarnation: newcomer.incarnation,
            hotkey: newcomer.hotkey,
            coldkey: newcomer.coldkey,
            role: newcomer.role,
            stage: None,
            since: None,
            weight: 0,
            bond: 0,
            registered_at: Self::now(),
            served_in: None,
            reachable_since: 0,
            missed: 0,
            leaving: false,
            standing: None,
            missed_reveals: 0,
            swapped_at: None,
        };
        Members::<T>::insert(run, uid, member);
    }

    /// Who would serve, once endpoint and signature are checked.
    fn check_serve(
        hotkey: &AccountId32,
        run: RunId,
        endpoint: &Endpoint,
        peer_signature: &[u8; 64],
    ) -> Result<(Uid, Member, Epoch), Error<T>> {
        let clock = Clocks::<T>::get(run).ok_or(Error::<T>::UnknownRun)?;
        let (uid, member) = Self::member_of(run, hotkey)?;
        ensure!(!endpoint.addresses.is_empty(), Error::<T>::NoAddress);
        let payload = serve_payload(&Self::genesis_hash(), &key(hotkey));
        let signed = sp_io::crypto::ed25519_verify(
            &ed25519::Signature::from_raw(*peer_signature),
            &payload.0,
            &ed25519::Public::from_raw(endpoint.peer),
        );
        ensure!(signed, Error::<T>::BadProof);
        Ok((uid, member, clock.epoch))
    }

    /// Whether a `serve` would be accepted and is the member's first in this epoch.
    pub(crate) fn serves_for_free(
        hotkey: &AccountId32,
        run: RunId,
        endpoint: &Endpoint,
        peer_signature: &[u8; 64],
    ) -> bool {
        Self::check_serve(hotkey, run, endpoint, peer_signature)
            .is_ok_and(|(_, member, epoch)| member.served_in != Some(epoch))
    }

    pub(crate) fn do_serve(
        hotkey: &AccountId32,
        run: RunId,
        endpoint: Endpoint,
        peer_signature: &[u8; 64],
    ) -> DispatchResult {
        let (uid, mut member, epoch) = Self::check_serve(hotkey, run, &endpoint, peer_signature)?;
        if member.served_in.replace(epoch).is_none() {
            member.reachable_since = Self::now();
        }
        let peer = endpoint.peer;
        Members::<T>::insert(run, uid, member);
        Endpoints::<T>::insert(run, uid, endpoint);
        Self::deposit_event(Event::Served { run, uid, peer });
        Ok(())
    }

    pub(crate) fn do_leave(run: RunId, uid: Uid, who: &AccountId32) -> DispatchResult {
        let clock = Clocks::<T>::get(run).ok_or(Error::<T>::UnknownRun)?;
        let mut member = Members::<T>::get(run, uid).ok_or(Error::<T>::NotMember)?;
        let who = key(who);
        ensure!(member.coldkey == who || member.hotkey == who, Error::<T>::NotOwner);
        if clock.state != State::Running {
            Self::remove_member(run, uid, &member);
            return Ok(());
        }
        // Below the branch above: an end finds members that asked in the settling epoch.
        ensure!(!member.leaving, Error::<T>::AlreadyLeaving);
        member.leaving = true;
        Self::deposit_event(Event::Leaving { run, uid, incarnation: member.incarnation });
        Members::<T>::insert(run, uid, member);
        Ok(())
    }

    /// Frees the uid of a member, whose bond unbonds.
    pub(crate) fn remove_member(run: RunId, uid: Uid, member: &Member) {
        let hotkey = crate::types::account(&member.hotkey);
        Self::keep_signer(run, uid, member);
        Self::count_down_entry(run, member.incarnation);
        if member.bond > 0 {
            Self::start_unbonding(run, uid, member, member.bond);
        }
        Handovers::<T>::remove(run, uid);
        Members::<T>::remove(run, uid);
        Endpoints::<T>::remove(run, uid);
        UidOf::<T>::remove(run, &hotkey);
        FreeUids::<T>::mutate(run, |free| {
            let at = free.partition_point(|other| *other < uid);
            // Cannot be full: no more uids exist than it has room for.
            let _ = free.try_insert(at, uid);
        });
        // Refused while something else still needs the account; then the reference stays, harmless.
        let _ = frame_system::Pallet::<T>::dec_providers(&hotkey);
        Self::deposit_event(Event::Left { run, uid, incarnation: member.incarnation });
    }
}
