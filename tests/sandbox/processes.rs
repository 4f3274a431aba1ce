//! Tests that need another process of this program: one to kill, or one with a terminal.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use mstore::build::cancel::CancelToken;
use mstore::build::sandbox::{Sandbox, Status};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;

use crate::support::{Env, Outcome, job_in};

/// The processes that descend from this one, with their command lines. Others may run the same program
/// at the same time.
fn own_processes() -> Vec<(u32, Vec<u8>)> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        // One that ended meanwhile has none. Its name may hold blanks and parentheses.
        let stat = fs::read(entry.path().join("stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat);
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let parent = fields.split_ascii_whitespace().nth(1);
        if let Some(parent) = parent.and_then(|p| p.parse::<u32>().ok()) {
            parents.insert(pid, parent);
        }
    }
    let me = std::process::id();
    let is_own = |pid: &u32| {
        let mut at = *pid;
        // A process id that was used again meanwhile must not lead in a circle.
        for _ in 0..100 {
            match parents.get(&at) {
                Some(parent) if *parent == me => return true,
                Some(parent) => at = *parent,
                None => return false,
            }
        }
        false
    };
    let own = parents.keys().copied().filter(is_own);
    own.map(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (pid, command)
    })
    .collect()
}

/// Whether a process with this word on its command line descends from this one.
pub fn is_running(word: &str) -> bool {
    let all = own_processes();
    all.iter()
        .any(|(_, command)| command.split(|&b| b == 0).any(|w| w == word.as_bytes()))
}

fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let started = Instant::now();
    while !test() {
        assert!(started.elapsed() < Duration::from_secs(5), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a job that is still busy when this process is killed.
pub fn victim(base: &Path, dir: &Path, word: &str) -> ExitCode {
    let script = format!("setsid sleep {word} & echo begun; exec sleep {word}\n");
    let job = job_in(base, dir, &script);
    let cancel = CancelToken::new().unwrap();
    let mut out = std::io::stdout();
    let log = &mut |bytes: &[u8]| {
        out.write_all(bytes).unwrap();
        out.flush().unwrap();
    };
    Sandbox::new().run(&job, log, &cancel).unwrap();
    ExitCode::SUCCESS
}

pub fn killed_with_its_parent(env: &Env) -> Outcome {
    // What loses its parent stays a descendant.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    for round in 0..5 {
        let dir = env.dir(&format!("victim-{round}"));
        let word = format!("98{}{round}", std::process::id());
        let mut child = Command::new("/proc/self/exe")
            .arg("--victim")
            .args([&env.base, &dir])
            .arg(&word)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "begun\n");
        eventually("the job runs", || is_running(&word));
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("the job is gone", || !is_running(&word));
    }
    // At any moment, also while the sandbox is still being set up.
    for round in 0..20 {
        let dir = env.dir(&format!("early-{round}"));
        let word = format!("97{}{round}", std::process::id());
        let mut child = Command::new("/proc/self/exe")
            .arg("--victim")
            .args([&env.base, &dir])
            .arg(&word)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(round * 500));
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("the job is gone", || {
            !is_running(&word) && !is_running(mstore::build::HELPER_WORD)
        });
    }
    rustix::process::set_child_subreaper(None).unwrap();
    Ok(())
}

pub fn started_by_a_careless_parent(env: &Env) -> Outcome {
    // Ignored signals, closed and open descriptors, a strange umask: none of it reaches a job.
    let dir = env.dir("careless");
    // The shell needs a name for this program, and may not be able to reach its file.
    let program = format!("/proc/{}/exe", std::process::id());
    let output = Command::new("/bin/sh")
        .arg("-c")
        .arg("trap '' CHLD PIPE HUP TERM; umask 077; exec 5</etc/passwd <&- 2>&-; exec \"$@\"")
        .arg("sh")
        .arg(program)
        .arg("--victim")
        .args([&env.base, &dir])
        .arg("0.01")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "begun\n");
    assert!(output.status.success(), "{}", output.status);
    Ok(())
}

/// What an ordinary user is told who cannot enter a user namespace now; `None` when there is no
/// other user to be.
pub fn enter_as_another_user() -> Option<String> {
    use std::os::unix::process::CommandExt;
    let output = Command::new("/proc/self/exe")
        .arg("--enter")
        .uid(1000)
        .gid(1000)
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a shell with this process's own input and output.
pub fn shell(base: &Path, dir: &Path) -> ExitCode {
    let job = job_in(base, dir, "");
    let cancel = CancelToken::new().unwrap();
    let finished = Sandbox::new().shell(&job, &[], &cancel).unwrap();
    match finished.status {
        Status::Exited(code) => ExitCode::from(code as u8),
        _ => ExitCode::from(99),
    }
}

pub fn shell_with_pipes(env: &Env) -> Outcome {
    let dir = env.dir("shell-pipes");
    let mut child = Command::new("/proc/self/exe")
        .arg("--shell")
        .args([&env.base, &dir])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(b"echo $HOME; uname -n; echo x > /data/by-hand; exit 5\n")
        .unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/root\nmstore\n");
    assert_eq!(output.status.code(), Some(5));
    assert!(dir.join("upper/data/by-hand").exists());
    Ok(())
}

pub fn shell_with_a_terminal(env: &Env) -> Outcome {
    let dir = env.dir("shell-tty");
    let controller = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::unlockpt(&controller).unwrap();
    let name = rustix::pty::ptsname(&controller, Vec::new()).unwrap();
    let terminal = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let size = rustix::termios::Winsize {
        ws_row: 33,
        ws_col: 77,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&controller, size).unwrap();
    let before = rustix::termios::tcgetattr(&terminal).unwrap();
    let copy = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    let mut child = Command::new("/proc/self/exe")
        .arg("--shell")
        .args([&env.base, &dir])
        .stdin(copy(&terminal))
        .stdout(copy(&terminal))
        .spawn()
        .unwrap();
    let mut master = fs::File::from(controller);
    let mut shown = String::new();
    let mut read_until = |master: &mut fs::File, what: &str| {
        let mut buffer = [0; 4096];
        while !shown.contains(what) {
            let n = master.read(&mut buffer).unwrap();
            assert!(n > 0, "{shown}");
            shown.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        std::mem::take(&mut shown)
    };
    read_until(&mut master, "(mstore) ");
    // The prompt and the echo come from inside; `$((..))` tells the output from the echo.
    master
        .write_all(b"tty; stty size 2>/dev/null; echo done$((1+1))\n")
        .unwrap();
    let text = read_until(&mut master, "done2");
    assert!(text.contains("/dev/pts/0"), "{text}");
    // Ctrl-C reaches the program inside, not us.
    master
        .write_all(b"sleep 1000; echo after$((1+1))\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    master.write_all(b"\x03").unwrap();
    read_until(&mut master, "(mstore) ");
    master.write_all(b"exit 6\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6));
    // The terminal is as it was.
    let after = rustix::termios::tcgetattr(&terminal).unwrap();
    assert_eq!(
        format!("{:?}", before.local_modes),
        format!("{:?}", after.local_modes)
    );
    Ok(())
}
