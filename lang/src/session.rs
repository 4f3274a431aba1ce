//! Sessions: many specifications loaded from the same files.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use rayon::prelude::*;

use crate::class::Class;
use crate::diagnostics::Diagnostic;
use crate::files::{Files, Unreadable};
use crate::limits::Limits;
use crate::load::{Definition, Loader};
use crate::spec::{LoadErrors, Spec};
use crate::syntax::File;

/// Reads and parses each file once, however many specifications use it.
///
/// Files are taken not to change while the session lives.
pub struct Session<'a> {
    files: &'a dyn Files,
    limits: Limits,
    parsed: Mutex<HashMap<OsString, Arc<File>>>,
    values: Mutex<HashMap<OsString, Result<String, Unreadable>>>,
    /// The most definitions that a specification had so far.
    definitions: AtomicUsize,
}

impl<'a> Session<'a> {
    /// Starts without any file read.
    pub fn new(files: &'a dyn Files) -> Self {
        Session::with_limits(files, Limits::default())
    }

    /// Starts with limits other than the usual ones.
    pub fn with_limits(files: &'a dyn Files, limits: Limits) -> Self {
        Session {
            files,
            limits: limits.countable(),
            parsed: Mutex::default(),
            values: Mutex::default(),
            definitions: AtomicUsize::new(0),
        }
    }

    /// Loads a specification.
    pub fn load(&self, entry: &Path, definitions: &[Definition]) -> Result<Spec, LoadErrors> {
        let entry = self.entry(entry)?;
        let spec = Spec::load_with(self, entry, definitions, &self.limits)?;
        let definitions = spec.table().slots();
        self.definitions.fetch_max(definitions, Ordering::Relaxed);
        Ok(spec)
    }

    /// Loads one entry for many sets of definitions, in parallel; the results come in the order of the sets.
    pub fn load_matrix<D>(&self, entry: &Path, sets: &[D]) -> Vec<Result<Spec, LoadErrors>>
    where
        D: AsRef<[Definition]> + Sync,
    {
        self.map_matrix(entry, sets, |_, loaded| loaded)
    }

    /// Like [`load_matrix`](Session::load_matrix), but hands each specification on at once.
    pub fn map_matrix<D, R>(
        &self,
        entry: &Path,
        sets: &[D],
        each: impl Fn(usize, Result<Spec, LoadErrors>) -> R + Sync,
    ) -> Vec<R>
    where
        D: AsRef<[Definition]> + Sync,
        R: Send,
    {
        let one = |(index, set): (usize, &D)| each(index, self.load(entry, set.as_ref()));
        sets.par_iter().enumerate().map(one).collect()
    }

    fn entry(&self, entry: &Path) -> Result<PathBuf, LoadErrors> {
        match self.files.absolute(entry) {
            Ok(path) => Ok(crate::files::resolve(Path::new("/"), &path)),
            Err(error) => {
                let message = format!(
                    "cannot read the main file {}: {}",
                    entry.display(),
                    Unreadable::from(&error)
                );
                let error = Diagnostic::new(Class::CannotOpen, message).at_path(entry);
                Err(LoadErrors::new(vec![error], 0))
            }
        }
    }
}

/// Loading one specification is a session of its own.
impl Spec {
    /// Loads the file `entry` and all that it collects, with definitions from the command line.
    ///
    /// A relative `entry` is taken from the process's directory.
    pub fn load(
        files: &dyn Files,
        entry: &Path,
        definitions: &[Definition],
    ) -> Result<Spec, LoadErrors> {
        Spec::load_limited(files, entry, definitions, &Limits::default())
    }

    /// Loads with limits other than the usual ones.
    pub fn load_limited(
        files: &dyn Files,
        entry: &Path,
        definitions: &[Definition],
        limits: &Limits,
    ) -> Result<Spec, LoadErrors> {
        Session::with_limits(files, *limits).load(entry, definitions)
    }
}

impl Loader for Session<'_> {
    fn parsed(&self, path: &Path, limit: u64, max_errors: usize) -> io::Result<Arc<File>> {
        if let Some(file) = self
            .parsed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path.as_os_str())
        {
            return Ok(Arc::clone(file));
        }
        // Not under the lock: two threads may read a file at the same time, but none waits for the other.
        let bytes = self.files.read_limited(path, limit)?;
        let mut file = File::parse_bytes(path.to_owned(), bytes, max_errors);
        file.set_origin(self.files.origin(path));
        let file = Arc::new(file);
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(
            parsed.entry(path.as_os_str().to_owned()).or_insert(file),
        ))
    }

    fn expected(&self) -> usize {
        self.definitions.load(Ordering::Relaxed)
    }

    fn value(&self, path: &Path, limit: u64) -> Result<String, Unreadable> {
        if let Some(value) = self
            .values
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path.as_os_str())
        {
            return value.clone();
        }
        let value = match self.files.read_limited(path, limit) {
            Err(error) => Err(Unreadable::from(&error)),
            Ok(bytes) => match String::from_utf8(bytes) {
                Err(_) => Err(Unreadable::other("it is not UTF-8")),
                Ok(text) => Ok(join_lines(&text)),
            },
        };
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.insert(path.as_os_str().to_owned(), value.clone());
        value
    }
}

/// The lines of a file joined by blanks (L39).
fn join_lines(text: &str) -> String {
    let text = text
        .strip_suffix('\n')
        .map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    text.replace("\r\n", " ").replace('\n', " ")
}
