//! The packages of targets into a folder from which Portage installs them. What is there and right is kept, so that a run
//! that ended early is gone on with by the same command.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use mstore_store::{Cancel, Store, StoreError};
use serde::{Deserialize, Serialize};

use super::meter::Meter;
use super::{Args, has_pattern};
use crate::cli::context::Context;
use crate::cli::whole_file::WholeFile;
use crate::cli::{Failure, output};
use crate::packages::binary::gpkg::{self, FORM, Written};
use crate::packages::binary::index::{FILE, entry, index};
use crate::packages::binary::{BinaryError, Built, Record};
use crate::project::{Access, FindError, Project, ProjectError};

/// What was written into a folder, a line a file, in the order in which it was; beside the files.
const NOTES: &str = ".mstore-binhost";
/// The largest index and the largest notes that are read, in bytes.
const MOST: u64 = 64 << 20;

/// What is known of a file, written down before it takes its place.
#[derive(Clone, Serialize, Deserialize)]
struct Note {
    path: String,
    tree: String,
    form: String,
    bytes: u64,
    sha1: String,
}

/// What is done about a file.
enum Action {
    Write,
    Replace,
    /// It is there and right.
    Keep(Written),
}

impl Action {
    fn word(&self) -> &'static str {
        match self {
            Action::Write => "write",
            Action::Replace => "replace",
            Action::Keep(_) => "keep",
        }
    }
}

/// A package, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    package: String,
    tree: String,
    path: String,
    action: &'static str,
    bytes: Option<u64>,
    targets: &'a [String],
}

/// The list, as JSON.
#[derive(Serialize)]
struct Listed {
    index: String,
    packages: usize,
    written: usize,
    kept: usize,
}

/// Runs the command.
pub fn run(context: &Context, folder: &Path, args: &Args) -> Result<ExitCode, Failure> {
    let project = context.project(Access::Read)?;
    let packages = find(&project, args)?;
    let notes = Notes::read(folder)?;
    let mut plan = Vec::new();
    for package in packages.keys() {
        plan.push(action(folder, package, &notes, args)?);
    }
    let mut folder = Folder {
        context,
        store: &project.store,
        folder,
        notes,
        written: 0,
        kept: 0,
    };
    let mut entries = BTreeMap::new();
    for ((package, targets), action) in packages.iter().zip(&plan) {
        let file = folder.folder.join(package.path());
        let mut bytes = None;
        if !args.dry_run {
            let (record, written) = folder.one(package, action, args.json)?;
            bytes = Some(written.size);
            entries.insert(package.clone(), entry(package, &record, &written));
        } else if !args.json {
            output::line(format!("{} {}", action.word(), file.display()))?;
        }
        if args.json {
            output::json(&Line {
                package: package.id(),
                tree: package.tree.to_string(),
                path: file.display().to_string(),
                action: action.word(),
                bytes,
                targets,
            })?;
        }
    }
    if !args.dry_run {
        folder.list(&entries, args.json)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The packages of all targets, with the names of these. One name can be one package only.
fn find(project: &Project, args: &Args) -> Result<BTreeMap<Built, Vec<String>>, Failure> {
    let mut found: BTreeMap<Built, Vec<String>> = BTreeMap::new();
    let mut places: BTreeMap<String, Built> = BTreeMap::new();
    for word in args.words()? {
        let names = match has_pattern(word) {
            false => vec![word.to_owned()],
            true => {
                let targets = project.targets(&[word.to_owned()])?;
                targets.iter().map(ToString::to_string).collect()
            }
        };
        for name in names {
            let packages = match project.stage_packages(&name) {
                Err(ProjectError::Find(error))
                    if has_pattern(word) && matches!(*error, FindError::NotBuilt { .. }) =>
                {
                    tell!("{name}: not built, or not up to date; left out");
                    continue;
                }
                other => other?,
            };
            if packages.is_empty() && !has_pattern(word) {
                return Err(Failure::usage(format!(
                    "{name} is not made of packages that are steps"
                ))
                .hint("they are with options/packages: yes (doc/packages.md)"));
            }
            for package in packages {
                let other = places
                    .entry(package.path())
                    .or_insert_with(|| package.clone());
                if *other != package {
                    return Err(Failure::usage(format!(
                        "two of the targets have {}, and not the same one",
                        package.id()
                    ))
                    .hint("export them into folders of their own"));
                }
                found.entry(package).or_default().push(name.clone());
            }
        }
    }
    match found.is_empty() {
        true => Err(
            Failure::usage("none of the targets has packages that are built")
                .hint("build them first: mstore realise TARGET"),
        ),
        false => Ok(found),
    }
}

/// What is done about the file of a package. What nobody noted is somebody's own.
fn action(folder: &Path, package: &Built, notes: &Notes, args: &Args) -> Result<Action, Failure> {
    let path = package.path();
    let file = folder.join(&path);
    if fs::symlink_metadata(&file).is_err() {
        return Ok(Action::Write);
    }
    let content = File::open(&file).and_then(|mut file| gpkg::digest(&mut file));
    let content = content.map_err(|e| Failure::from(StoreError::io("read", &file, e)))?;
    let of_file = notes.of(&path);
    let known: Vec<&Note> = of_file
        .filter(|note| note.bytes == content.size && note.sha1 == content.sha1)
        .collect();
    let tree = package.tree.to_string();
    let is_right = |note: &&Note| note.tree == tree && note.form == FORM;
    if known.iter().any(is_right) {
        return Ok(Action::Keep(content));
    }
    match !known.is_empty() || args.replace {
        true => Ok(Action::Replace),
        false => Err(Failure::usage(format!(
            "{} is there, and is not known as an export",
            file.display()
        ))
        .hint("--replace writes over it")),
    }
}

/// A folder that is written to.
struct Folder<'a> {
    context: &'a Context,
    store: &'a Store,
    folder: &'a Path,
    notes: Notes,
    written: usize,
    kept: usize,
}

impl Folder<'_> {
    /// Writes one package, unless it is there.
    fn one(
        &mut self,
        package: &Built,
        action: &Action,
        is_quiet: bool,
    ) -> Result<(Record, Written), Failure> {
        let record = Record::read(self.store, package)?;
        if let Action::Keep(written) = action {
            self.kept += 1;
            return Ok((record, written.clone()));
        }
        let file = self.folder.join(package.path());
        let failed =
            |e: io::Error| Failure::from(StoreError::io("write", &file, e).writing_to(&file));
        fs::create_dir_all(file.parent().unwrap_or(self.folder)).map_err(failed)?;
        let whole = WholeFile::begin(file.clone()).map_err(failed)?;
        let cancel = self.context.cancel()?;
        let count = Arc::<AtomicU64>::default();
        let meter = Meter::start(format!("writing {}", file.display()), count.clone());
        let mut out = BufWriter::new(Watched {
            inner: whole.file(),
            cancel,
            count: &count,
        });
        let made = gpkg::write(self.store, package, &record, &mut out);
        // What could not be written is not tried again.
        drop(out.into_parts());
        drop(meter);
        if cancel.is_cancelled() {
            return Err(Failure::interrupted().hint(
                "packages that were finished are kept; the same command goes on with the others",
            ));
        }
        made.map_err(|error| match error {
            BinaryError::Write(e) => failed(e),
            other => other.into(),
        })?;
        let mut again = File::open(whole.path()).map_err(failed)?;
        let written = gpkg::digest(&mut again).map_err(failed)?;
        set_time(whole.file(), package.epoch).map_err(failed)?;
        // However this run ends, the next one knows the file.
        self.notes.add(
            self.folder,
            Note {
                path: package.path(),
                tree: package.tree.to_string(),
                form: FORM.to_owned(),
                bytes: written.size,
                sha1: written.sha1.clone(),
            },
        )?;
        whole.finish().map_err(failed)?;
        self.written += 1;
        if !is_quiet {
            tell!("{}: {}", file.display(), output::size(written.size));
        }
        Ok((record, written))
    }

    /// Writes the list, if it says something else than the one that is there.
    fn list(&self, entries: &BTreeMap<Built, String>, is_json: bool) -> Result<(), Failure> {
        let place = self.folder.join(FILE);
        let failed =
            |e: io::Error| Failure::from(StoreError::io("write", &place, e).writing_to(&place));
        let before = text_of(&place)?;
        let (text, time) = index(entries, before.as_deref());
        if before.as_deref() != Some(&text) {
            let whole = WholeFile::begin(place.clone()).map_err(failed)?;
            whole.file().write_all(text.as_bytes()).map_err(failed)?;
            set_time(whole.file(), time).map_err(failed)?;
            whole.finish().map_err(failed)?;
        }
        self.notes.close(self.folder)?;
        let (packages, written, kept) = (entries.len(), self.written, self.kept);
        if is_json {
            output::json(&Listed {
                index: place.display().to_string(),
                packages,
                written,
                kept,
            })?;
        } else {
            tell!(
                "{}: {packages} packages, {written} written, {kept} kept",
                place.display()
            );
        }
        Ok(())
    }
}

fn set_time(file: &File, seconds: u64) -> io::Result<()> {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    file.set_modified(time.unwrap_or(UNIX_EPOCH))
}

/// A file of this folder as text; nothing where it is not there.
fn text_of(place: &Path) -> Result<Option<String>, Failure> {
    let failed = |e: io::Error| Failure::from(StoreError::io("read", place, e));
    let file = match File::open(place) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// What is known of the files of a folder.
struct Notes(Vec<Note>);

impl Notes {
    fn read(folder: &Path) -> Result<Notes, Failure> {
        let text = text_of(&place_of(folder))?.unwrap_or_default();
        // The last line may have been cut off.
        let notes = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok(Notes(notes.collect()))
    }

    fn of(&self, path: &str) -> impl Iterator<Item = &Note> {
        self.0.iter().filter(move |note| note.path == path)
    }

    fn add(&mut self, folder: &Path, note: Note) -> Result<(), Failure> {
        let place = place_of(folder);
        let line = serde_json::to_string(&note).unwrap_or_default();
        let opened = File::options().append(true).create(true).open(&place);
        let added = opened.and_then(|mut file| file.write_all(format!("\n{line}\n").as_bytes()));
        added.map_err(|e| Failure::from(StoreError::io("write", &place, e).writing_to(&place)))?;
        self.0.push(note);
        Ok(())
    }

    /// Leaves a line a file: what was there before is not any more.
    fn close(&self, folder: &Path) -> Result<(), Failure> {
        let last: BTreeMap<&str, &Note> = self.0.iter().map(|n| (&*n.path, n)).collect();
        let lines = last
            .values()
            .filter_map(|note| serde_json::to_string(note).ok());
        let text: String = lines.map(|line| line + "\n").collect();
        let place = place_of(folder);
        let written = WholeFile::begin(place.clone()).and_then(|whole| {
            whole.file().write_all(text.as_bytes())?;
            whole.finish()
        });
        written.map_err(|e| Failure::from(StoreError::io("write", &place, e).writing_to(&place)))
    }
}

fn place_of(folder: &Path) -> PathBuf {
    folder.join(NOTES)
}

/// Where a package goes, with an eye on who wants it to stop.
struct Watched<'a> {
    inner: &'a File,
    cancel: &'a Cancel,
    count: &'a AtomicU64,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        let n = self.inner.write(bytes)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
