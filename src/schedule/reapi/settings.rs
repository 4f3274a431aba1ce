//! What a machine's owner says about an engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::address::EngineAddress;
use super::digest::Function;

/// Steps that an engine is given at a time where nothing is said.
pub const INFLIGHT: usize = 1000;
/// How long a step may be queued before that is told, where nothing is said.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(600);

/// What a step may take beyond its own limit at an engine, which does not tell when a script begins: its trees come to
/// the worker first.
const STAGING: Duration = Duration::from_secs(300);
/// For how long an engine that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(180);

/// How an engine is reached, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it is.
    pub address: EngineAddress,
    /// Whether what travels to another machine may be plain.
    pub insecure: bool,
    /// The file with the bearer token.
    pub token: Option<PathBuf>,
    /// Certificates to believe in the place of those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate of this client, with its key in the next.
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
    /// Properties that workers must have, beside the usual ones.
    pub properties: Vec<(String, String)>,
    /// The worker's program, by platform as `uname -m` prints it.
    pub workers: BTreeMap<String, PathBuf>,
    /// The function that digests are made with.
    pub digest: Function,
    /// A word that keeps results apart from those of others.
    pub salt: String,
    /// Most steps at a time.
    pub inflight: usize,
    /// How long a step may be queued before that is told.
    pub queue_timeout: Duration,
    /// For how long an engine that does not answer is asked again.
    pub patience: Duration,
    /// What a step may take there beyond its own time limit.
    pub staging: Duration,
}

impl Settings {
    /// The usual ones for an engine.
    pub fn new(address: EngineAddress) -> Settings {
        Settings {
            address,
            insecure: false,
            token: None,
            ca: None,
            cert: None,
            key: None,
            properties: Vec::new(),
            workers: BTreeMap::new(),
            digest: Function::Sha256,
            salt: String::new(),
            inflight: INFLIGHT,
            queue_timeout: QUEUE_TIMEOUT,
            patience: PATIENCE,
            staging: STAGING,
        }
    }
}
