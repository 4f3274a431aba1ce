//! What lies in the root that a package is built in, and in which order packages stand in a stage.

use std::collections::BTreeSet;

use super::circles::{Circles, components, is_for_build, is_for_use};
use super::{ExpandError, Options};
use crate::packages::graph::{PackageGraph, Place};

/// Layers of all build roots together: more is a graph that nobody has.
const MOST_LAYERS: usize = 20_000_000;

/// The layers of each package, and the order of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// The packages in the order in which they can be built and are laid into a stage.
    pub order: Vec<Place>,
    /// Of each package, by its place, the packages in its build root, in that order.
    pub of: Vec<Vec<Place>>,
}

impl Layers {
    /// Finds the layers: what a package needs to be built, with all that this needs to be of use, transitively; but not
    /// what is of use only when it is built itself, which the base has.
    pub fn of(graph: &PackageGraph, options: &Options) -> Result<Layers, ExpandError> {
        let circles = Circles::of(graph);
        check_circles(graph, &circles)?;
        let order = order(graph, &options.first);
        let mut rank = vec![0; graph.packages.len()];
        for (at, place) in order.iter().enumerate() {
            rank[*place] = at;
        }
        let mut first = vec![None; graph.packages.len()];
        for (place, package) in graph.packages.iter().enumerate() {
            if let Some(second) = package.first_round_of {
                first[second] = Some(place);
                rank[place] = rank[second];
            }
        }
        let mut seen = vec![usize::MAX; graph.packages.len()];
        let mut of = Vec::with_capacity(graph.packages.len());
        let mut all = 0;
        for place in 0..graph.packages.len() {
            let mut layers = closure(graph, &circles, &first, place, &mut seen);
            layers.sort_unstable_by_key(|layer| rank[*layer]);
            all += layers.len();
            if all > MOST_LAYERS {
                return Err(ExpandError::TooLarge { most: MOST_LAYERS });
            }
            of.push(layers);
        }
        Ok(Layers { order, of })
    }
}

/// What a package needs to be built, with all that this needs to be of use. `first` has the first round of each package
/// that is built twice, `seen` at each place the last package that came by.
fn closure(
    graph: &PackageGraph,
    circles: &Circles,
    first: &[Option<Place>],
    place: Place,
    seen: &mut [usize],
) -> Vec<Place> {
    let mut found = Vec::new();
    let mut left: Vec<Place> = Vec::new();
    let edges = graph.packages[place].edges.iter();
    // In the second round it has what the others were in the first one, and nothing of the base in their stead.
    let is_second = first[place].is_some();
    let own = graph.packages[place].first_round_of.unwrap_or(place);
    let of_round = |need: Place| match first[need] {
        Some(first) if is_second && circles.are_together(place, need) => first,
        _ => need,
    };
    let kept =
        edges.filter(|edge| is_for_build(edge) && (is_second || !circles.is_inside(own, edge.to)));
    left.extend(kept.map(|edge| of_round(edge.to)));
    while let Some(next) = left.pop() {
        if std::mem::replace(&mut seen[next], place) == place {
            continue;
        }
        found.push(next);
        let edges = graph.packages[next].edges.iter();
        let used = edges.filter(|edge| is_for_use(edge));
        left.extend(used.map(|edge| of_round(edge.to)));
    }
    found
}

/// Checks that the base has what packages of a circle need of each other. A base that says nothing of its packages is
/// taken to have it.
fn check_circles(graph: &PackageGraph, circles: &Circles) -> Result<(), ExpandError> {
    if graph.base.is_empty() {
        return Ok(());
    }
    for (place, need) in circles.cut(graph) {
        let other = &graph.packages[need];
        let has = graph
            .base
            .iter()
            .any(|i| i.category == other.category && i.name == other.name);
        if !has {
            let members = circles.members(place).into_iter();
            return Err(ExpandError::Circle {
                lacks: other.to_string(),
                members: members.map(|at| graph.packages[at].to_string()).collect(),
            });
        }
    }
    Ok(())
}

/// The order of a stage: what a package needs, to be built or to be of use, before it; what needs each other together; of
/// what could come next the first by name; what is wanted `first` before all.
fn order(graph: &PackageGraph, first: &[String]) -> Vec<Place> {
    let packages = graph.packages.iter();
    // Those of the first round come last, and stand where their second one does.
    let needs: Vec<Vec<usize>> = packages
        .take_while(|package| package.first_round_of.is_none())
        .map(|package| {
            let edges = package.edges.iter();
            let sooner = edges.filter(|edge| is_for_build(edge) || is_for_use(edge));
            sooner.map(|edge| edge.to).collect()
        })
        .collect();
    let groups = components(&needs);
    let count = groups.iter().max().map_or(0, |most| most + 1);
    // Places are sorted by name, so the first member tells where a group stands.
    let mut members: Vec<Vec<Place>> = vec![Vec::new(); count];
    for (place, group) in groups.iter().enumerate() {
        members[*group].push(place);
    }
    let mut needed_by: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    let mut left = vec![0; count];
    for (place, needs) in needs.iter().enumerate() {
        for need in needs {
            let (own, other) = (groups[place], groups[*need]);
            if own != other && needed_by[other].insert(own) {
                left[own] += 1;
            }
        }
    }
    let mut ready: BTreeSet<(Place, usize)> = (0..count)
        .filter(|group| left[*group] == 0)
        .map(|group| (members[group][0], group))
        .collect();
    let mut order = Vec::with_capacity(graph.packages.len());
    while let Some((_, group)) = ready.pop_first() {
        order.extend(&members[group]);
        for other in &needed_by[group] {
            left[*other] -= 1;
            if left[*other] == 0 {
                ready.insert((members[*other][0], *other));
            }
        }
    }
    let is_first = |place: &Place| {
        let package = &graph.packages[*place];
        package.is_of_stage() && first.contains(&package.category_name())
    };
    // The order of the rest stays as it is.
    order.sort_by_key(|place| !is_first(place));
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packages::graph::Installed;
    use crate::packages::samples::{any_graph, graph};

    fn layers(graph: &PackageGraph) -> Layers {
        Layers::of(graph, &Options::default()).unwrap()
    }

    #[test]
    fn a_root_has_what_is_needed_to_build_and_all_that_this_needs_to_be_of_use() {
        // shell -> curses (build, run) -> tic (run) -> data (later); editor needs the shell at run time alone.
        let graph = graph(
            &["curses", "data", "editor", "shell", "tic"],
            &[(3, "br", 0), (0, "r", 4), (4, "p", 1), (2, "r", 3)],
        );
        let found = layers(&graph);
        assert_eq!(found.of[3], [4, 0]);
        assert_eq!(found.of[2], Vec::<Place>::new());
        assert_eq!(found.order, [1, 4, 0, 3, 2]);
    }

    #[test]
    fn what_is_wanted_first_stands_before_all_others() {
        let graph = graph(&["a", "b", "z"], &[]);
        let options = Options {
            first: vec!["dev-libs/z".into()],
            ..Options::default()
        };
        assert_eq!(Layers::of(&graph, &options).unwrap().order, [2, 0, 1]);
    }

    #[test]
    fn a_circle_of_use_is_a_set_and_one_of_building_is_cut() {
        // a and b need each other to be of use: c gets both. d and e need each other to be built: neither gets the other.
        let mut graph = graph(
            &["a", "b", "c", "d", "e", "f"],
            &[
                (0, "r", 1),
                (1, "r", 0),
                (2, "b", 0),
                (3, "b", 4),
                (4, "r", 5),
                (5, "b", 3),
            ],
        );
        let found = layers(&graph);
        assert_eq!(found.of[2], [0, 1]);
        assert_eq!(found.of[3], Vec::<Place>::new());
        assert_eq!(found.of[5], Vec::<Place>::new());
        // A base that tells of its packages has to have what is cut.
        let installed = |name: &str| Installed {
            category: "dev-libs".into(),
            name: name.into(),
            slot: "0".into(),
            sub_slot: "0".into(),
            version: "1".into(),
        };
        graph.base = vec![installed("d")];
        insta::assert_snapshot!(
            Layers::of(&graph, &Options::default()).unwrap_err(),
            @"packages need each other to be built, and the base lacks dev-libs/e-1:0: dev-libs/d-1:0, dev-libs/e-1:0, dev-libs/f-1:0"
        );
        graph.base.push(installed("e"));
        assert!(Layers::of(&graph, &Options::default()).is_ok());
    }

    #[test]
    fn a_circle_that_is_built_twice_has_its_first_round_in_the_second() {
        // a and b need each other to be built, and b a tool t; u uses a, and is used by b.
        let mut graph = graph(
            &["a", "b", "t", "u"],
            &[
                (0, "br", 1),
                (1, "b", 0),
                (1, "br", 2),
                (1, "b", 3),
                (3, "r", 0),
            ],
        );
        super::super::circles::twice(&mut graph, |place| place == 1);
        assert_eq!(graph.packages.len(), 6);
        let found = layers(&graph);
        assert_eq!(found.order, layers(&graph).order);
        assert_eq!(found.order.len(), 4);
        let sorted = |place: Place| {
            let mut layers = found.of[place].clone();
            layers.sort_unstable();
            layers
        };
        // First round: what lies outside the circle.
        assert_eq!((sorted(4), sorted(5)), (vec![], vec![2]));
        // Second round: the others as they were in the first, with what these need to be of use.
        assert_eq!((sorted(0), sorted(1)), (vec![2, 5], vec![2, 3, 4, 5]));
    }

    #[test]
    fn a_chain_of_all_packages_is_no_matter() {
        let names: Vec<String> = (0..3000).map(|at| format!("p{at:05}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let edges: Vec<(usize, &str, usize)> = (1..3000).map(|at| (at, "br", at - 1)).collect();
        let found = layers(&graph(&names, &edges));
        assert_eq!(found.of[2999].len(), 2999);
        assert_eq!(found.order, (0..3000).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn every_package_can_be_built_after_its_layers(graph in any_graph(40), is_twice: bool) {
            let (mut graph, count) = (graph.clone(), graph.packages.len());
            if is_twice {
                super::super::circles::twice(&mut graph, |place| place % 2 == 0);
            }
            let Layers { order, of } = layers(&graph);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            // There is no circle among layers: what has none left can be taken away until nothing is left.
            let mut left: Vec<Option<BTreeSet<Place>>> =
                of.iter().map(|layers| Some(layers.iter().copied().collect())).collect();
            loop {
                let free: Vec<Place> = (0..left.len())
                    .filter(|at| left[*at].as_ref().is_some_and(BTreeSet::is_empty))
                    .collect();
                if free.is_empty() {
                    break;
                }
                for at in free {
                    left[at] = None;
                    for other in left.iter_mut().flatten() {
                        other.remove(&at);
                    }
                }
            }
            prop_assert!(left.iter().all(Option::is_none));
        }

        #[test]
        fn a_layer_brings_all_that_it_needs_to_be_of_use(graph in any_graph(30)) {
            for layers in &layers(&graph).of {
                for layer in layers {
                    let edges = graph.packages[*layer].edges.iter();
                    for need in edges.filter(|edge| is_for_use(edge)) {
                        prop_assert!(layers.contains(&need.to));
                    }
                }
            }
        }
    }
}
