//! The script: everything that a store does in its life, on small trees.

use super::*;

/// The script under way.
pub(super) struct Run<'a> {
    bench: &'a Bench,
    root: PathBuf,
    disk: Arc<dyn Disk>,
    store: Option<Store>,
    pub model: Model,
    /// Archives of the trees that were seen.
    pub archives: BTreeMap<TreeHash, Vec<u8>>,
}

pub(super) fn realisation(n: u8, name: &str, tree: TreeHash) -> Realisation {
    Realisation {
        kind: match name.contains(':') {
            true => RealisationKind::Step,
            false => RealisationKind::Target,
        },
        key: Hash::of(&[n]),
        drv: Hash::of(b"drv"),
        name: name.into(),
        tree,
        started: i64::from(n),
        seconds: 1.5,
        host: "host".into(),
        log: None,
    }
}

impl<'a> Run<'a> {
    pub fn new(bench: &'a Bench, root: &Path, disk: Arc<dyn Disk>, model: Model) -> Self {
        Run {
            bench,
            root: root.to_path_buf(),
            disk,
            store: None,
            model,
            archives: BTreeMap::new(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("the script opens it first")
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.store = None;
        let options = OpenOptions::create();
        self.store = Some(Store::open_on(&self.root, &options, self.disk.clone())?);
        Ok(())
    }

    fn made(&mut self, tree: TreeHash) -> Result<TreeHash, StoreError> {
        self.model.gone.remove(&tree);
        self.model.trees.insert(tree);
        let archive = archive(self.store(), tree)?;
        if let Some(expected) = self.bench.archives.get(&tree) {
            assert!(archive == *expected, "{tree} differs");
        }
        self.archives.insert(tree, archive);
        Ok(tree)
    }

    fn import(&mut self, n: u8) -> Result<TreeHash, StoreError> {
        // One that was not acknowledged may be there all the same.
        self.model.gone.clear();
        let options = ImportOptions::snapshot();
        let imported = self.store().import_dir(&self.bench.source(n), &options)?;
        self.made(imported.tree)
    }

    fn add_root(&mut self, name: &str, tree: TreeHash) -> Result<(), StoreError> {
        self.model.doubt = [name.to_string()].into();
        self.store().add_root(name, tree)?;
        self.model.doubt.clear();
        self.model.roots.insert(name.into(), tree);
        Ok(())
    }

    fn remove_root(&mut self, name: &str) -> Result<(), StoreError> {
        self.model.doubt = [name.to_string()].into();
        self.store().remove_root(name)?;
        self.model.doubt.clear();
        self.model.roots.remove(name);
        Ok(())
    }

    fn record(&mut self, r: Realisation) -> Result<(), StoreError> {
        self.model.doubt = [r.key.to_string()].into();
        self.store().record(&r)?;
        self.model.doubt.clear();
        self.model.records.insert(r.key, r);
        Ok(())
    }

    fn forget(&mut self, n: u8) -> Result<(), StoreError> {
        let key = Hash::of(&[n]);
        self.model.doubt = [key.to_string()].into();
        self.store().forget(&key)?;
        self.model.doubt.clear();
        self.model.records.remove(&key);
        Ok(())
    }

    /// Collects all but what is to be kept.
    fn gc(&mut self, keep: &[TreeHash]) -> Result<(), StoreError> {
        let before = std::mem::take(&mut self.model.trees);
        self.model.trees = keep.iter().copied().collect();
        let policy = GcPolicy::newest(1);
        let dry = self.store().gc(&policy, true)?;
        let report = self.store().gc(&policy, false)?;
        if report.postponed.is_empty() {
            assert_eq!(dry, report);
        } else {
            // Only on a full disk, and then only what needs room.
            assert_eq!(dry.alive, report.alive);
            assert!(report.gone.iter().all(|gone| dry.gone.contains(gone)));
        }
        self.model.gone.extend(before.difference(&self.model.trees));
        Ok(())
    }

    fn build(&mut self, base: TreeHash) -> Result<TreeHash, StoreError> {
        let store = self.store().clone();
        let checkout = store.checkout(base)?;
        for layer in checkout.layers() {
            check_layer_of_script(layer, base);
        }
        let scratch = store.scratch("build")?;
        let upper = scratch.path().join("upper");
        store.prepare_upper(base, &upper)?;
        fs::write(upper.join("made"), "made by a build").expect("tests can write");
        let captured = store.capture(base, &upper, &CaptureOptions { epoch: 0 })?;
        let tree = self.made(captured.tree)?;
        store.keep_layer(base, tree, upper)?;
        scratch.remove()?;
        Ok(tree)
    }

    /// Does everything once; fails when the disk does.
    pub fn all(&mut self) -> Result<(), StoreError> {
        let result = self.steps();
        self.store = None;
        result
    }

    fn steps(&mut self) -> Result<(), StoreError> {
        self.reopen()?;
        let first = self.import(0)?;
        self.add_root("first", first)?;
        self.record(realisation(1, "target", first))?;
        let second = self.import(1)?;
        self.record(realisation(2, "target", second))?;
        let built = self.build(second)?;
        self.record(realisation(3, "target:step", built))?;
        let part = self.store().pick(first, &["d/shared", "number"])?;
        self.made(part)?;
        self.add_root("part", part)?;
        self.reopen()?;
        self.remove_root("first")?;
        self.forget(1)?;
        drop(self.store().checkout(first)?);
        self.gc(&[second, built, part])?;
        self.import(1)?;
        self.import(0)?;
        self.gc_with_leases()?;
        let checkout = self.store().checkout(built)?;
        drop(checkout);
        clean_of_script(self.store())?;
        self.reopen()?;
        drop(self.store().checkout_anew(built, None)?);
        Ok(())
    }

    /// Collects while this session holds what it made.
    fn gc_with_leases(&mut self) -> Result<(), StoreError> {
        self.store().gc(&GcPolicy::newest(1), false)?;
        Ok(())
    }
}

fn check_layer_of_script(layer: &Path, tree: TreeHash) {
    let name = layer.file_name().and_then(|name| name.to_str());
    assert_eq!(name, Some(tree.to_string().as_str()));
    assert_eq!(fs::read(layer.join("d/e/own")).unwrap().len(), 9000);
}

fn clean_of_script(store: &Store) -> Result<(), StoreError> {
    let report = store.verify(&VerifyOptions::default(), &mut |_| ())?;
    assert_eq!(report.faults, []);
    Ok(())
}
