//! Platforms: which programs run on this machine, natively or by an emulator.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::io::Errno;

/// Programs of a platform cannot be run on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this {machine} machine cannot run programs for {platform}: {remedy}")]
pub struct PlatformError {
    /// What the job is for.
    pub platform: String,
    /// What this machine is.
    pub machine: String,
    /// What would help.
    pub remedy: String,
}

/// How programs of a platform run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// They are this machine's own.
    Natively,
    /// The processor's 32-bit mode runs them.
    As32Bit,
    /// An emulator that is registered with the kernel runs them.
    Emulated {
        /// The name of the binfmt_misc entry.
        by: String,
    },
}

/// `uname -m` of this machine.
///
/// This program is never itself run under a 32-bit personality on purpose, but where it is, what
/// `uname` says is what it builds for.
pub fn machine() -> String {
    rustix::system::uname()
        .machine()
        .to_string_lossy()
        .into_owned()
}

/// An instruction set, as ELF files name it.
pub(super) struct Known {
    pub machine: &'static str,
    /// `EI_CLASS` (1 is 32-bit, 2 is 64-bit), `EI_DATA` (1 is little-endian) and `e_machine`.
    class: u8,
    data: u8,
    elf: u16,
    /// The name that qemu-user has for it.
    qemu: &'static str,
}

const fn known(machine: &'static str, class: u8, data: u8, elf: u16, qemu: &'static str) -> Known {
    Known {
        machine,
        class,
        data,
        elf,
        qemu,
    }
}

pub(super) const KNOWN: &[Known] = &[
    known("x86_64", 2, 1, 62, "x86_64"),
    known("i686", 1, 1, 3, "i386"),
    known("i586", 1, 1, 3, "i386"),
    known("i486", 1, 1, 3, "i386"),
    known("aarch64", 2, 1, 183, "aarch64"),
    known("armv7l", 1, 1, 40, "arm"),
    known("armv6l", 1, 1, 40, "arm"),
    known("armv5tel", 1, 1, 40, "arm"),
    known("riscv64", 2, 1, 243, "riscv64"),
    known("riscv32", 1, 1, 243, "riscv32"),
    known("ppc64le", 2, 1, 21, "ppc64le"),
    known("ppc64", 2, 2, 21, "ppc64"),
    known("ppc", 1, 2, 20, "ppc"),
    known("s390x", 2, 2, 22, "s390x"),
    known("sparc64", 2, 2, 43, "sparc64"),
    known("mips64", 2, 2, 8, "mips64"),
    known("mips", 1, 2, 8, "mips"),
    known("loongarch64", 2, 1, 258, "loongarch64"),
    known("alpha", 2, 1, 0x9026, "alpha"),
    known("m68k", 1, 2, 4, "m68k"),
];

/// All platforms that are known, as `uname -m` prints them.
pub fn platforms() -> Vec<String> {
    KNOWN.iter().map(|known| known.machine.to_owned()).collect()
}

fn lookup(platform: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|k| k.machine == platform)
}

/// Whether a platform is the 32-bit side of a 64-bit machine.
pub fn is_32_bit_of(machine: &str, platform: &str) -> bool {
    match machine {
        "x86_64" => matches!(platform, "i386" | "i486" | "i586" | "i686"),
        "aarch64" => matches!(platform, "armv8l" | "armv7l" | "armv6l" | "armv5tel"),
        _ => false,
    }
}

/// Tells how programs of a platform run here, or what keeps them from it.
pub fn runs(platform: &str) -> Result<Runs, PlatformError> {
    let machine = machine();
    if platform == machine {
        return Ok(Runs::Natively);
    }
    if is_32_bit_of(&machine, platform) && runs_32_bit(&machine) {
        return Ok(Runs::As32Bit);
    }
    // Older members of the same family: a 32-bit machine runs all that came before it.
    if let (Some(ours), Some(theirs)) = (lookup(&machine), lookup(platform))
        && (ours.class, ours.data, ours.elf) == (theirs.class, theirs.data, theirs.elf)
        && ours.class == 1
        && theirs.machine < ours.machine
    {
        return Ok(Runs::Natively);
    }
    let refuse = |remedy: String| {
        Err(PlatformError {
            platform: platform.to_owned(),
            machine: machine.clone(),
            remedy,
        })
    };
    let Some(known) = lookup(platform) else {
        return refuse("no such platform is known".into());
    };
    match emulator(Path::new("/proc/sys/fs/binfmt_misc"), known) {
        Some((by, true)) => Ok(Runs::Emulated { by }),
        Some((by, false)) => refuse(format!(
            "the emulator {by} is registered without the flag F, so it does not exist inside a \
             build; install qemu-user-static (and binfmt-support), which registers it with F"
        )),
        None => refuse(format!(
            "install qemu-user-static (and binfmt-support) so that qemu-{} is registered in \
             /proc/sys/fs/binfmt_misc",
            known.qemu
        )),
    }
}

/// Finds an enabled binfmt_misc entry that takes a platform's programs; tells whether it works
/// inside another root.
fn emulator(dir: &Path, known: &Known) -> Option<(String, bool)> {
    let header = elf_header(known);
    let mut found: Option<(String, bool)> = None;
    let mut names: Vec<_> = fs::read_dir(dir)
        .ok()?
        .filter_map(|e| Some(e.ok()?.file_name()))
        .collect();
    names.sort();
    for name in names {
        let Ok(text) = fs::read_to_string(dir.join(&name)) else {
            continue;
        };
        if let Some(fixed) = takes(&text, &header) {
            let name = name.to_string_lossy().into_owned();
            if fixed {
                return Some((name, true));
            }
            found = found.or(Some((name, false)));
        }
    }
    found
}

/// The beginning of an executable of a platform.
fn elf_header(known: &Known) -> [u8; 20] {
    let mut header = [0; 20];
    header[..4].copy_from_slice(b"\x7fELF");
    header[4] = known.class;
    header[5] = known.data;
    header[6] = 1;
    let (executable, machine) = if known.data == 1 {
        (2_u16.to_le_bytes(), known.elf.to_le_bytes())
    } else {
        (2_u16.to_be_bytes(), known.elf.to_be_bytes())
    };
    header[16..18].copy_from_slice(&executable);
    header[18..20].copy_from_slice(&machine);
    header
}

/// Whether a binfmt_misc entry is enabled and takes a file that begins like this; inside is
/// whether it has the flag F (the interpreter is opened when it is registered).
fn takes(entry: &str, header: &[u8; 20]) -> Option<bool> {
    let mut lines = entry.lines();
    if lines.next()? != "enabled" {
        return None;
    }
    let (mut fixed, mut offset, mut magic, mut mask) = (false, 0, None, None);
    for line in lines {
        match line.split_once(' ') {
            Some(("flags:", flags)) => fixed = flags.contains('F'),
            Some(("offset", n)) => offset = n.parse().ok()?,
            Some(("magic", hex)) => magic = from_hex(hex),
            Some(("mask", hex)) => mask = from_hex(hex),
            _ => {}
        }
    }
    let magic = magic?;
    let mask = mask.unwrap_or_else(|| vec![0xff; magic.len()]);
    // A longer magic looks at fields that differ from program to program, or at zeros.
    let fits = magic
        .iter()
        .zip(&mask)
        .enumerate()
        .all(|(i, (want, mask))| match header.get(offset + i) {
            Some(have) => have & mask == want & mask,
            None => *mask == 0,
        });
    fits.then_some(fixed)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok())
        .collect()
}

/// Runs a 32-bit program that only exits: kernels can be built, and started, without support.
fn runs_32_bit(machine: &str) -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| try_32_bit(machine))
}

fn try_32_bit(machine: &str) -> bool {
    use std::os::fd::AsRawFd;
    let program = match machine {
        "x86_64" => tiny_elf(3, &[0x31, 0xdb, 0x8d, 0x43, 0x01, 0xcd, 0x80]),
        "aarch64" => tiny_elf(
            40,
            &[
                0x00, 0x00, 0xa0, 0xe3, // mov r0, #0
                0x01, 0x70, 0xa0, 0xe3, // mov r7, #1
                0x00, 0x00, 0x00, 0xef, // svc 0
            ],
        ),
        _ => return false,
    };
    let run = || -> io::Result<bool> {
        let fd = rustix::fs::memfd_create("mstore-probe", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::io::write(&fd, &program)?;
        // Another process cannot write to a file it is about to run; this one holds it open for
        // writing, so the child opens it anew.
        let read_only = fs::File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        drop(fd);
        let status = Command::new(format!("/proc/self/fd/{}", read_only.as_raw_fd()))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(status.success())
    };
    match run() {
        Ok(works) => works,
        // Only this says no; that the probe itself is forbidden says nothing.
        Err(e) => Errno::from_io_error(&e) != Some(Errno::NOEXEC),
    }
}

/// A little-endian 32-bit executable that consists of its header and some code.
fn tiny_elf(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u32 = 0x0040_0000;
    const HEADERS: u32 = 52 + 32;
    let size = HEADERS + code.len() as u32;
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |elf: &mut Vec<u8>, n: u16| elf.extend_from_slice(&n.to_le_bytes());
    let word = |elf: &mut Vec<u8>, n: u32| elf.extend_from_slice(&n.to_le_bytes());
    half(&mut elf, 2); // executable
    half(&mut elf, machine);
    word(&mut elf, 1);
    word(&mut elf, BASE + HEADERS); // entry
    word(&mut elf, 52); // program headers
    word(&mut elf, 0); // section headers
    word(&mut elf, if machine == 40 { 0x0500_0000 } else { 0 }); // ARM: EABI 5
    for n in [52, 32, 1, 40, 0, 0] {
        half(&mut elf, n);
    }
    // One loaded segment, all of the file, readable and executable.
    for n in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        word(&mut elf, n);
    }
    elf.extend_from_slice(code);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    const QEMU_ARM64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\n\
        offset 0\nmagic 7f454c460201010000000000000000000200b700\n\
        mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn emulators_are_found_by_what_they_take() {
        let arm64 = elf_header(lookup("aarch64").unwrap());
        let riscv = elf_header(lookup("riscv64").unwrap());
        assert_eq!(takes(QEMU_ARM64, &arm64), Some(true));
        assert_eq!(takes(QEMU_ARM64, &riscv), None);
        assert_eq!(takes(&QEMU_ARM64.replace("OCF", "OC"), &arm64), Some(false));
        assert_eq!(
            takes(&QEMU_ARM64.replace("enabled", "disabled"), &arm64),
            None
        );
        assert_eq!(takes("enabled\nextension .x\nflags: F\n", &arm64), None);
        assert_eq!(takes("", &arm64), None);
    }

    #[test]
    fn entries_with_the_flag_are_preferred() {
        let dir = tempfile::tempdir().unwrap();
        let known = lookup("aarch64").unwrap();
        assert_eq!(emulator(dir.path(), known), None);
        fs::write(dir.path().join("a"), QEMU_ARM64.replace("OCF", "")).unwrap();
        fs::write(dir.path().join("register"), "").unwrap();
        assert_eq!(emulator(dir.path(), known), Some(("a".into(), false)));
        fs::write(dir.path().join("b"), QEMU_ARM64).unwrap();
        assert_eq!(emulator(dir.path(), known), Some(("b".into(), true)));
        assert_eq!(emulator(&dir.path().join("none"), known), None);
    }

    #[test]
    fn this_machine_runs_itself_and_not_nonsense() {
        assert_eq!(runs(&machine()).unwrap(), Runs::Natively);
        let error = runs("pdp11").unwrap_err().to_string();
        assert!(error.contains("pdp11"), "{error}");
    }

    #[test]
    fn big_endian_headers_are_big_endian() {
        let header = elf_header(lookup("s390x").unwrap());
        assert_eq!(&header[16..], [0, 2, 0, 22]);
    }
}
