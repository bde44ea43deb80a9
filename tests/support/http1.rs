//! HTTP/1 read by the letter, nothing forgiven: what reached an upstream, and what a client was answered.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "parts of tests fail as tests do"
)]

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Request line and fields, each with its CRLF.
    pub head: String,
    /// Without its framing.
    pub body: Vec<u8>,
}

/// What came on a connection: whole requests, and what was begun of another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Read {
    pub whole: Vec<Request>,
    /// Bytes of the request that is not whole.
    pub rest: Vec<u8>,
}

/// An answer as it came; interim ones are answers, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Status line and fields, in lower case.
    pub head: String,
    pub body: String,
}

impl Request {
    /// Method and target.
    pub fn line(&self) -> String {
        self.head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned()
    }

    /// Every value of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        values(&self.head, name)
    }

    /// Method, target and body.
    pub fn summary(&self) -> String {
        format!("{} {}", self.line(), String::from_utf8_lossy(&self.body)).trim_end().to_owned()
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        values(&self.head, name).first().copied()
    }
}

fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// Requests to an upstream. Anything but whole, well-formed requests of HTTP/1.1, the last one perhaps unfinished, is
/// an error in words.
pub fn requests(bytes: &[u8]) -> Result<Read, String> {
    let mut read = Read::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        match request(rest)? {
            Some((request, length)) => {
                read.whole.push(request);
                rest = &rest[length..];
            }
            None => break,
        }
    }
    read.rest = rest.to_vec();
    Ok(read)
}

fn request(bytes: &[u8]) -> Result<Option<(Request, usize)>, String> {
    let Some((head, after)) = head(bytes) else { return Ok(None) };
    let wrong = |what: &str| Err(format!("{what}: {:?}", String::from_utf8_lossy(bytes)));
    if head.bytes().any(|byte| byte < b' ' && !b"\r\n\t".contains(&byte)) {
        return wrong("control characters");
    }
    let lines: Vec<&str> = head.trim_end_matches("\r\n").split("\r\n").collect();
    if lines.iter().any(|line| line.contains(['\r', '\n'])) {
        return wrong("CR or LF by itself");
    }
    let line: Vec<&str> = lines[0].split(' ').collect();
    let ["HTTP/1.1", target, method] = line.iter().rev().copied().collect::<Vec<_>>()[..] else {
        return wrong("no request line");
    };
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    if !is_token(method) || !(target.starts_with('/') || (target == "*" && method == "OPTIONS")) {
        return wrong("no method or target");
    }
    for field in &lines[1..] {
        if !field.split_once(':').is_some_and(|(name, _)| is_token(name)) {
            return wrong("no field");
        }
    }
    if values(&head, "host").len() != 1 {
        return wrong("not one host");
    }
    let (lengths, codings) = (values(&head, "content-length"), values(&head, "transfer-encoding"));
    let body = match (&lengths[..], &codings[..]) {
        ([], []) => Some((Vec::new(), 0)),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|_| "a length that is none")?;
            after.get(..length).map(|body| (body.to_vec(), length))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => chunks(after)?,
        _ => return wrong("framing"),
    };
    let header = bytes.len() - after.len();
    Ok(body.map(|(body, length)| (Request { head, body }, header + length)))
}

/// A header block and what follows it.
fn head(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((String::from_utf8_lossy(&bytes[..end + 2]).into_owned(), &bytes[end + 4..]))
}

/// A chunked body without extensions and trailers, and its length on the wire.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(line) = bytes[at..].windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let digits = std::str::from_utf8(&bytes[at..at + line]).map_err(|error| error.to_string())?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("no size of a chunk: {digits:?}"));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
        at += line + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk that does not end, or a trailer".to_owned());
        }
        body.extend(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

/// Answers up to the end of their connection. What follows the last whole one is an error in words.
pub fn responses(bytes: &[u8]) -> Result<Vec<Response>, String> {
    responses_to(bytes, false)
}

/// The same; where HEAD was among the requests, any of them may be without its body.
pub fn responses_to(mut bytes: &[u8], head_asked: bool) -> Result<Vec<Response>, String> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let wrong = |what: &str| format!("{what} behind {all:?}: {:?}", String::from_utf8_lossy(bytes));
        let (head, after) = head(bytes).ok_or_else(|| wrong("no header block"))?;
        let head = head.to_lowercase();
        let status = head.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status: u16 = status.ok_or_else(|| wrong("no status"))?;
        let length = values(&head, "content-length").first().map(|length| length.parse::<usize>());
        let (body, length) = match length {
            _ if status < 200 || status == 204 || status == 304 => (Vec::new(), 0),
            _ if head_asked && (after.is_empty() || after.starts_with(b"HTTP/1.1 ")) => (Vec::new(), 0),
            Some(Ok(length)) => (after.get(..length).ok_or_else(|| wrong("half a body"))?.to_vec(), length),
            Some(Err(_)) => return Err(wrong("no length")),
            None if values(&head, "transfer-encoding") == ["chunked"] => {
                chunks(after)?.ok_or_else(|| wrong("half a chunked body"))?
            }
            None => (after.to_vec(), after.len()),
        };
        bytes = &after[length..];
        all.push(Response { status, head, body: String::from_utf8_lossy(&body).into_owned() });
    }
    Ok(all)
}
