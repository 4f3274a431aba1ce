//! `mstore fmt`

mod replace;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use mstore_lang::fmt::{Formatted, format_file, unified};
use mstore_lang::syntax::File;
use mstore_lang::{Diagnostic, DiskFiles, Files, Limits};
use replace::Original;

use crate::cli::context::Context;
use crate::cli::{Failure, failure, output};
use crate::plan::entry::ENTRY_NAME;

/// Put specification files into canonical layout
///
/// Comments, the text of blocks and every value stay as they are. A file with syntax errors is
/// left alone.
#[derive(clap::Args)]
pub struct Args {
    /// Change nothing: print the names of files that are not in canonical layout, and exit with
    /// status 1 if there are any
    #[arg(long)]
    check: bool,
    /// Change nothing: print what would change as a unified diff
    #[arg(long)]
    diff: bool,
    /// Print JSON: what became of each file
    #[arg(long)]
    json: bool,
    /// Files, folders (all *.conf and *.spec files in them, but no links and nothing hidden), or - for
    /// stdin to stdout [default: the folder of the entry file]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Formats the files.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let mut job = Job {
        args: &args,
        status: 0,
        found: false,
        files: Vec::new(),
    };
    let default = [default_folder(context)];
    let paths = match args.paths.as_slice() {
        [] => match &default {
            [Some(folder)] => std::slice::from_ref(folder),
            [None] => {
                return Err(Failure::usage(
                    "there is no metro.conf here that names the files to format",
                )
                .hint("name the files or folders: mstore fmt PATH..."));
            }
        },
        paths => paths,
    };
    for path in paths {
        if path.as_os_str() == "-" {
            job.stdin()?;
        } else if path.is_dir() {
            match conf_files(path) {
                Ok(files) => {
                    for file in files {
                        job.file(&file)?;
                    }
                }
                Err(failure) => job.failed(path, failure),
            }
        } else {
            job.file(path)?;
        }
    }
    if args.json {
        output::json(&serde_json::json!({ "files": job.files }))?;
    }
    let found = u8::from(job.found && args.check) * failure::FOUND;
    Ok(ExitCode::from(job.status.max(found)))
}

/// The folder that the entry file lies in.
fn default_folder(context: &Context) -> Option<PathBuf> {
    let here = Path::new(ENTRY_NAME);
    let entry = context.entry().or_else(|| here.is_file().then_some(here))?;
    if entry.is_dir() {
        return Some(entry.to_owned());
    }
    let folder = entry
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    Some(folder.map_or_else(|| PathBuf::from("."), Path::to_owned))
}

struct Job<'a> {
    args: &'a Args,
    /// The worst that has happened to any file.
    status: u8,
    /// Whether a file was not in canonical layout.
    found: bool,
    /// What became of each file, for `--json`.
    files: Vec<Told>,
}

/// What became of a file, as JSON.
#[derive(serde::Serialize)]
struct Told {
    file: String,
    /// `clean`, `formatted`, `unformatted` or `failed`.
    state: &'static str,
    /// What would change, with `--diff`.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    /// The text of standard input, formatted.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<serde_json::Value>,
}

impl Job<'_> {
    /// Notes what is wrong with one file or folder; the others are formatted all the same.
    fn failed(&mut self, path: &Path, failure: Failure) {
        self.tell(path, "failed").error = Some(failure.json());
        failure.report();
        self.status = self.status.max(failure::USAGE);
    }

    fn tell(&mut self, path: &Path, state: &'static str) -> &mut Told {
        let at = self.files.len();
        self.files.push(Told {
            file: shown(path),
            state,
            diff: None,
            text: None,
            error: None,
        });
        &mut self.files[at]
    }

    fn stdin(&mut self) -> Result<(), Failure> {
        let limit = Limits::default().file;
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Failure::machine(format!("cannot read stdin: {e}")))?;
        if bytes.len() as u64 > limit {
            return Err(Failure::usage(format!("stdin has more than {limit} bytes")));
        }
        let path = Path::new("<stdin>");
        let Some((source, formatted)) = self.format(path, bytes) else {
            return Ok(());
        };
        if self.args.check || self.args.diff {
            return self.show(path, &source, &formatted);
        }
        if self.args.json {
            self.tell(path, "formatted").text = Some(formatted.text);
            return Ok(());
        }
        output::bytes(formatted.text.as_bytes())
    }

    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let original = match Original::look(path) {
            Ok(original) => original,
            Err(e) => {
                let why = match e.kind() {
                    std::io::ErrorKind::NotFound => "no such file".to_owned(),
                    _ => e.to_string(),
                };
                let failure = Failure::usage(format!("cannot read {}: {why}", path.display()));
                self.failed(path, failure);
                return Ok(());
            }
        };
        let writes = !self.args.check && !self.args.diff;
        if writes && original.is_link() {
            self.failed(
                path,
                Failure::usage(format!("{} is a symbolic link", path.display()))
                    .hint("name the file that it points to"),
            );
            return Ok(());
        }
        let bytes = match DiskFiles.read_limited(path, Limits::default().file) {
            Ok(bytes) => bytes,
            Err(e) => {
                let failure = Failure::usage(format!("cannot read {}: {e}", path.display()));
                self.failed(path, failure);
                return Ok(());
            }
        };
        let Some((source, formatted)) = self.format(path, bytes) else {
            return Ok(());
        };
        if !writes {
            return self.show(path, &source, &formatted);
        }
        if formatted.is_clean() {
            self.tell(path, "clean");
            return Ok(());
        }
        if let Err(e) = original.replace(path, formatted.text.as_bytes()) {
            let failure = Failure::machine(format!("cannot write {}: {e}", path.display()));
            self.failed(path, failure);
            self.status = failure::MACHINE;
            return Ok(());
        }
        self.tell(path, "formatted");
        tell!("formatted {}", shown(path));
        Ok(())
    }

    /// Formats a text, or reports its errors.
    fn format(&mut self, path: &Path, bytes: Vec<u8>) -> Option<(String, Formatted)> {
        let file = Arc::new(File::parse_bytes(path.to_owned(), bytes, 100));
        if !file.errors.is_empty() {
            let errors = Diagnostic::of_syntax(&file);
            let render = move |colour| {
                let text = errors.iter().map(|diagnostic| diagnostic.render(colour));
                text.collect::<Vec<_>>().join("\n")
            };
            self.failed(
                path,
                Failure::diagnostics(render).hint(format!("{} is left as it is", path.display())),
            );
            return None;
        }
        Some((file.source().to_owned(), format_file(&file)))
    }

    /// Says what would change.
    fn show(&mut self, path: &Path, source: &str, formatted: &Formatted) -> Result<(), Failure> {
        if formatted.is_clean() {
            self.tell(path, "clean");
            return Ok(());
        }
        self.found = true;
        let told = self.tell(path, "unformatted");
        let name = told.file.clone();
        if self.args.json && !self.args.diff {
            return Ok(());
        }
        if self.args.diff {
            let name = name.trim_start_matches('/');
            let (old, new) = (format!("a/{name}"), format!("b/{name}"));
            let diff = unified(source, &formatted.changes, &old, &new);
            if self.args.json {
                if let Some(told) = self.files.last_mut() {
                    told.diff = Some(diff);
                }
                return Ok(());
            }
            return output::bytes(colour_diff(&diff).as_bytes());
        }
        output::line(name)
    }
}

/// A path without the `./` of the current folder.
fn shown(path: &Path) -> String {
    path.strip_prefix("./")
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Colours a diff if stdout wants colours.
fn colour_diff(diff: &str) -> String {
    let style = output::Style::stdout();
    let mut out = String::with_capacity(diff.len());
    for line in diff.split_inclusive('\n') {
        let (text, end) = match line.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (line, ""),
        };
        out.push_str(&match line.as_bytes()[0] {
            b'+' => style.good(text),
            b'-' => style.error(text),
            b'@' => style.note(text),
            _ => text.to_owned(),
        });
        out.push_str(end);
    }
    out
}

/// All `*.conf` and `*.spec` files under a folder, in order of their names. Links are not followed, and what
/// is hidden is left out.
fn conf_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let cannot = |e| Failure::usage(format!("cannot read {}: {e}", folder.display()));
        for entry in std::fs::read_dir(&folder).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let kind = entry.file_type().map_err(cannot)?;
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|e| e == "conf" || e == "spec")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
