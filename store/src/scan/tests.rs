//! Times of captured folders.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;
use crate::OpenOptions;

fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn folders_keep_a_time_that_is_the_bases_however_late_it_is() {
    let tmp = tempfile::tempdir().unwrap();
    let store = Store::open(&tmp.path().join("store"), &OpenOptions::create()).unwrap();
    let seed = tmp.path().join("seed");
    fs::create_dir_all(seed.join("folder")).unwrap();
    fs::write(seed.join("folder/file"), "1").unwrap();
    for (path, time) in [("folder/file", 5000), ("folder", 4000), ("", 3000)] {
        set_time(&seed.join(path), time);
    }
    let base = store
        .import_dir(&seed, &ImportOptions::default())
        .unwrap()
        .tree;
    let options = CaptureOptions { epoch: 1000 };
    let upper = |name: &str| {
        let upper = tmp.path().join(name);
        store.prepare_upper(base, &upper).unwrap();
        upper
    };
    let time = |tree: TreeHash, path: &str| match path {
        "" => store.tree(tree).unwrap().root.mtime.secs,
        _ => store.entry(tree, path).unwrap().unwrap().meta.mtime.secs,
    };

    let nothing = upper("nothing");
    assert_eq!(store.capture(base, &nothing, &options).unwrap().tree, base);
    assert_eq!(
        fs::metadata(&nothing).unwrap().modified().unwrap(),
        SystemTime::UNIX_EPOCH + Duration::from_secs(3000)
    );

    // Only the file was written to: the folders are as they were.
    let write = upper("write");
    fs::create_dir(write.join("folder")).unwrap();
    fs::write(write.join("folder/file"), "2").unwrap();
    set_time(&write.join("folder/file"), 5000);
    set_time(&write.join("folder"), 4000);
    set_time(&write, 3000);
    let tree = store.capture(base, &write, &options).unwrap().tree;
    assert_eq!((time(tree, ""), time(tree, "folder")), (3000, 4000));
    assert_eq!(time(tree, "folder/file"), 1000);
    let kept = fs::metadata(write.join("folder"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(kept, SystemTime::UNIX_EPOCH + Duration::from_secs(4000));

    // Another late time is the build's own.
    let change = upper("change");
    fs::create_dir(change.join("folder")).unwrap();
    fs::create_dir(change.join("new")).unwrap();
    set_time(&change.join("folder"), 4001);
    set_time(&change.join("new"), 4000);
    set_time(&change, 3001);
    let tree = store.capture(base, &change, &options).unwrap().tree;
    for path in ["", "folder", "new"] {
        assert_eq!(time(tree, path), 1000, "{path}");
    }
}
