//! `mstore copy`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use mstore_store::TreeHash;
use mstore_store::transfer::Received;
use mstore_store::transfer::cache::CACHE_FILE;

use crate::cli::Failure;
use crate::cli::args::{self, ReachArgs, TrustArgs};
use crate::cli::context::Context;
use crate::cli::output::{self, Style, plural};
use crate::cli::watch::Watch;
use crate::project::copy::{CopyOptions, Results, SendOptions, send, take};
use crate::project::find::is_prefix;
use crate::project::open::is_store;
use crate::project::pack::{Along, pack_all};
use crate::project::{Access, Events};
use crate::share::{Parcel, Remote, Trust};

/// Copy targets and trees to or from another store or a cache
#[derive(clap::Args)]
#[command(
    after_help = "PLACE is the folder of a store or of a cache, ssh://[USER@]HOST[:PORT][/STORE], or \
    (only to copy from) http://HOST/PATH or https://HOST/PATH."
)]
pub struct Args {
    /// Targets, such as stage3-corei7, patterns, such as 'stage3-*', seed/NAME, snapshot/NAME, or hashes of trees
    #[arg(value_name = "TARGET|TREE", required_unless_present = "all")]
    what: Vec<String>,
    /// Copy to this place
    #[arg(
        long,
        value_name = "PLACE",
        required_unless_present = "from",
        conflicts_with = "from"
    )]
    to: Option<String>,
    /// Copy from this place
    #[arg(long, value_name = "PLACE")]
    from: Option<String>,
    /// With --to: copy everything that the store remembers, and all its gc roots
    #[arg(long, conflicts_with_all = ["from", "what"])]
    all: bool,
    /// Copy the trees of all steps too, not only those of targets
    #[arg(long)]
    steps: bool,
    /// With --to: copy the seeds and snapshots too that the targets are built from
    #[arg(long, requires = "to")]
    inputs: bool,
    /// Make a gc root of this name at the place that the trees are copied to
    #[arg(long, value_name = "NAME")]
    root: Option<String>,
    /// With --to: make a binary cache if the folder is empty
    #[arg(long, requires = "to")]
    cache: bool,
    /// With --to: sign what is copied with this signing key [default: sign/key of the configuration file]
    #[arg(long, value_name = "FILE", requires = "to")]
    sign: Option<PathBuf>,
    /// Believe what a folder or an ssh host says of targets, signed or not
    #[arg(long)]
    trust_unsigned: bool,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    reach: ReachArgs,
    /// Only show what would be copied
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print only errors and the result
    #[arg(long, short)]
    quiet: bool,
}

/// What a copy came to, as JSON.
#[derive(serde::Serialize)]
struct Line {
    dry_run: bool,
    trees: Vec<String>,
    facts: usize,
    objects: u64,
    bytes: u64,
    content: u64,
    seconds: f64,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let (sum, trees, facts) = match (&args.to, &args.from) {
        (Some(to), _) => copy_to(context, &args, &to.parse()?)?,
        (None, Some(from)) => copy_from(context, &args, &from.parse()?)?,
        (None, None) => return Err(Failure::usage("copy needs --to or --from")),
    };
    if args.json {
        output::json(&Line {
            dry_run: args.dry_run,
            trees: trees.iter().map(ToString::to_string).collect(),
            facts,
            objects: sum.objects,
            bytes: sum.bytes,
            content: sum.content,
            seconds: (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let objects = usize::try_from(sum.objects).unwrap_or(usize::MAX);
    let counts = format!(
        "{} {}, {} {}",
        trees.len(),
        plural(trees.len(), "tree"),
        sum.objects,
        plural(objects, "object")
    );
    output::line(if args.dry_run {
        format!(
            "would copy {counts} with {} of content",
            output::size(sum.content)
        )
    } else {
        format!(
            "copied {counts}: {} for {} of content, in {}",
            output::size(sum.bytes),
            output::size(sum.content),
            output::duration(started.elapsed().as_secs_f64())
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

type Done = (Received, Vec<TreeHash>, usize);

/// Hashes of trees, and the rest.
fn split(what: &[String]) -> (Vec<TreeHash>, Vec<String>) {
    let mut trees = Vec::new();
    let mut names = Vec::new();
    for word in what {
        match word.parse() {
            Ok(tree) => trees.push(tree),
            Err(_) => names.push(word.clone()),
        }
    }
    (trees, names)
}

impl Args {
    fn copy<'a>(
        &'a self,
        context: &'a Context,
        events: &'a dyn Events,
    ) -> Result<CopyOptions<'a>, Failure> {
        Ok(CopyOptions {
            root: self.root.as_deref(),
            dry_run: self.dry_run,
            cancel: context.cancel()?,
            events,
        })
    }

    fn watch(&self) -> Watch {
        Watch::new(self.quiet || self.json)
    }
}

fn copy_to(context: &Context, args: &Args, to: &Remote) -> Result<Done, Failure> {
    // Whoever owns it could put links there, whatever it holds.
    if let Remote::Folder(path) = to {
        context.check_owner(path)?;
    }
    let config = context.config()?;
    let key = args::signing_key(&config, args.sign.as_deref())?;
    let what = args.what.iter().cloned();
    let (beginnings, names): (Vec<String>, Vec<String>) = what.partition(|name| is_prefix(name));
    let mut parcel = Parcel::default();
    let store = if names.is_empty() {
        context.store(Access::Read)?
    } else {
        let project = context.project(Access::ReadIfPresent)?;
        let along = Along {
            steps: args.steps,
            inputs: args.inputs,
        };
        let mut targets = Vec::with_capacity(names.len());
        for name in names {
            match project.pinned_tree(&name)? {
                Some(found) => {
                    parcel.trees.insert(found.tree);
                }
                None => targets.push(name),
            }
        }
        project.pack(&project.targets(&targets)?, along, &mut parcel)?;
        project.store
    };
    for beginning in &beginnings {
        parcel.trees.insert(context.tree(&store, beginning)?.tree);
    }
    if args.all {
        pack_all(&store, &mut parcel)?;
    }
    if let Some(key) = &key
        && !args.dry_run
        && !store.is_read_only()
    {
        parcel.sign(&store, key)?;
    }
    let options = SendOptions {
        reach: &args.reach.reach(context),
        cache: args.cache,
        blind: args.trust_unsigned,
    };
    let watch = args.watch();
    let sum = send(&store, &parcel, to, &options, &args.copy(context, &watch)?)?;
    if let Remote::Folder(path) = to
        && !args.quiet
        && path.join(CACHE_FILE).is_file()
    {
        tell_if_unsigned(&parcel, path, &args.what);
    }
    let trees = parcel.trees.iter().copied().collect();
    Ok((sum, trees, parcel.facts.len()))
}

/// Says what it means that a cache has facts that nobody signed.
fn tell_if_unsigned(parcel: &Parcel, cache: &Path, what: &[String]) {
    let all = parcel.facts.len();
    let unsigned = parcel.facts.values().filter(|f| f.signatures.is_empty());
    let style = Style::stderr();
    match unsigned.count() {
        0 => {}
        n => {
            tell!(
                "{} {n} of {all} {} in this cache {} not signed: others do not believe them, and build again",
                style.note("note:"),
                plural(all, "result"),
                if n == 1 { "is" } else { "are" },
            );
            tell!(
                "{} `mstore key sign --cache {} {}` signs what is there (make a key with `mstore key generate NAME`, or name it with --key)",
                style.note("hint:"),
                cache.display(),
                match what {
                    [] => "TARGET...".to_owned(),
                    what => quoted(what),
                }
            );
        }
    }
}

/// Words for a shell: patterns are quoted.
fn quoted(words: &[String]) -> String {
    let word = |word: &String| match word.contains(['*', '?', ' ']) {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn copy_from(context: &Context, args: &Args, from: &Remote) -> Result<Done, Failure> {
    // What a cache tells is signed; what a store tells is not.
    if let Remote::Folder(path) = from
        && is_store(path)
    {
        context.check_owner(path)?;
    }
    let config = context.config()?;
    let trust = if args.trust_unsigned {
        if matches!(from, Remote::Http(_)) {
            return Err(Failure::usage("--trust-unsigned: not from a web server")
                .hint("whoever runs a cache signs what is in it: see doc/caches.md"));
        }
        Trust::blind()
    } else {
        args::trust(&config, &args.trust)?
    };
    let (mut trees, names) = split(&args.what);
    let reach = args.reach.reach(context);
    let watch = args.watch();
    let copy = args.copy(context, &watch)?;
    let mut found = Results::default();
    let (store, peer) = if names.is_empty() {
        let store = context.store(Access::Change)?;
        let peer = reach.open(from)?;
        (store, peer)
    } else {
        let project = context.project(Access::Change)?;
        let peer = reach.open(from)?;
        let mut targets = Vec::with_capacity(names.len());
        for name in names {
            match project.pinned(&name)? {
                Some((_, _, pin)) => trees.push(pin.tree),
                None => targets.push(name),
            }
        }
        let targets = project.targets(&targets)?;
        found = project.results_of(&targets, peer.clone(), trust, args.steps, &copy)?;
        (project.store, peer)
    };
    trees.extend(found.trees);
    trees.sort_unstable();
    trees.dedup();
    let received = take(&store, &*peer, &trees, &copy)?;
    Ok((received, trees, found.facts))
}
