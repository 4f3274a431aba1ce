//! `mstore gc`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use mstore_lang::DiskFiles;
use mstore_store::transfer::Fact;
use mstore_store::transfer::cache::{self, CACHE_FILE, CachePolicy};
use mstore_store::{
    GcPolicy, GcReport, Gone, RealisationKind, RegisteredPin, Store, StoreError, Why,
};

use crate::cli::context::{Context, Session};
use crate::cli::output::plural;
use crate::cli::output::{self, Style};
use crate::cli::provide::Pinned;
use crate::cli::signals::Stop;
use crate::cli::{Failure, object, provide};
use crate::config;
use crate::drv::Resolved;
use crate::plan::Lock;
use crate::plan::name::glob;

const DAY: i64 = 86_400;
/// Caches of unchanged files go when nobody used them for so many days.
const CACHE_DAYS: i64 = 60;

/// Remove what nothing needs any more from the store
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    wishes: Wishes,
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

/// What is to be kept; the configuration file has the same, and these win.
#[derive(clap::Args, Default)]
pub struct Wishes {
    /// Keep the newest so many trees of each target [default: 3]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    keep: Option<usize>,
    /// Keep what was built in the last so many days as well
    #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
    keep_days: Option<u32>,
    /// Make the store no larger than this, such as 500M or 20G: what was used longest ago goes first
    #[arg(long, value_name = "SIZE", value_parser = config::size, allow_negative_numbers = true)]
    max_size: Option<u64>,
}

impl Wishes {
    /// The policy that follows from them and from the configuration file.
    pub fn policy<'a>(
        &self,
        store: &Store,
        config: &config::Gc,
        stop: Option<&'a AtomicBool>,
    ) -> Result<GcPolicy<'a>, Failure> {
        let now = provide::now();
        let before = |days: i64| Some(now - days * DAY);
        let mut patterns = Vec::new();
        let mut pins = Vec::new();
        for root in &config.roots {
            if object::is_prefix(root) {
                pins.push((format!("gc/roots: {root}"), object::one_tree(store, root)?));
            } else {
                patterns.push(root.clone());
            }
        }
        Ok(GcPolicy {
            // Trees of steps serve only to resume; those of targets are the results.
            group: Box::new(|r| (r.kind == RealisationKind::Target).then(|| r.name.clone())),
            pins,
            keep_since: self
                .keep_days
                .or(config.keep_days)
                .map(|days| now - i64::from(days) * DAY),
            always: Box::new(move |r| {
                let pattern = patterns.iter().find(|p| glob(p, &r.name))?;
                Some(format!("gc/roots: {pattern}"))
            }),
            max_size: self.max_size.or(config.max_size),
            locks: Box::new(locks),
            locks_before: before(config.lock_days.into()),
            failed_before: before(config.failed_days.into()),
            logs_before: before(config.log_days.into()),
            caches_before: before(CACHE_DAYS),
            stop,
            ..GcPolicy::newest(self.keep.unwrap_or(config.keep))
        })
    }
}

/// What the lock files that use this store pin now: one that was changed by hand or by git counts as
/// it is. One that cannot be read counts as it was.
fn locks(store: &Store) -> Result<Vec<(String, Vec<RegisteredPin>)>, StoreError> {
    let mut all = Vec::new();
    for file in store.lock_files()? {
        let path = Path::new(&file.path);
        if !path.is_file() {
            continue;
        }
        let Ok(lock) = Lock::read(&DiskFiles, path) else {
            continue;
        };
        all.push(registered(file.path, provide::pins_of(&lock)));
    }
    Ok(all)
}

/// Pins of a lock file as the collector takes them.
fn registered(path: String, pins: Vec<Pinned>) -> (String, Vec<RegisteredPin>) {
    let pins = pins
        .into_iter()
        .map(|(kind, name, tree)| RegisteredPin {
            path: path.clone(),
            kind,
            name,
            tree,
        })
        .collect();
    (path, pins)
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let config = context.config()?.gc;
    if let Some(cache) = &args.cache {
        return collect_cache(cache, &args, &config);
    }
    context.enter().map_err(Failure::machine)?;
    // The lock file beside the specifications is looked after, if there are any that can be used.
    let mut here = None;
    let store = match context.store_path()?.join("format").is_file() {
        // Looking changes nothing, so that it works where nothing may be changed.
        true if args.dry_run => match Session::to_read(context) {
            Ok(session) => {
                here = provide::pins_to_keep(&session);
                session.store
            }
            Err(_) => context.store_to_read()?,
        },
        true => match Session::open(context) {
            Ok(session) => {
                provide::keep_pins(&session)?;
                session.store
            }
            Err(_) => context.store()?,
        },
        false => context.store_to_read()?,
    };
    let stop = Stop::install()?;
    let mut policy = args.wishes.policy(&store, &config, Some(&stop.stopped))?;
    if let Some((path, pins)) = here {
        let here = registered(path, pins);
        policy.locks = Box::new(move |store| {
            let mut all = locks(store)?;
            if all.iter().all(|(known, _)| *known != here.0) {
                all.push(here.clone());
            }
            Ok(all)
        });
    }
    let report = store.gc(&policy, args.dry_run)?;
    if !args.dry_run {
        store.forget_derivations()?;
    }
    if args.json {
        print_json(&report, args.dry_run)?;
    } else {
        print(&report, args.dry_run)?;
    }
    let style = Style::stderr();
    if report.over > 0 {
        tell!(
            "{} the store cannot be made that small: {} too much are roots, pins or in use",
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
    for path in &report.missing_locks {
        tell!(
            "{} the lock file {path} is gone; what it pins is kept for {} days (gc/lock-days)",
            style.note("note:"),
            config.lock_days
        );
    }
    if args.repack || (config.repack && !args.dry_run) {
        let (done, text) = crate::cli::commands::store::repacked(&store, &stop.stopped)?;
        tell!("{text}");
        return Ok(crate::cli::commands::store::status(&done, &stop.stopped));
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps the newest facts of each step and target in a cache, and what they need.
fn collect_cache(folder: &Path, args: &Args, config: &config::Gc) -> Result<ExitCode, Failure> {
    if !folder.join(CACHE_FILE).is_file() {
        return Err(
            Failure::usage(format!("there is no cache in {}", folder.display()))
                .hint("give the folder that `mstore copy --to DIR --cache` made"),
        );
    }
    let stop = Stop::install()?;
    let days = args.wishes.keep_days.or(config.keep_days);
    let inputs = |fact: &Fact| {
        let step = Resolved::decode(fact.record.as_deref()?).ok()?;
        Some(step.trees().to_vec())
    };
    let policy = CachePolicy {
        keep: args.wishes.keep.unwrap_or(config.keep),
        keep_since: days.map(|days| provide::now() - i64::from(days) * DAY),
        inputs: &inputs,
        stop: &stop.stopped,
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

fn print_json(report: &GcReport, dry_run: bool) -> Result<(), Failure> {
    let alive: Vec<_> = report
        .alive
        .iter()
        .map(|s| {
            let why: Vec<String> = s.why.iter().map(reason).collect();
            serde_json::json!({ "tree": s.tree.to_string(), "why": why })
        })
        .collect();
    let gone: Vec<_> = report.gone.iter().map(json).collect();
    output::json_pretty(&serde_json::json!({
        "dry_run": dry_run,
        "alive": alive,
        "gone": gone,
        "freed": report.freed,
        "over": report.over,
        "objects_alive": report.objects_alive,
        "objects_gone": report.objects_gone,
        "postponed": report.postponed,
        "missing_locks": report.missing_locks,
    }))
}

fn print(report: &GcReport, dry_run: bool) -> Result<(), Failure> {
    let style = Style::stdout();
    let verb = if dry_run { "would remove" } else { "removed" };
    for gone in &report.gone {
        output::line(format!("{} {}", style.error(verb), what(gone)))?;
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
    output::line(format!(
        "{} {}: {} {}",
        if dry_run { "would free" } else { "freed" },
        output::size(report.freed),
        report.objects_gone,
        plural(n, "object"),
    ))
}

fn json(gone: &Gone) -> serde_json::Value {
    let kind = match gone {
        Gone::Tree { .. } => "tree",
        Gone::Pack { .. } => "pack",
        Gone::Rewrite { .. } => "part of pack",
        Gone::Checkout {
            folder: "layers", ..
        } => "layer",
        Gone::Checkout {
            folder: "links", ..
        } => "links",
        Gone::Checkout { .. } => "checkout",
        Gone::Leftover { .. } => "leftover",
        Gone::Failed { .. } => "failed root",
        Gone::Log { .. } => "log",
        Gone::Cache { .. } => "cache",
        Gone::Lock { .. } => "lock file",
        _ => "other",
    };
    let mut value = serde_json::json!({ "kind": kind, "bytes": gone.bytes() });
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
            value["for_size"] = (*for_size).into();
        }
        Gone::Pack { name, .. }
        | Gone::Rewrite { name, .. }
        | Gone::Leftover { name, .. }
        | Gone::Failed { name, .. }
        | Gone::Log { name, .. }
        | Gone::Cache { name, .. } => value["name"] = name.clone().into(),
        Gone::Lock { path } => value["name"] = path.clone().into(),
        _ => {}
    }
    value
}

fn what(gone: &Gone) -> String {
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
                _ => "checkout",
            };
            format!("{what} {tree}, {size}{}", for_size(yes))
        }
        Gone::Leftover { name, .. } => format!("{name}, {size}"),
        Gone::Failed { name, .. } => format!("failed root {name}, {size}"),
        Gone::Log { name, .. } => format!("log {name}, {size}"),
        Gone::Cache { name, .. } => format!("unused {name}, {size}"),
        Gone::Lock { path } => format!("pins of {path}, which is gone"),
        other => format!("{other:?}"),
    }
}

/// A reason to live, for people.
pub fn reason(why: &Why) -> String {
    match why {
        Why::Root(name) => format!("root {name}"),
        Why::Lock {
            path,
            kind,
            name,
            missing,
        } => format!(
            "{kind} {name} of {path}{}",
            match missing {
                Some(since) => format!(" (gone since {})", provide::date(*since)),
                None => String::new(),
            }
        ),
        Why::Newest { group, place } => format!("{group}, number {place} from the newest"),
        Why::Recent { name } => format!("{name}, built recently"),
        Why::Lease { pid, purpose } => format!("in use by process {pid} ({purpose})"),
        Why::Pin(name) => name.clone(),
        other => format!("{other:?}"),
    }
}
