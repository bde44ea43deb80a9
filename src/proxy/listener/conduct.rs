//! How an HTTP/2 client behaves, by the frames on its connection. In come the bytes of both directions; out goes a
//! [`Breach`] once a client has broken off so many streams, or said so much that is neither request nor body, that it
//! can only mean to keep us busy, and once we have ended the connection for an error of its making. What the frames
//! mean is known to the h2 crate, which bounds what costs memory: header blocks, streams, windows, small DATA frames.
//!
//! Each bound is a store of so many frames, refilled over [`REFILL`]. Honest work refills it, too: who downloads may
//! send as many WINDOW_UPDATEs and PINGs as that takes, and who is answered may cancel now and then.

use std::time::Duration;

use tokio::time::Instant;

use super::h2_frames::{Frame, FrameReader, Kind};

/// In this time a store that is empty is full again.
const REFILL: Duration = Duration::from_secs(10);

/// RFC 9113, 3.4: "the connection preface starts with" this.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a request or a DATA frame adds to the store of control frames, and each KiB of data beside.
const CONTROL_EARNED: u32 = 4;
const BYTES_EARNING: u32 = 1024;

/// RFC 9113, 7: error codes.
const ERROR_CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Why a client's connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// Too many streams that it resets, or has us reset by its mistakes.
    Resets,
    /// Too many frames that are neither request nor body.
    Control,
    /// The preface did not come, or not in time.
    Preface,
    /// The h2 crate ended it with this error code.
    Protocol(u32),
}

/// The behaviour of one client.
#[derive(Debug)]
pub struct Conduct {
    /// Bytes of the preface that came.
    preface: usize,
    from_client: FrameReader,
    to_client: FrameReader,
    resets: Store,
    control: Store,
    newest_stream: u32,
    breach: Option<Breach>,
}

/// Frames that may still come.
#[derive(Debug)]
struct Store {
    left: u32,
    size: u32,
    /// When it was refilled last by the time that has passed.
    at: Instant,
}

impl Breach {
    /// It as a number that is not 0.
    pub fn to_code(self) -> u32 {
        match self {
            Breach::Protocol(code) => code.min(0xffff),
            Breach::Resets => 0x1_0000,
            Breach::Control => 0x1_0001,
            Breach::Preface => 0x1_0002,
        }
    }

    /// The breach of a number, if it is of one.
    pub fn from_code(code: u32) -> Option<Breach> {
        match code {
            NO_ERROR => None,
            0x1_0000 => Some(Breach::Resets),
            0x1_0001 => Some(Breach::Control),
            0x1_0002 => Some(Breach::Preface),
            code => Some(Breach::Protocol(code)),
        }
    }
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Breach::Resets => f.write_str("too many streams were reset"),
            Breach::Control => f.write_str("too many frames that are neither request nor body"),
            Breach::Preface => f.write_str("the HTTP/2 preface did not come, or not in time"),
            Breach::Protocol(code) => match ERROR_CODES.get(*code as usize) {
                Some(name) => write!(f, "HTTP/2 connection error {name}"),
                None => write!(f, "HTTP/2 connection error {code}"),
            },
        }
    }
}

impl Conduct {
    /// A client that may break off `resets` streams and send `control` frames of control within [`REFILL`].
    pub fn new(resets: u32, control: u32) -> Self {
        Conduct {
            preface: 0,
            from_client: FrameReader::default(),
            to_client: FrameReader::default(),
            resets: Store::new(resets),
            control: Store::new(control),
            newest_stream: 0,
            breach: None,
        }
    }

    /// These bytes came, from the preface on. How many streams were opened in them.
    pub fn came(&mut self, bytes: &[u8]) -> u32 {
        let expected = PREFACE.get(self.preface..).unwrap_or_default();
        let (preface, mut bytes) = bytes.split_at(expected.len().min(bytes.len()));
        self.preface += preface.len();
        if !expected.starts_with(preface) {
            self.breach.get_or_insert(Breach::Preface);
        }
        let mut opened = 0;
        while let Some(frame) = self.from_client.next(&mut bytes) {
            match frame.kind {
                Kind::Headers => {
                    if frame.stream > self.newest_stream {
                        self.newest_stream = frame.stream;
                        opened += 1;
                    }
                    self.control.earn(CONTROL_EARNED);
                }
                Kind::Data if frame.length > 0 => self.earn_by(frame),
                Kind::Data if frame.ends => {}
                Kind::Reset(_) => self.spend_reset(),
                Kind::Data | Kind::Continuation | Kind::Control | Kind::GoAway(_) => {
                    if !self.control.spend() {
                        self.breach.get_or_insert(Breach::Control);
                    }
                }
            }
        }
        opened
    }

    /// These bytes go out.
    pub fn went(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.to_client.next(&mut bytes) {
            if frame.ends {
                self.resets.earn(1);
            }
            match frame.kind {
                Kind::Data if frame.length > 0 => self.earn_by(frame),
                // PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR: of the client's making.
                Kind::Reset(1 | 3 | 5 | 6) => self.spend_reset(),
                Kind::GoAway(code) if code != NO_ERROR => {
                    self.breach.get_or_insert(Breach::Protocol(code));
                }
                _ => {}
            }
        }
    }

    /// Whether the preface is whole: from then on frames come.
    pub fn is_framed(&self) -> bool {
        self.preface == PREFACE.len()
    }

    /// What the client has done, if it has.
    pub fn breach(&self) -> Option<Breach> {
        self.breach
    }

    /// The frame that tells the client, where one can stand: not within another.
    pub fn goodbye(&self) -> Option<[u8; 17]> {
        let mut frame = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let payload = u64::from(self.newest_stream) << 32 | u64::from(ENHANCE_YOUR_CALM);
        frame.last_chunk_mut::<8>()?.copy_from_slice(&payload.to_be_bytes());
        self.to_client.is_between().then_some(frame)
    }

    fn earn_by(&mut self, data: Frame) {
        self.control.earn(CONTROL_EARNED + data.length / BYTES_EARNING);
    }

    fn spend_reset(&mut self) {
        if !self.resets.spend() {
            self.breach.get_or_insert(Breach::Resets);
        }
    }
}

impl Store {
    fn new(size: u32) -> Self {
        Store { left: size, size, at: Instant::now() }
    }

    fn earn(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.size);
    }

    /// Whether there was one. The clock is read only where the store is empty.
    fn spend(&mut self) -> bool {
        if self.left == 0 {
            let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let back = millis(self.at.elapsed()).saturating_mul(u64::from(self.size)) / millis(REFILL);
            if back > 0 {
                self.at = Instant::now();
                self.earn(u32::try_from(back).unwrap_or(u32::MAX));
            }
        }
        let had = self.left > 0;
        self.left = self.left.saturating_sub(1);
        had
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::h2_frames::tests::frame;
    use super::*;

    const RESETS: u32 = 20;
    const CONTROL: u32 = 100;

    fn conduct() -> Conduct {
        begun(RESETS, CONTROL)
    }

    fn begun(resets: u32, control: u32) -> Conduct {
        let mut conduct = Conduct::new(resets, control);
        conduct.came(PREFACE);
        conduct
    }

    fn get(stream: u32) -> Vec<u8> {
        frame(1, 5, stream, &[0x82])
    }

    fn reset(stream: u32, code: u8) -> Vec<u8> {
        frame(3, 0, stream, &[0, 0, 0, code])
    }

    /// How many of these come before the breach.
    fn stands(conduct: &mut Conduct, most: u32, mut act: impl FnMut(&mut Conduct, u32)) -> u32 {
        (0..most)
            .find(|number| {
                act(conduct, *number);
                conduct.breach().is_some()
            })
            .unwrap_or(most)
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_flood_ends_at_its_bound() {
        let kinds = [
            ("ping", frame(6, 0, 0, &[0; 8])),
            ("pong", frame(6, 1, 0, &[0; 8])),
            ("settings", frame(4, 0, 0, &[])),
            ("priority", frame(2, 0, 1, &[0; 5])),
            ("window update", frame(8, 0, 0, &[0, 0, 0, 1])),
            ("empty data", frame(0, 0, 1, &[])),
            ("continuation", frame(9, 0, 1, &[])),
            ("unknown", frame(0x77, 0, 0, &[])),
            ("goaway", frame(7, 0, 0, &[0; 8])),
        ];
        for (name, bytes) in kinds {
            let mut conduct = conduct();
            let count = stands(&mut conduct, 1000, |conduct, _| {
                conduct.came(&bytes);
            });
            assert_eq!((count, conduct.breach()), (CONTROL, Some(Breach::Control)), "{name}");
        }
        let mut client = conduct();
        let count = stands(&mut client, 1000, |conduct, n| {
            conduct.came(&[get(2 * n + 1), reset(2 * n + 1, 8)].concat());
        });
        assert_eq!((count, client.breach()), (RESETS, Some(Breach::Resets)));
        let mut provoked = conduct();
        let count = stands(&mut provoked, 1000, |conduct, n| conduct.went(&reset(2 * n + 1, 1)));
        assert_eq!((count, provoked.breach()), (RESETS, Some(Breach::Resets)));
    }

    #[tokio::test(start_paused = true)]
    async fn honest_work_is_never_a_flood() {
        // a download that is paid for with two WINDOW_UPDATEs and a PING a frame
        let mut download = conduct();
        let data = frame(0, 0, 1, &[0; 100]);
        let paid = [frame(8, 0, 0, &[0, 0, 0, 1]), frame(8, 0, 1, &[0, 0, 0, 1]), frame(6, 0, 0, &[0; 8])].concat();
        let count = stands(&mut download, 10_000, |conduct, _| {
            conduct.went(&data);
            conduct.came(&paid);
        });
        assert_eq!(count, 10_000);
        // every second request is given up, the others are answered
        let mut cancels = conduct();
        let count = stands(&mut cancels, 10_000, |conduct, n| {
            conduct.came(&[get(4 * n + 1), get(4 * n + 3), reset(4 * n + 3, 8)].concat());
            conduct.went(&frame(0, 1, 4 * n + 1, &[0; 10]));
        });
        assert_eq!(count, 10_000);
        // streams that are refused, or that an endpoint broke off, are not the client's fault
        let mut refused = conduct();
        let count =
            stands(&mut refused, 10_000, |conduct, n| conduct.went(&reset(2 * n + 1, if n % 2 == 0 { 7 } else { 2 })));
        assert_eq!(count, 10_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_fills_again_with_time() {
        let mut client = conduct();
        let ping = frame(6, 0, 0, &[0; 8]);
        client.came(&ping.repeat(CONTROL as usize));
        assert_eq!(client.breach(), None);
        tokio::time::advance(REFILL / 2).await;
        client.came(&ping.repeat(CONTROL as usize / 2));
        assert_eq!(client.breach(), None);
        client.came(&ping);
        assert_eq!(client.breach(), Some(Breach::Control));
        // less than the bound in any time
        let mut slow = conduct();
        for _ in 0..1000 {
            slow.came(&ping);
            tokio::time::advance(REFILL / CONTROL).await;
        }
        assert_eq!(slow.breach(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn our_own_goodbye_is_noted_and_stands_between_two_frames() {
        let mut client = conduct();
        assert_eq!(client.came(&[get(1), get(5), frame(1, 5, 5, &[1])].concat()), 2, "trailers open nothing");
        client.went(&frame(7, 0, 0, &[0; 8]));
        assert_eq!(client.breach(), None, "a drain");
        assert_eq!(client.goodbye().unwrap(), *frame(7, 0, 0, &[0, 0, 0, 5, 0, 0, 0, 11]));
        client.went(&frame(0, 0, 1, &[0; 10])[..12]);
        assert_eq!(client.goodbye(), None);
        client.went(&[&[0; 7][..], &frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1])].concat());
        assert_eq!(client.breach().unwrap().to_string(), "HTTP/2 connection error PROTOCOL_ERROR");
    }

    #[test]
    fn a_preface_that_is_another_is_seen_at_the_first_byte_that_differs() {
        let mut client = Conduct::new(1, 1);
        client.came(b"PRI * HTTP/2.0\r\n");
        assert!(client.breach().is_none() && !client.is_framed());
        client.came(b"\r\nSM\r\n");
        client.came(b"\r\n");
        assert!(client.breach().is_none() && client.is_framed());
        let mut other = Conduct::new(1, 1);
        other.came(b"PRI * HTTP/2.0\r\n\r\nXX");
        assert_eq!(other.breach(), Some(Breach::Preface));
    }

    #[test]
    fn breaches_are_kept_as_numbers() {
        for breach in [Breach::Resets, Breach::Control, Breach::Preface, Breach::Protocol(1), Breach::Protocol(0xffff)]
        {
            assert_eq!(Breach::from_code(breach.to_code()), Some(breach));
        }
        assert_eq!(Breach::from_code(0), None);
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_verdict_is_the_same(
            frames in prop::collection::vec((prop::sample::select(vec![0u8, 1, 3, 6, 8]), any::<bool>(), 0usize..3), 0..300),
            cut in 1usize..40,
        ) {
            let bytes: Vec<u8> = frames
                .iter()
                .zip((1u32..).step_by(2))
                .flat_map(|((kind, ends, length), stream)| frame(*kind, u8::from(*ends), stream, &vec![0; *length]))
                .collect();
            let (mut whole, mut pieces) = (Conduct::new(5, 30), Conduct::new(5, 30));
            let bytes = [PREFACE, &bytes].concat();
            let opened = whole.came(&bytes);
            let in_pieces: u32 = bytes.chunks(cut).map(|piece| pieces.came(piece)).sum();
            prop_assert_eq!((opened, whole.breach()), (in_pieces, pieces.breach()));
        }
    }
}
