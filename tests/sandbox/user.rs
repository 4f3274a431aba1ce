//! An ordinary user to run tests as, without changing the machine.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The uid and gid of the ordinary user; nobody else's on any system we know.
const USER: u32 = 54_321;

/// Runs this program again as an ordinary user, without changing the machine: the user and the
/// subordinate ids exist in a private copy of three files in /etc alone.
pub fn become_user(mode: &str, filter: &[String]) -> ExitCode {
    let prepare = || -> std::io::Result<()> {
        let dir = std::env::temp_dir().join(format!("mstore-etc-{}", std::process::id()));
        fs::create_dir(&dir)?;
        #[allow(deprecated)] // the variant that is `unsafe` matters for file descriptors only
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS)?;
        use rustix::mount::MountPropagationFlags;
        rustix::mount::mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )?;
        let passwd = fs::read_to_string("/etc/passwd")?;
        let range = match mode {
            "ranges" => "mstoretest:1900000:65536\n",
            _ => "",
        };
        for (name, text) in [
            (
                "passwd",
                format!("{passwd}mstoretest:x:{USER}:{USER}::/nonexistent:/bin/sh\n"),
            ),
            ("subuid", range.to_owned()),
            ("subgid", range.to_owned()),
        ] {
            let copy = dir.join(name);
            fs::write(&copy, text)?;
            rustix::mount::mount_bind(&copy, Path::new("/etc").join(name))?;
        }
        fs::remove_dir_all(&dir)?;
        Ok(())
    };
    if let Err(error) = prepare() {
        println!("skipped {mode}: {error}");
        return ExitCode::SUCCESS;
    }
    let error = Command::new("/proc/self/exe")
        .args(filter)
        .current_dir("/")
        .uid(USER)
        .gid(USER)
        .exec();
    println!("skipped {mode}: cannot run this test as another user: {error}");
    ExitCode::SUCCESS
}
