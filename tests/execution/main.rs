//! Remote execution against an engine in this process that fails in every way: nothing is lost, nothing is recorded that
//! does not verify, and nothing hangs.

#[path = "../sandbox/base.rs"]
mod base;
mod bots;
mod certificates;
#[path = "../cli/environment.rs"]
mod environment;
mod failures;
mod fake;
mod history;
mod place;
mod program;
mod ways;
