//! Errors of transfers.

use crate::{Hash, Need, StoreError};

/// Why a transfer did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The store at this end failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The other end is down, broke off, or sent what makes no sense.
    #[error("{peer}: {detail}")]
    Peer {
        /// Its name.
        peer: String,
        /// What happened.
        detail: String,
    },
    /// The other end has no such object, though it should.
    #[error("{peer} lacks {count} of the objects asked for, such as {hash}")]
    Lacks {
        /// Its name.
        peer: String,
        /// One of the objects.
        hash: Hash,
        /// How many.
        count: usize,
    },
    /// What arrived was collected again and again before the copy was complete.
    #[error("the collector keeps removing what arrives; try again when it has ended")]
    Collected,
    /// The caller wanted it to end.
    #[error("interrupted")]
    Cancelled,
}

impl TransferError {
    /// The other end is at fault.
    pub fn peer(peer: impl Into<String>, detail: impl Into<String>) -> Self {
        TransferError::Peer {
            peer: peer.into(),
            detail: detail.into(),
        }
    }

    /// Of a full file system at this end, tells what is known of how much is needed.
    #[must_use]
    pub fn needing(self, find: impl FnOnce() -> Option<Need>) -> Self {
        match self {
            TransferError::Store(error) => TransferError::Store(error.needing(find)),
            other => other,
        }
    }

    /// Whether the other end is at fault, so that another one may do better.
    pub fn is_peer(&self) -> bool {
        matches!(
            self,
            TransferError::Peer { .. } | TransferError::Lacks { .. }
        )
    }
}
