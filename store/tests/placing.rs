//! Trees for users, repacking, and stores that earlier releases wrote.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mstore_store::*;

fn open(path: &Path) -> Store {
    Store::open(path, &OpenOptions::create()).unwrap()
}

/// Files with equal content, a hard link, one long file, one link.
fn sample(dir: &Path) {
    fs::create_dir_all(dir.join("a/b")).unwrap();
    fs::write(dir.join("a/one"), "same").unwrap();
    fs::write(dir.join("a/b/two"), "same").unwrap();
    fs::hard_link(dir.join("a/one"), dir.join("a/b/name")).unwrap();
    std::os::unix::fs::symlink("one", dir.join("a/link")).unwrap();
    let long: String = (0..900_000).map(|n| format!("{n}\n")).collect();
    fs::write(dir.join("long"), &long).unwrap();
    fs::write(dir.join("short"), &long[..100_000]).unwrap();
}

fn faults(store: &Store, repair: bool) -> Vec<String> {
    let options = VerifyOptions {
        checkouts: true,
        repair,
        ..VerifyOptions::default()
    };
    let report = store.verify(&options, &mut |_| ()).unwrap();
    let files = report.faults.into_iter();
    files
        .map(|f| format!("{}: {}", f.file.unwrap_or_default(), f.detail))
        .collect()
}

fn import(store: &Store, dir: &Path) -> TreeHash {
    let options = ImportOptions {
        no_cache: true,
        ..ImportOptions::default()
    };
    store.import_dir(dir, &options).unwrap().tree
}

#[test]
fn farms_share_files_with_the_store_and_nothing_else() {
    let tmp = tempfile::tempdir().unwrap();
    let (src, store) = (tmp.path().join("src"), open(&tmp.path().join("s")));
    sample(&src);
    let tree = import(&store, &src);
    let inode = |path: &str| fs::symlink_metadata(tmp.path().join(path)).unwrap().ino();
    let first = store
        .place(tree, &tmp.path().join("x"), Placing::Link)
        .unwrap();
    // One of the five names is a second name of another.
    assert_eq!((first.linked, first.copied), (4, 0));
    store
        .place(tree, &tmp.path().join("y"), Placing::Link)
        .unwrap();
    for name in ["a/one", "a/b/two", "long", "short", "a/link"] {
        assert_eq!(inode(&format!("x/{name}")), inode(&format!("y/{name}")));
    }
    assert_ne!(inode("x/a/one"), inode("x/a/b/two"));
    assert_eq!(inode("x/a/one"), inode("x/a/b/name"));
    assert_eq!(import(&store, &tmp.path().join("y")), tree);
    // What builds see has no second name.
    let layer = store.checkout(tree).unwrap().layers()[0].join("long");
    assert_eq!(fs::metadata(layer).unwrap().nlink(), 1);
    let copy = |name: &str, how| {
        let path = tmp.path().join(name);
        store.place(tree, &path, how).unwrap();
        assert_eq!(import(&store, &path), tree);
        assert_eq!(fs::metadata(path.join("long")).unwrap().nlink(), 1);
    };
    copy("copy", Placing::Copy);
    copy("clone", Placing::Reflink);
}

#[test]
fn what_was_written_to_a_checkout_is_found_and_not_handed_on() {
    let tmp = tempfile::tempdir().unwrap();
    let (src, store) = (tmp.path().join("src"), open(&tmp.path().join("s")));
    sample(&src);
    let tree = import(&store, &src);
    let layer = store.checkout(tree).unwrap().layers()[0].clone();
    store
        .place(tree, &tmp.path().join("x"), Placing::Link)
        .unwrap();
    assert!(faults(&store, false).is_empty());
    // Same length and time: only the content tells.
    for path in [layer.join("short"), tmp.path().join("x/short")] {
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, vec![b'x'; 100_000]).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
    }
    fs::write(layer.join("more"), "").unwrap();
    let found = faults(&store, false);
    // The folder itself has another time besides.
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(
        found
            .iter()
            .all(|f| f.contains("checkouts/") || f.contains("links/"))
    );
    // A copy is compared on the way.
    store.copy_out(tree, &tmp.path().join("copy")).unwrap();
    assert_eq!(import(&store, &tmp.path().join("copy")), tree);
    assert_eq!(faults(&store, true).len(), 4);
    assert!(faults(&store, false).is_empty());
    let layer = store.checkout(tree).unwrap().layers()[0].clone();
    assert_eq!(import(&store, &layer), tree);
    store
        .place(tree, &tmp.path().join("z"), Placing::Link)
        .unwrap();
    assert_eq!(import(&store, &tmp.path().join("z")), tree);
}

#[test]
fn a_repack_changes_bytes_only() {
    let tmp = tempfile::tempdir().unwrap();
    let (src, store) = (tmp.path().join("src"), open(&tmp.path().join("s")));
    sample(&src);
    // More than the first megabytes, which are compressed well at once.
    let text = |n: u32| {
        (n..n + 500_000)
            .map(|n| format!("{n:x} "))
            .collect::<String>()
    };
    for n in 0..6 {
        fs::write(src.join(format!("t{n}")), text(n * 7_000_000)).unwrap();
    }
    let tree = import(&store, &src);
    store.add_root("r", tree).unwrap();
    let cancel = Cancel::new();
    cancel.cancel();
    let stopped = store.repack(&cancel).unwrap();
    assert!(!stopped.complete && stopped.packs == 0);
    let done = store.repack(&Cancel::new()).unwrap();
    assert!(done.complete && done.packs == 1, "{done:?}");
    assert!(done.after < done.before, "{done:?}");
    assert_eq!(store.repack(&Cancel::new()).unwrap().packs, 0);
    assert!(faults(&store, false).is_empty());
    let copy = tmp.path().join("copy");
    store.copy_out(tree, &copy).unwrap();
    assert_eq!(import(&store, &copy), tree);
    let report = store.gc(&GcPolicy::newest(0), false).unwrap();
    assert_eq!(report.objects_gone, 0);
    // What is copied from packs of both kinds counts as compressed fast.
    assert_eq!(open(store.path()).repack(&Cancel::new()).unwrap().packs, 0);
}

/// Unpacks a store that an earlier release wrote.
fn golden(tmp: &Path, name: &str) -> PathBuf {
    let helper = open(&tmp.join("helper"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let archive = fs::File::open(folder.join(name)).unwrap();
    let unpacked = helper.import_tar(archive, &TarOptions::default()).unwrap();
    let path = tmp.join("golden");
    helper.copy_out(unpacked.tree, &path).unwrap();
    path
}

#[test]
fn realisations_of_releases_that_knew_no_kinds_have_them() {
    use RealisationKind::{Step, Target};
    let tmp = tempfile::tempdir().unwrap();
    let path = golden(tmp.path(), "format-1-database-3.tar.zst");
    for options in [OpenOptions::read_only(), OpenOptions::default()] {
        let store = Store::open(&path, &options).unwrap();
        assert!(faults(&store, false).is_empty());
        let (target, step, first) = (&Hash::of(&[2]), &Hash::of(&[1]), &Hash::of(&[0]));
        for (key, kind) in [(target, Target), (step, Step), (first, Step)] {
            assert_eq!(store.realisation(key).unwrap().unwrap().kind, kind);
            let fact = store.fact(key).unwrap().unwrap();
            assert_eq!((fact.realisation.kind, fact.signatures.len()), (kind, 1));
        }
        let tree = store.realisation(target).unwrap().unwrap().tree;
        let of_tree = store.realisations_of(&tree.0).unwrap();
        let kinds: Vec<_> = of_tree.iter().map(|r| r.kind).collect();
        assert_eq!(kinds, [Step, Target], "the step first");
        let drv = Hash::of(&[2, 1]);
        assert!(
            store.fact_of_derivation(&drv).unwrap().is_none(),
            "a target"
        );
        let drv = Hash::of(&[1, 1]);
        assert!(store.fact_of_derivation(&drv).unwrap().is_some());
        let part = store.fact(&Hash::of(b"part")).unwrap().unwrap();
        assert_eq!(part.realisation.kind, RealisationKind::Part);
        let attempts = store.history(&HistoryFilter::default()).unwrap();
        let attempts: Vec<_> = attempts.iter().map(|a| (a.kind, a.outcome)).collect();
        let ok = Outcome::Ok;
        assert_eq!(
            attempts,
            [
                (Step, Outcome::Failed),
                (Target, ok),
                (Step, ok),
                (Step, ok)
            ]
        );
    }
}

/// A target of two steps that both gave one tree.
#[test]
fn a_store_of_before_packs_were_folded_is_read_and_brought_up() {
    let tmp = tempfile::tempdir().unwrap();
    let path = golden(tmp.path(), "format-1-database-4.tar.zst");
    let tree: TreeHash = "yoppqgyapfiylhpmob6njhdbtxk7fawmcrjj7trmqoif57xotbvq"
        .parse()
        .unwrap();
    for options in [
        OpenOptions::read_only(),
        OpenOptions::default(),
        OpenOptions::read_only(),
    ] {
        let store = Store::open(&path, &options).unwrap();
        assert!(faults(&store, false).is_empty());
        assert!(store.has_tree(tree).unwrap());
        let names: Vec<_> = store.realisations_of(&tree.0).unwrap();
        let names: Vec<_> = names.iter().map(|r| r.name.as_str()).collect();
        let target = "bench/x86-64bit/a/t";
        assert_eq!(names.len(), 3);
        assert_eq!(names[2], target, "steps first");
        assert_eq!(store.realisations(Some(target)).unwrap().len(), 1);
        assert_eq!(
            store.newest_realisation(target).unwrap().unwrap().tree,
            tree
        );
        assert_eq!(store.history(&HistoryFilter::default()).unwrap().len(), 3);
        // A store that may not be written tells no state: nothing that was worked out from it is kept.
        let brought_up = store.steady().unwrap().answers().is_some();
        assert!(brought_up || store.is_read_only());
    }
    let store = open(&path);
    assert!(store.steady().unwrap().answers().is_some());
    store.gc(&GcPolicy::newest(1), false).unwrap();
    assert!(store.has_tree(tree).unwrap());
}

/// Stores of the releases that cut trees for engines, before and after what engines work on was noted.
#[test]
fn stores_of_before_and_after_operations_are_read_and_brought_up() {
    let engine = "reapi://farm.example/main";
    let tree: TreeHash = "e25uqc4fokal6pp6hstn5olfhevuklgujdsqlqqky3ks7emgh3lq"
        .parse()
        .unwrap();
    let key: Hash = "yoppqgyapfiylhpmob6njhdbtxk7fawmcrjj7trmqoif57xotbvq"
        .parse()
        .unwrap();
    for (version, noted) in [(9, None), (10, Some("operations/1".to_owned()))] {
        let tmp = tempfile::tempdir().unwrap();
        let path = golden(tmp.path(), &format!("format-1-database-{version}.tar.zst"));
        for options in [
            OpenOptions::read_only(),
            OpenOptions::default(),
            OpenOptions::read_only(),
        ] {
            let store = Store::open(&path, &options).unwrap();
            assert!(faults(&store, false).is_empty(), "{version}");
            assert!(store.has_tree(tree).unwrap());
            assert_eq!(store.realisations(None).unwrap().len(), 2);
            assert_eq!(store.history(&HistoryFilter::default()).unwrap().len(), 2);
            // The list of a cut that has no bundles.
            assert_eq!(store.bundles(&key).unwrap(), Some(vec![0x80]));
            assert_eq!(store.operation(engine, "action").unwrap(), noted);
        }
        let store = open(&path);
        store
            .note_operation(engine, "another", "operations/2")
            .unwrap();
        assert_eq!(
            store.operation(engine, "another").unwrap().as_deref(),
            Some("operations/2")
        );
        store.forget_operation(engine, "action").unwrap();
        assert_eq!(store.operation(engine, "action").unwrap(), None);
        store.gc(&GcPolicy::newest(1), false).unwrap();
        assert!(store.has_tree(tree).unwrap());
    }
}

#[test]
fn a_rescue_of_an_older_database_tells_kinds() {
    let tmp = tempfile::tempdir().unwrap();
    let path = golden(tmp.path(), "format-1-database-3.tar.zst");
    let rescued = Store::rescue_database(&path).unwrap();
    assert_eq!(rescued.damaged, [""; 0]);
    let kinds = |store: Store| -> Vec<_> {
        let all = store.realisations(None).unwrap().into_iter();
        all.map(|r| (r.key, r.kind)).collect()
    };
    let saved = kinds(open(&path));
    assert_eq!(saved.len(), 3);
    let other = tempfile::tempdir().unwrap();
    let path = golden(other.path(), "format-1-database-3.tar.zst");
    assert_eq!(saved, kinds(open(&path)));
}

#[test]
fn a_store_that_the_first_release_wrote_is_read() {
    let tmp = tempfile::tempdir().unwrap();
    let path = golden(tmp.path(), "format-1.tar.zst");
    let store = open(&path);
    let roots = store.roots().unwrap();
    assert_eq!(roots.len(), 1);
    let tree = roots[0].tree;
    assert_eq!(tree.to_string(), GOLDEN);
    assert!(faults(&store, false).is_empty());
    let copy = tmp.path().join("copy");
    // Elsewhere than as root the owners cannot be set.
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        store.copy_out(tree, &copy).unwrap();
        assert_eq!(import(&store, &copy), tree);
    }
    store.repack(&Cancel::new()).unwrap();
    store.gc(&GcPolicy::newest(0), false).unwrap();
    assert!(store.has_tree(tree).unwrap());
    assert!(faults(&store, false).is_empty());
}

const GOLDEN: &str = "227dkkth76uhbyn6kjhjqclsg7aojwug6fravfvquncogrgpxnyq";
