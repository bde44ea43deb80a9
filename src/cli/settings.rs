//! Settings on the command line: one flag a field of the table in `config`, and `--config`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::Failure;
use crate::config::{CONFIG_VARIABLE, Config, ConfigError, Field, Layers, Scope};

/// Every setting, for `run`.
#[derive(Debug, Clone, Default)]
pub struct ServingSettings(Given);

/// The settings that bear on what is made of objects, for commands that do not serve.
#[derive(Debug, Clone, Default)]
pub struct TranslatingSettings(Given);

#[derive(Debug, Clone, Default)]
struct Given {
    file: Option<PathBuf>,
    flags: Vec<(&'static Field, String)>,
}

impl ServingSettings {
    /// Reads all layers.
    pub fn resolve(&self) -> Result<Config, Failure> {
        resolve(&self.layers()?)
    }

    /// The layers, not judged yet.
    pub fn layers(&self) -> Result<Layers, Failure> {
        self.0.layers()
    }
}

impl TranslatingSettings {
    /// Reads all layers.
    pub fn resolve(&self) -> Result<Config, Failure> {
        resolve(&self.0.layers()?)
    }
}

/// Judges what the layers say.
pub fn resolve(layers: &Layers) -> Result<Config, Failure> {
    Config::resolve(layers).map_err(wrong)
}

#[allow(clippy::needless_pass_by_value, reason = "it is mapped over errors")]
fn wrong(error: ConfigError) -> Failure {
    Failure::WrongUse(error.to_string())
}

impl Given {
    fn layers(&self) -> Result<Layers, Failure> {
        let mut layers = Layers::default();
        layers.read_environment(std::env::vars_os()).map_err(wrong)?;
        if let Some(path) = &self.file {
            let shown = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|error| Failure::WrongUse(format!("{shown}: {error}")))?;
            layers.read_file(&shown, &text).map_err(wrong)?;
        }
        for (field, text) in &self.flags {
            layers.set_flag(field, text);
        }
        Ok(layers)
    }

    fn read(matches: &ArgMatches, scopes: &[Scope]) -> Given {
        let said = |field: &'static Field| Some((field, matches.get_one::<String>(field.name)?.clone()));
        Given { file: matches.get_one::<PathBuf>("config").cloned(), flags: fields(scopes).filter_map(said).collect() }
    }
}

fn fields(scopes: &[Scope]) -> impl Iterator<Item = &'static Field> {
    Config::FIELDS.iter().filter(move |field| scopes.contains(&field.scope))
}

fn arguments(command: Command, scopes: &[Scope]) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env(CONFIG_VARIABLE)
        .hide_env_values(true)
        .value_parser(clap::value_parser!(PathBuf))
        .help_heading("Settings")
        .help("Settings from a file; flags and TRANSOM_… variables beat it");
    fields(scopes).fold(command.arg(file), |command, field| {
        let docs: Vec<&str> = field.docs.iter().map(|line| line.trim()).collect();
        let mut arg = Arg::new(field.name)
            .long(field.flag())
            .value_name(field.name.to_ascii_uppercase())
            .help_heading("Settings")
            .help(format!("{} [default: {}] [env: {}]", docs.join(" "), field.default, field.variable()));
        if !field.words.is_empty() {
            arg = arg.value_parser(PossibleValuesParser::new(field.words));
        }
        command.arg(arg)
    })
}

macro_rules! settings_of {
    ($type:ident: $($scope:ident),+) => {
        impl Args for $type {
            fn augment_args(command: Command) -> Command {
                arguments(command, &[$(Scope::$scope),+])
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $type {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok($type(Given::read(matches, &[$(Scope::$scope),+])))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

settings_of!(ServingSettings: Translating, Serving);
settings_of!(TranslatingSettings: Translating);
