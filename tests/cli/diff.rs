//! `mstore diff`.

use std::fs;

use crate::hashes::{World, short, world};

#[test]
fn two_steps_are_compared_by_their_hashes() {
    let World { env, steps } = world();
    let (run, clean) = (&steps[0], &steps[1]);
    let same = env.run(&["diff", short(&run.0), short(&run.1)]).ok();
    assert_eq!(same, "no difference\n");
    let hide = |text: String| {
        let pairs = [(run, "RUN"), (clean, "CLEAN")];
        pairs.iter().fold(text, |text, (step, name)| {
            text.replace(&step.0, name)
                .replace(&step.2, &format!("{name}-TREE"))
        })
    };
    let other = env.run(&["diff", short(&run.0), "stage1-two"]);
    assert_eq!(other.status, Some(1), "{}", other.all());
    insta::assert_snapshot!(hide(other.stdout), @r"
    ~ demo/pc/one/stage1:run -> demo/pc/two/stage1:run: changed
        the script of `run` changed
          - make one
          + make two
    ");
    // Since it was built, the specification changed.
    let text = fs::read_to_string(env.work().join("metro.conf")).unwrap();
    env.write("metro.conf", text.replace("make $", "make -k $"));
    let changed = env.run(&["diff", short(&run.0), "stage1-one"]);
    assert_eq!(changed.status, Some(1));
    insta::assert_snapshot!(hide(changed.stdout), @r"
    ~ demo/pc/one/stage1:run: changed
        the script of `run` changed
          - make one
          + make -k one
    ");
    let trees = env.run(&["diff", short(&run.2), short(&clean.2)]);
    assert_eq!(trees.status, Some(1));
    assert_eq!(trees.stdout, "~ made/by\n");
    // The old derivation is no target any more.
    let error = env.run(&["graph", short(&run.0)]).fails(2);
    insta::assert_snapshot!(error.replace(&run.0, "RUN").replace(short(&run.0), "RU"), @r"
    error: RUN is a derivation of demo/pc/one/stage1:run, which is specified in another way now
    hint: `mstore diff RU demo/pc/one/stage1` tells what changed
    hint: to have it as it is specified now, give its name: demo/pc/one/stage1
    ");
}

/// Under a hook of git, the environment names another repository; the user's configuration may be broken.
#[test]
fn revisions_are_read_whatever_gits_environment_says() {
    let env = world().env;
    for args in [
        &["init", "-q"][..],
        &["add", "-A"],
        &["commit", "-q", "-m", "one"],
    ] {
        let done = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(args)
            .current_dir(env.work())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let mut command = env.command(&["diff", "--from", "HEAD", "stage1-one"]);
    command
        .env("GIT_DIR", "/nonexistent/repository")
        .env("GIT_OBJECT_DIRECTORY", "/nonexistent/objects")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "core.bare")
        .env("GIT_CONFIG_VALUE_0", "neither");
    let ran = env.finish(command.output().unwrap());
    assert_eq!(ran.status, Some(0), "{}", ran.all());
}
