//! Whole runs of the store over a real root file system, against simple tools in the same run.
//!
//! `STORE_BENCH_TREE=/a/root/fs STORE_BENCH_NEXT=/the/next STORE_BENCH_DIR=/room cargo bench -p
//! mstore-store --bench store` (the second is optional). Prints medians of five runs, and the ratio to
//! the floor of each row. Without a tree it makes a small one, to show that it works.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mstore_store::*;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const RUNS: usize = 5;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

/// Runs `work` several times, with `before` outside the clock.
fn measure<T>(
    mut before: impl FnMut() -> Outcome<T>,
    mut work: impl FnMut(&T) -> Outcome<()>,
) -> Outcome<f64> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let given = before()?;
        rustix::fs::sync();
        let start = Instant::now();
        work(&given)?;
        times.push(start.elapsed());
    }
    Ok(median(times))
}

fn run(program: &str, args: &[&std::ffi::OsStr]) -> Outcome<()> {
    let out = Command::new(program).args(args).output()?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned().into());
    }
    Ok(())
}

fn walk(dir: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += meta.size();
        if meta.is_dir() {
            sum += walk(&entry.path())?;
        }
    }
    Ok(sum)
}

fn row(name: &str, seconds: f64, floor: &str, base: f64) {
    println!(
        "{name:<44} {seconds:>8.3} s   {:>6.2} x {floor}",
        seconds / base
    );
}

fn fresh(dir: &Path, name: &str) -> Outcome<PathBuf> {
    let path = dir.join(name);
    if path.exists() {
        run("rm", &["-rf".as_ref(), path.as_os_str()])?;
    }
    Ok(path)
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|l| l.split_ascii_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

fn main() -> Outcome<()> {
    let room = std::env::var_os("STORE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(room)?;
    let dir = dir.path();
    let tree = match std::env::var_os("STORE_BENCH_TREE") {
        Some(path) => PathBuf::from(path),
        None => {
            let path = dir.join("sample");
            for d in 0..20 {
                std::fs::create_dir_all(path.join(d.to_string()))?;
                for f in 0..50 {
                    let content = format!("{d} {f}\n").repeat(100 * (f + 1));
                    std::fs::write(path.join(format!("{d}/{f}")), content)?;
                }
            }
            path
        }
    };
    let next = std::env::var_os("STORE_BENCH_NEXT").map(PathBuf::from);
    let full = ImportOptions::default();
    let plain = ImportOptions {
        no_cache: true,
        ..ImportOptions::default()
    };
    let open = |path: &Path| Store::open(path, &OpenOptions::create());
    walk(&tree)?;
    let floor = measure(|| Ok(()), |()| walk(&tree).map(drop))?;
    let copy = dir.join("cp");
    let cp = measure(
        || fresh(dir, "cp").map(drop),
        |()| run("cp", &["-a".as_ref(), tree.as_os_str(), copy.as_os_str()]),
    )?;
    let links = dir.join("cpl");
    let cpl = measure(
        || fresh(dir, "cpl").map(drop),
        |()| run("cp", &["-al".as_ref(), copy.as_os_str(), links.as_os_str()]),
    )?;
    fresh(dir, "cp")?;
    fresh(dir, "cpl")?;
    println!("walk {floor:.3} s, cp -a {cp:.3} s, cp -al {cpl:.3} s");
    let first = measure(
        || Ok(open(&fresh(dir, "first")?)?),
        |store| Ok(store.import_dir(&tree, &plain).map(drop)?),
    )?;
    row("first import, durable", first, "cp -a", cp);
    let store = open(&fresh(dir, "store")?)?;
    let imported = store.import_dir(&tree, &full)?;
    println!(
        "{} entries, {} bytes of content, {} bytes in the store, peak {} MiB",
        imported.entries,
        imported.bytes,
        imported.new_bytes,
        peak() / 1024
    );
    let again = measure(
        || Ok(()),
        |()| Ok(store.import_dir(&tree, &full).map(drop)?),
    )?;
    row("import again, unchanged", again, "walk", floor);
    let known = measure(
        || Ok(()),
        |()| Ok(store.import_dir(&tree, &plain).map(drop)?),
    )?;
    row(
        "import from another folder, nothing new",
        known,
        "walk",
        floor,
    );
    if let Some(next) = &next {
        let kept = store.path().to_path_buf();
        let mut grown = 0;
        let seconds = measure(
            || {
                let path = fresh(dir, "next")?;
                run("cp", &["-a".as_ref(), kept.as_os_str(), path.as_os_str()])?;
                Ok(open(&path)?)
            },
            |store| {
                grown = store.import_dir(next, &plain)?.new_bytes;
                Ok(())
            },
        )?;
        row("import of the next stage", seconds, "walk", floor);
        println!("{grown} bytes added");
    }
    let out = measure(
        || fresh(dir, "out"),
        |path| Ok(store.copy_out(imported.tree, path)?),
    )?;
    row("copy out", out, "cp -a", cp);
    let checkout = measure(
        || fresh(&store.path().join("checkouts"), &imported.tree.to_string()).map(drop),
        |()| Ok(store.checkout(imported.tree).map(drop)?),
    )?;
    row("checkout, not there yet", checkout, "cp -al", cpl);
    let there = measure(|| Ok(()), |()| Ok(store.checkout(imported.tree).map(drop)?))?;
    row("checkout, there already", there, "cp -al", cpl);
    let number = std::cell::Cell::new(0);
    let captured = measure(
        || {
            let upper = fresh(dir, "upper")?;
            store.prepare_upper(imported.tree, &upper)?;
            number.set(number.get() + 1);
            for d in 0..10 {
                let sub = upper.join(format!("usr/new{d}"));
                std::fs::create_dir_all(&sub)?;
                for f in 0..31 {
                    let content = format!("{} {d} {f}\n", number.get()).repeat(1300);
                    std::fs::write(sub.join(f.to_string()), content)?;
                }
            }
            Ok(upper)
        },
        |upper| {
            let options = CaptureOptions { epoch: i64::MAX };
            Ok(store.capture(imported.tree, upper, &options).map(drop)?)
        },
    )?;
    row("capture of 310 new files", captured, "walk", floor);
    let verified = measure(
        || Ok(()),
        |()| {
            Ok(store
                .verify(&VerifyOptions::default(), &mut |_| ())
                .map(drop)?)
        },
    )?;
    row("verify everything", verified, "cp -a", cp);
    store.add_root("base", imported.tree)?;
    let path = store.path().to_path_buf();
    drop(store);
    let collected = measure(
        || {
            let store = open(&path)?;
            if let Some(next) = &next {
                store.import_dir(next, &plain)?;
            }
            drop(store);
            Ok(open(&path)?)
        },
        |store| Ok(store.gc(&GcPolicy::newest(0), false).map(drop)?),
    )?;
    row("gc of the next stage", collected, "walk", floor);
    let opened = measure(|| Ok(()), |()| Ok(open(&path).map(drop)?))?;
    row("open", opened, "walk", floor);
    println!("peak {} MiB", peak() / 1024);
    Ok(())
}
