//! Layers are invisible: a script finds what it would find in any root, however its input came to lie
//! there.

use std::os::unix::fs::MetadataExt;

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    ("files_with_several_names", files_with_several_names),
    ("kinds_with_several_names", kinds_with_several_names),
    ("folders_of_several_names", folders_of_several_names),
    (
        "what_is_left_alone_costs_nothing",
        what_is_left_alone_costs_nothing,
    ),
    (
        "attributes_that_no_tree_holds",
        attributes_that_no_tree_holds,
    ),
    (
        "folders_of_earlier_steps_are_moved_as_documented",
        folders_of_earlier_steps_are_moved_as_documented,
    ),
    (
        "files_and_folders_are_of_one_device",
        files_and_folders_are_of_one_device,
    ),
];

/// Runs pieces of one script in one step, in a step each, and in a step each with its input written out
/// anew: nothing may tell these apart.
#[track_caller]
fn in_any_steps(place: &Place, pieces: &[&str]) {
    // As in one step, each piece begins in the same folder and fails with its first command.
    let pieces: Vec<String> = pieces
        .iter()
        .map(|p| format!("set -e; cd /data\n{p}"))
        .collect();
    let whole = pieces.join("\n");
    place.targets(&[("whole", "base", &[("all", whole.as_str())])]);
    let wanted = place.tree("whole");
    let report = place.cat("whole", "data/report");
    let compare = |target: &str, tree: &str| {
        if tree != wanted {
            let differences = place.run(&["diff", &wanted, tree]).stdout;
            panic!(
                "{target}: {differences}{}\nin one step: {report}",
                place.cat(target, "data/report")
            );
        }
    };

    let names: Vec<String> = (0..pieces.len()).map(|n| format!("s{n}")).collect();
    let steps = |pieces: &'_ [String]| -> Vec<(String, String)> {
        names.iter().cloned().zip(pieces.iter().cloned()).collect()
    };
    let layers = steps(&pieces);
    let layers: Vec<_> = layers
        .iter()
        .map(|(n, s)| (n.as_str(), s.as_str()))
        .collect();
    place.targets(&[("layers", "base", &layers)]);
    compare("layers", &place.tree("layers"));

    // Another key, so that all is built again, each step from a checkout.
    let pieces: Vec<String> = pieces.iter().map(|p| format!("{p}\n# anew")).collect();
    let anew = steps(&pieces);
    let anew: Vec<_> = anew.iter().map(|(n, s)| (n.as_str(), s.as_str())).collect();
    for n in 1..=anew.len() {
        place.targets(&[("anew", "base", &anew[..n])]);
        let tree = place.tree("anew");
        if n == anew.len() {
            compare("anew", &tree);
        }
        place.forget_checkouts();
    }
}

/// Writes down what can be seen of the files below /data. Names of one file are told by what they
/// have in common. Times differ: those of an earlier step are clamped. Directories count their names
/// differently once they are merged.
const REPORT: &str = "find . -mindepth 1 ! -name report | sort > /tmp/names
while read -r name; do
    if [ -d \"$name\" ]; then stat -c '%n %F %a %u:%g' \"$name\"; continue; fi
    stat -c '%n %F %a %u:%g %h %s' \"$name\"
    if [ -f \"$name\" ]; then tail -c 1000 \"$name\"; fi
    [ \"$(stat -c %h \"$name\")\" = 1 ] || find . -inum \"$(stat -c %i \"$name\")\" ! -type d | sort
done < /tmp/names > report";

fn files_with_several_names(place: &Place) -> Option<&'static str> {
    in_any_steps(
        place,
        &[
            "mkdir d e; for n in a k p r t u w y; do echo $n > d/$n; ln d/$n e/$n; done; ln d/a e/third",
            // One is changed, one moved, one replaced, one removed, one gets a further name.
            "echo more >> d/a; mv d/k d/l; echo new > n; mv n d/p; rm e/r; ln e/t t; touch -d @1000 d/u",
            "chmod 4711 e/third; truncate -s 1000000 e/w; cp d/y y; rm d/y; mv y d/y; stat -c '%n %h' d/* e/*",
            "for n in d/* e/*; do echo end >> $n; done; rm d/l; ln d/a d/l",
            REPORT,
        ],
    );
    None
}

fn kinds_with_several_names(place: &Place) -> Option<&'static str> {
    in_any_steps(
        place,
        &[
            "ln -s where s; ln -P s s2; mkfifo f; ln f f2; echo x > x; ln x x2; setfattr -n user.a -v 1 x || :",
            "touch -h -d @500 s; chmod 600 f2; setfattr -n user.a -v 2 x2 || :; setfattr -n user.b -v 1 x || :",
            // A file that had a single name below gets another one here, as doc/sandbox.md says.
            "cp -p file new; mv new file; ln file file2; echo changed > file; ln ../etc/passwd p; chmod 640 p",
            "rm s; mv f g; getfattr -d x x2 2>/dev/null > attributes || :; stat -c '%n %h' * > counts",
            REPORT,
        ],
    );
    None
}

fn folders_of_several_names(place: &Place) -> Option<&'static str> {
    in_any_steps(
        place,
        &[
            "mkdir -p a/b/c z; echo 1 > a/b/c/f; ln a/b/c/f z/f; echo 2 > a/g; ln a/g z/g; chmod 711 a; chmod 700 a/b",
            // The folder of one name goes and comes again, another one changes, a third is only looked at.
            "rm -r a/b; mkdir -p a/b/c; echo other > a/b/c/f; chmod 755 z; cat z/f z/g",
            "echo more >> z/f; ln z/f z/i; touch -d @1234 a; rm a/g; echo new > a/h",
            // A copy keeps names of one file together.
            "cp -a z y; rm -r z; echo last >> y/f",
            REPORT,
        ],
    );
    None
}

fn what_is_left_alone_costs_nothing(place: &Place) -> Option<&'static str> {
    let first = "mkdir /d /e; dd if=/dev/zero bs=1000 count=500 2>/dev/null | tr '\\0' x > /d/a || :
        perl -e 'print \"x\" x 500000' > /d/a; ln /d/a /d/b; ln /d/a /e/c; echo 1 > /d/p; ln /d/p /e/p";
    let second = "cat /d/b > /dev/null; ls -l /d > /dev/null; echo 2 >> /e/p; echo new > /e/n";
    place.targets(&[("t", "base", &[("first", first), ("second", second)])]);
    place.tree("t");
    // One layer has the new files, the other what the second step changed: the pair, whole, and no more.
    let layers = place.folders("layers");
    assert_eq!(layers.len(), 2, "{layers:?}");
    let [second] = &layers
        .iter()
        .filter(|l| l.join("e/n").exists())
        .collect::<Vec<_>>()[..]
    else {
        panic!("{layers:?}");
    };
    for (name, names) in [("d/p", 2), ("e/p", 2), ("e/n", 1)] {
        let meta = second.join(name).symlink_metadata().unwrap();
        assert_eq!(meta.nlink(), names, "{name}");
    }
    for name in ["d/a", "d/b", "e/c"] {
        assert!(!second.join(name).exists(), "{name}");
    }
    None
}

fn attributes_that_no_tree_holds(place: &Place) -> Option<&'static str> {
    if std::path::Path::new("/sys/fs/selinux").exists() {
        return Some("the machine's policy labels everything");
    }
    let first = "cd /data; touch f; mkdir d; ln -s x l
        for n in f d; do setfattr -n security.selinux -v x $n || exit 9; setfattr -n user.kept -v y $n; done
        setfattr -h -n security.selinux -v x l || :";
    let second = "cd /data; getfattr -h -d -m - f d l > /seen";
    place.targets(&[("t", "base", &[("first", first)])]);
    let ran = place.run(&["realise", "t-s"]);
    if ran.stderr.contains("exit status 9") {
        return Some("attributes of this kind cannot be set here");
    }
    let _ = ran.ok();
    place.targets(&[("t", "base", &[("first", first), ("second", second)])]);
    place.tree("t");
    let seen = place.cat("t", "seen");
    assert!(
        seen.contains("user.kept") && !seen.contains("security.selinux"),
        "{seen}"
    );
    None
}

/// What doc/sandbox.md says about rename(2), and the way round that it names.
fn folders_of_earlier_steps_are_moved_as_documented(place: &Place) -> Option<&'static str> {
    const EXDEV: i32 = 18;
    let move_it =
        |from: &str, to: &str| format!("perl -e 'exit(rename(\"{from}\", \"{to}\") ? 0 : $!)'");
    let first = "mkdir /d /e; echo x > /d/x; ln /d/x /d/y; chmod 711 /d";
    let second = format!(
        "r=0; {} || r=$?; [ $r = {EXDEV} ]
         mv /d /moved; stat -c '%n %a %h' /moved /moved/*
         cp -a /e /e.new && rm -r /e && mv /e.new /e
         {}; ls -d /f",
        move_it("/d", "/direct"),
        move_it("/e", "/f"),
    );
    place.targets(&[(
        "t",
        "base",
        &[
            ("first", first),
            ("second", &format!("{{ {second}; }} > /seen")),
        ],
    )]);
    place.tree("t");
    assert_eq!(
        place.cat("t", "seen"),
        "/moved 711 2\n/moved/x 644 2\n/moved/y 644 2\n/f\n"
    );
    None
}

/// Portage renames only within one device, and copies without `user.*` attributes else. Layers lie on two file
/// systems as soon as a snapshot is shown where the root has no folder.
fn files_and_folders_are_of_one_device(place: &Place) -> Option<&'static str> {
    std::fs::create_dir(place.path("tree")).unwrap();
    std::fs::write(place.path("tree/file"), "x").unwrap();
    let tree = place.path("tree");
    place
        .run(&[
            "snapshot",
            "import",
            tree.to_str().unwrap(),
            "--name",
            "tree",
        ])
        .ok();
    let first = "mkdir /d; echo x > /d/x; setfattr -n user.origin -v upstream /d/x";
    let second = "cd /; mkdir n n/folder; echo y > n/y; setfattr -n user.origin -v here n/y
        stat -c %d . d d/x n n/y data bin var | sort -u | while read -r device; do echo one; done
        perl -e 'rename($ARGV[0], $ARGV[1]) or die $!' d/x n/x
        perl -e 'rename($ARGV[0], $ARGV[1]) or die $!' n/y d/y
        perl -e 'rename($ARGV[0], $ARGV[1]) or die $!' n d/n
        test -d d/n/folder
        for name in d/n/x d/y; do getfattr --only-values -n user.origin $name; echo; done";
    let snapshot = "[section snapshot]\n: tree\npath: /var/db/repos/tree\n";
    let second = format!("{{ {second}; }} > /seen");
    place.targets_with(
        &[("t", "base", &[("first", first), ("second", &second)])],
        snapshot,
    );
    place.tree("t");
    assert_eq!(place.cat("t", "seen"), "one\nupstream\nhere\n");
    None
}
