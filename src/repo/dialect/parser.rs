//! Words to a tree.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::ast::{
    Argument, BinaryOp, Body, Clause, CompareOp, Def, Expr, ExprKind, Item, Param, Stmt, StmtKind,
    Target,
};
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

    // Expressions.

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
    fn expressions(&mut self) -> Parsed<Expr> {
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

    fn expression(&mut self) -> Parsed<Expr> {
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

    fn postfix(&mut self) -> Parsed<Expr> {
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
