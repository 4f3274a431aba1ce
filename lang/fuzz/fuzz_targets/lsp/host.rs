//! Files in memory for the server.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mstore_lang::ide::Host;
use mstore_lang::{Definition, Files};
use mstore_lang_fuzz::Memory;

thread_local! {
    static FILES: RefCell<Arc<Memory>> = RefCell::default();
}

/// Puts the files in place for the servers of this thread.
pub(super) fn set(memory: Arc<Memory>) {
    FILES.replace(memory);
}

fn files() -> Arc<Memory> {
    FILES.with(|files| Arc::clone(&files.borrow()))
}

/// The name that the server gives its host.
pub(super) struct Disk;

struct Shared(Arc<Memory>);

impl Files for Shared {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        self.0.is_file(path)
    }
}

impl Host for Disk {
    fn base(&self) -> Arc<dyn Files + Send> {
        Arc::new(Shared(files()))
    }

    fn entry_name(&self) -> &str {
        "main.conf"
    }

    fn definition_sets(&self, _: &Path, _: Box<dyn Files + Send>) -> Vec<Vec<Definition>> {
        vec![Vec::new(), files().definitions.clone()]
    }

    fn specifications(&self, folder: &Path) -> Vec<PathBuf> {
        let files = files();
        let under = files.files.keys().filter(|path| path.starts_with(folder));
        under.cloned().collect()
    }
}
