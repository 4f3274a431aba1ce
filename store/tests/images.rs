//! Images, read back with the tools that know them. Each test skips, saying so, without its tool.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use mstore_store::compress::Compression;
use mstore_store::{
    ImageKind, ImageOptions, ImportOptions, OciOptions, OpenOptions, Store, StoreError, TarOptions,
    TreeHash,
};

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--help").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// A store with a small tree in it, all times whole seconds.
fn sample(folder: &Path) -> (Store, TreeHash) {
    let source = folder.join("source");
    fs::create_dir_all(source.join("usr/bin")).unwrap();
    fs::create_dir_all(source.join("empty")).unwrap();
    for n in 0..50 {
        fs::write(
            source.join(format!("usr/file{n}")),
            format!("{n} ").repeat(n * 100),
        )
        .unwrap();
    }
    fs::write(source.join("usr/bin/su"), "x").unwrap();
    fs::set_permissions(
        source.join("usr/bin/su"),
        fs::Permissions::from_mode(0o4755),
    )
    .unwrap();
    fs::hard_link(source.join("usr/bin/su"), source.join("again")).unwrap();
    symlink("usr/bin", source.join("bin")).unwrap();
    let mut times = Command::new("find");
    times
        .arg(&source)
        .args(["-exec", "touch", "-h", "-d", "@1234567890", "{}", "+"]);
    assert!(times.status().unwrap().success());
    let store = Store::open(&folder.join("store"), &OpenOptions::create()).unwrap();
    let tree = store
        .import_dir(&source, &ImportOptions::default())
        .unwrap()
        .tree;
    (store, tree)
}

#[test]
fn squashfs_keeps_the_tree_and_never_differs() {
    if !has("mksquashfs") || !has("unsquashfs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (store, tree) = sample(folder.path());
    let image = folder.path().join("image");
    let mut options = ImageOptions::new(ImageKind::Squashfs);
    store.export_image(tree, &image, &options).unwrap();
    let first = fs::read(&image).unwrap();
    options
        .compressor
        .extend(["-processors".into(), "1".into()]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    store.export_image(tree, &image, &options).unwrap();
    assert!(
        first == fs::read(&image).unwrap(),
        "two images of one tree differ"
    );

    let out = folder.path().join("out");
    let output = Command::new("unsquashfs")
        .arg("-d")
        .arg(&out)
        .arg(&image)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let back = store.import_dir(&out, &ImportOptions::default()).unwrap();
    assert_eq!(back.tree, tree);
}

#[test]
fn erofs_is_sound_and_never_differs() {
    if !has("mkfs.erofs") || !has("fsck.erofs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (store, tree) = sample(folder.path());
    let image = folder.path().join("image");
    let options = ImageOptions::new(ImageKind::Erofs);
    store.export_image(tree, &image, &options).unwrap();
    let first = fs::read(&image).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    store.export_image(tree, &image, &options).unwrap();
    assert!(
        first == fs::read(&image).unwrap(),
        "two images of one tree differ"
    );
    let output = Command::new("fsck.erofs").arg(&image).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_failing_tool_leaves_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let (store, tree) = sample(folder.path());
    let image = folder.path().join("image");
    let mut options = ImageOptions::new(ImageKind::Squashfs);
    options.program = Some("/bin/false".into());
    let error = store.export_image(tree, &image, &options).unwrap_err();
    assert!(error.to_string().contains("/bin/false failed"), "{error}");
    options.program = Some("/does/not/exist".into());
    let error = store.export_image(tree, &image, &options).unwrap_err();
    assert!(error.to_string().contains("squashfs-tools"), "{error}");
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in [folder.to_path_buf(), folder.join("blobs/sha256")] {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let name = entry.file_name().into_string().unwrap();
                found.push((name, fs::read(entry.path()).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn an_image_layout_names_every_blob_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let (store, tree) = sample(folder.path());
    for compression in [
        Compression::None,
        Compression::Gzip(6),
        Compression::Zstd(3),
    ] {
        let out = folder
            .path()
            .join(compression.to_string().replace(":", "-"));
        let options = OciOptions {
            compression,
            tag: Some("latest".into()),
            ..OciOptions::for_machine("armv7l")
        };
        let image = store.export_oci(tree, &out, &options).unwrap();
        let again = folder.path().join("again");
        let options = OciOptions {
            threads: 1,
            ..options
        };
        assert_eq!(store.export_oci(tree, &again, &options).unwrap(), image);
        assert_eq!(files(&again), files(&out));
        fs::remove_dir_all(&again).unwrap();

        if has("sha256sum") {
            let output = Command::new("sh")
                .args(["-c", "cd \"$1/blobs/sha256\" && sha256sum *", "sh"])
                .arg(&out)
                .output()
                .unwrap();
            for line in String::from_utf8(output.stdout).unwrap().lines() {
                let (sum, name) = line.split_once("  ").unwrap();
                assert_eq!(sum, name);
            }
        }
        let json = |name: &str| -> serde_json::Value {
            let path = match name.strip_prefix("sha256:") {
                Some(digest) => out.join("blobs/sha256").join(digest),
                None => out.join(name),
            };
            serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
        };
        let index = json("index.json");
        assert_eq!(index["manifests"][0]["digest"], image.digest.as_str());
        assert_eq!(index["manifests"][0]["platform"]["architecture"], "arm");
        assert_eq!(
            index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"],
            "latest"
        );
        let manifest = json(&image.digest);
        let config = json(manifest["config"]["digest"].as_str().unwrap());
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        if compression == Compression::None {
            assert_eq!(config["rootfs"]["diff_ids"][0], layer);
        }
        let layer = out
            .join("blobs/sha256")
            .join(layer.strip_prefix("sha256:").unwrap());
        let back = store
            .import_tar(fs::File::open(layer).unwrap(), &TarOptions::seed())
            .unwrap();
        assert_eq!(back.tree, tree);

        if has("skopeo") {
            let reference = format!("oci:{}:latest", out.display());
            let output = Command::new("skopeo")
                .args(["inspect", "--override-arch=arm", &reference])
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn an_image_layout_is_not_written_over_anything() {
    let folder = tempfile::tempdir().unwrap();
    let (store, tree) = sample(folder.path());
    let export =
        |name: &str| store.export_oci(tree, &folder.path().join(name), &OciOptions::default());
    assert!(matches!(export("source"), Err(StoreError::BadEntry { .. })));
    fs::create_dir(folder.path().join("ready")).unwrap();
    export("ready").unwrap();
    let odd = folder.path().join("odd");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join(".wh.etc"), "").unwrap();
    let tree = store
        .import_dir(&odd, &ImportOptions::default())
        .unwrap()
        .tree;
    let error = store
        .export_oci(tree, &folder.path().join("new"), &OciOptions::default())
        .unwrap_err();
    assert!(error.to_string().contains(".wh."), "{error}");
    assert!(!folder.path().join("new").exists());
}

/// A tree with everything that files can be: made by hand, so that no user has to be able to make it.
fn full_tree(store: &Store) -> TreeHash {
    use mstore_store::{Meta, Mtime, Node};
    let meta = |mode, uid, gid| Meta {
        mode,
        uid,
        gid,
        mtime: Mtime {
            secs: 1_234_567_890,
            nanos: 0,
        },
        xattrs: Vec::new(),
    };
    let mut build = store.tree_builder().unwrap();
    build.dir(b"", meta(0o1751, 7, 70_000)).unwrap();
    build.dir(b"usr", meta(0o755, 0, 0)).unwrap();
    build.dir(b"usr/empty", meta(0o2700, 1000, 100)).unwrap();
    for n in 0..40 {
        let text = format!("{n} ").repeat(n * 300);
        let name = format!("usr/{n}-{}", "x".repeat(200));
        build
            .file(name.as_bytes(), meta(0o644, 0, 0), &mut text.as_bytes())
            .unwrap();
    }
    let mut able = meta(0o4755, 0, 5);
    able.xattrs = vec![
        (
            b"security.capability".to_vec(),
            vec![
                1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
        ),
        (b"user.note".to_vec(), b"kept".to_vec()),
    ];
    build
        .file(b"usr/able", able, &mut &b"#!/bin/sh\n"[..])
        .unwrap();
    build.hard_link(b"also", b"usr/able").unwrap();
    build
        .symlink(b"short", meta(0o777, 3, 4), b"usr/able")
        .unwrap();
    build
        .symlink(b"long", meta(0o777, 0, 0), "y/".repeat(60).as_bytes())
        .unwrap();
    let device = Node::Char { major: 1, minor: 3 };
    build.node(b"null", meta(0o666, 0, 0), device).unwrap();
    let device = Node::Block {
        major: 259,
        minor: 300,
    };
    build.node(b"disk", meta(0o660, 0, 6), device).unwrap();
    build.node(b"pipe", meta(0o600, 0, 0), Node::Fifo).unwrap();
    build
        .node(b"socket", meta(0o700, 0, 0), Node::Socket)
        .unwrap();
    build
        .file(
            b"name \"with\n everything'",
            meta(0o400, 0, 0),
            &mut &b"x"[..],
        )
        .unwrap();
    build.finish().unwrap().tree
}

#[test]
fn ext4_is_sound_never_differs_and_has_what_the_tree_has() {
    use mstore_store::Ext4Options;
    if !has("mke2fs") || !rustix::process::geteuid().is_root() {
        println!("skipped: devices need root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store"), &OpenOptions::create()).unwrap();
    let tree = full_tree(&store);
    let options = Ext4Options {
        offset: 1 << 20,
        bytes: store.ext4_size(tree, 8 << 20).unwrap(),
        id: [0x5a; 16],
        label: "root".into(),
        devices: mstore_store::Unmakeable::Fail,
        cancel: Default::default(),
        progress: None,
    };
    let image = folder.path().join("image");
    store.export_ext4(tree, &image, &options).unwrap();
    let first = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    store.export_ext4(tree, &image, &options).unwrap();
    assert!(
        first == fs::read(&image).unwrap(),
        "two file systems of one tree differ"
    );
    let alone = folder.path().join("alone");
    fs::write(&alone, &first[1 << 20..]).unwrap();
    let check = Command::new("e2fsck")
        .args(["-f", "-n"])
        .arg(&alone)
        .output();
    let check = check.unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success(), "{said}");
    let mounted = folder.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    let mount = Command::new("mount")
        .args(["-o", "loop,ro"])
        .args([&alone, &mounted])
        .output()
        .unwrap();
    if !mount.status.success() {
        println!("not mounted: {}", String::from_utf8_lossy(&mount.stderr));
        return;
    }
    let back = store.import_dir(&mounted, &ImportOptions::default());
    let unmounted = Command::new("umount").arg(&mounted).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(back.unwrap().tree, tree);
}
