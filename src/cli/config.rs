//! `transom config`: the settings that are in force, and where each comes from.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::ValueEnum;
use serde::Serialize;

use super::outcome::{json, show};
use super::settings::ServingSettings;
use super::{Failure, Outcome};
use crate::config::{Config, Place};

/// Print the settings that are in force, and where each comes from.
///
/// Takes the settings of `transom run`: flags, TRANSOM_… variables and --config. What it prints as YAML can be given as
/// --config in turn. Nothing is served.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Form::Yaml)]
    output: Form,

    #[command(flatten)]
    settings: ServingSettings,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// A configuration file, with the place of each value as a comment.
    Yaml,
    /// `{key: {value, from}}`.
    Json,
}

/// A setting as it is in force.
#[derive(Serialize)]
struct Shown {
    value: serde_yaml::Value,
    from: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let layers = arguments.settings.layers()?;
    super::settings::resolve(&layers)?;
    let shown: Vec<(String, Shown)> = Config::FIELDS
        .iter()
        .map(|field| {
            let (value, place) = layers.effective(field);
            (field.key(), Shown { value, from: origin(&place) })
        })
        .collect();
    let text = match arguments.output {
        Form::Json => {
            let values = shown.into_iter().map(|(key, shown)| (key, serde_json::json!(shown)));
            json(&values.collect::<serde_json::Map<_, _>>())
        }
        Form::Yaml => shown.into_iter().map(|(key, shown)| yaml(key, shown)).collect(),
    };
    show(&text)?;
    Ok(Outcome::Fine)
}

/// A key and its value as a file has them, with the origin behind the first line.
fn yaml(key: String, Shown { value, from }: Shown) -> String {
    let entry = serde_yaml::to_string(&BTreeMap::from([(key, value)])).unwrap_or_default();
    let (first, rest) = entry.split_once('\n').unwrap_or((&entry, ""));
    let mut text = String::new();
    let _ = writeln!(text, "{first}  # {}", from.replace(['\n', '\r'], " "));
    text + rest
}

fn origin(place: &Place) -> String {
    match place {
        Place::File { path, line: Some(line), .. } => format!("{path}:{line}"),
        Place::File { path, line: None, .. } => path.clone(),
        Place::Default | Place::Flag(_) | Place::Variable(_) => place.to_string(),
    }
}
