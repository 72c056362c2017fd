//! A faucet for test networks: an account that has nothing asks for its first tokens.
//!
//! A request is a transaction without signature, fee and nonce. Proof of work makes asking cost
//! something, and three limits bound what leaves: one drip for each account and cool-down, so many in
//! a block, and what the faucet's account holds. It mints nothing. A chain whose genesis sets no terms
//! has no faucet, and only the admin can give it one.

use codec::Encode;
use iota_protocol::ids::Hash as Hash32;
use polkadot_sdk::{
    frame_support::{
        traits::{
            fungible::{Inspect, Mutate},
            tokens::Preservation,
            Get,
        },
        weights::Weight,
    },
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_io::hashing::blake2_256,
    sp_runtime::{
        traits::{AccountIdConversion, SaturatedConversion, Zero},
        transaction_validity::{InvalidTransaction, TransactionValidityError, ValidTransaction},
        AccountId32, DispatchResult,
    },
};

pub use pallet::*;

/// What the calls cost; `scripts/weights` measures it.
pub trait WeightInfo {
    /// What the pool and the block ask about a request before it runs.
    fn authorize_drip() -> Weight;
    fn drip() -> Weight;
    fn set_terms() -> Weight;
}

/// Blocks for which a request stays in the pool: a minute, after which its sender tries again.
const LONGEVITY: u64 = 60;

/// What the work of a request is the hash of, for this account and nonce. `last` is the block of the
/// account's last drip, 0 before the first: work is worth one drip.
#[must_use]
pub fn work_hash(genesis: &Hash32, to: &AccountId32, last: u32, nonce: u64) -> [u8; 32] {
    blake2_256(&(b"iota-faucet", genesis, to, last, nonce).encode())
}

/// Zero bits that a hash begins with.
#[must_use]
pub fn zero_bits(hash: &[u8; 32]) -> u32 {
    let whole = hash.iter().take_while(|byte| **byte == 0).count();
    let rest = hash.get(whole).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(whole).unwrap_or(32).saturating_mul(8).saturating_add(rest)
}

#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use polkadot_sdk::{
        frame_support::{
            self,
            pallet_prelude::*,
            traits::{
                fungible::{Inspect, Mutate},
                EnsureOrigin,
            },
            PalletId,
        },
        frame_system::{ensure_authorized, pallet_prelude::*},
        sp_runtime::AccountId32,
    };

    use super::WeightInfo;

    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config<AccountId = AccountId32> {
        /// The token.
        type Currency: Inspect<AccountId32, Balance = u128> + Mutate<AccountId32>;
        /// May change the terms.
        type AdminOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Names the account that drips come from; anybody may fill it.
        #[pallet::constant]
        type FaucetId: Get<PalletId>;
        /// What the calls cost.
        type WeightInfo: WeightInfo;
    }

    /// What the faucet gives, and how often.
    #[derive(
        Clone,
        PartialEq,
        Eq,
        Debug,
        Encode,
        Decode,
        DecodeWithMemTracking,
        MaxEncodedLen,
        TypeInfo,
        serde::Serialize,
        serde::Deserialize,
    )]
    #[serde(deny_unknown_fields)]
    pub struct Terms {
        /// One drip, smallest units.
        pub drip: u128,
        /// Blocks between two drips to one account.
        pub cooldown: u32,
        /// Most drips in a block.
        pub per_block: u32,
        /// Zero bits of a request's work: each doubles the hashes, about a million a second.
        pub difficulty: u32,
    }

    /// The terms; without them there is no faucet.
    #[pallet::storage]
    pub type CurrentTerms<T> = StorageValue<_, Terms>;

    /// Block of each account's last drip.
    // Blake2: accounts are chosen by users. Unbounded, but each entry cost the faucet a drip.
    #[pallet::storage]
    pub type LastDrip<T> = StorageMap<_, Blake2_128Concat, AccountId32, u32, ValueQuery>;

    /// The block of the last drip, and how many there were in it.
    #[pallet::storage]
    pub type DripsInBlock<T> = StorageValue<_, (u32, u32), ValueQuery>;

    /// The terms at genesis.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Absent on every network whose token has a value.
        pub terms: Option<Terms>,
        /// Ties the configuration to the runtime.
        #[serde(skip)]
        pub marker: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            CurrentTerms::<T>::set(self.terms.clone());
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An account got a drip.
        Dripped { to: AccountId32, amount: u128 },
        /// The terms are these now.
        TermsSet { terms: Option<Terms> },
    }

    /// Why a request was refused.
    #[pallet::error]
    #[derive(PartialEq, Eq)]
    pub enum Error<T> {
        /// This chain has no faucet.
        Closed,
        /// The account had its drip; the cool-down is not over.
        TooSoon,
        /// As many drips left in this block as may; try the next.
        BlockFull,
        /// The work has fewer zero bits than the terms ask, or is for another account or chain.
        TooLittleWork,
        /// The faucet holds less than a drip; somebody has to fill it.
        Empty,
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Gives `to` a drip. Sent without signature; `nonce` is the proof of work
        /// ([`crate::faucet::work_hash`]).
        ///
        /// # Errors
        /// `Closed`, `TooSoon`, `BlockFull`, `TooLittleWork`, `Empty`; the pool refuses such a request
        /// before it gets into a block.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::drip())]
        #[pallet::authorize(|_source, to: &AccountId32, nonce: &u64| Pallet::<T>::authorize_drip(to, *nonce))]
        #[pallet::weight_of_authorize(T::WeightInfo::authorize_drip())]
        pub fn drip(origin: OriginFor<T>, to: AccountId32, nonce: u64) -> DispatchResult {
            ensure_authorized(origin)?;
            Self::do_drip(&to, nonce)
        }

        /// Changes the terms, or closes the faucet.
        ///
        /// # Errors
        /// `BadOrigin`.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::set_terms())]
        pub fn set_terms(origin: OriginFor<T>, terms: Option<Terms>) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            CurrentTerms::<T>::set(terms.clone());
            Self::deposit_event(Event::TermsSet { terms });
            Ok(())
        }
    }
}

impl<T: Config> Pallet<T> {
    /// The account that drips come from.
    #[must_use]
    pub fn account() -> AccountId32 {
        T::FaucetId::get().into_account_truncating()
    }

    fn now() -> u32 {
        frame_system::Pallet::<T>::block_number().saturated_into()
    }

    fn drips_in_this_block() -> u32 {
        let (block, drips) = DripsInBlock::<T>::get();
        if block == Self::now() {
            drips
        } else {
            0
        }
    }

    fn genesis_hash() -> Hash32 {
        let genesis = frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero());
        let mut bytes = [0u8; 32];
        bytes.iter_mut().zip(genesis.as_ref()).for_each(|(to, from)| *to = *from);
        Hash32(bytes)
    }

    /// What a drip would pay now.
    fn check_drip(to: &AccountId32, nonce: u64) -> Result<u128, Error<T>> {
        let terms = CurrentTerms::<T>::get().ok_or(Error::Closed)?;
        let last = LastDrip::<T>::get(to);
        if last != 0 && Self::now() < last.saturating_add(terms.cooldown) {
            return Err(Error::TooSoon);
        }
        if zero_bits(&work_hash(&Self::genesis_hash(), to, last, nonce)) < terms.difficulty {
            return Err(Error::TooLittleWork);
        }
        if Self::drips_in_this_block() >= terms.per_block {
            return Err(Error::BlockFull);
        }
        // The faucet's account lives on, so that an empty one can be filled by the smallest amount.
        let least = terms.drip.saturating_add(T::Currency::minimum_balance());
        if T::Currency::balance(&Self::account()) < least {
            return Err(Error::Empty);
        }
        Ok(terms.drip)
    }

    fn authorize_drip(
        to: &AccountId32,
        nonce: u64,
    ) -> Result<(ValidTransaction, polkadot_sdk::frame_support::weights::Weight), TransactionValidityError>
    {
        let refused = |error| match error {
            Error::<T>::TooLittleWork => InvalidTransaction::BadProof,
            Error::<T>::BlockFull => InvalidTransaction::ExhaustsResources,
            Error::<T>::Empty => InvalidTransaction::Payment,
            _ => InvalidTransaction::Stale,
        };
        Self::check_drip(to, nonce).map_err(refused)?;
        let validity = ValidTransaction {
            // Behind everything that is paid for.
            priority: 0,
            provides: alloc::vec![(b"iota-faucet", to).encode()],
            longevity: LONGEVITY,
            ..ValidTransaction::default()
        };
        Ok((validity, Default::default()))
    }

    fn do_drip(to: &AccountId32, nonce: u64) -> DispatchResult {
        let amount = Self::check_drip(to, nonce)?;
        T::Currency::transfer(&Self::account(), to, amount, Preservation::Preserve)?;
        LastDrip::<T>::insert(to, Self::now());
        DripsInBlock::<T>::put((Self::now(), Self::drips_in_this_block().saturating_add(1)));
        Self::deposit_event(Event::Dripped { to: to.clone(), amount });
        Ok(())
    }
}
