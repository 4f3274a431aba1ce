//! Refusals, and how they are told.

use std::fs;
use std::process::Command;

use mstore_store::*;

fn made(tmp: &tempfile::TempDir) -> (Store, TreeHash) {
    let store = Store::open(&tmp.path().join("store"), &OpenOptions::create()).unwrap();
    let source = tmp.path().join("source");
    fs::create_dir_all(source.join("d")).unwrap();
    fs::write(source.join("d/f"), "content").unwrap();
    let tree = store
        .import_dir(&source, &ImportOptions::default())
        .unwrap()
        .tree;
    (store, tree)
}

#[test]
fn other_folders_and_newer_stores_are_left_alone() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("x");
    let open = |path: &std::path::Path| Store::open(path, &OpenOptions::default()).unwrap_err();
    assert!(open(&path).to_string().contains("there is no such folder"));
    fs::create_dir(&path).unwrap();
    fs::write(path.join("file"), "").unwrap();
    let error = Store::open(&path, &OpenOptions::create()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format);
    assert!(error.to_string().contains("it holds file"), "{error}");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    let (store, _) = made(&tmp);
    let format = store.path().join("format");
    drop(store);
    fs::write(&format, "mstore store\nformat 2\n").unwrap();
    let error = open(&tmp.path().join("store"));
    assert!(matches!(
        error,
        StoreError::NewerFormat {
            found: 2,
            known: 1,
            ..
        }
    ));
    fs::write(&format, "something else\n").unwrap();
    assert_eq!(open(&tmp.path().join("store")).kind(), ErrorKind::Format);
}

#[test]
fn read_only_stores_can_be_read_and_not_changed() {
    let tmp = tempfile::tempdir().unwrap();
    let (store, tree) = made(&tmp);
    store.add_root("root", tree).unwrap();
    let path = store.path().to_path_buf();
    drop(store);
    let before = fs::read_dir(&path).unwrap().count();
    let store = Store::open(&path, &OpenOptions::read_only()).unwrap();
    assert_eq!(store.roots().unwrap()[0].tree, tree);
    let copy = tmp.path().join("copy");
    store.copy_out(tree, &copy).unwrap();
    assert_eq!(fs::read(copy.join("d/f")).unwrap(), b"content");
    let refused = [
        store
            .import_dir(&copy, &ImportOptions::default())
            .unwrap_err(),
        store.add_root("other", tree).unwrap_err(),
        store.checkout(tree).unwrap_err(),
        store.gc(&GcPolicy::newest(1), false).unwrap_err(),
        store.forget(&Hash::of(b"")).unwrap_err(),
    ];
    assert!(refused.iter().all(|e| e.kind() == ErrorKind::Format));
    assert_eq!(store.gc(&GcPolicy::newest(1), true).unwrap().gone, []);
    assert_eq!(
        store
            .verify(&VerifyOptions::default(), &mut |_| ())
            .unwrap()
            .faults,
        []
    );
    assert_eq!(fs::read_dir(&path).unwrap().count(), before);
}

#[test]
fn a_lost_or_cut_pack_is_told_and_repaired() {
    for cut in [true, false] {
        let tmp = tempfile::tempdir().unwrap();
        let (store, tree) = made(&tmp);
        store.add_root("root", tree).unwrap();
        let path = store.path().to_path_buf();
        drop(store);
        let packs = fs::read_dir(path.join("packs")).unwrap();
        let packs: Vec<_> = packs.map(|p| p.unwrap().path()).collect();
        assert_eq!(packs.len(), 2);
        for pack in packs {
            let bytes = fs::read(&pack).unwrap();
            fs::remove_file(&pack).unwrap();
            if cut {
                fs::write(&pack, &bytes[..bytes.len() - 7]).unwrap();
            }
        }
        let store = Store::open(&path, &OpenOptions::create()).unwrap();
        assert!(!store.has_tree(tree).unwrap());
        let report = store
            .verify(&VerifyOptions::default(), &mut |_| ())
            .unwrap();
        assert_eq!(report.faults.len(), 3, "{:?}", report.faults);
        assert_eq!(report.faults[2].affects, ["root root"]);
        let repair = VerifyOptions {
            repair: true,
            quick: false,
            ..VerifyOptions::default()
        };
        let report = store.verify(&repair, &mut |_| ()).unwrap();
        // The records of a pack without its index are still there to be saved.
        let forgotten: &[&str] = if cut { &[] } else { &["root"] };
        assert_eq!(report.forgotten_roots, forgotten);
        assert_eq!(store.has_tree(tree).unwrap(), cut);
        let report = store
            .verify(&VerifyOptions::default(), &mut |_| ())
            .unwrap();
        assert_eq!(report.faults, []);
    }
}

const INSIDE: &str = "MSTORE_TEST_FULL";

/// Runs an ignored test in a mount namespace.
fn inside(test: &str) {
    let exe = std::env::current_exe().unwrap();
    let out = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(exe)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .output();
    let Ok(out) = out else {
        println!("skipped: there is no unshare");
        return;
    };
    let text = String::from_utf8_lossy(&out.stdout);
    let errors = String::from_utf8_lossy(&out.stderr);
    if errors.contains("unshare failed") {
        println!("skipped: {errors}");
        return;
    }
    assert!(
        out.status.success() && text.contains("1 passed"),
        "{text}\n{errors}"
    );
}

#[test]
fn a_full_disk_loses_nothing() {
    inside("inside_full_disk");
}

#[test]
fn a_store_on_read_only_media_can_be_read() {
    inside("inside_read_only_media");
}

#[test]
fn the_collector_works_without_a_free_byte() {
    inside("inside_no_free_byte");
}

#[test]
#[ignore = "runs in a namespace, started by the other"]
fn inside_no_free_byte() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    use rustix::mount::{MountFlags, mount};
    let tmp = tempfile::tempdir().unwrap();
    let small = tmp.path().join("small");
    fs::create_dir(&small).unwrap();
    let size = Some(c"size=12m");
    mount("tmpfs", &small, "tmpfs", MountFlags::empty(), size).unwrap();
    let root = small.join("store");
    let source = tmp.path().join("source");
    fs::create_dir(&source).unwrap();
    let mut noise = vec![0; 1 << 20];
    let mut trees = Vec::new();
    let store = Store::open(&root, &OpenOptions::create()).unwrap();
    for n in [1, 2] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[n]).finalize_xof().fill(&mut noise);
        fs::write(source.join("f"), &noise).unwrap();
        let options = ImportOptions::default();
        trees.push(store.import_dir(&source, &options).unwrap().tree);
    }
    store.add_root("kept", trees[0]).unwrap();
    drop(store);
    // Somebody else takes all the room that there is.
    let fill = || {
        let mut junk = fs::File::create(small.join("junk")).unwrap();
        let zeros = vec![0; 4096];
        while std::io::Write::write_all(&mut junk, &zeros).is_ok() {}
    };
    fill();
    let store = Store::open(&root, &OpenOptions::create()).unwrap();
    store.gc(&GcPolicy::newest(0), false).unwrap();
    assert!(store.has_tree(trees[0]).unwrap());
    assert!(!store.has_tree(trees[1]).unwrap());
    drop(store);
    // The next opening keeps room back again, for once more.
    drop(Store::open(&root, &OpenOptions::create()).unwrap());
    fill();
    let store = Store::open(&root, &OpenOptions::create()).unwrap();
    store.remove_root("kept").unwrap();
    store.gc(&GcPolicy::newest(0), false).unwrap();
    assert!(!store.has_tree(trees[0]).unwrap());
    let report = store.verify(&VerifyOptions::default(), &mut |_| ());
    assert_eq!(report.unwrap().faults, []);
    drop(store);
    // Without any room, and nothing kept back, it can still be read.
    let _ = fs::remove_file(root.join("db/reserve"));
    fill();
    let error = Store::open(&root, &OpenOptions::create()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    let store = Store::open(&root, &OpenOptions::read_only()).unwrap();
    assert_eq!(store.roots().unwrap(), []);
}

/// However its last writer ended: what it committed is there.
#[test]
#[ignore = "runs in a namespace, started by the other"]
fn inside_read_only_media() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    use rustix::mount::{MountFlags, mount_bind, mount_remount};
    let tmp = tempfile::tempdir().unwrap();
    let (store, tree) = made(&tmp);
    store.add_root("root", tree).unwrap();
    let copy = |name: &str, without: &str| {
        let to = tmp.path().join(name);
        let mut cp = Command::new("cp");
        let status = cp.arg("-a").arg(store.path()).arg(&to).status();
        assert!(status.unwrap().success());
        if !without.is_empty() {
            let _ = fs::remove_file(to.join("db").join(without));
        }
        to
    };
    let mut stores = vec![
        copy("killed", ""),
        copy("after a power cut", "mstore.sqlite-shm"),
    ];
    assert!(
        fs::metadata(stores[1].join("db/mstore.sqlite-wal"))
            .unwrap()
            .len()
            > 0
    );
    stores.push(store.path().to_path_buf());
    drop(store);
    for (n, path) in stores.iter().enumerate() {
        mount_bind(path, path).unwrap();
        mount_remount(path, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
        assert!(fs::write(path.join("probe"), "").is_err());
        let store = Store::open(path, &OpenOptions::read_only()).unwrap();
        assert_eq!(store.roots().unwrap()[0].tree, tree);
        let report = store.verify(&VerifyOptions::default(), &mut |_| ());
        assert_eq!(report.unwrap().faults, []);
        let mut tar = Vec::new();
        store
            .export_tar(tree, &mut tar, &ExportOptions::default())
            .unwrap();
        store
            .copy_out(tree, &tmp.path().join(format!("out{n}")))
            .unwrap();
        assert_eq!(store.gc(&GcPolicy::newest(0), true).unwrap().alive.len(), 1);
        let error = store.add_root("other", tree).unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        drop(store);
        assert!(Store::open(path, &OpenOptions::create()).is_err());
    }
}

#[test]
fn a_store_that_is_not_there_has_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("none");
    assert!(!Store::exists(&path));
    let store = Store::nothing(&path).unwrap();
    assert_eq!(store.roots().unwrap(), []);
    assert_eq!(store.realisations(None).unwrap(), []);
    let tree = TreeHash(Hash::of(b"tree"));
    assert!(!store.has_tree(tree).unwrap());
    let lease = store.lease("test").unwrap();
    assert!(matches!(
        lease.protect(tree),
        Err(StoreError::Missing { .. })
    ));
    assert!(matches!(
        store.add_root("root", tree),
        Err(StoreError::ReadOnly { .. })
    ));
    assert!(!path.exists());
    let (made, _) = made(&tmp);
    assert!(Store::exists(made.path()));
}

#[test]
#[ignore = "runs in a namespace, started by the other"]
fn inside_full_disk() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    use rustix::mount::{MountFlags, mount};
    let tmp = tempfile::tempdir().unwrap();
    let small = tmp.path().join("small");
    fs::create_dir(&small).unwrap();
    mount(
        "tmpfs",
        &small,
        "tmpfs",
        MountFlags::empty(),
        Some(c"size=6m"),
    )
    .unwrap();
    let store = Store::open(&small.join("store"), &OpenOptions::create()).unwrap();
    let noise = |n: u8, len: usize| {
        let mut out = vec![0; len];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[n]);
        hasher.finalize_xof().fill(&mut out);
        out
    };
    let source = tmp.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("f"), noise(0, 1 << 20)).unwrap();
    let tree = store
        .import_dir(&source, &ImportOptions::default())
        .unwrap()
        .tree;
    store.add_root("kept", tree).unwrap();
    drop(store);
    for n in 1..20 {
        let store = Store::open(&small.join("store"), &OpenOptions::create()).unwrap();
        fs::write(
            source.join(format!("f{n}")),
            noise(n, usize::from(n) * 300_000),
        )
        .unwrap();
        match store.import_dir(&source, &ImportOptions::default()) {
            Ok(_) => assert!(n < 6),
            Err(error) => {
                assert!(n > 2);
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                let text = error.to_string();
                let here = format!("; the file system at {} has ", small.display());
                for part in [
                    &*here,
                    " of 6.3 MB free; ",
                    "; the folder has ",
                    " had been added",
                ] {
                    assert!(text.contains(part), "{text}");
                }
                let report = store
                    .verify(&VerifyOptions::default(), &mut |_| ())
                    .unwrap();
                assert_eq!(report.faults, []);
                drop(store);
                let store = Store::open(&small.join("store"), &OpenOptions::create()).unwrap();
                store.gc(&GcPolicy::newest(0), false).unwrap();
                assert!(store.has_tree(tree).unwrap());
            }
        }
    }
    let store = Store::open(&small.join("store"), &OpenOptions::create()).unwrap();
    store.gc(&GcPolicy::newest(0), false).unwrap();
    assert_eq!(
        store
            .verify(&VerifyOptions::default(), &mut |_| ())
            .unwrap()
            .faults,
        []
    );
    // A checkout that does not fit leaves nothing behind, and room to go on.
    let big = store.tree_builder().unwrap();
    drop(big);
    store.checkout(tree).unwrap();
    fs::write(source.join("zeros"), vec![0; 50_000_000]).unwrap();
    for n in 1..20 {
        let _ = fs::remove_file(source.join(format!("f{n}")));
    }
    let big = store
        .import_dir(&source, &ImportOptions::default())
        .unwrap();
    for name in ["zeros", "f"] {
        fs::remove_file(source.join(name)).unwrap();
    }
    fs::write(source.join("letters"), vec![b'x'; 20_000_000]).unwrap();
    let letters = store
        .import_dir(&source, &ImportOptions::default())
        .unwrap();
    let text = store.checkout(letters.tree).unwrap_err().to_string();
    assert!(
        text.ends_with(" of 6.3 MB free; the tree takes about 20.0 MB"),
        "{text}"
    );
    assert!(store.has_tree(big.tree).unwrap());
    store.checkout(tree).unwrap();
}
