//! Counts allocations: those of each thread, and those of all threads but the test's own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The system's allocator, with counters.
struct Counting;

static OF_PROGRAM: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OF_THREAD: Cell<u64> = const { Cell::new(0) };
    /// This thread belongs to the test, not to the program.
    static IS_EXEMPT: Cell<bool> = const { Cell::new(false) };
}

/// Allocations of this thread so far.
pub fn of_this_thread() -> u64 {
    OF_THREAD.get()
}

/// Allocations so far of all threads that are not exempt.
pub fn of_program() -> u64 {
    OF_PROGRAM.load(SeqCst)
}

/// From now on, what this thread allocates is not the program's.
pub fn exempt_this_thread() {
    IS_EXEMPT.set(true);
}

impl Counting {
    fn count() {
        // A thread that ends has no counters any more. What it allocates then is not counted.
        let _ = OF_THREAD.try_with(|count| count.set(count.get() + 1));
        if !IS_EXEMPT.try_with(Cell::get).unwrap_or(true) {
            OF_PROGRAM.fetch_add(1, SeqCst);
        }
    }
}

// SAFETY: forwards every call to the system's allocator; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's guarantees are passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
