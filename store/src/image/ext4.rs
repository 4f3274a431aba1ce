//! Trees as ext4 file systems, made by `mke2fs`, for disks that systems start from and go on to write to.
//!
//! `mke2fs -d` takes files in the order of their names, and with a configuration, identifiers and a time of our own
//! the same tree gives the same bytes. What it takes from the folder it reads and a tree does not hold (times of
//! change and of access), and what it does not take (the root's owner, mode and time), is put right afterwards.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::Tool;
use crate::manifest::{Manifest, Meta};
use crate::{Cancel, DirHash, Kind, Need, Placing, Store, StoreError, TreeHash, Unmakeable};

/// Bytes of a block.
const BLOCK: u64 = 4096;
/// Bytes of an inode.
const INODE: u64 = 256;
/// The time of what no tree has a time for: 1980-01-01.
const EPOCH: &str = "315532800";
/// What mke2fs is configured with, so that the machine's own configuration changes no byte.
const CONFIGURATION: &str = "[defaults]
base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
default_mntopts = acl,user_xattr
enable_periodic_fsck = 0
blocksize = 4096
inode_size = 256
inode_ratio = 16384
[fs_types]
ext4 = {
features = has_journal,extent,huge_file,flex_bg,64bit,dir_nlink,extra_isize
}
";

/// How to make an ext4 file system.
#[derive(Debug, Clone)]
pub struct Ext4Options {
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Its size in bytes; see [`Store::ext4_size`].
    pub bytes: u64,
    /// Its identifier.
    pub id: [u8; 16],
    /// Its label, at most 16 bytes.
    pub label: String,
    /// What to do about devices that this user cannot make in the copy that the tool reads.
    pub devices: Unmakeable,
    /// Ends the export with [`StoreError::Interrupted`].
    pub cancel: Cancel,
    /// Gets the length of the file while it grows.
    pub progress: Option<Arc<AtomicU64>>,
}

/// What the files of a tree take.
#[derive(Clone, Copy, Default)]
struct Taken {
    blocks: u64,
    inodes: u64,
}

impl Taken {
    fn add(&mut self, other: Taken) {
        self.blocks = self.blocks.saturating_add(other.blocks);
        self.inodes = self.inodes.saturating_add(other.inodes);
    }
}

impl Store {
    /// Bytes of an ext4 file system that has room for a tree and for `free` bytes more.
    pub fn ext4_size(&self, tree: TreeHash, free: u64) -> Result<u64, StoreError> {
        let taken = self.ext4_taken(tree)?;
        // Inodes, bitmaps, the journal and what the file system keeps for root.
        let files = taken.blocks.saturating_mul(BLOCK);
        let inodes = inodes(taken.inodes).saturating_mul(INODE);
        let journal = 64 << 20;
        let all = files
            .saturating_add(files / 50)
            .saturating_add(inodes)
            .saturating_add(free)
            .saturating_add(free / 50);
        let journal = journal.min(all / 8).max(8 << 20);
        Ok(all.saturating_add(journal).div_ceil(1 << 20) << 20)
    }

    /// Writes a tree as an ext4 file system into a file, from `offset` on. What the file had there is lost. It
    /// belongs to the caller, who removes it after an error.
    pub fn export_ext4(
        &self,
        tree: TreeHash,
        file: &Path,
        options: &Ext4Options,
    ) -> Result<(), StoreError> {
        let scratch = self.scratch("image")?;
        let copy = scratch.path().join("tree");
        self.place_until(tree, &copy, Placing::Copy, options.devices, &options.cancel)?;
        let configuration = scratch.path().join("mke2fs.conf");
        fs::write(&configuration, CONFIGURATION)
            .map_err(|e| StoreError::io("write", &configuration, e))?;
        let target = std::path::absolute(file).map_err(|e| StoreError::io("find", file, e))?;
        let id = uuid(&options.id);
        let inodes = inodes(self.ext4_taken(tree)?.inodes);
        let progress = options.progress.as_deref();
        let full = |error: StoreError| match error.kind() {
            crate::ErrorKind::NoSpace => error.needing(|| self.content_of(tree).map(Need::Archive)),
            _ => error,
        };
        // From here the tool finds what has the longest paths.
        Tool::new("mke2fs", "e2fsprogs")
            .folder(scratch.path())
            .env("MKE2FS_CONFIG", "mke2fs.conf")
            .env("E2FSPROGS_FAKE_TIME", EPOCH)
            .args(["-q", "-F", "-t", "ext4", "-m", "1", "-d", "tree"])
            .args(["-U", &id, "-L", &options.label, "-N", &inodes.to_string()])
            .arg("-E")
            .arg(format!(
                "offset={},hash_seed={id},lazy_itable_init=0,lazy_journal_init=0,nodiscard",
                options.offset
            ))
            .arg(&target)
            .arg(format!("{}k", options.bytes / 1024))
            .run(&target, &options.cancel, progress)
            .map_err(full)?;
        let top = self.tree(tree)?;
        if self.manifest(top.dir)?.get(b"lost+found").is_none() {
            // A tool that looks after the file system makes it when it needs one.
            let mut at = target.clone().into_os_string();
            at.push(format!("?offset={}", options.offset));
            Tool::new("debugfs", "e2fsprogs")
                .env("E2FSPROGS_FAKE_TIME", EPOCH)
                .args(["-w", "-R", "rmdir /lost+found"])
                .arg(&at)
                .run(&target, &options.cancel, None)
                .map_err(full)?;
        }
        let file = File::options().read(true).write(true).open(&target);
        let settled = file.and_then(|file| {
            settle(&file, options.offset, &top.root)?;
            file.sync_all()
        });
        settled.map_err(|e| full(StoreError::io("write", &target, e)))
    }

    fn ext4_taken(&self, tree: TreeHash) -> Result<Taken, StoreError> {
        let top = self.tree(tree)?;
        self.ext4_below(top.dir, &mut HashMap::new())
    }

    fn ext4_below(
        &self,
        dir: DirHash,
        known: &mut HashMap<DirHash, Taken>,
    ) -> Result<Taken, StoreError> {
        if let Some(taken) = known.get(&dir) {
            return Ok(*taken);
        }
        let manifest: Manifest = self.manifest(dir)?;
        let mut names = 24;
        let mut taken = Taken::default();
        for entry in manifest.entries() {
            names += entry.name.len() as u64 + 12;
            let attributes = u64::from(!entry.meta.xattrs.is_empty());
            let blocks = match &entry.kind {
                Kind::Dir { manifest } => {
                    taken.add(self.ext4_below(*manifest, known)?);
                    0
                }
                // One in 300 for what tells where the others are.
                Kind::File { size, .. } => size.div_ceil(BLOCK) * 301 / 300,
                Kind::Symlink { target } => u64::from(target.len() >= 60),
                _ => 0,
            };
            taken.add(Taken {
                blocks: blocks + attributes,
                inodes: 1,
            });
        }
        // Blocks of a directory are split when they are full, as pages of a book that is sorted.
        taken.blocks += (names * 2).div_ceil(BLOCK);
        known.insert(dir, taken);
        Ok(taken)
    }
}

/// Inodes of a file system for so many files: a quarter more.
fn inodes(files: u64) -> u64 {
    (files + files / 4).saturating_add(4096)
}

/// An identifier as text.
pub fn uuid(id: &[u8; 16]) -> String {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// Makes inodes tell only what the tree says.
fn settle(file: &File, offset: u64, root: &Meta) -> io::Result<()> {
    let mut superblock = [0; 1024];
    file.read_exact_at(&mut superblock, offset + 1024)?;
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|n| superblock[at + n]));
    let half = |at: usize| u16::from_le_bytes([0, 1].map(|n| superblock[at + n]));
    let (inodes, per_group) = (word(0), word(40));
    let size = usize::from(half(88));
    let descriptor = u64::from(half(254));
    let is_ours = half(56) == 0xef53
        && word(24) == 2
        && size == INODE as usize
        && descriptor >= 64
        && per_group > 0;
    if !is_ours {
        return Err(io::Error::other(
            "mke2fs made another file system than was asked for",
        ));
    }
    for group in 0..inodes.div_ceil(per_group) {
        let mut found = [0; 64];
        let at = (u64::from(word(20)) + 1) * BLOCK + u64::from(group) * descriptor;
        file.read_exact_at(&mut found, offset + at)?;
        let part = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|n| found[at + n]));
        let table = u64::from(part(8)) | u64::from(part(40)) << 32;
        // A part at a time, so that little memory is used whatever the size.
        const TAKEN: u32 = 4096;
        for first in (0..per_group).step_by(TAKEN as usize) {
            let count = TAKEN.min(per_group - first) as usize;
            let at = offset + table * BLOCK + u64::from(first) * INODE;
            let mut all = vec![0; count * size];
            file.read_exact_at(&mut all, at)?;
            let mut changed = false;
            for (n, inode) in all.chunks_exact_mut(size).enumerate() {
                let number = group * per_group + first + n as u32 + 1;
                changed |= settle_inode(inode, number, root);
            }
            if changed {
                file.write_all_at(&all, at)?;
            }
        }
    }
    Ok(())
}

/// Settles one inode. Tells whether it is another one now.
fn settle_inode(inode: &mut [u8], number: u32, root: &Meta) -> bool {
    const ROOT: u32 = 2;
    const FIRST_OF_FILES: u32 = 11;
    if inode.iter().all(|byte| *byte == 0) {
        return false;
    }
    let before = inode.to_vec();
    if number >= FIRST_OF_FILES && inode[26..28] == [0, 0] {
        // Removed again: without a name.
        inode.fill(0);
        return true;
    }
    if number == ROOT {
        let put = |inode: &mut [u8], at: usize, value: u32| {
            inode[at..at + 2].copy_from_slice(&value.to_le_bytes()[..2]);
        };
        put(inode, 0, 0o040_000 | u32::from(root.mode & 0o7777));
        put(inode, 2, root.uid);
        put(inode, 120, root.uid >> 16);
        put(inode, 24, root.gid);
        put(inode, 122, root.gid >> 16);
        let seconds = root.mtime.secs as i32;
        inode[16..20].copy_from_slice(&seconds.to_le_bytes());
        inode[136..140].fill(0);
    }
    // Access, change of the inode, and creation, with their fractions: as the content's.
    let time: [u8; 4] = inode[16..20].try_into().unwrap_or_default();
    let more: [u8; 4] = inode[136..140].try_into().unwrap_or_default();
    for at in [8, 12, 144] {
        inode[at..at + 4].copy_from_slice(&time);
    }
    for at in [132, 140, 148] {
        inode[at..at + 4].copy_from_slice(&more);
    }
    before != inode
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_as_text() {
        let id = std::array::from_fn(|n| n as u8);
        assert_eq!(uuid(&id), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }

    #[test]
    fn an_inode_without_a_name_is_emptied_and_a_file_keeps_its_time() {
        let root = Meta {
            mode: 0o1750,
            uid: 70_000,
            gid: 5,
            ..Meta::default()
        };
        let mut file = vec![0; 256];
        file[0..2].copy_from_slice(&0o100_644u16.to_le_bytes());
        file[26] = 1;
        file[8..12].copy_from_slice(&77u32.to_le_bytes());
        file[16..20].copy_from_slice(&5u32.to_le_bytes());
        assert!(settle_inode(&mut file, 12, &root));
        assert_eq!(file[8..12], 5u32.to_le_bytes());
        assert!(!settle_inode(&mut file, 12, &root));
        let mut top = file.clone();
        assert!(settle_inode(&mut top, 2, &root));
        assert_eq!(top[0..2], (0o041_750u16).to_le_bytes());
        assert_eq!([top[2], top[3], top[120]], [0x70, 0x11, 1]);
        file[26] = 0;
        assert!(settle_inode(&mut file, 12, &root));
        assert!(file.iter().all(|byte| *byte == 0));
    }
}
