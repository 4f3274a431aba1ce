//! Real packages of a real tree, built with what the graph names and with all that there is: the whole tree of ebuilds, the
//! whole profile, `/etc/portage` as people wrote it. What comes out is to be the same.
//!
//! The folder that `MSTORE_TEST_REAL` names has a root in `seed.tar`, the tree, source archives in `distfiles`, and
//! the graph in `packages.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mstore::build::host;
use mstore::drv::derivation::InputSource;
use mstore::drv::step_name::StepName;
use mstore::packages::PackageGraph;
use mstore::packages::build::{self, Build, surroundings};
use mstore::packages::snapshot::Snapshots;
use mstore_store::Edit;

use crate::table::EPOCH;
use crate::world::World;

/// Builds each package both ways, and gives the number of those that differ.
pub fn narrowed(world: &World, work: &Path) -> usize {
    let json = fs::read(work.join("packages.json")).unwrap();
    let graph: PackageGraph = serde_json::from_slice(&json).unwrap();
    let names = graph.repositories.iter().map(|r| r.name.clone());
    let repositories: BTreeMap<_, _> = names.map(|name| (name, world.ebuilds)).collect();
    let config = world.store.subtree(world.seed, "etc/portage").unwrap();
    let snapshots = Snapshots::new(&world.store, &repositories, Some(config));
    let around = surroundings(&snapshots, &graph, &graph.packages).unwrap();
    let mut differing = 0;
    for (package, around) in graph.packages.iter().zip(&around) {
        let features = graph.settings[package.settings].features.join(" ");
        let own = world.text(config, "make.conf");
        let conf = format!(
            "{own}\nDISTDIR=\"/mstore/fetch\"\nFEATURES=\"-* {features}\"\nPORTAGE_TMPDIR=\"/var/tmp\"\nNO_COLOR=\"1\"\n"
        );
        let edits = BTreeMap::from([("make.conf".to_owned(), Edit::Text(conf.into_bytes()))]);
        let whole_config = world.store.edit(config, &edits).unwrap();
        let distfiles = package.distfiles.iter();
        let distfiles = distfiles.map(|file| (file.name.clone(), world.archive(work, &file.name)));
        let narrow = build::derivation(&Build {
            name: StepName::new("narrow", &package.category_name()).unwrap(),
            package,
            graph: &graph,
            root: InputSource::Tree(world.seed),
            surroundings: around,
            distfiles: &distfiles.collect(),
            platform: &host::machine(),
            epoch: EPOCH,
            timeout: Some(3600),
        });
        let mut whole = narrow.clone();
        whole.name = StepName::new("whole", &package.category_name()).unwrap();
        for input in &mut whole.inputs {
            if input.at == "/etc/portage" {
                input.source = InputSource::Tree(whole_config);
            } else if input.at.starts_with("/var/db/repos/") {
                input.source = InputSource::Tree(world.ebuilds);
            }
        }
        let built = [narrow, whole].map(|drv| world.realise(world.know([drv])));
        let [Ok(narrow), Ok(whole)] = built else {
            println!("{package}: {built:?}");
            differing += 1;
            continue;
        };
        let (one, other) = (world.look(narrow), world.look(whole));
        let paths = one
            .keys()
            .chain(other.keys().filter(|p| !one.contains_key(*p)));
        let differ: Vec<&String> = paths.filter(|p| one.get(*p) != other.get(*p)).collect();
        let in_image = differ
            .iter()
            .filter(|p| !p.starts_with("record/") && !p.starts_with("hooks/"));
        let count = in_image.count();
        differing += usize::from(count > 0);
        println!(
            "{package}: {} entries, {count} differ in image and view; all: {differ:?}",
            one.len()
        );
    }
    differing
}
