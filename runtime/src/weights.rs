//! Weights of `pallet-iota`, governance and faucet, written by `scripts/weights` from measurements, not by hand.
//!
//! Machine: Intel(R) Xeon(R) Processor, 2 cores. Date: 2026-11-23.
//! Command: scripts/weights --repeats 9 --jobs 1.
//! Steps 6, repeats 9; least squares without outliers.
//! Processor time of one thread, measured natively and multiplied by 2.166:
//! a `Close` of 48 miners and 16 validators took 1.9 ms natively and 4.1 ms in the wasm blob.

use core::marker::PhantomData;

use polkadot_sdk::{
    frame_support::{traits::Get, weights::Weight},
    frame_system,
};

/// What was measured, with the database's costs of the chain that uses it.
pub struct Measured<T>(PhantomData<T>);

impl<T: frame_system::Config> pallet_iota::weights::WeightInfo for Measured<T> {
    // `s` from 1 to 64.
    // Measured: 17764 to 91859 ns.
    fn create_run(s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(40232342, 305)
            .saturating_add(Weight::from_parts(94239, 0).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(5))
            .saturating_add(db.writes(5))
    }

    // Measured: 1084238 to 1241914 ns.
    fn register() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(2482571730, 46444).saturating_add(db.reads(272)).saturating_add(db.writes(9))
    }

    // Measured: 1131611 to 1215225 ns.
    fn register_now() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(2458282206, 44646).saturating_add(db.reads(275)).saturating_add(db.writes(17))
    }

    // Measured: 102968 to 166825 ns.
    fn bond() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(233956158, 2951).saturating_add(db.reads(4)).saturating_add(db.writes(3))
    }

    // `a` from 1 to 5.
    // Measured: 147734 to 243647 ns.
    fn serve(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(340116800, 2427)
            .saturating_add(Weight::from_parts(1897287, 0).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(4))
            .saturating_add(db.writes(2))
    }

    // Measured: 139522 to 157640 ns.
    fn leave() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(321573024, 14168).saturating_add(db.reads(8)).saturating_add(db.writes(9))
    }

    // Measured: 125256 to 137896 ns.
    fn commit_work() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(287831076, 17511).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 120954 to 208297 ns.
    fn attest() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(277150530, 17722).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 120134 to 130105 ns.
    fn blind_merge() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(270994758, 17698).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // `h` from 1 to 63.
    // Measured: 114148 to 379518 ns.
    fn open_merge(h: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(211664642, 4288)
            .saturating_add(Weight::from_parts(6398783, 1077).saturating_mul(u64::from(h)))
            .saturating_add(db.reads(6))
            .saturating_add(db.writes(2))
    }

    // Measured: 117336 to 131137 ns.
    fn commit_root() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(265250526, 17698).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 117287 to 123858 ns.
    fn commit_scores() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(258195864, 17936).saturating_add(db.reads(6)).saturating_add(db.writes(1))
    }

    // `e` from 0 to 256.
    // Measured: 61298 to 90229 ns.
    fn reveal_scores(e: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(135455799, 18983)
            .saturating_add(Weight::from_parts(150609, 0).saturating_mul(u64::from(e)))
            .saturating_add(db.reads(7))
            .saturating_add(db.writes(1))
    }

    // Measured: 86132 to 199227 ns.
    fn claim() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(195518322, 2178).saturating_add(db.reads(4)).saturating_add(db.writes(4))
    }

    // Measured: 112183 to 121093 ns.
    fn release() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(249482046, 5126).saturating_add(db.reads(6)).saturating_add(db.writes(4))
    }

    // Measured: 76524 to 146524 ns.
    fn unbond() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(175162254, 1567).saturating_add(db.reads(3)).saturating_add(db.writes(2))
    }

    // Measured: 88541 to 100212 ns.
    fn withdraw() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(198680682, 1713).saturating_add(db.reads(3)).saturating_add(db.writes(3))
    }

    // Measured: 72543 to 86728 ns.
    fn resume() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(172032384, 2607).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 178372 to 238837 ns.
    fn swap_hotkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(400207488, 4765).saturating_add(db.reads(7)).saturating_add(db.writes(3))
    }

    // Measured: 61988 to 72216 ns.
    fn announce_coldkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(147116886, 1399).saturating_add(db.reads(2)).saturating_add(db.writes(1))
    }

    // Measured: 65437 to 76592 ns.
    fn cancel_coldkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(148791204, 1474).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 146071 to 151378 ns.
    fn take_over() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(320574498, 4654).saturating_add(db.reads(8)).saturating_add(db.writes(7))
    }

    // Measured: 269655 to 304530 ns.
    fn accuse() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(596306298, 22435).saturating_add(db.reads(73)).saturating_add(db.writes(4))
    }

    // Measured: 278759 to 298154 ns.
    fn vote() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(623998608, 23847).saturating_add(db.reads(18)).saturating_add(db.writes(12))
    }

    // Measured: 145417 to 157386 ns.
    fn request_evidence() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(327351912, 18179).saturating_add(db.reads(8)).saturating_add(db.writes(1))
    }

    // Measured: 137540 to 145010 ns.
    fn answer_evidence() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(306972018, 17948).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // Measured: 125072 to 222080 ns.
    fn commit_transcripts() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(282931584, 17936).saturating_add(db.reads(6)).saturating_add(db.writes(1))
    }

    // `t` from 1 to 2.
    // Measured: 131585 to 145856 ns.
    fn submit_transcripts(_t: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(317701516, 18078).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // Measured: 349459 to 376796 ns.
    fn report_equivocation() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(793228188, 17663).saturating_add(db.reads(16)).saturating_add(db.writes(8))
    }

    // `s` from 1 to 64.
    // Measured: 33273 to 48253 ns.
    fn sponsor_run(s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(75811917, 266)
            .saturating_add(Weight::from_parts(52812, 0).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(4))
            .saturating_add(db.writes(7))
    }

    // Measured: 81153 to 188654 ns.
    fn set_run_share() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(181370010, 2049).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // `s` from 1 to 64.
    // Measured: 14181 to 112245 ns.
    fn schedule_params(s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(32043965, 694)
            .saturating_add(Weight::from_parts(175373, 16).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(2))
            .saturating_add(db.writes(1))
    }

    // Measured: 72978 to 86858 ns.
    fn pause_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(167726376, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 81965 to 98646 ns.
    fn resume_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(195178260, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(2))
    }

    // Measured: 92464 to 98383 ns.
    fn end_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(208613958, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(4))
    }

    // Measured: 135927 to 152210 ns.
    fn attest_root() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(307530846, 20130).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // Measured: 140105 to 245572 ns.
    fn vote_rollback() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(316030230, 18427).saturating_add(db.reads(8)).saturating_add(db.writes(1))
    }

    // Measured: 77399 to 139769 ns.
    fn roll_back() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(177949896, 2385).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // `r` from 0 to 4.
    // Measured: 2883 to 33062 ns.
    fn hook_idle(r: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(10820210, 762)
            .saturating_add(Weight::from_parts(13831860, 337).saturating_mul(u64::from(r)))
            .saturating_add(db.reads(1))
            .saturating_add(db.reads(2).saturating_mul(u64::from(r)))
    }

    // `n` from 0 to 256.
    // Measured: 17361 to 894030 ns.
    fn hook_waiting(n: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(47516721, 2159)
            .saturating_add(Weight::from_parts(6613123, 145).saturating_mul(u64::from(n)))
            .saturating_add(db.reads(4))
            .saturating_add(db.reads(1).saturating_mul(u64::from(n)))
    }

    // `m` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 412791 to 1842498 ns.
    fn hook_start(m: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(923965782, 1404)
            .saturating_add(Weight::from_parts(11562789, 148).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(0, 16).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(5))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(1).saturating_mul(u64::from(m)))
    }

    // `c` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 48039 to 213525 ns.
    fn hook_extend(c: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(105508026, 17508)
            .saturating_add(Weight::from_parts(112470, 154).saturating_mul(u64::from(c)))
            .saturating_add(Weight::from_parts(4027192, 0).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1))
    }

    // Measured: 61957 to 69080 ns.
    fn hook_seed() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(141675894, 1906).saturating_add(db.reads(4)).saturating_add(db.writes(2))
    }

    // `c` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 102100 to 476069 ns.
    fn hook_entries(c: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(30732751, 708)
            .saturating_add(Weight::from_parts(623001, 218).saturating_mul(u64::from(c)))
            .saturating_add(Weight::from_parts(8442793, 45).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1).saturating_mul(u64::from(s)))
    }

    // `p` from 0 to 8064.
    // `s` from 4 to 64.
    // Measured: 205268 to 694205 ns.
    fn hook_shards(p: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(13897011, 1114)
            .saturating_add(Weight::from_parts(88718, 7).saturating_mul(u64::from(p)))
            .saturating_add(Weight::from_parts(7101598, 303).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1).saturating_mul(u64::from(s)))
    }

    // `m` from 64 to 192.
    // `v` from 1 to 64.
    // Measured: 2805517 to 8074008 ns.
    fn close_settle(m: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(6354329220, 122505)
            .saturating_add(Weight::from_parts(17402307, 393).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(69251340, 1646).saturating_mul(u64::from(v)))
            .saturating_add(db.reads(12))
            .saturating_add(db.reads(4).saturating_mul(u64::from(m)))
            .saturating_add(db.reads(6).saturating_mul(u64::from(v)))
            .saturating_add(db.writes(7))
            .saturating_add(db.writes(3).saturating_mul(u64::from(m)))
            .saturating_add(db.writes(3).saturating_mul(u64::from(v)))
    }

    // `m` from 64 to 192.
    // `s` from 4 to 64.
    // `v` from 1 to 64.
    // Measured: 1071551 to 1885360 ns.
    fn close_record(m: u32, s: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(73840931, 3844)
            .saturating_add(Weight::from_parts(9207277, 372).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(20395825, 139).saturating_mul(u64::from(s)))
            .saturating_add(Weight::from_parts(8595386, 147).saturating_mul(u64::from(v)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.reads(2).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(1).saturating_mul(u64::from(v)))
            .saturating_add(db.writes(4))
            .saturating_add(db.writes(2).saturating_mul(u64::from(s)))
    }

    // `n` from 0 to 256.
    // Measured: 7969 to 1554121 ns.
    fn close_retire(n: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(17598750, 577)
            .saturating_add(Weight::from_parts(12268307, 156).saturating_mul(u64::from(n)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(1).saturating_mul(u64::from(n)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(n)))
    }

    // `m` from 64 to 256.
    // `s` from 4 to 64.
    // `v` from 1 to 64.
    // Measured: 943876 to 2453177 ns.
    fn close_turn(m: u32, s: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(386319138, 1856)
            .saturating_add(Weight::from_parts(13285718, 253).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(0, 16).saturating_mul(u64::from(s)))
            .saturating_add(Weight::from_parts(15063889, 324).saturating_mul(u64::from(v)))
            .saturating_add(db.reads(6))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.reads(3).saturating_mul(u64::from(v)))
            .saturating_add(db.writes(8))
            .saturating_add(db.writes(1).saturating_mul(u64::from(m)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(v)))
    }

    // `l` from 0 to 64.
    // Measured: 998 to 1908247 ns.
    fn close_leaving(l: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(10058112, 5333)
            .saturating_add(Weight::from_parts(60600355, 384).saturating_mul(u64::from(l)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(3).saturating_mul(u64::from(l)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(7).saturating_mul(u64::from(l)))
    }

    // `a` from 0 to 32.
    // Measured: 5188 to 203405 ns.
    fn close_arrivals(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(11431581, 235)
            .saturating_add(Weight::from_parts(8555768, 73).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(2))
            .saturating_add(db.writes(2))
            .saturating_add(db.writes(2).saturating_mul(u64::from(a)))
    }

    // `w` from 0 to 64.
    // Measured: 12577 to 1362486 ns.
    fn close_swaps(w: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(98010940, 4623)
            .saturating_add(Weight::from_parts(42719535, 558).saturating_mul(u64::from(w)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(3).saturating_mul(u64::from(w)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(6).saturating_mul(u64::from(w)))
    }

    // `h` from 0 to 192.
    // Measured: 72236 to 4369717 ns.
    fn close_evidence(h: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(289601643, 24458)
            .saturating_add(Weight::from_parts(45847902, 848).saturating_mul(u64::from(h)))
            .saturating_add(db.reads(6))
            .saturating_add(db.reads(5).saturating_mul(u64::from(h)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(5).saturating_mul(u64::from(h)))
    }

    // `a` from 0 to 64.
    // Measured: 24148 to 3131476 ns.
    fn close_verdicts(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(44712435, 4634)
            .saturating_add(Weight::from_parts(93314103, 789).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(1))
            .saturating_add(db.reads(4).saturating_mul(u64::from(a)))
            .saturating_add(db.writes(2))
            .saturating_add(db.writes(4).saturating_mul(u64::from(a)))
    }

    // Measured: 47903 to 71006 ns.
    fn close_end() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(109898508, 2115).saturating_add(db.reads(13)).saturating_add(db.writes(10))
    }

    // Measured: 5442 to 6517 ns.
    fn ended_look() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(12965676, 239).saturating_add(db.reads(2))
    }

    // Measured: 243894 to 343437 ns.
    fn ended_step() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(544395942, 7553).saturating_add(db.reads(130)).saturating_add(db.writes(263))
    }
}

impl<T: frame_system::Config> crate::governance::WeightInfo for Measured<T> {
    // `a` from 1 to 32.
    // Measured: 10529 to 64758 ns.
    fn set_authorities(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(20629875, 281)
            .saturating_add(Weight::from_parts(3365663, 78).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(1).saturating_mul(u64::from(a)))
            .saturating_add(db.writes(2))
    }

    // Measured: 5962 to 7397 ns.
    fn offer_admin() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(13429200, 118).saturating_add(db.reads(2)).saturating_add(db.writes(2))
    }

    // Measured: 6853 to 8284 ns.
    fn accept_admin() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(15738156, 155).saturating_add(db.reads(2)).saturating_add(db.writes(3))
    }

    // Measured: 6291 to 9323 ns.
    fn authorize_upgrade() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(13886226, 118).saturating_add(db.reads(2)).saturating_add(db.writes(2))
    }
}

impl<T: frame_system::Config> crate::faucet::WeightInfo for Measured<T> {
    // Measured: 11233 to 13284 ns.
    fn authorize_drip() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(24753048, 316).saturating_add(db.reads(5))
    }

    // Measured: 32549 to 66433 ns.
    fn drip() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(73695984, 316).saturating_add(db.reads(7)).saturating_add(db.writes(5))
    }

    // Measured: 5944 to 7467 ns.
    fn set_terms() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(14286936, 118).saturating_add(db.reads(2)).saturating_add(db.writes(2))
    }
}
