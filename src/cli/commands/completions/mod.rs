//! `mstore completions`

use std::process::ExitCode;

use clap_complete::Shell;

use crate::cli::{Failure, output, parser};

/// Print a completion script
///
/// In bash, zsh and fish targets, steps, seeds, snapshots, gc roots and elements are completed as well: the scripts
/// ask mstore for them.
#[derive(clap::Args)]
pub struct Args {
    /// Shell to complete in
    shell: Shell,
}

/// Prints the script.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let asking: &[u8] = match args.shell {
        Shell::Bash => include_bytes!("mstore.bash"),
        Shell::Zsh => include_bytes!("mstore.zsh"),
        Shell::Fish => include_bytes!("mstore.fish"),
        shell => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut parser(), "mstore", &mut script);
            output::bytes(&script)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    output::bytes(asking)?;
    Ok(ExitCode::SUCCESS)
}
