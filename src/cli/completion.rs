//! `transom completion`: the shell's own completion script.

use clap::CommandFactory;

use super::outcome::show;
use super::{Cli, Failure, Outcome};

/// Print a completion script for a shell.
///
/// Load it with `source <(transom completion bash)`, in zsh with `source <(transom completion zsh)`, in fish with
/// `transom completion fish | source`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    use clap_complete::Shell as Generator;
    let generator = match arguments.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    // the generator panics on a writer that fails, and a closed pipe is such a writer
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut Cli::command(), "transom", &mut script);
    show(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Fine)
}
