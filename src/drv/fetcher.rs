//! Who brings content from outside: a step that fetches has one in the place of a sandbox.

use mstore_store::{Cancel, TreeHash};

use super::derivation::Derivation;
use super::fetch::FetchError;

/// Brings content from outside into a store.
pub trait Fetcher: Sync {
    /// Brings what `step` is to fetch, and gives the tree that it became. `say` is told, in lines, how it goes;
    /// what is said with `true` is of the moment, and of no use later.
    fn fetch(
        &self,
        step: &Derivation,
        say: &mut dyn FnMut(&str, bool),
        cancel: &Cancel,
    ) -> Result<TreeHash, FetchError>;
}

/// Fetches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFetcher;

impl Fetcher for NoFetcher {
    fn fetch(
        &self,
        step: &Derivation,
        _: &mut dyn FnMut(&str, bool),
        _: &Cancel,
    ) -> Result<TreeHash, FetchError> {
        Err(FetchError::Offline(step.name.step().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use crate::drv::derivation::tests::check_canonical;
    use crate::drv::fetch::{Algorithm, Content, Digest, Fixed, Origin};
    use crate::drv::{Derivation, Resolved};

    fn fixed(hex: &str) -> Fixed {
        Fixed {
            name: "zlib-1.3.tar.xz".into(),
            content: Content::File(vec![
                Digest::new(Algorithm::Sha256, &hex.repeat(32)).unwrap(),
            ]),
        }
    }

    fn origin(urls: &[&str]) -> Origin {
        Origin {
            size: Some(3),
            urls: urls.iter().map(|u| (*u).to_owned()).collect(),
        }
    }

    #[test]
    fn the_key_of_a_fetch_depends_on_the_content_alone() {
        let key = |fixed: Fixed, urls: &[&str]| {
            let drv = Derivation::fetch(fixed, origin(urls)).unwrap();
            check_canonical(&drv.encode());
            (drv.key(&[]).unwrap(), drv.hash())
        };
        let here = key(fixed("ab"), &["https://a/zlib"]);
        let there = key(fixed("ab"), &["https://b/zlib", "http://c/zlib"]);
        assert_eq!(here.0, there.0);
        assert_ne!(here.1, there.1);
        assert_ne!(here.0, key(fixed("cd"), &["https://a/zlib"]).0);
        let mut renamed = fixed("ab");
        renamed.name = "zlib.tar.xz".into();
        assert_ne!(here.0, key(renamed, &["https://a/zlib"]).0);
    }

    #[test]
    fn records_of_fetches_come_back() {
        let drv = Derivation::fetch(fixed("ab"), origin(&["https://a/zlib"])).unwrap();
        let resolved = drv.resolve(Vec::new()).unwrap();
        let back = Resolved::decode(&resolved.encode()).unwrap();
        assert_eq!(back, resolved);
    }
}
