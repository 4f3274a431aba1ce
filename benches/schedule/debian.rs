//! Graphs made from Debian's package index: what needs what is real, durations are derived from sizes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead};

use super::graph::Graph;

/// Longest line of the index that is read, in bytes; and most packages.
const LINE: u64 = 1 << 20;
const PACKAGES: usize = 1 << 20;

/// A package as the index tells of it.
#[derive(Default)]
pub struct Package {
    name: String,
    /// What it is built from.
    source: String,
    /// Names of packages of which one is needed, for each need.
    needs: Vec<Vec<String>>,
    provides: Vec<String>,
    /// Whether it is the same on every machine: data, as a rule, which is copied and not compiled.
    data: bool,
    /// KiB.
    size: f64,
}

/// Reads an index: paragraphs of `Field: value`. A paragraph without a name is passed over.
pub fn read(mut index: impl BufRead) -> io::Result<Vec<Package>> {
    let mut all: BTreeMap<String, Package> = BTreeMap::new();
    let (mut one, mut line) = (Package::default(), Vec::new());
    let mut more = true;
    while more && all.len() < PACKAGES {
        line.clear();
        more = io::Read::take(&mut index, LINE).read_until(b'\n', &mut line)? > 0;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            let mut whole = std::mem::take(&mut one);
            if whole.source.is_empty() {
                whole.source.clone_from(&whole.name);
            }
            if !whole.name.is_empty() {
                // The first of several versions counts.
                all.entry(whole.name.clone()).or_insert(whole);
            }
            continue;
        }
        let Some((field, value)) = text.split_once(": ") else {
            continue;
        };
        let first = |text: &str| text.split([' ', ':', '(']).next().unwrap_or("").to_owned();
        match field {
            "Package" => one.name = value.to_owned(),
            "Source" => one.source = first(value),
            "Architecture" => one.data = value == "all",
            "Installed-Size" => one.size = value.parse().ok().filter(|n| *n >= 0.0).unwrap_or(0.0),
            "Depends" | "Pre-Depends" => one.needs.extend(value.split(", ").map(|need| {
                let others = need.split('|').map(|name| first(name.trim()));
                others.collect()
            })),
            "Provides" => one.provides.extend(value.split(", ").map(first)),
            _ => {}
        }
    }
    Ok(all.into_values().collect())
}

/// KiB of a package, as far as they cost time: data is copied and not compiled, and what
/// debuggers read falls off.
fn weight(package: &Package) -> f64 {
    let aside = package.data || package.name.ends_with("-dbg");
    package.size / if aside { 20.0 } else { 1.0 }
}

/// Seconds that something of that weight is taken to build: some minutes as a rule, and hours for the largest.
fn seconds(name: &str, weight: f64) -> f64 {
    // Packages of a size differ in what they cost: by up to a factor of two either way, the same each time.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let spread = 4.0_f64.powf((hash >> 40) as f64 / (1 << 24) as f64) / 2.0;
    // Parts of a second that add up to the same in every order.
    ((10.0 + weight.powf(0.75)) * spread * 1024.0).round() / 1024.0
}

/// Every package is a job, and needs what it depends on.
pub fn packages(index: &[Package]) -> Graph {
    let at: HashMap<&str, usize> = by_name(index);
    let needs = index.iter().map(|one| needs(one, &at)).collect();
    let names = index.iter().map(|one| one.name.clone()).collect();
    let time = index.iter().map(|one| seconds(&one.name, weight(one)));
    sorted("packages", names, time.collect(), needs)
}

/// Every source is a job, which makes all its packages, and needs the sources of what they depend on.
pub fn sources(index: &[Package]) -> Graph {
    let at = by_name(index);
    let names: BTreeSet<&str> = index.iter().map(|one| &*one.source).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let place: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (*name, n))
        .collect();
    let (mut all, mut size) = (vec![BTreeSet::new(); names.len()], vec![0.0; names.len()]);
    for one in index {
        let own = place[&*one.source];
        size[own] += weight(one);
        let sources = needs(one, &at)
            .into_iter()
            .map(|need| place[&*index[need].source]);
        all[own].extend(sources.filter(|need| *need != own));
    }
    let needs = all.into_iter().map(|needs| needs.into_iter().collect());
    let time = names
        .iter()
        .zip(size)
        .map(|(name, size)| seconds(name, size));
    let time = time.collect();
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    sorted("sources", names, time, needs.collect())
}

/// What every `nth` job of a graph needs, and what that needs: fewer jobs, as deep as all.
pub fn part(graph: &Graph, nth: usize) -> Graph {
    let mut wanted: Vec<bool> = (0..graph.len()).map(|job| job % nth == 0).collect();
    for job in (0..graph.len()).rev() {
        if wanted[job] {
            for &need in &graph.needs[job] {
                wanted[need] = true;
            }
        }
    }
    let mut place = vec![0; graph.len()];
    let mut part = Graph {
        title: format!("{} / {nth}", graph.title),
        names: Vec::new(),
        seconds: Vec::new(),
        needs: Vec::new(),
    };
    for job in (0..graph.len()).filter(|job| wanted[*job]) {
        place[job] = part.len();
        part.names.push(graph.names[job].clone());
        part.needs
            .push(graph.needs[job].iter().map(|need| place[*need]).collect());
        part.seconds.push(graph.seconds[job]);
    }
    part
}

fn by_name(index: &[Package]) -> HashMap<&str, usize> {
    let mut at: HashMap<&str, usize> = HashMap::new();
    for (n, one) in index.iter().enumerate() {
        at.insert(&one.name, n);
    }
    for (n, one) in index.iter().enumerate() {
        for provided in &one.provides {
            at.entry(provided).or_insert(n);
        }
    }
    at
}

/// The first of the packages that each need can be met by.
fn needs(one: &Package, at: &HashMap<&str, usize>) -> Vec<usize> {
    let found = one.needs.iter();
    let found = found.filter_map(|others| others.iter().find_map(|name| at.get(&**name)));
    let found: BTreeSet<usize> = found.copied().collect();
    found.into_iter().collect()
}

/// Puts jobs after all that they need. Of jobs that need each other, by way of others, each needs only those that more
/// jobs need, or as many and an earlier name.
fn sorted(title: &str, names: Vec<String>, seconds: Vec<f64>, mut needs: Vec<Vec<usize>>) -> Graph {
    let group = groups(&needs);
    let mut needed = vec![0_usize; names.len()];
    for need in needs.iter().flatten() {
        needed[*need] += 1;
    }
    let rank = |job: usize| (Reverse(needed[job]), job);
    for (job, needs) in needs.iter_mut().enumerate() {
        needs.retain(|need| group[*need] != group[job] || rank(*need) < rank(job));
    }
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|job| (group[*job], rank(*job)));
    let mut place = vec![0; names.len()];
    for (at, job) in order.iter().enumerate() {
        place[*job] = at;
    }
    let sorted = order.iter();
    Graph {
        title: title.to_owned(),
        needs: sorted
            .clone()
            .map(|job| needs[*job].iter().map(|need| place[*need]).collect())
            .collect(),
        names: sorted.clone().map(|job| names[*job].clone()).collect(),
        seconds: sorted.map(|job| seconds[*job]).collect(),
    }
}

/// Of each job its group: jobs that need each other have the same, and what one needs has a smaller one. This is
/// Tarjan's algorithm with a stack of its own.
fn groups(needs: &[Vec<usize>]) -> Vec<usize> {
    const NONE: usize = usize::MAX;
    let (mut group, mut number, mut low) = (
        vec![NONE; needs.len()],
        vec![NONE; needs.len()],
        vec![NONE; needs.len()],
    );
    let (mut count, mut groups, mut stack) = (0, 0, Vec::new());
    for root in 0..needs.len() {
        let mut path = vec![(root, 0)];
        while let Some((job, next)) = path.pop() {
            if next == 0 {
                if number[job] != NONE {
                    continue;
                }
                (number[job], low[job]) = (count, count);
                count += 1;
                stack.push(job);
            }
            if let Some(&need) = needs[job].get(next) {
                path.push((job, next + 1));
                path.push((need, 0));
                continue;
            }
            for &need in needs[job].iter().filter(|need| group[**need] == NONE) {
                low[job] = low[job].min(low[need]);
            }
            if low[job] == number[job] {
                while let Some(member) = stack.pop() {
                    group[member] = groups;
                    if member == job {
                        break;
                    }
                }
                groups += 1;
            }
        }
    }
    group
}
