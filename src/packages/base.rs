//! The root that packages are built in, brought into the form that keys name it in: *reduced*, with short entries in its
//! package database and without caches and logs; and *less* what layers replace.
//!
//! Both are trees in the store, made of the base alone, and remembered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use mstore_store::{DirHash, Edit, Entry, Hash, Kind, Manifest, Store, StoreError, TreeHash};

/// Keeps what reduced bases are remembered under apart. Another form of them is another context.
const REDUCED: &str = "mstore 2026 packages reduced base 1";
/// The same for bases less packages.
const LESS: &str = "mstore 2026 packages base less 1";
/// Where the package database is.
const DATABASE: &str = "var/db/pkg";
/// What the short entry of a package of a base has: what builds ask for, and what says which files are its own.
const ENTRY: [&str; 11] = [
    "CONTENTS",
    "DEFINED_PHASES",
    "EAPI",
    "IUSE",
    "IUSE_EFFECTIVE",
    "KEYWORDS",
    "NEEDED.ELF.2",
    "PROVIDES",
    "SLOT",
    "USE",
    "repository",
];
/// Folders whose content says how a root came to be, and nothing of what it is.
const NOISE: [&str; 7] = [
    "root/.cache",
    "run",
    "tmp",
    "var/cache",
    "var/log",
    "var/lib/portage",
    "var/tmp",
];
/// Files that do.
const NOISE_FILES: [&str; 6] = [
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/shadow-",
    "etc/mtab.lock",
];
/// Most bytes of a file of the package database that is read.
const MOST_BYTES: u64 = 64 << 20;
/// Most lines of one.
const MOST_LINES: usize = 1_000_000;
/// Most packages of a base.
const MOST_PACKAGES: usize = 100_000;
/// How many links are followed on the way to one path.
const MOST_LINKS: usize = 40;

/// Why a base cannot be used as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseError {
    /// A file of the package database says something that no Portage writes.
    #[error("the base's {DATABASE}/{package}/{file}, line {line}: {what}")]
    Malformed {
        /// The entry, `CATEGORY/NAME-VERSION`.
        package: String,
        /// The file.
        file: &'static str,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Something has more of something than is read.
    #[error("the base's {what} is larger than what is read, {most}")]
    TooLarge {
        /// What has too much.
        what: String,
        /// The limit, with its unit.
        most: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A package of a base, as others may replace it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// `CATEGORY/NAME`.
    pub category_name: String,
    /// The slot without the sub-slot.
    pub slot: String,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.category_name, self.slot)
    }
}

/// The base in the form that keys name it in.
pub fn reduce(store: &Store, base: TreeHash) -> Result<TreeHash, BaseError> {
    remembered(store, Hash::derive(REDUCED, base.0.as_bytes()), || {
        let reader = Reader::new(store, base)?;
        let mut edits = BTreeMap::new();
        for folder in NOISE {
            for entry in reader.list(folder)? {
                // What has a name that is no text stays: it cannot be named here, and harms nobody.
                if let Ok(name) = std::str::from_utf8(&entry.name) {
                    edits.insert(format!("{folder}/{name}"), Edit::Remove);
                }
            }
        }
        for file in NOISE_FILES {
            edits.insert(file.to_owned(), Edit::Remove);
        }
        for entry in reader.list(DATABASE)? {
            if entry.name.starts_with(b".")
                && let Ok(name) = std::str::from_utf8(&entry.name)
            {
                edits.insert(format!("{DATABASE}/{name}"), Edit::Remove);
            }
        }
        for package in reader.packages()? {
            let folder = format!("{DATABASE}/{}", package.id);
            for entry in reader.list(&folder)? {
                let Ok(name) = std::str::from_utf8(&entry.name) else {
                    continue;
                };
                if !ENTRY.contains(&name) {
                    edits.insert(format!("{folder}/{name}"), Edit::Remove);
                }
            }
            let mut contents: Vec<String> = reader
                .contents(&package)?
                .into_iter()
                .map(|line| line.without_time())
                .collect();
            contents.sort_unstable();
            let text: String = contents.into_iter().map(|line| line + "\n").collect();
            edits.insert(format!("{folder}/CONTENTS"), Edit::Text(text.into_bytes()));
        }
        Ok(store.edit(base, &edits)?)
    })
}

/// Which libraries stay of packages that are taken out of a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Libraries {
    /// Those that what is left needs.
    Needed,
    /// All: what is laid over it may have been built with the base itself.
    All,
}

/// A reduced base less the packages in some slots: without their entries, and without what only they own. Libraries stay
/// that what is left needs, or the base's own programs would not start: the file of the library alone, and the link that
/// is named as the loader asks for it.
pub fn less(
    store: &Store,
    reduced: TreeHash,
    replaced: &BTreeSet<Slot>,
    libraries: Libraries,
) -> Result<TreeHash, BaseError> {
    let mut key = reduced.0.as_bytes().to_vec();
    if libraries == Libraries::All {
        key.extend_from_slice(b"all libraries\n");
    }
    for slot in replaced {
        key.extend_from_slice(format!("{slot}\n").as_bytes());
    }
    remembered(store, Hash::derive(LESS, &key), || {
        let reader = Reader::new(store, reduced)?;
        let (gone, left): (Vec<Installed>, Vec<Installed>) = reader
            .packages()?
            .into_iter()
            .partition(|package| replaced.contains(&package.slot));
        if gone.is_empty() {
            return Ok(reduced);
        }
        let mut kept = BTreeSet::new();
        for package in &left {
            for line in reader.contents(package)?.iter().filter(|l| !l.is_folder) {
                kept.extend(reader.real(&line.path)?);
            }
        }
        let preserved = preserved(&reader, &gone, &left, libraries)?;
        let mut edits = BTreeMap::new();
        for package in &gone {
            edits.insert(format!("{DATABASE}/{}", package.id), Edit::Remove);
            for line in reader.contents(package)?.iter().filter(|l| !l.is_folder) {
                let Some(path) = reader.real(&line.path)? else {
                    continue;
                };
                if !kept.contains(&path) && !preserved.contains(&path) {
                    edits.insert(path, Edit::Remove);
                }
            }
        }
        Ok(store.edit(reduced, &edits)?)
    })
}

/// A library that a package of a base brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The package.
    pub owner: Slot,
    /// What it is asked for by.
    pub soname: String,
    /// Where it really is, and what is there.
    pub file: (String, Entry),
}

/// The libraries that packages of a reduced base bring, as its package database has them.
pub fn libraries(store: &Store, reduced: TreeHash) -> Result<Vec<Library>, BaseError> {
    let reader = Reader::new(store, reduced)?;
    let mut found = Vec::new();
    for package in reader.packages()? {
        for object in reader.objects(&package)? {
            if object.soname.is_empty() {
                continue;
            }
            let Some(path) = reader.real(&object.path)? else {
                continue;
            };
            if let Some(entry) = reader.entry(&path)? {
                found.push(Library {
                    owner: package.slot.clone(),
                    soname: object.soname,
                    file: (path, entry),
                });
            }
        }
    }
    Ok(found)
}

/// What is remembered under a key, if it is still there; else what is made.
fn remembered(
    store: &Store,
    key: Hash,
    make: impl FnOnce() -> Result<TreeHash, BaseError>,
) -> Result<TreeHash, BaseError> {
    if let Some(known) = store.part(&key)?
        && store.has_tree(known)?
    {
        return Ok(known);
    }
    let made = make()?;
    store.put_part(&key, made)?;
    Ok(made)
}

/// Where the libraries really are that what is left of a base needs and only what goes has.
fn preserved(
    reader: &Reader<'_>,
    gone: &[Installed],
    left: &[Installed],
    libraries: Libraries,
) -> Result<BTreeSet<String>, BaseError> {
    let mut needed = BTreeSet::new();
    let mut provided = BTreeSet::new();
    for package in left {
        for object in reader.objects(package)? {
            provided.insert((object.class.clone(), object.soname));
            let class = object.class;
            needed.extend(object.needed.into_iter().map(|n| (class.clone(), n)));
        }
    }
    let mut candidates = Vec::new();
    for package in gone {
        candidates.extend(reader.objects(package)?);
    }
    if libraries == Libraries::All {
        let all = candidates.iter();
        needed.extend(all.map(|own| (own.class.clone(), own.soname.clone())));
    }
    let mut paths = BTreeSet::new();
    // What is kept needs others of what goes.
    loop {
        let before = paths.len();
        for object in &candidates {
            let name = (object.class.clone(), object.soname.clone());
            if object.soname.is_empty() || !needed.contains(&name) || provided.contains(&name) {
                continue;
            }
            if paths.insert(object.path.clone()) {
                let own = object.needed.iter();
                needed.extend(own.map(|n| (object.class.clone(), n.clone())));
            }
        }
        if paths.len() == before {
            break;
        }
    }
    let mut real = BTreeSet::new();
    for object in candidates.iter().filter(|o| paths.contains(&o.path)) {
        real.extend(reader.real(&object.path)?);
        let folder = object
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        real.extend(reader.real(&format!("{folder}/{}", object.soname))?);
    }
    Ok(real)
}

/// A package of a base.
struct Installed {
    /// `CATEGORY/NAME-VERSION`.
    id: String,
    slot: Slot,
}

/// A line of CONTENTS.
struct Line {
    path: String,
    is_folder: bool,
    /// All of it but the time.
    text: String,
    has_time: bool,
}

impl Line {
    fn without_time(self) -> String {
        match self.has_time {
            true => format!("{} 0", self.text),
            false => self.text,
        }
    }
}

/// A line of NEEDED.ELF.2: an ELF file.
struct Object {
    path: String,
    soname: String,
    needed: Vec<String>,
    /// Machine, width and the like: libraries of one are of no use to programs of another.
    class: String,
}

/// Reads a root, each folder once.
struct Reader<'s> {
    store: &'s Store,
    dir: DirHash,
    read: std::cell::RefCell<HashMap<DirHash, std::rc::Rc<Manifest>>>,
}

impl Reader<'_> {
    fn new(store: &Store, tree: TreeHash) -> Result<Reader<'_>, StoreError> {
        Ok(Reader {
            store,
            dir: store.tree(tree)?.dir,
            read: Default::default(),
        })
    }

    fn manifest(&self, dir: DirHash) -> Result<std::rc::Rc<Manifest>, StoreError> {
        if let Some(known) = self.read.borrow().get(&dir) {
            return Ok(known.clone());
        }
        let manifest = std::rc::Rc::new(self.store.manifest(dir)?);
        self.read.borrow_mut().insert(dir, manifest.clone());
        Ok(manifest)
    }

    /// An entry, without following links.
    fn entry(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        let mut dir = self.dir;
        let mut found: Option<Entry> = None;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            match found.as_ref().map(|entry| &entry.kind) {
                None => {}
                Some(Kind::Dir { manifest }) => dir = *manifest,
                Some(_) => return Ok(None),
            }
            match self.manifest(dir)?.get(name.as_bytes()) {
                Some(entry) => found = Some(entry.clone()),
                None => return Ok(None),
            }
        }
        Ok(found)
    }

    /// The entries of a folder; none where there is no folder.
    fn list(&self, path: &str) -> Result<Vec<Entry>, StoreError> {
        Ok(match self.entry(path)?.map(|entry| entry.kind) {
            Some(Kind::Dir { manifest }) => self.manifest(manifest)?.entries().to_vec(),
            _ => Vec::new(),
        })
    }

    /// Where a path really is, links of folders on the way followed; nothing where there is nothing.
    fn real(&self, path: &str) -> Result<Option<String>, StoreError> {
        let mut todo: Vec<String> = parts(path).rev().map(str::to_owned).collect();
        let (mut at, mut links) = (Vec::<String>::new(), 0);
        while let Some(name) = todo.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            at.push(name);
            let here = at.join("/");
            let Some(entry) = self.entry(&here)? else {
                return Ok(None);
            };
            if let (Kind::Symlink { target }, false) = (&entry.kind, todo.is_empty()) {
                links += 1;
                let Ok(target) = std::str::from_utf8(target) else {
                    return Ok(None);
                };
                if links > MOST_LINKS {
                    return Ok(None);
                }
                at.pop();
                if target.starts_with('/') {
                    at.clear();
                }
                todo.extend(parts(target).rev().map(str::to_owned));
            }
        }
        Ok((!at.is_empty()).then(|| at.join("/")))
    }

    /// All packages, sorted.
    fn packages(&self) -> Result<Vec<Installed>, BaseError> {
        let mut found = Vec::new();
        for category in self.list(DATABASE)? {
            let Some(category) = plain(&category) else {
                continue;
            };
            for package in self.list(&format!("{DATABASE}/{category}"))? {
                let Some(version) = plain(&package) else {
                    continue;
                };
                let Some(name) = name_of(version) else {
                    continue;
                };
                if found.len() == MOST_PACKAGES {
                    return Err(BaseError::TooLarge {
                        what: DATABASE.to_owned(),
                        most: format!("{MOST_PACKAGES} packages"),
                    });
                }
                let id = format!("{category}/{version}");
                let slot = self.text(&id, "SLOT")?.unwrap_or_default();
                let slot = slot.trim().split('/').next().unwrap_or_default();
                found.push(Installed {
                    slot: Slot {
                        category_name: format!("{category}/{name}"),
                        slot: slot.to_owned(),
                    },
                    id,
                });
            }
        }
        Ok(found)
    }

    /// A file of an entry as text.
    fn text(&self, package: &str, file: &'static str) -> Result<Option<String>, BaseError> {
        let entry = self.entry(&format!("{DATABASE}/{package}/{file}"))?;
        let Some(Kind::File { blob, size }) = entry.map(|entry| entry.kind) else {
            return Ok(None);
        };
        if size > MOST_BYTES {
            return Err(BaseError::TooLarge {
                what: format!("{DATABASE}/{package}/{file}"),
                most: format!("{MOST_BYTES} bytes"),
            });
        }
        let text = String::from_utf8(self.store.blob(blob)?);
        text.map(Some).map_err(|_| BaseError::Malformed {
            package: package.to_owned(),
            file,
            line: 1,
            what: "it is not UTF-8".to_owned(),
        })
    }

    fn contents(&self, package: &Installed) -> Result<Vec<Line>, BaseError> {
        let text = self.text(&package.id, "CONTENTS")?.unwrap_or_default();
        lines(&text, package, "CONTENTS", |line| {
            let (kind, rest) = line.split_once(' ').ok_or("it has no path")?;
            let (path, text, has_time) = match kind {
                "dir" | "dev" | "fif" => (rest, line, false),
                "obj" => {
                    let (before, _) = rest.rsplit_once(' ').ok_or("it has no time")?;
                    let (path, _) = before.rsplit_once(' ').ok_or("it has no digest")?;
                    (path, &line[..kind.len() + 1 + before.len()], true)
                }
                "sym" => {
                    let (before, _) = rest.rsplit_once(' ').ok_or("it has no time")?;
                    let (path, _) = before.split_once(" -> ").ok_or("it leads nowhere")?;
                    (path, &line[..kind.len() + 1 + before.len()], true)
                }
                _ => return Err("it is no file, folder or link"),
            };
            if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err("the path is not absolute, or has .. in it");
            }
            Ok(Line {
                path: path.to_owned(),
                is_folder: kind == "dir",
                text: text.to_owned(),
                has_time,
            })
        })
    }

    fn objects(&self, package: &Installed) -> Result<Vec<Object>, BaseError> {
        let text = self.text(&package.id, "NEEDED.ELF.2")?.unwrap_or_default();
        lines(&text, package, "NEEDED.ELF.2", |line| {
            let fields: Vec<&str> = line.split(';').collect();
            let [machine, path, soname, _, needed, rest @ ..] = fields.as_slice() else {
                return Err("it has fewer than five fields");
            };
            if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err("the path is not absolute, or has .. in it");
            }
            let needed = needed.split(',').filter(|name| !name.is_empty());
            Ok(Object {
                path: (*path).to_owned(),
                soname: (*soname).to_owned(),
                needed: needed.map(str::to_owned).collect(),
                class: rest.first().unwrap_or(machine).to_string(),
            })
        })
    }
}

/// Reads the lines of a file of an entry; blank ones say nothing.
fn lines<T>(
    text: &str,
    package: &Installed,
    file: &'static str,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Vec<T>, BaseError> {
    let mut found = Vec::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
    {
        if number >= MOST_LINES {
            return Err(BaseError::TooLarge {
                what: format!("{DATABASE}/{}/{file}", package.id),
                most: format!("{MOST_LINES} lines"),
            });
        }
        found.push(read(line).map_err(|what| BaseError::Malformed {
            package: package.id.clone(),
            file,
            line: number + 1,
            what: what.to_owned(),
        })?);
    }
    Ok(found)
}

/// The names of a path.
fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/')
        .filter(|name| !name.is_empty() && *name != ".")
}

/// The name of a folder of the database, if it is one of a category or package.
fn plain(entry: &Entry) -> Option<&str> {
    let name = std::str::from_utf8(&entry.name).ok()?;
    (entry.kind.is_dir() && !name.starts_with(['.', '-'])).then_some(name)
}

/// The name in name and version: what stands before the last dash that a digit follows, but for a revision.
pub(super) fn name_of(version: &str) -> Option<&str> {
    let is_revision = |end: &str| {
        end.strip_prefix('r')
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let (mut name, mut end) = version.rsplit_once('-')?;
    if is_revision(end) {
        (name, end) = name.rsplit_once('-')?;
    }
    (end.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mstore_store::{Draft, OpenOptions};

    fn store() -> (Store, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).unwrap();
        (store, dir)
    }

    fn tree(store: &Store, files: &[(&str, &str)]) -> TreeHash {
        let mut draft = Draft::new();
        for (path, text) in files {
            match text.strip_prefix("-> ") {
                Some(target) => draft.link(path, target).unwrap(),
                None => draft.text(path, *text).unwrap(),
            }
        }
        store.weave(&[draft]).unwrap()[0]
    }

    fn has(store: &Store, tree: TreeHash, path: &str) -> bool {
        store.entry(tree, path).is_ok()
    }

    const NCURSES: &[(&str, &str)] = &[
        ("lib", "-> usr/lib"),
        ("usr/lib/libncurses.so", "-> libncurses.so.5"),
        ("usr/lib/libncurses.so.5", "-> libncurses.so.5.9"),
        ("usr/lib/libncurses.so.5.9", "five"),
        ("usr/lib/libtinfo.so.5", "info"),
        ("usr/lib/libform.so.5", "form"),
        ("usr/include/curses.h", "h"),
        ("usr/share/shared", "both"),
        ("usr/bin/sh", "sh"),
        ("var/db/pkg/sys-libs/ncurses-5.9-r1/SLOT", "0/5\n"),
        (
            "var/db/pkg/sys-libs/ncurses-5.9-r1/CONTENTS",
            "dir /usr\nsym /usr/lib/libncurses.so -> libncurses.so.5 17\nsym /lib/libncurses.so.5 -> libncurses.so.5.9 17\n\
             obj /lib/libncurses.so.5.9 00 17\nobj /usr/lib/libtinfo.so.5 00 17\nobj /usr/lib/libform.so.5 00 17\nobj /usr/include/curses.h 00 18\nobj /usr/share/shared 00 17\n",
        ),
        (
            "var/db/pkg/sys-libs/ncurses-5.9-r1/NEEDED.ELF.2",
            "X86_64;/lib/libncurses.so.5.9;libncurses.so.5;;libtinfo.so.5,libc.so.6;x86_64\n\
             X86_64;/usr/lib/libtinfo.so.5;libtinfo.so.5;;libc.so.6;x86_64\nX86_64;/usr/lib/libform.so.5;libform.so.5;;;x86_64\n",
        ),
        ("var/db/pkg/app-shells/sh-1/SLOT", "0\n"),
        (
            "var/db/pkg/app-shells/sh-1/CONTENTS",
            "obj /usr/bin/sh 00 17\nobj /usr/share/shared 00 17\n",
        ),
        (
            "var/db/pkg/app-shells/sh-1/NEEDED.ELF.2",
            "X86_64;/usr/bin/sh;;;libncurses.so.5;x86_64\n",
        ),
    ];

    #[test]
    fn what_is_replaced_goes_and_libraries_stay_that_others_need() {
        let (store, _dir) = store();
        let base = tree(&store, NCURSES);
        let slot = |name: &str, slot: &str| {
            BTreeSet::from([Slot {
                category_name: name.into(),
                slot: slot.into(),
            }])
        };
        let less = |replaced| less(&store, base, &replaced, Libraries::Needed).unwrap();
        assert_eq!(less(slot("sys-libs/ncurses", "5")), base, "another slot");
        assert_eq!(less(slot("sys-libs/ncurse", "0")), base, "another name");
        let rest = less(slot("sys-libs/ncurses", "0"));
        for (path, stays) in [
            ("usr/lib/libncurses.so", false),
            ("usr/lib/libncurses.so.5", true),
            ("usr/lib/libncurses.so.5.9", true),
            ("usr/lib/libtinfo.so.5", true),
            ("usr/lib/libform.so.5", false),
            ("usr/include/curses.h", false),
            ("usr/include", true),
            ("usr/share/shared", true),
            ("var/db/pkg/sys-libs/ncurses-5.9-r1", false),
            ("var/db/pkg/app-shells/sh-1/SLOT", true),
        ] {
            assert_eq!(has(&store, rest, path), stays, "{path}");
        }
        // With the shell gone as well, nobody needs them.
        let both = slot("sys-libs/ncurses", "0").into_iter();
        let all = super::less(&store, base, &slot("sys-libs/ncurses", "0"), Libraries::All);
        assert!(has(&store, all.unwrap(), "usr/lib/libform.so.5"));
        let both = less(both.chain(slot("app-shells/sh", "0")).collect());
        for path in [
            "usr/lib/libncurses.so.5",
            "usr/lib/libtinfo.so.5",
            "usr/share/shared",
            "usr/bin/sh",
        ] {
            assert!(!has(&store, both, path), "{path}");
        }
    }

    #[test]
    fn bases_that_differ_in_noise_are_reduced_to_one() {
        let (store, _dir) = store();
        let base = |time: &str, order: bool| {
            let mut lines = [
                format!("obj /a b 00 {time}"),
                format!("sym /c -> d e {time}"),
                "dir /f".into(),
            ];
            if order {
                lines.reverse();
            }
            let contents = lines.join("\n");
            tree(
                &store,
                &[
                    ("a b", "x"),
                    ("tmp/x", time),
                    ("var/cache/edb/x", time),
                    ("var/log/emerge.log", time),
                    ("etc/passwd-", time),
                    ("var/db/pkg/.cache", time),
                    ("var/db/pkg/c/p-1/CONTENTS", &contents),
                    ("var/db/pkg/c/p-1/COUNTER", time),
                    ("var/db/pkg/c/p-1/BUILD_TIME", time),
                    ("var/db/pkg/c/p-1/environment.bz2", time),
                    ("var/db/pkg/c/p-1/SLOT", "0\n"),
                ],
            )
        };
        let reduced = reduce(&store, base("17", false)).unwrap();
        assert_eq!(reduce(&store, base("18", true)).unwrap(), reduced);
        let wanted = tree(
            &store,
            &[
                ("a b", "x"),
                (
                    "var/db/pkg/c/p-1/CONTENTS",
                    "dir /f\nobj /a b 00 0\nsym /c -> d e 0\n",
                ),
                ("var/db/pkg/c/p-1/SLOT", "0\n"),
            ],
        );
        for path in ["var/db", "a b"] {
            assert_eq!(
                store.entry(reduced, path).unwrap(),
                store.entry(wanted, path).unwrap()
            );
        }
        for path in ["tmp", "var/cache", "var/log", "etc"] {
            let left = store.subtree(reduced, path).unwrap();
            assert_eq!(left, tree(&store, &[]), "{path}");
        }
        assert_eq!(reduce(&store, reduced).unwrap(), reduced);
    }

    #[test]
    fn entries_of_others_are_believed_only_as_far_as_they_go() {
        let (store, _dir) = store();
        for contents in [
            "obj /../x 00 1",
            "obj usr/x 00 1",
            "obj /x",
            "sym /x 1",
            "what /x",
            "dir",
            "obj /usr/\u{0}/../../x 00 1",
        ] {
            let base = tree(
                &store,
                &[
                    ("var/db/pkg/c/p-1/CONTENTS", contents),
                    ("var/db/pkg/c/p-1/SLOT", "0"),
                ],
            );
            let error = reduce(&store, base).unwrap_err().to_string();
            assert!(
                error.starts_with("the base's var/db/pkg/c/p-1/CONTENTS, line 1: "),
                "{error}"
            );
        }
        // A link that leads in a circle, one that leads out of the root, and a path that is not there.
        let contents = "obj /a/x 00 1\nobj /out/usr/y 00 1\nobj /none/z 00 1\n";
        let base = tree(
            &store,
            &[
                ("a", "-> b"),
                ("b", "-> a"),
                ("out", "-> ../../.."),
                ("usr/y", "y"),
                ("usr/z", "z"),
                ("var/db/pkg/c/p-1/CONTENTS", contents),
                ("var/db/pkg/c/p-1/SLOT", "0"),
            ],
        );
        let slot = Slot {
            category_name: "c/p".into(),
            slot: "0".into(),
        };
        let rest = less(&store, base, &[slot].into(), Libraries::Needed).unwrap();
        assert!(
            !has(&store, rest, "usr/y") && has(&store, rest, "usr/z") && has(&store, rest, "a")
        );
    }

    #[test]
    fn names_and_versions_are_told_apart_as_portage_does() {
        for (version, name) in [
            ("zlib-1.3.1", Some("zlib")),
            ("zlib-1.3.1-r2", Some("zlib")),
            ("gtk+-2-r1", Some("gtk+")),
            ("font-misc-100-1.0_p2", Some("font-misc-100")),
            ("zlib", None),
            ("-1", None),
            ("zlib-r1", None),
        ] {
            assert_eq!(name_of(version), name, "{version}");
        }
    }
}
