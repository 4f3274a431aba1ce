//! The tests.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use mstore::build::cancel::CancelToken;
use mstore::build::sandbox::{Bind, Sandbox, SandboxError, Status, Step};

use crate::support::{Env, Outcome, describe, run, succeed};

/// Every test, by name.
pub const ALL: &[(&str, fn(&Env) -> Outcome)] = &[
    ("output_and_status", output_and_status),
    (
        "changes_land_in_the_upper_layer",
        changes_land_in_the_upper_layer,
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
    Ok(())
}

fn changes_land_in_the_upper_layer(env: &Env) -> Outcome {
    let job = env.job(
        "upper",
        "echo new > /data/new; rm /data/file; rm -r /data/old; mkdir /data/old; ln -s x /data/link; mkfifo /pipe; touch /tmp/x /dev/shm/y\n",
    );
    succeed(&job);
    // No mount point of /dev, /proc, /tmp, /mstore is among the changes; the root's own metadata
    // is the base's.
    assert_eq!(
        describe(job.upper.as_ref().unwrap()),
        "/ 711 0:0 dir\n\
         /data 755 0:0 dir\n\
         /data/file 0 0:0 char 0\n\
         /data/link 777 0:0 link x\n\
         /data/new 644 0:0 file \"new\\n\"\n\
         /data/old 755 0:0 dir user.overlay.opaque=y\n\
         /pipe 644 0:0 fifo\n"
    );
    Ok(())
}

/// Runs a job that the test kills us in the middle of.
pub fn victim(_dir: &Path) -> ExitCode {
    ExitCode::SUCCESS
}
