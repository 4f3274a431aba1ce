use super::*;
use proptest::prelude::*;

/// The text of `x` after a program.
fn x(source: &str) -> Result<String, String> {
    let program = Program::run(source).map_err(|f| f.to_string())?;
    let (value, _) = program.global("x").ok_or("x is not set")?;
    let mut out = String::new();
    super::text::repr(value, &mut out, &mut super::budget::Budget::default())?;
    Ok(out)
}

#[track_caller]
fn is(source: &str, wanted: &str) {
    assert_eq!(x(source).as_deref(), Ok(wanted), "{source}");
}

#[track_caller]
fn fails(source: &str, wanted: &str) {
    let fault = x(source).expect_err(source);
    assert!(fault.starts_with(wanted), "{source}\n{fault}");
}

#[track_caller]
fn stops(source: &str) {
    let fault = x(source).expect_err(source);
    assert!(fault.ends_with("it is stopped"), "{source}\n{fault}");
}

#[test]
fn expressions_mean_what_they_mean_in_python() {
    for (expression, wanted) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("2 ** 3 ** 2", "512"),
        ("-2 ** 2", "-4"),
        ("-7 // 2, -7 % 3, 7 // -2, 7 % -3", "(-4, 2, -4, -2)"),
        ("10 - 2 - 3", "5"),
        ("0x1F + 0o17 + 0b11 + 1_000", "1049"),
        ("True + 1, True == 1", "(2, True)"),
        ("'a' 'b' \"c\"", "'abc'"),
        ("'it\\'s'", "\"it's\""),
        (r"'\x41\u00e9\101\n\q'", r"'AéA\n\\q'"),
        (r"r'\n'", r"'\\n'"),
        ("'''a\nb'''", "'a\\nb'"),
        ("1 < 2 < 3", "True"),
        ("3 > 2 > 2", "False"),
        ("None is None, 1 is not None", "(True, True)"),
        ("not 1 or 0 and 2, [] or 'x', 1 and ''", "(0, 'x', '')"),
        ("'a' if 0 else 'b'", "'b'"),
        (
            "(1,) + (2,), [1] + [2], (1, 2) * 2",
            "((1, 2), [1, 2], (1, 2, 1, 2))",
        ),
        (
            "'b' in 'abc', 1 in (1, 2), 3 not in [1], 'k' in {'k': 1}",
            "(True, True, True, True)",
        ),
        (
            "[1, 2, 3][-1], (1, 2, 3)[1:], 'abc'[::-1], [1, 2, 3, 4][1:3]",
            "(3, (2, 3), 'cba', [2, 3])",
        ),
        ("[1, 2, 3][10:], 'abc'[-100:2]", "([], 'ab')"),
        ("{'a': 1, 'b': 2}['b']", "2"),
        ("[*(1, 2), 3], (*[1], 2)", "([1, 2, 3], (1, 2))"),
        ("[n * 2 for n in range(5) if n % 2]", "[2, 6]"),
        (
            "[(a, b) for a in 'xy' for b in (1, 2)]",
            "[('x', 1), ('x', 2), ('y', 1), ('y', 2)]",
        ),
        ("{k: v for k, v in [('a', 1)]}", "{'a': 1}"),
        ("tuple(a + '-x' for a in ('p', 'q'))", "('p-x', 'q-x')"),
        (
            "sorted((3, 1, 2)), sorted('ba', reverse=True)",
            "([1, 2, 3], ['b', 'a'])",
        ),
        (
            "sorted(['aaa', 'b', 'cc'], key=len), max(1, 3, 2), min([2, 1])",
            "(['b', 'cc', 'aaa'], 3, 1)",
        ),
        (
            "sorted([(2, 'a'), (1, 'b'), (2, 'c')], key=lambda p: p[0])",
            "[(1, 'b'), (2, 'a'), (2, 'c')]",
        ),
        ("len('é'), len(()), len({1: 2})", "(1, 0, 1)"),
        (
            "list(enumerate('ab', 1)), list(zip((1, 2), 'ab'))",
            "([(1, 'a'), (2, 'b')], [(1, 'a'), (2, 'b')])",
        ),
        (
            "int('12') + int(' 3 '), str(5) + 'x', bool([])",
            "(15, '5x', False)",
        ),
        (
            "sum([1, 2]), any([0, 1]), all([]), abs(-3)",
            "(3, True, True, 3)",
        ),
        (
            "list(range(3)), list(range(5, 0, -2)), list(reversed((1, 2)))",
            "([0, 1, 2], [5, 3, 1], [2, 1])",
        ),
        ("()", "()"),
        ("(1)", "1"),
        ("[[1, [2]], {'a': (None,)}]", "[[1, [2]], {'a': (None,)}]"),
    ] {
        is(&format!("x = {expression}\n"), wanted);
    }
}

#[test]
fn methods_and_formats_are_those_of_python() {
    for (expression, wanted) in [
        (
            "'a-b'.split('-'), ' a  b '.split(), 'a,b,c'.split(',', 1), 'a b c'.split(None, 1)",
            "(['a', 'b'], ['a', 'b'], ['a', 'b,c'], ['a', 'b c'])",
        ),
        (
            "'a.b.c'.rsplit('.', 1), 'a=b'.partition('='), 'ab'.partition('=')",
            "(['a.b', 'c'], ('a', '=', 'b'), ('ab', '', ''))",
        ),
        (
            "'+'.join(('a', 'b')), 'abc'.replace('b', 'x'), 'xax'.strip('x'), ' a '.lstrip()",
            "('a+b', 'axc', 'a', 'a ')",
        ),
        (
            "'arm'.startswith(('x', 'a')), 'pure64'.endswith('64'), 'Ab'.lower(), 'Ab'.upper()",
            "(True, True, 'ab', 'AB')",
        ),
        (
            "'abc'.find('c'), 'abc'.find('x'), 'aa'.count('a'), 'a1'.isalnum(), '12'.isdigit()",
            "(2, -1, 2, True, True)",
        ),
        (
            "'%s+%s' % ('a', 1), '%d%%' % 5, '%(k)s' % {'k': 'v'}, '%5s|%-5s|%05d' % ('a', 'b', -42)",
            "('a+1', '5%', 'v', '    a|b    |-0042')",
        ),
        (
            "'%r %x' % ('a', 255), '%.2s' % 'abc', '%s' % None",
            "(\"'a' ff\", 'ab', 'None')",
        ),
        (
            "'{}+{}'.format('a', 1), '{1}{0}'.format('a', 'b'), '{n}'.format(n=2), '{{}}'.format()",
            "('a+1', 'ba', '2', '{}')",
        ),
        (
            "'{:>4}|{:<4}|{:^4}|{:04d}'.format('a', 'b', 'c', 7)",
            "'   a|b   | c  |0007'",
        ),
        (
            "{'a': 1}.get('b', 2), list({'a': 1}.keys()), {'a': 1}.items()",
            "(2, ['a'], [('a', 1)])",
        ),
        (
            "(1, 2, 1).count(1), [5, 6].index(6), '7'.zfill(3), 'a'.ljust(3), 'a'.rjust(3)",
            "(2, 1, '007', 'a  ', '  a')",
        ),
        (
            "'linden-current'.removesuffix('-current'), 'éa'.capitalize()",
            "('linden', 'Éa')",
        ),
    ] {
        is(&format!("x = {expression}\n"), wanted);
    }
}

#[test]
fn statements_mean_what_they_mean_in_python() {
    is("x = 1\nx = x + 1\nx += 3; x *= 2\n", "10");
    is("a = b = (1,)\nx = a + b", "(1, 1)");
    is("a, (b, c) = 1, (2, 3)\nx = [a, b, c]", "[1, 2, 3]");
    is(
        "x = []\ny = x\ny += [1]\ny.append(2)\nx.extend((3,))\n",
        "[1, 2, 3]",
    );
    is("x = (1,)\ny = x\ny += (2,)\n", "(1,)");
    is(
        "x = {}\nx['a'] = [1]\nx['a'][0] = 2\nx.setdefault('b', []).append(3)\n",
        "{'a': [2], 'b': [3]}",
    );
    is(
        "x = [3, 1, 2]\nx.sort()\nx.reverse()\nx.insert(0, 9)\nx.remove(1)\ny = x.pop()\n",
        "[9, 3]",
    );
    is(
        "x = ()\nfor a in range(10):\n    if a == 2:\n        continue\n    if a == 5: break\n    x += (a,)\nelse:\n    x = None\n",
        "(0, 1, 3, 4)",
    );
    is("x = 0\nfor a in (): pass\nelse:\n  x = 1\n", "1");
    is("if 0:\n\tx = 1\nelif 1:\n\tx = 2\nelse:\n\tx = 3\n", "2");
    is(
        "def f(a, b=2, c=3):\n    return a, b, c\nx = f(1, c=4)\n",
        "(1, 2, 4)",
    );
    is(
        "def f(n):\n    if n < 2: return 1\n    return n * f(n - 1)\nx = f(10)\n",
        "3628800",
    );
    is(
        "def f():\n    \"\"\"It says\n    something.\"\"\"\n    y = late\n    return y\nlate = 5\nx = f()\n",
        "5",
    );
    is("def f():\n    pass\nx = f()\n", "None");
    is(
        "y = 1\ndef f():\n    y = 2\n    return [y for y in (3,)], y\nx = f() + (y,)\n",
        "([3], 2, 1)",
    );
    is(
        "x = (\"a\", # one\n\n   # two\n  'b', \\\n  'c'\n)\n",
        "('a', 'b', 'c')",
    );
    is("x = lambda a, b=1: a + b\nx = x(1)\n", "2");
    is("\u{feff}x = 1\r\nif x:\r\n\tx = 2\r\n", "2");
    // As in the documents: a comment within a block may begin anywhere.
    is(
        "def f(full):\n\tif full == True:\n\t\tkind = 'a'\n\telse:\n\t\tkind = 'b'\n        # a remark\n\treturn kind\nx = f(1)\n",
        "'a'",
    );
}

#[test]
fn tabs_and_blanks_are_counted_as_python_counts_them() {
    is("if 1:\n\tx = 1\n\tx = 2\n", "2");
    is("if 1:\n    if 1:\n    \tx = 1\n", "1");
    fails("if 1:\n    if 1:\n\tx = 1\n", "3: tabs and blanks");
    fails("if 1:\n\tx = 1\n        x = 2\n", "3: tabs and blanks");
    fails(
        "if 1:\n    x = 1\n  x = 2\n",
        "3: the indentation fits none",
    );
    fails("x = 1\n  y = 2\n", "2: the line is indented");
    fails("if 1:\nx = 1\n", "2: an indented block is expected");
}

#[test]
fn what_is_not_part_of_it_is_refused_with_its_line() {
    for (source, wanted) in [
        ("\nimport os\n", "2: `import` is not supported"),
        ("from os import path\n", "1: `import` is not supported"),
        ("x = open('/etc/passwd')\n", "1: `open` reads no files"),
        (
            "x = __import__('os')\n",
            "1: `__import__` is not supported, and never run",
        ),
        ("x = eval('1')\n", "1: `eval`"),
        ("while True:\n  pass\n", "1: `while` is not supported"),
        ("class A: pass\n", "1: this statement"),
        ("try:\n  x = 1\nexcept: pass\n", "1: this statement"),
        ("with x: pass\n", "1: this statement"),
        ("x = 1\ndel x\n", "2: this statement"),
        ("def f():\n  global x\n", "2: this statement"),
        ("def f():\n  yield 1\n", "2: this expression"),
        (
            "def f():\n  def g(): pass\n",
            "2: a function within a function",
        ),
        ("@d\ndef f(): pass\n", "1: decorators"),
        ("x = {1, 2}\n", "1: sets have no order"),
        ("x = set()\n", "1: `set` has no order"),
        ("x = 1.5\n", "1: fractions"),
        ("x = 1e3\n", "1: fractions"),
        ("x = 3 / 2\n", "1: fractions"),
        ("x = 1 | 2\n", "1: the operator `|`"),
        ("x = f'a'\n", "1: text with `f`"),
        ("x = b'a'\n", "1: bytes"),
        ("x = ''.__class__\n", "1: `.__class__` is not supported"),
        ("x = 'a'.encode()\n", "1: text has no method `encode`"),
        ("x: int = 1\n", "1: `:` is not expected here"),
        ("print 'hello'\n", "1: `print` is a function"),
        ("x = 1 is 1\n", "1: `is` is supported with None"),
        (
            "x = 9223372036854775808\n",
            "1: `9223372036854775808` is not",
        ),
        (
            "x = 9223372036854775807 + 1\n",
            "1: the number does not fit",
        ),
        ("x = 007\n", "1: `007` is not"),
    ] {
        fails(source, wanted);
    }
}

#[test]
fn mistakes_are_told_with_their_line() {
    for (source, wanted) in [
        ("x = = 1\n", "1: a value is expected, not `=`"),
        ("a = 1\nx = b\n", "2: `b` is not defined"),
        ("x = (1,\n 2\n", "1: `(` is never closed"),
        ("x = 1)\n", "1: `)` closes nothing"),
        ("x = 'a\n", "1: text is not closed on its line"),
        ("x = '''a\n\n", "1: text is never closed"),
        (
            "x = (1,) + [2]\n",
            "1: `+` does not work between a tuple and a list",
        ),
        (
            "\nx = 'a' + 1\n",
            "2: `+` does not work between text and a number",
        ),
        ("x = [1][5]\n", "1: there is no element 5: there are 1"),
        ("x = {'a': 1}['b']\n", "1: the dictionary has no key 'b'"),
        ("x = 1 // 0\n", "1: a division by zero"),
        ("a, b = (1, 2, 3)\n", "1: 3 values are there and 2 wanted"),
        ("x = None < 'a'\n", "1: None and text have no order"),
        ("x = 5()\n", "1: a number cannot be called"),
        ("def f(a): pass\nx = f()\n", "2: `f` is not given `a`"),
        (
            "def f(a): pass\nx = f(1, 2)\n",
            "2: `f` takes 1 arguments and is given 2",
        ),
        (
            "def f():\n  y = z\n  z = 1\nz = 5\nx = f()\n",
            "2: `z` is used before it has a value",
        ),
        (
            "def f():\n\n  return nothing\nx = f()\n",
            "3: `nothing` is not defined",
        ),
        ("return 1\n", "1: `return` belongs into a function"),
        ("break\n", "1: this belongs into a loop"),
        ("for a in 5: pass\n", "1: a number has no elements"),
        ("x = '%d' % 'a'\n", "1: `d` of a format wants a number"),
        ("x = '%s %s' % 'a'\n", "1: the format wants more values"),
        ("x = ''.join([1])\n", "1: `join` wants texts"),
        ("1 = x\n", "1: this cannot be assigned to"),
        ("x = 1 2\n", "1: the end of the line is expected, not `2`"),
    ] {
        fails(source, wanted);
    }
}

#[test]
fn time_memory_and_depth_are_bounded() {
    let nested = format!("x = {}1{}\n", "(".repeat(40_000), ")".repeat(40_000));
    let minus = format!("x = {}1\n", "-".repeat(40_000));
    let not = format!("x = {}1\n", "not ".repeat(40_000));
    let sum = format!("x = 1{}\n", " + 1".repeat(40_000));
    let dots = format!("x = 'a'{}\n", ".strip()".repeat(40_000));
    let power = format!("x = 1{}\n", "**1".repeat(40_000));
    let blocks: String = (0..2000)
        .map(|n| format!("{}if 1:\n", " ".repeat(n)))
        .collect();
    let lambdas = format!("x = {}1\n", "lambda: ".repeat(4000));
    let conditional = format!("x = {}1\n", "1 if 1 else ".repeat(40_000));
    for source in [
        nested,
        minus,
        not,
        sum,
        dots,
        power,
        blocks,
        lambdas,
        conditional,
    ] {
        assert!(x(&source).is_err(), "{}", &source[..20]);
    }
    stops("def f(): return f()\nx = f()\n");
    stops("x = 0\nfor a in range(10 ** 15):\n  x += 1\n");
    stops("x = [0]\nfor a in x:\n  x.append(a)\n");
    stops("x = 'a'\nfor a in range(60):\n  x += x\n");
    stops("x = 'a' * 10 ** 15\n");
    stops("x = list(range(10 ** 15))\n");
    stops("x = [0] * 10 ** 15\n");
    fails("x = '%999999999s' % 1\n", "1: a field of a format is wider");
    stops("x = ''.rjust(10 ** 15)\n");
    fails(
        "for a in range(10000): print(a)\n",
        "1: more than 1000 lines",
    );
    stops("x = []\nx.append(x)\ny = str(x)\n");
    stops("x = []\ny = []\nx.append(x)\ny.append(y)\nz = x == y\n");
    // Values may be deep without end: they are let go without recursion.
    is(
        "y = ()\nfor a in range(50000):\n  y = (y,)\ny = 0\nx = 1\n",
        "1",
    );
    is(
        "y = []\nfor a in range(50000):\n  y = {'a': [y]}\ny = 0\nx = 1\n",
        "1",
    );
    is(
        "def f(): pass\nfor a in range(50000):\n  def f(b=f): pass\nf = 0\nx = 1\n",
        "1",
    );
}

#[test]
fn what_is_printed_is_kept_for_the_caller() {
    let mut program = Program::run("print('hello', 1)\nprint()\n").unwrap();
    assert_eq!(program.take_printed(), ["hello 1", ""]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_text_is_run_or_refused(source in "(?s).{0,200}") {
        let _ = Program::run(&source);
    }

    #[test]
    fn any_words_are_run_or_refused(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "x", "y", "f", "1", "0", "'a'", "'%s'", "'%d'", "(", ")", "[", "]", "{", "}", ",", ":", "=", "+=", "+",
                "-", "*", "%", "//", "**", "<", "==", "in", "not", "is", "None", "True", "and", "or", "if", "else",
                "for", "def", "return", "lambda", "\n", "\n ", "\n\t", "\n  ", ";", "x = ", "(x,)", "[x]", "range(3)",
                ".append(", ".sort()", ".format(", ".split(", "len(", "sorted(", "str(", "print(", "*x", "x[", "::-1]",
                "for y in x", "x = []\n", "def f(a, b=1):\n ", "\\\n",
            ]),
            0..40,
        ),
    ) {
        let _ = Program::run(&words.join(" "));
        let _ = Program::run(&words.concat());
    }
}
