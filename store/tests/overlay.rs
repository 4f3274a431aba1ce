//! Capture against the kernel: what overlayfs shows of a build must be what capture makes of its
//! upper directory. Runs itself again in a new mount namespace, as root and as an ordinary user is
//! (a user namespace with one id).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use mstore_store::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const INSIDE: &str = "MSTORE_TEST_INSIDE";

/// Runs a test of this file again under `unshare` with these options.
fn again(test: &str, options: &[&str]) {
    if !Command::new("unshare")
        .args(options)
        .arg("true")
        .status()
        .is_ok_and(|s| s.success())
    {
        println!("skipped: unshare {} does not work here", options.join(" "));
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let out = Command::new("unshare")
        .args(options)
        .arg(exe)
        .args(["--exact", test, "--nocapture", "--ignored"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}");
    print!(
        "{}",
        stdout
            .lines()
            .filter(|l| l.starts_with("skipped"))
            .collect::<String>()
    );
}

#[test]
fn capture_agrees_with_overlayfs_for_an_ordinary_user() {
    again(
        "inside_random_builds",
        &["--user", "--map-root-user", "--mount"],
    );
}

#[test]
fn capture_agrees_with_overlayfs_for_root() {
    if rustix::process::geteuid().is_root() {
        again("inside_random_builds", &["--mount"]);
    } else {
        println!("skipped: not root");
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    fn path(&mut self, top: &Path) -> PathBuf {
        let mut path = top.to_path_buf();
        for _ in 0..=self.next(3) {
            path.push(["a", "b", "c", "d", "e"][self.next(5)]);
        }
        path
    }

    /// One change. Most that cannot be made (no such directory) just fail, as they do in builds.
    fn change(&mut self, top: &Path) {
        let (path, other) = (self.path(top), self.path(top));
        match self.next(14) {
            0 | 1 => drop(fs::create_dir(&path)),
            2 | 3 => {
                // Opening a pipe would wait for its other end.
                if fs::symlink_metadata(&path).map_or(true, |m| m.is_file()) {
                    drop(fs::write(&path, [b'x'].repeat(self.next(9000))));
                }
            }
            4 => drop(fs::remove_file(&path)),
            5 => drop(fs::remove_dir_all(&path)),
            6 => drop(fs::rename(&path, &other)),
            7 => drop(fs::hard_link(&path, &other)),
            8 => drop(symlink("a/b", &path)),
            9 => {
                if fs::symlink_metadata(&path).is_ok_and(|m| !m.is_symlink()) {
                    let mode = [0o644, 0o4755, 0o2750, 0o1777, 0o700][self.next(5)];
                    drop(fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
                }
            }
            10 => {
                let value = [self.next(9) as u8];
                let flags = rustix::fs::XattrFlags::empty();
                let _ = rustix::fs::lsetxattr(&path, "user.note", &value, flags);
            }
            11 => {
                // A directory replaced by another of its name hides what was in it.
                if fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
                    drop(fs::remove_dir_all(&path));
                    drop(fs::create_dir(&path));
                    drop(fs::write(path.join("new"), "new"));
                }
            }
            12 => {
                use std::io::Write;
                if fs::symlink_metadata(&path).is_ok_and(|m| m.is_file())
                    && let Ok(mut file) = fs::OpenOptions::new().append(true).open(&path)
                {
                    drop(file.write_all(b"more"));
                }
            }
            _ => {
                let mode = rustix::fs::Mode::from_raw_mode(0o640);
                let fifo = rustix::fs::FileType::Fifo;
                let _ = rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0);
            }
        }
    }
}

fn overlay(layers: &[PathBuf], upper: &Path, work: &Path, merged: &Path) -> bool {
    fs::create_dir_all(merged).unwrap();
    fs::create_dir_all(work).unwrap();
    let lower: Vec<_> = layers.iter().map(|l| l.display().to_string()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr,index=off,metacopy=off,xino=auto",
        lower.join(":"),
        upper.display(),
        work.display()
    );
    let options = std::ffi::CString::new(options).unwrap();
    let none = MountFlags::empty();
    match mount("overlay", merged, "overlay", none, options.as_c_str()) {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: overlayfs cannot be mounted here: {error}");
            false
        }
    }
}

/// Compares what capture made with what overlayfs showed. Of a file that was copied up to be linked,
/// overlayfs (without an index) shows two inode numbers, though it is one file in the upper
/// directory: of hard links, capture may know more.
fn agree(store: &Store, captured: TreeHash, seen: TreeHash) -> bool {
    let (captured, seen) = (store.tree(captured).unwrap(), store.tree(seen).unwrap());
    let known = |group: &Vec<Vec<u8>>| {
        let has_all = |big: &Vec<Vec<u8>>| group.iter().all(|path| big.contains(path));
        captured.links.iter().any(has_all)
    };
    captured.root == seen.root && captured.dir == seen.dir && seen.links.iter().all(known)
}

/// Everything about a tree as lines, without what would be the same in all lines.
fn listing(store: &Store, tree: TreeHash) -> Vec<String> {
    fn dir(store: &Store, hash: DirHash, path: &str, out: &mut Vec<String>) {
        for entry in store.manifest(hash).unwrap().into_entries() {
            let path = format!("{path}/{}", String::from_utf8_lossy(&entry.name));
            let Meta {
                mode,
                mtime,
                xattrs,
                ..
            } = &entry.meta;
            let word = entry.kind.word();
            out.push(format!("{path} {word} {mode:o} {mtime:?} {xattrs:?}"));
            if let Kind::Dir { manifest } = entry.kind {
                dir(store, manifest, &path, out);
            }
        }
    }
    let tree = store.tree(tree).unwrap();
    let mut out = vec![format!("/ {:?}", tree.root)];
    for group in &tree.links {
        let names = group
            .iter()
            .map(|p| String::from_utf8_lossy(p).into_owned());
        out.push(format!("links {:?}", names.collect::<Vec<_>>()));
    }
    dir(store, tree.dir, "", &mut out);
    out
}

#[test]
#[ignore = "runs in a namespace, started by the others"]
fn inside_random_builds() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    // A file system of our own, so that any file system below will do.
    let tmp = tempfile::tempdir().unwrap();
    let top = tmp.path().join("fs");
    fs::create_dir(&top).unwrap();
    mount("tmpfs", &top, "tmpfs", MountFlags::empty(), None).unwrap();
    for seed in 1..=40u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let dir = top.join(seed.to_string());
        fs::create_dir(&dir).unwrap();
        let store = Store::open(&dir.join("store"), &OpenOptions::create()).unwrap();
        let source = dir.join("source");
        fs::create_dir(&source).unwrap();
        for _ in 0..60 {
            random.change(&source);
        }
        let full = ImportOptions::default();
        let mut base = store.import_dir(&source, &full).unwrap().tree;
        // Several steps, each on the layers that the one before left.
        for step in 0..4 {
            let checkout = store.checkout(base).unwrap();
            let scratch = store.scratch("build").unwrap();
            let part = |name: &str| scratch.path().join(name);
            let raised = store.prepare_upper(base, &part("upper")).unwrap();
            let (upper, work, merged) = (part("upper"), part("work"), part("merged"));
            if !overlay(checkout.layers(), &upper, &work, &merged) {
                return;
            }
            assert_eq!(store.import_dir(&merged, &full).unwrap().tree, base);
            for _ in 0..random.next(25) {
                random.change(&merged);
            }
            let seen = store.import_dir(&merged, &full).unwrap().tree;
            unmount(&merged, UnmountFlags::empty()).unwrap();
            if seed % 2 == 0 {
                raised.take_back().unwrap();
            }
            // No time is later than this one: nothing is clamped.
            let never = CaptureOptions { epoch: i64::MAX };
            let captured = store.capture(base, &upper, &never).unwrap();
            if !agree(&store, captured.tree, seen) {
                let (a, b) = (listing(&store, captured.tree), listing(&store, seen));
                panic!("seed {seed} step {step}:\ncapture {a:#?}\noverlayfs {b:#?}");
            }
            // Clamped, the upper directory must be as good a layer as a fresh checkout.
            let old = CaptureOptions {
                epoch: 1_000_000_000,
            };
            let clamped = store.capture(base, &upper, &old).unwrap().tree;
            store.keep_layer(base, clamped, upper).unwrap();
            let kept = store.checkout(clamped).unwrap();
            if clamped != base {
                assert_eq!(kept.layers().len(), checkout.layers().len() + 1);
            }
            let copy = part("copy");
            store.copy_out(clamped, &copy).unwrap();
            assert_eq!(store.import_dir(&copy, &full).unwrap().tree, clamped);
            base = clamped;
        }
        // All the layers too, as overlayfs shows them.
        let all = VerifyOptions {
            checkouts: true,
            ..VerifyOptions::default()
        };
        assert_eq!(store.verify(&all, &mut |_| ()).unwrap().faults, []);
        let report = store.gc(&GcPolicy::newest(0), true).unwrap();
        assert!(!report.alive.is_empty());
    }
    unmount(&top, UnmountFlags::DETACH).unwrap();
}

#[test]
fn damaged_layers_are_found_by_an_ordinary_user() {
    again(
        "inside_damaged_layers",
        &["--user", "--map-root-user", "--mount"],
    );
}

#[test]
fn damaged_layers_are_found_by_root() {
    if rustix::process::geteuid().is_root() {
        again("inside_damaged_layers", &["--mount"]);
    } else {
        println!("skipped: not root");
    }
}

const EPOCH: u64 = 1_000_000_000;

fn set_time(path: &Path) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(EPOCH);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn set_note(path: &Path, value: &[u8]) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(path, "user.note", value, flags).unwrap();
}

/// A store in which a layer lies over a checkout, and what a build did there: the base and the tree.
fn layered(dir: &Path) -> Option<(Store, TreeHash, TreeHash)> {
    let store = Store::open(&dir.join("store"), &OpenOptions::create()).unwrap();
    let source = dir.join("source");
    for folder in ["d", "opaque", "left/alone"] {
        fs::create_dir_all(source.join(folder)).unwrap();
    }
    for file in [
        "keep",
        "same",
        "gone",
        "d/x",
        "d/y",
        "opaque/old",
        "left/alone/f",
    ] {
        fs::write(source.join(file), "aaaa").unwrap();
        set_time(&source.join(file));
    }
    let base = store.import_dir(&source, &ImportOptions::default());
    let base = base.unwrap().tree;
    let upper = dir.join("store/tmp/upper");
    store.prepare_upper(base, &upper).unwrap();
    let checkout = store.checkout(base).unwrap();
    let merged = dir.join("merged");
    if !overlay(
        checkout.layers(),
        &upper,
        &dir.join("store/tmp/work"),
        &merged,
    ) {
        return None;
    }
    fs::write(merged.join("same"), "bbbb").unwrap();
    fs::remove_file(merged.join("gone")).unwrap();
    fs::remove_dir_all(merged.join("opaque")).unwrap();
    fs::create_dir(merged.join("opaque")).unwrap();
    fs::write(merged.join("opaque/new"), "new").unwrap();
    fs::create_dir_all(merged.join("n/m")).unwrap();
    fs::write(merged.join("n/m/new"), "new").unwrap();
    symlink("d", merged.join("link")).unwrap();
    fs::set_permissions(merged.join("d"), fs::Permissions::from_mode(0o700)).unwrap();
    set_note(&merged.join("keep"), b"one");
    unmount(&merged, UnmountFlags::empty()).unwrap();
    let options = CaptureOptions {
        epoch: EPOCH as i64,
    };
    let tree = store.capture(base, &upper, &options).unwrap().tree;
    store.keep_layer(base, tree, upper).unwrap();
    assert_eq!(store.checkout(tree).unwrap().layers().len(), 2);
    Some((store, base, tree))
}

/// Folders that somebody wrote to are noticed before a build uses them, once the process is another one.
fn a_harmed_layer_is_not_used(top: &Path, number: usize, harm: Harm) {
    let dir = top.join(format!("used-{number}"));
    fs::create_dir(&dir).unwrap();
    let Some((store, base, tree)) = layered(&dir) else {
        return;
    };
    let path = store.path().to_owned();
    let layer = path.join(format!("layers/{tree}"));
    drop(store);
    let open = || Store::open(&path, &OpenOptions::create()).unwrap();
    let sound = open().checkout(tree).unwrap();
    assert_eq!((sound.layers().len(), sound.dropped().len()), (2, 0));
    // Also when nobody knows any more what is below it.
    if number % 2 == 1 {
        let kept = open();
        kept.add_root("kept", tree).unwrap();
        kept.gc(&GcPolicy::newest(0), false).unwrap();
        assert!(!kept.has_tree(base).unwrap());
        drop(kept);
        let sound = open().checkout(tree).unwrap();
        assert_eq!(sound.dropped(), &[]);
        assert_eq!(sound.layers().len(), 2);
    }
    drop(sound);
    let opened = open();
    opened.checkout(tree).unwrap();
    harm(&layer);
    // What this process has looked at, it believes.
    assert_eq!(opened.checkout(tree).unwrap().layers().len(), 2);
    let anew = open().checkout(tree).unwrap();
    let [told] = anew.dropped() else {
        panic!("{number}: {:?}", anew.dropped());
    };
    let found = &told.found;
    assert!(found.starts_with(&format!("layers/{tree}: ")), "{found}");
    assert_eq!(told.tree, tree);
    assert_eq!(anew.layers().len(), 1);
    assert_eq!(open().checkout(tree).unwrap().dropped().len(), 0);
}

type Harm = fn(&Path);

/// What can go wrong in a layer, the file that is told, and what is said of it.
const HARMS: [(Harm, &str, &str); 11] = [
    (
        |l| fs::write(l.join("same"), "cccc").unwrap(),
        "/same",
        "has other content",
    ),
    (
        |l| fs::write(l.join("same"), "ccccc").unwrap(),
        "/same",
        "has 5 bytes, not 4",
    ),
    // The file of the base, of the same size and time, is not that of the tree.
    (
        |l| fs::remove_file(l.join("same")).unwrap(),
        "/same",
        "has other content (shown of checkouts/BASE)",
    ),
    // What the build removed comes back.
    (
        |l| fs::remove_file(l.join("gone")).unwrap(),
        "/gone",
        "is not in the tree (shown of checkouts/BASE)",
    ),
    (
        |l| rustix::fs::lremovexattr(l.join("opaque"), "user.overlay.opaque").unwrap(),
        "/opaque/old",
        "is not in the tree (shown of checkouts/BASE)",
    ),
    (
        |l| {
            let (kind, mode) = (
                rustix::fs::FileType::CharacterDevice,
                rustix::fs::Mode::empty(),
            );
            rustix::fs::mknodat(rustix::fs::CWD, l.join("d/x"), kind, mode, 0).unwrap();
        },
        "/d/x",
        "is hidden by a whiteout",
    ),
    (
        |l| fs::write(l.join("extra"), "").unwrap(),
        "/extra",
        "is not in the tree",
    ),
    (
        |l| fs::remove_dir_all(l.join("n/m")).unwrap(),
        "/n/m",
        "cannot be looked at: No such file or directory (os error 2)",
    ),
    (
        |l| fs::set_permissions(l.join("d"), fs::Permissions::from_mode(0o755)).unwrap(),
        "/d",
        "has mode 755, not 700",
    ),
    (
        |l| set_note(&l.join("keep"), b"two"),
        "/keep",
        "has other extended attributes",
    ),
    (
        |l| fs::set_permissions(l, fs::Permissions::from_mode(0o700)).unwrap(),
        "",
        "has mode 700, not 755",
    ),
];

#[test]
#[ignore = "runs in a namespace, started by the others"]
fn inside_damaged_layers() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    let tmp = tempfile::tempdir().unwrap();
    let top = tmp.path().join("fs");
    fs::create_dir(&top).unwrap();
    mount("tmpfs", &top, "tmpfs", MountFlags::empty(), None).unwrap();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for (number, (harm, file, detail)) in HARMS.into_iter().enumerate() {
        a_harmed_layer_is_not_used(&top, number, harm);
        let dir = top.join(number.to_string());
        fs::create_dir(&dir).unwrap();
        let Some((store, base, tree)) = layered(&dir) else {
            break;
        };
        let verify = |repair| {
            let options = VerifyOptions {
                checkouts: true,
                repair,
                ..VerifyOptions::default()
            };
            let report = store.verify(&options, &mut |_| ()).unwrap();
            let told = report.faults.into_iter();
            told.map(|f| (f.file.unwrap_or_default(), f.detail))
                .collect::<Vec<_>>()
        };
        assert_eq!(verify(false), []);
        let layer = store.path().join(format!("layers/{tree}"));
        let times = ["", "d", "n", "same"].map(|name| layer.join(name));
        let times = times.map(|path| (path.metadata().unwrap().modified().unwrap(), path));
        harm(&layer);
        // Only what is tried, no times with it.
        for (time, path) in times {
            if let Ok(file) = fs::File::open(path) {
                file.set_modified(time).unwrap();
            }
        }
        let detail = detail.replace("BASE", &base.to_string());
        let expected = [(format!("layers/{tree}{file}"), detail)];
        assert_eq!(verify(false), expected);
        assert_eq!(verify(false), expected, "to look changes nothing");
        assert_eq!(verify(true), expected);
        assert_eq!(verify(false), []);
        // The layer is not used any more, what was below it is.
        let whole = store.checkout(tree).unwrap();
        assert_eq!(
            whole.layers(),
            [store.path().join(format!("checkouts/{tree}"))]
        );
        let below = store.checkout(base).unwrap();
        assert_eq!(
            below.layers(),
            [store.path().join(format!("checkouts/{base}"))]
        );
        assert_eq!(verify(false), []);
        let copy = dir.join("copy");
        store.copy_out(tree, &copy).unwrap();
        let again = store.import_dir(&copy, &ImportOptions::default());
        assert_eq!(again.unwrap().tree, tree);
    }
    unmount(&top, UnmountFlags::DETACH).unwrap();
}
