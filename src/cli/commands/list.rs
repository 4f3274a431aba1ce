//! `mstore list`

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::{Failure, output};
use crate::plan::view::ListView;
use crate::plan::{Distribution, Lock, Pins, TargetId};
use crate::ports::{PkgPath, Walk, Walked};
use crate::project::realise::{Obstacle, Obstacles};
use crate::project::{Access, ports};

/// List builds, subarchitectures and targets
#[derive(clap::Args)]
pub struct Args {
    /// Patterns of target names, such as 'stage3-*': list the targets that fit, one a line
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// List the ports of the ports tree; patterns are of CATEGORY/NAME, such as 'shells/*'
    #[arg(long)]
    ports: bool,
    /// List also the subarchitectures that this machine cannot build
    #[arg(long, short)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One port of a list.
#[derive(Serialize)]
struct PortLine {
    pkgpath: String,
    version: Option<String>,
    comment: Option<String>,
    flavors: Vec<String>,
    subpackages: Vec<String>,
    /// Why it is not built.
    #[serde(skip_serializing_if = "Option::is_none")]
    ignored: Option<String>,
}

impl PortLine {
    fn of(walked: Walked) -> PortLine {
        match walked {
            Walked::Chain(chain) => {
                let port = &chain.port;
                PortLine {
                    pkgpath: port.id.to_string(),
                    version: Some(port.version.clone()),
                    comment: Some(port.comment.clone()),
                    flavors: port.flavors.clone(),
                    subpackages: port
                        .subpackages
                        .iter()
                        .map(|sub| sub.name.clone())
                        .collect(),
                    ignored: None,
                }
            }
            Walked::Ignored(ignored) => PortLine {
                pkgpath: ignored.pkgpath,
                version: None,
                comment: None,
                flavors: Vec::new(),
                subpackages: Vec::new(),
                ignored: Some(ignored.reason.to_string()),
            },
        }
    }

    /// Its line for people: what is ignored begins with `!`.
    fn text(&self) -> String {
        if let Some(reason) = &self.ignored {
            let reason = reason.lines().next().unwrap_or_default();
            return format!("! {}: {reason}", self.pkgpath);
        }
        let mut text = self.pkgpath.clone();
        for word in [&self.version, &self.comment]
            .into_iter()
            .flatten()
            .filter(|word| !word.is_empty())
        {
            text.push_str(&format!("  {word}"));
        }
        if !self.flavors.is_empty() {
            text.push_str(&format!("  flavors: {}", self.flavors.join(" ")));
        }
        if self.subpackages.len() > 1 {
            let subs = self.subpackages.iter().map(|sub| format!("-{sub}"));
            text.push_str(&format!("  {}", subs.collect::<Vec<_>>().join(" ")));
        }
        text
    }
}

/// Lists the ports of the tree, those alone that fit one of the patterns if there are some.
fn list_ports(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let distribution = context.distribution()?;
    let Some(tree) = ports::open(&distribution)? else {
        return Err(Failure::usage("there is no ports tree").hint(
            "name one with --ports-tree DIR, or with the element ports/tree of the entry file",
        ));
    };
    let listed = tree.list()?;
    let mut wanted: Vec<PkgPath> = listed.ports.into_iter().map(PkgPath::of).collect();
    if !args.patterns.is_empty() {
        let mut fitting = Vec::new();
        for pattern in &args.patterns {
            fitting.extend(tree.fitting(pattern)?);
        }
        wanted.retain(|path| fitting.contains(path));
    }
    let mut lines = Vec::new();
    // What a port is does not depend on the root that it is built in.
    let base = tree.base_of(&Lock::in_memory(), Pins::Optional)?;
    let mut walk = Walk::new(&tree, base);
    let asked: HashSet<String> = wanted.iter().map(PkgPath::to_string).collect();
    let _ = walk.walk(&wanted, &mut |walked| {
        let line = PortLine::of(walked);
        if asked.contains(&line.pkgpath) {
            lines.push(line);
        }
        ControlFlow::Continue(())
    });
    lines.extend(listed.others.into_iter().map(|other| PortLine {
        pkgpath: other.folder,
        version: None,
        comment: None,
        flavors: Vec::new(),
        subpackages: Vec::new(),
        ignored: Some(other.reason),
    }));
    lines.sort_by(|a, b| a.pkgpath.cmp(&b.pkgpath));
    match args.json {
        true => output::json_pretty(&lines)?,
        false => {
            let lines: Vec<String> = lines.iter().map(PortLine::text).collect();
            output::line(lines.join("\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    if args.ports {
        return list_ports(context, &args);
    }
    let distribution = context.distribution()?;
    context.tell_if_standard(&distribution);
    let index = distribution.index();
    if !args.patterns.is_empty() {
        let names: Vec<String> = distribution
            .expand(&args.patterns)?
            .iter()
            .map(|id| index.display_name(id))
            .collect();
        if args.json {
            output::json(&names)?;
        } else {
            output::line(names.join("\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let view = ListView::from(index);
    if args.json {
        output::json_pretty(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("targets: {}\nbuilds:", view.targets.join(" "));
    for build in &view.builds {
        text.push_str(&format!(" {build}"));
        if *build == view.default_build {
            text.push_str(" (default)");
        }
    }
    for (build, targets) in &view.targets_of {
        text.push_str(&format!("\nmore targets of {build}: {}", targets.join(" ")));
    }
    let obstacles = obstacles(context, &distribution);
    let can = |arch: &str, subarch: &str| {
        let key = (arch.to_owned(), subarch.to_owned());
        !obstacles.contains_key(&key)
    };
    for (arch, subarches) in &view.subarches {
        let shown = subarches
            .iter()
            .filter(|subarch| args.all || can(arch, subarch));
        let shown: Vec<&str> = shown.map(String::as_str).collect();
        if !shown.is_empty() {
            text.push_str(&format!("\n{arch}: {}", shown.join(" ")));
        }
    }
    let mut not_here: BTreeMap<(&str, &Obstacle), usize> = BTreeMap::new();
    for ((arch, _), obstacle) in &obstacles {
        *not_here.entry((arch, obstacle)).or_default() += 1;
    }
    for ((arch, obstacle), n) in not_here {
        let word = if n == 1 { "subarch" } else { "subarches" };
        text.push_str(&format!("\nnot here: {arch}, {n} {word}: {obstacle}"));
    }
    output::line(text)?;
    tell!(
        "a target's name is TARGET-SUBARCH or BUILD/TARGET-SUBARCH, for example {}",
        example(&view, can)
    );
    if !obstacles.is_empty() && !args.all {
        tell!("--all lists also what this machine cannot build");
    }
    Ok(ExitCode::SUCCESS)
}

/// What keeps this machine from building for subarchitectures: looked at is the last target of the default build. Of
/// specifications that cannot be read so far nothing is known; `mstore check` tells what is wrong with them.
fn obstacles(
    context: &Context,
    distribution: &Distribution,
) -> BTreeMap<(String, String), Obstacle> {
    let index = distribution.index();
    let Some(target) = index.targets.last() else {
        return BTreeMap::new();
    };
    let lock = context
        .project(Access::ReadIfPresent)
        .map(|project| project.lock);
    let lock = lock.unwrap_or_default();
    let subarches = index.arches.iter();
    let subarches = subarches.flat_map(|arch| arch.subarches.iter().map(move |s| (arch, s)));
    let ids = subarches.map(|(arch, subarch)| TargetId {
        build: index.default_build.clone(),
        arch_desc: arch.name.clone(),
        subarch: subarch.clone(),
        target: target.clone(),
    });
    let ids: Vec<TargetId> = ids.collect();
    let Ok(recipes) = distribution.recipes(&ids, &lock) else {
        return BTreeMap::new();
    };
    let obstacles = Obstacles::new(&recipes, &lock);
    let found = ids.into_iter().filter_map(|id| {
        let obstacle = obstacles.of(&id)?.clone();
        Some(((id.arch_desc, id.subarch), obstacle))
    });
    found.collect()
}

fn example(view: &ListView, can: impl Fn(&str, &str) -> bool) -> String {
    let target = view.targets.last().map_or("stage3", String::as_str);
    let all = || {
        let arches = view.subarches.iter();
        arches.flat_map(|(arch, subarches)| subarches.iter().map(move |s| (arch, s)))
    };
    let subarch = all()
        .find(|(arch, s)| can(arch, s))
        .or_else(|| all().next());
    format!("{target}-{}", subarch.map_or("corei7", |(_, s)| s))
}
