//! A worker of an engine with the Remote Workers interface: `mstore worker --bots URL`.
//!
//! - [`proto`]: the messages, and the two calls;
//! - [`table`]: what a session has been given, as a pure state machine;
//! - [`bot`]: one session; [`health`]: whether its machine may be given anything;
//! - [`craft`]: the work of a lease, in a store that stays.
//!
//! A worker has a session for each job that it does at a time, since a server that has nothing to give keeps the call
//! open, and one that has given all it may does not.

pub mod bot;
pub mod craft;
pub mod health;
pub mod proto;
pub mod table;

use std::sync::Arc;
use std::thread;

use mstore_store::Store;

use crate::build::host;
use crate::build::processors::Processors;
use crate::drv::isa;
use crate::schedule::reapi::Settings;
use crate::schedule::reapi::cas::Cas;
use crate::schedule::reapi::channel::Line;
use crate::schedule::reapi::reactor::{Reactor, Stop};
use crate::schedule::reapi::trouble::Trouble;

use bot::Bot;
pub use bot::{Leaving, News, told};
use craft::{Builder, WrittenOutBound};
use proto::{Device, Property, Worker};

/// A worker, as it was started.
pub struct Bots<'a> {
    /// Where the engine is.
    pub settings: Settings,
    /// The version of this program.
    pub program: &'a str,
    /// Where trees are kept.
    pub store: &'a Store,
    /// Its name: each of its sessions has it, with a number.
    pub name: &'a str,
    /// Jobs at a time.
    pub jobs: usize,
    /// Processors that they share.
    pub processors: usize,
    /// Bytes of memory that a work folder may take.
    pub memory: Option<u64>,
    /// Bytes that trees may take that are written out whole, and whether this process can see all others.
    pub written_out: (u64, bool),
    /// When it is to leave.
    pub leaving: Leaving,
    /// Is told what people should know, with the name of the session.
    pub tell: &'a (dyn Fn(&str, News) + Sync),
}

impl Bots<'_> {
    /// Works until it is to leave. Fails where the engine does not take it at all.
    pub fn run(&self) -> Result<(), Trouble> {
        let system = |error: std::io::Error| Trouble::Setup {
            why: format!("cannot start a thread: {error}"),
            remedy: "look at the limits of this user".to_owned(),
        };
        let reactor = Reactor::start().map_err(system)?;
        let properties = self.settings.properties.clone();
        let line = reactor.within(|| Line::new(self.settings.clone(), self.program))?;
        let line = Arc::new(line);
        let abilities = loop {
            let line = line.clone();
            match reactor.run(&Stop::default(), async move { line.abilities().await }) {
                Ok(abilities) => break abilities,
                Err(trouble) if !bot::is_passing(&trouble) => return Err(trouble),
                Err(trouble) => (self.tell)(self.name, News::Refused(told(&trouble))),
            }
            if self.leaving.finish.is_cancelled() {
                return Ok(());
            }
            thread::sleep(bot::PAUSES.0 * 4);
        };
        let function = abilities.function;
        let builder = Builder {
            reactor: &reactor,
            cas: Cas::new(line.clone(), abilities),
            function,
            store: self.store,
            processors: Processors::new(self.processors),
            memory: self.memory,
            host: self.name.to_owned(),
            bound: WrittenOutBound::new(self.written_out.0, self.written_out.1),
        };
        let worker = described(&properties);
        let session = |number: usize| {
            let id = format!("{}/{number}", self.name);
            let tell = |news: News| (self.tell)(&id, news);
            let bot = Bot {
                reactor: &reactor,
                line: line.clone(),
                craft: &builder,
                id: id.clone(),
                worker: worker.clone(),
                leaving: self.leaving.clone(),
                pauses: bot::PAUSES,
                rests: health::RESTS,
                tell: &tell,
            };
            let ended = bot.run();
            if ended.is_err() {
                // The others would be refused as well.
                self.leaving.finish.cancel();
            }
            ended
        };
        thread::scope(|scope| {
            let session = &session;
            let others: Vec<_> = (1..self.jobs.max(1))
                .map(|number| scope.spawn(move || session(number)))
                .collect();
            let mut ended = session(0);
            for other in others {
                let other = other.join().unwrap_or(Ok(()));
                ended = ended.and(other);
            }
            ended
        })
    }
}

/// What this machine is like for an engine: whose programs run here, and what its owner says.
fn described(more: &[(String, String)]) -> Worker {
    let property = |key: &str, value: &str| Property {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let machine = host::machine();
    let mut platforms = vec![isa(&machine)];
    let others = host::platforms().into_iter();
    let runs = others.filter(|platform| *platform != machine && host::runs(platform).is_ok());
    for platform in runs {
        let isa = isa(&platform);
        if !platforms.contains(&isa) {
            platforms.push(isa);
        }
    }
    let mut properties = vec![property("OSFamily", "linux")];
    properties.extend(platforms.iter().map(|isa| property("ISA", isa)));
    properties.extend(more.iter().map(|(key, value)| property(key, value)));
    Worker {
        devices: vec![Device {
            handle: "host".to_owned(),
            properties,
        }],
        properties: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
