//! The section `fetch/NAME` of a specification, read and checked.

use std::collections::BTreeMap;

use mstore_store::TreeHash;

use super::{Reader, relative};
use crate::drv::fetch::{Address, Digest, is_commit, is_file_name};
use crate::plan::error::PlanError;
use crate::plan::fetch::{Fetch, Fetches, NAME_DIGITS, Package, What};

/// Where fetched things appear in a build unless a specification says otherwise.
const USUAL_PLACE: &str = "/mstore/fetch";
/// What begins an address that stands for those of a list of mirrors.
const MIRROR: &str = "mirror://";
/// Words of the section `fetch` that cannot name something to fetch.
const OWN_WORDS: [&str; 1] = ["path"];

impl Reader<'_> {
    /// The folder that fetched things appear in, and what the steps of a target may ask for.
    pub(super) fn fetches<'n>(
        &self,
        names: impl Iterator<Item = &'n String>,
    ) -> Result<Fetches, PlanError> {
        let at = self.place("fetch/path", USUAL_PLACE)?;
        let mut all = BTreeMap::new();
        for name in names {
            if !all.contains_key(name) {
                all.insert(name.clone(), self.fetch(name)?);
            }
        }
        Ok(Fetches { at, all })
    }

    /// The names that `element` lists, sorted.
    pub(super) fn fetch_names(&self, element: &str) -> Result<Vec<String>, PlanError> {
        let mut names = self.words(element)?;
        for name in &names {
            let fine = name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b));
            if !fine || OWN_WORDS.contains(&name.as_str()) {
                return Err(self.bad(
                    element,
                    format!("`{name}` cannot name something to fetch"),
                    "names are letters, digits and -_.+, and `path` is none",
                ));
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn fetch(&self, name: &str) -> Result<Fetch, PlanError> {
        let of = |what: &str| format!("fetch/{name}/{what}");
        let urls = self.urls(&of("url"))?;
        let what = if self.elements.is_defined(&of("manifests")) {
            What::Manifests(self.packages(&of("manifests"))?)
        } else if let Some(commit) = self.text(&of("commit"))? {
            self.commit(&of("commit"), &of("tree"), commit)?
        } else {
            self.file(name, &urls)?
        };
        let is_git = matches!(what, What::Commit { .. });
        for url in &urls {
            let folder = url.ends_with('/') && !is_git;
            let address = url.replace(NAME_DIGITS, "00");
            let address = match address.parse::<Address>() {
                Ok(address) => address,
                Err(error) => return Err(self.bad(&of("url"), error.to_string(), "")),
            };
            match (&what, address) {
                (What::Commit { .. }, Address::Git(_)) => {}
                (What::Commit { .. }, _) => {
                    return Err(self.bad(
                        &of("url"),
                        format!("`{url}` is not the address of a git repository"),
                        "put git+ before it: git+https://...",
                    ));
                }
                (_, Address::Git(_)) => {
                    return Err(self.bad(
                        &of("url"),
                        format!("`{url}` is a git repository, and which commit is not said"),
                        format!("define {}", of("commit")),
                    ));
                }
                (What::Manifests(_), _) if !folder => {
                    return Err(self.bad(
                        &of("url"),
                        format!("`{url}` is one file, and a Manifest lists many"),
                        "name a folder: an address that ends with a slash",
                    ));
                }
                _ => {}
            }
        }
        let location = [of("manifests"), of("commit"), of("hash"), of("url")]
            .iter()
            .find_map(|element| self.elements.location(element));
        Ok(Fetch {
            what,
            urls,
            location,
        })
    }

    /// Addresses, with lists of mirrors put in.
    fn urls(&self, element: &str) -> Result<Vec<String>, PlanError> {
        let mut urls = Vec::new();
        for word in self.words(element)? {
            let Some(rest) = word.strip_prefix(MIRROR) else {
                urls.push(word);
                continue;
            };
            let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
            let list = format!("mirror/{name}");
            let bases = self.words(&list)?;
            if bases.is_empty() {
                return Err(self.bad(
                    element,
                    format!("`{word}`: there is no list of mirrors `{name}`"),
                    format!("define {list}, a block of addresses"),
                ));
            }
            for base in bases {
                if base.starts_with(MIRROR) {
                    return Err(self.bad(
                        &list,
                        format!("`{base}` is a list of mirrors itself"),
                        "",
                    ));
                }
                urls.push(format!("{}/{path}", base.trim_end_matches('/')));
            }
        }
        Ok(urls)
    }

    fn file(&self, name: &str, urls: &[String]) -> Result<What, PlanError> {
        let element = format!("fetch/{name}/hash");
        let mut digests: Vec<Digest> = Vec::new();
        for word in self.words(&element)? {
            let digest: Digest = match word.parse() {
                Ok(digest) => digest,
                Err(e) => return Err(self.bad(&element, format!("{e}"), "")),
            };
            if digests.iter().any(|d| d.algorithm() == digest.algorithm()) {
                let twice = format!("there are two of {}", digest.algorithm());
                return Err(self.bad(&element, twice, ""));
            }
            digests.push(digest);
        }
        if digests.is_empty() {
            return Err(PlanError::Missing {
                element,
                target: self.id.to_string(),
                help: "what is fetched has to be known: `hash: sha256:HEX` (or sha512, blake2b, blake3) \
                       of a file, `commit: HEX` of a git repository",
            });
        }
        digests.sort();
        let element = format!("fetch/{name}/file");
        let file = match self.text(&element)? {
            Some(file) => file,
            None => urls
                .iter()
                .filter_map(|url| url.split(['?', '#']).next()?.rsplit_once('/'))
                .map(|(_, last)| last.to_owned())
                .find(|last| !last.is_empty())
                .unwrap_or_else(|| name.to_owned()),
        };
        if !is_file_name(&file) {
            return Err(self.bad(
                &element,
                format!("`{file}` cannot be the name of a file"),
                "define it: one name, without slashes and blanks, that does not begin with a dot",
            ));
        }
        let element = format!("fetch/{name}/size");
        let size = match self.text(&element)? {
            None => None,
            Some(text) => match text.parse::<u64>() {
                Ok(size) => Some(size),
                Err(_) => {
                    return Err(self.bad(
                        &element,
                        format!("`{text}` is not a number of bytes"),
                        "",
                    ));
                }
            },
        };
        Ok(What::File {
            name: file,
            digests,
            size,
        })
    }

    fn commit(&self, element: &str, tree: &str, commit: String) -> Result<What, PlanError> {
        if !is_commit(&commit) {
            return Err(self.bad(
                element,
                format!("`{commit}` is not the whole hash of a commit"),
                "a branch or tag may be another one tomorrow: `git rev-parse` tells the hash, in 40 or 64 \
                 digits of lower case",
            ));
        }
        let tree = match self.text(tree)? {
            None => None,
            Some(text) => match text.parse::<TreeHash>() {
                Ok(hash) => Some(hash),
                Err(_) => {
                    return Err(self.bad(tree, format!("`{text}` is not the hash of a tree"), ""));
                }
            },
        };
        Ok(What::Commit { commit, tree })
    }

    /// Lines `CATEGORY/PACKAGE [PATTERN...]`.
    fn packages(&self, element: &str) -> Result<Vec<Package>, PlanError> {
        let lines = self
            .elements
            .block(element)
            .map_err(|e| self.of_target(e))?
            .unwrap_or_default();
        let mut packages = Vec::new();
        for line in lines {
            let mut words = line.split_whitespace();
            let Some(folder) = words.next().filter(|w| !w.starts_with('#')) else {
                continue;
            };
            let Some(folder) = relative(folder) else {
                return Err(self.bad(
                    element,
                    format!("`{folder}` is not a folder within the snapshot"),
                    "a line is CATEGORY/PACKAGE, and perhaps patterns of file names",
                ));
            };
            packages.push(Package {
                folder,
                patterns: words.map(str::to_owned).collect(),
            });
        }
        Ok(packages)
    }
}
