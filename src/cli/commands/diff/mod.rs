//! `mstore diff`

mod markdown;
mod names;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashMap;
use std::fmt;
use std::process::ExitCode;

use mstore_lang::Files;
use serde::Serialize;

use crate::cli::args::node_name;
use crate::cli::context::{Context, current_dir};
use crate::cli::report::processors;
use crate::cli::{Failure, estimate, output};
use crate::drv::{DrvHash, tree_changes};
use crate::packages::compare::PackagesDiff;
use crate::plan::diff::Fate;
use crate::plan::{
    Distribution, Entry, GitFiles, Graph, Index, Lock, NodeId, OneStep, PackageNode, Pairing, Pins,
    PlanDiff, TargetId, diff, diff_steps,
};
use crate::project::find::Found;
use crate::project::find::Wants;
use crate::project::packages::unfolded;
use crate::project::{Access, Estimates, Project};

/// Compare derivations
#[derive(clap::Args)]
pub struct Args {
    /// Two targets to compare with each other, or hashes of derivations, keys or trees or their
    /// beginnings, or seed/NAME and snapshot/NAME; with --from, the targets to compare between revisions [default then: all of the
    /// default build]
    #[arg(value_name = "TARGET|HASH")]
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
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let project = context.project(Access::ReadIfPresent)?;
    let index = project.distribution.index();
    let mut before = index.clone();
    let mut after = index.clone();
    let mut how_long_it_takes = None;
    let mut packages = Vec::new();
    let result = match &args.from {
        None => {
            let [a, b] = args.targets.as_slice() else {
                return Err(Failure::usage("diff compares two targets")
                    .hint("mstore diff stage3-corei7 stage3-amd64-k8")
                    .hint("to see what a change of the specifications rebuilds: mstore diff --from HEAD"));
            };
            // Of seeds and snapshots there are trees, and no derivations.
            for word in [a, b] {
                if project.pinned(word)?.is_some() {
                    return trees(context, &project, a, b, &args);
                }
            }
            match (project.hash(a, Wants::Step)?, project.hash(b, Wants::Step)?) {
                (None, None) => {
                    let one =
                        |name: &String| project.graph(std::slice::from_ref(name), Pins::Optional);
                    let (old, new) = (one(a)?, one(b)?);
                    let result = diff(&old, &new, Pairing::ByClass, &project.facts)?;
                    packages = packages_of(&project, &old, &new, &result)?;
                    result
                }
                (x, y) if x.iter().chain(&y).any(Found::is_tree) => {
                    return trees(context, &project, a, b, &args);
                }
                (x, y) => {
                    let (x, y) = steps(&project, (a, x), (b, y))?;
                    diff_steps(&x, &y, &project.facts)?
                }
            }
        }
        Some(from) => {
            let mut names = Vec::with_capacity(args.targets.len());
            for name in &args.targets {
                // The same target in both revisions, whatever its derivation is in the other.
                names.push(match project.hash(name, Wants::Derivation)? {
                    Some(found) => found.target().to_owned(),
                    None => name.clone(),
                });
            }
            let (old, new);
            (old, before) = revision(context, &project, from, &names)?;
            (new, after) = match &args.to {
                Some(to) => revision(context, &project, to, &names)?,
                None => {
                    let ids = chosen(&project.distribution, &names)?;
                    let recipes = project.recipes(&ids)?;
                    let graph = unfolded(&project, &recipes, &project.lock, Pins::Optional)?;
                    (graph, after)
                }
            };
            let result = diff(&old, &new, Pairing::ByName, &project.facts)?;
            how_long_it_takes = Some(how_long(&project, &new, &result)?);
            packages = packages_of(&project, &old, &new, &result)?;
            result
        }
    };
    show(
        &result,
        how_long_it_takes,
        &packages,
        (&before, &after),
        &args,
    )?;
    Ok(if result.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(crate::cli::failure::FOUND)
    })
}

/// Prints a comparison of plans of specifications with these names, in the form that is wanted.
fn show(
    result: &PlanDiff,
    estimate: Option<Estimates>,
    packages: &[Packages],
    (before, after): (&Index, &Index),
    args: &Args,
) -> Result<(), Failure> {
    if args.json {
        return output::json_pretty(&Compared {
            result,
            packages,
            estimate,
        });
    }
    let mut text = match args.markdown {
        true => markdown::render(result, before, after),
        false => text::render(result, before, after),
    };
    for packages in packages {
        let told = packages.to_string();
        text.push_str(&match args.markdown {
            true => format!("\n```\n{told}\n```\n"),
            false => format!("{told}\n"),
        });
    }
    if let Some(told) = estimate.as_ref().and_then(estimate::told) {
        let line = match args.markdown {
            true => format!("\nBuilding it takes {told}.\n"),
            false => format!("building it takes {told}\n"),
        };
        text.push_str(&line);
    }
    output::bytes(text.as_bytes())
}

/// A comparison as JSON.
#[derive(Serialize)]
struct Compared<'a> {
    #[serde(flatten)]
    result: &'a PlanDiff,
    /// What differs among packages, target by target.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    packages: &'a [Packages],
    /// How long it takes to build what differs; only between revisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<Estimates>,
}

/// What differs among the packages of a target, and what is built because of it.
#[derive(Serialize)]
struct Packages {
    #[serde(flatten)]
    diff: PackagesDiff,
    /// Packages that are built because they changed.
    changed: usize,
    /// Seconds that these take, where earlier builds tell.
    changed_seconds: Option<f64>,
    /// Packages that are built if what they need comes out different.
    follow: usize,
    /// Seconds that these take.
    follow_seconds: Option<f64>,
}

impl fmt::Display for Packages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.diff)?;
        if self.changed + self.follow == 0 {
            return Ok(());
        }
        let took = |seconds: Option<f64>| match seconds {
            Some(seconds) => format!(" (about {})", estimate::about(seconds)),
            None => String::new(),
        };
        write!(
            f,
            "\n  {} {} changed{}, {} follow{}",
            self.changed,
            output::plural(self.changed, "package"),
            took(self.changed_seconds),
            self.follow,
            took(self.follow_seconds)
        )
    }
}

/// What differs among the packages of targets that both plans have, or of the one that each has.
fn packages_of(
    project: &Project,
    old: &Graph,
    new: &Graph,
    diff: &PlanDiff,
) -> Result<Vec<Packages>, Failure> {
    let places = new.nodes().iter();
    let places: HashMap<DrvHash, NodeId> = places.map(|(id, node)| (node.hash, id)).collect();
    let seconds = |nodes: &[NodeId]| -> Result<Option<f64>, Failure> {
        let found = project
            .estimate(new, (nodes, &[]), (None, processors()), &())?
            .least;
        Ok((found.steps > 0 && !found.is_unknown()).then_some(found.seconds))
    };
    let alone = |graph: &Graph| graph.requested().nth(1).is_none();
    let pair = alone(old) && alone(new);
    let mut all = Vec::new();
    for is in new
        .targets()
        .iter()
        .filter(|target| new.standing_of(target).is_some())
    {
        let other = old.requested().next().filter(|_| pair && is.requested);
        let Some(was) = old.target(&is.id).or(other) else {
            continue;
        };
        let of = |fates: &[Fate]| -> Vec<NodeId> {
            let nodes = diff.nodes.iter().filter(|node| {
                let is_package = matches!(node.package, Some(PackageNode::Package(_)));
                is_package && fates.contains(&node.fate)
            });
            let nodes = nodes.filter_map(|node| places.get(&node.new?).copied());
            nodes.filter(|at| is.nodes.contains(at)).collect()
        };
        let (changed, follow) = (of(&[Fate::Added, Fate::Changed]), of(&[Fate::Downstream]));
        let found = PackagesDiff::of((old, was), (new, is));
        if found.is_empty() && changed.is_empty() && follow.is_empty() {
            continue;
        }
        all.push(Packages {
            diff: found,
            changed: changed.len(),
            changed_seconds: seconds(&changed)?,
            follow: follow.len(),
            follow_seconds: seconds(&follow)?,
        });
    }
    Ok(all)
}

/// How long it takes to build what differs in the new plan.
fn how_long(project: &Project, new: &Graph, diff: &PlanDiff) -> Result<Estimates, Failure> {
    let nodes = new.nodes().iter();
    let by_hash: HashMap<DrvHash, NodeId> = nodes.map(|(id, node)| (node.hash, id)).collect();
    let of = |fates: &[Fate]| -> Vec<NodeId> {
        let nodes = diff.nodes.iter().filter(|node| fates.contains(&node.fate));
        nodes
            .filter_map(|node| by_hash.get(&node.new?).copied())
            .collect()
    };
    let build = of(&[Fate::Added, Fate::Changed]);
    let maybe = of(&[Fate::Downstream]);
    Ok(project.estimate(new, (&build, &maybe), (None, processors()), &())?)
}

/// The two steps of a comparison in which at least one is named by a hash. A target stands for its step
/// of the same name.
fn steps(
    project: &Project,
    (a, x): (&str, Option<Found>),
    (b, y): (&str, Option<Found>),
) -> Result<(OneStep, OneStep), Failure> {
    let by_hash = |found: &Option<Found>| match found {
        Some(found) => project.known_step(found).map(|known| Some(known.step)),
        None => Ok(None),
    };
    let (x, y) = (by_hash(&x)?, by_hash(&y)?);
    let named = |word: &str, other: &Option<OneStep>| -> Result<OneStep, Failure> {
        let name = node_name(word)?;
        let like = other.as_ref().map(|other| other.name.step());
        let known = project.step_of_target(name.target(), name.step().or(like))?;
        Ok(known.step)
    };
    Ok(match (x, y) {
        (Some(x), Some(y)) => (x, y),
        (Some(x), None) => {
            let y = named(b, &Some(x.clone()))?;
            (x, y)
        }
        (None, y) => {
            let x = named(a, &y)?;
            let y = match y {
                Some(y) => y,
                None => named(b, &Some(x.clone()))?,
            };
            (x, y)
        }
    })
}

/// Compares two trees, path by path.
fn trees(
    context: &Context,
    project: &Project,
    a: &str,
    b: &str,
    args: &Args,
) -> Result<ExitCode, Failure> {
    let [a, b] = [a, b].map(|word| context.tree(&project.store, word));
    let (a, b) = (a?.tree, b?.tree);
    let changes = tree_changes(&project.store, a, b, usize::MAX)?;
    if args.json {
        output::json_pretty(&serde_json::json!({
            "old": a.to_string(),
            "new": b.to_string(),
            "paths": changes.paths,
        }))?;
    } else if changes.paths.is_empty() {
        output::line("no difference")?;
    } else {
        for path in &changes.paths {
            output::line(path)?;
        }
    }
    Ok(match changes.paths.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(crate::cli::failure::FOUND),
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
    context: &Context,
    project: &Project,
    revision: &str,
    names: &[String],
) -> Result<(Graph, Index), Failure> {
    if project.distribution.is_builtin() {
        return Err(
            Failure::usage("the built-in specifications have no revisions")
                .hint("run it beside your metro.conf, or name it with --file"),
        );
    }
    let entry = project.distribution.entry().to_owned();
    let folder = entry
        .parent()
        .map_or_else(current_dir, |p| Ok(p.to_owned()))?;
    let files = GitFiles::open(&folder, revision)?;
    let lock_path = project.lock_path();
    // The lock file of that revision, where it is kept there; else today's.
    let lock = if files.is_file(&lock_path).unwrap_or(false) {
        Lock::read(&files, &lock_path)?
    } else {
        project.lock.clone()
    };
    let distribution = Distribution::with_files(
        Box::new(files),
        Entry::at(entry),
        context.definitions().to_vec(),
    )?;
    let recipes = distribution.recipes(&chosen(&distribution, names)?, &lock)?;
    let graph = unfolded(project, &recipes, &lock, Pins::Optional)?;
    Ok((graph, distribution.index().clone()))
}
