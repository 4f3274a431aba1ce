//! A run that finds nothing to do is remembered: whatever changed, the next one tells what a run tells that
//! remembers nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use mstore_store::Hash;

use crate::environment::{Environment, Ran};
use crate::hashes::{self, World};

const TARGET: &[&str] = &["realise", "stage1-one"];
/// What is changed between two runs; each can be done at any time.
const CHANGES: usize = 14;

fn world() -> World {
    let world = hashes::world();
    // A file of the user's for each subarch.
    for more in ["more-one.conf", "more-two.conf"] {
        world.env.write(more, "more: 0\n");
    }
    let path = world.env.work().join("metro.conf");
    let text = fs::read_to_string(&path).unwrap();
    let more = "[collect ./more-$[target/subarch:zap].conf]\n";
    fs::write(&path, format!("{text}\n{more}")).unwrap();
    world
}

/// The only answer that is kept.
fn answer(env: &Environment) -> Option<PathBuf> {
    let names = fs::read_dir(env.store().join("cache")).unwrap();
    let mut answers = names.map(|entry| entry.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("answer-")
    });
    let first = answers.next();
    assert_eq!(answers.next(), None);
    first
}

/// Changes the answer that is kept: its bytes, before which stands their hash.
fn alter(env: &Environment, change: impl FnOnce(&mut Vec<u8>)) {
    let path = answer(env).unwrap();
    let mut bytes = fs::read(&path).unwrap().split_off(32);
    change(&mut bytes);
    let hash = Hash::of(&bytes);
    fs::write(path, [&hash.as_bytes()[..], &bytes].concat()).unwrap();
}

fn position(bytes: &[u8], needle: &[u8]) -> usize {
    let mut windows = bytes.windows(needle.len());
    windows.position(|window| window == needle).unwrap()
}

/// Runs the same in a copy of the whole place, in which nothing was asked before.
fn anew(env: &Environment, arguments: &[&str]) -> Ran {
    let copy = Environment::new();
    for (from, to) in [(env.work(), copy.work()), (env.store(), copy.store())] {
        let done = Command::new("cp").arg("-aT").arg(from).arg(to).status();
        assert!(done.unwrap().success());
    }
    copy.run(arguments)
}

/// What a run says that does not depend on when and where it was.
fn gist(ran: &Ran) -> (Option<i32>, String, bool) {
    let idle = ran.stderr.contains("nothing to do: 2 steps up to date");
    (ran.status, ran.stdout.clone(), idle)
}

/// Does a change. `n` is another one each time.
fn change(env: &Environment, number: usize, n: usize) {
    let at = |name: &str| env.work().join(name);
    let more = at("more-one.conf");
    let packs = || {
        let packs = fs::read_dir(env.store().join("packs")).unwrap();
        let mut packs: Vec<PathBuf> = packs.map(|entry| entry.unwrap().path()).collect();
        packs.sort();
        packs
    };
    let swap = |path: PathBuf, aside: PathBuf| {
        if aside.exists() {
            fs::rename(aside, path).unwrap();
        } else {
            fs::rename(path, aside).unwrap();
        }
    };
    match number {
        0 => {}
        // The script of a step, and back.
        1 => {
            let text = fs::read_to_string(at("metro.conf")).unwrap();
            let (from, to) = match text.contains("make $[") {
                true => ("make $[", "made $["),
                false => ("made $[", "make $["),
            };
            env.write("metro.conf", text.replace(from, to));
        }
        2 => {
            let _ = fs::remove_file(&more);
            fs::write(&more, format!("more: {n}\n")).unwrap();
        }
        3 => {
            let _ = fs::remove_file(&more);
            fs::write(&more, "not a specification [\n").unwrap();
        }
        4 => drop(fs::remove_file(&more)),
        5 => {
            let _ = fs::remove_file(&more);
            fs::write(at("elsewhere"), "more: 1\n").unwrap();
            symlink("elsewhere", &more).unwrap();
        }
        6 => swap(at("metro.lock"), at("lock-aside")),
        7 => {
            let _ = env.run(&["gc"]);
        }
        8 => {
            let _ = env.run(&["gc", "--max-size", "0"]);
        }
        9 => drop(fs::remove_dir_all(env.store().join("checkouts"))),
        10 => {
            let packs = packs();
            let aside = at("pack-aside");
            match fs::read(&aside) {
                Ok(bytes) => {
                    let name = String::from_utf8(fs::read(at("pack-name")).unwrap()).unwrap();
                    fs::write(name, bytes).unwrap();
                    fs::remove_file(&aside).unwrap();
                }
                Err(_) if packs.is_empty() => {}
                Err(_) => {
                    let pack = &packs[n % packs.len()];
                    fs::write(at("pack-name"), pack.to_str().unwrap()).unwrap();
                    fs::rename(pack, &aside).unwrap();
                }
            }
        }
        11 => {
            let sql = "DELETE FROM realisation WHERE name LIKE '%:clean' AND kind = 'step'";
            sqlite(env, sql);
        }
        // Another result of the last step, of a tree that is here.
        12 => sqlite(
            env,
            "UPDATE realisation SET tree = (SELECT tree FROM root LIMIT 1) \
             WHERE name LIKE '%:clean' AND kind = 'step'",
        ),
        13 => {
            let _ = env.run(&["store", "repack"]);
        }
        _ => unreachable!(),
    }
}

fn sqlite(env: &Environment, sql: &str) {
    let mut command = Command::new("sqlite3");
    command.arg(env.store().join("db/mstore.sqlite")).arg(sql);
    assert!(command.status().unwrap().success());
}

#[test]
fn a_run_says_what_one_says_that_remembers_nothing() {
    let World { env, .. } = world();
    let mut random = 5_u64;
    let mut done = Vec::new();
    let (mut idle, mut stale) = (0, 0);
    for n in 0..40 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        // Every other time a small change of the files, which leaves something to remember.
        let number = match n % 2 {
            0 => (random >> 33) as usize % 6,
            _ => (random >> 33) as usize % CHANGES,
        };
        done.push(number);
        change(&env, number, n);
        let expected = gist(&anew(&env, TARGET));
        let ran = env.run(TARGET);
        // What is to be built may fail in another way in a copy, whose layers are other folders.
        assert_eq!(gist(&ran).2, expected.2, "{done:?}: {}", ran.all());
        if expected.2 {
            assert_eq!(gist(&ran), expected, "{done:?}: {}", ran.all());
            (idle, stale) = (idle + 1, 0);
            // Now it is remembered, if it was not before.
            assert_eq!(gist(&env.run(TARGET)), expected, "{done:?}");
        }
        stale += usize::from(!expected.2);
        if stale == 3 {
            stale = 0;
            // Back to the beginning: what was lost does not come back.
            let World { env: fresh, .. } = world();
            for (from, to) in [(fresh.work(), env.work()), (fresh.store(), env.store())] {
                fs::remove_dir_all(&to).unwrap();
                let copied = Command::new("cp").arg("-aT").arg(from).arg(to).status();
                assert!(copied.unwrap().success());
            }
            done.clear();
        }
    }
    assert!(idle >= 5, "{idle}");
}

#[test]
fn what_is_remembered_is_told_and_noted_as_used() {
    let World { env, steps } = world();
    let tree = &steps[1].2;
    // The first writes down which tree the target is, the second finds that nothing is to be done.
    let first = env.run(TARGET).ok();
    assert_eq!(env.run(TARGET).ok(), first);
    // That the answer is given is seen by one that is not what a run would find.
    alter(&env, |bytes| {
        let at = position(bytes, b"stage1-one");
        bytes[at..at + 10].copy_from_slice(b"stage1-ONE");
    });
    let ran = env.run(TARGET);
    assert_eq!(ran.stdout, first.replace("stage1-one", "stage1-ONE"));
    assert!(ran.stderr.starts_with("nothing to do: 2 steps up to date"));
    // Another question has another answer.
    assert_eq!(
        env.run(&["realise", "stage1-one", "stage1-one"]).status,
        Some(0)
    );
    let used = || {
        let mut command = Command::new("sqlite3");
        command
            .arg(env.store().join("db/mstore.sqlite"))
            .arg(format!("SELECT at FROM used WHERE tree = '{tree}'"));
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        text.trim().parse::<i64>().ok()
    };
    let now = used().unwrap();
    sqlite(&env, "UPDATE used SET at = 5");
    for path in fs::read_dir(env.store().join("cache")).unwrap().flatten() {
        let name = path.file_name().to_string_lossy().into_owned();
        let bytes = fs::read(path.path()).unwrap();
        if name.starts_with("answer-") && !bytes.windows(10).any(|w| w == b"stage1-ONE") {
            fs::remove_file(path.path()).unwrap();
        }
    }
    let _ = env.run(TARGET).ok();
    assert_eq!(used(), Some(5), "within a minute nothing is noted again");
    alter(&env, |bytes| {
        let at = position(bytes, b"noted") + 5;
        assert_eq!(bytes[at], 0x1a, "a number of four bytes");
        let noted = u32::from_be_bytes(bytes[at + 1..at + 5].try_into().unwrap());
        bytes[at + 1..at + 5].copy_from_slice(&(noted - 61).to_be_bytes());
    });
    assert!(env.run(TARGET).ok().contains("stage1-ONE"));
    assert!(used() >= Some(now), "{:?}", used());
}
