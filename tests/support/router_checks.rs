//! What must hold for any path and any expression: the fuzz targets call it with what the fuzzer makes up,
//! `tests/router_seeds.rs` with the seeds that are kept.
//!
//! Whoever includes it has `path` and `Pattern` of the router in scope.

use super::{Pattern, path};

/// A normalised path is normal, and normalising never panics.
///
/// # Panics
/// If the rule of `router::path` does not hold.
pub fn check_path(bytes: &[u8]) {
    let Ok(sent) = std::str::from_utf8(bytes) else { return };
    let Ok(normal) = path::normalise(sent) else { return };
    assert_eq!(path::normalise(&normal).as_deref(), Ok(&*normal), "normalising twice changes {sent:?}");
    if normal == "*" {
        return;
    }
    assert!(normal.starts_with('/') && !normal.contains("//"), "{normal:?}");
    let dots = normal.to_ascii_lowercase().replace("%2e", ".");
    for (segment, spelt) in normal.split('/').zip(dots.split('/')) {
        assert!(spelt != "." && spelt != "..", "dot segment in {normal:?}");
        assert!(segment.is_empty() || sent.contains(segment), "{segment:?} was not in {sent:?}");
    }
}

/// The first line is an expression, the rest a value: the pattern takes the value if, and only if, the expression by
/// itself can match all of it.
///
/// # Panics
/// If a pattern takes more or less than its text.
pub fn check_regex(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else { return };
    let (text, value) = input.split_once("\n---\n").unwrap_or((input, input));
    let Ok(pattern) = Pattern::new(text) else { return };
    assert_eq!(pattern.text(), text);
    assert_eq!(pattern.is_match(value), takes_whole(text, value), "{text:?} on {value:?}");
}

#[allow(clippy::expect_used, reason = "a text that only one of two engines takes is a find")]
/// Asked of an engine that reports every end a match can have, so that no anchor is written into the text.
fn takes_whole(text: &str, value: &str) -> bool {
    use regex_automata::nfa::thompson::pikevm::PikeVM;
    use regex_automata::{Anchored, Input, MatchKind};
    let engine = PikeVM::builder().configure(PikeVM::config().match_kind(MatchKind::All)).build(text);
    let engine = engine.expect("what the pattern took");
    let input = Input::new(value).anchored(Anchored::Yes);
    engine.find(&mut engine.create_cache(), input).is_some_and(|found| found.start() == 0 && found.end() == value.len())
}
