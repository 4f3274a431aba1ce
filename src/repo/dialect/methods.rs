//! Methods of text, lists, tuples and dictionaries.

use std::rc::Rc;

use super::budget::Budget;
use super::operators;
use super::text;
use super::value::{Dict, Key, Outcome, Sequence, Value};

/// What a method is called with.
pub struct Given {
    /// Arguments without a name.
    pub plain: Vec<Value>,
    /// Arguments with one.
    pub named: Vec<(String, Value)>,
}

impl Given {
    /// Checks how many there are, none with a name.
    pub fn count(&self, least: usize, most: usize) -> Outcome<()> {
        if let Some((name, _)) = self.named.first() {
            return Err(format!("the argument `{name}` is not supported"));
        }
        if (least..=most).contains(&self.plain.len()) {
            return Ok(());
        }
        let wanted = match least == most {
            true => least.to_string(),
            false => format!("{least} to {most}"),
        };
        Err(format!(
            "{} arguments are given and {wanted} wanted",
            self.plain.len()
        ))
    }

    fn str(&self, at: usize) -> Outcome<Option<Rc<str>>> {
        match self.plain.get(at) {
            None | Some(Value::None) => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text.clone())),
            Some(other) => Err(format!("text is wanted, not {}", other.kind())),
        }
    }

    fn text(&self, at: usize) -> Outcome<Rc<str>> {
        self.str(at)?.ok_or_else(|| "text is wanted".to_owned())
    }

    fn number(&self, at: usize) -> Outcome<Option<i64>> {
        match self.plain.get(at) {
            None => Ok(None),
            Some(value) => match value.number() {
                Some(n) => Ok(Some(n)),
                None => Err(format!("a number is wanted, not {}", value.kind())),
            },
        }
    }
}

/// `value.name(given)`.
pub fn call(value: &Value, name: &str, given: &Given, budget: &mut Budget) -> Outcome<Value> {
    budget.step()?;
    let found = match value {
        Value::Str(text) => {
            budget.steps(text.len() / 16)?;
            of_text(text, name, given, budget)?
        }
        Value::List(list) => of_list(list, name, given, budget)?,
        Value::Tuple(_) => of_sequence(value, name, given, budget)?,
        Value::Dict(dict) => {
            let mut dict = dict
                .try_borrow_mut()
                .map_err(|_| "the dictionary is in use")?;
            of_dict(&mut dict, name, given, budget)?
        }
        _ => None,
    };
    found.ok_or_else(|| format!("{} has no method `{name}` that is supported", value.kind()))
}

fn number(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn of_text(
    text: &Rc<str>,
    name: &str,
    given: &Given,
    budget: &mut Budget,
) -> Outcome<Option<Value>> {
    if name == "format" {
        return text::format(text, &given.plain, &given.named, budget).map(Some);
    }
    if let Some(value) = of_text_to_text(text, name, given, budget)? {
        return Ok(Some(value));
    }
    let value = match name {
        "startswith" | "endswith" => {
            given.count(1, 1)?;
            let ends = match &given.plain[0] {
                Value::Tuple(_) => given.plain[0].elements(budget)?,
                one => vec![one.clone()],
            };
            let mut any = false;
            for end in &ends {
                let Value::Str(end) = end else {
                    return Err(format!("text is wanted, not {}", end.kind()));
                };
                any |= match name {
                    "startswith" => text.starts_with(&**end),
                    _ => text.ends_with(&**end),
                };
            }
            Value::Bool(any)
        }
        "find" | "index" | "rfind" | "rindex" => {
            given.count(1, 1)?;
            let part = given.text(0)?;
            let at = match name.starts_with('r') {
                true => text.rfind(&*part),
                false => text.find(&*part),
            };
            match at {
                Some(at) => number(text[..at].chars().count()),
                None if name.ends_with("find") => Value::Int(-1),
                None => return Err("the text is not in it".to_owned()),
            }
        }
        "count" => {
            given.count(1, 1)?;
            let part = given.text(0)?;
            number(match part.is_empty() {
                true => text.chars().count() + 1,
                false => text.matches(&*part).count(),
            })
        }
        "isdigit" | "isdecimal" | "isnumeric" => is(text, |c| c.is_numeric()),
        "isalpha" => is(text, char::is_alphabetic),
        "isalnum" => is(text, char::is_alphanumeric),
        "isspace" => is(text, char::is_whitespace),
        "islower" => Value::Bool(
            text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        ),
        "isupper" => Value::Bool(
            text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        ),
        "split" | "rsplit" => split(text, name, given, budget)?,
        "splitlines" => {
            given.count(0, 0)?;
            budget.bytes(text.len() * 2 + 16)?;
            budget.steps(text.len())?;
            Value::list(text.lines().map(Value::text).collect())
        }
        "partition" | "rpartition" => {
            given.count(1, 1)?;
            let by = given.text(0)?;
            if by.is_empty() {
                return Err("the separator is empty".to_owned());
            }
            budget.bytes(text.len() + 48)?;
            let (found, rest) = match name {
                "partition" => (text.split_once(&*by), [&**text, "", ""]),
                _ => (text.rsplit_once(&*by), ["", "", &**text]),
            };
            let parts = found.map_or(rest, |(a, b)| [a, &*by, b]);
            Value::tuple(parts.map(Value::text).into())
        }
        "join" => {
            given.count(1, 1)?;
            let parts = given.plain[0].elements(budget)?;
            let mut out = String::new();
            for (at, part) in parts.iter().enumerate() {
                let Value::Str(part) = part else {
                    return Err(format!("`join` wants texts, and there is {}", part.kind()));
                };
                budget.bytes(part.len() + text.len())?;
                if at > 0 {
                    out.push_str(text);
                }
                out.push_str(part);
            }
            Value::text(out)
        }
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn is(text: &str, what: fn(char) -> bool) -> Value {
    Value::Bool(!text.is_empty() && text.chars().all(what))
}

fn of_text_to_text(
    text: &Rc<str>,
    name: &str,
    given: &Given,
    budget: &mut Budget,
) -> Outcome<Option<Value>> {
    budget.bytes(text.len())?;
    let new: String = match name {
        "lower" | "casefold" => {
            given.count(0, 0)?;
            text.to_lowercase()
        }
        "upper" => {
            given.count(0, 0)?;
            text.to_uppercase()
        }
        "capitalize" => {
            given.count(0, 0)?;
            let mut chars = text.chars();
            let first = chars.next().map(|c| c.to_uppercase().to_string());
            first.unwrap_or_default() + &chars.as_str().to_lowercase()
        }
        "strip" | "lstrip" | "rstrip" => {
            given.count(0, 1)?;
            let chars = given.str(0)?;
            let goes = |c: char| match &chars {
                None => c.is_whitespace(),
                Some(chars) => chars.contains(c),
            };
            budget.steps(
                text.len()
                    .saturating_mul(chars.as_ref().map_or(1, |c| c.len() / 16 + 1)),
            )?;
            let mut left = &**text;
            if name != "rstrip" {
                left = left.trim_start_matches(goes);
            }
            if name != "lstrip" {
                left = left.trim_end_matches(goes);
            }
            left.to_owned()
        }
        "removeprefix" | "removesuffix" => {
            given.count(1, 1)?;
            let part = given.text(0)?;
            let left = match name {
                "removeprefix" => text.strip_prefix(&*part),
                _ => text.strip_suffix(&*part),
            };
            left.unwrap_or(text).to_owned()
        }
        "replace" => {
            given.count(2, 3)?;
            let (old, new) = (given.text(0)?, given.text(1)?);
            let most = match given.number(2)? {
                Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
                None => usize::MAX,
            };
            let found = text.matches(&*old).take(most).count();
            budget.bytes(found.saturating_mul(new.len()) + text.len())?;
            text.replacen(&*old, &new, most)
        }
        "zfill" | "ljust" | "rjust" | "center" => {
            given.count(1, 2)?;
            let width = usize::try_from(given.number(0)?.unwrap_or(0)).unwrap_or(0);
            budget.bytes(width.saturating_mul(4))?;
            let fill = given.str(1)?.unwrap_or_else(|| " ".into());
            let missing = width.saturating_sub(text.chars().count());
            match name {
                "ljust" => format!("{text}{}", fill.repeat(missing)),
                "rjust" => format!("{}{text}", fill.repeat(missing)),
                "center" => {
                    let before = missing / 2 + (missing & width & 1);
                    format!(
                        "{}{text}{}",
                        fill.repeat(before),
                        fill.repeat(missing - before)
                    )
                }
                _ => {
                    let digits = text.trim_start_matches(['-', '+']);
                    let sign = &text[..text.len() - digits.len()];
                    format!("{sign}{}{digits}", "0".repeat(missing))
                }
            }
        }
        _ => return Ok(None),
    };
    budget.bytes(new.len())?;
    Ok(Some(Value::text(new)))
}

fn split(text: &str, name: &str, given: &Given, budget: &mut Budget) -> Outcome<Value> {
    given.count(0, 2)?;
    let by = given.str(0)?;
    let most = match given.number(1)? {
        Some(n) if n >= 0 => usize::try_from(n).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    budget.steps(text.len())?;
    budget.bytes(text.len().saturating_mul(17) + 16)?;
    let parts: Vec<&str> = match (&by, name) {
        (Some(by), _) if by.is_empty() => return Err("the separator is empty".to_owned()),
        (Some(by), "split") => text.splitn(most.saturating_add(1), &**by).collect(),
        (Some(by), _) => {
            let mut parts: Vec<&str> = text.rsplitn(most.saturating_add(1), &**by).collect();
            parts.reverse();
            parts
        }
        (None, _) if most == usize::MAX => text.split_whitespace().collect(),
        (None, "split") => {
            let mut parts = Vec::new();
            let mut rest = text.trim_start();
            while !rest.is_empty() {
                match rest.split_once(char::is_whitespace) {
                    Some((part, after)) if parts.len() < most => {
                        parts.push(part);
                        rest = after.trim_start();
                    }
                    _ => {
                        // The last part keeps the blanks at its end only if there was no room to split.
                        parts.push(if parts.len() < most {
                            rest.trim_end()
                        } else {
                            rest
                        });
                        break;
                    }
                }
            }
            parts
        }
        (None, _) => return Err("`rsplit` at blanks so often is not supported".to_owned()),
    };
    Ok(Value::list(parts.into_iter().map(Value::text).collect()))
}

/// `index` and `count`, of tuples and lists.
fn of_sequence(
    value: &Value,
    name: &str,
    given: &Given,
    budget: &mut Budget,
) -> Outcome<Option<Value>> {
    if name != "index" && name != "count" {
        return Ok(None);
    }
    given.count(1, 1)?;
    let mut count = 0;
    for (at, item) in value.elements(budget)?.iter().enumerate() {
        if operators::equal(item, &given.plain[0], budget)? {
            if name == "index" {
                return Ok(Some(number(at)));
            }
            count += 1;
        }
    }
    match name {
        "count" => Ok(Some(number(count))),
        _ => Err("the element is not in it".to_owned()),
    }
}

fn of_list(
    list: &Rc<Sequence>,
    name: &str,
    given: &Given,
    budget: &mut Budget,
) -> Outcome<Option<Value>> {
    budget.bytes(16)?;
    let items = || {
        list.items
            .try_borrow_mut()
            .map_err(|_| "the list is in use".to_owned())
    };
    match name {
        "append" => {
            given.count(1, 1)?;
            items()?.push(given.plain[0].clone());
        }
        "extend" => {
            given.count(1, 1)?;
            let more = given.plain[0].elements(budget)?;
            items()?.extend(more);
        }
        "insert" => {
            given.count(2, 2)?;
            let n = given.number(0)?.unwrap_or(0);
            let mut items = items()?;
            budget.steps(items.len() / 16)?;
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let at = if n < 0 { n.saturating_add(length) } else { n }.clamp(0, length);
            items.insert(usize::try_from(at).unwrap_or(0), given.plain[1].clone());
        }
        "remove" => {
            given.count(1, 1)?;
            let list = Value::List(list.clone());
            let found = of_sequence(&list, "index", given, budget)?;
            if let Some(Value::Int(at)) = found {
                items()?.remove(usize::try_from(at).unwrap_or(0));
            }
        }
        "pop" => {
            given.count(0, 1)?;
            let mut items = items()?;
            budget.steps(items.len() / 16)?;
            let last = Value::Int(-1);
            let at = given.plain.first().unwrap_or(&last);
            let at = operators::place(at, items.len())?;
            return Ok(Some(items.remove(at)));
        }
        "clear" => {
            given.count(0, 0)?;
            items()?.clear();
        }
        "reverse" => {
            given.count(0, 0)?;
            let mut items = items()?;
            budget.steps(items.len())?;
            items.reverse();
        }
        "copy" => {
            given.count(0, 0)?;
            return Ok(Some(Value::list(
                Value::List(list.clone()).elements(budget)?,
            )));
        }
        _ => return of_sequence(&Value::List(list.clone()), name, given, budget),
    }
    Ok(Some(Value::None))
}

fn of_dict(
    dict: &mut Dict,
    name: &str,
    given: &Given,
    budget: &mut Budget,
) -> Outcome<Option<Value>> {
    let all = dict.entries().len();
    Ok(Some(match name {
        "get" => {
            given.count(1, 2)?;
            let found = dict.get(&Key::of(&given.plain[0], budget)?).cloned();
            found
                .or_else(|| given.plain.get(1).cloned())
                .unwrap_or(Value::None)
        }
        "keys" | "values" | "items" | "copy" => {
            given.count(0, 0)?;
            budget.steps(all)?;
            budget.bytes(all * 64)?;
            let entries = dict.entries().iter();
            match name {
                "keys" => Value::list(entries.map(|(k, _)| k.value()).collect()),
                "values" => Value::list(entries.map(|(_, v)| v.clone()).collect()),
                "items" => {
                    let pairs = entries.map(|(k, v)| Value::tuple(vec![k.value(), v.clone()]));
                    Value::list(pairs.collect())
                }
                _ => {
                    let mut new = Dict::default();
                    for (key, value) in entries {
                        new.insert(key.clone(), value.clone());
                    }
                    Value::Dict(Rc::new(new.into()))
                }
            }
        }
        "setdefault" => {
            given.count(1, 2)?;
            budget.bytes(64)?;
            let key = Key::of(&given.plain[0], budget)?;
            if dict.get(&key).is_none() {
                dict.insert(
                    key.clone(),
                    given.plain.get(1).cloned().unwrap_or(Value::None),
                );
            }
            dict.get(&key).cloned().unwrap_or(Value::None)
        }
        "pop" => {
            given.count(1, 2)?;
            budget.steps(all)?;
            let found = dict.remove(&Key::of(&given.plain[0], budget)?);
            let found = found.or_else(|| given.plain.get(1).cloned());
            found.ok_or("the dictionary has no such key")?
        }
        "update" => {
            given.count(1, 1)?;
            let Value::Dict(other) = &given.plain[0] else {
                return Err(format!(
                    "a dictionary is wanted, not {}",
                    given.plain[0].kind()
                ));
            };
            // Itself has nothing new.
            if let Ok(other) = other.try_borrow() {
                budget.steps(other.entries().len())?;
                budget.bytes(other.entries().len() * 64)?;
                for (key, value) in other.entries() {
                    dict.insert(key.clone(), value.clone());
                }
            }
            Value::None
        }
        "clear" => {
            given.count(0, 0)?;
            dict.clear();
            Value::None
        }
        _ => return Ok(None),
    }))
}
