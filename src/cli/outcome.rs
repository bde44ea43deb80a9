//! How a command ends, and how text gets out.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use thiserror::Error;

/// A command that did what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Fine,
    /// The answer to the question is "no": problems were found. Exit code 1.
    No,
}

/// A command that could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// Wrong use, or input that cannot be read. Exit code 2.
    #[error("{0}")]
    WrongUse(String),
    /// A port or file could not be had. Exit code 3.
    #[error("{0}")]
    Unavailable(String),
}

/// Form of an answer: for people, or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    Text,
    Json,
}

/// The exit code of an answer; a failure is told on standard error.
pub(super) fn exit(answer: Result<Outcome, Failure>) -> ExitCode {
    match answer {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Err(failure) => {
            complain(&failure.to_string());
            ExitCode::from(match failure {
                Failure::WrongUse(_) => 2,
                Failure::Unavailable(_) => 3,
            })
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`transom routes | head`) is no failure.
///
/// # Errors
/// Any other reason why the text could not be written.
pub fn show(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Unavailable(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a message to standard error; one that cannot be written is lost.
pub(super) fn complain(message: &str) {
    let mut out = io::stderr().lock();
    for (index, line) in message.lines().enumerate() {
        let lead = if index == 0 { "error: " } else { "" };
        let _ = writeln!(out, "{lead}{line}");
    }
}

/// Writes a line to standard error, so that standard output stays the answer alone.
pub(super) fn aside(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A value as indented JSON and a line feed.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    // of the types that are printed here none can fail: their keys are texts
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
