//! One tree as the union of others. Only manifests are read and written, never contents.
//!
//! The members are laid over each other in their order. The rules:
//!
//! - *Aliases.* Where one member has a symbolic link and another a directory (`lib -> lib64`, `bin -> usr/bin`),
//!   what is in the directory moves to where the link leads, as it would if the members were unpacked one after
//!   the other.
//! - *Directories* of several members become one, with mode, owner, time and attributes of the first. Empty ones
//!   stay.
//! - *Everything else* that several members have is to be the same, but for its time; else the union fails and
//!   names both owners. What a member that [yields](Member::yields) has gives way to what one that does not has.
//! - *Hard links* are kept within a member; there are none across.
//!
//! The union costs what differs: a directory that all members who have it have alike, or that one member alone
//! has, is shared and not read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::error::show;
use crate::ingest::Ingest;
use crate::links::{Entries, are_one};
use crate::manifest::{Entry, Kind, MAX_DEPTH, Manifest, Meta, Tree};
use crate::view::split;
use crate::{DirHash, Hash, Store, StoreError, TreeHash};

/// Keeps what unions are remembered under apart from all else. Other rules for them are another context.
const UNION_CONTEXT: &str = "mstore 2026 store union 1";
/// How often what was moved behind an alias may have to be moved again: more is a circle.
const MOST_ROUNDS: usize = 40;

/// One of the trees that a union is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The tree.
    pub tree: TreeHash,
    /// The folder of the union that it lies at, `a/b`; the root of it if that is empty.
    pub at: String,
    /// Whose it is, for messages.
    pub owner: String,
    /// Whether its files give way to those of members that do not yield.
    pub yields: bool,
}

/// Why there is no union.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// Two members have something else under one name.
    #[error("{first} and {second} both have {path}: {detail}")]
    Collision {
        /// The path, without a slash in front.
        path: String,
        /// The owner of what comes first.
        first: String,
        /// The owner of the other.
        second: String,
        /// What differs.
        detail: String,
    },
    /// A directory is to be moved to where a symbolic link leads that leads back to it.
    #[error(
        "{owner} has a symbolic link {path} to {target}, and {other} a directory there: the link leads in a circle"
    )]
    Circle {
        /// The path of the link.
        path: String,
        /// Where it points, as written.
        target: String,
        /// The owner of the link.
        owner: String,
        /// The owner of the directory.
        other: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Makes the union of some trees, by the rules at the head of this module; that of none is an empty directory.
    ///
    /// A union that was made before is looked up and leased to this session.
    pub fn compose(&self, members: &[Member]) -> Result<TreeHash, ComposeError> {
        let key = union_key(members);
        if let Some(known) = self.part(&key)?
            && self.keep_made(known)?
        {
            return Ok(known);
        }
        let trees: Vec<TreeHash> = members.iter().map(|member| member.tree).collect();
        let _lease = self.lease_trees("compose", &trees)?;
        let mut seen = HashSet::new();
        let distinct = members
            .iter()
            .filter(|m| seen.insert((m.tree, &m.at, m.yields)));
        let mut union = Union {
            store: self,
            known: HashMap::new(),
            made: HashMap::new(),
            aliases: Vec::new(),
        };
        let mut parts = Vec::new();
        let mut root = None;
        for member in distinct {
            let Tree {
                root: top,
                dir,
                links,
            } = self.tree(member.tree)?;
            let at = split(&member.at)?.join(&b'/');
            if at.is_empty() {
                root.get_or_insert(top.clone());
            }
            let entry = Entry {
                name: Vec::new(),
                meta: top,
                kind: Kind::Dir { manifest: dir },
            };
            let moved = |path: &Vec<u8>| joined(&at, path);
            parts.push(Part {
                owner: &member.owner,
                yields: member.yields,
                dir: union.put_at(&at, entry)?,
                links: links
                    .iter()
                    .map(|group| group.iter().map(moved).collect())
                    .collect(),
            });
        }
        let (dir, parts) = union.all(parts)?;
        let links = union.links(dir, &parts)?;
        let tree = Tree {
            root: root.unwrap_or_else(Meta::plain_dir),
            dir,
            links,
        };
        let ingest = Ingest::begin(self)?;
        union.write(&ingest, dir)?;
        let tree = ingest.put_tree(&tree)?;
        ingest.commit(tree)?;
        // Only what it costs to make it again is lost where that fails.
        let _ = self.put_part(&key, tree);
        Ok(tree)
    }

    /// Leases a tree to this session as if it had been made now, if it is here.
    fn keep_made(&self, tree: TreeHash) -> Result<bool, StoreError> {
        if self.is_read_only() {
            return self.has_tree(tree);
        }
        let ingest = Ingest::begin(self)?;
        let is_here = ingest.had(&tree.0);
        if is_here {
            ingest.commit(tree)?;
        }
        Ok(is_here)
    }
}

/// What a union is remembered under. Owners are told of only where there is none.
fn union_key(members: &[Member]) -> Hash {
    let mut bytes = Vec::with_capacity(members.len() * 48);
    for member in members {
        bytes.extend_from_slice(member.tree.0.as_bytes());
        bytes.push(u8::from(member.yields));
        bytes.extend_from_slice(member.at.as_bytes());
        // No path contains a NUL.
        bytes.push(0);
    }
    Hash::derive(UNION_CONTEXT, &bytes)
}

/// A member, or what of it was moved behind an alias.
struct Part<'a> {
    owner: &'a str,
    yields: bool,
    dir: DirHash,
    links: Vec<Vec<Vec<u8>>>,
}

/// A symbolic link at whose place some parts have directories.
struct Alias {
    path: Vec<u8>,
    target: Vec<u8>,
    /// The part that has the link.
    link: usize,
    /// The parts that have directories.
    dirs: Vec<usize>,
}

struct Union<'a> {
    store: &'a Store,
    /// Directories of the store that were read.
    known: HashMap<DirHash, Arc<Manifest>>,
    /// Directories that were made and are not in the store yet.
    made: HashMap<DirHash, Arc<Manifest>>,
    aliases: Vec<Alias>,
}

/// Directories of one part that move: from where, and to where.
type Moves<'p> = Vec<(&'p [u8], Vec<u8>)>;

/// What the parts have under one name, in their order.
type Candidates<'m> = Vec<(usize, &'m Entry)>;

impl<'a> Union<'a> {
    fn manifest(&mut self, dir: DirHash) -> Result<Arc<Manifest>, StoreError> {
        if let Some(found) = self.made.get(&dir).or_else(|| self.known.get(&dir)) {
            return Ok(found.clone());
        }
        let read = Arc::new(self.store.manifest(dir)?);
        self.known.insert(dir, read.clone());
        Ok(read)
    }

    fn make(&mut self, path: &[u8], entries: Vec<Entry>) -> Result<DirHash, StoreError> {
        let manifest = Manifest::new(entries).map_err(|error| StoreError::BadEntry {
            path: show(path),
            reason: error.to_string(),
        })?;
        let hash = Manifest::hash_encoded(&manifest.encode());
        if !self.known.contains_key(&hash) {
            self.made.insert(hash, Arc::new(manifest));
        }
        Ok(hash)
    }

    /// The union of all parts, and the parts as they are with everything behind its alias.
    fn all(&mut self, mut parts: Vec<Part<'a>>) -> Result<(DirHash, Vec<Part<'a>>), ComposeError> {
        let mut rounds = 0;
        loop {
            let dirs: Vec<(usize, DirHash)> = parts.iter().map(|p| p.dir).enumerate().collect();
            let dir = match dirs.is_empty() {
                true => self.make(b"", Vec::new())?,
                false => self.merge(&mut Vec::new(), &dirs, &parts)?,
            };
            let aliases = std::mem::take(&mut self.aliases);
            let Some(first) = aliases.first() else {
                return Ok((dir, parts));
            };
            if rounds == MOST_ROUNDS {
                return Err(circle(first, &parts));
            }
            rounds += 1;
            parts = self.behind(&aliases, parts)?;
        }
    }

    /// The union of directories at `path`, each with the number of its part.
    fn merge(
        &mut self,
        path: &mut Vec<u8>,
        dirs: &[(usize, DirHash)],
        parts: &[Part<'a>],
    ) -> Result<DirHash, ComposeError> {
        let mut distinct: Vec<(usize, DirHash)> = Vec::new();
        for (part, dir) in dirs {
            // The same of one that yields and of one that does not is not the same.
            let same =
                |(p, d): &(usize, DirHash)| d == dir && parts[*p].yields == parts[*part].yields;
            if !distinct.iter().any(same) {
                distinct.push((*part, *dir));
            }
        }
        if let [(_, first), rest @ ..] = &*distinct
            && rest.iter().all(|(_, dir)| dir == first)
        {
            return Ok(*first);
        }
        let depth = path.iter().filter(|b| **b == b'/').count();
        if depth + 1 > MAX_DEPTH {
            return Err(ComposeError::Store(StoreError::TooDeep {
                limit: MAX_DEPTH,
                path: show(&path[..path.len().min(200)]),
            }));
        }
        let mut manifests = Vec::with_capacity(distinct.len());
        for (part, dir) in &distinct {
            manifests.push((*part, self.manifest(*dir)?));
        }
        let mut names: BTreeMap<&[u8], Candidates<'_>> = BTreeMap::new();
        for (part, manifest) in &manifests {
            for entry in manifest.entries() {
                names.entry(&entry.name).or_default().push((*part, entry));
            }
        }
        let mut entries = Vec::with_capacity(names.len());
        for (name, candidates) in names {
            let before = path.len();
            if before > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            entries.extend(self.entry(path, &candidates, parts)?);
            path.truncate(before);
        }
        Ok(self.make(path, entries)?)
    }

    /// What becomes of one name; nothing if it is an alias that something has to be moved behind first.
    fn entry(
        &mut self,
        path: &mut Vec<u8>,
        candidates: &Candidates<'_>,
        parts: &[Part<'a>],
    ) -> Result<Option<Entry>, ComposeError> {
        let dirs = || candidates.iter().filter(|(_, entry)| entry.kind.is_dir());
        let Some((first, head)) = candidates.first() else {
            return Ok(None);
        };
        if candidates.len() == 1 {
            return Ok(Some((*head).clone()));
        }
        if dirs().count() == candidates.len() {
            let below = candidates
                .iter()
                .filter_map(|(part, entry)| match entry.kind {
                    Kind::Dir { manifest } => Some((*part, manifest)),
                    _ => None,
                });
            let below: Vec<(usize, DirHash)> = below.collect();
            let manifest = self.merge(path, &below, parts)?;
            return Ok(Some(Entry {
                name: head.name.clone(),
                meta: head.meta.clone(),
                kind: Kind::Dir { manifest },
            }));
        }
        let others = candidates.iter().filter(|(_, entry)| !entry.kind.is_dir());
        let mut others: Vec<(usize, &Entry)> = others.copied().collect();
        if others.iter().any(|(part, _)| !parts[*part].yields) {
            others.retain(|(part, _)| !parts[*part].yields);
        }
        let collision = |a: (usize, &Entry), b: (usize, &Entry)| ComposeError::Collision {
            path: show(path),
            first: parts[a.0].owner.to_owned(),
            second: parts[b.0].owner.to_owned(),
            detail: differs(a.1, b.1),
        };
        let kept = others.first().copied().unwrap_or((*first, head));
        if let Some(other) = others.iter().find(|(_, entry)| !is_same(kept.1, entry)) {
            return Err(collision(kept, *other));
        }
        match (&kept.1.kind, dirs().next()) {
            (_, None) => Ok(Some(kept.1.clone())),
            (Kind::Symlink { target }, Some(_)) => {
                self.aliases.push(Alias {
                    path: path.clone(),
                    target: target.clone(),
                    link: kept.0,
                    dirs: dirs().map(|(part, _)| *part).collect(),
                });
                Ok(None)
            }
            (_, Some(dir)) => Err(collision(kept, *dir)),
        }
    }

    /// Moves directories behind the aliases that stand in their places.
    fn behind(
        &mut self,
        aliases: &[Alias],
        parts: Vec<Part<'a>>,
    ) -> Result<Vec<Part<'a>>, ComposeError> {
        let mut moves: BTreeMap<usize, Moves<'_>> = BTreeMap::new();
        for alias in aliases {
            let Some(to) = leads_to(&alias.path, &alias.target) else {
                return Err(circle(alias, &parts));
            };
            for part in &alias.dirs {
                moves
                    .entry(*part)
                    .or_default()
                    .push((&alias.path, to.clone()));
            }
        }
        let mut all = Vec::with_capacity(parts.len() + aliases.len());
        for (number, mut part) in parts.into_iter().enumerate() {
            let mut moved = Vec::new();
            for (from, to) in moves.remove(&number).unwrap_or_default() {
                let Some((rest, taken)) = self.take_out(part.dir, from)? else {
                    continue;
                };
                let mut links = Vec::new();
                // Names of one file that come to lie apart are no longer one: parts are moved whole.
                for group in &mut part.links {
                    let (inside, outside): (Vec<_>, Vec<_>) = group
                        .drain(..)
                        .partition(|path| below(path, from).is_some());
                    *group = outside;
                    let there = inside.iter().filter_map(|path| below(path, from));
                    links.push(there.map(|rest| joined(&to, rest)).collect());
                }
                part.dir = rest;
                moved.push(Part {
                    owner: part.owner,
                    yields: part.yields,
                    dir: self.put_at(&to, taken)?,
                    links: Tree::normal_links(links),
                });
            }
            part.links = Tree::normal_links(part.links);
            all.push(part);
            all.extend(moved);
        }
        Ok(all)
    }

    /// A directory without the directory at `path`, and that one.
    fn take_out(
        &mut self,
        dir: DirHash,
        path: &[u8],
    ) -> Result<Option<(DirHash, Entry)>, StoreError> {
        let (name, rest) = match path.iter().position(|b| *b == b'/') {
            Some(at) => (&path[..at], Some(&path[at + 1..])),
            None => (path, None),
        };
        let manifest = self.manifest(dir)?;
        let Some(entry) = manifest.get(name) else {
            return Ok(None);
        };
        let (mut entries, entry) = (manifest.entries().to_vec(), entry.clone());
        let Kind::Dir { manifest: inner } = entry.kind else {
            return Ok(None);
        };
        let Some(rest) = rest else {
            entries.retain(|e| e.name != name);
            return Ok(Some((self.make(path, entries)?, entry)));
        };
        let Some((inner, taken)) = self.take_out(inner, rest)? else {
            return Ok(None);
        };
        for e in entries.iter_mut().filter(|e| e.name == name) {
            e.kind = Kind::Dir { manifest: inner };
        }
        Ok(Some((self.make(path, entries)?, taken)))
    }

    /// A root that has nothing but the directory `entry` at `path`, which may be the root itself.
    fn put_at(&mut self, path: &[u8], entry: Entry) -> Result<DirHash, StoreError> {
        let Kind::Dir { manifest } = entry.kind else {
            return self.make(path, Vec::new());
        };
        let (mut dir, mut meta) = (manifest, entry.meta);
        if path.is_empty() {
            return Ok(dir);
        }
        for name in path.rsplit(|b| *b == b'/') {
            let entry = Entry {
                name: name.to_vec(),
                meta: std::mem::replace(&mut meta, Meta::plain_dir()),
                kind: Kind::Dir { manifest: dir },
            };
            dir = self.make(path, vec![entry])?;
        }
        Ok(dir)
    }

    /// The hard links of the union: of each part those names that are still one file, and of which no part before
    /// has made another.
    fn links(&self, dir: DirHash, parts: &[Part<'_>]) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
        let read = |hash: &DirHash| match self.made.get(hash) {
            Some(made) => Ok(Manifest::clone(made)),
            None => self.store.manifest(*hash),
        };
        let mut entries = Entries::new(dir, &read);
        let (mut links, mut taken) = (Vec::new(), HashSet::new());
        for group in parts.iter().flat_map(|part| &part.links) {
            let mut kept: Vec<Vec<u8>> = Vec::new();
            let mut one: Option<Entry> = None;
            for path in group.iter().filter(|path| !taken.contains(*path)) {
                let Some(entry) = entries.get(path)? else {
                    continue;
                };
                if one.get_or_insert_with(|| entry.clone()) == &entry
                    || one.as_ref().is_some_and(|one| are_one(one, &entry))
                {
                    kept.push(path.clone());
                }
            }
            if kept.len() > 1 {
                taken.extend(kept.iter().cloned());
                links.push(kept);
            }
        }
        Ok(Tree::normal_links(links))
    }

    /// Adds the directories of the union that the store lacks.
    fn write(&self, ingest: &Ingest, root: DirHash) -> Result<(), StoreError> {
        let (mut todo, mut done) = (vec![root], HashSet::new());
        while let Some(dir) = todo.pop() {
            let Some(manifest) = self.made.get(&dir).filter(|_| done.insert(dir)) else {
                continue;
            };
            ingest.put_manifest(manifest)?;
            todo.extend(
                manifest
                    .entries()
                    .iter()
                    .filter_map(|entry| match entry.kind {
                        Kind::Dir { manifest } => Some(manifest),
                        _ => None,
                    }),
            );
        }
        Ok(())
    }
}

fn circle(alias: &Alias, parts: &[Part<'_>]) -> ComposeError {
    let owner = |part: Option<&usize>| part.map_or(String::new(), |p| parts[*p].owner.to_owned());
    ComposeError::Circle {
        path: show(&alias.path),
        target: show(&alias.target),
        owner: owner(Some(&alias.link)),
        other: owner(alias.dirs.first()),
    }
}

/// Whether two entries that are no directories are the same, but for their times.
fn is_same(a: &Entry, b: &Entry) -> bool {
    a.kind == b.kind
        && Meta {
            mtime: b.meta.mtime,
            ..a.meta.clone()
        } == b.meta
}

/// What is told of two entries under one name.
fn differs(a: &Entry, b: &Entry) -> String {
    let (one, other) = (a.kind.word(), b.kind.word());
    match (&a.kind, &b.kind) {
        _ if one != other => format!("one is a {one}, the other a {other}"),
        (a, b) if a == b => "owners, modes or attributes differ".to_owned(),
        (Kind::Symlink { target: a }, Kind::Symlink { target: b }) => {
            format!("one leads to {}, the other to {}", show(a), show(b))
        }
        _ => format!("the {one}s differ"),
    }
}

/// Where a symbolic link at `path` leads, within the root; nothing where that is the link itself or below it.
fn leads_to(path: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut at: Vec<&[u8]> = match target.starts_with(b"/") {
        true => Vec::new(),
        false => {
            let mut names: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
            names.pop();
            names
        }
    };
    for name in target.split(|b| *b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                at.pop();
            }
            name => at.push(name),
        }
    }
    let to = at.join(&b'/');
    (to != path && below(&to, path).is_none()).then_some(to)
}

/// The rest of a path that lies below another one.
fn below<'p>(path: &'p [u8], above: &[u8]) -> Option<&'p [u8]> {
    path.strip_prefix(above)?.strip_prefix(b"/")
}

fn joined(folder: &[u8], rest: &[u8]) -> Vec<u8> {
    match folder.is_empty() {
        true => rest.to_vec(),
        false => [folder, b"/", rest].concat(),
    }
}
