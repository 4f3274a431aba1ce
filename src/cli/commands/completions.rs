//! `mstore completions`

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, Failure, output};

/// Print a completion script
#[derive(clap::Args)]
pub struct Args {
    /// Shell to complete in
    shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mstore", &mut script);
    output::bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
