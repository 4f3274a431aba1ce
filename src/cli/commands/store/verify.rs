//! `mstore store verify`

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use mstore_store::{Fault, RegisteredPin, Rescued, VerifyOptions, VerifyReport};

use crate::cli::Failure;
use crate::cli::context::Context;
use crate::cli::failure::FOUND;
use crate::cli::output::{self, Style, plural};
use crate::cli::watch::Watch;
use crate::project::repair::{self, Repair, Verified, Verify};
use crate::project::{Caches, ProjectError};

/// Verifies the store. Exits with 1 when something is wrong.
pub fn verify(context: &Context, options: VerifyOptions, json: bool) -> Result<ExitCode, Failure> {
    let caches = match options.repair {
        true => Caches::start(&context.config()?, &context.reach())?,
        false => Caches::default(),
    };
    if options.repair || options.checkouts {
        // What was written out has files of many owners.
        context.enter()?;
    }
    let path = context.store_path()?;
    let watch = Watch::new(json);
    let how = Verify {
        options,
        caches: &caches,
        cancel: context.cancel()?,
        events: &watch,
    };
    let verified = repair::verify(&path, &how, &mut |event| tell_of(&event, &path, json));
    let verified = match verified {
        Err(ProjectError::Unusable { file, detail }) => {
            if json {
                let report = VerifyReport {
                    faults: vec![file.fault(detail.clone())],
                    ..VerifyReport::default()
                };
                print_json(&report, &Verified::default())?;
            }
            return Err(ProjectError::Unusable { file, detail }.into());
        }
        other => other?,
    };
    if json {
        print_json(&verified.report, &verified)?;
    } else {
        show(&verified, options.repair)?;
        advise(&verified.report, options.repair);
    }
    Ok(match verified.is_sound() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(FOUND),
    })
}

/// Tells what is found and done, as it is. Faults of objects are in the JSON.
fn tell_of(event: &Repair<'_>, store: &Path, json: bool) {
    match event {
        Repair::Fault(_) if json => {}
        Repair::VitalFault(fault) | Repair::Fault(fault) => {
            tell!("{} {}", Style::stderr().error("fault:"), describe(fault));
        }
        Repair::FormatWritten => tell!("the file named format was written anew"),
        Repair::DatabaseWritten(saved) => tell_of_database(saved, store),
    }
}

fn tell_of_database(saved: &Rescued, store: &Path) {
    tell!(
        "the database was written anew: {} rows, {} packs that are there; the damaged one is {}",
        saved.rows.iter().map(|(_, n)| n).sum::<u64>(),
        saved.packs,
        store.join(&saved.kept).display()
    );
}

/// Prints what was found and what became of it.
fn show(verified: &Verified, repaired: bool) -> Result<(), Failure> {
    let report = &verified.report;
    output::line(format!(
        "{} objects, {}: {}",
        report.objects,
        output::size(report.bytes),
        match report.faults.len() {
            0 => "no fault".to_owned(),
            1 => "1 fault".to_owned(),
            n => format!("{n} faults"),
        }
    ))?;
    for name in &report.rebuilt {
        output::line(format!(
            "packs/{name}.pack was written anew from its records"
        ))?;
    }
    for name in &report.adopted {
        output::line(format!(
            "packs/{name}.pack is needed, and is in the database's list again"
        ))?;
    }
    for name in &report.forgotten_roots {
        output::line(format!("forgot gc root {name}"))?;
    }
    for pin in &report.lost_pins {
        let (kind, name, path) = (&pin.kind, &pin.name, &pin.path);
        output::line(format!("lost {kind} {name} of {path}: {}", pin.tree))?;
    }
    if !verified.refetched.is_empty() {
        let n = verified.refetched.len();
        output::line(format!("fetched {n} {} again", plural(n, "tree")))?;
    }
    for result in &verified.doubted {
        output::line(match repaired {
            true => format!("forgot {}, built on a folder that was changed", result.name),
            false => format!(
                "perhaps wrong: {}, built on a folder that was changed",
                result.name
            ),
        })?;
    }
    if !report.forgotten.is_empty() {
        output::line(format!(
            "forgot {} realisations; realise builds them anew",
            report.forgotten.len()
        ))?;
    }
    Ok(())
}

/// Says what can be done next.
fn advise(report: &VerifyReport, repaired: bool) {
    if report.forgotten.is_empty() && !report.faults.is_empty() && !repaired {
        tell!(
            "hint: `mstore store verify --repair` forgets what is damaged, so that it is built anew"
        );
    }
    if !report.forgotten_roots.is_empty() {
        tell!(
            "hint: where another store or a cache has the tree, `mstore copy --from PLACE HASH --root NAME` brings a gc root back; else build or import it again, then `mstore store root add NAME TREE`"
        );
    }
    for hint in ways_back(&report.lost_pins) {
        tell!("hint: {hint}");
    }
}

/// What brings seeds and snapshots back, once for each.
fn ways_back(pins: &[RegisteredPin]) -> BTreeSet<String> {
    let way = |pin: &RegisteredPin| {
        let RegisteredPin {
            kind, name, tree, ..
        } = pin;
        let again = match kind.as_str() {
            "seed" if name.starts_with("host/") => {
                format!("`mstore lock --update {name}` captures this machine again")
            }
            "seed" => format!("`mstore seed import FILE --name {name}` imports it again"),
            _ => format!("`mstore snapshot import DIR --name {name}` imports it again"),
        };
        format!(
            "{kind} {name}: {again}; `mstore copy --from PLACE {tree}` copies it from who has it"
        )
    };
    pins.iter().map(way).collect()
}

fn print_json(report: &VerifyReport, verified: &Verified) -> Result<(), Failure> {
    let faults: Vec<_> = report
        .faults
        .iter()
        .map(|f| {
            serde_json::json!({
                "file": f.file,
                "object": f.object.map(|o| o.to_string()),
                "detail": f.detail,
                "affects": f.affects,
            })
        })
        .collect();
    let lost_pins: Vec<_> = report
        .lost_pins
        .iter()
        .map(|p| {
            serde_json::json!({
                "kind": p.kind,
                "name": p.name,
                "lock": p.path,
                "tree": p.tree.to_string(),
            })
        })
        .collect();
    let refetched: Vec<String> = verified.refetched.iter().map(ToString::to_string).collect();
    let doubted: Vec<_> = verified
        .doubted
        .iter()
        .map(|r| serde_json::json!({ "name": r.name, "key": r.key.to_string() }))
        .collect();
    let forgotten: Vec<String> = report.forgotten.iter().map(ToString::to_string).collect();
    output::json_pretty(&serde_json::json!({
        "objects": report.objects,
        "bytes": report.bytes,
        "faults": faults,
        "forgotten": forgotten,
        "forgotten_roots": report.forgotten_roots,
        "lost_pins": lost_pins,
        "rebuilt": report.rebuilt,
        "adopted": report.adopted,
        "database_rebuilt": verified.rescued,
        "refetched": refetched,
        "doubted": doubted,
    }))
}

fn describe(fault: &Fault) -> String {
    let mut text = String::new();
    if let Some(file) = &fault.file {
        text.push_str(&format!("{file}: "));
    }
    if let Some(object) = &fault.object {
        text.push_str(&format!("{object}: "));
    }
    text.push_str(&fault.detail);
    if !fault.affects.is_empty() {
        text.push_str(&format!(" (affects {})", fault.affects.join(", ")));
    }
    text
}
