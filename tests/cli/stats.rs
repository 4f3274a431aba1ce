//! `mstore stats`: what the history says.

use crate::environment::Environment;

/// A store whose history has `rows`, each `name, host, seconds, outcome`; a minute passes between them, until now.
fn history(env: &Environment, rows: &[(&str, &str, f64, &str)]) {
    env.write(
        "metro.conf",
        "list/builds: demo\nlist/arches: x\nlist/subarches/x: one\nlist/targets: stage1\n",
    );
    env.write("s/f", "x");
    let _ = env.run(&["seed", "import", "s", "--name", "s"]).ok();
    let database = rusqlite::Connection::open(env.store().join("db/mstore.sqlite")).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let first = now.as_secs().cast_signed() - 60 * rows.len().cast_signed() as i64;
    for ((name, host, seconds, outcome), at) in rows.iter().zip(0_i64..) {
        database
            .execute(
                "INSERT INTO history (key, drv, kind, name, started, seconds, host, outcome) \
                 VALUES ('k', 'd', 'step', ?1, ?2, ?3, ?4, ?5)",
                rusqlite::params![name, first + at * 60, seconds, host, outcome],
            )
            .unwrap();
    }
}

#[test]
fn the_history_says_how_long_what_failed_and_what_became_slower() {
    let env = Environment::new();
    let (one, two) = ("b/a/s/stage1:libc", "b/a/t/stage1:libc");
    let mut rows = Vec::new();
    for seconds in [60.0, 61.0, 59.0, 60.0, 62.0, 90.0, 91.0, 89.0] {
        rows.push((one, "yak", seconds, "ok"));
    }
    rows.push((two, "yak", 30.0, "ok"));
    rows.push((two, "yak", 1.0, "failed"));
    rows.push((two, "big", 7300.0, "ok"));
    rows.push((two, "big", 5.0, "interrupted"));
    // Of an evil hand: a negative time, a word that there is not, a name that upsets terminals.
    rows.push((one, "yak", -5.0, "ok"));
    rows.push((one, "yak", 5.0, "splendid"));
    rows.push(("b/a/s/x:\x1b]0;x\x07", "yak", 0.25, "ok"));
    history(&env, &rows);
    let ran = env.run(&["stats"]);
    assert_eq!(ran.stderr, "13 attempts; 2 left out that make no sense\n");
    let text = ran.ok();
    let (durations, rest) = text.split_once("slowest:\n").unwrap();
    assert_eq!(
        durations,
        "durations:
     median  quarter below  quarter above  builds  step               host
  2 h 1 min      2 h 1 min      2 h 1 min       1  stage1:libc        big
  1 min 1 s      1 min 0 s     1 min 29 s       9  stage1:libc        yak
     250 ms         250 ms         250 ms       1  x:\\u{1b}]0;x\\u{7}  yak
"
    );
    let (slowest, rest) = rest.split_once("failures:\n").unwrap();
    let first = slowest.lines().nth(1).unwrap();
    assert!(first.trim_start().starts_with("2 h 1 min  20"), "{first}");
    assert!(first.ends_with("  b/a/t/stage1:libc  big"), "{first}");
    assert_eq!(slowest.lines().count(), 11, "{slowest}");
    let (failures, slower) = rest.split_once("slower:\n").unwrap();
    assert_eq!(
        failures,
        "  failed  of  rate  step         host
       1  10   10%  stage1:libc  yak
"
    );
    let told = slower.lines().nth(1).unwrap();
    assert!(
        told.contains("1 min 30 s  1 min 0 s    1.5  20"),
        "{slower}"
    );
    assert!(told.ends_with("  b/a/s/stage1:libc  yak"), "{slower}");
    assert_eq!(slower.lines().count(), 2, "{slower}");

    let json = |more: &[&str]| -> serde_json::Value {
        let words = [&["stats", "--json"], more].concat();
        serde_json::from_str(&env.run(&words).ok()).unwrap()
    };
    let all = json(&[]);
    assert_eq!((&all["attempts"], &all["skipped"]), (&13.into(), &2.into()));
    let big = json(&["--host", "big"]);
    assert_eq!(big["attempts"], 2);
    assert_eq!(big["families"][0]["interrupted"], 1);
    assert_eq!(big["families"][0]["failure_rate"], 0.0);
    assert_eq!(json(&["--attempts", "3"])["attempts"], 1);
    // The last three minutes.
    assert_eq!(json(&["--since", "0.0027"])["attempts"], 1);
    assert_eq!(
        json(&["--since", "0"])["families"].as_array().map(Vec::len),
        Some(0)
    );
    env.run(&["stats", "--since", "-1"]).fails(2);
    env.run(&["stats", "--since", "soon"]).fails(2);
    let few = env.run(&["stats", "-l1", "--attempts", "14"]);
    assert!(
        few.stderr.contains("among the newest 14 of 15"),
        "{}",
        few.stderr
    );
    assert!(few.ok().contains("and 2 more"));
}
