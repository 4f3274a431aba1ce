//! Functions that are built in.

use std::rc::Rc;

use super::budget::Budget;
use super::methods::Given;
use super::operators;
use super::text;
use super::value::{Dict, Key, Outcome, Value};

/// Their names. `sorted`, `min`, `max` with a key and `print` are done by the machine.
pub const NAMES: &[&str] = &[
    "abs",
    "all",
    "any",
    "bool",
    "dict",
    "enumerate",
    "int",
    "len",
    "list",
    "max",
    "min",
    "print",
    "range",
    "repr",
    "reversed",
    "sorted",
    "str",
    "sum",
    "tuple",
    "zip",
];

/// Functions of Python that are not there, and why.
pub fn refused(name: &str) -> Option<&'static str> {
    Some(match name {
        "open" | "input" | "file" | "raw_input" => "reads no files: a configuration stands alone",
        "exec" | "eval" | "compile" | "execfile" | "__import__" | "globals" | "locals" | "vars"
        | "getattr" | "setattr" | "delattr" | "hasattr" | "type" | "object" | "super" | "exit"
        | "quit" | "breakpoint" => "is not supported, and never run",
        "set" | "frozenset" => "has no order and is not supported: use a tuple",
        "float" | "complex" | "round" | "divmod" => "is not supported: use whole numbers",
        "map" | "filter" => "is not supported: write `[… for … in …]`",
        "isinstance" | "callable" | "id" | "hash" | "iter" | "next" | "ord" | "chr" | "bytes"
        | "unicode" => "is not supported",
        _ => return None,
    })
}

/// Calls one that needs nothing of the program.
pub fn call(name: &str, given: &Given, budget: &mut Budget) -> Outcome<Value> {
    budget.step()?;
    let first = given.plain.first();
    match name {
        "len" => {
            given.count(1, 1)?;
            operators::length(&given.plain[0], budget).map(Value::Int)
        }
        "str" => {
            given.count(0, 1)?;
            let text = first.map(|v| text::str_of(v, budget)).transpose()?;
            Ok(Value::text(text.unwrap_or_default()))
        }
        "repr" => {
            given.count(1, 1)?;
            let mut out = String::new();
            text::repr(&given.plain[0], &mut out, budget)?;
            Ok(Value::text(out))
        }
        "bool" => {
            given.count(0, 1)?;
            Ok(Value::Bool(first.is_some_and(Value::truth)))
        }
        "int" => {
            given.count(0, 1)?;
            integer(first)
        }
        "abs" => {
            given.count(1, 1)?;
            let n = given.plain[0].number().and_then(i64::checked_abs);
            n.map(Value::Int)
                .ok_or_else(|| "a number is wanted".to_owned())
        }
        "range" => range(given),
        "all" | "any" => {
            given.count(1, 1)?;
            let items = given.plain[0].elements(budget)?;
            Ok(Value::Bool(match name {
                "all" => items.iter().all(Value::truth),
                _ => items.iter().any(Value::truth),
            }))
        }
        "sum" => {
            given.count(1, 2)?;
            let mut total = given.plain.get(1).cloned().unwrap_or(Value::Int(0));
            for item in given.plain[0].elements(budget)? {
                total = operators::binary(super::ast::BinaryOp::Add, &total, &item, budget)?;
            }
            Ok(total)
        }
        "dict" => dict(given, budget),
        _ => sequence(name, given, budget),
    }
}

fn sequence(name: &str, given: &Given, budget: &mut Budget) -> Outcome<Value> {
    match name {
        "list" | "tuple" | "reversed" => {
            given.count(usize::from(name == "reversed"), 1)?;
            let mut items = match given.plain.first() {
                Some(value) => value.elements(budget)?,
                None => Vec::new(),
            };
            Ok(match name {
                "tuple" => Value::tuple(items),
                "list" => Value::list(items),
                _ => {
                    items.reverse();
                    Value::list(items)
                }
            })
        }
        "enumerate" => {
            given.count(1, 2)?;
            let start = match given.plain.get(1) {
                None => 0,
                Some(value) => value.number().ok_or("a number is wanted")?,
            };
            let items = given.plain[0].elements(budget)?;
            budget.bytes(items.len() * 64)?;
            let pairs = items
                .into_iter()
                .zip(0..)
                .map(|(item, n)| Value::tuple(vec![Value::Int(start.saturating_add(n)), item]));
            Ok(Value::list(pairs.collect()))
        }
        "zip" => {
            if !given.named.is_empty() {
                return Err("arguments with names are not supported".to_owned());
            }
            let all: Vec<Vec<Value>> = given
                .plain
                .iter()
                .map(|v| v.elements(budget))
                .collect::<Outcome<_>>()?;
            let length = all.iter().map(Vec::len).min().unwrap_or(0);
            budget.bytes(length.saturating_mul(all.len() + 3).saturating_mul(16))?;
            let row = |at: usize| Value::tuple(all.iter().map(|items| items[at].clone()).collect());
            Ok(Value::list((0..length).map(row).collect()))
        }
        _ => Err(format!("`{name}` is not supported")),
    }
}

fn integer(value: Option<&Value>) -> Outcome<Value> {
    match value {
        None => Ok(Value::Int(0)),
        Some(Value::Str(text)) => {
            let trimmed = text.trim();
            let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
            let parsed = match digits.starts_with(|c: char| c.is_ascii_digit()) {
                true => trimmed.parse().ok(),
                false => None,
            };
            let parsed = parsed.map(Value::Int);
            parsed.ok_or_else(|| format!("`{}` is not a whole number", text.escape_debug()))
        }
        Some(value) => match value.number() {
            Some(n) => Ok(Value::Int(n)),
            None => Err(format!("a number or text is wanted, not {}", value.kind())),
        },
    }
}

fn range(given: &Given) -> Outcome<Value> {
    given.count(1, 3)?;
    let mut numbers = Vec::new();
    for value in &given.plain {
        let n = value.number();
        numbers.push(n.ok_or_else(|| format!("a number is wanted, not {}", value.kind()))?);
    }
    match numbers[..] {
        [stop] => Ok(Value::Range(0, stop, 1)),
        [start, stop] => Ok(Value::Range(start, stop, 1)),
        [_, _, 0] => Err("the step of a range is 0".to_owned()),
        [start, stop, step] => Ok(Value::Range(start, stop, step)),
        _ => Err("one to three numbers are wanted".to_owned()),
    }
}

fn dict(given: &Given, budget: &mut Budget) -> Outcome<Value> {
    let mut dict = Dict::default();
    if given.plain.len() > 1 {
        return Err("one argument without a name is wanted at most".to_owned());
    }
    match given.plain.first() {
        None => {}
        Some(Value::Dict(other)) => {
            let other = other.borrow();
            budget.steps(other.entries().len())?;
            budget.bytes(other.entries().len() * 64)?;
            for (key, value) in other.entries() {
                dict.insert(key.clone(), value.clone());
            }
        }
        Some(pairs) => {
            for pair in pairs.elements(budget)? {
                let items = pair.elements(budget)?;
                let [key, value] = items.as_slice() else {
                    return Err("`dict` wants pairs".to_owned());
                };
                budget.bytes(64)?;
                dict.insert(Key::of(key, budget)?, value.clone());
            }
        }
    }
    for (name, value) in &given.named {
        dict.insert(Key::Str(name.as_str().into()), value.clone());
    }
    Ok(Value::Dict(Rc::new(dict.into())))
}
