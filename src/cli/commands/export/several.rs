//! Several targets into a folder, each by its name. What is there and right is kept, so that a run that ended early is
//! gone on with by the same command.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use mstore_store::{Beside, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::format::{Format, whole};
use super::release::Release;
use super::write::{Job, Made, told};
use super::{Args, has_pattern};
use crate::cli::context::Context;
use crate::cli::whole_file::WholeFile;
use crate::cli::{Failure, output};
use crate::project::find::NamedTree;
use crate::project::{Access, FindError, ProjectError};

/// The largest record that is read, in bytes.
const MOST: u64 = 1 << 16;

/// What is known of a file that was exported, in a hidden file beside it.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
struct Record {
    tree: String,
    /// The form and everything else that decides the bytes.
    form: String,
    /// Of the file, once it is complete.
    #[serde(flatten)]
    content: Content,
    /// What was there when it was begun, which the file may be still after a run that was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Content>,
    /// The names of what was published beside it, for this content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beside: Vec<String>,
}

/// Length and hash of a file; nothing of one that is not complete, or is a folder.
#[derive(Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
struct Content {
    bytes: u64,
    blake3: String,
}

/// What is done about a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    /// It is not there.
    Write,
    /// It is another export of this target.
    Replace,
    /// It is there and right.
    Keep,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Write => "write",
            Action::Replace => "replace",
            Action::Keep => "keep",
        }
    }
}

/// A file, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    target: &'a str,
    tree: String,
    path: String,
    form: &'static str,
    action: &'static str,
    bytes: Option<u64>,
    digest: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    beside: Vec<String>,
}

/// What is to be exported, and where to.
struct Export {
    found: NamedTree,
    file: PathBuf,
}

/// Runs the command.
pub fn run(context: &Context, folder: &Path, args: &Args) -> Result<ExitCode, Failure> {
    let format = args.format.unwrap_or(Format::TarXz);
    if format.needs_copy() {
        context.enter()?;
    }
    let release = Release::of(context, args)?;
    if release.is_wanted() && format == Format::Oci {
        return Err(super::no_release());
    }
    let store = context.store(Access::ReadIfPresent)?;
    let (exports, unbuilt) = find(context, &store, folder, format, args)?;
    let form = args.form(format);
    let mut plan = Vec::new();
    for export in &exports {
        plan.push(action(export, &form, format, args)?);
    }
    for target in &unbuilt {
        tell!("{target}: not built, or not up to date; left out");
    }
    if !args.dry_run {
        fs::create_dir_all(folder).map_err(|e| Failure::from(StoreError::io("make", folder, e)))?;
        Beside::remove_leftovers(folder);
    }
    for (export, action) in exports.iter().zip(plan) {
        let file = &export.file;
        let mut made = Made::default();
        if args.dry_run {
            if !args.json {
                output::line(format!("{} {}", action.word(), file.display()))?;
            }
        } else {
            made = one(
                context, &store, export, action, &form, format, &release, args,
            )
            .map_err(|failure| resumable(failure, context))?;
        }
        if args.json {
            output::json(&Line {
                target: &export.found.name,
                tree: export.found.tree.to_string(),
                path: file.display().to_string(),
                form: format.suffix(),
                action: action.word(),
                bytes: made.bytes,
                digest: made.digest,
                beside: names(&release.names(file)),
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Paths as text.
pub fn names(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|p| p.display().to_string()).collect()
}

/// An interrupted run keeps what it finished.
fn resumable(failure: Failure, context: &Context) -> Failure {
    match context.cancel() {
        Ok(cancel) if cancel.is_cancelled() => Failure::interrupted()
            .hint("files that were finished are kept; the same command goes on with the others"),
        _ => failure,
    }
}

/// Finds the trees of all words. Of a pattern those that are built; the others are told.
fn find(
    context: &Context,
    store: &Store,
    folder: &Path,
    format: Format,
    args: &Args,
) -> Result<(Vec<Export>, Vec<String>), Failure> {
    let mut exports: BTreeMap<PathBuf, NamedTree> = BTreeMap::new();
    let mut unbuilt = Vec::new();
    let mut add = |found: NamedTree| {
        let file = folder.join(format!("{}.{}", found.name, format.suffix()));
        match exports.get(&file) {
            Some(other) if other.tree != found.tree => Err(Failure::usage(format!(
                "{}: two of what is exported have this name",
                file.display()
            ))
            .hint("export them into folders of their own")),
            _ => {
                exports.insert(file, found);
                Ok(())
            }
        }
    };
    for word in args.words()? {
        if !has_pattern(word) {
            add(context.tree(store, word)?)?;
            continue;
        }
        let project = context.project(Access::ReadIfPresent)?;
        for target in project.targets(&[word.to_owned()])? {
            match project.built_tree(&target.to_string()) {
                Ok(found) => add(found)?,
                Err(ProjectError::Find(error)) if matches!(*error, FindError::NotBuilt { .. }) => {
                    unbuilt.push(target.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    if exports.is_empty() {
        return Err(
            Failure::usage("none of the targets is built, or up to date")
                .hint("build them first: mstore realise TARGET"),
        );
    }
    let exports = exports
        .into_iter()
        .map(|(file, found)| Export { found, file });
    Ok((exports.collect(), unbuilt))
}

/// What is done about a file. What nobody recorded is somebody's own.
fn action(export: &Export, form: &str, format: Format, args: &Args) -> Result<Action, Failure> {
    let file = &export.file;
    if fs::symlink_metadata(file).is_err() {
        return Ok(Action::Write);
    }
    let foreign = || {
        Failure::usage(format!(
            "{} is there, and is not known as an export",
            file.display()
        ))
        .hint("--replace writes over it")
    };
    let Some(record) = recorded(file) else {
        return match args.replace && format != Format::Oci {
            true => Ok(Action::Replace),
            false => Err(foreign()),
        };
    };
    let is_ours = record.tree == export.found.tree.to_string() && record.form == form;
    if format == Format::Oci {
        // Blobs of an image have their hashes as names; tools compare them.
        return match is_ours {
            true => Ok(Action::Keep),
            false => Err(
                Failure::usage(format!("{}: another image is there", file.display()))
                    .hint("remove the folder, or export into another"),
            ),
        };
    }
    let content = content(file).map_err(|e| Failure::from(StoreError::io("read", file, e)))?;
    let whole = content == record.content;
    let known = whole || record.before == Some(content);
    match (is_ours && whole, known || args.replace) {
        (true, _) => Ok(Action::Keep),
        (false, true) => Ok(Action::Replace),
        // Somebody changed it since.
        (false, false) => Err(foreign()),
    }
}

/// Exports one. Returns what was made of it, or what is known of what is kept.
#[allow(clippy::too_many_arguments)] // one call
fn one(
    context: &Context,
    store: &Store,
    export: &Export,
    action: Action,
    form: &str,
    format: Format,
    release: &Release,
    args: &Args,
) -> Result<Made, Failure> {
    let (found, file) = (&export.found, &*export.file);
    let made = if action == Action::Keep {
        let bytes = recorded(file).map(|record| record.content.bytes);
        if !args.json {
            tell!("{}: kept", file.display());
        }
        Made {
            bytes,
            ..Made::default()
        }
    } else {
        let tree = whole(store, found.tree, format, args.lossy)?;
        // However this run ends, the next one knows what it finds: what is there now, or what is put in its place.
        let begun = Record {
            tree: found.tree.to_string(),
            form: form.to_owned(),
            content: Content::default(),
            before: match action {
                Action::Replace => content(file).ok(),
                _ => None,
            },
            beside: Vec::new(),
        };
        begun.write(file)?;
        let complete = |path: &Path| {
            let content = content(path);
            let content = content.map_err(|e| Failure::from(StoreError::io("read", file, e)))?;
            let record = Record {
                content,
                ..begun.clone()
            };
            record.write(file)
        };
        let job = Job {
            context,
            store,
            found,
            tree,
            file,
            format,
            args,
            written: Arc::default(),
            complete: &complete,
        };
        let made = job.write()?;
        if format == Format::Oci {
            let content = Content {
                bytes: made.bytes.unwrap_or_default(),
                blake3: String::new(),
            };
            let record = Record {
                content,
                ..begun.clone()
            };
            record.write(file)?;
        }
        if !args.json {
            tell!("{}", told(file, &made, action == Action::Replace));
        }
        made
    };
    publish(store, export, release)?;
    Ok(made)
}

/// Makes what is published beside a file, unless it is there and of this file.
fn publish(store: &Store, export: &Export, release: &Release) -> Result<(), Failure> {
    let file = &*export.file;
    let Some(mut record) = recorded(file) else {
        return Ok(());
    };
    let wanted = release.names(file);
    let name = |path: &PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned());
    let known = |path: &PathBuf| name(path).is_some_and(|name| record.beside.contains(&name));
    if !wanted.iter().all(|path| known(path) && path.is_file()) {
        release.make(store, export.found.tree, file)?;
        record.beside.extend(wanted.iter().filter_map(name));
        record.beside.sort();
        record.beside.dedup();
        record.write(file)?;
    }
    release.tell_of_others(file, &record.beside);
    Ok(())
}

impl Record {
    /// Writes it beside its file.
    fn write(&self, file: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string(self).unwrap_or_default();
        let place = record_of(file);
        let written = WholeFile::begin(place.clone()).and_then(|whole| {
            let mut out = whole.file();
            out.write_all(text.as_bytes())?;
            whole.finish()
        });
        written.map_err(|e| Failure::from(StoreError::io("write", &place, e).writing_to(&place)))
    }
}

fn record_of(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.mstore-export"))
}

/// What is known of a file, if anything is that can be read.
fn recorded(file: &Path) -> Option<Record> {
    let mut text = String::new();
    let record = File::open(record_of(file)).ok()?;
    record.take(MOST).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Length and hash of a file.
fn content(file: &Path) -> std::io::Result<Content> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(file)?)?;
    Ok(Content {
        bytes: hasher.count(),
        blake3: hasher.finalize().to_hex().to_string(),
    })
}
