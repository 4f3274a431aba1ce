//! `mstore fmt`: what it does to files, and what it leaves alone.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Stdio;

use insta::assert_snapshot;

use crate::environment::{Environment, Ran};

const UNTIDY: &str = "\
# a  comment,   as it is   \n\
[section   path]\n\
:    /srv\t# where\n\
cache:\t$[]/cache\n\
steps: [\n\
\tif true;   then  \n\
  # kept   as  it is\n\
]\n";

const TIDY: &str = "\
# a  comment,   as it is   \n\
[section path]\n\
: /srv # where\n\
cache: $[]/cache\n\
steps: [\n\
\tif true;   then  \n\
  # kept   as  it is\n\
]\n";

fn names(env: &Environment, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(env.work().join(folder)).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn with_stdin(env: &Environment, arguments: &[&str], text: &[u8]) -> Ran {
    let mut command = env.command(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    env.finish(child.wait_with_output().unwrap())
}

#[test]
fn a_file_keeps_its_mode_and_is_replaced_whole() {
    let env = Environment::new();
    let path = env.write("a.conf", UNTIDY);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    // A reader that has the file open goes on to see the old text.
    let before = fs::metadata(&path).unwrap().ino();
    let mut open = fs::File::open(&path).unwrap();
    let ran = env.run(&["fmt", "a.conf"]);
    assert_eq!(ran.stderr, "formatted a.conf\n");
    assert_eq!(ran.ok(), "");
    assert_eq!(fs::read_to_string(&path).unwrap(), TIDY);
    let after = fs::metadata(&path).unwrap();
    assert_eq!(after.mode() & 0o7777, 0o640);
    assert_ne!(after.ino(), before);
    let mut old = String::new();
    std::io::Read::read_to_string(&mut open, &mut old).unwrap();
    assert_eq!(old, UNTIDY);
    assert_eq!(names(&env, "."), ["a.conf"]);
    // Once more there is nothing to do, and nothing is written.
    let ran = env.run(&["fmt", "a.conf"]);
    assert_eq!(ran.stderr, "");
    assert_eq!(ran.ok(), "");
    assert_eq!(fs::metadata(&path).unwrap().ino(), after.ino());
}

#[test]
fn values_are_the_same_afterwards() {
    let env = Environment::new();
    env.write("metro.conf", UNTIDY);
    let before = env.run(&["eval", "--json"]).ok();
    let _ = env.run(&["fmt"]).ok();
    assert_eq!(
        fs::read_to_string(env.work().join("metro.conf")).unwrap(),
        TIDY
    );
    assert_eq!(env.run(&["eval", "--json"]).ok(), before);
}

#[test]
fn a_file_with_errors_is_left_alone_and_others_are_not() {
    let env = Environment::new();
    let bad = "a:    1\nwhat is this\nb: [\nopen\n";
    env.write("bad.conf", bad);
    env.write("good.conf", "a:    1\n");
    assert_snapshot!(env.run(&["fmt", "bad.conf", "good.conf"]).fails(2), @"
    error[bad-line]: neither element nor annotation
     --> bad.conf:2:1
      |
    2 | what is this
      | ^^^^^^^^^^^^
      |
      = help: a colon is missing: `what: is this`

    error[unterminated]: this block is never closed
     --> bad.conf:3:4
      |
    3 | b: [
      |    ^
    4 | open
      |     - the file ends inside the block
      |
      = help: close it with a line that is only `]`
    hint: bad.conf is left as it is
    formatted good.conf
    ");
    let text = |name: &str| fs::read(env.work().join(name)).unwrap();
    assert_eq!(text("bad.conf"), bad.as_bytes());
    assert_eq!(text("good.conf"), b"a: 1\n");
    // Bytes that are no text, too.
    env.write("latin.conf", b"a:   \xe9\n");
    let _ = env.run(&["fmt", "latin.conf"]).fails(2);
    assert_eq!(text("latin.conf"), b"a:   \xe9\n");
}

#[test]
fn links_are_never_replaced() {
    let env = Environment::new();
    env.write("real.conf", "a:    1\n");
    symlink("real.conf", env.work().join("link.conf")).unwrap();
    symlink("nowhere", env.work().join("dangling.conf")).unwrap();
    assert_snapshot!(env.run(&["fmt", "link.conf", "dangling.conf"]).fails(2), @"
    error: link.conf is a symbolic link
    hint: name the file that it points to
    error: dangling.conf is a symbolic link
    hint: name the file that it points to
    ");
    for link in ["link.conf", "dangling.conf"] {
        let kind = fs::symlink_metadata(env.work().join(link)).unwrap();
        assert!(kind.file_type().is_symlink());
    }
    // To look does no harm.
    assert_eq!(
        env.run(&["fmt", "--check", "link.conf"]).all(),
        "status: 1\n--- stdout\nlink.conf\n--- stderr\n"
    );
    assert_eq!(
        fs::read(env.work().join("real.conf")).unwrap(),
        b"a:    1\n"
    );
}

#[test]
fn folders_stand_for_the_specifications_in_them() {
    let env = Environment::new();
    for path in [
        "specs/a.conf",
        "specs/deep/er/b.conf",
        "specs/old.spec",
        "specs/.hidden/c.conf",
        "specs/.d.conf",
        "specs/e.txt",
        "outside.conf",
    ] {
        env.write(path, "a:    1\n");
    }
    symlink("../outside.conf", env.work().join("specs/link.conf")).unwrap();
    symlink("..", env.work().join("specs/up")).unwrap();
    let ran = env.run(&["fmt", "--check", "specs"]);
    assert_eq!(ran.stderr, "");
    assert_eq!(ran.status, Some(1));
    assert_eq!(
        ran.stdout,
        "specs/a.conf\nspecs/deep/er/b.conf\nspecs/old.spec\n"
    );
    let ran = env.run(&["fmt", "specs"]);
    assert_eq!(
        ran.stderr,
        "formatted specs/a.conf\nformatted specs/deep/er/b.conf\nformatted specs/old.spec\n"
    );
    assert_eq!(ran.ok(), "");
    assert_eq!(env.run(&["fmt", "--check", "specs"]).ok(), "");
    for path in ["specs/.d.conf", "specs/e.txt", "outside.conf"] {
        assert_eq!(fs::read(env.work().join(path)).unwrap(), b"a:    1\n");
    }
}

#[test]
fn checks_and_diffs_change_nothing() {
    let env = Environment::new();
    env.write("a.conf", UNTIDY);
    let check = env.run(&["fmt", "--check", "a.conf"]);
    assert_eq!(check.all(), "status: 1\n--- stdout\na.conf\n--- stderr\n");
    assert_snapshot!(env.run(&["fmt", "--diff", "a.conf"]).ok().replace('\t', "<TAB>"), @"
    --- a/a.conf
    +++ b/a.conf
    @@ -1,7 +1,7 @@
     # a  comment,   as it is   
    -[section   path]
    -:    /srv<TAB># where
    -cache:<TAB>$[]/cache
    +[section path]
    +: /srv # where
    +cache: $[]/cache
     steps: [
     <TAB>if true;   then  
     # kept   as  it is
    ");
    assert_eq!(
        env.run(&["fmt", "--diff", "--check", "a.conf"]).status,
        Some(1)
    );
    assert_eq!(
        fs::read_to_string(env.work().join("a.conf")).unwrap(),
        UNTIDY
    );
    // Nothing is wrong with what is tidy.
    env.write("a.conf", TIDY);
    assert_eq!(env.run(&["fmt", "--check", "--diff", "a.conf"]).ok(), "");
}

#[test]
fn stdin_goes_to_stdout() {
    let env = Environment::new();
    let ran = with_stdin(&env, &["fmt", "-"], UNTIDY.as_bytes());
    assert_eq!(ran.stderr, "");
    assert_eq!(ran.ok(), TIDY);
    let ran = with_stdin(&env, &["fmt", "--check", "-"], UNTIDY.as_bytes());
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(1), "<stdin>\n"));
    let ran = with_stdin(&env, &["fmt", "-"], b"what is this\n");
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.contains("<stdin>:1:1"), "{}", ran.stderr);
    let ran = with_stdin(&env, &["fmt", "-"], b"");
    assert_eq!(ran.ok(), "");
}

#[test]
fn what_is_no_file_is_refused() {
    let env = Environment::new();
    let made = std::process::Command::new("mkfifo")
        .arg(env.work().join("pipe"))
        .status();
    assert!(made.unwrap().success());
    assert_snapshot!(env.run(&["fmt", "none.conf", "pipe"]).fails(2), @"
    error: cannot read none.conf: no such file
    error: cannot read pipe: is a FIFO, not a regular file
    ");
    assert_snapshot!(env.run(&["fmt"]).fails(2), @"
    error: there is no metro.conf here that names the files to format
    hint: name the files or folders: mstore fmt PATH...
    ");
}

#[test]
fn line_ends_of_windows_stay() {
    let env = Environment::new();
    env.write("a.conf", "a:    1\r\nb: [\r\n  x \r\n]\r\n");
    let _ = env.run(&["fmt", "a.conf"]).ok();
    assert_eq!(
        fs::read(env.work().join("a.conf")).unwrap(),
        b"a: 1\r\nb: [\r\n  x \r\n]\r\n"
    );
}
