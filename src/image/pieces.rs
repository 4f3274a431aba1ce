//! Finds what a machine is started with: in the folder that was named, in the tree, on this machine.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use mstore_store::compress::{DecodeLimits, Decoder};
use mstore_store::{Kind, Store, TreeHash};

use super::{MediaError, MediaOptions};

/// The largest file that is taken as a kernel, a first root, a module or a program, in bytes.
const MOST: u64 = 1 << 30;
/// The most entries of a folder that are looked at.
const MOST_ENTRIES: usize = 200_000;
/// Folders deeper than this below the modules are not looked into.
const MOST_DEPTH: usize = 16;

/// A root that may have pieces.
#[derive(Clone, Copy)]
pub enum Root<'a> {
    /// A folder.
    Folder(&'a Path),
    /// A tree in a store.
    Tree(&'a Store, TreeHash),
}

impl Root<'_> {
    /// Names in a folder, sorted; none where there is none. Folders end with a slash.
    fn names(&self, path: &str) -> Result<Vec<String>, MediaError> {
        let mut names = Vec::new();
        match self {
            Root::Folder(folder) => {
                let folder = folder.join(path);
                let Ok(entries) = fs::read_dir(&folder) else {
                    return Ok(names);
                };
                for entry in entries.take(MOST_ENTRIES) {
                    let entry = entry.map_err(|e| MediaError::io("list", &folder, e))?;
                    let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                    if let Ok(mut name) = entry.file_name().into_string() {
                        name.extend(is_folder.then_some('/'));
                        names.push(name);
                    }
                }
            }
            Root::Tree(store, tree) => {
                let Ok(found) = store.look_up(*tree, path, true) else {
                    return Ok(names);
                };
                if let Kind::Dir { manifest } = found.kind {
                    for entry in store
                        .manifest(manifest)?
                        .entries()
                        .iter()
                        .take(MOST_ENTRIES)
                    {
                        let is_folder = matches!(entry.kind, Kind::Dir { .. });
                        if let Ok(mut name) = String::from_utf8(entry.name.clone()) {
                            name.extend(is_folder.then_some('/'));
                            names.push(name);
                        }
                    }
                }
            }
        }
        names.sort();
        Ok(names)
    }

    /// The content of a file; `None` where there is none.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, MediaError> {
        match self {
            Root::Folder(folder) => {
                let path = folder.join(path);
                match path.is_file() {
                    true => read_file(&path).map(Some),
                    false => Ok(None),
                }
            }
            Root::Tree(store, tree) => match store.look_up(*tree, path, true) {
                Ok(found) => match found.kind {
                    Kind::File { blob, size } if size <= MOST => Ok(Some(store.blob(blob)?)),
                    _ => Ok(None),
                },
                Err(_) => Ok(None),
            },
        }
    }

    /// Regular files below a folder, by their paths from there.
    fn below(&self, top: &str) -> Result<Vec<String>, MediaError> {
        let mut found = Vec::new();
        let mut open = vec![(String::new(), 0)];
        while let Some((folder, depth)) = open.pop() {
            for name in self.names(&format!("{top}/{folder}"))? {
                let path = format!("{folder}{name}");
                match path.ends_with('/') {
                    true if depth < MOST_DEPTH => open.push((path, depth + 1)),
                    true => {}
                    false => found.push(path),
                }
            }
            if found.len() > MOST_ENTRIES {
                return Err(MediaError::Unfit {
                    place: top.to_owned(),
                    reason: format!("has more than {MOST_ENTRIES} files"),
                });
            }
        }
        found.sort();
        Ok(found)
    }

    fn words(&self) -> String {
        match self {
            Root::Folder(folder) => folder.display().to_string(),
            Root::Tree(..) => "the tree".to_owned(),
        }
    }
}

/// The content of a file, unless it is too large.
pub fn read_file(path: &Path) -> Result<Vec<u8>, MediaError> {
    let failed = |e| MediaError::io("read", path, e);
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MOST + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    match content.len() as u64 > MOST {
        true => Err(MediaError::Unfit {
            place: path.display().to_string(),
            reason: "is larger than 1 GiB".to_owned(),
        }),
        false => Ok(content),
    }
}

/// What a file holds when it is not compressed.
fn plain(place: &str, content: Vec<u8>) -> Result<Vec<u8>, MediaError> {
    let failed = |e: std::io::Error| MediaError::Unfit {
        place: place.to_owned(),
        reason: e.to_string(),
    };
    let decoder = Decoder::new(&content[..], DecodeLimits::default()).map_err(failed)?;
    let mut plain = Vec::new();
    decoder.take(MOST).read_to_end(&mut plain).map_err(failed)?;
    Ok(plain)
}

/// Where pieces are looked for.
pub struct Pieces<'a> {
    roots: Vec<Root<'a>>,
}

/// The modules of one release.
pub struct Modules<'a> {
    root: Root<'a>,
    top: String,
    /// Paths below that.
    pub files: Vec<String>,
}

impl Modules<'_> {
    /// The content of a module, not compressed.
    pub fn read(&self, file: &str) -> Result<Vec<u8>, MediaError> {
        let path = format!("{}/{file}", self.top);
        let content = self.root.read(&path)?.ok_or_else(|| MediaError::Unfit {
            place: path.clone(),
            reason: "cannot be read".to_owned(),
        })?;
        plain(&path, content)
    }
}

impl<'a> Pieces<'a> {
    /// The folder that was named comes before the tree.
    pub fn new(store: &'a Store, tree: TreeHash, options: &'a MediaOptions) -> Pieces<'a> {
        let folder = options.from.as_deref().map(Root::Folder);
        let tree = Root::Tree(store, tree);
        Pieces {
            roots: folder.into_iter().chain([tree]).collect(),
        }
    }

    fn places(&self, more: &[&str]) -> String {
        let roots = self.roots.iter().map(Root::words);
        let all: Vec<String> = roots.chain(more.iter().map(|m| (*m).to_owned())).collect();
        all.join(", ")
    }

    /// The newest kernel.
    pub fn kernel(&self) -> Result<Vec<u8>, MediaError> {
        for root in &self.roots {
            let mut names = root.names("boot")?;
            names.retain(|name| {
                let plain = ["vmlinuz", "kernel", "bzImage"];
                plain.iter().any(|start| {
                    let rest = name.strip_prefix(start);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
                }) && !name.ends_with('/')
                    && !name.ends_with(".old")
            });
            names.sort_by_key(|name| by_number(name));
            while let Some(name) = names.pop() {
                if let Some(kernel) = root.read(&format!("boot/{name}"))? {
                    return Ok(kernel);
                }
            }
        }
        Err(MediaError::Missing {
            what: "a kernel (boot/vmlinuz-RELEASE)",
            places: self.places(&[]),
            package: "linux-image-amd64",
        })
    }

    /// The modules of a release of the kernel; `None` where there are none.
    pub fn modules(&self, release: &str) -> Result<Option<Modules<'a>>, MediaError> {
        for root in &self.roots {
            for top in ["lib/modules", "usr/lib/modules"] {
                let top = format!("{top}/{release}");
                let files = root.below(&top)?;
                if files.iter().any(|file| file.contains(".ko")) {
                    return Ok(Some(Modules {
                        root: *root,
                        top,
                        files,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// A busybox that needs no library.
    pub fn busybox(&self) -> Result<Vec<u8>, MediaError> {
        let here = Root::Folder(Path::new("/"));
        for root in self.roots.iter().chain([&here]) {
            for path in ["bin/busybox", "usr/bin/busybox", "bin/busybox.static"] {
                if let Some(program) = root.read(path)?
                    && super::kernel::is_static(&program)
                {
                    return Ok(program);
                }
            }
        }
        Err(MediaError::Missing {
            what: "a static busybox (bin/busybox)",
            places: self.places(&["this machine"]),
            package: "busybox-static",
        })
    }

    /// A folder with the parts of the boot loader for a platform of grub's, such as `i386-pc`; those of a tree are
    /// copied to `scratch`. `None` where there are none.
    pub fn loader(&self, platform: &str, scratch: &Path) -> Result<Option<PathBuf>, MediaError> {
        let path = format!("usr/lib/grub/{platform}");
        let here = Root::Folder(Path::new("/"));
        for root in self.roots.iter().chain([&here]) {
            let names = root.names(&path)?;
            if !names.iter().any(|name| name == "kernel.img") {
                continue;
            }
            match root {
                Root::Folder(folder) => {
                    let found = folder.join(&path);
                    // A tool that is started elsewhere is to find it.
                    let found = std::path::absolute(&found);
                    return found
                        .map(Some)
                        .map_err(|e| MediaError::io("find", folder, e));
                }
                Root::Tree(..) => {
                    let copy = scratch.join(format!("loader-{platform}"));
                    fs::create_dir(&copy).map_err(|e| MediaError::io("make", &copy, e))?;
                    for name in names.iter().filter(|name| !name.ends_with('/')) {
                        if let Some(content) = root.read(&format!("{path}/{name}"))? {
                            let to = copy.join(name);
                            fs::write(&to, content).map_err(|e| MediaError::io("write", &to, e))?;
                        }
                    }
                    return Ok(Some(copy));
                }
            }
        }
        Ok(None)
    }

    /// Says that the boot loader is nowhere.
    pub fn no_loader(&self) -> MediaError {
        MediaError::Missing {
            what: "the boot loader (usr/lib/grub/i386-pc)",
            places: self.places(&["this machine"]),
            package: "grub-pc-bin",
        }
    }
}

/// Parts of a name by which releases come in their order: numbers count as such.
fn by_number(name: &str) -> Vec<(u64, String)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (before, after) = rest.split_at(text);
        let digits = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let (number, after) = after.split_at(digits);
        parts.push((0, before.to_owned()));
        parts.push((number.parse().unwrap_or(0), String::new()));
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_that_of_the_highest_number() {
        let mut names = ["vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-57-amd64", "vmlinuz"];
        names.sort_by_key(|name| by_number(name));
        assert_eq!(names[2], "vmlinuz-6.1.0-57-amd64");
        assert_eq!(names[0], "vmlinuz");
    }
}
