//! `mstore why rebuild` of packages: what changed, and what follows from that.

use std::collections::BTreeSet;
use std::process::ExitCode;

use crate::cli::Failure;
use crate::cli::output::{self, plural};
use crate::drv::NodeName;
use crate::packages::explain::{Because, Cascade, Explain, Why};
use crate::plan::{NodeId, Staleness};
use crate::project::Project;
use crate::project::find::is_prefix;
use crate::project::step::no_such_step;

/// How many packages that follow are named.
const NAMED: usize = 20;

/// A package that was asked about: its target, and what it is called there.
pub(super) struct Named {
    word: String,
    target: String,
    package: String,
}

/// Takes packages apart from targets. Gives the packages, and the names of all targets.
pub(super) fn split(
    project: &Project,
    words: &[String],
) -> Result<(Vec<Named>, Vec<String>), Failure> {
    let (mut named, mut targets) = (Vec::new(), Vec::new());
    for word in words {
        match word.parse::<NodeName>() {
            Ok(NodeName::Package(name)) if !is_prefix(word) => {
                named.push(Named {
                    word: word.clone(),
                    target: name.target().to_owned(),
                    package: name.package().to_owned(),
                });
                targets.push(name.target().to_owned());
            }
            _ => targets.push(word.clone()),
        }
    }
    if !named.is_empty() && named.len() < words.len() {
        return Err(Failure::usage(
            "packages and whole targets are asked about one after the other",
        ));
    }
    // A name that is none is told of as such.
    project.targets(&targets)?;
    targets.dedup();
    Ok((named, targets))
}

/// What a run would build of the packages of a plan, and why, target by target.
pub(super) fn cascades(
    project: &Project,
    staleness: &Staleness<'_>,
) -> Result<Vec<Cascade>, Failure> {
    let to_do = to_do(project, staleness)?;
    let explain = Explain::new(staleness, &project.facts);
    let mut found = Vec::new();
    for target in staleness.graph().targets() {
        let cascade = explain.cascade(target, &to_do)?;
        if !cascade.changed.is_empty() || !cascade.follow.is_empty() {
            found.push(cascade);
        }
    }
    Ok(found)
}

fn to_do(project: &Project, staleness: &Staleness<'_>) -> Result<BTreeSet<NodeId>, Failure> {
    let todo = staleness.todo(&project.facts)?;
    Ok(todo.build.into_iter().chain(todo.maybe).collect())
}

/// Each package as a step with its causes.
pub(super) fn cascades_json(cascades: &[Cascade]) -> Vec<serde_json::Value> {
    let all = cascades.iter().flat_map(|cascade| {
        let changed = cascade.changed.iter().map(|why| (why, false));
        changed.chain(cascade.follow.iter().map(|why| (why, true)))
    });
    all.map(|(why, follows)| package_json(why, follows))
        .collect()
}

fn package_json(why: &Why, follows: bool) -> serde_json::Value {
    serde_json::json!({
        "step": why.step,
        "package": why.package,
        "follows": follows,
        "reasons": why.causes,
    })
}

/// Prints causes first, then what follows from them.
pub(super) fn show_cascades(cascades: &[Cascade]) -> Result<(), Failure> {
    for cascade in cascades {
        for why in &cascade.changed {
            show(&format!("{}:{}", cascade.target, why.package), &why.causes)?;
        }
        let (changed, follow) = (cascade.changed.len(), cascade.follow.len());
        output::line(format!(
            "{}: {changed} {} changed, {follow} {}",
            cascade.target,
            plural(changed, "package"),
            match follow {
                0 => "follow".to_owned(),
                1 => "follows unless what it needs comes out the same".to_owned(),
                _ => "follow unless what they need comes out the same".to_owned(),
            }
        ))?;
        for why in cascade.follow.iter().take(NAMED) {
            output::line(format!("  {}: {}", why.package, told(&why.causes)))?;
        }
        if follow > NAMED {
            output::line(format!("  and {} more", follow - NAMED))?;
        }
    }
    Ok(())
}

fn told(causes: &[Because]) -> String {
    let told: Vec<String> = causes.iter().map(ToString::to_string).collect();
    told.join("; ")
}

fn show(word: &str, causes: &[Because]) -> Result<(), Failure> {
    output::line(word)?;
    for cause in causes {
        output::line(format!("  {cause}"))?;
    }
    Ok(())
}

/// Tells of single packages; of those that are up to date why they were built the last time.
pub(super) fn rebuild(
    project: &Project,
    staleness: &Staleness<'_>,
    named: &[Named],
    json: bool,
) -> Result<ExitCode, Failure> {
    let graph = staleness.graph();
    let explain = Explain::new(staleness, &project.facts);
    let to_do = to_do(project, staleness)?;
    let mut all = Vec::new();
    for Named {
        word,
        target,
        package,
    } in named
    {
        for id in project.targets(std::slice::from_ref(target))? {
            let Some(target) = graph.target(&id) else {
                continue;
            };
            let Some(node) = graph.package_of(target, package) else {
                return Err(no_such_step(graph, target, package).into());
            };
            let step = graph.nodes()[node].name.to_string();
            let stale = staleness.state(node).tree().is_none() || to_do.contains(&node);
            let (built, causes) = match stale {
                true => (None, explain.package(node)?),
                false => match explain.last_time(node)? {
                    Some((started, causes)) => (Some(started), causes),
                    None => (None, Vec::new()),
                },
            };
            let why = Why {
                package: package.clone(),
                step,
                causes,
            };
            if json {
                let mut value = package_json(&why, !why.is_cause());
                value["up_to_date"] = serde_json::json!(!stale);
                value["built"] = serde_json::json!(built);
                all.push(value);
                continue;
            }
            match (stale, built) {
                (true, _) => show(word, &why.causes)?,
                (false, Some(started)) => {
                    let when = output::time(started);
                    show(
                        &format!("{word}: up to date, built last {when}"),
                        &why.causes,
                    )?;
                }
                (false, None) => output::line(format!(
                    "{word}: up to date, and no other build of it is remembered"
                ))?,
            }
        }
    }
    if json {
        output::json_pretty(&all)?;
    }
    Ok(ExitCode::SUCCESS)
}
