//! Autograd from a gradient that is given.
//!
//! The binding differentiates sums only: it starts from ones. A stage starts from what the next one sent;
//! multiplying its output by that first would do, at the price of operators that PyTorch does not have. The
//! other side of this file is `gradients.cpp`.

use std::ffi::{c_char, c_void};
use std::ptr;

use tch::{TchError, Tensor};

use crate::native;

unsafe extern "C" {
    fn iota_gradients(
        output: *const c_void,
        gradient: *const c_void,
        inputs: *const *const c_void,
        count: usize,
        gradients: *mut *mut c_void,
    ) -> *mut c_char;
}

/// Gradients by `inputs`, given the `gradient` by `output`, of the same shape. Frees the graph between them.
///
/// # Errors
/// [`TchError::Torch`]: out of memory, an input that the output does not depend on, or another shape.
pub(crate) fn gradients(
    output: &Tensor,
    gradient: &Tensor,
    inputs: &[&Tensor],
) -> Result<Vec<Tensor>, TchError> {
    let pointers = native::pointers(inputs.iter().copied());
    let mut found = vec![ptr::null_mut(); inputs.len()];
    // SAFETY: tensors of the binding are pointers to `at::Tensor`, which live as long as the borrows; both
    // arrays have `count` places, and the answer is that of `native.h`.
    unsafe {
        native::answer(iota_gradients(
            output.as_ptr().cast(),
            gradient.as_ptr().cast(),
            pointers.as_ptr(),
            pointers.len(),
            found.as_mut_ptr(),
        ))
    }?;
    // SAFETY: without an error each place holds a new tensor that nothing else owns.
    Ok(found.into_iter().map(|tensor| unsafe { native::owned(tensor) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    #[test]
    fn hand_worked_gradients() {
        // y = x·w; by x it is w·g, by w it is x·g.
        let (x, w) = (leaf(&[2.0, 3.0]), leaf(&[5.0, 7.0]));
        let y = &x * &w;
        let found = gradients(&y, &Tensor::from_slice(&[0.5f32, -1.0]), &[&w, &x]).unwrap();
        assert_eq!(found, [Tensor::from_slice(&[1.0f32, -3.0]), Tensor::from_slice(&[2.5f32, -7.0])]);
        assert!(found.iter().all(|gradient| !gradient.requires_grad()));
    }

    #[test]
    fn what_libtorch_refuses_is_an_error() {
        let (x, other) = (leaf(&[2.0, 3.0]), leaf(&[1.0]));
        let ones = Tensor::from_slice(&[1.0f32, 1.0]);
        let refused = |output: &Tensor, gradient: &Tensor, input: &Tensor| {
            gradients(output, gradient, &[input]).unwrap_err().to_string()
        };
        assert!(refused(&(&x * 2.0), &ones, &other).contains("not have been used"));
        assert!(!refused(&(&x * 2.0), &Tensor::from_slice(&[1.0f32]), &x).is_empty());
        let y = &x * &x;
        assert_eq!(gradients(&y, &ones, &[&x]).unwrap(), [Tensor::from_slice(&[4.0f32, 6.0])]);
        assert!(!refused(&y, &ones, &x).is_empty(), "the graph is gone");
    }
}
