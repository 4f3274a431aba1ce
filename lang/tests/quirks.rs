//! The inputs of `tests/conformance/QUIRKS.md`, one row each, against its column `strict`.

mod common;

use common::Memory;
use mstore_lang::Value;

/// What a key should come to.
enum Want {
    Line(&'static str),
    Block(&'static [&'static str]),
    Zapped,
    Class(&'static str),
}
use Want::{Block, Class, Line, Zapped};

/// A row: its number, files, definitions of the command line, and the outcome.
struct Row {
    number: u32,
    files: &'static [(&'static str, &'static str)],
    given: &'static [(&'static str, &'static str)],
    /// The class of the load error, or what keys come to.
    want: Result<&'static [(&'static str, Want)], &'static str>,
    /// Files read besides `main.conf`.
    read: &'static [&'static str],
}

const fn row(
    number: u32,
    main: &'static [(&'static str, &'static str)],
    want: &'static [(&'static str, Want)],
) -> Row {
    Row {
        number,
        files: main,
        given: &[],
        want: Ok(want),
        read: &[],
    }
}

const fn bad(
    number: u32,
    main: &'static [(&'static str, &'static str)],
    class: &'static str,
) -> Row {
    Row {
        number,
        files: main,
        given: &[],
        want: Err(class),
        read: &[],
    }
}

impl Row {
    const fn given(mut self, given: &'static [(&'static str, &'static str)]) -> Row {
        self.given = given;
        self
    }

    const fn read(mut self, read: &'static [&'static str]) -> Row {
        self.read = read;
        self
    }

    fn check(&self) -> Result<(), String> {
        let spec = match (Memory::new(self.files).load(self.given), self.want) {
            (Err(errors), Err(class)) if errors.class().as_str() == class => return Ok(()),
            (Err(errors), want) => return Err(format!("wanted {:?}, got {errors}", want.err())),
            (Ok(_), Err(class)) => return Err(format!("loads, wanted {class}")),
            (Ok(spec), Ok(_)) => spec,
        };
        let want = self.want.unwrap_or_default();
        for (key, want) in want.iter().chain(want.iter().rev()) {
            let got = spec.evaluate(key);
            let right = match (want, &got) {
                (Line(text), Ok(got)) => {
                    got.value == Value::Line((*text).to_owned()) && !got.zapped
                }
                (Block(lines), Ok(got)) => {
                    got.value == Value::Block(lines.iter().map(|line| (*line).to_owned()).collect())
                }
                (Zapped, Ok(got)) => got.zapped,
                (Class(class), Err(error)) => error.class().as_str() == *class,
                _ => false,
            };
            if !right {
                return Err(format!("{key} came to {got:?}"));
            }
        }
        let mut read: Vec<String> = spec
            .collected_relative()
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        read.retain(|path| path != "main.conf");
        if read != self.read {
            return Err(format!("read {read:?}"));
        }
        Ok(())
    }
}

const ROWS: &[Row] = &[
    row(1, &[("main.conf", "a: one\nb: two")], &[("b", Line("two"))]),
    row(
        2,
        &[("main.conf", "[collect ./m.conf]"), ("m.conf", "m: 1\n")],
        &[("m", Line("1"))],
    )
    .read(&["m.conf"]),
    // Q3 is tested below: its bytes are no text.
    row(
        4,
        &[("main.conf", "a: x\ry: 2\n")],
        &[("a", Line("x\ry: 2")), ("y", Class("undefined"))],
    ),
    row(
        5,
        &[("main.conf", "a: x\u{a0}\n")],
        &[("a", Line("x\u{a0}"))],
    ),
    row(6, &[("main.conf", "a:\t1\n")], &[("a", Line("1"))]),
    row(
        7,
        &[("main.conf", "a:\t[\nb: 1\n]\n")],
        &[("a", Block(&["b: 1"])), ("b", Class("undefined"))],
    ),
    row(
        8,
        &[("main.conf", "a:  [\nb: 1\n]\n")],
        &[("a", Block(&["b: 1"])), ("b", Class("undefined"))],
    ),
    row(9, &[("main.conf", "a:   x\n")], &[("a", Line("x"))]),
    row(10, &[("main.conf", "a: x  # c\n")], &[("a", Line("x"))]),
    row(11, &[("main.conf", "a: x\t# c\n")], &[("a", Line("x"))]),
    row(12, &[("main.conf", "b:\t# c\n")], &[("b", Line(""))]),
    bad(13, &[("main.conf", "hello world\n")], "bad-line"),
    bad(14, &[("main.conf", "my name: x\n")], "bad-line"),
    bad(15, &[("main.conf", "a:1\n")], "bad-line"),
    bad(16, &[("main.conf", "a [\nb: 1\n]\n")], "bad-line"),
    bad(17, &[("main.conf", "]\n")], "bad-line"),
    bad(18, &[("main.conf", "a:b: 1\n")], "bad-line"),
    bad(19, &[("main.conf", "a?: 1\n")], "bad-line"),
    bad(20, &[("main.conf", "[section s\n")], "bad-annotation"),
    bad(21, &[("main.conf", "[section s] tail\n")], "bad-annotation"),
    bad(22, &[("main.conf", "[]\n")], "bad-annotation"),
    bad(23, &[("main.conf", "[section]\n")], "bad-annotation"),
    bad(23, &[("main.conf", "[option]\n")], "bad-annotation"),
    bad(
        24,
        &[("main.conf", "[option parse/lax parse/strict]\n")],
        "bad-annotation",
    ),
    bad(25, &[("main.conf", "[when]\n")], "bad-annotation"),
    bad(25, &[("main.conf", "[section s when]\n")], "bad-annotation"),
    bad(
        26,
        &[("main.conf", "[when x equals 1]\n")],
        "bad-annotation",
    ),
    bad(26, &[("main.conf", "[when x is]\n")], "bad-annotation"),
    bad(27, &[("main.conf", ": v\n")], "no-section"),
    row(
        28,
        &[("main.conf", "[section s]\n: [\nx\n]\n")],
        &[("s", Block(&["x"]))],
    ),
    row(
        29,
        &[("main.conf", "[section s]\n: $[:a]/x\na: 1\n")],
        &[("s", Line("1/x"))],
    ),
    row(
        30,
        &[("main.conf", "[section s]\n: 0\na: 1\nb: [\n$[] $[:a]\n]\n")],
        &[("s/b", Block(&["0 1"]))],
    ),
    row(
        31,
        &[("main.conf", "[section s]\na: [\nx\n]\nb: [\n$[[:a]]\n]\n")],
        &[("s/b", Block(&["x"]))],
    ),
    row(
        32,
        &[
            ("main.conf", "[section s]\na: m\n[collect ./$[:a].conf]\n"),
            ("m.conf", "m: 1\n"),
        ],
        &[("m", Line("1"))],
    )
    .read(&["m.conf"]),
    row(
        33,
        &[("main.conf", "[section s]\n: 1\na: <$[::zap]>\n")],
        &[("s/a", Line("<1>"))],
    ),
    row(
        33,
        &[("main.conf", "[section s]\na: <$[::zap]>\n")],
        &[("s/a", Zapped)],
    ),
    row(34, &[("main.conf", "a:\nb: $[a?]\n")], &[("b", Line("no"))]),
    row(
        35,
        &[("main.conf", "a: [\n]\nb: $[a?]\n")],
        &[("b", Line("no"))],
    ),
    row(
        36,
        &[("main.conf", "x: $[y]\ny: $[x?]\n")],
        &[("x", Line("yes")), ("y", Line("yes"))],
    ),
    row(
        37,
        &[(
            "main.conf",
            "m: 1\n[when m is 2]\na: x\n[when *]\nb: $[a?]\n",
        )],
        &[("b", Line("no"))],
    ),
    row(
        38,
        &[(
            "main.conf",
            "m: 1\n[when m is 2]\na: x\n[when *]\nb: <$[a:zap]>\nc: <$[a:lax]>\n",
        )],
        &[("b", Zapped), ("c", Line("<>"))],
    ),
    row(
        39,
        &[(
            "main.conf",
            "m: 1\n[when m is 1]\na:\n[when *]\nb: <$[a:zap]>\n",
        )],
        &[("b", Zapped)],
    ),
    row(
        40,
        &[(
            "main.conf",
            "m: 1\n[when m is 1]\nb: $[none:zap]\n[when *]\na: <$[b]>\n",
        )],
        &[("a", Zapped), ("b", Zapped)],
    ),
    row(
        41,
        &[("main.conf", "a: 1\nb: $[a?:zap]\nc: $[a:zap?]\n")],
        &[("b", Class("bad-modifier")), ("c", Class("bad-modifier"))],
    ),
    row(
        42,
        &[("main.conf", "n: 1\nb: $[a/$[n]]\n")],
        &[("b", Class("undefined"))],
    ),
    row(
        43,
        &[("main.conf", "a: 1\nb: $[ a ]\n")],
        &[("b", Class("undefined"))],
    ),
    row(
        44,
        &[("main.conf", "c: $[none:zap] $[missing]\n")],
        &[("c", Zapped)],
    ),
    // Q45 and Q46 are tested below: their inputs are made.
    row(
        47,
        &[("main.conf", "b: $[a?]\nc: <$[a:zap]>\n")],
        &[("b", Line("no")), ("c", Line("<  >"))],
    )
    .given(&[("a", "  ")]),
    row(
        48,
        &[("main.conf", "i: [\nx\ny\n]\nb: [\n1\n$[[i]]\n]\na: $[b]\n")],
        &[("a", Line("1 x y"))],
    ),
    row(
        49,
        &[("main.conf", "o: [\n--a\n--b $[none:zap]\n]\nc: run $[o]\n")],
        &[("c", Line("run --a")), ("o", Block(&["--a"]))],
    ),
    row(
        50,
        &[("main.conf", "b: [\nx\n]\na: $[[b]]\nc: [\necho $[[b]]\n]\n")],
        &[("a", Line("$[[b]]")), ("c", Block(&["echo $[[b]]"]))],
    ),
    row(
        51,
        &[("main.conf", "b: [\nx\n]\na: [\n$[[b]] $[[b]]\n]\n")],
        &[("a", Class("undefined"))],
    ),
    row(
        52,
        &[("main.conf", "b: [\nx\n]\na: [\n$[[ b ]]\n]\n")],
        &[("a", Class("undefined"))],
    ),
    row(
        53,
        &[(
            "main.conf",
            "b: [\nx\n]\na: [\n$[[b?]]\n]\nc: [\n$[[b:lax:lax]]\n]\n",
        )],
        &[("a", Class("bad-modifier")), ("c", Class("bad-modifier"))],
    ),
    row(
        54,
        &[("main.conf", "a: [\n$[[a:lax]]\n]\n")],
        &[("a", Class("circular"))],
    ),
    row(
        55,
        &[("main.conf", "n: a\na: [\n$[[$[n]]]\n]\n")],
        &[("a", Class("circular"))],
    ),
    row(
        56,
        &[("main.conf", "a: [\nx\n$[[x/$[none:zap]]]\ny\n]\n")],
        &[("a", Block(&["x", "y"]))],
    ),
    row(
        57,
        &[("main.conf", "a: [\n<< file\n]\n"), ("file", "no\n")],
        &[("a", Block(&["<< file"]))],
    ),
    row(
        58,
        &[("main.conf", "a: <<  file\n"), ("file", "text\n")],
        &[("a", Line("text"))],
    ),
    bad(58, &[("main.conf", "a: << two words\n")], "bad-line"),
    bad(58, &[("main.conf", "a: <<\n")], "bad-line"),
    row(
        59,
        &[("main.conf", "a: << f\n"), ("f", "2019-11-09")],
        &[("a", Line("2019-11-09"))],
    ),
    row(
        60,
        &[
            ("main.conf", "[collect sub/m.conf]\n"),
            ("sub/m.conf", "a: << f.txt\n"),
            ("sub/f.txt", "here\n"),
        ],
        &[("a", Line("here"))],
    )
    .read(&["sub/m.conf"]),
    row(
        61,
        &[(
            "main.conf",
            "a: [\n<?python\nprint(1)\n?>\n]\nb: [\n$[[a]]\n]\nc: $[a?]\n",
        )],
        &[
            ("a", Class("embedded-code")),
            ("b", Class("embedded-code")),
            ("c", Line("yes")),
        ],
    ),
    row(
        62,
        &[("main.conf", "[option parse/lax]\na: x$[none]\n")],
        &[("a", Line("x"))],
    ),
    row(
        63,
        &[("main.conf", "a: x$[none]\n[option parse/lax]\nb: <$[a]>\n")],
        &[("a", Class("undefined")), ("b", Class("undefined"))],
    ),
    row(
        64,
        &[(
            "main.conf",
            "[option parse/lax]\na: x$[none]\n[option parse/strict]\nb: <$[a]>\n",
        )],
        &[("b", Line("<x>"))],
    ),
    row(
        65,
        &[(
            "main.conf",
            "[option parse/lax]\na: [\n<$[none]>\n$[[none]]\n]\n",
        )],
        &[("a", Block(&["<>"]))],
    ),
    row(
        66,
        &[
            ("main.conf", "[collect a.conf]\n[collect b.conf]\n"),
            ("a.conf", "[option parse/lax]\na: <$[none]>\n"),
            ("b.conf", "b: <$[none]>\n"),
        ],
        &[("a", Line("<>")), ("b", Class("undefined"))],
    )
    .read(&["a.conf", "b.conf"]),
    bad(67, &[("main.conf", "a: 1\na: [\nx\n]\n")], "duplicate"),
    bad(
        68,
        &[("main.conf", "a: 1\nm: 1\n[when m]\na: 2\n")],
        "duplicate",
    ),
    bad(
        69,
        &[
            ("main.conf", "[collect c.conf]\n"),
            ("c.conf", "m: 1\n[when m is 2]\na: 2\n"),
        ],
        "duplicate",
    )
    .given(&[("a", "1")]),
    row(
        70,
        &[(
            "main.conf",
            "m: 2\n[when m is 1]\na: [\nx\n]\n[when m is 2]\na: y z\n",
        )],
        &[("a", Line("y z"))],
    ),
    row(
        70,
        &[(
            "main.conf",
            "m: 2\n[when m is 1]\na: y z\n[when m is 2]\na: [\nx\n]\n",
        )],
        &[("a", Block(&["x"]))],
    ),
    row(
        71,
        &[(
            "main.conf",
            "m: 1\n[when m is 1]\nk: 1\n[when k is 1]\na: x\n",
        )],
        &[("a", Line("x"))],
    ),
    row(
        72,
        &[
            (
                "main.conf",
                "m: 1\n[when m is 1]\nk: 1\n[when *]\n[collect f when k]\n",
            ),
            ("f", "a: x\n"),
        ],
        &[("a", Line("x"))],
    )
    .read(&["f"]),
    row(
        72,
        &[
            (
                "main.conf",
                "[when m is 1]\nk: 1\n[when *]\n[collect f when k]\n",
            ),
            ("f", "a: x\n"),
        ],
        &[],
    ),
    row(
        73,
        &[("main.conf", "t: $[u]\n[when t is x]\nu: x\n")],
        &[("t", Class("circular")), ("u", Class("circular"))],
    ),
    row(
        74,
        &[("main.conf", "[when u is x]\nu: x\n")],
        &[("u", Class("circular"))],
    ),
    row(
        75,
        &[(
            "main.conf",
            "m: 1\n[section s]\nz: of-s\n[section t]\nz: of-t\n[section s when m is 1]\nq/a: $[:z]\n[section s/q when m is 2]\na: $[:z]\n",
        )],
        &[("s/q/a", Line("of-s"))],
    ),
    row(
        76,
        &[("main.conf", "m:\n[when m]\na: x\n")],
        &[("a", Line("x"))],
    ),
    row(
        77,
        &[("main.conf", "n: 1\nm: 1\n[when m is $[n]]\na: x\n")],
        &[("a", Class("undefined"))],
    ),
    row(
        78,
        &[("main.conf", "m: [\n1\n]\n[when m is 1]\na: x\n")],
        &[("a", Line("x"))],
    ),
    row(
        79,
        &[(
            "main.conf",
            "m: $[none]\nn: 1\n[when m is 1]\na: x\n[when n is 1]\nb: 1\n[when n]\nb: 2\n[when *]\nc: ok\n",
        )],
        &[
            ("a", Class("undefined")),
            ("b", Class("conflict")),
            ("c", Line("ok")),
        ],
    ),
    bad(
        80,
        &[("main.conf", "[collect ./$[none].conf]\n")],
        "undefined",
    ),
    bad(
        81,
        &[("main.conf", "a: $[b]\nb: $[a]\n[collect ./$[a].conf]\n")],
        "circular",
    ),
    row(
        82,
        &[
            (
                "main.conf",
                "[collect ./$[x:zap].conf]\n[collect ./def.conf]\n",
            ),
            ("def.conf", "x: two\n"),
            ("two.conf", "y: 2\n"),
        ],
        &[("y", Line("2"))],
    )
    .read(&["def.conf", "two.conf"]),
    row(
        82,
        &[
            (
                "main.conf",
                "[collect ./def.conf]\n[collect ./$[x:zap].conf]\n",
            ),
            ("def.conf", "x: two\n"),
            ("two.conf", "y: 2\n"),
        ],
        &[("y", Line("2"))],
    )
    .read(&["def.conf", "two.conf"]),
    row(
        83,
        &[
            (
                "main.conf",
                "[collect ./$[x?].conf]\n[collect ./def.conf]\n",
            ),
            ("def.conf", "x: two\n"),
            ("yes.conf", "y: 2\n"),
            ("no.conf", "n: 2\n"),
        ],
        &[("y", Line("2"))],
    )
    .read(&["def.conf", "yes.conf"]),
    bad(
        84,
        &[
            ("main.conf", "[collect ./f$[x:lax].conf]\n"),
            ("f.conf", "x: 1\n"),
        ],
        "conflict",
    ),
    bad(
        84,
        &[
            ("main.conf", "[collect ./$[x?].conf]\n"),
            ("no.conf", "x: 1\n"),
        ],
        "conflict",
    ),
    row(
        85,
        &[
            (
                "main.conf",
                "m: 1\n[collect ./two.conf when m is 2]\n[collect ./d/x.conf]\n",
            ),
            ("two.conf", "a: main\n"),
            ("d/x.conf", "[collect ./two.conf]\n"),
            ("d/two.conf", "a: d\n"),
        ],
        &[("a", Line("d"))],
    )
    .read(&["d/two.conf", "d/x.conf"]),
    row(
        86,
        &[
            (
                "main.conf",
                "m: 1\n[collect ./f when m is 1]\n[collect ./f when m is 2]\n",
            ),
            ("f", "a: x\n"),
        ],
        &[("a", Line("x"))],
    )
    .read(&["f"]),
    row(
        87,
        &[("main.conf", "m: 1\n[collect ./$[none:zap] when m]\n")],
        &[("m", Line("1"))],
    ),
    bad(
        88,
        &[
            ("main.conf", "[collect f]\n[collect f]\n"),
            ("f", "# nothing\n"),
        ],
        "duplicate",
    ),
    bad(89, &[("main.conf", "[collect main.conf]\n")], "duplicate"),
    // Q90 and Q91 are tested below: they need a disk.
    bad(92, &[("main.conf", "a: 1\n")], "bad-line").given(&[("", "x")]),
];

#[test]
fn every_row_is_strict() {
    let failures: Vec<String> = ROWS
        .iter()
        .filter_map(|row| {
            row.check()
                .err()
                .map(|why| format!("Q{}: {why}\n{:?}", row.number, row.files))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} rows fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn no_row_is_forgotten() {
    let apart = [3, 45, 46, 90, 91];
    for number in 1..=92 {
        let here = ROWS.iter().any(|row| row.number == number) || apart.contains(&number);
        assert!(here, "Q{number} has no test");
    }
}

#[test]
fn q3_bytes_that_are_not_utf8() {
    let errors = Memory::new(&[("main.conf", &b"a: 1\nb: \xff2\n"[..])])
        .load(&[])
        .expect_err("no text");
    assert_eq!(errors.class().as_str(), "bad-line");
    assert_eq!(errors.first().and_then(|error| error.line()), Some(2));
}

#[test]
fn q45_a_chain_of_any_length() {
    let mut text = String::from("e0: end\n");
    for index in 1..5000 {
        text += &format!("e{index}: $[e{}]\n", index - 1);
    }
    let spec = common::one(&text).expect("loads");
    assert_eq!(
        spec.value("e4999").expect("evaluates"),
        Value::Line("end".to_owned())
    );
}

#[test]
fn q46_each_element_is_evaluated_once() {
    let mut text = String::from("e0:\nf0: [\n]\n");
    for index in 1..500 {
        text += &format!("e{index}: $[e{0}]$[e{0}]\n", index - 1);
        text += &format!("f{index}: [\n$[[f{0}]]\n$[[f{0}]]\n]\n", index - 1);
    }
    let spec = common::one(&text).expect("loads");
    assert_eq!(
        spec.value("e499").expect("evaluates"),
        Value::Line(String::new())
    );
    assert_eq!(
        spec.value("f499").expect("evaluates"),
        Value::Block(Default::default())
    );
}

#[test]
fn q90_the_main_file_by_a_relative_name() {
    use mstore_lang::{DiskFiles, Spec};
    let corpus = std::path::Path::new("../tests/conformance/146-collect-basic/main.conf");
    let spec = Spec::load(&DiskFiles, corpus, &[]).expect("loads");
    assert_eq!(
        spec.value("here").expect("evaluates"),
        Value::Line("found".to_owned())
    );
    assert!(spec.collected().iter().all(|path| path.is_absolute()));
}

#[test]
fn q91_links_are_files_of_their_own() {
    use mstore_lang::{DiskFiles, Spec};
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    std::fs::write(
        at("main.conf"),
        "[collect a.conf]\n[collect ./x/../b.conf]\n",
    )
    .expect("written");
    std::fs::write(at("a.conf"), "# nothing\n").expect("written");
    std::os::unix::fs::symlink("a.conf", at("b.conf")).expect("linked");
    let spec = Spec::load(&DiskFiles, &at("main.conf"), &[]).expect("loads");
    assert_eq!(spec.collected().len(), 3);
}
