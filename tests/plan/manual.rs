//! The example in `doc/specs.md` works as it stands there.

use mstore::plan::PinKind;

use crate::world::{World, tree};

#[test]
fn the_example_of_the_manual_can_be_planned() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/doc/specs.md");
    let manual = std::fs::read_to_string(manual).expect("the manual");
    let (_, example) = manual.split_once("## A complete example").expect("there");
    // The specifications are the blocks of that language.
    let mut inside = false;
    let mut text = String::new();
    for line in example.lines() {
        match line {
            "```metro" => inside = true,
            "```" => inside = false,
            line if inside => text.push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    let world = World::empty();
    // Each file begins with a comment that names it.
    let mut name = None;
    let mut files: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let word = line
            .strip_prefix("# ")
            .and_then(|l| l.split([':', ' ']).next());
        if let Some(word) = word.filter(|w| w.ends_with(".conf")) {
            name = Some(word);
            files.push((word.to_owned(), String::new()));
        }
        if let (Some(_), Some((_, text))) = (name, files.last_mut()) {
            text.push_str(line);
            text.push('\n');
        }
    }
    assert_eq!(files.len(), 3);
    for (name, text) in &files {
        world.write(name, text);
    }
    world.pin(PinKind::Seed, "debian", tree("debian"));
    let hello = tree("sources");
    world.pin(PinKind::Snapshot, "sources", hello);
    let content = [("hello/hello.c".to_owned(), "int main".to_owned())];
    world.snapshots.borrow_mut().insert(hello, content.into());
    assert_eq!(
        world.realise(&["system-generic_64"]),
        [
            "base-generic_64:run",
            "base-generic_64:test",
            "system-generic_64:run"
        ]
    );
}
