//! `transom check`: everything the translator would report, without serving.

mod objects;
mod written;

use std::fmt::Write;
use std::path::PathBuf;

use clap::ValueEnum;

use super::diagnostic::{Diagnostic, Severity};
use super::outcome::{aside, json, show};
use super::paint::Paint;
use super::settings::TranslatingSettings;
use super::sources::Loaded;
use super::{Failure, Outcome};

/// Report everything that is wrong with manifests, without serving them.
///
/// The judge is the translator that serves traffic, after the rules of the Gateway API's own schema. Exit code 0
/// means clean, 1 that there are problems, 2 that there was something that could not be read.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Files (.yaml, .yml, .json) and folders of Kubernetes objects; - is standard input.
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1..)]
    filename: Vec<PathBuf>,

    /// Descend into folders of folders.
    #[arg(short = 'R', long)]
    recursive: bool,

    /// Form of the answer: what is wrong, as text or as a JSON list; or every object with the status that a cluster
    /// would show, as YAML.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,

    /// Check a cluster (not in this version).
    #[arg(long, hide = true)]
    kubernetes: bool,

    #[command(flatten)]
    settings: TranslatingSettings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
    Yaml,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    if arguments.kubernetes {
        let message = "check --kubernetes is not in this version; give the manifests with -f PATH";
        return Err(Failure::WrongUse(message.to_owned()));
    }
    if arguments.filename.is_empty() {
        return Err(Failure::WrongUse("nothing to check; give files and folders with -f PATH".to_owned()));
    }
    let config = arguments.settings.resolve()?;
    let loaded = Loaded::read(&arguments.filename, arguments.recursive, &config)?;
    match arguments.output {
        Form::Text => show(&text(&loaded, Paint::for_stdout()))?,
        Form::Json => show(&json(&loaded.diagnostics))?,
        Form::Yaml => {
            show(&objects::yaml(&loaded, config.controller_name.as_str()))?;
            // the objects are the answer on standard output: what is wrong with the others goes beside it
            for diagnostic in loaded.diagnostics.iter().filter(|d| d.severity == Severity::Problem) {
                aside(&diagnostic.to_string());
            }
        }
    }
    loaded.refuse_unreadable()?;
    let clean = loaded.diagnostics.iter().all(|diagnostic| diagnostic.severity == Severity::Note);
    Ok(if clean { Outcome::Fine } else { Outcome::No })
}

fn text(loaded: &Loaded, paint: Paint) -> String {
    let mut text = String::new();
    for diagnostic in &loaded.diagnostics {
        let word = match diagnostic.severity {
            Severity::Problem => paint.bad(diagnostic.severity.as_str()),
            Severity::Note => paint.note(diagnostic.severity.as_str()),
        };
        let place = diagnostic.place();
        let lead = if place.is_empty() { String::new() } else { format!("{place}: ") };
        let _ = writeln!(text, "{lead}{word}: {}", diagnostic.words());
    }
    text.push_str(&summary(&loaded.diagnostics, loaded.objects(), loaded.files));
    text
}

fn summary(diagnostics: &[Diagnostic], objects: usize, files: usize) -> String {
    let of = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let (problems, notes) = (of(Severity::Problem), of(Severity::Note));
    let problems = if problems == 0 { "no problems".to_owned() } else { count(problems, "problem") };
    let notes = if notes == 0 { String::new() } else { format!(", {}", count(notes, "note")) };
    format!("{problems}{notes} ({} in {})\n", count(objects, "object"), count(files, "file"))
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
