//! Graphs of jobs with durations, sets of hosts, and what no schedule can beat.

/// A graph: every job stands after all that it needs.
pub struct Graph {
    /// What people call it.
    pub title: String,
    /// The jobs' names.
    pub names: Vec<String>,
    /// Seconds that each takes on a host of speed 1.
    pub seconds: Vec<f64>,
    /// What each needs, by its place.
    pub needs: Vec<Vec<usize>>,
}

impl Graph {
    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.seconds.len()
    }

    /// The jobs that need each.
    pub fn needed_by(&self) -> Vec<Vec<usize>> {
        let mut all = vec![Vec::new(); self.len()];
        for (job, needs) in self.needs.iter().enumerate() {
            for &need in needs {
                all[need].push(job);
            }
        }
        all
    }

    /// Of each job the seconds from its start to the end of the longest chain above it.
    pub fn longest_paths(&self) -> Vec<f64> {
        let mut path = vec![0.0_f64; self.len()];
        for job in (0..self.len()).rev() {
            path[job] += self.seconds[job];
            for &need in &self.needs[job] {
                path[need] = path[need].max(path[job]);
            }
        }
        path
    }

    /// The two parts of the bound, in seconds: the longest chain on the fastest host, and the work on all hosts.
    pub fn bound(&self, park: &Park) -> (f64, f64) {
        let fastest = park.hosts.iter().map(|host| host.1).fold(0.0, f64::max);
        let speed: f64 = park
            .hosts
            .iter()
            .map(|(slots, speed)| *slots as f64 * speed)
            .sum();
        let chain = self.longest_paths().into_iter().fold(0.0, f64::max);
        (chain / fastest, self.seconds.iter().sum::<f64>() / speed)
    }
}

/// A set of hosts that stay up.
#[derive(Clone)]
pub struct Park {
    /// What people call it.
    pub title: String,
    /// Slots and speed of each.
    pub hosts: Vec<(usize, f64)>,
}

impl Park {
    /// Hosts of one slot and speed 1.
    pub fn equal(hosts: usize) -> Park {
        Park {
            title: format!("{hosts} equal"),
            hosts: vec![(1, 1.0); hosts],
        }
    }

    /// Hosts of one slot, so many of each speed.
    pub fn unequal(speeds: &[(usize, f64)]) -> Park {
        let hosts = speeds
            .iter()
            .flat_map(|&(count, speed)| std::iter::repeat_n((1, speed), count));
        let title: Vec<String> = speeds
            .iter()
            .map(|(n, speed)| format!("{n}x{speed}"))
            .collect();
        Park {
            title: title.join(" "),
            hosts: hosts.collect(),
        }
    }

    /// Whether all are of one speed.
    pub fn is_equal(&self) -> bool {
        self.hosts.iter().all(|host| host.1 == self.hosts[0].1)
    }
}

/// splitmix64.
pub struct Rng(pub u64);

impl Rng {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}
