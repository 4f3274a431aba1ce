//! What pages say is carried out: the README's session, the tutorial, doc/images.md, the complete example of
//! doc/specs.md.

mod session;

use std::fs;
use std::path::Path;

use session::{Reader, blocks};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn the_session_of_the_readme_is_as_shown() {
    Reader::new().follow("README.md", &page("README.md"));
}

#[test]
fn every_step_of_the_tutorial_works() {
    Reader::new().follow("doc/tutorial.md", &page("doc/tutorial.md"));
}

#[test]
fn a_tree_of_ports_is_made_from_nothing() {
    Reader::new().follow("doc/ports.md", &page("doc/ports.md"));
}

#[test]
fn images_are_made_as_shown() {
    Reader::new().follow("doc/images.md", &page("doc/images.md"));
}

#[test]
fn the_complete_example_of_specs_is_built() {
    let specs = page("doc/specs.md");
    let (_, example) = specs
        .split_once("## A complete example")
        .expect("the example");
    let mut reader = Reader::new();
    let home = reader.cwd().to_owned();
    // A seed with a compiler, and the snapshot that the example reads.
    for command in [
        "mstore seed host --name debian",
        "mstore export seed/debian debian.tar.zst",
        "rm -f metro.lock",
    ] {
        let (text, success) = reader.run(command);
        assert!(success, "{command}: {text}");
    }
    let mut written = 0;
    for (_, lines) in blocks(example, "metro") {
        let (name, text) = lines.split_first().expect("the file's name");
        let name = name.trim_start_matches("# ");
        let name = name.split(':').next().expect("the file's name");
        fs::write(home.join(name), text.join("\n") + "\n").unwrap();
        written += 1;
    }
    assert_eq!(written, 3);
    reader.follow("doc/specs.md", example);
}
