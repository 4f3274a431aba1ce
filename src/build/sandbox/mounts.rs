//! The root a build sees: overlayfs over the layers, private `/dev`, `/proc`, `/tmp`, the inputs.
//!
//! Everything happens in the sandbox's own mount namespace, so nothing has to be unmounted: the
//! mounts go with the last process. Layers are handed to overlayfs as numbers of open descriptors
//! (paths relative to `/proc/self/fd`). So names with colons, commas and backslashes need no
//! quoting, and hundreds of layers fit the one page that mount options may fill.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timestamps, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use super::stages::{During, SetupStage, Trouble};
use super::wire::{Order, WireBind};
use crate::build::{clean, sys};

/// Where the script and most inputs appear.
const OWN: &str = "mstore";

/// Devices every build may use: they keep no state between builds.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links of `/dev`.
const DEV_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Parts of `/proc` that tell about the machine what no build should depend on.
const PROC_HIDDEN: [&str; 14] = [
    "acpi",
    "asound",
    "scsi",
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "latency_stats",
    "sched_debug",
    "timer_list",
    "vmallocinfo",
];

const PLAIN: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Room in file systems in memory that hold names and little else. Those that a build writes to have
/// less than all of the machine's memory together.
const SMALL: &str = "4m";

/// Builds the root and makes it this process's own. Gives the fifo of the jobserver, if there is to be one.
pub(crate) fn enter_root(order: &Order) -> Result<Option<OwnedFd>, Trouble> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .during(SetupStage::Propagation)?;
    let (root, memory) = overlay(order)?;
    make_dev(&root)?;
    make_proc(&root)?;
    let sys = tmpfs(
        "0555",
        SMALL,
        PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY,
        "/sys",
    )?;
    attach(
        &sys,
        &point(&root, "sys")?,
        Path::new("/sys"),
        SetupStage::Tmpfs,
    )?;
    let tmp = if order.tmp_on_root {
        None
    } else {
        let tmp = tmpfs("01777", "50%", PLAIN, "/tmp")?;
        attach(
            &tmp,
            &point(&root, "tmp")?,
            Path::new("/tmp"),
            SetupStage::Tmpfs,
        )?;
        Some(tmp)
    };
    let own = tmpfs("0755", "10%", PLAIN, "/mstore")?;
    attach(
        &own,
        &point(&root, OWN)?,
        Path::new("/mstore"),
        SetupStage::Tmpfs,
    )?;
    write_script(&own, &order.script)?;
    let jobserver = match order.jobserver {
        true => Some(make_jobserver(&own)?),
        false => None,
    };
    show_inputs(order, &root, &memory, &own, tmp.as_ref())?;
    sys::mount_setattr(&own, false, libc::MOUNT_ATTR_RDONLY)
        .at(SetupStage::Tmpfs, Path::new("/mstore"))?;

    rustix::process::fchdir(&root).during(SetupStage::PivotRoot)?;
    rustix::process::pivot_root(".", ".").during(SetupStage::PivotRoot)?;
    // The old root now lies on top of the new one; with it goes every way back.
    rustix::mount::unmount(".", UnmountFlags::DETACH).during(SetupStage::PivotRoot)?;
    rustix::process::chdir("/").during(SetupStage::PivotRoot)?;
    Ok(jobserver)
}

/// Mounts the overlay. Gives its root, and a directory in memory that nobody inside sees.
fn overlay(order: &Order) -> Result<(OwnedFd, OwnedFd), Trouble> {
    let mut lowers = Vec::new();
    for layer in &order.layers {
        lowers.push(open_unlinked(layer, OFlags::PATH).at(SetupStage::Layer, layer)?);
    }
    match rustix::fs::mkdir(&order.upper, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e).at(SetupStage::Upper, &order.upper),
    }
    copy_root_metadata(order.layers.first().map(PathBuf::as_path), &order.upper)?;
    let upper = open_unlinked(&order.upper, OFlags::PATH).at(SetupStage::Upper, &order.upper)?;

    let work_path = order.scratch.join("work");
    // An earlier run that was killed may have left one, and overlayfs refuses to reuse the working
    // directory of a volatile mount.
    clean::remove_tree(&work_path).map_err(|e| Trouble {
        stage: SetupStage::Scratch,
        errno: e.source.raw_os_error().unwrap_or_default(),
        path: Some(e.path),
    })?;
    rustix::fs::mkdir(&work_path, Mode::RWXU).at(SetupStage::Scratch, &work_path)?;
    let work = open_unlinked(&work_path, OFlags::PATH).at(SetupStage::Scratch, &work_path)?;

    // What needs no disk lies on a file system in memory. It is mounted over the working
    // directory, which nobody has to reach by its name any more.
    let memory = tmpfs("0700", "10%", PLAIN, "skeleton")?;
    attach(&memory, &work, &work_path, SetupStage::Tmpfs)?;
    let mut made = Vec::new();
    for name in ["skeleton", "root"] {
        rustix::fs::mkdirat(&memory, name, Mode::RWXU).at(SetupStage::Tmpfs, Path::new(name))?;
        made.push(open_dir_at(&memory, name)?);
    }
    let (at, skeleton) = (made.pop(), made.pop());
    let (Some(at), Some(skeleton)) = (at, skeleton) else {
        return Err(Errno::NOENT).during(SetupStage::Tmpfs);
    };
    make_skeleton(order, &skeleton)?;
    lowers.push(skeleton);

    // `volatile`: the caller makes durable what it keeps, so syncing here (on every `fsync` of a
    // build and once more on unmounting, for the whole file system) would only cost time.
    // The rest holds the semantics still whatever this kernel's defaults are. With `xino=on` files and folders
    // show one device although layers lie on two file systems; `auto` has no effect in a user namespace.
    let options = format!(
        "{},upperdir={},workdir={},userxattr,volatile,index=off,metacopy=off,xino=on",
        lower_dirs(&lowers),
        upper.as_raw_fd(),
        work.as_raw_fd(),
    );
    mount_overlay(&at, MountFlags::NODEV, options).at(SetupStage::Overlay, &order.upper)?;
    let root = open_dir_at(&memory, "root")?;
    Ok((root, memory))
}

/// Layers as a mount option, topmost first.
fn lower_dirs(layers: &[OwnedFd]) -> String {
    let numbers: Vec<String> = layers.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    format!("lowerdir={}", numbers.join(":"))
}

/// Mounts overlayfs; options name directories by the numbers of their descriptors.
fn mount_overlay(at: &OwnedFd, flags: MountFlags, options: String) -> Result<(), Errno> {
    if options.len() >= 4095 {
        return Err(Errno::TOOBIG);
    }
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::process::chdir("/proc/self/fd")?;
    let at = at.as_raw_fd().to_string();
    rustix::mount::mount("overlay", at, "overlay", flags, options.as_c_str())?;
    rustix::process::chdir("/")
}

/// The lowest layer: what is mounted upon, so that a root that lacks it need not be changed.
fn make_skeleton(order: &Order, skeleton: &OwnedFd) -> Result<(), Trouble> {
    for name in ["dev", "proc", "sys", OWN] {
        make_dirs(skeleton, Path::new(name))?;
    }
    make_dirs(skeleton, Path::new("tmp"))?;
    rustix::fs::chmodat(
        skeleton,
        "tmp",
        Mode::from_raw_mode(0o1777),
        AtFlags::empty(),
    )
    .at(SetupStage::Scratch, Path::new("/tmp"))?;
    for bind in &order.binds {
        let inside = relative(&bind.target);
        if inside.starts_with(OWN) || (!order.tmp_on_root && inside.starts_with("tmp")) {
            continue;
        }
        make_point(skeleton, inside, is_directory(bind)?)?;
    }
    // Directories that exist only here can be seen; when they were made must not be.
    let epoch = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: epoch,
        last_modification: epoch,
    };
    for bind in order.binds.iter().map(|b| relative(&b.target)) {
        for dir in bind.ancestors().filter(|d| !d.as_os_str().is_empty()) {
            match rustix::fs::utimensat(skeleton, dir, &times, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e).at(SetupStage::Scratch, dir),
            }
        }
    }
    for name in ["dev", "proc", "sys", OWN, "tmp"] {
        rustix::fs::utimensat(skeleton, name, &times, AtFlags::empty())
            .at(SetupStage::Scratch, Path::new(name))?;
    }
    Ok(())
}

/// Gives a new upper layer's root what the base's root has: mode, owner, xattrs, time.
///
/// The merged root takes these from the upper layer, where overlayfs itself never copies them. An
/// upper layer that already holds something is the state of an earlier run and stays as it is.
fn copy_root_metadata(from: Option<&Path>, upper: &Path) -> Result<(), Trouble> {
    let to = open_unlinked(upper, OFlags::RDONLY).at(SetupStage::Upper, upper)?;
    for entry in rustix::fs::Dir::read_from(&to).at(SetupStage::Upper, upper)? {
        let entry = entry.at(SetupStage::Upper, upper)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(());
        }
    }
    let Some(from) = from else {
        return rustix::fs::fchmod(&to, Mode::from_raw_mode(0o755)).at(SetupStage::Upper, upper);
    };
    let base = open_unlinked(from, OFlags::RDONLY).at(SetupStage::Layer, from)?;
    let stat = rustix::fs::fstat(&base).at(SetupStage::Layer, from)?;
    rustix::fs::fchown(
        &to,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )
    .at(SetupStage::Upper, upper)?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))
        .at(SetupStage::Upper, upper)?;
    copy_xattrs(&base, &to).at(SetupStage::Upper, upper)?;
    let time = |sec: i64, nsec: u64| rustix::fs::Timespec {
        tv_sec: sec,
        tv_nsec: nsec as _,
    };
    rustix::fs::futimens(
        &to,
        &Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        },
    )
    .at(SetupStage::Upper, upper)
}

fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    // 64 KiB is the most that the kernel gives for a list, and for one value.
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut value = vec![0; 64 << 10];
    for name in names[..length].split(|&b| b == 0).filter(|n| !n.is_empty()) {
        // Overlayfs's own marks belong to the layer, labels of the machine's policy to the file.
        if name.starts_with(b"user.overlay.") || name == b"security.selinux" {
            continue;
        }
        let size = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        rustix::fs::fsetxattr(to, name, &value[..size], rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

fn make_dev(root: &OwnedFd) -> Result<(), Trouble> {
    let stage = SetupStage::Dev;
    let dev = tmpfs(
        "0755",
        SMALL,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        "/dev",
    )?;
    attach(&dev, &point(root, "dev")?, Path::new("/dev"), stage)?;
    for name in DEVICES {
        let shown = Path::new("/dev").join(name);
        let device = device(name).at(stage, &shown)?;
        make_file(&dev, Path::new(name)).at(stage, &shown)?;
        attach_at(&device, &dev, name).at(stage, &shown)?;
    }
    for (target, name) in DEV_LINKS {
        rustix::fs::symlinkat(target, &dev, name).at(stage, Path::new(name))?;
    }
    let all = Mode::from_raw_mode(0o755);
    for (name, mount) in [
        (
            "shm",
            tmpfs(
                "01777",
                "25%",
                PLAIN | MountAttrFlags::MOUNT_ATTR_NOEXEC,
                "/dev/shm",
            )?,
        ),
        (
            "pts",
            new_mount(
                "devpts",
                &[("ptmxmode", "0666"), ("mode", "0620")],
                MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
            )
            .at(stage, Path::new("/dev/pts"))?,
        ),
    ] {
        rustix::fs::mkdirat(&dev, name, all).at(stage, Path::new(name))?;
        attach_at(&mount, &dev, name).at(stage, Path::new(name))?;
    }
    // Nothing is made, removed or replaced in it; the devices themselves can be written to all the same.
    sys::mount_setattr(&dev, false, libc::MOUNT_ATTR_RDONLY).at(stage, Path::new("/dev"))
}

/// One of the machine's devices. Reading and writing it is not a change of the file system, so a
/// read-only mount only keeps its owner and mode, which are the machine's, from being changed.
fn device(name: &str) -> Result<OwnedFd, Errno> {
    let tree = clone_tree(CWD, &Path::new("/dev").join(name), false)?;
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    sys::mount_setattr(&tree, false, attributes)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL))?;
    Ok(tree)
}

fn make_proc(root: &OwnedFd) -> Result<(), Trouble> {
    let stage = SetupStage::Proc;
    // Read-only as a whole: real root has the user id that owns the files which set up the machine
    // (`sys`, `sysrq-trigger`), and the modes of the others are shared with the machine's /proc.
    let proc = new_mount(
        "proc",
        &[],
        PLAIN | MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
    .at(stage, Path::new("/proc"))?;
    attach(&proc, &point(root, "proc")?, Path::new("/proc"), stage)?;
    for name in PROC_HIDDEN {
        let path = Path::new(name);
        let stat = match rustix::fs::statat(&proc, path, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other.at(stage, path)?,
        };
        let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            tmpfs(
                "0555",
                SMALL,
                PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY,
                "/proc",
            )?
        } else {
            device("null").at(stage, path)?
        };
        attach_at(&cover, &proc, name).at(stage, path)?;
    }
    Ok(())
}

/// Makes the fifo of the jobserver, which everybody inside may read and write, and opens both its ends.
fn make_jobserver(own: &OwnedFd) -> Result<OwnedFd, Trouble> {
    let path = Path::new("/mstore/jobs");
    let mode = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(own, "jobs", FileType::Fifo, mode, 0).at(SetupStage::Jobserver, path)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(own, "jobs", flags, Mode::empty()).at(SetupStage::Jobserver, path)
}

fn write_script(own: &OwnedFd, script: &[u8]) -> Result<(), Trouble> {
    let path = Path::new("/mstore/step");
    let file = rustix::fs::openat(
        own,
        "step",
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o755),
    )
    .at(SetupStage::Script, path)?;
    // `write_all` of the standard library deals with short writes.
    std::io::Write::write_all(&mut std::fs::File::from(file), script)
        .at(SetupStage::Script, path)?;
    rustix::fs::chmodat(own, "step", Mode::from_raw_mode(0o755), AtFlags::empty())
        .at(SetupStage::Script, path)
}

fn show_inputs(
    order: &Order,
    root: &OwnedFd,
    memory: &OwnedFd,
    own: &OwnedFd,
    tmp: Option<&OwnedFd>,
) -> Result<(), Trouble> {
    rustix::fs::mkdirat(memory, "nothing", Mode::RWXU)
        .at(SetupStage::Tmpfs, Path::new("nothing"))?;
    // Outer mount points first, whatever order they were given in.
    let mut binds: Vec<&WireBind> = order.binds.iter().collect();
    binds.sort_by_key(|b| b.target.components().count());
    for bind in binds {
        let inside = relative(&bind.target);
        let directory = is_directory(bind)?;
        for (base, top) in [(Some(own), OWN), (tmp, "tmp")] {
            if let (Some(base), Ok(rest)) = (base, inside.strip_prefix(top)) {
                make_point(base, rest, directory)?;
            }
        }
        let at = point(root, inside)?;
        if directory && !bind.writable {
            show_directory(bind, &at, memory)?;
            continue;
        }
        let tree = clone_tree(CWD, &bind.source, true).at(SetupStage::Bind, &bind.source)?;
        let mut attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        if !bind.writable {
            attributes |= libc::MOUNT_ATTR_RDONLY;
        }
        sys::mount_setattr(&tree, true, attributes).at(SetupStage::Bind, &bind.source)?;
        attach(&tree, &at, &bind.target, SetupStage::Bind)?;
    }
    Ok(())
}

/// Shows a directory as a file system of its own: of one that is only bound, the list of mounts would
/// tell where on this machine it lies.
fn show_directory(bind: &WireBind, at: &OwnedFd, memory: &OwnedFd) -> Result<(), Trouble> {
    // Without an upper layer there must be two others.
    let layers = [
        open_dir(&bind.source, SetupStage::Bind)?,
        open_dir_at(memory, "nothing")?,
    ];
    let options = format!("{},userxattr,xino=auto", lower_dirs(&layers));
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_overlay(at, flags, options).at(SetupStage::Bind, &bind.source)
}

fn is_directory(bind: &WireBind) -> Result<bool, Trouble> {
    let stat = rustix::fs::stat(&bind.source).at(SetupStage::Bind, &bind.source)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// A path without its leading slash.
fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Makes a directory or an empty file to mount upon, with all directories above it.
fn make_point(base: &OwnedFd, path: &Path, directory: bool) -> Result<(), Trouble> {
    if directory {
        return make_dirs(base, path);
    }
    if let Some(parent) = path.parent() {
        make_dirs(base, parent)?;
    }
    make_file(base, path).at(SetupStage::MountPoint, path)
}

fn make_dirs(base: &OwnedFd, path: &Path) -> Result<(), Trouble> {
    let mut at = PathBuf::new();
    for component in path.components() {
        if let Component::Normal(name) = component {
            at.push(name);
            match rustix::fs::mkdirat(base, &at, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e).at(SetupStage::MountPoint, &at),
            }
        }
    }
    Ok(())
}

fn make_file(base: &OwnedFd, path: &Path) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(base, path, flags, Mode::from_raw_mode(0o644)).map(drop)
}

/// Finds a mount point; links in the root are followed, but never out of it.
fn point(root: &OwnedFd, path: impl AsRef<Path>) -> Result<OwnedFd, Trouble> {
    let path = path.as_ref();
    rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
    .at(SetupStage::MountPoint, &Path::new("/").join(path))
}

/// Opens a folder to whose path, which is that of a store without links in it, no link may lead: one that was put
/// there meanwhile would have a build read or written elsewhere.
fn open_unlinked(path: &Path, how: OFlags) -> Result<OwnedFd, Errno> {
    let flags = how | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
}

fn open_dir(path: &Path, stage: SetupStage) -> Result<OwnedFd, Trouble> {
    rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(stage, path)
}

fn open_dir_at(base: &OwnedFd, name: &str) -> Result<OwnedFd, Trouble> {
    rustix::fs::openat(
        base,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(SetupStage::Tmpfs, Path::new(name))
}

fn tmpfs(
    mode: &str,
    size: &str,
    attributes: MountAttrFlags,
    shown: &str,
) -> Result<OwnedFd, Trouble> {
    new_mount("tmpfs", &[("mode", mode), ("size", size)], attributes)
        .at(SetupStage::Tmpfs, Path::new(shown))
}

fn new_mount(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, *value)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A detached copy of what is mounted at a path.
fn clone_tree(base: impl AsFd, path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(base, path, flags)
}

fn attach(mount: &OwnedFd, at: &OwnedFd, shown: &Path, stage: SetupStage) -> Result<(), Trouble> {
    rustix::mount::move_mount(
        mount,
        "",
        at,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
    .at(stage, shown)
}

fn attach_at(mount: &OwnedFd, dir: &OwnedFd, name: &str) -> Result<(), Errno> {
    rustix::mount::move_mount(
        mount,
        "",
        dir,
        name,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}
