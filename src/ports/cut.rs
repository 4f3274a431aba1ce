//! Cutting: what the usual package script is called with.

use super::pkgpath::{MAIN, PortId};
use super::plist::Plist;

/// Ends what a call of the package script reads.
const END: &str = "MSTORE_END";

/// A subpackage to be cut.
pub(super) struct Cut<'a> {
    /// Its name, without the dash.
    pub name: &'a str,
    /// What belongs to it; of `main` nothing means all that is left.
    pub plist: Option<&'a Plist>,
    /// The script that is run where it is installed.
    pub hook: Option<&'a str>,
}

/// The calls of the functions of the usual package script. An error names the element.
pub(super) fn calls(
    id: &PortId,
    version: &str,
    subpackages: &[Cut<'_>],
) -> Result<String, (String, String)> {
    let mut text = String::new();
    for sub in subpackages {
        if let Some(plist) = sub.plist {
            text.push_str(&here(
                &format!("pack {}", sub.name),
                &plist.patterns().join("\n"),
            ));
        }
    }
    text.push_str(
        match subpackages
            .iter()
            .any(|sub| sub.name == MAIN && sub.plist.is_some())
        {
            true => "none\n",
            false => "rest main\n",
        },
    );
    for sub in subpackages {
        let pkgpath = id.subpackage(sub.name);
        if let Some(hook) = sub.hook {
            if hook.lines().any(|line| line == END) {
                let message = format!("a line of it is {END}, which ends it");
                return Err(("hooks/install".to_owned(), message));
            }
            text.push_str(&here(
                &format!("hook {} '{pkgpath}'", sub.name),
                hook.trim_end_matches('\n'),
            ));
        }
        let flavors: Vec<&str> = id.flavors.iter().map(String::as_str).collect();
        let about = format!(
            "pkgpath: {pkgpath}\nversion: {version}\nflavor: {}",
            flavors.join(" ")
        );
        text.push_str(&here(&format!("seal {} '{pkgpath}'", sub.name), &about));
    }
    Ok(text)
}

/// A call with text on stdin.
fn here(call: &str, text: &str) -> String {
    match text.is_empty() {
        true => format!("{call} < /dev/null\n"),
        false => format!("{call} <<'{END}'\n{text}\n{END}\n"),
    }
}
