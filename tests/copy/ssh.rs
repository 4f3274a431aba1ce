//! Through a real sshd on the loopback interface, with keys and configuration of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::environment::Environment;
use crate::support::{has, import, must, number, program, skip};

/// A running sshd, and how to reach it.
struct Sshd {
    child: Child,
    port: u16,
    config: PathBuf,
    _dir: tempfile::TempDir,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sshd {
    /// Starts one; `None` where that is not possible.
    fn start(test: &str) -> Option<Sshd> {
        let (Some(sshd), Some(keygen), Some(_)) =
            (program("sshd"), program("ssh-keygen"), program("ssh"))
        else {
            skip(test, "sshd");
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
        fs::write(
            path("sshd_config"),
            format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n",
                path("host"),
                path("authorized")
            ),
        )
        .unwrap();
        // The user's own configuration, as ssh_config has it: a short name for the host.
        fs::write(
            path("ssh_config"),
            format!(
                "Host builder\n  HostName 127.0.0.1\n  Port {port}\nHost *\n  IdentityFile {}\n  \
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

    fn command(&self, env: &Environment, arguments: &[&str]) -> Command {
        let mut command = env.command(arguments);
        command
            .env("MSTORE_SSH", format!("ssh -F {}", self.config.display()))
            .env("SHELL", "/bin/sh");
        command
    }
}

/// Arguments that name the binary under test at the other end.
const PROGRAM: [&str; 2] = ["--remote-program", env!("CARGO_BIN_EXE_mstore")];

#[test]
fn trees_travel_in_both_directions() {
    let Some(sshd) = Sshd::start("ssh") else {
        return;
    };
    let env = Environment::new();
    let far = env.work().join("far store");
    let tree = import(&env.store(), 1);
    let text = tree.to_string();
    let place = format!("ssh://builder{}", far.display());
    let run = |arguments: &[&str]| {
        let all = [arguments, &PROGRAM[..]].concat();
        env.finish(sshd.command(&env, &all).output().unwrap())
    };
    let first = run(&["copy", "--to", &place, &text, "--root", "sent", "--json"]).ok();
    assert!(number(&first, "bytes") > 6_000_000, "{first}");
    assert!(has(&far, tree));
    let again = run(&["copy", "--to", &place, &text, "--json"]).ok();
    assert_eq!(number(&again, "objects"), 0);
    let second = import(&far, 2);
    let text = second.to_string();
    let back = run(&["copy", "--from", &place, &text, "--json"]).ok();
    assert!(number(&back, "bytes") > 6_000_000, "{back}");
    assert!(has(&env.store(), second));
    let with_port = format!("ssh://127.0.0.1:{}{}", sshd.port, far.display());
    let again = run(&["copy", "--from", &with_port, &text, "--json"]).ok();
    assert_eq!(number(&again, "objects"), 0);
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
    let far = far.display().to_string();
    assert!(
        env.run(&["store", "verify", "--store", &far])
            .ok()
            .contains("no fault")
    );
}

#[test]
fn what_goes_wrong_is_told() {
    let Some(sshd) = Sshd::start("ssh") else {
        return;
    };
    let env = Environment::new();
    let tree = import(&env.store(), 1).to_string();
    let place = format!("ssh://builder{}", env.work().join("far").display());
    let run = |arguments: &[&str]| env.finish(sshd.command(&env, arguments).output().unwrap());
    let absent = run(&[
        "copy",
        "--to",
        &place,
        &tree,
        "--remote-program",
        "/nowhere/mstore",
    ]);
    assert!(absent.fails(3).contains("not installed there"));
    let other = run(&["copy", "--to", &place, &tree, "--remote-program", "echo"]);
    assert!(other.fails(3).contains("does not answer as mstore does"));
    let nobody = run(&["copy", "--to", "ssh://127.0.0.1:1/x", &tree]);
    assert!(nobody.fails(3).contains("could not connect"));
}

#[test]
fn a_killed_copy_goes_on_where_it_stopped() {
    let Some(sshd) = Sshd::start("ssh") else {
        return;
    };
    let env = Environment::new();
    let far = env.work().join("far");
    // Larger than a part.
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    for at in 0..150u64 {
        fs::write(
            dir.path().join(format!("f{at}")),
            crate::support::noise(at, 1 << 20),
        )
        .unwrap();
    }
    let store =
        mstore_store::Store::open(&env.store(), &mstore_store::OpenOptions::create()).unwrap();
    let tree = store
        .import_dir(dir.path(), &Default::default())
        .unwrap()
        .tree;
    store.add_root("sample", tree).unwrap();
    drop(store);
    let place = format!("ssh://builder{}", far.display());
    let text = tree.to_string();
    let arguments = [&["copy", "--to", &place, &text, "--json"][..], &PROGRAM[..]].concat();
    let mut child = sshd
        .command(&env, &arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let packs = || fs::read_dir(far.join("packs")).map_or(0, Iterator::count);
    let until = Instant::now() + Duration::from_secs(60);
    while packs() == 0 && child.try_wait().unwrap().is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(packs() > 0);
    let again = env
        .finish(sshd.command(&env, &arguments).output().unwrap())
        .ok();
    let bytes = number(&again, "bytes");
    assert!(bytes < 100 << 20, "{bytes} travelled again");
    assert!(has(&far, tree));
    let far = far.display().to_string();
    assert!(
        env.run(&["store", "verify", "--store", &far])
            .ok()
            .contains("no fault")
    );
}
