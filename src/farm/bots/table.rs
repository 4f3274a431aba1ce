//! What one session has been given, as a pure state machine: what the server says goes in, what is to be done comes
//! out.
//!
//! ```text
//!            taken                ended
//!   free ------------> busy ------------------> told until the server forgets it
//!     ^                 |                                   |
//!     |   lost          v       its last process ended      |
//!     +------------- ending <---- gone or cancelled         |
//!     +-----------------------------------------------------+
//! ```
//! A session does one thing at a time. What it is given beside that is given back at once.

use bazel_remote_apis::google::protobuf::Any;
use bazel_remote_apis::google::rpc;
use tonic::Code;

use super::proto::{LEASE_ACTIVE, LEASE_COMPLETED, LEASE_PENDING, Lease};

/// Most leases of an answer that are looked at.
const MOST_LEASES: usize = 64;
/// Longest name of a lease, in bytes.
const MOST_ID: usize = 1024;

/// How a lease ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// OK, or whose fault it is.
    pub status: rpc::Status,
    /// What came of it.
    pub result: Option<Any>,
    /// Whether it is the machine that fails, and should be given nothing for a while.
    pub rests: bool,
}

impl Finished {
    /// One that came to nothing.
    pub fn failed(code: Code, message: impl Into<String>) -> Finished {
        Finished {
            status: rpc::Status {
                code: code as i32,
                message: message.into(),
                details: Vec::new(),
            },
            result: None,
            rests: false,
        }
    }
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Begin with this.
    Start {
        /// The lease.
        id: String,
        /// What it is about.
        payload: Option<Any>,
    },
    /// End what runs, with all its processes; nobody wants its result.
    Kill,
}

#[derive(Debug, Default)]
enum Hand {
    #[default]
    Free,
    Busy(Box<Lease>),
    /// It is being ended, and nothing is begun before it has.
    Ending,
}

/// What a session has been given.
#[derive(Debug, Default)]
pub struct Table {
    hand: Hand,
    /// What ended, until the server has heard it.
    told: Vec<Lease>,
}

impl Table {
    /// Whether something runs.
    pub fn is_busy(&self) -> bool {
        !matches!(self.hand, Hand::Free)
    }

    /// Whether the server has to hear something.
    pub fn has_news(&self) -> bool {
        !self.told.is_empty()
    }

    /// The leases as the server is told of them.
    pub fn leases(&self) -> Vec<Lease> {
        let busy = match &self.hand {
            Hand::Busy(lease) => Some((**lease).clone()),
            Hand::Free | Hand::Ending => None,
        };
        busy.into_iter().chain(self.told.iter().cloned()).collect()
    }

    /// Hears what the server says that this session has.
    pub fn hear(&mut self, leases: &[Lease], takes: bool) -> Vec<Order> {
        let leases = &leases[..leases.len().min(MOST_LEASES)];
        let open = |lease: &&Lease| matches!(lease.state, LEASE_PENDING | LEASE_ACTIVE);
        // What the server does not name any more, it has heard of.
        self.told
            .retain(|told| leases.iter().filter(open).any(|lease| lease.id == told.id));
        let mut orders = Vec::new();
        if let Hand::Busy(busy) = &self.hand
            && !leases.iter().filter(open).any(|lease| lease.id == busy.id)
        {
            self.hand = Hand::Ending;
            orders.push(Order::Kill);
        }
        for lease in leases.iter().filter(open) {
            let known = match &self.hand {
                Hand::Busy(busy) => busy.id == lease.id,
                Hand::Free | Hand::Ending => false,
            };
            let told = self.told.iter().any(|told| told.id == lease.id);
            if known || told || lease.id.is_empty() || lease.id.len() > MOST_ID {
                continue;
            }
            let mut lease = lease.clone();
            if takes && matches!(self.hand, Hand::Free) {
                orders.push(Order::Start {
                    id: lease.id.clone(),
                    payload: lease.payload.clone(),
                });
                lease.state = LEASE_ACTIVE;
                self.hand = Hand::Busy(Box::new(lease));
            } else {
                let busy = Finished::failed(Code::Unavailable, "this worker takes nothing more");
                self.told.push(completed(lease, busy));
            }
        }
        orders
    }

    /// What ran has ended, all its processes too.
    pub fn ended(&mut self, id: &str, finished: Finished) {
        match std::mem::take(&mut self.hand) {
            Hand::Busy(lease) if lease.id == id => self.told.push(completed(*lease, finished)),
            // Nobody wants to hear it.
            Hand::Ending | Hand::Free => {}
            other @ Hand::Busy(_) => self.hand = other,
        }
    }

    /// The session is over: what was given with it is nobody's.
    pub fn lose(&mut self) -> Option<Order> {
        self.told.clear();
        match &self.hand {
            Hand::Busy(_) => {
                self.hand = Hand::Ending;
                Some(Order::Kill)
            }
            Hand::Free | Hand::Ending => None,
        }
    }
}

fn completed(lease: Lease, finished: Finished) -> Lease {
    Lease {
        state: LEASE_COMPLETED,
        status: Some(finished.status),
        result: finished.result,
        ..lease
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::LEASE_CANCELLED;
    use super::*;
    use proptest::prelude::*;

    fn lease(id: &str, state: i32) -> Lease {
        Lease {
            id: id.to_owned(),
            state,
            ..Lease::default()
        }
    }

    fn start(id: &str) -> Order {
        Order::Start {
            id: id.to_owned(),
            payload: None,
        }
    }

    fn states(table: &Table) -> Vec<(String, i32)> {
        let all = table.leases().into_iter();
        all.map(|lease| (lease.id, lease.state)).collect()
    }

    #[test]
    fn a_lease_is_taken_whether_it_comes_pending_or_active_and_told_until_it_is_forgotten() {
        for state in [LEASE_PENDING, LEASE_ACTIVE] {
            let mut table = Table::default();
            assert_eq!(table.hear(&[lease("a", state)], true), [start("a")]);
            assert_eq!(states(&table), [("a".to_owned(), LEASE_ACTIVE)]);
            assert_eq!(table.hear(&[lease("a", LEASE_ACTIVE)], true), []);
            table.ended("a", Finished::failed(Code::Ok, ""));
            assert_eq!(states(&table), [("a".to_owned(), LEASE_COMPLETED)]);
            // The server has not heard it yet.
            assert_eq!(table.hear(&[lease("a", LEASE_ACTIVE)], true), []);
            assert!(table.has_news());
            assert_eq!(table.hear(&[lease("b", state)], true), [start("b")]);
            assert_eq!(states(&table), [("b".to_owned(), LEASE_ACTIVE)]);
        }
    }

    #[test]
    fn a_lease_that_is_gone_or_cancelled_is_ended_before_another_begins() {
        for answer in [
            vec![],
            vec![lease("a", LEASE_CANCELLED)],
            vec![lease("b", LEASE_ACTIVE)],
        ] {
            let mut table = Table::default();
            table.hear(&[lease("a", LEASE_ACTIVE)], true);
            assert_eq!(table.hear(&answer, true), [Order::Kill]);
            assert!(table.is_busy());
            table.ended("a", Finished::failed(Code::Ok, ""));
            assert!(!table.is_busy());
            assert!(states(&table).iter().all(|(id, _)| id != "a"));
        }
    }

    #[test]
    fn a_second_one_and_one_that_comes_late_are_given_back() {
        let mut table = Table::default();
        let both = [lease("a", LEASE_ACTIVE), lease("b", LEASE_PENDING)];
        assert_eq!(table.hear(&both, true), [start("a")]);
        let back = table.leases().pop().unwrap();
        assert_eq!((back.id.as_str(), back.state), ("b", LEASE_COMPLETED));
        assert_eq!(back.status.unwrap().code, Code::Unavailable as i32);
        let mut table = Table::default();
        assert_eq!(table.hear(&[lease("a", LEASE_ACTIVE)], false), []);
        assert!(table.has_news());
        assert_eq!(table.lose(), None);
        assert!(!table.has_news());
    }

    proptest! {
        /// Whatever a server says: one thing runs at a time, nothing is begun twice, and whatever was begun is told or ended.
        #[test]
        fn nothing_that_a_server_says_makes_it_stumble(
            says in prop::collection::vec(
                (prop::collection::vec(("[abc]?", 0..7i32), 0..5), any::<bool>(), 0..4u8), 0..40,
            ),
        ) {
            let mut table = Table::default();
            let mut runs: Option<String> = None;
            for (leases, takes, then) in says {
                let leases: Vec<Lease> = leases.iter().map(|(id, state)| lease(id, *state)).collect();
                for order in table.hear(&leases, takes) {
                    match order {
                        Order::Start { id, .. } => {
                            prop_assert!(runs.is_none() && takes);
                            runs = Some(id);
                        }
                        Order::Kill => prop_assert!(runs.is_some()),
                    }
                }
                prop_assert_eq!(table.is_busy(), runs.is_some());
                match then {
                    0 => if let Some(id) = runs.take() {
                        table.ended(&id, Finished::failed(Code::Ok, ""));
                    },
                    1 => prop_assert!(table.lose().is_none() || runs.is_some()),
                    _ => {}
                }
                let ids: Vec<String> = states(&table).into_iter().map(|(id, _)| id).collect();
                let mut unique = ids.clone();
                unique.sort();
                unique.dedup();
                prop_assert_eq!(unique.len(), ids.len());
            }
        }
    }
}
