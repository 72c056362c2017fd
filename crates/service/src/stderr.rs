//! Standard error in a file, while a view has the terminal: whatever is written there, by us or by a
//! library, would draw over the view.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Standard error goes to a file for as long as this lives.
#[derive(Debug)]
pub struct Diverted {
    saved: OwnedFd,
}

impl Diverted {
    /// Diverts it.
    ///
    /// # Errors
    /// What the system says, for one when the program has no descriptors left.
    pub fn into(file: &File) -> io::Result<Self> {
        let saved = io::stderr().as_fd().try_clone_to_owned()?;
        replace(file.as_fd())?;
        Ok(Self { saved })
    }
}

impl Drop for Diverted {
    fn drop(&mut self) {
        // Where it cannot be undone there is nowhere to say so.
        drop(replace(self.saved.as_fd()));
    }
}

fn replace(by: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open; nobody owns standard error's as a value that could be closed.
    let status = unsafe { libc::dup2(by.as_raw_fd(), libc::STDERR_FILENO) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_written_meanwhile_is_in_the_file() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("log");
        let file = File::create(&path).expect("a file");
        {
            let _diverted = Diverted::into(&file).expect("diverted");
            // Not eprintln, which the test harness captures before it reaches the descriptor.
            io::stderr().write_all(b"to the file\n").expect("written");
        }
        io::stderr().write_all(b"").expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.contains("to the file"), "{text:?}");
    }
}
