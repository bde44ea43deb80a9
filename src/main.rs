//! Transom: parse, dispatch. The allocator of the process is chosen here.

use std::process::ExitCode;

use libmimalloc_sys::{mi_option_set, mi_option_t};
use transom::{app, cli};

/// 12 to 18 % less CPU per request than glibc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, for which the crate has no name.
const PURGE_DELAY: mi_option_t = 15;

fn main() -> ExitCode {
    give_memory_back(10);
    cli::main(std::env::args_os(), app::run)
}

/// Freed memory goes back to the system after so many milliseconds. mimalloc waits a second, in which a few edits of
/// a large configuration pile up: with 5,000 routes that is 100 MiB resident instead of 60.
#[allow(unsafe_code, reason = "the one call of the crate that Rust cannot check: it takes two integers and keeps one")]
fn give_memory_back(milliseconds: std::ffi::c_long) {
    // SAFETY: any option number and value may be set at any time by any thread (mimalloc.h); an unknown one is ignored.
    unsafe { mi_option_set(PURGE_DELAY, milliseconds) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds the number to the library: of its options only this one has this default.
    #[test]
    #[allow(unsafe_code, reason = "reads an integer")]
    fn the_option_is_the_purge_delay() {
        // SAFETY: as above.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(delay(), 1000);
        give_memory_back(10);
        assert_eq!(delay(), 10);
    }
}
