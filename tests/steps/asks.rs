//! What steps ask of the machine: memory for their work, several places, to be alone, not to run beside others.

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    (
        "what_is_small_is_built_in_memory",
        what_is_small_is_built_in_memory,
    ),
    (
        "what_does_not_fit_into_memory_is_built_again_on_disk",
        what_does_not_fit_into_memory_is_built_again_on_disk,
    ),
    (
        "what_fails_in_memory_can_be_looked_at",
        what_fails_in_memory_can_be_looked_at,
    ),
    ("steps_of_one_tag_take_turns", steps_of_one_tag_take_turns),
    ("a_lonesome_step_is_alone", a_lonesome_step_is_alone),
];

/// How large the file system is that takes a step's changes, in bytes.
const SIZE: &str = "set -- $(stat -f -c '%b %S' /); echo size $(($1 * $2))";
const MEMORY: &str = "16M";
/// So large is the file system of a step that may use that much.
const MOUNTED: &str = "size 20971520";

fn what_is_small_is_built_in_memory(place: &Place) -> Option<&'static str> {
    // All that a file system of its own may do otherwise: owners, links, what is removed and replaced, attributes.
    let one = format!(
        "{SIZE}\nmkdir -p /d/e; echo one > /d/e/f; ln /d/e/f /d/g; ln -s e/f /d/h; chown 7:8 /d/g\n\
         chmod 4711 /d/e/f; rm -r /data/old; mkdir /data/old; echo new > /data/old/new; rm /data/file\n\
         mkfifo /d/pipe; setfattr -n user.a -v b /d/e/f; touch -d 2001-02-03 /d /d/e"
    );
    let two = format!("{SIZE}\nmv /d/e /d/moved; echo more >> /d/g; cat /data/old/new > /two");
    let steps: &[(&str, &str)] = &[("one", &one), ("two", &two)];
    place.targets(&[("a", "base", steps)]);
    let log = |step: &str| place.run(&["log", &format!("a-s:{step}")]).ok();
    let memory = ["--memory", MEMORY];
    // Nothing is known of it: it is built on disk.
    let first = place.tree_with("a", &memory);
    assert!(!log("one").contains(MOUNTED), "{}", log("one"));
    let again = place.tree_with("a", &["--rebuild", "-m", MEMORY]);
    for step in ["one", "two"] {
        assert!(log(step).contains(MOUNTED), "{step}: {}", log(step));
    }
    assert_eq!(first, again);
    // Less than it needs: on disk.
    assert_eq!(
        place.tree_with("a", &["--rebuild", "--memory", "1000"]),
        first
    );
    assert!(!log("one").contains(MOUNTED), "{}", log("one"));
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let store = place.store().display().to_string();
    assert!(!mounts.contains(&store), "{mounts}");
    None
}

fn what_does_not_fit_into_memory_is_built_again_on_disk(place: &Place) -> Option<&'static str> {
    place.targets(&[("a", "base", &[("one", SIZE)])]);
    place.tree("a");
    // It is known to be small, and is not any more. That it goes on without what it could not write changes nothing.
    let large = format!(
        "{SIZE}\ndd if=/dev/zero of=/large bs=1M count=30 2> /dev/null || echo less > /less"
    );
    place.targets(&[("a", "base", &[("one", &large)])]);
    let ran = place.run(&["realise", "a-s", "--memory", MEMORY]);
    assert!(
        ran.stderr.contains("a:one did not fit into 16.8 MB"),
        "{}",
        ran.stderr
    );
    let _ = ran.ok();
    let log = place.run(&["log", "a-s:one"]).ok();
    let (memory, disk) = log.split_once("is built again on disk\n").unwrap();
    assert!(memory.contains(MOUNTED), "{log}");
    assert!(disk.contains("size ") && !disk.contains(MOUNTED), "{log}");
    let told = place.run(&["log", "--attempts", "--json", "a-s"]).ok();
    let all: serde_json::Value = serde_json::from_str(&told).unwrap();
    let outcomes: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["outcome"].as_str().unwrap())
        .collect();
    assert!(outcomes.iter().all(|outcome| *outcome == "ok"), "{told}");
    let gone = place.run(&["store", "cat", "a-s:less"]);
    assert_ne!(gone.status, Some(0), "{}", gone.stdout);
    // Now it is known to be large.
    let ran = place.run(&["realise", "a-s", "--rebuild", "--memory", MEMORY]);
    assert!(!ran.stderr.contains("did not fit"), "{}", ran.stderr);
    let _ = ran.ok();
    None
}

fn what_fails_in_memory_can_be_looked_at(place: &Place) -> Option<&'static str> {
    place.targets(&[("a", "base", &[("one", "true")])]);
    place.tree("a");
    let fails = format!(
        "{SIZE}\nmkdir /left; echo it > /left/it; ln /left/it /left/too; ln -s it /left/link\n\
         rm -r /data/old; mkdir /data/old; chmod 2750 /left; exit 7"
    );
    place.targets(&[("a", "base", &[("one", &fails)])]);
    let told = place.run(&["realise", "a-s", "--memory", MEMORY]).fails(1);
    assert!(told.contains(MOUNTED), "{told}");
    assert!(told.contains("exit status 7"), "{told}");
    let look = "cat /left/link; ls /data/old; stat -c '%a %h' /left /left/too";
    let shown = place
        .run(&["shell", "a-s:one", "--", "sh", "-c", look])
        .ok();
    assert_eq!(shown, "it\n2750 2\n644 2\n");
    None
}

/// Targets whose step says so if it meets another one.
fn meeting(place: &Place, names: &[&str], policy: &str) {
    let meet = "cd /mstore/impure/here\n\
                mkdir lock || { echo it is not alone; exit 1; }; sleep 0.3; rmdir lock";
    let step: &[(&str, &str)] = &[("one", meet)];
    let named: Vec<_> = names.iter().map(|name| (*name, "base", step)).collect();
    let more = format!("[section impure]\n: here\n{policy}");
    place.targets_with(&named, &more);
}

fn steps_of_one_tag_take_turns(place: &Place) -> Option<&'static str> {
    meeting(place, &["a", "b", "c"], "[section policy]\ntag: database\n");
    place.run(&["realise", "-j3", "*-s"]).ok();
    let shown = place.run(&["show", "a-s", "--json"]).ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["steps"][0]["tag"], "database", "{shown}");
    None
}

fn a_lonesome_step_is_alone(place: &Place) -> Option<&'static str> {
    meeting(
        place,
        &["a", "b"],
        "[section policy]\nlonesome/one: yes\nparallel: 3\n",
    );
    place.run(&["realise", "-j4", "*-s"]).ok();
    let shown = place.run(&["show", "a-s", "--json"]).ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["steps"][0]["width"], "host", "{shown}");
    let first = shown["steps"][0]["drv"].clone();
    // It is in no key: nothing is built again.
    meeting(place, &["a", "b"], "[section policy]\nparallel: 3\n");
    let told = place.run(&["realise", "*-s", "--json"]).ok();
    assert!(told.contains(r#""built":0"#), "{told}");
    let shown = place.run(&["show", "a-s", "--json"]).ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        shown["steps"][0]["width"],
        serde_json::json!({ "slots": 3 })
    );
    assert_ne!(shown["steps"][0]["drv"], first);
    for wrong in [
        "parallel: 0",
        "parallel: many",
        "lonesome: maybe",
        "tag: two words",
    ] {
        meeting(place, &["a"], &format!("[section policy]\n{wrong}\n"));
        let told = place.run(&["realise", "a-s"]).fails(2);
        let element = wrong.split(':').next().unwrap();
        assert!(told.contains(&format!("`policy/{element}`")), "{told}");
    }
    None
}
