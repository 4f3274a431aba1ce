//! How many ports needed each port the last time: the most needed are walked first, so that what many wait for is
//! built early.
//!
//! The text form is a line a port, `CATEGORY/NAME COUNT`, sorted by path.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::chain::Chain;
use super::pkgpath::{PkgPath, PortPath};

/// Most lines that are read.
const MOST_LINES: usize = 200_000;

/// How many ports need each port, by itself or through others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<PortPath, usize>);

impl Counts {
    /// Counts over the chains of a walk.
    pub fn of<'c>(chains: impl Iterator<Item = &'c Chain>) -> Counts {
        let mut counts: BTreeMap<PortPath, usize> = BTreeMap::new();
        // Of each port, by its pkgpath, all that it needs. A walk tells of a port after those.
        let mut below: HashMap<String, BTreeSet<String>> = HashMap::new();
        let mut paths: HashMap<String, PortPath> = HashMap::new();
        for chain in chains {
            let mut all = BTreeSet::new();
            for need in &chain.needs {
                all.extend(below.get(need).into_iter().flatten().cloned());
                all.insert(need.clone());
            }
            for need in &all {
                if let Some(path) = paths.get(need) {
                    *counts.entry(path.clone()).or_default() += 1;
                }
            }
            let id = chain.port.id.to_string();
            paths.insert(id.clone(), chain.port.id.path.clone());
            below.insert(id, all);
        }
        Counts(counts)
    }

    /// How many ports need one.
    pub fn get(&self, path: &PortPath) -> usize {
        self.0.get(path).copied().unwrap_or(0)
    }

    /// Sorts pkgpaths so that the most needed come first; those needed alike stay in their order.
    pub fn sort(&self, pkgpaths: &mut [PkgPath]) {
        pkgpaths.sort_by_key(|pkgpath| std::cmp::Reverse(self.get(&pkgpath.path)));
    }

    /// The text form.
    pub fn render(&self) -> String {
        let lines = self
            .0
            .iter()
            .map(|(path, count)| format!("{path} {count}\n"));
        lines.collect()
    }

    /// Reads the text form. Lines of another form say nothing: it only decides an order.
    pub fn parse(text: &str) -> Counts {
        let lines = text.lines().take(MOST_LINES);
        let counts = lines.filter_map(|line| {
            let (path, count) = line.split_once(' ')?;
            Some((path.parse().ok()?, count.parse().ok()?))
        });
        Counts(counts.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_needed_come_first_and_what_cannot_be_read_says_nothing() {
        let counts = Counts::parse("a/few 2\nb/many 30\nnonsense\n../x 9\nc/z -1\n");
        assert_eq!(counts.render(), "a/few 2\nb/many 30\n");
        let mut all: Vec<PkgPath> = ["a/few", "a/none", "b/many,x", "a/also"]
            .map(|p| p.parse().unwrap())
            .into();
        counts.sort(&mut all);
        let all: Vec<String> = all.iter().map(PkgPath::to_string).collect();
        assert_eq!(all, ["b/many,x", "a/few", "a/none", "a/also"]);
    }
}
