//! The working path: import, read, check out, capture, record.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use mstore_store::*;

fn store(dir: &Path) -> Store {
    Store::open(&dir.join("store"), &OpenOptions::create()).unwrap()
}

fn sample(dir: &Path) {
    fs::create_dir_all(dir.join("etc/sub")).unwrap();
    fs::write(dir.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    fs::write(dir.join("etc/sub/empty"), "").unwrap();
    fs::write(dir.join("big"), vec![7u8; 9 << 20]).unwrap();
    let mut noise = Vec::new();
    let mut seed = blake3::Hasher::new();
    seed.update(b"noise");
    seed.finalize_xof().fill({
        noise.resize(6 << 20, 0);
        &mut noise
    });
    fs::write(dir.join("noise"), &noise).unwrap();
    fs::hard_link(dir.join("etc/passwd"), dir.join("etc/passwd-")).unwrap();
    symlink("../etc/passwd", dir.join("link")).unwrap();
    fs::set_permissions(dir.join("etc/sub"), fs::Permissions::from_mode(0o1711)).unwrap();
    fs::set_permissions(dir.join("big"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o750)).unwrap();
}

#[test]
fn import_checkout_import_is_the_same_tree() {
    let tmp = tempfile::tempdir().unwrap();
    let store = store(tmp.path());
    let src = tmp.path().join("src");
    sample(&src);
    let first = store.import_dir(&src, &ImportOptions::default()).unwrap();
    assert_eq!(first.entries, 8);
    let again = store.import_dir(&src, &ImportOptions::default()).unwrap();
    assert_eq!((again.tree, again.new_bytes), (first.tree, 0));
    assert!(store.has_tree(first.tree).unwrap());
    let checkout = store.checkout(first.tree).unwrap();
    let [layer] = checkout.layers() else {
        panic!("one layer")
    };
    let meta = fs::metadata(layer.join("etc/passwd")).unwrap();
    assert_eq!(meta.nlink(), 2);
    let back = store.import_dir(layer, &ImportOptions::default()).unwrap();
    assert_eq!(back.tree, first.tree);
    let copy = tmp.path().join("copy");
    store.copy_out(first.tree, &copy).unwrap();
    assert_eq!(
        store
            .import_dir(&copy, &ImportOptions::default())
            .unwrap()
            .tree,
        first.tree
    );
    assert_eq!(
        store.checkout(first.tree).unwrap().layers(),
        checkout.layers()
    );
    let noise = fs::read(src.join("noise")).unwrap();
    let entry = store.entry(first.tree, "noise").unwrap().unwrap();
    let Kind::File { blob, size } = entry.kind else {
        panic!()
    };
    assert_eq!(
        (store.blob(blob).unwrap(), size),
        (noise.clone(), noise.len() as u64)
    );
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut store.open_blob(blob).unwrap(), &mut read).unwrap();
    assert_eq!(read, noise);
    // Another handle sees the same.
    drop(checkout);
    drop(store);
    let store = Store::open(&tmp.path().join("store"), &OpenOptions::read_only()).unwrap();
    assert_eq!(store.checkout(first.tree).unwrap().layers().len(), 1);
}

#[test]
fn builder_makes_the_same_tree_as_an_import() {
    let tmp = tempfile::tempdir().unwrap();
    let store = store(tmp.path());
    let src = tmp.path().join("src");
    fs::create_dir_all(src.join("a/b")).unwrap();
    fs::write(src.join("a/b/f"), "hello").unwrap();
    fs::hard_link(src.join("a/b/f"), src.join("a/g")).unwrap();
    let imported = store.import_dir(&src, &ImportOptions::default()).unwrap();
    let tree = store.tree(imported.tree).unwrap();
    let meta = |path: &str| store.entry(imported.tree, path).unwrap().unwrap().meta;
    let mut b = store.tree_builder().unwrap();
    b.hard_link(b"a/g", b"a/b/f").unwrap();
    b.file(b"a/b/f", meta("a/b/f"), &mut &b"hello"[..]).unwrap();
    b.dir(b"a", meta("a")).unwrap();
    b.dir(b"a/b", meta("a/b")).unwrap();
    b.dir(b"", tree.root).unwrap();
    assert!(matches!(
        b.dir(b"a", Meta::default()),
        Err(StoreError::Duplicate { .. })
    ));
    assert!(matches!(
        b.symlink(b"a/b/f/x", Meta::default(), b"t"),
        Err(StoreError::Conflict { .. })
    ));
    assert!(matches!(
        b.symlink(b"a/../x", Meta::default(), b"t"),
        Err(StoreError::BadEntry { .. })
    ));
    assert_eq!(b.finish().unwrap().tree, imported.tree);
}
