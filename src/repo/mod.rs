//! A mirror and its keeper: the layout that `buildrepo` reads and writes, its jobs, and `~/.buildbot`.
//!
//! A mirror is a folder of builds, arches and subarches, each with build folders named by dates. What is kept
//! there, under which names, is a contract with web servers, rsync and the old tool: doc/repository.md.
//!
//! Read first: [`layout`] (names and places), [`config`] (what is managed), [`scan`] (what is there), [`rotation`]
//! (what is built next), [`lock`] (who works on it). The jobs stand on those.

pub mod clean;
pub mod compress;
pub mod config;
pub mod control;
pub mod date;
mod dialect;
pub mod digest;
pub mod gpg;
pub mod hash;
pub mod index;
pub mod layout;
pub mod lock;
pub mod mark;
pub mod mode;
pub mod name;
pub mod owner;
pub mod publish;
pub mod push;
pub mod quote;
pub mod rotation;
pub mod run;
pub mod scan;
pub mod small;
pub mod strategy;
pub mod whole;
mod xml;
