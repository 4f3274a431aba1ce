//! Runs a program: statements, expressions, calls.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::ast::{
    Argument, Body, Clause, CompareOp, Def, Expr, ExprKind, Item, Stmt, StmtKind, Target,
};
use super::budget::Budget;
use super::builtins;
use super::error::Fault;
use super::lexer;
use super::methods::{self, Given};
use super::operators;
use super::parser;
use super::text;
use super::value::{Dict, Function, Key, Outcome, Value};

/// How many lines a program may print.
const MAX_PRINTED: usize = 1000;

type Run<T> = Result<T, Fault>;

/// A program that was run: its names, and functions that can be called.
pub struct Program {
    machine: Machine,
}

struct Global {
    value: Value,
    line: usize,
}

struct Machine {
    globals: HashMap<String, Global>,
    budget: Budget,
    printed: Vec<String>,
    /// The call that is running; none at the top.
    frame: Option<Frame>,
    /// Names of comprehensions that are running, within the frame.
    inner: Vec<HashMap<String, Value>>,
}

struct Frame {
    def: Rc<Def>,
    names: HashMap<String, Value>,
}

/// How a statement ends.
enum Flow {
    Next,
    Break,
    Continue,
    Return(Value),
}

impl Program {
    /// Reads and runs a program.
    pub fn run(source: &str) -> Result<Program, Fault> {
        let statements = parser::parse(lexer::tokens(source)?)?;
        let mut machine = Machine {
            globals: HashMap::new(),
            budget: Budget::default(),
            printed: Vec::new(),
            frame: None,
            inner: Vec::new(),
        };
        machine.block(&statements)?;
        Ok(Program { machine })
    }

    /// The value of a name and the line that gave it.
    pub fn global(&self, name: &str) -> Option<(&Value, usize)> {
        let global = self.machine.globals.get(name)?;
        Some((&global.value, global.line))
    }

    /// Takes the lines that were printed.
    pub fn take_printed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.machine.printed)
    }

    /// Whether a function takes so many arguments without names.
    pub fn takes(function: &Value, count: usize) -> bool {
        match function {
            Value::Function(function) => {
                let most = function.def.params.len();
                let least = most - function.defaults.borrow().len();
                (least..=most).contains(&count)
            }
            _ => false,
        }
    }

    /// Calls a function, with bounds of its own.
    pub fn call(&mut self, function: &Value, plain: Vec<Value>) -> Result<Value, Fault> {
        self.machine.budget = Budget::default();
        let line = match function {
            Value::Function(function) => function.def.line,
            _ => 1,
        };
        let given = Given {
            plain,
            named: Vec::new(),
        };
        self.machine.call(line, function, given)
    }

    /// The tree of a function of the program.
    pub(super) fn def(function: &Value) -> Option<&Def> {
        match function {
            Value::Function(function) => Some(&function.def),
            _ => None,
        }
    }
}

/// Adds the line to what an operation says.
fn at<T>(line: usize, outcome: Outcome<T>) -> Run<T> {
    outcome.map_err(|message| Fault::at(line, message))
}

impl Machine {
    fn deeper<T>(&mut self, line: usize, inner: impl FnOnce(&mut Self) -> Run<T>) -> Run<T> {
        at(line, self.budget.step())?;
        at(line, self.budget.enter())?;
        let result = inner(self);
        self.budget.leave();
        result
    }

    // Statements.

    fn block(&mut self, statements: &[Stmt]) -> Run<Flow> {
        for statement in statements {
            let flow = self.deeper(statement.line, |m| m.statement(statement))?;
            if !matches!(flow, Flow::Next) {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Stmt) -> Run<Flow> {
        let line = statement.line;
        match &statement.kind {
            StmtKind::Expr(expr) => {
                self.value(expr)?;
            }
            StmtKind::Assign(targets, expr) => {
                let value = self.value(expr)?;
                for target in targets {
                    self.assign(line, target, value.clone())?;
                }
            }
            StmtKind::Augment(target, op, expr) => self.augment(line, target, *op, expr)?,
            StmtKind::If(arms, otherwise) => {
                for (condition, block) in arms {
                    if self.value(condition)?.truth() {
                        return self.block(block);
                    }
                }
                return self.block(otherwise);
            }
            StmtKind::For {
                target,
                over,
                body,
                otherwise,
            } => return self.for_loop(line, target, over, body, otherwise),
            StmtKind::Def(def) => {
                let function = self.function(def)?;
                self.set(line, &def.name, function);
            }
            StmtKind::Return(expr) => {
                let value = expr.as_ref().map(|e| self.value(e)).transpose()?;
                return Ok(Flow::Return(value.unwrap_or(Value::None)));
            }
            StmtKind::Pass => {}
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn for_loop(
        &mut self,
        line: usize,
        target: &Target,
        over: &Expr,
        body: &[Stmt],
        otherwise: &[Stmt],
    ) -> Run<Flow> {
        let over = self.value(over)?;
        let mut n = 0;
        while let Some(item) = self.element(line, &over, n)? {
            n += 1;
            self.assign(line, target, item)?;
            match self.block(body)? {
                Flow::Next | Flow::Continue => {}
                Flow::Break => return Ok(Flow::Next),
                Flow::Return(value) => return Ok(Flow::Return(value)),
            }
        }
        self.block(otherwise)
    }

    /// Element n of what is gone through, which may change meanwhile.
    fn element(&mut self, line: usize, over: &Value, n: usize) -> Run<Option<Value>> {
        at(line, self.budget.step())?;
        match over {
            Value::Tuple(s) | Value::List(s) => Ok(s.items.borrow().get(n).cloned()),
            Value::Dict(d) => Ok(d.borrow().entries().get(n).map(|(key, _)| key.value())),
            Value::Str(text) => {
                at(line, self.budget.steps(n / 16))?;
                Ok(text.chars().nth(n).map(|c| Value::text(c.to_string())))
            }
            Value::Range(..) => {
                let place = Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
                Ok(operators::index(over, &place, &mut self.budget).ok())
            }
            other => Err(Fault::at(line, format!("{} has no elements", other.kind()))),
        }
    }

    fn augment(
        &mut self,
        line: usize,
        target: &Target,
        op: super::ast::BinaryOp,
        expr: &Expr,
    ) -> Run<()> {
        let old = match target {
            Target::Name(name) => self.name(line, name)?,
            Target::Index(object, index) => {
                let (object, index) = (self.value(object)?, self.value(index)?);
                at(line, operators::index(&object, &index, &mut self.budget))?
            }
            Target::Many(_) => {
                return Err(Fault::at(line, "a tuple cannot be assigned to in this way"));
            }
        };
        let more = self.value(expr)?;
        // A list grows in place, as whoever else holds it sees.
        if let (Value::List(list), super::ast::BinaryOp::Add) = (&old, op) {
            let more = at(line, more.elements(&mut self.budget))?;
            list.items.borrow_mut().extend(more);
            return self.assign(line, target, old);
        }
        let new = at(line, operators::binary(op, &old, &more, &mut self.budget))?;
        self.assign(line, target, new)
    }

    fn assign(&mut self, line: usize, target: &Target, value: Value) -> Run<()> {
        match target {
            Target::Name(name) => {
                self.set(line, name, value);
                Ok(())
            }
            Target::Index(object, index) => {
                let (object, index) = (self.value(object)?, self.value(index)?);
                at(line, self.budget.bytes(64))?;
                match &object {
                    Value::List(list) => {
                        let mut items = list.items.borrow_mut();
                        let place = at(line, operators::place(&index, items.len()))?;
                        // The old value goes after the list is free again.
                        let old = std::mem::replace(&mut items[place], value);
                        drop(items);
                        drop(old);
                        Ok(())
                    }
                    Value::Dict(dict) => {
                        let key = at(line, Key::of(&index, &mut self.budget))?;
                        dict.borrow_mut().insert(key, value);
                        Ok(())
                    }
                    other => Err(Fault::at(
                        line,
                        format!("{} cannot be changed", other.kind()),
                    )),
                }
            }
            Target::Many(targets) => {
                let values = at(line, value.elements(&mut self.budget))?;
                if values.len() != targets.len() {
                    return Err(Fault::at(
                        line,
                        format!(
                            "{} values are there and {} wanted",
                            values.len(),
                            targets.len()
                        ),
                    ));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(line, target, value)?;
                }
                Ok(())
            }
        }
    }

    // Names.

    fn set(&mut self, line: usize, name: &str, value: Value) {
        if let Some(names) = self.inner.last_mut() {
            names.insert(name.to_owned(), value);
        } else if let Some(frame) = &mut self.frame {
            frame.names.insert(name.to_owned(), value);
        } else {
            self.globals.insert(name.to_owned(), Global { value, line });
        }
    }

    fn name(&self, line: usize, name: &str) -> Run<Value> {
        if let Some(value) = self.inner.iter().rev().find_map(|names| names.get(name)) {
            return Ok(value.clone());
        }
        if let Some(frame) = &self.frame {
            if let Some(value) = frame.names.get(name) {
                return Ok(value.clone());
            }
            if frame.def.locals.contains(name) {
                return Err(Fault::at(
                    line,
                    format!("`{name}` is used before it has a value"),
                ));
            }
        }
        if let Some(global) = self.globals.get(name) {
            return Ok(global.value.clone());
        }
        if let Some(known) = builtins::NAMES.iter().find(|n| **n == name) {
            return Ok(Value::Builtin(known));
        }
        Err(Fault::at(
            line,
            match builtins::refused(name) {
                Some(why) => format!("`{name}` {why}"),
                None => format!("`{name}` is not defined"),
            },
        ))
    }

    // Expressions.

    fn value(&mut self, expr: &Expr) -> Run<Value> {
        self.deeper(expr.line, |m| m.expression(expr))
    }

    fn expression(&mut self, expr: &Expr) -> Run<Value> {
        let line = expr.line;
        match &expr.kind {
            ExprKind::None => Ok(Value::None),
            ExprKind::Bool(b) => Ok(Value::Bool(*b)),
            ExprKind::Int(n) => Ok(Value::Int(*n)),
            ExprKind::Str(text) => Ok(Value::Str(text.clone())),
            ExprKind::Name(name) => self.name(line, name),
            ExprKind::Tuple(items) => self.items(items).map(Value::tuple),
            ExprKind::List(items) => self.items(items).map(Value::list),
            ExprKind::Dict(pairs) => self.dict(line, pairs),
            ExprKind::Comprehension(value, clauses) => self.comprehension(line, value, clauses),
            ExprKind::DictComprehension(pair, clauses) => {
                self.dict_comprehension(line, pair, clauses)
            }
            ExprKind::Negative(inner) => {
                let value = self.value(inner)?;
                let n = value.number().and_then(i64::checked_neg);
                let n = n.ok_or_else(|| {
                    Fault::at(line, format!("`-` does not work with {}", value.kind()))
                });
                n.map(Value::Int)
            }
            ExprKind::Not(inner) => Ok(Value::Bool(!self.value(inner)?.truth())),
            ExprKind::And(all) => self.until(all, |v| !v.truth()),
            ExprKind::Or(all) => self.until(all, Value::truth),
            ExprKind::Binary(op, pair) => {
                let (left, right) = (self.value(&pair.0)?, self.value(&pair.1)?);
                at(
                    line,
                    operators::binary(*op, &left, &right, &mut self.budget),
                )
            }
            ExprKind::Compare(first, rest) => self.compare(line, first, rest),
            ExprKind::Conditional(parts) => match self.value(&parts.0)?.truth() {
                true => self.value(&parts.1),
                false => self.value(&parts.2),
            },
            ExprKind::Call(function, arguments) => {
                let function = self.value(function)?;
                let given = self.arguments(arguments)?;
                self.call(line, &function, given)
            }
            ExprKind::Method(object, name, arguments) => self.method(line, object, name, arguments),
            ExprKind::Index(pair) => {
                let (object, index) = (self.value(&pair.0)?, self.value(&pair.1)?);
                at(line, operators::index(&object, &index, &mut self.budget))
            }
            ExprKind::Slice(object, parts) => self.slice(line, object, parts),
            ExprKind::Lambda(def) => self.function(def),
        }
    }

    fn items(&mut self, items: &[Item]) -> Run<Vec<Value>> {
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let value = self.value(&item.expr)?;
            at(item.expr.line, self.budget.bytes(16))?;
            match item.star {
                true => values.extend(at(item.expr.line, value.elements(&mut self.budget))?),
                false => values.push(value),
            }
        }
        Ok(values)
    }

    fn dict(&mut self, line: usize, pairs: &[(Expr, Expr)]) -> Run<Value> {
        let mut dict = Dict::default();
        for (key, value) in pairs {
            let (key, value) = (self.value(key)?, self.value(value)?);
            at(line, self.budget.bytes(64))?;
            dict.insert(at(line, Key::of(&key, &mut self.budget))?, value);
        }
        Ok(Value::Dict(Rc::new(dict.into())))
    }

    /// The first value that ends a chain of `and` or `or`, else the last.
    fn until(&mut self, all: &[Expr], ends: fn(&Value) -> bool) -> Run<Value> {
        let mut last = Value::None;
        for expr in all {
            last = self.value(expr)?;
            if ends(&last) {
                break;
            }
        }
        Ok(last)
    }

    fn compare(&mut self, line: usize, first: &Expr, rest: &[(CompareOp, Expr)]) -> Run<Value> {
        let mut left = self.value(first)?;
        for (op, right) in rest {
            let right = self.value(right)?;
            if !at(
                line,
                operators::compare(*op, &left, &right, &mut self.budget),
            )? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    fn slice(&mut self, line: usize, object: &Expr, parts: &[Option<Expr>; 3]) -> Run<Value> {
        let object = self.value(object)?;
        let mut numbers = [None; 3];
        for (number, part) in numbers.iter_mut().zip(parts) {
            let Some(part) = part else { continue };
            *number = match self.value(part)? {
                Value::None => None,
                value => Some(value.number().ok_or_else(|| {
                    Fault::at(
                        line,
                        format!("a part is between numbers, not {}", value.kind()),
                    )
                })?),
            };
        }
        at(line, operators::slice(&object, numbers, &mut self.budget))
    }

    fn comprehension(&mut self, line: usize, value: &Expr, clauses: &[Clause]) -> Run<Value> {
        let mut values = Vec::new();
        self.clauses(line, clauses, &mut |m| {
            let value = m.value(value)?;
            at(line, m.budget.bytes(16))?;
            values.push(value);
            Ok(())
        })?;
        Ok(Value::list(values))
    }

    fn dict_comprehension(
        &mut self,
        line: usize,
        pair: &(Expr, Expr),
        clauses: &[Clause],
    ) -> Run<Value> {
        let mut dict = Dict::default();
        self.clauses(line, clauses, &mut |m| {
            let (key, value) = (m.value(&pair.0)?, m.value(&pair.1)?);
            at(line, m.budget.bytes(64))?;
            dict.insert(at(line, Key::of(&key, &mut m.budget))?, value);
            Ok(())
        })?;
        Ok(Value::Dict(Rc::new(dict.into())))
    }

    /// Runs something for each turn of the clauses, in names of their own.
    fn clauses(
        &mut self,
        line: usize,
        clauses: &[Clause],
        each: &mut dyn FnMut(&mut Self) -> Run<()>,
    ) -> Run<()> {
        self.inner.push(HashMap::new());
        let result = self.turns(line, clauses, each);
        self.inner.pop();
        result
    }

    fn turns(
        &mut self,
        line: usize,
        clauses: &[Clause],
        each: &mut dyn FnMut(&mut Self) -> Run<()>,
    ) -> Run<()> {
        match clauses.split_first() {
            None => each(self),
            Some((Clause::If(condition), rest)) => match self.value(condition)?.truth() {
                true => self.turns(line, rest, each),
                false => Ok(()),
            },
            Some((Clause::For(target, over), rest)) => self.deeper(line, |m| {
                let over = m.value(over)?;
                let mut n = 0;
                while let Some(item) = m.element(line, &over, n)? {
                    n += 1;
                    m.assign(line, target, item)?;
                    m.turns(line, rest, each)?;
                }
                Ok(())
            }),
        }
    }

    // Calls.

    fn function(&mut self, def: &Rc<Def>) -> Run<Value> {
        let mut defaults = Vec::new();
        for default in def.params.iter().filter_map(|p| p.default.as_ref()) {
            defaults.push(self.value(default)?);
        }
        Ok(Value::Function(Rc::new(Function {
            def: def.clone(),
            defaults: RefCell::new(defaults),
        })))
    }

    fn arguments(&mut self, arguments: &[Argument]) -> Run<Given> {
        let mut given = Given {
            plain: Vec::new(),
            named: Vec::new(),
        };
        for argument in arguments {
            let value = self.value(&argument.expr)?;
            match &argument.name {
                None => given.plain.push(value),
                Some(name) => given.named.push((name.clone(), value)),
            }
        }
        Ok(given)
    }

    fn call(&mut self, line: usize, function: &Value, given: Given) -> Run<Value> {
        match function {
            Value::Function(function) => {
                self.deeper(line, |m| m.call_function(line, function, given))
            }
            Value::Builtin("print") => self.print(line, &given),
            Value::Builtin(name @ ("sorted" | "min" | "max")) => self.ordered(line, name, given),
            Value::Builtin(name) => at(line, builtins::call(name, &given, &mut self.budget)),
            other => Err(Fault::at(
                line,
                format!("{} cannot be called", other.kind()),
            )),
        }
    }

    fn call_function(&mut self, line: usize, function: &Function, given: Given) -> Run<Value> {
        let def = &function.def;
        let mut names = HashMap::new();
        if given.plain.len() > def.params.len() {
            return Err(Fault::at(
                line,
                format!(
                    "`{}` takes {} arguments and is given {}",
                    def.name,
                    def.params.len(),
                    given.plain.len()
                ),
            ));
        }
        for (param, value) in def.params.iter().zip(given.plain) {
            names.insert(param.name.clone(), value);
        }
        for (name, value) in given.named {
            let known = def.params.iter().any(|p| p.name == name);
            if !known || names.insert(name.clone(), value).is_some() {
                return Err(Fault::at(
                    line,
                    format!("`{}` cannot be given `{name}` here", def.name),
                ));
            }
        }
        let with_default = def.params.iter().filter(|p| p.default.is_some());
        for (param, default) in with_default.zip(function.defaults.borrow().iter()) {
            names
                .entry(param.name.clone())
                .or_insert_with(|| default.clone());
        }
        if let Some(missing) = def.params.iter().find(|p| !names.contains_key(&p.name)) {
            return Err(Fault::at(
                line,
                format!("`{}` is not given `{}`", def.name, missing.name),
            ));
        }
        let frame = Frame {
            def: def.clone(),
            names,
        };
        let outer = self.frame.replace(frame);
        let inner = std::mem::take(&mut self.inner);
        let result = match &def.body {
            Body::Value(expr) => self.value(expr),
            Body::Block(block) => self.block(block).map(|flow| match flow {
                Flow::Return(value) => value,
                _ => Value::None,
            }),
        };
        self.frame = outer;
        self.inner = inner;
        result
    }

    fn print(&mut self, line: usize, given: &Given) -> Run<Value> {
        let mut words = Vec::new();
        for value in &given.plain {
            words.push(at(line, text::str_of(value, &mut self.budget))?);
        }
        if self.printed.len() >= MAX_PRINTED {
            return Err(Fault::at(
                line,
                format!("more than {MAX_PRINTED} lines are printed"),
            ));
        }
        self.printed.push(words.join(" "));
        Ok(Value::None)
    }

    /// `sorted`, `min` and `max`, which may be given a function.
    fn ordered(&mut self, line: usize, name: &str, mut given: Given) -> Run<Value> {
        let mut key = None;
        let mut reverse = false;
        for (argument, value) in std::mem::take(&mut given.named) {
            match argument.as_str() {
                "key" if !matches!(value, Value::None) => key = Some(value),
                "key" => {}
                "reverse" if name == "sorted" => reverse = value.truth(),
                other => {
                    return Err(Fault::at(
                        line,
                        format!("the argument `{other}` is not supported"),
                    ));
                }
            }
        }
        let items = match given.plain.as_slice() {
            [one] => at(line, one.elements(&mut self.budget))?,
            [] => return Err(Fault::at(line, "an argument is wanted")),
            _ if name == "sorted" => return Err(Fault::at(line, "one argument is wanted")),
            many => many.to_vec(),
        };
        let mut keyed = Vec::with_capacity(items.len());
        for item in items {
            let by = match &key {
                Some(key) => {
                    let given = Given {
                        plain: vec![item.clone()],
                        named: Vec::new(),
                    };
                    self.call(line, key, given)?
                }
                None => item.clone(),
            };
            keyed.push((by, item));
        }
        let sorted = at(
            line,
            operators::sort(keyed, reverse || name == "max", &mut self.budget),
        )?;
        if name == "sorted" {
            return Ok(Value::list(sorted));
        }
        let first = sorted.into_iter().next();
        first.ok_or_else(|| Fault::at(line, format!("`{name}` of nothing")))
    }

    fn method(
        &mut self,
        line: usize,
        object: &Expr,
        name: &str,
        arguments: &[Argument],
    ) -> Run<Value> {
        let object = self.value(object)?;
        let given = self.arguments(arguments)?;
        // The one method that may call a function.
        if let (Value::List(list), "sort") = (&object, name) {
            let mut given = given;
            if !given.plain.is_empty() {
                return Err(Fault::at(line, "`sort` takes `key` and `reverse` alone"));
            }
            given.plain.push(object.clone());
            if let Value::List(sorted) = self.ordered(line, "sorted", given)? {
                let sorted = sorted.items.take();
                let old = list.items.replace(sorted);
                drop(old);
            }
            return Ok(Value::None);
        }
        at(line, methods::call(&object, name, &given, &mut self.budget))
    }
}
