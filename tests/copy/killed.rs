//! A copy that is killed, at whatever call, can be given again.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use mstore_store::{OpenOptions, Store, TreeHash, VerifyOptions};

use crate::environment::Environment;
use crate::support::{import, program, skip};

/// Calls that change what others see of a folder; `strace` kills before one of them is done.
const CALLS: &str = "mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,fsync,fdatasync,flock,ftruncate,pwrite64";

/// Runs mstore so that it is killed at the `n`th of the calls of a thread; false when it ended before.
fn killed(env: &Environment, strace: &Path, arguments: &[&str], n: u32) -> bool {
    let plain = env.command(arguments);
    let mut command = Command::new(strace);
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg(format!("trace={CALLS}"))
        .arg("-e")
        .arg(format!("inject={CALLS}:signal=KILL:when={n}"))
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(env.work())
        .env_clear();
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap());
    }
    let output = command.output().unwrap();
    let dead = output.status.signal() == Some(9) || output.status.code() == Some(137);
    assert!(
        dead || output.status.success(),
        "at call {n}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    dead
}

fn sound(path: &Path, tree: TreeHash) {
    let store = Store::open(path, &OpenOptions::read_only()).unwrap();
    assert!(store.has_tree(tree).unwrap());
    let report = store.verify(&VerifyOptions::default(), &mut |_| ());
    assert_eq!(report.unwrap().faults, []);
}

/// Kills a copy at its first call, its second, and so on, always a first one into a place that is not
/// there, and gives it again. The first calls, which make the place, are tried one by one.
fn everywhere(name: &str, arguments: &[&str], place: impl Fn(&Environment) -> std::path::PathBuf) {
    let Some(strace) = program("strace") else {
        return skip(name, "strace");
    };
    let env = Environment::new();
    let tree = import(&env.work().join("from"), 7);
    let text = tree.to_string();
    let arguments: Vec<&str> = [arguments, &[text.as_str()]].concat();
    let place = place(&env);
    let (mut n, mut points) = (1, 0);
    loop {
        let _ = std::fs::remove_dir_all(&place);
        if !killed(&env, &strace, &arguments, n) {
            break;
        }
        let again = env.run(&arguments);
        assert_eq!(again.status, Some(0), "killed at call {n}: {}", again.all());
        match place.join("mstore-cache").exists() {
            true => {
                let cache = place.display().to_string();
                let back = env.work().join("back");
                let _ = std::fs::remove_dir_all(&back);
                let from = [
                    "--store", "back", "copy", "--from", &cache, &text, "--root", "x",
                ];
                env.run(&from).ok();
                sound(&back, tree);
            }
            false => sound(&place, tree),
        }
        points += 1;
        n += if n < 25 { 1 } else { n / 4 };
    }
    println!("{name}: killed at {points} calls of {n}");
    assert!(points > 20);
}

#[test]
fn the_first_copy_into_a_store_can_be_repeated() {
    let to = ["--store", "from", "copy", "--to", "new"];
    everywhere("to a store", &to, |env| env.work().join("new"));
}

#[test]
fn the_first_copy_from_a_store_can_be_repeated() {
    let from = ["--store", "new", "copy", "--from", "from", "--root", "x"];
    everywhere("from a store", &from, |env| env.work().join("new"));
}

#[test]
fn the_first_copy_into_a_cache_can_be_repeated() {
    let to = ["--store", "from", "copy", "--to", "new", "--cache"];
    everywhere("to a cache", &to, |env| env.work().join("new"));
}

#[test]
fn what_only_began_is_told_from_what_is_something_else() {
    let env = Environment::new();
    let tree = import(&env.store(), 7).to_string();
    let folders = |names: &[&str]| {
        let _ = std::fs::remove_dir_all(env.work().join("new"));
        for name in names {
            std::fs::create_dir_all(env.work().join("new").join(name)).unwrap();
        }
    };
    // Folders that both have.
    folders(&["packs"]);
    env.run(&["copy", "--to", "new", &tree]).ok();
    folders(&["packs"]);
    env.run(&["copy", "--to", "new", "--cache", &tree]).ok();
    // A cache that began stays one.
    folders(&["packs", "trees"]);
    env.run(&["copy", "--to", "new", &tree]).ok();
    assert!(env.work().join("new/mstore-cache").is_file());
    folders(&["packs", "db"]);
    let store = env.run(&["copy", "--to", "new", "--cache", &tree]).fails(2);
    assert!(store.contains("is a store"), "{store}");
    folders(&["packs", "photos"]);
    let other = env.run(&["copy", "--to", "new", &tree]).fails(2);
    assert!(other.contains("neither a store nor a cache"), "{other}");
    // Nothing can be asked of a store that only began.
    folders(&["packs", "db"]);
    let asked = env.run(&["--store", "new", "store", "info"]).fails(2);
    assert!(asked.contains("no store at"), "{asked}");
}
