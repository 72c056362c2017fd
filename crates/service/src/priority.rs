//! Being a good neighbour: training yields the processor to whatever else the machine's owner does.

use std::io;

/// The weakest claim on the processor that the system knows.
const NICEST: libc::c_int = 19;

/// Lowers the scheduling priority of the calling thread, and of threads it spawns later, to nice 19.
///
/// On Linux niceness belongs to the thread: call this first in `main`, before any runtime starts.
///
/// # Errors
/// What the operating system says; the program runs on with the priority it had.
pub fn lower() -> io::Result<()> {
    // SAFETY: plain numbers in, a status out; 0 means the caller.
    let status = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICEST) };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowered_thread_is_nicest_and_passes_it_on() {
        let nice = || {
            // SAFETY: as above. -1 would be an error or a niceness that no test runs with.
            unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
        };
        let seen = std::thread::spawn(move || {
            lower().expect("lowering is always allowed");
            (nice(), std::thread::spawn(nice).join().expect("no panic"))
        });
        assert_eq!(seen.join().expect("no panic"), (NICEST, NICEST));
    }
}
