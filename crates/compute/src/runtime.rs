//! Start-up of libtorch: threads and the device.
//!
//! Called once by each program before any tensor exists. Looks for CUDA at run time, so that one
//! binary serves machines with and without it.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::OnceLock;

use tch::Device;

/// The part of libtorch that holds the CUDA kernels; it registers itself when it is loaded.
const CUDA_LIBRARY: &str = "libtorch_cuda.so";
/// The part of libtorch that every program is linked with; CUDA's part lies beside it.
const CPU_LIBRARY: &str = "libtorch_cpu.so";

static DEVICE: OnceLock<Device> = OnceLock::new();
/// Threads of one tensor operation; 0 until `init_runtime` has run.
static THREADS: AtomicI32 = AtomicI32::new(0);

/// Fixes libtorch's thread counts and returns the device to compute on.
///
/// One thread is the default of every program: on the CPU, results are the same bits on every run
/// only for a fixed thread count. Later calls return the device of the first and change nothing.
pub fn init_runtime(threads: u32) -> Device {
    *DEVICE.get_or_init(|| {
        keep_freed_memory();
        let threads = i32::try_from(threads.max(1)).unwrap_or(i32::MAX);
        THREADS.store(threads, Ordering::Relaxed);
        tch::set_num_threads(threads);
        // Between operations there is nothing to overlap: a stage is a chain.
        tch::set_num_interop_threads(1);
        load_cuda();
        let device = Device::cuda_if_available();
        tracing::info!(?device, threads, "libtorch is ready");
        device
    })
}

/// Largest block that the allocator takes from its heap (the most that glibc accepts) and how much free
/// memory it keeps: what one sample's tensors take at most.
const HEAP_BLOCK: libc::c_int = 32 << 20;
const HEAP_KEPT: libc::c_int = 1 << 30;

/// Lets the allocator keep what tensors free: every sample allocates the same again, and pages that go
/// back to the system in between cost a fault each (page faults were about 4 % of a profile of training
/// steps; no step was timed with and without this).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_freed_memory() {
    // SAFETY: the call only sets two numbers of the allocator; it refuses what it does not take.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, HEAP_BLOCK);
        libc::mallopt(libc::M_TRIM_THRESHOLD, HEAP_KEPT);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_freed_memory() {}

/// Applies the thread count to the calling thread: OpenMP keeps it per thread.
pub(crate) fn adopt_thread() {
    let threads = THREADS.load(Ordering::Relaxed);
    if threads > 0 {
        tch::set_num_threads(threads);
    }
}

/// Loads libtorch's CUDA part if it lies beside its CPU part or on the loader's path.
fn load_cuda() {
    let beside = library_directory().map(|directory| directory.join(CUDA_LIBRARY));
    let candidates = beside.into_iter().filter(|path| path.exists());
    for path in candidates.chain([PathBuf::from(CUDA_LIBRARY)]) {
        if open_library(&path) {
            tracing::debug!(path = %path.display(), "loaded the CUDA part of libtorch");
            return;
        }
    }
}

/// Folder that the running program's libtorch was loaded from.
fn library_directory() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with(CPU_LIBRARY))?;
    let path = Path::new(line.get(line.find('/')?..)?);
    path.parent().map(Path::to_path_buf)
}

fn open_library(path: &Path) -> bool {
    let Ok(name) = CString::new(path.as_os_str().as_encoded_bytes()) else { return false };
    // SAFETY: `name` is a valid C string for the duration of the call; the library only registers
    // kernels when it is loaded and is never closed.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    !handle.is_null()
}
