//! Where the frames of an HTTP/2 connection begin and end (RFC 9113, 4.1). In come the bytes of one direction, in
//! pieces of any size; out goes the head of each frame, and the error code of those that carry one. Payloads are
//! skipped by their length, and nothing is allocated.

/// Bytes of a frame's head.
const HEAD: usize = 9;
/// Bytes of a head and of what is read of a payload: a GOAWAY's last stream and its error code.
const MOST: usize = HEAD + 8;

/// END_STREAM of DATA and HEADERS.
const END_STREAM: u8 = 1;

/// A reader of one direction.
#[derive(Debug, Clone, Copy, Default)]
pub struct FrameReader {
    /// The beginning of the frame at hand, as far as it has come.
    seen: [u8; MOST],
    count: usize,
    /// Bytes of its payload that are still to pass.
    rest: usize,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: Kind,
    /// Bytes of its payload.
    pub length: u32,
    /// Whether it ends its stream.
    pub ends: bool,
    /// Its stream; 0 is the connection.
    pub stream: u32,
}

/// Types of frames (RFC 9113, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A piece of a body.
    Data,
    /// A header block, or trailers.
    Headers,
    /// A stream ends, with this error code.
    Reset(u32),
    /// The connection ends, with this error code.
    GoAway(u32),
    /// The header block goes on.
    Continuation,
    /// Neither body nor header: PRIORITY, SETTINGS, PUSH_PROMISE, PING, WINDOW_UPDATE, and what is not known.
    Control,
}

impl FrameReader {
    /// Whether a frame may begin here.
    pub fn is_between(&self) -> bool {
        self.count == 0 && self.rest == 0
    }

    /// Takes bytes off up to the next head that is whole, if there is one.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let skipped = self.rest.min(bytes.len());
                self.rest -= skipped;
                *bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let needed = self.needed();
            let missing = needed - self.count;
            let taken = missing.min(bytes.len());
            let (piece, after) = bytes.split_at(taken);
            if let Some(room) = self.seen.get_mut(self.count..self.count + taken) {
                room.copy_from_slice(piece);
            }
            self.count += taken;
            *bytes = after;
            if self.count == self.needed() {
                return Some(self.whole());
            }
        }
        None
    }

    /// How many bytes of the frame at hand are read before it is told of.
    fn needed(&self) -> usize {
        if self.count < HEAD {
            return HEAD;
        }
        let [a, b, c, kind, ..] = self.seen;
        let of_payload = match kind {
            3 => 4,
            7 => 8,
            _ => 0,
        };
        HEAD + length(a, b, c).min(of_payload)
    }

    fn whole(&mut self) -> Frame {
        let [a, b, c, kind, flags, s1, s2, s3, s4, p1, p2, p3, p4, q1, q2, q3, q4] = self.seen;
        let length = length(a, b, c);
        self.rest = length - (self.count - HEAD);
        self.count = 0;
        self.seen = [0; MOST];
        Frame {
            kind: match kind {
                0 => Kind::Data,
                1 => Kind::Headers,
                3 => Kind::Reset(u32::from_be_bytes([p1, p2, p3, p4])),
                7 => Kind::GoAway(u32::from_be_bytes([q1, q2, q3, q4])),
                9 => Kind::Continuation,
                _ => Kind::Control,
            },
            length: u32::from_be_bytes([0, a, b, c]),
            ends: matches!(kind, 0 | 1) && flags & END_STREAM != 0,
            // RFC 9113, 4.1: the first bit "MUST be ignored when receiving".
            stream: u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]),
        }
    }
}

fn length(a: u8, b: u8, c: u8) -> usize {
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as bytes.
    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn read(reader: &mut FrameReader, mut bytes: &[u8]) -> Vec<Frame> {
        std::iter::from_fn(|| reader.next(&mut bytes)).collect()
    }

    #[test]
    fn heads_are_read_and_payloads_skipped() {
        let bytes = [
            frame(1, 0x05, 1, &[0x82; 40]),
            frame(0, 0, 0x8000_0003, &[9; 300]),
            frame(3, 0, 3, &[0, 0, 0, 8]),
            frame(7, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 11, b'x']),
            frame(6, 1, 0, &[0; 8]),
            frame(0x77, 1, 0, &[]),
            frame(9, 4, 1, &[]),
        ];
        let mut reader = FrameReader::default();
        let frames = read(&mut reader, &bytes.concat());
        let frame = |kind, length, ends, stream| Frame { kind, length, ends, stream };
        let expected = [
            frame(Kind::Headers, 40, true, 1),
            frame(Kind::Data, 300, false, 3),
            frame(Kind::Reset(8), 4, false, 3),
            frame(Kind::GoAway(11), 9, false, 0),
            frame(Kind::Control, 8, false, 0),
            frame(Kind::Control, 0, false, 0),
            frame(Kind::Continuation, 0, false, 1),
        ];
        assert_eq!(frames, expected);
        assert!(reader.is_between());
    }

    #[test]
    fn a_code_that_is_cut_short_is_none_of_the_frame_before() {
        let bytes = [frame(3, 0, 1, &[0, 0, 0, 8]), frame(3, 0, 1, &[]), frame(7, 0, 0, &[0; 5])].concat();
        let kinds: Vec<Kind> = read(&mut FrameReader::default(), &bytes).iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [Kind::Reset(8), Kind::Reset(0), Kind::GoAway(0)]);
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_frames_are_the_same(
            frames in prop::collection::vec((0u8..11, any::<u8>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            cuts in prop::collection::vec(1usize..30, 1..40),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect();
            let mut whole = FrameReader::default();
            let expected = read(&mut whole, &bytes);
            prop_assert_eq!(expected.len(), frames.len());
            let (mut reader, mut seen, mut rest) = (FrameReader::default(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                seen.extend(read(&mut reader, piece));
                rest = after;
            }
            prop_assert_eq!(seen, expected);
            prop_assert!(reader.is_between());
        }

        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut rest = &bytes[..];
            let mut reader = FrameReader::default();
            while reader.next(&mut rest).is_some() {}
            prop_assert!(rest.is_empty());
        }
    }
}
