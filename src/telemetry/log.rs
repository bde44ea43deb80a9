//! The log: `tracing` to stderr, as text for people or as JSON, with Pingora's `log` records bridged in.
//!
//! Pingora, hyper and h2 print whole requests, credentials included, below the level `info`: their targets are
//! capped there, whatever the filter says. Of a release Pingora's lines below `info`, and everybody's below `debug`, are
//! not even a part (`Cargo.toml`). What they say of single clients is for who debugs: it is left out above `debug`.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

/// Targets whose debug output holds headers.
const WIRE_TARGETS: [&str; 5] = ["pingora", "hyper", "h2", "tungstenite", "tokio_tungstenite"];

/// Targets that write a line for each client, or endpoint, that goes away, comes too late or errs. What came of requests
/// and connections stands in the access log and the metrics; a log that anybody can fill would hide the rest.
const CLIENT_TARGETS: [&str; 5] =
    ["pingora_proxy", "pingora_core::apps", "pingora_core::protocols::http", "h2", "rustls"];

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people; in colour on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How a line is written.
    pub format: Format,
    /// A level (`error warn info debug trace off`), or directives of `tracing`'s `EnvFilter`
    /// (`info,transom::proxy=debug`).
    pub filter: String,
}

/// Why there is no log.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error(
        "log level `{found}` is not understood ({why}); allowed are error, warn, info, debug, trace, off, or \
         directives as `info,transom::proxy=debug`"
    )]
    Filter {
        /// As given.
        found: String,
        /// What is wrong with it.
        why: String,
    },
    /// Neither `text` nor `json`.
    #[error("log format `{found}` is not known; allowed are `text` and `json`")]
    Format {
        /// As given.
        found: String,
    },
    /// The process has a log already.
    #[error("the log is set up already")]
    Twice(#[from] TryInitError),
}

impl Default for Options {
    fn default() -> Self {
        Options { format: Format::Text, filter: "info".to_owned() }
    }
}

impl FromStr for Format {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            found => Err(LogError::Format { found: found.to_owned() }),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Text => "text",
            Format::Json => "json",
        })
    }
}

/// Sets up the log of the process, once.
///
/// # Errors
/// When the filter does not parse, or the log was set up before.
pub fn init(options: &Options) -> Result<(), LogError> {
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    subscriber(options, coloured, io::stderr)?.try_init()?;
    Ok(())
}

/// Whether `filter` would be understood.
///
/// # Errors
/// When it does not parse.
pub fn check_filter(filter: &str) -> Result<(), LogError> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let wrong = |why: String| LogError::Filter { found: filter.to_owned(), why };
    let parts: Vec<&str> = filter.split(',').map(str::trim).collect();
    // A bare word that is no level would be taken for the name of a target, and everything would be silent.
    if let Some(word) = parts.iter().find(|part| !part.contains(['=', '[']) && !is_level(part)) {
        return Err(wrong(format!("`{word}` is not a level")));
    }
    EnvFilter::builder().parse(parts.join(",")).map_err(|error| wrong(error.to_string()))
}

fn is_level(word: &str) -> bool {
    !word.is_empty() && LevelFilter::from_str(word).is_ok()
}

fn subscriber<W>(options: &Options, coloured: bool, writer: W) -> Result<impl Subscriber + Send + Sync, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = parse(&options.filter)?;
    let is_debug = filter.max_level_hint() >= Some(LevelFilter::DEBUG);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines: Box<dyn Layer<_> + Send + Sync> = match options.format {
        Format::Text => lines.with_ansi(coloured).boxed(),
        Format::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    Ok(Registry::default().with(filter_fn(move |metadata| is_allowed(metadata, is_debug))).with(filter).with(lines))
}

fn is_allowed(metadata: &Metadata<'_>, is_debug: bool) -> bool {
    let is_of = |targets: &[&str]| targets.iter().any(|target| metadata.target().starts_with(target));
    if *metadata.level() > Level::INFO { !is_of(&WIRE_TARGETS) } else { is_debug || !is_of(&CLIENT_TARGETS) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(options: &Options, act: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(options, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, act);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn options(filter: &str) -> Options {
        Options { filter: filter.to_owned(), ..Options::default() }
    }

    #[test]
    fn libraries_that_see_requests_are_capped_at_info_whatever_the_filter_says() {
        for filter in ["trace", "info,pingora_core=debug,h2=trace"] {
            let text = logged(&options(filter), || {
                tracing::debug!(target: "pingora_core::protocols", "secret one");
                tracing::trace!(target: "h2::codec", "secret two");
                tracing::info!(target: "pingora_proxy", "fine");
            });
            assert!(!text.contains("secret"), "{text}");
            assert!(text.contains("fine"), "{text}");
        }
    }

    #[test]
    fn what_libraries_say_of_single_clients_is_for_who_debugs() {
        for (filter, is_seen) in [("info", false), ("warn", false), ("debug", true)] {
            let text = logged(&options(filter), || {
                tracing::error!(target: "pingora_proxy", "Fail to proxy");
                tracing::warn!(target: "rustls::common_state", "Sending warning alert");
                tracing::error!(target: "pingora_core::connectors", "of the gateway itself");
            });
            assert_eq!(text.contains("Fail to proxy"), is_seen, "{filter}: {text}");
            assert_eq!(text.contains("alert"), is_seen, "{filter}: {text}");
            assert!(text.contains("of the gateway itself"), "{filter}: {text}");
        }
    }

    #[test]
    fn the_filter_chooses_by_level_and_target() {
        let text = logged(&options("warn,transom::proxy=debug"), || {
            tracing::info!(target: "transom::source", "unseen");
            tracing::debug!(target: "transom::proxy", "seen");
        });
        assert!(text.contains("seen") && !text.contains("unseen"), "{text}");
    }

    #[test]
    fn a_json_line_is_one_object_with_its_fields() {
        let json = Options { format: Format::Json, ..Options::default() };
        let text = logged(&json, || tracing::warn!(file = "a\n.yaml", "kept the last good objects"));
        assert_eq!(text.lines().count(), 1, "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["level"], "WARN");
        assert_eq!(value["message"], "kept the last good objects");
        assert_eq!(value["file"], "a\n.yaml");
    }

    #[test]
    fn text_is_plain_where_colours_are_not_wanted() {
        let text = logged(&Options::default(), || tracing::info!("hello \u{1b}[31mred"));
        assert!(text.contains("hello") && !text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_by_name() {
        for filter in ["loud", "", "info,verbose", "transom=loud"] {
            let error = check_filter(filter).unwrap_err().to_string();
            assert!(error.contains(&format!("`{filter}`")) && error.contains("info"), "{error}");
        }
        for filter in ["info", "DEBUG", "off", "info,transom::proxy=debug", "info, h2=warn"] {
            assert!(check_filter(filter).is_ok(), "{filter}");
        }
    }
}
