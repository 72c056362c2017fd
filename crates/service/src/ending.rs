//! How a process ends once its work is over: without waiting for what nobody needs any more.
//!
//! A runtime that is dropped waits for its blocking tasks, and an ordinary exit runs the destructors of every library
//! while threads still compute in one of them. A replay for an audit takes many seconds at the lowest priority on a
//! busy machine, so that a stopped worker stood there for half a minute. Whatever counts is on disk by then: files
//! are written whole and renamed, and a journal survives a torn tail.

use std::future::Future;
use std::io::Write;
use std::time::Duration;

use tokio::runtime::Runtime;

/// For blocking tasks that are about to end anyway, such as one that writes a file.
const BLOCKING: Duration = Duration::from_millis(500);

/// Runs `work` to its end on `runtime` and takes the runtime down. Blocking tasks that go on for longer than half a
/// second are left behind.
pub fn finish<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(BLOCKING);
    result
}

/// Ends the process with that code at once: what was printed is flushed, destructors of libraries do not run.
pub fn at_once(code: u8) -> ! {
    // Whoever read our output may be gone; nobody is left to be told.
    let _printed = std::io::stdout().flush();
    let _complained = std::io::stderr().flush();
    #[expect(unsafe_code, reason = "the standard library knows no exit without destructors")]
    // SAFETY: the call never returns, so that nothing can be used after it.
    unsafe {
        libc::_exit(i32::from(code))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_blocking_task_does_not_hold_the_end_up() {
        let runtime = Runtime::new().unwrap();
        let (free, held) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = std::sync::mpsc::channel::<()>();
        let started = Instant::now();
        let answer = finish(runtime, async move {
            tokio::task::spawn_blocking(move || {
                begun.send(()).unwrap();
                // Until the test lets go of it, or for far longer than the test waits.
                let _freed = held.recv_timeout(Duration::from_secs(60));
            });
            tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();
            7
        });
        assert_eq!(answer, 7);
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        drop(free);
    }

    #[test]
    fn a_blocking_task_that_is_about_to_end_does_end() {
        let runtime = Runtime::new().unwrap();
        let (done, ended) = std::sync::mpsc::channel::<()>();
        finish(runtime, async move {
            tokio::task::spawn_blocking(move || done.send(()).unwrap());
        });
        ended.recv().expect("it was sent");
    }

    /// Set in the process that the test starts of itself.
    const CHILD: &str = "IOTA_TEST_OF_ENDING";

    #[test]
    fn the_process_ends_with_its_code_and_what_it_printed() {
        if std::env::var_os(CHILD).is_some() {
            print!("said without a line's end");
            at_once(3);
        }
        let own = std::env::current_exe().unwrap();
        let name = "ending::tests::the_process_ends_with_its_code_and_what_it_printed";
        let output = std::process::Command::new(own)
            .args([name, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("said without a line's end"), "{said}");
    }
}
