//! The test of a finished stage finds each damage that is planted, and none where there is none.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{Asked, Root, text};

fn chmod(root: &Root, inside: &str, mode: u32) {
    fs::set_permissions(root.path(inside), fs::Permissions::from_mode(mode)).unwrap();
}

const PACKAGE: &str = "var/db/pkg/app-misc/tool-1";

/// The loader and the libraries of a program, as the loader itself tells them.
fn libraries(program: &Path) -> Vec<String> {
    let told = Command::new("ldd").arg(program).output().unwrap();
    String::from_utf8_lossy(&told.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

/// A small root with nothing wrong: one package with a program, a script, a file and a link.
fn sound() -> Root {
    let root = Root::new();
    root.write(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    );
    root.write(
        "etc/group",
        "root:x:0:\ntty:x:5:\nwheel:x:10:\nnobody:x:65534:\n",
    );
    root.write("etc/shadow", "root:*:1:0:::::\nnobody:!:1:0:::::\n");
    chmod(&root, "etc/shadow", 0o640);
    root.write("etc/ssl/private/key", "secret\n");
    chmod(&root, "etc/ssl/private/key", 0o600);
    chmod(&root, "etc/ssl/private", 0o700);
    root.write("etc/tool.conf", "changed since\n");
    for folder in ["dev", "proc", "run", "sys", "usr/lib", "var/log"] {
        fs::create_dir_all(root.path(folder)).unwrap();
    }
    for folder in ["tmp", "var/tmp"] {
        fs::create_dir_all(root.path(folder)).unwrap();
        chmod(&root, folder, 0o1777);
    }
    root.write("root/.keep", "");
    chmod(&root, "root", 0o700);
    let program = fs::canonicalize("/bin/true").unwrap();
    for library in libraries(&program) {
        root.write(&library[1..], fs::read(&library).unwrap());
        chmod(&root, &library[1..], 0o755);
    }
    root.write("usr/bin/tool", fs::read(&program).unwrap());
    root.write("usr/bin/script", "#!/usr/bin/tool\n");
    root.write("usr/share/tool/data", "data\n");
    for file in ["usr/bin/tool", "usr/bin/script"] {
        chmod(&root, file, 0o755);
    }
    symlink("tool", root.path("usr/bin/link")).unwrap();
    let sum = |inside: &str| {
        let told = Command::new("md5sum")
            .arg(root.path(inside))
            .output()
            .unwrap();
        String::from_utf8_lossy(&told.stdout)[..32].to_owned()
    };
    let mut contents = String::from("dir /usr/share/tool\nsym /usr/bin/link -> tool 1\n");
    for file in ["usr/bin/tool", "usr/bin/script", "usr/share/tool/data"] {
        contents += &format!("obj /{file} {} 1\n", sum(file));
    }
    // Below /etc and /var content may be another; a log must not be there at all.
    // A service that was switched off has no link.
    fs::create_dir_all(root.path("etc/runlevels/boot")).unwrap();
    contents += "dir /etc/runlevels/boot\nsym /etc/runlevels/boot/tool -> /etc/init.d/tool 1\n";
    for file in ["/etc/tool.conf", "/var/log/tool.log"] {
        contents += &format!("obj {file} 00000000000000000000000000000000 1\n");
    }
    root.write(&format!("{PACKAGE}/CONTENTS"), contents);
    root
}

/// What the test says of a root; nothing if it finds no fault.
fn look(root: &Root, accepted: &[&str]) -> Option<String> {
    let spec = Asked::default().load();
    let ran = Command::new("python3")
        .arg("-c")
        .arg(text(&spec, "portage/look"))
        .arg(root.path(""))
        .arg("/var/db/repos/gentoo")
        .args(accepted)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.success(), said.is_empty(), "{said}");
    assert!(!said.contains("Traceback"), "{said}");
    (!said.is_empty()).then_some(said)
}

#[test]
fn a_sound_root_passes() {
    let root = sound();
    if root.is_roots() {
        assert_eq!(look(&root, &[]), None);
    }
}

/// Plants one damage, and expects it to be the only one that is told.
fn finds(plant: impl FnOnce(&Root), want: &[&str]) {
    let root = sound();
    if !root.is_roots() {
        return;
    }
    plant(&root);
    let mut want: Vec<String> = want.iter().map(|line| format!("{line}\n")).collect();
    want.push(format!("the stage is damaged: {} faults\n", want.len()));
    assert_eq!(look(&root, &[]).unwrap_or_default(), want.concat());
}

#[test]
fn groups_that_were_lost() {
    finds(
        |root| root.write("etc/group", "messagebus:x:101:\nman:x:13:\nroot:x:0:\n"),
        &[
            "/etc/group: there is not a group tty",
            "/etc/group: there is not a group wheel",
            "/etc/passwd: nobody has the group 65534, which is not in /etc/group",
        ],
    );
}

#[test]
fn users_without_a_line_or_a_password_in_shadow() {
    finds(
        |root| root.write("etc/shadow", "root::1:0:::::\n"),
        &[
            "/etc/shadow: root gets in without a password",
            "/etc/shadow: there is not a line for nobody",
        ],
    );
}

#[test]
fn tables_that_cannot_be_read() {
    finds(
        |root| {
            let group = root.read("etc/group");
            root.write("etc/group", format!("{group}root:x:0:\nodd:x\nbad:x:y:\n"));
        },
        &[
            "/etc/group: 'odd:x' has 2 fields, not 4",
            "/etc/group: root stands there 2 times",
            "/etc/group: 'y' is not an id",
        ],
    );
    finds(
        |root| fs::remove_file(root.path("etc/shadow")).unwrap(),
        &[
            "/etc/shadow: No such file or directory",
            "/etc/shadow: there is not a line for root",
            "/etc/shadow: there is not a line for nobody",
        ],
    );
}

#[test]
fn secrets_that_others_may_read_or_write() {
    finds(
        |root| {
            chmod(root, "etc/shadow", 0o644);
            chmod(root, "etc/passwd", 0o664);
            chmod(root, "etc/ssl/private/key", 0o604);
            chmod(root, "root", 0o755);
        },
        &[
            "/etc/passwd: others may do too much with it (mode 0664)",
            "/etc/shadow: others may do too much with it (mode 0644)",
            "/etc/ssl/private/key: others may do too much with it (mode 0604)",
            "/root: others may do too much with it (mode 0755)",
        ],
    );
    finds(
        |root| chmod(root, "usr/share/tool/data", 0o666),
        &["/usr/share/tool/data: everybody may write to it (mode 0666)"],
    );
    finds(
        |root| chmod(root, "usr/bin/tool", 0o4775),
        &["/usr/bin/tool: it runs as its owner or group and others may write to it (mode 4775)"],
    );
}

#[test]
fn owners_that_nobody_knows() {
    finds(
        |root| {
            chown(root.path("usr/share/tool/data"), Some(4711), Some(208)).unwrap();
            chown(root.path("usr/share/tool"), None, Some(208)).unwrap();
            chown(root.path("etc/shadow"), Some(65534), None).unwrap();
        },
        &[
            "/etc/shadow: it is not root's but 65534's",
            "/usr/share/tool: its group 208 is not in /etc/group (nor that of 1 more)",
            "/usr/share/tool/data: its owner 4711 is not in /etc/passwd",
        ],
    );
}

#[test]
fn leavings_of_the_build_and_of_machines() {
    finds(
        |root| {
            for path in [
                "etc/._cfg0000_fstab",
                "etc/.pwd.lock",
                "etc/group-",
                "etc/machine-id",
                "etc/resolv.conf",
                "root/.bash_history",
                "usr/share/tool/._cfg0001_data",
                "var/cache/edb/mtimedb",
                "var/cache/ldconfig/aux-cache",
                "var/db/pkg/app-misc/-MERGING-tool-2",
                "var/lib/dbus/machine-id",
                "var/lib/systemd/random-seed",
                "var/log/emerge.log",
                "var/log/sshd/.keep_sshd-0",
                "var/tmp/portage/x/y",
                &format!("{PACKAGE}/metadata"),
            ] {
                root.write(path, "x\n");
                chmod(root, path, 0o600);
            }
            root.write("etc/ssh/ssh_host_rsa_key", "x\n");
            chmod(root, "etc/ssh/ssh_host_rsa_key", 0o600);
        },
        &[
            "/etc/._cfg0000_fstab: a configuration file that waits to be merged",
            "/etc/.pwd.lock: a backup or lock of the users",
            "/etc/group-: a backup or lock of the users",
            "/etc/machine-id: the id of a machine",
            "/etc/resolv.conf: the name servers of a machine",
            "/etc/ssh/ssh_host_rsa_key: the host key of a machine",
            "/root/.bash_history: what somebody typed",
            "/usr/share/tool/._cfg0001_data: a configuration file that waits to be merged",
            "/var/cache/edb/mtimedb: a leaving of Portage",
            "/var/cache/ldconfig/aux-cache: a cache with the numbers of inodes",
            "/var/db/pkg/app-misc/-MERGING-tool-2: a package that is merged in part",
            "/var/db/pkg/app-misc/tool-1/metadata: a cache with times",
            "/var/lib/dbus/machine-id: the id of a machine",
            "/var/lib/systemd/random-seed: the random seed of a machine",
            "/var/log/emerge.log: a log",
            "/var/tmp/portage/x/y: a leaving of Portage",
        ],
    );
    // An empty one is the sign of a system that was never started.
    let root = sound();
    if root.is_roots() {
        root.write("etc/machine-id", "");
        assert_eq!(look(&root, &[]), None);
    }
}

#[test]
fn files_of_packages_that_are_gone_or_changed() {
    finds(
        |root| {
            fs::remove_file(root.path("usr/bin/link")).unwrap();
            fs::remove_file(root.path("etc/tool.conf")).unwrap();
            root.write("usr/share/tool/data", "other\n");
        },
        &[
            "/usr/bin/link: app-misc/tool-1 has it, but it is not there",
            "/usr/share/tool/data: it is not as app-misc/tool-1 installed it",
            "/etc/tool.conf: app-misc/tool-1 has it, but: No such file or directory",
        ],
    );
    finds(
        |root| {
            let contents = root.read(&format!("{PACKAGE}/CONTENTS"));
            root.write(
                &format!("{PACKAGE}/CONTENTS"),
                format!("{contents}nonsense\n"),
            );
        },
        &["/var/db/pkg/app-misc/tool-1/CONTENTS: cannot be read: 'nonsense'"],
    );
    finds(
        |root| fs::remove_dir_all(root.path("var/db/pkg/app-misc")).unwrap(),
        &["/var/db/pkg: there is not a package"],
    );
}

#[test]
fn programs_that_do_not_start() {
    let program = fs::canonicalize("/bin/true").unwrap();
    let libc = libraries(&program)
        .into_iter()
        .find(|path| path.contains("libc.so"))
        .expect("it is linked to the C library");
    finds(
        |root| fs::remove_file(root.path(&libc[1..])).unwrap(),
        &["/usr/bin/tool: the library libc.so.6 is missing"],
    );
    let loader = libraries(&program)
        .into_iter()
        .find(|path| path.contains("/ld-"))
        .expect("it has a loader");
    finds(
        |root| fs::remove_file(root.path(&loader[1..])).unwrap(),
        &[&format!("/usr/bin/tool: its loader {loader} is not there")],
    );
    finds(
        |root| {
            fs::remove_file(root.path("usr/bin/tool")).unwrap();
        },
        &[
            "/usr/bin/tool: app-misc/tool-1 has it, but: No such file or directory",
            "/usr/bin/script: its interpreter /usr/bin/tool is not there",
        ],
    );
}

#[test]
fn a_root_without_the_folders_that_a_start_needs() {
    finds(
        |root| fs::remove_dir(root.path("run")).unwrap(),
        &["/run: it is not a folder, and a system needs it to start"],
    );
}

#[test]
fn what_the_user_accepts_is_not_told() {
    let root = sound();
    if root.is_roots() {
        root.write("usr/share/tool/data", "other\n");
        assert_eq!(look(&root, &["/usr/share/tool/*"]), None);
        let other = look(&root, &["/usr/share/*/else"]).unwrap_or_default();
        assert!(other.contains("/usr/share/tool/data"), "{other}");
    }
}
