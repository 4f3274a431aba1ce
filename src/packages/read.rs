//! Reading a package graph, which a build wrote: nothing in it is believed before it was looked at.
//!
//! What is read is bounded and is exactly what is written for it, byte by byte; every name is one that Portage could
//! have meant, and every place leads somewhere. Who gets a graph from here need not look again.

use std::path::Path;

use super::graph::{
    ConfigFile, Distfile, FORMAT, Package, PackageGraph, Repository, Root, Settings,
};
use crate::drv::fetch::Digest;

/// Longest package graph, in bytes.
pub const LIMIT: u64 = 64 << 20;
/// Most packages of one.
pub const MOST_PACKAGES: usize = 100_000;
/// Longest name of anything, in bytes.
const LONGEST_NAME: usize = 255;
/// Longest value of a variable, address or path, in bytes.
const LONGEST_VALUE: usize = 64 << 10;
/// Phases that an ebuild can define.
const PHASES: [&str; 16] = [
    "compile",
    "config",
    "configure",
    "info",
    "install",
    "nofetch",
    "postinst",
    "postrm",
    "preinst",
    "prepare",
    "prerm",
    "pretend",
    "setup",
    "test",
    "unpack",
    "verify",
];

/// A package graph that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// It is larger than any is.
    #[error("the package graph has more than {LIMIT} bytes")]
    TooLong,
    /// It is not JSON of the right form.
    #[error("the package graph cannot be read: {0}")]
    Form(String),
    /// It is of another version.
    #[error("the package graph has format {found}, this mstore reads {FORMAT}")]
    Format {
        /// The number it has.
        found: u32,
    },
    /// It says what is right in another way than the one way.
    #[error(
        "the package graph is not written in the one way: it is not sorted, or has blanks, from byte {at} on"
    )]
    Spelling {
        /// Where the first difference is.
        at: usize,
    },
    /// A value that cannot be.
    #[error("the package graph: {of}: {element}: {what}")]
    Value {
        /// The package, repository or settings.
        of: String,
        /// The member.
        element: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// Reads a package graph.
pub fn read(bytes: &[u8]) -> Result<PackageGraph, GraphError> {
    if bytes.len() as u64 > LIMIT {
        return Err(GraphError::TooLong);
    }
    let graph: PackageGraph =
        serde_json::from_slice(bytes).map_err(|error| GraphError::Form(error.to_string()))?;
    if graph.format != FORMAT {
        return Err(GraphError::Format {
            found: graph.format,
        });
    }
    check(&graph)?;
    let again = write(&graph);
    if again != bytes {
        let same = again.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        return Err(GraphError::Spelling { at: same });
    }
    Ok(graph)
}

/// The one way in which a graph is written.
pub fn write(graph: &PackageGraph) -> Vec<u8> {
    // Text, numbers, lists and maps of names cannot fail.
    let mut bytes = serde_json::to_vec(graph).expect("it is made of text, numbers, lists and maps");
    bytes.push(b'\n');
    bytes
}

/// Looks at everything in a graph.
pub fn check(graph: &PackageGraph) -> Result<(), GraphError> {
    let whole = || "all".to_owned();
    let most = |element, count: usize, most: usize| match count > most {
        true => Err(bad(
            whole(),
            element,
            format!("{count} entries, more than {most}"),
        )),
        false => Ok(()),
    };
    most("packages", graph.packages.len(), MOST_PACKAGES)?;
    most("base", graph.base.len(), MOST_PACKAGES)?;
    most("settings", graph.settings.len(), MOST_PACKAGES)?;
    sorted(whole, "base", &graph.base, |a, b| a < b)?;
    for installed in &graph.base {
        let of = || format!("{}/{} of the base", installed.category, installed.name);
        check_name(of, "category", &installed.category, is_category)?;
        check_name(of, "name", &installed.name, is_package)?;
        check_name(of, "version", &installed.version, is_version)?;
        check_name(of, "slot", &installed.slot, is_slot)?;
        check_name(of, "sub_slot", &installed.sub_slot, is_slot)?;
    }
    sorted(whole, "repositories", &graph.repositories, |a, b| {
        a.name < b.name
    })?;
    for repository in &graph.repositories {
        check_repository(graph, repository)?;
    }
    sorted(whole, "settings", &graph.settings, |a, b| a < b)?;
    for (place, settings) in graph.settings.iter().enumerate() {
        check_settings(graph, place, settings)?;
    }
    sorted(whole, "packages", &graph.packages, |a, b| {
        a.order() < b.order()
    })?;
    for package in &graph.packages {
        check_package(graph, package)?;
    }
    sorted(whole, "wanted", &graph.wanted, |a, b| a < b)?;
    for wanted in &graph.wanted {
        let of = || format!("the atom {}", short(&wanted.atom));
        check_name(of, "atom", &wanted.atom, is_word)?;
        match graph.packages.get(wanted.package) {
            Some(package) if package.root == Root::Target => {}
            _ => {
                let what = format!("there is no package {} of the stage", wanted.package);
                return Err(bad(of(), "package", what));
            }
        }
    }
    Ok(())
}

fn check_repository(graph: &PackageGraph, repository: &Repository) -> Result<(), GraphError> {
    let of = || format!("the repository {}", short(&repository.name));
    check_name(of, "name", &repository.name, is_repository)?;
    let at = repository.at.strip_prefix('/').unwrap_or_default();
    if !is_path(at) {
        return Err(bad(
            of(),
            "at",
            format!("`{}` is not an absolute path", short(&repository.at)),
        ));
    }
    for master in &repository.masters {
        known_repository(graph, of, "masters", master)?;
    }
    Ok(())
}

fn check_settings(
    graph: &PackageGraph,
    place: usize,
    settings: &Settings,
) -> Result<(), GraphError> {
    let of = || format!("settings {place}");
    for file in &settings.bashrcs {
        check_file(graph, of, "bashrcs", file)?;
    }
    sorted(of, "features", &settings.features, |a, b| a < b)?;
    for feature in &settings.features {
        check_name(of, "features", feature, is_word)?;
    }
    for (element, table) in [("config", &settings.config), ("profile", &settings.profile)] {
        for (name, value) in table {
            check_name(of, element, name, is_variable)?;
            if value.len() > LONGEST_VALUE || value.contains('\0') {
                let what = format!("the value of {name} is too long or has a NUL in it");
                return Err(bad(of(), element, what));
            }
        }
    }
    Ok(())
}

fn check_package(graph: &PackageGraph, package: &Package) -> Result<(), GraphError> {
    let of = || short(&package.to_string());
    check_name(of, "category", &package.category, is_category)?;
    check_name(of, "name", &package.name, is_package)?;
    check_name(of, "version", &package.version, is_version)?;
    check_name(of, "slot", &package.slot, is_slot)?;
    check_name(of, "sub_slot", &package.sub_slot, is_slot)?;
    check_name(of, "eapi", &package.eapi, is_slot)?;
    known_repository(graph, of, "repository", &package.repository)?;
    if graph.settings.get(package.settings).is_none() {
        let what = format!("there are no settings {}", package.settings);
        return Err(bad(of(), "settings", what));
    }
    let list = |element, list: &[String], is_one: fn(&str) -> bool| {
        sorted(of, element, list, |a, b| a < b)?;
        list.iter()
            .try_for_each(|each| check_name(of, element, each, is_one))
    };
    list("blockers", &package.blockers, is_blocker)?;
    list("patches", &package.patches, is_path)?;
    list("phases", &package.phases, |name| PHASES.contains(&name))?;
    list("properties", &package.properties, is_word)?;
    list("restrict", &package.restrict, is_word)?;
    list("use", &package.use_flags, is_flag)?;
    sorted(of, "inherits", &package.inherits, |a, b| a.name < b.name)?;
    for eclass in &package.inherits {
        check_name(of, "inherits", &eclass.name, is_eclass)?;
        known_repository(graph, of, "inherits", &eclass.repository)?;
    }
    sorted(of, "edges", &package.edges, |a, b| a.to < b.to)?;
    for edge in &package.edges {
        let other = graph.packages.get(edge.to);
        let Some(other) = other.filter(|other| other.order() != package.order()) else {
            return Err(bad(
                of(),
                "edges",
                format!("there is no other package {}", edge.to),
            ));
        };
        // A tool is built with tools: the stage does not exist yet.
        if package.root == Root::Base && other.root == Root::Target {
            let what = format!("a tool cannot need {other}, which is for the stage");
            return Err(bad(of(), "edges", what));
        }
        sorted(of, "edges", &edge.kinds, |a, b| a < b)?;
        if edge.kinds.is_empty() {
            return Err(bad(
                of(),
                "edges",
                format!("it does not say what it needs {other} for"),
            ));
        }
    }
    sorted(of, "distfiles", &package.distfiles, |a, b| a.name < b.name)?;
    for file in &package.distfiles {
        check_distfile(graph, of, file)?;
    }
    Ok(())
}

fn check_distfile(
    graph: &PackageGraph,
    of: impl Fn() -> String + Copy,
    file: &Distfile,
) -> Result<(), GraphError> {
    let is_name = |name: &str| is_path(name) && !name.contains('/');
    check_name(of, "distfiles", &file.name, is_name)?;
    let what = |what: String| bad(of(), "distfiles", format!("{}: {what}", file.name));
    sorted(of, "distfiles", &file.digests, |a, b| a < b)?;
    let mut last = None;
    for digest in &file.digests {
        let read: Digest = digest.parse().map_err(|error| what(format!("{error}")))?;
        if read.to_string() != *digest || last == Some(read.algorithm()) {
            return Err(what(format!(
                "`{}` is not as it is written, or is a second one",
                short(digest)
            )));
        }
        last = Some(read.algorithm());
    }
    if file.digests.is_empty() {
        return Err(what("it has no digest".to_owned()));
    }
    if let Some(local) = &file.local {
        check_file(graph, of, "distfiles", local)?;
        if local.repository.is_none() {
            return Err(what(
                "the configuration brings no archives along".to_owned(),
            ));
        }
    }
    for url in &file.urls {
        if url.len() > LONGEST_VALUE || url.chars().any(|c| c.is_control() || c == ' ') {
            return Err(what(format!("`{}` is not an address", short(url))));
        }
    }
    Ok(())
}

fn check_file(
    graph: &PackageGraph,
    of: impl Fn() -> String + Copy,
    element: &'static str,
    file: &ConfigFile,
) -> Result<(), GraphError> {
    if !is_path(&file.path) {
        let what = format!("`{}` is not a path within a folder", short(&file.path));
        return Err(bad(of(), element, what));
    }
    match &file.repository {
        Some(name) => known_repository(graph, of, element, name),
        None => Ok(()),
    }
}

fn known_repository(
    graph: &PackageGraph,
    of: impl Fn() -> String,
    element: &'static str,
    name: &str,
) -> Result<(), GraphError> {
    match graph.repositories.iter().any(|r| r.name == name) {
        true => Ok(()),
        false => Err(bad(
            of(),
            element,
            format!("there is no repository `{}`", short(name)),
        )),
    }
}

fn bad(of: String, element: &'static str, what: String) -> GraphError {
    GraphError::Value { of, element, what }
}

/// Text of a file that nobody looked at, short and without what terminals obey.
fn short(text: &str) -> String {
    let shown = text.chars().take(120);
    shown
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn sorted<T>(
    of: impl Fn() -> String,
    element: &'static str,
    list: &[T],
    before: impl Fn(&T, &T) -> bool,
) -> Result<(), GraphError> {
    match list.windows(2).position(|two| !before(&two[0], &two[1])) {
        None => Ok(()),
        Some(at) => Err(bad(
            of(),
            element,
            format!("entry {} does not come after the one before it", at + 1),
        )),
    }
}

fn check_name(
    of: impl Fn() -> String,
    element: &'static str,
    name: &str,
    is_one: impl Fn(&str) -> bool,
) -> Result<(), GraphError> {
    match name.len() <= LONGEST_NAME * 4 && is_one(name) {
        true => Ok(()),
        false => Err(bad(
            of(),
            element,
            format!("`{}` cannot be one", short(name)),
        )),
    }
}

/// Letters, digits and `more`; the first is not in `not_first`.
fn is_made_of(name: &str, more: &str, not_first: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.starts_with(|c| not_first.contains(c))
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

/// Whether it can name a category.
pub fn is_category(name: &str) -> bool {
    is_made_of(name, "+_.-", "+.-")
}

/// Whether it can name a package.
pub fn is_package(name: &str) -> bool {
    is_made_of(name, "+_-", "+-")
}

fn is_slot(name: &str) -> bool {
    is_made_of(name, "+_.-", "+.-")
}

fn is_flag(name: &str) -> bool {
    is_made_of(name, "+_@-", "+_@-")
}

fn is_repository(name: &str) -> bool {
    is_made_of(name, "_-", "-")
}

fn is_eclass(name: &str) -> bool {
    is_made_of(name, "_.-", ".-0123456789")
}

fn is_variable(name: &str) -> bool {
    is_made_of(name, "_", "0123456789")
}

/// `1.2b_rc3-r4`: numbers with dots, at most a letter, suffixes, a revision.
fn is_version(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (rest, revision) = match name.rsplit_once("-r") {
        Some((rest, revision)) => (rest, revision),
        None => (name, "0"),
    };
    let mut parts = rest.split('_');
    let numbers = parts.next().unwrap_or_default();
    let numbers = numbers
        .strip_suffix(|c: char| c.is_ascii_lowercase())
        .unwrap_or(numbers);
    let is_suffix = |part: &str| {
        let kinds = ["alpha", "beta", "pre", "rc", "p"];
        kinds.iter().any(|kind| {
            part.strip_prefix(kind)
                .is_some_and(|n| n.is_empty() || is_number(n))
        })
    };
    name.len() <= LONGEST_NAME
        && is_number(revision)
        && numbers.split('.').all(is_number)
        && parts.all(is_suffix)
}

/// Characters that are seen, and nothing else.
fn is_word(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic())
}

fn is_blocker(name: &str) -> bool {
    is_word(name) && name.starts_with('!') && name.contains('/')
}

/// A relative path of plain parts.
fn is_path(path: &str) -> bool {
    path.len() <= LONGEST_VALUE
        && !path.is_empty()
        && !path.contains(|c: char| c.is_control())
        && Path::new(path)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)))
        // One spelling of each.
        && path.split('/').all(|part| {
            !part.is_empty() && part != "." && part.len() <= LONGEST_NAME
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packages::samples;

    #[test]
    fn a_graph_comes_back_and_has_one_spelling() {
        let graph = samples::full();
        let bytes = write(&graph);
        assert_eq!(read(&bytes).unwrap(), graph);
        insta::assert_snapshot!(String::from_utf8(bytes.clone()).unwrap());
        // What means the same and is written otherwise would be another tree for the same graph.
        let text = String::from_utf8(bytes).unwrap();
        let refused = |text: &str| match read(text.as_bytes()) {
            Err(GraphError::Spelling { .. }) => {}
            other => panic!("{text}: {other:?}"),
        };
        refused(&format!(" {text}"));
        refused(text.trim_end());
        refused(&text.replace("\"size\":12", "\"size\": 12"));
        refused(&text.replace("\"name\":\"gcc\"", "\"name\":\"g\\u0063c\""));
        refused(&text.replace("\"eapi\":\"8\",\"edges\":[]", "\"edges\":[],\"eapi\":\"8\""));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_package_and_the_element() {
        let told = |change: fn(&mut crate::packages::PackageGraph)| {
            let mut graph = samples::full();
            change(&mut graph);
            read(&write(&graph)).unwrap_err().to_string()
        };
        let all = [
            told(|g| g.packages[1].category = "../etc".into()),
            told(|g| g.packages[1].version = "1.2-rc".into()),
            told(|g| g.packages[1].use_flags = vec!["b".into(), "a".into()]),
            told(|g| g.packages[1].edges[0].to = 7),
            told(|g| g.packages[1].edges[0].to = 1),
            told(|g| g.packages[1].edges[0].kinds.clear()),
            told(|g| g.packages[1].root = Root::Base),
            told(|g| g.packages[1].settings = 1),
            told(|g| g.packages[1].patches = vec!["../../shadow".into()]),
            told(|g| g.packages[1].phases = vec!["explode".into()]),
            told(|g| g.packages[1].repository = "other".into()),
            told(|g| g.packages[1].inherits[0].name = "../x".into()),
            told(|g| g.packages[1].distfiles[0].name = "a/b".into()),
            told(|g| g.packages[1].distfiles[0].digests = vec!["md5:00".into()]),
            told(|g| g.packages[1].distfiles[0].digests.clear()),
            told(|g| g.packages[1].distfiles[0].urls = vec!["https://a\nb".into()]),
            told(|g| g.settings[0].bashrcs[0].path = "/etc/passwd".into()),
            told(|g| {
                g.settings[0].config.insert("A B".into(), String::new());
            }),
            told(|g| {
                g.settings[0].config.insert("A".into(), "\0".into());
            }),
            told(|g| g.repositories[0].at = "var".into()),
            told(|g| g.wanted[0].package = 9),
            told(|g| g.base[0].name = String::new()),
            told(|g| g.packages.swap(0, 1)),
            told(|g| g.format = 2),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn versions_are_those_of_ebuilds() {
        for good in [
            "1",
            "0.0.1",
            "1.2b",
            "1_alpha",
            "1.2_rc3_p20240101-r12",
            "2024a",
            "9999",
        ] {
            assert!(is_version(good), "{good}");
        }
        for bad in [
            "", "a", "1.", ".1", "1-r", "1-1", "1_foo", "1_p-3", "1 ", "1/2", "1-r1-r2",
        ] {
            assert!(!is_version(bad), "{bad}");
        }
    }

    #[test]
    fn a_graph_that_is_too_long_is_not_looked_at() {
        let most = usize::try_from(LIMIT).unwrap();
        assert_eq!(read(&vec![b' '; most + 1]), Err(GraphError::TooLong));
    }

    proptest! {
        #[test]
        fn any_graph_comes_back(graph in samples::any_graph(20)) {
            prop_assert_eq!(read(&write(&graph)).unwrap(), graph);
        }

        #[test]
        fn a_changed_byte_is_another_graph_or_none(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = write(&samples::full());
            let at = at.index(bytes.len());
            let before = std::mem::replace(&mut bytes[at], byte);
            if let Ok(graph) = read(&bytes) {
                prop_assert_eq!(write(&graph), bytes.clone());
                prop_assert_eq!(before == byte, graph == samples::full());
            }
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in any::<Vec<u8>>()) {
            let _ = read(&bytes);
        }
    }
}
