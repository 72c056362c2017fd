//! A chain of three pallets, keys of members, and the moves that tests are written in.

use codec::Encode;
use iota_protocol::{
    hash::{register_payload, serve_payload},
    ids::{Epoch, Hash, RunId, Stage, Uid},
    params::{
        DataParams, MergeParams, ModelParams, PhaseParams, RunParams, StageParams, TrainParams, WireCodec,
        MAX_MEMBERS,
    },
    phase::{Phase, Schedule},
    price::PriceParams,
    shard::Shards as ShardMap,
    work::{
        blind_hash, scores_hash, Bitmap, Endpoint, Role, ScoreEntry, ScoreReveal, ShardHashes, WorkCommit,
    },
};
use polkadot_sdk::{
    frame_support::{
        self, assert_ok, derive_impl,
        pallet_prelude::DispatchResult,
        parameter_types,
        traits::{ConstU128, ConstU32, ConstU8, Hooks},
        weights::{constants::WEIGHT_REF_TIME_PER_SECOND, Weight},
        PalletId,
    },
    frame_system::{self, limits::BlockWeights, EnsureRoot},
    pallet_balances,
    sp_core::{ed25519, sr25519, Pair, H256},
    sp_io,
    sp_keystore::{testing::MemoryKeystore, KeystoreExt},
    sp_runtime::{traits::IdentityLookup, AccountId32, BuildStorage},
};

pub use crate::bare::{bare, Bare};
use crate::{
    pallet::{Clocks, Members, Merges, Runs, Snapshots},
    types::{key, Clock, Member},
};

pub const RUN: RunId = RunId(0);
pub const ED: u128 = 10;
pub const PRICE: u128 = 1_000;
pub const MIN_BOND: u128 = 5_000;
/// Behind an accusation.
pub const DEPOSIT: u128 = 500;
/// Behind a run.
pub const RUN_DEPOSIT: u128 = 70_000;
pub const RICH: u128 = 1_000_000;
pub const VEST: u32 = 4;
pub const UNBOND_DELAY: u32 = 20;
pub const SWAP_COOLDOWN: u32 = 90;
pub const COLDKEY_DELAY: u32 = 40;
pub const RETENTION: u32 = 400;

#[frame_support::runtime]
mod runtime {
    #[runtime::runtime]
    #[runtime::derive(
        RuntimeCall,
        RuntimeEvent,
        RuntimeError,
        RuntimeOrigin,
        RuntimeFreezeReason,
        RuntimeHoldReason,
        RuntimeSlashReason,
        RuntimeLockId,
        RuntimeTask
    )]
    pub struct Test;

    #[runtime::pallet_index(0)]
    pub type System = frame_system;
    #[runtime::pallet_index(1)]
    pub type Balances = pallet_balances;
    #[runtime::pallet_index(2)]
    pub type Iota = crate;
}

parameter_types! {
    pub const PotId: PalletId = PalletId(*b"iota/pot");
    pub const TreasuryId: PalletId = PalletId(*b"iota/tsy");
    // Never below the price at genesis, so that most tests need not count blocks.
    pub const RegistrationPricing: PriceParams =
        PriceParams { min: PRICE, max: 5 * PRICE, half_life: 100, bump_ppm: 1_260_000 };
    /// Compute of a block, picoseconds; tests may set another.
    pub static BlockCompute: u64 = WEIGHT_REF_TIME_PER_SECOND;
    pub BlockWeight: BlockWeights = BlockWeights::simple_max(Weight::from_parts(BlockCompute::get(), u64::MAX));
    /// The existential deposit; tests may set another before the chain begins.
    pub static ExistentialDeposit: u128 = ED;
}

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type AccountData = pallet_balances::AccountData<u128>;
    type AccountId = AccountId32;
    type BlockWeights = BlockWeight;
    type Block = frame_system::mocking::MockBlockU32<Test>;
    // That of the runtime, so that weights mean something here.
    type DbWeight = frame_support::weights::constants::ParityDbWeight;
    type Lookup = IdentityLookup<AccountId32>;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type AccountStore = System;
    type Balance = u128;
    type ExistentialDeposit = ExistentialDeposit;
}

impl crate::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type AdminOrigin = EnsureRoot<AccountId32>;
    type PotId = PotId;
    type TreasuryId = TreasuryId;
    type InitialRegistrationPrice = ConstU128<PRICE>;
    type RegistrationPricing = RegistrationPricing;
    type VestEpochs = ConstU32<VEST>;
    type MinAuditRate = ConstU32<400_000>;
    type ImmunityPeriod = ConstU32<30>;
    type UnbondDelay = ConstU32<UNBOND_DELAY>;
    type MaxMissedReveals = ConstU8<2>;
    type SwapCooldown = ConstU32<SWAP_COOLDOWN>;
    type ColdkeyDelay = ConstU32<COLDKEY_DELAY>;
    type MinValidatorBond = ConstU128<MIN_BOND>;
    type MaxRuns = ConstU32<2>;
    type AccusationDeposit = ConstU128<DEPOSIT>;
    type RunDeposit = ConstU128<RUN_DEPOSIT>;
    type EpochHistory = ConstU32<4>;
    type HistoryDepth = ConstU32<3>;
    type EndedRetention = ConstU32<RETENTION>;
    type WeightInfo = ();
}

/// Two stages of four chunks each, two miners per stage, two training epochs.
pub fn params() -> RunParams {
    let stage = |first_layer| StageParams { first_layer, layers: 1, parameters: 250, share_ppm: 500_000 };
    RunParams {
        preset: b"test".to_vec().try_into().unwrap(),
        seed: 7,
        model: ModelParams {
            d_model: 16,
            n_layers: 2,
            n_heads: 2,
            n_kv_heads: 1,
            d_ff: 32,
            vocab: 256,
            seq_len: 8,
            bottleneck: 4,
            rope_base: 10_000,
            zero_boundary: false,
        },
        stages: vec![stage(0), stage(1)].try_into().unwrap(),
        train: TrainParams {
            windows_per_sample: 2,
            samples_per_step: 4,
            in_flight: 2,
            lr_ppm: 1_000,
            beta1_ppm: 900_000,
            beta2_ppm: 950_000,
            weight_decay_ppm: 0,
            ramp_steps: 10,
            lr_decay_after_tokens: 1_000_000,
            keep_moments: false,
            wire: WireCodec::Int8,
            max_samples: 1_000,
        },
        merge: MergeParams {
            chunk: 64,
            exponent_min: -30,
            outer_lr_ppm: 700_000,
            momentum_start_ppm: 500_000,
            momentum_end_ppm: 900_000,
            momentum_ramp: 20,
        },
        phases: PhaseParams {
            train: 14,
            commit: 5,
            attest: 8,
            blind: 5,
            open: 5,
            root: 5,
            score_commit: 6,
            score_reveal: 6,
            margin: 1,
            max_extensions: 1,
        },
        data: DataParams { manifest_root: Hash([1; 32]), train_windows: 1_000, heldout_windows: 10 },
        start_replicas: 2,
        epochs: 2,
    }
}

/// As `with_run`, on a chain with another existential deposit.
pub fn with_deposit(deposit: u128, params: RunParams, test: impl FnOnce()) {
    ExistentialDeposit::set(deposit);
    with_run(params, test);
    ExistentialDeposit::set(ED);
}

/// Runs `test` on a chain with one run, and checks the invariants at its end.
pub fn with_run(params: RunParams, test: impl FnOnce()) {
    let balances = (0..40u8).map(|index| (coldkey(index), RICH)).collect();
    let mut storage = frame_system::GenesisConfig::<Test>::default().build_storage().unwrap();
    let tokens = pallet_balances::GenesisConfig::<Test> { balances, ..Default::default() };
    tokens.assimilate_storage(&mut storage).unwrap();
    let iota = crate::GenesisConfig::<Test> { runs: vec![params], ..Default::default() };
    iota.assimilate_storage(&mut storage).unwrap();
    sp_io::TestExternalities::new(storage).execute_with(|| {
        run_to(1);
        test();
        Iota::check_invariants().unwrap();
    });
}

/// A chain without runs that has a keystore, for benchmarks to make keys in.
pub fn for_benchmarks() -> sp_io::TestExternalities {
    let mut storage = frame_system::GenesisConfig::<Test>::default().build_storage().unwrap();
    crate::GenesisConfig::<Test>::default().assimilate_storage(&mut storage).unwrap();
    let mut externalities = sp_io::TestExternalities::new(storage);
    externalities.register_extension(KeystoreExt::new(MemoryKeystore::new()));
    externalities
}

/// As `with_run`, with two miners per stage and two validators, in the first block of epoch 0.
pub fn with_epoch(params: RunParams, test: impl FnOnce()) {
    with_run(params, || {
        start_epoch_0();
        test();
    });
}

/// Two miners per stage and two validators join, and the run starts.
pub fn start_epoch_0() {
    for index in 0..4 {
        join(index, Role::Miner);
    }
    for index in 4..6 {
        join(index, Role::Validator);
    }
    run_to(System::block_number() + 1);
    assert_eq!(clock().state, crate::types::State::Running);
}

/// The first four miners work through the current epoch, and the two validators score the one before.
pub fn whole_epoch() {
    if clock().epoch != Epoch(0) {
        score_epoch(&[4, 5]);
    }
    merge_epoch(&[0, 1, 2, 3]);
}

/// An epoch in which nobody does anything; nothing is minted at its end.
pub fn idle_epoch() {
    run_to_close();
}

/// Members of coldkey 39 take all seats that are free; they never do anything.
pub fn fill_run() {
    let owner = coldkey(39);
    enrich(39);
    for index in 0..=u8::MAX {
        if Members::<Test>::iter_prefix(RUN).count() == usize::try_from(MAX_MEMBERS).unwrap() {
            return;
        }
        let pair = pair(4, index);
        let hotkey = AccountId32::from(pair.public());
        let payload = register_payload(&Iota::genesis_hash(), RUN, &key(&owner), &key(&hotkey));
        let (proof, most) = (pair.sign(&payload.0).0, u128::MAX);
        assert_ok!(Iota::register(signed(owner.clone()), RUN, hotkey, Role::Miner, proof, most));
    }
}

/// Registers without expecting a seat at once; bare, so that a refusal shows what it wrote.
pub fn try_register(owner: u8, index: u8) -> DispatchResult {
    let owner = coldkey(owner);
    let proof = proof(&owner, index);
    Bare::register(signed(owner), RUN, hotkey(index), Role::Miner, proof, u128::MAX)
}

/// Gives a coldkey what an epoch's pay is measured in.
pub fn enrich(index: u8) {
    use frame_support::traits::fungible::Mutate;
    assert_ok!(Balances::mint_into(&coldkey(index), 1_000_000_000_000));
}

fn pair(kind: u8, index: u8) -> sr25519::Pair {
    sr25519::Pair::from_seed(&[kind, index].repeat(16).try_into().unwrap())
}

pub fn hotkey_pair(index: u8) -> sr25519::Pair {
    pair(1, index)
}

pub fn hotkey(index: u8) -> AccountId32 {
    hotkey_pair(index).public().into()
}

pub fn coldkey(index: u8) -> AccountId32 {
    pair(2, index).public().into()
}

pub fn signed(who: AccountId32) -> RuntimeOrigin {
    RuntimeOrigin::signed(who)
}

/// Runs the hooks of every block up to `block` and checks the invariants in each.
pub fn run_to(block: u32) {
    while System::block_number() < block {
        let next = System::block_number() + 1;
        let parent = H256::from_low_u64_be(u64::from(next) + 1_000_000);
        System::initialize(&next, &parent, &Default::default());
        Iota::on_initialize(next);
        Iota::on_idle(next, Weight::MAX);
        Iota::check_invariants().unwrap();
    }
}

pub fn clock() -> Clock {
    Clocks::<Test>::get(RUN).unwrap()
}

pub fn schedule() -> Schedule {
    clock().schedule(&Runs::<Test>::get(RUN).unwrap())
}

/// Runs to the first block of a window of the current epoch.
pub fn run_to_phase(phase: Phase) {
    run_to(schedule().window(phase).start);
}

/// Runs to the block of `Close`, through extensions of `Train`.
pub fn run_to_close() {
    let before = clock();
    while clock().epoch == before.epoch && clock().state == before.state {
        run_to(System::block_number() + 1);
    }
}

pub fn proof(coldkey: &AccountId32, index: u8) -> [u8; 64] {
    let payload = register_payload(&Iota::genesis_hash(), RUN, &key(coldkey), &key(&hotkey(index)));
    hotkey_pair(index).sign(&payload.0).0
}

pub fn register(index: u8, role: Role) -> Uid {
    let owner = coldkey(index);
    let proof = proof(&owner, index);
    assert_ok!(Iota::register(signed(owner), RUN, hotkey(index), role, proof, Iota::price_now()));
    uid(index)
}

pub fn uid(index: u8) -> Uid {
    crate::UidOf::<Test>::get(RUN, hotkey(index)).unwrap()
}

pub fn member(index: u8) -> Member {
    Members::<Test>::get(RUN, uid(index)).unwrap()
}

pub fn endpoint(index: u8) -> (Endpoint, [u8; 64]) {
    let peer = ed25519::Pair::from_seed(&[!index; 32]);
    let payload = serve_payload(&Iota::genesis_hash(), &key(&hotkey(index)));
    let address = b"/ip4/127.0.0.1/tcp/30000".to_vec().try_into().unwrap();
    let endpoint = Endpoint { peer: peer.public().0, addresses: vec![address].try_into().unwrap() };
    (endpoint, peer.sign(&payload.0).0)
}

pub fn serve(index: u8) {
    let (endpoint, signature) = endpoint(index);
    assert_ok!(Iota::serve(signed(hotkey(index)), RUN, endpoint, signature));
}

/// Registers and serves; a validator also bonds.
pub fn join(index: u8, role: Role) {
    let uid = register(index, role);
    serve(index);
    if role == Role::Validator {
        assert_ok!(Iota::bond(signed(coldkey(index)), RUN, uid, MIN_BOND));
    }
}

/// What a miner commits: stage-0 miners started ten samples, everyone finished nine.
pub fn work(index: u8) -> WorkCommit {
    let stage0 = member(index).stage == Some(Stage(0));
    WorkCommit {
        entry_root: Hash([index; 32]),
        log_root: Hash([2; 32]),
        receipts_root: Hash([3; 32]),
        samples: 9,
        started: if stage0 { 10 } else { 0 },
    }
}

pub fn commit(index: u8) {
    assert_ok!(Iota::commit_work(signed(hotkey(index)), RUN, clock().epoch, work(index)));
}

/// Position and number of the commits of a miner's stage.
pub fn position(index: u8) -> (usize, usize) {
    let member = member(index);
    let merge = Merges::<Test>::get((RUN, clock().epoch, member.stage.unwrap())).unwrap();
    (merge.find(uid(index), member.incarnation).unwrap().0, merge.commits.len())
}

pub fn attest(index: u8) {
    let everybody = (0..position(index).1).fold(Bitmap::default(), Bitmap::with);
    assert_ok!(Iota::attest(signed(hotkey(index)), RUN, clock().epoch, everybody));
}

/// The hashes that a miner opens; `tint` makes them differ.
pub fn shard_hashes(index: u8, tint: u8) -> ShardHashes {
    let (position, committers) = position(index);
    let stage = member(index).stage.unwrap();
    let map = ShardMap::new(&clock().seed.unwrap(), stage, committers, 4).unwrap();
    let hashes: Vec<_> = map.owned_by(position).into_iter().map(|s| (s, Some(Hash([tint; 32])))).collect();
    hashes.try_into().unwrap()
}

pub fn blind(index: u8, hashes: &ShardHashes) {
    let epoch = clock().epoch;
    let hash = blind_hash(uid(index), member(index).incarnation, epoch, &[index; 32], hashes);
    assert_ok!(Iota::blind_merge(signed(hotkey(index)), RUN, epoch, hash));
}

pub fn open(index: u8, hashes: ShardHashes) {
    assert_ok!(Iota::open_merge(signed(hotkey(index)), RUN, clock().epoch, [index; 32], hashes));
}

pub fn root(index: u8, root: u8) {
    assert_ok!(Iota::commit_root(signed(hotkey(index)), RUN, clock().epoch, Hash([root; 32])));
}

/// Takes `miners` honestly through everything from `Commit` to the block of `Close`.
pub fn merge_epoch(miners: &[u8]) {
    run_to_phase(Phase::Commit);
    miners.iter().for_each(|index| commit(*index));
    run_to_phase(Phase::Attest);
    miners.iter().for_each(|index| attest(*index));
    run_to_phase(Phase::Blind);
    miners.iter().for_each(|index| blind(*index, &shard_hashes(*index, 9)));
    run_to_phase(Phase::Open);
    miners.iter().for_each(|index| open(*index, shard_hashes(*index, 9)));
    run_to_phase(Phase::Root);
    miners.iter().for_each(|index| root(*index, 5));
    run_to_close();
}

/// A row that scores every miner of the scored epoch's snapshot with `score`.
pub fn reveal_of(epoch: Epoch, score: u16) -> ScoreReveal {
    let snapshot = Snapshots::<Test>::get((RUN, epoch)).unwrap();
    let entry = |m: &crate::types::MinerRecord| ScoreEntry { uid: m.uid, incarnation: m.incarnation, score };
    let entries: Vec<_> = snapshot.miners.iter().map(entry).collect();
    ScoreReveal { entries: entries.try_into().unwrap(), salt: [4; 32], report_root: Hash([6; 32]) }
}

pub fn score_hash(index: u8, epoch: Epoch, reveal: &ScoreReveal) -> Hash {
    let author = key(&hotkey(index));
    scores_hash(&Iota::genesis_hash(), RUN, &author, member(index).incarnation, epoch, reveal)
}

pub fn commit_scores(index: u8, epoch: Epoch, reveal: &ScoreReveal) {
    let hash = score_hash(index, epoch, reveal);
    assert_ok!(Iota::commit_scores(signed(hotkey(index)), RUN, epoch, hash));
}

/// Scores the epoch before the current one by these validators.
pub fn score_epoch(validators: &[u8]) {
    let epoch = clock().epoch.previous().unwrap();
    score_epoch_with(validators, &reveal_of(epoch, 65_535));
}

/// As `score_epoch`, with this row.
pub fn score_epoch_with(validators: &[u8], reveal: &ScoreReveal) {
    let epoch = clock().epoch.previous().unwrap();
    run_to(schedule().score_commit().start);
    validators.iter().for_each(|index| commit_scores(*index, epoch, reveal));
    run_to(schedule().score_reveal().start);
    for index in validators {
        assert_ok!(Iota::reveal_scores(signed(hotkey(*index)), RUN, epoch, uid(*index), reveal.clone()));
    }
}

/// What a coldkey was credited and has not claimed, vested or not.
pub fn owed(index: u8) -> u128 {
    let view = Iota::owed_view(&coldkey(index));
    view.claimable + view.members.iter().map(|member| member.vested + member.unvested).sum::<u128>()
}

/// What a coldkey may claim at once.
pub fn claimable(index: u8) -> u128 {
    Iota::owed_view(&coldkey(index)).claimable
}

/// Whether an event that fits was deposited since the chain began.
pub fn deposited(fits: impl Fn(&crate::Event<Test>) -> bool) -> bool {
    System::events().iter().any(|record| match &record.event {
        RuntimeEvent::Iota(event) => fits(event),
        _ => false,
    })
}

/// A digest of everything stored, to see that a refused call changed nothing.
pub fn storage_digest() -> Vec<u8> {
    sp_io::storage::root(polkadot_sdk::sp_runtime::StateVersion::V1).encode()
}
