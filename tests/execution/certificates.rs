//! Engines behind certificates: right ones, wrong ones, none.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use mstore::build::error::{Infrastructure, StepError};
use mstore::build::step::BuiltStep;
use mstore::schedule::reapi::Settings;
use mstore::schedule::reapi::errand::Live;
use mstore::schedule::reapi::reactor::Stop;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::fake::Fake;
use crate::place::{Place, pretend};

/// Makes an authority, and a certificate of it for this machine. Gives the files of both, and the key.
fn made(folder: &Path, name: &str) -> [PathBuf; 3] {
    let file = |end: &str| folder.join(format!("{name}.{end}"));
    let [ca, ca_key, cert, key, request, more] =
        ["ca.pem", "ca.key", "pem", "key", "csr", "ext"].map(file);
    std::fs::write(&more, "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    let openssl = |words: &str, files: &[(&str, &Path)]| {
        let mut command = Command::new("openssl");
        command.args(words.split(' '));
        for (option, path) in files {
            command.arg(option).arg(path);
        }
        let done = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(done.expect("openssl").success(), "{words}");
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        &format!("req -x509 -days 2 -subj /CN={name}-authority {new}"),
        &[("-keyout", &ca_key), ("-out", &ca)],
    );
    openssl(
        &format!("req -subj /CN={name} {new}"),
        &[("-keyout", &key), ("-out", &request)],
    );
    openssl(
        "x509 -req -days 2 -CAcreateserial",
        &[
            ("-in", &request),
            ("-CA", &ca),
            ("-CAkey", &ca_key),
            ("-extfile", &more),
            ("-out", &cert),
        ],
    );
    [ca, cert, key]
}

fn build(place: &Place, settings: Settings) -> Result<BuiltStep, StepError> {
    match Live::new(settings, "1") {
        Ok(live) => place.build_by(&live, &Stop::default(), &Mutex::default()),
        Err(trouble) => panic!("{trouble:?}"),
    }
}

#[track_caller]
fn refused(built: Result<BuiltStep, StepError>, help: &str) {
    match built {
        Err(StepError::Infrastructure(Infrastructure::Engine { why, remedy, .. })) => {
            assert!(remedy.contains(help), "{why}: {remedy}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn certificates_are_looked_at() {
    let place = Place::new(1000);
    let folder = tempfile::tempdir().unwrap();
    let [ca, cert, key] = made(folder.path(), "engine");
    let [other_ca, other_cert, other_key] = made(folder.path(), "other");
    let read = |path: &Path| std::fs::read(path).unwrap();
    let identity = Identity::from_pem(read(&cert), read(&key));
    let worker = place.worker();
    let start = |tls: ServerTlsConfig| {
        let worker = worker.clone();
        Fake::with_tls(
            Some(tls),
            0,
            move |folder| pretend(&worker, folder),
            |_, _| None,
        )
    };
    let fake = start(ServerTlsConfig::new().identity(identity.clone()));
    let plain = place.settings(&fake);
    let secure = |fake: &Fake| {
        let mut settings = place.settings(fake);
        settings.address = fake.url().replace("reapi:", "reapis:").parse().unwrap();
        settings.ca = Some(ca.clone());
        settings
    };
    // Plain where TLS is spoken.
    refused(build(&place, plain), "reapis://");
    // Signed by nobody who is believed.
    let mut settings = secure(&fake);
    settings.ca = Some(other_ca.clone());
    refused(build(&place, settings), "reapi/ca");
    let mut settings = secure(&fake);
    settings.ca = None;
    refused(build(&place, settings), "reapi/ca");
    assert_eq!(fake.state.calls.lock().unwrap().len(), 0);
    build(&place, secure(&fake)).unwrap();
    place.is_built();
    // One that wants a certificate of its clients.
    place.store.forget(&place.step.key().0).unwrap();
    let authority = Certificate::from_pem(read(&other_ca));
    let fake = start(
        ServerTlsConfig::new()
            .identity(identity)
            .client_ca_root(authority),
    );
    let without = build(&place, secure(&fake));
    assert!(without.is_err() && place.recorded().is_none());
    let mut settings = secure(&fake);
    (settings.cert, settings.key) = (Some(other_cert), Some(other_key));
    build(&place, settings).unwrap();
    place.is_built();
}
