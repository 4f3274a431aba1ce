//! What is read out of kernels and their modules.

use std::collections::{BTreeMap, BTreeSet};

use object::read::elf::ElfFile;
use object::{Endianness, Object as _, ObjectSection as _};

/// Modules without which a machine may not find its disk or its medium, or its keyboard.
const WANTED: &[&str] = &[
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "ahci",
    "ata_piix",
    "ata_generic",
    "pata_acpi",
    "nvme",
    "usb_storage",
    "uas",
    "xhci_pci",
    "ehci_pci",
    "ohci_pci",
    "uhci_hcd",
    "sdhci_pci",
    "mmc_block",
    "mptspi",
    "vmw_pvscsi",
    "hv_storvsc",
    "xen_blkfront",
    "sd_mod",
    "sr_mod",
    "loop",
    "isofs",
    "squashfs",
    "overlay",
    "crc32c_generic",
    "crc32c_intel",
    "ext4",
    "usbhid",
    "hid_generic",
    "atkbd",
    "i8042",
];

/// The release that a kernel says it is, such as `6.1.0-57-cloud-amd64`: of one for PCs.
pub fn release(kernel: &[u8]) -> Option<String> {
    if kernel.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let at = u16::from_le_bytes(kernel.get(0x20e..0x210)?.try_into().ok()?);
    let text = kernel.get(0x200 + usize::from(at)..)?;
    let text = &text[..text.len().min(100)];
    let end = text.iter().position(|byte| !byte.is_ascii_graphic())?;
    let release = std::str::from_utf8(&text[..end]).ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-~".contains(c);
    let fit = !release.is_empty() && !release.starts_with('.') && release.chars().all(plain);
    fit.then(|| release.to_owned())
}

/// The name of a module by the name of its file.
pub fn module_name(file: &str) -> Option<String> {
    let ends = [".ko", ".ko.xz", ".ko.gz", ".ko.zst"];
    let name = ends.iter().find_map(|end| file.strip_suffix(end))?;
    Some(normal(name))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The modules that a module needs before it, by what it says itself.
pub fn needs(module: &[u8]) -> Vec<String> {
    let Some(info) = modinfo(module) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for line in info.split(|byte| *byte == 0) {
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        if let Some(names) = line.strip_prefix("depends=") {
            all.extend(names.split(',').filter(|n| !n.is_empty()).map(normal));
        } else if let Some(names) = line.strip_prefix("softdep=pre:") {
            let names = names.split("post:").next().unwrap_or_default();
            all.extend(names.split_ascii_whitespace().map(normal));
        }
    }
    all
}

fn modinfo(module: &[u8]) -> Option<Vec<u8>> {
    let section = |data: object::Result<&[u8]>| data.ok().map(<[u8]>::to_vec);
    if let Ok(file) = ElfFile::<object::elf::FileHeader64<Endianness>>::parse(module) {
        return section(file.section_by_name(".modinfo")?.data());
    }
    let file = ElfFile::<object::elf::FileHeader32<Endianness>>::parse(module).ok()?;
    section(file.section_by_name(".modinfo")?.data())
}

/// Whether a program needs nothing but the kernel.
pub fn is_static(program: &[u8]) -> bool {
    let interpreted = |file: &dyn Fn(&str) -> bool| !file(".interp");
    if let Ok(file) = ElfFile::<object::elf::FileHeader64<Endianness>>::parse(program) {
        return interpreted(&|name| file.section_by_name(name).is_some());
    }
    match ElfFile::<object::elf::FileHeader32<Endianness>>::parse(program) {
        Ok(file) => interpreted(&|name| file.section_by_name(name).is_some()),
        Err(_) => false,
    }
}

/// Puts the modules that are wanted, and those that they need, into an order in which each comes after what it
/// needs. `there`: names of the modules that there are; `needs_of` reads one.
pub fn order<E>(
    there: &BTreeSet<String>,
    mut needs_of: impl FnMut(&str) -> Result<Vec<String>, E>,
) -> Result<Vec<String>, E> {
    let mut needs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut done = BTreeSet::new();
    let mut ordered = Vec::new();
    for wanted in WANTED {
        let mut open = vec![(*wanted).to_owned()];
        while let Some(name) = open.last().cloned() {
            if done.contains(&name) || !there.contains(&name) {
                open.pop();
                continue;
            }
            if !needs.contains_key(&name) {
                needs.insert(name.clone(), needs_of(&name)?);
            }
            // What stands on the way already needs itself: a circle, which is cut.
            let before = needs[&name].iter();
            let next = before
                .filter(|n| there.contains(*n) && !done.contains(*n) && !open.contains(n))
                .min();
            match next {
                Some(next) => open.push(next.clone()),
                None => {
                    open.pop();
                    done.insert(name.clone());
                    ordered.push(name);
                }
            }
        }
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_says_its_release() {
        let mut kernel = vec![0; 0x400];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        kernel[0x300..0x310].copy_from_slice(b"6.1.0-57 (debian");
        assert_eq!(release(&kernel).as_deref(), Some("6.1.0-57"));
        kernel[0x300..0x303].copy_from_slice(b"../");
        assert_eq!(release(&kernel), None);
        kernel[0x20e..0x210].copy_from_slice(&0xffffu16.to_le_bytes());
        assert_eq!(release(&kernel), None);
        assert_eq!(release(b"short"), None);
    }

    #[test]
    fn modules_come_after_what_they_need() {
        let there = ["ext4", "jbd2", "mbcache", "crc16", "other", "loop"];
        let there: BTreeSet<String> = there.map(str::to_owned).into();
        let needs = |name: &str| -> Result<Vec<String>, ()> {
            let needs: &[&str] = match name {
                "ext4" => &["mbcache", "jbd2", "absent"],
                // A circle ends too.
                "jbd2" => &["crc16", "ext4"],
                _ => &[],
            };
            Ok(needs.iter().map(|n| (*n).to_owned()).collect())
        };
        let order = order(&there, needs).unwrap();
        assert_eq!(order, ["loop", "crc16", "jbd2", "mbcache", "ext4"]);
    }

    #[test]
    fn names_of_modules() {
        assert_eq!(
            module_name("virtio-blk.ko.xz").as_deref(),
            Some("virtio_blk")
        );
        assert_eq!(module_name("modules.dep"), None);
        assert!(needs(b"not a module").is_empty());
        assert!(!is_static(b"#!/bin/sh\n"));
    }
}
