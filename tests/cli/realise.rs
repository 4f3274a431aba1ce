//! `mstore realise`: mistakes in what it is given.

use std::fs;
use std::process::{Command, Stdio};

use insta::assert_snapshot;

use crate::environment::Environment;
use crate::samples::{STANDARD, verify, with_seed};

#[test]
fn a_seed_that_the_lock_file_lacks() {
    let env = with_seed();
    let lock = fs::read(env.work().join("metro.lock")).unwrap();
    env.write(
        "metro.conf",
        format!("{STANDARD}[section user]\nseed: nosuch\n[section strategy]\nbuild: local\n"),
    );
    assert_snapshot!(env.run(&["realise", "stage1-corei7"]).fails(2), @"
    error: $TEST/work/metro.lock has no seed `nosuch`, which seedling/x86-64bit/corei7/stage1 needs
    hint: import one with `mstore seed import FILE.tar.xz --name nosuch`, or capture this machine with `mstore seed host --name nosuch`
    ");
    assert_eq!(fs::read(env.work().join("metro.lock")).unwrap(), lock);
}

#[test]
fn an_unknown_target() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["realise", "stage9-corei7"]).fails(2), @"
    note: there is no metro.conf here or above: these are the standard specifications (`mstore specs`)
    error: no target is called `stage9-corei7`; nearest: stage1-corei7 stage2-corei7 stage3-corei7 stage1-core2_32 stage1-core2_64
    ");
    assert_snapshot!(env.run(&["realise", "stage3-corei8"]).fails(2), @"
    note: there is no metro.conf here or above: these are the standard specifications (`mstore specs`)
    error: no subarch is called `corei8`; nearest: stage3-corei7
    ");
}

#[test]
fn one_element_defined_twice() {
    let env = Environment::new();
    env.write("metro.conf", "a: 1\nb: 2\n[collect more.conf]\n");
    env.write("more.conf", "c: 3\n\na: 4\n");
    assert_snapshot!(env.run(&["eval"]).fails(2), @"
    error[duplicate]: `a` is defined twice
     --> $TEST/work/more.conf:3:1
      |
    3 | a: 4
      | ^ defined again
      |
     ::: $TEST/work/metro.conf:1:1
      |
    1 | a: 1
      | - first defined here
    2 | b: 2
    3 | [collect more.conf]
      | ------------------- the file is collected here
      |
      = help: remove one of them, or make them exclude each other by conditions: `[when ELEMENT is WORD]`
    ");
    assert_snapshot!(env.run(&["realise", "stage3-corei7"]).fails(2), @"
    error[duplicate]: `a` is defined twice
     --> $TEST/work/more.conf:3:1
      |
    3 | a: 4
      | ^ defined again
      |
     ::: $TEST/work/metro.conf:1:1
      |
    1 | a: 1
      | - first defined here
    2 | b: 2
    3 | [collect more.conf]
      | ------------------- the file is collected here
      |
      = help: remove one of them, or make them exclude each other by conditions: `[when ELEMENT is WORD]`
    ");
    assert!(!env.store().exists());
}

#[test]
fn a_folder_in_place_of_a_specification() {
    let env = Environment::new();
    fs::create_dir(env.work().join("folder")).unwrap();
    assert_snapshot!(env.run(&["--file", "folder", "eval"]).fails(2), @r"
    error[cannot-open]: cannot read the main file $TEST/work/folder/metro.conf: no such file
    --> $TEST/work/folder/metro.conf
    hint: write it, or leave out --file to use the standard specs
    ");
    env.write("metro.conf", "[collect folder]\n");
    assert_snapshot!(env.run(&["realise", "stage3-corei7"]).fails(2), @"
    error[bad-collect]: cannot collect $TEST/work/folder: is a directory
     --> $TEST/work/metro.conf:1:10
      |
    1 | [collect folder]
      |          ^^^^^^ is a directory
      |
      = help: name a file in it
    ");
}

#[test]
fn a_fifo_in_place_of_a_specification() {
    let env = Environment::new();
    let made = Command::new("mkfifo").arg(env.work().join("pipe")).status();
    assert!(made.unwrap().success());
    // Neither waits for a writer.
    assert_snapshot!(env.run(&["--file", "pipe", "eval"]).fails(2), @"
    error[cannot-open]: cannot read the main file $TEST/work/pipe: is a FIFO, not a regular file
    --> $TEST/work/pipe
     = help: only regular files are read: copy what it gives into one
    ");
    env.write("metro.conf", "a: 1\n[collect pipe]\n");
    assert_snapshot!(env.run(&["realise", "stage3-corei7"]).fails(2), @"
    error[bad-collect]: cannot collect $TEST/work/pipe: is a FIFO, not a regular file
     --> $TEST/work/metro.conf:2:10
      |
    2 | [collect pipe]
      |          ^^^^ is a FIFO, not a regular file
      |
      = help: only regular files are read: copy what it gives into one
    ");
}

#[test]
fn a_specification_that_may_not_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let env = Environment::new();
    let path = env.write("metro.conf", STANDARD);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        eprintln!("skipped: root reads every file");
        return;
    }
    let text = env.run(&["eval"]).fails(2);
    assert!(
        text.contains("$TEST/work/metro.conf: permission denied"),
        "{text}"
    );
}

#[test]
fn a_specification_that_is_not_there() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["--file", "none.conf", "eval"]).fails(2), @"
    error[cannot-open]: cannot read the main file $TEST/work/none.conf: no such file
    --> $TEST/work/none.conf
    hint: write it, or leave out --file to use the standard specs
    ");
    assert_snapshot!(env.run(&["--file", "none.conf", "realise", "stage3-corei7"]).fails(2), @"
    error: no such entry file: $TEST/work/none.conf
    hint: write one, or leave out --file to use the standard specs
    ");
}

#[test]
fn a_store_of_a_newer_format() {
    let env = with_seed();
    let format = env.store().join("format");
    let text = fs::read_to_string(&format).unwrap();
    let newer = text.replace("format 1\n", "format 99\n");
    assert_ne!(text, newer);
    fs::write(&format, &newer).unwrap();
    let lock = fs::read(env.work().join("metro.lock")).unwrap();
    let all = [
        &["realise", "stage1-corei7"][..],
        &["seed", "import", "good.tar"],
        &["store", "verify"],
        &["gc"],
    ];
    let mut texts: Vec<String> = all.iter().map(|c| env.run(c).fails(3)).collect();
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_snapshot!(texts[0], @"
    error: store is of format 99, this release knows up to 1: $TEST/store
    hint: use the release of mstore that made it, or a later one, or another store: --store DIR
    ");
    assert_eq!(fs::read_to_string(&format).unwrap(), newer);
    assert_eq!(fs::read(env.work().join("metro.lock")).unwrap(), lock);
    fs::write(&format, text).unwrap();
    assert!(verify(&env).contains("no fault"));
}

#[test]
fn a_folder_that_is_no_store() {
    let env = Environment::new();
    env.write("other/file", "precious");
    let other = env.work().join("other");
    let arguments = [
        "--store",
        other.to_str().unwrap(),
        "realise",
        "stage1-corei7",
    ];
    assert_snapshot!(env.run(&arguments).fails(3), @"
    error: not a store: $TEST/work/other: folder is not empty: it holds file
    hint: give the folder of a store, or one that is empty or absent: --store DIR
    ");
    assert_eq!(fs::read_dir(other).unwrap().count(), 1);
}

#[test]
fn no_user_namespaces() {
    let env = Environment::new();
    // The switch belongs to each user namespace, so one of our own is made to turn it in. Within,
    // the command is an ordinary user without any rights.
    let within = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-user=1000", "--map-group=1000"])
            .args(["--keep-caps", "sh", "-ec", script]);
        command
    };
    let turn = "echo 0 >/proc/sys/user/max_user_namespaces";
    let drop = "setpriv --ambient-caps=-all --inh-caps=-all --no-new-privs";
    let probe = within(&format!("{turn}; {drop} true"))
        .stdin(Stdio::null())
        .output();
    match probe {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("skipped: the switch cannot be turned here: {why}");
            return;
        }
        Err(e) => {
            eprintln!("skipped: there is no unshare: {e}");
            return;
        }
    }
    let inner = env.command(&[]);
    let mut command = within(&format!("{turn}; exec {drop} \"$MSTORE\" \"$@\""));
    command.args(["sh", "realise", "stage1-corei7"]).env_clear();
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
        .env("MSTORE", inner.get_program())
        .current_dir(env.work());
    let ran = env.finish(command.output().unwrap());
    assert_snapshot!(ran.fails(3), @"
    note: there is no metro.conf here or above: these are the standard specifications (`mstore specs`)
    error: user namespaces are switched off on this machine: as root, run `sysctl -w user.max_user_namespaces=15000`
    ");
    assert!(verify(&env).contains("no fault"));
    assert!(!env.store().join("metro.lock").exists());
}

#[test]
fn definitions_that_are_none() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["-D", "target", "eval"]).fails(2), @"
    error: 'target' is not a definition
    hint: write NAME=VALUE or 'NAME: VALUE', for example target/subarch=corei7
    ");
    assert_snapshot!(env.run(&["-D", "a b=c", "eval"]).fails(2), @"
    error[bad-line]: `a b` cannot be the name of an element
     --> <command line>:1:1
      |
    1 | a b: c
      | ^^^
      |
      = help: a name has no whitespace, `[`, `]` or `:` and does not end in `?`
    ");
    assert_snapshot!(env.run(&["-D", "=c", "realise", "stage1-corei7"]).fails(2), @"
    error[bad-line]: `` cannot be the name of an element
     --> <command line>:1:1
      |
    1 | : c
      | ^
      |
      = help: a name has no whitespace, `[`, `]` or `:` and does not end in `?`
    ");
    assert!(!env.store().exists());
}
