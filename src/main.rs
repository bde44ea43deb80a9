//! Transom: parse, dispatch. The allocator of the process is chosen here.

use std::alloc::{GlobalAlloc, Layout};
use std::process::ExitCode;

use libmimalloc_sys::{mi_collect, mi_malloc, mi_realloc, mi_zalloc};
use mimalloc::MiMalloc;
use transom::{app, cli};

/// 12 to 18 % less CPU per request than glibc's.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// mimalloc, asked in the short way where it is enough. The crate names the alignment with each call, which takes a longer
/// one, some eighty times in a request.
struct Allocator;

/// What every block of mimalloc is aligned to: it has none smaller, and none that is no multiple.
const WORD: usize = 8;

#[allow(unsafe_code, reason = "the trait of allocators")]
// SAFETY: each call goes to mimalloc as it came; blocks are aligned to `WORD` without being asked, and for more than that
// they are asked. `mi_free` takes blocks of either kind, and nothing here panics.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= WORD {
            // SAFETY: any size will do
            return unsafe { mi_malloc(layout.size()) }.cast();
        }
        // SAFETY: the caller's promise
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= WORD {
            // SAFETY: any size will do
            return unsafe { mi_zalloc(layout.size()) }.cast();
        }
        // SAFETY: the caller's promise
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise: the block is one of those above
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= WORD {
            // SAFETY: the caller's promise: the block is one of those above
            return unsafe { mi_realloc(block.cast(), size) }.cast();
        }
        // SAFETY: the caller's promise
        unsafe { MiMalloc.realloc(block, layout, size) }
    }
}

fn main() -> ExitCode {
    cli::main(std::env::args_os(), |config, sources| app::run(config, sources, give_memory_back))
}

/// Gives freed memory back to the system at once. mimalloc waits a second for that, and then for the thread to allocate
/// much: a few edits of a large configuration would pile up, and what a crowd of clients held would stay. It is not told to
/// wait less: what the data workers free and take again would be given back and faulted in all the time, four times in ten
/// requests with 10 ms.
#[allow(unsafe_code, reason = "the one call of the crate that Rust cannot check: it takes a flag and keeps nothing")]
fn give_memory_back() {
    // SAFETY: any thread may call it at any time (mimalloc.h).
    unsafe { mi_collect(true) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident pages of the process.
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn freed_memory_is_given_back() {
        const PIECES: usize = 20_000;
        let before = resident();
        let pieces: Vec<Vec<u8>> = (0..PIECES).map(|_| vec![1; 4096]).collect();
        let full = resident();
        assert!(full > before + PIECES / 2, "{before} {full}");
        drop(pieces);
        give_memory_back();
        assert!(resident() < before + (full - before) / 4, "{before} {full} {}", resident());
    }
}
