//! Who may stay connected: a bound on all, one on each address, and who goes when there is no room.
//!
//! Connections that wait for a request, or have not sent a whole one, go first, the one that has waited longest before
//! the others. When all are being answered, an address that has more than the newcomer's loses its oldest.

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Connections at a time, where there are enough descriptors.
const MOST: usize = 1200;
/// Descriptors that are left to everything else, and those that a connection needs: itself, and a file.
const OTHERS: u64 = 160;
const EACH: u64 = 2;

/// The bounds, and who is inside.
pub(super) struct Gate {
    most: usize,
    /// Of one address, so that others always find room.
    most_each: usize,
    began: Instant,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    next: u64,
    guests: HashMap<u64, Arc<Connection>>,
    each: HashMap<IpAddr, usize>,
}

/// One connection.
pub(super) struct Connection {
    /// Its socket.
    pub stream: TcpStream,
    address: IpAddr,
    /// When it last began to wait, or was last given something to do.
    since: AtomicU64,
}

/// A bit of `since`: it is being answered.
const BUSY: u64 = 1;

/// A connection that was let in; it is counted out when this is dropped.
pub(super) struct Guest {
    gate: Arc<Gate>,
    number: u64,
    /// The connection.
    pub connection: Arc<Connection>,
}

impl Gate {
    /// A gate for a process that may have so many open files.
    pub(super) fn new(files: u64) -> Gate {
        let room = usize::try_from(files.saturating_sub(OTHERS) / EACH).unwrap_or(MOST);
        let most = room.clamp(16, MOST);
        Gate {
            most,
            most_each: most - most / 8,
            began: Instant::now(),
            inside: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Entries are put in and taken out whole.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are inside.
    pub(super) fn count(&self) -> usize {
        self.lock().guests.len()
    }

    fn now(&self) -> u64 {
        let ticks = self.began.elapsed().as_millis();
        u64::try_from(ticks).unwrap_or(u64::MAX >> 1) << 1
    }

    /// Lets a connection in, in the place of another one if need be; `None` when there is no room.
    pub(super) fn enter(self: &Arc<Self>, stream: TcpStream, address: IpAddr) -> Option<Guest> {
        let mut inside = self.lock();
        let have = inside.each.get(&address).copied().unwrap_or_default();
        if have >= self.most_each {
            let idle = inside.longest(|c| c.address == address && !c.is_busy())?;
            inside.turn_out(idle);
        } else if inside.guests.len() >= self.most {
            let idle = inside.longest(|c| !c.is_busy());
            let gone = idle.or_else(|| {
                let (most, count) = inside.each.iter().max_by_key(|(_, count)| **count)?;
                let most = *most;
                (*count > have + 1).then(|| inside.longest(|c| c.address == most))?
            })?;
            inside.turn_out(gone);
        }
        let connection = Arc::new(Connection {
            stream,
            address,
            since: AtomicU64::new(self.now()),
        });
        let number = inside.next;
        inside.next += 1;
        inside.guests.insert(number, connection.clone());
        *inside.each.entry(address).or_default() += 1;
        Some(Guest {
            gate: self.clone(),
            number,
            connection,
        })
    }
}

impl Inside {
    /// The one that has been as it is for the longest time, among some.
    fn longest(&self, among: impl Fn(&Connection) -> bool) -> Option<u64> {
        let some = self.guests.iter().filter(|(_, c)| among(c));
        some.min_by_key(|(number, c)| (c.since.load(Ordering::Relaxed), **number))
            .map(|(number, _)| *number)
    }

    fn leave(&mut self, number: u64) -> Option<Arc<Connection>> {
        let connection = self.guests.remove(&number)?;
        if let Some(count) = self.each.get_mut(&connection.address) {
            *count -= 1;
            if *count == 0 {
                self.each.remove(&connection.address);
            }
        }
        Some(connection)
    }

    /// Closes a connection: whoever reads from it or writes to it finds its end.
    fn turn_out(&mut self, number: u64) {
        if let Some(connection) = self.leave(number) {
            // It fails only when the other end was faster.
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Connection {
    fn is_busy(&self) -> bool {
        self.since.load(Ordering::Relaxed) & BUSY != 0
    }
}

impl Guest {
    /// Notes that a request is being answered, or that it was.
    pub(super) fn busy(&self, busy: bool) {
        let bit = if busy { BUSY } else { 0 };
        let since = self.gate.now() | bit;
        self.connection.since.store(since, Ordering::Relaxed);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.gate.lock().leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    struct World {
        listener: TcpListener,
        gate: Arc<Gate>,
        clients: Vec<TcpStream>,
    }

    impl World {
        /// A gate for 16 connections, 14 of each address.
        fn new() -> World {
            World {
                listener: TcpListener::bind("127.0.0.1:0").unwrap(),
                gate: Arc::new(Gate::new(0)),
                clients: Vec::new(),
            }
        }

        fn come(&mut self, address: IpAddr) -> Option<Guest> {
            let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            self.clients.push(client);
            let (stream, _) = self.listener.accept().unwrap();
            self.gate.enter(stream, address)
        }

        fn is_out(&self, guest: &Guest) -> bool {
            !self.gate.lock().guests.contains_key(&guest.number)
        }
    }

    #[test]
    fn who_waits_longest_goes_first_and_an_address_gets_no_more_than_its_part() {
        let mut world = World::new();
        let first: Vec<Guest> = (0..14).map(|_| world.come(HERE).unwrap()).collect();
        first[0].busy(true);
        // One more of the same address takes the place of the one that has waited longest.
        let fifteenth = world.come(HERE).unwrap();
        assert!(!world.is_out(&first[0]) && world.is_out(&first[1]));
        assert_eq!(world.gate.count(), 14);
        assert_eq!(world.clients[1].read(&mut [0]).unwrap(), 0, "it was told");
        // Others find room, and then take the place of those who wait.
        let other: Vec<Guest> = (0..3).map(|_| world.come(THERE).unwrap()).collect();
        assert!(world.is_out(&first[2]) && !world.is_out(&other[0]));
        assert_eq!(world.gate.count(), 16);
        drop((first, fifteenth, other));
        assert_eq!(world.gate.count(), 0);
        assert!(world.gate.lock().each.is_empty());
    }

    #[test]
    fn when_all_are_busy_the_address_with_most_gives_way() {
        let mut world = World::new();
        let many: Vec<Guest> = (0..14).map(|_| world.come(HERE).unwrap()).collect();
        let few: Vec<Guest> = (0..2).map(|_| world.come(THERE).unwrap()).collect();
        for guest in many.iter().chain(&few) {
            guest.busy(true);
        }
        assert!(world.come(HERE).is_none(), "its part is taken");
        let third = world.come(THERE).unwrap();
        assert!(world.is_out(&many[0]) && !world.is_out(&few[0]) && !world.is_out(&third));
    }

    #[test]
    fn few_descriptors_make_few_connections() {
        assert_eq!(Gate::new(u64::MAX).most, MOST);
        assert_eq!(Gate::new(1024).most, 432);
        assert_eq!(Gate::new(0).most, 16);
    }
}
