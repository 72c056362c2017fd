//! What a runtime has to bring: types, accounts, amounts and delays.
//!
//! A section of the pallet: `lib.rs` imports it, and names what it uses.

use polkadot_sdk::frame_support::pallet_macros::pallet_section;

#[pallet_section]
mod config {
    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config<AccountId = AccountId32> {
        /// The token: the one source of issuance.
        type Currency: Inspect<AccountId32, Balance = u128>
            + Mutate<AccountId32>
            + Balanced<AccountId32>
            + InspectHold<AccountId32, Reason = Self::RuntimeHoldReason>
            + MutateHold<AccountId32>;
        /// Reasons for holds of the whole runtime.
        type RuntimeHoldReason: From<HoldReason>;
        /// May start a run.
        type AdminOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Names the account that holds rewards until they are claimed.
        #[pallet::constant]
        type PotId: Get<PalletId>;
        /// Names the account that takes remainders and unattributed shares.
        #[pallet::constant]
        type TreasuryId: Get<PalletId>;
        /// Price of a registration at genesis, smallest units.
        #[pallet::constant]
        type InitialRegistrationPrice: Get<u128>;
        /// How the price of a registration moves.
        #[pallet::constant]
        type RegistrationPricing: Get<PriceParams>;
        /// Epochs over which a miner's pay vests, 1 to `iota_protocol::vesting::MAX_VEST`.
        #[pallet::constant]
        type VestEpochs: Get<u32>;
        /// Least probability, in millionths, with which a miner is audited in an epoch: what the
        /// number of validators and miners has to give for `VestEpochs` to deter.
        #[pallet::constant]
        type MinAuditRate: Get<u32>;
        /// Blocks after taking its seat in which nobody can take it from a member; longer than the
        /// time until a newcomer's first pay: the rest of an epoch, one of work, one of scoring.
        #[pallet::constant]
        type ImmunityPeriod: Get<u32>;
        /// Blocks for which what was unbonded stays on hold.
        #[pallet::constant]
        type UnbondDelay: Get<u32>;
        /// Scored epochs in a row without a reveal after which a validator loses its permit.
        #[pallet::constant]
        type MaxMissedReveals: Get<u8>;
        /// Blocks between two changes of one member's hotkey.
        #[pallet::constant]
        type SwapCooldown: Get<u32>;
        /// Blocks between the announcement of a change of coldkey and the change.
        #[pallet::constant]
        type ColdkeyDelay: Get<u32>;
        /// Least bond of a validator, smallest units.
        #[pallet::constant]
        type MinValidatorBond: Get<u128>;
        /// Most runs that have not ended; each costs reads in every block.
        #[pallet::constant]
        type MaxRuns: Get<u32>;
        // Verdicts and runs.
        /// What an accusation puts on hold out of the accuser's bond, smallest units.
        #[pallet::constant]
        type AccusationDeposit: Get<u128>;
        /// What a run made by anybody puts on hold on its maker until it ends, smallest units.
        #[pallet::constant]
        type RunDeposit: Get<u128>;
        /// Reports and payout tables kept for each run, in epochs.
        #[pallet::constant]
        type EpochHistory: Get<u32>;
        /// Commits, merges, snapshots and scores kept for each run, in epochs.
        #[pallet::constant]
        type HistoryDepth: Get<u32>;
        /// Blocks for which the state of a run that ended stays as it is, to be read and audited.
        #[pallet::constant]
        type EndedRetention: Get<u32>;
        /// What calls and hooks cost.
        type WeightInfo: WeightInfo;
    }

    /// Why funds are on hold.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// The bond of a validator.
        Bond,
        /// What a newcomer has to lose before it was paid.
        Entry,
        /// The deposit behind an accusation.
        Accusation,
        /// The deposit behind a run.
        Run,
    }
}
