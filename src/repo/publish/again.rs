//! What is done of a publication without archives: naming as the newest what is there already, and the end of a run.

use std::io;

use super::intent::{Finished, Intent, carry_out};
use super::names::ArchiveNames;
use crate::repo::control::Control;
use crate::repo::layout::Mirror;
use crate::repo::name::Place;
use crate::repo::owner::Ownership;

/// Names an archive that was published before as the newest, as it is done when one is published: links, version
/// files, strategy. The run goes on. The caller holds the lock of the subarch.
pub fn again(
    (mirror, control, ownership): (&Mirror, &Control, &Ownership),
    place: &Place,
    version: &str,
    names: &ArchiveNames,
    far_link: Option<&str>,
    archive: &str,
) -> io::Result<()> {
    let mut intent = Intent::new(version);
    intent.goes_on = true;
    name(&mut intent, place, names, far_link, archive);
    intent.write(control)?;
    carry_out(mirror, place, control, ownership, &intent).map(drop)
}

/// Writes down that a run succeeded: the status, and that nothing failed. The caller holds the lock of the subarch.
pub fn conclude(
    (mirror, control, ownership): (&Mirror, &Control, &Ownership),
    place: &Place,
    version: &str,
) -> io::Result<Finished> {
    let intent = Intent::new(version);
    intent.write(control)?;
    carry_out(mirror, place, control, ownership, &intent)
}

/// Puts into an intent what names an archive as the newest.
pub(super) fn name(
    intent: &mut Intent,
    place: &Place,
    names: &ArchiveNames,
    far_link: Option<&str>,
    archive: &str,
) {
    let ending = &archive[names.stem.len()..];
    if let Some(latest) = &names.latest {
        let link = format!("{latest}{ending}");
        intent.links.insert(link, archive.to_owned());
        if let Some(folder) = far_link {
            let path = format!("{folder}/{}{ending}", far_name(place, latest));
            intent.far_links.insert(path, archive.to_owned());
        }
    }
    intent.versions.extend(names.version.clone());
}

/// The name of a link outside the folder of the subarch, which has to say more.
fn far_name(place: &Place, latest: &str) -> String {
    let (build, subarch) = (place.build.as_str(), place.subarch.as_str());
    match latest
        .strip_prefix(build)
        .and_then(|rest| rest.strip_prefix('-'))
    {
        Some(rest) => format!("{build}-{subarch}-{rest}"),
        None => format!("{subarch}-{latest}"),
    }
}
