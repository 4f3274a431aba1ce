//! What was built on what: the recorded results of steps, joined by the trees that they began in.
//!
//! A result that is not to be believed takes with it what was built on it. The records behind results
//! tell: an input names the derivation that it comes from and the tree that it was. Seeds and snapshots are
//! nobody's result, so a step that changes nothing does not drag along all that begins where it began.

use std::collections::{BTreeMap, BTreeSet};

use mstore_store::{Hash, Realisation, RealisationKind, TreeHash};

use super::derivation::{InputSource, Role};
use super::facts::FactsError;
use super::resolved::{Key, Resolved};
use super::store_facts::StoreFacts;

/// All results that a store knows.
pub struct Results {
    facts: StoreFacts,
    all: Vec<Made>,
    /// Numbers of the steps, by their derivations.
    steps: BTreeMap<Hash, Vec<usize>>,
    /// Numbers of what used a result, by the derivation and by the tree that it named.
    users: BTreeMap<Hash, Vec<usize>>,
    /// The folders of results that others began in.
    paths: BTreeSet<String>,
}

/// A result, and how it came to be where that is remembered.
struct Made {
    result: Realisation,
    step: Option<Resolved>,
}

impl Made {
    fn is_step(&self) -> bool {
        self.result.kind == RealisationKind::Step
    }
}

/// A result that another one was built on.
struct Use<'a> {
    derivation: Hash,
    path: &'a str,
    tree: TreeHash,
}

impl Results {
    /// Reads what `facts` know.
    pub fn read(facts: &StoreFacts) -> Result<Results, FactsError> {
        let mut this = Results {
            facts: facts.clone(),
            all: Vec::new(),
            steps: BTreeMap::new(),
            users: BTreeMap::new(),
            paths: BTreeSet::from(["/".to_owned()]),
        };
        for result in facts.results()? {
            let number = this.all.len();
            let step = match result.kind {
                RealisationKind::Step => facts.derivation(Key(result.key))?,
                _ => None,
            };
            let mut used = |hash: Hash| this.users.entry(hash).or_default().push(number);
            match result.kind {
                RealisationKind::Step => this.steps.entry(result.drv).or_default().push(number),
                _ => {
                    used(result.drv);
                    used(result.tree.0);
                }
            }
            for (input, tree) in step.iter().flat_map(Resolved::inputs) {
                if let InputSource::Derivation { hash, path } = &input.source {
                    used(hash.0);
                    used(tree.0);
                    this.paths.insert(path.clone());
                }
            }
            if let Some(step) = &step {
                this.paths.insert(step.derivation().root.clone());
            }
            this.all.push(Made { result, step });
        }
        Ok(this)
    }

    /// The steps that began in one of some trees, and all that was built on their results: steps and
    /// targets, in the order in which they were built.
    pub fn in_trees(&self, trees: &BTreeSet<TreeHash>) -> Result<Vec<Realisation>, FactsError> {
        self.and_what_is_on_them(|made| {
            let mut began = made.step.iter().flat_map(|step| step.trees());
            began.any(|tree| trees.contains(tree))
        })
    }

    /// Some steps, and all that was built on their results, in the order in which they were built.
    pub fn of_steps(
        &self,
        is_asked: impl Fn(&Realisation) -> bool,
    ) -> Result<Vec<Realisation>, FactsError> {
        self.and_what_is_on_them(|made| made.is_step() && is_asked(&made.result))
    }

    /// The targets' results that `keep` names, with the trees that were fetched for each.
    pub fn fetched_for(
        &self,
        keep: impl Fn(&Realisation) -> bool,
    ) -> Vec<(&Realisation, BTreeSet<TreeHash>)> {
        let targets = self.all.iter().map(|made| &made.result);
        let targets = targets.filter(|r| r.kind == RealisationKind::Target && keep(r));
        targets
            .map(|target| {
                let mut fetched = BTreeSet::new();
                let (mut seen, mut next) = (BTreeSet::new(), vec![target.drv]);
                while let Some(hash) = next.pop() {
                    if !seen.insert(hash) {
                        continue;
                    }
                    let steps = self.steps.get(&hash).into_iter().flatten();
                    for step in steps.filter_map(|&n| self.all[n].step.as_ref()) {
                        for (input, tree) in step.inputs() {
                            match (&input.source, input.role) {
                                (_, Role::File | Role::Folder) => {
                                    fetched.insert(tree);
                                }
                                (InputSource::Derivation { hash, .. }, _) => next.push(hash.0),
                                _ => {}
                            }
                        }
                    }
                }
                (target, fetched)
            })
            .collect()
    }

    /// The results of fetches.
    pub fn fetches(&self) -> impl Iterator<Item = &Realisation> {
        let fetches = self.all.iter().filter(|made| {
            let step = made.step.as_ref();
            step.is_some_and(|step| step.derivation().fetched().is_some())
        });
        fetches.map(|made| &made.result)
    }

    fn and_what_is_on_them(
        &self,
        is_first: impl Fn(&Made) -> bool,
    ) -> Result<Vec<Realisation>, FactsError> {
        // Of each that was found those that were built on it.
        let mut found: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut next: Vec<usize> = (0..self.all.len()).collect();
        next.retain(|&number| is_first(&self.all[number]));
        while let Some(number) = next.pop() {
            if found.contains_key(&number) {
                continue;
            }
            let mut users = BTreeSet::new();
            if self.all[number].is_step() {
                for user in self.possible_users(number)? {
                    if user != number && self.is_on(user, number)? {
                        users.insert(user);
                    }
                }
            }
            next.extend(&users);
            found.insert(number, users);
        }
        Ok(self.in_order(&found))
    }

    /// Results, each after those that it was built on; those that could come next by time and name.
    fn in_order(&self, found: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<Realisation> {
        let mut below: BTreeMap<usize, usize> = found.keys().map(|&number| (number, 0)).collect();
        for user in found.values().flatten() {
            *below.entry(*user).or_default() += 1;
        }
        let place = |number: usize| {
            let Realisation {
                started, name, key, ..
            } = &self.all[number].result;
            (*started, name, *key, number)
        };
        let (ready, mut later): (BTreeMap<usize, usize>, BTreeMap<usize, usize>) =
            below.into_iter().partition(|(_, n)| *n == 0);
        let mut ready: BTreeSet<_> = ready.into_keys().map(place).collect();
        let mut list = Vec::with_capacity(found.len());
        // In a circle, which steps that change nothing can make, somebody has to be first.
        while let Some(next) = ready
            .pop_first()
            .or_else(|| later.pop_first().map(|(number, _)| place(number)))
        {
            let (.., number) = next;
            list.push(self.all[number].result.clone());
            for user in &found[&number] {
                if let Some(n) = later.get_mut(user) {
                    *n -= 1;
                    if *n == 0 {
                        later.remove(user);
                        ready.insert(place(*user));
                    }
                }
            }
        }
        list
    }

    /// Numbers of all that may have used a result.
    fn possible_users(&self, number: usize) -> Result<BTreeSet<usize>, FactsError> {
        let below = &self.all[number].result;
        let mut hashes = BTreeSet::from([below.drv]);
        for path in &self.paths {
            hashes.extend(self.facts.known_part(below.tree, path)?.map(|part| part.0));
        }
        let users = hashes.iter().filter_map(|hash| self.users.get(hash));
        Ok(users.flatten().copied().collect())
    }

    fn is_on(&self, user: usize, number: usize) -> Result<bool, FactsError> {
        let (made, below) = (&self.all[user], &self.all[number]);
        let mut uses = Vec::new();
        if !made.is_step() {
            // A target is its last step's tree, or the folder of it that the step names.
            let last = below.step.as_ref();
            uses.push(Use {
                derivation: made.result.drv,
                path: last.map_or("/", |step| &step.derivation().root),
                tree: made.result.tree,
            });
        }
        for (input, tree) in made.step.iter().flat_map(Resolved::inputs) {
            if let InputSource::Derivation { hash, path } = &input.source {
                uses.push(Use {
                    derivation: hash.0,
                    path,
                    tree,
                });
            }
        }
        for used in uses {
            let gave = self.gave(below, &used)?;
            let by_name = used.derivation == below.result.drv;
            // Equal steps of several targets are recorded once, under the derivation of one of them.
            if (by_name && gave != Some(false))
                || (gave == Some(true) && !self.has_a_maker_of_its_own(&used)?)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a result had what another one used of it; `None` when nobody remembers.
    fn gave(&self, made: &Made, used: &Use<'_>) -> Result<Option<bool>, FactsError> {
        let part = self.facts.known_part(made.result.tree, used.path)?;
        Ok(part.map(|part| part == used.tree))
    }

    /// Whether what was used is recorded under the very derivation that was named.
    fn has_a_maker_of_its_own(&self, used: &Use<'_>) -> Result<bool, FactsError> {
        for &number in self.steps.get(&used.derivation).into_iter().flatten() {
            if self.gave(&self.all[number], used)? == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
