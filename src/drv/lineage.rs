//! What the trees that a step starts from lie on, as the derivations say that made them.
//!
//! The steps of a target make its root out of what the target starts from; so do unions out of a base and its layers.
//! Those are the *foundation* of the root: trees that came from elsewhere, each a tree by itself, on which the root is
//! one layer. What lies between them, the trees of earlier steps, is left out: a store that got the root in another way
//! than by building it has none of those, and a cache has them only when it was asked to.
//!
//! All of it follows from the derivations and the trees of the plan. What a store remembers of the way in which a tree
//! came to it has no part in it: two stores of different history say the same.

use mstore_store::TreeHash;

use super::derivation::{DrvHash, InputSource, Role};
use super::resolved::Resolved;

/// Layers of layers deeper than this are taken as they are.
const DEEPEST: usize = 64;

/// The trees of a step's inputs, each with those that it lies on, which come before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(Vec<(TreeHash, Vec<TreeHash>)>);

impl Lineage {
    /// The lineage of the inputs of a step. `made` tells the step that a derivation of the plan is, with the trees that
    /// it was built from.
    pub fn of(step: &Resolved, made: &dyn Fn(DrvHash) -> Option<Resolved>) -> Lineage {
        let walk = Walk {
            made,
            target: &step.derivation().target,
        };
        let mut found: Vec<(TreeHash, Vec<TreeHash>)> = Vec::new();
        let mut add = |tree: TreeHash, on: Vec<TreeHash>| {
            if !found.iter().any(|(known, _)| *known == tree) {
                found.push((tree, on));
            }
        };
        for (input, tree) in step.inputs() {
            let mut on = Vec::new();
            walk.foundation(tree, &input.source, &mut on, 0);
            // What is its own foundation lies on nothing; so does what came out again as it was.
            if on.contains(&tree) {
                on.clear();
            }
            on.iter().for_each(|base| add(*base, Vec::new()));
            add(tree, on);
        }
        Lineage(found)
    }

    /// The trees with what each lies on, those below first.
    pub fn trees(&self) -> &[(TreeHash, Vec<TreeHash>)] {
        &self.0
    }
}

impl From<Vec<(TreeHash, Vec<TreeHash>)>> for Lineage {
    /// Trees of which each comes after those that it lies on.
    fn from(trees: Vec<(TreeHash, Vec<TreeHash>)>) -> Lineage {
        Lineage(trees)
    }
}

struct Walk<'a> {
    made: &'a dyn Fn(DrvHash) -> Option<Resolved>,
    /// The target of the step.
    target: &'a str,
}

impl Walk<'_> {
    /// Adds the trees that a tree was made from in this target, each once; the tree itself where it came from elsewhere.
    fn foundation(
        &self,
        tree: TreeHash,
        source: &InputSource,
        on: &mut Vec<TreeHash>,
        depth: usize,
    ) {
        // Roots are followed in a loop: a target may have more steps than there is stack for.
        let (mut root, mut source) = (Some(tree), source.clone());
        let mut layers = Vec::new();
        while let Some(step) = self.own(&source) {
            let mut inputs = step.inputs();
            let below = inputs.find(|(input, _)| input.role == Role::Root);
            root = below.map(|(_, tree)| tree);
            let of_step = step.inputs().filter(|(input, _)| input.role == Role::Layer);
            let of_step = of_step.map(|(input, tree)| (tree, input.source.clone()));
            let of_step: Vec<(TreeHash, InputSource)> = of_step.collect();
            layers.extend(of_step.into_iter().rev());
            match below {
                Some((input, _)) => source = input.source.clone(),
                None => break,
            }
        }
        let mut add = |tree: TreeHash| {
            if !on.contains(&tree) {
                on.push(tree);
            }
        };
        root.into_iter().for_each(&mut add);
        for (tree, source) in layers.into_iter().rev() {
            match depth < DEEPEST {
                true => self.foundation(tree, &source, on, depth + 1),
                false if !on.contains(&tree) => on.push(tree),
                false => {}
            }
        }
    }

    /// The step of this target that left what an input is, or the union that it is.
    fn own(&self, source: &InputSource) -> Option<Resolved> {
        match source {
            // A folder of what a step left is a tree by itself.
            InputSource::Derivation { hash, path } if path == "/" => {
                let step = (self.made)(*hash)?;
                let derivation = step.derivation();
                (derivation.is_union() || derivation.target == self.target).then_some(step)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use mstore_store::Hash;

    use super::*;
    use crate::drv::derivation::tests::sample;
    use crate::drv::derivation::{Derivation, Input, Output};

    fn tree(n: u8) -> TreeHash {
        TreeHash(Hash::of(&[n]))
    }

    fn input(role: Role, source: InputSource) -> Input {
        Input {
            at: "/".into(),
            role,
            owner: None,
            source,
        }
    }

    fn from(step: &Resolved, path: &str) -> InputSource {
        InputSource::Derivation {
            hash: step.derivation().hash(),
            path: path.to_owned(),
        }
    }

    /// Steps of a plan.
    #[derive(Default)]
    struct Plan(HashMap<DrvHash, Resolved>);

    impl Plan {
        fn step(
            &mut self,
            script: &str,
            output: Output,
            inputs: Vec<(Role, InputSource, TreeHash)>,
        ) -> Resolved {
            let mut derivation: Derivation = sample();
            derivation.phases[0].script = script.into();
            derivation.output = output;
            let trees = inputs.iter().map(|(_, _, tree)| *tree).collect();
            derivation.inputs = inputs
                .into_iter()
                .map(|(role, source, _)| input(role, source))
                .collect();
            let step = derivation.resolve(trees).unwrap();
            self.0.insert(step.derivation().hash(), step.clone());
            step
        }

        fn lineage(&self, step: &Resolved) -> Vec<(TreeHash, Vec<TreeHash>)> {
            let made = |hash| self.0.get(&hash).cloned();
            Lineage::of(step, &made).trees().to_vec()
        }
    }

    #[test]
    fn the_steps_of_a_target_make_one_layer_on_what_it_starts_from() {
        let mut plan = Plan::default();
        let captured = Output::Captured;
        let seed = || (Role::Root, InputSource::Tree(tree(0)), tree(0));
        let snapshot = || (Role::Snapshot, InputSource::Tree(tree(9)), tree(9));
        let one = plan.step("one", captured, vec![seed(), snapshot()]);
        let root = |step: &Resolved, n: u8| (Role::Root, from(step, "/"), tree(n));
        let test = plan.step("test", Output::Input, vec![root(&one, 1)]);
        let idle = plan.step("idle", captured, vec![root(&test, 1)]);
        let two = plan.step("two", captured, vec![root(&idle, 1), snapshot()]);
        let three = plan.step("three", captured, vec![root(&two, 2)]);
        let (whole, on_seed) = (vec![], vec![tree(0)]);
        assert_eq!(
            plan.lineage(&one),
            [(tree(0), whole.clone()), (tree(9), whole.clone())]
        );
        assert_eq!(
            plan.lineage(&two),
            [
                (tree(0), whole.clone()),
                (tree(1), on_seed.clone()),
                (tree(9), whole.clone())
            ]
        );
        assert_eq!(
            plan.lineage(&three),
            [(tree(0), whole.clone()), (tree(2), on_seed)]
        );
        // What came back to its beginning is that.
        let last = plan.step("last", captured, vec![root(&three, 0)]);
        assert_eq!(plan.lineage(&last), [(tree(0), whole.clone())]);
        // Another target starts from it.
        let mut other = sample();
        other.target = "other".into();
        other.inputs.truncate(1);
        other.inputs[0].source = from(&three, "/");
        let other = other.resolve(vec![tree(3)]).unwrap();
        assert_eq!(plan.lineage(&other), [(tree(3), whole.clone())]);
        // What nobody knows lies on nothing.
        plan.0.clear();
        assert_eq!(plan.lineage(&three), [(tree(2), whole)]);
    }

    #[test]
    fn a_root_of_packages_lies_on_its_base_and_its_layers() {
        let mut plan = Plan::default();
        let seed = || (Role::Root, InputSource::Tree(tree(0)), tree(0));
        let layer = |step: &Resolved, n: u8| (Role::Layer, from(step, "/image"), tree(n));
        let a = plan.step("a", Output::Folder, vec![seed()]);
        let b = plan.step("b", Output::Folder, vec![seed()]);
        let union = Derivation::compose(
            "elsewhere:compose".parse().unwrap(),
            "elsewhere",
            [seed(), layer(&a, 5), layer(&b, 6)]
                .map(|(role, source, _)| input(role, source))
                .to_vec(),
        );
        let union = union.resolve(vec![tree(0), tree(5), tree(6)]).unwrap();
        plan.0.insert(union.derivation().hash(), union.clone());
        let on = || vec![tree(0), tree(5), tree(6)];
        let below = [tree(0), tree(5), tree(6)].map(|tree| (tree, vec![]));
        let root = (Role::Root, from(&union, "/"), tree(7));
        let ready = plan.step("ready", Output::Captured, vec![root]);
        assert_eq!(plan.lineage(&ready)[..3], below);
        assert_eq!(plan.lineage(&ready)[3..], [(tree(7), on())]);
        let root = (Role::Root, from(&ready, "/"), tree(8));
        let package = plan.step("c", Output::Folder, vec![root]);
        assert_eq!(plan.lineage(&package)[..3], below);
        assert_eq!(plan.lineage(&package)[3..], [(tree(8), on())]);
    }

    #[test]
    fn a_target_may_have_more_steps_than_there_is_stack_for() {
        let mut plan = Plan::default();
        let mut last = plan.step("0", Output::Captured, vec![]);
        for n in 0..20_000u32 {
            let root = (
                Role::Root,
                from(&last, "/"),
                TreeHash(Hash::of(&n.to_le_bytes())),
            );
            last = plan.step(&n.to_string(), Output::Captured, vec![root]);
        }
        assert_eq!(plan.lineage(&last).len(), 1);
    }
}
