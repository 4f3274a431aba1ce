//! Connections of ssh that others go through: one greeting a host, however many trees travel.
//!
//! A master is an ssh that runs something for itself and listens on a socket meanwhile (`ControlMaster`). What it runs
//! ends when its input does, so nothing outlives this process, however it ends. The sockets lie in a folder that no
//! other user can enter.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mstore_store::Cancel;
use mstore_store::transfer::TransferError;

use super::address::SshAddress;
use super::pipes::{Listening, Stops};
use super::ssh::{SshOptions, command, spawn};

/// Bytes that the path of a socket may have. The system takes 107; ssh makes it under a longer name first.
const MOST_PATH: usize = 80;
/// What the folders are called, before the id of their process and a number.
const PREFIX: &str = "mstore-ssh-";
/// How long it may take until a master takes connections, or until ssh says how it is set up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A folder for sockets, which goes with this.
#[derive(Debug)]
pub struct Sockets(PathBuf);

impl Sockets {
    /// Makes one in the first of these folders that will do: sockets have short names, and ssh takes some letters of
    /// them for its own. What processes left there that are gone is removed.
    pub fn new(folders: &[PathBuf]) -> Option<Sockets> {
        let id = std::process::id();
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-+".contains(b);
        folders.iter().find_map(|folder| {
            let name = folder.as_os_str().as_encoded_bytes();
            let fits = name.len() + PREFIX.len() + 24 <= MOST_PATH && name.iter().all(plain);
            if !folder.is_absolute() || !fits {
                return None;
            }
            sweep(folder);
            (0..100).find_map(|number| {
                let path = folder.join(format!("{PREFIX}{id}-{number}"));
                // One that is there already is somebody else's.
                let made = fs::DirBuilder::new().mode(0o700).create(&path);
                made.ok().map(|()| Sockets(path))
            })
        })
    }

    /// The socket of a number.
    pub fn socket(&self, number: usize) -> PathBuf {
        self.0.join(number.to_string())
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a folder with nothing but sockets in it.
fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// Removes what killed processes of this user left.
fn sweep(folder: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let Some(id) = id.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok()) else {
            continue;
        };
        let ours = entry
            .metadata()
            .is_ok_and(|m| m.is_dir() && m.uid() == user);
        if ours && !Path::new("/proc").join(id.to_string()).exists() {
            remove(&entry.path());
        }
    }
}

/// Whether ssh may be told to share a connection to `place`: not where it is another program, nor where the user has
/// set that up already, for then connections are shared, or not, as the user says.
pub fn may_share(place: &SshAddress, options: &SshOptions, stop: &Cancel) -> bool {
    if !options.is_openssh {
        return false;
    }
    let mut asking = options.clone();
    asking.command.push("-G".to_owned());
    let Ok(mut command) = command(place, &asking, &[]) else {
        return false;
    };
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = spawn(place, command) else {
        return false;
    };
    let said = child.stdout.take().and_then(|pipe| {
        let stops = Stops::default();
        stops.set(&[stop]).ok()?;
        let pipe = Listening {
            pipe,
            patience: None,
            until: Some(Instant::now() + PATIENCE),
            stops,
        };
        let mut text = String::new();
        pipe.take(1 << 20).read_to_string(&mut text).ok()?;
        Some(text)
    });
    let _ = child.kill();
    let _ = child.wait();
    said.is_some_and(|said| shares_nothing(&said))
}

/// Whether the settings that `ssh -G` prints have nothing about shared connections.
fn shares_nothing(settings: &str) -> bool {
    let of = |name: &str| {
        let mut lines = settings.lines().filter_map(|line| line.split_once(' '));
        lines
            .find(|(word, _)| *word == name)
            .map(|(_, value)| value)
    };
    of("hostname").is_some()
        && of("controlmaster").is_none_or(|value| value == "false" || value == "no")
        && of("controlpath").is_none_or(|value| value == "none")
}

/// A connection that others go through, until this is dropped.
#[derive(Debug)]
pub struct Master {
    child: Child,
    socket: PathBuf,
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // It removes that itself unless it is killed.
        let _ = fs::remove_file(&self.socket);
    }
}

impl Master {
    /// Connects, and waits until others can go through it: those that come too early make connections of their own.
    /// `words` is what it runs at the other end, which must end when its input does.
    pub fn new(
        place: &SshAddress,
        options: &SshOptions,
        socket: PathBuf,
        words: &[&str],
        stop: &Cancel,
    ) -> Result<Master, TransferError> {
        // What a killed one left would be taken for another master.
        let _ = fs::remove_file(&socket);
        let mut options = options.clone();
        options.through = None;
        let path = format!("ControlPath={}", socket.display());
        for option in ["ControlMaster=yes", "ControlPersist=no", &path] {
            options.command.extend(["-o".to_owned(), option.to_owned()]);
        }
        let mut command = command(place, &options, words)?;
        // What it says there is asked by nobody; its input stays open as long as this process lives.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = spawn(place, command)?;
        let mut master = Master { child, socket };
        let until = Instant::now() + PATIENCE;
        while !master.socket.exists() && Instant::now() < until && !stop.is_cancelled() {
            if let Ok(Some(status)) = master.child.try_wait() {
                let error = io::Error::other(format!("ssh ended with {status}"));
                return Err(TransferError::peer(place.name(), error.to_string()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(master)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_shared_where_nobody_has_set_that_up() {
        assert!(shares_nothing("user me\nhostname a\ncontrolmaster false\n"));
        assert!(shares_nothing(
            "hostname a\ncontrolmaster false\ncontrolpath none\n"
        ));
        assert!(!shares_nothing(
            "hostname a\ncontrolmaster auto\ncontrolpath /x\n"
        ));
        assert!(!shares_nothing(
            "hostname a\ncontrolmaster false\ncontrolpath /x\n"
        ));
        assert!(!shares_nothing("Welcome\n"));
    }

    #[test]
    fn a_folder_is_for_its_user_alone_and_goes() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::Builder::new()
            .prefix("m")
            .tempdir_in("/tmp")
            .unwrap();
        let left = dir.path().join(format!("{PREFIX}4194305-0"));
        fs::create_dir(&left).unwrap();
        let long = PathBuf::from(format!("/{}", "a".repeat(80)));
        let sockets = Sockets::new(&[long, "x y".into(), dir.path().to_owned()]).unwrap();
        let path = sockets.0.clone();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(sockets.socket(9999).as_os_str().len() <= MOST_PATH);
        assert!(!left.exists(), "what a killed process left is removed");
        drop(sockets);
        assert!(!path.exists());
    }
}
