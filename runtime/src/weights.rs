//! Weights of `pallet-iota`, written by `scripts/weights` from measurements, not by hand.
//!
//! Machine: Intel(R) Xeon(R) Processor, 2 cores, with other work beside. Date: 2026-11-23.
//! Command: iota-weights --steps 6 --repeats 15 --jobs 1, the program that scripts/weights builds and runs.
//! Steps 6, repeats 15; least squares without outliers.
//! Processor time of one thread, measured natively and multiplied by 2.082:
//! a `Close` of 48 miners and 16 validators took 2.5 ms natively and 5.1 ms in the wasm blob.

use core::marker::PhantomData;

use pallet_iota::weights::WeightInfo;
use polkadot_sdk::{
    frame_support::{traits::Get, weights::Weight},
    frame_system,
};

/// What was measured, with the database's costs of the chain that uses it.
pub struct Measured<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for Measured<T> {
    // `s` from 1 to 64.
    // Measured: 18383 to 105831 ns.
    fn create_run(s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(44164053, 305)
            .saturating_add(Weight::from_parts(69783, 0).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(5))
            .saturating_add(db.writes(5))
    }

    // Measured: 1167275 to 1591734 ns.
    fn register() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(2782607574, 46444).saturating_add(db.reads(272)).saturating_add(db.writes(9))
    }

    // To be measured: the sum of `register` and of one member in `close_leaving`.
    fn register_now() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(3148643848, 52161).saturating_add(db.reads(277)).saturating_add(db.writes(17))
    }

    // Measured: 137763 to 257293 ns.
    fn bond() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(449135286, 2951).saturating_add(db.reads(4)).saturating_add(db.writes(3))
    }

    // `a` from 1 to 5.
    // Measured: 178085 to 406851 ns.
    fn serve(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(557152522, 2427)
            .saturating_add(Weight::from_parts(1071883, 0).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(4))
            .saturating_add(db.writes(2))
    }

    // Measured: 143875 to 274646 ns.
    fn leave() -> Weight {
        let db = T::DbWeight::get();
        // To be measured again: with the list of given-up keys, as in `close_leaving`.
        Weight::from_parts(665652752, 14401).saturating_add(db.reads(8)).saturating_add(db.writes(9))
    }

    // Measured: 146393 to 370064 ns.
    fn commit_work() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(482130822, 17511).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 143567 to 314050 ns.
    fn attest() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(377631078, 17722).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 132977 to 318782 ns.
    fn blind_merge() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(477875214, 17698).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // `h` from 1 to 63.
    // Measured: 129448 to 498302 ns.
    fn open_merge(h: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(421905242, 4288)
            .saturating_add(Weight::from_parts(6248511, 1077).saturating_mul(u64::from(h)))
            .saturating_add(db.reads(6))
            .saturating_add(db.writes(2))
    }

    // Measured: 147238 to 352500 ns.
    fn commit_root() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(475645392, 17698).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 152317 to 312750 ns.
    fn commit_scores() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(374401896, 17936).saturating_add(db.reads(6)).saturating_add(db.writes(1))
    }

    // `e` from 0 to 256.
    // Measured: 54906 to 313157 ns.
    fn reveal_scores(e: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(161575636, 18983)
            .saturating_add(Weight::from_parts(118119, 0).saturating_mul(u64::from(e)))
            .saturating_add(db.reads(7))
            .saturating_add(db.writes(1))
    }

    // Measured: 110913 to 272314 ns.
    fn claim() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(450973692, 2178).saturating_add(db.reads(4)).saturating_add(db.writes(4))
    }

    // Measured: 158539 to 350601 ns.
    fn release() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(405636060, 5126).saturating_add(db.reads(6)).saturating_add(db.writes(4))
    }

    // Measured: 101258 to 302203 ns.
    fn unbond() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(419033730, 1567).saturating_add(db.reads(3)).saturating_add(db.writes(2))
    }

    // Measured: 120224 to 352821 ns.
    fn withdraw() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(424617654, 1713).saturating_add(db.reads(3)).saturating_add(db.writes(3))
    }

    // Measured: 121720 to 297265 ns.
    fn resume() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(402844098, 2607).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 206063 to 406253 ns.
    fn swap_hotkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(602103990, 4765).saturating_add(db.reads(7)).saturating_add(db.writes(3))
    }

    // Measured: 88337 to 240220 ns.
    fn announce_coldkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(326334762, 1399).saturating_add(db.reads(2)).saturating_add(db.writes(1))
    }

    // Measured: 74162 to 214046 ns.
    fn cancel_coldkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(361243656, 1474).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 175716 to 375080 ns.
    fn take_over() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(513271296, 4654).saturating_add(db.reads(8)).saturating_add(db.writes(7))
    }

    // Measured: 288950 to 516080 ns.
    fn accuse() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(940035492, 22435).saturating_add(db.reads(73)).saturating_add(db.writes(4))
    }

    // Measured: 306031 to 553908 ns.
    fn vote() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(882755508, 23847).saturating_add(db.reads(18)).saturating_add(db.writes(12))
    }

    // Measured: 188049 to 359695 ns.
    fn request_evidence() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(458837406, 18179).saturating_add(db.reads(8)).saturating_add(db.writes(1))
    }

    // Measured: 166932 to 333401 ns.
    fn answer_evidence() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(518386770, 17948).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // Measured: 158554 to 351287 ns.
    fn commit_transcripts() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(507966360, 17936).saturating_add(db.reads(6)).saturating_add(db.writes(1))
    }

    // `t` from 1 to 2.
    // Measured: 158521 to 377925 ns.
    fn submit_transcripts(t: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(512227288, 18078)
            .saturating_add(Weight::from_parts(4978987, 0).saturating_mul(u64::from(t)))
            .saturating_add(db.reads(7))
            .saturating_add(db.writes(1))
    }

    // Measured: 411637 to 594756 ns.
    fn report_equivocation() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(1107097254, 17663).saturating_add(db.reads(16)).saturating_add(db.writes(8))
    }

    // `s` from 1 to 64.
    // Measured: 31800 to 181145 ns.
    fn sponsor_run(_s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(85317410, 266).saturating_add(db.reads(4)).saturating_add(db.writes(7))
    }

    // Measured: 108130 to 286980 ns.
    fn set_run_share() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(452070906, 2049).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // `s` from 1 to 64.
    // Measured: 15107 to 207903 ns.
    fn schedule_params(s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(37276559, 694)
            .saturating_add(Weight::from_parts(235810, 16).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(2))
            .saturating_add(db.writes(1))
    }

    // Measured: 112477 to 282258 ns.
    fn pause_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(438873108, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 123486 to 346610 ns.
    fn resume_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(355736766, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(2))
    }

    // Measured: 108318 to 311689 ns.
    fn end_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(292731282, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(4))
    }

    // Measured: 148905 to 341162 ns.
    fn attest_root() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(438935568, 20130).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // Measured: 176209 to 466802 ns.
    fn vote_rollback() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(441871188, 18427).saturating_add(db.reads(8)).saturating_add(db.writes(1))
    }

    // Measured: 109583 to 274918 ns.
    fn roll_back() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(446626476, 2385).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // `r` from 0 to 4.
    // Measured: 2973 to 237871 ns.
    fn hook_idle(r: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(11333853, 762)
            .saturating_add(Weight::from_parts(14032333, 337).saturating_mul(u64::from(r)))
            .saturating_add(db.reads(1))
            .saturating_add(db.reads(2).saturating_mul(u64::from(r)))
    }

    // `n` from 0 to 256.
    // Measured: 18404 to 1409900 ns.
    fn hook_waiting(n: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(243170053, 2159)
            .saturating_add(Weight::from_parts(8972186, 145).saturating_mul(u64::from(n)))
            .saturating_add(db.reads(4))
            .saturating_add(db.reads(1).saturating_mul(u64::from(n)))
    }

    // `m` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 497562 to 2736162 ns.
    fn hook_start(m: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(89438221, 1404)
            .saturating_add(Weight::from_parts(15848068, 148).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(2550671, 16).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(5))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(1).saturating_mul(u64::from(m)))
    }

    // `c` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 49510 to 513610 ns.
    fn hook_extend(c: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(79281024, 17508)
            .saturating_add(Weight::from_parts(285193, 154).saturating_mul(u64::from(c)))
            .saturating_add(Weight::from_parts(5395735, 0).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1))
    }

    // Measured: 82530 to 254887 ns.
    fn hook_seed() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(214554264, 1906).saturating_add(db.reads(4)).saturating_add(db.writes(2))
    }

    // `c` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 90191 to 728450 ns.
    fn hook_entries(c: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(204466974, 708)
            .saturating_add(Weight::from_parts(0, 218).saturating_mul(u64::from(c)))
            .saturating_add(Weight::from_parts(13266609, 45).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1).saturating_mul(u64::from(s)))
    }

    // `p` from 0 to 8064.
    // `s` from 4 to 64.
    // Measured: 191565 to 2021555 ns.
    fn hook_shards(p: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(20041574, 1114)
            .saturating_add(Weight::from_parts(96926, 7).saturating_mul(u64::from(p)))
            .saturating_add(Weight::from_parts(12352163, 303).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1).saturating_mul(u64::from(s)))
    }

    // `m` from 64 to 192.
    // `v` from 1 to 64.
    // Measured: 3334536 to 11285832 ns.
    fn close_settle(m: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(7187397120, 122505)
            .saturating_add(Weight::from_parts(23806665, 393).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(109201425, 1646).saturating_mul(u64::from(v)))
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
    // Measured: 1218573 to 2862805 ns.
    fn close_record(m: u32, s: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(1022727452, 3844)
            .saturating_add(Weight::from_parts(6036737, 372).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(20573502, 139).saturating_mul(u64::from(s)))
            .saturating_add(Weight::from_parts(12371763, 147).saturating_mul(u64::from(v)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.reads(2).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(1).saturating_mul(u64::from(v)))
            .saturating_add(db.writes(4))
            .saturating_add(db.writes(2).saturating_mul(u64::from(s)))
    }

    // `n` from 0 to 256.
    // Measured: 8242 to 2202891 ns.
    fn close_retire(n: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(57409460, 577)
            .saturating_add(Weight::from_parts(13540533, 156).saturating_mul(u64::from(n)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(1).saturating_mul(u64::from(n)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(n)))
    }

    // `m` from 64 to 256.
    // `s` from 4 to 64.
    // `v` from 1 to 64.
    // Measured: 1048578 to 4157499 ns.
    fn close_turn(m: u32, s: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(239376437, 1856)
            .saturating_add(Weight::from_parts(16766836, 253).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(2849857, 16).saturating_mul(u64::from(s)))
            .saturating_add(Weight::from_parts(20257173, 324).saturating_mul(u64::from(v)))
            .saturating_add(db.reads(6))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.reads(3).saturating_mul(u64::from(v)))
            .saturating_add(db.writes(8))
            .saturating_add(db.writes(1).saturating_mul(u64::from(m)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(v)))
    }

    // `l` from 0 to 64.
    // Measured: 2587 to 2619394 ns.
    fn close_leaving(l: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(296661974, 5333)
            .saturating_add(Weight::from_parts(69374300, 384).saturating_mul(u64::from(l)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(3).saturating_mul(u64::from(l)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(7).saturating_mul(u64::from(l)))
    }

    // `a` from 0 to 32.
    // Measured: 5919 to 302715 ns.
    fn close_arrivals(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(20600556, 235)
            .saturating_add(Weight::from_parts(9956118, 73).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(2))
            .saturating_add(db.writes(2))
            .saturating_add(db.writes(2).saturating_mul(u64::from(a)))
    }

    // `w` from 0 to 64.
    // Measured: 30603 to 1972269 ns.
    fn close_swaps(w: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(327212967, 4623)
            .saturating_add(Weight::from_parts(52204327, 558).saturating_mul(u64::from(w)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(3).saturating_mul(u64::from(w)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(6).saturating_mul(u64::from(w)))
    }

    // `h` from 0 to 192.
    // Measured: 112967 to 6652305 ns.
    fn close_evidence(h: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(297213010, 24458)
            .saturating_add(Weight::from_parts(61626632, 848).saturating_mul(u64::from(h)))
            .saturating_add(db.reads(6))
            .saturating_add(db.reads(5).saturating_mul(u64::from(h)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(5).saturating_mul(u64::from(h)))
    }

    // `a` from 0 to 64.
    // Measured: 43870 to 4426197 ns.
    fn close_verdicts(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(298923931, 4634)
            .saturating_add(Weight::from_parts(105892823, 789).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(1))
            .saturating_add(db.reads(4).saturating_mul(u64::from(a)))
            .saturating_add(db.writes(2))
            .saturating_add(db.writes(4).saturating_mul(u64::from(a)))
    }

    // Measured: 57270 to 275412 ns.
    fn close_end() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(130814142, 2115).saturating_add(db.reads(13)).saturating_add(db.writes(10))
    }

    // Measured: 6373 to 98516 ns.
    fn ended_look() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(14626050, 239).saturating_add(db.reads(2))
    }

    // Measured: 328589 to 645176 ns.
    fn ended_step() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(1064022756, 7553).saturating_add(db.reads(130)).saturating_add(db.writes(263))
    }
}
