//! The files of dpb, as its manual pages tell of them: locks that several schedulers share, and the logs under
//! `logs/<arch>/`.
//!
//! - [`name`]: what things to build are called, `category/name,flavor,-subpackage`;
//! - [`files`]: reading and appending where others write too;
//! - [`lock`]: lock files, one a path, taken by exclusive create; [`process`]: whether their holders live;
//! - [`build_log`]: the log of builds, which the next run learns from; [`lines`]: the other forms of a line;
//! - [`folder`]: the folder of logs, and the stop files in it;
//! - [`display`]: what stands on a terminal meanwhile;
//! - [`desk`]: the ledger of a run over these files.
//!
//! Nothing in here decides what is built: `schedule` does, and the desk carries what it decides into these files.

pub mod build_log;
pub mod desk;
pub mod display;
pub mod files;
pub mod folder;
pub mod lines;
pub mod lock;
pub mod name;
pub mod process;

pub use build_log::{BuildHistory, BuildLine};
pub use desk::{Board, Desk, DeskError, Screen, Setup};
pub use folder::LogFolder;
pub use lock::{Holding, LockError, LockFile, Locks, Taken};
pub use name::{BadName, PkgPath};
