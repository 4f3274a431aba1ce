//! One operation of the store in one process, for measurements: `benches/store` calls it.
//!
//! `store-tool STORE import DIR ROOT | again DIR ROOT | drop ROOT | gc | verify | repack | out ROOT DIR |
//! checkout ROOT | link ROOT DIR | reflink ROOT DIR | checkouts | tar ROOT FILE LEVEL`

use std::fs::File;
use std::path::Path;

use mstore_store::compress::Compression;
use mstore_store::*;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn root(store: &Store, name: &str) -> Outcome<TreeHash> {
    let found = store.roots()?.into_iter().find(|root| root.name == name);
    Ok(found.ok_or("there is no root of this name")?.tree)
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [place, rest @ ..] = &args[..] else {
        return Err("which store?".into());
    };
    let store = Store::open(Path::new(place), &OpenOptions::create())?;
    match rest {
        ["init"] => {}
        [how @ ("import" | "again"), dir, name] => {
            let options = ImportOptions {
                no_cache: *how == "import",
                ..ImportOptions::default()
            };
            let done = store.import_dir(Path::new(dir), &options)?;
            store.add_root(name, done.tree)?;
            println!(
                "{} {} entries, {} bytes added",
                done.tree, done.entries, done.new_bytes
            );
        }
        ["drop", name] => {
            store.remove_root(name)?;
        }
        ["gc"] => {
            let report = store.gc(&GcPolicy::newest(0), false)?;
            println!("{} bytes freed", report.freed);
        }
        ["repack"] => {
            let done = store.repack(&Cancel::new())?;
            println!("{} bytes are now {}", done.before, done.after);
        }
        ["verify"] => {
            let report = store.verify(&VerifyOptions::default(), &mut |f| println!("{f:?}"))?;
            println!("{} objects, {} bytes", report.objects, report.bytes);
        }
        ["out", name, dir] => store.copy_out(root(&store, name)?, Path::new(dir))?,
        ["link", name, dir] => {
            let placed = store.place(root(&store, name)?, Path::new(dir), Placing::Link)?;
            println!("{placed:?}");
        }
        ["reflink", name, dir] => {
            let placed = store.place(root(&store, name)?, Path::new(dir), Placing::Reflink)?;
            println!("{placed:?}");
        }
        ["checkouts"] => {
            let options = VerifyOptions {
                checkouts: true,
                ..VerifyOptions::default()
            };
            let report = store.verify(&options, &mut |f| println!("{f:?}"))?;
            println!("{} objects, {} faults", report.objects, report.faults.len());
        }
        ["checkout", name] => {
            let checkout = store.checkout(root(&store, name)?)?;
            println!("{}", checkout.layers()[0].display());
        }
        ["tar", name, file, level] => {
            let options = ExportOptions::new(Compression::Zstd(level.parse()?));
            let out = std::io::BufWriter::new(File::create(file)?);
            store.export_tar(root(&store, name)?, out, &options)?;
        }
        other => return Err(format!("what is {other:?}?").into()),
    }
    Ok(())
}
