//! Expressions.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::super::ast::{Argument, BinaryOp, Body, Clause, CompareOp, Def, Expr, ExprKind, Item};
use super::super::error::Fault;
use super::super::lexer::TokenKind;
use super::{MAX_DEPTH, Parsed, Parser};

impl Parser {
    fn node(&self, line: usize, depth: u32, kind: ExprKind) -> Parsed<Expr> {
        if depth >= MAX_DEPTH {
            return Err(Fault::at(
                line,
                format!("the expression nests deeper than {MAX_DEPTH} levels"),
            ));
        }
        Ok(Expr {
            line,
            depth: depth + 1,
            kind,
        })
    }

    /// One or more with commas between them: a tuple then.
    pub(super) fn expressions(&mut self) -> Parsed<Expr> {
        let line = self.line();
        let first = self.item()?;
        if !self.is_op(",") && !first.star {
            return Ok(first.expr);
        }
        let mut items = vec![first];
        while self.take_op(",") {
            if !self.begins_expression() {
                break;
            }
            items.push(self.item()?);
        }
        self.display(line, items, ExprKind::Tuple)
    }

    fn display(
        &self,
        line: usize,
        items: Vec<Item>,
        kind: fn(Vec<Item>) -> ExprKind,
    ) -> Parsed<Expr> {
        let depth = items.iter().map(|i| i.expr.depth).max().unwrap_or(0);
        self.node(line, depth, kind(items))
    }

    fn begins_expression(&self) -> bool {
        match self.kind() {
            TokenKind::Name(_) | TokenKind::Int(_) | TokenKind::Str(_) => true,
            TokenKind::Keyword(word) => {
                matches!(*word, "None" | "True" | "False" | "not" | "lambda")
            }
            TokenKind::Op(op) => matches!(*op, "(" | "[" | "{" | "-" | "+" | "*" | "~" | "..."),
            _ => false,
        }
    }

    fn item(&mut self) -> Parsed<Item> {
        let star = self.take_op("*");
        let expr = self.expression()?;
        Ok(Item { star, expr })
    }

    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.deeper(|p| {
            if p.is_word("lambda") {
                return p.lambda();
            }
            let line = p.line();
            let value = p.or()?;
            if p.is_op(":=") {
                return p.fault("`:=` is not supported");
            }
            if !p.take_word("if") {
                return Ok(value);
            }
            let condition = p.or()?;
            if !p.take_word("else") {
                return p.expected("`else`");
            }
            let other = p.expression()?;
            let depth = value.depth.max(condition.depth).max(other.depth);
            p.node(
                line,
                depth,
                ExprKind::Conditional(Box::new((condition, value, other))),
            )
        })
    }

    fn lambda(&mut self) -> Parsed<Expr> {
        let line = self.line();
        if self.function.is_some() {
            return self.fault("a function within a function is not supported");
        }
        self.advance();
        let params = self.params(":")?;
        self.expect_op(":")?;
        let locals: BTreeSet<String> = params.iter().map(|p| p.name.clone()).collect();
        self.function = Some(locals.clone());
        let value = self.expression();
        self.function = None;
        let value = value?;
        let depth = value.depth;
        let def = Def {
            name: "lambda".to_owned(),
            line,
            params,
            body: Body::Value(value),
            locals,
        };
        self.node(line, depth, ExprKind::Lambda(Rc::new(def)))
    }

    /// Operands with a word between them.
    fn chain(
        &mut self,
        word: &str,
        operand: fn(&mut Self) -> Parsed<Expr>,
        kind: fn(Vec<Expr>) -> ExprKind,
    ) -> Parsed<Expr> {
        let line = self.line();
        let first = operand(self)?;
        if !self.is_word(word) {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.take_word(word) {
            all.push(operand(self)?);
        }
        let depth = all.iter().map(|e| e.depth).max().unwrap_or(0);
        self.node(line, depth, kind(all))
    }

    fn or(&mut self) -> Parsed<Expr> {
        self.chain("or", Self::and, ExprKind::Or)
    }

    fn and(&mut self) -> Parsed<Expr> {
        self.chain("and", Self::not, ExprKind::And)
    }

    fn not(&mut self) -> Parsed<Expr> {
        let line = self.line();
        if !self.take_word("not") {
            return self.comparison();
        }
        let inner = self.deeper(Self::not)?;
        self.node(line, inner.depth, ExprKind::Not(Box::new(inner)))
    }

    fn comparison(&mut self) -> Parsed<Expr> {
        let line = self.line();
        let first = self.arithmetic(0)?;
        let mut rest = Vec::new();
        while let Some(op) = self.compare_op()? {
            rest.push((op, self.arithmetic(0)?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let depth = rest.iter().map(|r| r.1.depth).max().unwrap_or(0);
        let depth = depth.max(first.depth);
        self.node(line, depth, ExprKind::Compare(Box::new(first), rest))
    }

    fn compare_op(&mut self) -> Parsed<Option<CompareOp>> {
        let op = match self.kind() {
            TokenKind::Op("==") => CompareOp::Equal,
            TokenKind::Op("!=") => CompareOp::NotEqual,
            TokenKind::Op("<") => CompareOp::Less,
            TokenKind::Op("<=") => CompareOp::LessEqual,
            TokenKind::Op(">") => CompareOp::Greater,
            TokenKind::Op(">=") => CompareOp::GreaterEqual,
            TokenKind::Keyword("in") => CompareOp::In,
            TokenKind::Keyword("is") => {
                self.advance();
                return Ok(Some(match self.take_word("not") {
                    true => CompareOp::IsNot,
                    false => CompareOp::Is,
                }));
            }
            TokenKind::Keyword("not") => {
                self.advance();
                if !self.take_word("in") {
                    return self.expected("`in`");
                }
                return Ok(Some(CompareOp::NotIn));
            }
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(op))
    }

    /// Sums (from strength 0) and products (from strength 1).
    fn arithmetic(&mut self, from: u8) -> Parsed<Expr> {
        let line = self.line();
        let mut left = self.unary()?;
        loop {
            let (op, strength) = match self.kind() {
                TokenKind::Op("+") => (BinaryOp::Add, 0),
                TokenKind::Op("-") => (BinaryOp::Subtract, 0),
                TokenKind::Op("*") => (BinaryOp::Multiply, 1),
                TokenKind::Op("//") => (BinaryOp::FloorDivide, 1),
                TokenKind::Op("%") => (BinaryOp::Modulo, 1),
                TokenKind::Op("/") => {
                    return self.fault("fractions are not supported: `//` divides whole numbers");
                }
                TokenKind::Op("&" | "|" | "^" | "<<" | ">>" | "@") => {
                    return self.fault(format!("the operator {} is not supported", self.found()));
                }
                _ => return Ok(left),
            };
            if strength < from {
                return Ok(left);
            }
            self.advance();
            let right = match strength {
                0 => self.arithmetic(1)?,
                _ => self.unary()?,
            };
            let depth = left.depth.max(right.depth);
            left = self.node(line, depth, ExprKind::Binary(op, Box::new((left, right))))?;
        }
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let line = self.line();
        if self.take_op("-") {
            let inner = self.deeper(Self::unary)?;
            return self.node(line, inner.depth, ExprKind::Negative(Box::new(inner)));
        }
        if self.take_op("+") {
            return self.deeper(Self::unary);
        }
        if self.is_op("~") {
            return self.fault("the operator `~` is not supported");
        }
        let base = self.postfix()?;
        if !self.take_op("**") {
            return Ok(base);
        }
        let exponent = self.deeper(Self::unary)?;
        let depth = base.depth.max(exponent.depth);
        self.node(
            line,
            depth,
            ExprKind::Binary(BinaryOp::Power, Box::new((base, exponent))),
        )
    }

    pub(super) fn postfix(&mut self) -> Parsed<Expr> {
        let mut value = self.atom()?;
        loop {
            let line = self.line();
            if self.take_op("(") {
                let arguments = self.arguments()?;
                let depth = deepest(&arguments).max(value.depth);
                value = self.node(line, depth, ExprKind::Call(Box::new(value), arguments))?;
            } else if self.take_op("[") {
                value = self.subscript(line, value)?;
            } else if self.take_op(".") {
                let name = self.name()?;
                if !self.take_op("(") {
                    return self.fault(format!(
                        "`.{name}` is not supported: only methods can be called"
                    ));
                }
                let arguments = self.arguments()?;
                let depth = deepest(&arguments).max(value.depth);
                let kind = ExprKind::Method(Box::new(value), name, arguments);
                value = self.node(line, depth, kind)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn arguments(&mut self) -> Parsed<Vec<Argument>> {
        let mut arguments: Vec<Argument> = Vec::new();
        while !self.is_op(")") {
            if self.is_op("*") || self.is_op("**") {
                return self.fault("arguments with `*` are not supported");
            }
            let mut name = None;
            if let TokenKind::Name(word) = self.kind()
                && self.tokens.get(self.at + 1).map(|t| &t.kind) == Some(&TokenKind::Op("="))
            {
                name = Some(word.clone());
                self.advance();
                self.advance();
            }
            let line = self.line();
            let mut expr = self.expression()?;
            if self.is_word("for") {
                expr = self.comprehension(line, expr)?;
            }
            if name.is_none() && arguments.iter().any(|a| a.name.is_some()) {
                return self.fault("an argument without a name follows one that has one");
            }
            arguments.push(Argument { name, expr });
            if !self.take_op(",") {
                break;
            }
        }
        self.expect_op(")")?;
        Ok(arguments)
    }

    fn subscript(&mut self, line: usize, value: Expr) -> Parsed<Expr> {
        let mut parts = [None, None, None];
        let mut at = 0;
        while at < 3 {
            if !self.is_op(":") && !self.is_op("]") {
                parts[at] = Some(match at {
                    0 => self.expressions()?,
                    _ => self.expression()?,
                });
            }
            if !self.take_op(":") {
                break;
            }
            at += 1;
        }
        self.expect_op("]")?;
        let depth = parts.iter().flatten().map(|e| e.depth).max().unwrap_or(0);
        let depth = depth.max(value.depth);
        match (at, parts) {
            (0, [Some(index), ..]) => {
                self.node(line, depth, ExprKind::Index(Box::new((value, index))))
            }
            (0, _) => Err(Fault::at(line, "an index is expected")),
            (_, parts) => self.node(
                line,
                depth,
                ExprKind::Slice(Box::new(value), Box::new(parts)),
            ),
        }
    }

    /// `value for …`, the value being read already.
    fn comprehension(&mut self, line: usize, value: Expr) -> Parsed<Expr> {
        let clauses = self.clauses()?;
        let depth = clauses_depth(&clauses).max(value.depth);
        self.node(
            line,
            depth,
            ExprKind::Comprehension(Box::new(value), clauses),
        )
    }

    fn clauses(&mut self) -> Parsed<Vec<Clause>> {
        let mut clauses = Vec::new();
        loop {
            if self.take_word("for") {
                // Its names are those of the comprehension, not of the function.
                let outer = self.function.clone();
                let target = self.for_target();
                self.function = outer;
                if !self.take_word("in") {
                    return self.expected("`in`");
                }
                clauses.push(Clause::For(target?, self.or()?));
            } else if self.take_word("if") {
                clauses.push(Clause::If(self.or()?));
            } else {
                return Ok(clauses);
            }
        }
    }

    fn atom(&mut self) -> Parsed<Expr> {
        let line = self.line();
        let kind = match self.kind().clone() {
            TokenKind::Name(name) => ExprKind::Name(name),
            TokenKind::Int(n) => ExprKind::Int(n),
            TokenKind::Str(mut text) => {
                self.advance();
                // Text beside text is one.
                while let TokenKind::Str(more) = self.kind() {
                    text.push_str(more);
                    self.advance();
                }
                return self.node(line, 0, ExprKind::Str(text.into()));
            }
            TokenKind::Keyword("None") => ExprKind::None,
            TokenKind::Keyword("True") => ExprKind::Bool(true),
            TokenKind::Keyword("False") => ExprKind::Bool(false),
            TokenKind::Op("(") => return self.parentheses(),
            TokenKind::Op("[") => return self.list(),
            TokenKind::Op("{") => return self.braces(),
            _ => return self.expected("a value"),
        };
        self.advance();
        self.node(line, 0, kind)
    }

    fn parentheses(&mut self) -> Parsed<Expr> {
        let line = self.line();
        self.advance();
        if self.take_op(")") {
            return self.node(line, 0, ExprKind::Tuple(Vec::new()));
        }
        let mut value = self.expressions()?;
        if self.is_word("for") {
            value = self.comprehension(line, value)?;
        }
        self.expect_op(")")?;
        Ok(value)
    }

    fn list(&mut self) -> Parsed<Expr> {
        let line = self.line();
        self.advance();
        let mut items = Vec::new();
        while !self.is_op("]") {
            let item = self.item()?;
            if self.is_word("for") && items.is_empty() && !item.star {
                let list = self.comprehension(line, item.expr)?;
                self.expect_op("]")?;
                return Ok(list);
            }
            items.push(item);
            if !self.take_op(",") {
                break;
            }
        }
        self.expect_op("]")?;
        self.display(line, items, ExprKind::List)
    }

    fn braces(&mut self) -> Parsed<Expr> {
        let line = self.line();
        self.advance();
        let mut pairs: Vec<(Expr, Expr)> = Vec::new();
        while !self.is_op("}") {
            if self.is_op("*") || self.is_op("**") {
                return self.fault("`*` is not supported here");
            }
            let key = self.expression()?;
            if !self.is_op(":") {
                return self.fault("sets have no order and are not supported: use a tuple");
            }
            self.advance();
            let value = self.expression()?;
            let depth = key.depth.max(value.depth);
            if self.is_word("for") && pairs.is_empty() {
                let clauses = self.clauses()?;
                self.expect_op("}")?;
                let depth = clauses_depth(&clauses).max(depth);
                let pair = Box::new((key, value));
                return self.node(line, depth, ExprKind::DictComprehension(pair, clauses));
            }
            pairs.push((key, value));
            if !self.take_op(",") {
                break;
            }
        }
        self.expect_op("}")?;
        let depth = pairs.iter().map(|(k, v)| k.depth.max(v.depth)).max();
        self.node(line, depth.unwrap_or(0), ExprKind::Dict(pairs))
    }
}

fn deepest(arguments: &[Argument]) -> u32 {
    arguments.iter().map(|a| a.expr.depth).max().unwrap_or(0)
}

fn clauses_depth(clauses: &[Clause]) -> u32 {
    let depths = clauses.iter().map(|c| match c {
        Clause::For(_, e) | Clause::If(e) => e.depth,
    });
    depths.max().unwrap_or(0)
}
