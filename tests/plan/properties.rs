//! Things that never change a hash: order, other targets' files, comments outside scripts, paths of the
//! machine. And what always does.

use std::collections::BTreeMap;

use mstore::drv::DrvHash;
use proptest::prelude::*;

use crate::world::{METRO_CONF, World};

/// The hash of every step of every target, by name.
fn hashes(world: &World) -> BTreeMap<String, DrvHash> {
    let graph = world.graph(&["*/stage*"]);
    graph
        .nodes()
        .values()
        .map(|n| (n.full_name.to_string(), n.hash))
        .collect()
}

/// `metro.conf` in pieces whose order is free: sections with their elements, and collects.
fn pieces() -> Vec<String> {
    METRO_CONF.split("\n\n").map(str::to_owned).collect()
}

#[derive(Debug, Clone)]
struct Disturbance {
    order: Vec<String>,
    comments: Vec<(usize, String)>,
    work: String,
    extra: String,
    unrelated_target: bool,
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    (
        Just(pieces()).prop_shuffle(),
        prop::collection::vec((0..6usize, "[ -~&&[^\\[\\]]]{0,12}"), 0..4),
        "/[a-z]{1,8}/[a-z]{1,8}",
        "[a-z]{1,8}",
        any::<bool>(),
    )
        .prop_map(
            |(order, comments, work, extra, unrelated_target)| Disturbance {
                order,
                comments,
                work,
                extra,
                unrelated_target,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_has_no_meaning_changes_no_hash(d in disturbance()) {
        let world = World::new();
        let before = hashes(&world);
        let mut text = String::new();
        for (at, piece) in d.order.iter().enumerate() {
            for (_, comment) in d.comments.iter().filter(|(i, _)| *i == at) {
                text.push_str(&format!("# {comment}\n\n"));
            }
            text.push_str(piece);
            text.push_str("\n\n");
        }
        // A section reaches over the collects after it, which have none of their own.
        let mut text = text.replace("/var/tmp/metro/work", &d.work);
        text.push_str(&format!(
            "[section path]\nmirror/owner: {0}\nmirror/group: {0}\ncache: /c/{0}\n\
             [section MAKEOPTS]\n: -j{1}\n",
            d.extra, d.extra.len()
        ));
        if d.unrelated_target {
            text = text.replace("targets: stage1", "targets: stage0 stage1");
            world.write(
                "targets/stage0.conf",
                "source/seed: debian\nreads/run: libc\nsteps/chroot/run: [\ntrue\n]\n",
            );
        }
        world.write("metro.conf", &text);
        let mut after = hashes(&world);
        after.retain(|name, _| !name.contains("/stage0:"));
        prop_assert_eq!(before, after);
    }

    #[test]
    fn a_line_added_to_a_script_changes_that_step_and_those_after_it(
        which in 0..5usize, line in "[a-z#][a-z ]{0,10}"
    ) {
        let scripts = [
            ("stage1", "\nrun: [", "stage1:run"),
            ("stage2", "test: [", "stage2:test"),
            ("stage3", "build: [", "stage3:build"),
            ("stage3", "finish: [", "stage3:finish"),
            ("stage3", "test: [", "stage3:test"),
        ];
        let (target, head, step) = scripts[which];
        let world = World::new();
        let before = hashes(&world);
        // Behind the `#!` line, if there is one.
        world.edit(&format!("targets/{target}.conf"), head, &format!("{head}\nexport X=1; {line}"));
        let after = hashes(&world);
        let order = [
            "stage1:prerun", "stage1:run", "stage2:run", "stage2:test",
            "stage3:build", "stage3:finish", "stage3:test",
        ];
        let from = order.iter().position(|s| *s == step).expect("listed");
        for (name, hash) in &before {
            let at = order.iter().position(|s| name.ends_with(s)).expect("listed");
            prop_assert_eq!(after[name] != *hash, at >= from, "{}", name);
        }
    }
}

#[test]
fn loading_in_parallel_gives_the_same_every_time() {
    let world = World::new();
    let first = hashes(&world);
    assert_eq!(first.len(), 28);
    for _ in 0..5 {
        assert_eq!(hashes(&world), first);
    }
}
