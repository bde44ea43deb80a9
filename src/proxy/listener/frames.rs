//! Where a server's frames begin and end in a connection that was switched to WebSocket (RFC 6455, 5.2). In come the
//! bytes that are written to the client, in pieces of any size, from the heads of HTTP on; out goes whether another
//! frame may stand behind them. It knows nothing of what is in a frame but whether it is a Close.

/// Marks the end of a head of HTTP.
const HEAD_END: &[u8; 4] = b"\r\n\r\n";
/// Where the status stands in a head: behind `HTTP/1.1 `.
const STATUS_AT: usize = 9;
const SWITCHING: [u8; 3] = *b"101";

/// Parts of a frame's first two bytes.
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// Opcode of a Close.
const CLOSE: u8 = 0x8;

/// A reader of what is written to one client.
#[derive(Debug, Clone, Copy)]
pub struct Frames {
    place: Place,
    closed: bool,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// A head: that of the 101, or of an interim answer before it.
    Head { seen: usize, status: [u8; 3], matched: usize },
    /// A frame that begins.
    Between,
    /// The byte with the short length.
    Size { is_close: bool },
    /// A longer length, of which so many bytes are to come.
    Length { left: u8, length: u64, mask: u64, is_close: bool },
    /// Key and payload, of which so many bytes are to come, never 0.
    Payload { left: u64, is_close: bool },
}

const HEAD: Place = Place::Head { seen: 0, status: [0; 3], matched: 0 };

impl Default for Frames {
    /// Before the head of the 101.
    fn default() -> Self {
        Frames { place: HEAD, closed: false }
    }
}

impl Frames {
    /// Whether a frame may begin here.
    pub fn is_between(&self) -> bool {
        matches!(self.place, Place::Between)
    }

    /// Whether a Close has passed, behind which nothing may stand (RFC 6455, 5.5.1).
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// These bytes pass.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = self.pass_one(bytes);
            bytes = bytes.get(count..).unwrap_or_default();
        }
    }

    /// How many of these bytes there are up to the next place between two frames; all, if there is none.
    pub fn to_end_of_frame(mut self, bytes: &[u8]) -> usize {
        self.pass_one(bytes)
    }

    /// Lets bytes pass up to the next place between two frames; how many that were.
    fn pass_one(&mut self, bytes: &[u8]) -> usize {
        let mut count = 0;
        while let Some(rest) = bytes.get(count..)
            && let Some(byte) = rest.first()
        {
            if let Place::Payload { left, is_close } = self.place {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                count += taken;
                self.expect(left - taken as u64, is_close);
            } else {
                count += 1;
                self.pass_byte(*byte);
            }
            if self.is_between() {
                break;
            }
        }
        count
    }

    /// A byte of a head or of a frame's header.
    fn pass_byte(&mut self, byte: u8) {
        match &mut self.place {
            Place::Head { seen, status, matched } => {
                if let Some(digit) = seen.checked_sub(STATUS_AT).and_then(|at| status.get_mut(at)) {
                    *digit = byte;
                }
                *seen += 1;
                *matched =
                    if HEAD_END.get(*matched) == Some(&byte) { *matched + 1 } else { usize::from(byte == b'\r') };
                if *matched == HEAD_END.len() {
                    self.place = if *status == SWITCHING { Place::Between } else { HEAD };
                }
            }
            Place::Between => self.place = Place::Size { is_close: byte & OPCODE == CLOSE },
            Place::Size { is_close } => {
                let is_close = *is_close;
                // A server masks nothing; one that does is for the client to refuse.
                let mask = if byte & MASKED == 0 { 0 } else { 4 };
                match byte & LENGTH {
                    126 => self.place = Place::Length { left: 2, length: 0, mask, is_close },
                    127 => self.place = Place::Length { left: 8, length: 0, mask, is_close },
                    short => self.expect(mask + u64::from(short), is_close),
                }
            }
            Place::Length { left, length, mask, is_close } => {
                *length = *length << 8 | u64::from(byte);
                *left -= 1;
                if *left == 0 {
                    let (payload, is_close) = (mask.saturating_add(*length), *is_close);
                    self.expect(payload, is_close);
                }
            }
            Place::Payload { .. } => {} // passes in one go
        }
    }

    /// So much of a frame's key and payload is to come.
    fn expect(&mut self, left: u64, is_close: bool) {
        if left > 0 {
            self.place = Place::Payload { left, is_close };
        } else {
            self.place = Place::Between;
            self.closed |= is_close;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADS: &[u8] =
        b"HTTP/1.1 103 Early Hints\r\nlink: \r\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nx: 200\r\n\r\n";

    /// A frame as RFC 6455, 5.2 has it, with a length of `form` bytes (0, 2 or 8), which need not be the shortest.
    fn frame(opcode: u8, form: u8, masked: bool, payload: usize) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut bytes = vec![0x80 | opcode];
        match form {
            0 => bytes.push(mask | u8::try_from(payload.min(125)).unwrap()),
            2 => {
                bytes.push(mask | 126);
                bytes.extend(u16::try_from(payload.min(65535)).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        let length = payload.min(match form {
            0 => 125,
            2 => 65535,
            _ => usize::MAX,
        });
        // 0x88 0x02 in a payload is no Close
        bytes.extend([0x88, 0x02].iter().cycle().take(length + if masked { 4 } else { 0 }));
        bytes
    }

    fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let opcode = prop_oneof![Just(0u8), Just(1), Just(2), Just(9), Just(10)];
        let form = prop_oneof![Just(0u8), Just(2), Just(8)];
        let payload = prop_oneof![0usize..4, 120usize..132, 0usize..1000, Just(65_535usize), Just(70_000)];
        let one = (opcode, form, any::<bool>(), payload).prop_map(|(o, f, m, p)| frame(o, f, m, p));
        prop::collection::vec(one, 0..6)
    }

    proptest! {
        /// However the bytes are cut, what the reader says behind each piece is what the frames' lengths say.
        #[test]
        fn any_split_of_any_frames_is_read_alike(frames in frames(), cuts in prop::collection::vec(1usize..3000, 1..20)) {
            let mut bytes = HEADS.to_vec();
            let mut ends = vec![bytes.len()];
            for frame in &frames {
                bytes.extend(frame);
                ends.push(bytes.len());
            }
            let mut reader = Frames::default();
            let mut at = 0;
            for cut in cuts.iter().cycle() {
                let end = (at + cut).min(bytes.len());
                let next = ends.iter().copied().find(|frame_end| *frame_end > at);
                if let Some(next) = next {
                    let interim = b"HTTP/1.1 103 Early Hints\r\nlink: \r\r\n\r\n".len();
                    prop_assert!(at < interim || reader.to_end_of_frame(&bytes[at..]) == next - at);
                }
                reader.pass(&bytes[at..end]);
                at = end;
                prop_assert_eq!(reader.is_between(), ends.contains(&at), "behind {} of {:?}", at, &ends);
                prop_assert!(!reader.is_closed());
                if at == bytes.len() {
                    break;
                }
            }
        }

        #[test]
        fn no_bytes_are_too_strange(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut reader = Frames::default();
            reader.pass(b"HTTP/1.1 101 \r\n\r\n");
            for piece in pieces {
                let count = reader.to_end_of_frame(&piece);
                prop_assert!(count <= piece.len() && (count > 0 || piece.is_empty()));
                reader.pass(&piece);
            }
        }
    }

    #[test]
    fn a_close_is_known_once_it_is_whole() {
        let mut reader = Frames::default();
        reader.pass(HEADS);
        reader.pass(&[0x81, 0x02, 0x88, 0x00]);
        assert!(reader.is_between() && !reader.is_closed());
        reader.pass(&[0x88, 0x02, 0x03]);
        assert!(!reader.is_between() && !reader.is_closed());
        reader.pass(&[0xe8]);
        assert!(reader.is_between() && reader.is_closed());
    }

    #[test]
    fn the_longest_length_there_can_be_has_no_end() {
        let mut reader = Frames::default();
        reader.pass(HEADS);
        reader.pass(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        reader.pass(&[0; 70_000]);
        assert!(!reader.is_between());
    }
}
