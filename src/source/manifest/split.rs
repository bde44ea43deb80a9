//! The bytes of a file -> its documents, before any of them is parsed: so a broken one hides no other.
//!
//! YAML 1.2, 9.1.2: `---` and `...` at the start of a line end a document wherever they stand, in a text over
//! several lines too; indented, as in a block scalar, they mean nothing.

/// One document of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'b> {
    /// Its bytes, the `---` line included.
    pub bytes: &'b [u8],
    /// Position of its first byte in the file.
    pub offset: usize,
    /// Line of its first byte, from 1.
    pub line: u32,
    /// First line with content, from 1.
    pub content: u32,
}

/// What a line is to the splitting.
#[derive(PartialEq, Eq)]
enum LineKind {
    /// Nothing, or a comment.
    Blank,
    /// `%YAML`, which belongs to the document that follows.
    Directive,
    /// `---`, with content behind it or not.
    Start { content: bool },
    /// `...`
    End,
    /// Anything else.
    Content,
}

/// Takes a file apart. Documents of blanks and comments alone are left out.
pub fn split(bytes: &[u8]) -> Vec<Chunk<'_>> {
    let (bytes, skipped) = bytes.strip_prefix(b"\xEF\xBB\xBF").map_or((bytes, 0), |rest| (rest, 3));
    let mut chunks = Vec::new();
    let mut open = Open { start: 0, line: 1, content: None, directive: false };
    let (mut offset, mut number) = (0, 0_u32);
    let mut close = |open: &Open, end: usize| {
        let Some(content) = open.content else { return };
        let Some(bytes) = bytes.get(open.start..end) else { return };
        chunks.push(Chunk { bytes, offset: open.start + skipped, line: open.line, content });
    };
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        number = number.saturating_add(1);
        let end = offset + line.len();
        match kind_of(line) {
            LineKind::Blank => {}
            LineKind::Directive => {
                open.directive |= open.content.is_none();
                open.content = open.content.or((!open.directive).then_some(number));
            }
            LineKind::Start { content } => {
                if open.content.is_some() || !open.directive {
                    close(&open, offset);
                    open = Open { start: offset, line: number, content: None, directive: false };
                }
                open.directive = false;
                open.content = content.then_some(number);
            }
            LineKind::End => {
                close(&open, offset);
                open = Open { start: end, line: number.saturating_add(1), content: None, directive: false };
            }
            LineKind::Content => open.content = open.content.or(Some(number)),
        }
        offset = end;
    }
    close(&open, offset);
    chunks
}

/// The document that the lines belong to.
struct Open {
    start: usize,
    line: u32,
    content: Option<u32>,
    directive: bool,
}

fn kind_of(line: &[u8]) -> LineKind {
    let text = line.trim_ascii();
    let blank = |text: &[u8]| text.is_empty() || text.starts_with(b"#");
    let marked = |mark: &[u8]| line.strip_prefix(mark).filter(|rest| rest.first().is_none_or(u8::is_ascii_whitespace));
    if let Some(rest) = marked(b"---") {
        LineKind::Start { content: !blank(rest.trim_ascii()) }
    } else if marked(b"...").is_some() {
        LineKind::End
    } else if blank(text) {
        LineKind::Blank
    } else if line.starts_with(b"%") {
        LineKind::Directive
    } else {
        LineKind::Content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(u32, u32)> {
        split(text.as_bytes()).iter().map(|chunk| (chunk.line, chunk.content)).collect()
    }

    #[test]
    fn documents_begin_at_their_dashes() {
        assert_eq!(lines("a: 1\n---\nb: 2\n"), [(1, 1), (2, 3)]);
        assert_eq!(lines("---\r\na: 1\r\n---\r\nb: 2"), [(1, 2), (3, 4)]);
        assert_eq!(lines("--- {a: 1}\n--- # note\nb: 2\n"), [(1, 1), (2, 3)]);
        assert_eq!(lines("a: 1\n...\nb: 2\n"), [(1, 1), (3, 3)]);
    }

    #[test]
    fn blanks_and_comments_are_no_documents() {
        assert_eq!(lines(""), []);
        assert_eq!(lines("---\n---\n# c\n\n---\n"), []);
        assert_eq!(lines("# licence\n---\n\n# x\na: 1\n---\n"), [(2, 5)]);
    }

    #[test]
    fn dashes_inside_a_text_are_text() {
        assert_eq!(lines("a: |\n  x\n  ---\n  y\n"), [(1, 1)]);
        assert_eq!(lines("---x: 1\n"), [(1, 1)]);
        assert_eq!(lines("a: ---\n"), [(1, 1)]);
    }

    #[test]
    fn directives_belong_to_the_document_that_follows() {
        assert_eq!(lines("%YAML 1.2\n---\na: 1\n"), [(1, 3)]);
        assert_eq!(lines("a: 1\n...\n%YAML 1.2\n---\nb: 2\n"), [(1, 1), (3, 5)]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let chunks = split(b"\xEF\xBB\xBFa: 1\n");
        assert_eq!(chunks.first().map(|c| (c.bytes, c.offset)), Some((&b"a: 1\n"[..], 3)));
    }
}
