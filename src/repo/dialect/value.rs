//! Values of a program.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::ast::Def;
use super::budget::Budget;

/// What an operation gives, or a sentence; the machine adds the line.
pub type Outcome<T> = Result<T, String>;

/// A value.
#[derive(Clone)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`, which are numbers as well.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    Str(Rc<str>),
    /// A tuple.
    Tuple(Rc<Sequence>),
    /// A list, which can change.
    List(Rc<Sequence>),
    /// A dictionary.
    Dict(Rc<RefCell<Dict>>),
    /// `range(start, stop, step)`.
    Range(i64, i64, i64),
    /// A function of the program.
    Function(Rc<Function>),
    /// A function that is built in, by its name.
    Builtin(&'static str),
}

/// The elements of a tuple or a list.
#[derive(Default)]
pub struct Sequence {
    /// The elements. Only those of lists change.
    pub items: RefCell<Vec<Value>>,
}

/// A function and the values of its defaults, which belong to the last parameters.
pub struct Function {
    pub def: Rc<Def>,
    pub defaults: RefCell<Vec<Value>>,
}

/// A dictionary in the order of insertion.
#[derive(Default)]
pub struct Dict {
    entries: Vec<(Key, Value)>,
    index: HashMap<Key, usize>,
}

/// What can be a key. `True` is 1 and `False` is 0, as in Python.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Key {
    None,
    Int(i64),
    Str(Rc<str>),
    Tuple(Vec<Key>),
}

impl Drop for Sequence {
    fn drop(&mut self) {
        drop_flat(std::mem::take(self.items.get_mut()));
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        drop_flat(std::mem::take(self.defaults.get_mut()));
    }
}

impl Drop for Dict {
    fn drop(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        drop_flat(entries.into_iter().map(|(_, value)| value).collect());
    }
}

/// Drops values without recursion: a program can nest them as deep as it has steps.
fn drop_flat(mut pending: Vec<Value>) {
    while let Some(value) = pending.pop() {
        match value {
            Value::Tuple(inner) | Value::List(inner) => {
                if let Some(sequence) = Rc::into_inner(inner) {
                    pending.append(&mut sequence.items.borrow_mut());
                }
            }
            Value::Dict(inner) => {
                if let Some(dict) = Rc::into_inner(inner) {
                    let entries = std::mem::take(&mut dict.borrow_mut().entries);
                    pending.extend(entries.into_iter().map(|(_, value)| value));
                }
            }
            Value::Function(inner) => {
                if let Some(function) = Rc::into_inner(inner) {
                    pending.append(&mut function.defaults.borrow_mut());
                }
            }
            _ => {}
        }
    }
}

impl Dict {
    /// The value of a key.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.index.get(key).map(|at| &self.entries[*at].1)
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: Key, value: Value) {
        match self.index.get(&key) {
            Some(at) => self.entries[*at].1 = value,
            None => {
                self.index.insert(key.clone(), self.entries.len());
                self.entries.push((key, value));
            }
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &Key) -> Option<Value> {
        let at = self.index.remove(key)?;
        let (_, value) = self.entries.remove(at);
        for place in self.index.values_mut().filter(|p| **p > at) {
            *place -= 1;
        }
        Some(value)
    }

    /// Keys and values in order.
    pub fn entries(&self) -> &[(Key, Value)] {
        &self.entries
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
    }
}

impl Key {
    /// The key that a value is.
    pub fn of(value: &Value, budget: &mut Budget) -> Outcome<Key> {
        budget.step()?;
        Ok(match value {
            Value::None => Key::None,
            Value::Bool(b) => Key::Int(i64::from(*b)),
            Value::Int(n) => Key::Int(*n),
            Value::Str(text) => {
                budget.steps(text.len() / 64)?;
                Key::Str(text.clone())
            }
            Value::Tuple(items) => {
                budget.enter()?;
                let items = items.items.borrow();
                let keys: Outcome<Vec<Key>> = items.iter().map(|i| Key::of(i, budget)).collect();
                budget.leave();
                Key::Tuple(keys?)
            }
            other => return Err(format!("{} cannot be a key", other.kind())),
        })
    }

    /// The value that a key is.
    pub fn value(&self) -> Value {
        match self {
            Key::None => Value::None,
            Key::Int(n) => Value::Int(*n),
            Key::Str(text) => Value::Str(text.clone()),
            Key::Tuple(keys) => Value::tuple(keys.iter().map(Key::value).collect()),
        }
    }
}

impl Value {
    /// A tuple.
    pub fn tuple(items: Vec<Value>) -> Value {
        Value::Tuple(Rc::new(Sequence {
            items: RefCell::new(items),
        }))
    }

    /// A list.
    pub fn list(items: Vec<Value>) -> Value {
        Value::List(Rc::new(Sequence {
            items: RefCell::new(items),
        }))
    }

    /// Text.
    pub fn text(text: impl Into<Rc<str>>) -> Value {
        Value::Str(text.into())
    }

    /// What it is, with an article, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a truth value",
            Value::Int(_) => "a number",
            Value::Str(_) => "text",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dictionary",
            Value::Range(..) => "a range",
            Value::Function(_) | Value::Builtin(_) => "a function",
        }
    }

    /// Whether it counts as true.
    pub fn truth(&self) -> bool {
        match self {
            Value::None => false,
            Value::Bool(b) => *b,
            Value::Int(n) => *n != 0,
            Value::Str(text) => !text.is_empty(),
            Value::Tuple(s) | Value::List(s) => !s.items.borrow().is_empty(),
            Value::Dict(d) => !d.borrow().entries().is_empty(),
            Value::Range(start, stop, step) => range_length(*start, *stop, *step) != 0,
            Value::Function(_) | Value::Builtin(_) => true,
        }
    }

    /// The number that it is; truth values are numbers.
    pub fn number(&self) -> Option<i64> {
        match self {
            Value::Bool(b) => Some(i64::from(*b)),
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// All elements, paid for.
    pub fn elements(&self, budget: &mut Budget) -> Outcome<Vec<Value>> {
        let pay = |budget: &mut Budget, n: usize| {
            budget.steps(n)?;
            budget.bytes(n.saturating_mul(16))
        };
        match self {
            Value::Tuple(s) | Value::List(s) => {
                let items = s.items.borrow();
                pay(budget, items.len())?;
                Ok(items.clone())
            }
            Value::Str(text) => {
                pay(budget, text.len())?;
                let chars = text.chars();
                Ok(chars.map(|c| Value::text(c.to_string())).collect())
            }
            Value::Dict(d) => {
                let dict = d.borrow();
                pay(budget, dict.entries().len())?;
                Ok(dict.entries().iter().map(|(k, _)| k.value()).collect())
            }
            Value::Range(start, stop, step) => {
                let length = range_length(*start, *stop, *step);
                pay(budget, usize::try_from(length).unwrap_or(usize::MAX))?;
                // What was paid for is short.
                Ok((0..length)
                    .map(|i| Value::Int(start + i.cast_signed() * step))
                    .collect())
            }
            other => Err(format!("{} has no elements", other.kind())),
        }
    }
}

/// How many numbers a range has. The step is not 0.
pub fn range_length(start: i64, stop: i64, step: i64) -> u64 {
    let (low, high) = if step > 0 {
        (start, stop)
    } else {
        (stop, start)
    };
    if low >= high {
        return 0;
    }
    (high.abs_diff(low) - 1) / step.unsigned_abs() + 1
}

/// The places that a slice of so long a sequence takes, in its order.
pub fn places(
    length: usize,
    [start, stop, step]: [Option<i64>; 3],
) -> Outcome<impl Iterator<Item = usize>> {
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err("the step of a slice is 0".to_owned());
    }
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let (low, high) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let bound = |n: Option<i64>, default: i64| match n {
        None => default,
        Some(n) if n < 0 => n.saturating_add(length).clamp(low, high),
        Some(n) => n.clamp(low, high),
    };
    let (start, stop) = match step > 0 {
        true => (bound(start, 0), bound(stop, length)),
        false => (bound(start, length - 1), bound(stop, -1)),
    };
    let count = range_length(start, stop, step);
    Ok((0..count).map(move |i| {
        let at = start + i.cast_signed() * step;
        usize::try_from(at).unwrap_or(0)
    }))
}
