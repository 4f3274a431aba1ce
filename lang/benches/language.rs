//! Speed of the language: run with `cargo bench -p mstore-lang`.
//!
//! The tables of divan come first; then the goals, each measured as the best of several runs and set against
//! a plain read of the same bytes. With `MSTORE` naming the program, a whole process is timed, too.

#[path = "generate.rs"]
mod generate;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::BytesCount;
use mstore_lang::{Definition, DiskFiles, Session, Spec};

fn main() {
    divan::main();
    // Goals are measured when everything is asked for.
    if std::env::args().skip(1).all(|arg| arg == "--bench") {
        goals();
    }
}

fn definitions() -> Vec<Vec<Definition>> {
    let define = |set: Vec<(&str, String)>| {
        set.into_iter()
            .map(|(name, value)| Definition::new(name, value))
            .collect()
    };
    generate::targets().into_iter().map(define).collect()
}

fn load_and_evaluate(entry: &Path, set: &[Definition]) -> usize {
    let spec = Spec::load(&DiskFiles, entry, set).expect("the tree loads");
    spec.evaluate_all().len()
}

fn matrix(entry: &Path, sets: &[Vec<Definition>]) -> usize {
    let session = Session::new(&DiskFiles);
    let counts = session.map_matrix(entry, sets, |_, spec| {
        spec.expect("the tree loads").evaluate_all().len()
    });
    counts.iter().sum()
}

#[divan::bench]
fn a_one_target(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a directory");
    generate::tree(dir.path());
    let (entry, sets) = (dir.path().join("main.conf"), definitions());
    bencher.bench(|| load_and_evaluate(&entry, &sets[0]));
}

#[divan::bench(sample_count = 20)]
fn b_matrix_of_600(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a directory");
    generate::tree(dir.path());
    let (entry, sets) = (dir.path().join("main.conf"), definitions());
    bencher.bench(|| matrix(&entry, &sets));
}

#[divan::bench(sample_count = 10)]
fn c_parse(bencher: Bencher<'_, '_>) {
    let text = generate::bulk(10 << 20);
    bencher
        .counter(BytesCount::new(text.len()))
        .with_inputs(|| text.clone().into_bytes())
        .bench_values(|bytes| mstore_lang::syntax::File::parse_bytes("bulk".into(), bytes, 10));
}

#[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 10)]
fn d_chain(bencher: Bencher<'_, '_>, length: usize) {
    deep(bencher, generate::chain(length), length);
}

#[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 10)]
fn d_inclusions(bencher: Bencher<'_, '_>, length: usize) {
    deep(bencher, generate::inclusions(length), length);
}

fn deep(bencher: Bencher<'_, '_>, text: String, length: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let entry = dir.path().join("main.conf");
    std::fs::write(&entry, text).expect("written");
    let key = format!("e{}", length - 1);
    bencher.bench(|| {
        Spec::load(&DiskFiles, &entry, &[])
            .expect("loads")
            .value(&key)
            .expect("a value")
    });
}

/// The time this process spent on all processors: what counts when others use them too.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// The least time by the clock, and the least processor time, of several runs.
fn best<R>(runs: usize, mut work: impl FnMut() -> R) -> (Duration, Duration) {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..runs {
        let (start, spent) = (Instant::now(), processor_time());
        black_box(work());
        best = (
            best.0.min(start.elapsed()),
            best.1.min(processor_time() - spent),
        );
    }
    best
}

/// What a task is held against.
struct Measure {
    /// How many processors the work is spread over: the goal is held against the time of one.
    cores: u32,
    goal: Duration,
    /// A plain read of the same bytes.
    plain: Duration,
    /// What the language's first implementation takes, where that is known.
    original: Option<Duration>,
}

fn report(what: &str, took: (Duration, Duration), measure: &Measure) {
    let Measure {
        cores,
        goal,
        plain,
        original,
    } = *measure;
    let each = took.1 / cores;
    let verdict = if each <= goal { "met" } else { "MISSED" };
    let ratio = each.as_secs_f64() / plain.as_secs_f64().max(1e-9);
    print!(
        "{what:46} {:>9.2?} by the clock, {each:>9.2?} of each processor; goal {goal:>8.2?} {verdict}; plain read {plain:>9.2?}, ratio {ratio:.1}",
        took.0
    );
    match original {
        None => println!(),
        Some(original) => println!(
            "; the original {original:.1?}, {:.0} times as long",
            original.as_secs_f64() / took.0.as_secs_f64()
        ),
    }
}

/// Times `mstore eval` as a whole, from its start to its end.
fn process(program: &Path, entry: &Path, set: &[Definition]) {
    let run = |program: &Path, args: &[String]| {
        let start = Instant::now();
        let status = std::process::Command::new(program)
            .args(args)
            .stdout(std::process::Stdio::null())
            .status()
            .expect("the program runs");
        assert!(status.success());
        start.elapsed()
    };
    let mut args = vec![
        "--file".to_owned(),
        entry.display().to_string(),
        "eval".to_owned(),
    ];
    args.extend(
        set.iter()
            .map(|given| format!("{}={}", given.name, given.value)),
    );
    let times = |program: &Path, args: &[String]| {
        let mut times: Vec<Duration> = (0..300).map(|_| run(program, args)).collect();
        times.sort_unstable();
        times
    };
    let (took, nothing) = (times(program, &args), times(Path::new("true"), &[]));
    let goal = Duration::from_millis(3);
    println!(
        "    as a process: {:.2?} at best, {:.2?} in the middle; goal {goal:.0?} {}; `true` {:.2?} and {:.2?}; the original 23 ms",
        took[0],
        took[150],
        if took[0] <= goal { "met" } else { "MISSED" },
        nothing[0],
        nothing[150]
    );
}

fn goals() {
    let dir = tempfile::tempdir().expect("a directory");
    generate::tree(dir.path());
    let (entry, sets) = (dir.path().join("main.conf"), definitions());
    let spec = Spec::load(&DiskFiles, &entry, &sets[0]).expect("the tree loads");
    println!(
        "\none target: {} files, {} elements",
        spec.collected().len(),
        spec.names().len()
    );
    let read = |paths: &[std::path::PathBuf]| -> usize {
        paths
            .iter()
            .map(|path| std::fs::read(path).expect("read").len())
            .sum()
    };
    let plain = best(50, || read(spec.collected())).1;
    let took = best(200, || load_and_evaluate(&entry, &sets[0]));
    let one = Measure {
        cores: 1,
        goal: Duration::from_micros(400),
        plain,
        original: Some(Duration::from_micros(3700)),
    };
    report("(a) load and evaluate one target", took, &one);
    let session = Session::new(&DiskFiles);
    let took = best(200, || {
        session
            .load(&entry, &sets[0])
            .expect("loads")
            .evaluate_all()
            .len()
    });
    report("    the same in a session that knows the files", took, &one);
    if let Some(program) = std::env::var_os("MSTORE") {
        process(Path::new(&program), &entry, &sets[0]);
    }
    let took = best(20, || matrix(&entry, &sets));
    let all = Measure {
        cores: 2,
        goal: Duration::from_millis(50),
        // Each of the targets for itself.
        plain: plain * sets.len() as u32 / 2,
        original: Some(Duration::from_millis(2400)),
    };
    report("(b) 600 targets, on 2 processors", took, &all);

    let text = generate::bulk(100 << 20);
    let file = dir.path().join("bulk.conf");
    std::fs::write(&file, &text).expect("written");
    let plain = best(3, || std::fs::read(&file).expect("read")).1;
    let mut copies: Vec<Vec<u8>> = (0..3).map(|_| text.clone().into_bytes()).collect();
    let took = best(3, || {
        let bytes = copies.pop().expect("one for each run");
        mstore_lang::syntax::File::parse_bytes("bulk".into(), bytes, 10)
    });
    let whole = Measure {
        cores: 1,
        goal: Duration::from_secs_f64(text.len() as f64 / 300e6),
        plain,
        original: None,
    };
    report("(c) parse 100 MB", took, &whole);
    let speed = |took: (Duration, Duration)| text.len() as f64 / took.1.as_secs_f64() / 1e6;
    println!("    parsed: {:.0} MB/s", speed(took));
    let took = best(2, || Spec::load(&DiskFiles, &file, &[]).expect("loads"));
    println!("    loaded whole, from the disk: {:.0} MB/s", speed(took));

    for (what, make) in [
        ("chain", generate::chain as fn(usize) -> String),
        ("growing chain", generate::growing_chain),
        ("inclusions", generate::inclusions),
    ] {
        let time = |length: usize| {
            std::fs::write(&file, make(length)).expect("written");
            let key = format!("e{}", length - 1);
            best(5, || {
                Spec::load(&DiskFiles, &file, &[])
                    .expect("loads")
                    .value(&key)
                    .expect("a value")
            })
            .1
        };
        // Each element takes the same number of instructions in all of them, but the names of long ones do not
        // fit into a core's own cache, and looking one up means going to two places at random.
        print!("(d) {what}, deep:");
        for length in [10_000, 100_000, 1_000_000] {
            let took = time(length);
            let each = took / length as u32;
            print!("  {length:>9} {took:>8.1?}, {each:>5.0?} each;");
        }
        println!();
    }
}
