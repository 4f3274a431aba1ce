//! Package graphs for tests.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::graph::{
    ConfigFile, Distfile, Eclass, Edge, EdgeKind, FORMAT, Installed, Package, PackageGraph,
    Repository, Root, Settings, Wanted,
};

/// A package of the stage that needs nothing.
pub fn package(name: &str) -> Package {
    Package {
        blockers: Vec::new(),
        category: "dev-libs".into(),
        distfiles: Vec::new(),
        eapi: "8".into(),
        first_round_of: None,
        edges: Vec::new(),
        inherits: Vec::new(),
        name: name.into(),
        patches: Vec::new(),
        phases: vec!["install".into()],
        properties: Vec::new(),
        repository: "gentoo".into(),
        restrict: Vec::new(),
        root: Root::Target,
        settings: 0,
        slot: "0".into(),
        sub_slot: "0".into(),
        use_flags: vec!["amd64".into()],
        version: "1".into(),
    }
}

/// Packages with these names, which must be sorted, and edges `(from, kinds, to)`; kinds are `b`uild, `i`nstall, `p`ost and
/// `r`un.
pub fn graph(names: &[&str], edges: &[(usize, &str, usize)]) -> PackageGraph {
    let mut packages: Vec<Package> = names.iter().map(|name| package(name)).collect();
    for (from, kinds, to) in edges {
        let kinds = kinds.chars().map(|kind| match kind {
            'b' => EdgeKind::Build,
            'i' => EdgeKind::Install,
            'p' => EdgeKind::Post,
            _ => EdgeKind::Run,
        });
        packages[*from].edges.push(Edge {
            kinds: kinds.collect(),
            to: *to,
        });
    }
    for package in &mut packages {
        package.edges.sort_by_key(|edge| edge.to);
    }
    PackageGraph {
        base: Vec::new(),
        format: FORMAT,
        packages,
        repositories: vec![Repository {
            at: "/var/db/repos/gentoo".into(),
            masters: Vec::new(),
            name: "gentoo".into(),
        }],
        settings: vec![Settings::default()],
        wanted: Vec::new(),
    }
}

/// A graph in which every member has something.
pub fn full() -> PackageGraph {
    let mut graph = graph(&["a", "b"], &[(1, "br", 0)]);
    graph.base = vec![Installed {
        category: "sys-devel".into(),
        name: "gcc".into(),
        slot: "14".into(),
        sub_slot: "14".into(),
        version: "14.2.1_p20241221-r3".into(),
    }];
    graph.settings = vec![Settings {
        bashrcs: vec![ConfigFile {
            path: "profiles/base/profile.bashrc".into(),
            repository: Some("gentoo".into()),
        }],
        config: BTreeMap::from([("CFLAGS".into(), "-O2 \"quoted\" \u{e4}".into())]),
        features: vec!["strip".into()],
        profile: BTreeMap::from([("ARCH".into(), "amd64".into())]),
    }];
    let package = &mut graph.packages[1];
    package.blockers = vec!["!!<dev-libs/old-2".into()];
    package.distfiles = vec![Distfile {
        digests: vec![
            format!("blake2b:{}", "0".repeat(128)),
            format!("sha512:{}", "f".repeat(128)),
        ],
        local: Some(ConfigFile {
            path: "distfiles/b-1.tar.xz".into(),
            repository: Some("gentoo".into()),
        }),
        name: "b-1.tar.xz".into(),
        size: 12,
        urls: vec!["https://example.org/b-1.tar.xz".into()],
    }];
    package.inherits = vec![Eclass {
        name: "toolchain-funcs".into(),
        repository: "gentoo".into(),
    }];
    package.patches = vec!["dev-libs/b/one.patch".into()];
    package.phases = vec!["install".into(), "postinst".into()];
    package.properties = vec!["interactive".into()];
    package.restrict = vec!["strip".into()];
    graph.wanted = vec![Wanted {
        atom: ">=dev-libs/b-1".into(),
        package: 1,
    }];
    graph
}

/// Graphs with any edges, circles among them.
pub fn any_graph(most: usize) -> impl Strategy<Value = PackageGraph> {
    (1..most).prop_flat_map(|count| {
        let edge = (0..count, "[bpr]{1}|br|ir", 0..count);
        prop::collection::vec(edge, 0..count * 3).prop_map(move |edges| {
            let names: Vec<String> = (0..count).map(|at| format!("p{at:04}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut seen = std::collections::BTreeSet::new();
            let edges: Vec<(usize, &str, usize)> = edges
                .iter()
                .filter(|(from, _, to)| from != to && seen.insert((*from, *to)))
                .map(|(from, kinds, to)| (*from, kinds.as_str(), *to))
                .collect();
            graph(&names, &edges)
        })
    })
}
