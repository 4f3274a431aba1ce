//! The specifications for builds with real Portage: what they say, and the scripts among them, run on roots
//! that are made for the purpose.
//!
//! `run.sh` beside this file builds stages with them, Portage included.

mod look;
mod normalisers;
mod pages;
mod repositories;
mod specs;
mod support;
