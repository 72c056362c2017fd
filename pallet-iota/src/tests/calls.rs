//! Every call against every origin, stable indices, arbitrary bytes.

use codec::{DecodeAll, Encode};
use iota_protocol::{
    equivocation::{Equivocation, SignedHeader},
    ids::{Attempt, Epoch, Hash, Incarnation, Sample, Stage, Uid},
    params::{RunParams, WireCodec},
    receipt::Direction,
    wire::{HopHeader, WIRE_VERSION},
    work::{Bitmap, Role, ScoreReveal, ShardHashes},
};
use polkadot_sdk::{
    frame_support::{traits::GetCallName, StorageNoopGuard},
    sp_runtime::{traits::Dispatchable, DispatchError},
};
use proptest::prelude::*;

use crate::{mock::*, pallet::Call};

/// Of two headers that are the same, and so prove nothing.
fn equivocation() -> Equivocation {
    let header = HopHeader {
        version: WIRE_VERSION,
        run: RUN,
        epoch: Epoch(0),
        sample: Sample(0),
        attempt: Attempt(0),
        stage: Stage(0),
        direction: Direction::Forward,
        from: Uid(0),
        values: 1,
        codec: WireCodec::Int8,
        codes_hash: Hash::ZERO,
        parent: Hash::ZERO,
    };
    let signed = SignedHeader { header, signature: [0; 64] };
    Equivocation { first: signed.clone(), second: signed }
}

/// Calls of the admin origin, some of them also of a run's owner.
fn is_for_admins(call: &Call<Test>) -> bool {
    matches!(
        call,
        Call::create_run { .. }
            | Call::set_run_share { .. }
            | Call::schedule_params { .. }
            | Call::pause_run { .. }
            | Call::resume_run { .. }
            | Call::end_run { .. }
            | Call::roll_back { .. }
    )
}

/// One of each call with its index, in the order of the indices.
fn one_of_each() -> Vec<(u8, Call<Test>)> {
    let (run, epoch) = (RUN, Epoch(0));
    let (endpoint, peer_signature) = endpoint(0);
    let reveal = ScoreReveal { entries: Default::default(), salt: [0; 32], report_root: Hash::ZERO };
    let hash = Hash::ZERO;
    vec![
        (0, Call::create_run { params: params() }),
        (1, Call::register { run, hotkey: hotkey(0), role: Role::Miner, proof: [0; 64], max_price: PRICE }),
        (2, Call::bond { run, uid: Uid(0), amount: 1 }),
        (3, Call::serve { run, endpoint, peer_signature }),
        (4, Call::leave { run, uid: Uid(0) }),
        (5, Call::commit_work { run, epoch, work: work(0) }),
        (6, Call::attest { run, epoch, entries: Bitmap(1) }),
        (7, Call::blind_merge { run, epoch, hash }),
        (8, Call::open_merge { run, epoch, salt: [0; 32], hashes: ShardHashes::default() }),
        (9, Call::commit_root { run, epoch, root: hash }),
        (10, Call::commit_scores { run, epoch, hash }),
        (11, Call::reveal_scores { run, epoch, author: Uid(4), reveal }),
        (12, Call::claim { account: coldkey(0) }),
        // Membership and money: 20 to 39.
        (20, Call::release { run, incarnation: Incarnation(0) }),
        (21, Call::unbond { run, uid: Uid(4), amount: 1 }),
        (22, Call::withdraw { run, incarnation: Incarnation(4), coldkey: coldkey(4) }),
        (23, Call::resume { run }),
        (24, Call::swap_hotkey { run, uid: Uid(0), hotkey: hotkey(20), proof: [0; 64] }),
        (25, Call::announce_coldkey { run, uid: Uid(0), to: coldkey(20) }),
        (26, Call::cancel_coldkey { run, uid: Uid(0) }),
        (27, Call::take_over { run, uid: Uid(0) }),
        // Verdicts and runs: 40 to 59.
        (
            40,
            Call::accuse { run, epoch, uid: Uid(0), incarnation: Incarnation(0), segment: 0, evidence: hash },
        ),
        (41, Call::vote { run, epoch, uid: Uid(0), segment: 0, guilty: true }),
        (42, Call::request_evidence { run, epoch, uid: Uid(0), incarnation: Incarnation(0), wanted: hash }),
        (43, Call::answer_evidence { run, epoch, root: hash }),
        (44, Call::commit_transcripts { run, epoch, hash }),
        (45, Call::submit_transcripts { run, epoch, salt: [0; 32], transcripts: Default::default() }),
        (46, Call::report_equivocation { proof: equivocation() }),
        (47, Call::sponsor_run { params: RunParams { epochs: 0, ..params() } }),
        (48, Call::set_run_share { run, share_ppm: 1 }),
        (49, Call::schedule_params { run, params: params() }),
        (50, Call::pause_run { run }),
        (51, Call::resume_run { run }),
        (52, Call::end_run { run }),
        (53, Call::attest_root { run, epoch, stage: Stage(0), root: hash }),
        (54, Call::vote_rollback { run, epoch, to: Epoch(0) }),
        (55, Call::roll_back { run, to: Epoch(0) }),
    ]
}

#[test]
fn calls_keep_their_indices() {
    with_epoch(params(), || {
        let calls = one_of_each();
        assert_eq!(calls.len(), Call::<Test>::get_call_names().len(), "a call is missing from this table");
        for (index, call) in calls {
            assert_eq!(*call.encode().first().unwrap(), index, "{call:?}");
        }
    });
}

#[test]
fn every_call_refuses_no_origin_and_members_are_not_admins() {
    with_epoch(params(), || {
        for (_, call) in one_of_each() {
            let call = RuntimeCall::Iota(call);
            let refused = call.clone().dispatch(RuntimeOrigin::none()).unwrap_err().error;
            assert_eq!(refused, DispatchError::BadOrigin, "{call:?}");
        }
    });
}

#[test]
fn root_controls_runs_and_nothing_else() {
    with_epoch(params(), || {
        for (_, call) in one_of_each().into_iter().filter(|(_, call)| !is_for_admins(call)) {
            let refused = RuntimeCall::Iota(call.clone()).dispatch(RuntimeOrigin::root()).unwrap_err().error;
            assert_eq!(refused, DispatchError::BadOrigin, "{call:?}");
        }
    });
}

#[test]
fn row_08_a_refused_body_writes_nothing_though_no_layer_takes_it_back() {
    with_epoch(params(), || {
        // Everything that a stranger may send in the first block of an epoch is refused.
        for (_, call) in one_of_each() {
            let _unchanged = StorageNoopGuard::default();
            assert!(bare(signed(hotkey(30)), call.clone()).is_err(), "{call:?}");
        }
    });
}

#[test]
#[should_panic(expected = "attempted storage change")]
fn a_body_that_writes_before_it_refuses_is_seen() {
    with_epoch(params(), || {
        let _unchanged = StorageNoopGuard::default();
        crate::pallet::TotalOwed::<Test>::put(7);
        assert!(bare(signed(hotkey(30)), Call::resume { run: RUN }).is_err());
    });
}

#[test]
fn row_06_a_list_beyond_its_bound_does_not_decode() {
    // By hand: the call's index, run, epoch and salt, the length of the list, then entries of shard and no hash.
    let open = |length: u32, entries: usize| {
        let head = (8u8, RUN, Epoch(0), [0u8; 32], codec::Compact(length)).encode();
        let body = (0..entries).flat_map(|shard| (u16::try_from(shard).unwrap(), None::<Hash>).encode());
        Call::<Test>::decode_all(&mut head.into_iter().chain(body).collect::<Vec<_>>().as_slice())
    };
    assert!(matches!(open(64, 64), Ok(Call::open_merge { hashes, .. }) if hashes.len() == 64));
    assert!(open(65, 65).is_err(), "one beyond");
    // A length that promises gigabytes is refused by what is there, and reserves nothing for it.
    assert!(open(u32::MAX, 63).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn row_01_row_06_no_bytes_make_a_call_panic(index in 0u8..60, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let encoded = [vec![index], bytes].concat();
        if let Ok(call) = Call::<Test>::decode_all(&mut &encoded[..]) {
            with_epoch(params(), || {
                let _ = RuntimeCall::Iota(call).dispatch(signed(hotkey(0)));
            });
        }
    }

    #[test]
    fn row_01_mutated_calls_never_panic(index: prop::sample::Index, at in 0usize..100, byte: u8, phase in 0u32..70) {
        with_epoch(params(), || {
            run_to(System::block_number() + phase);
            let mut encoded = index.get(&one_of_each()).1.encode();
            let at = at % encoded.len();
            *encoded.get_mut(at).unwrap() = byte;
            if let Ok(call) = Call::<Test>::decode_all(&mut &encoded[..]) {
                let _ = RuntimeCall::Iota(call).dispatch(signed(hotkey(0)));
            }
        });
    }
}
