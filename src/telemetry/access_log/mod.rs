//! The access log: one line per request, written by a thread of its own.
//!
//! In come [`RequestRecord`](super::RequestRecord)s from the data workers, each through a byte ring that only it
//! writes; out go lines to stdout, many in one write. When a ring is full the line is dropped and counted: an
//! output that is slow, blocked or closed never holds up a request.

mod common;
mod filter;
mod headers;
mod json;
mod line;
mod writer;

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

pub use filter::Filter;
pub use headers::{HeaderRules, Treatment};
pub(super) use writer::LineWriter;

use writer::Shared;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object per line; every field always present, `null` where there is nothing to say.
    #[default]
    Json,
    /// The Common Log Format of web servers.
    Common,
    /// One line for people.
    Text,
    /// No access log.
    Off,
}

/// What is logged of which requests, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How a line is written.
    pub format: Format,
    /// Which requests get one.
    pub filter: Filter,
    /// Which headers it shows; [`Format::Common`] has no place for any.
    pub headers: HeaderRules,
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

    /// Writes lines to `sink` from a thread of its own. Bytes are handed to `sink` in whole lines, as
    /// many as there are; `sink` may block.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(options: impl Into<Options>, sink: impl Write + Send + 'static) -> io::Result<Self> {
        let options = options.into();
        if options.format == Format::Off {
            return Ok(AccessLog::off());
        }
        let shared = writer::start(options, Box::new(sink))?;
        Ok(AccessLog { running: Some(Arc::new(Running { shared })) })
    }

    /// Writes lines to stdout.
    ///
    /// # Errors
    /// When stdout is not open, or no thread can be started.
    pub fn stdout(options: Options) -> io::Result<Self> {
        if options.format == Format::Off {
            return Ok(AccessLog::off());
        }
        // A descriptor of its own: `io::Stdout` is a lock that a blocked pipe would hold against everyone who prints.
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        AccessLog::start(options, std::fs::File::from(stdout))
    }

    /// Lines dropped so far; `None` if the log is off.
    #[must_use]
    pub fn dropped(&self) -> Option<u64> {
        self.running.as_ref().map(|running| running.shared.dropped())
    }

    pub(super) fn close(&self, patience: Duration) -> bool {
        self.running.as_ref().is_none_or(|running| running.shared.close(patience))
    }

    /// Of a request's headers those that its line may show, where they must outlive the request.
    pub(super) fn kept(&self, headers: &HeaderMap) -> HeaderMap {
        self.running.as_ref().map_or_else(HeaderMap::new, |running| running.shared.options.headers.kept(headers))
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

impl From<Format> for Options {
    /// Every request, without headers.
    fn from(format: Format) -> Self {
        Options { format, ..Options::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::telemetry::request::sample;
    use crate::telemetry::{BuildLabels, Reason, RequestRecord, Telemetry};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn record(path: &str) -> RequestRecord<'_> {
        RequestRecord { path, code: 404, reason: Reason::NoListener, ..sample() }
    }

    fn telemetry(sink: impl Write + Send + 'static) -> Telemetry {
        Telemetry::new(BuildLabels::default(), AccessLog::start(Format::Json, sink).unwrap())
    }

    fn dropped(telemetry: &Telemetry) -> u64 {
        let text = telemetry.metrics_text();
        let line = text.lines().find(|line| line.starts_with("transom_access_log_dropped_total")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>, Arc<Mutex<usize>>);

    impl Memory {
        fn paths(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let path = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].clone();
            text.lines().map(|line| path(line).as_str().unwrap().to_owned()).collect()
        }
    }

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            *self.1.lock().unwrap() += 1;
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_worker_s_lines_arrive_whole_and_in_order() {
        let memory = Memory::default();
        let telemetry = telemetry(memory.clone());
        thread::scope(|scope| {
            for worker in 0..4 {
                let recorder = telemetry.recorder(worker);
                scope.spawn(move || (0..500).for_each(|n| recorder.record(&record(&format!("/{worker}/{n}")))));
            }
        });
        assert!(telemetry.close(PATIENCE));
        let paths = memory.paths();
        assert_eq!(paths.len(), 2_000);
        for worker in 0..4 {
            let own = paths.iter().filter(|path| path.starts_with(&format!("/{worker}/")));
            assert!(own.eq((0..500).map(|n| format!("/{worker}/{n}")).collect::<Vec<_>>().iter()));
        }
        assert!(*memory.1.lock().unwrap() < 1_000, "many lines go out in one write");
        assert_eq!(dropped(&telemetry), 0);
    }

    #[test]
    fn a_line_appears_without_another_request() {
        let memory = Memory::default();
        let telemetry = telemetry(memory.clone());
        let recorder = telemetry.recorder(0);
        for n in 0..20 {
            recorder.record(&record("/"));
            let begun = Instant::now();
            while memory.paths().len() <= n {
                assert!(begun.elapsed() < PATIENCE, "line {n} never came");
                thread::yield_now();
            }
        }
    }

    #[test]
    fn a_blocked_pipe_never_holds_up_a_request_and_what_is_lost_is_counted() {
        let (mut reading, writing) = io::pipe().unwrap();
        let telemetry = telemetry(writing);
        let recorder = telemetry.recorder(0);
        let total = 20_000;
        // Nobody reads: pipe and ring fill up, and this loop still ends.
        (0..total).for_each(|_| recorder.record(&record("/")));
        let lost = dropped(&telemetry);
        assert!(lost > 0);
        assert!(!telemetry.close(Duration::from_millis(50)), "a blocked writer is not waited for");

        let reader = thread::spawn(move || {
            let mut text = String::new();
            io::Read::read_to_string(&mut reading, &mut text).unwrap();
            text.lines().inspect(|line| drop(serde_json::from_str::<serde_json::Value>(line).unwrap())).count() as u64
        });
        assert!(telemetry.close(PATIENCE));
        let counted = dropped(&telemetry);
        drop((telemetry, recorder));
        assert_eq!(reader.join().unwrap() + counted, total);
    }

    #[test]
    fn a_closed_pipe_costs_lines_and_nothing_else() {
        let (reading, writing) = io::pipe().unwrap();
        drop(reading);
        let telemetry = telemetry(writing);
        let recorder = telemetry.recorder(0);
        (0..100).for_each(|_| recorder.record(&record("/")));
        assert!(telemetry.close(PATIENCE));
        assert_eq!(dropped(&telemetry), 100);
    }

    /// Takes some bytes, fails once, then takes everything.
    struct Faltering(mpsc::Sender<Vec<u8>>, u32);

    impl Write for Faltering {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 {
                1 => {
                    self.0.send(bytes[..10].to_vec()).unwrap();
                    Ok(10)
                }
                2 => Err(io::Error::from(io::ErrorKind::StorageFull)),
                _ => {
                    self.0.send(bytes.to_vec()).unwrap();
                    Ok(bytes.len())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn after_a_torn_line_the_next_one_begins_on_its_own() {
        let (sender, receiver) = mpsc::channel();
        let telemetry = telemetry(Faltering(sender, 0));
        let recorder = telemetry.recorder(0);
        recorder.record(&record("/torn"));
        let begun = Instant::now();
        while dropped(&telemetry) == 0 {
            assert!(begun.elapsed() < PATIENCE);
            thread::yield_now();
        }
        recorder.record(&record("/whole"));
        assert!(telemetry.close(PATIENCE));
        drop((telemetry, recorder));
        let text = String::from_utf8(receiver.iter().flatten().collect()).unwrap();
        let mut lines = text.lines();
        assert!(lines.next().unwrap().len() == 10, "{text}");
        assert!(lines.next().unwrap().contains("/whole"), "{text}");
        assert_eq!(lines.next(), None, "{text}");
    }

    #[test]
    fn a_log_that_is_off_has_no_metric() {
        let telemetry = Telemetry::new(BuildLabels::default(), AccessLog::off());
        telemetry.recorder(0).record(&record("/"));
        assert!(!telemetry.metrics_text().contains("access_log"));
        assert!(telemetry.close(PATIENCE));
    }
}
