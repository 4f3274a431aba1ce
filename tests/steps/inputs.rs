//! Inputs are what their hashes say, whatever lies in the store's folders.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::Test;
use crate::place::{Place, Target};

pub const ALL: &[Test] = &[
    (
        "a_checkout_that_was_written_to",
        a_checkout_that_was_written_to,
    ),
    ("check_varies_what_it_can", check_varies_what_it_can),
    (
        "times_after_the_epoch_are_one",
        times_after_the_epoch_are_one,
    ),
    ("check_tells_what_differs", check_tells_what_differs),
];

/// A way to write to a folder of the store, by name.
type Harm = (&'static str, fn(&Path));

const HARMS: [Harm; 4] = [
    ("content", |dir| {
        let file = dir.join("data/file");
        let time = file.metadata().unwrap().modified().unwrap();
        fs::write(&file, "FROM THE BASE\n").unwrap();
        let opened = fs::File::options().write(true).open(&file).unwrap();
        opened.set_modified(time).unwrap();
    }),
    ("more", |dir| fs::write(dir.join("data/more"), "x").unwrap()),
    ("less", |dir| {
        fs::remove_file(dir.join("data/old/one")).unwrap()
    }),
    ("mode", |dir| {
        let mode = fs::Permissions::from_mode(0o4755);
        fs::set_permissions(dir.join("data/old/two"), mode).unwrap();
    }),
];

fn a_checkout_that_was_written_to(place: &Place) -> Option<&'static str> {
    let look = "find /data | sort > /tmp/all; cat /tmp/all > /seen; cat /data/file >> /seen; stat -c '%n %a' /data/old/* >> /seen";
    let step = |name: &str| format!("{look}\n# {name}");
    let plain = step("plain");
    place.targets(&[("plain", "base", &[("one", plain.as_str())])]);
    place.tree("plain");
    let wanted = place.cat("plain", "seen");
    for (name, harm) in HARMS {
        // In the folder of the seed, and in that of a layer over it.
        let change = format!("echo from the step > /data/file; mkdir -p /data/old\n# {name}");
        let (first, second) = (step(name), step(&format!("{name} in a layer")));
        place.targets(&[
            ("first", "base", &[("one", first.as_str())]),
            ("below", "base", &[("one", change.as_str())]),
            ("second", "below", &[("one", second.as_str())]),
        ]);
        place.tree("below");
        for folder in place.folders("checkouts") {
            if folder.join("data/file").exists() {
                harm(&folder);
            }
        }
        let told = place.run(&["realise", "first-s"]);
        assert!(
            told.stderr.contains("somebody wrote to"),
            "{name}: {}",
            told.stderr
        );
        let _ = told.ok();
        assert_eq!(place.cat("first", "seen"), wanted, "{name}");
        if name == "content" {
            for layer in place.folders("layers") {
                if layer.join("data/file").exists() {
                    harm(&layer);
                }
            }
            place.tree("second");
            assert!(
                place.cat("second", "seen").contains("from the step"),
                "{name}"
            );
        }
        // What was written anew is believed.
        let again = format!("{first}\n# again");
        place.targets(&[("again", "base", &[("one", again.as_str())])]);
        let told = place.run(&["realise", "again-s"]);
        assert!(!told.stderr.contains("somebody"), "{name}: {}", told.stderr);
        let _ = told.ok();
    }
    None
}

fn check_varies_what_it_can(place: &Place) -> Option<&'static str> {
    let several = std::thread::available_parallelism().unwrap().get() > 1;
    let cases = [
        (
            "folders",
            "mkdir /f; touch /f/a; stat -c %s /data /etc > /seen",
            true,
        ),
        ("blocks", "stat -c %b /bin/bash /zeros > /seen", true),
        (
            "accessed",
            "find /data -anewer /etc/passwd -newermt 2000-01-01 | sort > /seen; stat -c %X /data/file >> /seen",
            true,
        ),
        ("inodes", "stat -c %i /data/file > /seen", true),
        ("processors", "nproc > /seen", several),
        ("jobs", "echo $MAKEOPTS > /seen", true),
        (
            "nothing",
            "touch /seen; find / -xdev | sort > /tmp/all; stat -c '%n %s %Y %h %a' /data/file /data/other >> /tmp/all; cat /tmp/all > /seen",
            false,
        ),
    ];
    let seed = "perl -e 'print \"\\0\" x 300000' > /zeros; ln /data/file /data/other";
    let scripts = cases.map(|(_, script, _)| [("one", script)]);
    let seed = [("one", seed)];
    let mut targets: Vec<Target<'_>> = vec![("below", "base", &seed)];
    for ((name, ..), steps) in cases.iter().zip(&scripts) {
        targets.push((name, "below", steps));
    }
    place.targets(&targets);
    // From a checkout with holes, not from the layer in which the zeros were written.
    place.tree("below");
    place.forget_checkouts();
    for (name, _, differs) in cases {
        let target = format!("{name}-s");
        place.run(&["realise", &target]).ok();
        let ran = place.run(&["realise", &target, "--check"]);
        let wanted = if differs { 1 } else { 0 };
        assert_eq!(
            ran.status,
            Some(wanted),
            "{name}: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
    None
}

/// Times of files would tell when a step ran. None is after the epoch, so that they do not; with an epoch that lies in
/// the future they do.
fn times_after_the_epoch_are_one(place: &Place) -> Option<&'static str> {
    let late = place.path("late");
    std::fs::create_dir(&late).unwrap();
    std::fs::write(late.join("file"), "x").unwrap();
    let late = late.to_str().unwrap();
    let import = ["snapshot", "import", late, "--name", "late"];
    let import = [&import[..], &["--epoch", "4102444800"]].concat();
    place.run(&import).ok();
    let targets: [Target<'_>; 1] = [("t", "base", &[("one", "mkdir /d; touch /d/f")])];
    for (more, status) in [("", 0), ("[section snapshot]\n: late\n", 1)] {
        place.targets_with(&targets, more);
        place.tree("t");
        // Times in a tree may be whole seconds.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let ran = place.run(&["realise", "t-s", "--check"]);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.status, Some(status), "{told}");
        assert_eq!(told.contains("d/f"), status == 1, "{told}");
    }
    None
}

/// File by file: metadata, texts, archives and what lies in them; of the named targets, or of all below.
fn check_tells_what_differs(place: &Place) -> Option<&'static str> {
    // What differs from one run to the next is the inode of a file, which nobody can hold still.
    let script = "number=$(stat -c %i /data/file); mkdir /out /tmp/in
        printf 'same\\nline %s\\n' $number > /out/text
        cp /out/text /tmp/in/member; echo fixed > /tmp/in/other
        tar -cf /out/archive.tar --mtime=@1 --owner=0 --group=0 -C /tmp/in member other
        gzip -n < /out/archive.tar > /out/archive.tar.gz
        touch /out/mode; chmod 0$((600 + number % 8)) /out/mode
        printf '\\0\\1%s' $number > /out/bytes";
    let same = "echo nothing > /more";
    place.targets(&[
        ("below", "base", &[("one", script)]),
        ("above", "below", &[("one", same)]),
    ]);
    place.tree("above");
    let _ = place.run(&["realise", "above-s", "--check"]).ok();
    let told = place.run(&["realise", "above-s", "--check=all"]).fails(1);
    for expected in [
        "same above-s:one",
        "differs below-s:one: ",
        "  ~ out/text\n      - line ",
        "  ~ out/archive.tar\n      tar archive:\n        ~ member\n            - line ",
        "  ~ out/archive.tar.gz\n      gzip:\n",
        "          ~ member\n",
        "  ~ out/bytes\n",
        "bytes differ, the first at ",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
    assert!(!told.contains("other"), "{told}");
    None
}
