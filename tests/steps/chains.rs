//! Long chains of steps: no root is written out for them, and they see what one step would see.

use std::fs;

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[("a_long_chain_of_steps", a_long_chain_of_steps)];

/// Enough for upper layers to be folded several times.
const STEPS: usize = 75;

fn script(n: usize) -> String {
    let special = match n {
        1 => "mkdir /d /n; echo a > /d/a; ln /d/a /d/b; echo s > /d/same; ln /d/same /d/too",
        6 => "rm -rf /data/old",
        12 => "ln /d/a /e; chmod 750 /d",
        20 => "rm /d/b; mkdir /data/old; echo new > /data/old/new",
        29 => "echo more >> /d/a; rm /data/file; mkdir /data/file; echo x > /data/file/x",
        34 => "rm -r /data/file; ln -s old /data/file; mkfifo /d/pipe",
        41 => "mv /d/same /n/moved; touch /d/empty",
        52 => "rm /d/pipe /d/empty; ln /n/moved /again",
        60 => "rm -rf /d; mkdir /d; echo back > /d/a",
        _ => ":",
    };
    let old = n.saturating_sub(3);
    format!(
        "{special}\necho {n} > /n/file{n}; rm -f /n/file{old}\n\
         find /d /n /data ! -type d -printf '%p %y %s %n %m %l\\n' | sort > /tmp/now; cat /tmp/now >> /log; rm /tmp/now"
    )
}

fn a_long_chain_of_steps(place: &Place) -> Option<&'static str> {
    let scripts: Vec<String> = (1..=STEPS).map(script).collect();
    let names: Vec<String> = (1..=STEPS).map(|n| format!("s{n}")).collect();
    let steps: Vec<(&str, &str)> = names
        .iter()
        .zip(&scripts)
        .map(|(name, script)| (name.as_str(), script.as_str()))
        .collect();
    let all = scripts.join("\n");
    place.targets(&[
        ("chain", "base", &steps),
        ("single", "base", &[("one", all.as_str())]),
    ]);
    let tree = place.tree("chain");
    assert_eq!(
        place.folders("checkouts").len(),
        1,
        "a root was written out"
    );
    // Every layer is whole, as builds see it.
    let told = place.run(&["store", "verify", "--checkouts"]).ok();
    assert!(told.ends_with("no fault\n"), "{told}");
    assert_eq!(place.tree("single"), tree);
    assert_eq!(place.cat("chain", "log"), place.cat("single", "log"));

    // A new process compares the layers, folded ones too, and builds on them.
    place.targets(&[
        ("chain", "base", &steps),
        ("more", "chain", &[("one", "cat /d/a > /seen")]),
    ]);
    let ran = place.run(&["realise", "more-s"]);
    assert!(!ran.stderr.contains("somebody wrote to"), "{}", ran.stderr);
    let _ = ran.ok();
    assert_eq!(place.cat("more", "seen"), "back\n");
    assert_eq!(
        place.folders("checkouts").len(),
        1,
        "a root was written out"
    );
    let layers = fs::read_dir(place.store().join("layers")).unwrap().count();
    assert!(layers > STEPS / 2, "{layers} layers");
    None
}
