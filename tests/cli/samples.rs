//! Trees, archives and places that tests of several commands start from.

use std::fs;
use std::process::Command;

use mstore_store::{
    CaptureOptions, Hash, ImportOptions, OpenOptions, Realisation, RealisationKind, Store, TreeHash,
};

use crate::environment::{Environment, Ran};

/// A specification for which `metro.lock` lies in the working folder.
pub const STANDARD: &str = "[collect /usr/share/mstore/specs/metro.conf]\n";

pub const FILE: u8 = b'0';

/// A `ustar` header, made by hand: no library would write the ones needed here.
pub fn tar_header(name: &str, kind: u8, size: u64, target: &str) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    if size < 1 << 33 {
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    } else {
        // What does not fit into eleven octal digits is written in binary.
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[136..147].copy_from_slice(b"00000000000");
    block[156] = kind;
    block[157..157 + target.len()].copy_from_slice(target.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[329..336].copy_from_slice(b"0000010");
    block[337..344].copy_from_slice(b"0000001");
    // The checksum counts its own field as blanks.
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A member with content, padded to whole blocks.
pub fn tar_file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = tar_header(name, FILE, content.len() as u64, "").to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Members, followed by the two empty blocks that end an archive.
pub fn tar_archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A place whose store and lock file hold one good seed.
pub fn with_seed() -> Environment {
    let env = Environment::new();
    env.write("metro.conf", STANDARD);
    env.write("good.tar", tar_archive(&[tar_file("bin/a", b"hello")]));
    let _ = env.run(&["seed", "import", "good.tar"]).ok();
    env
}

/// Everything that is in the store, as far as `mstore` can tell.
pub fn verify(env: &Environment) -> String {
    env.run(&["store", "verify"]).ok()
}

pub fn small_tree(env: &Environment) -> TreeHash {
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    env.write(
        "tree/file",
        "content that nobody compresses, it is too short for that\n",
    );
    let tree = store
        .import_dir(&env.work().join("tree"), &ImportOptions::snapshot())
        .unwrap()
        .tree;
    store
        .record(&Realisation {
            kind: RealisationKind::Target,
            key: Hash::of(b"key"),
            drv: Hash::of(b"drv"),
            name: "seedling/x86-64bit/corei7/stage1".into(),
            tree,
            started: 1,
            seconds: 1.0,
            host: "host".into(),
            log: None,
        })
        .unwrap();
    tree
}

/// A tree with a layer that a build left over `base`, and a root.
pub fn layered(store: &Store, base: TreeHash) -> TreeHash {
    let _below = store.checkout(base).unwrap();
    let upper = store.path().join("tmp/upper");
    store.prepare_upper(base, &upper).unwrap();
    fs::write(upper.join("more"), "of a build\n").unwrap();
    let options = CaptureOptions {
        epoch: 1_000_000_000,
    };
    let tree = store.capture(base, &upper, &options).unwrap().tree;
    store.add_root("built", tree).unwrap();
    store.keep_layer(base, tree, upper).unwrap();
    assert_eq!(store.checkout(tree).unwrap().layers().len(), 2);
    tree
}

/// A store with a tree of 5 MB that cannot be compressed.
pub fn large_tree(env: &Environment) -> TreeHash {
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    env.write("tree/noise", noise.take(5_000_000).collect::<Vec<u8>>());
    let source = env.work().join("tree");
    let tree = store.import_dir(&source, &ImportOptions::snapshot());
    let tree = tree.unwrap().tree;
    store.add_root("sample", tree).unwrap();
    tree
}

/// Runs mstore in a namespace in which `small` is a file system of 2 MiB; `None` where that cannot be.
pub fn on_full_disk(env: &Environment, arguments: &[&str]) -> Option<Ran> {
    let small = env.work().join("small");
    fs::create_dir_all(&small).unwrap();
    let own = env.command(arguments);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=2m tmpfs \"$1\" || exit 99; shift; exec \"$@\"")
        .arg("sh")
        .arg(small)
        .arg(own.get_program())
        .args(own.get_args())
        .current_dir(env.work())
        .env_clear();
    for (name, value) in own.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let Ok(output) = command.output() else {
        println!("skipped: there is no unshare");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(99) || said.contains("unshare failed") {
        println!("skipped: {said}");
        return None;
    }
    Some(env.finish(output))
}

/// A store with two trees that share a directory, recorded as targets.
pub fn two_trees(env: &Environment) -> (TreeHash, TreeHash) {
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let mut trees = Vec::new();
    for (n, text) in [(1u8, "one\n"), (2, "two\n")] {
        let folder = format!("tree{n}");
        env.write(
            &format!("{folder}/usr/share/same"),
            "the same\n".repeat(100),
        );
        env.write(&format!("{folder}/usr/bin/tool"), "#!/bin/sh\n");
        env.write(&format!("{folder}/etc/name"), text);
        std::os::unix::fs::symlink("usr/bin", env.work().join(&folder).join("bin")).unwrap();
        let options = ImportOptions::snapshot();
        let imported = store.import_dir(&env.work().join(&folder), &options);
        let tree = imported.unwrap().tree;
        let realisation = Realisation {
            kind: RealisationKind::Target,
            key: Hash::of(&[n]),
            drv: Hash::of(b"drv"),
            name: "seedling/x86-64bit/corei7/stage1".into(),
            tree,
            started: 1_700_000_000 + i64::from(n) * 86_400,
            seconds: 1.0,
            host: "host".into(),
            log: None,
        };
        store.record(&realisation).unwrap();
        trees.push(tree);
    }
    (trees[0], trees[1])
}
