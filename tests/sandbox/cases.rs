//! Isolation of jobs, and the layers that they leave behind.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mstore::build::log::BoundedLog;
use mstore::build::sandbox::{Bind, Sandbox, SandboxError, SetupStage, Status};
use mstore::build::{cancel::CancelToken, host};

use crate::support::{Env, Outcome, Skip, describe, run, succeed};

/// A test; it panics when it fails.
type Test = fn(&Env) -> Outcome;

/// Every test, by name.
pub const ALL: &[(&str, Test)] = &[
    ("output_and_status", output_and_status),
    (
        "steps_are_listed_while_others_build",
        crate::schedule::steps_are_listed_while_others_build,
    ),
    (
        "changes_land_in_the_upper_layer",
        changes_land_in_the_upper_layer,
    ),
    (
        "a_step_learns_its_share",
        crate::processors::a_step_learns_its_share,
    ),
    (
        "makes_share_the_processors",
        crate::processors::makes_in_two_sandboxes_share_the_processors,
    ),
    (
        "nothing_gives_the_seed",
        crate::processors::a_step_that_changes_nothing_gives_the_tree_of_its_seed,
    ),
    (
        "a_target_is_realised_without_the_command_line",
        crate::library::a_target_is_realised_without_the_command_line,
    ),
    ("other_owners", other_owners),
    ("file_capabilities", file_capabilities),
    ("only_loopback", only_loopback),
    ("only_its_own_processes", only_its_own_processes),
    ("names_and_environment", names_and_environment),
    ("nothing_inherited", nothing_inherited),
    ("no_way_to_mount", no_way_to_mount),
    ("no_device_nodes", no_device_nodes),
    ("no_host_files", no_host_files),
    ("private_places", private_places),
    ("machine_cannot_be_set_up", machine_cannot_be_set_up),
    ("privileges_are_few", privileges_are_few),
    ("inputs", inputs),
    ("tmp_on_root", tmp_on_root),
    ("thrown_away_changes", thrown_away_changes),
    (
        "a_second_job_over_the_same_changes",
        a_second_job_over_the_same_changes,
    ),
    ("many_layers_with_odd_names", many_layers_with_odd_names),
    ("whiteouts_between_layers", whiteouts_between_layers),
    ("one_device", one_device),
    ("timeout", timeout),
    ("cancelled", cancelled),
    ("daemons_die", daemons_die),
    ("endless_output", endless_output),
    ("eight_at_once", eight_at_once),
    ("set_up_failures", set_up_failures),
    ("bad_jobs", bad_jobs),
    ("full_disk", full_disk),
    ("other_machines", other_machines),
    ("host_check", host_check),
    ("no_more_namespaces", no_more_namespaces),
    ("start_cost", start_cost),
    (
        "killed_with_its_parent",
        crate::processes::killed_with_its_parent,
    ),
    (
        "started_by_a_careless_parent",
        crate::processes::started_by_a_careless_parent,
    ),
    ("shell_with_pipes", crate::processes::shell_with_pipes),
    (
        "shell_with_a_terminal",
        crate::processes::shell_with_a_terminal,
    ),
];

fn output_and_status(env: &Env) -> Outcome {
    let log = succeed(&env.job("ok", "echo out; echo err >&2\n"));
    assert_eq!(log, "out\nerr\n");
    let (finished, _) = run(&env.job("exit", "exit 7\n")).unwrap();
    assert_eq!(finished.status, Status::Exited(7));
    let (finished, _) = run(&env.job("signal", "kill -11 $$\n")).unwrap();
    assert_eq!(finished.status, Status::Signalled(11));
    // Without `#!` the step runs under `sh -e`.
    let (finished, log) = run(&env.job("e", "false\necho not here\n")).unwrap();
    assert_eq!((finished.status, log.as_str()), (Status::Exited(1), ""));
    let log = succeed(&env.job("bang", "#!/bin/cat\nhello\n"));
    assert_eq!(log, "#!/bin/cat\nhello\n");
    let (finished, log) = run(&env.job("none", "#!/bin/nothing -x\n")).unwrap();
    assert_eq!(finished.status, Status::Exited(127));
    assert!(log.contains("`#!/bin/nothing -x`"), "{log}");
    let (finished, _) =
        run(&env.job("usage", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")).unwrap();
    assert!(finished.usage.user > Duration::ZERO && finished.usage.peak_kib > 0);
    Ok(())
}

/// Programs take files of another device than their folder for another file system: they copy where
/// they could rename, and lose attributes on the way.
fn one_device(env: &Env) -> Outcome {
    let log = succeed(&env.job(
        "device",
        "echo new > /data/new; for f in / /data /data/file /data/new /data/old /bin/sh; do stat -c %d $f; done\n",
    ));
    let devices: Vec<&str> = log.lines().collect();
    assert_eq!(devices.len(), 6, "{log}");
    assert!(devices.iter().all(|device| *device == devices[0]), "{log}");
    Ok(())
}

fn changes_land_in_the_upper_layer(env: &Env) -> Outcome {
    let job = env.job(
        "upper",
        "echo new > /data/new; rm /data/file; rm -r /data/old; mkdir /data/old; \
         ln -s x /data/link; mkfifo /pipe; touch /tmp/x /dev/shm/y; umask > /umask\n",
    );
    let old_mtime = fs::metadata(&env.base).unwrap().mtime();
    succeed(&job);
    // No mount point of /dev, /proc, /tmp, /mstore is among the changes; the root's own metadata
    // is the base's. This is the same text in all modes.
    let upper = job.upper.as_ref().unwrap();
    assert_eq!(
        describe(upper),
        "/ 711 0:0 dir\n\
         /data 755 0:0 dir\n\
         /data/file 0 0:0 char 0\n\
         /data/link 777 0:0 link x\n\
         /data/new 644 0:0 file \"new\\n\"\n\
         /data/old 755 0:0 dir user.overlay.opaque=y\n\
         /pipe 644 0:0 fifo\n\
         /umask 644 0:0 file \"0022\\n\"\n"
    );
    // Nothing was changed below, nothing else is left beside.
    assert!(env.base.join("data/file").exists());
    assert_eq!(fs::read_dir(&job.scratch).unwrap().count(), 0);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("mstore-sandbox-"), "{mounts}");

    let job = env.job("root-time", "echo x > /data/file\n");
    succeed(&job);
    let upper = fs::metadata(job.upper.as_ref().unwrap()).unwrap();
    assert_eq!(upper.mtime(), old_mtime);
    Ok(())
}

fn other_owners(env: &Env) -> Outcome {
    let job = env.job(
        "owners",
        "echo x > /data/a; chown 250:42 /data/a; chmod 4755 /data/a\n",
    );
    let (finished, log) = run(&job).unwrap();
    if env.single() {
        assert_eq!(finished.status, Status::Exited(1), "{log}");
        assert!(log.contains("Invalid argument"), "{log}");
        return Ok(());
    }
    assert!(finished.status.is_success(), "{log}");
    let text = describe(job.upper.as_ref().unwrap());
    assert!(text.contains("/data/a 4755 250:42 file"), "{text}");
    // As another user: what builds with `userpriv` do.
    let log = succeed(&env.job(
        "userpriv",
        "chmod 777 /data; setpriv --reuid 250 --regid 250 --clear-groups sh -c \
         'id -u; touch /data/mine; touch /etc/mine || echo refused'\n",
    ));
    assert!(
        log.starts_with("250\n") && log.ends_with("refused\n"),
        "{log}"
    );
    Ok(())
}

fn file_capabilities(env: &Env) -> Outcome {
    if !env.base.join("bin/setcap").exists() {
        return Err(Skip("no setcap on this machine".into()));
    }
    let job = env.job(
        "caps",
        "cp /bin/cat /data/c; setcap cap_net_raw+ep /data/c\n",
    );
    succeed(&job);
    let mut value = [0; 64];
    let path = job.upper.as_ref().unwrap().join("data/c");
    let size = rustix::fs::lgetxattr(&path, "security.capability", &mut value[..]).unwrap();
    // Version 2, as on a system where nobody knows of namespaces.
    assert_eq!(value[..4], [1, 0, 0, 2], "{:?}", &value[..size]);
    Ok(())
}

fn only_loopback(env: &Env) -> Outcome {
    let log = succeed(&env.job("lo", "cat /proc/net/dev\n"));
    let names: Vec<&str> = log
        .lines()
        .filter_map(|l| l.split_once(':'))
        .map(|(name, _)| name.trim())
        .collect();
    assert_eq!(names, ["lo"], "{log}");
    if !env.base.join("bin/bash").exists() {
        return Err(Skip("no bash on this machine".into()));
    }
    // A documentation address: unreachable at once, not after a time-out.
    let started = Instant::now();
    let (finished, log) =
        run(&env.job("net", "#!/bin/bash\necho > /dev/tcp/192.0.2.1/80\n")).unwrap();
    assert_eq!(finished.status, Status::Exited(1));
    assert!(log.contains("Network is unreachable"), "{log}");
    assert!(started.elapsed() < Duration::from_secs(5));
    let (_, log) = run(&env.job("lo-up", "#!/bin/bash\necho > /dev/tcp/127.0.0.1/9\n")).unwrap();
    assert!(log.contains("Connection refused"), "{log}");
    Ok(())
}

fn only_its_own_processes(env: &Env) -> Outcome {
    let log = succeed(&env.job("pids", "cd /proc; for p in [0-9]*; do echo $p; done\n"));
    let pids: Vec<u32> = log.lines().map(|l| l.parse().unwrap()).collect();
    assert_eq!(pids, [1, 2]);
    // Not even process 1 can be looked into.
    let log = succeed(&env.job(
        "init",
        "for f in root/bin cwd/bin exe environ fd/0 mem; do \
         cat /proc/1/$f >/dev/null 2>&1 && echo \"possible: $f\"; ls /proc/1/$f/ >/dev/null 2>&1 && \
         echo \"possible: $f\"; done; kill -9 1; echo alive\n",
    ));
    assert_eq!(log, "alive\n");
    Ok(())
}

fn names_and_environment(env: &Env) -> Outcome {
    assert_eq!(succeed(&env.job("name", "uname -n\n")), "mstore\n");
    let mut job = env.job("env", "#!/bin/cat /proc/self/environ\n");
    job.env = [("A", "1"), ("B", "x=\ny")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    let log = succeed(&job);
    let environ = log.split("#!").next().unwrap();
    assert_eq!(environ, "A=1\0B=x=\ny\0");
    Ok(())
}

fn nothing_inherited(env: &Env) -> Outcome {
    // The shell's own descriptors end at 2; `ls` opens the directory as 3.
    let log = succeed(&env.job("fds", "ls /proc/self/fd; ls -l /proc/self/fd/0 | cut -c 1-10 2>/dev/null || :; pwd; ulimit -c; ulimit -n\n"));
    let mut lines = log.lines();
    for want in ["0", "1", "2", "3", "/", "0", "1024"] {
        assert_eq!(lines.next(), Some(want), "{log}");
    }
    let log = succeed(&env.job("stdin", "#!/bin/bash\nread x || echo end; [[ -t 1 ]] || echo no terminal; tty\ngrep x /dev/null; exec cat /proc/self/status"));
    assert!(log.starts_with("end\nno terminal\nnot a tty\n"), "{log}");
    for line in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"] {
        assert!(log.contains(line), "{log}");
    }
    Ok(())
}

fn no_way_to_mount(env: &Env) -> Outcome {
    let log = succeed(&env.job(
        "mount",
        "try() { \"$@\" >/dev/null 2>&1 && echo \"possible: $*\" || :; }\n\
         try mount -t tmpfs none /data\n\
         try mount --bind /etc /data\n\
         try mount -o remount,rw /mstore\n\
         try umount /proc\n\
         try umount /tmp\n\
         try unshare -U true\n\
         try unshare -m true\n\
         try unshare -n true\n\
         try unshare -p true\n\
         try hostname other\n\
         try touch /mstore/x\n\
         try sh -c 'echo x > /mstore/step'\n\
         try sh -c 'echo x > /sys/x'\n\
         try chown 1:1 /dev/null\n\
         try chmod 777 /dev/zero\n",
    ));
    assert_eq!(log, "");
    Ok(())
}

fn no_device_nodes(env: &Env) -> Outcome {
    let log = succeed(&env.job(
        "mknod",
        "for n in 'c 1 3' 'b 8 0' 'c 0 0'; do mknod /data/n $n 2>/dev/null && echo \"made $n\"; done; mknod /data/p p\n",
    ));
    assert_eq!(log, "");
    Ok(())
}

fn no_host_files(env: &Env) -> Outcome {
    let secret = env.dir("secret").join("file");
    fs::write(&secret, "secret").unwrap();
    let log = succeed(&env.job(
        "host",
        &format!(
            "cd /; echo *; echo /mstore/*; [ -e {} ] && echo visible; cat /proc/mounts\n",
            secret.display()
        ),
    ));
    let (entries, rest) = log.split_once('\n').unwrap();
    let want = "bin data dev etc lib lib64 mstore proc root sys tmp";
    for name in entries.split(' ') {
        assert!(
            want.split(' ').any(|w| w == name) || name == "usr",
            "{entries}"
        );
    }
    let (own, mounts) = rest.split_once('\n').unwrap();
    assert_eq!(own, "/mstore/step");
    assert!(!log.contains("visible"));
    // Every mount is one of ours.
    for mount in mounts.lines() {
        let at = mount.split(' ').nth(1).unwrap();
        let ours = ["/dev", "/proc", "/sys", "/tmp", "/mstore"];
        assert!(
            at == "/" || ours.iter().any(|o| Path::new(at).starts_with(o)),
            "{mount}"
        );
    }
    Ok(())
}

fn private_places(env: &Env) -> Outcome {
    let log = succeed(&env.job(
        "places",
        "cd /dev; echo *; cd /sys; echo *; stat -c '%a %n' /tmp /dev/shm /dev /sys /mstore/step; \
         echo x > /dev/null; head -c 3 /dev/zero | cat -v; head -c 1 /dev/urandom > /tmp/r; \
         [ -e /proc/self/exe ] && [ -L /dev/fd ] && echo fine; echo via-link > /dev/stdout; \
         echo gone > /data/full; cat /dev/full 2>&1 | head -c 0; sh -c 'echo > /dev/full' 2>/dev/null || echo full\n",
    ));
    assert_eq!(
        log,
        "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero\n*\n\
         1777 /tmp\n1777 /dev/shm\n755 /dev\n555 /sys\n755 /mstore/step\n\
         ^@^@^@fine\nvia-link\nfull\n"
    );
    Ok(())
}

fn machine_cannot_be_set_up(env: &Env) -> Outcome {
    let before = fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    let log = succeed(&env.job(
        "proc",
        "try() { sh -c \"$1\" 2>/dev/null && echo \"possible: $1\" || :; }\n\
         try 'echo 7 > /proc/sys/vm/swappiness'\n\
         try 'echo x > /proc/sys/kernel/core_pattern'\n\
         try 'echo h > /proc/sysrq-trigger'\n\
         try 'head -c 1 /proc/kcore | grep -q .'\n\
         try 'chmod 777 /proc/cpuinfo'\n\
         try 'chown 1 /proc/kcore'\n\
         [ -z \"$(cat /proc/keys)\" ]; [ -n \"$(cat /proc/cpuinfo)\" ] && echo cpu\n",
    ));
    assert_eq!(log, "cpu\n");
    assert_eq!(
        before,
        fs::read_to_string("/proc/sys/vm/swappiness").unwrap()
    );
    Ok(())
}

fn privileges_are_few(env: &Env) -> Outcome {
    let log = succeed(&env.job("status", "#!/bin/cat /proc/self/status\n"));
    let field = |name: &str| {
        let line = log.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT
    // SETFCAP.
    let kept = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31];
    let kept = kept.iter().fold(0_u64, |set, bit| set | 1 << bit);
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), kept, "{set}");
    }
    for set in ["CapInh:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), 0, "{set}");
    }
    Ok(())
}

fn inputs(env: &Env) -> Outcome {
    let dir = env.dir("inputs: here, \\ and there");
    fs::create_dir_all(dir.join("snapshot/inner")).unwrap();
    fs::create_dir(dir.join("cache")).unwrap();
    fs::write(dir.join("snapshot/inner/file"), "input\n").unwrap();
    fs::write(dir.join("one"), "one file\n").unwrap();
    let mut job = env.job(
        "binds",
        "cat /mstore/snapshot/inner/file /var/db/one /tmp/in/one /data/shown/inner/file\n\
         try() { sh -c \"$1\" 2>/dev/null && echo \"possible: $1\" || :; }\n\
         try 'echo > /mstore/snapshot/x'\n\
         try 'echo > /mstore/snapshot/inner/file'\n\
         try 'echo > /var/db/one'\n\
         try 'rm /mstore/snapshot/inner/file'\n\
         echo kept > /cache/new; echo x > /var/db/beside\n",
    );
    let bind = |source: &str, target: &str, writable| Bind {
        source: dir.join(source),
        target: target.into(),
        writable,
    };
    job.binds = vec![
        bind("snapshot", "/mstore/snapshot", false),
        bind("one", "/var/db/one", false),
        bind("one", "/tmp/in/one", false),
        bind("snapshot", "/data/shown", false),
        bind("cache", "/cache", true),
    ];
    let log = succeed(&job);
    assert_eq!(log, "input\none file\none file\ninput\n");
    assert_eq!(fs::read_to_string(dir.join("cache/new")).unwrap(), "kept\n");
    assert_eq!(
        describe(job.upper.as_ref().unwrap()),
        "/ 711 0:0 dir\n/var 755 0:0 dir\n/var/db 755 0:0 dir\n/var/db/beside 644 0:0 file \"x\\n\"\n"
    );
    Ok(())
}

fn tmp_on_root(env: &Env) -> Outcome {
    let mut job = env.job("tmp", "mkdir /tmp/stage1root; echo x > /tmp/stage1root/f\n");
    job.tmp_on_root = true;
    succeed(&job);
    let text = describe(job.upper.as_ref().unwrap());
    assert!(
        text.contains("/tmp 1777 0:0 dir\n/tmp/stage1root 755"),
        "{text}"
    );
    Ok(())
}

fn thrown_away_changes(env: &Env) -> Outcome {
    let mut job = env.job("thrown", "echo x > /data/file; cat /data/file\n");
    job.upper = None;
    assert_eq!(succeed(&job), "x\n");
    assert_eq!(fs::read_dir(&job.scratch).unwrap().count(), 0);
    assert_eq!(
        fs::read_to_string(env.base.join("data/file")).unwrap(),
        "from the base\n"
    );
    Ok(())
}

fn a_second_job_over_the_same_changes(env: &Env) -> Outcome {
    let mut job = env.job("again", "echo 1 > /data/first; chmod 700 /; exit 3\n");
    assert_eq!(run(&job).unwrap().0.status, Status::Exited(3));
    // As after a kill -9: the working directories of overlayfs are still there.
    fs::create_dir_all(job.scratch.join("work/work/incompat/volatile")).unwrap();
    fs::set_permissions(
        job.scratch.join("work/work"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    job.script = b"cat /data/first; stat -c %a /; rm /data/first\n".to_vec();
    assert_eq!(succeed(&job), "1\n700\n");
    Ok(())
}

fn many_layers_with_odd_names(env: &Env) -> Outcome {
    let dir = env.dir("layers: a,b\\c d=e'\"\u{e4}");
    let mut job = env.job(
        "many",
        "cat /data/number; ls /data | sort -u | cat >/dev/null; cd /data; echo n*\n",
    );
    job.script =
        b"cat /data/number; cd /data; echo n?? | { read all; set -- $all; echo $#; }\n".to_vec();
    let mut layers = Vec::new();
    for n in 0..60 {
        let layer = dir.join(format!("{n}:{}", "long".repeat(50)));
        fs::create_dir_all(layer.join("data")).unwrap();
        fs::write(layer.join("data/number"), format!("{n}\n")).unwrap();
        fs::write(layer.join(format!("data/n{n:02}")), "").unwrap();
        layers.push(layer);
    }
    layers.push(env.base.clone());
    job.layers = layers;
    job.upper = Some(dir.join("up:per"));
    job.scratch = dir.join("scratch,:\\");
    fs::create_dir(&job.scratch).unwrap();
    assert_eq!(succeed(&job), "0\n60\n");
    Ok(())
}

fn whiteouts_between_layers(env: &Env) -> Outcome {
    let first = env.job(
        "w1",
        "rm /data/file; rm -r /data/old; mkdir /data/old; echo 3 > /data/old/three\n",
    );
    succeed(&first);
    let mut second = env.job("w2", "cd /data; echo * old/*; echo back > file\n");
    second.layers = vec![first.upper.clone().unwrap(), env.base.clone()];
    assert_eq!(succeed(&second), "old old/three\n");
    let mut third = env.job("w3", "cd /data; cat file; echo * old/*\n");
    third.layers = vec![
        second.upper.clone().unwrap(),
        first.upper.clone().unwrap(),
        env.base.clone(),
    ];
    assert_eq!(succeed(&third), "back\nfile old old/three\n");
    Ok(())
}

fn timeout(env: &Env) -> Outcome {
    let mut job = env.job(
        "slow",
        "trap '' TERM INT; echo begun; sleep 100 & sleep 100; wait\n",
    );
    job.timeout = Some(Duration::from_millis(300));
    let started = Instant::now();
    let (finished, log) = run(&job).unwrap();
    assert_eq!(finished.status, Status::TimedOut);
    assert_eq!(log, "begun\n");
    assert!(started.elapsed() < Duration::from_secs(3));
    Ok(())
}

fn cancelled(env: &Env) -> Outcome {
    let job = env.job("cancel", "echo begun; sleep 100\n");
    let token = CancelToken::new().unwrap();
    let other = token.clone();
    let mut log = Vec::new();
    let finished = Sandbox::new()
        .run(
            &job,
            &mut |bytes| {
                log.extend_from_slice(bytes);
                other.cancel();
            },
            &token,
        )
        .unwrap();
    assert_eq!(finished.status, Status::Cancelled);
    // A job that starts later with the same token does not start at all.
    let finished = Sandbox::new().run(&job, &mut |_| panic!(), &token).unwrap();
    assert_eq!(finished.status, Status::Cancelled);
    Ok(())
}

fn daemons_die(env: &Env) -> Outcome {
    // It ignores what it can, has a session of its own, and holds the log open.
    let job = env.job(
        "daemon",
        "setsid sh -c 'trap \"\" 1 2 3 15; sleep 7654 & sleep 7654' & echo started; exit 0\n",
    );
    let started = Instant::now();
    assert_eq!(succeed(&job), "started\n");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(!crate::processes::is_running("7654"));
    Ok(())
}

fn endless_output(env: &Env) -> Outcome {
    let mut job = env.job(
        "endless",
        "echo head; while :; do echo 0123456789012345; done\n",
    );
    job.timeout = Some(Duration::from_millis(500));
    let mut log = BoundedLog::with_limits(Vec::new(), 100, 1000);
    let cancel = CancelToken::new().unwrap();
    let finished = Sandbox::new()
        .run(&job, &mut |b| log.push(b), &cancel)
        .unwrap();
    assert_eq!(finished.status, Status::TimedOut);
    let text = log.finish().unwrap();
    assert!(text.starts_with(b"head\n0123") && text.len() < 1300);
    Ok(())
}

fn eight_at_once(env: &Env) -> Outcome {
    let jobs: Vec<_> = (0..8)
        .map(|n| {
            let job = env.job(&format!("at-once-{n}"), "i=0; while [ $i -lt 20 ]; do echo $N > /data/f$i; i=$((i+1)); done; cat /data/f19\n");
            let mut job = job;
            job.env.insert("N".into(), n.to_string());
            job
        })
        .collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = jobs
            .iter()
            .map(|job| scope.spawn(|| (0..5).map(|_| succeed(job)).collect::<String>()))
            .collect();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), format!("{n}\n").repeat(5));
        }
    });
    Ok(())
}

fn setup_error(
    result: Result<impl std::fmt::Debug, SandboxError>,
) -> (SetupStage, Option<PathBuf>, String) {
    match result.unwrap_err() {
        error @ SandboxError::Setup { .. } => {
            let text = error.to_string();
            let SandboxError::Setup { stage, path, .. } = error else {
                unreachable!()
            };
            (stage, path, text)
        }
        other => panic!("{other}"),
    }
}

fn set_up_failures(env: &Env) -> Outcome {
    let mut job = env.job("no-layer", "");
    job.layers.insert(0, "/nowhere/at/all".into());
    let (stage, path, _) = setup_error(run(&job));
    assert_eq!(
        (stage, path),
        (SetupStage::Layer, Some("/nowhere/at/all".into()))
    );

    let mut job = env.job("no-input", "");
    job.binds.push(Bind {
        source: "/nowhere".into(),
        target: "/x".into(),
        writable: false,
    });
    let (stage, path, _) = setup_error(run(&job));
    assert_eq!((stage, path), (SetupStage::Bind, Some("/nowhere".into())));

    // A root that cannot be mounted upon: /dev leads out of it.
    let layer = env.dir("odd-root");
    std::os::unix::fs::symlink("../../../../nowhere", layer.join("dev")).unwrap();
    let mut job = env.job("odd", "");
    job.layers.insert(0, layer);
    let (stage, path, _) = setup_error(run(&job));
    assert_eq!((stage, path), (SetupStage::MountPoint, Some("/dev".into())));

    let mut job = env.job("no-scratch", "");
    job.scratch = job.scratch.join("none");
    assert_eq!(setup_error(run(&job)).0, SetupStage::Scratch);

    let job = env.job("no-helper", "");
    let cancel = CancelToken::new().unwrap();
    let result = Sandbox::with_program("/nowhere/mstore".into()).run(&job, &mut |_| (), &cancel);
    assert!(matches!(result, Err(SandboxError::Spawn { .. })));
    // Another program in its place says nothing that can be understood, and is no script.
    for other in ["/bin/true", "/bin/cat"] {
        let result = Sandbox::with_program(other.into()).run(&job, &mut |_| (), &cancel);
        assert!(result.is_err());
    }
    Ok(())
}

fn bad_jobs(env: &Env) -> Outcome {
    for (target, word) in [
        ("/", "own"),
        ("/proc/x", "own"),
        ("/dev", "own"),
        ("/mstore/step", "own"),
        ("/a/../b", "cannot be shown"),
        ("relative", "cannot be shown"),
    ] {
        let mut job = env.job("bad", "");
        job.binds.push(Bind {
            source: "/".into(),
            target: target.into(),
            writable: false,
        });
        let text = run(&job).unwrap_err().to_string();
        assert!(text.contains(word) && text.contains(target), "{text}");
    }
    let mut job = env.job("bad", "");
    job.layers = vec!["here".into()];
    assert!(matches!(run(&job), Err(SandboxError::BadJob(_))));
    let mut job = env.job("bad", "");
    job.env.insert("A=B".into(), "x".into());
    assert!(matches!(run(&job), Err(SandboxError::BadJob(_))));
    Ok(())
}

fn full_disk(env: &Env) -> Outcome {
    let dir = env.dir("full");
    // Private to this process: main has left the machine's mount namespace.
    let options = c"size=8m,mode=755";
    let flags = rustix::mount::MountFlags::empty();
    if let Err(e) = rustix::mount::mount("tmpfs", &dir, "tmpfs", flags, options) {
        return Err(Skip(format!("cannot mount a tmpfs: {e}")));
    }
    let mut job = env.job(
        "full-job",
        "dd if=/dev/zero of=/data/big bs=64k 2>/dev/null\n",
    );
    job.scratch = dir.join("scratch");
    job.upper = Some(dir.join("upper"));
    fs::create_dir(&job.scratch).unwrap();
    let result = run(&job);
    let filled = fs::write(dir.join("rest"), vec![0; 16 << 20]);
    job.script = vec![b' '; 1 << 20];
    let small = env.job("not-full", "exit 1\n");
    let late = run(&job);
    rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::DETACH).unwrap();
    match result {
        // Overlayfs wants user.* attributes, which tmpfs has since 6.6.
        Err(e) => return Err(Skip(format!("no overlay over tmpfs here: {e}"))),
        Ok((finished, _)) => {
            assert_eq!(finished.status, Status::Exited(1));
            assert!(finished.disk_was_full());
        }
    }
    assert!(filled.is_err());
    if let Err(e) = late {
        assert!(e.is_disk_full(), "{e}");
    }
    let (finished, _) = run(&small).unwrap();
    assert!(!finished.disk_was_full() && !finished.status.is_success());
    Ok(())
}

fn other_machines(env: &Env) -> Outcome {
    let mut job = env.job("foreign", "uname -m\n");
    job.platform = "alpha".into();
    match host::runs("alpha") {
        // An emulator is registered: that a shell of this machine still runs proves nothing.
        Ok(_) => {}
        Err(_) => {
            let text = run(&job).unwrap_err().to_string();
            assert!(text.contains("qemu-user-static"), "{text}");
        }
    }
    if host::machine() != "x86_64" {
        return Err(Skip("only tried on x86_64".into()));
    }
    let mut job = env.job("i686", "uname -m\n");
    job.platform = "i686".into();
    assert_eq!(succeed(&job), "i686\n");
    Ok(())
}

fn host_check(env: &Env) -> Outcome {
    let dir = env.dir("check");
    let found = host::check(&Sandbox::new(), &dir).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found.machine, host::machine());
    assert!(found.platforms.contains(&found.machine));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    Ok(())
}

fn no_more_namespaces(env: &Env) -> Outcome {
    // The switch belongs to each user namespace: only where we have one of our own may it be
    // turned.
    let switch = "/proc/sys/user/max_user_namespaces";
    let Ok(before) = fs::read_to_string(switch) else {
        return Err(Skip("the switch is not to be seen".into()));
    };
    if env.is_root() {
        return Err(Skip("this would change the machine".into()));
    }
    let job = env.job("switched-off", "");
    if let Err(e) = fs::write(switch, "0") {
        return Err(Skip(format!("cannot turn the switch: {e}")));
    }
    let result = run(&job);
    let entering = crate::processes::enter_as_another_user();
    fs::write(switch, before).unwrap();
    let (stage, _, text) = setup_error(result);
    assert_eq!(stage, SetupStage::Namespaces);
    assert!(
        text.contains("sysctl -w user.max_user_namespaces"),
        "{text}"
    );
    if let Some(text) = entering {
        assert!(
            text.contains("sysctl -w user.max_user_namespaces"),
            "{text}"
        );
    }
    succeed(&env.job("switched-on", ""));
    Ok(())
}

fn start_cost(env: &Env) -> Outcome {
    let job = env.job("cost", "#!/bin/true\n");
    // The first is a warm-up.
    succeed(&job);
    let started = Instant::now();
    let times = 50;
    for _ in 0..times {
        assert!(run(&job).unwrap().0.status != Status::TimedOut);
    }
    let each = started.elapsed() / times;
    println!("# a job that does nothing takes {each:.1?}");
    Ok(())
}
