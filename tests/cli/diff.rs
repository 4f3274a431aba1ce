//! `mstore diff`.

use std::fs;

use crate::environment::Environment;
use crate::hashes::{World, build, short, world};

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

fn commit(env: &Environment) {
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
}

/// Sixty targets of a class, and a line that all of them have.
#[test]
fn a_line_of_a_large_distribution_is_told_of_on_a_screen() {
    let env = Environment::new();
    let subarches: Vec<String> = (0..60).map(|n| format!("sub{n}")).collect();
    env.write(
        "metro.conf",
        format!(
            "[section list]\nbuilds: demo\narches: pc\nsubarches/pc: {}\ntargets: stage1 stage2\n\
             [section target]\nplatform: x86_64\nversion: 1\n\
             [section source when target is stage1]\n: seed\nseed: base\n\
             [section source when target is stage2]\n: stage1\n\
             [section env when target is stage1]\nCFLAGS: -O2 -march=$[target/subarch]\n\
             [section steps]\nchroot: one two three run clean\n[section steps/chroot]\n\
             one: [\n:\n]\ntwo: [\n:\n]\nthree: [\n:\n]\nrun: [\nmake $[target/subarch]\n]\nclean: [\nrm -rf /tmp/work\n]\n",
            subarches.join(" ")
        ),
    );
    commit(&env);
    let text = fs::read_to_string(env.work().join("metro.conf")).unwrap();
    env.write("metro.conf", text.replace("make $", "make -k $"));
    let ran = env.run(&["diff", "--from", "HEAD"]);
    assert_eq!(ran.status, Some(1), "{}", ran.all());
    assert!(ran.stdout.lines().count() < 24, "{}", ran.stdout);
    insta::assert_snapshot!(ran.stdout, @"
    ~ 120 steps changed:
        all 60 stage1-*:run
        all 60 stage2-*:run
      in 60 ways; that of stage1-sub0:run:
        the script of `run` changed
          - make sub0
          + make -k sub0
    > 300 steps downstream:
        all 60 stage1-*:clean
        all 60 stage2-* (one two three clean)
    stale:
        all 60 stage1-*
        all 60 stage2-*
    building it takes an unknown time: none of the 420 steps was ever built here
    ");
    env.write("metro.conf", text.replace("-O2", "-O3"));
    let ran = env.run(&["diff", "--from", "HEAD"]);
    insta::assert_snapshot!(ran.stdout, @"
    ~ 300 steps changed: all 60 stage1-* (5 steps each)
      in 60 ways; that of stage1-sub0:one:
        env/CFLAGS changed
          - -O2 -march=sub0
          + -O3 -march=sub0
    > 300 steps downstream: all 60 stage2-* (5 steps each)
    stale:
        all 60 stage1-*
        all 60 stage2-*
    building it takes an unknown time: none of the 600 steps was ever built here
    ");
    let ran = env.run(&["diff", "--from", "HEAD", "--markdown"]);
    insta::assert_snapshot!(ran.stdout, @"
    **120 targets stale:** all 60 `stage1-*`, all 60 `stage2-*`

    - 300 steps changed: all 60 `stage1-*` (5 steps each)

      in 60 ways; that of `stage1-sub0:one`:

      ```diff
      env/CFLAGS changed
      - -O2 -march=sub0
      + -O3 -march=sub0
      ```

    - 300 steps downstream: all 60 `stage2-*` (5 steps each)

    Building it takes an unknown time: none of the 600 steps was ever built here.
    ");
}

/// Each step of one target took a minute, those of the other never ran.
#[test]
fn how_long_it_takes_is_told_as_far_as_it_is_known() {
    let World { env, steps } = world();
    commit(&env);
    let text = fs::read_to_string(env.work().join("metro.conf")).unwrap();
    env.write("metro.conf", text.replace("make $", "make -k $"));
    let diff = |words: &[&str]| {
        let mut all = vec!["diff", "--from", "HEAD"];
        all.extend(words);
        let ran = env.run(&all);
        assert_eq!(ran.status, Some(1), "{}", ran.all());
        ran.stdout
    };
    let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    insta::assert_snapshot!(last(&diff(&["stage1-one"])), @"building it takes about 60 s, and up to 2 min if all inputs come out different");
    insta::assert_snapshot!(last(&diff(&["stage1-one", "stage1-two"])), @"building it takes about 60 s, and up to 2 min if all inputs come out different, without 2 of 4 steps that were never built here");
    insta::assert_snapshot!(last(&diff(&["stage1-two"])), @"building it takes an unknown time: none of the 2 steps was ever built here");
    let json: serde_json::Value = serde_json::from_str(&diff(&["--json"])).unwrap();
    insta::assert_snapshot!(json["estimate"], @r#"{"least":{"seconds":60.0,"steps":2,"unknown":1},"most":{"seconds":120.0,"steps":4,"unknown":2}}"#);
    insta::assert_snapshot!(env.run(&["realise", "-n", "stage1-one", "stage1-two"]).ok(), @"
    would build stage1-one:run: the script of `run` changed
    would build stage1-two:run: never built
    would build stage1-one:clean if its inputs come out different
    would build stage1-two:clean if its inputs come out different
    would reuse 0 steps
    would take about 60 s, and up to 2 min if all inputs come out different, without 2 of 4 steps that were never built here
    ");
    let json = env.run(&["realise", "-n", "--json", "stage1-one"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    insta::assert_snapshot!(json["estimate"], @r#"{"least":{"seconds":60.0,"steps":1,"unknown":0},"most":{"seconds":120.0,"steps":2,"unknown":0}}"#);
    // Two hosts, one of which is four times as fast: what is in a row takes a quarter of the time.
    env.write("hosts", "big jobs=1 sf=4\nsmall jobs=2 sf=1\n");
    let ran = env
        .run(&["realise", "-n", "--hosts", "hosts", "stage1-one"])
        .ok();
    insta::assert_snapshot!(last(&ran), @"would take about 15 s, and up to 30 s if all inputs come out different");
    // Built with another change on top, the build before is the nearer one.
    build(&env, 1_700_100_000);
    env.write(
        "metro.conf",
        text.replace("make $", "make -k $").replace(
            "version: 1",
            "version: 1\n[section env]\nA: b\n[section target]",
        ),
    );
    build(&env, 1_700_200_000);
    env.write("metro.conf", text.replace("make $", "make -j $"));
    let why = env.run(&["why", "rebuild", "stage1-one"]).ok();
    insta::assert_snapshot!(why, @"
    stage1-one:run
      compared with the build of 2023-11-16 02:00:00, which differs less than the last:
      the script of `run` changed
        - make -k one
        + make -j one
    stage1-one:clean
      compared with the build of 2023-11-16 02:00:01, which differs less than the last:
      starts from stage1-one:run, which has to be built first
    ");
    let json = env.run(&["why", "rebuild", "stage1-one", "--json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["compared"]["started"], 1_700_100_000);
    assert_eq!(json[0]["compared"]["last"], false);
    assert_ne!(json[0]["compared"]["key"], steps[0].1.as_str());
}

/// Under a hook of git, the environment names another repository; the user's configuration may be broken.
#[test]
fn revisions_are_read_whatever_gits_environment_says() {
    let env = world().env;
    commit(&env);
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
