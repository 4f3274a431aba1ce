//! Imports an archive into a store, or exports a tree, and says how long that took.
//!
//! ```text
//! cargo run --release -p mstore-store --example archive -- check root.tar.xz
//! cargo run --release -p mstore-store --example archive -- import STORE root.tar.xz
//! cargo run --release -p mstore-store --example archive -- import-folder STORE FOLDER
//! cargo run --release -p mstore-store --example archive -- export STORE TREE zstd:3 out.tar.zst
//! ```

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use mstore_store::{ExportOptions, ImportOptions, OpenOptions, Store, TarOptions, tar};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let start = Instant::now();
    match arguments[..] {
        ["check", archive] => {
            let found = tar::check(File::open(archive)?, &TarOptions::seed())?;
            println!("{} entries, {} bytes", found.entries, found.bytes);
        }
        ["import", store, archive] => {
            let store = Store::open(Path::new(store), &OpenOptions::create())?;
            let imported = store.import_tar(File::open(archive)?, &TarOptions::seed())?;
            println!("{}", imported.tree);
        }
        ["import-folder", store, folder] => {
            let store = Store::open(Path::new(store), &OpenOptions::create())?;
            let imported = store.import_dir(Path::new(folder), &ImportOptions::default())?;
            println!("{}", imported.tree);
        }
        ["export", store, tree, compression, out] => {
            let store = Store::open(Path::new(store), &OpenOptions::read_only())?;
            let options = ExportOptions::new(compression.parse()?);
            let mut out = File::create(out)?;
            let exported = store.export_tar(tree.parse()?, &mut out, &options)?;
            out.flush()?;
            println!(
                "{} entries, {} bytes of archive",
                exported.entries, exported.bytes
            );
        }
        _ => {
            return Err(
                "check ARCHIVE | import STORE ARCHIVE | import-folder STORE FOLDER | export STORE TREE COMPRESSION FILE".into(),
            );
        }
    }
    eprintln!("{:.3} s", start.elapsed().as_secs_f64());
    Ok(())
}
