//! Reasons: the differences between two derivations, part by part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mstore_store::TreeHash;
use serde::{Serialize, Serializer};

use super::line_diff::{LineChange, line_diff};
use crate::drv::FactsError;
use crate::drv::derivation::{Derivation, Env, Input, Phase, Role};
use crate::drv::parts::{Field, Part, PartInput, Parts};
use crate::drv::tree_diff::TreeChanges;

/// Why a step is not what it was, or has to be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Reason {
    /// Nothing was ever built under its name.
    NeverBuilt,
    /// It is what it was when last built, but the store no longer knows the result.
    Forgotten,
    /// The store knows its result, but does not have the content, and a later step starts from it.
    Collected,
    /// What it starts from has to be built first, so that its key is not known yet.
    Waits {
        /// The step it waits for.
        on: String,
    },
    /// The lock file does not pin one of its inputs.
    Unpinned {
        /// What the input is for.
        role: Role,
        /// The name that is not pinned.
        name: String,
    },
    /// A script reads differently.
    Script {
        /// The step it is of.
        phase: String,
        /// The lines that differ.
        diff: Vec<LineChange>,
    },
    /// An environment variable has another value.
    Env {
        /// The variable.
        name: String,
        /// Its value before, if it was set.
        old: Option<String>,
        /// Its value now, if it is set.
        new: Option<String>,
    },
    /// An input is another tree.
    Tree {
        /// What the input is for.
        role: Role,
        /// Whose it is, of layers.
        #[serde(skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
        /// The tree before.
        #[serde(serialize_with = "hash_text")]
        old: TreeHash,
        /// The tree now.
        #[serde(serialize_with = "hash_text")]
        new: TreeHash,
        /// The paths that differ, if both trees are at hand.
        changes: Option<TreeChanges>,
    },
    /// A layer is laid into the root that was not, or one is not that was.
    Layer {
        /// Whose it is.
        owner: String,
        /// Whether it is there now.
        is_there: bool,
    },
    /// The input comes from another step, or from a step that changed.
    Upstream {
        /// What the input is for.
        role: Role,
        /// The step it comes from now.
        from: String,
    },
    /// Some other field differs.
    Field {
        /// The field.
        field: &'static str,
        /// Its value before.
        old: String,
        /// Its value now.
        new: String,
    },
}

/// Writes a hash as text, the form for people and for JSON.
pub(super) fn hash_text<T: fmt::Display, S: Serializer>(
    hash: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(hash)
}

impl Reason {
    /// What happened, in one line.
    pub fn headline(&self) -> String {
        match self {
            Reason::NeverBuilt => "never built".to_owned(),
            Reason::Forgotten => "unchanged, but the store has forgotten its result".to_owned(),
            Reason::Collected => {
                "unchanged, but its tree is not in this store and a later step needs it".to_owned()
            }
            Reason::Waits { on } => format!("starts from {on}, which has to be built first"),
            Reason::Unpinned { role, name } => {
                format!("the {role} `{name}` is not in the lock file")
            }
            Reason::Script { phase, .. } => format!("the script of `{phase}` changed"),
            Reason::Env { name, old, new } => match (old, new) {
                (Some(_), Some(_)) => format!("env/{name} changed"),
                (None, Some(_)) => format!("env/{name} is new"),
                (Some(_), None) => format!("env/{name} is gone"),
                (None, None) => format!("env/{name}"),
            },
            Reason::Tree {
                role,
                owner,
                old,
                new,
                ..
            } => {
                let owner = owner.as_ref().map(|owner| format!(" {owner}"));
                let owner = owner.unwrap_or_default();
                format!("the {role}{owner} changed: {old:.12} -> {new:.12}")
            }
            Reason::Layer { owner, is_there } => match is_there {
                true => format!("the layer {owner} is new"),
                false => format!("the layer {owner} is gone"),
            },
            Reason::Upstream { role, from } => {
                format!("the {role} it starts from changed: {from}")
            }
            Reason::Field { field, .. } => format!("{field} changed"),
        }
    }

    /// What exactly differs, as the lines of a `diff` block.
    pub fn details(&self) -> Vec<String> {
        let gone = |text: &String| format!("- {text}");
        let come = |text: &String| format!("+ {text}");
        match self {
            Reason::NeverBuilt
            | Reason::Forgotten
            | Reason::Collected
            | Reason::Waits { .. }
            | Reason::Unpinned { .. }
            | Reason::Layer { .. }
            | Reason::Upstream { .. } => Vec::new(),
            Reason::Script { diff, .. } => diff.iter().map(ToString::to_string).collect(),
            Reason::Env { old, new, .. } => {
                let old = old.iter().map(gone);
                old.chain(new.iter().map(come)).collect()
            }
            Reason::Field { old, new, .. } => vec![gone(old), come(new)],
            Reason::Tree { changes, .. } => {
                let Some(changes) = changes else {
                    return Vec::new();
                };
                let paths = changes.paths.iter().map(ToString::to_string);
                let more = changes.more.then(|| "... and more".to_owned());
                paths.chain(more).collect()
            }
        }
    }
}

impl fmt::Display for Reason {
    /// Writes the headline, and the details indented by two blanks below it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        self.details()
            .iter()
            .try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// What differs between two derivations.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Of the step itself.
    pub(super) own: Vec<Reason>,
    /// Of the trees that it starts from.
    pub(super) inputs: Vec<Reason>,
}

impl Compared {
    /// All reasons, those of the step itself first.
    pub(super) fn into_reasons(self) -> Vec<Reason> {
        let mut all = self.own;
        all.extend(self.inputs);
        all
    }
}

/// Two inputs for the same thing at the same place.
pub(super) struct InputPair<'a> {
    /// Which of the inputs it was.
    pub(super) was: usize,
    /// Which of the inputs it is.
    pub(super) at: usize,
    /// As it was.
    pub(super) old: &'a Input,
    /// As it is.
    pub(super) new: &'a Input,
}

/// Compares all parts that decide the key. Where two inputs are for the same thing, `input` adds the
/// reasons: only the caller knows which trees they are.
pub(super) fn compare(
    old: &Derivation,
    new: &Derivation,
    mut input: impl FnMut(InputPair<'_>, &mut Vec<Reason>) -> Result<(), FactsError>,
) -> Result<Compared, FactsError> {
    let mut found = Compared::default();
    each_part(old, new, |field, a, b, pairs| {
        for pair in pairs {
            input(pair, &mut found.inputs)?;
        }
        part(field, a, b, &mut found.own);
        Ok(())
    })?;
    Ok(found)
}

/// In how many things two derivations differ: variables, scripts, inputs and other fields that decide the key. Of
/// inputs that are for the same thing `same` tells whether they are the same. The walk is that of [`compare`].
pub(super) fn distance(
    old: &Derivation,
    new: &Derivation,
    same: impl Fn(&InputPair<'_>) -> bool,
) -> usize {
    let mut differs = 0;
    let walked: Result<(), std::convert::Infallible> = each_part(old, new, |_, a, b, pairs| {
        differs += pairs.iter().filter(|pair| !same(pair)).count();
        differs += match (a, b) {
            (Part::Env(Env(a)), Part::Env(Env(b))) => {
                let either = a
                    .keys()
                    .chain(b.keys().filter(|name| !a.contains_key(*name)));
                either.filter(|name| a.get(*name) != b.get(*name)).count()
            }
            (Part::Phases(a), Part::Phases(b)) if names(a).eq(names(b)) => a
                .iter()
                .zip(*b)
                .filter(|(a, b)| a.script != b.script)
                .count(),
            (a, b) => usize::from(a.to_string() != b.to_string()),
        };
        Ok(())
    });
    let Ok(()) = walked;
    differs
}

type InputPart<'a> = Part<'a, &'a Input>;

/// Walks over the parts of two derivations, each with the pairs of inputs in it that are for the same thing.
fn each_part<'a, E>(
    old: &'a Derivation,
    new: &'a Derivation,
    mut visit: impl FnMut(Field, &InputPart<'a>, &InputPart<'a>, Vec<InputPair<'a>>) -> Result<(), E>,
) -> Result<(), E> {
    let parts = |drv: &'a Derivation| Parts::of(drv, drv.inputs.iter());
    parts(old).each(&parts(new), |field, a, b| {
        let mut pairs = Vec::new();
        if let (Part::Inputs(a), Part::Inputs(b)) = (a, b) {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                if (a.role, a.at) == (b.role, b.at) && a.role != Role::Layer {
                    pairs.push(InputPair {
                        was: at,
                        at,
                        old: a.tree,
                        new: b.tree,
                    });
                }
            }
            pairs.extend(layer_pairs(a, b));
        }
        visit(field, a, b, pairs)
    })
}

/// The layers of one owner, in their order: each with its place among the inputs.
fn layers<'a>(inputs: &[PartInput<'a, &'a Input>]) -> BTreeMap<&'a str, Vec<(usize, &'a Input)>> {
    let mut layers: BTreeMap<&str, Vec<(usize, &Input)>> = BTreeMap::new();
    for (at, input) in inputs.iter().enumerate() {
        if input.role == Role::Layer {
            let owner = input.tree.owner.as_deref().unwrap_or_default();
            layers.entry(owner).or_default().push((at, input.tree));
        }
    }
    layers
}

/// The layers that both have, wherever they stand.
fn layer_pairs<'a>(
    old: &[PartInput<'a, &'a Input>],
    new: &[PartInput<'a, &'a Input>],
) -> Vec<InputPair<'a>> {
    let (old, new) = (layers(old), layers(new));
    let both = old
        .iter()
        .filter_map(|(owner, was)| Some((was, new.get(owner)?)));
    let pairs = both.flat_map(|(was, is)| was.iter().zip(is));
    pairs
        .map(|(&(was, old), &(at, new))| InputPair { was, at, old, new })
        .collect()
}

/// Tells of layers that only one of two has; returns whether there are any.
fn other_layers(
    old: &[PartInput<'_, &Input>],
    new: &[PartInput<'_, &Input>],
    found: &mut Vec<Reason>,
) -> bool {
    let (old, new) = (layers(old), layers(new));
    let before = found.len();
    for owner in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let is_there = new.contains_key(owner);
        if old.contains_key(owner) != is_there {
            found.push(Reason::Layer {
                owner: (*owner).to_owned(),
                is_there,
            });
        }
    }
    found.len() > before
}

/// Compares one part.
fn part(field: Field, old: &InputPart<'_>, new: &InputPart<'_>, found: &mut Vec<Reason>) {
    match (old, new) {
        (Part::Env(old), Part::Env(new)) => env(old, new, found),
        (Part::Phases(old), Part::Phases(new)) if names(old).eq(names(new)) => {
            scripts(old, new, found);
        }
        _ => {
            if let (Part::Inputs(old), Part::Inputs(new)) = (old, new)
                && other_layers(old, new, found)
            {
                return;
            }
            let (old, new) = (old.to_string(), new.to_string());
            if old != new {
                let field = field.label();
                found.push(Reason::Field { field, old, new });
            }
        }
    }
}

fn env(Env(old): &Env, Env(new): &Env, found: &mut Vec<Reason>) {
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        if old.get(name) != new.get(name) {
            found.push(Reason::Env {
                name: name.clone(),
                old: old.get(name).cloned(),
                new: new.get(name).cloned(),
            });
        }
    }
}

fn names(phases: &[Phase]) -> impl Iterator<Item = &str> {
    phases.iter().map(|phase| phase.name.as_str())
}

/// Compares scripts of the same names.
fn scripts(old: &[Phase], new: &[Phase], found: &mut Vec<Reason>) {
    for (a, b) in old.iter().zip(new) {
        if a.script != b.script {
            found.push(Reason::Script {
                phase: b.name.clone(),
                diff: line_diff(&a.script, &b.script),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drv::derivation::Output;
    use crate::drv::derivation::tests::sample;

    /// What differs but for trees of inputs.
    fn differences(old: &Derivation, new: &Derivation) -> Vec<Reason> {
        compare(old, new, |_, _| Ok(())).unwrap().into_reasons()
    }

    #[test]
    fn layers_are_told_apart_by_their_owners() {
        let layer = |owner: &str| Input {
            at: "/".to_owned(),
            role: Role::Layer,
            owner: Some(owner.to_owned()),
            source: sample().inputs[0].source.clone(),
        };
        let with = |owners: &[&str]| {
            let mut drv = sample();
            drv.inputs.extend(owners.iter().map(|owner| layer(owner)));
            drv
        };
        let headlines = |old: &[&str], new: &[&str]| -> Vec<String> {
            let found = differences(&with(old), &with(new));
            found.iter().map(Reason::headline).collect()
        };
        assert_eq!(headlines(&["a", "b"], &["a", "b"]), Vec::<String>::new());
        let told = headlines(&["a", "b", "c"], &["b", "c", "d"]);
        assert_eq!(told, ["the layer a is gone", "the layer d is new"]);
        // One more of an owner that was there is told of as well.
        assert_eq!(headlines(&["a"], &["a", "a"]).len(), 1);
        // Pairs are of one owner, wherever they stand.
        let (old, new) = (with(&["a", "b", "b"]), with(&["b", "b", "c"]));
        let mut pairs = Vec::new();
        compare(&old, &new, |pair, _| {
            pairs.push((pair.was, pair.at));
            Ok(())
        })
        .unwrap();
        assert_eq!(pairs, [(0, 0), (1, 1), (3, 2), (4, 3)]);
    }

    #[test]
    fn every_part_of_the_key_is_explained() {
        let old = sample();
        let mut new = old.clone();
        new.phases[0].script = "make\nmake install\n".into();
        let env = std::sync::Arc::make_mut(&mut new.env.0);
        env.insert("CFLAGS".into(), "-O3".into());
        env.insert("LDFLAGS".into(), "-s".into());
        new.platform = "aarch64".into();
        new.root = "/tmp/root".into();
        new.output = Output::Input;
        new.sandbox = "chroot/2".into();
        new.epoch = 1;
        new.inputs.pop();
        new.name = "renamed:run".parse().unwrap();
        let text: Vec<String> = differences(&old, &new)
            .iter()
            .map(ToString::to_string)
            .collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        the script of `run` changed
            make
          + make install
        env/CFLAGS changed
          - -O2
          + -O3
        env/LDFLAGS is new
          + -s
        inputs changed
          - root at /, snapshot at /mstore/snapshot
          + root at /
        platform changed
          - x86_64
          + aarch64
        portage/ROOT changed
          - /
          + /tmp/root
        output changed
          - a new tree
          + none, a test
        sandbox changed
          - chroot/1
          + chroot/2
        SOURCE_DATE_EPOCH changed
          - 315532800
          + 1
        ");
        assert!(differences(&old, &old).is_empty());
        // The same walk counts them.
        let count = |old, new| distance(old, new, |_| true);
        assert_eq!(count(&old, &new), text.len());
        assert_eq!(count(&new, &old), text.len());
        assert_eq!(count(&old, &old), 0);
        let inputs = old.inputs.len();
        assert_eq!(distance(&old, &old, |_| false), inputs);
    }
}
