//! The folder of logs, `logs/<arch>/`: what lies where in it, and the stop files that people put there.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::files::{self, Appended, FileError, failed};
use super::lines;
use super::name::PkgPath;

/// Bytes of a small file that are read.
const SMALL: u64 = 64 << 20;
/// Bytes of the file of an affinity.
const TINY: u64 = 4096;

/// A log that lines are added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Log {
    /// A line a change of state.
    Engine,
    /// A line a build.
    Build,
    /// Paths whose folder did not clean at the first try.
    Clean,
    /// Sizes of work folders.
    Size,
    /// How many paths are in each state.
    Stats,
    /// What was walked for dependencies.
    Vars,
    /// Decisions to build again or not.
    Rebuild,
    /// Differences that keep hosts out.
    Signature,
    /// How many jobs run.
    Concurrent,
}

impl Log {
    /// Its file.
    pub fn file(self) -> &'static str {
        match self {
            Log::Engine => "engine.log",
            Log::Build => "build.log",
            Log::Clean => "clean.log",
            Log::Size => "size.log",
            Log::Stats => "stats.log",
            Log::Vars => "vars.log",
            Log::Rebuild => "rebuild.log",
            Log::Signature => "signature.log",
            Log::Concurrent => "concurrent.log",
        }
    }
}

/// The folder.
#[derive(Debug)]
pub struct LogFolder {
    root: PathBuf,
    open: HashMap<Log, Appended>,
}

impl LogFolder {
    /// Opens the folder, or makes it.
    pub fn open(root: &Path) -> Result<LogFolder, FileError> {
        for folder in ["", "locks", "packages", "paths", "affinity"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(failed("make the folder", &folder))?;
        }
        Ok(LogFolder {
            root: root.to_owned(),
            open: HashMap::new(),
        })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the locks are.
    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Adds a line to a log.
    pub fn line(&mut self, log: Log, line: &str) -> Result<(), FileError> {
        if !self.open.contains_key(&log) {
            let file = Appended::open(&self.root.join(log.file()))?;
            self.open.insert(log, file);
        }
        match self.open.get_mut(&log) {
            Some(file) => file.line(&line.replace(['\n', '\r'], " ")),
            None => Ok(()),
        }
    }

    /// The log of a path, made anew for an attempt.
    pub fn attempt(&self, path: &PkgPath) -> Result<Appended, FileError> {
        let file = self.path_log(path);
        if let Some(folder) = file.parent() {
            self.make_folders(folder)?;
        }
        Appended::anew(&file)
    }

    /// Where the log of a path is.
    pub fn path_log(&self, path: &PkgPath) -> PathBuf {
        self.root.join("paths").join(format!("{path}.log"))
    }

    /// Makes folders below ours; a link in the place of one is not followed.
    fn make_folders(&self, folder: &Path) -> Result<(), FileError> {
        let below = folder.strip_prefix(&self.root).unwrap_or(folder);
        let mut at = self.root.clone();
        for part in below.iter() {
            at.push(part);
            match fs::create_dir(&at) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(failed("make the folder", &at))?,
            }
            let meta = fs::symlink_metadata(&at).map_err(failed("look at", &at))?;
            if !meta.is_dir() {
                let source = io::Error::other("it is not a folder");
                return Err(failed("use", &at)(source));
            }
        }
        Ok(())
    }

    /// Makes the log of a package a link to that of the path that it comes from.
    pub fn link_package(&self, package: &str, path: &PkgPath) -> Result<(), FileError> {
        if package.is_empty() || package.starts_with('.') || package.contains(['/', '\0', '\n']) {
            return Ok(());
        }
        let link = self.root.join("packages").join(format!("{package}.log"));
        let to = Path::new("../paths").join(format!("{path}.log"));
        if fs::read_link(&link).is_ok_and(|before| before == to) {
            return Ok(());
        }
        match fs::remove_file(&link) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &link)(e));
            }
            _ => {}
        }
        match std::os::unix::fs::symlink(&to, &link) {
            // Another scheduler did.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(failed("make the link", &link)),
        }
    }

    /// Writes the whole signature of a host.
    pub fn signature(&self, host: &str, text: &str) -> Result<(), FileError> {
        let plain: String = host
            .chars()
            .filter(|c| *c != '/' && !c.is_control())
            .collect();
        files::replace(&self.root.join(format!("{plain}.sig.log")), text)
    }

    /// Writes how often each path is needed.
    pub fn write_dependencies<'p>(
        &self,
        counts: impl IntoIterator<Item = (&'p str, usize)>,
    ) -> Result<(), FileError> {
        files::replace(
            &self.root.join("dependencies.log"),
            &lines::dependencies(counts),
        )
    }

    /// The paths that were needed most often the last time, the most needed first. A log that cannot be read is an
    /// error; that there is none is not.
    pub fn dependencies(&self) -> Result<Vec<String>, FileError> {
        let path = self.root.join("dependencies.log");
        match files::tail(&path, SMALL) {
            Ok((text, _)) => {
                let all = lines::read_dependencies(&text).into_iter();
                Ok(all.map(str::to_owned).collect())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(failed("read", &path)(e)),
        }
    }

    /// The host that holds the inputs of a path.
    pub fn affinity(&self, path: &PkgPath) -> Option<String> {
        let bytes = files::read(&self.affinity_file(path), TINY).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let host = text.lines().next()?.trim();
        (!host.is_empty()).then(|| host.to_owned())
    }

    /// Notes the host that holds the inputs of a path, or that none does.
    pub fn set_affinity(&self, path: &PkgPath, host: Option<&str>) -> Result<(), FileError> {
        let file = self.affinity_file(path);
        match host {
            Some(host) => files::replace(&file, &format!("{}\n", host.replace('\n', " "))),
            None => match fs::remove_file(&file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", &file)(e)),
                _ => Ok(()),
            },
        }
    }

    fn affinity_file(&self, path: &PkgPath) -> PathBuf {
        self.root.join("affinity").join(path.lock())
    }

    /// Whether a person wants nothing more to start.
    pub fn stop(&self) -> bool {
        stands(&self.root.join("stop"))
    }

    /// Whether a person wants nothing more to start on a host: `HOST-stop` or `stop-HOST`, with or without the user
    /// in `user@host`.
    pub fn stops_host(&self, host: &str) -> bool {
        let short = host.rsplit_once('@').map_or(host, |(_, host)| host);
        [host, short]
            .iter()
            .filter(|name| !name.contains('/'))
            .flat_map(|name| [format!("{name}-stop"), format!("stop-{name}")])
            .any(|file| stands(&self.root.join(file)))
    }
}

fn stands(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// KiB of the work folder of each path, as size.log says: the last line of each counts. Malformed lines are passed over.
pub fn sizes(path: &Path) -> io::Result<HashMap<String, u64>> {
    let (text, _) = files::tail(path, SMALL)?;
    let all = text.lines().filter_map(lines::read_size);
    Ok(all.map(|(path, size)| (path.to_owned(), size)).collect())
}

/// Now.
pub fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PkgPath {
        name.parse().unwrap()
    }

    #[test]
    fn logs_lie_where_the_page_says() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("logs/amd64");
        let mut folder = LogFolder::open(&root).unwrap();
        let all = [
            Log::Engine,
            Log::Build,
            Log::Clean,
            Log::Size,
            Log::Stats,
            Log::Vars,
            Log::Rebuild,
            Log::Signature,
            Log::Concurrent,
        ];
        for log in all {
            folder.line(log, "a\nb").unwrap();
            // At once, for `tail -f`.
            assert_eq!(fs::read_to_string(root.join(log.file())).unwrap(), "a b\n");
        }
        folder.signature("me@yak", "libc 6\n").unwrap();
        assert_eq!(
            fs::read_to_string(root.join("me@yak.sig.log")).unwrap(),
            "libc 6\n"
        );
        for attempt in ["first", "second"] {
            let mut log = folder.attempt(&path("devel/make,static")).unwrap();
            log.line(attempt).unwrap();
        }
        folder
            .link_package("make-4.4", &path("devel/make,static"))
            .unwrap();
        folder
            .link_package("make-4.4", &path("devel/make,static"))
            .unwrap();
        let linked = fs::read_to_string(root.join("packages/make-4.4.log")).unwrap();
        assert_eq!(linked, "second\n");
        folder.link_package("../x", &path("devel/make")).unwrap();
        assert!(!root.join("x.log").exists());
        folder.write_dependencies([("a/b", 1), ("c/d", 2)]).unwrap();
        assert_eq!(folder.dependencies().unwrap(), ["c/d", "a/b"]);
        folder.set_affinity(&path("a/b"), Some("yak")).unwrap();
        assert_eq!(folder.affinity(&path("a/b")).as_deref(), Some("yak"));
        folder.set_affinity(&path("a/b"), None).unwrap();
        assert_eq!(folder.affinity(&path("a/b")), None);
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = LogFolder::open(&dir.path().join("logs")).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.root().join("paths/devel")).unwrap();
        assert!(folder.attempt(&path("devel/make")).is_err());
        assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn stop_files_in_both_forms() {
        let dir = tempfile::tempdir().unwrap();
        let folder = LogFolder::open(dir.path()).unwrap();
        assert!(!folder.stop() && !folder.stops_host("me@yak"));
        for name in ["yak-stop", "stop-yak", "me@yak-stop", "stop-me@yak"] {
            fs::write(dir.path().join(name), "").unwrap();
            assert!(
                folder.stops_host("me@yak") && !folder.stops_host("me@ox"),
                "{name}"
            );
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("stop"), "").unwrap();
        assert!(folder.stop() && !folder.stops_host("yak"));
    }

    #[test]
    fn the_last_size_counts_and_malformed_lines_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("size.log");
        fs::write(&file, "a/b 5\na/b 7 3\nnonsense\n\u{1}\na/c x\n").unwrap();
        assert_eq!(
            sizes(&file).unwrap(),
            HashMap::from([("a/b".to_owned(), 7)])
        );
        assert!(sizes(dir.path()).is_err());
    }
}
