//! What people are given is never what builds see.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    (
        "writing_to_what_people_get_spoils_no_build",
        writing_to_what_people_get_spoils_no_build,
    ),
    (
        "nothing_is_written_out_unasked",
        nothing_is_written_out_unasked,
    ),
];

/// Does to a folder what a careless or hostile root can do to it.
fn spoil(dir: &Path) {
    let file = dir.join("data/file");
    let time = file.metadata().unwrap().modified().unwrap();
    // Into the file itself, so that all its names show it, and as if nothing had happened.
    let mut opened = fs::File::options().write(true).open(&file).unwrap();
    opened.write_all(b"FROM THE BASE").unwrap();
    opened.set_modified(time).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4777)).unwrap();
    fs::write(dir.join("data/more"), "more").unwrap();
    fs::remove_file(dir.join("data/old/one")).unwrap();
}

/// Every file below the folders that builds see, by device and inode.
fn inodes(place: &Place) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    let mut open: Vec<_> = ["checkouts", "layers"]
        .iter()
        .flat_map(|kind| place.folders(kind))
        .collect();
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else {
            all.push((meta.dev(), meta.ino()));
        }
    }
    all
}

fn writing_to_what_people_get_spoils_no_build(place: &Place) -> Option<&'static str> {
    let look = "find /data ! -type d -printf '%p %m %s\\n' | sort > /seen; cat /data/file >> /seen";
    let steps: [(&str, &str); 2] = [("one", "echo made > /data/made"), ("two", look)];
    place.targets(&[("clean", "base", &steps)]);
    let wanted_tree = place.tree("clean");
    let wanted = place.cat("clean", "seen");

    let below = "echo made > /data/made\n# below";
    let above = format!("{look}\n# above");
    place.targets(&[
        ("below", "base", &[("one", below)]),
        ("above", "below", &[("one", above.as_str())]),
        ("beside", "base", &[("one", look)]),
    ]);
    let tree = place.tree("below");
    let path = place.run(&["store", "path", &tree[..12]]).ok();
    let path = Path::new(path.trim_end()).to_owned();
    let printed = place
        .run(&["realise", "below-s", "--out-link", "result"])
        .ok();
    assert_eq!(printed, format!("below-s {tree} result\n"));
    assert_eq!(fs::read_link(place.path("result")).unwrap(), path);
    let ran = place.run(&["realise", "below-s", "--checkout", "folder"]);
    assert_eq!(ran.ok(), format!("below-s {tree} folder\n"));
    // The seed lies whole where builds see it: the easiest to be given by mistake.
    let seed = place.run(&["lock"]).ok();
    let seed = seed.split_whitespace().find(|w| w.len() == tree.len());
    let of_seed = place.run(&["store", "path", seed.unwrap()]).ok();
    let of_seed = Path::new(of_seed.trim_end()).to_owned();

    let built_on = inodes(place);
    for folder in [&path, &of_seed, &place.path("folder")] {
        assert_eq!(
            fs::read_to_string(folder.join("data/file")).unwrap(),
            "from the base\n"
        );
    }
    for folder in [&path, &of_seed, &place.path("folder")] {
        for file in ["data/file", "data/old/one", "bin/sh"] {
            let meta = fs::symlink_metadata(folder.join(file)).unwrap();
            let is = (meta.dev(), meta.ino());
            assert!(!built_on.contains(&is), "{}/{file}", folder.display());
        }
        spoil(folder);
    }
    for target in ["above", "beside"] {
        let name = format!("{target}-s");
        let ran = place.run(&["realise", &name]);
        assert!(!ran.stderr.contains("somebody wrote to"), "{}", ran.stderr);
        let _ = ran.ok();
        let check = place.run(&["realise", "--check", &name]);
        assert_eq!(check.status, Some(0), "{}", check.stderr);
    }
    assert_eq!(place.cat("above", "seen"), wanted);
    assert!(place.cat("beside", "seen").ends_with("from the base\n"));
    let copy = place.run(&[
        "export", "below-s", "--to", "copy", "--mode", "copy", "--lossy",
    ]);
    assert_eq!(copy.status, Some(0), "{}", copy.stderr);
    assert_eq!(
        fs::read_to_string(place.path("copy/data/file")).unwrap(),
        "from the base\n"
    );
    // The very same steps give the very same tree again.
    place.targets(&[("clean", "base", &steps)]);
    assert_eq!(place.tree_with("clean", &["--check"]), wanted_tree);
    None
}

fn nothing_is_written_out_unasked(place: &Place) -> Option<&'static str> {
    place.targets(&[(
        "x",
        "base",
        &[("one", "echo 1 > /x"), ("two", "echo 2 >> /x")],
    )]);
    let tree = place.tree("x");
    let printed = place.run(&["realise", "x-s"]).ok();
    assert_eq!(printed, format!("x-s {tree}\n"));
    // What the steps themselves needed: the seed, and what each changed.
    assert_eq!(place.folders("checkouts").len(), 1);
    assert_eq!(place.folders("layers").len(), 2);
    for kind in ["links", "views"] {
        assert!(place.folders(kind).is_empty(), "{kind}");
    }
    None
}
