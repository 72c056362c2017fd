//! The counter of libtorch operators (`operators.cpp`), loaded at run time.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::{c_char, c_void, CStr, CString};
use std::path::Path;

/// How often each operator ran.
pub type Counts = BTreeMap<String, u64>;

/// Operators that `work` runs.
///
/// # Errors
/// When the library cannot be loaded, or those of `work`.
pub fn count(
    library: &Path,
    work: impl FnOnce() -> Result<(), Box<dyn Error>>,
) -> Result<Counts, Box<dyn Error>> {
    let path = CString::new(library.as_os_str().as_encoded_bytes())?;
    // SAFETY: the library is built by `scripts/bench` from the source beside this file: loading it only
    // constructs an empty map, it is never closed, and its two symbols have the types given here.
    let text = unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        if handle.is_null() {
            return Err(format!("{} cannot be loaded", library.display()).into());
        }
        let (start, stop) = (
            libc::dlsym(handle, c"operators_start".as_ptr()),
            libc::dlsym(handle, c"operators_stop".as_ptr()),
        );
        if start.is_null() || stop.is_null() {
            return Err(format!("{} is not the counter", library.display()).into());
        }
        let start = std::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(start);
        let stop = std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> *const c_char>(stop);
        start();
        let done = work();
        let text = CStr::from_ptr(stop()).to_str()?.to_owned();
        done?;
        text
    };
    parse(&text)
}

/// Counts from lines "name count".
///
/// # Errors
/// When a line is something else.
pub fn parse(text: &str) -> Result<Counts, Box<dyn Error>> {
    let line = |line: &str| -> Result<(String, u64), Box<dyn Error>> {
        let (name, count) = line.rsplit_once(' ').ok_or_else(|| format!("not a count: {line:?}"))?;
        Ok((name.to_owned(), count.parse()?))
    };
    text.lines().map(line).collect()
}
