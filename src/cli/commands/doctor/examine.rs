//! Looks what this machine can do for builds, by doing it: a sandbox, a store, files of other owners, programs.

use std::path::Path;
use std::process::{Command, Stdio};

use mstore_store::ImageKind;

use super::check::{Check, State};
use super::disk;

use crate::build::bounds::{Groups, NoGroups};
use crate::build::host::{self, Runs};
use crate::build::sandbox::{Sandbox, SandboxError, SetupStage};
use crate::build::userns::{Entered, UsernsError};

/// What is looked at.
#[derive(Debug)]
pub struct Patient<'a> {
    /// The folder of the store, which need not exist.
    pub store: &'a Path,
    /// What came of entering a user namespace.
    pub entered: Result<Entered, UsernsError>,
    /// The program to run as ssh, with its options.
    pub ssh: &'a [String],
}

/// Looks at everything, in the order in which a build needs it. What is made on the way is removed.
pub fn examine(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = vec![kernel(), namespaces(&patient.entered)];
    let folder = disk::Scratch::near(patient.store);
    match &folder {
        Ok(scratch) => {
            sandbox(patient, scratch.path(), &mut checks);
            checks.push(disk::owners(scratch.path(), &patient.entered));
            checks.extend(disk::file_system(scratch.path()));
            checks.push(disk::store(scratch.path()));
            checks.push(disk::room(scratch.path()));
        }
        Err(error) => {
            checks.push(
                Check::bad(
                    "store",
                    State::Missing,
                    format!("{} cannot be written: {error}", patient.store.display()),
                )
                .remedy(
                    "run it as the user that the store belongs to, or use another: --store DIR",
                ),
            );
        }
    }
    checks.push(disk::open_files());
    checks.push(platforms());
    checks.push(control_groups());
    checks.extend(programs(patient.ssh));
    checks
}

/// Whether targets can be built.
pub fn is_able(checks: &[Check]) -> bool {
    checks
        .iter()
        .all(|check| matches!(check.state, State::Good | State::Lacking))
}

fn kernel() -> Check {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    Check::good("kernel", format!("Linux {release} on {}", host::machine()))
}

fn namespaces(entered: &Result<Entered, UsernsError>) -> Check {
    match entered {
        Ok(entered) => Check::good("user", entered.to_string()),
        // The errors have the remedy.
        Err(error) => Check::bad("user", State::Missing, error),
    }
}

/// The parts of a sandbox, in the order in which they are set up.
const PARTS: [(&str, &str, &[SetupStage]); 5] = [
    (
        "namespaces",
        "user, mount, pid, ipc, uts, network and cgroup namespaces were made",
        &[
            SetupStage::Protocol,
            SetupStage::Namespaces,
            SetupStage::Identities,
            SetupStage::Fork,
            SetupStage::Propagation,
            SetupStage::Init,
        ],
    ),
    (
        "overlayfs",
        "a root was mounted on the file system of the store",
        &[
            SetupStage::Scratch,
            SetupStage::Layer,
            SetupStage::Upper,
            SetupStage::Overlay,
        ],
    ),
    (
        "mounts",
        "/dev, /proc, /sys and /tmp of its own were mounted, and the root was entered",
        &[
            SetupStage::MountPoint,
            SetupStage::Dev,
            SetupStage::Proc,
            SetupStage::Tmpfs,
            SetupStage::Bind,
            SetupStage::Script,
            SetupStage::Jobserver,
            SetupStage::PivotRoot,
            SetupStage::Terminal,
        ],
    ),
    (
        "loopback",
        "the loopback interface was started",
        &[SetupStage::Network, SetupStage::Hostname],
    ),
    (
        "privileges",
        "limits were set, capabilities dropped, system calls filtered",
        &[
            SetupStage::Limits,
            SetupStage::Capabilities,
            SetupStage::Seccomp,
        ],
    ),
];

/// Sets a sandbox up, as builds do, and takes it down.
fn sandbox(patient: &Patient<'_>, scratch: &Path, checks: &mut Vec<Check>) {
    let unknown = |check| {
        Check::bad(
            check,
            State::Unknown,
            "not tried: something before it fails",
        )
    };
    if patient.entered.is_err() {
        checks.extend(PARTS.map(|(name, ..)| unknown(name)));
        return;
    }
    let error = match host::check(&Sandbox::new(), scratch) {
        Ok(_) => {
            checks.extend(PARTS.map(|(name, what, _)| Check::good(name, what)));
            return;
        }
        Err(error) => error,
    };
    let (at, hint) = match &error {
        SandboxError::Setup { stage, hint, .. } => {
            let at = PARTS.iter().position(|(.., stages)| stages.contains(stage));
            (at.unwrap_or(0), hint.clone())
        }
        _ => (0, None),
    };
    for (number, (name, what, _)) in PARTS.into_iter().enumerate() {
        checks.push(match number.cmp(&at) {
            std::cmp::Ordering::Less => Check::good(name, what),
            std::cmp::Ordering::Equal => Check {
                remedy: hint.clone(),
                ..Check::bad(name, State::Missing, without_hint(&error))
            },
            std::cmp::Ordering::Greater => unknown(name),
        });
    }
}

/// An error with its cause; the remedy stands on a line of its own.
fn without_hint(error: &SandboxError) -> String {
    match error {
        SandboxError::Setup {
            stage,
            path,
            source,
            ..
        } => {
            let path = path.iter().map(|path| format!(": {}", path.display()));
            format!("{stage} failed{}: {source}", path.collect::<String>())
        }
        other => other.to_string(),
    }
}

/// Platforms of which programs run here. Whether 32-bit programs do is tried with one.
fn platforms() -> Check {
    let wanted = ["x86_64", "i686", "aarch64", "armv7l", "riscv64", "ppc64le"];
    let mut runs = vec![format!("{} natively", host::machine())];
    let mut remedy = None;
    for platform in wanted {
        match host::runs(platform) {
            _ if platform == host::machine() => {}
            Ok(Runs::Natively) => runs.push(format!("{platform} natively")),
            Ok(Runs::As32Bit) => runs.push(format!("{platform} in 32-bit mode")),
            Ok(Runs::Emulated { by }) => runs.push(format!("{platform} by {by}")),
            Err(error) => remedy = remedy.or(Some((platform, error.remedy))),
        }
    }
    let found = format!("programs for {}", runs.join(", "));
    match remedy {
        None => Check::good("platforms", found),
        Some((platform, remedy)) => Check::bad("platforms", State::Lacking, found)
            .remedy(format!("to build for others, such as {platform}: {remedy}")),
    }
}

/// Whether the kernel keeps limits of memory and processes. No build needs that.
fn control_groups() -> Check {
    match Groups::here().place() {
        Ok(place) => Check::good(
            "cgroups",
            format!(
                "limits of memory and processes are kept by the kernel, in {}",
                place.display()
            ),
        ),
        Err(why) => Check::bad(
            "cgroups",
            State::Lacking,
            format!("limits of memory and processes are watched, four times a second: {why}"),
        )
        .remedy(match why {
            NoGroups::Absent => {
                "for limits that the kernel keeps: mount -t cgroup2 cgroup2 /sys/fs/cgroup; in a container, start it with \
                 control groups of its own (podman run --cgroupns=private)"
            }
            NoGroups::FirstVersion => {
                "for limits that the kernel keeps: start the machine with systemd.unified_cgroup_hierarchy=1 for the kernel, \
                 or without systemd with cgroup_no_v1=all, and mount -t cgroup2 cgroup2 /sys/fs/cgroup"
            }
            NoGroups::Closed { .. } => {
                "for limits that the kernel keeps: systemd-run --scope -p Delegate=yes mstore ..., with --user for ordinary \
                 users"
            }
        }),
    }
}

/// Programs that some commands run.
fn programs(ssh: &[String]) -> Vec<Check> {
    let image = |kind: ImageKind, what| (kind.program(), "-version", kind.package(), what);
    let (program, options) = ssh
        .split_first()
        .map_or(("ssh", &[][..]), |(program, rest)| (program.as_str(), rest));
    let mut version = options.to_vec();
    version.push("-V".to_owned());
    let mut checks = vec![try_program(
        "ssh",
        program,
        &version,
        "openssh-client",
        "copying to and from hosts",
    )];
    for (name, option, package, what) in [
        ("git", "--version", "git", "snapshots of git repositories"),
        ("gpg", "--version", "gnupg", "signed mirrors"),
        image(ImageKind::Squashfs, "export to .squashfs"),
        (
            ImageKind::Erofs.program(),
            "-V",
            ImageKind::Erofs.package(),
            "export to .erofs",
        ),
        ("xorriso", "-version", "xorriso", "export to .iso"),
        ("mke2fs", "-V", "e2fsprogs", "export to .disk"),
        ("sfdisk", "--version", "fdisk", "export to .disk"),
        (
            "grub-mkimage",
            "--version",
            "grub-common",
            "media that start",
        ),
        ("mkfs.vfat", "--help", "dosfstools", "media that start"),
        ("mcopy", "-V", "mtools", "media that start"),
    ] {
        checks.push(try_program(name, name, &[option.to_owned()], package, what));
    }
    checks
}

/// Runs a program so that it tells its version.
fn try_program(
    check: &'static str,
    program: &str,
    options: &[String],
    package: &str,
    what: &str,
) -> Check {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    // Tools that make file systems are not in the path of ordinary users, and are found all the same.
    path.push(":/usr/sbin:/sbin");
    let output = Command::new(program)
        .args(options)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output();
    let remedy = || format!("for {what}: install the package {package}");
    match output {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            let first = text.lines().find(|line| !line.trim().is_empty());
            let first: String = first.unwrap_or_default().chars().take(80).collect();
            // Some say their version and end with a status all the same.
            match output.status.success() || first.contains(|c: char| c.is_ascii_digit()) {
                true => Check::good(check, first),
                false => Check::bad(
                    check,
                    State::Lacking,
                    format!("{program}: {}", output.status),
                )
                .remedy(remedy()),
            }
        }
        Err(error) => Check::bad(
            check,
            State::Lacking,
            format!("{program} cannot be run: {error}"),
        )
        .remedy(remedy()),
    }
}
