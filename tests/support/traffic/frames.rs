//! A client of HTTP/2 that says what it likes, frame by frame, and tells what came back (RFC 9113, RFC 7541).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
pub const END: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const STREAM_CLOSED: u32 = 5;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const CALM: u32 = 11;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields of a header block, each in full and without entries in the table.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// RFC 7541, 5.1, with a prefix of 7 bits.
fn integer(block: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        return block.push(u8::try_from(value).unwrap());
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    block.push(u8::try_from(value).unwrap());
}

/// The pseudo-headers of a request, and more fields.
pub fn request<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "a.com"), (":path", path)];
    pseudo.into_iter().chain(more.iter().copied()).collect()
}

/// A header block in one frame.
pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// A request without a body.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END, &request("GET", path, &[]))
}

/// A reset.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// More room for what the server sends.
pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// Settings: 3 is how many streams, 4 the initial window, 5 the size of a frame.
pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        pairs.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What became of a stream, or of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The status of an answer; the first of a connection is read reliably.
    Status(u16),
    /// The stream was reset.
    Reset(u32),
    /// The connection was, with this code and these words.
    GoAway(u32, String),
    /// The connection ended without a word.
    Closed,
}

impl Got {
    /// Whether it ends its stream.
    pub fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END != 0
    }

    /// An error code that it carries: of a reset or a GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// Words of a GOAWAY.
    pub fn words(&self) -> String {
        String::from_utf8_lossy(&self.payload[8..]).into_owned()
    }

    /// The status of an answer, if it stands in full or in the static table.
    pub fn status(&self) -> u16 {
        let mut block = &self.payload[..];
        while block[0] & 0xe0 == 0x20 {
            block = &block[1..]; // a size of the table, below 31
        }
        match block[0] {
            known @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(known) - 0x88],
            0x08 | 0x18 | 0x48 if block[1] & 0x80 == 0 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
            0x08 | 0x18 | 0x48 => digits(&block[2..2 + usize::from(block[1] & 0x7f)]),
            other => panic!("no status: {other:x} in {self:?}"),
        }
    }
}

/// Three digits in the code of RFC 7541, appendix B: 0 to 2 have five bits, the others six.
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u16> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1))).collect();
    let number = |bits: &[u16]| bits.iter().fold(0, |sum, bit| sum * 2 + bit);
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let five = number(&bits[at..at + 5]);
        let (digit, length) = if five < 3 { (five, 5) } else { (number(&bits[at..at + 6]) - 0x19 + 3, 6) };
        at += length;
        value = value * 10 + digit;
    }
    value
}

/// A connection. What comes is read all the time, so that nobody blocks.
pub struct Frames {
    writer: Box<dyn AsyncWrite + Unpin + Send>,
    got: mpsc::UnboundedReceiver<Got>,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Frames {
    /// h2c, after preface and settings.
    pub async fn connect(address: SocketAddr, pairs: &[(u16, u32)]) -> Frames {
        let mut frames = Frames::over(TcpStream::connect(address).await.unwrap());
        frames.send([PREFACE, &settings(pairs)].concat()).await;
        frames
    }

    /// Over a stream, before a word was said.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Frames {
        let (mut reader, writer) = tokio::io::split(stream);
        let (sender, got) = mpsc::unbounded_channel();
        let reader = tokio::spawn(async move {
            let mut head = [0; 9];
            while reader.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                if reader.read_exact(&mut payload).await.is_err() {
                    break;
                }
                let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
                if sender.send(Got { kind: head[3], flags: head[4], stream, payload }).is_err() {
                    break;
                }
            }
        });
        Frames { writer: Box::new(writer), got, reader }
    }

    /// Sends bytes; whether the other side may still take them.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        timeout(Duration::from_secs(15), self.writer.write_all(bytes.as_ref())).await.expect("taken in time").is_ok()
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_send(bytes).await, "the connection has ended");
    }

    /// The next frame; none if the connection has ended.
    pub async fn next(&mut self) -> Option<Got> {
        timeout(Duration::from_secs(15), self.got.recv()).await.expect("a frame or the end in time")
    }

    /// The next frame of a kind on a stream.
    pub async fn next_of(&mut self, kind: u8, stream: u32) -> Option<Got> {
        loop {
            let got = self.next().await?;
            if (got.kind, got.stream) == (kind, stream) {
                return Some(got);
            }
        }
    }

    /// What becomes of a stream, unless the connection ends before.
    pub async fn fate(&mut self, stream: u32) -> Fate {
        while let Some(got) = self.next().await {
            match got.kind {
                HEADERS if got.stream == stream => return Fate::Status(got.status()),
                RST_STREAM if got.stream == stream => return Fate::Reset(got.code()),
                GOAWAY if got.code() != NO_ERROR => return Fate::GoAway(got.code(), got.words()),
                _ => {}
            }
        }
        Fate::Closed
    }

    /// Whether the connection lives: a ping is answered. If not, how it ended.
    pub async fn lives(&mut self) -> Result<(), Fate> {
        let _ = self.try_send(frame(PING, 0, 0, b"transom?")).await;
        while let Some(got) = self.next().await {
            match got.kind {
                PING if got.payload == b"transom?" => return Ok(()),
                GOAWAY if got.code() != NO_ERROR => return Err(Fate::GoAway(got.code(), got.words())),
                _ => {}
            }
        }
        Err(Fate::Closed)
    }

    /// Reads an answer to its end: the status and how long the body is. No room is given beyond the first.
    pub async fn answer(&mut self, stream: u32) -> Result<(u16, Vec<u8>), Fate> {
        let Fate::Status(status) = self.fate(stream).await else { return Err(Fate::Closed) };
        let mut body = Vec::new();
        while let Some(got) = self.next().await {
            if got.stream != stream {
                continue;
            }
            if got.kind == RST_STREAM {
                return Err(Fate::Reset(got.code()));
            }
            if got.kind == DATA {
                body.extend(&got.payload);
            }
            if got.ends() {
                return Ok((status, body));
            }
        }
        Err(Fate::Closed)
    }

    /// Waits for the end of the connection; whether it came in time.
    pub async fn ends_within(&mut self, limit: Duration) -> bool {
        timeout(limit, async { while self.got.recv().await.is_some() {} }).await.is_ok()
    }
}
