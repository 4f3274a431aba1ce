//! Names of targets: the forms that people type, and the four parts that they stand for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::OnceLock;

use mstore_lang::nearest::nearest_few;
use serde::{Deserialize, Serialize};

/// One thing that can be built: a target class of one subarch of one build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetId {
    /// The build, such as `funtoo-current`.
    pub build: String,
    /// The architecture, such as `x86-64bit`.
    pub arch_desc: String,
    /// The subarch, such as `corei7`.
    pub subarch: String,
    /// The class of target, such as `stage3`.
    pub target: String,
}

impl fmt::Display for TargetId {
    /// Writes the fully qualified form `BUILD/ARCH/SUBARCH/TARGET`; of a port its pkgpath.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_port() {
            return f.write_str(&self.target);
        }
        write!(
            f,
            "{}/{}/{}/{}",
            self.build, self.arch_desc, self.subarch, self.target
        )
    }
}

impl TargetId {
    /// A port, which belongs to no build.
    pub fn of_port(pkgpath: String) -> TargetId {
        TargetId {
            build: String::new(),
            arch_desc: String::new(),
            subarch: String::new(),
            target: pkgpath,
        }
    }

    /// Whether it is a port. The builds of a specification have names.
    pub fn is_port(&self) -> bool {
        self.build.is_empty()
    }

    /// The short form `TARGET-SUBARCH`, without the build; of a port its pkgpath.
    pub fn short(&self) -> String {
        if self.is_port() {
            return self.target.clone();
        }
        format!("{}-{}", self.target, self.subarch)
    }
}

/// The names a specification knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Index {
    /// The build that a name without a build means.
    pub default_build: String,
    /// All builds, in the order of `list/builds`.
    pub builds: Vec<String>,
    /// All architectures with their subarches, in the order of `list/arches`.
    pub arches: Vec<Arch>,
    /// All target classes, in the order of `list/targets`.
    pub targets: Vec<String>,
    /// Target classes that one build has besides, in the order of `list/targets/BUILD`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub of_build: BTreeMap<String, Vec<String>>,
    /// Target classes that are imported, not built: patterns leave them out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<String>,
    /// The same names, to be looked up: made when one is looked up first.
    #[serde(skip)]
    pub(super) names: Names,
}

/// The names of an index, to be looked up. They are made of the rest of the index, which does not change after.
#[derive(Default)]
pub struct Names(OnceLock<Lookup>);

#[derive(Debug)]
struct Lookup {
    builds: HashSet<String>,
    targets: HashSet<String>,
    /// Numbers of the architectures that have a subarch, ascending.
    subarches: HashMap<String, Vec<usize>>,
}

impl Clone for Names {
    fn clone(&self) -> Self {
        Names::default()
    }
}

impl PartialEq for Names {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Names {}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

/// One architecture and its subarches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Arch {
    /// The name, such as `x86-64bit`.
    pub name: String,
    /// The subarches, in the order of `list/subarches/NAME`.
    pub subarches: Vec<String>,
}

/// Why a name does not stand for a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing of that name is known.
    #[error("no {what} is called `{name}`{}", nearest_words(.nearest))]
    Unknown {
        /// What was looked for: `target`, `build`, `arch`, `subarch`.
        what: &'static str,
        /// The name given.
        name: String,
        /// Names that are spelt alike, best first.
        nearest: Vec<String>,
    },
    /// A target class without a subarch.
    #[error("`{name}` does not name a subarch; say one of: {}", .candidates.join(" "))]
    NoSubarch {
        /// The name given.
        name: String,
        /// Complete names.
        candidates: Vec<String>,
    },
    /// Several targets go by that name.
    #[error("`{name}` is ambiguous; say one of: {}", .candidates.join(" "))]
    Ambiguous {
        /// The name given.
        name: String,
        /// The fully qualified names it may mean.
        candidates: Vec<String>,
    },
    /// A name of no known form.
    #[error(
        "`{0}` is not the name of a target; forms are TARGET-SUBARCH, BUILD/TARGET-SUBARCH, \
         BUILD/ARCH/TARGET-SUBARCH and BUILD/ARCH/SUBARCH/TARGET"
    )]
    Malformed(String),
    /// A pattern that fits no target.
    #[error("no target fits the pattern `{0}`")]
    NoMatch(String),
}

fn nearest_words(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        some => format!("; nearest: {}", some.join(" ")),
    }
}

/// How many spellings an error suggests.
const SUGGESTIONS: usize = 5;

/// Names that a misspelt one is compared with at most.
const MAX_COMPARED: usize = 50_000;

/// Longest name that is looked at; longer ones are certainly mistakes.
const MAX_NAME: usize = 512;

impl Index {
    fn lookup(&self) -> &Lookup {
        self.names.0.get_or_init(|| {
            let mut subarches: HashMap<String, Vec<usize>> = HashMap::new();
            for (number, arch) in self.arches.iter().enumerate() {
                for subarch in &arch.subarches {
                    let homes = subarches.entry(subarch.clone()).or_default();
                    if homes.last() != Some(&number) {
                        homes.push(number);
                    }
                }
            }
            Lookup {
                builds: self.builds.iter().cloned().collect(),
                targets: self.targets.iter().cloned().collect(),
                subarches,
            }
        })
    }

    /// The architectures that have a subarch.
    fn homes(&self, subarch: &str) -> impl Iterator<Item = &Arch> {
        let numbers = self.lookup().subarches.get(subarch);
        numbers.into_iter().flatten().map(|at| &self.arches[*at])
    }

    /// The target classes of `build`: those of all builds, then its own.
    pub fn targets_of(&self, build: &str) -> impl Iterator<Item = &String> + Clone {
        let own = self.of_build.get(build).into_iter().flatten();
        self.targets.iter().chain(own)
    }

    /// Whether `build` has a target class.
    fn has_target(&self, build: &str, target: &str) -> bool {
        let own = self.of_build.get(build);
        self.lookup().targets.contains(target)
            || own.is_some_and(|own| own.iter().any(|t| t == target))
    }

    /// Whether a target of these four parts exists.
    pub fn contains(&self, id: &TargetId) -> bool {
        self.lookup().builds.contains(&id.build)
            && self.has_target(&id.build, &id.target)
            && self.homes(&id.subarch).any(|a| a.name == id.arch_desc)
    }

    /// Every target of `build` that can be built: architecture by architecture, subarch by subarch.
    pub fn all_of<'a>(&'a self, build: &'a str) -> impl Iterator<Item = TargetId> + 'a {
        self.arches.iter().flat_map(move |arch| {
            arch.subarches.iter().flat_map(move |subarch| {
                let built = self
                    .targets_of(build)
                    .filter(|t| !self.imported.contains(t));
                built.map(move |target| TargetId {
                    build: build.to_owned(),
                    arch_desc: arch.name.clone(),
                    subarch: subarch.clone(),
                    target: target.clone(),
                })
            })
        })
    }

    /// Every target of every build.
    pub fn all(&self) -> impl Iterator<Item = TargetId> + '_ {
        self.builds.iter().flat_map(|b| self.all_of(b))
    }

    /// The shortest name by which `id` is found again.
    pub fn display_name(&self, id: &TargetId) -> String {
        if id.is_port() {
            return id.to_string();
        }
        let short = id.short();
        let forms = [
            short.clone(),
            format!("{}/{short}", id.build),
            format!("{}/{}/{short}", id.build, id.arch_desc),
        ];
        forms
            .into_iter()
            .find(|f| self.resolve(f).as_ref() == Ok(id))
            .unwrap_or_else(|| id.to_string())
    }

    /// Expands what was typed: a name, or a pattern with `*` and `?`. A pattern over
    /// `TARGET-SUBARCH` alone ranges over the default build.
    pub fn expand(&self, text: &str) -> Result<Vec<TargetId>, NameError> {
        if !text.contains(['*', '?']) {
            return self.resolve(text).map(|id| vec![id]);
        }
        if text.len() > MAX_NAME {
            return Err(NameError::Malformed(text.to_owned()));
        }
        let parts: Vec<&str> = text.split('/').collect();
        let fits = |id: &TargetId| -> bool {
            match parts.as_slice() {
                [name] => id.build == self.default_build && glob(name, &id.short()),
                [build, name] => glob(build, &id.build) && glob(name, &id.short()),
                [build, arch, name] => {
                    glob(build, &id.build) && glob(arch, &id.arch_desc) && glob(name, &id.short())
                }
                [build, arch, subarch, target] => {
                    glob(build, &id.build)
                        && glob(arch, &id.arch_desc)
                        && glob(subarch, &id.subarch)
                        && glob(target, &id.target)
                }
                _ => false,
            }
        };
        if parts.len() > 4 {
            return Err(NameError::Malformed(text.to_owned()));
        }
        let found: Vec<TargetId> = self.all().filter(fits).collect();
        if found.is_empty() {
            return Err(NameError::NoMatch(text.to_owned()));
        }
        Ok(found)
    }

    /// The one target that `name` stands for.
    pub fn resolve(&self, name: &str) -> Result<TargetId, NameError> {
        let parts: Vec<&str> = name.split('/').collect();
        let bad = name.len() > MAX_NAME || parts.iter().any(|p| p.is_empty());
        match parts.as_slice() {
            _ if bad => Err(NameError::Malformed(clip(name))),
            [short] => self.resolve_short(name, &self.default_build, None, short),
            [build, short] => {
                self.known("build", build, self.builds.iter())?;
                self.resolve_short(name, build, None, short)
            }
            [build, arch, short] => {
                self.known("build", build, self.builds.iter())?;
                self.known("arch", arch, self.arches.iter().map(|a| &a.name))?;
                self.resolve_short(name, build, Some(arch), short)
            }
            [build, arch, subarch, target] => {
                self.known("build", build, self.builds.iter())?;
                self.known("arch", arch, self.arches.iter().map(|a| &a.name))?;
                let subarches = self
                    .arches
                    .iter()
                    .filter(|a| a.name == *arch)
                    .flat_map(|a| a.subarches.iter());
                self.known("subarch", subarch, subarches)?;
                self.known("target", target, self.targets_of(build))?;
                Ok(TargetId {
                    build: (*build).to_owned(),
                    arch_desc: (*arch).to_owned(),
                    subarch: (*subarch).to_owned(),
                    target: (*target).to_owned(),
                })
            }
            _ => Err(NameError::Malformed(clip(name))),
        }
    }

    fn known<'a>(
        &self,
        what: &'static str,
        name: &str,
        mut all: impl Iterator<Item = &'a String> + Clone,
    ) -> Result<(), NameError> {
        let again = all.clone();
        if all.any(|n| n == name) {
            return Ok(());
        }
        Err(NameError::Unknown {
            what,
            name: name.to_owned(),
            nearest: suggestions(name, again.cloned()),
        })
    }

    /// Splits `TARGET-SUBARCH` at the dash that gives the longest known target before a known
    /// subarch.
    fn resolve_short(
        &self,
        whole: &str,
        build: &str,
        arch: Option<&str>,
        short: &str,
    ) -> Result<TargetId, NameError> {
        let arches = || {
            self.arches
                .iter()
                .filter(move |a| arch.is_none_or(|n| a.name == n))
        };
        for (at, _) in short.rmatch_indices('-') {
            let (target, subarch) = (&short[..at], &short[at + 1..]);
            if !self.has_target(build, target) {
                continue;
            }
            let homes: Vec<TargetId> = self
                .homes(subarch)
                .filter(|a| arch.is_none_or(|n| a.name == n))
                .map(|a| TargetId {
                    build: build.to_owned(),
                    arch_desc: a.name.clone(),
                    subarch: subarch.to_owned(),
                    target: target.to_owned(),
                })
                .collect();
            match homes.as_slice() {
                [] => continue,
                [one] => return Ok(one.clone()),
                many => {
                    return Err(NameError::Ambiguous {
                        name: whole.to_owned(),
                        candidates: many.iter().map(TargetId::to_string).collect(),
                    });
                }
            }
        }
        let all = || arches().flat_map(|a| a.subarches.iter());
        if self.has_target(build, short) {
            return Err(NameError::NoSubarch {
                name: whole.to_owned(),
                candidates: all()
                    .take(SUGGESTIONS)
                    .map(|s| format!("{short}-{s}"))
                    .collect(),
            });
        }
        // A known target in front: then it is the subarch that is misspelt, and the other way round.
        let head = short
            .rmatch_indices('-')
            .map(|(at, _)| (&short[..at], &short[at + 1..]))
            .find(|(t, _)| self.has_target(build, t));
        if let Some((target, subarch)) = head {
            return Err(NameError::Unknown {
                what: "subarch",
                name: subarch.to_owned(),
                nearest: suggestions(subarch, all().cloned())
                    .into_iter()
                    .map(|s| format!("{target}-{s}"))
                    .collect(),
            });
        }
        let names = arches().flat_map(|a| {
            a.subarches
                .iter()
                .flat_map(|s| self.targets_of(build).map(move |t| format!("{t}-{s}")))
        });
        Err(NameError::Unknown {
            what: "target",
            name: short.to_owned(),
            nearest: suggestions(short, names),
        })
    }
}

fn clip(name: &str) -> String {
    name.chars().take(64).collect()
}

/// The names spelt most like `name`, best first; none if all are far off.
pub(super) fn suggestions(name: &str, all: impl Iterator<Item = String>) -> Vec<String> {
    nearest_few(name, all.take(MAX_COMPARED), SUGGESTIONS)
}

/// Whether `text` fits `pattern`, in which `*` stands for any run of characters and `?` for one.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut i, mut j) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while j < t.len() {
        if i < p.len() && p[i] == '*' {
            star = Some((i, j));
            i += 1;
        } else if i < p.len() && (p[i] == '?' || p[i] == t[j]) {
            i += 1;
            j += 1;
        } else if let Some((si, sj)) = star {
            // Let the last star swallow one character more and try again.
            star = Some((si, sj + 1));
            i = si + 1;
            j = sj + 1;
        } else {
            return false;
        }
    }
    p[i..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn index() -> Index {
        Index {
            default_build: "seedling".into(),
            builds: words("seedling funtoo-current"),
            arches: vec![
                Arch {
                    name: "x86-64bit".into(),
                    subarches: words("generic_64 corei7 amd64-k8 twin"),
                },
                Arch {
                    name: "pure64".into(),
                    subarches: words("amd64-k8-pure64 k8 twin"),
                },
            ],
            targets: words("stage1 stage3 stage3-freshen stage3-amd64"),
            of_build: [("funtoo-current".to_owned(), words("stage4"))].into(),
            imported: Vec::new(),
            names: Names::default(),
        }
    }

    fn resolve(name: &str) -> String {
        match index().resolve(name) {
            Ok(id) => id.to_string(),
            Err(e) => format!("error: {e}"),
        }
    }

    #[test]
    fn short_names_split_at_the_longest_known_target() {
        assert_eq!(resolve("stage3-corei7"), "seedling/x86-64bit/corei7/stage3");
        assert_eq!(
            resolve("stage3-freshen-corei7"),
            "seedling/x86-64bit/corei7/stage3-freshen"
        );
        assert_eq!(
            resolve("stage3-amd64-k8-pure64"),
            "seedling/pure64/amd64-k8-pure64/stage3"
        );
        // Both `stage3` + `amd64-k8` and `stage3-amd64` + `k8` are known: the longer target wins.
        assert_eq!(
            resolve("stage3-amd64-k8"),
            "seedling/pure64/k8/stage3-amd64"
        );
        assert_eq!(
            resolve("seedling/x86-64bit/stage3-amd64-k8"),
            "seedling/x86-64bit/amd64-k8/stage3"
        );
    }

    #[test]
    fn builds_and_full_names() {
        assert_eq!(
            resolve("funtoo-current/stage1-corei7"),
            "funtoo-current/x86-64bit/corei7/stage1"
        );
        assert_eq!(
            resolve("funtoo-current/pure64/twin/stage3"),
            "funtoo-current/pure64/twin/stage3"
        );
        // A target of one build is none of another.
        assert_eq!(
            resolve("funtoo-current/stage4-corei7"),
            "funtoo-current/x86-64bit/corei7/stage4"
        );
        assert_eq!(
            resolve("stage4-corei7"),
            "error: no target is called `stage4-corei7`; nearest: stage1-corei7 stage3-corei7"
        );
        for id in index().all() {
            assert_eq!(index().resolve(&id.to_string()).as_ref(), Ok(&id));
            let shown = index().display_name(&id);
            assert_eq!(index().resolve(&shown).as_ref(), Ok(&id), "{shown}");
        }
    }

    #[test]
    fn what_is_not_a_target_is_explained() {
        insta::assert_snapshot!(
            [
                "stage3-corei8", "stagge3-corei7", "stage3", "nonsense", "stage3-twin",
                "funtoo-curent/stage3-corei7", "seedling/x86/corei7/stage3",
                "seedling/x86-64bit/corei9/stage3", "seedling/x86-64bit/corei7/stage",
                "a/b/c/d/e", "/stage3-corei7", "",
            ]
            .map(resolve)
            .join("\n"),
            @r"
        error: no subarch is called `corei8`; nearest: stage3-corei7
        error: no target is called `stagge3-corei7`; nearest: stage3-corei7 stage1-corei7
        error: `stage3` does not name a subarch; say one of: stage3-generic_64 stage3-corei7 stage3-amd64-k8 stage3-twin stage3-amd64-k8-pure64
        error: no target is called `nonsense`
        error: `stage3-twin` is ambiguous; say one of: seedling/x86-64bit/twin/stage3 seedling/pure64/twin/stage3
        error: no build is called `funtoo-curent`; nearest: funtoo-current
        error: no arch is called `x86`
        error: no subarch is called `corei9`; nearest: corei7
        error: no target is called `stage`; nearest: stage1 stage3
        error: `a/b/c/d/e` is not the name of a target; forms are TARGET-SUBARCH, BUILD/TARGET-SUBARCH, BUILD/ARCH/TARGET-SUBARCH and BUILD/ARCH/SUBARCH/TARGET
        error: `/stage3-corei7` is not the name of a target; forms are TARGET-SUBARCH, BUILD/TARGET-SUBARCH, BUILD/ARCH/TARGET-SUBARCH and BUILD/ARCH/SUBARCH/TARGET
        error: `` is not the name of a target; forms are TARGET-SUBARCH, BUILD/TARGET-SUBARCH, BUILD/ARCH/TARGET-SUBARCH and BUILD/ARCH/SUBARCH/TARGET
        "
        );
    }

    #[test]
    fn patterns_expand_in_order() {
        let names = |p: &str| -> Vec<String> {
            index()
                .expand(p)
                .map(|v| v.iter().map(|id| index().display_name(id)).collect())
                .unwrap_or_else(|e| vec![e.to_string()])
        };
        assert_eq!(
            names("stage1-*core*"),
            ["stage1-corei7"],
            "default build only"
        );
        assert_eq!(names("*/stage?-corei7").len(), 5);
        assert_eq!(names("*/*/*/stage1").len(), 14);
        assert_eq!(names("x*"), ["no target fits the pattern `x*`"]);
    }

    #[test]
    fn globs() {
        for (p, t, want) in [
            ("*", "", true),
            ("a*b*c", "aXXbYYc", true),
            ("a*b", "abab", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "a", false),
            ("*a", "bbbb", false),
        ] {
            assert_eq!(glob(p, t), want, "{p} {t}");
        }
    }
}
