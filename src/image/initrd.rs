//! The first root: a busybox, the modules that a disk or a medium needs, and a script that finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use mstore_store::compress::{Compression, Encoder};

use super::MediaError;
use super::kernel::{module_name, needs, order};
use super::pieces::Pieces;

/// What its process 1 runs.
const INIT: &str = include_str!("init.sh");

/// Makes one for a release of the kernel. Returns it, and the number of modules in it.
pub fn make(pieces: &Pieces<'_>, release: Option<&str>) -> Result<(Vec<u8>, usize), MediaError> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules"] {
        archive.folder(folder);
    }
    // Without it the kernel gives process 1 nothing to write to.
    archive.console();
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("bin/busybox", 0o755, &pieces.busybox()?);
    let modules = match release {
        Some(release) => pieces.modules(release)?,
        None => None,
    };
    let mut listed = String::new();
    let mut count = 0;
    if let Some(modules) = modules {
        let files: BTreeMap<String, &String> = modules
            .files
            .iter()
            .filter_map(|file| Some((module_name(file.rsplit('/').next()?)?, file)))
            .collect();
        let there: BTreeSet<String> = files.keys().cloned().collect();
        let mut read: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let ordered = order(&there, |name| {
            let content = modules.read(files[name])?;
            let all = needs(&content);
            read.insert(name.to_owned(), content);
            Ok::<_, MediaError>(all)
        })?;
        for name in &ordered {
            let file = format!("{name}.ko");
            archive.file(&format!("modules/{file}"), 0o644, &read[name]);
            listed.push_str(&file);
            listed.push('\n');
        }
        count = ordered.len();
    }
    archive.file("modules/order", 0o644, listed.as_bytes());
    let failed = |e| MediaError::io("compress", std::path::Path::new("the first root"), e);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut encoder =
        Encoder::new(Vec::new(), Compression::Gzip(Compression::GZIP), threads).map_err(failed)?;
    encoder.write_all(&archive.finish()).map_err(failed)?;
    Ok((encoder.finish().map_err(failed)?, count))
}

/// An archive as the kernel takes it: cpio, of the form `newc`.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, (0, 0), b"");
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | mode, (0, 0), content);
    }

    fn console(&mut self) {
        self.entry("dev/console", 0o020_600, (5, 1), b"");
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        // All sizes are far below 4 GiB: `pieces` bounds what it reads.
        let size = content.len() as u32;
        let length = name.len() as u32 + 1;
        self.bytes.extend_from_slice(b"070701");
        for field in [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            length,
            0,
        ] {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), b"");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_that_cpio_reads() {
        let mut archive = Archive::default();
        archive.folder("bin");
        archive.console();
        archive.file("bin/x", 0o755, b"hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let header = &bytes[..110];
        assert!(header.starts_with(b"07070100000001000041ED"));
        let at = bytes.windows(5).position(|w| w == b"hello").unwrap();
        assert_eq!(at % 4, 0);
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0") || bytes.ends_with(b"!!!\0"));
    }
}
