//! What is fetched appears in the steps that asked for it, and nothing else depends on where it came from.

use std::fs;

use sha2::Digest as _;

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    ("a_step_sees_what_is_fetched", a_step_sees_what_is_fetched),
    ("what_a_target_needs_stays", what_a_target_needs_stays),
];

fn section(place: &Place, names: &[&str]) -> String {
    let mut text = format!("[section fetch]\n: {}\n", names.join(" "));
    for name in names {
        let path = place.path(name);
        let digest = sha2::Sha256::digest(fs::read(&path).unwrap());
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        text += &format!(
            "[section fetch/{name}]\nurl: file://{}\nhash: sha256:{hex}\n",
            path.display()
        );
    }
    text
}

fn a_step_sees_what_is_fetched(place: &Place) -> Option<&'static str> {
    fs::write(place.path("one.txt"), "first\n").unwrap();
    fs::write(place.path("two.txt"), "second\n").unwrap();
    let look = "cd /mstore/fetch; { ls; cat *; stat -c '%a %u' one.txt; } > /seen; \
                if echo x > one.txt; then exit 9; fi 2> /dev/null";
    let none = "if test -e /mstore/fetch; then exit 8; fi";
    let both = section(place, &["one.txt", "two.txt"]);
    let steps = &[("look", look), ("none", none)];
    let write = |fetches: &str| {
        let more = format!("{fetches}[section fetches]\nnone:\n");
        place.targets_with(&[("t", "base", steps)], &more);
    };
    write(&both);
    let tree = place.tree("t");
    assert_eq!(
        place.cat("t", "seen"),
        "one.txt\ntwo.txt\nfirst\nsecond\n644 0\n"
    );
    // From another place: nothing is fetched, nothing is built.
    fs::create_dir(place.path("moved")).unwrap();
    fs::rename(place.path("one.txt"), place.path("moved/one.txt")).unwrap();
    let url = |name: &str| format!("file://{}", place.path(name).display());
    let moved = both.replace(&url("one.txt"), &url("moved/one.txt"));
    write(&moved);
    let told = place.run(&["realise", "t-s"]);
    assert!(told.stderr.contains("nothing to do"), "{}", told.stderr);
    let _ = told.ok();
    // Other content under the same name: the step that sees it runs again.
    fs::write(place.path("one.txt"), "third\n").unwrap();
    write(&section(place, &["one.txt", "two.txt"]));
    assert_ne!(place.tree("t"), tree);
    assert_eq!(
        place.cat("t", "seen"),
        "one.txt\ntwo.txt\nthird\nsecond\n644 0\n"
    );
    let told = place.run(&["realise", "t-s", "--check"]);
    assert_eq!(told.stderr.matches("same ").count(), 2, "{}", told.stderr);
    let _ = told.ok();
    // In a folder of the root, which keeps nothing of it.
    let elsewhere = section(place, &["one.txt"]).replace(
        "[section fetch]\n",
        "[section fetch]\npath: /var/cache/distfiles\n",
    );
    let copy = "cp /var/cache/distfiles/one.txt /seen";
    place.targets_with(&[("e", "base", &[("copy", copy)])], &elsewhere);
    place.tree("e");
    assert_eq!(place.cat("e", "seen"), "third\n");
    let gone = place.run(&["store", "cat", "e-s:var/cache/distfiles/one.txt"]);
    assert_ne!(gone.status, Some(0), "{}", gone.stdout);
    None
}

fn what_a_target_needs_stays(place: &Place) -> Option<&'static str> {
    fs::write(place.path("one.txt"), "first\n").unwrap();
    fs::write(place.path("two.txt"), "second\n").unwrap();
    let run = [("run", "cat /mstore/fetch/* > /seen")];
    place.targets_with(&[("t", "base", &run)], &section(place, &["one.txt"]));
    place.tree("t");
    place.targets_with(&[("u", "base", &run)], &section(place, &["two.txt"]));
    let _ = place.run(&["fetch", "u-s"]).ok();
    let database = rusqlite::Connection::open(place.store().join("db/mstore.sqlite")).unwrap();
    let old = database.execute("UPDATE realisation SET started = 1000", []);
    assert!(old.unwrap() >= 3);
    drop(database);
    let _ = place.run(&["gc"]).ok();
    // What `t` was built from is there, what nothing was built from is not.
    let told = place.run(&["--offline", "fetch", "u-s", "--json"]);
    assert!(
        told.stdout.contains(r#""fetched":1"#),
        "{}{}",
        told.stdout,
        told.stderr
    );
    place.targets_with(&[("t", "base", &run)], &section(place, &["one.txt"]));
    let told = place.run(&["--offline", "fetch", "t-s", "--json"]).ok();
    assert!(told.contains(r#""there":1"#), "{told}");
    None
}
