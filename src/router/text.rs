//! Many short texts, laid end to end: one allocation instead of one each.
//!
//! Texts go in, spans come out; a span gives the bytes back.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Where a text lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    length: u32,
}

/// The texts. Equal ones lie in one place.
#[derive(Debug, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
    /// While texts are added.
    known: HashMap<Box<str>, Span, RandomState>,
}

impl Text {
    /// Adds a text. Beyond 4 GiB the span lies outside, and gives nothing back.
    pub(super) fn push(&mut self, text: &str) -> Span {
        if let Some(span) = self.known.get(text) {
            return *span;
        }
        let (Ok(start), Ok(length)) = (u32::try_from(self.bytes.len()), u32::try_from(text.len())) else {
            return Span { start: u32::MAX, length: u32::MAX };
        };
        self.bytes.extend_from_slice(text.as_bytes());
        let span = Span { start, length };
        self.known.insert(text.into(), span);
        span
    }

    /// The text of a span.
    #[inline]
    pub(super) fn of(&self, span: Span) -> Option<&[u8]> {
        let start = span.start as usize;
        self.bytes.get(start..start.checked_add(span.length as usize)?)
    }

    /// No text is added any more: what that took is given back.
    pub(super) fn close(&mut self) {
        self.known = HashMap::default();
        self.bytes.shrink_to_fit();
    }
}
