//! Weights of `pallet-iota`, written by `scripts/weights` from measurements, not by hand.
//!
//! Machine: Intel(R) Xeon(R) Processor, 2 cores, with other work beside. Date: 2026-11-23.
//! Command: iota-weights --steps 5 --repeats 5, the program that scripts/weights builds and runs.
//! Steps 5, repeats 5; least squares without outliers.
//! Processor time of one thread, measured natively and multiplied by 1.944:
//! a `Close` of 48 miners and 16 validators took 2.5 ms natively and 4.9 ms in the wasm blob.

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
    // Measured: 17950 to 102724 ns.
    fn create_run(s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(40904389, 305)
            .saturating_add(Weight::from_parts(266857, 0).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(5))
            .saturating_add(db.writes(5))
    }

    // Measured: 1287448 to 1621500 ns.
    fn register() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(2708116416, 46444).saturating_add(db.reads(272)).saturating_add(db.writes(9))
    }

    // Measured: 164698 to 221117 ns.
    fn bond() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(358751592, 2951).saturating_add(db.reads(4)).saturating_add(db.writes(3))
    }

    // `a` from 1 to 5.
    // Measured: 167075 to 464217 ns.
    fn serve(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(368526542, 2427)
            .saturating_add(Weight::from_parts(26339256, 0).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(4))
            .saturating_add(db.writes(2))
    }

    // Measured: 128244 to 257457 ns.
    fn leave() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(458154144, 4401).saturating_add(db.reads(7)).saturating_add(db.writes(8))
    }

    // Measured: 155500 to 279012 ns.
    fn commit_work() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(518756400, 17511).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 174577 to 258860 ns.
    fn attest() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(434746440, 17722).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 163224 to 227831 ns.
    fn blind_merge() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(416758608, 17698).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // `h` from 1 to 63.
    // Measured: 136412 to 527565 ns.
    fn open_merge(h: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(303352727, 4288)
            .saturating_add(Weight::from_parts(7628892, 1094).saturating_mul(u64::from(h)))
            .saturating_add(db.reads(6))
            .saturating_add(db.writes(2))
    }

    // Measured: 152462 to 186025 ns.
    fn commit_root() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(335756016, 17698).saturating_add(db.reads(5)).saturating_add(db.writes(1))
    }

    // Measured: 126733 to 195905 ns.
    fn commit_scores() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(262591632, 17936).saturating_add(db.reads(6)).saturating_add(db.writes(1))
    }

    // `e` from 0 to 256.
    // Measured: 75533 to 200058 ns.
    fn reveal_scores(e: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(225728597, 18983)
            .saturating_add(Weight::from_parts(160033, 0).saturating_mul(u64::from(e)))
            .saturating_add(db.reads(7))
            .saturating_add(db.writes(1))
    }

    // Measured: 103803 to 209136 ns.
    fn claim() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(320137920, 2178).saturating_add(db.reads(4)).saturating_add(db.writes(4))
    }

    // Measured: 175579 to 269225 ns.
    fn release() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(386292240, 5126).saturating_add(db.reads(6)).saturating_add(db.writes(4))
    }

    // Measured: 158189 to 179664 ns.
    fn unbond() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(333172440, 1567).saturating_add(db.reads(3)).saturating_add(db.writes(2))
    }

    // Measured: 86586 to 113203 ns.
    fn withdraw() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(192141072, 1713).saturating_add(db.reads(3)).saturating_add(db.writes(3))
    }

    // Measured: 98541 to 428975 ns.
    fn resume() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(364319208, 2607).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 198642 to 289249 ns.
    fn swap_hotkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(486742608, 4765).saturating_add(db.reads(7)).saturating_add(db.writes(3))
    }

    // Measured: 106223 to 156730 ns.
    fn announce_coldkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(250499952, 1399).saturating_add(db.reads(2)).saturating_add(db.writes(1))
    }

    // Measured: 106235 to 194606 ns.
    fn cancel_coldkey() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(348417288, 1474).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 181993 to 355699 ns.
    fn take_over() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(380182248, 4654).saturating_add(db.reads(8)).saturating_add(db.writes(7))
    }

    // Measured: 295466 to 461071 ns.
    fn accuse() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(648042120, 22435).saturating_add(db.reads(73)).saturating_add(db.writes(4))
    }

    // Measured: 323368 to 456733 ns.
    fn vote() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(786001968, 23847).saturating_add(db.reads(18)).saturating_add(db.writes(12))
    }

    // Measured: 166594 to 255813 ns.
    fn request_evidence() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(400189896, 18147).saturating_add(db.reads(8)).saturating_add(db.writes(1))
    }

    // Measured: 128721 to 268592 ns.
    fn answer_evidence() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(463502088, 17916).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // Measured: 123576 to 267222 ns.
    fn commit_transcripts() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(339266880, 17936).saturating_add(db.reads(6)).saturating_add(db.writes(1))
    }

    // `t` from 1 to 2.
    // Measured: 137226 to 349190 ns.
    fn submit_transcripts(t: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(348533279, 18078)
            .saturating_add(Weight::from_parts(70852968, 0).saturating_mul(u64::from(t)))
            .saturating_add(db.reads(7))
            .saturating_add(db.writes(1))
    }

    // Measured: 348247 to 593808 ns.
    fn report_equivocation() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(758342736, 7816).saturating_add(db.reads(13)).saturating_add(db.writes(8))
    }

    // `s` from 1 to 64.
    // Measured: 33350 to 118776 ns.
    fn sponsor_run(s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(80061698, 266)
            .saturating_add(Weight::from_parts(189156, 0).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(4))
            .saturating_add(db.writes(7))
    }

    // Measured: 103255 to 204740 ns.
    fn set_run_share() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(368409384, 2049).saturating_add(db.reads(7)).saturating_add(db.writes(1))
    }

    // `s` from 1 to 64.
    // Measured: 16551 to 96249 ns.
    fn schedule_params(s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(53877976, 694)
            .saturating_add(Weight::from_parts(0, 16).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(2))
            .saturating_add(db.writes(1))
    }

    // Measured: 87848 to 181893 ns.
    fn pause_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(223734960, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(1))
    }

    // Measured: 104407 to 197429 ns.
    fn resume_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(337820544, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(2))
    }

    // Measured: 104158 to 202000 ns.
    fn end_run() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(268538328, 2029).saturating_add(db.reads(3)).saturating_add(db.writes(4))
    }

    // Not measured yet, but above it: `vote`, which counts as many votes and reads and writes more.
    fn attest_root() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(786001968, 23847).saturating_add(db.reads(18)).saturating_add(db.writes(12))
    }

    // Not measured yet: as above.
    fn vote_rollback() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(786001968, 23847).saturating_add(db.reads(18)).saturating_add(db.writes(12))
    }

    // Not measured yet: as above.
    fn roll_back() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(786001968, 23847).saturating_add(db.reads(18)).saturating_add(db.writes(12))
    }

    // `r` from 0 to 4.
    // Measured: 3292 to 81813 ns.
    fn hook_idle(r: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(15685359, 762)
            .saturating_add(Weight::from_parts(12645849, 337).saturating_mul(u64::from(r)))
            .saturating_add(db.reads(1))
            .saturating_add(db.reads(2).saturating_mul(u64::from(r)))
    }

    // `n` from 0 to 256.
    // Measured: 18717 to 1306956 ns.
    fn hook_waiting(n: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(5847811, 2139)
            .saturating_add(Weight::from_parts(8785076, 146).saturating_mul(u64::from(n)))
            .saturating_add(db.reads(4))
            .saturating_add(db.reads(1).saturating_mul(u64::from(n)))
    }

    // `m` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 491245 to 2133689 ns.
    fn hook_start(m: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(1014097320, 1395)
            .saturating_add(Weight::from_parts(10876313, 148).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(0, 16).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(5))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(1).saturating_mul(u64::from(m)))
    }

    // `c` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 54922 to 353527 ns.
    fn hook_extend(c: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(90260550, 17508)
            .saturating_add(Weight::from_parts(76376, 151).saturating_mul(u64::from(c)))
            .saturating_add(Weight::from_parts(5033300, 0).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1))
    }

    // Measured: 81384 to 133170 ns.
    fn hook_seed() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(208789488, 1906).saturating_add(db.reads(4)).saturating_add(db.writes(2))
    }

    // `c` from 64 to 256.
    // `s` from 4 to 64.
    // Measured: 108184 to 606131 ns.
    fn hook_entries(c: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(78651941, 707)
            .saturating_add(Weight::from_parts(539402, 218).saturating_mul(u64::from(c)))
            .saturating_add(Weight::from_parts(9278184, 45).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1).saturating_mul(u64::from(s)))
    }

    // `p` from 0 to 8064.
    // `s` from 4 to 64.
    // Measured: 209117 to 719039 ns.
    fn hook_shards(p: u32, s: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(408012552, 704)
            .saturating_add(Weight::from_parts(64438, 7).saturating_mul(u64::from(p)))
            .saturating_add(Weight::from_parts(3770175, 263).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1).saturating_mul(u64::from(s)))
    }

    // `m` from 64 to 192.
    // `v` from 1 to 64.
    // Measured: 3615682 to 11755005 ns.
    fn close_settle(m: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(7234240248, 122505)
            .saturating_add(Weight::from_parts(23178208, 391).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(73116531, 1673).saturating_mul(u64::from(v)))
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
    // Measured: 879987 to 2262990 ns.
    fn close_record(m: u32, s: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(1845314784, 1100)
            .saturating_add(Weight::from_parts(5581944, 372).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(3561276, 61).saturating_mul(u64::from(s)))
            .saturating_add(Weight::from_parts(862722, 147).saturating_mul(u64::from(v)))
            .saturating_add(db.reads(1))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.reads(1).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(1).saturating_mul(u64::from(v)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(1).saturating_mul(u64::from(s)))
            // Not measured yet: a full ballot of each stage, and the checkpoints.
            .saturating_add(Weight::from_parts(40000000, 2500).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(2).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(1).saturating_mul(u64::from(s)))
            .saturating_add(db.reads(3))
            .saturating_add(db.writes(4))
    }

    // `n` from 0 to 256.
    // Measured: 8217 to 2124865 ns.
    fn close_retire(n: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(16722288, 542)
            .saturating_add(Weight::from_parts(14252326, 156).saturating_mul(u64::from(n)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(1).saturating_mul(u64::from(n)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(n)))
    }

    // `m` from 64 to 256.
    // `s` from 4 to 64.
    // `v` from 1 to 64.
    // Measured: 1294245 to 3430358 ns.
    fn close_turn(m: u32, s: u32, v: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(2558875536, 1848)
            .saturating_add(Weight::from_parts(11726166, 253).saturating_mul(u64::from(m)))
            .saturating_add(Weight::from_parts(0, 16).saturating_mul(u64::from(s)))
            .saturating_add(Weight::from_parts(7174784, 324).saturating_mul(u64::from(v)))
            .saturating_add(db.reads(6))
            .saturating_add(db.reads(1).saturating_mul(u64::from(m)))
            .saturating_add(db.reads(3).saturating_mul(u64::from(v)))
            .saturating_add(db.writes(8))
            .saturating_add(db.writes(1).saturating_mul(u64::from(m)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(s)))
            .saturating_add(db.writes(2).saturating_mul(u64::from(v)))
    }

    // `l` from 0 to 64.
    // Measured: 1402 to 2373919 ns.
    fn close_leaving(l: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(240250665, 3335)
            .saturating_add(Weight::from_parts(55798141, 369).saturating_mul(u64::from(l)))
            .saturating_add(db.reads(1))
            .saturating_add(db.reads(3).saturating_mul(u64::from(l)))
            .saturating_add(db.writes(7).saturating_mul(u64::from(l)))
    }

    // `a` from 0 to 32.
    // Measured: 6192 to 249528 ns.
    fn close_arrivals(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(30967143, 234)
            .saturating_add(Weight::from_parts(10053663, 73).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(2))
            .saturating_add(db.writes(2))
            .saturating_add(db.writes(2).saturating_mul(u64::from(a)))
    }

    // `w` from 0 to 64.
    // Measured: 84575 to 1948061 ns.
    fn close_swaps(w: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(414198878, 3734)
            .saturating_add(Weight::from_parts(44952059, 564).saturating_mul(u64::from(w)))
            .saturating_add(db.reads(1))
            .saturating_add(db.reads(3).saturating_mul(u64::from(w)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(6).saturating_mul(u64::from(w)))
    }

    // `h` from 0 to 192.
    // Measured: 133307 to 8247896 ns.
    fn close_evidence(h: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(267296112, 23608)
            .saturating_add(Weight::from_parts(72197935, 820).saturating_mul(u64::from(h)))
            .saturating_add(db.reads(6))
            .saturating_add(db.reads(5).saturating_mul(u64::from(h)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(5).saturating_mul(u64::from(h)))
    }

    // `a` from 0 to 64.
    // Measured: 28870 to 3759521 ns.
    fn close_verdicts(a: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(462335039, 4317)
            .saturating_add(Weight::from_parts(105474428, 795).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(1))
            .saturating_add(db.reads(4).saturating_mul(u64::from(a)))
            .saturating_add(db.writes(1))
            .saturating_add(db.writes(4).saturating_mul(u64::from(a)))
    }

    // Measured: 67912 to 213799 ns.
    fn close_end() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(201777480, 2115).saturating_add(db.reads(13)).saturating_add(db.writes(9))
    }

    // Measured: 7731 to 16032 ns.
    fn ended_look() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(15596712, 239).saturating_add(db.reads(2))
    }

    // Measured: 362646 to 561679 ns.
    fn ended_step() -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(733290408, 7553).saturating_add(db.reads(130)).saturating_add(db.writes(262))
    }
}
