//! Fuzz target `http1_head`: see tests/support/http1_head.rs for what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/http1_head.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::check_head(bytes));
