//! Estimates: how long steps will take, by how long they took before.

use serde::Serialize;

use super::graph::{Graph, NodeId, NodeMap};

/// How long some steps will take together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Steps that are to be built.
    pub steps: usize,
    /// Those of them of which it is not known how long they take.
    pub unknown: usize,
    /// Seconds from the first to the last of those that are known: that of the longest chain among them on the fastest
    /// host, or all of them shared out among the hosts, whichever is more.
    pub seconds: f64,
}

/// Who builds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crew {
    /// The speeds of all slots of all hosts.
    pub speed: f64,
    /// The speed of the fastest host.
    pub fastest: f64,
}

impl Crew {
    /// Hosts of so many slots and that speed each.
    pub fn of(hosts: impl IntoIterator<Item = (usize, f64)>) -> Crew {
        let mut crew = Crew {
            speed: 0.0,
            fastest: 0.0,
        };
        for (slots, speed) in hosts {
            crew.speed += slots.max(1) as f64 * speed;
            crew.fastest = crew.fastest.max(speed);
        }
        match crew.speed > 0.0 {
            true => crew,
            false => Crew {
                speed: 1.0,
                fastest: 1.0,
            },
        }
    }
}

impl Estimate {
    /// Estimates how long `steps` take. `seconds` says how long one takes on a host of speed 1, if that is known. A step that is the same as another of them is built once.
    pub fn of(
        graph: &Graph,
        steps: impl IntoIterator<Item = NodeId>,
        crew: Crew,
        seconds: impl Fn(NodeId) -> Option<f64>,
    ) -> Estimate {
        let mut wanted = NodeMap::like(graph.nodes(), false);
        for id in steps {
            wanted[id] = true;
        }
        let mut found = Estimate::default();
        let (mut work, mut longest) = (0.0_f64, 0.0_f64);
        // Of each node the seconds until it is there.
        let mut until = NodeMap::like(graph.nodes(), 0.0_f64);
        for (id, node) in graph.nodes().iter().filter(|(id, _)| wanted[*id]) {
            let before = node.producers.iter().flatten().chain(&node.same_as);
            let begin = before.map(|from| until[*from]).fold(0.0, f64::max);
            until[id] = begin;
            if node.same_as.is_some_and(|first| wanted[first]) {
                continue;
            }
            found.steps += 1;
            match seconds(id) {
                None => found.unknown += 1,
                Some(one) => {
                    work += one;
                    until[id] += one;
                }
            }
            longest = longest.max(until[id]);
        }
        found.seconds = (longest / crew.fastest).max(work / crew.speed);
        found
    }

    /// Whether nothing is known of any of them.
    pub fn is_unknown(&self) -> bool {
        self.unknown == self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crew_is_as_fast_as_all_its_slots_and_its_fastest_host() {
        let crew = |hosts: &[(usize, f64)]| Crew::of(hosts.iter().copied());
        let (speed, fastest) = (10.0, 2.0);
        assert_eq!(crew(&[(2, 1.0), (4, 2.0)]), Crew { speed, fastest });
        let (speed, fastest) = (1.0, 1.0);
        assert_eq!(crew(&[]), Crew { speed, fastest });
        assert_eq!(crew(&[(0, 1.0)]), Crew { speed, fastest });
    }
}
