//! Fuzz target `client_hello`: see tests/support/client_hello.rs for what must hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/client_hello.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| {
    checks::check_client_hello(bytes);
});
