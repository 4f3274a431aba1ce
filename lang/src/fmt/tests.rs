use super::*;
use crate::syntax::{ConditionId, Kind, block_lines};
use proptest::prelude::*;

fn formatted(source: &str) -> String {
    format(source).expect("parses").text
}

#[test]
fn layout_is_canonical() {
    let source = "\n\n#  head  \n   a:1x: no\n";
    assert!(format(source).is_err());
    let source = concat!(
        "\n \t\n  # head  comment  \n",
        "  a:\t x  y \t\nempty:   \n\n\n\n\tb:   # why\n",
        "[  section\t s   when a   is x\ty ]   # in s\n",
        ":  own\n: [\t\n  $[a]   \n\n\n\n# text \n \t] \n",
        "f: <<\t path\ng: <<path\n[when *]\n[collect   ./x ]\n\n \n",
    );
    let want = concat!(
        "# head  comment  \n",
        "a: x  y\nempty:\n\nb: # why\n",
        "[section s when a is x y] # in s\n",
        ": own\n: [\n  $[a]   \n\n\n\n# text \n]\n",
        "f: << path\ng: <<path\n[when *]\n[collect ./x]\n",
    );
    assert_eq!(formatted(source), want);
    assert!(format(want).expect("parses").is_clean());
    assert_eq!(formatted(""), "");
    assert_eq!(formatted(" \n\n"), "");
    assert_eq!(formatted("a: 1"), "a: 1\n");
}

#[test]
fn comments_stay_aligned() {
    let source = "a:  1   # one\nbbb: 22 # two\nc: 3 # three\n\nd: 4   # four\n";
    let want = "a: 1    # one\nbbb: 22 # two\nc: 3 # three\n\nd: 4 # four\n";
    assert_eq!(formatted(source), want);
    assert_eq!(formatted(want), want);
}

#[test]
fn line_breaks_are_kept() {
    assert_eq!(
        formatted("a:  1\r\nb: [\r\n x\ny\r\n]\r\nc:   2"),
        "a: 1\r\nb: [\r\n x\ny\r\n]\r\nc: 2\r\n"
    );
    // A CR that is not part of a line break belongs to the value and must not become part of one.
    for (source, want) in [
        ("a: x\r", "a: x\r\r\n"),
        ("a: x\r \n", "a: x\r\r\n"),
        ("a: x\r\r\n", "a: x\r\r\n"),
    ] {
        assert_eq!(formatted(source), want);
        assert_eq!(meaning(source), meaning(want));
        assert_eq!(formatted(want), want);
    }
}

#[test]
fn errors_are_reported_and_nothing_is_formatted() {
    let errors = format("a:  1\nhello world\nb: [\n").expect_err("does not parse");
    assert_eq!(errors.len(), 2);
}

#[test]
fn differences_are_unified() {
    let source =
        "a:  1\nb: 2\nc: 3\nd: 4\ne: 5\n\n\nf: 6\ng: 7\nh: 8\ni: 9\nj: 10\nk:   11\nl:    12";
    let formatted = format(source).expect("parses");
    let want = concat!(
        "--- a/x.conf\n+++ b/x.conf\n@@ -1,14 +1,13 @@\n-a:  1\n+a: 1\n b: 2\n c: 3\n d: 4\n e: 5\n \n-\n",
        " f: 6\n g: 7\n h: 8\n i: 9\n j: 10\n-k:   11\n-l:    12\n\\ No newline at end of file\n+k: 11\n+l: 12\n",
    );
    assert_eq!(
        unified(source, &formatted.changes, "a/x.conf", "b/x.conf"),
        want
    );
    assert_eq!(unified("a: 1\n", &[], "x", "x"), "");
    let formatted = format("\n\n").expect("parses");
    assert_eq!(
        unified("\n\n", &formatted.changes, "x", "y"),
        "--- x\n+++ y\n@@ -1,2 +0,0 @@\n-\n-\n"
    );
}

/// Everything that a file says, without where it says it.
fn meaning(source: &str) -> (Vec<String>, Vec<String>) {
    let file = File::parse(PathBuf::new(), source.to_owned());
    assert!(file.errors.is_empty(), "{:?}", file.errors);
    let condition = |id: Option<ConditionId>| {
        let Some(condition) = id.map(|id| &file.conditions[id]) else {
            return String::new();
        };
        let words: Vec<&str> = condition
            .words
            .iter()
            .map(|word| file.text(*word))
            .collect();
        format!("{} {words:?}", file.text(condition.element))
    };
    let definitions = file.definitions.iter().map(|definition| {
        let value = match definition.kind() {
            Kind::Block => {
                let lines: Vec<&str> = block_lines(source, definition.value)
                    .map(|line| file.text(line))
                    .collect();
                format!("{lines:?}")
            }
            _ => format!("{:?}", file.text(definition.value)),
        };
        format!(
            "{:?} {:?} {:?} {} {} {value}",
            file.name(definition).join(),
            definition.kind(),
            file.section_of(definition),
            definition.is_lax(),
            condition(definition.condition()),
        )
    });
    let collects = file.collects.iter().map(|collect| {
        let section = file.section_of_collect(collect);
        format!(
            "{:?} {section:?} {}",
            file.text(collect.path),
            condition(collect.condition())
        )
    });
    (definitions.collect(), collects.collect())
}

/// The comments and the lines of blocks, byte for byte.
fn untouched(source: &str) -> Vec<&str> {
    Lines::new(source)
        .filter_map(|line| {
            if line.kind == LineKind::Text {
                Some(line.span)
            } else {
                line.comment
            }
        })
        .map(|span| span.of(source))
        .collect()
}

fn regex(pattern: &str) -> impl Strategy<Value = String> + use<> {
    prop::string::string_regex(pattern).expect("a regular expression")
}

/// Lines of every kind and whole blocks, most of them well formed.
fn item() -> impl Strategy<Value = Vec<String>> {
    let line = prop_oneof![
        12 => regex("[ \t]{0,3}[a-c/]{1,4}:[ \t]{1,3}[a-z$\\[\\]#: \té\r]{0,9}([ \t]{1,3}#[a-z \t\r]{0,5})?"),
        4 => regex("[ \t]{0,3}[a-c]:[ \t]{1,3}([ \t]{1,3}#[a-z \t\r]{0,5})?"),
        4 => regex("[ \t]{0,3}\\[[ \t]{0,2}(section [a-c]|when a([ \t]is[ \t]{1,2}[a-c]){0,1}|when \\*)[ \t]{0,2}\\][ \t]{0,2}( #[a-z \t]{0,5})?"),
        2 => regex("\\[[ \t]{0,2}(collect[ \t]{1,3}./[a-c]|option parse/lax)[ \t]{0,2}\\][ \t]{0,2}(\t#[a-z \t]{0,5})?"),
        6 => regex("[ \t]{0,3}(#[a-z \t\r]{0,5})?"),
        2 => regex("[a-c]:[ \t]<<[ \t]{1,3}[a-c]{1,3}"),
        1 => regex("[a-c\\[\\]:# \t\r]{0,5}"),
    ];
    let block = (
        regex("[ \t]{0,3}[a-c]{1,2}:[ \t]{1,3}\\[[ \t]{0,2}([ \t]#[a-z \t]{0,5})?"),
        prop::collection::vec(regex("[a-c\\[\\]:#$ \t\r]{0,9}"), 0..4),
        regex("[ \t]{0,3}\\][ \t]{0,3}"),
    );
    prop_oneof![
        8 => line.prop_map(|line| vec![line]),
        1 => block.prop_map(|(open, mut lines, close)| {
            lines.insert(0, open);
            lines.push(close);
            lines
        }),
    ]
}

fn text() -> impl Strategy<Value = String> {
    let end = prop_oneof![8 => Just("\n"), 1 => Just("\r\n")];
    (prop::collection::vec((item(), end), 0..12), any::<bool>()).prop_map(|(items, whole)| {
        let mut text = String::new();
        for (lines, end) in items {
            text.extend(lines.into_iter().flat_map(|line| [line, end.to_owned()]));
        }
        if !whole {
            text.truncate(text.trim_end_matches('\n').len());
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_global_rejects: 400_000, ..ProptestConfig::default() })]

    #[test]
    fn formatting_keeps_every_meaning(source in text()) {
        let Ok(result) = format(&source) else { return Err(TestCaseError::reject("does not parse")) };
        prop_assert_eq!(meaning(&source), meaning(&result.text));
        prop_assert_eq!(untouched(&source), untouched(&result.text));
        let again = format(&result.text).expect("a formatted text parses");
        prop_assert!(again.is_clean(), "{:?} became {:?}", result.text, again.text);
        // The changes say the same as the text.
        let mut applied = String::new();
        let mut at = 0;
        for change in &result.changes {
            applied.push_str(&source[at..change.span.start as usize]);
            applied.push_str(change.new.as_deref().unwrap_or_default());
            at = change.span.end as usize;
        }
        applied.push_str(&source[at..]);
        prop_assert_eq!(applied, result.text);
    }
}
