//! The lock file `metro.lock`: the trees that the names of seeds and snapshots stand for today.
//!
//! It is Metro text, read by the language like any other file, and written sorted and whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use mstore_lang::{Files, Session};
use mstore_store::TreeHash;

use super::elements::{Elements, Location, SpecError, at};
use super::pin::{Pin, PinFrom, PinKind};
use crate::drv::fetch::{Address, AddressError, DigestError, is_commit};

/// The name of the lock file.
pub const LOCK_NAME: &str = "metro.lock";

const HEADER: &str = "\
# The trees that the names of seeds and snapshots stand for. mstore writes this file whole and sorted;
# keep it beside your metro.conf, under version control, to build from the same trees elsewhere.
";

/// Elements of a pin beside its tree.
const FIELDS: [&str; 7] = ["date", "epoch", "origin", "url", "hash", "branch", "commit"];

/// Why a lock file cannot be read, changed or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It is not well-formed Metro text.
    #[error(transparent)]
    Load(Box<SpecError>),
    /// It holds an element that means nothing here.
    #[error("{}`{element}` means nothing in a lock file", at(.location))]
    Unknown {
        /// The element.
        element: String,
        /// Where it is defined.
        location: Option<Location>,
    },
    /// A value is not what it has to be.
    #[error("{}`{element}`: {message}", at(.location))]
    Value {
        /// The element.
        element: String,
        /// Where it is defined.
        location: Option<Location>,
        /// What is wrong.
        message: String,
    },
    /// A name that cannot be an element.
    #[error("`{name}` cannot name a seed or snapshot")]
    Name {
        /// The name.
        name: String,
    },
    /// An address that the file could not express.
    #[error("{kind} `{name}`: {detail}")]
    From {
        /// Seed or snapshot.
        kind: PinKind,
        /// Its name.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// Text that is not a date.
    #[error("`{date}` is not a date of the form YYYY-MM-DD")]
    Date {
        /// The text.
        date: String,
    },
    /// The file system failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl LockError {
    /// What the reader can do, where that is not plain from the message.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            LockError::Unknown { .. } => Some(
                "it holds sections seed/NAME and snapshot/NAME with tree, date, epoch, origin, url, hash, branch and commit",
            ),
            LockError::Name { .. } => {
                Some("names are letters, digits and -_.+@, with / between parts")
            }
            _ => None,
        }
    }

    fn unknown(elements: &Elements, element: &str) -> Self {
        LockError::Unknown {
            element: element.to_owned(),
            location: elements.location(element),
        }
    }

    fn value(elements: &Elements, element: &str, message: String) -> Self {
        LockError::Value {
            element: element.to_owned(),
            location: elements.location(element),
            message,
        }
    }
}

/// The lock file in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    path: Option<PathBuf>,
    pins: BTreeMap<(PinKind, String), Pin>,
}

impl Lock {
    /// A lock without a file.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// Reads the file at `path`. One that does not exist pins nothing.
    pub fn read(files: &dyn Files, path: &Path) -> Result<Lock, LockError> {
        let mut lock = Lock {
            path: Some(path.to_owned()),
            pins: BTreeMap::new(),
        };
        let there = files.is_file(path).map_err(|source| LockError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        if !there {
            return Ok(lock);
        }
        let elements = Elements::load_in(&Session::new(files), path, &[])
            .map_err(|error| LockError::Load(Box::new(error)))?;
        for name in elements.names() {
            let (kind, rest) = match (name.strip_prefix("seed/"), name.strip_prefix("snapshot/")) {
                (Some(rest), _) => (PinKind::Seed, rest),
                (_, Some(rest)) => (PinKind::Snapshot, rest),
                _ => return Err(LockError::unknown(&elements, name)),
            };
            let Some((pin, field)) = rest.rsplit_once('/') else {
                return Err(LockError::unknown(&elements, name));
            };
            match field {
                "tree" => {
                    lock.pins
                        .insert((kind, pin.to_owned()), read_pin(&elements, kind, pin)?);
                }
                field if FIELDS.contains(&field) => {
                    if !elements.is_defined(&format!("{kind}/{pin}/tree")) {
                        return Err(LockError::value(
                            &elements,
                            name,
                            format!("{kind} `{pin}` has no tree"),
                        ));
                    }
                }
                _ => return Err(LockError::unknown(&elements, name)),
            }
        }
        Ok(lock)
    }

    /// Where it is kept, if it has a file.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What `name` stands for.
    pub fn get(&self, kind: PinKind, name: &str) -> Option<&Pin> {
        self.pins.get(&(kind, name.to_owned()))
    }

    /// All pins, seeds first, each kind sorted by name.
    pub fn pins(&self) -> impl Iterator<Item = (PinKind, &str, &Pin)> {
        self.pins.iter().map(|((k, n), p)| (*k, n.as_str(), p))
    }

    /// What a collector must keep: every pinned tree, with a reason to show.
    pub fn roots(&self) -> Vec<(String, TreeHash)> {
        let place = self
            .path
            .as_deref()
            .map_or(LOCK_NAME.to_owned(), |p| p.display().to_string());
        self.pins()
            .map(|(kind, name, pin)| (format!("{kind} {name} in {place}"), pin.tree))
            .collect()
    }

    /// Pins `name`; returns what it stood for.
    pub fn set(&mut self, kind: PinKind, name: &str, pin: Pin) -> Result<Option<Pin>, LockError> {
        check_name(name)?;
        if let Some(date) = &pin.date
            && !is_date(date)
        {
            return Err(LockError::Date { date: date.clone() });
        }
        if let Some(from) = &pin.from {
            check_from(from).map_err(|detail| LockError::From {
                kind,
                name: name.to_owned(),
                detail,
            })?;
        }
        let pin = Pin {
            origin: pin.origin.map(|o| plain(&o)).filter(|o| !o.is_empty()),
            ..pin
        };
        Ok(self.pins.insert((kind, name.to_owned()), pin))
    }

    /// Removes a pin; returns what the name stood for.
    pub fn remove(&mut self, kind: PinKind, name: &str) -> Option<Pin> {
        self.pins.remove(&(kind, name.to_owned()))
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = HEADER.to_owned();
        for (kind, name, pin) in self.pins() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n[section {kind}/{name}]\ntree: {}\n", pin.tree);
            if let Some(date) = &pin.date {
                let _ = writeln!(text, "date: {date}");
            }
            if let Some(epoch) = pin.epoch {
                let _ = writeln!(text, "epoch: {epoch}");
            }
            if let Some(origin) = &pin.origin {
                let _ = writeln!(text, "origin: {origin}");
            }
            for (element, value) in pin.from.iter().flat_map(PinFrom::elements) {
                let _ = writeln!(text, "{element}: {value}");
            }
        }
        text
    }

    /// Reads the file at `path` again, lets `change` work on it and writes it, while no other
    /// mstore can do the same. Nothing is written when nothing changed.
    pub fn update<T>(
        files: &dyn Files,
        path: &Path,
        change: impl FnOnce(&mut Lock) -> Result<T, LockError>,
    ) -> Result<(Lock, T), LockError> {
        let folder = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let fail = |action, at: &Path| {
            let path = at.to_owned();
            move |source: io::Error| LockError::Io {
                action,
                path,
                source,
            }
        };
        // The folder itself is locked: the file is replaced, so a lock on it would be lost.
        let guard = File::open(folder).map_err(fail("open", folder))?;
        rustix::fs::flock(&guard, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|e| fail("lock", folder)(e.into()))?;
        let before = Lock::read(files, path)?;
        let mut after = before.clone();
        let value = change(&mut after)?;
        if after != before {
            after.write(path, folder).map_err(fail("write", path))?;
        }
        drop(guard);
        Ok((after, value))
    }

    fn write(&self, path: &Path, folder: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap_or(LOCK_NAME.as_ref());
        let mut temporary = name.to_owned();
        temporary.push(format!(".new-{}", std::process::id()));
        let temporary = folder.join(temporary);
        let written = (|| {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                // Whoever may change it decides what builds start from: not everybody, whatever the umask.
                .mode(0o664)
                .open(&temporary)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        })();
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&temporary);
            return written;
        }
        File::open(folder)?.sync_all()
    }
}

fn read_pin(elements: &Elements, kind: PinKind, pin: &str) -> Result<Pin, LockError> {
    let name = |field: &str| format!("{kind}/{pin}/{field}");
    let value = |field: &str| -> Result<Option<String>, LockError> {
        let value = elements
            .line(&name(field))
            .map_err(|error| LockError::Load(Box::new(error)))?;
        Ok(value.filter(|v| !v.is_empty()))
    };
    let bad = |field: &str, message: String| LockError::value(elements, &name(field), message);
    let tree = value("tree")?.unwrap_or_default();
    let tree: TreeHash = tree.parse().map_err(|_| {
        bad(
            "tree",
            format!(
                "`{}` is not the hash of a tree",
                tree.chars().take(64).collect::<String>()
            ),
        )
    })?;
    let date = value("date")?;
    if let Some(date) = &date
        && !is_date(date)
    {
        return Err(bad(
            "date",
            format!("`{date}` is not a date of the form YYYY-MM-DD"),
        ));
    }
    let epoch = match value("epoch")? {
        None => None,
        Some(text) => Some(
            text.parse::<i64>()
                .ok()
                .filter(|e| *e >= 0)
                .ok_or_else(|| bad("epoch", format!("`{text}` is not a number of seconds")))?,
        ),
    };
    let from = match value("url")? {
        None => {
            let lone = ["hash", "branch", "commit"]
                .into_iter()
                .find(|field| elements.is_defined(&name(field)));
            if let Some(field) = lone {
                return Err(bad(field, format!("{kind} `{pin}` has no url")));
            }
            None
        }
        Some(url) => {
            let from = read_from(url, value("hash")?, value("branch")?, value("commit")?);
            let checked = from.and_then(|from| check_from(&from).map(|()| from));
            Some(checked.map_err(|message| bad("url", message))?)
        }
    };
    Ok(Pin {
        tree,
        date,
        epoch,
        origin: value("origin")?,
        from,
    })
}

fn read_from(
    url: String,
    hash: Option<String>,
    branch: Option<String>,
    commit: Option<String>,
) -> Result<PinFrom, String> {
    match (hash, branch, commit) {
        (Some(hash), None, None) => Ok(PinFrom::Archive {
            url,
            hash: hash.parse().map_err(|e: DigestError| e.to_string())?,
        }),
        (None, branch, Some(commit)) => Ok(PinFrom::Git {
            url,
            branch,
            commit,
        }),
        _ => {
            Err("an archive has a hash, a git repository a commit and perhaps a branch".to_owned())
        }
    }
}

/// Refuses what cannot be fetched from, and what the file could not express.
fn check_from(from: &PinFrom) -> Result<(), String> {
    let url = from.url();
    if url.contains(['#', '$']) {
        return Err(format!("`{url}`: `#` and `$` are written as %23 and %24"));
    }
    let address: Address = url.parse().map_err(|e: AddressError| e.to_string())?;
    match (from, address) {
        (PinFrom::Archive { .. }, Address::Http(_) | Address::File(_)) => Ok(()),
        (PinFrom::Git { commit, branch, .. }, Address::Git(_)) => {
            if !is_commit(commit) {
                return Err(format!("`{commit}` is not the hash of a commit"));
            }
            match branch {
                Some(branch) if !is_branch(branch) => {
                    Err(format!("`{branch}` cannot name a branch"))
                }
                _ => Ok(()),
            }
        }
        (PinFrom::Archive { .. }, Address::Git(_)) => Err(format!(
            "`{url}` is a git repository, and no commit is said"
        )),
        (PinFrom::Git { .. }, _) => Err(format!("`{url}` is not the address of a git repository")),
    }
}

/// Whether `name` can be that of a branch.
pub fn is_branch(name: &str) -> bool {
    check_name(name).is_ok() && !name.starts_with('-') && !name.contains("..")
}

/// Whether `text` looks like `2026-11-20`.
fn is_date(text: &str) -> bool {
    let b = text.as_bytes();
    b.len() == 10
        && b.iter().enumerate().all(|(i, c)| match i {
            4 | 7 => *c == b'-',
            _ => c.is_ascii_digit(),
        })
        && (1..=12).contains(&text[5..7].parse::<u8>().unwrap_or(0))
        && (1..=31).contains(&text[8..].parse::<u8>().unwrap_or(0))
}

/// Refuses names that the file could not express.
pub fn check_name(name: &str) -> Result<(), LockError> {
    let fine = !name.is_empty()
        && name.len() <= 200
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.+/@".contains(c))
        && name
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..");
    if fine {
        Ok(())
    } else {
        Err(LockError::Name {
            name: name.chars().take(200).collect(),
        })
    }
}

/// Text that stays what it is as the value of an element.
fn plain(text: &str) -> String {
    let safe: String = text
        .chars()
        .map(|c| if c.is_control() || c == '#' { ' ' } else { c })
        .take(500)
        .collect();
    let words: Vec<&str> = safe.split_whitespace().collect();
    words
        .join(" ")
        .replace("$[", "$ [")
        .trim_start_matches("<<")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mstore_lang::DiskFiles;
    use mstore_store::Hash;

    fn tree(of: &str) -> TreeHash {
        TreeHash(Hash::of(of.as_bytes()))
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK_NAME);
        let ((), text) = {
            let (lock, ()) = Lock::update(&DiskFiles, &path, |lock| {
                lock.set(
                    PinKind::Snapshot,
                    "ports",
                    Pin::new(tree("p"), Some("2026-11-20".into())),
                )?;
                lock.set(
                    PinKind::Seed,
                    "funtoo/x86-64bit/corei7/stage3",
                    Pin {
                        epoch: Some(5),
                        origin: Some("file # with $[odd] \n text".into()),
                        ..Pin::new(tree("s"), None)
                    },
                )?;
                Ok(())
            })
            .unwrap();
            assert_eq!(Lock::read(&DiskFiles, &path).unwrap(), lock);
            ((), lock.text())
        };
        insta::assert_snapshot!(text, @r"
        # The trees that the names of seeds and snapshots stand for. mstore writes this file whole and sorted;
        # keep it beside your metro.conf, under version control, to build from the same trees elsewhere.

        [section seed/funtoo/x86-64bit/corei7/stage3]
        tree: huozeiyp5nw3i2ktf4tntywxvmvzu6mcsjgcobvmlkewpf2w427q
        epoch: 5
        origin: file with $ [odd] text

        [section snapshot/ports]
        tree: opzjc2j6gh7hppt37n4oxsiefmxcyq34q7wkbqjc4dukbo734ysq
        date: 2026-11-20
        ");
        // Nothing left behind, and nothing written when nothing changes.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        Lock::update(&DiskFiles, &path, |_| Ok(())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        let roots = Lock::read(&DiskFiles, &path).unwrap().roots();
        assert_eq!(roots.len(), 2);
        assert!(
            roots[0]
                .0
                .starts_with("seed funtoo/x86-64bit/corei7/stage3 in /")
        );
    }

    #[test]
    fn where_a_pin_came_from_is_written_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK_NAME);
        let hash = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
        let archive = PinFrom::Archive {
            url: "https://example.org/stage3.tar.xz?a=b".into(),
            hash,
        };
        let git = |branch: Option<&str>| PinFrom::Git {
            url: "git+https://example.org/ports.git".into(),
            branch: branch.map(str::to_owned),
            commit: "0b".repeat(20),
        };
        let pin = |from| Pin {
            from: Some(from),
            ..Pin::new(tree("s"), None)
        };
        let (lock, ()) = Lock::update(&DiskFiles, &path, |lock| {
            lock.set(PinKind::Seed, "stage3", pin(archive.clone()))?;
            lock.set(PinKind::Snapshot, "main", pin(git(Some("release/1.0"))))?;
            lock.set(PinKind::Snapshot, "ports", pin(git(None)))?;
            Ok(())
        })
        .unwrap();
        assert_eq!(Lock::read(&DiskFiles, &path).unwrap(), lock);
        let sections = lock.text().replacen(HEADER, "", 1);
        let tree = tree("s");
        let hex = "0b".repeat(20);
        assert_eq!(
            sections,
            format!(
                "\n[section seed/stage3]\ntree: {tree}\nurl: https://example.org/stage3.tar.xz?a=b\n\
                 hash: sha256:{}\n\n[section snapshot/main]\ntree: {tree}\n\
                 url: git+https://example.org/ports.git\nbranch: release/1.0\ncommit: {hex}\n\n\
                 [section snapshot/ports]\ntree: {tree}\nurl: git+https://example.org/ports.git\ncommit: {hex}\n",
                "0a".repeat(32)
            )
        );
        for url in [
            "ftp://a/b",
            "https://a/b#c",
            "https://a/$[b]",
            "git+https://a/b",
        ] {
            let PinFrom::Archive { hash, .. } = archive.clone() else {
                unreachable!()
            };
            let from = PinFrom::Archive {
                url: url.into(),
                hash,
            };
            let mut lock = Lock::in_memory();
            assert!(lock.set(PinKind::Seed, "x", pin(from)).is_err(), "{url}");
        }
        let text = fs::read_to_string(&path).unwrap();
        for (from, to, why) in [
            ("hash: sha256", "hash: md5", "ALGORITHM"),
            ("commit: 0b", "commit: main", "not the hash of a commit"),
            (
                "branch: release",
                "branch: --upload-pack=x",
                "cannot name a branch",
            ),
            ("url: git+https", "url: https", "not the address of a git"),
            (
                "url: https://example.org/stage3.tar.xz?a=b\n",
                "",
                "has no url",
            ),
            ("hash: ", "commit: ", "not the address of a git"),
        ] {
            fs::write(&path, text.replace(from, to)).unwrap();
            let error = Lock::read(&DiskFiles, &path).unwrap_err().to_string();
            assert!(error.contains(why), "{to}: {error}");
        }
    }

    #[test]
    fn a_missing_file_pins_nothing() {
        let lock = Lock::read(&DiskFiles, Path::new("/nonexistent/metro.lock")).unwrap();
        assert_eq!(lock.pins().count(), 0);
        assert!(lock.get(PinKind::Seed, "x").is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK_NAME);
        let mut said = Vec::new();
        for text in [
            "[section seed/host]\n\ntree: nonsense\n",
            "[section seed/host]\ndate: 2026-11-20\n",
            "[section sed/host]\ntree: x\n",
            "[section seed/host]\ntree: $[nothing]\n",
            "[section seed/host]\ntree: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\ndate: 2026-13-01\n",
            "[section seed/host]\ntree: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nepoch: -1\n",
            "not metro\n",
        ] {
            fs::write(&path, text).unwrap();
            let error = Lock::read(&DiskFiles, &path).unwrap_err();
            said.push(
                error
                    .to_string()
                    .replace(&dir.path().display().to_string(), "DIR"),
            );
        }
        insta::assert_snapshot!(said.join("\n"), @r"
        DIR/metro.lock:3: `seed/host/tree`: `nonsense` is not the hash of a tree
        DIR/metro.lock:2: `seed/host/date`: seed `host` has no tree
        DIR/metro.lock:2: `sed/host/tree` means nothing in a lock file
        error[undefined]: `nothing` is not defined
         --> DIR/metro.lock:2:7
          |
        2 | tree: $[nothing]
          |       ^^^^^^^^^^ undefined here
          |
          = help: if it may be undefined, write `$[nothing:zap]` to remove the line, or `$[nothing:lax]` for an empty text
        DIR/metro.lock:3: `seed/host/date`: `2026-13-01` is not a date of the form YYYY-MM-DD
        DIR/metro.lock:3: `seed/host/epoch`: `-1` is not a number of seconds
        error[bad-line]: neither element nor annotation
         --> DIR/metro.lock:1:1
          |
        1 | not metro
          | ^^^^^^^^^
          |
          = help: a colon is missing: `not: metro`
        ");
    }

    #[test]
    fn names_that_the_file_cannot_express_are_refused() {
        let mut lock = Lock::in_memory();
        for name in ["", "a b", "a:b", "../x", "a//b", "a[", "x?", "#x"] {
            assert!(
                lock.set(PinKind::Seed, name, Pin::new(tree("t"), None))
                    .is_err(),
                "{name}"
            );
        }
        for name in ["host/x86_64", "debian-12", "a.b_c+d@e"] {
            assert!(
                lock.set(PinKind::Seed, name, Pin::new(tree("t"), None))
                    .is_ok(),
                "{name}"
            );
        }
        let bad = Pin::new(tree("t"), Some("yesterday".into()));
        assert!(lock.set(PinKind::Seed, "x", bad).is_err());
    }

    #[test]
    fn updates_from_many_threads_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK_NAME);
        std::thread::scope(|scope| {
            for i in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    Lock::update(&DiskFiles, path, |lock| {
                        lock.set(PinKind::Seed, &format!("s{i}"), Pin::new(tree("t"), None))
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(Lock::read(&DiskFiles, &path).unwrap().pins().count(), 8);
    }
}
