//! Peers: stores and caches that results are copied from.

use mstore_store::transfer::{Fact, LocalSource, Object, Source, TransferError};
use mstore_store::{ErrorKind, Hash, Store, TreeHash};

use super::parcel::pure;

/// Questions about facts. An answer may lack any of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// What these keys produced.
    pub keys: Vec<Hash>,
    /// What these derivations last produced.
    pub drvs: Vec<Hash>,
}

/// Decides about a fact as soon as it has come: gives it back, or what of it is to be kept.
pub type Believe<'a> = dyn Fn(Fact) -> Option<Fact> + Sync + 'a;

/// A tree that a peer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Bytes that all of it takes as it travels, where the peer knows.
    pub bytes: Option<u64>,
}

/// A store or cache that things are copied from.
pub trait Peer: Source {
    /// What it knows of some keys and derivations. Each fact is handed to `believe` as it comes, and dropped at once
    /// if that does not give it back.
    fn facts(&self, ask: &Ask, believe: &Believe<'_>) -> Result<Vec<Fact>, TransferError>;

    /// Which of some trees it has. Those stay while this is open.
    fn offer(&self, trees: &[TreeHash]) -> Result<Vec<Option<Offer>>, TransferError>;
}

/// A store in a folder of this machine.
#[derive(Debug)]
pub struct LocalPeer {
    source: LocalSource,
}

impl LocalPeer {
    /// Reads from `store`.
    pub fn new(store: &Store) -> LocalPeer {
        LocalPeer {
            source: LocalSource::new(store),
        }
    }

    /// The objects.
    pub fn source(&self) -> &LocalSource {
        &self.source
    }
}

impl Source for LocalPeer {
    fn name(&self) -> String {
        self.source.name()
    }

    fn fetch(
        &self,
        wanted: &[Hash],
        take: &mut dyn FnMut(Object) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        self.source.fetch(wanted, take)
    }
}

impl Peer for LocalPeer {
    fn facts(&self, ask: &Ask, believe: &Believe<'_>) -> Result<Vec<Fact>, TransferError> {
        let store = self.source.store();
        let mut facts = Vec::new();
        for key in &ask.keys {
            facts.extend(store.fact(key)?.and_then(pure).and_then(believe));
        }
        for drv in &ask.drvs {
            facts.extend(
                store
                    .fact_of_derivation(drv)?
                    .and_then(pure)
                    .and_then(believe),
            );
        }
        Ok(facts)
    }

    fn offer(&self, trees: &[TreeHash]) -> Result<Vec<Option<Offer>>, TransferError> {
        let mut offers = Vec::new();
        for tree in trees {
            offers.push(match self.source.protect(*tree) {
                Ok(()) => Some(Offer::default()),
                Err(error) if error.kind() == ErrorKind::Missing => None,
                Err(error) => return Err(error.into()),
            });
        }
        Ok(offers)
    }
}
