//! Arguments that several commands take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Failure;
use super::context::Context;
use crate::build::step::Limits;
use crate::config::{self, Config};
use crate::drv::NodeName;
use crate::project::peers::ssh_command;
use crate::project::{Reach, Retention};
use crate::share::trust::KeyError;
use crate::share::{PublicKey, SecretKey, Trust};

/// What gc keeps; the configuration file has the same, and these win.
#[derive(clap::Args, Default)]
pub struct RetentionArgs {
    /// Keep the newest N trees of each target [default: 3]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    keep: Option<usize>,
    /// Also keep everything built in the last DAYS days
    #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
    keep_days: Option<u32>,
    /// Make the store no larger than this, such as 500M or 20G: what was used longest ago goes first
    #[arg(long, value_name = "SIZE", value_parser = config::size, allow_negative_numbers = true)]
    max_size: Option<u64>,
}

impl RetentionArgs {
    /// The answer to these options.
    pub fn retention(&self) -> Retention {
        Retention {
            keep: self.keep,
            keep_days: self.keep_days,
            max_size: self.max_size,
        }
    }
}

/// Reads `TARGET` or `TARGET:STEP`.
pub fn node_name(word: &str) -> Result<NodeName, Failure> {
    word.parse::<NodeName>().map_err(Failure::usage)
}

/// Options of reaching other places.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ReachArgs {
    /// Connections to use at a time
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub jobs: u8,
    /// Program to run as ssh, with its options [default: $MSTORE_SSH, else ssh]
    #[arg(long, value_name = "COMMAND")]
    pub ssh: Option<String>,
    /// Name of mstore at the other end of an ssh connection
    #[arg(long, value_name = "PROGRAM", default_value = "mstore")]
    pub remote_program: String,
    /// File of certificates to believe besides those of the system (PEM)
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Seconds that the other end may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u32,
}

impl ReachArgs {
    /// The answer to these options.
    pub fn reach(&self, context: &Context) -> Reach {
        let mut reach = context.reach();
        if let Some(ssh) = &self.ssh {
            reach.ssh = ssh_command(ssh);
        }
        Reach {
            jobs: self.jobs.into(),
            remote_program: self.remote_program.clone(),
            ca_file: self.ca_file.clone(),
            timeout: Duration::from_secs(self.timeout.into()),
            ..reach
        }
    }
}

/// What steps may leave and write.
pub fn limits(config: &Config) -> Limits {
    let usual = Limits::default();
    Limits {
        file: config.build.file_limit.unwrap_or(usual.file),
        output: config.build.output_limit.unwrap_or(usual.output),
        memory: None,
        silence: None,
    }
}

/// Options of trust.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct TrustArgs {
    /// Believe facts that this public signing key signed, besides those of the configuration file
    #[arg(long = "trust", value_name = "NAME:BASE64")]
    pub trust: Vec<String>,
}

/// The keys whose signatures count: those of the configuration file, and those given besides.
pub fn trust(config: &Config, args: &TrustArgs) -> Result<Trust, Failure> {
    let more: Vec<PublicKey> = args
        .trust
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, KeyError>>()?;
    let listed = config.trust.keys.iter();
    let listed = listed.filter_map(|key| PublicKey::new(&key.name, &key.bytes));
    Ok(Trust::new(listed.chain(more), config.trust.need))
}

/// The key to sign with: the one given, else the one that the configuration file names.
pub fn signing_key(config: &Config, given: Option<&Path>) -> Result<Option<SecretKey>, Failure> {
    let path = match (given, &config.sign_key) {
        (Some(path), _) => path,
        (None, Some(path)) => path,
        (None, None) => return Ok(None),
    };
    Ok(Some(SecretKey::read(path)?))
}

/// Where a user's own configuration lies, and keys with it.
pub fn keys_folder(context: &Context) -> Result<PathBuf, Failure> {
    context
        .config_home()
        .map(|home| home.join("mstore").join("keys"))
        .ok_or_else(|| {
            Failure::usage("no place for keys: HOME is not set").hint("give a file: --out FILE")
        })
}
