//! Modes: the targets that a kind of build stands for. `full` is stage1, stage2 and stage3; extras come after.

use super::distribution::{Distribution, once};
use super::elements::Elements;
use super::error::PlanError;
use super::lock::Lock;
use super::name::TargetId;

/// The targets of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTargets {
    /// Those of the mode, in the order in which they are built on each other.
    pub main: Vec<TargetId>,
    /// Those of the extras.
    pub extras: Vec<TargetId>,
    /// Whether a snapshot is to be made first.
    pub snapshot: bool,
}

/// The target that is no archive of a build, but what builds read.
pub const SNAPSHOT: &str = "snapshot";

impl RunTargets {
    /// All of them, each once.
    pub fn all(&self) -> Vec<TargetId> {
        let mut all = self.main.clone();
        all.extend(
            self.extras
                .iter()
                .filter(|id| !self.main.contains(id))
                .cloned(),
        );
        all
    }
}

/// A build, an architecture and a subarch.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    /// The build.
    pub build: &'a str,
    /// The architecture.
    pub arch: &'a str,
    /// The subarch.
    pub subarch: &'a str,
}

impl Home<'_> {
    fn target(&self, target: &str) -> TargetId {
        TargetId {
            build: self.build.to_owned(),
            arch_desc: self.arch.to_owned(),
            subarch: self.subarch.to_owned(),
            target: target.to_owned(),
        }
    }
}

/// Modes that every specification has, whatever it says.
const USUAL: [&str; 4] = ["full", "freshen", "quick", "test"];

/// The targets of a mode with extras.
pub fn targets(
    distribution: &Distribution,
    home: Home<'_>,
    mode: &str,
    extras: &[String],
    lock: &Lock,
) -> Result<RunTargets, PlanError> {
    let index = distribution.index();
    let of = |kind: &str, words: Vec<String>| -> Result<Vec<TargetId>, PlanError> {
        let ids = words.iter().map(|word| home.target(word));
        let all: Vec<TargetId> = ids.collect();
        match all.iter().find(|id| !index.contains(id)) {
            None => Ok(all),
            Some(id) => Err(PlanError::Mode {
                kind: kind.to_owned(),
                target: id.target.clone(),
                home: format!("{}/{}/{}", home.build, home.arch, home.subarch),
            }),
        }
    };
    let mut run = RunTargets {
        main: Vec::new(),
        extras: Vec::new(),
        snapshot: false,
    };
    if distribution.metro().is_some() {
        let words = of_metro(distribution, home, mode, lock, &mut run.snapshot)?;
        run.main = of(mode, words)?;
        for extra in extras {
            run.extras.extend(of(extra, vec![extra.clone()])?);
        }
        return Ok(run);
    }
    let elements = settings(distribution, home, lock)?;
    let mut snapshot = false;
    let mut listed = |kind: &str, is_mode: bool| {
        let list = list(elements.as_ref(), kind, is_mode, &mut snapshot)?;
        of(
            kind,
            words(distribution, home, kind, elements.as_ref(), list)?,
        )
    };
    run.main = listed(mode, true)?;
    for extra in extras {
        run.extras.extend(listed(extra, false)?);
    }
    run.snapshot = snapshot;
    Ok(run)
}

/// The settings of some target, where there is one: what modes consist of is said in every.
fn settings(
    distribution: &Distribution,
    home: Home<'_>,
    lock: &Lock,
) -> Result<Option<Elements>, PlanError> {
    let index = distribution.index();
    let ids = index.targets.iter().map(|target| home.target(target));
    match ids.into_iter().find(|id| index.contains(id)) {
        Some(id) => Ok(Some(distribution.elements(&id, lock)?)),
        None => Ok(None),
    }
}

/// What a repository of Metro says in `multi/targets`, but the snapshot.
fn of_metro(
    distribution: &Distribution,
    home: Home<'_>,
    mode: &str,
    lock: &Lock,
    snapshot: &mut bool,
) -> Result<Vec<String>, PlanError> {
    if !distribution
        .metro()
        .is_some_and(|metro| metro.has_mode(mode))
    {
        return Ok(usual(mode, &Strategy::default()));
    }
    let elements = distribution.mode(&home.target(""), mode, lock)?;
    let words = without_snapshot(elements.words("multi/targets")?, snapshot);
    if words.is_empty() {
        return Err(PlanError::Missing {
            element: "multi/targets".to_owned(),
            target: format!("the mode {mode}"),
            help: "the file of the mode in `etc/multi-targets` defines it",
        });
    }
    Ok(words)
}

/// What specifications for mstore list in `multi/targets/KIND`, or in `multi/targets` for the mode that they were
/// evaluated with (`multi/mode`).
fn list(
    elements: Option<&Elements>,
    kind: &str,
    is_mode: bool,
    snapshot: &mut bool,
) -> Result<Vec<String>, PlanError> {
    let Some(elements) = elements else {
        return Ok(Vec::new());
    };
    let mut words = elements.words(&format!("multi/targets/{kind}"))?;
    if words.is_empty() && is_mode {
        words = elements.words("multi/targets")?;
    }
    Ok(without_snapshot(words, snapshot))
}

/// Takes the snapshot out of a list, and notes that it was there.
fn without_snapshot(mut words: Vec<String>, snapshot: &mut bool) -> Vec<String> {
    let all = words.len();
    words.retain(|word| word != SNAPSHOT);
    *snapshot |= words.len() < all;
    words
}

/// What specifications for mstore list, else what is usual.
fn words(
    distribution: &Distribution,
    home: Home<'_>,
    kind: &str,
    elements: Option<&Elements>,
    mut words: Vec<String>,
) -> Result<Vec<String>, PlanError> {
    if words.is_empty() {
        let word = |name: &str| match elements {
            Some(elements) => elements.line(name),
            None => Ok(None),
        };
        let strategy = Strategy {
            from_stage1: word("strategy/seed")?.as_deref() == Some("stage1"),
            without_stage2: word("strategy/stage2")?.as_deref() == Some("no"),
            quick: distribution.index().contains(&home.target("stage3-quick")),
        };
        words = usual(kind, &strategy);
        // Distributions may do without some of the stages before the last.
        let last = words.len().saturating_sub(1);
        let mut at = 0..;
        let index = distribution.index();
        words.retain(|word| at.next() == Some(last) || index.contains(&home.target(word)));
    }
    Ok(words)
}

/// What the specifications say of the way to a stage3.
#[derive(Default)]
struct Strategy {
    /// A seed is a stage1.
    from_stage1: bool,
    /// A stage3 starts from a stage1.
    without_stage2: bool,
    /// There is a target that builds a stage3 without the stages before it.
    quick: bool,
}

/// The targets of a kind of build that the specifications do not list.
fn usual(kind: &str, strategy: &Strategy) -> Vec<String> {
    let targets: &[&str] = match kind {
        "full" => match (strategy.from_stage1, strategy.without_stage2) {
            (true, true) => &["stage3"],
            (true, false) => &["stage2", "stage3"],
            (false, true) => &["stage1", "stage3"],
            (false, false) => &["stage1", "stage2", "stage3"],
        },
        "freshen" => &["stage3-freshen"],
        "quick" if strategy.quick => &["stage3-quick"],
        "quick" => &["stage3"],
        "test" => &["stage3-test"],
        other => &[other],
    };
    targets.iter().map(|t| (*t).to_owned()).collect()
}

impl Distribution {
    /// Expands names, patterns and modes; each target once, in the order in which it was first named. A mode is
    /// `MODE[+EXTRA...]-SUBARCH`, perhaps with a build and an architecture before it.
    pub fn expand<S: AsRef<str>>(&self, names: &[S]) -> Result<Vec<TargetId>, PlanError> {
        let mut all = Vec::new();
        for name in names {
            let name = name.as_ref();
            if let Some(ports) = self.ports_called(name)? {
                all.extend(ports);
                continue;
            }
            match self.index().expand(name) {
                Ok(ids) => all.extend(ids),
                Err(error) => match expand(self, name) {
                    Some(run) => all.extend(run?),
                    None => return Err(error.into()),
                },
            }
        }
        Ok(once(all))
    }
}

/// The targets that a mode stands for. `None` where a name is not that of a mode.
fn expand(distribution: &Distribution, name: &str) -> Option<Result<Vec<TargetId>, PlanError>> {
    let index = distribution.index();
    let parts: Vec<&str> = name.split('/').collect();
    let (build, arch, short) = match parts.as_slice() {
        [short] => (index.default_build.as_str(), None, *short),
        [build, short] => (*build, None, *short),
        [build, arch, short] => (*build, Some(*arch), *short),
        _ => return None,
    };
    if !index.builds.iter().any(|known| known == build) {
        return None;
    }
    let lock = Lock::in_memory();
    for (at, _) in short.rmatch_indices('-') {
        let (head, subarch) = (&short[..at], &short[at + 1..]);
        let mut homes = index
            .arches
            .iter()
            .filter(|known| arch.is_none_or(|name| known.name == name))
            .filter(|known| known.subarches.iter().any(|s| s == subarch));
        let (Some(found), None) = (homes.next(), homes.next()) else {
            continue;
        };
        let home = Home {
            build,
            arch: &found.name,
            subarch,
        };
        let mut words = head.split('+').filter(|word| !word.is_empty());
        let mode = words.next()?;
        let extras: Vec<String> = words.map(str::to_owned).collect();
        let known = USUAL.contains(&mode)
            || distribution
                .metro()
                .is_some_and(|metro| metro.has_mode(mode))
            || !extras.is_empty()
            || settings(distribution, home, &lock).is_ok_and(|all| {
                all.is_some_and(|all| all.is_defined(&format!("multi/targets/{mode}")))
            });
        if known {
            let run = targets(distribution, home, mode, &extras, &lock);
            return Some(run.map(|run| run.all()));
        }
    }
    None
}
