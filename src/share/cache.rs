//! Binary caches as peers.

use mstore_store::transfer::cache::CacheReader;
use mstore_store::transfer::{Fact, Object, Source, TransferError};
use mstore_store::{Hash, TreeHash};

use super::peer::{Ask, Believe, Offer, Peer};

/// A cache in a folder or on a web server.
pub struct CachePeer {
    reader: CacheReader,
}

impl CachePeer {
    /// Reads from a cache.
    pub fn new(reader: CacheReader) -> Self {
        CachePeer { reader }
    }
}

impl Source for CachePeer {
    fn name(&self) -> String {
        self.reader.name()
    }

    fn fetch(
        &self,
        wanted: &[Hash],
        take: &mut dyn FnMut(Object) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        self.reader.fetch(wanted, take)
    }
}

impl Peer for CachePeer {
    fn facts(&self, ask: &Ask, believe: &Believe<'_>) -> Result<Vec<Fact>, TransferError> {
        self.reader.facts(&ask.keys, &ask.drvs, believe)
    }

    fn offer(&self, trees: &[TreeHash]) -> Result<Vec<Option<Offer>>, TransferError> {
        let mut offers = Vec::new();
        for tree in trees {
            let bytes = self.reader.offer(*tree)?;
            offers.push(bytes.map(|bytes| Offer { bytes: Some(bytes) }));
        }
        Ok(offers)
    }
}
