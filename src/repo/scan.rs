//! What is in a mirror: subarches, their builds, which are complete and full, and fail counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;

use super::config::{Managed, Settings};
use super::control::FailCount;
use super::date::Date;
use super::layout::{Mirror, STATUS, archive_stem, is_file, is_folder};
use super::name::Place;
use super::small;

/// The longest `status` that is read, in bytes.
const MAX_STATUS: u64 = 64;

/// A managed subarch that is there.
#[derive(Debug)]
pub struct Subarch {
    /// Where it is.
    pub place: Place,
    /// Whether it is in the rotation of this machine.
    pub own: bool,
    /// Its folder.
    pub path: PathBuf,
    /// Its builds, the oldest first.
    pub builds: Vec<Build>,
    /// How often its build failed since it last succeeded.
    pub fails: FailCount,
}

/// A build folder.
#[derive(Debug)]
pub struct Build {
    /// The folder's name.
    pub name: String,
    /// The day that it names.
    pub date: Date,
    /// What is in it, once it was looked at.
    state: OnceLock<State>,
}

/// What is in a build folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether it has a stage3, or says that it is done.
    pub complete: bool,
    /// Whether it is complete and has a stage1.
    pub full: bool,
}

impl Subarch {
    /// The folder of a build.
    pub fn folder(&self, build: &Build) -> PathBuf {
        self.path.join(&build.name)
    }

    /// What is in a build.
    pub fn state(&self, build: &Build) -> State {
        *build.state.get_or_init(|| state(&self.folder(build)))
    }

    /// Complete builds, the newest first. Each is looked at when its turn comes.
    pub fn complete(&self) -> impl Iterator<Item = &Build> {
        let builds = self.builds.iter().rev();
        builds.filter(|build| self.state(build).complete)
    }

    /// The newest complete build.
    pub fn newest(&self) -> Option<&Build> {
        self.complete().next()
    }

    /// The newest full build.
    pub fn newest_full(&self) -> Option<&Build> {
        self.complete().find(|build| self.state(build).full)
    }

    /// The day of the newest complete build.
    pub fn date(&self) -> Option<Date> {
        self.newest().map(|build| build.date)
    }
}

/// Looks at every managed subarch, in the order of the configuration. What is missing, or is not a folder, is
/// passed over.
pub fn scan(mirror: &Mirror, settings: &Settings) -> Vec<Subarch> {
    look(mirror, settings.managed())
}

/// Looks at the subarches of the rotation of this machine.
pub fn scan_own(mirror: &Mirror, settings: &Settings) -> Vec<Subarch> {
    look(mirror, settings.managed().filter(|managed| managed.own))
}

fn look(mirror: &Mirror, managed: impl Iterator<Item = Managed>) -> Vec<Subarch> {
    let managed: Vec<Managed> = managed.collect();
    let found = managed.into_par_iter().map(|managed| {
        let subarch = scan_one(mirror, managed)?;
        // Looked for here, where it is done for many at once.
        let _ = subarch.newest();
        Some(subarch)
    });
    found.collect::<Vec<_>>().into_iter().flatten().collect()
}

/// Looks at one subarch, if it is there.
pub fn scan_one(mirror: &Mirror, managed: Managed) -> Option<Subarch> {
    let path = mirror.path(&managed.place);
    let builds = builds(&path)?;
    Some(Subarch {
        fails: FailCount::read(&path),
        place: managed.place,
        own: managed.own,
        path,
        builds,
    })
}

/// The build folders of a subarch, the oldest first; nothing if the subarch is not a folder.
fn builds(subarch: &Path) -> Option<Vec<Build>> {
    let mut builds = Vec::new();
    for entry in fs::read_dir(subarch).ok()?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(date) = Date::of_folder(name)
            && is_folder(&entry)
        {
            builds.push(Build {
                name: name.to_owned(),
                date,
                state: OnceLock::new(),
            });
        }
    }
    builds.sort_by(|a, b| (a.date, &a.name).cmp(&(b.date, &b.name)));
    Some(builds)
}

/// Looks into a build folder.
fn state(folder: &Path) -> State {
    let (mut stage3, mut stage1) = (false, false);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let found = match (name.starts_with(b"stage3"), name.starts_with(b"stage1")) {
            (true, _) => &mut stage3,
            (_, true) => &mut stage1,
            _ => continue,
        };
        // A link that leads nowhere is no archive.
        if !*found && archive_stem(name).is_some() && is_file(&entry) {
            *found = true;
        }
        if stage3 && stage1 {
            break;
        }
    }
    let complete = stage3 || says_ok(folder);
    State {
        complete,
        full: complete && stage1,
    }
}

/// Whether the status of a build is `ok`.
fn says_ok(folder: &Path) -> bool {
    let status = small::read(&folder.join(STATUS), MAX_STATUS);
    matches!(status, Ok(Some(text)) if text.trim_ascii() == b"ok")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::name::Name;
    use std::os::unix::fs::symlink;

    fn settings() -> Settings {
        let names =
            |all: &[&str]| -> Vec<Name> { all.iter().map(|n| Name::new(*n).unwrap()).collect() };
        Settings {
            builds: names(&["b"]),
            arches: names(&["x"]),
            subarches: names(&["s"]),
            all_builds: names(&["b", "c"]),
            all_arches: names(&["x"]),
            all_subarches: names(&["s", "t"]),
            ..Settings::default()
        }
    }

    fn touch(path: impl AsRef<Path>, text: &str) {
        fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn builds_are_judged_by_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let s = dir.path().join("b/x/s");
        touch(s.join("2015-01-01/stage3-x.tar.xz"), "");
        touch(s.join("2015-01-01/stage1-x.tar.xz"), "");
        touch(s.join("2015-1-2/stage3.tar"), "");
        touch(s.join("2015-01-03/stage3-x.tar.xz.hash.txt"), "");
        touch(s.join("2015-01-04/status"), "ok\n");
        touch(s.join("2015-01-05/status"), "fail");
        touch(s.join("2015-01-05/stage1-x.tar.xz"), "");
        fs::create_dir_all(s.join("2015-01-06/stage3-x.tar.xz")).unwrap();
        fs::create_dir_all(s.join("2015-01-07")).unwrap();
        symlink("nowhere", s.join("2015-01-07/stage3-x.tar.xz")).unwrap();
        symlink("2015-01-01", s.join("2015-01-08")).unwrap();
        symlink("nowhere", s.join("2015-01-09")).unwrap();
        touch(s.join("2015-01-10"), "a file");
        touch(dir.path().join("c/x/t"), "a file");
        fs::create_dir_all(dir.path().join("c/x/s")).unwrap();

        let mirror = Mirror::open(dir.path()).unwrap();
        let found = scan(&mirror, &settings());
        let seen: Vec<_> = found.iter().map(|s| (s.place.relative(), s.own)).collect();
        assert_eq!(seen, [("b/x/s".into(), true), ("c/x/s".into(), false)]);
        let s = &found[0];
        let seen: Vec<_> = s
            .builds
            .iter()
            .map(|b| (b.name.as_str(), s.state(b).complete, s.state(b).full))
            .collect();
        assert_eq!(
            seen,
            [
                ("2015-01-01", true, true),
                ("2015-1-2", true, false),
                ("2015-01-03", false, false),
                ("2015-01-04", true, false),
                ("2015-01-05", false, false),
                ("2015-01-06", false, false),
                ("2015-01-07", false, false),
                ("2015-01-08", true, true),
            ]
        );
        assert_eq!(s.newest_full().unwrap().name, "2015-01-08");
        assert_eq!(found[1].date(), None);
        assert_eq!(scan_own(&mirror, &settings()).len(), 1);
    }
}
