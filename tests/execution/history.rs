//! Stores of different history: what one had executed, another finds, whatever it knows of how its trees came about.

use std::collections::HashMap;
use std::fs;

use mstore::build::cancel::CancelToken;
use mstore::drv::derivation::{Input, InputSource};
use mstore::drv::{Derivation, DrvHash, Lineage, Resolved, Role};
use mstore_store::{ImportOptions, TreeHash};

use crate::fake::Fake;
use crate::place::{Place, pretend, step};

/// The steps of a plan, as far as their trees are known.
#[derive(Default)]
struct Plan(HashMap<DrvHash, Resolved>);

impl Plan {
    fn add(&mut self, step: &Resolved) {
        self.0.insert(step.derivation().hash(), step.clone());
    }

    fn lineage(&self, step: &Resolved) -> Lineage {
        Lineage::of(step, &|hash| self.0.get(&hash).cloned())
    }
}

fn root(step: &Resolved) -> Input {
    Input {
        at: "/".into(),
        role: Role::Root,
        owner: None,
        source: InputSource::Derivation {
            hash: step.derivation().hash(),
            path: "/".into(),
        },
    }
}

/// The step that comes after another one, which left `tree`.
fn after(before: &Resolved, tree: TreeHash, name: &str) -> Resolved {
    let mut derivation = step(tree).derivation().clone();
    derivation.inputs = vec![root(before)];
    derivation.phases[0].script = name.into();
    derivation.resolve(vec![tree]).unwrap()
}

fn fake(place: &Place) -> Fake {
    let worker = place.worker();
    Fake::start(0, move |folder| pretend(&worker, folder), |_, _| None)
}

/// Has a step of a plan built by an engine, and gives the tree.
fn build(place: &mut Place, plan: &mut Plan, fake: &Fake, step: &Resolved) -> TreeHash {
    plan.add(step);
    place.lineage = plan.lineage(step);
    place.step = step.clone();
    place.build(fake).unwrap();
    place.recorded().unwrap().tree
}

/// Brings a tree to another place by its files alone.
fn import(from: &Place, to: &Place, tree: TreeHash) {
    let files = to.worker().with_file_name("imported");
    from.store.copy_out(tree, &files).unwrap();
    let options = ImportOptions::snapshot();
    let imported = to.store.import_dir(&files, &options).unwrap().tree;
    assert_eq!(imported, tree);
    to.store.add_root("imported", tree).unwrap();
    fs::remove_dir_all(&files).unwrap();
}

#[test]
fn a_store_that_never_saw_the_steps_of_a_target_finds_what_comes_after_them() {
    let mut first = Place::new(100_000);
    let fake = fake(&first);
    let mut plan = Plan::default();
    let one = first.step.clone();
    let seed = one.trees()[0];
    let tree_1 = build(&mut first, &mut plan, &fake, &one);
    let two = after(&one, tree_1, "two");
    let tree_2 = build(&mut first, &mut plan, &fake, &two);
    let three = after(&two, tree_2, "three");
    let tree_3 = build(&mut first, &mut plan, &fake, &three);
    assert_eq!(fake.state.count("execute"), 3);
    // The second has the seed and what the step begins with, as files. It plans the same.
    let mut second = Place::new(100_000);
    assert_eq!(second.step.trees()[0], seed);
    import(&first, &second, tree_2);
    assert!(!second.store.has_tree(tree_1).unwrap());
    assert_eq!(build(&mut second, &mut plan, &fake, &three), tree_3);
    assert_eq!(fake.state.count("execute"), 3);
    // The third made the trees in other ways, and remembers that.
    let mut third = Place::new(100_000);
    for tree in [tree_2, tree_1] {
        import(&first, &third, tree);
    }
    let detour = after(&three, tree_1, "a detour");
    let realisation = mstore_store::Realisation {
        key: detour.key().0,
        drv: detour.derivation().hash().0,
        tree: tree_2,
        ..first.store.realisation(&two.key().0).unwrap().unwrap()
    };
    let (key, record) = (detour.key().0, detour.encode());
    third.store.put_derivation(&key, &record).unwrap();
    third.store.record(&realisation).unwrap();
    assert_eq!(build(&mut third, &mut plan, &fake, &three), tree_3);
    assert_eq!(fake.state.count("execute"), 3);
}

#[test]
fn a_root_of_packages_is_cut_against_its_base_and_its_layers_wherever_it_was_made() {
    let mut first = Place::new(100_000);
    let fake = fake(&first);
    let mut plan = Plan::default();
    let package = first.step.clone();
    let base = package.trees()[0];
    let layer = build(&mut first, &mut plan, &fake, &package);
    let input = |role, tree| Input {
        at: "/".into(),
        role,
        owner: None,
        source: InputSource::Tree(tree),
    };
    let inputs = vec![input(Role::Root, base), input(Role::Layer, layer)];
    let union = Derivation::compose("all-s:compose".parse().unwrap(), "all-s", inputs);
    let union = union.resolve(vec![base, layer]).unwrap();
    plan.add(&union);
    let cancel = CancelToken::new().unwrap();
    let built = first.builder(&cancel, &|_| ());
    let composed = built.build("b/a/s/all:compose", &union, &mut |_| ());
    let composed = composed.unwrap().tree;
    assert_ne!(composed, base);
    let next = after(&union, composed, "next");
    let tree = build(&mut first, &mut plan, &fake, &next);
    // Nothing of base and layers travels again: the union's own directories alone, with the small blobs of the action.
    let again = after(&union, composed, "again");
    let live = first.live(&fake);
    plan.add(&again);
    first.lineage = plan.lineage(&again);
    first.step = again;
    let (stop, notes) = Default::default();
    first.build_by(&live, &stop, &notes).unwrap();
    assert!(live.traffic().sent < 10_000, "{:?}", live.traffic());
    // Elsewhere the union came as files.
    let mut second = Place::new(100_000);
    for tree in [layer, composed] {
        import(&first, &second, tree);
    }
    let executed = fake.state.count("execute");
    assert_eq!(build(&mut second, &mut plan, &fake, &next), tree);
    assert_eq!(fake.state.count("execute"), executed);
}
