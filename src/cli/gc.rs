//! `mstore gc`

use std::process::ExitCode;

use mstore_store::{GcPolicy, Gone, Why};

use super::output::{self, Style};
use super::place::Place;
use super::realise::plural;
use super::{Failure, provide};

/// Remove what nothing needs any more from the store
#[derive(clap::Args)]
pub struct Args {
    /// Keep the newest so many trees of each target [default: gc/keep of the configuration file, else 3]
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Keep what was built in the last so many days as well [default: gc/keep-days of the
    /// configuration file]
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<u32>,
    /// Only show what would go, and why the rest lives
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(place: &Place, args: Args) -> Result<ExitCode, Failure> {
    let config = place.config()?.gc;
    let session = provide::session(place)?;
    // A lock file that was changed by hand or by git counts as it is now.
    if !args.dry_run {
        provide::keep_pins(&session)?;
    }
    let mut policy = GcPolicy::newest(args.keep.unwrap_or(config.keep));
    // Trees of steps serve only to resume; those of targets are the results.
    policy.group = Box::new(|r| (!r.name.contains(':')).then(|| r.name.clone()));
    policy.pins = session
        .lock
        .roots()
        .into_iter()
        .map(|(name, tree)| (format!("lock file: {name}"), tree))
        .collect();
    policy.keep_since = args.keep_days.or(config.keep_days).map(|days| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs().cast_signed());
        now - i64::from(days) * 86_400
    });
    let report = session.store.gc(&policy, args.dry_run)?;
    if !args.dry_run {
        session.store.forget_derivations()?;
    }
    if args.json {
        let alive: Vec<_> = report
            .alive
            .iter()
            .map(|s| {
                let why: Vec<String> = s.why.iter().map(reason).collect();
                serde_json::json!({ "tree": s.tree.to_string(), "why": why })
            })
            .collect();
        let gone: Vec<String> = report.gone.iter().map(what).collect();
        output::json_pretty(&serde_json::json!({
            "dry_run": args.dry_run,
            "alive": alive,
            "gone": gone,
            "freed": report.freed,
            "objects_alive": report.objects_alive,
            "objects_gone": report.objects_gone,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let style = Style::stdout();
    let verb = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    for gone in &report.gone {
        output::line(format!("{} {}", style.error(verb), what(gone)))?;
    }
    if args.dry_run {
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
        if args.dry_run { "would free" } else { "freed" },
        output::size(report.freed),
        report.objects_gone,
        plural(n, "object"),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn what(gone: &Gone) -> String {
    match gone {
        Gone::Tree { tree, names } if names.is_empty() => format!("tree {tree}"),
        Gone::Tree { tree, names } => format!("tree {tree} ({})", names.join(", ")),
        Gone::Pack { name, bytes } => format!("pack {name}, {}", output::size(*bytes)),
        Gone::Rewrite { name, bytes } => {
            format!("the dead part of pack {name}, {}", output::size(*bytes))
        }
        Gone::Checkout { tree, bytes } => format!("checkout {tree}, {}", output::size(*bytes)),
        Gone::Leftover { name, bytes } => format!("{name}, {}", output::size(*bytes)),
        other => format!("{other:?}"),
    }
}

fn reason(why: &Why) -> String {
    match why {
        Why::Root(name) => format!("root {name}"),
        Why::Newest { group, place } => format!("{group}, number {place} from the newest"),
        Why::Recent { name } => format!("{name}, built recently"),
        Why::Lease { pid, purpose } => format!("in use by process {pid} ({purpose})"),
        Why::Pin(name) => name.clone(),
        other => format!("{other:?}"),
    }
}
