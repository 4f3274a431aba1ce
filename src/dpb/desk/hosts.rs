//! Hosts: locked while they are set up, their signatures, and what keeps them out.

use super::{Desk, told};
use crate::dpb::folder::Log;
use crate::schedule::HostNews;
use crate::schedule::ledger::LedgerError;

impl Desk {
    /// Takes in what happened to a host.
    pub(super) fn happened_to_host(
        &mut self,
        name: &str,
        news: &HostNews,
    ) -> Result<(), LedgerError> {
        if let Some(screen) = &mut self.screen {
            screen.host(name, news);
        }
        self.changed = true;
        match news {
            HostNews::Named(host) if !host.here => {
                if !self.hosts.contains_key(name)
                    && let Some(lock) = self.locks.take_host(name).map_err(told)?
                {
                    self.hosts.insert(name.to_owned(), lock);
                }
                return Ok(());
            }
            HostNews::Up(host) => {
                self.were_up.insert(name.to_owned());
                let platforms = host.platforms.iter().flatten();
                let platforms: Vec<&str> = platforms.map(String::as_str).collect();
                let text = format!(
                    "jobs={}\nsf={}\nplatforms={}\n{}",
                    host.slots,
                    host.speed,
                    platforms.join(" "),
                    host.about
                );
                self.folder.signature(name, &text).map_err(told)?;
            }
            HostNews::Down(reason) if !self.were_up.contains(name) => {
                let line = format!("{name}: {reason}");
                self.folder.line(Log::Signature, &line).map_err(told)?;
            }
            _ => {}
        }
        match self.hosts.remove(name) {
            Some(lock) => lock.remove().map_err(told),
            None => Ok(()),
        }
    }
}
