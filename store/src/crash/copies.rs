//! Copies: from a store to another one and to a cache in a folder, and from the cache to a third store.

use std::sync::LazyLock;

use super::scenes::{Mode, Scene, sweep};
use super::script::realisation;
use super::*;
use crate::transfer::cache::{CacheReader, FolderFetch};
use crate::transfer::{Fact, LocalSource, ReceiveOptions, TransferError};

const FROM: &str = "from";
const TO: &str = "to";
const THIRD: &str = "third";
const CACHE: &str = "cache";
/// Small enough that contents come in several parts.
const PART: u64 = 4000;

static GO: LazyLock<Cancel> = LazyLock::new(Cancel::new);

pub(super) fn options() -> ReceiveOptions<'static> {
    ReceiveOptions {
        cancel: &GO,
        progress: &|_| (),
        dry_run: false,
    }
}

pub(super) fn of_store<T>(result: Result<T, TransferError>) -> Result<T, StoreError> {
    result.map_err(|error| match error {
        TransferError::Store(error) => error,
        other => StoreError::io("copy", "", std::io::Error::other(other)),
    })
}

pub(super) fn fact(r: Realisation) -> Fact {
    Fact {
        realisation: Realisation {
            kind: RealisationKind::Step,
            ..r
        },
        signatures: Vec::new(),
        record: None,
    }
}

/// What was acknowledged.
#[derive(Clone)]
struct Known {
    to: Model,
    third: Model,
    /// Trees and keys of facts that are in the cache.
    trees: BTreeSet<TreeHash>,
    facts: BTreeSet<Hash>,
}

impl Default for Known {
    /// Before anything is said about them, the names may be there from an earlier run, or not.
    fn default() -> Self {
        let model = |names: &[&str], keys: &[u8]| Model {
            doubt: names
                .iter()
                .map(|name| name.to_string())
                .chain(keys.iter().map(|n| Hash::of(&[*n]).to_string()))
                .collect(),
            ..Model::default()
        };
        Known {
            to: model(&["copied0", "copied1"], &[1, 2]),
            third: model(&["fetched"], &[3]),
            trees: BTreeSet::new(),
            facts: BTreeSet::new(),
        }
    }
}

#[derive(Default)]
struct Copies {
    trees: Vec<TreeHash>,
    from: Model,
}

impl Copies {
    fn facts(&self) -> Vec<Fact> {
        let numbered = (1u8..).zip(&self.trees);
        numbered
            .map(|(n, tree)| fact(realisation(n, "target", *tree)))
            .collect()
    }
}

fn open(bench: &Bench, name: &str, disk: &Arc<FaultyDisk>) -> Result<Store, StoreError> {
    let path = bench.top.path().join(name);
    Store::open_on(&path, &OpenOptions::create(), disk.clone())
}

fn reader(bench: &Bench) -> Result<CacheReader, TransferError> {
    let cache = bench.top.path().join(CACHE);
    CacheReader::open(Box::new(FolderFetch::new(cache)), 1)
}

/// What a copy makes in the store that receives.
fn received(
    store: &Store,
    model: &mut Model,
    name: &str,
    r: Realisation,
) -> Result<(), StoreError> {
    let tree = r.tree;
    model.trees.insert(tree);
    store.record(&r)?;
    model.doubt.remove(&r.key.to_string());
    model.records.insert(r.key, r);
    store.add_root(name, tree)?;
    model.doubt.remove(name);
    model.roots.insert(name.into(), tree);
    Ok(())
}

impl Scene for Copies {
    type Known = Known;

    const FOLDERS: &'static [&'static str] = &[FROM, TO, THIRD, CACHE];

    fn prepare(&mut self, bench: &mut Bench, top: &Path) {
        let store = Store::open(&top.join(FROM), &OpenOptions::create()).unwrap();
        for n in 0..3u8 {
            let options = ImportOptions::snapshot();
            let tree = store.import_dir(&bench.source(n), &options).unwrap().tree;
            bench.archives.insert(tree, archive(&store, tree).unwrap());
            let r = realisation(n + 1, "target", tree);
            received(&store, &mut self.from, &format!("root{n}"), r).unwrap();
            self.trees.push(tree);
        }
        // The receiver has something already, so that not everything travels.
        let store = Store::open(&top.join(TO), &OpenOptions::create()).unwrap();
        store
            .import_dir(&bench.source(3), &ImportOptions::snapshot())
            .unwrap();
    }

    fn play(
        &self,
        bench: &Bench,
        disk: &Arc<FaultyDisk>,
        known: &mut Known,
    ) -> Result<(), StoreError> {
        let from = open(bench, FROM, disk)?;
        let facts = self.facts();
        let to = open(bench, TO, disk)?;
        let source = LocalSource::new(&from);
        for (n, fact) in facts.iter().take(2).enumerate() {
            let r = fact.realisation.clone();
            source.protect(r.tree)?;
            of_store(to.receive_in_parts(&source, &[r.tree], &options(), PART))?;
            received(&to, &mut known.to, &format!("copied{n}"), r)?;
        }
        drop((source, to));
        let cache = bench.top.path().join(CACHE);
        for fact in &facts {
            let tree = fact.realisation.tree;
            let written = from.write_cache(&cache, &[tree], &mut [fact].into_iter(), &options());
            of_store(written)?;
            known.trees.insert(tree);
            known.facts.insert(fact.realisation.key);
        }
        drop(from);
        let third = open(bench, THIRD, disk)?;
        let reader = of_store(reader(bench))?;
        let r = facts[2].realisation.clone();
        assert!(of_store(reader.offer(r.tree))?.is_some());
        of_store(third.receive_in_parts(&reader, &[r.tree], &options(), PART))?;
        received(&third, &mut known.third, "fetched", r)
    }

    fn check(&self, bench: &Bench, known: &Known) {
        for (name, model) in [(FROM, &self.from), (TO, &known.to), (THIRD, &known.third)] {
            let path = bench.top.path().join(name);
            let store = Store::open(&path, &OpenOptions::create()).unwrap();
            check(bench, &store, model);
        }
        self.check_cache(bench, known);
    }

    fn check_end(&self, bench: &Bench, known: &Known) {
        assert_eq!(known.trees.len(), 3);
        for name in [FROM, TO, THIRD] {
            let path = bench.top.path().join(name);
            tidy(&Store::open(&path, &OpenOptions::create()).unwrap());
        }
        for folder in ["packs", "trees", "realisations", "derivations"] {
            let names = RealDisk::ANYWHERE
                .list(&bench.top.path().join(CACHE).join(folder))
                .unwrap();
            assert!(
                names
                    .iter()
                    .all(|name| !name.to_string_lossy().starts_with('.')),
                "unfinished files stay: {names:?}"
            );
        }
    }
}

impl Copies {
    /// Every name in the cache points to something whole, and what was acknowledged has its names.
    fn check_cache(&self, bench: &Bench, known: &Known) {
        let cache = bench.top.path().join(CACHE);
        let names = |folder: &str| -> BTreeSet<String> {
            let list = RealDisk::ANYWHERE
                .list(&cache.join(folder))
                .unwrap_or_default();
            let names = list.into_iter().map(|name| name.into_string().unwrap());
            names.filter(|name| !name.starts_with(".new-")).collect()
        };
        let trees = names("trees");
        let facts = names("realisations");
        for tree in &known.trees {
            assert!(trees.contains(&tree.to_string()), "{tree} is lost");
        }
        for key in &known.facts {
            assert!(facts.contains(&key.to_string()), "{key} is lost");
        }
        if trees.is_empty() && facts.is_empty() && names("derivations").is_empty() {
            return;
        }
        let reader = reader(bench).unwrap();
        let keys: Vec<Hash> = facts.iter().map(|key| key.parse().unwrap()).collect();
        let drvs: Vec<Hash> = names("derivations")
            .iter()
            .map(|drv| drv.parse().unwrap())
            .collect();
        let found = reader.facts(&keys, &drvs, &Some).unwrap();
        assert_eq!(found.len(), keys.len() + drvs.len());
        for fact in found {
            let tree = fact.realisation.tree.to_string();
            assert!(trees.contains(&tree), "a fact names {tree}");
        }
        let fresh = bench.top.path().join("fresh");
        bench.clear("fresh");
        let store = Store::open(&fresh, &OpenOptions::create()).unwrap();
        for tree in trees {
            let tree: TreeHash = tree.parse().unwrap();
            assert!(reader.offer(tree).unwrap().is_some());
            store.receive(&reader, &[tree], &options()).unwrap();
            assert!(archive(&store, tree).unwrap() == bench.archives[&tree]);
        }
        clean(&store);
    }
}

#[test]
fn a_copy_that_stops_at_any_call_goes_on() {
    sweep(Copies::default(), Mode::Stop, 20);
}

#[test]
fn a_power_cut_at_any_call_of_a_copy_leaves_no_empty_name() {
    sweep(Copies::default(), Mode::PowerCut, 14);
}

#[test]
fn a_disk_full_at_any_call_of_a_copy_loses_nothing() {
    sweep(Copies::default(), Mode::Full, 10);
}

#[test]
fn an_error_at_any_call_of_a_copy_loses_nothing() {
    sweep(Copies::default(), Mode::Error, 20);
}

#[test]
fn a_disk_that_lies_in_order_leaves_a_copy_whole() {
    sweep(Copies::default(), Mode::Early, 20);
}
