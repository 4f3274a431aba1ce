//! Binary caches: objects and facts as plain files, which any web server can serve.
//!
//! ```text
//! mstore-cache            what the folder is
//! realisations/KEY        a fact
//! derivations/DRV         the newest fact about a derivation
//! trees/TREE              which packs hold what the tree needs
//! packs/NAME.pack         objects, as in a store
//! packs/NAME.index        the end of that file, from the index on
//! ```
//!
//! Files are added whole, and a file only after those that it names; [`collect`] removes them in the other
//! order. A store served live
//! has the same files, made when they are asked for.

mod collect;
mod files;
mod index;
mod listing;
mod read;
mod serve;
mod write;

pub use collect::{CacheCollected, CacheGone, CachePolicy, collect};
#[cfg(feature = "fuzzing")]
pub use index::index;
#[cfg(feature = "fuzzing")]
pub use listing::listing;
pub use read::{Body, CacheReader, Fetch, FolderFetch};
pub use serve::{CacheFile, Listings};
pub use write::{CacheWritten, is_begun};

/// The first file.
pub const CACHE_FILE: &str = "mstore-cache";
/// What is in it.
pub const CACHE_TEXT: &str = "mstore cache\nformat 1\n";

/// Checks what is in the first file.
pub fn check_cache_text(text: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines();
    if lines.next() != Some("mstore cache") {
        return Err("it is not a cache of mstore".into());
    }
    match lines.next().and_then(|line| line.strip_prefix("format ")) {
        Some("1") => Ok(()),
        Some(other) => Err(format!(
            "it is of format {}, and this release knows up to 1",
            other.chars().take(20).collect::<String>()
        )),
        None => Err("it is not a cache of mstore".into()),
    }
}

/// Whether text can be the name of a pack.
fn is_pack_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}
