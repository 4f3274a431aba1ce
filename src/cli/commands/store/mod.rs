//! `mstore store`

mod look;

use std::collections::BTreeSet;
use std::process::ExitCode;

use look::{Find, Roots, Where};
use mstore_store::{
    Fault, OpenOptions, RegisteredPin, Store, StoreError, TreeHash, VerifyOptions, VerifyReport,
};

use crate::cli::Failure;
use crate::cli::context::Context;
use crate::cli::output::plural;
use crate::cli::output::{self, Style};
use crate::cli::refetch::Before;
use crate::cli::repack::{repacked, status};
use crate::project::Access;
use crate::project::Caches;

/// Names within the store, as faults tell them.
const FORMAT: &str = "format";
const DATABASE: &str = "db/mstore.sqlite";

/// Look after the store
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List a directory of a tree
    Ls {
        #[command(flatten)]
        at: Where,
        /// List what is below as well
        #[arg(long, short)]
        recursive: bool,
    },
    /// Write a file of a tree to standard output
    Cat {
        /// A target, a root, or the hash of a tree or its beginning, and a path in it
        #[arg(value_name = "TREE:PATH")]
        at: String,
    },
    /// Tell everything about one entry of a tree
    Stat(Where),
    /// Tell what a tree takes in the store, and what it shares with other trees
    Du(Where),
    /// Name the folder in which a tree lies on disk; it is checked out if need be
    Path(Where),
    /// Tell which trees have a directory, a content or a name of a file
    Find(Find),
    /// Tell numbers about the store
    Info {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Look after named roots, which gc keeps
    #[command(subcommand)]
    Root(Roots),
    /// Read everything again and compare it with its name
    Verify {
        /// Check indexes and references only, not contents
        #[arg(long)]
        quick: bool,
        /// Fetch what is damaged again from the caches of the configuration file, else forget it, so
        /// that it is built anew
        #[arg(long)]
        repair: bool,
        /// Compare what was written out with its trees too: checkouts, layers that builds left, and
        /// files that farms link to
        #[arg(long)]
        checkouts: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compress well what imports and builds compressed fast; may be interrupted at any time
    Repack {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command. Exits with 1 when something is wrong or nothing was found.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Ls { at, recursive } => look::ls(context, &at, recursive),
        Command::Cat { at } => look::cat(context, &at),
        Command::Stat(at) => look::stat(context, &at),
        Command::Du(at) => look::du(context, &at),
        Command::Path(at) => look::path(context, &at),
        Command::Find(what) => look::find(context, &what),
        Command::Info { json } => look::info(context, json),
        Command::Root(command) => look::roots(context, &command),
        Command::Verify {
            quick,
            repair,
            checkouts,
            json,
        } => {
            let options = VerifyOptions {
                quick,
                repair,
                checkouts,
                keep_names: false,
            };
            verify(context, options, json)
        }
        Command::Repack { json } => repack(context, json),
    }
}

fn verify(context: &Context, mut options: VerifyOptions, json: bool) -> Result<ExitCode, Failure> {
    let mut caches = Caches::default();
    if options.repair {
        caches = Caches::start(&context.config()?, &context.reach())?;
        // What can perhaps be fetched keeps its names until that was tried.
        options.keep_names = !caches.is_empty();
    }
    if options.repair || options.checkouts {
        // What was written out has files of many owners.
        context.enter()?;
    }
    let style = Style::stderr();
    let path = context.store_path()?;
    let mut format = None;
    if options.repair && Store::exists(&path) {
        format = Store::restore_format(&path)?.map(|detail| fault_of(FORMAT, detail));
        if let Some(fault) = &format {
            tell!("{} {}", style.error("fault:"), describe(fault));
            tell!("the file named format was written anew");
        }
        Store::restore_folders(&path)?;
    }
    let mut opened = context.store(Access::Read);
    let mut rescued = None;
    let mut broken = None;
    if Store::exists(&path) {
        // A damaged database cannot be repaired while it is in use, nor always be opened.
        let damaged = match &opened {
            Ok(store) => {
                let said = store.check_database(options.quick);
                (!said.is_empty()).then(|| said.join("; "))
            }
            Err(_) => match Store::open(&path, &OpenOptions::read_only()) {
                Err(StoreError::LostFormat { detail, .. }) => {
                    return Err(unusable(FORMAT, detail, json)?);
                }
                Err(e @ (StoreError::Database { .. } | StoreError::DamagedFile { .. })) => {
                    Some(e.to_string())
                }
                _ => None,
            },
        };
        if let Some(detail) = damaged {
            if options.repair {
                drop(opened);
                tell!("{} {DATABASE}: {detail}", style.error("fault:"));
                let saved = Store::rescue_database(&path)?;
                tell!(
                    "the database was written anew: {} rows, {} packs that are there; the damaged one is {}",
                    saved.rows.iter().map(|(_, n)| n).sum::<u64>(),
                    saved.packs,
                    path.join(&saved.kept).display()
                );
                rescued = Some(saved);
                opened = context.store(Access::Read);
            } else if opened.is_err() {
                return Err(unusable(DATABASE, detail, json)?);
            } else {
                broken = Some(detail);
            }
        }
    }
    let store = opened?;
    let before = match options.repair {
        true => Some(Before::note(&store)?),
        false => None,
    };
    let verified = store.verify(&options, &mut |fault: &Fault| {
        if !json {
            tell!("{} {}", style.error("fault:"), describe(fault));
        }
    });
    let mut report = match (verified, broken) {
        (Err(StoreError::Database { .. }), Some(detail)) => {
            return Err(unusable(DATABASE, detail, json)?);
        }
        (verified, _) => verified?,
    };
    report.faults.splice(0..0, format);
    let refetched = match before {
        Some(before) => before.refetch(&store, &caches, &mut report, context.stop()?, json)?,
        None => Vec::new(),
    };
    if json {
        print_json(&report, rescued.is_some(), &refetched)?;
    } else {
        output::line(format!(
            "{} objects, {}: {}",
            report.objects,
            output::size(report.bytes),
            match report.faults.len() {
                0 => "no fault".to_owned(),
                1 => "1 fault".to_owned(),
                n => format!("{n} faults"),
            }
        ))?;
        for name in &report.rebuilt {
            output::line(format!(
                "packs/{name}.pack was written anew from its records"
            ))?;
        }
        for name in &report.adopted {
            output::line(format!(
                "packs/{name}.pack is needed, and is in the database's list again"
            ))?;
        }
        for name in &report.forgotten_roots {
            output::line(format!("forgot root {name}"))?;
        }
        for pin in &report.lost_pins {
            let (kind, name, path) = (&pin.kind, &pin.name, &pin.path);
            output::line(format!("lost {kind} {name} of {path}: {}", pin.tree))?;
        }
        if !refetched.is_empty() {
            let n = refetched.len();
            output::line(format!("fetched {n} {} again", plural(n, "tree")))?;
        }
        if !report.forgotten.is_empty() {
            output::line(format!(
                "forgot {} realisations; realise builds them anew",
                report.forgotten.len()
            ))?;
        } else if !report.faults.is_empty() && !options.repair {
            tell!(
                "hint: `mstore store verify --repair` forgets what is damaged, so that it is built anew"
            );
        }
        if !report.forgotten_roots.is_empty() {
            tell!(
                "hint: where another store or a cache has the tree, `mstore copy --from PLACE HASH --root NAME` brings a root back; else build or import it again, then `mstore store root add NAME TREE`"
            );
        }
        for hint in ways_back(&report.lost_pins) {
            tell!("hint: {hint}");
        }
    }
    Ok(if report.faults.is_empty() && rescued.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(crate::cli::failure::FOUND)
    })
}

/// Tells of a file without which nothing else can be looked at.
fn unusable(file: &str, detail: String, json: bool) -> Result<Failure, Failure> {
    let hint = match file {
        FORMAT => "`mstore store verify --repair` writes it anew if the database is sound",
        _ => {
            "`mstore store verify --repair` writes it anew from what can still be read, and from the packs"
        }
    };
    let failure = Failure::found(format!("{file}: {detail}")).hint(hint);
    if json {
        let report = VerifyReport {
            faults: vec![fault_of(file, detail)],
            ..VerifyReport::default()
        };
        print_json(&report, false, &[])?;
    }
    Ok(failure)
}

/// What brings seeds and snapshots back, once for each.
fn ways_back(pins: &[RegisteredPin]) -> BTreeSet<String> {
    let way = |pin: &RegisteredPin| {
        let RegisteredPin {
            kind, name, tree, ..
        } = pin;
        let again = match kind.as_str() {
            "seed" if name.starts_with("host/") => {
                format!("`mstore lock --update {name}` captures this machine again")
            }
            "seed" => format!("`mstore seed import FILE --name {name}` imports it again"),
            _ => format!("`mstore snapshot import DIR --name {name}` imports it again"),
        };
        format!(
            "{kind} {name}: {again}; `mstore copy --from PLACE {tree}` copies it from who has it"
        )
    };
    pins.iter().map(way).collect()
}

fn fault_of(file: &str, detail: String) -> Fault {
    Fault {
        file: Some(file.to_owned()),
        object: None,
        detail,
        affects: Vec::new(),
    }
}

fn print_json(
    report: &VerifyReport,
    database_rebuilt: bool,
    refetched: &[TreeHash],
) -> Result<(), Failure> {
    let faults: Vec<_> = report
        .faults
        .iter()
        .map(|f| {
            serde_json::json!({
                "file": f.file,
                "object": f.object.map(|o| o.to_string()),
                "detail": f.detail,
                "affects": f.affects,
            })
        })
        .collect();
    let lost_pins: Vec<_> = report
        .lost_pins
        .iter()
        .map(|p| {
            serde_json::json!({
                "kind": p.kind,
                "name": p.name,
                "lock": p.path,
                "tree": p.tree.to_string(),
            })
        })
        .collect();
    let refetched: Vec<String> = refetched.iter().map(ToString::to_string).collect();
    let forgotten: Vec<String> = report.forgotten.iter().map(ToString::to_string).collect();
    output::json_pretty(&serde_json::json!({
        "objects": report.objects,
        "bytes": report.bytes,
        "faults": faults,
        "forgotten": forgotten,
        "forgotten_roots": report.forgotten_roots,
        "lost_pins": lost_pins,
        "rebuilt": report.rebuilt,
        "adopted": report.adopted,
        "database_rebuilt": database_rebuilt,
        "refetched": refetched,
    }))
}

fn repack(context: &Context, json: bool) -> Result<ExitCode, Failure> {
    context.enter()?;
    let store = context.store(Access::Change)?;
    let stop = context.stop()?;
    let (done, text) = repacked(&store, &stop.cancel)?;
    if json {
        output::json_pretty(&serde_json::json!({
            "packs": done.packs,
            "before": done.before,
            "after": done.after,
            "complete": done.complete,
        }))?;
    } else {
        output::line(text)?;
    }
    Ok(status(&done, &stop.cancel))
}

fn describe(fault: &Fault) -> String {
    let mut text = String::new();
    if let Some(file) = &fault.file {
        text.push_str(&format!("{file}: "));
    }
    if let Some(object) = &fault.object {
        text.push_str(&format!("{object}: "));
    }
    text.push_str(&fault.detail);
    if !fault.affects.is_empty() {
        text.push_str(&format!(" (affects {})", fault.affects.join(", ")));
    }
    text
}
