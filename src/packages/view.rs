//! What a package sees of the trees of ebuilds: its ebuild and the files beside it, the eclasses that it inherits, and
//! what Portage needs to know a tree as one. Whatever else changes in a tree, this does not.
//!
//! A view is cut by the names in the graph: nothing is walked, and nothing is read but the folders on the way.

use std::collections::BTreeSet;

use mstore_store::{Draft, Kind};

use super::graph::{Package, PackageGraph, Repository};
use super::snapshot::{CutError, Snapshots};

/// The repository views of a package: where each appears, and what is in it.
pub fn repositories(
    snapshots: &Snapshots<'_>,
    graph: &PackageGraph,
    package: &Package,
) -> Result<Vec<(String, Draft)>, CutError> {
    seen_repositories(graph, package)?
        .into_iter()
        .map(|repository| {
            let view = repository_view(snapshots, graph, package, repository)?;
            Ok((repository.at.clone(), view))
        })
        .collect()
}

/// The repositories of a package: of its ebuild, its eclasses and its shell files, and their masters; by name.
pub(super) fn seen_repositories<'g>(
    graph: &'g PackageGraph,
    package: &'g Package,
) -> Result<Vec<&'g Repository>, CutError> {
    let settings = graph.settings.get(package.settings);
    let bashrcs = settings.map_or(&[][..], |settings| &settings.bashrcs);
    let mut wanted: Vec<&str> = vec![&package.repository];
    wanted.extend(package.inherits.iter().map(|e| e.repository.as_str()));
    wanted.extend(bashrcs.iter().filter_map(|file| file.repository.as_deref()));
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name) {
            continue;
        }
        let repository = graph.repositories.iter().find(|r| r.name == name);
        let repository = repository.ok_or_else(|| CutError::Repository {
            name: name.to_owned(),
        })?;
        wanted.extend(repository.masters.iter().map(String::as_str));
        found.push(repository);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn repository_view(
    snapshots: &Snapshots<'_>,
    graph: &PackageGraph,
    package: &Package,
    repository: &Repository,
) -> Result<Draft, CutError> {
    let name = repository.name.as_str();
    let mut view = Draft::new();
    let add =
        |view: &mut Draft, path: &str, is_needed: bool| match snapshots.entry(Some(name), path)? {
            Some(entry) => Ok(view.entry(path, entry)?),
            None if !is_needed => Ok(()),
            None => Err(CutError::Missing {
                package: package.to_string(),
                path: path.to_owned(),
                repository: name.to_owned(),
            }),
        };
    view.text("profiles/repo_name", format!("{name}\n"))?;
    // Whatever the tree's own says of manifests and caches says nothing of a build.
    let masters = repository.masters.join(" ");
    let layout = format!(
        "masters = {masters}\nthin-manifests = true\ncache-formats = md5-dict\nprofile-formats = portage-2\n"
    );
    view.text("metadata/layout.conf", layout)?;
    add(&mut view, "profiles/eapi", false)?;
    let own = name == package.repository;
    let categories = match own {
        true => format!("{}\n", package.category),
        false => String::new(),
    };
    view.text("profiles/categories", categories)?;
    if own {
        add(&mut view, &package.ebuild(), true)?;
        add(
            &mut view,
            &format!("{}/files", package.category_name()),
            false,
        )?;
    }
    for eclass in package.inherits.iter().filter(|e| e.repository == name) {
        add(&mut view, &format!("eclass/{}.eclass", eclass.name), true)?;
    }
    let settings = graph.settings.get(package.settings);
    let mut shell = BTreeSet::new();
    for file in settings.iter().flat_map(|settings| &settings.bashrcs) {
        if file.repository.as_deref() == Some(name) {
            // They source their neighbours.
            shell.insert(file.path.clone());
            shell.extend(snapshots.beside(Some(name), &file.path)?);
        }
    }
    for path in shell {
        match snapshots.entry(Some(name), &path)?.map(|entry| entry.kind) {
            Some(Kind::Dir { .. }) => {}
            _ => add(&mut view, &path, true)?,
        }
    }
    Ok(view)
}
