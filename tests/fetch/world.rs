//! A target that has something fetched, and what became of it.

use std::fs;
use std::path::PathBuf;

use mstore_store::{Kind, OpenOptions, Store};
use sha2::Digest as _;

use crate::environment::Environment;

/// A specification with one target, `t-s`, that has fetched what `more` says.
pub fn with(more: &str) -> Environment {
    let env = Environment::new();
    env.write("seed/bin/a", "hello");
    spec(&env, more);
    let _ = env.run(&["seed", "import", "seed", "--name", "base"]).ok();
    env
}

/// Writes the specification anew.
pub fn spec(env: &Environment, more: &str) {
    let machine = rustix::system::uname();
    let machine = machine.machine().to_string_lossy();
    env.write(
        "metro.conf",
        format!(
            "[section list]\nbuilds: b\narches: a\nsubarches/a: s\ntargets: t\n\
             [section target]\nplatform: {machine}\n[section source]\nseed: base\n\
             [section steps/chroot]\nrun: [\ntrue\n]\n{more}\n"
        ),
    );
}

/// A section that fetches one file.
pub fn file(content: &[u8], urls: &[String]) -> String {
    format!(
        "[section fetch]\n: it\n[section fetch/it]\nhash: {}\nfile: it.tar\nurl: [\n{}\n]\n",
        sha256(content),
        urls.join("\n")
    )
}

pub fn sha256(content: &[u8]) -> String {
    let digest = sha2::Sha256::digest(content);
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// Bytes that are another's in every place.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// What was fetched for the target's first step: where it appears, and its content.
pub fn fetched(env: &Environment) -> Vec<(String, Option<Vec<u8>>)> {
    let shown = env.run(&["show", "t-s", "--json"]).ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let target = if shown.is_array() { &shown[0] } else { &shown };
    let inputs = target["steps"][0]["inputs"].as_array().unwrap();
    let store = Store::open(&env.store(), &OpenOptions::read_only()).unwrap();
    let inputs = inputs.iter().filter(|input| input["role"] == "file");
    inputs
        .map(|input| {
            let at = input["at"].as_str().unwrap().to_owned();
            let name = at.rsplit('/').next().unwrap();
            let tree = input["tree"].as_str().map(|tree| tree.parse().unwrap());
            let content = tree.and_then(|tree| {
                let entry = store.entry(tree, name).ok()??;
                assert_eq!((entry.meta.mode, entry.meta.uid), (0o644, 0));
                match entry.kind {
                    Kind::File { blob, .. } => Some(store.blob(blob).unwrap()),
                    other => panic!("{other:?}"),
                }
            });
            (at, content)
        })
        .collect()
}

/// What lies in the store of files that came in part, without the notes beside them.
pub fn partial(env: &Environment) -> Vec<PathBuf> {
    let list = fs::read_dir(env.store().join("partial"))
        .into_iter()
        .flatten();
    let paths = list.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_none()).collect()
}

/// What is fetched is known by its key for ever: this may change only together with the name of the profile.
#[test]
fn the_keys_of_fetches_are_pinned() {
    use mstore::drv::Derivation;
    use mstore::drv::fetch::{Content, Fixed, Origin};
    let key = |content| {
        let fixed = Fixed {
            name: "zlib-1.3.1.tar.xz".into(),
            content,
        };
        let from = Origin {
            size: Some(3),
            urls: vec!["https://example.org/zlib-1.3.1.tar.xz".into()],
        };
        let derivation = Derivation::fetch(fixed, from).unwrap();
        derivation.key(&[]).unwrap().to_string()
    };
    let file = Content::File(vec![sha256(b"").parse().unwrap()]);
    let commit = Content::Commit {
        tree: None,
        commit: "0a".repeat(20),
    };
    insta::assert_snapshot!(key(file), @"5rl7qd3srg273bissbgg5leaiwprhtzqbzipm7pc3u3z6comscpq");
    insta::assert_snapshot!(key(commit), @"tgtzsuvb4fawtk7qafkp26k554663ddww7ni2q7v2qz4xwhf6m3a");
}
