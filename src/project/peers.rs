//! Opening peers: stores and caches that results are copied from, in a folder, over ssh, on the web.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mstore_store::transfer::TransferError;
use mstore_store::transfer::cache::{CacheReader, Fetch, FolderFetch};

use super::open::Folder;
use super::{Access, ProjectError, open_store};
use crate::share::address::SshAddress;
use crate::share::cache::CachePeer;
#[cfg(feature = "http")]
use crate::share::http_client::{HttpFetch, HttpOptions};
use crate::share::ssh::{self, SshOptions, SshPeer};
use crate::share::{LocalPeer, Peer, Remote};

/// Splits the command that is run as ssh into its words; blank text means `ssh`.
pub fn ssh_command(text: &str) -> Vec<String> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    match words.is_empty() {
        true => vec!["ssh".to_owned()],
        false => words,
    }
}

/// How other places are reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Connections to use at a time.
    pub jobs: usize,
    /// The program to run as ssh, with its first options.
    pub ssh: Vec<String>,
    /// The name of mstore at the other end of an ssh connection.
    pub remote_program: String,
    /// A file of certificates (PEM) to believe besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long the other end may take to answer.
    pub timeout: Duration,
    /// Whether only folders may be looked at.
    pub offline: bool,
}

impl Reach {
    /// How to start ssh. `unattended` says how many seconds it may take where nobody can be asked for
    /// a password.
    pub fn ssh_options(&self, unattended: Option<u32>) -> SshOptions {
        SshOptions {
            is_openssh: self.ssh.first().is_some_and(|word| {
                Path::new(word)
                    .file_name()
                    .is_some_and(|name| name == "ssh")
            }),
            command: self.ssh.clone(),
            remote_program: self.remote_program.clone(),
            blind: false,
            unattended,
            through: None,
            beside: None,
        }
    }

    /// Connects to another machine; ssh may ask the user for what it needs.
    pub fn ssh(&self, address: &SshAddress) -> Result<SshPeer, TransferError> {
        ssh::start(address, &self.ssh_options(None))?.connect()
    }

    /// The same to copy to it; `blind` asks it to believe what nobody signed.
    pub fn ssh_to(&self, address: &SshAddress, blind: bool) -> Result<SshPeer, TransferError> {
        let options = SshOptions {
            blind,
            ..self.ssh_options(None)
        };
        ssh::start(address, &options)?.connect()
    }

    /// Opens a place to copy from.
    pub fn open(&self, remote: &Remote) -> Result<Arc<dyn Peer>, ProjectError> {
        Ok(match remote {
            Remote::Folder(path) => self.folder(path)?,
            Remote::Ssh(_) | Remote::Http(_) if self.offline => {
                let name = match remote {
                    Remote::Ssh(address) => &address.host,
                    Remote::Http(address) => address,
                    Remote::Folder(_) => "",
                };
                let why = "the network is not to be used";
                return Err(TransferError::peer(name, why).into());
            }
            Remote::Ssh(address) => Arc::new(self.ssh(address)?),
            Remote::Http(address) => Arc::new(self.web(address)?),
        })
    }

    /// Opens the store or the cache in a folder.
    fn folder(&self, path: &Path) -> Result<Arc<dyn Peer>, ProjectError> {
        Ok(match Folder::of(path)? {
            Folder::Store => Arc::new(LocalPeer::new(&open_store(path, Access::Read)?)),
            Folder::Cache => Arc::new(self.cache(Box::new(FolderFetch::new(path)))?),
            Folder::Empty | Folder::BegunStore | Folder::BegunCache => {
                return Err(ProjectError::NothingThere {
                    path: path.to_owned(),
                });
            }
        })
    }

    fn cache(&self, fetch: Box<dyn Fetch>) -> Result<CachePeer, TransferError> {
        Ok(CachePeer::new(CacheReader::open(fetch, self.jobs)?))
    }

    /// Opens a cache on a web server.
    #[cfg(feature = "http")]
    fn web(&self, address: &str) -> Result<CachePeer, TransferError> {
        let options = HttpOptions {
            timeout: self.timeout,
            ca_file: self.ca_file.clone(),
        };
        self.cache(Box::new(HttpFetch::new(address, &options)?))
    }

    /// Says that this program was built without it.
    #[cfg(not(feature = "http"))]
    fn web(&self, address: &str) -> Result<CachePeer, TransferError> {
        Err(TransferError::peer(
            address,
            "this mstore was built without the feature `http`",
        ))
    }
}
