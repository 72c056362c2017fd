//! Tensor memory on the host, read and written in place of a copy.
//!
//! Used where values pass between libtorch and our own code: codecs, optimizer, hashes. The only
//! place that turns a tensor's pointer into a slice.

use std::borrow::Cow;
use std::slice;

use tch::{Device, Kind, TchError, Tensor};

/// Values of a contiguous fp32 tensor on the host, in place.
///
/// # Errors
/// [`TchError::Shape`] for any other tensor: make it contiguous, fp32 and local first.
pub(crate) fn values(tensor: &Tensor) -> Result<&[f32], TchError> {
    check(tensor)?;
    if tensor.numel() == 0 {
        return Ok(&[]);
    }
    // SAFETY: the tensor is contiguous fp32 on the host, so `numel` initialised values lie there, and
    // it keeps its storage alive for the borrow. This crate writes into storage only through
    // `values_mut`, which its callers use on storage that nothing has borrowed.
    Ok(unsafe { slice::from_raw_parts(tensor.data_ptr().cast::<f32>(), tensor.numel()) })
}

/// Values of a contiguous fp32 tensor on the host, to be changed. No view of the same storage may be
/// read through [`values`] meanwhile, and no autograd graph may wait on it.
///
/// # Errors
/// As [`values`].
pub(crate) fn values_mut(tensor: &mut Tensor) -> Result<&mut [f32], TchError> {
    check(tensor)?;
    if tensor.numel() == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as in `values`; that nothing else reads or writes the storage is the caller's side.
    Ok(unsafe { slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), tensor.numel()) })
}

/// The tensor as contiguous fp32 on the host: itself where it is that already, else a copy.
pub(crate) fn local(tensor: &Tensor) -> Result<Tensor, TchError> {
    if check(tensor).is_ok() {
        return Ok(tensor.shallow_clone());
    }
    tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()
}

/// The bytes of values in little endian: the values' own memory where the machine is little endian.
pub(crate) fn bytes(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        // SAFETY: the slice covers exactly the values' memory, bytes have no alignment, and every bit
        // pattern is a byte.
        Cow::Borrowed(unsafe { slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) })
    } else {
        Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

fn check(tensor: &Tensor) -> Result<(), TchError> {
    let (kind, device) = (tensor.f_kind()?, tensor.device());
    if kind == Kind::Float && device == Device::Cpu && tensor.is_contiguous() {
        return Ok(());
    }
    Err(TchError::Shape(format!("expected a contiguous fp32 tensor on the host, got {kind:?} on {device:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_tensors_own() {
        let mut tensor = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]);
        values_mut(&mut tensor).unwrap()[2] = 7.0;
        assert_eq!(values(&tensor).unwrap(), [1.0, 2.0, 7.0, 4.0]);
        assert_eq!(tensor.double_value(&[2]), 7.0);
        assert_eq!(values(&local(&tensor).unwrap()).unwrap().as_ptr(), values(&tensor).unwrap().as_ptr());
    }

    #[test]
    fn other_tensors_are_refused_until_made_local() {
        let turned = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view_([2, 2]).transpose(0, 1);
        assert!(values(&turned).is_err());
        assert_eq!(values(&local(&turned).unwrap()).unwrap(), [1.0, 3.0, 2.0, 4.0]);
        assert!(values(&Tensor::from_slice(&[1i64])).is_err());
    }

    #[test]
    fn bytes_are_little_endian() {
        assert_eq!(bytes(&[1.0, -2.0]).as_ref(), [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
        assert!(bytes(&[]).is_empty());
    }

    #[test]
    fn an_empty_tensor_has_no_values() {
        assert!(values(&Tensor::zeros([0], (Kind::Float, Device::Cpu))).unwrap().is_empty());
    }
}
