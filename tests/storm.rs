//! Two minutes of storm with real processes, of which `scripts/bench storm` is the whole: miners, validators and
//! nodes behind links of their own are killed, stopped, cut off, throttled, out of disk and joined by another, by a
//! seeded schedule, and nothing that was committed is lost. What a storm costs in tokens is printed and not asked
//! for: other networks share the machine.
//!
//! Needs root for its network namespaces; says so and passes without, but in the gate. Needs `IOTA_BIN_CHAIN` and `IOTA_BIN_WORK`.

use iota_tests::outcome::{load, Frame};
use iota_tests::storm::trial::{self, Trial};

fn is_root() -> bool {
    // Safety: asks for a number.
    #[expect(unsafe_code, reason = "the standard library does not say who we are")]
    let root = unsafe { libc::geteuid() } == 0;
    root
}

#[test]
fn nothing_committed_is_lost_in_two_minutes_of_storm() {
    if !is_root() {
        let missing = "skipped: a storm makes network namespaces and mounts, for which it takes root";
        assert!(std::env::var_os("IOTA_NO_SKIP").is_none(), "{missing}");
        println!("{missing}");
        return;
    }
    let (start, before) = (std::time::Instant::now(), load());
    iota_compute::init_runtime(1);
    let outcome = tokio::runtime::Runtime::new().unwrap().block_on(trial::run(&Trial::short())).unwrap();
    let frame = Frame {
        command: "scripts/test".into(),
        date: String::new(),
        seconds: start.elapsed().as_secs(),
        load: [before, load()],
    };
    let page = outcome.page(&frame).unwrap();
    eprintln!("{page}");
    assert!(outcome.holds(), "{page}");
}
