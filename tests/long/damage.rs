//! Damage in every part of a store: what is damaged is not given out as whole, verify finds it, and a repair
//! leaves a store in which everything can be made again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mstore_store::{ImportOptions, OpenOptions, Store};

use crate::environment::Environment;

/// A random-looking number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most.max(1)
    }
}

fn rounds(usual: u64) -> u64 {
    let wished = std::env::var("MSTORE_TEST_ROUNDS").ok();
    wished.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A store with three trees, each a named root, and a copy of it.
struct Bench {
    env: Environment,
    /// The archive of each root.
    whole: BTreeMap<String, Vec<u8>>,
}

impl Bench {
    fn new() -> Bench {
        let env = Environment::new();
        let mut whole = BTreeMap::new();
        for n in 0..3u64 {
            let mut dice = Dice(n + 1);
            let noise: Vec<u8> = (0..300_000).map(|_| dice.below(256) as u8).collect();
            let folder = format!("in{n}");
            env.write(&format!("{folder}/d/noise"), &noise);
            env.write(&format!("{folder}/d/text"), "all the same\n".repeat(3000));
            env.write(&format!("{folder}/own"), format!("{n}"));
            if n == 2 {
                env.write(&format!("{folder}/large"), noise.repeat(30));
            }
        }
        let mut bench = Bench {
            env,
            whole: BTreeMap::new(),
        };
        bench.import();
        for n in 0..3 {
            let name = format!("root{n}");
            whole.insert(name.clone(), bench.export(&name).expect("it is whole"));
        }
        bench.whole = whole;
        let _ = bench.env.run(&["gc"]).ok();
        bench.copy("store", "gold");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.env.work().parent().unwrap().join(name)
    }

    fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.path(to));
        let done = Command::new("cp")
            .arg("-a")
            .arg(self.path(from))
            .arg(self.path(to))
            .status();
        assert!(done.unwrap().success());
    }

    /// Imports everything, and names it.
    fn import(&self) {
        let store = Store::open(&self.path("store"), &OpenOptions::create()).unwrap();
        for n in 0..3 {
            let folder = self.env.work().join(format!("in{n}"));
            let tree = store
                .import_dir(&folder, &ImportOptions::snapshot())
                .unwrap()
                .tree;
            store.add_root(&format!("root{n}"), tree).unwrap();
        }
    }

    /// The archive of a root, if it can be exported.
    fn export(&self, root: &str) -> Option<Vec<u8>> {
        let file = self.env.work().join("x.tar");
        let _ = fs::remove_file(&file);
        let ran = self.env.run(&["export", root, "x.tar"]);
        assert!(matches!(ran.status, Some(0..=3)), "{}", ran.all());
        assert!(!ran.stderr.contains("panicked"), "{}", ran.all());
        (ran.status == Some(0)).then(|| fs::read(file).unwrap())
    }

    /// Looks what comes of damage: `what` is for messages. Tells whether verify found something.
    fn judge(&self, what: &str) -> bool {
        for (root, whole) in &self.whole {
            let given = self.export(root);
            assert!(
                given.is_none_or(|bytes| bytes == *whole),
                "{what}: {root} is given out wrong"
            );
        }
        let verify = |more: &[&str]| {
            let ran = self.env.run(&[&["store", "verify"], more].concat());
            assert!(matches!(ran.status, Some(0..=3)), "{what}: {}", ran.all());
            assert!(!ran.stderr.contains("panicked"), "{what}: {}", ran.all());
            ran
        };
        let found = verify(&[]).status != Some(0);
        let repaired = verify(&["--repair"]);
        let again = verify(&[]);
        assert_eq!(
            again.status,
            Some(0),
            "{what}: {} then {}",
            repaired.all(),
            again.all()
        );
        self.import();
        for (root, whole) in &self.whole {
            assert!(
                self.export(root).as_ref() == Some(whole),
                "{what}: {root} is not as before"
            );
        }
        found
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = list
        .map(|entry| entry.path())
        .filter(|path| fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() > 0))
        .collect();
    files.sort();
    files
}

/// Damages bytes in one of several ways, and tells how.
fn damage(bytes: &mut Vec<u8>, dice: &mut Dice) -> String {
    let size = bytes.len() as u64;
    match dice.below(9) {
        0..=3 => {
            let (at, bit) = (dice.below(size) as usize, dice.below(8));
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} of {size}")
        }
        4 => {
            let at = dice.below(size);
            bytes.truncate(at as usize);
            format!("cut to {at} of {size}")
        }
        5 => {
            let at = (dice.below(size) & !4095) as usize;
            let end = (at + 4096).min(bytes.len());
            bytes[at..end].fill(0);
            format!("zeros from {at} to {end} of {size}")
        }
        6 => {
            let more = 1 + dice.below(5000);
            bytes.extend((0..more).map(|n| n as u8));
            format!("{more} bytes longer than {size}")
        }
        7 => {
            let at = dice.below(16.min(size)) as usize;
            bytes[at] = !bytes[at];
            format!("byte {at}")
        }
        _ => {
            let at = (size - 1 - dice.below(64.min(size))) as usize;
            bytes[at] ^= 1;
            format!("byte {at} of {size}")
        }
    }
}

#[test]
#[ignore = "long"]
fn nothing_damaged_is_given_out_and_everything_is_found() {
    let bench = Bench::new();
    let mut dice = Dice(0x1234_5678_9abc_def1);
    for round in 0..rounds(120) {
        bench.copy("gold", "store");
        let part = [
            "packs", "packs", "packs", "packs", "packs", "db", "db", "db", "cache", "",
        ];
        let part = part[dice.below(part.len() as u64) as usize];
        let all = match part {
            "" => vec![bench.path("store/format")],
            part => files(&bench.path("store").join(part)),
        };
        if all.is_empty() {
            continue;
        }
        let file = &all[dice.below(all.len() as u64) as usize];
        let before = fs::read(file).unwrap();
        let mut bytes = before.clone();
        let how = damage(&mut bytes, &mut dice);
        if bytes == before {
            continue;
        }
        fs::write(file, &bytes).unwrap();
        let what = format!("round {round}: {}: {how}", file.display());
        let found = bench.judge(&what);
        assert!(found || part != "packs", "{what}: verify does not see it");
    }
}

#[test]
#[ignore = "long"]
fn a_pack_in_the_place_of_another_is_found() {
    let bench = Bench::new();
    let packs = files(&bench.path("gold/packs"));
    assert!(packs.len() > 2);
    for to in &packs {
        for from in packs.iter().filter(|from| *from != to) {
            bench.copy("gold", "store");
            let place = bench.path("store/packs").join(to.file_name().unwrap());
            fs::copy(from, &place).unwrap();
            let what = format!("{} in the place of {}", from.display(), to.display());
            assert!(bench.judge(&what), "{what}: verify does not see it");
        }
    }
}
