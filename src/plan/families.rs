//! Families: targets and steps of one class and build, to be told of in one word where they are many.

use std::collections::{BTreeSet, HashMap};

use super::name::{Index, TargetId};

/// Targets of one class and build among some that are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// A pattern for all targets of the class, such as `stage3-*`.
    pub pattern: String,
    /// Its members among those that are told of, in their order.
    pub members: Vec<TargetId>,
    /// How many targets the pattern stands for.
    pub of: usize,
    /// The steps that are told of, in their order; none where targets are.
    pub steps: Vec<String>,
}

impl Family {
    /// Whether all that the pattern stands for are told of.
    pub fn is_whole(&self) -> bool {
        self.members.len() == self.of
    }
}

impl Index {
    /// Puts targets together that are of one class and build, in the order in which their first members come.
    pub fn families<'a>(&self, targets: impl IntoIterator<Item = &'a TargetId>) -> Vec<Family> {
        let none: [&str; 0] = [];
        self.step_families(targets.into_iter().map(|id| (id, none)))
    }

    /// Puts steps of targets together. In one family all members have the same steps.
    pub fn step_families<'a, S>(
        &self,
        steps: impl IntoIterator<Item = (&'a TargetId, S)>,
    ) -> Vec<Family>
    where
        S: IntoIterator<Item = &'a str>,
    {
        let mut of_target: HashMap<&TargetId, usize> = HashMap::new();
        let mut targets: Vec<(&TargetId, Vec<&str>)> = Vec::new();
        for (id, steps) in steps {
            let at = *of_target.entry(id).or_insert_with(|| {
                targets.push((id, Vec::new()));
                targets.len() - 1
            });
            targets[at].1.extend(steps);
        }
        let mut at: HashMap<(&str, &str, Vec<&str>), usize> = HashMap::new();
        let mut found: Vec<Family> = Vec::new();
        for (id, steps) in targets {
            let kind = (id.build.as_str(), id.target.as_str(), steps);
            let number = match at.get(&kind) {
                Some(number) => *number,
                None => {
                    let steps = kind.2.iter().map(|step| (*step).to_owned());
                    found.push(Family {
                        pattern: self.pattern_of(id),
                        members: Vec::new(),
                        of: self.subarches().len(),
                        steps: steps.collect(),
                    });
                    at.insert(kind, found.len() - 1);
                    found.len() - 1
                }
            };
            found[number].members.push(id.clone());
        }
        found
    }

    /// The shortest pattern that stands for all targets of the class and the build of `id`, and for no others.
    fn pattern_of(&self, id: &TargetId) -> String {
        let begin = format!("{}-", id.target);
        let mut others = self.targets_of(&id.build);
        // `stage3-*` fits `stage3-quick-corei7` as well.
        if others.any(|other| other.starts_with(&begin)) {
            return format!("{}/*/*/{}", id.build, id.target);
        }
        match id.build == self.default_build {
            true => format!("{begin}*"),
            false => format!("{}/{begin}*", id.build),
        }
    }

    /// Every architecture with every subarch of it, each pair once.
    fn subarches(&self) -> BTreeSet<(&str, &str)> {
        let arches = self.arches.iter();
        let pairs = arches.flat_map(|arch| {
            let name = arch.name.as_str();
            arch.subarches.iter().map(move |sub| (name, sub.as_str()))
        });
        pairs.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::Arch;
    use super::*;

    fn index() -> Index {
        let arch = |name: &str, subarches: &[&str]| Arch {
            name: name.to_owned(),
            subarches: subarches.iter().map(|s| (*s).to_owned()).collect(),
        };
        Index {
            default_build: "one".to_owned(),
            builds: vec!["one".to_owned(), "two".to_owned()],
            arches: vec![arch("x", &["a", "b"]), arch("y", &["c"])],
            targets: ["low", "high", "high-up"].map(str::to_owned).into(),
            ..Index::default()
        }
    }

    #[test]
    fn a_pattern_stands_for_all_of_a_class_and_for_no_others() {
        let index = index();
        let all: Vec<TargetId> = index.all().collect();
        let families = index.families(&all);
        let patterns: Vec<&str> = families.iter().map(|f| f.pattern.as_str()).collect();
        assert_eq!(
            patterns,
            [
                "low-*",
                "one/*/*/high",
                "high-up-*",
                "two/low-*",
                "two/*/*/high",
                "two/high-up-*"
            ]
        );
        for family in &families {
            assert!(family.is_whole(), "{family:?}");
            assert_eq!(index.expand(&family.pattern).unwrap(), family.members);
        }
        let fewer = index.families(&all[1..]);
        let low = fewer.iter().find(|family| family.pattern == "low-*");
        assert!(low.is_some_and(|low| !low.is_whole()));
    }

    #[test]
    fn members_of_a_family_have_the_same_steps() {
        let index = index();
        let low: Vec<TargetId> = index.expand("low-*").unwrap();
        let steps = [
            (&low[0], ["run"]),
            (&low[1], ["run"]),
            (&low[0], ["clean"]),
            (&low[2], ["run"]),
            (&low[2], ["clean"]),
        ];
        let told: Vec<(usize, usize, String)> = index
            .step_families(steps)
            .iter()
            .map(|f| (f.members.len(), f.of, f.steps.join(" ")))
            .collect();
        assert_eq!(
            told,
            [(2, 3, "run clean".to_owned()), (1, 3, "run".to_owned())]
        );
    }
}
