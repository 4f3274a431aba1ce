//! Layout: names of files within a store, as far as others need them.

use std::path::Path;

use crate::Store;

/// The file that says which format the store has. Written last when a store is made.
pub(crate) const FORMAT_FILE: &str = "format";
/// The database.
pub(crate) const DATABASE: &str = "db/mstore.sqlite";

impl Store {
    /// Path of the database within a store, for messages and for people who look into it.
    pub const DATABASE: &'static str = DATABASE;

    /// Tells whether the folder `path` holds a store that is complete enough to be opened.
    pub fn is_in(path: &Path) -> bool {
        path.join(FORMAT_FILE).is_file()
    }
}
/// The folder of catalogues.
pub(crate) const CATALOGUES: &str = "catalogues";
