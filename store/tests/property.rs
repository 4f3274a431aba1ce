//! Properties of trees: whatever is in one, it survives archives and the disk.
//!
//! `MSTORE_PROPERTY_CASES` says how many trees are tried; there are few by default.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mstore_store::*;
use proptest::prelude::*;
use proptest::sample::Index;

mod cases;
use cases::cases;

#[derive(Clone, Debug)]
enum Made {
    Dir,
    File(Vec<u8>),
    Sparse(u32),
    Symlink(Vec<u8>),
    Node(Node),
    /// One more name of something made before, which may be anything but a directory.
    Link(Index),
}

/// Attributes that need a mode or kind of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    None,
    Capability,
    AccessList,
    DefaultList,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = || any::<u8>().prop_filter("name", |b| *b != b'/' && *b != 0);
    prop_oneof![
        12 => "[a-d]".prop_map(String::into_bytes),
        10 => prop::collection::vec(byte(), 1..12).prop_filter("name", |n| n != b"." && n != b".."),
        1 => prop::collection::vec(byte(), 255),
        1 => Just(b"two\nlines ".to_vec()),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(name(), 1..4).prop_map(|names| names.join(&b'/'))
}

fn made() -> impl Strategy<Value = Made> {
    let number = || prop_oneof![4 => 0..300u32, 1 => 0u32..1 << 12];
    let target = prop_oneof![
        9 => prop::collection::vec(1u8..255, 1..30),
        1 => prop::collection::vec(1u8..255, 4000..4095),
    ];
    prop_oneof![
        2 => Just(Made::Dir),
        4 => prop::collection::vec(any::<u8>(), 0..3000).prop_map(Made::File),
        1 => prop_oneof![9 => 0u32..300_000, 1 => 4_000_000u32..6_000_000].prop_map(Made::Sparse),
        2 => target.prop_map(Made::Symlink),
        1 => prop_oneof![
            Just(Node::Fifo),
            Just(Node::Socket),
            // 0:0 is what overlayfs uses for itself: it is no device of any tree.
            (number(), 1u32..1 << 20).prop_map(|(major, minor)| Node::Char { major, minor }),
            (number(), 1u32..1 << 20).prop_map(|(major, minor)| Node::Block { major, minor }),
        ]
        .prop_map(Made::Node),
        2 => any::<Index>().prop_map(Made::Link),
    ]
}

fn extra() -> impl Strategy<Value = Extra> {
    prop_oneof![
        3 => Just(Extra::None),
        1 => Just(Extra::Capability),
        1 => Just(Extra::AccessList),
        1 => Just(Extra::DefaultList),
    ]
}

fn meta() -> impl Strategy<Value = Meta> {
    let id = || {
        prop_oneof![
            2 => 0u32..70_000,
            // The largest number means nobody at all.
            1 => 0..u32::MAX,
        ]
    };
    let xattrs = prop::collection::btree_map(
        "user\\.[a-z=%.]{1,5}",
        prop::collection::vec(any::<u8>(), 0..40),
        0..3,
    );
    // Before 1970 and after 2038, as far as ext4 goes.
    let secs = -2_147_483_648i64..8_000_000_000;
    let nanos = prop_oneof![1 => Just(0), 3 => 0u32..1_000_000_000];
    (0u16..=0o7777, id(), id(), secs, nanos, xattrs, 0..8u8).prop_map(
        |(mode, uid, gid, secs, nanos, xattrs, extra)| {
            let mut xattrs: Vec<_> = xattrs
                .into_iter()
                .map(|(n, v)| (n.into_bytes(), v))
                .collect();
            if extra == 0 {
                xattrs.push((b"user.overlay.opaque".to_vec(), b"y".to_vec()));
                xattrs.push((b"user.overlay.overlay.x".to_vec(), b"z".to_vec()));
            }
            Meta {
                mode,
                uid,
                gid,
                mtime: Mtime { secs, nanos },
                xattrs,
            }
        },
    )
}

type Entries = Vec<(Vec<u8>, Meta, Made, Extra)>;

fn entries() -> impl Strategy<Value = Entries> {
    prop::collection::vec((path(), meta(), made(), extra()), 0..40)
}

/// Version 2 of the kernel's capability attribute: cap_net_raw=ep.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// user::rw- user:1000:rw- group::r-- mask::rw- other::r--
const ACL: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255,
    255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];

impl Extra {
    /// Gives an entry what goes with it.
    fn apply(self, meta: &mut Meta, made: &Made) {
        let mut add = |name: &str, value: &[u8]| meta.xattrs.push((name.into(), value.to_vec()));
        match (self, made) {
            (Extra::Capability, Made::File(_)) => add("security.capability", &CAPABILITY),
            (Extra::AccessList, Made::File(_) | Made::Dir | Made::Node(_)) => {
                add("system.posix_acl_access", &ACL);
                // The kernel keeps the list and the mode alike.
                meta.mode = meta.mode & 0o7000 | 0o664;
            }
            (Extra::DefaultList, Made::Dir) => add("system.posix_acl_default", &ACL),
            _ => {}
        }
    }
}

fn build(store: &Store, root: Meta, entries: Entries) -> TreeHash {
    let mut b = store.tree_builder().unwrap();
    b.dir(b"", root).unwrap();
    let mut names: Vec<Vec<u8>> = Vec::new();
    for (path, mut meta, made, extra) in entries {
        if matches!(made, Made::Symlink(_) | Made::Node(_)) {
            meta.xattrs.clear();
        }
        extra.apply(&mut meta, &made);
        let is_dir = matches!(made, Made::Dir);
        // Collisions are refused; that leaves some entries out.
        let added = match made {
            Made::Dir => b.dir(&path, meta),
            Made::File(content) => b.file(&path, meta, &mut &content[..]).map(|_| ()),
            Made::Sparse(len) => {
                let mut content = vec![0u8; len as usize];
                if let Some(middle) = content.get_mut(len as usize / 2) {
                    *middle = 1;
                }
                b.file(&path, meta, &mut &content[..]).map(|_| ())
            }
            Made::Symlink(target) => {
                // The system gives links no mode of their own.
                meta.mode = 0o777;
                b.symlink(&path, meta, &target)
            }
            Made::Node(node) => b.node(&path, meta, node),
            Made::Link(target) => {
                if names.is_empty() {
                    continue;
                }
                b.hard_link(&path, target.get::<Vec<u8>>(&names))
            }
        };
        match added {
            Ok(()) if is_dir => {}
            Ok(()) => names.push(path),
            Err(StoreError::Duplicate { .. } | StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    b.finish().unwrap().tree
}

fn import_tar(store: &Store, archive: &[u8]) -> TreeHash {
    let imported = store.import_tar(archive, &TarOptions::seed());
    imported.unwrap_or_else(|error| panic!("{error}")).tree
}

/// A tree comes back from an archive as it was. Sockets cannot be archived.
fn survives_the_archive(store: &Store, tree: TreeHash) {
    let write = |tree| {
        let mut archive = Vec::new();
        let written = store.export_tar(tree, &mut archive, &ExportOptions::default());
        (archive, written.unwrap().sockets)
    };
    let (archive, sockets) = write(tree);
    let back = import_tar(store, &archive);
    if sockets == 0 {
        same(store, back, tree);
    } else {
        assert!(write(back) == (archive, 0), "only the sockets are missing");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Store::open(&elsewhere.path().join("store"), &OpenOptions::create()).unwrap();
    assert_eq!(import_tar(&other, &write(back).0), back);
}

/// Compares two trees, and shows what differs.
#[track_caller]
fn same(store: &Store, found: TreeHash, wanted: TreeHash) {
    if found == wanted {
        return;
    }
    let (a, b) = (store.tree(found).unwrap(), store.tree(wanted).unwrap());
    assert_eq!(a, b);
    panic!("two hashes for one tree");
}

/// A tree comes back from the disk as it was, in whatever way it got there.
fn survives_the_disk(store: &Store, dir: &Path, tree: TreeHash) {
    let full = ImportOptions::default();
    let copy = dir.join("copy");
    store.copy_out(tree, &copy).unwrap();
    same(store, store.import_dir(&copy, &full).unwrap().tree, tree);
    // And again, from what the stat cache remembers.
    same(store, store.import_dir(&copy, &full).unwrap().tree, tree);
    let linked = dir.join("linked");
    store.place(tree, &linked, Placing::Link).unwrap();
    same(store, store.import_dir(&linked, &full).unwrap().tree, tree);
    // Laid under an empty upper directory, nothing changes either.
    let upper = dir.join("upper");
    let raised = store.prepare_upper(tree, &upper).unwrap();
    raised.take_back().unwrap();
    let options = CaptureOptions { epoch: i64::MAX };
    let captured = store.capture(tree, &upper, &options).unwrap();
    assert_eq!((captured.tree, captured.changed), (tree, 0));
    let verified = store.verify(&VerifyOptions::default(), &mut |_| ());
    assert_eq!(verified.unwrap().faults, vec![]);
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn any_tree_survives_an_archive(root in meta(), entries in entries()) {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(&tmp.path().join("store"), &OpenOptions::create()).unwrap();
        let tree = build(&store, root, entries);
        survives_the_archive(&store, tree);
    }

    #[test]
    fn any_tree_survives_the_disk(root in meta(), entries in entries()) {
        if !is_root() {
            println!("skipped: owners and devices need root");
            return Ok(());
        }
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(&tmp.path().join("store"), &OpenOptions::create()).unwrap();
        let tree = build(&store, root, entries);
        survives_the_disk(&store, tmp.path(), tree);
    }

    #[test]
    fn any_tree_of_an_ordinary_user_survives_the_disk(root in meta(), entries in entries()) {
        if is_root() {
            // See below.
            return Ok(());
        }
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(&tmp.path().join("store"), &OpenOptions::create()).unwrap();
        let own = |mut meta: Meta| {
            meta.uid = rustix::process::geteuid().as_raw();
            meta.gid = rustix::process::getegid().as_raw();
            // What its owner cannot read is not imported.
            meta.mode |= 0o700;
            meta
        };
        let entries = entries.into_iter().filter(|(_, _, made, _)| {
            !matches!(made, Made::Node(Node::Char { .. } | Node::Block { .. }))
        });
        let entries = entries.map(|(path, meta, made, extra)| {
            // An access list gives directories a mode that their owner cannot search.
            let allowed = match made {
                Made::Dir => extra == Extra::DefaultList,
                _ => extra != Extra::Capability,
            };
            (path, own(meta), made, if allowed { extra } else { Extra::None })
        });
        // Directories that only paths tell of belong to root.
        let mut all: Entries = Vec::new();
        let mut dirs = BTreeSet::new();
        for (path, meta, made, extra) in entries {
            for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
                if dirs.insert(path[..at].to_vec()) {
                    all.push((path[..at].to_vec(), own(Meta::default()), Made::Dir, Extra::None));
                }
            }
            all.push((path, meta, made, extra));
        }
        let tree = build(&store, own(root), all);
        survives_the_archive(&store, tree);
        survives_the_disk(&store, tmp.path(), tree);
    }
}

/// Runs the property for ordinary users as one, where all other tests are run by root.
#[test]
fn ordinary_users_have_their_property_too() {
    use std::os::unix::process::CommandExt;
    if !is_root() {
        return;
    }
    const NOBODY: u32 = 65_534;
    let tmp = tempfile::tempdir().unwrap();
    std::fs::set_permissions(tmp.path(), PermissionsExt::from_mode(0o711)).unwrap();
    // Where the program lies may be closed to others.
    let program = tmp.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let home = tmp.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    let test = "any_tree_of_an_ordinary_user_survives_the_disk";
    let ran = std::process::Command::new(&program)
        .args(["--exact", test, "--test-threads=1"])
        .env("TMPDIR", &home)
        .current_dir(&home)
        .uid(NOBODY)
        .gid(NOBODY)
        .output();
    let ran = ran.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        ran.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(said.contains("1 passed"), "{said}");
}
