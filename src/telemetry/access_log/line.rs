//! One request as one line. Whatever a client or an upstream sent, a line stays one line.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use serde::Serialize;

use super::common;
use super::headers::{CUT, HeaderRules, Shown};
use super::{Format, Options, json};
use crate::telemetry::{Reason, RequestRecord};

/// The time as lines say it, `2026-01-01T00:00:00.000Z`. Keeps the last second's text: the rest is three digits.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: u64,
    text: String,
    common: common::Clock,
}

/// Appends the line of `record`, which ended at `time` since 1970, with its newline.
pub(super) fn append(
    line: &mut Vec<u8>,
    options: &Options,
    record: &RequestRecord<'_>,
    clock: &mut Clock,
    time: Duration,
) {
    // A `Vec` takes everything.
    match options.format {
        Format::Json => json_line(line, record, clock.at(time), &options.headers),
        Format::Common => {
            let time = clock.common.at(time);
            let _ = writeln!(line, "{}", common::Line { record, path: record.bare_path(), time });
        }
        Format::Text => {
            let (time, rules) = (clock.at(time), &options.headers);
            let _ = writeln!(line, "{}", Text { record, time, rules });
        }
        Format::Off => {}
    }
}

impl Clock {
    fn at(&mut self, time: Duration) -> &str {
        // `.000Z`
        const TAIL: usize = 5;
        let second = time.as_secs();
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text.clear();
            let stamp = Timestamp::new(i64::try_from(second).unwrap_or_default(), 0).unwrap_or(Timestamp::UNIX_EPOCH);
            let _ = write!(self.text, "{stamp:.3}");
        }
        self.text.truncate(self.text.len().saturating_sub(TAIL));
        let _ = write!(self.text, ".{:03}Z", time.subsec_millis());
        &self.text
    }
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    f64::from(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

/// Key by key, as a `Serialize` would have each key escaped again for each request.
fn json_line(line: &mut Vec<u8>, record: &RequestRecord<'_>, time: &str, rules: &HeaderRules) {
    let mut put = |key: &str, value: Value<'_>| {
        line.extend_from_slice(key.as_bytes());
        value.append(line);
    };
    put("{\"time\":", Value::Text(time));
    put(",\"method\":", Value::Text(record.method));
    put(",\"host\":", Value::Text(record.host));
    put(",\"path\":", Value::Text(record.bare_path()));
    put(",\"protocol\":", Value::Word(record.protocol));
    put(",\"status\":", Value::Number(record.code.into()));
    put(",\"reason\":", Value::Word(record.reason.as_str()));
    put(",\"duration_ms\":", Value::Milliseconds(record.duration));
    put(",\"upstream_duration_ms\":", Value::Milliseconds(record.upstream_duration));
    put(",\"bytes\":", Value::Number(record.bytes_sent));
    put(",\"bytes_received\":", Value::Number(record.bytes_received));
    put(",\"client\":", record.client.map_or(Value::Null, Value::Address));
    put(",\"upstream\":", record.upstream.map_or(Value::Null, Value::Address));
    let listener = record.listener.as_ref();
    put(",\"gateway\":", listener.map_or(Value::Null, |l| Value::Joined(l.namespace, l.gateway)));
    put(",\"listener\":", listener.map_or(Value::Null, |l| Value::Text(l.listener)));
    let route = record.route.as_ref();
    put(",\"route_kind\":", route.map_or(Value::Null, |r| Value::Word(r.kind)));
    put(",\"route\":", route.map_or(Value::Null, |r| Value::Joined(r.namespace, r.name)));
    put(",\"rule\":", route.map_or(Value::Null, |r| Value::Number(r.rule.into())));
    put(",\"tls\":", Value::Bool(record.tls));
    put(",\"request_id\":", Some(record.request_id).filter(|id| !id.is_empty()).map_or(Value::Null, Value::Text));
    put(",\"trace_id\":", record.trace_id.map_or(Value::Null, Value::Trace));
    put(",\"error\":", record.error.map_or(Value::Null, Value::Text));
    json_headers(line, b",\"request_headers\":{", record.headers.request, rules);
    json_headers(line, b",\"response_headers\":{", record.headers.response, rules);
    line.extend_from_slice(b"}\n");
}

/// An object of the headers that are shown; nothing where none are.
fn json_headers(line: &mut Vec<u8>, begin: &[u8], headers: Option<&HeaderMap>, rules: &HeaderRules) {
    let Some(headers) = headers.filter(|_| !rules.is_empty()) else { return };
    let before = line.len();
    line.extend_from_slice(begin);
    let first = line.len();
    let left_out = rules.each(headers, |shown| {
        if line.len() > first {
            line.push(b',');
        }
        Value::Text(shown.name()).append(line);
        line.push(b':');
        Value::Header(shown).append(line);
    });
    if left_out > 0 {
        let comma = if line.len() > first { "," } else { "" };
        let _ = write!(line, "{comma}\"{CUT}\":{left_out}");
    }
    if line.len() > first {
        line.push(b'}');
    } else {
        line.truncate(before);
    }
}

/// A JSON value.
#[derive(Clone, Copy)]
enum Value<'a> {
    Null,
    Bool(bool),
    Number(u64),
    Milliseconds(Duration),
    Text(&'a str),
    /// Of this program's own: nothing to escape.
    Word(&'static str),
    /// `namespace/name`
    Joined(&'a str, &'a str),
    Address(SocketAddr),
    Header(Shown<'a>),
    Trace(u128),
}

impl Value<'_> {
    fn append(self, line: &mut Vec<u8>) {
        match self {
            Value::Null => line.extend_from_slice(b"null"),
            Value::Bool(value) => line.extend_from_slice(if value { b"true" } else { b"false" }),
            Value::Number(value) => json::number(line, value),
            Value::Milliseconds(value) => json::milliseconds(line, value),
            Value::Text(value) => json::text(line, value),
            Value::Word(value) => json::word(line, value),
            Value::Joined(namespace, name) => json::joined(line, namespace, Some(name)),
            Value::Address(value) => json::address(line, value),
            // A `Vec` takes everything, and this is text.
            Value::Header(value) => drop(serde_json::to_writer(line, &value)),
            Value::Trace(value) => drop(write!(line, "\"{value:032x}\"")),
        }
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&fmt::from_fn(|f| self.pieces(|piece| f.write_str(piece))))
    }
}

struct Text<'a> {
    record: &'a RequestRecord<'a>,
    time: &'a str,
    rules: &'a HeaderRules,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.record;
        let scheme = if record.tls { "https" } else { "http" };
        write!(f, "{} {} ", self.time, Escaped(record.method))?;
        write!(f, "{scheme}://{}{} {}", Escaped(record.host), Escaped(record.bare_path()), record.protocol)?;
        write!(f, " {}", record.code)?;
        if record.reason != Reason::None {
            write!(f, " {}", record.reason)?;
        }
        write!(f, " {:.3}ms {}B", milliseconds(record.duration), record.bytes_sent)?;
        write!(f, " {} -> {}", Address(record.client), Address(record.upstream))?;
        match &record.listener {
            Some(l) => write!(f, " {}/{}[{}]", l.namespace, l.gateway, l.listener)?,
            None => f.write_str(" -")?,
        }
        match &record.route {
            Some(r) => write!(f, " {}/{}/{}[{}]", r.kind, r.namespace, r.name, r.rule)?,
            None => f.write_str(" -")?,
        }
        if let Some(error) = record.error {
            write!(f, " \"{}\"", EscapedText(error))?;
        }
        self.headers(f, "request", record.headers.request)?;
        self.headers(f, "response", record.headers.response)
    }
}

impl Text<'_> {
    fn headers(&self, f: &mut fmt::Formatter<'_>, whose: &str, headers: Option<&HeaderMap>) -> fmt::Result {
        let Some(headers) = headers.filter(|_| !self.rules.is_empty()) else { return Ok(()) };
        let mut written = Ok(());
        let left_out = self.rules.each(headers, |shown| {
            let mut one = || {
                write!(f, " {whose}.{}=\"", Escaped(shown.name()))?;
                shown.pieces(|piece| escape(f, piece, |_| false))?;
                f.write_char('"')
            };
            written = written.and_then(|()| one());
        });
        written?;
        if left_out > 0 { write!(f, " {whose}.{CUT}={left_out}") } else { Ok(()) }
    }
}

struct Address(Option<SocketAddr>);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) if address.port() == 0 => address.ip().fmt(f),
            Some(address) => address.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// A word: no blanks, no controls (a terminal would obey them), no quotes.
struct Escaped<'a>(&'a str);

/// A sentence: blanks stay.
struct EscapedText<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_char('-') } else { escape(f, self.0, |c| c == ' ') }
    }
}

impl fmt::Display for EscapedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(f, self.0, |_| false)
    }
}

fn escape(f: &mut fmt::Formatter<'_>, text: &str, also: impl Fn(char) -> bool) -> fmt::Result {
    for c in text.chars() {
        // Beside ASCII, only what reads as a letter passes: direction marks and separators rearrange a line.
        let plain = if c.is_ascii() { !c.is_ascii_control() && c != '"' && c != '\\' } else { c.is_alphanumeric() };
        if plain && !also(c) {
            f.write_char(c)?;
        } else {
            write!(f, "{}", c.escape_unicode())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Headers, ListenerLabels, RouteLabels};

    fn record<'a>(path: &'a str, host: &'a str, error: Option<&'a str>) -> RequestRecord<'a> {
        RequestRecord {
            listener: Some(ListenerLabels { namespace: "default", gateway: "edge", listener: "web" }),
            route: Some(RouteLabels { kind: "HTTPRoute", namespace: "shop", name: "cart", rule: 2 }),
            method: "GET",
            host,
            path,
            protocol: "HTTP/1.1",
            tls: true,
            code: 200,
            reason: Reason::None,
            client: "192.0.2.1:4711".parse().ok(),
            request_id: "5f0c",
            upstream: "[2001:db8::1]:8080".parse().ok(),
            duration: Duration::from_micros(12_345),
            upstream_duration: Duration::from_millis(12),
            bytes_received: 3,
            bytes_sent: 512,
            trace_id: None,
            error,
            headers: Headers::default(),
        }
    }

    fn line(format: Format, record: &RequestRecord<'_>) -> String {
        let mut line = Vec::new();
        append(&mut line, &format.into(), record, &mut Clock::default(), Duration::from_millis(1_767_225_600_007));
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn the_clock_shows_each_moment_in_any_order() {
        let mut clock = Clock::default();
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_767_225_600_007, "2026-01-01T00:00:00.007Z"),
            (1_767_225_600_999, "2026-01-01T00:00:00.999Z"),
            (1_709_208_000_010, "2024-02-29T12:00:00.010Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(clock.at(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_json_line_has_every_field() {
        assert_eq!(
            line(Format::Json, &record("/cart", "shop.example", None)),
            concat!(
                r#"{"time":"2026-01-01T00:00:00.007Z","method":"GET","host":"shop.example","path":"/cart","#,
                r#""protocol":"HTTP/1.1","status":200,"reason":"none","duration_ms":12.345,"#,
                r#""upstream_duration_ms":12.0,"bytes":512,"bytes_received":3,"client":"192.0.2.1:4711","#,
                r#""upstream":"[2001:db8::1]:8080","gateway":"default/edge","listener":"web","#,
                r#""route_kind":"HTTPRoute","route":"shop/cart","rule":2,"tls":true,"request_id":"5f0c","trace_id":null,"error":null}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_text_line_reads_from_left_to_right() {
        assert_eq!(
            line(Format::Text, &record("/cart", "shop.example", Some("connection refused"))),
            "2026-01-01T00:00:00.007Z GET https://shop.example/cart HTTP/1.1 200 12.345ms 512B \
             192.0.2.1:4711 -> [2001:db8::1]:8080 default/edge[web] HTTPRoute/shop/cart[2] \"connection refused\"\n"
        );
    }

    #[test]
    fn the_query_is_not_logged() {
        for format in [Format::Json, Format::Common, Format::Text] {
            assert!(!line(format, &record("/cart?token=s3cret", "shop.example", None)).contains("s3cret"));
        }
    }

    #[test]
    fn hostile_text_stays_one_line_and_what_it_was() {
        let hostile = "/a\n\r\t\0\u{1b}[31m\"\\ \u{7f}\u{9b}\u{2028}\u{202e}\",\"status\":200}";
        let record = record(hostile, "x\ny", Some("broken \"pipe\"\n"));
        let json = line(Format::Json, &record);
        assert_eq!(json.matches('\n').count(), 1, "{json}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["path"], hostile);
        assert_eq!(value["host"], "x\ny");

        let text = line(Format::Text, &record);
        assert!(text.trim_end_matches('\n').chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{text}");
        assert_eq!(text.matches('\n').count(), 1, "{text}");
    }

    #[test]
    fn a_client_of_unknown_port_is_an_address() {
        let mut record = record("/", "a", None);
        record.client = "[2001:db8::7]:0".parse().ok();
        assert!(line(Format::Json, &record).contains(r#""client":"2001:db8::7","#));
        assert!(line(Format::Text, &record).contains(" 2001:db8::7 -> "));
    }

    #[test]
    fn nothing_known_is_null() {
        let mut record = record("", "", None);
        record.request_id = "";
        record.listener = None;
        record.route = None;
        record.client = None;
        let value: serde_json::Value = serde_json::from_str(&line(Format::Json, &record)).unwrap();
        for field in ["gateway", "listener", "route_kind", "route", "rule", "client", "request_id", "error"] {
            assert!(value[field].is_null(), "{field}");
        }
        assert!(line(Format::Text, &record).contains(" - -\n"));
    }
}
