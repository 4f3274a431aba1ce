//! The tree of a program.

use std::collections::BTreeSet;
use std::rc::Rc;

/// A statement and its line.
#[derive(Debug)]
pub struct Stmt {
    pub line: usize,
    pub kind: StmtKind,
}

/// The kinds of statements.
#[derive(Debug)]
pub enum StmtKind {
    Expr(Expr),
    /// `a = b = value`.
    Assign(Vec<Target>, Expr),
    /// `a += value`.
    Augment(Target, BinaryOp, Expr),
    /// Conditions with their blocks, and the `else`.
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    For {
        target: Target,
        over: Expr,
        body: Vec<Stmt>,
        otherwise: Vec<Stmt>,
    },
    Def(Rc<Def>),
    Return(Option<Expr>),
    Pass,
    Break,
    Continue,
}

/// Where a value goes.
#[derive(Debug)]
pub enum Target {
    Name(String),
    Index(Expr, Expr),
    Many(Vec<Target>),
}

/// A function.
#[derive(Debug)]
pub struct Def {
    pub name: String,
    pub line: usize,
    pub params: Vec<Param>,
    pub body: Body,
    /// Names that are assigned in the body, and the parameters.
    pub locals: BTreeSet<String>,
}

/// What a function does.
#[derive(Debug)]
pub enum Body {
    Block(Vec<Stmt>),
    /// Of a `lambda`.
    Value(Expr),
}

/// A parameter.
#[derive(Debug)]
pub struct Param {
    pub name: String,
    pub default: Option<Expr>,
}

/// An expression and its line.
#[derive(Debug)]
pub struct Expr {
    pub line: usize,
    /// How many levels of expressions are in it, itself counted.
    pub depth: u32,
    pub kind: ExprKind,
}

/// The kinds of expressions.
#[derive(Debug)]
pub enum ExprKind {
    None,
    Bool(bool),
    Int(i64),
    Str(Rc<str>),
    Name(String),
    Tuple(Vec<Item>),
    List(Vec<Item>),
    Dict(Vec<(Expr, Expr)>),
    /// Of a list; also what stands for a generator.
    Comprehension(Box<Expr>, Vec<Clause>),
    DictComprehension(Box<(Expr, Expr)>, Vec<Clause>),
    Negative(Box<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Binary(BinaryOp, Box<(Expr, Expr)>),
    /// `a < b <= c`.
    Compare(Box<Expr>, Vec<(CompareOp, Expr)>),
    /// `a if condition else b`, in the order condition, a, b.
    Conditional(Box<(Expr, Expr, Expr)>),
    Call(Box<Expr>, Vec<Argument>),
    /// `object.name(…)`.
    Method(Box<Expr>, String, Vec<Argument>),
    Index(Box<(Expr, Expr)>),
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Lambda(Rc<Def>),
}

/// An element of a display; `*x` puts in all that is in x.
#[derive(Debug)]
pub struct Item {
    pub star: bool,
    pub expr: Expr,
}

/// `for a in b` or `if c` of a comprehension.
#[derive(Debug)]
pub enum Clause {
    For(Target, Expr),
    If(Expr),
}

/// An argument of a call.
#[derive(Debug)]
pub struct Argument {
    pub name: Option<String>,
    pub expr: Expr,
}

/// Operators between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    FloorDivide,
    Modulo,
    Power,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
    Is,
    IsNot,
}
