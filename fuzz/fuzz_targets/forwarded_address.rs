//! Fuzz target `forwarded_address`: see tests/support/proxy_checks.rs for what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/proxy_checks.rs"]
#[allow(dead_code, reason = "it holds the checks of both targets")]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::check_forwarded_address(bytes));
