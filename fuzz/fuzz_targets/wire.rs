//! Whatever the other end of a connection says, it gets an answer or an error; and whatever is taken for a
//! frame has the same bytes when it is sent on.
//!
//! An input is a conversation of frames, sound or damaged, said to this end in each of its roles: it
//! serves, it asks for facts, for trees and for objects, and it pushes.
#![no_main]

use std::io::{self, Cursor};
use std::sync::OnceLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use mstore::share::wire::{Push, Receiver, VERSION, Wire, frames};
use mstore::share::{Ask, LocalPeer, Peer};
use mstore_store::transfer::{Fact, LocalSource, Progress, ReceiveOptions, Source};
use mstore_store::{Cancel, Hash, ImportOptions, OpenOptions, Store, TreeHash, codec};
use mstore_store_fuzz::{Damage, damage, fact, folder, noise};

/// Believes everything, and asks for two objects.
struct Hand;

impl Receiver for Hand {
    fn believe(&self, fact: Fact) -> Result<Fact, String> {
        Ok(fact)
    }

    fn receive(&self, wire: &Wire, facts: Vec<Fact>, push: Push) -> Result<Progress, String> {
        let _ = wire.fetch(&hashes(&[1, 200]), &mut |_| Ok(()));
        wire.note_progress(Progress {
            objects: 1,
            ..Progress::default()
        });
        Ok(Progress {
            objects: facts.len() as u64,
            bytes: push.trees.len() as u64,
            ..Progress::default()
        })
    }
}

#[derive(Arbitrary, Debug)]
enum Body {
    Ask(Vec<u8>, Vec<u8>),
    Fact(u8),
    Offer(Vec<u8>),
    Offered(Vec<bool>),
    Get(Vec<u8>),
    Object(u8),
    End,
    Push(Vec<u8>, Option<String>, bool, bool),
    Progress(u64, u64, u64, u64, u64),
    Done(u64, u64, u64, u64, u64),
    Error(Vec<u8>),
    Bytes(u8, Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Frame {
    body: Body,
    damage: Vec<Damage>,
    /// What the head says of the length, if not the truth.
    length: Option<u32>,
}

#[derive(Arbitrary, Debug)]
struct Input {
    hello: Option<Vec<u8>>,
    frames: Vec<Frame>,
    role: u8,
    wanted: Vec<u8>,
    cut: Option<u16>,
}

struct Here {
    store: Store,
    peer: LocalPeer,
    tree: TreeHash,
    hashes: Vec<Hash>,
    records: Vec<Vec<u8>>,
}

fn here() -> &'static Here {
    static HERE: OnceLock<Here> = OnceLock::new();
    HERE.get_or_init(|| {
        let folder = folder("wire");
        let from = folder.join("tree");
        std::fs::create_dir_all(from.join("a/b")).expect("there is room");
        std::fs::write(from.join("words"), "words ".repeat(200)).expect("there is room");
        std::fs::write(from.join("a/noise"), noise(1, 300)).expect("there is room");
        let store =
            Store::open(&folder.join("store"), &OpenOptions::create()).expect("a new store");
        let options = ImportOptions::snapshot();
        let tree = store.import_dir(&from, &options).expect("a folder").tree;
        let objects = store.objects_with_prefix("").expect("the store is open");
        let hashes: Vec<Hash> = objects.into_iter().map(|(hash, _)| hash).collect();
        let mut records = Vec::new();
        let source = LocalSource::new(&store);
        let fetched = source.fetch(&hashes, &mut |object| {
            records.push([&object.head()[..], object.stored()].concat());
            Ok(())
        });
        fetched.expect("the store is open");
        let peer = LocalPeer::new(&store).expect("the store is open");
        Here {
            store,
            peer,
            tree,
            hashes,
            records,
        }
    })
}

/// Hashes of what is here, and some of nothing.
fn hashes(numbers: &[u8]) -> Vec<Hash> {
    let here = &here().hashes;
    let hash = |n: &u8| {
        here.get(usize::from(*n))
            .copied()
            .unwrap_or(Hash::of(&[*n]))
    };
    numbers.iter().map(hash).collect()
}

fn trees(numbers: &[u8]) -> Vec<TreeHash> {
    let tree = |n: &u8| match n {
        0 => here().tree,
        n => TreeHash(Hash::of(&[*n])),
    };
    numbers.iter().map(tree).collect()
}

fn frame(frame: &Frame, out: &mut Vec<u8>) {
    let (tag, mut payload) = match &frame.body {
        Body::Ask(keys, drvs) => (2, codec::encode(&(hashes(keys), hashes(drvs)))),
        Body::Fact(n) => (3, fact(*n).encode()),
        Body::Offer(numbers) => (4, codec::encode(&trees(numbers))),
        Body::Offered(offered) => (5, codec::encode(offered)),
        Body::Get(numbers) => (
            6,
            hashes(numbers).iter().flat_map(|h| *h.as_bytes()).collect(),
        ),
        Body::Object(n) => (
            7,
            here().records[usize::from(*n) % here().records.len()].clone(),
        ),
        Body::End => (8, Vec::new()),
        Body::Push(numbers, root, dry_run, blind) => {
            (9, codec::encode(&(trees(numbers), root, dry_run, blind)))
        }
        Body::Progress(a, b, c, d, e) => (10, codec::encode(&(a, b, c, d, e))),
        Body::Done(a, b, c, d, e) => (11, codec::encode(&(a, b, c, d, e))),
        Body::Error(text) => (12, text.clone()),
        Body::Bytes(tag, bytes) => (*tag, bytes.clone()),
    };
    damage(&mut payload, &frame.damage);
    out.push(tag);
    out.extend(frame.length.unwrap_or(payload.len() as u32).to_le_bytes());
    out.extend(payload);
}

fuzz_target!(|input: Input| {
    let here = here();
    let mut all = Vec::new();
    for one in input.frames.iter().take(12) {
        frame(one, &mut all);
    }
    if let Some(cut) = input.cut {
        all.truncate(usize::from(cut));
    }
    frames(&all);
    let text = input
        .hello
        .unwrap_or_else(|| format!("mstore wire {VERSION}\n").into_bytes());
    let mut said = vec![1];
    said.extend((text.len() as u32).to_le_bytes());
    said.extend(text);
    said.extend(all);
    let Ok(wire) = Wire::new("fuzz", Box::new(Cursor::new(said)), Box::new(io::sink())) else {
        return;
    };
    let wanted = hashes(&input.wanted);
    match input.role % 6 {
        0 => drop(wire.serve(&here.peer, &Hand)),
        1 => {
            let ask = Ask {
                keys: wanted.clone(),
                drvs: wanted,
            };
            // One more than was asked for is refused only when it comes.
            let most = ask.keys.len() + ask.drvs.len() + 1;
            assert!(wire.facts(&ask, &Some).unwrap_or_default().len() <= most);
        }
        2 => {
            let asked = trees(&input.wanted);
            if let Ok(offers) = wire.offer(&asked) {
                assert_eq!(offers.len(), asked.len());
            }
        }
        3 => {
            let _ = wire.fetch(&wanted, &mut |object| {
                mstore_store::fuzzing::opened(&object);
                Ok(())
            });
        }
        4 => {
            let facts: Vec<_> = input.wanted.iter().map(|n| fact(*n)).collect();
            let push = Push {
                trees: trees(&input.wanted),
                root: None,
                dry_run: false,
                blind: false,
            };
            let _ = wire.push(&here.peer, &mut facts.iter(), &push, &mut |_| true);
        }
        _ => {
            let options = ReceiveOptions {
                cancel: &Cancel::default(),
                progress: &|_| (),
                dry_run: true,
            };
            let _ = here.store.receive(&wire, &trees(&[1]), &options);
        }
    }
});
