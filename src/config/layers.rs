//! Where settings are given: flags over environment over file. Texts are gathered here, and judged last.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use thiserror::Error;

use super::value::Fault;
use super::{Config, ENVIRONMENT_PREFIX, Field, Setting};

/// The variable that names the configuration file, as the flag `--config` does.
pub const CONFIG_VARIABLE: &str = "TRANSOM_CONFIG";

/// What was said, and where; nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    flags: BTreeMap<&'static str, Said>,
    environment: BTreeMap<&'static str, Said>,
    file: BTreeMap<&'static str, Said>,
    /// The file's text, to find lines in.
    text: String,
    unknown: Option<ConfigError>,
}

#[derive(Debug, Clone)]
struct Said {
    text: String,
    place: Place,
}

/// Where a setting was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it is as it is by default.
    Default,
    /// A flag, with its dashes.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A key of a file.
    File {
        /// The file as it was named.
        path: String,
        /// Line, from 1, where it is known.
        line: Option<usize>,
        /// The key.
        key: String,
    },
}

/// Why there are no settings. Worded for the person who gave them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A value that is not allowed.
    #[error("{place}: found {found:?}, allowed: {allowed}{}", meant(.nearest.as_ref().map(|n| format!("{n:?}"))))]
    Value {
        /// Where it stands.
        place: Place,
        /// What stands there.
        found: String,
        /// What may stand there.
        allowed: &'static str,
        /// The nearest allowed word.
        nearest: Option<&'static str>,
    },
    /// A part of a value that is not allowed.
    #[error("{place}{}{why}", within(.place, .path))]
    Part {
        /// Where the value stands.
        place: Place,
        /// The way to the part; empty for the whole.
        path: String,
        /// What is wrong with it, and what is allowed.
        why: String,
    },
    /// A key of the file that is no setting.
    #[error("{path}{}: unknown field {key:?}{}", at(*.line), meant_or(.nearest.as_ref().map(|n| format!("{n:?}")), .known))]
    UnknownKey {
        /// The file.
        path: String,
        /// Line, from 1, where it is known.
        line: Option<usize>,
        /// The key.
        key: String,
        /// The nearest known one.
        nearest: Option<String>,
        /// Every known one.
        known: String,
    },
    /// A variable with our prefix that is no setting.
    #[error("unknown environment variable {name}{}", meant_or(.nearest.clone(), .known))]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The nearest known one.
        nearest: Option<String>,
        /// Every known one.
        known: String,
    },
    /// A value that does not go with that of another setting.
    #[error("{place}: {why}")]
    Contradiction {
        /// Where it stands.
        place: Place,
        /// What is wrong with it.
        why: String,
    },
    /// A variable whose value is no UTF-8.
    #[error("environment variable {0} is not UTF-8")]
    VariableText(String),
    /// A file that is no mapping from names to single values.
    #[error("{path}{}: {why}", at(*.line))]
    File {
        /// The file.
        path: String,
        /// Line, from 1, where it is known.
        line: Option<usize>,
        /// What is wrong with it.
        why: String,
    },
}

impl Layers {
    /// Takes the value of a flag.
    pub fn set_flag(&mut self, field: &'static Field, text: &str) {
        let place = Place::Flag(format!("--{}", field.flag()));
        self.flags.insert(field.name, Said { text: text.to_owned(), place });
    }

    /// Takes every variable that has our prefix, save the one that names the configuration file.
    ///
    /// # Errors
    /// A value that is not UTF-8. An unknown variable is reported by [`Config::resolve`].
    pub fn read_environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        let mut ours: Vec<(String, OsString)> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX) && name != CONFIG_VARIABLE)
            .collect();
        ours.sort();
        for (name, value) in ours {
            let text = value.into_string().map_err(|_| ConfigError::VariableText(name.clone()))?;
            if let Some(field) = Config::FIELDS.iter().find(|field| field.variable() == name) {
                self.environment.insert(field.name, Said { text, place: Place::Variable(name) });
            } else if !is_service_link(&name, &text) && self.unknown.is_none() {
                let known =
                    std::iter::once(CONFIG_VARIABLE.to_owned()).chain(Config::FIELDS.iter().map(Field::variable));
                let known: Vec<String> = known.collect();
                let nearest = nearest(&name, &known);
                self.unknown = Some(ConfigError::UnknownVariable { name, nearest, known: known.join(", ") });
            }
        }
        Ok(())
    }

    /// Takes a configuration file, named `path` in messages: a YAML or JSON mapping from keys to single values.
    ///
    /// # Errors
    /// A text that is no such mapping, or a key that is no setting.
    pub fn read_file(&mut self, path: &str, text: &str) -> Result<(), ConfigError> {
        let wrong = |line, why: String| ConfigError::File { path: path.to_owned(), line, why };
        let root: serde_yaml::Value = serde_yaml::from_str(text)
            .map_err(|error| wrong(error.location().map(|at| at.line()), plain(&error.to_string())))?;
        let mapping = match root {
            serde_yaml::Value::Null => return Ok(()),
            serde_yaml::Value::Mapping(mapping) => mapping,
            other => return Err(wrong(None, format!("found {}, allowed: a mapping of settings", shape(&other)))),
        };
        for (key, value) in mapping {
            let key = scalar(&key).ok_or_else(|| wrong(None, "a key is not a text".to_owned()))?;
            let line = line_of(text, &key);
            let Some(field) = Config::FIELDS.iter().find(|field| field.key() == key) else {
                let known: Vec<String> = Config::FIELDS.iter().map(Field::key).collect();
                let nearest = nearest(&key, &known);
                let path = path.to_owned();
                return Err(ConfigError::UnknownKey { path, line, key, nearest, known: known.join(", ") });
            };
            let written = if field.structured { serde_yaml::to_string(&value).ok() } else { scalar(&value) };
            let Some(text) = written else {
                let why = format!("{key}: found {}, allowed: {}", shape(&value), field.allowed);
                return Err(wrong(line, why));
            };
            self.file.insert(field.name, Said { text, place: Place::File { path: path.to_owned(), line, key } });
        }
        text.clone_into(&mut self.text);
        Ok(())
    }

    /// The first name that is no setting, as an error.
    pub(super) fn refuse_unknown(&self) -> Result<(), ConfigError> {
        self.unknown.clone().map_or(Ok(()), Err)
    }

    /// The value of a setting from the strongest layer that gives it.
    pub(super) fn value<T: Setting>(&self, name: &str, default: &str) -> Result<T, ConfigError> {
        let default = Said { text: default.to_owned(), place: Place::Default };
        let said = self.said(name).unwrap_or(&default);
        T::parse(&said.text).ok_or_else(|| match T::fault(&said.text) {
            Some(Fault { path, why }) => ConfigError::Part { place: self.place_of(&said.place, &path), path, why },
            None => ConfigError::Value {
                place: said.place.clone(),
                found: said.text.clone(),
                allowed: T::ALLOWED,
                nearest: nearest(&said.text, T::WORDS),
            },
        })
    }

    /// What is in force for a field, as a file would have it, and where it was given; allowed once it is resolved.
    #[must_use]
    pub fn effective(&self, field: &Field) -> (serde_yaml::Value, Place) {
        let said = self.said(field.name);
        let text = said.map_or(field.default, |said| &said.text);
        let plain = serde_yaml::from_str(text).ok();
        let value = plain.filter(|value| field.structured || scalar(value).as_deref() == Some(text));
        let place = said.map_or(Place::Default, |said| said.place.clone());
        (value.unwrap_or_else(|| serde_yaml::Value::String(text.to_owned())), place)
    }

    /// That the value of a setting does not go with that of another.
    pub(super) fn contradiction(&self, name: &str, why: String) -> ConfigError {
        let place = self.said(name).map_or(Place::Default, |said| said.place.clone());
        ConfigError::Contradiction { place, why }
    }

    fn said(&self, name: &str) -> Option<&Said> {
        [&self.flags, &self.environment, &self.file].into_iter().find_map(|layer| layer.get(name))
    }

    /// The place of a part of a value: in a file, with the line of the innermost key of its path that is found.
    fn place_of(&self, place: &Place, part: &str) -> Place {
        let Place::File { path, line: Some(line), key } = place else { return place.clone() };
        let mut at = line.saturating_sub(1);
        for step in part.split(['.', '[']) {
            let further = self.text.lines().skip(at).position(|line| is_key(line, step));
            at += further.unwrap_or_default();
        }
        Place::File { path: path.clone(), line: Some(at + 1), key: key.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Default => f.write_str("default"),
            Place::Flag(flag) => f.write_str(flag),
            Place::Variable(name) => f.write_str(name),
            Place::File { path, line, key } => write!(f, "{path}{}: {key}", at(*line)),
        }
    }
}

/// The candidate that a person who wrote `text` most likely meant; none if all are far from it.
#[must_use]
pub(super) fn nearest<S: AsRef<str> + Clone>(text: &str, candidates: &[S]) -> Option<S> {
    let plain = |s: &str| s.to_ascii_lowercase().replace(['-', '_'], "");
    let text = plain(text);
    let scored = candidates.iter().map(|c| (strsim::jaro_winkler(&text, &plain(c.as_ref())), c));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, c)| c.clone())
}

/// Kubernetes puts variables for every Service of the namespace into each container (`enableServiceLinks`); a
/// Service named `transom` or `transom-…` makes some with our prefix. They are not meant for us.
fn is_service_link(name: &str, value: &str) -> bool {
    let link = |parts: &[&str]| match parts {
        [.., "SERVICE", "HOST" | "PORT"] => true,
        [.., "PORT", number, "TCP" | "UDP" | "SCTP"]
        | [.., "PORT", number, "TCP" | "UDP" | "SCTP", "PROTO" | "PORT" | "ADDR"] => number.parse::<u16>().is_ok(),
        [.., "PORT"] => ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme)),
        _ => false,
    };
    let parts: Vec<&str> = name.split('_').collect();
    link(&parts) || name.contains("_SERVICE_PORT_")
}

/// A single value as text.
pub(super) fn scalar(value: &serde_yaml::Value) -> Option<String> {
    match value {
        serde_yaml::Value::String(text) => Some(text.clone()),
        serde_yaml::Value::Number(number) => Some(number.to_string()),
        // `off` is a boolean in YAML 1.1 and a word in 1.2; the parser in use keeps it a word
        serde_yaml::Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// What a value is, in words.
pub(super) fn shape(value: &serde_yaml::Value) -> &'static str {
    match value {
        serde_yaml::Value::Null => "nothing",
        serde_yaml::Value::Sequence(_) => "a list",
        serde_yaml::Value::Mapping(_) => "a mapping",
        _ => "a single value",
    }
}

/// The parser's words without the place, which stands in front already.
fn plain(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

/// Line of a key of the outermost mapping. Good for messages: a key that is written unusually has none.
fn line_of(text: &str, key: &str) -> Option<usize> {
    text.lines().position(|line| is_key(line, key)).map(|index| index + 1)
}

fn is_key(line: &str, key: &str) -> bool {
    let line = line.trim_start().trim_start_matches('{').trim_start().trim_start_matches(['"', '\'']);
    line.strip_prefix(key).is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
}

/// What joins a place to a part of what stands there: keys of a file by a dot.
fn within(place: &Place, part: &str) -> String {
    match (place, part) {
        (_, "") => ": ".to_owned(),
        (Place::File { .. }, _) => format!(".{part}: "),
        _ => format!(": {part}: "),
    }
}

fn at(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(":{line}"))
}

fn meant(nearest: Option<String>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}

/// What was most likely meant, else all that is known.
pub(super) fn meant_or(nearest: Option<String>, known: &str) -> String {
    if nearest.is_some() { meant(nearest) } else { format!("; known: {known}") }
}
