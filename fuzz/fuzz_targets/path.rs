//! Fuzz target `path`: see tests/support/router_checks.rs for what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use transom::router::{Pattern, path};

#[path = "../../tests/support/router_checks.rs"]
#[allow(dead_code, reason = "it holds the checks of both targets")]
mod checks;

fuzz_target!(|bytes: &[u8]| checks::check_path(bytes));
