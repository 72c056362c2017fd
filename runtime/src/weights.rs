//! Weights of `pallet-iota`, written by `scripts/weights` from measurements, not by hand.
//!
//! Machine: Intel(R) Xeon(R) Processor, 2 cores, one of them busy with the random sequences. Date: 2026-11-23.
//! Command: iota-weights --steps 6 --repeats 9 --jobs 1, the program that scripts/weights builds and runs.
//! Steps 6, repeats 9; least squares without outliers.
//! Processor time of one thread, measured natively and multiplied by 2.095:
//! a `Close` of 48 miners and 16 validators took 1.9 ms natively and 3.9 ms in the wasm blob.

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
    // Measured: 15441 to 49979 ns.
    fn create_run(s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(33426000, 305)
            .saturating_add(Weight::from_parts(82221, 0).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(5))
            .saturating_add(db.writes(5))
    }

    // Measured: 961900 to 1069427 ns.
    fn register() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(2062751665, 46444).saturating_add(db.reads(272)).saturating_add(db.writes(9))
    }

    // Measured: 985236 to 1094141 ns.
    fn register_now() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(2108873090, 44646).saturating_add(db.reads(275)).saturating_add(db.writes(17))
    }

    // Measured: 79221 to 85712 ns.
    fn bond() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(175458345, 2951).saturating_add(db.reads(4)).saturating_add(db.writes(3))
    }

    // `a` from 1 to 5.
    // Measured: 107656 to 125640 ns.
    fn serve(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(238087491, 2427)
            .saturating_add(Weight::from_parts(337170, 0).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(4))
            .saturating_add(db.writes(2))
    }

    // Measured: 111837 to 124523 ns.
    fn leave() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(243552130, 14168).saturating_add(db.reads(8)).saturating_add(db.writes(9))
    }

    // Measured: 86624 to 97110 ns.
    fn commit_work() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(194966985, 17511).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 82790 to 88882 ns.
    fn attest() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(180599475, 17722).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 82704 to 185446 ns.
    fn blind_merge() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(181900470, 17698).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // `h` from 1 to 63.
    // Measured: 78268 to 330288 ns.
    fn open_merge(h: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(129093238, 4288)
            .saturating_add(Weight::from_parts(5323955, 1077).saturating_mul(u64::from(h)))
            .saturating_add(db.reads(6))
            .saturating_add(db.writes(2))
    }

    // Measured: 84508 to 94466 ns.
    fn commit_root() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(185958485, 17698).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 86202 to 146634 ns.
    fn commit_scores() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(192983020, 17936).saturating_add(db.reads(6)).saturating_add(db.writes(1))
    }

    // `e` from 0 to 256.
    // Measured: 54112 to 106005 ns.
    fn reveal_scores(e: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(118144331, 18983)
            .saturating_add(Weight::from_parts(103475, 0).saturating_mul(u64::from(e)))
            .saturating_add(db.reads(7))
            .saturating_add(db.writes(1))
    }

    // Measured: 64810 to 152111 ns.
    fn claim() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(142325920, 2178).saturating_add(db.reads(4)).saturating_add(db.writes(4))
    }

    // Measured: 89147 to 96087 ns.
    fn release() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(192421560, 5126).saturating_add(db.reads(6)).saturating_add(db.writes(4))
    }

    // Measured: 49794 to 108811 ns.
    fn unbond() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(110900920, 1567).saturating_add(db.reads(3)).saturating_add(db.writes(2))
    }

    // Measured: 61367 to 64410 ns.
    fn withdraw() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(130447270, 1713).saturating_add(db.reads(3)).saturating_add(db.writes(3))
    }

    // Measured: 51807 to 58290 ns.
    fn resume() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(115308800, 2607).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 120734 to 217589 ns.
    fn swap_hotkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(263402255, 4765).saturating_add(db.reads(7)).saturating_add(db.writes(3))
    }

    // Measured: 49398 to 57286 ns.
    fn announce_coldkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(109371570, 1399).saturating_add(db.reads(2)).saturating_add(db.writes(1))
    }

    // Measured: 48327 to 58667 ns.
    fn cancel_coldkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(115011310, 1474).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 114272 to 180506 ns.
    fn take_over() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(249273575, 4654).saturating_add(db.reads(8)).saturating_add(db.writes(7))
    }

    // Measured: 211604 to 310068 ns.
    fn accuse() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(456343375, 22435).saturating_add(db.reads(73)).saturating_add(db.writes(4))
    }

    // Measured: 222067 to 298270 ns.
    fn vote() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(473214410, 23847).saturating_add(db.reads(18)).saturating_add(db.writes(12))
    }

    // Measured: 100118 to 109050 ns.
    fn request_evidence() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(216122295, 18179).saturating_add(db.reads(8)).saturating_add(db.writes(1))
    }

    // Measured: 97707 to 187313 ns.
    fn answer_evidence() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(215852040, 17948).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // Measured: 83707 to 150543 ns.
    fn commit_transcripts() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(183379540, 17936).saturating_add(db.reads(6)).saturating_add(db.writes(1))
    }

    // `t` from 1 to 2.
    // Measured: 89134 to 97999 ns.
    fn submit_transcripts(_t: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(200278229, 18078).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // Measured: 276713 to 375010 ns.
    fn report_equivocation() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(597031005, 17663).saturating_add(db.reads(16)).saturating_add(db.writes(8))
    }

    // `s` from 1 to 64.
    // Measured: 29070 to 40487 ns.
    fn sponsor_run(s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(64945367, 266)
            .saturating_add(Weight::from_parts(32523, 0).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(4))
            .saturating_add(db.writes(7))
    }

    // Measured: 55363 to 60755 ns.
    fn set_run_share() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(122125930, 2049).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // `s` from 1 to 64.
    // Measured: 12772 to 22380 ns.
    fn schedule_params(s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(27635667, 694)
            .saturating_add(Weight::from_parts(149891, 16).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(2))
            .saturating_add(db.writes(1))
    }

    // Measured: 48046 to 53943 ns.
    fn pause_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(106537035, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 52823 to 57466 ns.
    fn resume_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(116270405, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(2))
    }

    // Measured: 57545 to 75618 ns.
    fn end_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(127665110, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(4))
    }

    // Measured: 95787 to 177407 ns.
    fn attest_root() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(207438520, 20130).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // Measured: 94317 to 99521 ns.
    fn vote_rollback() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(202429375, 18427).saturating_add(db.reads(8)).saturating_add(db.writes(1))
    }

    // Measured: 59779 to 66099 ns.
    fn roll_back() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(130034555, 2385).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // `r` from 0 to 4.
    // Measured: 2523 to 28040 ns.
    fn hook_idle(r: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(9455657, 762)
            .saturating_add(Weight::from_parts(11833692, 337).saturating_mul(u64::from(r)))
            .saturating_add(db.reads(1))
            .saturating_add(db.reads(2).saturating_mul(u64::from(r)))
    }

    // `n` from 0 to 256.
    // Measured: 15876 to 873093 ns.
    fn hook_waiting(n: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(35660188, 2159)
            .saturating_add(Weight::from_parts(5894911, 145).saturating_mul(u64::from(n)))
            .saturating_add(db.reads(4))
            .saturating_add(db.reads(1).saturating_mul(u64::from(n)))
    }

    // `m` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 393992 to 1691315 ns.
    fn hook_start(m: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(36292423, 1404)
            .saturating_add(Weight::from_parts(12204649, 148).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(0, 16).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(5))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(1).saturating_mul(u64::from(m)))
    }

    // `c` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 43437 to 214979 ns.
    fn hook_extend(c: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(26093255, 17508)
            .saturating_add(Weight::from_parts(246481, 154).saturating_mul(u64::from(c)))
            .saturating_add(Weight::from_parts(4282832, 0).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1))
    }

    // Measured: 44279 to 51280 ns.
    fn hook_seed() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(95980330, 1906).saturating_add(db.reads(4)).saturating_add(db.writes(2))
    }

    // `c` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 87843 to 335752 ns.
    fn hook_entries(c: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(30036673, 708)
            .saturating_add(Weight::from_parts(514889, 218).saturating_mul(u64::from(c)))
            .saturating_add(Weight::from_parts(6967857, 45).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1).saturating_mul(u64::from(s)))
    }

    // `p` from 0 to 8064.
    // `s` from 4 to 64.
    // Measured: 177080 to 545155 ns.
    fn hook_shards(p: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(9124570, 1114)
            .saturating_add(Weight::from_parts(78006, 7).saturating_mul(u64::from(p)))
            .saturating_add(Weight::from_parts(5995765, 303).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1).saturating_mul(u64::from(s)))
    }

    // `m` from 64 to 192.
    // `v` from 1 to 64.
    // Measured: 2443280 to 7525240 ns.
    fn close_settle(m: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(5292724200, 122505)
            .saturating_add(Weight::from_parts(14610851, 393).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(63026735, 1646).saturating_mul(u64::from(v)))
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
    // Measured: 922251 to 1652745 ns.
    fn close_record(m: u32, s: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(1937789105, 3844)
            .saturating_add(Weight::from_parts(2650655, 372).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(7774007, 139).saturating_mul(u64::from(s)))
            .saturating_add(Weight::from_parts(0, 147).saturating_mul(u64::from(v)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.reads(2).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(1).saturating_mul(u64::from(v)))
            .saturating_add(db.writes(4))
            .saturating_add(db.writes(2).saturating_mul(u64::from(s)))
    }

    // `n` from 0 to 256.
    // Measured: 6820 to 1332275 ns.
    fn close_retire(n: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(33952436, 577)
            .saturating_add(Weight::from_parts(10324160, 156).saturating_mul(u64::from(n)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(1).saturating_mul(u64::from(n)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(n)))
    }

    // `m` from 64 to 256.
    // `s` from 4 to 64.
    // `v` from 1 to 64.
    // Measured: 848772 to 2314438 ns.
    fn close_turn(m: u32, s: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(1784271695, 1856)
            .saturating_add(Weight::from_parts(9189615, 253).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(0, 16).saturating_mul(u64::from(s)))
            .saturating_add(Weight::from_parts(2102790, 324).saturating_mul(u64::from(v)))
            .saturating_add(db.reads(6))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.reads(3).saturating_mul(u64::from(v)))
            .saturating_add(db.writes(8))
            .saturating_add(db.writes(1).saturating_mul(u64::from(m)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(v)))
    }

    // `l` from 0 to 64.
    // Measured: 1010 to 1889744 ns.
    fn close_leaving(l: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(54430388, 5333)
            .saturating_add(Weight::from_parts(57569524, 384).saturating_mul(u64::from(l)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(3).saturating_mul(u64::from(l)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(7).saturating_mul(u64::from(l)))
    }

    // `a` from 0 to 32.
    // Measured: 5052 to 165859 ns.
    fn close_arrivals(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(14503738, 235)
            .saturating_add(Weight::from_parts(7628082, 73).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(2))
            .saturating_add(db.writes(2))
            .saturating_add(db.writes(2).saturating_mul(u64::from(a)))
    }

    // `w` from 0 to 64.
    // Measured: 11962 to 1478423 ns.
    fn close_swaps(w: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(41827601, 4623)
            .saturating_add(Weight::from_parts(39857906, 558).saturating_mul(u64::from(w)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(3).saturating_mul(u64::from(w)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(6).saturating_mul(u64::from(w)))
    }

    // `h` from 0 to 192.
    // Measured: 65587 to 3930116 ns.
    fn close_evidence(h: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(230659465, 24458)
            .saturating_add(Weight::from_parts(41238490, 848).saturating_mul(u64::from(h)))
            .saturating_add(db.reads(6))
            .saturating_add(db.reads(5).saturating_mul(u64::from(h)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(5).saturating_mul(u64::from(h)))
    }

    // `a` from 0 to 64.
    // Measured: 22584 to 2576929 ns.
    fn close_verdicts(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(132741396, 4634)
            .saturating_add(Weight::from_parts(80228541, 789).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(1))
            .saturating_add(db.reads(4).saturating_mul(u64::from(a)))
            .saturating_add(db.writes(2))
            .saturating_add(db.writes(4).saturating_mul(u64::from(a)))
    }

    // Measured: 48496 to 59416 ns.
    fn close_end() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(104477650, 2115).saturating_add(db.reads(13)).saturating_add(db.writes(10))
    }

    // Measured: 5480 to 7491 ns.
    fn ended_look() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(11780185, 239).saturating_add(db.reads(2))
    }

    // Measured: 237462 to 311018 ns.
    fn ended_step() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(508366415, 7553).saturating_add(db.reads(130)).saturating_add(db.writes(263))
    }
}
