//! Folders for people: `realise --out-link`, `realise --checkout`, `store path`, and how they go.

use std::fs;
use std::os::unix::fs::symlink;

use insta::assert_snapshot;

use crate::hashes::{World, world};

const TARGET: &str = "stage1-one";

#[test]
fn an_out_link_keeps_a_result_as_long_as_it_is_there() {
    let World { env, steps } = world();
    let tree = &steps[1].2;
    assert_eq!(
        env.run(&["realise", TARGET, "-q"]).ok(),
        format!("{TARGET} {tree}\n")
    );
    let link = env.work().join("result");
    let made = env.run(&["realise", TARGET, "--out-link", "result"]);
    assert_eq!(made.ok(), format!("{TARGET} {tree} result\n"));
    assert_eq!(
        fs::read_to_string(link.join("made/by")).unwrap(),
        "stage1-one:clean"
    );
    let path = env.run(&["store", "path", TARGET]).ok();
    assert_eq!(path, format!("$TEST/store/views/{tree}/root\n"));
    let json = env
        .run(&["realise", TARGET, "--out-link", "result", "--json"])
        .ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["path"], &json["tree"]),
        (&"result".into(), &tree.as_str().into())
    );

    // With nothing else to keep it, the link does.
    let _ = env.run(&["gc", "--keep", "0"]).ok();
    let why = env.run(&["why", "alive", tree]).ok();
    assert!(why.contains("the link $TEST/work/result"), "{why}");
    assert!(link.join("made/by").exists());
    let info = env.run(&["store", "info", "--json"]).ok();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert!(info["view_bytes"].as_u64() > Some(0), "{info}");

    // Led elsewhere, or removed, it keeps nothing.
    fs::remove_file(&link).unwrap();
    let dry = env.run(&["gc", "--keep", "0", "--dry-run"]).ok();
    assert!(
        dry.contains(&format!("would remove folder of {tree}")),
        "{dry}"
    );
    assert!(dry.contains("would remove out-links/"), "{dry}");
    let gone = env.run(&["gc", "--keep", "0"]).ok();
    assert_eq!(
        dry.replace("would remove", "removed").lines().count(),
        gone.lines().count() + dry.lines().filter(|l| l.starts_with("keeps")).count()
    );
    assert!(
        gone.contains(&format!("removed folder of {tree}")),
        "{gone}"
    );
    assert_eq!(fs::read_dir(env.store().join("views")).unwrap().count(), 0);
    assert_eq!(
        fs::read_dir(env.store().join("out-links")).unwrap().count(),
        0
    );
}

#[test]
fn a_checkout_is_a_folder_of_ones_own() {
    let World { env, steps } = world();
    let tree = &steps[1].2;
    fs::create_dir(env.work().join("empty")).unwrap();
    for folder in ["new", "empty"] {
        let made = env.run(&["realise", TARGET, "--checkout", folder]);
        assert_eq!(made.ok(), format!("{TARGET} {tree} {folder}\n"));
        let file = env.work().join(folder).join("made/by");
        assert_eq!(fs::read_to_string(file).unwrap(), "stage1-one:clean");
    }
    // It is the user's: no collection touches it.
    let _ = env.run(&["gc", "--keep", "0"]).ok();
    assert!(env.work().join("new/made/by").exists());
}

#[test]
fn what_is_in_the_way_is_told_before_anything_is_built() {
    let World { env, .. } = world();
    env.write("file", "mine");
    env.write("full/file", "mine");
    symlink("file", env.work().join("link")).unwrap();
    let run = |option: &str, place: &str| env.run(&["realise", TARGET, option, place]).fails(2);
    assert_snapshot!(run("--out-link", "file"), @r"
    error: file is there, and is not a link to a folder of a store
    hint: give another name, or remove it
    ");
    assert_snapshot!(run("--out-link", "link"), @r"
    error: link is there, and is not a link to a folder of a store
    hint: give another name, or remove it
    ");
    assert_snapshot!(run("--checkout", "full"), @r"
    error: full is not empty
    hint: give another name, or remove it
    ");
    assert_snapshot!(run("--checkout", "file"), @r"
    error: file is not a folder
    hint: give another name, or remove it
    ");
    let both = env.run(&["realise", "stage1-*", "--out-link", "result"]);
    assert_snapshot!(both.fails(2), @r"
    error: --out-link takes the result of one target, and these are 2
    hint: run it once for each: what is built already costs nothing
    ");
    assert_eq!(fs::read_to_string(env.work().join("file")).unwrap(), "mine");
    assert!(env.work().join("link").is_symlink());
}

#[test]
fn folders_beyond_the_bound_go_by_themselves() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: an ordinary user's folders go with gc alone");
        return;
    }
    let World { env, steps } = world();
    let trees: Vec<&String> = steps.iter().map(|step| &step.2).collect();
    env.write("mstore.conf", "[section gc]\nwritten-out: 1\n");
    let run = |arguments: &[&str]| env.run(&[&["--config", "mstore.conf"], arguments].concat());
    let path = |tree: &str| env.store().join("views").join(tree);
    // One that was made by name stays.
    let _ = run(&["realise", TARGET, "--out-link", "result"]).ok();
    // One that was asked for just now is there when its name is printed: the next command removes it.
    let _ = run(&["store", "path", trees[0]]).ok();
    assert!(path(trees[0]).join("root").is_dir());
    assert!(env.work().join("result/made/by").exists());
    let _ = run(&["realise", TARGET, "--checkout", "other"]).ok();
    assert!(!path(trees[0]).exists());
    assert!(env.work().join("result/made/by").exists());
    // Within the bound nothing goes.
    let _ = env.run(&["store", "path", trees[0]]).ok();
    let _ = env.run(&["realise", TARGET, "--checkout", "again"]).ok();
    assert!(path(trees[0]).join("root").is_dir());
    let dry = run(&["gc", "--dry-run"]).ok();
    assert!(
        dry.contains(&format!("would remove folder of {}", trees[0])),
        "{dry}"
    );
    let _ = run(&["gc"]).ok();
    assert!(!path(trees[0]).exists());
    assert!(env.work().join("result/made/by").exists());
}
