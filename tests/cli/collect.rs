//! What gc leaves: folders that processes work in, and what was used just now; and what it tells is lost.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use mstore_store::{
    Hash, ImportOptions, OpenOptions, Realisation, RealisationKind, Store, TreeHash,
};

use crate::environment::Environment;

/// A process that is ended with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn store(env: &Environment) -> Store {
    Store::open(&env.store(), &OpenOptions::create()).unwrap()
}

fn import(env: &Environment, text: &str) -> TreeHash {
    let folder = format!("in-{text}");
    env.write(&format!("{folder}/usr/file"), text.repeat(1000));
    let options = ImportOptions::snapshot();
    let imported = store(env).import_dir(&env.work().join(folder), &options);
    imported.unwrap().tree
}

/// Records a target as built some seconds ago.
fn built(env: &Environment, name: &str, tree: TreeHash, ago: u64) {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let key = Hash::of(format!("{name} {ago}").as_bytes());
    store(env)
        .record(&Realisation {
            kind: RealisationKind::Target,
            key,
            drv: key,
            name: name.into(),
            tree,
            started: (since.as_secs() - ago) as i64,
            seconds: 0.0,
            host: "host".into(),
            log: None,
        })
        .unwrap();
}

#[test]
fn a_folder_that_a_process_works_in_stays() {
    let env = Environment::new();
    let tree = import(&env, "one").to_string();
    let other = import(&env, "two").to_string();
    store(&env).add_root("one", tree.parse().unwrap()).unwrap();
    store(&env).add_root("two", other.parse().unwrap()).unwrap();
    let folder = |tree: &str| PathBuf::from(env.run(&["store", "path", tree]).ok().trim());
    let real = |path: PathBuf| PathBuf::from(path.to_string_lossy().replace("$TEST", &env.top()));
    let (occupied, free) = (real(folder(&tree)), real(folder(&other)));
    let mut sleep = Command::new("sleep");
    sleep
        .arg("60")
        .current_dir(occupied.join("usr"))
        .stdin(Stdio::null());
    let started = Started(sleep.spawn().unwrap());
    for root in ["one", "two"] {
        let _ = env.run(&["store", "root", "remove", root]).ok();
    }
    let stays = format!("stays: in use by process {}", started.0.id());
    for arguments in [&["gc", "-n"][..], &["gc"], &["gc", "--max-size", "0"]] {
        let ran = env.run(arguments);
        assert!(ran.stderr.contains(&stays), "{}", ran.all());
        assert!(ran.stderr.contains(&tree), "{}", ran.all());
        assert!(!ran.stderr.contains(&other), "{}", ran.all());
        let _ = ran.ok();
        assert!(occupied.join("usr/file").is_file());
    }
    assert!(!free.exists());
    let json = env.run(&["gc", "-n", "--json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["occupied"][0]["processes"][0], started.0.id());
    drop(started);
    let ran = env.run(&["gc"]);
    assert!(!ran.stderr.contains("stays"), "{}", ran.all());
    assert!(!occupied.exists());
}

#[test]
fn what_was_used_just_now_stays_in_a_store_that_is_too_large() {
    let env = Environment::new();
    let (fresh, old) = (import(&env, "fresh"), import(&env, "old"));
    built(&env, "a/b/c/fresh", fresh, 60);
    built(&env, "a/b/c/old", old, 3600);
    let _ = env.run(&["store", "path", &fresh.to_string()]).ok();
    let dry = env.run(&["gc", "-n", "--max-size", "1k"]).ok();
    assert!(dry.contains(&format!("would remove tree {old}")), "{dry}");
    let why =
        format!("keeps {fresh}: a/b/c/fresh, number 1 from the newest; used just now (gc/grace)");
    assert!(dry.contains(&why), "{dry}");
    assert!(!dry.contains("folder of"), "{dry}");
    // The time is in the configuration file.
    env.write("longer.conf", "gc/grace: 90\n");
    let longer = ["--config", "longer.conf", "gc", "-n", "--max-size", "1k"];
    let dry = env.run(&longer).ok();
    assert!(!dry.contains("would remove tree"), "{dry}");
    env.write("none.conf", "gc/grace: 0\n");
    let none = ["--config", "none.conf", "gc", "--max-size", "1k"];
    let gone = env.run(&none).ok();
    assert!(gone.contains(&format!("removed tree {fresh}")), "{gone}");
    assert!(gone.contains("removed folder of"), "{gone}");
    // Collections lose nothing.
    let info = env.run(&["store", "info"]);
    assert!(!info.stderr.contains("lost"), "{}", info.all());
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
}

#[test]
fn the_newest_result_whose_tree_is_lost_is_named() {
    let env = Environment::new();
    let (older, newest, other) = (
        import(&env, "older"),
        import(&env, "newest"),
        import(&env, "other"),
    );
    built(&env, "a/b/c/t", older, 100);
    built(&env, "a/b/c/t", newest, 50);
    built(&env, "a/b/c/other", other, 50);
    // The packs and their rows go, as when a folder is put back from a backup of other days.
    let names: Vec<String> = {
        let packs = fs::read_dir(env.store().join("packs")).unwrap();
        packs
            .map(|p| p.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let has = |name: &str, tree: TreeHash| {
        let bytes = fs::read(env.store().join("packs").join(name)).unwrap();
        bytes.windows(32).any(|w| w == tree.0.as_bytes())
    };
    let lost: Vec<&String> = names.iter().filter(|n| has(n, newest)).collect();
    assert!(!lost.is_empty());
    for name in lost {
        fs::remove_file(env.store().join("packs").join(name)).unwrap();
        let sql = format!(
            "DELETE FROM pack WHERE name = '{}'",
            name.trim_end_matches(".pack")
        );
        let done = Command::new("sqlite3")
            .arg(env.store().join("db/mstore.sqlite"))
            .arg(sql)
            .status();
        assert!(done.unwrap().success());
    }
    let told = format!("a/b/c/t: its tree is lost: {newest}");
    for arguments in [&["store", "info"][..], &["gc", "-n"]] {
        let ran = env.run(arguments);
        assert!(ran.stderr.contains(&told), "{}", ran.all());
        assert!(!ran.stderr.contains("other"), "{}", ran.all());
    }
    let verify = env.run(&["store", "verify"]);
    assert_eq!(verify.status, Some(1), "{}", verify.all());
    assert!(
        verify.stderr.contains(&newest.to_string()),
        "{}",
        verify.all()
    );
    assert!(
        verify.stderr.contains("affects a/b/c/t"),
        "{}",
        verify.all()
    );
    let repaired = env.run(&["store", "verify", "--repair"]);
    assert!(
        repaired.stdout.contains("forgot 1 realisations"),
        "{}",
        repaired.all()
    );
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
    let info = env.run(&["store", "info"]);
    assert!(!info.stderr.contains("lost"), "{}", info.all());
}

/// What goes has the name of the target or step that it is of, before it goes and when it is gone.
#[test]
fn gc_names_what_goes() {
    let env = Environment::new();
    let (kept, gone) = (import(&env, "kept"), import(&env, "gone"));
    built(&env, "a/b/c/same", gone, 7200);
    built(&env, "a/b/c/same", kept, 3600);
    let _ = env.run(&["store", "path", &gone.to_string()]).ok();
    let json = env.run(&["gc", "-n", "--json", "--keep", "1"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for (words, verb) in [
        (&["gc", "-n", "--keep", "1"][..], "would remove"),
        (&["gc", "--keep", "1"], "removed"),
    ] {
        let told = env.run(words).ok();
        let says = |text: String| told.contains(&text);
        assert!(says(format!("{verb} tree {gone} (a/b/c/same)\n")), "{told}");
        assert!(
            says(format!("{verb} folder of {gone} (a/b/c/same), ")),
            "{told}"
        );
        let sum = told.lines().last().unwrap_or_default();
        assert!(
            sum.contains("; ") && sum.contains("1 tree, 1 view ("),
            "{told}"
        );
        assert!(!says(format!("{verb} tree {kept}")), "{told}");
    }
    let of = |kind: &str| {
        let all = json["gone"].as_array().unwrap();
        all.iter()
            .find(|gone| gone["kind"] == kind)
            .unwrap()
            .clone()
    };
    assert_eq!(of("view")["names"][0], "a/b/c/same");
    assert_eq!(json["counts"]["view"]["number"], 1);
    assert_eq!(json["counts"]["tree"]["number"], 1);
}
