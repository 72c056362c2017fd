//! What the crate's C++ has in common: how a call says that it failed, and tensors on their way through.

use std::ffi::{c_char, c_void, CStr};

use tch::{TchError, Tensor};

/// What a call answered: nothing, or a string that says what went wrong.
///
/// # Safety
/// `error` is null, or a string that ends in zero, allocated by the C library and owned by nothing else.
pub(crate) unsafe fn answer(error: *mut c_char) -> Result<(), TchError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's contract.
    let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    // SAFETY: as above, and not used any more.
    unsafe { libc::free(error.cast()) };
    Err(TchError::Torch(text))
}

/// Pointers to tensors, for as long as those live.
pub(crate) fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*const c_void> {
    tensors.into_iter().map(|tensor| tensor.as_ptr().cast::<c_void>()).collect()
}

/// The tensor that a call made.
///
/// # Safety
/// `tensor` is a new `at::Tensor` that nothing else owns.
pub(crate) unsafe fn owned(tensor: *mut c_void) -> Tensor {
    // SAFETY: the caller's contract.
    unsafe { Tensor::from_ptr(tensor.cast()) }
}
