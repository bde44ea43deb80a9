//! `transom check`: everything the translator would report, without serving; of a cluster also whether it is fit.

mod objects;
mod preflight;

use std::fmt::Write;

use clap::ValueEnum;

use super::diagnostic::Severity;
use super::given::Given;
use super::outcome::{aside, json, show};
use super::paint::Paint;
use super::settings::TranslatingSettings;
use super::sources::{Loaded, ReadFrom};
use super::{Failure, Outcome};

use preflight::Preflight;

/// Report everything that is wrong with manifests, or with a cluster, without serving.
///
/// The judge is the translator that serves traffic; for files after the rules of the Gateway API's own schema. Of a
/// cluster it is also told what `transom run --kubernetes` with the same settings would meet: CRDs, permissions, ports
/// of this machine, classes, and what is ignored and why. Exit code 0 means clean, 1 that there are problems, 2 that
/// there was something that could not be read.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    given: Given,

    /// Form of the answer: what is wrong, as text or as a JSON list; or every object with the status that a cluster
    /// would show, as YAML; of a cluster, every object that may have one.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,

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
    let config = arguments.settings.resolve()?;
    let (loaded, head) = match arguments.given.access()? {
        Some(access) => {
            let preflight = Preflight::of(&access, &config)?;
            let head = preflight.head(Paint::for_stdout());
            (preflight.loaded, head)
        }
        None => (arguments.given.read(&config)?, String::new()),
    };
    match arguments.output {
        Form::Text => show(&format!("{head}{}", text(&loaded, Paint::for_stdout())))?,
        Form::Json => show(&json(&loaded.diagnostics))?,
        Form::Yaml => {
            show(&objects::yaml(&loaded, config.controller_name.as_str()))?;
            // the objects are the answer on standard output: what is wrong with the others goes beside it
            for diagnostic in loaded.diagnostics.iter().filter(|d| d.severity == Severity::Problem) {
                aside(&diagnostic.to_string());
            }
        }
    }
    // of a cluster, what may not be read is a problem among others
    if !arguments.given.kubernetes {
        loaded.refuse_unreadable()?;
    }
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
    text.push_str(&summary(loaded));
    text
}

fn summary(Loaded { diagnostics, objects, read_from, .. }: &Loaded) -> String {
    let of = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let (problems, notes) = (of(Severity::Problem), of(Severity::Note));
    let problems = if problems == 0 { "no problems".to_owned() } else { count(problems, "problem") };
    let notes = if notes == 0 { String::new() } else { format!(", {}", count(notes, "note")) };
    let place = match read_from {
        ReadFrom::Files(files) => count(*files, "file"),
        ReadFrom::Cluster => "the cluster".to_owned(),
    };
    format!("{problems}{notes} ({} in {place})\n", count(*objects, "object"))
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
