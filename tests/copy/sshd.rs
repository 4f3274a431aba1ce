//! A real sshd on the loopback interface, with keys and configuration of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A running sshd, and how to reach it.
pub struct Sshd {
    child: Child,
    /// Where it listens.
    #[allow(dead_code, reason = "not every suite with this file asks")]
    pub port: u16,
    /// The file for `ssh -F`: any name is this machine.
    pub config: PathBuf,
    _dir: tempfile::TempDir,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sshd {
    /// Starts one, with `mstore` in the path there; `None` where that is not possible.
    pub fn start(mstore: &Path) -> Option<Sshd> {
        let (Some(sshd), Some(keygen), Some(_)) =
            (program("sshd"), program("ssh-keygen"), program("ssh"))
        else {
            return None;
        };
        let dir = tempfile::Builder::new()
            .prefix("mstore-ssh.")
            .tempdir_in("/var/tmp")
            .unwrap();
        let root = dir.path().to_owned();
        let path = |name: &str| root.join(name).display().to_string();
        for key in ["host", "user"] {
            must(Command::new(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]));
        }
        fs::copy(path("user.pub"), path("authorized")).unwrap();
        let host_key = fs::read_to_string(path("host.pub")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        fs::write(path("known"), format!("[127.0.0.1]:{port} {host_key}")).unwrap();
        // `mstore` in the PATH there is the one under test.
        let bin = root.join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(mstore, bin.join("mstore")).unwrap();
        fs::write(
            path("sshd_config"),
            format!(
                "SetEnv PATH={}:/usr/local/bin:/usr/bin:/bin\nListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nMaxSessions 100\nMaxStartups 100\n",
                bin.display(),
                path("host"),
                path("authorized")
            ),
        )
        .unwrap();
        // The user's own configuration, as ssh_config has it: a short name for the host.
        fs::write(
            path("ssh_config"),
            format!(
                "Host builder builder-*\n  HostName 127.0.0.1\n  Port {port}\nHost *\n  IdentityFile {}\n  \
                 IdentitiesOnly yes\n  UserKnownHostsFile {}\n  BatchMode yes\n",
                path("user"),
                path("known")
            ),
        )
        .unwrap();
        for key in ["host", "user"] {
            fs::set_permissions(path(key), fs::Permissions::from_mode(0o600)).unwrap();
        }
        if rustix::process::geteuid().is_root() {
            let _ = fs::create_dir_all("/run/sshd");
        }
        let child = Command::new(sshd)
            .args(["-D", "-e", "-f", &path("sshd_config")])
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        let config = dir.path().join("ssh_config");
        let mut sshd = Sshd {
            child,
            port,
            config,
            _dir: dir,
        };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if sshd.child.try_wait().unwrap().is_some() || Instant::now() > until {
                let log = fs::read_to_string(path("log")).unwrap_or_default();
                panic!("sshd does not start: {log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(sshd)
    }
}

/// Finds a program, also where only administrators look.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|f| f.join(name)).find(|p| p.is_file())
}

fn must(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
