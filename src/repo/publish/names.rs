//! What the files of a build are called.

use crate::repo::name::{Name, Place};

/// The names that come from what a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveNames {
    /// The archive without its ending.
    pub stem: String,
    /// The link to the newest one, without its ending.
    pub latest: Option<String>,
    /// The file below `.control/version` that names the newest one.
    pub version: Option<String>,
}

/// The names of the archive of a target, by its name and class.
pub fn archive_names(target: &str, class: &str, place: &Place, version: &str) -> ArchiveNames {
    let (build, subarch) = (place.build.as_str(), place.subarch.as_str());
    match class {
        "stage1" | "stage2" | "stage3" => ArchiveNames {
            stem: format!("{class}-{subarch}-{build}-{version}"),
            latest: (class == "stage3").then(|| "stage3-latest".to_owned()),
            version: (class != "stage2").then(|| class.to_owned()),
        },
        "openvz" => ArchiveNames {
            stem: format!("{build}-{subarch}-openvz-{version}"),
            latest: Some(format!("{build}-openvz-latest")),
            version: None,
        },
        class => ArchiveNames {
            stem: format!("{target}-{subarch}-{build}-{version}"),
            latest: Some(format!("{target}-latest")),
            version: (class != target && Name::new(class).is_ok())
                .then(|| format!("{class}/{target}")),
        },
    }
}

/// Whether a name is an entry of one folder, and not a hidden one.
pub fn is_plain(name: &str) -> bool {
    Name::new(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_layout() {
        let name = |text: &str| Name::new(text).unwrap();
        let place = Place {
            build: name("linden-current"),
            arch: name("x86-64bit"),
            subarch: name("corei7"),
        };
        let of = |target: &str, class: &str| {
            let names = archive_names(target, class, &place, "2015-02-18");
            let some = |o: Option<String>| o.unwrap_or_else(|| "-".to_owned());
            format!(
                "{} {} {}",
                names.stem,
                some(names.latest),
                some(names.version)
            )
        };
        assert_eq!(
            of("stage1", "stage1"),
            "stage1-corei7-linden-current-2015-02-18 - stage1"
        );
        assert_eq!(
            of("stage2", "stage2"),
            "stage2-corei7-linden-current-2015-02-18 - -"
        );
        assert_eq!(
            of("stage3-freshen", "stage3"),
            "stage3-corei7-linden-current-2015-02-18 stage3-latest stage3"
        );
        assert_eq!(
            of("openvz", "openvz"),
            "linden-current-corei7-openvz-2015-02-18 linden-current-openvz-latest -"
        );
        assert_eq!(
            of("lxd", "lxd"),
            "lxd-corei7-linden-current-2015-02-18 lxd-latest -"
        );
        assert_eq!(
            of("kde", "stage4"),
            "kde-corei7-linden-current-2015-02-18 kde-latest stage4/kde"
        );
    }
}
