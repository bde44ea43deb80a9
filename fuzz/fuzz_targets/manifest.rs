//! Fuzz target `manifest`: see tests/support/manifest_checks.rs for what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use transom::source::manifest::{Keep, Lines, Outcome, Severity, parse};

#[path = "../../tests/support/manifest_checks.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| {
    checks::check_manifest(bytes);
});
