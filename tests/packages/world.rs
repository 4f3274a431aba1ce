//! A store with a seed and a tree of ebuilds, and derivations that are built there.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use mstore::build::cancel::CancelToken;
use mstore::build::processors::Processors;
use mstore::build::sandbox::Sandbox;
use mstore::build::step::Builder;
use mstore::drv::derivation::{Derivation, DrvHash, InputSource};
use mstore::drv::facts::TreePart;
use mstore::drv::fetcher::NoFetcher;
use mstore::drv::{Resolved, StoreFacts, Trees};
use mstore_store::{
    Draft, Edit, ImportOptions, Kind, Manifest, OpenOptions, Store, TarOptions, TreeHash,
};

/// Where things are that cases work with.
pub struct World {
    pub store: Store,
    facts: StoreFacts,
    /// A Debian root with a compiler and Portage.
    pub seed: TreeHash,
    /// The tree of ebuilds.
    pub ebuilds: TreeHash,
    /// Source archives by their names.
    pub distfiles: BTreeMap<String, InputSource>,
    known: RefCell<HashMap<DrvHash, Derivation>>,
    /// Names of what was built, in order; what was found is not.
    pub built: RefCell<Vec<String>>,
    log: PathBuf,
}

impl World {
    /// Opens the store of a work folder with `seed`, `tree` and `distfiles` in it.
    pub fn open(work: &Path, store: &Path) -> World {
        let store = Store::open(store, &OpenOptions::create()).unwrap();
        let seed = store
            .roots()
            .unwrap()
            .into_iter()
            .find(|r| r.name == "seed");
        let seed = seed.map(|root| root.tree).unwrap_or_else(|| {
            let archive = fs::File::open(work.join("seed.tar")).unwrap();
            let seed = store.import_tar(archive, &TarOptions::seed()).unwrap().tree;
            store.add_root("seed", seed).unwrap();
            seed
        });
        let options = ImportOptions::snapshot();
        let ebuilds = store.import_dir(&work.join("tree"), &options).unwrap().tree;
        let own = [
            (
                "app-misc/clash/clash-1.ebuild",
                include_str!("ebuilds/clash-1.ebuild"),
            ),
            (
                "app-misc/odd/odd-1.ebuild",
                include_str!("ebuilds/odd-1.ebuild"),
            ),
            (
                "app-misc/raft/raft-1.ebuild",
                include_str!("ebuilds/raft-1.ebuild"),
            ),
        ];
        let own = own.map(|(path, text)| (path.to_owned(), Edit::Text(text.into())));
        let ebuilds = store.edit(ebuilds, &own.into()).unwrap();
        let mut distfiles = BTreeMap::new();
        for name in crate::table::archives() {
            // A world of real packages has others.
            if !work.join("distfiles").join(&name).exists() {
                continue;
            }
            let tree = archive(&store, work, &name);
            distfiles.insert(name, tree);
        }
        let store_log = store.path().join("../packages.log");
        World {
            facts: StoreFacts::new(store.clone()),
            store,
            seed,
            ebuilds,
            distfiles,
            known: RefCell::default(),
            built: RefCell::default(),
            log: store_log,
        }
    }

    /// Makes derivations known, and gives the hash of the last one.
    pub fn know(&self, all: impl IntoIterator<Item = Derivation>) -> DrvHash {
        let mut last = None;
        for derivation in all {
            let hash = derivation.hash();
            self.known.borrow_mut().insert(hash, derivation);
            last = Some(hash);
        }
        last.expect("there is one")
    }

    /// Builds a derivation with all that it needs, unless it is built; gives its result.
    pub fn realise(&self, hash: DrvHash) -> Result<TreeHash, String> {
        let resolved = self.resolve(hash)?;
        let found = self.store.realisation(&resolved.key().0).unwrap();
        if let Some(found) = found.filter(|found| self.store.has_tree(found.tree).unwrap()) {
            return Ok(found.tree);
        }
        let name = resolved.derivation().name.to_string();
        self.built.borrow_mut().push(name.clone());
        self.run(2, |builder, output| {
            let built = builder.build(&name, &resolved, output);
            built.map(|step| step.tree).map_err(|e| format!("{e:?}"))
        })
    }

    /// A source archive of a work folder.
    pub fn archive(&self, work: &Path, name: &str) -> InputSource {
        archive(&self.store, work, name)
    }

    /// What was printed by what was built last.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Builds one once more with so many processors, and gives what comes out.
    pub fn again(&self, hash: DrvHash, processors: usize) -> TreeHash {
        let resolved = self.resolve(hash).unwrap();
        let name = resolved.derivation().name.to_string();
        let again = self.run(processors, |builder, output| {
            let tree = builder.rebuild(&name, &resolved, output);
            tree.map_err(|e| format!("{e:?}"))
        });
        again.unwrap()
    }

    fn run<T>(
        &self,
        processors: usize,
        work: impl FnOnce(&Builder<'_>, &mut dyn FnMut(&str)) -> Result<T, String>,
    ) -> Result<T, String> {
        let cancel = CancelToken::new().unwrap();
        let builder = Builder {
            store: &self.store,
            facts: &self.facts,
            sandbox: Sandbox::new(),
            fetcher: &NoFetcher,
            cancel: &cancel,
            processors: Processors::new(processors),
            slots: 1,
            limits: Default::default(),
            note: &|_| (),
            raw: &|_| (),
            anew: false,
            host: "here".into(),
        };
        let mut lines: Vec<String> = Vec::new();
        let done = work(&builder, &mut |line| lines.push(line.to_owned()));
        fs::write(&self.log, lines.join("\n")).unwrap();
        done.map_err(|error| {
            let from = lines.len().saturating_sub(40);
            format!("{error}\n{}", lines[from..].join("\n"))
        })
    }

    fn resolve(&self, hash: DrvHash) -> Result<Resolved, String> {
        let derivation = self.known.borrow()[&hash].clone();
        let mut trees = Vec::new();
        for input in &derivation.inputs {
            trees.push(match &input.source {
                InputSource::Tree(tree) => *tree,
                InputSource::Derivation { hash, path } => {
                    match self.facts.subtree(self.realise(*hash)?, path).unwrap() {
                        TreePart::Tree(tree) => tree,
                        other => panic!("{path}: {other:?}"),
                    }
                }
                InputSource::Unpinned(name) => panic!("{name}"),
            });
        }
        Ok(derivation.resolve(trees).unwrap())
    }

    /// A file of a tree.
    pub fn file(&self, tree: TreeHash, path: &str) -> Option<Vec<u8>> {
        match self.store.entry(tree, path).ok()??.kind {
            Kind::File { blob, .. } => Some(self.store.blob(blob).unwrap()),
            _ => None,
        }
    }

    /// The same as text.
    pub fn text(&self, tree: TreeHash, path: &str) -> String {
        let content = self.file(tree, path);
        String::from_utf8(content.unwrap_or_else(|| panic!("{path} is not there"))).unwrap()
    }

    /// All that is in a tree but times: each path with what it is.
    pub fn look(&self, tree: TreeHash) -> BTreeMap<String, String> {
        let tree = self.store.tree(tree).unwrap();
        let mut found = BTreeMap::new();
        self.look_in(&self.store.manifest(tree.dir).unwrap(), "", &mut found);
        for group in &tree.links {
            let first = String::from_utf8_lossy(&group[0]).into_owned();
            for path in group {
                let path = String::from_utf8_lossy(path).into_owned();
                let what = found.get_mut(&path).expect("what is linked is there");
                what.push_str(&format!(" = {first}"));
            }
        }
        found
    }

    fn look_in(&self, manifest: &Manifest, above: &str, found: &mut BTreeMap<String, String>) {
        for entry in manifest.entries() {
            let path = format!("{above}{}", String::from_utf8_lossy(&entry.name));
            let meta = &entry.meta;
            let kind = match &entry.kind {
                Kind::Dir { .. } => "folder".to_owned(),
                Kind::File { blob, size } => format!("file {size} {}", blob.0),
                Kind::Symlink { target } => format!("link {}", String::from_utf8_lossy(target)),
                other => format!("{other:?}"),
            };
            let attributes: Vec<String> = meta
                .xattrs
                .iter()
                .map(|(name, value)| format!("{} {value:?}", String::from_utf8_lossy(name)))
                .collect();
            found.insert(
                path.clone(),
                format!(
                    "{kind} {:o} {} {} {attributes:?}",
                    meta.mode, meta.uid, meta.gid
                ),
            );
            if let Kind::Dir { manifest } = entry.kind {
                let manifest = self.store.manifest(manifest).unwrap();
                self.look_in(&manifest, &format!("{path}/"), found);
            }
        }
    }
}

fn archive(store: &Store, work: &Path, name: &str) -> InputSource {
    let content = fs::read(work.join("distfiles").join(name)).unwrap();
    let mut draft = Draft::new();
    draft.text(name, content).unwrap();
    InputSource::Tree(store.weave(&[draft]).unwrap()[0])
}
