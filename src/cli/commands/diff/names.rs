//! Names of steps and targets in a comparison, in few words where they are many.

use crate::cli::output::plural;
use crate::drv::StepName;
use crate::plan::diff::{Fate, Group};
use crate::plan::{Family, Index, TargetId};

/// Names that are all written out.
const FEW: usize = 6;
/// Families that are written out.
const FAMILIES: usize = 8;
/// Steps of a family that are written out.
const STEPS: usize = 4;

/// What names stand for, before and after.
pub(super) struct Names<'a> {
    pub(super) old: &'a Index,
    pub(super) new: &'a Index,
    /// How a name is written.
    pub(super) quote: fn(&str) -> String,
}

impl Names<'_> {
    /// The steps of a group, in one or several parts.
    pub(super) fn steps(&self, group: &Group<'_>) -> Vec<String> {
        let index = match group.fate() {
            Fate::Removed => self.old,
            _ => self.new,
        };
        let names: Vec<&str> = group.nodes.iter().map(|node| node.name.as_str()).collect();
        if is_few(group) {
            return vec![self.all(&names)];
        }
        let mut steps: Vec<(TargetId, String)> = Vec::new();
        let mut others: Vec<&str> = Vec::new();
        for node in &group.nodes {
            let name: Option<StepName> = node.name.parse().ok();
            match name.map(|name| (index.resolve(name.target()), name)) {
                Some((Ok(id), name)) => steps.push((id, name.step().to_owned())),
                _ => others.push(&node.name),
            }
        }
        let steps = steps.iter().map(|(id, step)| (id, [step.as_str()]));
        self.families(index, index.step_families(steps), &others)
    }

    /// Targets of the new plan, in one or several parts.
    pub(super) fn targets(&self, names: &[String]) -> Vec<String> {
        self.of(self.new, names)
    }

    /// Targets that only the old plan has, in one or several parts.
    pub(super) fn old_targets(&self, names: &[String]) -> Vec<String> {
        self.of(self.old, names)
    }

    fn of(&self, index: &Index, names: &[String]) -> Vec<String> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.len() <= FEW {
            return vec![self.all(&names)];
        }
        let (mut ids, mut others) = (Vec::new(), Vec::new());
        for name in names {
            match index.resolve(name) {
                Ok(id) => ids.push(id),
                Err(_) => others.push(name),
            }
        }
        self.families(index, index.families(&ids), &others)
    }

    fn all(&self, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (self.quote)(name)).collect();
        names.join(" ")
    }

    fn families(&self, index: &Index, families: Vec<Family>, others: &[&str]) -> Vec<String> {
        let mut parts: Vec<String> = families.iter().map(|f| self.family(index, f)).collect();
        if !others.is_empty() {
            let shown = &others[..others.len().min(FEW)];
            let mut part = self.all(shown);
            if others.len() > FEW {
                part.push_str(&format!(" and {} more", others.len() - FEW));
            }
            parts.push(part);
        }
        if parts.len() > FAMILIES {
            let more = parts.split_off(FAMILIES - 1).len();
            parts.push(format!("and {more} more kinds of targets"));
        }
        parts
    }

    fn family(&self, index: &Index, family: &Family) -> String {
        let (members, of) = (family.members.len(), family.of);
        let end = match family.steps.as_slice() {
            [one] => format!(":{one}"),
            _ => String::new(),
        };
        let named = |name: &str| (self.quote)(&format!("{name}{end}"));
        let few = family.members.iter().take(FEW / 2);
        let few: Vec<String> = few.map(|id| named(&index.display_name(id))).collect();
        let mut text = match (members, family.is_whole()) {
            (2.., true) => format!("all {members} {}", named(&family.pattern)),
            _ if members <= few.len() => few.join(" "),
            _ => format!(
                "{members} of {of} {}, such as {}",
                named(&family.pattern),
                few[0]
            ),
        };
        match family.steps.len() {
            0 | 1 => {}
            2..=STEPS => text.push_str(&format!(" ({})", family.steps.join(" "))),
            n => text.push_str(&format!(" ({n} steps each)")),
        }
        text
    }
}

/// Whether all steps of a group are named.
pub(super) fn is_few(group: &Group<'_>) -> bool {
    group.nodes.len() <= FEW
}

/// A number of steps or targets.
pub(super) fn count(n: usize, word: &str) -> String {
    format!("{n} {}", plural(n, word))
}

/// Says of how many kinds the example is that follows; nothing if it is all there is to say.
pub(super) fn ways(group: &Group<'_>, quote: fn(&str) -> String) -> Option<String> {
    let first = quote(&group.nodes[0].name);
    (group.ways > 1).then(|| format!("in {} ways; that of {first}:", group.ways))
}
