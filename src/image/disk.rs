//! A disk: the tree as ext4 in a partition of its own, and what starts it beside, for BIOS and UEFI.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use mstore_store::{Beside, Ext4Options, Store, Tool, TreeHash, uuid};

use super::loader::Loader;
use super::pieces::Pieces;
use super::{MediaError, MediaOptions, Medium, identifier};

/// Bytes of a block of a disk.
const SECTOR: u64 = 512;
/// Partitions begin at multiples of this.
const ALIGN: u64 = 1 << 20;
/// Kinds of partitions: the boot loader of a BIOS, the system partition of UEFI, a root for x86-64.
const LOADER: &str = "21686148-6449-6E6F-744E-656564454649";
const SYSTEM: &str = "C12A7328-F81F-11D2-BA4B-00C04FC93EC9";
const ROOT: &str = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";
/// Bytes that are free where nobody says how many: a quarter of what is there, and not fewer than these.
const LEAST_FREE: u64 = 64 << 20;

/// Where the partitions are, in bytes.
struct Layout {
    loader: u64,
    system: (u64, u64),
    root: (u64, u64),
    all: u64,
}

/// Writes a tree as a disk. The caller gives it its name.
pub fn disk(
    store: &Store,
    tree: TreeHash,
    file: &Beside,
    options: &MediaOptions,
) -> Result<Medium, MediaError> {
    let target = std::path::absolute(file.path());
    let target = target.map_err(|e| MediaError::io("find", file.named(), e))?;
    let scratch = store.scratch("medium")?;
    let id = identifier(tree, "disk");
    let root_id = identifier(tree, "root");
    let loader = Loader::new(
        Pieces::new(store, tree, options),
        options,
        scratch.path(),
        uuid(&id),
    )?;

    let mut made = Medium::default();
    let mut core = None;
    let system = scratch.path().join("system.img");
    let mut system_bytes = 0;
    if options.boots {
        let folder = scratch.path().join("system");
        let root = [format!("root=UUID={}", uuid(&root_id)), "rw".to_owned()];
        made = loader.files(&folder, &root)?;
        core = loader.core("i386-pc", "i386-pc", &["biosdisk"])?;
        if core.is_some() {
            made.firmware.push("bios");
        }
        if let Some((efi, _)) = loader.core("x86_64-efi", "x86_64-efi", &[])? {
            let place = folder.join("EFI/BOOT");
            fs::create_dir_all(&place).map_err(|e| MediaError::io("make", &place, e))?;
            let program = place.join("BOOTX64.EFI");
            fs::copy(&efi, &program).map_err(|e| MediaError::io("write", &program, e))?;
            made.firmware.push("uefi");
        }
        if made.firmware.is_empty() {
            return Err(loader.none());
        }
        let number = u32::from_le_bytes([id[0], id[1], id[2], id[3]]);
        system_bytes = loader.fat(&folder, number, &system, true)?;
    }

    let free = match options.free {
        Some(free) => free,
        None => (store.ext4_size(tree, 0)? / 4).max(LEAST_FREE),
    };
    let root_bytes = store.ext4_size(tree, free)?;
    let layout = Layout {
        loader: ALIGN,
        system: (2 * ALIGN, system_bytes),
        root: (2 * ALIGN + system_bytes, root_bytes),
        all: 3 * ALIGN + system_bytes + root_bytes,
    };
    let blank = File::create_new(&target).and_then(|new| new.set_len(layout.all));
    blank.map_err(|e| MediaError::io("make", file.named(), e))?;
    partition(&layout, &target, scratch.path(), &id, options)?;
    store.export_ext4(
        tree,
        &target,
        &Ext4Options {
            offset: layout.root.0,
            bytes: root_bytes,
            id: root_id,
            label: "root".to_owned(),
            devices: options.devices(),
            cancel: options.cancel.clone(),
            progress: options.progress.clone(),
        },
    )?;
    let started = match options.boots {
        true => put_start(
            &layout,
            &target,
            &system,
            core.as_ref().map(|(a, b)| (&**a, &**b)),
        ),
        false => Ok(()),
    };
    started
        .map_err(|e| MediaError::Store(mstore_store::StoreError::io("write", file.named(), e)))?;
    Ok(made)
}

/// Writes the table of partitions.
fn partition(
    layout: &Layout,
    disk: &Path,
    scratch: &Path,
    id: &[u8; 16],
    options: &MediaOptions,
) -> Result<(), MediaError> {
    let named = |n: u8| {
        let mut id = *id;
        id[15] = id[15].wrapping_add(n);
        uuid(&id)
    };
    let mut script = format!(
        "label: gpt\nlabel-id: {}\nunit: sectors\nfirst-lba: 34\n",
        named(0)
    );
    let mut add = |start: u64, bytes: u64, kind: &str, name: &str, n: u8| {
        script.push_str(&format!(
            "start={},size={},type={kind},uuid={},name=\"{name}\"\n",
            start / SECTOR,
            bytes / SECTOR,
            named(n)
        ));
    };
    if options.boots {
        add(layout.loader, ALIGN, LOADER, "loader", 1);
        add(layout.system.0, layout.system.1, SYSTEM, "boot", 2);
    }
    add(layout.root.0, layout.root.1, ROOT, "root", 3);
    let path = scratch.join("partitions");
    fs::write(&path, script).map_err(|e| MediaError::io("write", &path, e))?;
    let input = File::open(&path).map_err(|e| MediaError::io("read", &path, e))?;
    Tool::new("sfdisk", "fdisk")
        .args([
            "--quiet",
            "--no-reread",
            "--no-tell-kernel",
            "--wipe",
            "never",
        ])
        .arg(disk)
        .input(input)
        .run(disk, &options.cancel, None)?;
    Ok(())
}

/// Puts the boot loader and its file system in their places.
fn put_start(
    layout: &Layout,
    disk: &Path,
    system: &Path,
    core: Option<(&Path, &Path)>,
) -> io::Result<()> {
    /// Where a first block says at which block the loader begins, and the loader at which it goes on.
    const AT: usize = 0x5c;
    const NEXT: usize = 0x1f4;
    /// Behind the code come the partitions.
    const CODE: usize = 440;
    let file = File::options().read(true).write(true).open(disk)?;
    copy_sparse(&mut File::open(system)?, &file, layout.system.0)?;
    if let Some((core, parts)) = core {
        let mut first = fs::read(parts.join("boot.img"))?;
        let mut core = fs::read(core)?;
        if first.len() < SECTOR as usize
            || core.len() < SECTOR as usize
            || core.len() as u64 > ALIGN
        {
            return Err(io::Error::other("the boot loader has an unknown form"));
        }
        let at = layout.loader / SECTOR;
        first[AT..AT + 8].copy_from_slice(&at.to_le_bytes());
        core[NEXT..NEXT + 8].copy_from_slice(&(at + 1).to_le_bytes());
        file.write_all_at(&first[..CODE], 0)?;
        file.write_all_at(&core, layout.loader)?;
    }
    file.sync_all()
}

/// Copies what is not zero.
fn copy_sparse(from: &mut File, to: &File, offset: u64) -> io::Result<()> {
    let mut to = to;
    let mut block = vec![0; 1 << 16];
    let mut at = offset;
    loop {
        let mut n = 0;
        while n < block.len() {
            match from.read(&mut block[n..])? {
                0 => break,
                more => n += more,
            }
        }
        if n == 0 {
            return Ok(());
        }
        if block[..n].iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(at))?;
            to.write_all(&block[..n])?;
        }
        at += n as u64;
    }
}
