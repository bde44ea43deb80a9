//! Many short texts, laid end to end: one allocation instead of one each.
//!
//! Texts go in, spans come out; a span gives the bytes back.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::slots::Slots;

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
    known: Known,
}

/// The spans there are, while texts are added.
#[derive(Debug, Default)]
struct Known {
    spans: Vec<Span>,
    slots: Slots,
    hashing: RandomState,
}

impl Text {
    /// Adds a text. Beyond 4 GiB the span lies outside, and gives nothing back.
    pub(super) fn push(&mut self, text: &str) -> Span {
        let Text { bytes, known: Known { spans, slots, hashing } } = self;
        let hash = hashing.hash_one(text.as_bytes());
        let at = |position: u32| spans.get(position as usize);
        let same = |position| at(position).is_some_and(|span| of(bytes, *span) == Some(text.as_bytes()));
        if let Some(span) = slots.find(hash, same).and_then(at) {
            return *span;
        }
        let (Ok(start), Ok(length)) = (u32::try_from(bytes.len()), u32::try_from(text.len())) else {
            return Span { start: u32::MAX, length: u32::MAX };
        };
        let position = u32::try_from(spans.len()).unwrap_or(u32::MAX);
        slots.insert(hash, position, |position| {
            at(position).and_then(|span| of(bytes, *span)).map_or(0, |text| hashing.hash_one(text))
        });
        bytes.extend_from_slice(text.as_bytes());
        spans.push(Span { start, length });
        Span { start, length }
    }

    /// The text of a span.
    #[inline]
    pub(super) fn of(&self, span: Span) -> Option<&[u8]> {
        of(&self.bytes, span)
    }

    /// No text is added any more: what that took is given back.
    pub(super) fn close(&mut self) {
        self.known = Known::default();
        self.bytes.shrink_to_fit();
    }
}

#[inline]
fn of(bytes: &[u8], span: Span) -> Option<&[u8]> {
    let start = span.start as usize;
    bytes.get(start..start.checked_add(span.length as usize)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_lie_in_one_place_and_all_are_given_back() {
        let mut texts = Text::default();
        let spans: Vec<_> = (0..1_000).map(|number| texts.push(&(number % 300).to_string())).collect();
        assert_eq!(spans[0], spans[300]);
        assert_eq!(texts.bytes.len(), 10 + 90 * 2 + 200 * 3);
        texts.close();
        for (number, span) in spans.iter().enumerate() {
            assert_eq!(texts.of(*span), Some((number % 300).to_string().as_bytes()));
        }
    }

    #[test]
    fn the_empty_text_is_one_too() {
        let mut texts = Text::default();
        let span = texts.push("");
        assert_eq!(texts.of(span), Some(&b""[..]));
    }
}
