//! The standard specs: every target of the default build can be planned.

use mstore::drv::NoFacts;
use mstore::plan::embedded::{builtin_snapshot, standard_specs};
use mstore::plan::{Distribution, Graph, Lock, PinOrigin, Pins};

fn standard() -> Distribution {
    assert!(!standard_specs().is_empty());
    let dir = tempfile::tempdir().expect("a temporary folder");
    Distribution::open(None, dir.path(), Vec::new()).expect("the standard specs load")
}

#[test]
fn every_target_can_be_planned() {
    let specs = standard();
    assert!(specs.is_builtin());
    let ids = specs.expand(&["*"]).expect("targets");
    let lock = Lock::in_memory();
    let recipes = specs.recipes(&ids, &lock).unwrap_or_else(|e| panic!("{e}"));
    let graph = Graph::build(&recipes, &lock, &NoFacts, Pins::Optional).expect("a graph");
    assert!(graph.targets().len() >= ids.len());
    for id in &ids {
        assert!(graph.target(id).is_some(), "{id}");
        let shown = specs.index().display_name(id);
        assert_eq!(specs.index().resolve(&shown).as_ref(), Ok(id), "{shown}");
    }
}

#[test]
fn the_default_build_needs_nothing_but_this_machine() {
    let specs = standard();
    let ids = specs.expand(&["stage3-corei7"]).expect("known");
    let lock = Lock::in_memory();
    let recipes = specs.recipes(&ids, &lock).expect("loaded");
    for need in recipes.needs(&lock) {
        match need.from {
            PinOrigin::Host => {}
            PinOrigin::Builtin(name) => {
                let snapshot = builtin_snapshot(&name).expect("built in");
                assert!(snapshot.files().count() > 0, "{name} is empty");
            }
            PinOrigin::Import => panic!("{} has to be imported", need.name),
        }
    }
}
