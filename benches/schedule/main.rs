//! The scheduler's order and what it costs: `cargo bench --bench schedule -- [order|cost|check] [OPTION]...`.
//!
//! - `order`: how long Debian takes to build on sets of hosts, as its package index tells what needs what. See README.md.
//! - `cost`: processor time of the engine with 1,000,000 jobs.
//! - `check`: the first, and a small form of the second; ends with 1 if something that is promised does not hold.
//!
//! Without a word: `order` and `cost`.

mod cost;
mod debian;
mod graph;
mod order;
mod play;
mod plot;
mod rules;

use std::fs::File;
use std::io::{BufReader, Read};
use std::process::{Command, ExitCode, Stdio};

use debian::Package;
use graph::Park;
use order::Row;

/// Fewest packages of an index that says something.
const PACKAGES: usize = 10_000;
/// How much more an event may cost with 100 times the jobs: what is kept of them does not fit into caches any more.
const GROWTH: f64 = 6.0;

/// What was asked for.
#[derive(Default)]
struct Args {
    word: String,
    index: Option<String>,
    plot: Option<String>,
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    match args().and_then(|args| run(&args)) {
        Ok(broken) if broken.is_empty() => ExitCode::SUCCESS,
        Ok(broken) => {
            for what in broken {
                eprintln!("does not hold: {what}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn args() -> Result<Args, String> {
    let mut args = Args::default();
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        let mut value = || given.next().ok_or(format!("{word} wants a value"));
        match &*word {
            // Cargo adds it.
            "--bench" => {}
            "--index" => args.index = Some(value()?),
            "--plot" => args.plot = Some(value()?),
            "--jobs" => {
                let jobs = value()?.parse().ok();
                args.jobs = Some(jobs.ok_or("--jobs wants a number")?);
            }
            "order" | "cost" | "check" if args.word.is_empty() => args.word = word,
            _ => {
                return Err(format!(
                    "`{word}` is none of order, cost, check, --index FILE, --plot FILE, --jobs N"
                ));
            }
        }
    }
    Ok(args)
}

/// Gives what does not hold.
fn run(args: &Args) -> Result<Vec<String>, String> {
    let mut broken = Vec::new();
    if args.word != "cost" {
        let rows = rows(&index(args)?);
        if let Some(path) = &args.plot {
            let title = "Building Debian: time by the order of jobs";
            let written = std::fs::write(path, plot::svg(title, &rows));
            written.map_err(|error| format!("cannot write {path}: {error}"))?;
        }
        broken.extend(rows.iter().filter_map(Row::broken));
    }
    match &*args.word {
        "order" => {}
        "check" => {
            let (few, many) = cost::build(args.jobs.unwrap_or(100_000));
            if many > few * GROWTH {
                broken.push(format!(
                    "an event costs {:.1} µs with 100 times the jobs, and {:.1} µs without",
                    many * 1e6,
                    few * 1e6
                ));
            }
        }
        _ => {
            let jobs = args.jobs.unwrap_or(1_000_000);
            cost::grow(jobs);
            cost::build(jobs);
        }
    }
    Ok(broken)
}

/// The index of `--index`, or of apt.
fn index(args: &Args) -> Result<Vec<Package>, String> {
    let index = match &args.index {
        Some(path) => {
            let file = File::open(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            read(file, path)?
        }
        None => {
            let mut apt = Command::new("apt-cache")
                .arg("dumpavail")
                .stdout(Stdio::piped())
                .spawn()
                .map_err(|error| format!("cannot start apt-cache: {error}"))?;
            let output = apt.stdout.take().ok_or("apt-cache has no output")?;
            let index = read(output, "apt-cache dumpavail")?;
            let _ = apt.wait();
            index
        }
    };
    match index.len() {
        n if n < PACKAGES => Err(format!(
            "the package index has {n} packages, and {PACKAGES} are needed: run `apt-get update`, or name a file `Packages` with --index"
        )),
        _ => Ok(index),
    }
}

fn read(from: impl Read, name: &str) -> Result<Vec<Package>, String> {
    let index = debian::read(BufReader::new(from));
    index.map_err(|error| format!("cannot read {name}: {error}"))
}

/// Plays everything and prints the table.
fn rows(index: &[Package]) -> Vec<Row> {
    let (packages, sources) = (debian::packages(index), debian::sources(index));
    let graphs = [
        debian::part(&packages, 30),
        debian::part(&packages, 8),
        packages,
        debian::part(&sources, 10),
        debian::part(&sources, 3),
        sources,
    ];
    println!("| graph | jobs | edges | work | longest chain | median job | longest job |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for graph in &graphs {
        let mut seconds = graph.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        println!(
            "| {} | {} | {} | {:.0} h | {:.1} h | {:.0} s | {:.1} h |",
            graph.title,
            graph.len(),
            graph.needs.iter().map(Vec::len).sum::<usize>(),
            seconds.iter().sum::<f64>() / 3600.0,
            graph.longest_paths().into_iter().fold(0.0, f64::max) / 3600.0,
            seconds[seconds.len() / 2],
            seconds[seconds.len() - 1] / 3600.0,
        );
    }
    println!("\n{}", Row::HEAD);
    let mut rows = Vec::new();
    for graph in &graphs {
        for park in &parks() {
            let row = Row::play(graph, park);
            println!("{}", row.line());
            rows.push(row);
        }
    }
    rows
}

/// The sets of hosts.
fn parks() -> Vec<Park> {
    let equal = [4, 8, 16, 32, 64].map(Park::equal);
    let unequal: [&[(usize, f64)]; 9] = [
        &[(3, 1.0), (1, 4.0)],
        &[(2, 1.0), (1, 2.0), (1, 4.0)],
        &[(4, 0.25), (4, 1.0)],
        &[(7, 1.0), (1, 2.0)],
        &[(4, 1.0), (4, 2.0), (4, 3.0), (4, 4.0)],
        &[(14, 1.0), (2, 3.0)],
        &[(31, 1.0), (1, 8.0)],
        &[(24, 1.0), (8, 2.0)],
        &[(13, 0.5), (13, 0.8), (13, 1.0), (13, 2.0), (12, 4.0)],
    ];
    equal
        .into_iter()
        .chain(unequal.map(Park::unequal))
        .collect()
}
