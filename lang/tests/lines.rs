//! Lines of blocks stay what they were, whatever ends them and whatever is in them.

mod common;

use common::Memory;
use mstore_lang::Value;

fn block(text: &str, given: &[(&str, &str)]) -> Vec<String> {
    let memory = Memory::new(&[("main.conf", text)]);
    let spec = memory.load(given).expect("it loads");
    match spec.value("b").expect("a value") {
        Value::Block(lines) => {
            assert_eq!(lines.len(), lines.iter().count());
            assert_eq!(lines.is_empty(), lines.iter().next().is_none());
            assert_eq!(lines.as_text(), lines.join("\n"));
            lines.iter().map(str::to_owned).collect()
        }
        value => panic!("{value:?}"),
    }
}

#[test]
fn line_breaks_are_no_part_of_lines() {
    assert_eq!(block("b: [\none\r\ntwo\n\r\n]\n", &[]), ["one", "two", ""]);
    assert_eq!(block("b: [\none\r\r\n]\n", &[]), ["one\r"]);
    assert_eq!(block("b: [\n]\n", &[]), [""; 0]);
    assert_eq!(block("b: [\n\n]\n", &[]), [""]);
    assert_eq!(block("b: [\n\n$[n:zap]\n\n]\n", &[]), ["", ""]);
    let included = "b: [\n$[[c]]\nx\n$[[c]]\n]\nc: [\none\r\ntwo\n]\n";
    assert_eq!(block(included, &[]), ["one", "two", "x", "one", "two"]);
}

#[test]
fn a_line_feed_from_the_command_line_stays_in_its_line() {
    let text = "n: 1\nb: [\nx\n<$[n]>\ny\n]\n";
    assert_eq!(block(text, &[("n", "1\n2")]), ["x", "<1\n2>", "y"]);
    assert_eq!(block("n: 1\nb: [\n$[n]\n]\n", &[("n", "\n")]), ["\n"]);
}
