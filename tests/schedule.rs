//! The order of jobs: how long graphs take on simulated hosts, beside what no schedule can beat and two other rules.
//!
//! `benches/schedule` does more of the same with all of Debian's package index.

#[path = "../benches/schedule/debian.rs"]
mod debian;
#[path = "../benches/schedule/graph.rs"]
mod graph;
#[path = "../benches/schedule/order.rs"]
mod order;
#[path = "../benches/schedule/play.rs"]
mod play;
#[path = "../benches/schedule/rules.rs"]
mod rules;

use std::process::Command;

use graph::{Graph, Park, Rng};
use order::Row;
use rules::Rule;

/// Jobs that need some of those before them, most of them popular ones, as packages do; most are short, and some are
/// very long.
fn distribution(seed: u64, jobs: usize) -> Graph {
    let mut rng = Rng(seed);
    let needs = (0..jobs).map(|job| {
        let mut needs: Vec<usize> = (0..rng.below(8).min(job))
            .map(|_| {
                let part = rng.below(1000) as f64 / 1000.0;
                (job as f64 * part.powi(3)) as usize
            })
            .collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    });
    let needs = needs.collect();
    let seconds = (0..jobs).map(|_| {
        let part = rng.below(1000) as f64 / 1000.0;
        10.0 + (10.0 / (1.001 - part).powf(1.3)).round()
    });
    Graph {
        title: format!("seed {seed}"),
        names: (0..jobs).map(|job| format!("job{job:05}")).collect(),
        seconds: seconds.collect(),
        needs,
    }
}

#[test]
fn a_distribution_is_built_about_as_fast_as_can_be_and_not_slower_than_by_other_rules() {
    let parks = [
        Park::equal(4),
        Park::equal(16),
        Park::equal(64),
        Park::unequal(&[(2, 1.0), (1, 2.0), (1, 4.0)]),
        Park::unequal(&[(14, 1.0), (2, 3.0)]),
        Park::unequal(&[(8, 0.5), (8, 1.0), (4, 2.0)]),
    ];
    let mut broken = Vec::new();
    println!("{}", Row::HEAD);
    for seed in 1..=3 {
        let graph = distribution(seed, 3000);
        for park in &parks {
            let row = Row::play(&graph, park);
            println!("{}", row.line());
            broken.extend(row.broken());
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn packages_and_sources_of_debian_are_built_about_as_fast_as_can_be() {
    let apt = Command::new("apt-cache").arg("dumpavail").output();
    let index = apt.map(|apt| debian::read(&*apt.stdout).expect("an index in memory"));
    let index = index.unwrap_or_default();
    if index.len() < 10_000 {
        println!("left out: apt has no index of packages here");
        return;
    }
    let graphs = [
        debian::part(&debian::packages(&index), 30),
        debian::part(&debian::sources(&index), 10),
    ];
    let parks = [
        Park::equal(4),
        Park::equal(32),
        Park::unequal(&[(31, 1.0), (1, 8.0)]),
        Park::unequal(&[(13, 0.5), (13, 0.8), (13, 1.0), (13, 2.0), (12, 4.0)]),
    ];
    let mut broken = Vec::new();
    println!("{}", Row::HEAD);
    for graph in &graphs {
        assert!(
            graph.len() >= 10_000,
            "{}: {} jobs",
            graph.title,
            graph.len()
        );
        for park in &parks {
            let row = Row::play(graph, park);
            println!("{}", row.line());
            broken.extend(row.broken());
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_other_rules_are_what_they_are_called() {
    // Three that all of twenty need, and a chain of two.
    let needs = [vec![], vec![], vec![], vec![], vec![3]];
    let graph = Graph {
        title: "a fan and a chain".to_owned(),
        names: (0..25).map(|job| format!("job{job:02}")).collect(),
        seconds: [1.0, 1.0, 1.0, 9.0, 9.0]
            .into_iter()
            .chain([1.0; 20])
            .collect(),
        needs: needs
            .into_iter()
            .chain((0..20).map(|_| vec![0, 1, 2]))
            .collect(),
    };
    let made = |park: &Park, rule| rules::makespan(&graph, park, rule);
    let one = Park::equal(1);
    assert_eq!(graph.bound(&one), (18.0, 41.0));
    assert_eq!(made(&one, Rule::LongestPath), 41.0);
    assert_eq!(made(&one, Rule::Dpb), 41.0);
    // The three weigh 21 each, and the chain 18: dpb's rule begins with them.
    let three = Park::equal(3);
    assert_eq!(made(&three, Rule::LongestPath), 18.0);
    assert_eq!(made(&three, Rule::Dpb), 19.0);
    // A slow host sees the light jobs alone, which are not there before the heavy ones have been built.
    let unequal = Park::unequal(&[(1, 1.0), (1, 4.0)]);
    assert_eq!(made(&unequal, Rule::LongestPath), 8.25);
    assert_eq!(made(&unequal, Rule::Dpb), 11.25);
    let row = Row::play(&graph, &unequal);
    assert!(row.broken().is_none(), "{}", row.line());
}
