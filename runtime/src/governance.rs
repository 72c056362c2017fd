//! Who may change what: the admin account, the authorities, the next runtime.
//!
//! There is no sudo. An admin account, which is a multisig on every network that matters, may do what
//! is listed here and in the calls of other pallets that name [`EnsureAdmin`], and nothing else. This
//! pallet also decides the authorities of each session for `pallet-session`. Blocks and finality are
//! the business of Aura and GRANDPA, keys that of `pallet-session`.
//!
//! Invariants: the list of authorities is free of duplicates and at most `MaxAuthorities` long; once
//! it was set it never is empty, and whoever is put on it has keys.

use polkadot_sdk::{
    frame_support::{
        traits::{EnsureOrigin, EstimateNextSessionRotation, Get},
        weights::Weight,
    },
    frame_system::{pallet_prelude::BlockNumberFor, RawOrigin},
    pallet_session::{self, SessionManager, ShouldEndSession},
    sp_runtime::{
        traits::{SaturatedConversion, UniqueSaturatedInto, Zero},
        Permill,
    },
};

pub use pallet::*;

/// What the calls cost; `scripts/weights` measures it.
pub trait WeightInfo {
    /// With `a` authorities.
    fn set_authorities(a: u32) -> Weight;
    fn offer_admin() -> Weight;
    fn accept_admin() -> Weight;
    fn authorize_upgrade() -> Weight;
}

/// Blocks of a session unless genesis says otherwise: ten minutes. The block that ends one carries no
/// transactions, because `pallet-session` claims a whole block for it, so sessions must not be short.
const SESSION_BLOCKS: u32 = 600;

/// A new set of voters begins every six sessions, an hour, also when nobody changed. GRANDPA proves the
/// finality of a block by the justification at the end of the block's set and all headers up to there: an
/// hour's headers are less than a megabyte, and before the first change there is no proof at all.
const SET_SESSIONS: u32 = 6;
/// The first such set is that of session 2, the earliest that can be planned.
const FIRST_SET: u32 = 2;

#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use alloc::vec::Vec;
    use polkadot_sdk::{
        frame_support::{self, pallet_prelude::*},
        frame_system::{self, pallet_prelude::*},
        pallet_session,
    };

    use super::{EnsureAdmin, WeightInfo};

    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config:
        polkadot_sdk::frame_system::Config
        + pallet_session::Config<ValidatorId = <Self as polkadot_sdk::frame_system::Config>::AccountId>
    {
        /// Most authorities.
        #[pallet::constant]
        type MaxAuthorities: Get<u32>;
        /// What the calls cost.
        type WeightInfo: WeightInfo;
    }

    /// The account that [`EnsureAdmin`] accepts. Without one, only root is accepted, which nobody holds.
    #[pallet::storage]
    pub type Admin<T: Config> = StorageValue<_, T::AccountId>;

    /// Who becomes admin once it accepts.
    #[pallet::storage]
    pub type NextAdmin<T: Config> = StorageValue<_, T::AccountId>;

    /// Who shall author and finalize, two sessions from the change on.
    #[pallet::storage]
    pub type Authorities<T: Config> =
        StorageValue<_, BoundedVec<T::AccountId, T::MaxAuthorities>, ValueQuery>;

    /// Blocks of a session.
    #[pallet::storage]
    pub type SessionBlocks<T> = StorageValue<_, u32, ValueQuery, DefaultSession>;

    /// Fewest blocks of an epoch of runs that are created on this chain.
    #[pallet::storage]
    pub type LeastEpoch<T> = StorageValue<_, u32, ValueQuery>;

    /// Ten minutes.
    #[pallet::type_value]
    pub fn DefaultSession() -> u32 {
        super::SESSION_BLOCKS
    }

    /// How the chain is governed from its first block.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// The admin account.
        pub admin: Option<T::AccountId>,
        /// The same accounts as in the genesis of `pallet-session`.
        pub authorities: Vec<T::AccountId>,
        /// Blocks of a session; the default if absent.
        pub session_blocks: Option<u32>,
        /// Fewest blocks of an epoch; 0 for no bound.
        pub least_epoch_blocks: u32,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            Admin::<T>::set(self.admin.clone());
            let authorities = BoundedVec::try_from(self.authorities.clone());
            Authorities::<T>::put(authorities.expect("genesis has more authorities than MaxAuthorities"));
            if let Some(blocks) = self.session_blocks {
                assert!(blocks > 0, "genesis session_blocks is 0; a session has at least one block");
                SessionBlocks::<T>::put(blocks);
            }
            LeastEpoch::<T>::put(self.least_epoch_blocks);
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// These accounts author and finalize from the session after the next on.
        AuthoritiesSet { authorities: BoundedVec<T::AccountId, T::MaxAuthorities> },
        /// This account may accept the admin's rights.
        AdminOffered { to: T::AccountId },
        /// This account is the admin now.
        AdminChanged { to: T::AccountId },
    }

    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// A chain needs at least one authority.
        NoAuthority,
        /// An account stands in the list twice.
        Duplicate,
        /// An account of the list has no session keys; it has to send `session.setKeys` first.
        NoKeys,
        /// The admin's rights were offered to another account or to nobody.
        NotOffered,
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Sets who authors and finalizes, from the session after the next on. Each account has keys
        /// (`session.setKeys`) already.
        ///
        /// # Errors
        /// `BadOrigin`, `NoAuthority`, `Duplicate`, `NoKeys`.
        #[pallet::call_index(0)]
        #[pallet::weight(<T as Config>::WeightInfo::set_authorities(u32::try_from(authorities.len()).unwrap_or(u32::MAX)))]
        pub fn set_authorities(
            origin: OriginFor<T>,
            authorities: BoundedVec<T::AccountId, T::MaxAuthorities>,
        ) -> DispatchResult {
            EnsureAdmin::<T>::ensure_origin(origin)?;
            ensure!(!authorities.is_empty(), Error::<T>::NoAuthority);
            let mut sorted = authorities.to_vec();
            sorted.sort();
            sorted.dedup();
            ensure!(sorted.len() == authorities.len(), Error::<T>::Duplicate);
            ensure!(authorities.iter().all(Self::has_keys), Error::<T>::NoKeys);
            Authorities::<T>::put(&authorities);
            Self::deposit_event(Event::AuthoritiesSet { authorities });
            Ok(())
        }

        /// Offers the admin's rights to an account; nothing changes until it accepts, so that no
        /// mistyped account becomes admin. A later offer replaces this one.
        ///
        /// # Errors
        /// `BadOrigin`.
        #[pallet::call_index(1)]
        #[pallet::weight(<T as Config>::WeightInfo::offer_admin())]
        pub fn offer_admin(origin: OriginFor<T>, to: T::AccountId) -> DispatchResult {
            EnsureAdmin::<T>::ensure_origin(origin)?;
            NextAdmin::<T>::put(&to);
            Self::deposit_event(Event::AdminOffered { to });
            Ok(())
        }

        /// Accepts the admin's rights that were offered to the sender.
        ///
        /// # Errors
        /// `NotOffered`.
        #[pallet::call_index(2)]
        #[pallet::weight(<T as Config>::WeightInfo::accept_admin())]
        pub fn accept_admin(origin: OriginFor<T>) -> DispatchResult {
            let to = ensure_signed(origin)?;
            ensure!(NextAdmin::<T>::get().as_ref() == Some(&to), Error::<T>::NotOffered);
            NextAdmin::<T>::kill();
            Admin::<T>::put(&to);
            Self::deposit_event(Event::AdminChanged { to });
            Ok(())
        }

        /// Allows the runtime with this blake2 hash. Anybody may then send it with
        /// `system.applyAuthorizedUpgrade`; its name must be the same and its version higher. A later
        /// call replaces this one.
        ///
        /// # Errors
        /// `BadOrigin`.
        #[pallet::call_index(3)]
        #[pallet::weight(<T as Config>::WeightInfo::authorize_upgrade())]
        pub fn authorize_upgrade(origin: OriginFor<T>, code_hash: T::Hash) -> DispatchResult {
            EnsureAdmin::<T>::ensure_origin(origin)?;
            frame_system::Pallet::<T>::do_authorize_upgrade(code_hash, true);
            Ok(())
        }
    }
}

impl<T: Config> Pallet<T> {
    fn has_keys(account: &T::AccountId) -> bool {
        pallet_session::NextKeys::<T>::contains_key(account)
    }
}

/// Accepts the admin account, and root.
pub struct EnsureAdmin<T>(core::marker::PhantomData<T>);

impl<T: Config> EnsureOrigin<T::RuntimeOrigin> for EnsureAdmin<T> {
    type Success = ();

    fn try_origin(origin: T::RuntimeOrigin) -> Result<(), T::RuntimeOrigin> {
        let raw: Result<RawOrigin<T::AccountId>, _> = origin.clone().into();
        match raw {
            Ok(RawOrigin::Root) => Ok(()),
            Ok(RawOrigin::Signed(who)) if Admin::<T>::get() == Some(who.clone()) => Ok(()),
            _ => Err(origin),
        }
    }
}

impl<T: Config> SessionManager<T::AccountId> for Pallet<T> {
    /// The list, without those that have taken back their keys; `None` when nothing changes and no new
    /// set of voters is due.
    fn new_session(index: u32) -> Option<alloc::vec::Vec<T::AccountId>> {
        let wanted: alloc::vec::Vec<_> = Authorities::<T>::get().into_iter().filter(Self::has_keys).collect();
        let due = index.checked_rem(SET_SESSIONS) == Some(FIRST_SET);
        let changed = wanted != pallet_session::Validators::<T>::get();
        (!wanted.is_empty() && (due || changed)).then_some(wanted)
    }

    fn start_session(_: u32) {}

    fn end_session(_: u32) {}
}

impl<T: Config> ShouldEndSession<BlockNumberFor<T>> for Pallet<T> {
    fn should_end_session(now: BlockNumberFor<T>) -> bool {
        now.saturated_into::<u32>().checked_rem(SessionBlocks::<T>::get()) == Some(0)
    }
}

impl<T: Config> EstimateNextSessionRotation<BlockNumberFor<T>> for Pallet<T> {
    fn average_session_length() -> BlockNumberFor<T> {
        SessionBlocks::<T>::get().into()
    }

    fn estimate_current_session_progress(
        now: BlockNumberFor<T>,
    ) -> (Option<Permill>, polkadot_sdk::frame_support::weights::Weight) {
        let length = SessionBlocks::<T>::get();
        let done = now.saturated_into::<u32>().checked_rem(length).unwrap_or(0);
        (Some(Permill::from_rational(done, length)), T::DbWeight::get().reads(1))
    }

    fn estimate_next_session_rotation(
        now: BlockNumberFor<T>,
    ) -> (Option<BlockNumberFor<T>>, polkadot_sdk::frame_support::weights::Weight) {
        let length = SessionBlocks::<T>::get();
        let now: u32 = now.unique_saturated_into();
        let next = now.checked_next_multiple_of(length).filter(|next| !next.is_zero());
        (next.map(Into::into), T::DbWeight::get().reads(1))
    }
}
