//! `mstore copy`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use mstore_store::transfer::{Progress, Received, TransferError};
use mstore_store::{OpenOptions, RealisationKind, Store, TreeHash};

use crate::cli::Failure;
use crate::cli::args::{self, ReachArgs, TrustArgs};
use crate::cli::context::Context;
use crate::cli::output;
use crate::cli::output::plural;
use crate::cli::progress::Bar;
use crate::cli::transfer;
use crate::drv::derivation::Source;
use crate::plan::{Graph, Pins, Staleness};
use crate::project::Access;
use crate::project::Project;
use crate::project::find;
use crate::project::open::Folder;
use crate::share::parcel::Recorder;
use crate::share::wire::Push;
use crate::share::{LocalPeer, Parcel, Peer, Remote, Substitute, Trust};

/// Copy targets and trees to or from another store or a cache
#[derive(clap::Args)]
#[command(
    after_help = "PLACE is the folder of a store or of a cache, ssh://[USER@]HOST[:PORT][/STORE], or \
    (only to copy from) http://HOST/PATH or https://HOST/PATH."
)]
pub struct Args {
    /// Targets, such as stage3-corei7, patterns, such as 'stage3-*', or hashes of trees
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
    /// With --to: copy everything that the store remembers, and all its roots
    #[arg(long, conflicts_with_all = ["from", "what"])]
    all: bool,
    /// Copy the trees of all steps too, not only those of targets
    #[arg(long)]
    steps: bool,
    /// With --to: copy the seeds and snapshots too that the targets are built from
    #[arg(long, requires = "to")]
    inputs: bool,
    /// Keep the trees at the place that they are copied to, under this name
    #[arg(long, value_name = "NAME")]
    root: Option<String>,
    /// With --to: make a binary cache if the folder is empty
    #[arg(long, requires = "to")]
    cache: bool,
    /// With --to: sign what is copied with this key [default: sign/key of the configuration file]
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

fn copy_to(context: &Context, args: &Args, to: &Remote) -> Result<Done, Failure> {
    let config = context.config()?;
    let key = args::signing_key(&config, args.sign.as_deref())?;
    let what = args.what.iter().cloned();
    let (beginnings, names): (Vec<String>, Vec<String>) =
        what.partition(|name| find::is_prefix(name));
    let mut parcel = Parcel::default();
    let store = if names.is_empty() {
        context.store(Access::Read)?
    } else {
        let project = context.project(Access::ReadIfPresent)?;
        pack_targets(&project, &names, args, &mut parcel)?;
        project.store
    };
    for beginning in &beginnings {
        parcel.trees.insert(find::one_tree(&store, beginning)?);
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
    let stop = context.stop()?;
    let bar = Bar::new(args.quiet || args.json);
    let trees: Vec<TreeHash> = parcel.trees.iter().copied().collect();
    let peer = LocalPeer::new(&store)?;
    for (tree, offer) in trees.iter().zip(peer.offer(&trees)?) {
        if offer.is_none() {
            return Err(Failure::usage(format!(
                "tree {tree} is not in the store any more"
            )));
        }
    }
    let sum = match to {
        Remote::Folder(path) => match (Folder::of(path)?, args.cache) {
            (Folder::Store | Folder::BegunStore, true) => {
                return Err(Failure::usage(format!("{} is a store", path.display())));
            }
            (Folder::Cache | Folder::BegunCache, _) | (Folder::Empty, true) => {
                let mut facts = parcel.facts.values();
                let written =
                    transfer::with_progress(&bar, "copying", &stop.cancel, args.dry_run, |o| {
                        store.write_cache(path, &trees, &mut facts, o)
                    });
                bar.clear();
                written?
            }
            (found @ (Folder::Store | Folder::BegunStore | Folder::Empty), _) => {
                let options = OpenOptions {
                    create: !args.dry_run,
                    read_only: false,
                };
                if args.dry_run && !matches!(found, Folder::Store) {
                    return Err(Failure::usage(format!(
                        "{}: there is no store yet; everything would be copied",
                        path.display()
                    )));
                }
                let other = Store::open(path, &options)?;
                same_store(&store, &other)?;
                let received =
                    transfer::with_progress(&bar, "copying", &stop.cancel, args.dry_run, |o| {
                        other.receive(&peer, &trees, o)
                    });
                bar.clear();
                let received = received?;
                if !args.dry_run {
                    settle(&other, &parcel, &trees, args.root.as_deref())?;
                }
                received
            }
        },
        Remote::Ssh(remote) => {
            let other = args.reach.reach(context).ssh(remote)?;
            let push = Push {
                trees: trees.clone(),
                root: args.root.clone(),
                dry_run: args.dry_run,
                blind: args.trust_unsigned,
            };
            let pushed = other.wire()?.push(
                &peer,
                &mut parcel.facts.values(),
                &push,
                &mut |(objects, objects_wanted, bytes, content, content_wanted)| {
                    let progress = Progress {
                        objects,
                        objects_wanted,
                        bytes,
                        content,
                        content_wanted,
                    };
                    bar.update("copying", &progress);
                    !stop.cancel.is_cancelled()
                },
            );
            bar.clear();
            if stop.cancel.is_cancelled() {
                return Err(TransferError::Cancelled.into());
            }
            let (objects, _, bytes, content, _) = pushed?;
            Received {
                objects,
                bytes,
                content,
            }
        }
        Remote::Http(_) => {
            return Err(Failure::usage("a web server cannot be copied to")
                .hint("copy to a folder that it serves, or to the machine: ssh://HOST"));
        }
    };
    Ok((sum, trees, parcel.facts.len()))
}

/// Copying a store to itself would wait for itself.
fn same_store(one: &Store, other: &Store) -> Result<(), Failure> {
    if one.path() == other.path() {
        return Err(Failure::usage(format!(
            "{} is the store itself",
            other.path().display()
        )));
    }
    Ok(())
}

/// Makes facts and roots visible, when the trees are there.
pub fn settle(
    store: &Store,
    parcel: &Parcel,
    trees: &[TreeHash],
    root: Option<&str>,
) -> Result<(), Failure> {
    for fact in parcel.facts.values() {
        store.take_fact(fact)?;
    }
    if let Some(name) = root {
        for (at, tree) in trees.iter().enumerate() {
            let numbered = match at {
                0 => name.to_owned(),
                n => format!("{name} {}", n + 1),
            };
            store.add_root(&numbered, *tree)?;
        }
    }
    Ok(())
}

fn pack_targets(
    project: &Project,
    names: &[String],
    args: &Args,
    parcel: &mut Parcel,
) -> Result<(), Failure> {
    let recorder = Recorder::new(&project.facts);
    let recipes = project.recipes(&project.targets(names)?)?;
    let graph = Graph::build(&recipes, &project.lock, &recorder, Pins::Optional)?;
    let staleness = Staleness::walk(&graph, &recorder, &mut ())?;
    parcel.add_graph(&project.store, &staleness, &recorder)?;
    for target in graph.requested() {
        let Some(tree) = staleness.target_tree(target, &recorder)? else {
            return Err(
                Failure::usage(format!("{} is not built, or not up to date", target.name))
                    .hint(format!("build it first: mstore realise {}", target.name)),
            );
        };
        parcel.trees.insert(tree);
    }
    if args.inputs {
        let inputs = graph.nodes().values().flat_map(|n| &n.derivation.inputs);
        let pinned = inputs.filter_map(|input| match input.source {
            Source::Tree(tree) => Some(tree),
            _ => None,
        });
        let lock = project.lock.pins().map(|(_, _, pin)| pin.tree);
        for tree in pinned.chain(lock) {
            if project.store.has_tree(tree)? {
                parcel.trees.insert(tree);
            }
        }
    }
    if args.steps {
        for node in graph.nodes().ids() {
            if let Some(tree) = staleness.state(node).tree()
                && project.store.has_tree(tree)?
            {
                parcel.trees.insert(tree);
            }
        }
    }
    Ok(())
}

fn pack_all(store: &Store, parcel: &mut Parcel) -> Result<(), Failure> {
    for realisation in store.realisations(None)? {
        let is_target = realisation.kind == RealisationKind::Target;
        parcel.add_fact(store, realisation.key)?;
        if is_target && store.has_tree(realisation.tree)? {
            parcel.trees.insert(realisation.tree);
        }
    }
    for root in store.roots()? {
        if store.has_tree(root.tree)? {
            parcel.trees.insert(root.tree);
        }
    }
    Ok(())
}

fn copy_from(context: &Context, args: &Args, from: &Remote) -> Result<Done, Failure> {
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
    let (hashes, names) = split(&args.what);
    let stop = context.stop()?;
    let bar = Bar::new(args.quiet || args.json);
    let mut trees = hashes;
    let mut facts = 0;
    let (store, project) = if names.is_empty() {
        (context.store(Access::Change)?, None)
    } else {
        let project = context.project(Access::Change)?;
        (project.store.clone(), Some(project))
    };
    let peer = args.reach.reach(context).open(from, &store)?;
    if let Some(project) = &project {
        let found = find_targets(project, &names, args, peer.clone(), trust, &bar)?;
        facts = found.1;
        trees.extend(found.0);
    }
    trees.sort_unstable();
    trees.dedup();
    let missing: Vec<TreeHash> = trees
        .iter()
        .zip(peer.offer(&trees)?)
        .filter(|(_, offer)| offer.is_none())
        .map(|(tree, _)| *tree)
        .collect();
    for tree in missing {
        if !store.has_tree(tree)? {
            return Err(Failure::machine(format!(
                "{} has no tree {tree}",
                peer.name()
            )));
        }
    }
    let wanted: Vec<TreeHash> = trees.clone();
    let received = transfer::with_progress(&bar, "copying", &stop.cancel, args.dry_run, |o| {
        store.receive(&*peer, &wanted, o)
    });
    bar.clear();
    if stop.cancel.is_cancelled() {
        return Err(TransferError::Cancelled.into());
    }
    let received = received?;
    if !args.dry_run {
        settle(&store, &Parcel::default(), &trees, args.root.as_deref())?;
    }
    Ok((received, trees, facts))
}

/// Takes over what the other end knows of some targets, and finds their trees.
fn find_targets(
    project: &Project,
    names: &[String],
    args: &Args,
    peer: Arc<dyn Peer>,
    trust: Trust,
    bar: &Bar,
) -> Result<(Vec<TreeHash>, usize), Failure> {
    let name = peer.name();
    let opener = move || Ok(peer.clone());
    let empty = trust.is_empty();
    let notices = std::sync::Mutex::new(Vec::new());
    let facts = Substitute::new(
        project.facts.clone(),
        project.store.clone(),
        vec![(name.clone(), Box::new(opener))],
        trust,
        args.dry_run,
        |notice| {
            let mut notices = notices.lock().unwrap_or_else(|e| e.into_inner());
            notices.push(notice.to_string());
        },
    );
    let recipes = project.recipes(&project.targets(names)?)?;
    let graph = Graph::build(&recipes, &project.lock, &&facts, Pins::Optional)?;
    facts.prepare(&graph)?;
    let staleness = Staleness::walk(&graph, &&facts, &mut ())?;
    let mut found = BTreeMap::new();
    for target in graph.requested() {
        let tree = staleness.tree_of(target, &&facts)?;
        found.insert(target.name.clone(), tree);
    }
    let told = notices.lock().unwrap_or_else(|e| e.into_inner()).clone();
    for notice in &told {
        bar.say(notice);
    }
    for (target, tree) in &found {
        if tree.is_some() {
            continue;
        }
        let failure = if told.is_empty() {
            Failure::machine(format!(
                "{name} has not built {target} as it is specified here"
            ))
            .hint("both ends must have the same specifications and the same metro.lock; `mstore diff` compares")
        } else {
            Failure::machine(format!(
                "nothing that can be believed about {target} at {name}"
            ))
        };
        return Err(if empty {
            failure.hint(
                "no key is trusted here: add the public key to trust/keys of the configuration file, or give --trust NAME:BASE64; for a folder or ssh host of your own there is --trust-unsigned",
            )
        } else {
            failure
        });
    }
    let mut trees: Vec<TreeHash> = found.into_values().flatten().collect();
    if args.steps {
        for node in graph.nodes().ids() {
            trees.extend(staleness.state(node).tree());
        }
    }
    if !args.dry_run {
        project.keep_pins()?;
    }
    Ok((trees, facts.taken().len()))
}
