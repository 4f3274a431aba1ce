//! Completion, tried by typing into real shells.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::environment::Environment;
use crate::samples::{tar_archive, tar_file};

/// Two builds with three subarches, a seed and a gc root.
fn distribution() -> Environment {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "list/builds: demo other\nlist/arches: x\nlist/subarches/x: one two three\n\
         list/targets: stage1 stage3\ndefault/build: demo\ntarget/version: 1\ntarget/platform: x86_64\n\
         source: seed\nsource/seed: base\nsteps/chroot: prepare libc\nsteps/chroot/prepare: [\ntrue\n]\n\
         steps/chroot/libc: [\ntrue\n]\nportage/CFLAGS: -O2\nportage/CHOST: x\n",
    );
    env.write("base.tar", tar_archive(&[tar_file("etc/motd", b"hello")]));
    let _ = env.run(&["seed", "import", "base.tar"]).ok();
    let _ = env
        .run(&["store", "root", "add", "release-1", "seed/base"])
        .ok();
    env
}

/// The words that a line of fish, or of zsh, can go on with.
fn words(env: &Environment, words: &[&str]) -> Vec<String> {
    let mut all = vec!["complete", "fish", "--", "mstore"];
    all.extend(words);
    let text = env.run(&all).ok();
    text.lines()
        .map(|line| line.split('\t').next().unwrap().to_owned())
        .collect()
}

#[test]
fn everything_that_has_a_name_is_completed() {
    let env = distribution();
    assert_eq!(
        words(&env, &["realise", ""]),
        [
            "stage1-one",
            "stage3-one",
            "stage1-two",
            "stage3-two",
            "stage1-three",
            "stage3-three",
            "other/"
        ]
    );
    assert_eq!(
        words(&env, &["realise", "-k", "stage3-one", "stage1-t"]),
        ["stage1-two", "stage1-three"]
    );
    assert_eq!(
        words(&env, &["list", "other/stage3-o"]),
        ["other/stage3-one"]
    );
    assert_eq!(
        words(&env, &["log", "stage1-one:"]),
        ["stage1-one:prepare", "stage1-one:libc"]
    );
    assert_eq!(words(&env, &["export", "se"]), ["seed/base"]);
    assert_eq!(words(&env, &["store", "du", "rel"]), ["release-1"]);
    assert_eq!(
        words(&env, &["store", "cat", "seed/base:etc/"]),
        ["seed/base:etc/motd"]
    );
    assert_eq!(
        words(&env, &["store", "ls", "seed/base:"]),
        ["seed/base:etc/"]
    );
    assert_eq!(words(&env, &["store", "root", "remove", ""]), ["release-1"]);
    assert_eq!(words(&env, &["lock", "--update", ""]), ["base"]);
    assert_eq!(words(&env, &["lock", "--seed", "a=seed/"]), ["a=seed/base"]);
    assert_eq!(
        words(&env, &["why", "value", "portage/"]),
        ["portage/CFLAGS", "portage/CHOST"]
    );
    assert_eq!(words(&env, &["-D", "portage/CF"]), ["portage/CFLAGS="]);
    assert_eq!(
        words(&env, &["specs", "cat", "targets/seedling/stage1"]),
        ["targets/seedling/stage1.conf"]
    );
    assert_eq!(
        words(&env, &["why", ""]),
        ["rebuild", "waiting", "alive", "value", "help"]
    );
    assert!(words(&env, &["realise", "--out"]).contains(&"--out-link".to_owned()));
    assert!(!words(&env, &[""]).contains(&"complete".to_owned()));
    assert_eq!(words(&env, &["realise", "-C", "elsewhere", "st"]), [""; 0]);
}

/// Names come from the specifications that the line is about, and nothing is said where there are none.
#[test]
fn what_was_typed_before_counts() {
    let env = distribution();
    fs::create_dir(env.work().join("below")).unwrap();
    env.write("bad/metro.conf", "list/targets: [\n");
    let of = |folder: &str, word: &str| words(&env, &["-C", folder, "show", word]);
    assert_eq!(of("below", "stage1-o"), ["stage1-one"]);
    assert_eq!(of("bad", "stage1-o"), [""; 0]);
    let other = words(&env, &["--file", "bad/metro.conf", "show", "stage1-o"]);
    assert_eq!(other, [""; 0]);
    // As the program is called for a mirror.
    let text = env
        .run(&["complete", "fish", "--", "buildrepo", "nextb"])
        .ok();
    assert!(text.starts_with("nextbuild\t"), "{text}");
}

/// A shell at a terminal.
struct Shell {
    child: Child,
    keyboard: fs::File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Shell {
    fn start(env: &Environment, program: &str, options: &[&str]) -> Shell {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let open = || {
            let path = name.to_str().unwrap();
            fs::File::options()
                .read(true)
                .write(true)
                .open(path)
                .unwrap()
        };
        // The program is found by its name, as the scripts call it.
        let bin = env.work().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let _ = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mstore"), bin.join("mstore"));
        let path = std::env::var("PATH").unwrap_or_default();
        let child = Command::new("setsid")
            .args(["--ctty", program])
            .args(options)
            .current_dir(env.work())
            .env_clear()
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("HOME", env.work())
            .env("MSTORE_STORE", env.store())
            .env("TERM", "dumb")
            .env("PS1", "READY> ")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()))
            .spawn()
            .unwrap();
        let keyboard = fs::File::from(master);
        let mut screen = keyboard.try_clone().unwrap();
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut buffer) {
                if send.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Shell {
            child,
            keyboard,
            screen: receive,
            seen: String::new(),
        }
    }

    fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the screen shows a text, and forgets what came before.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.seen.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("`{text}` did not appear: {:?}", self.seen),
            }
        }
        let after = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..after);
    }

    /// Types the beginning of a line, then tab, then the end, and looks what the shell made of it.
    #[track_caller]
    fn completes(&mut self, typed: &str, end: &str, line: &str) {
        self.type_in(&format!("{typed}\t"));
        // The end must not be typed before the shell has asked.
        std::thread::sleep(Duration::from_millis(100));
        self.type_in(&format!("{end}\n"));
        self.wait_for(&format!("RAN<{line}>"));
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In place of what is typed its words are printed; the scripts run the program itself.
const INSTEAD: &str = "mstore() { printf 'RAN<%s>\\n' \"$*\"; }";

fn try_all(shell: &mut Shell) {
    shell.completes(
        "mstore reali",
        "--dry-run stage1-one",
        "realise --dry-run stage1-one",
    );
    shell.completes("mstore realise stage1-o", "", "realise stage1-one");
    shell.completes("mstore log stage1-one:l", "", "log stage1-one:libc");
    shell.completes("mstore export seed/b", "x.tar", "export seed/base x.tar");
    shell.completes(
        "mstore store cat seed/base:e",
        "motd",
        "store cat seed/base:etc/motd",
    );
    shell.completes(
        "mstore -D portage/CF",
        "-O3 eval",
        "-D portage/CFLAGS=-O3 eval",
    );
    shell.completes("mstore why value portage/CH", "", "why value portage/CHOST");
    shell.completes(
        "mstore export stage1-one a\\ b",
        "",
        "export stage1-one a b.tar",
    );
}

#[test]
fn bash_completes() {
    let env = distribution();
    env.write("a b.tar", "");
    let mut shell = Shell::start(&env, "bash", &["--norc", "--noprofile", "-i"]);
    shell.wait_for("READY> ");
    shell.type_in(&format!(
        "source <(mstore completions bash); {INSTEAD}; echo SET''UP\n"
    ));
    shell.wait_for("SETUP");
    try_all(&mut shell);
}

#[test]
fn zsh_completes() {
    let env = distribution();
    env.write("a b.tar", "");
    let mut shell = Shell::start(&env, "zsh", &["-f", "-i"]);
    shell.type_in(&format!(
        "unsetopt zle_bracketed_paste; PS1='READY> '; autoload -U compinit; compinit -u -D; source <(mstore completions zsh); {INSTEAD}; echo SET''UP\n"
    ));
    shell.wait_for("SETUP");
    try_all(&mut shell);
}

/// Fish tells what it would complete.
#[test]
fn fish_completes() {
    let env = distribution();
    let bin = env.work().join("bin");
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mstore"), bin.join("mstore")).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let complete = |line: &str| {
        let output = Command::new("fish")
            .args(["--no-config", "-c"])
            .arg(format!(
                "mstore completions fish | source; complete -C '{line}'"
            ))
            .current_dir(env.work())
            .env_clear()
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("HOME", env.work())
            .env("MSTORE_STORE", env.store())
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let words = text
            .lines()
            .map(|l| l.split('\t').next().unwrap().to_owned());
        words.collect::<Vec<_>>()
    };
    assert_eq!(complete("mstore realise stage1-o"), ["stage1-one"]);
    assert_eq!(complete("mstore log stage1-one:l"), ["stage1-one:libc"]);
    assert_eq!(complete("mstore export seed/b"), ["seed/base"]);
    assert_eq!(complete("mstore -D portage/CF"), ["portage/CFLAGS="]);
    assert_eq!(complete("mstore store root remove r"), ["release-1"]);
}
