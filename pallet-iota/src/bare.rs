//! The bodies of the calls as they are, without the storage layer that FRAME puts around each call.
//!
//! FRAME takes back whatever a failed call wrote. A test that sends calls in the ordinary way therefore cannot
//! see a body that writes before it has checked everything. Here every call is its origin check and its
//! `do_` function, one to one as in `sections/calls.rs`, with nothing around them: what fails under
//! `assert_noop!` or a `StorageNoopGuard` here has not written. `tests/origins.rs` compares each answer with that of the real call.

use iota_protocol::{
    equivocation::Equivocation,
    ids::{Epoch, Hash, Incarnation, RunId, Stage, Uid},
    params::RunParams,
    work::{Bitmap, Endpoint, Role, ScoreReveal, ShardHashes, Transcripts, WorkCommit},
};
use polkadot_sdk::{
    frame_support::pallet_prelude::DispatchResult,
    frame_system::{ensure_root, ensure_signed},
    sp_runtime::{AccountId32, DispatchError},
};

use crate::{
    mock::{Iota, RuntimeOrigin, Test},
    pallet::Call,
};

/// The calls by name, bare.
pub struct Bare;

fn done<V, E: Into<DispatchError>>(answer: Result<V, E>) -> DispatchResult {
    answer.map(|_| ()).map_err(Into::into)
}

/// From a list of bodies: a function of [`Bare`] for each, and [`bare`] over all of them.
macro_rules! bodies {
    ($($name:ident($origin:ident $(, $arg:ident: $type:ty)*) $body:block)*) => {
        impl Bare {
            $(pub fn $name($origin: RuntimeOrigin $(, $arg: $type)*) -> DispatchResult {
                done($body)
            })*
        }

        /// Any call, bare. A call without a body in the list does not compile.
        pub fn bare(origin: RuntimeOrigin, call: Call<Test>) -> DispatchResult {
            match call {
                $(Call::$name { $($arg),* } => Bare::$name(origin $(, $arg)*),)*
            }
        }
    };
}

bodies! {
    create_run(origin, params: RunParams) {
        ensure_root(origin)?;
        Iota::do_create_own_run(params)
    }
    register(origin, run: RunId, hotkey: AccountId32, role: Role, proof: [u8; 64], max_price: u128) {
        Iota::do_register(run, ensure_signed(origin)?, hotkey, role, &proof, max_price)
    }
    bond(origin, run: RunId, uid: Uid, amount: u128) {
        Iota::do_bond(run, uid, &ensure_signed(origin)?, amount)
    }
    serve(origin, run: RunId, endpoint: Endpoint, peer_signature: [u8; 64]) {
        Iota::do_serve(&ensure_signed(origin)?, run, endpoint, &peer_signature)
    }
    leave(origin, run: RunId, uid: Uid) {
        Iota::do_leave(run, uid, &ensure_signed(origin)?)
    }
    commit_work(origin, run: RunId, epoch: Epoch, work: WorkCommit) {
        Iota::do_commit_work(&ensure_signed(origin)?, run, epoch, work)
    }
    attest(origin, run: RunId, epoch: Epoch, entries: Bitmap) {
        Iota::do_attest(&ensure_signed(origin)?, run, epoch, entries)
    }
    blind_merge(origin, run: RunId, epoch: Epoch, hash: Hash) {
        Iota::do_blind_merge(&ensure_signed(origin)?, run, epoch, hash)
    }
    open_merge(origin, run: RunId, epoch: Epoch, salt: [u8; 32], hashes: ShardHashes) {
        Iota::do_open_merge(&ensure_signed(origin)?, run, epoch, &salt, &hashes)
    }
    commit_root(origin, run: RunId, epoch: Epoch, root: Hash) {
        Iota::do_commit_root(&ensure_signed(origin)?, run, epoch, root)
    }
    commit_scores(origin, run: RunId, epoch: Epoch, hash: Hash) {
        Iota::do_commit_scores(&ensure_signed(origin)?, run, epoch, hash)
    }
    reveal_scores(origin, run: RunId, epoch: Epoch, author: Uid, reveal: ScoreReveal) {
        ensure_signed(origin)?;
        Iota::do_reveal_scores(run, epoch, author, reveal)
    }
    claim(origin, account: AccountId32) {
        ensure_signed(origin)?;
        Iota::do_claim(account)
    }
    release(origin, run: RunId, incarnation: Incarnation) {
        ensure_signed(origin)?;
        Iota::do_release(run, incarnation)
    }
    unbond(origin, run: RunId, uid: Uid, amount: u128) {
        Iota::do_unbond(run, uid, &ensure_signed(origin)?, amount)
    }
    withdraw(origin, run: RunId, incarnation: Incarnation, coldkey: AccountId32) {
        ensure_signed(origin)?;
        Iota::do_withdraw(run, incarnation, coldkey)
    }
    resume(origin, run: RunId) {
        Iota::do_resume(run, &ensure_signed(origin)?)
    }
    swap_hotkey(origin, run: RunId, uid: Uid, hotkey: AccountId32, proof: [u8; 64]) {
        Iota::do_swap_hotkey(run, uid, &ensure_signed(origin)?, hotkey, &proof)
    }
    announce_coldkey(origin, run: RunId, uid: Uid, to: AccountId32) {
        Iota::do_announce_coldkey(run, uid, &ensure_signed(origin)?, to)
    }
    cancel_coldkey(origin, run: RunId, uid: Uid) {
        Iota::do_cancel_coldkey(run, uid, &ensure_signed(origin)?)
    }
    take_over(origin, run: RunId, uid: Uid) {
        Iota::do_take_over(run, uid, &ensure_signed(origin)?)
    }
    accuse(origin, run: RunId, epoch: Epoch, uid: Uid, incarnation: Incarnation, segment: u32, evidence: Hash) {
        Iota::do_accuse(&ensure_signed(origin)?, run, epoch, (uid, incarnation), segment, evidence)
    }
    vote(origin, run: RunId, epoch: Epoch, uid: Uid, segment: u32, guilty: bool) {
        Iota::do_vote(&ensure_signed(origin)?, run, epoch, uid, segment, guilty)
    }
    request_evidence(origin, run: RunId, epoch: Epoch, uid: Uid, incarnation: Incarnation, wanted: Hash) {
        Iota::do_request_evidence(&ensure_signed(origin)?, run, epoch, (uid, incarnation), wanted)
    }
    answer_evidence(origin, run: RunId, epoch: Epoch, root: Hash) {
        Iota::do_answer_evidence(&ensure_signed(origin)?, run, epoch, root)
    }
    commit_transcripts(origin, run: RunId, epoch: Epoch, hash: Hash) {
        Iota::do_commit_transcripts(&ensure_signed(origin)?, run, epoch, hash)
    }
    submit_transcripts(origin, run: RunId, epoch: Epoch, salt: [u8; 32], transcripts: Transcripts) {
        Iota::do_submit_transcripts(&ensure_signed(origin)?, run, epoch, &salt, transcripts)
    }
    report_equivocation(origin, proof: Equivocation) {
        ensure_signed(origin)?;
        Iota::do_report_equivocation(&proof)
    }
    sponsor_run(origin, params: RunParams) {
        Iota::do_sponsor_run(&ensure_signed(origin)?, params)
    }
    set_run_share(origin, run: RunId, share_ppm: u32) {
        ensure_root(origin)?;
        Iota::do_set_run_share(run, share_ppm)
    }
    schedule_params(origin, run: RunId, params: RunParams) {
        Iota::ensure_controls(origin, run)?;
        Iota::do_schedule_params(run, params)
    }
    pause_run(origin, run: RunId) {
        Iota::ensure_controls(origin, run)?;
        Iota::do_pause_run(run)
    }
    resume_run(origin, run: RunId) {
        Iota::ensure_controls(origin, run)?;
        Iota::do_resume_run(run)
    }
    end_run(origin, run: RunId) {
        Iota::ensure_controls(origin, run)?;
        Iota::do_end_run(run)
    }
    attest_root(origin, run: RunId, epoch: Epoch, stage: Stage, root: Hash) {
        Iota::do_attest_root(&ensure_signed(origin)?, run, epoch, stage, root)
    }
    vote_rollback(origin, run: RunId, epoch: Epoch, to: Epoch) {
        Iota::do_vote_rollback(&ensure_signed(origin)?, run, epoch, to)
    }
    roll_back(origin, run: RunId, to: Epoch) {
        ensure_root(origin)?;
        Iota::do_roll_back(run, to)
    }
}
