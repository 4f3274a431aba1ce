//! Words to a tree: statements here, expressions beside.

mod expressions;

use std::collections::BTreeSet;
use std::rc::Rc;

use super::ast::{BinaryOp, Body, Def, Expr, ExprKind, Param, Stmt, StmtKind, Target};
use super::error::Fault;
use super::lexer::{Token, TokenKind};

/// How deep expressions and blocks may nest in the text.
const MAX_DEPTH: u32 = 60;

type Parsed<T> = Result<T, Fault>;

/// Reads a whole program.
pub fn parse(tokens: Vec<Token>) -> Parsed<Vec<Stmt>> {
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        loops: 0,
        function: None,
    };
    let mut program = Vec::new();
    while *parser.kind() != TokenKind::End {
        parser.statement(&mut program)?;
    }
    Ok(program)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
    /// Loops of the function that is being read.
    loops: usize,
    /// The names that the function assigns, while one is being read.
    function: Option<BTreeSet<String>>,
}

/// Statements of Python that are not part of the dialect, and what to do in their place.
fn refused(word: &str) -> Option<&'static str> {
    Some(match word {
        "import" | "from" => {
            "`import` is not supported, and nothing is run: a configuration stands alone"
        }
        "while" => "`while` is not supported: use `for` over what there is",
        "class" | "try" | "with" | "raise" | "assert" | "del" | "global" | "nonlocal" | "async" => {
            "this statement is not supported, and nothing is run"
        }
        "yield" | "await" => "this expression is not supported, and nothing is run",
        _ => return None,
    })
}

impl Parser {
    fn kind(&self) -> &TokenKind {
        // The last token is the end, and is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)].kind
    }

    fn line(&self) -> usize {
        self.tokens[self.at.min(self.tokens.len() - 1)].line
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.kind(), TokenKind::Op(o) if *o == op)
    }

    fn take_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.advance();
        }
        found
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.kind(), TokenKind::Keyword(w) if *w == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn fault<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(Fault::at(self.line(), message))
    }

    /// How the next word reads.
    fn found(&self) -> String {
        match self.kind() {
            TokenKind::Name(name) => format!("`{name}`"),
            TokenKind::Keyword(word) | TokenKind::Op(word) => format!("`{word}`"),
            TokenKind::Int(n) => format!("`{n}`"),
            TokenKind::Str(_) => "text".to_owned(),
            TokenKind::Newline => "the end of the line".to_owned(),
            TokenKind::Indent => "an indentation".to_owned(),
            TokenKind::Dedent => "the end of the block".to_owned(),
            TokenKind::End => "the end of the file".to_owned(),
        }
    }

    fn expected<T>(&self, what: &str) -> Parsed<T> {
        if let TokenKind::Keyword(word) = self.kind()
            && let Some(why) = refused(word)
        {
            return self.fault(why);
        }
        self.fault(format!("{what} is expected, not {}", self.found()))
    }

    fn expect_op(&mut self, op: &str) -> Parsed<()> {
        if self.take_op(op) {
            return Ok(());
        }
        self.expected(&format!("`{op}`"))
    }

    fn name(&mut self) -> Parsed<String> {
        match self.kind().clone() {
            TokenKind::Name(name) => {
                self.advance();
                Ok(name)
            }
            _ => self.expected("a name"),
        }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return self.fault(format!("it nests deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    // Statements.

    fn statement(&mut self, into: &mut Vec<Stmt>) -> Parsed<()> {
        let line = self.line();
        let kind = match self.kind() {
            TokenKind::Indent => {
                return self.fault("the line is indented and no block begins here");
            }
            TokenKind::Op("@") => {
                return self.fault("decorators are not supported, and nothing is run");
            }
            TokenKind::Keyword("if") => self.deeper(Self::if_statement)?,
            TokenKind::Keyword("for") => self.deeper(Self::for_statement)?,
            TokenKind::Keyword("def") => self.def_statement()?,
            TokenKind::Keyword(word) if refused(word).is_some() => {
                return self.expected("a statement");
            }
            _ => return self.simple_statements(into),
        };
        into.push(Stmt { line, kind });
        Ok(())
    }

    fn simple_statements(&mut self, into: &mut Vec<Stmt>) -> Parsed<()> {
        loop {
            let line = self.line();
            let kind = self.simple_statement()?;
            into.push(Stmt { line, kind });
            let more = self.take_op(";");
            if *self.kind() == TokenKind::Newline {
                self.advance();
                return Ok(());
            }
            if !more {
                return self.expected("the end of the line");
            }
        }
    }

    fn simple_statement(&mut self) -> Parsed<StmtKind> {
        if self.take_word("pass") {
            return Ok(StmtKind::Pass);
        }
        if self.is_word("break") || self.is_word("continue") {
            if self.loops == 0 {
                return self.fault("this belongs into a loop");
            }
            let kind = match self.is_word("break") {
                true => StmtKind::Break,
                false => StmtKind::Continue,
            };
            self.advance();
            return Ok(kind);
        }
        if self.is_word("return") {
            if self.function.is_none() {
                return self.fault("`return` belongs into a function");
            }
            self.advance();
            let ends = matches!(self.kind(), TokenKind::Newline | TokenKind::Op(";"));
            return Ok(StmtKind::Return(match ends {
                true => None,
                false => Some(self.expressions()?),
            }));
        }
        let first = self.expressions()?;
        if let Some(op) = self.augment() {
            self.advance();
            let target = self.target(first)?;
            if matches!(target, Target::Many(_)) {
                return self.fault("a tuple cannot be assigned to in this way");
            }
            return Ok(StmtKind::Augment(target, op?, self.expressions()?));
        }
        if self.is_op(":") {
            return self.fault("`:` is not expected here: types of names are not supported");
        }
        if !self.is_op("=") {
            if let (ExprKind::Name(name), TokenKind::Str(_) | TokenKind::Name(_)) =
                (&first.kind, self.kind())
                && (name == "print" || name == "exec")
            {
                return self.fault(format!("`{name}` is a function: write `{name}(…)`"));
            }
            return Ok(StmtKind::Expr(first));
        }
        let mut all = vec![first];
        while self.take_op("=") {
            all.push(self.expressions()?);
        }
        let Some(value) = all.pop() else {
            return self.expected("a value");
        };
        let targets = all.into_iter().map(|e| self.target(e));
        Ok(StmtKind::Assign(targets.collect::<Parsed<_>>()?, value))
    }

    /// The operator of `+=` and its like.
    fn augment(&self) -> Option<Parsed<BinaryOp>> {
        let TokenKind::Op(op) = self.kind() else {
            return None;
        };
        Some(Ok(match *op {
            "+=" => BinaryOp::Add,
            "-=" => BinaryOp::Subtract,
            "*=" => BinaryOp::Multiply,
            "//=" => BinaryOp::FloorDivide,
            "%=" => BinaryOp::Modulo,
            "**=" => BinaryOp::Power,
            "/=" => {
                return Some(
                    self.fault("fractions are not supported: `//=` divides whole numbers"),
                );
            }
            "&=" | "|=" | "^=" | "<<=" | ">>=" | "@=" => {
                return Some(self.fault("this operator is not supported"));
            }
            _ => return None,
        }))
    }

    /// What may stand left of `=`.
    fn target(&mut self, expr: Expr) -> Parsed<Target> {
        let line = expr.line;
        match expr.kind {
            ExprKind::Name(name) => {
                if let Some(locals) = &mut self.function {
                    locals.insert(name.clone());
                }
                Ok(Target::Name(name))
            }
            ExprKind::Index(pair) => Ok(Target::Index(pair.0, pair.1)),
            ExprKind::Tuple(items) | ExprKind::List(items) => items
                .into_iter()
                .map(|item| match item.star {
                    true => Err(Fault::at(line, "`*` is not supported here")),
                    false => self.target(item.expr),
                })
                .collect::<Parsed<_>>()
                .map(Target::Many),
            _ => Err(Fault::at(line, "this cannot be assigned to")),
        }
    }

    /// `: statements`, on the same line or as an indented block.
    fn block(&mut self) -> Parsed<Vec<Stmt>> {
        self.expect_op(":")?;
        let mut block = Vec::new();
        if *self.kind() != TokenKind::Newline {
            self.simple_statements(&mut block)?;
            return Ok(block);
        }
        self.advance();
        if *self.kind() != TokenKind::Indent {
            return self.expected("an indented block");
        }
        self.advance();
        while *self.kind() != TokenKind::Dedent {
            if *self.kind() == TokenKind::End {
                return Ok(block);
            }
            self.statement(&mut block)?;
        }
        self.advance();
        Ok(block)
    }

    fn if_statement(&mut self) -> Parsed<StmtKind> {
        let mut arms = Vec::new();
        let mut otherwise = Vec::new();
        self.advance();
        loop {
            let condition = self.expression()?;
            arms.push((condition, self.block()?));
            if self.take_word("elif") {
                continue;
            }
            if self.take_word("else") {
                otherwise = self.block()?;
            }
            return Ok(StmtKind::If(arms, otherwise));
        }
    }

    fn for_statement(&mut self) -> Parsed<StmtKind> {
        self.advance();
        let target = self.for_target()?;
        if !self.take_word("in") {
            return self.expected("`in`");
        }
        let over = self.expressions()?;
        self.loops += 1;
        let body = self.block();
        self.loops -= 1;
        let body = body?;
        let otherwise = match self.take_word("else") {
            true => self.block()?,
            false => Vec::new(),
        };
        Ok(StmtKind::For {
            target,
            over,
            body,
            otherwise,
        })
    }

    /// Names between `for` and `in`.
    fn for_target(&mut self) -> Parsed<Target> {
        let line = self.line();
        let mut items = vec![self.postfix()?];
        let mut tuple = false;
        while self.take_op(",") {
            tuple = true;
            if self.is_word("in") {
                break;
            }
            items.push(self.postfix()?);
        }
        let mut targets = Vec::new();
        for item in items {
            targets.push(self.target(item)?);
        }
        match (tuple, targets.pop()) {
            (false, Some(only)) => Ok(only),
            (true, Some(last)) => {
                targets.push(last);
                Ok(Target::Many(targets))
            }
            (_, None) => Err(Fault::at(line, "a name is expected")),
        }
    }

    fn def_statement(&mut self) -> Parsed<StmtKind> {
        let line = self.line();
        if self.function.is_some() {
            return self.fault("a function within a function is not supported");
        }
        self.advance();
        let name = self.name()?;
        self.expect_op("(")?;
        let params = self.params(")")?;
        self.expect_op(")")?;
        if self.is_op("->") {
            return self.fault("types of functions are not supported");
        }
        let names = params.iter().map(|p| p.name.clone()).collect();
        self.function = Some(names);
        let loops = std::mem::take(&mut self.loops);
        let body = self.deeper(Self::block);
        self.loops = loops;
        let locals = self.function.take().unwrap_or_default();
        Ok(StmtKind::Def(Rc::new(Def {
            name,
            line,
            params,
            body: Body::Block(body?),
            locals,
        })))
    }

    fn params(&mut self, end: &str) -> Parsed<Vec<Param>> {
        let mut params: Vec<Param> = Vec::new();
        while !self.is_op(end) {
            if self.is_op("*") || self.is_op("**") || self.is_op("/") {
                return self.fault("parameters with `*` or `/` are not supported");
            }
            let name = self.name()?;
            if params.iter().any(|p| p.name == name) {
                return self.fault(format!("two parameters are called `{name}`"));
            }
            let default = match self.take_op("=") {
                true => Some(self.expression()?),
                false if params.iter().any(|p| p.default.is_some()) => {
                    return self.fault("a parameter without a default follows one that has one");
                }
                false => None,
            };
            params.push(Param { name, default });
            if !self.take_op(",") {
                break;
            }
        }
        Ok(params)
    }
}
