//! Archives and a real store.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mstore_store::compress::Compression;
use mstore_store::tar::{StripTop, TarError};
use mstore_store::{
    ExportOptions, ImportOptions, Imported, OpenOptions, Store, StoreError, TarOptions,
};

fn store(folder: &Path) -> Store {
    Store::open(&folder.join("store"), &OpenOptions::create()).unwrap()
}

/// A folder with some of everything that an ordinary user can make.
fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("usr/bin")).unwrap();
    fs::create_dir_all(folder.join("usr/share/empty")).unwrap();
    for n in 0..200u32 {
        let text: String = (0..n * 40)
            .map(|k| char::from(b'a' + (k * n % 26) as u8))
            .collect();
        fs::write(folder.join(format!("usr/share/file{n}")), text).unwrap();
    }
    // Large enough to be cut into chunks.
    let large: Vec<u8> = (0..1_500_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    fs::write(folder.join("usr/large"), large).unwrap();
    fs::write(folder.join("usr/zeros"), vec![0; 5_000_000]).unwrap();
    fs::write(folder.join("usr/bin/su"), "x").unwrap();
    fs::set_permissions(
        folder.join("usr/bin/su"),
        fs::Permissions::from_mode(0o4755),
    )
    .unwrap();
    fs::hard_link(folder.join("usr/bin/su"), folder.join("usr/share/again")).unwrap();
    fs::hard_link(folder.join("usr/bin/su"), folder.join("usr/bin/third")).unwrap();
    symlink("/usr/bin/su", folder.join("link")).unwrap();
    fs::write(
        folder.join(format!("usr/share/{}", "long".repeat(60))),
        "long name",
    )
    .unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_234_567_890, 123_456_789);
    fs::File::open(folder.join("usr/bin/su"))
        .unwrap()
        .set_modified(time)
        .unwrap();
}

fn import(store: &Store, archive: &[u8]) -> Result<Imported, StoreError> {
    store.import_tar(archive, &TarOptions::default())
}

#[test]
fn a_tree_survives_every_compressor_and_equals_the_folder_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fill(&source);
    let store = store(folder.path());
    let from_folder = store
        .import_dir(&source, &ImportOptions::default())
        .unwrap();
    for compression in [
        Compression::None,
        Compression::Gzip(1),
        Compression::Xz(0),
        Compression::Zstd(3),
    ] {
        let mut archive = Vec::new();
        let options = ExportOptions::new(compression);
        let exported = store
            .export_tar(from_folder.tree, &mut archive, &options)
            .unwrap();
        assert_eq!(exported.compression, compression);
        let mut again = Vec::new();
        let options = ExportOptions {
            compression,
            threads: 1,
        };
        store
            .export_tar(from_folder.tree, &mut again, &options)
            .unwrap();
        assert!(
            archive == again,
            "{compression}: the bytes depend on the number of threads"
        );

        let elsewhere = tempfile::tempdir().unwrap();
        let other = self::store(elsewhere.path());
        let back = import(&other, &archive).unwrap();
        assert_eq!(back.tree, from_folder.tree, "{compression}");
        assert_eq!(back.entries, from_folder.entries);
        let here = import(&store, &archive).unwrap();
        assert_eq!((here.tree, here.new_bytes), (from_folder.tree, 0));
    }
}

#[test]
fn snapshots_from_a_folder_and_from_a_release_tarball_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fill(&source);
    let store = store(folder.path());
    let wanted = store
        .import_dir(&source, &ImportOptions::snapshot())
        .unwrap();
    let options = ImportOptions {
        exclude: vec!["store".into()],
        ..ImportOptions::default()
    };
    let whole = store.import_dir(folder.path(), &options).unwrap();
    let mut archive = Vec::new();
    store
        .export_tar(whole.tree, &mut archive, &ExportOptions::default())
        .unwrap();
    let found = store
        .import_tar(&archive[..], &TarOptions::snapshot())
        .unwrap();
    assert_eq!(found.tree, wanted.tree);
    assert_eq!(found.entries, wanted.entries);

    let strip = TarOptions {
        strip_top: StripTop::Require,
        ..TarOptions::default()
    };
    let mut flat = Vec::new();
    let tree = store
        .import_dir(&source, &ImportOptions::default())
        .unwrap()
        .tree;
    store
        .export_tar(tree, &mut flat, &ExportOptions::default())
        .unwrap();
    let error = store.import_tar(&flat[..], &strip).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot strip the top folder: the archive has 2 entries at its top, not one folder"
    );
    assert_eq!(store.import_tar(&archive[..], &strip).unwrap().tree, tree);
}

/// All files of a store with their sizes, except those of its database and the mark of this process.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => found.push((entry.path(), entry.metadata().unwrap().len())),
            }
        }
    }
    found.retain(|(path, _)| {
        let path = path.to_string_lossy();
        !path.contains("sqlite") && !path.contains("/sessions/")
    });
    found.sort();
    found
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fill(&source);
    let store = store(folder.path());
    let tree = store
        .import_dir(&source, &ImportOptions::default())
        .unwrap()
        .tree;
    let mut archive = Vec::new();
    store
        .export_tar(
            tree,
            &mut archive,
            &ExportOptions::new(Compression::Zstd(1)),
        )
        .unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = self::store(elsewhere.path());
    let before = files(elsewhere.path());
    for end in [3, 100, archive.len() / 2, archive.len() - 1] {
        let error = import(&other, &archive[..end]).unwrap_err();
        assert!(matches!(error, StoreError::Tar(_)), "{error}");
    }
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let half = &archive[..archive.len() / 2];
    let error = other
        .import_tar(half.chain(Fails), &TarOptions::default())
        .unwrap_err();
    assert!(
        matches!(error, StoreError::Tar(TarError::Read { .. })),
        "{error}"
    );
    assert!(!other.has_tree(tree).unwrap());
    assert_eq!(files(elsewhere.path()), before);
    // And the store is as good as new.
    assert_eq!(import(&other, &archive).unwrap().tree, tree);
}

#[test]
fn a_full_output_is_reported_as_such() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(28))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fill(&source);
    let store = store(folder.path());
    let tree = store
        .import_dir(&source, &ImportOptions::default())
        .unwrap()
        .tree;
    for compression in [
        Compression::None,
        Compression::Xz(0),
        Compression::Zstd(3),
        Compression::Gzip(1),
    ] {
        let error = store
            .export_tar(tree, Full, &ExportOptions::new(compression))
            .unwrap_err();
        assert!(
            matches!(error, StoreError::NoSpace { .. }),
            "{compression}: {error}"
        );
    }
}
