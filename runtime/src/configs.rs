//! Configuration of each pallet; every constant with its reason.

use iota_protocol::deterrence::LEAST_AUDIT_PPM;
use iota_protocol::price::PriceParams;
use polkadot_sdk::{
    frame_support::{
        derive_impl,
        migrations::{EnterSafeModeOnFailedMigration, FreezeChainOnFailedMigration},
        parameter_types,
        traits::{ConstBool, ConstU128, ConstU32, ConstU64, ConstU8, InsideBoth, VariantCountOf},
        weights::{
            constants::{ParityDbWeight, WEIGHT_REF_TIME_PER_MILLIS},
            ConstantMultiplier, Weight,
        },
        PalletId,
    },
    frame_system::{
        self,
        limits::{BlockLength, BlockWeights},
        EnsureWithSuccess,
    },
    pallet_aura, pallet_balances, pallet_grandpa, pallet_migrations, pallet_multisig, pallet_proxy,
    pallet_safe_mode, pallet_session, pallet_skip_feeless_payment, pallet_timestamp,
    pallet_transaction_payment::{self, ConstFeeMultiplier, FungibleAdapter, Multiplier},
    pallet_utility,
    sp_consensus_aura::sr25519::AuthorityId as AuraId,
    sp_core,
    sp_runtime::{
        traits::{BlakeTwo256, ConvertInto, One, OpaqueKeys},
        Perbill,
    },
    sp_version::RuntimeVersion,
};

use crate::{
    faucet,
    fees::{ToAuthor, ToTreasury, WeightFee},
    filters::{LongEpochs, ProxyType, SafeModeCalls},
    governance::{self, EnsureAdmin},
    migrations, AccountId, Aura, Balance, Balances, Block, BlockNumber, Governance, Hash, Migrations, Nonce,
    PalletInfo, Runtime, RuntimeCall, RuntimeEvent, RuntimeFreezeReason, RuntimeHoldReason, RuntimeOrigin,
    RuntimeTask, SafeMode, SessionKeys, System, SLOT_DURATION, UNIT, VERSION,
};

/// Share of a block for ordinary transactions; the rest is for hooks, above all `Close`.
const NORMAL_RATIO: Perbill = Perbill::from_percent(75);
/// Compute of one block: half of a slot, so that authoring and import both fit into it.
const BLOCK_COMPUTE: Weight =
    Weight::from_parts(SLOT_DURATION.saturating_div(2).saturating_mul(WEIGHT_REF_TIME_PER_MILLIS), u64::MAX);
/// Most authorities: GRANDPA's votes grow with their square, and 32 finalize within a block's time.
const MAX_AUTHORITIES: u32 = 32;
/// Price of storing one byte for as long as its owner likes: a kilobyte for a tenth of a token.
const BYTE_DEPOSIT: Balance = UNIT / 10_000;
/// Price of a storage item, whose key and trie nodes take about as much as a kilobyte.
const ITEM_DEPOSIT: Balance = UNIT / 10;
/// Safe mode lasts a day at most before the admin has to think again; blocks.
const SAFE_MODE_BLOCKS: BlockNumber = 86_400;
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
    pub const FaucetId: PalletId = PalletId(*b"iota/fct");
    pub const SafeModeDuration: BlockNumber = SAFE_MODE_BLOCKS;
    /// Nobody but the admin enters or extends safe mode.
    pub const NoDeposit: Option<Balance> = None;
    pub const NoRelease: Option<BlockNumber> = None;
    /// Half of a block: transactions go on while a migration runs through many blocks.
    pub MigrationWeight: Weight = Perbill::from_percent(50) * BLOCK_COMPUTE;
    // An hour halves the price, so that a rush is over within a day; a twentieth for each
    // registration lets a dozen join at once for less than twice the price and a hundred not.
    pub const RegistrationPricing: PriceParams =
        PriceParams { min: UNIT / 10, max: 1_000 * UNIT, half_life: 3_600, bump_ppm: 1_050_000 };
}

#[derive_impl(frame_system::config_preludes::SolochainDefaultConfig)]
impl frame_system::Config for Runtime {
    type AccountId = AccountId;
    type AccountData = pallet_balances::AccountData<Balance>;
    type BaseCallFilter = InsideBoth<SafeMode, LongEpochs>;
    type Block = Block;
    // Seeds and mortal transactions look back over hours, not minutes.
    type BlockHashCount = ConstU32<4_800>;
    type BlockLength = Length;
    type BlockWeights = Weights;
    type DbWeight = ParityDbWeight;
    type Hash = Hash;
    type MultiBlockMigrator = Migrations;
    type Nonce = Nonce;
    type SingleBlockMigrations = migrations::SingleBlock;
    // 42: the generic prefix, until one is registered.
    type SS58Prefix = polkadot_sdk::frame_support::traits::ConstU16<42>;
    type Version = Version;
}

impl pallet_timestamp::Config for Runtime {
    type Moment = u64;
    type OnTimestampSet = Aura;
    // Half a slot: Aura checks the slot itself.
    type MinimumPeriod = ConstU64<{ SLOT_DURATION / 2 }>;
    type WeightInfo = pallet_timestamp::weights::SubstrateWeight<Runtime>;
}

impl pallet_aura::Config for Runtime {
    type AuthorityId = AuraId;
    type DisabledValidators = ();
    type MaxAuthorities = ConstU32<MAX_AUTHORITIES>;
    type AllowMultipleBlocksPerSlot = ConstBool<false>;
    type SlotDuration = ConstU64<SLOT_DURATION>;
}

impl pallet_grandpa::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = ();
    type MaxAuthorities = ConstU32<MAX_AUTHORITIES>;
    type MaxNominators = ConstU32<0>;
    type MaxSetIdSessionEntries = ConstU64<0>;
    // Authorities hold no stake: there is nothing to prove or slash.
    type KeyOwnerProof = sp_core::Void;
    type EquivocationReportSystem = ();
}

impl pallet_session::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type ValidatorId = AccountId;
    // Anybody may set keys for a deposit; the admin's list decides whose are used.
    type ValidatorIdOf = ConvertInto;
    type ShouldEndSession = Governance;
    type NextSessionRotation = Governance;
    type SessionManager = Governance;
    type SessionHandler = <SessionKeys as OpaqueKeys>::KeyTypeIdProviders;
    type Keys = SessionKeys;
    type DisablingStrategy = ();
    type WeightInfo = pallet_session::weights::SubstrateWeight<Runtime>;
    type Currency = Balances;
    // Four items: keys, both owners, the hold.
    type KeyDeposit = ConstU128<{ 4 * ITEM_DEPOSIT }>;
}

impl governance::Config for Runtime {
    type MaxAuthorities = ConstU32<MAX_AUTHORITIES>;
    type WeightInfo = crate::weights::Measured<Runtime>;
}

impl pallet_multisig::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type Currency = Balances;
    // One item of 88 bytes, and 32 more for each approval.
    type DepositBase = ConstU128<{ ITEM_DEPOSIT + 88 * BYTE_DEPOSIT }>;
    type DepositFactor = ConstU128<{ 32 * BYTE_DEPOSIT }>;
    // As many as there can be authorities.
    type MaxSignatories = ConstU32<MAX_AUTHORITIES>;
    type WeightInfo = pallet_multisig::weights::SubstrateWeight<Runtime>;
    type BlockNumberProvider = System;
}

impl pallet_proxy::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type Currency = Balances;
    type ProxyType = ProxyType;
    // One item with 16 bytes of its own, and 37 for each proxy.
    type ProxyDepositBase = ConstU128<{ ITEM_DEPOSIT + 16 * BYTE_DEPOSIT }>;
    type ProxyDepositFactor = ConstU128<{ 37 * BYTE_DEPOSIT }>;
    // A machine for each stage of a small run, and as many announcements.
    type MaxProxies = ConstU32<32>;
    type WeightInfo = pallet_proxy::weights::SubstrateWeight<Runtime>;
    type MaxPending = ConstU32<32>;
    type CallHasher = BlakeTwo256;
    type AnnouncementDepositBase = ConstU128<{ ITEM_DEPOSIT + 16 * BYTE_DEPOSIT }>;
    type AnnouncementDepositFactor = ConstU128<{ 68 * BYTE_DEPOSIT }>;
    type BlockNumberProvider = System;
}

impl pallet_safe_mode::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type WhitelistedCalls = SafeModeCalls;
    type EnterDuration = SafeModeDuration;
    type ExtendDuration = SafeModeDuration;
    type EnterDepositAmount = NoDeposit;
    type ExtendDepositAmount = NoDeposit;
    type ForceEnterOrigin = EnsureWithSuccess<EnsureAdmin<Runtime>, AccountId, SafeModeDuration>;
    type ForceExtendOrigin = EnsureWithSuccess<EnsureAdmin<Runtime>, AccountId, SafeModeDuration>;
    type ForceExitOrigin = EnsureAdmin<Runtime>;
    type ForceDepositOrigin = EnsureAdmin<Runtime>;
    type Notify = ();
    type ReleaseDelay = NoRelease;
    type WeightInfo = pallet_safe_mode::weights::SubstrateWeight<Runtime>;
}

impl pallet_migrations::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    // None yet; the pallet is here so that the version that needs one can rely on it.
    type Migrations = ();
    // A storage key of ours has less than 100 bytes.
    type CursorMaxLen = ConstU32<1_024>;
    type IdentifierMaxLen = ConstU32<256>;
    type MigrationStatusHandler = ();
    // Half-migrated money does not move; the admin repairs it. Without safe mode the chain stops.
    type FailedMigrationHandler = EnterSafeModeOnFailedMigration<SafeMode, FreezeChainOnFailedMigration>;
    type MaxServiceWeight = MigrationWeight;
    type WeightInfo = pallet_migrations::weights::SubstrateWeight<Runtime>;
}

impl faucet::Config for Runtime {
    type Currency = Balances;
    type AdminOrigin = EnsureAdmin<Runtime>;
    type FaucetId = FaucetId;
    type WeightInfo = crate::weights::Measured<Runtime>;
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
    type WeightInfo = pallet_transaction_payment::weights::SubstrateWeight<Runtime>;
}

impl pallet_skip_feeless_payment::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
}

impl pallet_utility::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type PalletsOrigin = crate::OriginCaller;
    type WeightInfo = pallet_utility::weights::SubstrateWeight<Runtime>;
}

impl pallet_iota::Config for Runtime {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type AdminOrigin = EnsureAdmin<Runtime>;
    type PotId = PotId;
    type TreasuryId = TreasuryId;
    // One token: an epoch of the first halving pays a hundred, so joining pays back soon and
    // registering by the thousand does not.
    type InitialRegistrationPrice = ConstU128<UNIT>;
    type RegistrationPricing = RegistrationPricing;
    // With one miner in eight audited each epoch, being caught costs nine epochs' pay for one gained.
    type VestEpochs = ConstU32<16>;
    type MinAuditRate = ConstU32<LEAST_AUDIT_PPM>;
    // Two hours: four epochs of half an hour, one more than it takes to be paid.
    type ImmunityPeriod = ConstU32<7_200>;
    // Four hours: an epoch, its scoring and time to contest it, several times over.
    type UnbondDelay = ConstU32<14_400>;
    // One miss may be an outage and two a long one; three void epochs are a short standstill.
    type MaxMissedReveals = ConstU8<3>;
    // A day: a key is lost or stolen rarely, and each change costs an endpoint for some blocks.
    type SwapCooldown = ConstU32<86_400>;
    // Five days in which an owner can notice a change that it did not mean.
    type ColdkeyDelay = ConstU32<432_000>;
    // A hundred tokens: one epoch's whole emission.
    type MinValidatorBond = ConstU128<{ 100 * UNIT }>;
    type MaxRuns = ConstU32<4>;
    // Ten tokens, a tenth of the least bond: a wrong accusation hurts, a right one costs nothing.
    type AccusationDeposit = ConstU128<{ 10 * UNIT }>;
    // A thousand tokens, ten epochs' whole emission: there is room for few runs.
    type RunDeposit = ConstU128<{ 1_000 * UNIT }>;
    type EpochHistory = ConstU32<64>;
    type HistoryDepth = ConstU32<3>;
    // A week in which anybody can still read and index how a run ended.
    type EndedRetention = ConstU32<604_800>;
    type WeightInfo = crate::weights::Measured<Runtime>;
}
