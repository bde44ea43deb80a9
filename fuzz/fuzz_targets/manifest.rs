//! Any bytes as a manifest: `parse` is total, and every problem has a line. Seeds: `fuzz/seeds/manifest`.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use transom::source::manifest::{Keep, Lines, parse};

fuzz_target!(|bytes: &[u8]| {
    for file in ["fuzz.yaml", "fuzz.json"] {
        let file = Path::new(file);
        let lines = Lines::read(file, bytes);
        for document in parse(file, bytes, Keep::Text) {
            for problem in &document.problems {
                assert!(problem.line >= 1);
                let _ = lines.line_of(&document.location, &problem.field);
            }
        }
    }
});
