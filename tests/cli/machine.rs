//! What this machine can do (`doctor`), and what is in force on it (`config show`).

use std::process::Command;

use insta::assert_snapshot;
use serde_json::Value;

use crate::environment::{Environment, Ran};

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", ran.all()))
}

/// State, what was found, and the remedy of a check.
fn check(report: &Value, name: &str) -> (String, String, String) {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["check"] == name);
    let check = check.unwrap_or_else(|| panic!("{name}: {report:#}"));
    let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("found"), text("remedy"))
}

/// Runs `doctor --json` at the end of a line of shell.
fn under(env: &Environment, shell: &str) -> Ran {
    let plain = env.command(&[]);
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{shell} \"$0\" doctor --json")])
        .arg(env!("CARGO_BIN_EXE_mstore"))
        .current_dir(env.work())
        .env_clear();
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    env.finish(command.output().unwrap())
}

#[test]
fn a_machine_that_can_build_says_so() {
    let env = Environment::new();
    let ran = env.run(&["doctor", "--json"]);
    assert_eq!(ran.status, Some(0), "{}", ran.all());
    let report = json(&ran);
    assert_eq!(report["able"], true);
    for name in [
        "user",
        "namespaces",
        "overlayfs",
        "mounts",
        "loopback",
        "privileges",
        "attributes",
        "links",
        "store",
        "open files",
    ] {
        assert_eq!(check(&report, name).0, "good", "{name}: {report:#}");
    }
    // Nothing is left, and no store was made.
    assert!(!env.store().exists());
    let left: Vec<_> = std::fs::read_dir(env.top()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
    let text = env.run(&["doctor"]);
    assert!(
        text.stdout.contains("\ngood    overlayfs: "),
        "{}",
        text.all()
    );
}

/// What is taken away is found, with what brings it back.
#[test]
fn what_is_lacking_is_told_with_its_remedy() {
    let env = Environment::new();
    let none = "unshare --user --map-root-user sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"' --";
    let ran = under(&env, none);
    assert_eq!(ran.status, Some(3), "{}", ran.all());
    let report = json(&ran);
    assert_eq!(report["able"], false);
    let (state, _, remedy) = check(&report, "namespaces");
    assert_eq!(state, "missing");
    assert!(
        remedy.contains("sysctl -w user.max_user_namespaces"),
        "{remedy}"
    );
    assert_eq!(check(&report, "overlayfs").0, "unknown");

    let few = json(&under(&env, "ulimit -n 200;"));
    let (state, found, remedy) = check(&few, "open files");
    assert_eq!(state, "lacking", "{few:#}");
    assert!(found.contains("only 1"), "{found}");
    assert!(remedy.contains("ulimit"), "{remedy}");
    assert_eq!(few["able"], true);

    let bare = json(&under(&env, "PATH=/nonexistent MSTORE_SSH='myssh -v'"));
    assert_eq!(check(&bare, "ssh").0, "lacking");
    assert!(check(&bare, "ssh").1.contains("myssh"));
    assert!(check(&bare, "git").2.contains("install the package git"));

    let mut command = env.command(&["doctor", "--json", "--store", "/proc/self/store"]);
    let ran = env.finish(command.output().unwrap());
    assert_eq!(ran.status, Some(3));
    let (state, _, remedy) = check(&json(&ran), "store");
    assert_eq!(state, "missing");
    assert!(remedy.contains("--store DIR"), "{remedy}");
}

#[test]
fn every_setting_is_shown_with_where_it_comes_from() {
    let env = Environment::new();
    let file = env.write(
        "mstore.conf",
        "gc/keep: 5\ncaches: near\n[section cache/near]\nurl: /srv/cache\n",
    );
    env.write("metro.conf", "a: b\n");
    let mut command = env.command(&["config", "show", "--config"]);
    let ran = env.finish(
        command
            .arg(&file)
            .env("MSTORE_SSH", "ssh -4")
            .output()
            .unwrap(),
    );
    assert_snapshot!(ran.ok(), @r"
store: $TEST/store (MSTORE_STORE)
config: $TEST/work/mstore.conf (--config)
file: $TEST/work/metro.conf (found)
ssh: ssh -4 (MSTORE_SSH)
offline: no (default)
single-id: no (default)
foreign-store: no (default)
build/file-limit: - (default)
build/output-limit: - (default)
cache/near/ca-file: - (default)
cache/near/timeout: 5 (default)
cache/near/url: /srv/cache ($TEST/work/mstore.conf:4)
caches: near ($TEST/work/mstore.conf:2)
executor: - (default)
fetch/ca-file: - (default)
fetch/per-site: 1 (default)
fetch/timeout: 30 (default)
gc/failed-days: 14 (default)
gc/grace: 15 (default)
gc/keep: 5 ($TEST/work/mstore.conf:1)
gc/keep-days: - (default)
gc/lock-days: 30 (default)
gc/log-days: 90 (default)
gc/max-size: - (default)
gc/repack: no (default)
gc/roots: - (default)
gc/written-out: 10737418240 (default)
reapi/ca: - (default)
reapi/cert: - (default)
reapi/digest: sha256 (default)
reapi/inflight: 1000 (default)
reapi/insecure: no (default)
reapi/key: - (default)
reapi/property: - (default)
reapi/queue-timeout: 600 (default)
reapi/salt: - (default)
reapi/token: - (default)
repo/gpg-home: - (default)
repo/gpg-key: - (default)
repo/shared: no (default)
sign/key: - (default)
sign/verify: yes (default)
trust/keys: - (default)
trust/need: 1 (default)
");
    let ran = env.run(&["config", "show", "--json", "--offline", "-C", "/"]);
    let settings = json(&ran);
    let settings = settings.as_array().unwrap();
    let of = |name: &str| settings.iter().find(|s| s["name"] == name).unwrap();
    assert_eq!(of("offline")["source"], "--offline");
    assert_eq!(of("store")["source"], "MSTORE_STORE");
    assert_eq!(of("file")["from"], "default");
    assert_eq!(of("gc/keep")["value"], "3");
    assert_eq!(of("gc/keep")["from"], "default");
}

#[test]
fn words_that_people_try_are_answered() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["build", "stage3-corei7"]).all(), @r"
status: 2
--- stdout
--- stderr
error: there is no command `build`
hint: `mstore realise TARGET` builds a target, `mstore list` shows what there is
");
    assert_snapshot!(env.run(&["status"]).all(), @r"
status: 2
--- stdout
--- stderr
error: there is no command `status`
hint: `mstore realise -n TARGET` shows what would be built, `mstore log --attempts TARGET` what was tried, `mstore store info` what the store has
");
    // What is only misspelt is answered as before.
    let misspelt = env.run(&["realsie"]).fails(2);
    assert!(misspelt.contains("'realise'"), "{misspelt}");
}

/// What the pages say besides options.
#[test]
fn manual_pages_have_examples_files_environment_and_statuses() {
    let env = Environment::new();
    let _ = env.run(&["man", "pages"]).ok();
    let read = |name: &str| std::fs::read_to_string(env.work().join("pages").join(name)).unwrap();
    let page = read("mstore-key-sign.1");
    assert_snapshot!(&page[page.find(".SH EXAMPLES").unwrap()..], @r#"
.SH EXAMPLES
.TP
Sign what was built before there was a key
\fBmstore key sign \*(Aqstage3\-*\*(Aq \-\-key release\-2026\fR
.SH FILES
.TP
\fBmetro.conf\fR
The entry file of the specifications, in the current folder or the nearest one above; \-\-file names another.
.TP
\fBspecs/\fR
Beside metro.conf: files that take the place of standard specifications.
.TP
\fBmetro.lock\fR
Beside metro.conf: the trees that the names of seeds and snapshots stand for.
.TP
\fB/var/lib/mstore\fR
The store of root.
.TP
\fB~/.local/share/mstore\fR
The store of other users.
.TP
\fBmstore.conf\fR
The configuration file: in the store, in ~/.config/mstore, or in /etc/mstore; the first that is there counts.
.TP
\fB~/.config/mstore/keys/NAME.key\fR
The secret half of the signing key NAME.
.SH ENVIRONMENT
.TP
\fBMSTORE_STORE\fR
The folder of the store; \-\-store wins.
.TP
\fBMSTORE_FOREIGN_STORE\fR
With the value yes: use a store that belongs to another user, as \-\-foreign\-store does.
.TP
\fBXDG_DATA_HOME\fR
Where the store of an ordinary user lies, in the folder mstore [default: ~/.local/share].
.TP
\fBHOME\fR
The folder that ~ stands for.
.TP
\fBMSTORE_CONFIG\fR
The configuration file; \-\-config wins.
.TP
\fBXDG_CONFIG_HOME\fR
Where a user\*(Aqs mstore/mstore.conf lies [default: ~/.config].
.TP
\fBNO_COLOR\fR
If it is set and not empty, there are no colours; \-\-color wins.
.TP
\fBPATH\fR
Where other programs are looked for: git, ssh, gpg, those that make images.
.TP
\fBTERM\fR
With the value dumb: neither colours nor lines that are drawn again and again.
.SH "EXIT STATUS"
.TP
\fB0\fR
All is done.
.TP
\fB2\fR
The arguments or the specifications are wrong.
.TP
\fB3\fR
The store or the machine is at fault.
.TP
\fB130\fR
Interrupted by Ctrl\-C.
.SH "SEE ALSO"
\fBmstore\-key\fR(1), \fBmstore\-copy\fR(1), doc/caches.md
.SH VERSION
v0.1.0
"#);
    let main = read("mstore.1");
    assert!(main.contains(".SH \"INTERNAL WORDS\""));
    assert!(main.contains("foreign\\-store"), "hidden from -h only");
    assert_eq!(env.run(&["man"]).ok(), main);
    let names = std::fs::read_dir(env.work().join("pages")).unwrap();
    for name in names.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        assert!(
            !name.contains("help") && !name.contains("complete."),
            "{name}"
        );
    }
}
