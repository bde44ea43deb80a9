//! Lists of names and sentences, short enough for a condition.

use super::condition::Telling;

/// The CRDs allow 32,768 characters a message; nobody reads more than this many sentences.
const MOST: usize = 8;
/// Longest sentence taken over whole, in bytes.
const LONGEST: usize = 2048;

/// `a, b and 3 more`.
pub fn names(names: &[&str]) -> String {
    let text = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// `one; two; and 3 more`.
pub fn sentences<S: AsRef<str>>(sentences: &[S]) -> String {
    let text = sentences.iter().take(MOST).map(|s| clip(s.as_ref())).collect::<Vec<_>>().join("; ");
    match sentences.len().saturating_sub(MOST) {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

/// Everything told, each with its field.
pub fn list(told: &[&Telling]) -> String {
    let sentence = |telling: &&Telling| {
        if telling.field.is_empty() {
            telling.message.clone()
        } else {
            format!("{}: {}", telling.field, telling.message)
        }
    };
    sentences(&told.iter().map(sentence).collect::<Vec<_>>())
}

/// At most [`LONGEST`] bytes, cut between characters.
pub fn clip(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
