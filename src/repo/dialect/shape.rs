//! What a function looks at, by its text.

use super::ast::{Argument, Body, Clause, CompareOp, Expr, ExprKind, Stmt, StmtKind, Target};
use super::machine::Program;
use super::value::Value;

/// Whether a function may look at more of its fourth parameter than whether there is one. Asked by the text: where
/// that does not tell, the answer is yes.
pub fn reads_date(function: &Value) -> bool {
    let Some(def) = Program::def(function) else {
        return true;
    };
    let Some(name) = def.params.get(3).map(|p| p.name.as_str()) else {
        return true;
    };
    match &def.body {
        Body::Value(expr) => reads(expr, name),
        Body::Block(block) => in_block(block, name),
    }
}

fn in_block(block: &[Stmt], name: &str) -> bool {
    block.iter().any(|statement| match &statement.kind {
        StmtKind::Expr(expr) | StmtKind::Return(Some(expr)) => reads(expr, name),
        StmtKind::Assign(targets, expr) => {
            reads(expr, name) || targets.iter().any(|t| in_target(t, name))
        }
        StmtKind::Augment(target, _, expr) => reads(expr, name) || in_target(target, name),
        StmtKind::If(arms, otherwise) => {
            let arms = arms
                .iter()
                .any(|(c, b)| condition(c, name) || in_block(b, name));
            arms || in_block(otherwise, name)
        }
        StmtKind::For {
            target,
            over,
            body,
            otherwise,
        } => {
            in_target(target, name)
                || reads(over, name)
                || in_block(body, name)
                || in_block(otherwise, name)
        }
        StmtKind::Def(_) => true,
        StmtKind::Return(None) | StmtKind::Pass | StmtKind::Break | StmtKind::Continue => false,
    })
}

/// An assignment to the parameter itself makes something else of it.
fn in_target(target: &Target, name: &str) -> bool {
    match target {
        Target::Name(n) => n == name,
        Target::Index(object, index) => reads(object, name) || reads(index, name),
        Target::Many(targets) => targets.iter().any(|t| in_target(t, name)),
    }
}

fn is_name(expr: &Expr, name: &str) -> bool {
    matches!(&expr.kind, ExprKind::Name(n) if n == name)
}

/// As [`reads`], where only the truth of the expression counts.
fn condition(expr: &Expr, name: &str) -> bool {
    match &expr.kind {
        ExprKind::Name(_) => false,
        ExprKind::Not(inner) => condition(inner, name),
        ExprKind::And(all) | ExprKind::Or(all) => all.iter().any(|e| condition(e, name)),
        _ => reads(expr, name),
    }
}

fn reads(expr: &Expr, name: &str) -> bool {
    let any = |exprs: &[&Expr]| exprs.iter().any(|e| reads(e, name));
    let arguments = |arguments: &[Argument]| arguments.iter().any(|a| reads(&a.expr, name));
    let clauses = |clauses: &[Clause]| {
        clauses.iter().any(|c| match c {
            Clause::For(target, expr) => in_target(target, name) || reads(expr, name),
            Clause::If(expr) => condition(expr, name),
        })
    };
    match &expr.kind {
        ExprKind::None | ExprKind::Bool(_) | ExprKind::Int(_) | ExprKind::Str(_) => false,
        ExprKind::Name(n) => n == name,
        ExprKind::Tuple(items) | ExprKind::List(items) => {
            items.iter().any(|i| reads(&i.expr, name))
        }
        ExprKind::Dict(pairs) => pairs.iter().any(|(k, v)| any(&[k, v])),
        ExprKind::Comprehension(value, c) => reads(value, name) || clauses(c),
        ExprKind::DictComprehension(pair, c) => any(&[&pair.0, &pair.1]) || clauses(c),
        ExprKind::Negative(inner) => reads(inner, name),
        ExprKind::Not(inner) => condition(inner, name),
        ExprKind::And(all) | ExprKind::Or(all) => all.iter().any(|e| reads(e, name)),
        ExprKind::Binary(_, pair) => any(&[&pair.0, &pair.1]),
        ExprKind::Compare(first, rest) => {
            // Against None it is only asked whether there is one.
            if let [
                (CompareOp::Equal | CompareOp::NotEqual | CompareOp::Is | CompareOp::IsNot, second),
            ] = rest.as_slice()
            {
                let none = |e: &Expr| matches!(e.kind, ExprKind::None);
                if (is_name(first, name) && none(second)) || (none(first) && is_name(second, name))
                {
                    return false;
                }
            }
            reads(first, name) || rest.iter().any(|(_, e)| reads(e, name))
        }
        ExprKind::Conditional(parts) => condition(&parts.0, name) || any(&[&parts.1, &parts.2]),
        ExprKind::Call(function, a) => reads(function, name) || arguments(a),
        ExprKind::Method(object, _, a) => reads(object, name) || arguments(a),
        ExprKind::Index(pair) => any(&[&pair.0, &pair.1]),
        ExprKind::Slice(object, parts) => {
            reads(object, name) || parts.iter().flatten().any(|e| reads(e, name))
        }
        // Its parameters may have the same name; not worth telling apart.
        ExprKind::Lambda(_) => true,
    }
}
