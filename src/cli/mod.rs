//! The command line: one file per subcommand.
//!
//! What comes in: arguments, environment, files. What goes out: text on standard output, messages on standard
//! error, and an exit code: 0 fine, 1 the question's answer is "no", 2 wrong use or unreadable input, 3 a port or
//! file could not be had. Every subcommand that judges manifests does so through the translator and router that
//! serve traffic. This room does not know how serving works: it hands [`Sources`] and a [`Config`] to `app`.

mod access;
mod check;
mod completion;
mod config;
mod curl;
pub mod diagnostic;
mod echo;
pub mod explain;
#[cfg(test)]
mod fixture;
mod given;
pub mod outcome;
mod paint;
mod routes;
pub mod run;
pub mod served;
mod settings;
mod sources;
mod status;
mod table;
pub mod version;
mod view;
mod yaml;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

pub use outcome::{Failure, Outcome};
pub use run::Sources;
pub use sources::{selectors, translating};

/// What serves: `app::run`. It returns when the process is to end.
pub type Serve = fn(Config, Sources) -> Result<Outcome, Failure>;

/// A Kubernetes Gateway API implementation on Cloudflare's Pingora, in a cluster or on a laptop.
#[derive(Debug, Parser)]
#[command(name = "transom", version, subcommand_required = true)]
#[command(arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Routes(routes::Arguments),
    Status(status::Arguments),
    Config(config::Arguments),
    Echo(echo::Arguments),
    Completion(completion::Arguments),
    Version(version::Arguments),
}

/// Runs one command line, the first argument being the program's own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>, serve: Serve) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // help and version are no errors; clap knows which stream and code each has
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let answer = match cli.command {
        Command::Run(arguments) => run::run(arguments, serve),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Routes(arguments) => routes::run(&arguments),
        Command::Status(arguments) => status::run(arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Echo(arguments) => echo::run(&arguments),
        Command::Completion(arguments) => completion::run(&arguments),
        Command::Version(arguments) => version::run(&arguments),
    };
    outcome::exit(answer)
}
