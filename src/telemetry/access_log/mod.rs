//! The access log: one line per request, written by a thread of its own.
//!
//! In come [`RequestRecord`](super::RequestRecord)s from the data workers, each through a byte ring that only it
//! writes; out go lines to stdout, many in one write. When a ring is full the line is dropped and counted: an
//! output that is slow, blocked or closed never holds up a request.

mod line;
mod writer;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub(super) use writer::LineWriter;

use writer::Shared;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object per line; every field always present, `null` where there is nothing to say.
    #[default]
    Json,
    /// One line for people.
    Text,
    /// No access log.
    Off,
}

/// What is neither `json`, `text` nor `off`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("access log format `{found}` is not known; allowed are `json`, `text` and `off`")]
pub struct UnknownFormat {
    found: String,
}

/// The access log of a process. Cheap to clone; all clones are one. The last one dropped ends the writer.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// `None` is off.
    running: Option<Arc<Running>>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
}

impl AccessLog {
    /// No access log.
    #[must_use]
    pub fn off() -> Self {
        AccessLog { running: None }
    }

    /// Writes lines of `format` to `sink` from a thread of its own. Bytes are handed to `sink` in whole lines, as
    /// many as there are; `sink` may block.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(format: Format, sink: impl Write + Send + 'static) -> io::Result<Self> {
        if format == Format::Off {
            return Ok(AccessLog::off());
        }
        let shared = writer::start(format, Box::new(sink))?;
        Ok(AccessLog { running: Some(Arc::new(Running { shared })) })
    }

    /// Writes lines of `format` to stdout.
    ///
    /// # Errors
    /// When stdout is not open, or no thread can be started.
    pub fn stdout(format: Format) -> io::Result<Self> {
        if format == Format::Off {
            return Ok(AccessLog::off());
        }
        // A descriptor of its own: `io::Stdout` is a lock that a blocked pipe would hold against everyone who prints.
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        AccessLog::start(format, std::fs::File::from(stdout))
    }

    /// Lines dropped so far; `None` if the log is off.
    #[must_use]
    pub fn dropped(&self) -> Option<u64> {
        self.running.as_ref().map(|running| running.shared.dropped())
    }

    pub(super) fn close(&self, patience: Duration) -> bool {
        self.running.as_ref().is_none_or(|running| running.shared.close(patience))
    }

    pub(super) fn line_writer(&self) -> Option<LineWriter> {
        self.running.as_ref().map(|running| LineWriter::new(Arc::clone(&running.shared)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "json" => Ok(Format::Json),
            "text" => Ok(Format::Text),
            "off" => Ok(Format::Off),
            found => Err(UnknownFormat { found: found.to_owned() }),
        }
    }
}
