//! Whatever bundles, jobs and records hold, they are taken or refused; what is refused leaves nothing, and what is taken
//! has one form only.
//!
//! An input is bytes for each of the two records, and a bundle: a sound one to which something was done, inside or outside of
//! its compression, or records of any content.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use mstore::share::action::{FORMAT, Job, Record};
use mstore::share::bundle::{Cut, Digest, MAGIC, join, packed};
use mstore_store::{Meta, OpenOptions, Store, TreeHash};
use mstore_store_fuzz::{Damage, damage, folder, noise};

#[derive(Arbitrary, Debug)]
enum Bundle {
    Outside(Vec<Damage>),
    Inside(Vec<Damage>),
    Records(Vec<(u8, Vec<u8>)>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    job: Vec<u8>,
    record: Vec<u8>,
    bundle: Bundle,
}

struct Here {
    to: PathBuf,
    tree: TreeHash,
    bundle: Vec<u8>,
    raw: Vec<u8>,
}

fn here() -> &'static Here {
    static HERE: OnceLock<Here> = OnceLock::new();
    HERE.get_or_init(|| {
        let top = folder("execution");
        let store = Store::open(&top.join("from"), &OpenOptions::create()).expect("a store");
        let mut builder = store.tree_builder().expect("a builder");
        for (path, len) in [("a/b", 100), ("a/c", 0), ("d", 3000)] {
            let meta = Meta::default();
            let content = noise(1, len);
            let added = builder.file(path.as_bytes(), meta, &mut &content[..]);
            added.expect("a file");
        }
        builder.hard_link(b"e", b"d").expect("a link");
        let tree = builder.finish().expect("a tree").tree;
        let cut = Cut::plan(&store, tree, &[]).expect("a cut");
        let bundle = cut.bundle(&store, 0).expect("a bundle");
        let mut raw = Vec::new();
        let mut decoder = zstd::Decoder::new(&bundle[..]).expect("a decoder");
        std::io::Read::read_to_end(&mut decoder, &mut raw).expect("what was compressed");
        Here {
            to: top.join("to"),
            tree,
            bundle,
            raw,
        }
    })
}

fuzz_target!(|input: Input| {
    for head in [&[][..], &[0x82, FORMAT as u8]] {
        let job = [head, &input.job].concat();
        if let Ok(read) = Job::decode(&job) {
            assert_eq!(read.encode(), job);
        }
        let record = [head, &input.record].concat();
        if let Ok(read) = Record::decode(&record) {
            assert_eq!(read.encode().expect("it was short enough"), record);
        }
    }
    let here = here();
    let bundle = match input.bundle {
        Bundle::Outside(what) => {
            let mut bytes = here.bundle.clone();
            damage(&mut bytes, &what);
            bytes
        }
        Bundle::Inside(what) => {
            let mut raw = here.raw.clone();
            damage(&mut raw, &what);
            packed(&raw)
        }
        Bundle::Records(records) => {
            let mut raw = MAGIC.to_vec();
            for (tag, body) in records {
                raw.push(tag % 6);
                raw.extend((body.len() as u32).to_le_bytes());
                raw.extend(body);
            }
            packed(&raw)
        }
    };
    // Each time anew: what is left in it would be seen only once.
    let _ = std::fs::remove_dir_all(&here.to);
    let store = Store::open(&here.to, &OpenOptions::create()).expect("a store");
    let joined = join(&store, here.tree, &[Digest::of(&bundle)], &mut |_, _| Ok(bundle.clone()));
    let packs = std::fs::read_dir(here.to.join("packs")).expect("a folder").count();
    assert_eq!(joined.is_ok(), packs > 0);
    assert_eq!(joined.is_ok(), store.has_tree(here.tree).expect("an answer"));
});
