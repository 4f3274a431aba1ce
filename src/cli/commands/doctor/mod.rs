//! `mstore doctor`

mod check;
mod disk;
mod examine;

use std::process::ExitCode;

use crate::cli::Failure;
use crate::cli::context::Context;
use crate::cli::failure::MACHINE;
use crate::cli::output::{self, Style};
use check::State;
use examine::{Patient, examine, is_able};

/// Tell what this machine can do, and what to change
///
/// Everything is tried, and what is made on the way is removed: a sandbox over the file system of the store, a store,
/// files of other owners, programs that some commands run. Exit status: 0 if targets can be built, 3 if not.
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    // Must come before the first thread. That it failed is an answer.
    let entered = context.enter();
    let store = context.store_path()?;
    let checks = examine(&Patient {
        store: &store,
        entered,
        ssh: &context.reach().ssh,
    });
    let able = is_able(&checks);
    let status = match able {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(MACHINE),
    };
    if args.json {
        output::json_pretty(&serde_json::json!({
            "able": able,
            "store": store.display().to_string(),
            "checks": checks,
        }))?;
        return Ok(status);
    }
    let style = Style::stdout();
    for check in &checks {
        let state = format!("{:8}", check.state);
        let state = match check.state {
            State::Good => style.good(&state),
            State::Lacking | State::Unknown => style.note(&state),
            State::Missing => style.error(&state),
        };
        let found = output::escaped(&check.found);
        output::line(format!("{state}{}: {found}", check.check))?;
        if let Some(remedy) = &check.remedy {
            output::line(format!("        to change it: {remedy}"))?;
        }
    }
    let lacking = checks.iter().filter(|c| c.state == State::Lacking);
    match (able, lacking.count()) {
        (true, 0) => tell!("this machine can build"),
        (true, n) => tell!(
            "this machine can build; {n} {} for some of it",
            if n == 1 {
                "thing is lacking"
            } else {
                "things are lacking"
            }
        ),
        (false, _) => tell!("this machine cannot build until what is missing is there"),
    }
    Ok(status)
}
