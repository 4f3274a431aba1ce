//! How long graphs take in the engine's order, beside the bound and beside two other rules.

use super::graph::{Graph, Park, Rng};
use super::play;
use super::rules::{self, Rule};

/// A graph on a set of hosts.
pub struct Row {
    /// The graph's title.
    pub graph: String,
    /// The hosts.
    pub park: Park,
    /// Seconds of the longest chain on the fastest host.
    pub chain: f64,
    /// Seconds of all the work on all hosts.
    pub work: f64,
    /// Seconds in the engine's order.
    pub engine: f64,
    /// Seconds in the engine's order, where it is told wrong durations.
    pub misled: f64,
    /// Seconds by the longest path alone.
    pub longest_path: f64,
    /// Seconds by dpb's rule.
    pub dpb: f64,
    /// Seconds of the shortest job.
    pub shortest: f64,
}

impl Row {
    /// Plays a graph on hosts by each rule.
    pub fn play(graph: &Graph, park: &Park) -> Row {
        let (chain, work) = graph.bound(park);
        let wrong = wrong(graph);
        Row {
            graph: graph.title.clone(),
            park: park.clone(),
            chain,
            work,
            engine: play::makespan(graph, park, |job| Some(graph.seconds[job])),
            misled: play::makespan(graph, park, |job| wrong[job]),
            longest_path: rules::makespan(graph, park, Rule::LongestPath),
            dpb: rules::makespan(graph, park, Rule::Dpb),
            shortest: graph.seconds.iter().copied().fold(f64::INFINITY, f64::min),
        }
    }

    /// No schedule takes fewer seconds.
    pub fn bound(&self) -> f64 {
        self.chain.max(self.work)
    }

    /// By how much of the bound the engine may take longer.
    fn promise(&self) -> f64 {
        let apart = self.bound() / self.chain.min(self.work) >= 2.0;
        match (self.park.is_equal(), apart) {
            (true, true) => 0.05,
            (true, false) => 0.10,
            (false, _) => 0.15,
        }
    }

    /// What is promised and does not hold. Rules that are apart by less than the shortest job count as equal: which of
    /// the last small jobs go together is chance.
    pub fn broken(&self) -> Option<String> {
        let of = |seconds: f64| format!("{:.5}", seconds / self.bound());
        let what = if self.engine > self.bound() * (1.0 + self.promise()) {
            format!("{} of the bound", of(self.engine))
        } else if self.engine > self.longest_path + self.shortest {
            format!(
                "{}, and the longest path alone {}",
                of(self.engine),
                of(self.longest_path)
            )
        } else if self.engine > self.dpb + self.shortest {
            format!("{}, and dpb's rule {}", of(self.engine), of(self.dpb))
        } else {
            return None;
        };
        Some(format!("{} on {}: {what}", self.graph, self.park.title))
    }

    /// The head of a table of rows.
    pub const HEAD: &'static str = "| graph | hosts | chain : work | bound | mstore | longest path | dpb's rule | mstore, told wrong durations |\n\
        | --- | --- | --- | --- | --- | --- | --- | --- |";

    /// A line of a table: hours of the bound, and all else as parts of it.
    pub fn line(&self) -> String {
        let of = |seconds: f64| format!("{:.3}", seconds / self.bound());
        format!(
            "| {} | {} | {:.2} | {:.1} h | {} | {} | {} | {} |",
            self.graph,
            self.park.title,
            self.chain / self.work,
            self.bound() / 3600.0,
            of(self.engine),
            of(self.longest_path),
            of(self.dpb),
            of(self.misled),
        )
    }
}

/// Durations as a history may tell them: one in ten is not known, and the others are wrong by up to a factor of two.
fn wrong(graph: &Graph) -> Vec<Option<f64>> {
    let mut rng = Rng(17);
    let wrong = |seconds: &f64| {
        let factor = 2.0_f64.powf(rng.below(2001) as f64 / 1000.0 - 1.0);
        (rng.below(10) > 0).then_some(seconds * factor)
    };
    graph.seconds.iter().map(wrong).collect()
}
