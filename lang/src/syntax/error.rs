//! Errors of syntax: text that is against the rules.

use crate::class::Class;
use crate::shorten::shorten;
use crate::span::Span;

/// Something in the text that is against the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The class of the error.
    pub class: Class,
    /// Where it is.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// Another place that matters, with what it is.
    pub other: Option<(Span, &'static str)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl SyntaxError {
    pub(super) fn new(class: Class, span: Span, message: impl Into<String>) -> Self {
        SyntaxError {
            class,
            span,
            message: shorten(message),
            other: None,
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(shorten(help));
        self
    }
}
