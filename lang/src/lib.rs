//! The Metro specification language: text in, settings out.
