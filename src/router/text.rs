//! Many short texts, laid end to end: one allocation instead of one each.
//!
//! Texts go in, spans come out; a span gives the bytes back.

/// Where a text lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    length: u32,
}

/// The texts.
#[derive(Debug, Clone, Default)]
pub(super) struct Text {
    bytes: Vec<u8>,
}

impl Text {
    /// Adds a text. Beyond 4 GiB the span lies outside, and gives nothing back.
    pub(super) fn push(&mut self, text: &str) -> Span {
        let (Ok(start), Ok(length)) = (u32::try_from(self.bytes.len()), u32::try_from(text.len())) else {
            return Span { start: u32::MAX, length: u32::MAX };
        };
        self.bytes.extend_from_slice(text.as_bytes());
        Span { start, length }
    }

    /// The text of a span.
    #[inline]
    pub(super) fn of(&self, span: Span) -> Option<&[u8]> {
        let start = span.start as usize;
        self.bytes.get(start..start.checked_add(span.length as usize)?)
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
    }
}
