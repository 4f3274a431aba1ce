//! `index.xml`: every subarch with the artifacts of its newest build, for people and programs that download.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::config::Settings;
use super::hash::sha256_of;
use super::layout::{BUILD_INFO, COMPRESSED, HASH, INDEX, Mirror};
use super::owner::Ownership;
use super::quote::shown;
use super::scan::{Build, Subarch, scan};
use super::small;
use super::whole::random;
use super::xml::{Xml, can_carry, is_attribute_name};

/// The largest `build-info.json` that is read, in bytes, and how many attributes one gives.
const MAX_INFO: u64 = 1 << 20;
const MAX_ATTRIBUTES: usize = 200;
/// The largest hash file that is read, in bytes.
const MAX_HASH: u64 = 4096;
/// Endings of what is no archive of files and is downloaded all the same; behind those of archives.
const IMAGES: [&str; 3] = [".tar", ".iso", ".box"];

/// An index, and what was left out of it.
#[derive(Debug)]
pub struct Index {
    /// The document.
    pub text: String,
    /// How many subarches are in it.
    pub subarches: usize,
    /// How many artifacts.
    pub artifacts: usize,
    /// What was left out, and why.
    pub left_out: Vec<(PathBuf, String)>,
}

/// A file that is downloaded.
struct Artifact {
    variant: String,
    name: String,
    bytes: u64,
    sha256: Option<String>,
}

/// A subarch as the index lists it.
struct Listed {
    latest: String,
    artifacts: Vec<Artifact>,
    info: BTreeMap<String, String>,
    /// Kept builds but the newest: the folder's name and whether it is full.
    older: Vec<(String, bool)>,
    left_out: Vec<(PathBuf, String)>,
}

/// Makes the index of a mirror.
pub fn index(mirror: &Mirror, settings: &Settings) -> Index {
    let mut subarches = scan(mirror, settings);
    subarches.retain(|s| {
        !settings.index_ignore_builds.contains(&s.place.build)
            && !settings.index_ignore_subarches.contains(&s.place.subarch)
    });
    let listed: Vec<Option<Listed>> = subarches.par_iter().map(|s| list(s, settings)).collect();
    let mut index = Index {
        text: String::new(),
        subarches: 0,
        artifacts: 0,
        left_out: Vec::new(),
    };
    let mut xml = Xml::new();
    xml.begin("subarches", &[]);
    for (subarch, listed) in subarches.iter().zip(listed) {
        let Some(mut listed) = listed else { continue };
        index.left_out.append(&mut listed.left_out);
        let names = [
            &subarch.place.build,
            &subarch.place.arch,
            &subarch.place.subarch,
        ];
        if !names.iter().all(|name| can_carry(name.as_str())) {
            let why = "its name cannot be written in XML".to_owned();
            index.left_out.push((subarch.path.clone(), why));
            continue;
        }
        index.subarches += 1;
        index.artifacts += listed.artifacts.len();
        write_subarch(&mut xml, subarch, &listed);
    }
    write_fails(&mut xml, &subarches);
    xml.end("subarches");
    index.text = xml.finish();
    index
}

/// Looks at the newest complete build of a subarch; nothing if there is none.
fn list(subarch: &Subarch, settings: &Settings) -> Option<Listed> {
    let mut complete = subarch.complete().take(settings.keep_num.max(1));
    let newest = complete.next()?;
    let older = complete
        .map(|build| (build.name.clone(), subarch.state(build).full))
        .collect();
    let folder = subarch.folder(newest);
    let mut left_out = Vec::new();
    Some(Listed {
        latest: newest.name.clone(),
        artifacts: artifacts(&folder, newest, &mut left_out),
        info: info(&folder, &mut left_out),
        older,
        left_out,
    })
}

/// The artifacts in a build folder, by variant. Of one archive in several compressions there is one.
fn artifacts(
    folder: &Path,
    _build: &Build,
    left_out: &mut Vec<(PathBuf, String)>,
) -> Vec<Artifact> {
    let mut best: BTreeMap<(String, Vec<u8>), (usize, Artifact)> = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some((stem, rank)) = stem(&name) else {
            continue;
        };
        if name.as_bytes().starts_with(b".")
            || stem.starts_with(b"stage1")
            || stem.starts_with(b"stage2")
        {
            continue;
        }
        // A link counts if it leads to a file.
        let Some(meta) = fs::metadata(entry.path()).ok().filter(|m| m.is_file()) else {
            continue;
        };
        let Some(text) = name.to_str().filter(|text| can_carry(text)) else {
            let why = "its name cannot be written in XML".to_owned();
            left_out.push((entry.path(), why));
            continue;
        };
        let variant = variant(text, stem.len());
        let key = (variant.to_owned(), stem.to_owned());
        if best.get(&key).is_some_and(|(other, _)| *other <= rank) {
            continue;
        }
        let artifact = Artifact {
            variant: variant.to_owned(),
            name: text.to_owned(),
            bytes: meta.len(),
            sha256: None,
        };
        best.insert(key, (rank, artifact));
    }
    let mut artifacts: Vec<Artifact> = best.into_values().map(|(_, artifact)| artifact).collect();
    for artifact in &mut artifacts {
        let hash = folder.join(format!("{}{HASH}", artifact.name));
        let text = small::read(&hash, MAX_HASH).ok().flatten();
        artifact.sha256 = text.and_then(|text| sha256_of(&text).map(str::to_owned));
    }
    artifacts
}

/// The name of an artifact without its ending, and how much the ending is preferred: 0 is best.
fn stem(name: &OsStr) -> Option<(&[u8], usize)> {
    let name = name.as_bytes();
    let all = COMPRESSED.iter().chain(&IMAGES).enumerate();
    let mut fits = all.filter_map(|(rank, end)| Some((name.strip_suffix(end.as_bytes())?, rank)));
    fits.next()
}

/// The variant of an artifact: `stage3`, `openvz`, or the name up to its first `-`.
fn variant(name: &str, stem: usize) -> &str {
    let name = &name[..stem];
    if name.starts_with("stage3") {
        "stage3"
    } else if name.contains("-openvz-") {
        "openvz"
    } else {
        name.split('-').next().unwrap_or(name)
    }
}

/// The texts of `build-info.json` that can be attributes.
fn info(folder: &Path, left_out: &mut Vec<(PathBuf, String)>) -> BTreeMap<String, String> {
    let path = folder.join(BUILD_INFO);
    let mut info = BTreeMap::new();
    let mut leave_out = |why: String| left_out.push((path.clone(), why));
    let bytes = match small::read(&path, MAX_INFO) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return info,
        Err(e) => {
            leave_out(e.to_string());
            return info;
        }
    };
    let object = match serde_json::from_slice(&bytes) {
        Ok(serde_json::Value::Object(object)) => object,
        Ok(_) => {
            leave_out("it is not an object".to_owned());
            return info;
        }
        Err(e) => {
            leave_out(e.to_string());
            return info;
        }
    };
    for (name, value) in object {
        let shown_name = shown(&name);
        match value {
            serde_json::Value::String(text) if can_carry(&text) => {
                if name == "name" || name == "builds" {
                    leave_out(format!("`{name}` is what the index says itself"));
                } else if !is_attribute_name(&name) {
                    leave_out(format!("`{shown_name}` cannot name an attribute"));
                } else if info.len() >= MAX_ATTRIBUTES {
                    leave_out(format!("it has more than {MAX_ATTRIBUTES} texts"));
                    return info;
                } else {
                    info.insert(name, text);
                }
            }
            serde_json::Value::String(_) => {
                leave_out(format!(
                    "`{shown_name}` has characters that XML cannot carry"
                ));
            }
            _ => leave_out(format!("`{shown_name}` is not a text")),
        }
    }
    info
}

fn write_subarch(xml: &mut Xml, subarch: &Subarch, listed: &Listed) {
    let place = &subarch.place;
    let ids: Vec<String> = (1..=listed.artifacts.len())
        .map(|id| id.to_string())
        .collect();
    let ids_joined = ids.join(",");
    let mut attributes = vec![("name", place.subarch.as_str()), ("builds", &ids_joined)];
    attributes.extend(
        listed
            .info
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str())),
    );
    xml.begin("subarch", &attributes);
    let path = format!("/{}/{}/{}", place.build, place.arch, place.subarch);
    for (id, artifact) in ids.iter().zip(&listed.artifacts) {
        let download = format!("{path}/{}/{}", listed.latest, artifact.name);
        let (size, bytes) = (size(artifact.bytes), artifact.bytes.to_string());
        let mut attributes = vec![
            ("id", id.as_str()),
            ("variant", &artifact.variant),
            ("release", place.build.as_str()),
            ("path", &path),
            ("latest", &listed.latest),
            ("download", &download),
            ("size", &size),
            ("arch", place.arch.as_str()),
            ("bytes", &bytes),
        ];
        attributes.extend(artifact.sha256.as_deref().map(|digest| ("sha256", digest)));
        xml.empty("build", &attributes);
    }
    for (name, full) in &listed.older {
        let path = format!("{path}/{name}");
        let full = if *full { "yes" } else { "no" };
        xml.empty("older", &[("date", name), ("path", &path), ("full", full)]);
    }
    xml.end("subarch");
}

/// The subarches whose last build failed.
fn write_fails(xml: &mut Xml, subarches: &[Subarch]) {
    let failed = subarches.iter().filter(|s| s.fails.value() > 0);
    let mut failed: Vec<&Subarch> = failed
        .filter(|s| {
            let names = [&s.place.build, &s.place.arch, &s.place.subarch];
            names.iter().all(|name| can_carry(name.as_str()))
        })
        .collect();
    failed.sort_by_key(|s| std::cmp::Reverse(s.fails.value()));
    if failed.is_empty() {
        xml.empty("fails", &[]);
        return;
    }
    xml.begin("fails", &[]);
    for subarch in failed {
        let place = &subarch.place;
        let count = subarch.fails.value().to_string();
        let date = subarch.date().map_or("None".to_owned(), |d| d.to_string());
        xml.empty(
            "fail",
            &[
                ("build", place.build.as_str()),
                ("arch", place.arch.as_str()),
                ("subarch", place.subarch.as_str()),
                ("count", &count),
                ("latest", &date),
            ],
        );
    }
    xml.end("fails");
}

/// A number of bytes in units of 1024, rounded up, with one decimal below ten units: `4.0KB`, `118MB`, `0B`.
pub fn size(bytes: u64) -> String {
    let mut unit = 1u64;
    let mut units = ["KB", "MB", "GB", "TB", "PB", "EB"].iter();
    let mut name = "B";
    while bytes / unit >= 1024
        && let Some(next) = units.next()
    {
        unit *= 1024;
        name = next;
    }
    if unit == 1 {
        return format!("{bytes}B");
    }
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(unit));
    match tenths < 100 {
        true => format!("{}.{}{name}", tenths / 10, tenths % 10),
        false => format!("{}{name}", bytes.div_ceil(unit)),
    }
}

/// Puts the index into the root of its mirror, whole.
pub fn write(mirror: &Mirror, ownership: &Ownership, text: &str) -> io::Result<()> {
    let folder = mirror.folder();
    let hidden = format!(".{INDEX}.{:016x}", random()?);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, &hidden, flags, Mode::from_raw_mode(0o644))?;
    let result = fs::File::from(file)
        .write_all(text.as_bytes())
        .and_then(|()| ownership.give(folder, Path::new(&hidden)))
        .and_then(|()| Ok(rustix::fs::renameat(folder, &hidden, folder, INDEX)?));
    if result.is_err() {
        let _ = rustix::fs::unlinkat(folder, &hidden, AtFlags::empty());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (1023, "1023B"),
            (1024, "1.0KB"),
            (1025, "1.1KB"),
            (10_239, "10KB"),
            (10_240, "10KB"),
            (10_241, "11KB"),
            (1_048_575, "1024KB"),
            (1_048_576, "1.0MB"),
            (9_961_472, "9.5MB"),
            (10_485_761, "11MB"),
            (123_731_968, "118MB"),
            (u64::MAX, "16EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn variants_are_the_first_words_of_names() {
        let variant = |name: &'static str| {
            let (stem, _) = stem(OsStr::new(name)).unwrap();
            variant(name, stem.len())
        };
        assert_eq!(variant("stage3.tar.xz"), "stage3");
        assert_eq!(variant("stage3-openvz-x.tar.xz"), "stage3");
        assert_eq!(
            variant("funtoo-current-a-openvz-2015-02-10.tar.xz"),
            "openvz"
        );
        assert_eq!(variant("gnome-stage3-a.tar.zst"), "gnome");
        assert_eq!(variant("livecd.iso"), "livecd");
        assert!(stem(OsStr::new("stage3.tar.xz.hash.txt")).is_none());
    }
}
