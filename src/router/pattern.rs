//! Regular expressions of matches, anchored at both ends.
//!
//! In comes the text of a `RegularExpression` match, out goes a [`Pattern`] that takes whole values only, or an
//! error. There is no pattern that takes more than its text says: what does not compile does not match.

use regex::{Regex, RegexBuilder};
use serde::Serialize;

/// Compiled size of one expression, in bytes, at most.
const SIZE_LIMIT: usize = 1 << 20;
/// Memory that one thread may use to run one expression fast, in bytes, at most.
const CACHE_LIMIT: usize = 1 << 19;

const BEFORE: &str = r"\A(?:";
/// `(?x)` and the line break end a comment that the expression may have left open: in `(?x)a # b` the closing
/// bracket would be swallowed otherwise. In that mode the line break itself stands for nothing.
const AFTER: &str = "(?x)\n)\\z";

/// A regular expression, anchored at both ends. Syntax: the `regex` crate's (RE2-like, linear time).
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `text`, bounded in size, so that it matches whole values only.
    ///
    /// # Errors
    /// What the `regex` crate says of the text. There is no pattern then: a broken match never matches.
    pub fn new(text: &str) -> Result<Pattern, regex::Error> {
        compile(text)?; // alone first: `a)(?:b` must not become valid inside the group
        compile(&format!("{BEFORE}{text}{AFTER}")).map(Pattern)
    }

    /// Whether the whole of `value` matches.
    #[must_use]
    pub fn is_match(&self, value: &str) -> bool {
        self.0.is_match(value)
    }

    /// Whether all of `value` is UTF-8 and matches.
    #[must_use]
    pub fn is_match_bytes(&self, value: &[u8]) -> bool {
        std::str::from_utf8(value).is_ok_and(|value| self.is_match(value))
    }

    /// The text it was made from.
    #[must_use]
    pub fn text(&self) -> &str {
        let text = self.0.as_str();
        text.strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(AFTER)).unwrap_or(text)
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(SIZE_LIMIT).dfa_size_limit(CACHE_LIMIT).build()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Pattern {}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, takes: &[&str], refuses: &[&str]) {
        let pattern = Pattern::new(text).expect(text);
        for value in takes {
            assert!(pattern.is_match(value), "{text} should take {value:?}");
        }
        for value in refuses {
            assert!(!pattern.is_match(value), "{text} should refuse {value:?}");
        }
        assert_eq!(pattern.to_string(), text);
        assert_eq!(serde_json::to_value(&pattern).expect("json"), serde_json::json!(text));
    }

    #[test]
    fn the_whole_value_must_match() {
        check("b+", &["b", "bbb"], &["", "ab", "bc", "abc", "b\n", "\nb"]);
        check("/v[0-9]+/.*", &["/v1/", "/v22/a/b"], &["/v1", "x/v1/", "/v1/\n"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn every_branch_of_an_alternation_is_anchored() {
        check("a|ab", &["a", "ab"], &["abc", "ca", "b"]);
        check("a|", &["a", ""], &["ab", "ba"]);
        check("^a|b$", &["a", "b"], &["ax", "xb"]);
    }

    #[test]
    fn a_text_cannot_break_out_of_its_anchors() {
        for text in ["a)(?:b", "a)|(b", ")", "(", "a)", "a\\", "[", "a)(?x)#"] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_open_comment_does_not_swallow_the_closing_anchor() {
        check("(?x)a # comment", &["a"], &["ab", "ba", "a # comment"]);
        check("(?x)a # comment\n | b # more", &["a", "b"], &["ab", "ac", "cb"]);
        check("(?x) a b #", &["ab"], &["abc", "a b"]);
        check("(?x)(?-x)a #", &["a #"], &["a", "a #\n"]);
    }

    #[test]
    fn without_comments_nothing_is_added_to_the_value() {
        check("a#", &["a#"], &["a", "a#\n", "a# "]);
        check("a ", &["a "], &["a"]);
        check("a#b", &["a#b"], &["a"]);
        check("a\n", &["a\n"], &["a"]);
    }

    #[test]
    fn flags_stay_inside_the_expression() {
        check("(?i)abc", &["ABC", "abc"], &["abcd"]);
        check("(?m)a$", &["a"], &["a\nb", "b\na"]);
        check("(?s)a.", &["a\n"], &["a\n\n"]);
        check("(?U)a+", &["aaa"], &["aab"]);
        check("(?R)(?m)a$", &["a"], &["a\r\n"]);
    }

    #[test]
    fn a_broken_or_huge_expression_is_an_error() {
        for text in
            ["(", "a{2", "*", r"\p{Nothing}", "(?P<a", "[z-a]", r"(a)\1", "(?=a)", r"\w{1000}{1000}", "(?-u:\\xff)"]
        {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
        assert!(Pattern::new(&"(".repeat(10_000)).is_err());
    }
}
