//! An ISO 9660 image: the tree as squashfs, and what starts it, for BIOS and UEFI, from a disc or a stick.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use mstore_store::{Beside, ImageKind, ImageOptions, Kind, Store, Tool, TreeHash, uuid};

use super::loader::Loader;
use super::pieces::Pieces;
use super::{EPOCH, MediaError, MediaOptions, Medium, identifier, is_live, settle_times};

/// Writes a tree as an ISO 9660 image. The caller gives it its name.
pub fn iso(
    store: &Store,
    tree: TreeHash,
    file: &Beside,
    options: &MediaOptions,
) -> Result<Medium, MediaError> {
    let scratch = store.scratch("medium")?;
    let mark = uuid(&identifier(tree, "iso"));
    let medium = scratch.path().join("medium");
    let holds = medium.join("mstore");
    fs::create_dir_all(&holds).map_err(|e| MediaError::io("make", &holds, e))?;
    let target = std::path::absolute(file.path());
    let target = target.map_err(|e| MediaError::io("find", file.named(), e))?;

    let loader = Loader::new(
        Pieces::new(store, tree, options),
        options,
        scratch.path(),
        mark.clone(),
    )?;
    let mut made = Medium::default();
    let mut boot = Vec::new();
    if options.boots {
        // First what is likely to be missing.
        made = loader.files(&medium, &[format!("mstore.live={mark}")])?;
        boot = start(&loader, &medium, scratch.path(), &mut made)?;
    }
    let system = holds.join("root.squashfs");
    match is_live(store, tree) {
        true => copy_out(store, tree, "image.squashfs", &system)?,
        false => store.export_image(
            tree,
            &system,
            &ImageOptions {
                devices: options.devices(),
                cancel: options.cancel.clone(),
                progress: options.progress.clone(),
                ..ImageOptions::new(ImageKind::Squashfs)
            },
        )?,
    }
    settle_times(&medium).map_err(|e| MediaError::io("set times of", &medium, e))?;
    Tool::new("xorriso", "xorriso")
        .folder(scratch.path())
        .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
        // It would read the caller's start-up files.
        .args(["-no_rc", "-as", "mkisofs", "-quiet", "-iso-level", "3"])
        // Owners and modes that do not tell who made it.
        .args(["-r", "-V", "MSTORE"])
        .args(&boot)
        .arg("-o")
        .arg(&target)
        .arg("medium")
        .run(&target, &options.cancel, options.progress.as_deref())?;
    Ok(made)
}

/// Makes what firmware starts, in the folder of the medium. Returns the words by which xorriso puts it there.
fn start(
    loader: &Loader<'_>,
    medium: &Path,
    scratch: &Path,
    made: &mut Medium,
) -> Result<Vec<String>, MediaError> {
    let mut words = Vec::new();
    let copy = |from: &Path, to: &str| {
        let to = medium.join(to);
        fs::copy(from, &to)
            .map(drop)
            .map_err(|e| MediaError::io("write", &to, e))
    };
    if let Some((core, parts)) = loader.core("i386-pc", "i386-pc-eltorito", &["biosdisk"])? {
        copy(&core, "boot/grub/eltorito.img")?;
        let hybrid = parts.join("boot_hybrid.img");
        // A stick starts by its first block.
        words.extend(["--grub2-mbr".to_owned(), hybrid.display().to_string()]);
        let options = "-b boot/grub/eltorito.img -no-emul-boot -boot-load-size 4 \
                       -boot-info-table --grub2-boot-info";
        words.extend(options.split_ascii_whitespace().map(str::to_owned));
        made.firmware.push("bios");
    }
    if let Some((core, _)) = loader.core("x86_64-efi", "x86_64-efi", &[])? {
        let folder = scratch.join("efi");
        let place = folder.join("EFI/BOOT");
        fs::create_dir_all(&place).map_err(|e| MediaError::io("make", &place, e))?;
        let program = place.join("BOOTX64.EFI");
        fs::copy(&core, &program).map_err(|e| MediaError::io("write", &program, e))?;
        loader.fat(
            &folder,
            0x4d53_4543,
            &medium.join("boot/grub/efi.img"),
            false,
        )?;
        let options = "-eltorito-alt-boot -e boot/grub/efi.img -no-emul-boot";
        words.extend(options.split_ascii_whitespace().map(str::to_owned));
        made.firmware.push("uefi");
    }
    match made.firmware.is_empty() {
        true => Err(loader.none()),
        false => Ok(words),
    }
}

fn copy_out(store: &Store, tree: TreeHash, path: &str, to: &Path) -> Result<(), MediaError> {
    let found = store.look_up(tree, path, false)?;
    if let Kind::File { blob, .. } = found.kind {
        let mut content = store.open_blob(blob)?;
        let copied = File::create(to).and_then(|mut file| io::copy(&mut content, &mut file));
        copied.map_err(|e| MediaError::io("write", to, e))?;
    }
    Ok(())
}
