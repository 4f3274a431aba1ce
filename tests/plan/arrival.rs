//! Steps that are listed in any order, and while others are built.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use mstore::plan::{Graph, NodeId, NodeState, Staleness};
use mstore::schedule::driver::{Driver, Options};
use mstore::schedule::executor::{Executor, HostDesk, Job, JobResult, Product, Report, Work};
use mstore::schedule::growth::{Growth, Listing, feed};
use mstore::schedule::steps::{Steps, listing};
use mstore::schedule::{Host, HostId, HostNews, JobId, Leave};

use mstore_store::Cancel;

use crate::world::World;

const TARGETS: [&str; 3] = ["stage3-corei7", "stage3-generic_64", "stage2-corei7"];

/// Builds at once, in the pretended store.
struct Pretend<'w> {
    world: &'w World,
    built: RefCell<BTreeSet<String>>,
    slots: usize,
}

impl Executor for Pretend<'_> {
    fn hosts(&self, _: HostDesk) -> Vec<(HostId, HostNews)> {
        let host = Host {
            name: "here".into(),
            slots: self.slots,
            speed: 1.0,
            platforms: None,
            here: true,
            about: String::new(),
        };
        vec![(HostId::nth(0), HostNews::Up(host))]
    }

    fn start(&self, job: Job, _: HostId, report: Report) {
        let Work::Build(step) = job.work else {
            panic!("nothing can be fetched here");
        };
        let tree = self.world.build(&job.name, *step);
        assert!(self.built.borrow_mut().insert(job.name), "built twice");
        report.end(JobResult {
            seconds: 1.0,
            end: Ok(Product::Built { tree, changed: 1 }),
        });
    }

    fn cancel(&self, _: JobId) {}
}

fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for i in (1..list.len()).rev() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        list.swap(i, (state >> 33) as usize % (i + 1));
    }
}

/// Lists every step of `graph` in an order of its own, some before the run and some beside it; gives
/// the names of what was built, and the state of each node.
fn realise(world: &World, graph: &Graph, seed: u64) -> (BTreeSet<String>, Vec<NodeState>) {
    let mut list: Vec<Listing<NodeId>> = graph
        .nodes()
        .ids()
        .map(|node| listing(graph, node, None, |_| true))
        .collect();
    shuffle(&mut list, seed);
    let late = list.split_off(seed as usize % (list.len() + 1));
    let (feed, intake) = feed();
    feed.send(Growth::Listed(list)).expect("not begun");
    let mut staleness = Staleness::new(graph);
    let executor = Pretend {
        world,
        built: RefCell::default(),
        slots: 1 + seed as usize % 3,
    };
    let never = Cancel::new();
    let options = Options {
        keep_going: false,
        a_site: 1,
        cancel: &never,
        leave: &Leave::default(),
        idle: Duration::MAX,
    };
    let lister = thread::spawn(move || {
        for listing in late {
            thread::yield_now();
            feed.send(Growth::Listed(vec![listing])).expect("goes on");
        }
    });
    let mut steps = Steps::new(&mut staleness, world);
    let outcome = Driver::new(&mut steps, &executor, &mut (), intake, options).run();
    lister.join().expect("it listed all");
    assert!(
        outcome.infrastructure.is_none(),
        "{:?}",
        outcome.infrastructure
    );
    assert!(outcome.refused.is_empty() && outcome.skipped.is_empty());
    assert_eq!(
        outcome.built.len() + outcome.reused.len(),
        graph.nodes().len()
    );
    let states = graph.nodes().ids().map(|at| staleness.state(at).clone());
    (executor.built.into_inner(), states.collect())
}

#[test]
fn the_order_in_which_steps_are_listed_changes_nothing() {
    let world = World::new();
    let full = |graph: &Graph, short: &[String]| -> BTreeSet<String> {
        let nodes = graph.nodes().values();
        let nodes = nodes.filter(|n| short.contains(&n.name.to_string()));
        nodes.map(|n| n.full_name.to_string()).collect()
    };
    let stages = [
        ("targets/stage1.conf", "mkdir -p", "mkdir -m 700 -p"),
        // To no effect: what follows is reused.
        (
            "targets/stage1.conf",
            "mkdir -m 700",
            "# no effect\nmkdir -m 700",
        ),
        ("targets/stage3.conf", "test -s", "test -f"),
    ];
    let mut expected = Vec::new();
    for (file, from, to) in [("metro.conf", "demo", "demo")].into_iter().chain(stages) {
        world.edit(file, from, to);
        let before = (
            world.realised.borrow().clone(),
            world.earlier.borrow().clone(),
        );
        let built = world.realise(&TARGETS);
        let graph = world.graph(&TARGETS);
        let walk = Staleness::walk(&graph, &world, &mut ()).expect("walked");
        let states: Vec<NodeState> = graph
            .nodes()
            .ids()
            .map(|at| walk.state(at).clone())
            .collect();
        let built = full(&graph, &built);
        expected.push(built.len());
        for seed in 0..60 {
            *world.realised.borrow_mut() = before.0.clone();
            *world.earlier.borrow_mut() = before.1.clone();
            let (now, then) = realise(&world, &graph, seed);
            assert_eq!(now, built, "seed {seed}");
            assert_eq!(then, states, "seed {seed}");
        }
    }
    // Of 14 steps in two chains, the four of the first two stages are shared.
    assert_eq!(expected, [10, 10, 1, 2]);
}

#[test]
fn a_node_is_decided_once_all_its_inputs_are_known() {
    let world = World::new();
    world.realise(&TARGETS);
    let graph = world.graph(&TARGETS);
    let whole = Staleness::walk(&graph, &world, &mut ()).expect("walked");
    let mut order: Vec<NodeId> = graph.nodes().ids().collect();
    for seed in 0..200 {
        shuffle(&mut order, seed);
        let mut staleness = Staleness::new(&graph);
        let mut listed = BTreeSet::new();
        for &node in &order {
            listed.insert(node);
            let decided = staleness.list(node, &world, &mut ()).expect("listed");
            assert!(decided.contains(&node));
            for (at, step) in graph.nodes().iter() {
                let known = |node: &NodeId| staleness.state(*node).tree().is_some();
                let can = listed.contains(&at) && step.dependencies().iter().all(known);
                assert_eq!(known(&at), can, "seed {seed}: {} after {node:?}", step.name);
            }
            assert!(
                staleness
                    .list(node, &world, &mut ())
                    .expect("again")
                    .is_empty()
            );
        }
        for at in graph.nodes().ids() {
            assert_eq!(staleness.state(at), whole.state(at), "seed {seed}");
        }
    }
}
