//! Circles of packages that need each other to be built.
//!
//! Of each package there are two things: that it is built, and that it is of use, which is so when it is built and all
//! that it needs to be of use is. Packages are in one circle if that they are built depends on each other. Circles of
//! what is only needed later are none: what belongs together is a set.

use crate::packages::graph::{Edge, EdgeKind, Package, PackageGraph, Place};

/// The circles of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circles {
    /// At 2n the component of that the nth package is built, at 2n + 1 of that it is of use.
    of: Vec<usize>,
}

/// Whether what an edge leads to has to be of use before a package can be built.
pub(super) fn is_for_build(edge: &Edge) -> bool {
    edge.is(EdgeKind::Build)
}

/// Whether what an edge leads to belongs to a package wherever that is installed.
pub(super) fn is_for_use(edge: &Edge) -> bool {
    edge.is(EdgeKind::Run) || edge.is(EdgeKind::Install)
}

impl Circles {
    /// Finds the circles of a graph.
    pub fn of(graph: &PackageGraph) -> Circles {
        let mut needs = Vec::with_capacity(graph.packages.len() * 2);
        for (place, package) in graph.packages.iter().enumerate() {
            let of_use = |wanted: fn(&Edge) -> bool| {
                let edges = package.edges.iter().filter(move |edge| wanted(edge));
                edges.map(|edge| edge.to * 2 + 1)
            };
            needs.push(of_use(is_for_build).collect());
            needs.push(of_use(is_for_use).chain([place * 2]).collect());
        }
        Circles {
            of: components(&needs),
        }
    }

    /// Whether a package, which needs another one to be built, has to be built before that can be of use.
    pub fn is_inside(&self, place: Place, need: Place) -> bool {
        self.of[place * 2] == self.of[need * 2 + 1]
    }

    /// Whether packages are built in one circle.
    pub fn are_together(&self, place: Place, other: Place) -> bool {
        self.of[place * 2] == self.of[other * 2]
    }

    /// What packages need to be built that is taken from the base, since it is of use only when they are built: the
    /// package and what it needs.
    pub fn cut<'g>(&'g self, graph: &'g PackageGraph) -> impl Iterator<Item = (Place, Place)> + 'g {
        let packages = graph.packages.iter().enumerate();
        packages.flat_map(move |(place, package)| {
            let edges = package.edges.iter();
            let cut = edges.filter(move |e| is_for_build(e) && self.is_inside(place, e.to));
            cut.map(move |edge| (place, edge.to))
        })
    }

    /// The packages in the circle that a package is built in, sorted.
    pub fn members(&self, place: Place) -> Vec<Place> {
        let own = self.of[place * 2];
        let all = 0..self.of.len() / 2;
        all.filter(|other| self.of[other * 2..][..2].contains(&own))
            .collect()
    }
}

/// Says that circles are built twice in which something is taken from the base that `is_wanted`: first with what the base
/// has, then with what came of that. The packages of the first round come after all others.
pub fn twice(graph: &mut PackageGraph, is_wanted: impl Fn(Place) -> bool) {
    let circles = Circles::of(graph);
    let wanted: Vec<Place> = circles
        .cut(graph)
        .filter(|(_, need)| is_wanted(*need))
        .map(|(place, _)| place)
        .collect();
    let is_twice = |place: &Place| {
        wanted
            .iter()
            .any(|each| circles.are_together(*each, *place))
    };
    let all = 0..graph.packages.len();
    let first: Vec<Package> = all
        .filter(is_twice)
        .map(|place| Package {
            first_round_of: Some(place),
            ..graph.packages[place].clone()
        })
        .collect();
    graph.packages.extend(first);
}

const UNSEEN: usize = usize::MAX;

/// The component of each of some things, by what each needs: those that need each other have one number. A thing has a
/// larger number than what it needs of other components.
pub(super) fn components(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut search = Search {
        needs,
        index: vec![UNSEEN; needs.len()],
        low: vec![0; needs.len()],
        stack: Vec::new(),
        entered: 0,
        components: 0,
        component: vec![UNSEEN; needs.len()],
    };
    for thing in 0..needs.len() {
        if search.index[thing] == UNSEEN {
            search.from(thing);
        }
    }
    search.component
}

/// Tarjan's search, without calls in calls: chains may be as long as there are packages.
struct Search<'a> {
    needs: &'a [Vec<usize>],
    index: Vec<usize>,
    low: Vec<usize>,
    stack: Vec<usize>,
    entered: usize,
    components: usize,
    component: Vec<usize>,
}

impl Search<'_> {
    fn enter(&mut self, thing: usize) {
        self.index[thing] = self.entered;
        self.low[thing] = self.entered;
        self.entered += 1;
        self.stack.push(thing);
    }

    fn from(&mut self, first: usize) {
        self.enter(first);
        let mut way = vec![(first, 0)];
        while let Some((thing, at)) = way.pop() {
            if let Some(&need) = self.needs[thing].get(at) {
                way.push((thing, at + 1));
                if self.index[need] == UNSEEN {
                    self.enter(need);
                    way.push((need, 0));
                } else if self.component[need] == UNSEEN {
                    // It is on the stack.
                    self.low[thing] = self.low[thing].min(self.index[need]);
                }
                continue;
            }
            if let Some((above, _)) = way.last() {
                self.low[*above] = self.low[*above].min(self.low[thing]);
            }
            if self.low[thing] == self.index[thing] {
                self.close(thing);
            }
        }
    }

    /// All that was put on the stack since `first` are one component.
    fn close(&mut self, first: usize) {
        while let Some(thing) = self.stack.pop() {
            self.component[thing] = self.components;
            if thing == first {
                break;
            }
        }
        self.components += 1;
    }
}
