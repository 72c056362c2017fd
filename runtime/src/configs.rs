//! Configuration of each pallet; every constant with its reason.

use polkadot_sdk::{
    frame_support::{
        derive_impl, parameter_types,
        traits::{ConstBool, ConstU128, ConstU32, ConstU64, ConstU8, VariantCountOf},
        weights::{
            constants::{ParityDbWeight, WEIGHT_REF_TIME_PER_MILLIS},
            ConstantMultiplier, Weight,
        },
        PalletId,
    },
    frame_system::{
        self,
        limits::{BlockLength, BlockWeights},
        EnsureRoot,
    },
    pallet_aura, pallet_balances, pallet_grandpa, pallet_skip_feeless_payment, pallet_timestamp,
    pallet_transaction_payment::{self, ConstFeeMultiplier, FungibleAdapter, Multiplier},
    pallet_utility,
    sp_consensus_aura::sr25519::AuthorityId as AuraId,
    sp_core,
    sp_runtime::{traits::One, Perbill},
    sp_version::RuntimeVersion,
};

use crate::{
    fees::{ToAuthor, ToTreasury, WeightFee},
    AccountId, Aura, Balance, Balances, Block, Hash, Nonce, PalletInfo, Runtime, RuntimeCall, RuntimeEvent,
    RuntimeFreezeReason, RuntimeHoldReason, RuntimeOrigin, RuntimeTask, System, SLOT_DURATION, UNIT, VERSION,
};

/// Share of a block for ordinary transactions; the rest is for hooks, above all `Close`.
const NORMAL_RATIO: Perbill = Perbill::from_percent(75);
/// Compute of one block: half of a slot, so that authoring and import both fit into it.
const BLOCK_COMPUTE: Weight =
    Weight::from_parts(SLOT_DURATION.saturating_div(2).saturating_mul(WEIGHT_REF_TIME_PER_MILLIS), u64::MAX);
/// Bytes of one block: a reveal of 256 scores takes 2 KiB, so all validators fit many times over.
const BLOCK_BYTES: u32 = 5 * 1024 * 1024;

parameter_types! {
    pub const Version: RuntimeVersion = VERSION;
    pub Weights: BlockWeights = BlockWeights::with_sensible_defaults(BLOCK_COMPUTE, NORMAL_RATIO);
    pub Length: BlockLength = BlockLength::builder()
        .max_length(BLOCK_BYTES)
        .modify_max_length_for_class(polkadot_sdk::frame_support::dispatch::DispatchClass::Normal, |m| {
            *m = NORMAL_RATIO * BLOCK_BYTES
        })
        .build();
    pub FeeMultiplier: Multiplier = Multiplier::one();
    pub const PotId: PalletId = PalletId(*b"iota/pot");
    pub const TreasuryId: PalletId = PalletId(*b"iota/tsy");
}

#[derive_impl(frame_system::config_preludes::SolochainDefaultConfig)]
impl frame_system::Config for Runtime {
    type AccountId = AccountId;
    type AccountData = pallet_balances::AccountData<Balance>;
    type Block = Block;
    // Seeds and mortal transactions look back over hours, not minutes.
    type BlockHashCount = ConstU32<4_800>;
    type BlockLength = Length;
    type BlockWeights = Weights;
    type DbWeight = ParityDbWeight;
    type Hash = Hash;
    type Nonce = Nonce;
    // 42: the generic prefix, until one is registered.
    type SS58Prefix = polkadot_sdk::frame_support::traits::ConstU16<42>;
    type Version = Version;
}

impl pallet_timestamp::Config for Runtime {
    type Moment = u64;
    type OnTimestampSet = Aura;
    // Half a slot: Aura checks the slot itself.
    type MinimumPeriod = ConstU64<{ SLOT_DURATION / 2 }>;
    type WeightInfo = ();
}

impl pallet_aura::Config for Runtime {
    type AuthorityId = AuraId;
    type DisabledValidators = ();
    // Finality of three authorities is quick; 32 leave room without a vote.
    type MaxAuthorities = ConstU32<32>;
    type AllowMultipleBlocksPerSlot = ConstBool<false>;
    type SlotDuration = ConstU64<SLOT_DURATION>;
}

impl pallet_grandpa::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = ();
    type MaxAuthorities = ConstU32<32>;
    type MaxNominators = ConstU32<0>;
    type MaxSetIdSessionEntries = ConstU64<0>;
    // Authorities are fixed and hold no stake: there is nothing to prove or slash.
    type KeyOwnerProof = sp_core::Void;
    type EquivocationReportSystem = ();
}

impl pallet_balances::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeHoldReason = RuntimeHoldReason;
    type RuntimeFreezeReason = RuntimeFreezeReason;
    type Balance = Balance;
    type DustRemoval = ToTreasury;
    // A thousandth of a token: accounts are cheap, dust is not worth keeping.
    type ExistentialDeposit = ConstU128<{ UNIT / 1_000 }>;
    type AccountStore = System;
    type WeightInfo = pallet_balances::weights::SubstrateWeight<Runtime>;
    // Bonds are holds; nothing locks or reserves.
    type MaxLocks = ConstU32<0>;
    type MaxReserves = ConstU32<0>;
    type ReserveIdentifier = [u8; 8];
    type FreezeIdentifier = RuntimeFreezeReason;
    type MaxFreezes = VariantCountOf<RuntimeFreezeReason>;
    type DoneSlashHandler = ();
}

impl pallet_transaction_payment::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type OnChargeTransaction = FungibleAdapter<Balances, ToAuthor>;
    // Operational transactions outbid ordinary ones five times, the usual factor.
    type OperationalFeeMultiplier = ConstU8<5>;
    type WeightToFee = WeightFee;
    // A millionth of a token per byte: a row of 2 KiB costs 0.002.
    type LengthToFee = ConstantMultiplier<Balance, ConstU128<{ UNIT / 1_000_000 }>>;
    type FeeMultiplierUpdate = ConstFeeMultiplier<FeeMultiplier>;
    type WeightInfo = ();
}

impl pallet_skip_feeless_payment::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
}

impl pallet_utility::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type PalletsOrigin = crate::OriginCaller;
    type WeightInfo = ();
}

impl pallet_iota::Config for Runtime {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    // Nobody holds root: runs are made at genesis until there is governance.
    type AdminOrigin = EnsureRoot<AccountId>;
    type PotId = PotId;
    type TreasuryId = TreasuryId;
    // One token: an epoch of the first halving pays a hundred, so joining pays back soon and
    // registering by the thousand does not.
    type InitialRegistrationPrice = ConstU128<UNIT>;
    // A hundred tokens: one epoch's whole emission.
    type MinValidatorBond = ConstU128<{ 100 * UNIT }>;
    type MaxRuns = ConstU32<4>;
    type EpochHistory = ConstU32<64>;
    type HistoryDepth = ConstU32<3>;
}
