//! The way between the host and the device that computes.
//!
//! On a GPU, codes are decoded into page-locked memory and copied on a stream of their own, while the device
//! still computes the pass before; what a pass gave is copied back likewise, while the device computes the
//! next. Each direction is one copy. On the host there is no way to go: tensors are what they are, and
//! nothing is copied. The other side of this file is `staging.cpp`.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::{self, NonNull};

use tch::{Device, Kind, TchError, Tensor};

use crate::native;

unsafe extern "C" {
    fn iota_stream(device: c_int, stream: *mut *mut c_void) -> *mut c_char;
    fn iota_stream_free(stream: *mut c_void);
    fn iota_page_locked(values: i64, tensor: *mut *mut c_void) -> *mut c_char;
    fn iota_upload(tensor: *const c_void, stream: *const c_void, copy: *mut *mut c_void) -> *mut c_char;
    fn iota_download(tensor: *const c_void, stream: *const c_void, download: *mut *mut c_void)
        -> *mut c_char;
    fn iota_download_wait(download: *mut c_void, tensor: *mut *mut c_void) -> *mut c_char;
    fn iota_download_free(download: *mut c_void);
}

/// Where a stage computes, and the way there.
pub(crate) struct Staging {
    device: Device,
    /// None where the device is the host.
    copies: Option<Stream>,
}

/// A stream of the device that nothing computes on.
struct Stream(NonNull<c_void>);

// SAFETY: a `c10::Stream` is a number and a device; it belongs to no thread.
unsafe impl Send for Stream {}
// SAFETY: nothing changes it.
unsafe impl Sync for Stream {}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made by `iota_stream`, and freed here alone.
        unsafe { iota_stream_free(self.0.as_ptr()) };
    }
}

/// Values on their way to the host.
pub(crate) struct Download(Way);

enum Way {
    /// There already.
    Here(Tensor),
    /// A copy that the device may not have made yet.
    Underway(Copy),
}

struct Copy(NonNull<c_void>);

// SAFETY: two tensors and an event, none of which belongs to a thread.
unsafe impl Send for Copy {}

impl Drop for Copy {
    fn drop(&mut self) {
        // SAFETY: made by `iota_download`, and forgotten where it is waited for.
        unsafe { iota_download_free(self.0.as_ptr()) };
    }
}

impl Staging {
    pub(crate) fn new(device: Device) -> Result<Self, TchError> {
        let copies = match device {
            Device::Cuda(index) => Some(stream(index)?),
            _ => None,
        };
        Ok(Self { device, copies })
    }

    /// Whether the device computes while the host does something else.
    pub(crate) fn is_asynchronous(&self) -> bool {
        self.copies.is_some()
    }

    /// Memory of the host that values are decoded into, for [`Self::upload`]: zeros.
    pub(crate) fn buffer(&self, values: usize) -> Result<Tensor, TchError> {
        if self.copies.is_none() {
            return Tensor::f_zeros([values as i64], (Kind::Float, Device::Cpu));
        }
        let mut tensor = ptr::null_mut();
        // SAFETY: there is a place for the tensor, which is new if there is no error.
        unsafe {
            native::answer(iota_page_locked(values as i64, &raw mut tensor))?;
            Ok(native::owned(tensor))
        }
    }

    /// A tensor of the host on the device; on the host itself.
    pub(crate) fn upload(&self, tensor: Tensor) -> Result<Tensor, TchError> {
        let Some(copies) = &self.copies else { return Ok(tensor) };
        let mut copy = ptr::null_mut();
        // SAFETY: tensor and stream live for the call; the copy is new if there is no error.
        unsafe {
            native::answer(iota_upload(tensor.as_ptr().cast(), copies.0.as_ptr(), &raw mut copy))?;
            Ok(native::owned(copy))
        }
    }

    /// Tokens of whole windows on the device, `[B, T]` in int64.
    pub(crate) fn upload_tokens(&self, tokens: &[u32], seq_len: i64) -> Result<Tensor, TchError> {
        let wide: Vec<i64> = tokens.iter().map(|token| i64::from(*token)).collect();
        self.upload(Tensor::f_from_slice(&wide)?.f_view_([-1, seq_len])?)
    }

    /// Begins to bring a tensor to the host, in the order of what the device was given so far.
    pub(crate) fn download(&self, tensor: &Tensor) -> Result<Download, TchError> {
        let Some(copies) = &self.copies else { return Ok(Download(Way::Here(tensor.shallow_clone()))) };
        let mut copy = ptr::null_mut();
        // SAFETY: tensor and stream live for the call, and the copy keeps what it reads.
        unsafe { native::answer(iota_download(tensor.as_ptr().cast(), copies.0.as_ptr(), &raw mut copy)) }?;
        let missing = || TchError::Torch("a copy that is none".into());
        Ok(Download(Way::Underway(Copy(NonNull::new(copy).ok_or_else(missing)?))))
    }

    /// Asks for the one value of a tensor; on the host it is known.
    pub(crate) fn ask(&self, tensor: &Tensor) -> Result<Scalar, TchError> {
        match self.is_asynchronous() {
            false => Ok(Scalar::Known(tensor.f_double_value(&[])?)),
            true => Ok(Scalar::Asked(self.download(tensor)?)),
        }
    }

    pub(crate) fn device(&self) -> Device {
        self.device
    }
}

impl Download {
    /// The tensor on the host, once it is there.
    pub(crate) fn wait(self) -> Result<Tensor, TchError> {
        let copy = match self.0 {
            Way::Here(tensor) => return Ok(tensor),
            Way::Underway(copy) => copy,
        };
        let mut tensor = ptr::null_mut();
        let pointer = copy.0.as_ptr();
        std::mem::forget(copy);
        // SAFETY: the copy was made by `iota_download` and is given up here; the tensor is new.
        unsafe {
            native::answer(iota_download_wait(pointer, &raw mut tensor))?;
            Ok(native::owned(tensor))
        }
    }
}

/// One number that the device computes.
pub(crate) enum Scalar {
    /// Known.
    Known(f64),
    /// On its way.
    Asked(Download),
}

impl Scalar {
    /// The number, if it is known without waiting.
    pub(crate) fn known(&self) -> Option<f64> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Asked(_) => None,
        }
    }

    /// The number, once it is there.
    pub(crate) fn wait(self) -> Result<f64, TchError> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Asked(download) => download.wait()?.f_double_value(&[]),
        }
    }
}

fn stream(device: usize) -> Result<Stream, TchError> {
    let index = c_int::try_from(device).map_err(|_| TchError::Torch(format!("no device {device}")))?;
    let mut stream = ptr::null_mut();
    // SAFETY: there is a place for the stream.
    unsafe { native::answer(iota_stream(index, &raw mut stream)) }?;
    NonNull::new(stream).map(Stream).ok_or_else(|| TchError::Torch("a stream that is none".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host, init_runtime};

    /// Both ways and back, on the host and on a GPU where there is one; what is uploaded while the device is busy
    /// arrives whole.
    #[test]
    fn what_goes_up_comes_down() {
        for device in [Device::Cpu, init_runtime(1)] {
            let staging = Staging::new(device).unwrap();
            assert_eq!(staging.is_asynchronous(), device.is_cuda());
            let mut downloads = Vec::new();
            for round in 0..20u8 {
                let mut buffer = staging.buffer(1 << 16).unwrap();
                assert_eq!(host::values(&buffer).unwrap()[0], 0.0);
                host::values_mut(&mut buffer).unwrap().fill(f32::from(round));
                let there = staging.upload(buffer).unwrap();
                assert_eq!(there.device(), device);
                downloads.push(staging.download(&(&there + &there)).unwrap());
            }
            for (round, download) in (0u8..).zip(downloads) {
                let values = download.wait().unwrap();
                let expected = 2.0 * f32::from(round);
                assert!(host::values(&values).unwrap().iter().all(|value| *value == expected), "{round}");
            }
            let sum = Tensor::from_slice(&[1.5f64, 2.0]).sum(Kind::Double).to_device(device);
            let asked = staging.ask(&sum).unwrap();
            assert_eq!(asked.known(), (!device.is_cuda()).then_some(3.5));
            assert_eq!(asked.wait().unwrap(), 3.5);
        }
    }

    #[test]
    fn tokens_are_whole_windows() {
        let staging = Staging::new(Device::Cpu).unwrap();
        assert_eq!(
            staging.upload_tokens(&[1, 2, 3, 4], 2).unwrap(),
            Tensor::from_slice(&[1i64, 2, 3, 4]).view_([2, 2])
        );
        assert!(staging.upload_tokens(&[1, 2, 3], 2).is_err());
    }

    /// Without a GPU its errors must come back as such, and nothing may be lost on the way.
    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        let index = usize::try_from(tch::Cuda::device_count()).unwrap() + 7;
        assert!(Staging::new(Device::Cuda(index)).is_err());
    }
}
