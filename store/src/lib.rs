//! A content-addressed store of root file systems and of what built them.
//!
//! A [`Store`] is a folder. File contents are *blobs*, directories are *manifests*, and a *tree* is a
//! root directory with all under it; each is named by its hash, so equal content is kept once.
//! Objects live in append-only pack files; SQLite holds the facts about them: which derivation
//! produced which tree ([`Realisation`]), named roots, leases.
//!
//! ```no_run
//! use mstore_store::{ImportOptions, OpenOptions, Store};
//! # fn main() -> Result<(), mstore_store::StoreError> {
//! let store = Store::open("/var/lib/mstore".as_ref(), &OpenOptions::create())?;
//! let imported = store.import_dir("/srv/rootfs".as_ref(), &ImportOptions::default())?;
//! let checkout = store.checkout(imported.tree)?;
//! println!("{} lies at {}", imported.tree, checkout.layers()[0].display());
//! # Ok(()) }
//! ```
//!
//! # Who keeps what alive
//! The collector ([`Store::gc`]) runs beside everything else. A tree lives while it is a named root,
//! while a living process holds a [`Lease`] on it, or while the policy keeps the realisation that
//! made it. What this process imported or captured itself is leased until its last [`Store`] handle
//! is dropped. Protect a tree before reading it: [`Lease::protect`] fails when it is gone already.
//! A [`Realisation`] is a fact and stays when its tree is collected; ask [`Store::has_tree`].
#![deny(unsafe_code)]

pub mod codec;
pub mod compress;
pub mod git;
pub mod hash;
pub mod image;
pub mod manifest;
pub mod oci;
pub mod tar;
pub mod transfer;

mod answers;
mod attributes;
mod beside;
mod builder;
mod cancel;
mod checkout;
mod claim;
mod compose;
#[cfg(test)]
mod crash;
mod db;
mod disk;
mod doors;
mod edit;
mod error;
mod facts;
mod fold;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gather;
mod gc;
mod ingest;
mod inside;
mod inspect;
mod layout;
mod links;
mod lock;
mod losses;
mod map;
mod mark;
mod objects;
mod options;
mod pack;
mod packs;
mod record;
mod remove;
mod repack;
mod reserve;
mod room;
mod scan;
mod session;
mod statcache;
mod store;
mod verify;
mod view;
mod weave;
mod workers;

pub use beside::Beside;
pub use builder::{Node, TreeBuilder};
pub use cancel::Cancel;
pub use checkout::{Checkout, Dropped, Placed, Placing, Raised, Unmakeable, View, check_out_link};
pub use claim::{Claim, Claimant, Claimed};
pub use codec::CodecError;
pub use compose::{ComposeError, Member};
pub use db::history::{
    Attempt, HistoryFilter, Looked, Outcome, Past, PastQuery, PastRun, PastRuns,
};
pub use db::pins::{LockFile, RegisteredPin};
pub use db::rescue::Rescued;
pub use db::signatures::Signature;
pub use db::work::Held;
pub use edit::Edit;
pub use error::{ErrorKind, StoreError};
pub use facts::{Lease, LostResult, ScratchDir, Steady};
pub use gather::{Gather, GatherError};
pub use gc::{
    GcPolicy, GcReport, Gone, InUse, Keeper, ObjectKind, Occupied, Survivor, Why, WhyAlive,
    WrittenOut,
};
pub use git::{GitError, GitImported, GitOptions};
pub use hash::{BlobHash, DirHash, Hash, ParseHashError, TreeHash};
pub use image::{Ext4Options, ImageError, ImageKind, ImageOptions, Tool, uuid};
pub use inside::{Inside, Write};
pub use inspect::{Found, Place, StepHash, StoreInfo, Usage, Wanted};
pub use losses::{ExportForm, Loss, LossKind};
pub use manifest::{Entry, Kind, Manifest, Meta, Mtime, Tree};
pub use oci::{OciImage, OciOptions};
pub use options::{CaptureBounds, CaptureOptions, Captured, ImportOptions, Imported, OpenOptions};
pub use record::{Realisation, RealisationKind, Root};
pub use remove::remove_tree;
pub use repack::Repacked;
pub use room::{Need, Room};
pub use store::Store;
pub use tar::{ExportOptions, Exported, TarError, TarOptions, Within};
pub use verify::{Fault, Refetch, VerifyOptions, VerifyReport};
pub use weave::Draft;
