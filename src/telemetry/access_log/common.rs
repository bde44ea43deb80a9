//! The Common Log Format, as Apache and nginx write it: `host - - [day/month/year:time zone] "METHOD path PROTOCOL"
//! status bytes`. The user is never told: the gateway does not check who it is.

use std::fmt::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::telemetry::RequestRecord;

/// The time as this format says it, `01/Jan/2026:00:00:00 +0000`; kept for a second.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: u64,
    text: String,
}

/// A line, without its end.
pub(super) struct Line<'a> {
    pub(super) record: &'a RequestRecord<'a>,
    pub(super) path: &'a str,
    pub(super) time: &'a str,
}

impl Clock {
    pub(super) fn at(&mut self, time: Duration) -> &str {
        let second = time.as_secs();
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text.clear();
            let stamp = Timestamp::new(i64::try_from(second).unwrap_or_default(), 0).unwrap_or(Timestamp::UNIX_EPOCH);
            let date = Offset::UTC.to_datetime(stamp);
            let _ = write!(
                self.text,
                "{:02}/{}/{:04}:{:02}:{:02}:{:02} +0000",
                date.day(),
                month(date.month()),
                date.year(),
                date.hour(),
                date.minute(),
                date.second()
            );
        }
        &self.text
    }
}

fn month(number: i8) -> &'static str {
    match number {
        1 => "Jan",
        2 => "Feb",
        3 => "Mar",
        4 => "Apr",
        5 => "May",
        6 => "Jun",
        7 => "Jul",
        8 => "Aug",
        9 => "Sep",
        10 => "Oct",
        11 => "Nov",
        _ => "Dec",
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.record;
        match record.client {
            Some(client) => write!(f, "{}", client.ip().to_canonical())?,
            None => f.write_char('-')?,
        }
        write!(f, " - - [{}] ", self.time)?;
        if record.method.is_empty() {
            f.write_str("\"-\"")?; // bytes that were no request
        } else {
            // others write the second version's number in full
            let protocol = if record.protocol == "HTTP/2" { "HTTP/2.0" } else { record.protocol };
            write!(f, "\"{} {} {protocol}\"", Word(record.method), Word(self.path))?;
        }
        match (record.code, record.bytes_sent) {
            (0, _) => f.write_str(" - -"),
            (code, 0) => write!(f, " {code} -"),
            (code, bytes) => write!(f, " {code} {bytes}"),
        }
    }
}

/// Neither blanks nor quotes, so that a line has as many fields as it seems to: as nginx, `\x22` for what is not plain.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_char('-');
        }
        for byte in self.0.bytes() {
            if byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "\\x{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::request::sample;

    #[test]
    fn a_line_is_what_apache_would_write() {
        let mut record = RequestRecord { code: 200, bytes_sent: 2326, method: "GET", protocol: "HTTP/1.0", ..sample() };
        record.client = "127.0.0.1:4711".parse().ok();
        let mut clock = Clock::default();
        let mut line = |record: &RequestRecord<'_>, path: &str| {
            let time = clock.at(Duration::from_secs(971_211_336)).to_owned();
            Line { record, path, time: &time }.to_string()
        };
        let example = "127.0.0.1 - - [10/Oct/2000:20:55:36 +0000] \"GET /apache_pb.gif HTTP/1.0\" 200 2326";
        assert_eq!(line(&record, "/apache_pb.gif"), example);
        assert!(line(&record, "/a b\"c\\\n\u{e9}").contains("\"GET /a\\x20b\\x22c\\x5C\\x0A\\xC3\\xA9 HTTP/1.0\" 200"));
        (record.protocol, record.bytes_sent, record.client) = ("HTTP/2", 0, "[::ffff:192.0.2.1]:1".parse().ok());
        assert!(line(&record, "/").ends_with("\"GET / HTTP/2.0\" 200 -"));
        assert!(line(&record, "/").starts_with("192.0.2.1 - - ["));
        (record.method, record.code, record.client) = ("", 0, None);
        assert_eq!(line(&record, ""), "- - - [10/Oct/2000:20:55:36 +0000] \"-\" - -");
    }
}
