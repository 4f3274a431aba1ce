//! What Portage tells a package, written down for it alone: what builds see as `/etc/portage`.
//!
//! A profile of one folder, and one `make.conf` with all that Portage would export to the package. USE and FEATURES are
//! lists that begin with `-*`, since defaults come back otherwise. Shell files of profiles stay where they are in their
//! repository and are sourced there; those of `/etc/portage` keep their names.

use std::fmt::Write as _;

use mstore_store::Draft;

use super::graph::{Package, PackageGraph, Repository, Settings};
use super::snapshot::{CutError, Snapshots};
use super::view::seen_repositories;

/// Where builds find source archives.
pub const DISTFILES: &str = "/mstore/fetch";
/// Where builds that have none look for them.
const NO_DISTFILES: &str = "/var/cache/distfiles";
/// The rules that the frozen profile is written by.
const PROFILE_EAPI: &str = "8";
/// What is the same for all packages, whatever the graph says: what was chosen is not chosen again, what is merged is
/// not protected, and nobody looks at colours.
const ALWAYS: [(&str, &str); 8] = [
    ("ACCEPT_KEYWORDS", "**"),
    ("ACCEPT_LICENSE", "*"),
    ("CLEAN_DELAY", "0"),
    ("CONFIG_PROTECT", "-*"),
    ("DISTDIR", DISTFILES),
    ("EMERGE_WARNING_DELAY", "0"),
    ("NO_COLOR", "1"),
    ("PORTAGE_TMPDIR", "/var/tmp"),
];
/// What says how a build is run, and is not part of what it makes.
const NEVER: [&str; 8] = [
    "DISTDIR",
    "EMERGE_DEFAULT_OPTS",
    "FEATURES",
    "MAKEOPTS",
    "PKGDIR",
    "PORTAGE_NICENESS",
    "PORTDIR",
    "USE",
];

/// The frozen settings of a package.
pub fn settings(
    snapshots: &Snapshots<'_>,
    graph: &PackageGraph,
    package: &Package,
) -> Result<Draft, CutError> {
    let settings = graph.settings.get(package.settings);
    let bad = |what: String| CutError::Unwritable {
        package: package.to_string(),
        what,
    };
    let none = || bad(format!("the graph has no settings {}", package.settings));
    let settings = settings.ok_or_else(none)?;
    let mut draft = Draft::new();
    let conf = make_conf(package, settings).map_err(bad)?;
    draft.text("make.conf", conf)?;
    draft.text("make.profile/eapi", format!("{PROFILE_EAPI}\n"))?;
    let mut defaults = String::new();
    for (name, value) in &settings.profile {
        assign(&mut defaults, name, value).map_err(bad)?;
    }
    draft.text("make.profile/make.defaults", defaults)?;
    let repositories = seen_repositories(graph, package)?;
    let own = repositories.iter().find(|r| r.name == package.repository);
    let main = own.and_then(|own| own.masters.first());
    let mut conf = format!(
        "[DEFAULT]\nmain-repo = {}\n",
        main.unwrap_or(&package.repository)
    );
    for repository in &repositories {
        let _ = write!(
            conf,
            "\n[{}]\nlocation = {}\nauto-sync = no\n",
            repository.name, repository.at
        );
    }
    draft.text("repos.conf/packages.conf", conf)?;
    let mut sourced = String::new();
    for file in &settings.bashrcs {
        match &file.repository {
            None => keep(snapshots, &mut draft, package, &file.path)?,
            Some(name) => {
                let at = repositories.iter().find(|r| r.name == *name);
                let at = at.map_or("", |repository| &repository.at);
                let _ = writeln!(sourced, "source {}", quoted(&format!("{at}/{}", file.path)));
            }
        }
    }
    if !sourced.is_empty() {
        draft.text("make.profile/profile.bashrc", sourced)?;
    }
    for patch in &package.patches {
        keep(snapshots, &mut draft, package, &format!("patches/{patch}"))?;
    }
    Ok(draft)
}

/// The settings that the hooks of packages are run with in a root: what all have alike. The rest is in the environments
/// that builds saved.
pub fn of_root(graph: &PackageGraph) -> Result<Draft, CutError> {
    let mut draft = Draft::new();
    let unnamed = |what: String| CutError::Unwritable {
        package: "a root of packages".to_owned(),
        what,
    };
    let mut defaults = String::new();
    let shared: Vec<&Settings> = graph.settings.iter().collect();
    if let Some((first, rest)) = shared.split_first() {
        for (name, value) in &first.profile {
            if rest
                .iter()
                .all(|other| other.profile.get(name) == Some(value))
            {
                assign(&mut defaults, name, value).map_err(unnamed)?;
            }
        }
        for name in ["CBUILD", "CHOST"] {
            if let Some(value) = first.config.get(name) {
                assign(&mut defaults, name, value).map_err(unnamed)?;
            }
        }
    }
    draft.text("make.profile/eapi", format!("{PROFILE_EAPI}\n"))?;
    draft.text("make.profile/make.defaults", defaults)?;
    let mut text = String::new();
    for (name, value) in ALWAYS
        .into_iter()
        .chain([("FEATURES", "-*"), ("USE", "-*")])
    {
        assign(&mut text, name, value).map_err(unnamed)?;
    }
    draft.text("make.conf", text)?;
    let main = graph.repositories.iter().find(|r| r.masters.is_empty());
    if let Some(Repository { name, at, .. }) = main {
        let conf =
            format!("[DEFAULT]\nmain-repo = {name}\n\n[{name}]\nlocation = {at}\nauto-sync = no\n");
        draft.text("repos.conf/packages.conf", conf)?;
    }
    Ok(draft)
}

/// The repository that Portage wants to see wherever it runs: a name. Nothing where there is none.
pub fn repository_of_root(graph: &PackageGraph) -> Result<Option<(String, Draft)>, CutError> {
    let main = graph.repositories.iter().find(|r| r.masters.is_empty());
    let Some(Repository { name, at, .. }) = main else {
        return Ok(None);
    };
    let mut draft = Draft::new();
    draft.text("profiles/repo_name", format!("{name}\n"))?;
    draft.text("metadata/layout.conf", "masters =\n")?;
    Ok(Some((at.clone(), draft)))
}

/// Adds a file of the configuration where it is there.
fn keep(
    snapshots: &Snapshots<'_>,
    draft: &mut Draft,
    package: &Package,
    path: &str,
) -> Result<(), CutError> {
    match snapshots.entry(None, path)? {
        Some(entry) => Ok(draft.entry(path, entry)?),
        None => Err(CutError::Missing {
            package: package.to_string(),
            path: path.to_owned(),
            repository: "/etc/portage".to_owned(),
        }),
    }
}

fn make_conf(package: &Package, settings: &Settings) -> Result<String, String> {
    let mut text = String::new();
    let own = settings.config.iter();
    for (name, value) in own.filter(|(name, _)| {
        !NEVER.contains(&name.as_str()) && !ALWAYS.iter().any(|(always, _)| always == name)
    }) {
        assign(&mut text, name, value)?;
    }
    for (name, value) in ALWAYS {
        // Portage makes the folder where nothing was put there, and that one it cannot.
        let is_empty = name == "DISTDIR" && package.distfiles.is_empty();
        assign(&mut text, name, if is_empty { NO_DISTFILES } else { value })?;
    }
    let list = |words: &[String]| format!("-* {}", words.join(" "));
    assign(&mut text, "FEATURES", &list(&settings.features))?;
    assign(&mut text, "USE", &list(&package.use_flags))?;
    Ok(text)
}

/// Writes a variable as Portage reads it: backslashes and dollars mean something, first to what takes the line apart,
/// then to what puts variables in.
fn assign(text: &mut String, name: &str, value: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || !name.bytes().all(plain) || name.as_bytes()[0].is_ascii_digit() {
        let shown = name.escape_debug();
        return Err(format!("`{shown}` is not the name of a variable"));
    }
    if value.contains('\0') {
        return Err(format!("the value of {name} has a NUL in it"));
    }
    let expanded = value.replace('\\', "\\\\").replace('$', "\\$");
    let split = expanded.replace('\\', "\\\\").replace('"', "\\\"");
    let _ = writeln!(text, "{name}=\"{split}\"");
    Ok(())
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
