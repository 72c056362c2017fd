//! What the calls of the runtime's own small pallets cost: governance and faucet, measured as FRAME measures a
//! benchmark, from the genesis of the development preset, at their worst.
//!
//! FRAME's macro would have to stand in the runtime, and its feature would be built into the blob as well.

use anyhow::{anyhow, ensure, Context};
use codec::Decode;
use iota_runtime::{
    faucet, governance, AccountId, Balances, Runtime, RuntimeCall, RuntimeOrigin, SessionKeys, UNIT,
};
use polkadot_sdk::{
    frame_benchmarking::{benchmarking, BenchmarkParameter, BenchmarkRecording, BenchmarkResult, Recording},
    frame_support::{
        storage::unhashed,
        traits::{fungible::Mutate, Authorize, Get, UnfilteredDispatchable},
    },
    frame_system::{self, RawOrigin},
    pallet_session,
    sp_runtime::{traits::TrailingZeroInput, transaction_validity::TransactionSource},
    sp_storage::TrackedStorageKey,
};

use crate::state::{self, State};

/// The work that is timed.
type Work = Box<dyn FnOnce() -> anyhow::Result<()>>;

/// One call, or what the pool asks about it.
#[derive(Clone, Copy)]
pub struct Own {
    /// As its weight is called.
    pub name: &'static str,
    /// The component, with its least and greatest value.
    pub component: Option<(BenchmarkParameter, u32, u32)>,
    /// Writes what it needs into storage; what is timed then.
    prepare: fn(u32) -> Work,
}

/// Those of governance, in the order of their calls.
pub fn governance() -> [Own; 4] {
    let most = <Runtime as governance::Config>::MaxAuthorities::get();
    [
        Own {
            name: "set_authorities",
            component: Some((BenchmarkParameter::a, 1, most)),
            prepare: set_authorities,
        },
        Own { name: "offer_admin", component: None, prepare: offer_admin },
        Own { name: "accept_admin", component: None, prepare: accept_admin },
        Own { name: "authorize_upgrade", component: None, prepare: authorize_upgrade },
    ]
}

/// Those of the faucet, what the pool asks about a request first.
pub fn faucet() -> [Own; 3] {
    [
        Own { name: "authorize_drip", component: None, prepare: authorize_drip },
        Own { name: "drip", component: None, prepare: drip },
        Own { name: "set_terms", component: None, prepare: set_terms },
    ]
}

impl Own {
    /// Measures it on a state, which is then as it was.
    pub fn measure(
        &self,
        on: &State,
        whitelist: &[TrackedStorageKey],
        value: u32,
        repeats: u32,
    ) -> anyhow::Result<Vec<BenchmarkResult>> {
        let once = || state::on(on, || self.once(whitelist, value));
        (0..repeats.max(1)).map(|_| once().with_context(|| format!("{} at {value}", self.name))).collect()
    }

    fn once(&self, whitelist: &[TrackedStorageKey], value: u32) -> anyhow::Result<BenchmarkResult> {
        benchmarking::wipe_db();
        benchmarking::set_whitelist(whitelist.to_vec());
        let work = (self.prepare)(value);
        let before = || {
            frame_system::Pallet::<Runtime>::set_block_number(1);
            benchmarking::commit_db();
            // Those that are not charged are in the proof already.
            for key in benchmarking::get_whitelist() {
                unhashed::get_raw(&key.key);
            }
            benchmarking::reset_read_write_count();
        };
        let mut recording = BenchmarkRecording::new(&before);
        recording.start();
        let done = work();
        recording.stop();
        benchmarking::commit_db();
        let (reads, repeat_reads, writes, repeat_writes) = benchmarking::read_write_count();
        let result = BenchmarkResult {
            components: self.component.map(|(name, ..)| (name, value)).into_iter().collect(),
            extrinsic_time: recording.elapsed_extrinsic().context("nothing was timed")?,
            reads,
            repeat_reads,
            writes,
            repeat_writes,
            proof_size: recording.diff_pov().unwrap_or_default(),
            ..BenchmarkResult::default()
        };
        benchmarking::wipe_db();
        done.map(|()| result)
    }
}

fn account(index: u8) -> AccountId {
    AccountId::new([index; 32])
}

/// An account that holds the admin's rights.
fn admin() -> AccountId {
    governance::Admin::<Runtime>::put(account(200));
    account(200)
}

fn send(origin: RawOrigin<AccountId>, call: impl Into<RuntimeCall>) -> Work {
    let (origin, call) = (RuntimeOrigin::from(origin), call.into());
    Box::new(move || {
        let sent = call.dispatch_bypass_filter(origin);
        sent.map(|_| ()).map_err(|why| anyhow!("it was refused: {:?}", why.error))
    })
}

fn set_authorities(count: u32) -> Work {
    let accounts = (0u8..).map(account).take(count as usize);
    let authorities: Vec<AccountId> = accounts.collect();
    for authority in &authorities {
        // Which keys they are does not matter: whether there are any is asked.
        let keys = SessionKeys::decode(&mut TrailingZeroInput::zeroes());
        pallet_session::NextKeys::<Runtime>::set(authority, keys.ok());
    }
    let authorities = authorities.try_into().unwrap_or_default();
    send(RawOrigin::Signed(admin()), governance::Call::set_authorities { authorities })
}

fn offer_admin(_: u32) -> Work {
    send(RawOrigin::Signed(admin()), governance::Call::offer_admin { to: account(1) })
}

fn accept_admin(_: u32) -> Work {
    admin();
    governance::NextAdmin::<Runtime>::put(account(1));
    send(RawOrigin::Signed(account(1)), governance::Call::accept_admin {})
}

fn authorize_upgrade(_: u32) -> Work {
    let code_hash = Default::default();
    send(RawOrigin::Signed(admin()), governance::Call::authorize_upgrade { code_hash })
}

/// A faucet that has enough and asks for no work; checking a hash costs the same whatever is asked of it.
fn open() -> faucet::Terms {
    let terms = faucet::Terms { drip: UNIT, cooldown: 1, per_block: 10, difficulty: 0 };
    faucet::CurrentTerms::<Runtime>::put(&terms);
    faucet::DripsInBlock::<Runtime>::put((1, 1));
    let filled = Balances::mint_into(&faucet::Pallet::<Runtime>::account(), 100 * UNIT);
    assert!(filled.is_ok(), "the faucet cannot be filled: {filled:?}");
    terms
}

fn request() -> faucet::Call<Runtime> {
    faucet::Call::drip { to: account(1), nonce: 0 }
}

fn authorize_drip(_: u32) -> Work {
    open();
    let call = RuntimeCall::from(request());
    Box::new(move || {
        let answer =
            call.authorize(TransactionSource::External).context("the call asks for no authorization")?;
        ensure!(answer.is_ok(), "it was refused: {:?}", answer.err());
        Ok(())
    })
}

fn drip(_: u32) -> Work {
    open();
    send(RawOrigin::Authorized, request())
}

fn set_terms(_: u32) -> Work {
    let terms = Some(open());
    send(RawOrigin::Signed(admin()), faucet::Call::set_terms { terms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use polkadot_sdk::frame_support::traits::GetCallName;

    fn names(all: &[Own]) -> Vec<&'static str> {
        all.iter().map(|own| own.name).collect()
    }

    #[test]
    fn every_call_of_the_small_pallets_is_measured() {
        let named = |own: &[Own], calls: &[&str]| calls.iter().all(|call| names(own).contains(call));
        assert!(named(&governance(), governance::Call::<Runtime>::get_call_names()));
        assert!(named(&faucet(), faucet::Call::<Runtime>::get_call_names()));
    }

    #[test]
    fn each_is_accepted_and_touches_storage() {
        let genesis = state::after(|| ()).unwrap();
        let counted = state::fresh(&genesis, true).unwrap();
        for own in governance().into_iter().chain(faucet()) {
            for value in own.component.map_or(vec![0], |(_, low, high)| vec![low, high]) {
                let results = own.measure(&counted, &[], value, 1).unwrap();
                assert!(results[0].reads > 0, "{} reads nothing", own.name);
            }
        }
    }

    #[test]
    fn a_longer_list_of_authorities_reads_more() {
        let genesis = state::after(|| ()).unwrap();
        let counted = state::fresh(&genesis, true).unwrap();
        let reads = |count| governance()[0].measure(&counted, &[], count, 1).unwrap()[0].reads;
        assert_eq!(reads(32) - reads(1), 31);
    }
}
