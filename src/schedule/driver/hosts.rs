//! What the driver knows of hosts, and what it tells the engine of them.

use super::{Driver, Planner};
use crate::schedule::engine::{Ask, EngineEvent, HostId, KindId, Offer, Run};
use crate::schedule::executor::{Demand, Gate, Host, HostNews, Kind};
use crate::schedule::progress::RunEvent;

/// Hosts.
impl<P: Planner> Driver<'_, P> {
    pub(super) fn host(&mut self, host: HostId, news: HostNews) {
        if let Some(book) = &mut self.book {
            let name = match &news {
                HostNews::Named(host) | HostNews::Up(host) => host.name.clone(),
                _ => self
                    .hosts
                    .get(&host)
                    .map_or_else(String::new, |h| h.name.clone()),
            };
            let kept = book.host(&name, &news);
            self.ledger_failed(kept);
        }
        let event = match self.operator.news(host, news) {
            HostNews::Named(offer) => EngineEvent::HostNamed {
                host,
                offer: self.offer(host, offer),
            },
            HostNews::Up(offer) => {
                self.away.remove(&host);
                let name = offer.name.clone();
                let offer = self.offer(host, offer);
                match self.is_stopped_by_file(&name) {
                    // In one event: between two of them something would start.
                    true => {
                        let (name, news) = (&*name, &HostNews::Stopped);
                        self.observer.event(RunEvent::Host { name, news });
                        EngineEvent::HostBarred { host, offer }
                    }
                    false => EngineEvent::HostUp { host, offer },
                }
            }
            HostNews::Stopped => EngineEvent::HostStopped(host),
            HostNews::Down(reason) => {
                self.away.insert(host, reason.clone());
                let running = self.running.values();
                let there = running.filter(|run| run.host == host).copied();
                for run in there.collect::<Vec<Run>>() {
                    self.running.remove(&run.job);
                    self.pulses.end(run.job);
                    self.cards[run.job].fetching = None;
                    self.lost(run, 0.0, &reason);
                }
                EngineEvent::HostDown(host)
            }
        };
        self.events.push_back(event);
    }

    /// Remembers what a host can do, and says it in the words of the engine.
    fn offer(&mut self, host: HostId, offer: Host) -> Offer {
        let kinds = self.kinds.iter();
        let mut kinds: Vec<KindId> = kinds
            .filter(|(kind, _)| offer.can_run(kind))
            .map(|(_, id)| *id)
            .collect();
        kinds.sort_unstable();
        let (slots, speed) = (offer.slots, offer.speed);
        self.hosts.insert(host, offer);
        Offer {
            slots,
            kinds,
            speed,
        }
    }

    /// What a job asks for, in the words of the engine.
    pub(super) fn ask(&mut self, demand: &Demand) -> Ask {
        let gate = demand.gate.as_ref().map(|gate| {
            let most = match gate {
                Gate::Tag(_) => 1,
                Gate::Site(_) => self.options.a_site,
            };
            let engine = &mut self.engine;
            let name = || engine.name_gate(most);
            *self.gates.entry(gate.clone()).or_insert_with(name)
        });
        Ask {
            kind: self.kind(&demand.kind),
            slots: demand.slots,
            gate,
        }
    }

    fn kind(&mut self, kind: &Kind) -> KindId {
        if let Some(id) = self.kinds.get(kind) {
            return *id;
        }
        let id = self.engine.name_kind();
        self.kinds.insert(kind.clone(), id);
        for (&host, offer) in &self.hosts {
            if offer.can_run(kind) {
                let kind = id;
                self.events.push_back(EngineEvent::Offered { host, kind });
            }
        }
        id
    }
}
