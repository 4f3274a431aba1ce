//! `mstore store ls`, `cat`, `du`, `stat`, `path`, `find`, `info`: looking around in the store.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::process::ExitCode;

use mstore_store::{Cancel, Found, Kind, Meta, Place, Store, TreeHash, Wanted};
use serde_json::{Value, json};

use crate::cli::bytes::{self, plain, shown, tree_and_path};
use crate::cli::context::Context;
use crate::cli::output::{escaped, time};
use crate::cli::{Failure, lost, output};
use crate::drv::NodeName;
use crate::plan::name::glob;
use crate::project::Access;
use crate::project::Retention;
use crate::project::find;
use crate::project::find::Wants;

/// A place in a tree.
#[derive(clap::Args)]
pub struct Where {
    /// A target, seed/NAME, snapshot/NAME, a gc root, or the hash of a tree or its beginning, and a path in it; or a
    /// package as TARGET:CATEGORY/NAME[:SLOT], and behind one more colon a path in it that begins with a slash
    #[arg(value_name = "TREE[:PATH]")]
    place: OsString,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Where {
    fn find<'a>(&'a self, context: &Context) -> Result<(Store, TreeHash, &'a [u8]), Failure> {
        let store = context.store(Access::Read)?;
        let (tree, path) = place(context, &store, &self.place)?;
        Ok((store, tree, path))
    }
}

/// The tree that a place is in, and the path.
fn place<'a>(
    context: &Context,
    store: &Store,
    place: &'a OsStr,
) -> Result<(TreeHash, &'a [u8]), Failure> {
    if let Some(text) = place.to_str() {
        let (name, path) = match text.find(":/") {
            Some(at) => (&text[..at], &text[at + 2..]),
            None => (text, ""),
        };
        // A folder of a target can be called as a package is, which comes first.
        if let Ok(NodeName::Package(name)) = name.parse()
            && let Ok(project) = context.project(Access::ReadIfPresent)
            && let Some(tree) = project.package_tree(&name)?
        {
            return Ok((tree, path.as_bytes()));
        }
    }
    let (what, path) = tree_and_path(place)?;
    Ok((context.tree(store, what)?.tree, path))
}

/// Lists a directory, or tells about one entry.
pub fn ls(context: &Context, at: &Where, recursive: bool) -> Result<ExitCode, Failure> {
    let (store, tree, path) = at.find(context)?;
    let found = store.look_up(tree, path, true)?;
    let mut rows = Vec::new();
    match found.kind {
        Kind::Dir { .. } => list(&store, &found, b"", recursive, &mut rows)?,
        _ => rows.push((found.path.clone(), found)),
    }
    if at.json {
        let all: Vec<Value> = rows.iter().map(|(name, f)| describe(name, f)).collect();
        output::json_pretty(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = |f: fn(&Found) -> String| rows.iter().map(|(_, r)| f(r).len()).max().unwrap_or(0);
    let owner = |f: &Found| format!("{} {}", f.meta.uid, f.meta.gid);
    let (owners, sizes) = (width(owner), width(size_text));
    for (name, found) in &rows {
        let arrow = match &found.kind {
            Kind::Symlink { target } => format!(" -> {}", shown(target)),
            _ => String::new(),
        };
        output::line(format!(
            "{}{} {:owners$} {:>sizes$} {} {name}{arrow}",
            letter(&found.kind),
            permissions(found.meta.mode),
            owner(found),
            size_text(found),
            time(found.meta.mtime.secs),
            name = shown(name),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(
    store: &Store,
    dir: &Found,
    before: &[u8],
    recursive: bool,
    rows: &mut Vec<(Vec<u8>, Found)>,
) -> Result<(), Failure> {
    let Kind::Dir { manifest } = dir.kind else {
        return Ok(());
    };
    for entry in store.manifest(manifest)?.entries() {
        let name = [before, &entry.name].concat();
        let found = Found {
            path: entry.name.clone(),
            meta: entry.meta.clone(),
            kind: entry.kind.clone(),
        };
        let below = (recursive && matches!(found.kind, Kind::Dir { .. })).then(|| found.clone());
        rows.push((name.clone(), found));
        if let Some(below) = below {
            list(store, &below, &[&name[..], b"/"].concat(), true, rows)?;
        }
    }
    Ok(())
}

/// Writes a file's content to standard output.
pub fn cat(context: &Context, at: &OsStr) -> Result<ExitCode, Failure> {
    let store = context.store(Access::Read)?;
    let (tree, path) = place(context, &store, at)?;
    let found = store.look_up(tree, path, true)?;
    let Kind::File { blob, .. } = found.kind else {
        return Err(Failure::usage(format!(
            "{} is a {}, not a file",
            path_or_root(&found.path),
            found.kind.word()
        )));
    };
    let mut reader = store.open_blob(blob)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(ExitCode::SUCCESS),
            Ok(n) => output::bytes(&buffer[..n])?,
            Err(e) => return Err(Failure::machine(format!("cannot read {blob}: {e}"))),
        }
    }
}

/// Tells everything about one entry; a link is not followed.
pub fn stat(context: &Context, at: &Where) -> Result<ExitCode, Failure> {
    let (store, tree, path) = at.find(context)?;
    let found = store.look_up(tree, path, false)?;
    let name = match found.path.is_empty() {
        true => b"/",
        false => &found.path[..],
    };
    let mut value = describe(name, &found);
    value["tree"] = tree.to_string().into();
    let path = &found.path;
    let groups = store.tree(tree)?.links;
    if let Some(group) = groups.iter().find(|group| group.contains(path)) {
        bytes::put_all(&mut value, "hard_links", group);
    }
    value["xattrs"] = json!({});
    for (name, content) in &found.meta.xattrs {
        bytes::put(&mut value["xattrs"], &plain(name), content);
    }
    if at.json {
        output::json_pretty(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        if name.ends_with("_base64") {
            continue;
        }
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Array(all) => {
                let all: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
                all.join(" ")
            }
            Value::Object(all) => {
                let all: Vec<String> = all
                    .iter()
                    .filter(|(n, _)| !n.ends_with("_base64"))
                    .map(|(n, v)| format!("{n}={}", v.as_str().unwrap_or_default()))
                    .collect();
                all.join(" ")
            }
            other => other.to_string(),
        };
        if !value.is_empty() {
            output::line(format!("{name}: {}", escaped(&value)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells what a tree takes.
pub fn du(context: &Context, at: &Where) -> Result<ExitCode, Failure> {
    let (store, tree, path) = at.find(context)?;
    let usage = store.usage(tree, path)?;
    let shared = usage.stored - usage.unique;
    if at.json {
        let mut value = json!({
            "tree": tree.to_string(),
            "entries": usage.entries,
            "bytes": usage.bytes,
            "objects": usage.objects,
            "stored": usage.stored,
            "unique": usage.unique,
            "shared": shared,
        });
        bytes::put(&mut value, "path", path);
        output::json_pretty(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format!(
        "{} entries, {} of content\nin the store {}: {} of this tree alone, {} shared with other trees",
        usage.entries,
        output::size(usage.bytes),
        output::size(usage.stored),
        output::size(usage.unique),
        output::size(shared),
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Names a folder with the files of a tree, writing it out if need be.
pub fn path(context: &Context, at: &Where) -> Result<ExitCode, Failure> {
    let sees_all = rustix::process::geteuid().is_root();
    context.enter()?;
    let (store, tree, path) = at.find(context)?;
    let found = store.look_up(tree, path, true)?;
    let bound = context.config()?.gc.written_out;
    let view = store.view(tree, context.cancel()?)?;
    store.trim(bound, sees_all)?;
    let mut full = view.path().to_owned();
    if !found.path.is_empty() {
        full.push(OsStr::from_bytes(&found.path));
    }
    let full = full.into_os_string().into_vec();
    if at.json {
        let mut value = json!({ "tree": tree.to_string() });
        bytes::put(&mut value, "path", &full);
        output::json_pretty(&value)?;
    } else {
        output::bytes(&full)?;
        output::bytes(b"\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What to look for, and where.
#[derive(clap::Args)]
pub struct Find {
    /// The hash of a directory or of a file's content, its beginning, or a pattern of file names
    #[arg(value_name = "HASH|PATTERN")]
    what: String,
    /// Look in this tree only: a target, seed/NAME, snapshot/NAME, a gc root, or the hash of a tree or its beginning
    #[arg(long = "in", value_name = "TREE")]
    within: Vec<String>,
    /// Take WHAT as a pattern of file names though it looks like a hash
    #[arg(long)]
    name: bool,
    /// Stop after N places
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Tells which trees have something, and where.
pub fn find(context: &Context, args: &Find) -> Result<ExitCode, Failure> {
    let store = context.store(Access::Read)?;
    let mut trees = Vec::new();
    for tree in &args.within {
        trees.push(context.tree(&store, tree)?.tree);
    }
    if args.within.is_empty() {
        trees = store.trees()?;
    }
    let fits = |name: &[u8]| glob(&args.what, &String::from_utf8_lossy(name));
    let known = match find::is_prefix(&args.what) && !args.name {
        true => find::find(&store, &args.what, Wants::Object)?,
        false => None,
    };
    let wanted = match known {
        Some(found) => Wanted::Object(found.hash),
        None => Wanted::Name(&fits),
    };
    let limit = args.limit.unwrap_or(usize::MAX);
    let mut found = Vec::new();
    if limit > 0 {
        store.find_in_trees(&trees, &wanted, &mut |place| {
            found.push(place);
            found.len() < limit
        })?;
    }
    let mut names = std::collections::BTreeMap::<TreeHash, Vec<String>>::new();
    for r in store.realisations(None)? {
        let all = names.entry(r.tree).or_default();
        if !all.contains(&r.name) {
            all.push(r.name);
        }
    }
    for root in store.roots()? {
        let name = format!("root {}", root.name);
        names.entry(root.tree).or_default().push(name);
    }
    let names = |tree: &TreeHash| names.get(tree).cloned().unwrap_or_default();
    if args.json {
        let one = |p: &Place| {
            let mut value = json!({ "tree": p.tree.to_string(), "names": names(&p.tree) });
            bytes::put(&mut value, "path", &p.path);
            value
        };
        output::json_pretty(&found.iter().map(one).collect::<Vec<_>>())?;
    } else {
        for place in &found {
            let names = names(&place.tree);
            let names = match names.is_empty() {
                true => String::new(),
                false => format!(" ({})", names.join(", ")),
            };
            let path = path_or_root(&place.path);
            output::line(format!("{}:{path}{names}", place.tree))?;
        }
    }
    Ok(if found.is_empty() {
        if !args.json {
            tell!("nothing found");
        }
        ExitCode::from(crate::cli::failure::FOUND)
    } else {
        ExitCode::SUCCESS
    })
}

/// Tells numbers about the store.
pub fn info(context: &Context, as_json: bool) -> Result<ExitCode, Failure> {
    let config = context.config()?.gc;
    let store = context.store(Access::Read)?;
    let info = store.info()?;
    let written = store.written_out()?;
    let policy = Retention::default().policy(&store, &config, &Cancel::new())?;
    let garbage = store.gc(&policy, true)?;
    let ratio = match info.stored_bytes {
        0 => 1.0,
        stored => (info.tree_bytes as f64 / stored as f64 * 100.0).round() / 100.0,
    };
    if as_json {
        output::json_pretty(&json!({
            "path": store.path().to_string_lossy(),
            "packs": info.packs,
            "pack_bytes": info.pack_bytes,
            "trees": info.trees,
            "directories": info.manifests,
            "blobs": info.blobs,
            "blob_bytes": info.blob_bytes,
            "stored_bytes": info.stored_bytes,
            "tree_entries": info.tree_entries,
            "tree_bytes": info.tree_bytes,
            "ratio": ratio,
            "realisations": info.realisations,
            "attempts": info.attempts,
            "roots": info.roots,
            "checkouts": info.checkouts,
            "checkout_bytes": written.checkouts,
            "layer_bytes": written.layers,
            "view_bytes": written.views,
            "garbage_bytes": garbage.freed,
            "garbage_objects": garbage.objects_gone,
            "lost": lost::json(&garbage.lost),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let size = output::size;
    output::line(format!(
        "{}\n\
         {} trees with {} entries, {} of content\n\
         kept as {} directories and {} contents of files, {}, compressed {}: {ratio} to 1\n\
         {} packs, {}\n\
         {} checkouts and layers for builds, {} and {}; folders for people, {}\n\
         {} realisations, {} attempts, {} roots\n\
         the next gc would free {} ({} objects)",
        store.path().display(),
        info.trees,
        info.tree_entries,
        size(info.tree_bytes),
        info.manifests,
        info.blobs,
        size(info.blob_bytes),
        size(info.stored_bytes),
        info.packs,
        size(info.pack_bytes),
        info.checkouts,
        size(written.checkouts),
        size(written.layers),
        size(written.views),
        info.realisations,
        info.attempts,
        info.roots,
        size(garbage.freed),
        garbage.objects_gone,
    ))?;
    lost::tell_of(&garbage.lost);
    Ok(ExitCode::SUCCESS)
}

/// Gc roots: names that keep trees.
#[derive(clap::Subcommand)]
pub enum Roots {
    /// List gc roots
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Name a tree, so that gc keeps it
    Add {
        /// The name
        name: String,
        /// A target, seed/NAME, snapshot/NAME, a gc root, or the hash of a tree or its beginning
        #[arg(value_name = "TREE")]
        tree: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a gc root; its tree goes with the next gc unless something else keeps it
    Remove {
        /// The name
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Lists, adds and removes gc roots.
pub fn roots(context: &Context, command: &Roots) -> Result<ExitCode, Failure> {
    match command {
        Roots::List { json: as_json } => {
            let all = context.store(Access::Read)?.roots()?;
            if *as_json {
                let all: Vec<Value> = all
                    .iter()
                    .map(|r| json!({ "name": r.name, "tree": r.tree.to_string() }))
                    .collect();
                output::json_pretty(&all)?;
            } else {
                for root in all {
                    output::line(format!("{} {}", root.name, root.tree))?;
                }
            }
        }
        Roots::Add {
            name,
            tree,
            json: as_json,
        } => {
            let store = context.store(Access::Read)?;
            let tree = context.tree(&store, tree)?.tree;
            store.add_root(name, tree)?;
            if *as_json {
                output::json_pretty(&json!({ "name": name, "tree": tree.to_string() }))?;
            }
        }
        Roots::Remove {
            name,
            json: as_json,
        } => {
            if !context.store(Access::Read)?.remove_root(name)? {
                return Err(Failure::usage(format!("the store has no gc root {name}"))
                    .hint("`mstore store root list` shows what there is"));
            }
            if *as_json {
                output::json_pretty(&json!({ "name": name }))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One entry, in the form that scripts rely on.
fn describe(name: &[u8], found: &Found) -> Value {
    let Meta {
        mode,
        uid,
        gid,
        mtime,
        ..
    } = &found.meta;
    let mut value = json!({
        "kind": found.kind.word(),
        "mode": format!("{mode:04o}"),
        "uid": uid,
        "gid": gid,
        "mtime": mtime.secs,
        "mtime_nanos": mtime.nanos,
    });
    bytes::put(&mut value, "name", name);
    match &found.kind {
        Kind::File { blob, size } => {
            value["size"] = (*size).into();
            value["hash"] = blob.to_string().into();
        }
        Kind::Dir { manifest } => value["hash"] = manifest.to_string().into(),
        Kind::Symlink { target } => bytes::put(&mut value, "target", target),
        Kind::Char { major, minor } | Kind::Block { major, minor } => {
            value["major"] = (*major).into();
            value["minor"] = (*minor).into();
        }
        _ => {}
    }
    value
}

fn letter(kind: &Kind) -> char {
    match kind {
        Kind::File { .. } => '-',
        Kind::Dir { .. } => 'd',
        Kind::Symlink { .. } => 'l',
        Kind::Char { .. } => 'c',
        Kind::Block { .. } => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
    }
}

/// `rwxr-sr-x`
fn permissions(mode: impl Into<u32>) -> String {
    let mode = mode.into();
    let mut out = String::new();
    for (shift, special, set) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => set,
            (true, false) => set.to_ascii_uppercase(),
        });
    }
    out
}

fn size_text(found: &Found) -> String {
    match &found.kind {
        Kind::File { size, .. } => size.to_string(),
        Kind::Char { major, minor } | Kind::Block { major, minor } => format!("{major},{minor}"),
        _ => "-".to_owned(),
    }
}

fn path_or_root(path: &[u8]) -> String {
    match path.is_empty() {
        true => "/".to_owned(),
        false => shown(path),
    }
}
