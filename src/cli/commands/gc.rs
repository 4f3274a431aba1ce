//! `mstore gc`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_store::transfer::Fact;
use mstore_store::transfer::cache::{self, CACHE_FILE, CachePolicy};
use mstore_store::{GcReport, Gone, InUse, Store, TreeHash};
use serde::Serialize;

use crate::build::failed;

use crate::cli::args::RetentionArgs;
use crate::cli::context::Context;
use crate::cli::output::plural;
use crate::cli::output::{self, Style};
use crate::cli::text::reason;
use crate::cli::{Failure, lost, repack};
use crate::config;
use crate::drv::Resolved;
use crate::project::Access;
use crate::project::open;

/// Remove what nothing needs any more from the store
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    retention: RetentionArgs,
    /// Only show what would go, and why the rest lives
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Compress well what stays and was compressed fast, as `mstore store repack` does
    #[arg(long, conflicts_with = "dry_run")]
    repack: bool,
    /// Make the binary cache in this folder smaller, not the store
    #[arg(long, value_name = "DIR", conflicts_with_all = ["max_size", "repack"])]
    cache: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let config = context.config()?.gc;
    if let Some(cache) = &args.cache {
        return collect_cache(context, cache, &args, &config);
    }
    let seen = seen_before(context);
    context.enter()?;
    // The lock file beside the specifications is looked after, if there are any that can be used.
    let mut here = None;
    let store = match open::is_store(&context.store_path()?) {
        // Looking changes nothing, so that it works where nothing may be changed.
        true if args.dry_run => match context.project(Access::ReadIfPresent) {
            Ok(project) => {
                here = project.lock_pins();
                project.store
            }
            Err(_) => context.store(Access::Read)?,
        },
        true => match context.project(Access::Change) {
            Ok(project) => {
                project.keep_pins()?;
                project.store
            }
            Err(_) => context.store(Access::Change)?,
        },
        false => context.store(Access::Read)?,
    };
    let cancel = context.cancel()?;
    let retention = args.retention.retention();
    let mut policy = retention.policy(&store, &config, cancel)?;
    policy.seen = seen;
    if let Some(here) = here {
        here.count_in(&mut policy);
    }
    // Asked before: afterwards nothing knows any more what it was.
    let names = Names::of(&store)?;
    let report = store.gc(&policy, args.dry_run)?;
    if !args.dry_run {
        store.forget_derivations()?;
    }
    if args.json {
        print_json(&report, &names, args.dry_run)?;
    } else {
        print(&report, &names, args.dry_run)?;
    }
    let style = Style::stderr();
    if report.over > 0 {
        tell!(
            "{} the store cannot be made that small: {} too much are roots, pins, in use or used just now",
            style.note("note:"),
            output::size(report.over)
        );
    }
    if !report.postponed.is_empty() {
        tell!(
            "{} {} half-dead {} could not be written anew for lack of room, or because something in it was needed again; the next run tries again",
            style.note("note:"),
            report.postponed.len(),
            plural(report.postponed.len(), "pack")
        );
    }
    for stays in &report.occupied {
        let pids: Vec<String> = stays.pids.iter().map(ToString::to_string).collect();
        tell!(
            "{} {} stays: in use by {} {}",
            style.note("note:"),
            stays.path.display(),
            match stays.pids.len() {
                1 => "process",
                _ => "processes",
            },
            pids.join(", ")
        );
    }
    lost::tell_of(&report.lost);
    for path in &report.missing_locks {
        tell!(
            "{} the lock file {path} is gone; what it pins is kept for {} days (gc/lock-days)",
            style.note("note:"),
            config.lock_days
        );
    }
    if args.repack || (config.repack && !args.dry_run) {
        let (done, text) = repack::repacked(&store, cancel)?;
        tell!("{text}");
        return Ok(repack::status(&done, cancel));
    }
    Ok(ExitCode::SUCCESS)
}

/// The processes of an ordinary user, who cannot see them any more from within a user namespace.
fn seen_before(context: &Context) -> Option<InUse> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    let store = context.store_path().ok()?;
    Some(InUse::look(&std::fs::canonicalize(store).ok()?))
}

/// Keeps the newest facts of each step and target in a cache, and what they need.
fn collect_cache(
    context: &Context,
    folder: &Path,
    args: &Args,
    config: &config::Gc,
) -> Result<ExitCode, Failure> {
    if !folder.join(CACHE_FILE).is_file() {
        return Err(
            Failure::usage(format!("there is no cache in {}", folder.display()))
                .hint("give the folder that `mstore copy --to DIR --cache` made"),
        );
    }
    let cancel = context.cancel()?;
    let retention = args.retention.retention();
    let inputs = |fact: &Fact| {
        let step = Resolved::decode(fact.record.as_deref()?).ok()?;
        Some(step.trees().to_vec())
    };
    let policy = CachePolicy {
        keep: retention.keep(config),
        keep_since: retention.keep_since(config),
        inputs: &inputs,
        cancel,
    };
    let done = cache::collect(folder, &policy, args.dry_run)?;
    for file in &done.damaged {
        tell!(
            "{} {file} is damaged, and stays, as does every tree: remove it, or copy there again what it told",
            Style::stderr().note("note:")
        );
    }
    if args.json {
        let gone: Vec<_> = done
            .gone
            .iter()
            .map(|g| serde_json::json!({ "file": g.file, "bytes": g.bytes, "about": g.about }))
            .collect();
        output::json_pretty(&serde_json::json!({
            "dry_run": args.dry_run,
            "gone": gone,
            "freed": done.freed(),
            "facts": done.facts,
            "trees": done.trees,
            "damaged": done.damaged,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (verb, free) = match args.dry_run {
        true => ("would remove", "would free"),
        false => ("removed", "freed"),
    };
    for gone in &done.gone {
        let about = gone.about.as_ref();
        output::line(format!(
            "{} {}{}, {}",
            Style::stdout().error(verb),
            gone.file,
            about.map_or(String::new(), |name| format!(" ({name})")),
            output::size(gone.bytes)
        ))?;
    }
    output::line(format!(
        "{free} {}: {} {}; {} facts and {} trees stay",
        output::size(done.freed()),
        done.gone.len(),
        plural(done.gone.len(), "file"),
        done.facts,
        done.trees
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn print_json(report: &GcReport, names: &Names, dry_run: bool) -> Result<(), Failure> {
    let alive: Vec<_> = report
        .alive
        .iter()
        .map(|s| {
            let why: Vec<String> = s.why.iter().map(reason).collect();
            serde_json::json!({ "tree": s.tree.to_string(), "why": why })
        })
        .collect();
    let gone: Vec<_> = report.gone.iter().map(|gone| json(gone, names)).collect();
    let occupied: Vec<_> = report
        .occupied
        .iter()
        .map(|o| serde_json::json!({ "path": o.path.to_string_lossy(), "processes": o.pids }))
        .collect();
    output::json_pretty(&serde_json::json!({
        "dry_run": dry_run,
        "alive": alive,
        "gone": gone,
        "counts": counts(report),
        "freed": report.freed,
        "over": report.over,
        "objects_alive": report.objects_alive,
        "objects_gone": report.objects_gone,
        "postponed": report.postponed,
        "missing_locks": report.missing_locks,
        "occupied": occupied,
        "lost": lost::json(&report.lost),
    }))
}

fn print(report: &GcReport, names: &Names, dry_run: bool) -> Result<(), Failure> {
    let style = Style::stdout();
    let verb = if dry_run { "would remove" } else { "removed" };
    for gone in &report.gone {
        output::line(format!("{} {}", style.error(verb), what(gone, names)))?;
    }
    if dry_run {
        for survivor in &report.alive {
            let why: Vec<String> = survivor.why.iter().map(reason).collect();
            output::line(format!(
                "{} {}: {}",
                style.good("keeps"),
                survivor.tree,
                why.join("; ")
            ))?;
        }
    }
    let n = usize::try_from(report.objects_gone).unwrap_or(usize::MAX);
    let kinds: Vec<String> = counts(report)
        .iter()
        .map(|(kind, count)| {
            let bytes = match count.bytes {
                0 => String::new(),
                bytes => format!(" ({})", output::size(bytes)),
            };
            format!("{} {}{bytes}", count.number, several(count.number, kind))
        })
        .collect();
    output::line(format!(
        "{} {}: {} {}{}",
        if dry_run { "would free" } else { "freed" },
        output::size(report.freed),
        report.objects_gone,
        plural(n, "object"),
        match kinds.is_empty() {
            true => String::new(),
            false => format!("; {}", kinds.join(", ")),
        }
    ))
}

/// What trees and failed roots are of.
struct Names {
    trees: BTreeMap<TreeHash, BTreeSet<String>>,
    /// Steps by the folders of their failed roots.
    failed: BTreeMap<String, String>,
}

/// Names of a tree that are told.
const NAMED: usize = 3;

impl Names {
    fn of(store: &Store) -> Result<Names, Failure> {
        let mut trees: BTreeMap<TreeHash, BTreeSet<String>> = BTreeMap::new();
        for made in store.realisations(None)? {
            trees.entry(made.tree).or_default().insert(made.name);
        }
        for root in store.roots()? {
            trees.entry(root.tree).or_default().insert(root.name);
        }
        Ok(Names {
            trees,
            failed: failed::kept(store),
        })
    }

    /// The names of a tree in brackets, of many only the first.
    fn shown(&self, tree: &TreeHash) -> String {
        let names: Vec<&str> = self.all(tree).collect();
        match names.len() {
            0 => String::new(),
            n if n > NAMED => format!(" ({} and {} more)", names[..NAMED].join(", "), n - NAMED),
            _ => format!(" ({})", names.join(", ")),
        }
    }

    fn all<'a>(&'a self, tree: &TreeHash) -> impl Iterator<Item = &'a str> {
        let names = self.trees.get(tree).into_iter().flatten();
        names.map(String::as_str)
    }
}

/// How much goes of one kind.
#[derive(Default, Serialize)]
struct Count {
    number: usize,
    bytes: u64,
}

/// How much goes, by kind.
fn counts(report: &GcReport) -> BTreeMap<&'static str, Count> {
    let mut counts: BTreeMap<&'static str, Count> = BTreeMap::new();
    for gone in &report.gone {
        let count = counts.entry(kind(gone)).or_default();
        count.number += 1;
        count.bytes += gone.bytes();
    }
    counts
}

/// The word for several of a kind.
fn several(n: usize, kind: &str) -> String {
    match (n, kind) {
        (1, kind) => kind.to_owned(),
        (_, "part of pack") => "parts of packs".to_owned(),
        (_, "links") => "folders of links".to_owned(),
        (_, kind) => plural(n, kind),
    }
}

/// The word for what it is.
fn kind(gone: &Gone) -> &'static str {
    match gone {
        Gone::Tree { .. } => "tree",
        Gone::Pack { .. } => "pack",
        Gone::Rewrite { .. } => "part of pack",
        Gone::Checkout {
            folder: "layers", ..
        } => "layer",
        Gone::Checkout {
            folder: "links", ..
        } => "links",
        Gone::Checkout {
            folder: "views", ..
        } => "view",
        Gone::Checkout { .. } => "checkout",
        Gone::Leftover { .. } => "leftover",
        Gone::Failed { .. } => "failed root",
        Gone::Log { .. } => "log",
        Gone::Cache { .. } => "cache",
        Gone::Lock { .. } => "lock file",
        _ => "other",
    }
}

fn json(gone: &Gone, known: &Names) -> serde_json::Value {
    let mut value = serde_json::json!({ "kind": kind(gone), "bytes": gone.bytes() });
    match gone {
        Gone::Tree {
            tree,
            names,
            for_size,
        } => {
            value["tree"] = tree.to_string().into();
            value["names"] = names.clone().into();
            value["for_size"] = (*for_size).into();
        }
        Gone::Checkout { tree, for_size, .. } => {
            value["tree"] = tree.to_string().into();
            value["names"] = known.all(tree).collect::<Vec<_>>().into();
            value["for_size"] = (*for_size).into();
        }
        Gone::Failed { name, .. } => {
            value["name"] = name.clone().into();
            if let Some(step) = known.failed.get(name) {
                value["step"] = step.clone().into();
            }
        }
        Gone::Pack { name, .. }
        | Gone::Rewrite { name, .. }
        | Gone::Leftover { name, .. }
        | Gone::Log { name, .. }
        | Gone::Cache { name, .. } => value["name"] = name.clone().into(),
        Gone::Lock { path } => value["name"] = path.clone().into(),
        _ => {}
    }
    value
}

fn what(gone: &Gone, known: &Names) -> String {
    let size = output::size(gone.bytes());
    let for_size = |yes: &bool| if *yes { " for the size" } else { "" };
    match gone {
        Gone::Tree {
            tree,
            names,
            for_size: yes,
        } if names.is_empty() => format!("tree {tree}{}", for_size(yes)),
        Gone::Tree {
            tree,
            names,
            for_size: yes,
        } => format!("tree {tree} ({}){}", names.join(", "), for_size(yes)),
        Gone::Pack { name, .. } => format!("pack {name}, {size}"),
        Gone::Rewrite { name, .. } => format!("the dead part of pack {name}, {size}"),
        Gone::Checkout {
            tree,
            folder,
            for_size: yes,
            ..
        } => {
            let what = match *folder {
                "layers" => "layer",
                "links" => "links to files of",
                "views" => "folder of",
                _ => "checkout",
            };
            format!(
                "{what} {tree}{}, {size}{}",
                known.shown(tree),
                for_size(yes)
            )
        }
        Gone::Leftover { name, .. } => format!("{name}, {size}"),
        Gone::Failed { name, .. } => match known.failed.get(name) {
            Some(step) => format!("root file system of {step}, which failed, {name}, {size}"),
            None => format!("root file system of a failed step, {name}, {size}"),
        },
        Gone::Log { name, .. } => format!("log {name}, {size}"),
        Gone::Cache { name, .. } => format!("unused {name}, {size}"),
        Gone::Lock { path } => format!("pins of {path}, which is gone"),
        other => format!("{other:?}"),
    }
}
