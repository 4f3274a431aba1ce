//! Sets of packs and catalogues, compared with what was put into them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::disk::RealDisk;

/// A folder with packs, and what is in each.
struct Folder {
    dir: tempfile::TempDir,
    packs: BTreeMap<String, BTreeSet<Hash>>,
}

/// A hash that shares its first 8 bytes with a few others.
fn hash(n: u16) -> Hash {
    let mut bytes = *Hash::of(&n.to_le_bytes()).as_bytes();
    bytes[..8].copy_from_slice(Hash::of(&(n / 3).to_le_bytes()).as_bytes()[..8].as_ref());
    Hash::from_bytes(bytes)
}

impl Folder {
    fn new() -> Folder {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("packs")).unwrap();
        Folder {
            dir,
            packs: BTreeMap::new(),
        }
    }

    fn add(&mut self, objects: impl IntoIterator<Item = u16>) -> String {
        let name = format!("pack{}", self.packs.len());
        let path = self.path(&name);
        let writer = PackWriter::create(&RealDisk::ANYWHERE, &path, Effort::Quick).unwrap();
        let objects: BTreeSet<Hash> = objects.into_iter().map(hash).collect();
        for hash in &objects {
            let object = Packed {
                hash: *hash,
                kind: RecordKind::Blob,
                raw: 3,
                flags: 0,
                stored: b"abc",
            };
            writer.append(&object).unwrap();
        }
        writer.seal().unwrap();
        self.packs.insert(name.clone(), objects);
        name
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("packs/{name}.pack"))
    }

    fn files(&self, most: usize) -> Arc<PackFiles> {
        PackFiles::with_most(
            Arc::new(RealDisk::ANYWHERE),
            self.dir.path().join("packs"),
            most,
        )
    }

    fn rows(&self) -> Vec<PackRow> {
        let rows = self.packs.iter().map(|(name, objects)| PackRow {
            name: name.clone(),
            kind: PackKind::Data,
            bytes: fs::metadata(self.path(name)).map_or(0, |meta| meta.len()),
            objects: objects.len() as u64,
            index_hash: None,
            records_hash: None,
        });
        rows.collect()
    }

    /// A catalogue of some packs, and of what is in other catalogues.
    fn list(&self, packs: &[String], others: &[&Catalogue]) -> Arc<Catalogue> {
        let open = |name: &String| Pack::open(&RealDisk::ANYWHERE, name, &self.path(name)).unwrap();
        let mut sources: Vec<Listed<'_>> = packs
            .iter()
            .map(|name| Listed::Pack(Arc::new(open(name))))
            .collect();
        for other in others {
            let stays = other.packs.iter().map(|p| self.packs.contains_key(p));
            sources.push(Listed::Catalogue(other, stays.collect()));
        }
        let path = self.catalogue_path();
        write_catalogue(&RealDisk::ANYWHERE, &path, &sources).unwrap();
        Arc::new(Catalogue::open(&RealDisk::ANYWHERE, &path).unwrap())
    }

    fn catalogue_path(&self) -> PathBuf {
        let count = fs::read_dir(self.dir.path()).unwrap().count();
        self.dir.path().join(format!("{count}{CATALOGUE}"))
    }

    fn set(&self, most: usize, catalogues: Vec<Arc<Catalogue>>) -> PackSet {
        PackSet::new(
            &self.files(most),
            self.rows(),
            catalogues,
            &PackSet::empty(),
        )
    }

    /// Looks for everything, and for what is not there.
    fn check(&self, set: &PackSet) {
        for n in 0..2000 {
            let hash = hash(n);
            let found = set.find(&hash).unwrap().map(|(pack, entry)| {
                assert_eq!(entry.hash, hash);
                pack.name.clone()
            });
            let holders = self.packs.iter().filter(|(_, all)| all.contains(&hash));
            let holders: Vec<&String> = holders.map(|(name, _)| name).collect();
            match found {
                Some(name) => assert!(holders.contains(&&name)),
                None => assert_eq!(holders, Vec::<&String>::new()),
            }
            assert_eq!(set.contains(&hash), !holders.is_empty());
        }
    }
}

fn candidates(catalogue: &Catalogue, hash: &Hash) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let take = |pack: u32| {
        found.insert(catalogue.packs[pack as usize].clone());
        ControlFlow::Continue(())
    };
    catalogue.candidates(hash, take).unwrap();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_listed_and_whatever_went_the_rest_is_found(
        packs in prop::collection::vec(prop::collection::btree_set(0..2000u16, 1..60), 1..12),
        listed in prop::collection::vec(0..3u8, 12),
        gone in prop::collection::vec(any::<bool>(), 12),
        most in 1..5usize,
    ) {
        let mut folder = Folder::new();
        let names: Vec<String> = packs.into_iter().map(|objects| folder.add(objects)).collect();
        let of = |kind| -> Vec<String> {
            let all = names.iter().zip(&listed);
            all.filter(|(_, k)| **k == kind).map(|(name, _)| name.clone()).collect()
        };
        let first = folder.list(&of(1), &[]);
        first.check().unwrap();
        // What the first lists of packs that are gone meanwhile is not in the second.
        for (name, gone) in names.iter().zip(&gone) {
            if *gone && names.len() > 1 {
                folder.packs.remove(name);
                fs::remove_file(folder.path(name)).unwrap();
            }
        }
        let rest: Vec<String> = of(2)
            .into_iter()
            .filter(|name| folder.packs.contains_key(name))
            .collect();
        let second = folder.list(&rest, &[&first]);
        second.check().unwrap();
        for (name, objects) in &folder.packs {
            let wanted = of(1).contains(name) || rest.contains(name);
            for hash in objects {
                assert_eq!(candidates(&second, hash).contains(name), wanted);
            }
        }
        let living = of(1).iter().chain(&rest).filter(|name| folder.packs.contains_key(*name)).count();
        assert_eq!(second.packs.len(), living);
        for catalogues in [vec![], vec![first.clone()], vec![second.clone()], vec![first, second]] {
            folder.check(&folder.set(most, catalogues));
        }
    }
}

#[test]
fn a_damaged_catalogue_is_told() {
    let mut folder = Folder::new();
    let names: Vec<String> = (0..4).map(|n| folder.add(n * 100..n * 100 + 50)).collect();
    let catalogue = folder.list(&names, &[]);
    let good = fs::read(&catalogue.path).unwrap();
    let path = folder.dir.path().join("damaged.catalogue");
    for at in (0..good.len())
        .step_by(7)
        .chain(good.len() - 64..good.len())
    {
        let mut bytes = good.clone();
        bytes[at] ^= 0x11;
        fs::write(&path, &bytes).unwrap();
        let opened = Catalogue::open(&RealDisk::ANYWHERE, &path);
        // Nothing in it may lead outside.
        if let Ok(catalogue) = &opened {
            for n in 0..500 {
                let _ = catalogue.candidates(&hash(n), |_| ControlFlow::Continue(()));
            }
        }
        assert!(opened.and_then(|c| c.check()).is_err(), "byte {at}");
        fs::remove_file(&path).unwrap();
    }
    for len in (0..good.len()).step_by(11) {
        fs::write(&path, &good[..len]).unwrap();
        assert!(
            Catalogue::open(&RealDisk::ANYWHERE, &path).is_err(),
            "{len} bytes"
        );
        fs::remove_file(&path).unwrap();
    }
}

/// What a catalogue cannot tell because the disk fails, the packs tell.
#[test]
fn a_catalogue_that_is_cut_short_while_in_use_is_done_without() {
    let mut folder = Folder::new();
    let names: Vec<String> = (0..40).map(|n| folder.add(n * 50..n * 50 + 50)).collect();
    let catalogue = folder.list(&names, &[]);
    let set = folder.set(100, vec![catalogue.clone()]);
    let file = fs::File::options()
        .write(true)
        .open(&catalogue.path)
        .unwrap();
    file.set_len(0).unwrap();
    folder.check(&set);
}

fn mapped(folder: &Path) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let folder = folder.to_str().unwrap();
    maps.lines().filter(|line| line.contains(folder)).count()
}

#[test]
fn no_more_packs_are_mapped_than_may_be() {
    let mut folder = Folder::new();
    let names: Vec<String> = (0..60).map(|n| folder.add(n * 30..n * 30 + 30)).collect();
    let catalogue = folder.list(&names, &[]);
    let packs = folder.dir.path().join("packs");
    let set = folder.set(5, vec![catalogue]);
    assert_eq!(mapped(&packs), 0, "nothing was looked for");
    let held = set.packs[7].open().unwrap();
    folder.check(&set);
    // Those that may be, and one that somebody has.
    assert!(mapped(&packs) <= 6, "{}", mapped(&packs));
    assert_eq!(held.count(), 30, "who has one may read it");
    drop(held);
    let files: Vec<_> = set.packs.iter().map(|file| file.open().unwrap()).collect();
    assert_eq!(mapped(&packs), 60);
    drop(files);
    assert!(mapped(&packs) <= 5);
}

#[test]
fn a_lost_pack_lacks_its_objects_and_an_unreadable_one_is_an_error() {
    let mut folder = Folder::new();
    let names: Vec<String> = (0..3).map(|n| folder.add(n * 10..n * 10 + 12)).collect();
    let catalogue = folder.list(&names[1..2], &[]);
    for catalogues in [vec![], vec![catalogue]] {
        let path = folder.path(&names[1]);
        let (only, shared, other) = (hash(15), hash(10), hash(1));
        let away = path.with_extension("away");
        fs::rename(&path, &away).unwrap();
        let rows = |folder: &Folder| {
            let mut rows = folder.rows();
            rows[1].bytes = fs::metadata(&away).map_or(rows[1].bytes, |meta| meta.len());
            rows
        };
        let new = || {
            PackSet::new(
                &folder.files(9),
                rows(&folder),
                catalogues.clone(),
                &PackSet::empty(),
            )
        };
        let set = new();
        assert!(set.find(&only).unwrap().is_none());
        assert!(set.find(&shared).unwrap().is_some() && set.find(&other).unwrap().is_some());
        assert!(set.has_failed());
        assert_eq!(set.broken().unwrap().packs.len(), 1);
        // A folder in its place cannot be read, which says nothing of what is in it.
        fs::create_dir(&path).unwrap();
        let set = new();
        assert!(matches!(
            set.find(&only),
            Err(crate::StoreError::Unreadable { .. })
        ));
        assert!(set.find(&shared).unwrap().is_some());
        fs::remove_dir(&path).unwrap();
        fs::rename(&away, &path).unwrap();
        folder.check(&new());
    }
}
