//! `mstore diff`

use std::process::ExitCode;

use mstore_lang::Files;

use super::place::{Place, Session, current_dir};
use super::{Failure, output};
use crate::plan::{Distribution, GitFiles, Graph, Lock, Pairing, Pins, TargetId, diff};

/// Compare derivations
#[derive(clap::Args)]
pub struct Args {
    /// Two targets to compare with each other; with --from, the targets to compare between
    /// revisions [default then: all of the default build]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Git revision of the specifications to compare from
    #[arg(long, value_name = "REV")]
    from: Option<String>,
    /// Git revision to compare to [default: the files as they are]
    #[arg(long, value_name = "REV", requires = "from")]
    to: Option<String>,
    /// Print Markdown for a review comment
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command. Exits with 1 when something differs.
pub fn run(place: &Place, args: Args) -> Result<ExitCode, Failure> {
    let session = Session::to_read(place)?;
    let result = match &args.from {
        None => {
            let [a, b] = args.targets.as_slice() else {
                return Err(Failure::usage("diff compares two targets")
                    .hint("mstore diff stage3-corei7 stage3-amd64-k8")
                    .hint("to see what a change of the specifications rebuilds: mstore diff --from HEAD"));
            };
            let one = |name: &String| session.graph(std::slice::from_ref(name), Pins::Optional);
            diff(&one(a)?, &one(b)?, Pairing::ByClass, &session.facts)?
        }
        Some(from) => {
            let old = revision(place, &session, from, &args.targets)?;
            let new = match &args.to {
                Some(to) => revision(place, &session, to, &args.targets)?,
                None => {
                    let ids = chosen(&session.distribution, &args.targets)?;
                    let recipes = session.recipes(&ids)?;
                    Graph::build(&recipes, &session.lock, &session.facts, Pins::Optional)?
                }
            };
            diff(&old, &new, Pairing::ByName, &session.facts)?
        }
    };
    if args.json {
        output::json_pretty(&result)?;
    } else if args.markdown {
        output::bytes(result.markdown().as_bytes())?;
    } else {
        output::bytes(result.text().as_bytes())?;
    }
    Ok(if result.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(super::error::FOUND)
    })
}

fn chosen(distribution: &Distribution, names: &[String]) -> Result<Vec<TargetId>, Failure> {
    if names.is_empty() {
        let index = distribution.index();
        Ok(index.all_of(&index.default_build).collect())
    } else {
        // A target that this revision does not have yet, or no more, is part of the answer.
        let known = names.iter().filter_map(|n| distribution.expand(&[n]).ok());
        Ok(known.flatten().collect())
    }
}

fn revision(
    place: &Place,
    session: &Session,
    revision: &str,
    names: &[String],
) -> Result<Graph, Failure> {
    if session.distribution.is_builtin() {
        return Err(
            Failure::usage("the built-in specifications have no revisions")
                .hint("run it beside your metro.conf, or name it with --file"),
        );
    }
    let entry = session.distribution.entry().to_owned();
    let folder = entry
        .parent()
        .map_or_else(current_dir, |p| Ok(p.to_owned()))?;
    let files = GitFiles::open(&folder, revision)?;
    let lock_path = session.distribution.lock_path(session.store.path());
    // The lock file of that revision, where it is kept there; else today's.
    let lock = if files.is_file(&lock_path).unwrap_or(false) {
        Lock::read(&files, &lock_path)?
    } else {
        session.lock.clone()
    };
    let distribution =
        Distribution::with_files(Box::new(files), entry, place.definitions().to_vec())?;
    let recipes = distribution.recipes(&chosen(&distribution, names)?, &lock)?;
    Ok(Graph::build(
        &recipes,
        &lock,
        &session.facts,
        Pins::Optional,
    )?)
}
