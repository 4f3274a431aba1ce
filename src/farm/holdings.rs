//! Which trees the hosts hold, and what would have to travel so that another one could build on them.
//!
//! What a host got or built in this run is known, and what a tree was made on; of earlier runs, which trees it held.
//! A host may have lost some of it since: all of this says where something is likely to be done sooner, and
//! nothing else. What it lacks is sent all the same.

use std::collections::{HashMap, HashSet};

use mstore_store::{Held, TreeHash};

/// Trees that are followed back from one to those that it was made on.
const MOST_STEPS: usize = 256;
/// Bytes a second that are reckoned with until something travelled.
const USUAL_RATE: f64 = 10e6;
/// Bytes that must have travelled before they tell how fast it goes.
const ENOUGH: u64 = 1 << 20;

/// What is known.
#[derive(Debug, Default)]
pub struct Holdings {
    hosts: Vec<HashSet<TreeHash>>,
    made: HashMap<TreeHash, Made>,
    /// Bytes that travelled, and in how many seconds.
    travelled: (u64, f64),
}

/// How a tree came to be.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    /// Bytes that it has more than what it was made on.
    bytes: u64,
    on: Option<TreeHash>,
}

impl Holdings {
    /// Of so many hosts nothing is known.
    pub fn new(hosts: usize) -> Holdings {
        Holdings {
            hosts: vec![HashSet::new(); hosts],
            ..Holdings::default()
        }
    }

    /// Takes in what a host held when it was last spoken to.
    pub fn recall(&mut self, host: usize, held: &[Held]) {
        for Held { tree, bytes } in held {
            self.hosts[host].insert(*tree);
            let made = self.made.entry(*tree).or_default();
            made.bytes = made.bytes.max(*bytes);
        }
    }

    /// Takes in that trees were sent to a host, the first of which is the one that is built on. Gives what is to be
    /// remembered of it.
    pub fn sent(&mut self, host: usize, trees: &[TreeHash], bytes: u64, seconds: f64) -> Vec<Held> {
        self.travel(bytes, seconds);
        let mut news = Vec::new();
        for (at, &tree) in trees.iter().enumerate() {
            let made = self.made.entry(tree).or_default();
            if at == 0 && made.on.is_none() {
                made.bytes = made.bytes.max(bytes);
            }
            if self.hosts[host].insert(tree) {
                let bytes = made.bytes;
                news.push(Held { tree, bytes });
            }
        }
        news
    }

    /// Takes in that a host built a tree on another, and that it was brought from there. Gives what is to be
    /// remembered of it.
    pub fn built(
        &mut self,
        host: usize,
        tree: TreeHash,
        on: Option<TreeHash>,
        bytes: u64,
        seconds: f64,
    ) -> Vec<Held> {
        self.travel(bytes, seconds);
        let on = on.filter(|on| *on != tree);
        self.made.entry(tree).or_insert(Made { bytes, on });
        match self.hosts[host].insert(tree) {
            true => vec![Held { tree, bytes }],
            false => Vec::new(),
        }
    }

    fn travel(&mut self, bytes: u64, seconds: f64) {
        self.travelled.0 = self.travelled.0.saturating_add(bytes);
        self.travelled.1 += seconds;
    }

    /// Bytes that travel in a second.
    fn rate(&self) -> f64 {
        match self.travelled {
            (bytes, seconds) if bytes >= ENOUGH && seconds > 0.0 => bytes as f64 / seconds,
            _ => USUAL_RATE,
        }
    }

    /// Bytes that a host lacks of a tree, as far as that is known.
    fn lacks(&self, host: usize, tree: TreeHash) -> u64 {
        let (mut bytes, mut at) = (0_u64, Some(tree));
        for _ in 0..MOST_STEPS {
            let Some(tree) = at.filter(|tree| !self.hosts[host].contains(tree)) else {
                break;
            };
            let made = self.made.get(&tree).copied().unwrap_or_default();
            bytes = bytes.saturating_add(made.bytes);
            at = made.on;
        }
        bytes
    }

    /// The host, of those that `counts`, that lacks least of these trees, and the seconds that are saved there beside
    /// the next best one. Nothing if all are alike.
    pub fn nearest(
        &self,
        trees: &[TreeHash],
        counts: impl Fn(usize) -> bool,
    ) -> Option<(usize, f64)> {
        let hosts = (0..self.hosts.len()).filter(|host| counts(*host));
        let lacks = |host: usize| {
            let each = trees.iter().map(|tree| self.lacks(host, *tree));
            each.fold(0, u64::saturating_add)
        };
        let mut all: Vec<(u64, usize)> = hosts.map(|host| (lacks(host), host)).collect();
        all.sort_unstable();
        let [(least, host), (second, _), ..] = all[..] else {
            return None;
        };
        (second > least).then(|| (host, (second - least) as f64 / self.rate()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mstore_store::Hash;

    fn tree(name: &str) -> TreeHash {
        TreeHash(Hash::of(name.as_bytes()))
    }

    #[test]
    fn a_chain_is_near_where_it_was_built_by_all_that_others_lack_of_it() {
        let mut holdings = Holdings::new(3);
        let [seed, one, two] = ["seed", "one", "two"].map(tree);
        assert_eq!(holdings.nearest(&[seed], |_| true), None);
        let news = holdings.sent(0, &[seed], 40_000_000, 4.0);
        assert_eq!(
            news,
            [Held {
                tree: seed,
                bytes: 40_000_000
            }]
        );
        assert_eq!(holdings.nearest(&[seed], |_| true), Some((0, 4.0)));
        holdings.sent(1, &[seed], 40_000_000, 4.0);
        // Two of the three have it: nothing is to be gained.
        assert_eq!(holdings.nearest(&[seed], |_| true), None);
        holdings.built(0, one, Some(seed), 10_000_000, 1.0);
        holdings.built(0, two, Some(one), 20_000_000, 2.0);
        assert_eq!(holdings.nearest(&[two], |_| true), Some((0, 3.0)));
        // A host that is away does not count.
        assert_eq!(holdings.nearest(&[two], |host| host > 0), Some((1, 4.0)));
        assert_eq!(holdings.nearest(&[two], |host| host == 2), None);
        // What is sent is held there too, and known already.
        assert_eq!(holdings.sent(1, &[two], 30_000_000, 3.0).len(), 1);
        assert_eq!(holdings.sent(1, &[two], 0, 0.1), []);
        assert_eq!(holdings.nearest(&[two], |host| host < 2), None);
    }

    #[test]
    fn what_was_held_in_earlier_runs_counts() {
        let mut holdings = Holdings::new(2);
        let held = Held {
            tree: tree("old"),
            bytes: 5_000_000,
        };
        holdings.recall(1, &[held]);
        assert_eq!(holdings.nearest(&[tree("old")], |_| true), Some((1, 0.5)));
        assert_eq!(holdings.nearest(&[tree("new")], |_| true), None);
    }

    #[test]
    fn a_tree_that_is_what_it_was_made_on_ends_the_search() {
        let mut holdings = Holdings::new(2);
        let (a, b) = (tree("a"), tree("b"));
        holdings.built(0, a, Some(a), 7, 0.0);
        holdings.built(0, b, Some(a), 5, 0.0);
        assert_eq!(holdings.lacks(1, b), 12);
        assert_eq!(holdings.lacks(0, b), 0);
    }
}
