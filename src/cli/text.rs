//! Wordings that several commands share.

use mstore_store::Why;

use crate::project::clock;

/// A reason to live, for people.
pub fn reason(why: &Why) -> String {
    match why {
        Why::Root(name) => format!("gc root {name}"),
        Why::Lock {
            path,
            kind,
            name,
            missing,
        } => format!(
            "{kind} {name} of {path}{}",
            match missing {
                Some(since) => format!(" (gone since {})", clock::date(*since)),
                None => String::new(),
            }
        ),
        Why::Newest { group, place } => format!("{group}, number {place} from the newest"),
        Why::Recent { name } => format!("{name}, built recently"),
        Why::Lease { pid, purpose } => format!("in use by process {pid} ({purpose})"),
        Why::OutLink(path) => format!("the link {}", path.display()),
        Why::JustUsed => "used just now (gc/grace)".to_owned(),
        Why::Pin(name) => name.clone(),
        other => format!("{other:?}"),
    }
}
