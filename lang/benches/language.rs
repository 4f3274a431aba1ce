//! Speed of the language: run with `cargo bench -p mstore-lang`.
//!
//! The tables of divan come first; then the goals, each measured as the best of several runs and set against
//! a plain read of the same bytes.

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

fn best<R>(runs: usize, mut work: impl FnMut() -> R) -> Duration {
    let time = |_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed()
    };
    (0..runs).map(time).min().unwrap_or_default()
}

fn report(what: &str, took: Duration, goal: Duration, plain: Duration) {
    let verdict = if took <= goal { "met" } else { "MISSED" };
    let ratio = took.as_secs_f64() / plain.as_secs_f64().max(1e-9);
    println!(
        "{what:42} {took:>10.2?}  goal {goal:>8.2?} {verdict:6}  plain read {plain:>10.2?}  ratio {ratio:6.1}"
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
    let plain = best(50, || read(spec.collected()));
    let took = best(200, || load_and_evaluate(&entry, &sets[0]));
    report(
        "(a) load and evaluate one target",
        took,
        Duration::from_micros(400),
        plain,
    );
    let session = Session::new(&DiskFiles);
    let took = best(200, || {
        session
            .load(&entry, &sets[0])
            .expect("loads")
            .evaluate_all()
            .len()
    });
    report(
        "    the same in a session that knows the files",
        took,
        Duration::from_micros(400),
        plain,
    );
    let took = best(20, || matrix(&entry, &sets));
    report("(b) 600 targets", took, Duration::from_millis(50), plain);

    let text = generate::bulk(100 << 20);
    let file = dir.path().join("bulk.conf");
    std::fs::write(&file, &text).expect("written");
    let plain = best(3, || std::fs::read(&file).expect("read"));
    let took = (0..3)
        .map(|_| {
            let bytes = text.clone().into_bytes();
            let start = Instant::now();
            black_box(mstore_lang::syntax::File::parse_bytes(
                "bulk".into(),
                bytes,
                10,
            ));
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    let goal = Duration::from_secs_f64(text.len() as f64 / 300e6);
    report("(c) parse 100 MB", took, goal, plain);
    println!(
        "    {:.0} MB/s",
        text.len() as f64 / took.as_secs_f64() / 1e6
    );
    let took = best(2, || Spec::load(&DiskFiles, &file, &[]).expect("loads"));
    println!(
        "    loaded whole: {:.0} MB/s",
        text.len() as f64 / took.as_secs_f64() / 1e6
    );

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
        };
        let (short, long) = (time(10_000), time(100_000));
        let growth = long.as_secs_f64() / short.as_secs_f64();
        println!(
            "(d) {what}: 10,000 deep {short:.2?}, 100,000 deep {long:.2?}, {growth:.1} times as long"
        );
    }
}
