//! One request as one line. Whatever a client or an upstream sent, a line stays one line.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::ser::SerializeStruct;

use super::Format;
use crate::telemetry::{Reason, RequestRecord};

/// Appends the line of `record`, which ended at `time`, with its newline.
pub(super) fn append(line: &mut Vec<u8>, format: Format, record: &RequestRecord<'_>, time: Timestamp) {
    match format {
        Format::Json => {
            // Writing to a `Vec` cannot fail, and every field is a plain value.
            let _ = serde_json::to_writer(&mut *line, &Json { record, time });
            line.push(b'\n');
        }
        Format::Text => {
            let _ = writeln!(line, "{}", Text { record, time });
        }
        Format::Off => {}
    }
}

/// The path alone: a query may hold a token.
fn path<'a>(record: &RequestRecord<'a>) -> &'a str {
    record.path.split('?').next().unwrap_or_default()
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    f64::from(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

struct Json<'a> {
    record: &'a RequestRecord<'a>,
    time: Timestamp,
}

/// What `Display` says, as a JSON string, without a `String` between.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

struct Joined<'a>(&'a str, &'a str);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0, self.1)
    }
}

struct Millis(Timestamp);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.record;
        let listener = record.listener.as_ref();
        let route = record.route.as_ref();
        let mut line = serializer.serialize_struct("Line", 20)?;
        line.serialize_field("time", &Shown(Millis(self.time)))?;
        line.serialize_field("method", record.method)?;
        line.serialize_field("host", record.host)?;
        line.serialize_field("path", path(record))?;
        line.serialize_field("protocol", record.protocol)?;
        line.serialize_field("status", &record.code)?;
        line.serialize_field("reason", &record.reason)?;
        line.serialize_field("duration_ms", &milliseconds(record.duration))?;
        line.serialize_field("upstream_duration_ms", &milliseconds(record.upstream_duration))?;
        line.serialize_field("bytes", &record.bytes_sent)?;
        line.serialize_field("bytes_received", &record.bytes_received)?;
        line.serialize_field("client", &record.client)?;
        line.serialize_field("upstream", &record.upstream)?;
        line.serialize_field("gateway", &listener.map(|l| Shown(Joined(l.namespace, l.gateway))))?;
        line.serialize_field("listener", &listener.map(|l| l.listener))?;
        line.serialize_field("route_kind", &route.map(|r| r.kind))?;
        line.serialize_field("route", &route.map(|r| Shown(Joined(r.namespace, r.name))))?;
        line.serialize_field("rule", &route.map(|r| r.rule))?;
        line.serialize_field("tls", &record.tls)?;
        line.serialize_field("error", &record.error)?;
        line.end()
    }
}

struct Text<'a> {
    record: &'a RequestRecord<'a>,
    time: Timestamp,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.record;
        let scheme = if record.tls { "https" } else { "http" };
        write!(f, "{} {} ", Millis(self.time), Escaped(record.method))?;
        write!(f, "{scheme}://{}{} {}", Escaped(record.host), Escaped(path(record)), record.protocol)?;
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
        match record.error {
            Some(error) => write!(f, " \"{}\"", EscapedText(error)),
            None => Ok(()),
        }
    }
}

struct Address(Option<SocketAddr>);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
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
    use crate::telemetry::{ListenerLabels, RouteLabels};

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
            upstream: "[2001:db8::1]:8080".parse().ok(),
            duration: Duration::from_micros(12_345),
            upstream_duration: Duration::from_micros(12_000),
            bytes_received: 3,
            bytes_sent: 512,
            error,
        }
    }

    fn line(format: Format, record: &RequestRecord<'_>) -> String {
        let mut line = Vec::new();
        append(&mut line, format, record, Timestamp::from_millisecond(1_767_225_600_007).unwrap());
        String::from_utf8(line).unwrap()
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
                r#""route_kind":"HTTPRoute","route":"shop/cart","rule":2,"tls":true,"error":null}"#,
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
        for format in [Format::Json, Format::Text] {
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
    fn nothing_known_is_null() {
        let mut record = record("", "", None);
        record.listener = None;
        record.route = None;
        record.client = None;
        let value: serde_json::Value = serde_json::from_str(&line(Format::Json, &record)).unwrap();
        for field in ["gateway", "listener", "route_kind", "route", "rule", "client", "error"] {
            assert!(value[field].is_null(), "{field}");
        }
        assert!(line(Format::Text, &record).contains(" - -\n"));
    }
}
