//! Transom: parse, dispatch.

use std::process::ExitCode;

use transom::cli;

fn main() -> ExitCode {
    cli::main(std::env::args_os(), |_, _| {
        Err(cli::Failure::Unavailable("serving is not joined to the command line yet".to_owned()))
    })
}
