//! Prometheus' text format, version 0.0.4, for the counters that Transom keeps itself.
//!
//! Written piece by piece, so that a scrape of tens of thousands of series never stands in memory as a whole.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};

use super::family::Family;

/// The labels of a sample, rendered once: `a="1",b="2"`.
#[derive(Debug, Default)]
pub(super) struct Labels(String);

/// Announces a family; its samples follow.
pub(super) fn family(out: &mut dyn Write, family: &Family) -> io::Result<()> {
    let Family { name, kind, help, .. } = family;
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// One sample; `suffix` as `_bucket`, or nothing.
pub(super) fn sample(
    out: &mut dyn Write,
    family: &Family,
    suffix: &str,
    labels: &Labels,
    value: impl Display,
) -> io::Result<()> {
    let name = family.name;
    match labels.0.as_str() {
        "" => writeln!(out, "{name}{suffix} {value}"),
        labels => writeln!(out, "{name}{suffix}{{{labels}}} {value}"),
    }
}

impl Labels {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn push(&mut self, name: &str, value: impl Display) {
        let comma = if self.0.is_empty() { "" } else { "," };
        let _ = write!(self.0, "{comma}{name}=\"");
        let _ = write!(Escaping(&mut self.0), "{value}");
        self.0.push('"');
    }

    /// Nothing but whose Service it is about.
    pub(super) fn service(&mut self, namespace: &str, name: &str, port: u16) {
        self.clear();
        self.push("namespace", namespace);
        self.push("service", name);
        self.push("port", port);
    }

    /// For a label that only some samples have: pushes it, writes, and takes it back.
    pub(super) fn with<T>(&mut self, name: &str, value: impl Display, act: impl FnOnce(&Labels) -> T) -> T {
        let length = self.0.len();
        self.push(name, value);
        let done = act(self);
        self.0.truncate(length);
        done
    }
}

/// Text format: "label_value can be any sequence of UTF-8 characters, but the backslash, double-quote, and line feed
/// characters have to be escaped".
struct Escaping<'a>(&'a mut String);

impl std::fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if !text.contains(['\\', '"', '\n']) {
            self.0.push_str(text);
            return Ok(());
        }
        for c in text.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}
