//! What the C library's allocator is told, so that a program that runs for weeks keeps the size that it needs.
//! Other allocators have their own ways; there none of this does anything.

/// All threads share one heap. To be called first in `main`, before any thread is started.
///
/// Otherwise each of the runtime's threads may get one of its own, which keeps the most that a replay or a merge ever
/// took there: resident memory grows until all of them have had one (`docs/results/memory.md`).
/// Returns whether the allocator took it.
pub fn share() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: two numbers in. A refusal changes nothing.
    let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) } == 1;
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let taken = false;
    taken
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    #[test]
    fn the_allocator_takes_it() {
        assert!(super::share());
    }
}
