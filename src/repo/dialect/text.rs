//! Values as text: `str`, `repr`, `%` and `.format`.

use std::fmt::Write as _;

use super::budget::Budget;
use super::value::{Key, Outcome, Value, places};

/// The widest field that a format may ask for.
const MAX_WIDTH: usize = 1000;

/// The text of a value, as `str` gives it.
pub fn str_of(value: &Value, budget: &mut Budget) -> Outcome<String> {
    match value {
        Value::Str(text) => {
            budget.bytes(text.len())?;
            Ok(text.to_string())
        }
        other => {
            let mut out = String::new();
            repr(other, &mut out, budget)?;
            Ok(out)
        }
    }
}

/// Writes a value as `repr` gives it.
pub fn repr(value: &Value, out: &mut String, budget: &mut Budget) -> Outcome<()> {
    budget.bytes(8)?;
    budget.step()?;
    match value {
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(n) => {
            let _ = write!(out, "{n}");
        }
        Value::Str(text) => {
            budget.bytes(text.len())?;
            quote(text, out);
        }
        Value::Range(start, stop, step) => {
            let _ = match step {
                1 => write!(out, "range({start}, {stop})"),
                _ => write!(out, "range({start}, {stop}, {step})"),
            };
        }
        Value::Function(function) => {
            let _ = write!(out, "<function {}>", function.def.name);
        }
        Value::Builtin(name) => {
            let _ = write!(out, "<built-in function {name}>");
        }
        Value::Tuple(_) | Value::List(_) | Value::Dict(_) => {
            budget.enter()?;
            let result = repr_container(value, out, budget);
            budget.leave();
            result?;
        }
    }
    Ok(())
}

fn repr_container(value: &Value, out: &mut String, budget: &mut Budget) -> Outcome<()> {
    let (open, close) = match value {
        Value::Tuple(_) => ('(', ')'),
        Value::List(_) => ('[', ']'),
        _ => ('{', '}'),
    };
    out.push(open);
    match value {
        Value::Tuple(s) | Value::List(s) => {
            let items = s.items.borrow();
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                repr(item, out, budget)?;
            }
            if matches!(value, Value::Tuple(_)) && items.len() == 1 {
                out.push(',');
            }
        }
        Value::Dict(d) => {
            for (at, (key, value)) in d.borrow().entries().iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                repr(&key.value(), out, budget)?;
                out.push_str(": ");
                repr(value, out, budget)?;
            }
        }
        _ => {}
    }
    out.push(close);
    Ok(())
}

fn quote(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = match u32::from(c) {
                    n if n < 0x100 => write!(out, "\\x{n:02x}"),
                    n => write!(out, "\\u{n:04x}"),
                };
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// How a field is filled up.
#[derive(Default)]
struct Field {
    left: bool,
    centre: bool,
    fill: Option<char>,
    plus: bool,
    width: usize,
    precision: Option<usize>,
}

impl Field {
    fn pad(&self, text: &str, number: bool, budget: &mut Budget) -> Outcome<String> {
        let length = text.chars().count();
        let missing = self.width.saturating_sub(length);
        budget.bytes(text.len() + missing * 4)?;
        let fill = self.fill.unwrap_or(' ');
        let run = |n: usize| fill.to_string().repeat(n);
        // Zeros go between the sign and the digits.
        if number
            && fill == '0'
            && !self.left
            && let Some(digits) = text.strip_prefix(['-', '+'])
        {
            return Ok(format!("{}{}{digits}", &text[..1], run(missing)));
        }
        Ok(if self.left {
            format!("{text}{}", run(missing))
        } else if self.centre {
            format!("{}{text}{}", run(missing / 2), run(missing - missing / 2))
        } else {
            format!("{}{text}", run(missing))
        })
    }

    fn number(&self, value: &Value, kind: char) -> Outcome<String> {
        let Some(n) = value.number() else {
            return Err(format!(
                "`{kind}` of a format wants a number, not {}",
                value.kind()
            ));
        };
        let magnitude = n.unsigned_abs();
        let digits = match kind {
            'x' => format!("{magnitude:x}"),
            'X' => format!("{magnitude:X}"),
            'o' => format!("{magnitude:o}"),
            _ => magnitude.to_string(),
        };
        let sign = match (n < 0, self.plus) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        Ok(format!("{sign}{digits}"))
    }
}

/// Reads digits.
fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Outcome<Option<usize>> {
    let mut found = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        let n = found.unwrap_or(0) * 10 + digit as usize;
        if n > MAX_WIDTH {
            return Err(format!("a field of a format is wider than {MAX_WIDTH}"));
        }
        found = Some(n);
    }
    Ok(found)
}

/// `format % value`.
pub fn percent(format: &str, value: &Value, budget: &mut Budget) -> Outcome<Value> {
    let given = match value {
        Value::Tuple(items) => items.items.borrow().clone(),
        other => vec![other.clone()],
    };
    let mut given = given.into_iter();
    let mut named = false;
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    budget.bytes(format.len())?;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let mut by_name = None;
        if chars.peek() == Some(&'(') {
            let name: String = chars.by_ref().skip(1).take_while(|c| *c != ')').collect();
            by_name = Some(name);
        }
        let mut field = Field::default();
        while let Some(flag) = chars.peek().copied().filter(|c| "-0+ #".contains(*c)) {
            chars.next();
            match flag {
                '-' => field.left = true,
                '0' => field.fill = Some('0'),
                '+' => field.plus = true,
                _ => return Err(format!("`{flag}` of a format is not supported")),
            }
        }
        field.width = digits(&mut chars)?.unwrap_or(0);
        if chars.peek() == Some(&'.') {
            chars.next();
            field.precision = Some(digits(&mut chars)?.unwrap_or(0));
        }
        let value = match by_name {
            None => given
                .next()
                .ok_or("the format wants more values than there are")?,
            Some(name) => {
                named = true;
                let Value::Dict(dict) = value else {
                    return Err("a format with names wants a dictionary".to_owned());
                };
                let found = dict.borrow().get(&Key::Str(name.as_str().into())).cloned();
                found.ok_or_else(|| format!("the format wants `{name}`, which is not there"))?
            }
        };
        let kind = chars.next().ok_or("the format ends within a field")?;
        out.push_str(&conversion(&mut field, kind, &value, budget)?);
    }
    if given.next().is_some() && !named && !matches!(value, Value::Dict(_) | Value::List(_)) {
        return Err("the format wants fewer values than there are".to_owned());
    }
    Ok(Value::text(out))
}

fn conversion(
    field: &mut Field,
    kind: char,
    value: &Value,
    budget: &mut Budget,
) -> Outcome<String> {
    match kind {
        's' | 'r' => {
            // Zeros are for numbers.
            field.fill = None;
            let mut text = match kind {
                's' => str_of(value, budget)?,
                _ => {
                    let mut text = String::new();
                    repr(value, &mut text, budget)?;
                    text
                }
            };
            if let Some(precision) = field.precision {
                text = text.chars().take(precision).collect();
            }
            field.pad(&text, false, budget)
        }
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            if field.precision.is_some() {
                return Err("a precision of numbers is not supported".to_owned());
            }
            let text = field.number(value, kind)?;
            field.pad(&text, true, budget)
        }
        other => Err(format!("`%{other}` is not supported")),
    }
}

/// `"…".format(…)`.
pub fn format(
    format: &str,
    given: &[Value],
    names: &[(String, Value)],
    budget: &mut Budget,
) -> Outcome<Value> {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    budget.bytes(format.len())?;
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.peek() == Some(&c) => {
                chars.next();
                out.push(c);
            }
            '}' => return Err("`}` stands alone in a format".to_owned()),
            '{' => {
                let mut field = String::new();
                loop {
                    match chars.next() {
                        Some('}') => break,
                        Some('{') => {
                            return Err("fields within fields are not supported".to_owned());
                        }
                        Some(c) => field.push(c),
                        None => return Err("`{` is not closed in a format".to_owned()),
                    }
                }
                let (name, spec) = field.split_once(':').unwrap_or((&field, ""));
                let (name, as_repr) = match name.strip_suffix("!r") {
                    Some(name) => (name, true),
                    None => (name.strip_suffix("!s").unwrap_or(name), false),
                };
                let value = if name.is_empty() {
                    next += 1;
                    given.get(next - 1)
                } else if let Ok(at) = name.parse::<usize>() {
                    given.get(at)
                } else {
                    names.iter().find(|(n, _)| n == name).map(|(_, v)| v)
                };
                let value = value
                    .ok_or_else(|| format!("the format wants `{{{name}}}`, which is not there"))?;
                let value = match as_repr {
                    true => {
                        let mut text = String::new();
                        repr(value, &mut text, budget)?;
                        Value::text(text)
                    }
                    false => value.clone(),
                };
                out.push_str(&formatted(&value, spec, budget)?);
            }
            c => out.push(c),
        }
    }
    Ok(Value::text(out))
}

fn formatted(value: &Value, spec: &str, budget: &mut Budget) -> Outcome<String> {
    let unsupported = || format!("the format `{spec}` is not supported");
    let mut field = Field::default();
    let mut chars = spec.chars().peekable();
    let second = spec.chars().nth(1);
    let mut aligned = false;
    if second.is_some_and(|c| "<>^".contains(c)) {
        field.fill = chars.next();
    }
    if let Some(align) = chars.peek().copied().filter(|c| "<>^".contains(*c)) {
        chars.next();
        aligned = true;
        field.left = align == '<';
        field.centre = align == '^';
    }
    if chars.peek() == Some(&'+') {
        chars.next();
        field.plus = true;
    }
    if chars.peek() == Some(&'0') && field.fill.is_none() {
        field.fill = Some('0');
    }
    field.width = digits(&mut chars)?.unwrap_or(0);
    let kind = chars.next();
    if chars.next().is_some() {
        return Err(unsupported());
    }
    let number = matches!(value, Value::Int(_)) && kind != Some('s');
    match kind {
        None | Some('s' | 'd' | 'x' | 'X' | 'o') => {}
        Some(_) => return Err(unsupported()),
    }
    if number || matches!(kind, Some('d' | 'x' | 'X' | 'o')) {
        let text = field.number(value, kind.unwrap_or('d'))?;
        return field.pad(&text, !aligned, budget);
    }
    if !aligned {
        field.left = true;
    }
    let text = str_of(value, budget)?;
    field.pad(&text, false, budget)
}

/// Text n times.
pub fn repeat(text: &str, n: i64, budget: &mut Budget) -> Outcome<Value> {
    let n = usize::try_from(n).unwrap_or(0);
    budget.bytes(text.len().saturating_mul(n))?;
    Ok(Value::text(text.repeat(n)))
}

/// The characters of text from one place to another, in steps.
pub fn slice(text: &str, parts: [Option<i64>; 3], budget: &mut Budget) -> Outcome<Value> {
    let chars: Vec<char> = text.chars().collect();
    budget.bytes(text.len() * 4)?;
    let places = places(chars.len(), parts)?;
    Ok(Value::text(places.map(|at| chars[at]).collect::<String>()))
}
