//! `mstore man`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, Failure, output};

/// Write the manual pages
#[derive(clap::Args)]
pub struct Args {
    /// Folder for one page a command; without it the main page goes to stdout
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes the pages.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|e| Failure::machine(format!("cannot make the page: {e}")))?;
        output::bytes(&page)?;
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(&dir)
        .and_then(|()| clap_mangen::generate_to(command, &dir))
        .map_err(|e| Failure::machine(format!("cannot write to {}: {e}", dir.display())))?;
    Ok(ExitCode::SUCCESS)
}
