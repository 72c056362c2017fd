//! The chain under the arena: its genesis, its blocks, and keys of as many members as are wanted.

use iota_protocol::{
    hash::{hash_of, Domain},
    ids::{Epoch, Incarnation, Stage, Uid},
    params::RunParams,
    phase::Schedule,
    work::Role,
};
use pallet_iota::{
    types::{Clock, Member, Snapshot},
    Call,
};
use polkadot_sdk::{
    frame_support::traits::fungible::Mutate,
    sp_genesis_builder::DEV_RUNTIME_PRESET,
    sp_runtime::{traits::Dispatchable, DispatchError},
};

use super::super::*;

/// Values in a chunk: as few as a merge takes.
const CHUNK: u64 = 64;
/// A validator's bond: the least, and deposits for as many accusations as an epoch has room for.
pub const BOND: u128 = 1_000 * UNIT;

/// Who takes part, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Stages.
    pub stages: u16,
    /// Miners of each stage at the start.
    pub replicas: u16,
    /// Validators with equal bonds.
    pub validators: u16,
    /// Samples that each stage-0 miner starts in an epoch.
    pub rounds: u32,
    /// Epochs that train.
    pub epochs: u32,
    /// Blocks of `Train`.
    pub train: u32,
}

impl Shape {
    /// Three stages of five and four validators.
    pub fn small(epochs: u32) -> Self {
        Self { stages: 3, replicas: 5, validators: 4, rounds: 40, epochs, train: 48 }
    }

    /// As many members as a run has seats: four stages of sixty, sixteen validators.
    pub fn full(epochs: u32) -> Self {
        Self { stages: 4, replicas: 60, validators: 16, rounds: 16, epochs, train: 48 }
    }

    /// Miners at the start.
    pub fn miners(&self) -> u16 {
        self.stages * self.replicas
    }

    /// The run as it stands in a chain spec: a chunk for every pair of a stage's miners.
    fn run(&self) -> Value {
        let mut run = run();
        let share = 1_000_000 / u32::from(self.stages);
        let pairs = u64::from(self.replicas) * u64::from(self.replicas - 1) / 2;
        let stage = |first: u16| {
            let rest = if first == 0 { 1_000_000 - share * u32::from(self.stages) } else { 0 };
            let parameters = CHUNK * pairs.max(1);
            json!({ "first_layer": first, "layers": 1, "parameters": parameters, "share_ppm": share + rest })
        };
        run[0]["model"]["n_layers"] = json!(self.stages);
        run[0]["stages"] = (0..self.stages).map(stage).collect();
        // Who claims twice what it did stays within the bound.
        run[0]["train"]["max_samples"] = json!(2 * self.rounds);
        run[0]["data"]["train_windows"] = json!(1_000_000);
        // Those of a devnet, but for `Train`.
        run[0]["phases"] = json!({ "train": self.train, "commit": 7, "attest": 9, "blind": 5, "open": 5,
            "root": 7, "score_commit": 28, "score_reveal": 18, "margin": 1, "max_extensions": 3 });
        run[0]["start_replicas"] = json!(self.replicas);
        run[0]["epochs"] = json!(self.epochs);
        run
    }
}

/// Runs `test` on the genesis of a chain with one run of that shape, in its first block.
pub fn on_arena(shape: Shape, test: impl FnOnce()) {
    on_chain(DEV_RUNTIME_PRESET, shape.run(), || {
        super::super::open_block();
        test();
    });
}

/// Opens the next block of the history that `seed` gives: every seed of an epoch comes from it.
pub fn open_block(seed: u64) {
    let number = System::block_number();
    Grandpa::on_finalize(number);
    let slot = u64::from(number) + 3;
    let digest = Digest { logs: vec![DigestItem::PreRuntime(AURA_ENGINE_ID, Slot::from(slot).encode())] };
    let parent = Hash::from(hash_of(Domain::Seed, &(b"arena", seed, number)).0);
    Executive::initialize_block(&Header::new(
        number + 1,
        Default::default(),
        Default::default(),
        parent,
        digest,
    ));
}

/// A member's keys.
pub struct Keys {
    hot: sr25519::Pair,
    /// The account of the hotkey.
    pub hotkey: AccountId,
    /// The account that owns and receives.
    pub coldkey: AccountId,
}

impl Keys {
    /// Those of the member of this number.
    pub fn new(number: u16) -> Self {
        let mut seed = *b"hotkey of a member of the arena:";
        seed[..2].copy_from_slice(&number.to_le_bytes());
        let hot = sr25519::Pair::from_seed(&seed);
        seed[2] = b'c';
        Self { hotkey: account(&hot), hot, coldkey: AccountId::new(seed) }
    }

    /// A signature by the hotkey.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.hot.sign(bytes).0
    }

    /// Registers at any price; the coldkey owns enough for it.
    pub fn register(&self, role: Role) -> Result<(), DispatchError> {
        assert_ok!(Balances::mint_into(&self.coldkey, 1_000_000 * UNIT));
        let (hotkey, coldkey) = (AccountKey(self.hot.public().0), AccountKey(self.coldkey.clone().into()));
        let proof = self.sign(&register_payload(&genesis_hash(), RUN, &coldkey, &hotkey).0);
        let owner = RuntimeOrigin::signed(self.coldkey.clone());
        Iota::register(owner, RUN, self.hotkey.clone(), role, proof, Balance::MAX).map_err(|e| e.error)?;
        Ok(())
    }

    /// Publishes an address.
    pub fn serve(&self) {
        let peer = ed25519::Pair::from_seed(&self.hot.public().0);
        let signature = peer.sign(&serve_payload(&genesis_hash(), &AccountKey(self.hot.public().0)).0).0;
        let address = b"/ip4/127.0.0.1/tcp/1".to_vec().try_into().unwrap();
        let endpoint = Endpoint { peer: peer.public().0, addresses: vec![address].try_into().unwrap() };
        assert_ok!(Iota::serve(RuntimeOrigin::signed(self.hotkey.clone()), RUN, endpoint, signature));
    }

    /// Registers and serves; a validator bonds.
    pub fn join(&self, role: Role) {
        assert_ok!(self.register(role));
        self.serve();
        if role == Role::Validator {
            let uid = self.uid().unwrap();
            assert_ok!(Iota::bond(RuntimeOrigin::signed(self.coldkey.clone()), RUN, uid, BOND));
        }
    }

    /// Its uid, while it is a member.
    pub fn uid(&self) -> Option<Uid> {
        pallet_iota::UidOf::<Runtime>::get(RUN, self.hotkey.clone())
    }

    /// Sends a call of the pallet.
    pub fn send(&self, call: Call<Runtime>) -> Result<(), DispatchError> {
        let sent = RuntimeCall::Iota(call).dispatch(RuntimeOrigin::signed(self.hotkey.clone()));
        sent.map(|_| ()).map_err(|refused| refused.error)
    }

    /// What it was paid and has not lost: free, vested and yet to vest.
    pub fn income(&self) -> u128 {
        let owed = Iota::owed_view(&self.coldkey);
        owed.claimable + owed.members.iter().map(|own| own.vested + own.unvested).sum::<u128>()
    }
}

/// The clock of the run.
pub fn clock() -> Clock {
    pallet_iota::Clocks::<Runtime>::get(RUN).unwrap()
}

/// The run's parameters.
pub fn params() -> RunParams {
    pallet_iota::Runs::<Runtime>::get(RUN).unwrap()
}

/// The windows of the current epoch.
pub fn schedule() -> Schedule {
    clock().schedule(&params())
}

/// A member by its uid.
pub fn member(uid: Uid) -> Option<Member> {
    pallet_iota::Members::<Runtime>::get(RUN, uid)
}

/// Who may be paid for an epoch.
pub fn snapshot(epoch: Epoch) -> Snapshot {
    pallet_iota::Snapshots::<Runtime>::get((RUN, epoch)).unwrap_or_default()
}

/// Miners by stage in uid order: uid, incarnation, weight.
pub fn stages() -> Vec<Vec<(Uid, Incarnation, u32)>> {
    let mut members: Vec<_> = pallet_iota::Members::<Runtime>::iter_prefix(RUN).collect();
    members.sort_unstable_by_key(|(uid, _)| *uid);
    let of = |stage: u16| {
        let held = members.iter().filter(move |(_, own)| own.stage == Some(Stage(stage)));
        held.map(|(uid, own)| (*uid, own.incarnation, own.weight)).collect()
    };
    (0..params().n_stages()).map(of).collect()
}

/// Chunks of a stage's entries.
pub fn chunks(stage: Stage) -> u32 {
    let parameters = params().stage(stage).unwrap().parameters;
    u32::try_from(parameters.div_ceil(CHUNK)).unwrap()
}
