//! Trees that no import makes, as a hostile peer sends them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mstore_store::manifest::Tree;
use mstore_store::{BlobHash, DirHash, Entry, Hash, Kind, Manifest, Meta, TreeHash};

use crate::environment::Environment;

const BLOB: u8 = 1;
const MANIFEST: u8 = 3;
const TREE: u8 = 4;

/// What a peer says when it is asked for one tree: everything it has, in the order of the questions.
struct Peer {
    said: Vec<u8>,
}

impl Peer {
    fn frame(&mut self, tag: u8, body: &[u8]) {
        self.said.push(tag);
        self.said.extend((body.len() as u32).to_le_bytes());
        self.said.extend(body);
    }

    fn object(&mut self, kind: u8, hash: &Hash, bytes: &[u8]) {
        let mut record = b"mobj".to_vec();
        record.extend([kind, 0, 0, 0]);
        record.extend((bytes.len() as u64).to_le_bytes());
        record.extend((bytes.len() as u64).to_le_bytes());
        record.extend(hash.as_bytes());
        record.extend(bytes);
        self.frame(7, &record);
    }

    /// A tree of some files with two names each, as the groups say.
    fn of(files: &[(&str, &str, u16)], links: &[[&str; 2]]) -> (TreeHash, Peer) {
        let mut peer = Peer { said: Vec::new() };
        peer.frame(1, b"mstore wire 1\n");
        peer.frame(5, b"\x81\xf5");
        let entries = files.iter().map(|(name, text, mode)| Entry {
            name: name.as_bytes().to_vec(),
            meta: Meta {
                mode: *mode,
                ..Meta::default()
            },
            kind: Kind::File {
                blob: BlobHash(Hash::of(text.as_bytes())),
                size: text.len() as u64,
            },
        });
        let manifest = Manifest::new(entries.collect()).unwrap().encode();
        let dir: DirHash = Manifest::hash_encoded(&manifest);
        let group = |group: &[&str; 2]| group.map(|path| path.as_bytes().to_vec()).to_vec();
        let tree = Tree {
            root: Meta::plain_dir(),
            dir,
            links: links.iter().map(group).collect(),
        };
        let tree = tree.encode();
        let hash = Tree::hash_encoded(&tree);
        peer.object(TREE, &hash.0, &tree);
        peer.frame(8, b"");
        peer.object(MANIFEST, &dir.0, &manifest);
        peer.frame(8, b"");
        let mut sent = Vec::new();
        for (_, text, _) in files {
            let blob = Hash::of(text.as_bytes());
            if !sent.contains(&blob) {
                peer.object(BLOB, &blob, text.as_bytes());
                sent.push(blob);
            }
        }
        peer.frame(8, b"");
        (hash, peer)
    }

    /// A program in the place of ssh that says this.
    fn program(&self, env: &Environment) -> String {
        let said = env.write("said", &self.said);
        let script = format!("#!/bin/sh\ncat {}\ncat > /dev/null\n", said.display());
        let program = env.write("peer", script);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program.display().to_string()
    }
}

#[test]
fn a_tree_with_two_faces_is_refused() {
    let same = [("a", "same\n", 0o644), ("b", "same\n", 0o644)];
    let content = [("a", "evil\n", 0o644), ("b", "good\n", 0o644)];
    let mode = [("a", "same\n", 0o4755), ("b", "same\n", 0o644)];
    for (files, link, is_good) in [
        (same, ["a", "b"], true),
        (content, ["a", "b"], false),
        (mode, ["a", "b"], false),
        (same, ["a", "nowhere"], false),
        (same, ["a", "b/c"], false),
    ] {
        let env = Environment::new();
        let (tree, peer) = Peer::of(&files, &[link]);
        let (tree, program) = (tree.to_string(), peer.program(&env));
        let copied = env.run(&[
            "copy", "--from", "ssh://x", &tree, "--root", "r", "--ssh", &program,
        ]);
        if is_good {
            let _ = copied.ok();
            assert_eq!(
                env.run(&["store", "cat", &format!("{tree}:b")]).ok(),
                "same\n"
            );
            continue;
        }
        let error = copied.fails(3);
        assert!(error.contains("hard links"), "{error}");
        let gone = env.run(&["store", "ls", &tree]).fails(2);
        assert!(gone.contains("has no tree"), "{gone}");
        assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
    }
}
