//! Operators between values.

use std::cmp::Ordering;
use std::rc::Rc;

use super::ast::{BinaryOp, CompareOp};
use super::budget::Budget;
use super::text;
use super::value::{Key, Outcome, Value, places, range_length};

/// `left op right`.
pub fn binary(op: BinaryOp, left: &Value, right: &Value, budget: &mut Budget) -> Outcome<Value> {
    budget.step()?;
    if let (Some(a), Some(b)) = (left.number(), right.number()) {
        return number(op, a, b).map(Value::Int);
    }
    match (op, left, right) {
        (BinaryOp::Add, Value::Str(a), Value::Str(b)) => {
            budget.bytes(a.len() + b.len())?;
            Ok(Value::text(format!("{a}{b}")))
        }
        (BinaryOp::Add, Value::Tuple(_), Value::Tuple(_)) => {
            let mut items = left.elements(budget)?;
            items.extend(right.elements(budget)?);
            Ok(Value::tuple(items))
        }
        (BinaryOp::Add, Value::List(_), Value::List(_)) => {
            let mut items = left.elements(budget)?;
            items.extend(right.elements(budget)?);
            Ok(Value::list(items))
        }
        (BinaryOp::Multiply, Value::Str(text), n) | (BinaryOp::Multiply, n, Value::Str(text))
            if n.number().is_some() =>
        {
            text::repeat(text, n.number().unwrap_or(0), budget)
        }
        (BinaryOp::Multiply, Value::Tuple(_) | Value::List(_), n) if n.number().is_some() => {
            repeated(left, n.number().unwrap_or(0), budget)
        }
        (BinaryOp::Multiply, n, Value::Tuple(_) | Value::List(_)) if n.number().is_some() => {
            repeated(right, n.number().unwrap_or(0), budget)
        }
        (BinaryOp::Modulo, Value::Str(format), value) => text::percent(format, value, budget),
        _ => Err(format!(
            "`{}` does not work between {} and {}",
            sign(op),
            left.kind(),
            right.kind()
        )),
    }
}

fn sign(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::FloorDivide => "//",
        BinaryOp::Modulo => "%",
        BinaryOp::Power => "**",
    }
}

fn number(op: BinaryOp, a: i64, b: i64) -> Outcome<i64> {
    if matches!(op, BinaryOp::FloorDivide | BinaryOp::Modulo) && b == 0 {
        return Err("a division by zero".to_owned());
    }
    let result = match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Subtract => a.checked_sub(b),
        BinaryOp::Multiply => a.checked_mul(b),
        // Rounded down, and the remainder has the sign of the divisor.
        BinaryOp::FloorDivide => a
            .checked_div(b)
            .map(|q| q - i64::from(a % b != 0 && (a < 0) != (b < 0))),
        BinaryOp::Modulo => a
            .checked_rem(b)
            .map(|r| match r != 0 && (r < 0) != (b < 0) {
                true => r + b,
                false => r,
            }),
        BinaryOp::Power if b < 0 => return Err("fractions are not supported".to_owned()),
        BinaryOp::Power => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
    };
    result.ok_or_else(|| "the number does not fit 64 bits".to_owned())
}

fn repeated(value: &Value, n: i64, budget: &mut Budget) -> Outcome<Value> {
    let items = value.elements(budget)?;
    let n = usize::try_from(n).unwrap_or(0);
    let total = items.len().saturating_mul(n);
    budget.steps(total)?;
    budget.bytes(total.saturating_mul(16))?;
    let all: Vec<Value> = items.iter().cloned().cycle().take(total).collect();
    Ok(match value {
        Value::Tuple(_) => Value::tuple(all),
        _ => Value::list(all),
    })
}

/// `left op right`, true or false.
pub fn compare(op: CompareOp, left: &Value, right: &Value, budget: &mut Budget) -> Outcome<bool> {
    budget.step()?;
    match op {
        CompareOp::Equal => equal(left, right, budget),
        CompareOp::NotEqual => equal(left, right, budget).map(|e| !e),
        CompareOp::In => contains(right, left, budget),
        CompareOp::NotIn => contains(right, left, budget).map(|e| !e),
        CompareOp::Is => same(left, right),
        CompareOp::IsNot => same(left, right).map(|e| !e),
        CompareOp::Less => order(left, right, budget).map(Ordering::is_lt),
        CompareOp::LessEqual => order(left, right, budget).map(Ordering::is_le),
        CompareOp::Greater => order(left, right, budget).map(Ordering::is_gt),
        CompareOp::GreaterEqual => order(left, right, budget).map(Ordering::is_ge),
    }
}

/// `is`: only with what there is one of.
fn same(left: &Value, right: &Value) -> Outcome<bool> {
    let single = |v: &Value| matches!(v, Value::None | Value::Bool(_));
    if !single(left) && !single(right) {
        return Err("`is` is supported with None, True and False only: use `==`".to_owned());
    }
    Ok(match (left, right) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        _ => false,
    })
}

/// `==`.
pub fn equal(left: &Value, right: &Value, budget: &mut Budget) -> Outcome<bool> {
    budget.step()?;
    if let (Some(a), Some(b)) = (left.number(), right.number()) {
        return Ok(a == b);
    }
    match (left, right) {
        (Value::None, Value::None) => Ok(true),
        (Value::Str(a), Value::Str(b)) => {
            budget.steps(a.len().min(b.len()) / 64)?;
            Ok(a == b)
        }
        (Value::Tuple(a), Value::Tuple(b)) | (Value::List(a), Value::List(b)) => {
            if Rc::ptr_eq(a, b) {
                return Ok(true);
            }
            let (a, b) = (a.items.borrow(), b.items.borrow());
            if a.len() != b.len() {
                return Ok(false);
            }
            budget.enter()?;
            let mut result = Ok(true);
            for (a, b) in a.iter().zip(b.iter()) {
                result = equal(a, b, budget);
                if !matches!(result, Ok(true)) {
                    break;
                }
            }
            budget.leave();
            result
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if Rc::ptr_eq(a, b) {
                return Ok(true);
            }
            let (a, b) = (a.borrow(), b.borrow());
            if a.entries().len() != b.entries().len() {
                return Ok(false);
            }
            budget.enter()?;
            let mut result = Ok(true);
            for (key, value) in a.entries() {
                result = match b.get(key) {
                    None => Ok(false),
                    Some(other) => equal(value, other, budget),
                };
                if !matches!(result, Ok(true)) {
                    break;
                }
            }
            budget.leave();
            result
        }
        (Value::Range(a, b, c), Value::Range(d, e, f)) => {
            let (one, other) = (range_length(*a, *b, *c), range_length(*d, *e, *f));
            Ok(one == other && (one == 0 || (a == d && (one == 1 || c == f))))
        }
        (Value::Function(a), Value::Function(b)) => Ok(Rc::ptr_eq(a, b)),
        (Value::Builtin(a), Value::Builtin(b)) => Ok(a == b),
        _ => Ok(false),
    }
}

/// Which of two values comes first.
pub fn order(left: &Value, right: &Value, budget: &mut Budget) -> Outcome<Ordering> {
    budget.step()?;
    if let (Some(a), Some(b)) = (left.number(), right.number()) {
        return Ok(a.cmp(&b));
    }
    match (left, right) {
        (Value::Str(a), Value::Str(b)) => {
            budget.steps(a.len().min(b.len()) / 64)?;
            Ok(a.cmp(b))
        }
        (Value::Tuple(a), Value::Tuple(b)) | (Value::List(a), Value::List(b)) => {
            let (a, b) = (a.items.borrow(), b.items.borrow());
            budget.enter()?;
            let mut result = Ok(a.len().cmp(&b.len()));
            for (a, b) in a.iter().zip(b.iter()) {
                match equal(a, b, budget) {
                    Ok(true) => {}
                    Ok(false) => {
                        result = order(a, b, budget);
                        break;
                    }
                    Err(e) => {
                        result = Err(e);
                        break;
                    }
                }
            }
            budget.leave();
            result
        }
        _ => Err(format!(
            "{} and {} have no order",
            left.kind(),
            right.kind()
        )),
    }
}

/// `item in container`.
pub fn contains(container: &Value, item: &Value, budget: &mut Budget) -> Outcome<bool> {
    match (container, item) {
        (Value::Str(text), Value::Str(part)) => {
            budget.steps(text.len() / 16)?;
            Ok(text.contains(&**part))
        }
        (Value::Str(_), other) => Err(format!("`in` of text wants text, not {}", other.kind())),
        (Value::Tuple(s) | Value::List(s), item) => {
            for element in s.items.borrow().iter() {
                if equal(element, item, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Dict(d), item) => {
            let key = Key::of(item, budget)?;
            Ok(d.borrow().get(&key).is_some())
        }
        (Value::Range(start, stop, step), item) => {
            let Some(n) = item.number() else {
                return Ok(false);
            };
            let within = match *step > 0 {
                true => *start <= n && n < *stop,
                false => *stop < n && n <= *start,
            };
            Ok(within && (i128::from(n) - i128::from(*start)) % i128::from(*step) == 0)
        }
        (other, _) => Err(format!("{} has no elements", other.kind())),
    }
}

/// How many elements there are.
pub fn length(value: &Value, budget: &mut Budget) -> Outcome<i64> {
    let n = match value {
        Value::Str(text) => {
            budget.steps(text.len() / 64)?;
            text.chars().count()
        }
        Value::Tuple(s) | Value::List(s) => s.items.borrow().len(),
        Value::Dict(d) => d.borrow().entries().len(),
        Value::Range(a, b, c) => usize::try_from(range_length(*a, *b, *c)).unwrap_or(usize::MAX),
        other => return Err(format!("{} has no length", other.kind())),
    };
    i64::try_from(n).map_err(|_| "the number does not fit 64 bits".to_owned())
}

/// The place that an index means: from the end where it is negative.
pub fn place(index: &Value, length: usize) -> Outcome<usize> {
    let Some(n) = index.number() else {
        return Err(format!("an index is a number, not {}", index.kind()));
    };
    let at = match usize::try_from(n) {
        Ok(at) => Some(at),
        Err(_) => usize::try_from(n.unsigned_abs())
            .ok()
            .and_then(|n| length.checked_sub(n)),
    };
    at.filter(|at| *at < length)
        .ok_or_else(|| format!("there is no element {n}: there are {length}"))
}

/// `value[index]`.
pub fn index(value: &Value, at: &Value, budget: &mut Budget) -> Outcome<Value> {
    budget.step()?;
    match value {
        Value::Tuple(s) | Value::List(s) => {
            let items = s.items.borrow();
            Ok(items[place(at, items.len())?].clone())
        }
        Value::Str(text) => {
            budget.steps(text.len() / 16)?;
            let n = place(at, text.chars().count())?;
            let c = text.chars().nth(n).unwrap_or_default();
            Ok(Value::text(c.to_string()))
        }
        Value::Dict(d) => {
            let key = Key::of(at, budget)?;
            let found = d.borrow().get(&key).cloned();
            found.ok_or_else(|| {
                let mut text = String::new();
                let _ = text::repr(at, &mut text, budget);
                format!("the dictionary has no key {text}")
            })
        }
        Value::Range(start, stop, step) => {
            let length = range_length(*start, *stop, *step);
            let n = place(at, usize::try_from(length).unwrap_or(usize::MAX))?;
            let n = i64::try_from(n).unwrap_or(0);
            Ok(Value::Int(start.saturating_add(n.saturating_mul(*step))))
        }
        other => Err(format!("{} has no elements", other.kind())),
    }
}

/// `value[start:stop:step]`.
pub fn slice(value: &Value, parts: [Option<i64>; 3], budget: &mut Budget) -> Outcome<Value> {
    let take = |items: Vec<Value>| -> Outcome<Vec<Value>> {
        Ok(places(items.len(), parts)?
            .map(|at| items[at].clone())
            .collect())
    };
    match value {
        Value::Str(text) => text::slice(text, parts, budget),
        Value::Tuple(_) => Ok(Value::tuple(take(value.elements(budget)?)?)),
        Value::List(_) | Value::Range(..) => Ok(Value::list(take(value.elements(budget)?)?)),
        other => Err(format!("{} has no parts", other.kind())),
    }
}

/// Sorts values by their keys, as Python does: equal ones keep their order.
pub fn sort(items: Vec<(Value, Value)>, reverse: bool, budget: &mut Budget) -> Outcome<Vec<Value>> {
    // Merged by hand: a comparison may fail, and the sort of the library wants an order of all there is.
    let mut runs: Vec<Vec<(Value, Value)>> = items.into_iter().map(|item| vec![item]).collect();
    budget.steps(runs.len())?;
    while runs.len() > 1 {
        let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
        let mut pairs = runs.into_iter();
        while let Some(first) = pairs.next() {
            merged.push(match pairs.next() {
                Some(second) => merge(first, second, reverse, budget)?,
                None => first,
            });
        }
        runs = merged;
    }
    let sorted = runs.into_iter().flatten();
    Ok(sorted.map(|(_, value)| value).collect())
}

fn merge(
    first: Vec<(Value, Value)>,
    second: Vec<(Value, Value)>,
    reverse: bool,
    budget: &mut Budget,
) -> Outcome<Vec<(Value, Value)>> {
    let mut out = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    while let (Some(a), Some(b)) = (first.peek(), second.peek()) {
        let order = order(&a.0, &b.0, budget)?;
        let second_first = if reverse {
            order.is_lt()
        } else {
            order.is_gt()
        };
        out.extend(if second_first {
            second.next()
        } else {
            first.next()
        });
    }
    out.extend(first);
    out.extend(second);
    Ok(out)
}
