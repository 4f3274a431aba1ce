//! The packages of two plans side by side: what came, what went, what is of another version or has other USE flags.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::version;
use crate::plan::{Graph, PackageId, Target};

/// A package that is of another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// What people name it by.
    pub package: String,
    /// Its version before.
    pub old: String,
    /// Its version now.
    pub new: String,
}

/// A package that has other USE flags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flags {
    /// What people name it by.
    pub package: String,
    /// Flags that are on now.
    pub on: Vec<String>,
    /// Flags that are off now.
    pub off: Vec<String>,
}

/// What differs between the packages of two plans of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PackagesDiff {
    /// The target.
    pub target: String,
    /// Whether the packages of both plans are known.
    pub known: bool,
    /// Packages that only the new plan has.
    pub added: Vec<String>,
    /// Packages that only the old plan has.
    pub removed: Vec<String>,
    /// Packages with a later version.
    pub up: Vec<Moved>,
    /// Packages with an earlier version.
    pub down: Vec<Moved>,
    /// Packages with other USE flags.
    #[serde(rename = "use")]
    pub flags: Vec<Flags>,
}

impl PackagesDiff {
    /// Compares the packages of a target as two plans have it.
    pub fn of((old, was): (&Graph, &Target), (new, is): (&Graph, &Target)) -> Self {
        let mut found = PackagesDiff {
            target: is.name.clone(),
            known: is_known(old, was) && is_known(new, is),
            ..PackagesDiff::default()
        };
        if !found.known {
            return found;
        }
        let (was, is) = (by_slot(old, was), by_slot(new, is));
        for (slot, old) in &was {
            let Some(new) = is.get(slot) else {
                found.removed.push(old.to_string());
                continue;
            };
            let moved = || Moved {
                package: new.word(),
                old: old.version.clone(),
                new: new.version.clone(),
            };
            match version::compare(&old.version, &new.version) {
                Ordering::Less => found.up.push(moved()),
                Ordering::Greater => found.down.push(moved()),
                Ordering::Equal => {}
            }
            if old.use_flags != new.use_flags {
                let set =
                    |id: &PackageId| -> BTreeSet<String> { id.use_flags.iter().cloned().collect() };
                let (was, is) = (set(old), set(new));
                found.flags.push(Flags {
                    package: new.word(),
                    on: is.difference(&was).cloned().collect(),
                    off: was.difference(&is).cloned().collect(),
                });
            }
        }
        let added = is.iter().filter(|(slot, _)| !was.contains_key(*slot));
        found.added = added.map(|(_, package)| package.to_string()).collect();
        found
    }

    /// Whether nothing differs that is known.
    pub fn is_empty(&self) -> bool {
        let PackagesDiff {
            target: _,
            known,
            added,
            removed,
            up,
            down,
            flags,
        } = self;
        *known
            && [added, removed].iter().all(|list| list.is_empty())
            && [up, down].iter().all(|list| list.is_empty())
            && flags.is_empty()
    }
}

fn is_known(graph: &Graph, target: &Target) -> bool {
    let stand = graph.standing_of(target);
    stand.is_some_and(|at| !graph.nodes()[at].is_open())
}

/// The packages of a target by what is the same in another plan.
fn by_slot<'g>(
    graph: &'g Graph,
    target: &'g Target,
) -> BTreeMap<(bool, &'g str, &'g str), &'g PackageId> {
    let packages = graph.packages_of(target);
    packages
        .map(|(_, id)| ((id.is_tool, id.name.as_str(), id.slot.as_str()), id))
        .collect()
}

impl fmt::Display for PackagesDiff {
    /// Writes a line with the counts, and one for each package below it, indented by two blanks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PackagesDiff { target, .. } = self;
        if !self.known {
            return write!(
                f,
                "packages of {target}: not known before resolve has run for both plans"
            );
        }
        write!(
            f,
            "packages of {target}: {} added, {} removed, {} up, {} down, {} with other USE flags",
            self.added.len(),
            self.removed.len(),
            self.up.len(),
            self.down.len(),
            self.flags.len()
        )?;
        let line = |f: &mut fmt::Formatter<'_>, mark: char, text: &dyn fmt::Display| {
            write!(f, "\n  {mark} {text}")
        };
        for package in &self.added {
            line(f, '+', package)?;
        }
        for package in &self.removed {
            line(f, '-', package)?;
        }
        for (mark, list) in [('>', &self.up), ('<', &self.down)] {
            for Moved { package, old, new } in list {
                line(f, mark, &format_args!("{package}: {old} → {new}"))?;
            }
        }
        for Flags { package, on, off } in &self.flags {
            let on = on.iter().map(|flag| format!(" +{flag}"));
            let off = off.iter().map(|flag| format!(" -{flag}"));
            let flags: String = on.chain(off).collect();
            line(f, '~', &format_args!("{package}: USE{flags}"))?;
        }
        Ok(())
    }
}
