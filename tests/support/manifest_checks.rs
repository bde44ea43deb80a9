//! What must hold for any bytes as a manifest: the fuzz target `manifest` calls it with what the fuzzer makes up,
//! `src/source/manifest/totality.rs` with the seeds that are kept and with what is made of them.
//!
//! Whoever includes it has the names of `source::manifest` in scope.

use std::path::Path;

use super::{Keep, Lines, Outcome, Severity, parse};

/// Total, and consistent: a refused document says why, a used one has nothing that refuses it, and each problem has a
/// line. How many documents there are, read as YAML and as JSON.
///
/// # Panics
/// If it is not so.
pub fn check_manifest(bytes: &[u8]) -> [usize; 2] {
    ["a.yaml", "a.json"].map(|file| {
        let file = Path::new(file);
        let documents = parse(file, bytes, Keep::Text);
        let lines = Lines::read(file, bytes);
        for document in &documents {
            let refused = document.problems.iter().any(|problem| problem.severity == Severity::Refused);
            assert_eq!(refused, matches!(document.outcome, Outcome::Refused { .. }), "{document:#?}");
            for problem in &document.problems {
                assert!(problem.line >= 1, "{problem:?}");
                let _ = lines.line_of(&document.location, &problem.field);
            }
        }
        documents.len()
    })
}
