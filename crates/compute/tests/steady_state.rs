//! Codecs do not allocate once their buffers have grown: counted at the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use iota_compute::codec::{decode, decode_into, encode};
use iota_protocol::params::WireCodec;

/// The system's allocator, which counts what the thread asks of it.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a plain thread-local
// number, which needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

#[test]
fn a_message_is_coded_and_read_without_allocating() {
    let values: Vec<f32> = (0u16..1001).map(|i| f32::from(i) - 500.0).collect();
    for codec in [WireCodec::F32, WireCodec::Bf16, WireCodec::Int8, WireCodec::Int4, WireCodec::SubspaceInt8]
    {
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        let mut message = || {
            encode(codec, &values, &mut bytes).unwrap();
            decode(codec, &bytes, values.len(), &mut back).unwrap();
            decode_into(codec, &bytes, &mut back).unwrap();
        };
        assert!(allocations(&mut message) > 0, "{codec:?}: the first message grows the buffers");
        for _ in 0..10 {
            assert_eq!(allocations(&mut message), 0, "{codec:?}");
        }
    }
}
