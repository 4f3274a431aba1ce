//! The boot loader: grub, made of its parts for one medium, so that nothing is installed anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use mstore_store::Tool;

use super::kernel::release;
use super::pieces::{Pieces, read_file};
use super::{MediaError, MediaOptions, Medium, initrd};

/// What the loader can do, wherever it is.
const MODULES: &[&str] = &[
    "part_gpt",
    "part_msdos",
    "fat",
    "iso9660",
    "normal",
    "configfile",
    "search",
    "search_fs_file",
    "linux",
    "serial",
    "terminal",
    "echo",
    "test",
    "ls",
    "minicmd",
    "gzio",
    "reboot",
    "halt",
    "all_video",
];

/// Makes what machines start with.
pub struct Loader<'a> {
    pieces: Pieces<'a>,
    options: &'a MediaOptions,
    /// Where it works.
    scratch: &'a Path,
    /// The file by which the medium is known.
    mark: String,
}

impl<'a> Loader<'a> {
    /// One for the medium that has the file `mstore/MARK`.
    pub fn new(
        pieces: Pieces<'a>,
        options: &'a MediaOptions,
        scratch: &'a Path,
        mark: String,
    ) -> Result<Loader<'a>, MediaError> {
        let known = ["x86_64", "i686", "i586", "i486", "i386"];
        if let Some(machine) = &options.machine
            && !known.contains(&machine.as_str())
        {
            return Err(MediaError::Machine(machine.clone()));
        }
        for word in &options.append {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-.,:=/+@%".contains(c);
            if word.is_empty() || !word.chars().all(plain) {
                return Err(MediaError::Word(word.clone()));
            }
        }
        Ok(Loader {
            pieces,
            options,
            scratch,
            mark,
        })
    }

    /// Writes the files of the loader's own file system to a folder: kernel, first root, menu, mark. `root`: how
    /// the kernel is told where the system is.
    pub fn files(&self, folder: &Path, root: &[String]) -> Result<Medium, MediaError> {
        let write = |path: &str, content: &[u8]| {
            let path = folder.join(path);
            fs::write(&path, content).map_err(|e| MediaError::io("write", &path, e))
        };
        for name in ["boot/grub", "mstore"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(|e| MediaError::io("make", &path, e))?;
        }
        let kernel = match &self.options.kernel {
            Some(file) => read_file(file)?,
            None => self.pieces.kernel()?,
        };
        let release = release(&kernel);
        let mut medium = Medium {
            kernel: release.clone(),
            ..Medium::default()
        };
        let initrd = match &self.options.initrd {
            Some(file) => read_file(file)?,
            None => {
                let (made, modules) = initrd::make(&self.pieces, release.as_deref())?;
                medium.modules = Some(modules);
                made
            }
        };
        write("boot/vmlinuz", &kernel)?;
        write("boot/initrd", &initrd)?;
        write(&format!("mstore/{}", self.mark), b"")?;
        write("boot/grub/grub.cfg", self.menu(root).as_bytes())?;
        Ok(medium)
    }

    fn menu(&self, root: &[String]) -> String {
        let consoles = ["console=tty0", "console=ttyS0,115200"];
        // The last console is the one that the system talks to: those that are asked for come after ours.
        let words = consoles.iter().map(|w| (*w).to_owned());
        let words: Vec<String> = root
            .iter()
            .cloned()
            .chain(words)
            .chain(self.options.append.iter().cloned())
            .collect();
        let title: String = self
            .options
            .title
            .chars()
            .map(
                |c| match c.is_ascii_alphanumeric() || " ._+:/-".contains(c) {
                    true => c,
                    false => '_',
                },
            )
            .collect();
        format!(
            "set timeout=3\nset default=0\nserial --unit=0 --speed=115200\n\
             terminal_input --append serial\nterminal_output --append serial\n\
             menuentry \"{title}\" {{\n    linux /boot/vmlinuz {}\n    initrd /boot/initrd\n}}\n",
            words.join(" ")
        )
    }

    /// Makes the loader for a platform of grub's; `None` where its parts are nowhere. Returns the file, and the
    /// folder of the parts. `more`: parts besides [`MODULES`].
    pub fn core(
        &self,
        platform: &str,
        format: &str,
        more: &[&str],
    ) -> Result<Option<(PathBuf, PathBuf)>, MediaError> {
        let Some(parts) = self.pieces.loader(platform, self.scratch)? else {
            return Ok(None);
        };
        let beginning = self.scratch.join("beginning.cfg");
        let text = format!(
            "search --no-floppy --file --set=root /mstore/{}\n\
             set prefix=($root)/boot/grub\nconfigfile ($root)/boot/grub/grub.cfg\n",
            self.mark
        );
        fs::write(&beginning, text).map_err(|e| MediaError::io("write", &beginning, e))?;
        let core = self.scratch.join(format!("core-{format}"));
        Tool::new("grub-mkimage", "grub-common")
            .arg("-d")
            .arg(&parts)
            .args(["-O", format, "-p", "/boot/grub", "-c"])
            .arg(&beginning)
            .arg("-o")
            .arg(&core)
            .args(MODULES)
            .args(more)
            .run(&core, &self.options.cancel, None)?;
        Ok(Some((core, parts)))
    }

    /// Says that the boot loader is nowhere.
    pub fn none(&self) -> MediaError {
        self.pieces.no_loader()
    }

    /// Makes a FAT file system of a folder, as firmware reads it: FAT32 on a disk, a smaller one on a disc. Returns its
    /// size.
    pub fn fat(
        &self,
        folder: &Path,
        id: u32,
        file: &Path,
        on_disk: bool,
    ) -> Result<u64, MediaError> {
        super::settle_times(folder).map_err(|e| MediaError::io("set times of", folder, e))?;
        let content = size_of(folder).map_err(|e| MediaError::io("list", folder, e))?;
        let bytes = match on_disk {
            // FAT32 begins at 65,525 clusters, here of a block each.
            true => (content + content / 50 + (8 << 20)).max(40 << 20),
            false => content + content / 50 + (1 << 20),
        };
        let bytes = bytes.next_multiple_of(1 << 20);
        let kind: &[&str] = match on_disk {
            true => &["-F", "32", "-s", "1"],
            false => &[],
        };
        let made = fs::File::create(file).and_then(|made| made.set_len(bytes));
        made.map_err(|e| MediaError::io("make", file, e))?;
        let cancel = &self.options.cancel;
        Tool::new("mkfs.vfat", "dosfstools")
            .args(["--invariant", "-n", "BOOT"])
            .args(kind)
            .arg("-i")
            .arg(format!("{id:08x}"))
            .arg(file)
            .run(file, cancel, None)?;
        let mut names: Vec<_> = fs::read_dir(folder)
            .and_then(|entries| entries.map(|e| Ok(e?.file_name())).collect())
            .map_err(|e| MediaError::io("list", folder, e))?;
        names.sort();
        Tool::new("mcopy", "mtools")
            .folder(folder)
            .env("SOURCE_DATE_EPOCH", super::EPOCH.to_string())
            .env("MTOOLSRC", "/dev/null")
            .env("MTOOLS_SKIP_CHECK", "1")
            .arg("-i")
            .arg(file)
            .args(["-s", "-m"])
            .args(names)
            .arg("::/")
            .run(file, cancel, None)?;
        Ok(bytes)
    }
}

fn size_of(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += match meta.is_dir() {
            true => 4096 + size_of(&entry.path())?,
            false => meta.len().next_multiple_of(512),
        };
    }
    Ok(bytes)
}
