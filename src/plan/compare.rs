//! What differs between two derivations, field by field.

use std::collections::BTreeSet;
use std::fmt;

use mstore_store::TreeHash;
use serde::{Serialize, Serializer};

use super::line_diff::{LineChange, line_diff};
use crate::drv::derivation::{Derivation, Network, Output, Role};
use crate::drv::tree_diff::TreeChanges;

/// Why a step is not what it was, or has to be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Reason {
    /// Nothing was ever built under its name.
    NeverBuilt,
    /// It is what it was when last built, but the store no longer knows the result.
    Forgotten,
    /// The store knows its result, but the content was collected and a later step starts from it.
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
        /// The tree before.
        #[serde(serialize_with = "hash_text")]
        old: TreeHash,
        /// The tree now.
        #[serde(serialize_with = "hash_text")]
        new: TreeHash,
        /// The paths that differ, if both trees are at hand.
        changes: Option<TreeChanges>,
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

impl fmt::Display for Reason {
    /// Writes one headline, and lines indented by two blanks for details.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NeverBuilt => f.write_str("never built"),
            Reason::Forgotten => f.write_str("unchanged, but the store has forgotten its result"),
            Reason::Collected => {
                f.write_str("unchanged, but its tree was collected and a later step needs it")
            }
            Reason::Waits { on } => write!(f, "starts from {on}, which has to be built first"),
            Reason::Unpinned { role, name } => {
                write!(f, "the {role} `{name}` is not in the lock file")
            }
            Reason::Script { phase, diff } => {
                write!(f, "the script of `{phase}` changed")?;
                diff.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
            Reason::Env { name, old, new } => match (old, new) {
                (Some(old), Some(new)) => {
                    write!(f, "env/{name} changed\n  - {old}\n  + {new}")
                }
                (None, Some(new)) => write!(f, "env/{name} is new\n  + {new}"),
                (Some(old), None) => write!(f, "env/{name} is gone\n  - {old}"),
                (None, None) => write!(f, "env/{name}"),
            },
            Reason::Tree {
                role,
                old,
                new,
                changes,
            } => {
                write!(f, "the {role} changed: {old:.12} -> {new:.12}")?;
                let Some(changes) = changes else {
                    return Ok(());
                };
                for path in &changes.paths {
                    write!(f, "\n  {path}")?;
                }
                if changes.more {
                    f.write_str("\n  ... and more")?;
                }
                Ok(())
            }
            Reason::Upstream { role, from } => {
                write!(f, "the {role} it starts from changed: {from}")
            }
            Reason::Field { field, old, new } => {
                write!(f, "{field} changed\n  - {old}\n  + {new}")
            }
        }
    }
}

/// All differences but those of the inputs' trees. Labels (names of build, subarch and so on) are not
/// compared: they decide nothing.
pub(super) fn compare(old: &Derivation, new: &Derivation) -> Vec<Reason> {
    let mut found = Vec::new();
    scripts(old, new, &mut found);
    let (a, b) = (&old.env.0, &new.env.0);
    for name in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
        if a.get(name) != b.get(name) {
            found.push(Reason::Env {
                name: name.clone(),
                old: a.get(name).cloned(),
                new: b.get(name).cloned(),
            });
        }
    }
    let inputs = |d: &Derivation| -> String {
        let all: Vec<String> = d
            .inputs
            .iter()
            .map(|i| format!("{} at {}", i.role, i.at))
            .collect();
        all.join(", ")
    };
    let network = |d: &Derivation| match d.policy.network {
        Network::None => "none".to_owned(),
    };
    let output = |d: &Derivation| match d.output {
        Output::Captured => "a new tree".to_owned(),
        Output::Input => "none, a test".to_owned(),
    };
    let fields: [(&'static str, String, String); 7] = [
        ("inputs", inputs(old), inputs(new)),
        ("platform", old.platform.clone(), new.platform.clone()),
        ("portage/ROOT", old.root.clone(), new.root.clone()),
        ("output", output(old), output(new)),
        ("policy/network", network(old), network(new)),
        ("sandbox", old.sandbox.clone(), new.sandbox.clone()),
        (
            "SOURCE_DATE_EPOCH",
            old.epoch.to_string(),
            new.epoch.to_string(),
        ),
    ];
    for (field, old, new) in fields {
        if old != new {
            found.push(Reason::Field { field, old, new });
        }
    }
    found
}

fn scripts(old: &Derivation, new: &Derivation, found: &mut Vec<Reason>) {
    if old.phases == new.phases {
        return;
    }
    let names =
        |d: &Derivation| -> Vec<String> { d.phases.iter().map(|p| p.name.clone()).collect() };
    if names(old) != names(new) {
        found.push(Reason::Field {
            field: "steps",
            old: names(old).join(" "),
            new: names(new).join(" "),
        });
        return;
    }
    for (a, b) in old.phases.iter().zip(&new.phases) {
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
    use crate::drv::derivation::tests::sample;

    #[test]
    fn every_part_of_the_key_is_explained() {
        let old = sample();
        let mut new = old.clone();
        new.phases[0].script = "make\nmake install\n".into();
        new.env.0.insert("CFLAGS".into(), "-O3".into());
        new.env.0.insert("LDFLAGS".into(), "-s".into());
        new.platform = "aarch64".into();
        new.root = "/tmp/root".into();
        new.output = Output::Input;
        new.sandbox = "chroot/2".into();
        new.epoch = 1;
        new.inputs.pop();
        new.name = "renamed:run".parse().unwrap();
        let text: Vec<String> = compare(&old, &new)
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
        assert!(compare(&old, &old).is_empty());
    }
}
