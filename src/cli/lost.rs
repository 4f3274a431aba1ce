//! Results whose trees are lost, for people and for scripts.

use mstore_store::LostResult;
use serde_json::{Value, json};

use super::output::Style;

/// As JSON.
pub fn json(results: &[LostResult]) -> Vec<Value> {
    let one = |r: &LostResult| json!({ "name": r.name, "tree": r.tree.to_string() });
    results.iter().map(one).collect()
}

/// Tells of each, and what to do.
pub fn tell_of(results: &[LostResult]) {
    for r in results {
        tell!(
            "{} {}: its tree is lost: {}",
            Style::stderr().error("fault:"),
            r.name,
            r.tree
        );
    }
    if !results.is_empty() {
        tell!(
            "hint: `mstore store verify` tells what is damaged; `mstore realise` builds a lost result again"
        );
    }
}
