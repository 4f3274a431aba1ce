//! Substitution: facts that others established in the place of building, as a layer over the facts of the
//! store.
//!
//! Keys alone are enough for steps on the way: their facts are a few hundred bytes. A tree is fetched
//! only when something is to be built on it, or when it is what was asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Display};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use mstore_store::transfer::{Fact, ReceiveOptions, Received, TransferError};
use mstore_store::{Hash, RealisationKind, Steady, Store, TreeHash};

use super::parcel::own_record;
use super::peer::{Ask, Offer, Peer};
use super::trust::{Trust, Untrusted};
use crate::drv::facts::{Layer, Realised, TreePart};
use crate::drv::{DrvHash, Key};
use crate::drv::{Facts, FactsError, StoreFacts, Trees as _, part_key};

/// Opens a peer when it is needed first.
pub type Opener<'a> = Box<dyn Fn() -> Result<Arc<dyn Peer>, TransferError> + Send + Sync + 'a>;

/// Something about a peer that people should know.
#[derive(Debug)]
pub enum Notice<'a> {
    /// It is not asked any more.
    Dropped {
        /// Its name.
        peer: &'a str,
        /// What it did.
        error: &'a TransferError,
    },
    /// A fact of it is not believed, and then others perhaps not either.
    Refused {
        /// Its name.
        peer: &'a str,
        /// Why not.
        why: &'a Untrusted,
    },
}

impl Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Dropped { peer, error } => {
                write!(f, "cache {peer} is not used any more in this run: {error}")
            }
            Notice::Refused { peer, why } => write!(f, "{peer}: {why}"),
        }
    }
}

struct Slot<'a> {
    name: String,
    open: Opener<'a>,
    peer: OnceLock<Option<Arc<dyn Peer>>>,
    dead: AtomicBool,
}

/// The facts of a store, and those of caches that are trusted.
pub struct Substitute<'a> {
    inner: StoreFacts,
    store: Store,
    slots: Vec<Slot<'a>>,
    trust: Trust,
    /// Nothing is written.
    dry_run: bool,
    state: Mutex<State>,
    notice: Box<dyn Fn(Notice<'_>) + Send + Sync + 'a>,
}

#[derive(Default)]
struct State {
    /// What was asked, and what was answered and believed.
    facts: HashMap<Hash, Option<Fact>>,
    offers: BTreeMap<TreeHash, Vec<(usize, Offer)>>,
    /// Keys of steps that were taken over.
    taken: BTreeSet<Hash>,
    /// Peers whose facts were refused once already.
    refused: BTreeSet<usize>,
}

impl<'a> Substitute<'a> {
    /// Asks `peers` in their order. `notice` is told, once for each, of those that are down or not
    /// to be believed.
    pub fn new(
        inner: StoreFacts,
        store: Store,
        peers: Vec<(String, Opener<'a>)>,
        trust: Trust,
        dry_run: bool,
        notice: impl Fn(Notice<'_>) + Send + Sync + 'a,
    ) -> Self {
        let slots = peers.into_iter().map(|(name, open)| Slot {
            name,
            open,
            peer: OnceLock::new(),
            dead: AtomicBool::new(false),
        });
        Substitute {
            inner,
            store,
            slots: slots.collect(),
            trust,
            dry_run,
            state: Mutex::default(),
            notice: Box::new(notice),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only whole entries are put in.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer that answers; the reason why it does not is told once.
    fn peer(&self, slot: &'a Slot<'_>) -> Option<&'a dyn Peer> {
        if slot.dead.load(Ordering::Relaxed) {
            return None;
        }
        let peer = slot.peer.get_or_init(|| match (slot.open)() {
            Ok(peer) => Some(peer),
            Err(error) => {
                self.give_up(slot, &error);
                None
            }
        });
        peer.as_deref()
    }

    fn give_up(&self, slot: &Slot<'_>, error: &TransferError) {
        if !slot.dead.swap(true, Ordering::Relaxed) {
            (self.notice)(Notice::Dropped {
                peer: &slot.name,
                error,
            });
        }
    }

    /// Puts questions to all peers, in their order, until they are answered.
    fn ask(&'a self, mut ask: Ask) {
        for (number, slot) in self.slots.iter().enumerate() {
            if ask.keys.is_empty() && ask.drvs.is_empty() {
                break;
            }
            let Some(peer) = self.peer(slot) else {
                continue;
            };
            let believe = |fact: Fact| match self.trust.check(&fact) {
                Ok(()) => Some(own_record(fact)),
                Err(why) => {
                    if self.lock().refused.insert(number) {
                        (self.notice)(Notice::Refused {
                            peer: &slot.name,
                            why: &why,
                        });
                    }
                    None
                }
            };
            match peer.facts(&ask, &believe) {
                Ok(facts) => {
                    let mut state = self.lock();
                    for fact in facts {
                        let (key, drv) = (fact.realisation.key, fact.realisation.drv);
                        ask.keys.retain(|k| *k != key);
                        ask.drvs.retain(|d| *d != drv);
                        state.facts.insert(key, Some(fact));
                    }
                }
                Err(error) => self.give_up(slot, &error),
            }
        }
        let mut state = self.lock();
        for key in ask.keys {
            state.facts.entry(key).or_insert(None);
        }
    }

    fn look_up(&'a self, key: Hash) -> Option<Fact> {
        if let Some(known) = self.lock().facts.get(&key) {
            return known.clone();
        }
        self.ask(Ask {
            keys: vec![key],
            ..Ask::default()
        });
        self.lock().facts.get(&key).cloned().flatten()
    }

    fn take(&self, fact: &Fact) -> Result<(), FactsError> {
        if !self.dry_run {
            self.store
                .take_fact(fact)
                .map_err(|e| FactsError::new("cannot record what a cache knows", e))?;
        }
        if fact.realisation.kind == RealisationKind::Step {
            self.lock().taken.insert(fact.realisation.key);
        }
        Ok(())
    }

    /// Asks for all results of `derivations` at once: as much as can be asked before a key is known.
    pub fn prepare(
        &'a self,
        derivations: impl IntoIterator<Item = DrvHash>,
    ) -> Result<(), FactsError> {
        if self.slots.is_empty() {
            return Ok(());
        }
        let mut drvs = Vec::new();
        for DrvHash(drv) in derivations {
            let here = self
                .store
                .fact_of_derivation(&drv)
                .map_err(|e| FactsError::new("cannot look up a derivation", e))?;
            if here.is_none() {
                drvs.push(drv);
            }
        }
        self.ask(Ask {
            drvs,
            ..Ask::default()
        });
        Ok(())
    }

    /// Who has a tree.
    fn offers(&'a self, tree: TreeHash) -> Vec<(usize, Offer)> {
        if let Some(known) = self.lock().offers.get(&tree) {
            let alive = |slot: usize| !self.slots[slot].dead.load(Ordering::Relaxed);
            return known.iter().filter(|(s, _)| alive(*s)).copied().collect();
        }
        let mut offers = Vec::new();
        for (number, slot) in self.slots.iter().enumerate() {
            let Some(peer) = self.peer(slot) else {
                continue;
            };
            match peer.offer(&[tree]) {
                Ok(answer) => {
                    offers.extend(
                        answer
                            .first()
                            .copied()
                            .flatten()
                            .map(|offer| (number, offer)),
                    );
                }
                Err(error) => self.give_up(slot, &error),
            }
        }
        self.lock().offers.insert(tree, offers.clone());
        offers
    }

    /// Bytes that a tree takes where it can be fetched from, if that is known.
    pub fn size(&'a self, tree: TreeHash) -> Option<u64> {
        self.offers(tree).iter().find_map(|(_, offer)| offer.bytes)
    }

    /// Fetches trees into the store from whoever has them. `None` when nobody could deliver one; then
    /// nobody is asked for it again.
    pub fn fetch(
        &'a self,
        tree: TreeHash,
        options: &ReceiveOptions<'_>,
    ) -> Result<Option<Received>, TransferError> {
        for (number, _) in self.offers(tree) {
            let slot = &self.slots[number];
            let Some(peer) = self.peer(slot) else {
                continue;
            };
            match self.store.receive(peer, &[tree], options) {
                Ok(received) => return Ok(Some(received)),
                Err(error) if error.is_peer() => self.give_up(slot, &error),
                Err(error) => return Err(error),
            }
        }
        self.lock().offers.insert(tree, Vec::new());
        Ok(None)
    }

    /// How many steps were taken over.
    pub fn taken(&self) -> BTreeSet<Hash> {
        self.lock().taken.clone()
    }

    /// Lets what follows be answered from one state of the store's database, and faster.
    pub fn steady(&self) -> Result<Steady<'_>, FactsError> {
        self.inner.steady()
    }

    /// The store underneath.
    pub fn inner(&self) -> &StoreFacts {
        &self.inner
    }
}

impl Layer for &Substitute<'_> {
    fn inner(&self) -> &dyn Facts {
        &self.inner
    }

    fn subtree(&self, tree: TreeHash, path: &str) -> Result<TreePart, FactsError> {
        self.part(self.inner.subtree(tree, path)?, part_key(tree, &[path]))
    }

    fn pick(&self, tree: TreeHash, paths: &[String]) -> Result<TreePart, FactsError> {
        let names: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.part(self.inner.pick(tree, paths)?, part_key(tree, &names))
    }

    fn fetchable(&self, tree: TreeHash) -> Result<bool, FactsError> {
        Ok(!self.offers(tree).is_empty())
    }

    fn realised(&self, key: Key) -> Result<Option<Realised>, FactsError> {
        if let Some(known) = self.inner.realised(key)? {
            return Ok(Some(known));
        }
        match self.look_up(key.0) {
            Some(fact) if fact.realisation.kind == RealisationKind::Step => {
                self.take(&fact)?;
                let tree = fact.realisation.tree;
                Ok(Some(Realised {
                    tree,
                    present: self.inner.present(tree)?,
                }))
            }
            _ => Ok(None),
        }
    }
}

impl Substitute<'_> {
    fn part(&self, here: TreePart, key: Hash) -> Result<TreePart, FactsError> {
        if here != TreePart::Absent {
            return Ok(here);
        }
        match self.look_up(key) {
            Some(fact) if fact.realisation.kind == RealisationKind::Part => {
                self.take(&fact)?;
                Ok(TreePart::Tree(fact.realisation.tree))
            }
            _ => Ok(TreePart::Absent),
        }
    }
}
