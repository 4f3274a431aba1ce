//! Seeds and snapshots as the lock file has them: `seed list`, `snapshot list`, and their form as JSON.

use std::process::ExitCode;

use super::blame::pin_hint;
use super::context::Context;
use super::{Failure, output};
use crate::plan::{Pin, PinFrom, PinKind};
use crate::project::Access;

/// Fields of a JSON object.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// A pin as JSON.
pub fn json(pin: &Pin) -> Object {
    let mut value = Object::new();
    value.insert("tree".into(), pin.tree.to_string().into());
    value.insert("date".into(), pin.date.clone().into());
    value.insert("epoch".into(), pin.epoch.into());
    value.insert("origin".into(), pin.origin.clone().into());
    for (element, text) in pin.from.iter().flat_map(PinFrom::elements) {
        value.insert(element.into(), text.into());
    }
    value
}

/// Lists the seeds or the snapshots of the lock file.
pub fn list(context: &Context, kind: PinKind, as_json: bool) -> Result<ExitCode, Failure> {
    let project = context.project(Access::ReadIfPresent)?;
    let pins = project.lock.pins().filter(|(k, _, _)| *k == kind);
    if as_json {
        let mut all = Vec::new();
        for (_, name, pin) in pins {
            let mut value = json(pin);
            value.insert("name".into(), name.into());
            let present = project.store.has_tree(pin.tree)?;
            value.insert("present".into(), present.into());
            all.push(value);
        }
        output::json_pretty(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    tell!("{}", project.lock_path().display());
    let mut any = false;
    for (_, name, pin) in pins {
        any = true;
        let url = pin.from.as_ref().map(PinFrom::url);
        let origin = url.or(pin.origin.as_deref()).unwrap_or("-");
        let gone = match project.store.has_tree(pin.tree)? {
            true => "",
            false => " (not in the store)",
        };
        output::line(format!(
            "{name} {} {} {}{gone}",
            pin.tree,
            pin.date.as_deref().unwrap_or("-"),
            output::escaped(origin),
        ))?;
    }
    if !any {
        tell!("it has no {kind}; {}", pin_hint(kind, "NAME", false));
    }
    Ok(ExitCode::SUCCESS)
}
