//! Addresses of other stores and caches, as users write them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A place that things are copied to or from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A folder: a store, or a binary cache.
    Folder(PathBuf),
    /// The same program at the other end of an ssh connection.
    Ssh(SshAddress),
    /// A binary cache on a web server.
    Http(String),
}

/// What follows `ssh://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAddress {
    /// The user, if not the one that ssh would take.
    pub user: Option<String>,
    /// The machine, as ssh knows it.
    pub host: String,
    /// The port, if not the one that ssh would take.
    pub port: Option<u16>,
    /// The store's folder at the other end, if not the usual one.
    pub store: Option<String>,
}

impl SshAddress {
    /// The address without what is at the other end, for messages.
    pub fn name(&self) -> String {
        match &self.user {
            Some(user) => format!("ssh://{user}@{}", self.host),
            None => format!("ssh://{}", self.host),
        }
    }
}

/// Text that is not the address of a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {detail}")]
pub struct RemoteError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub detail: &'static str,
}

impl FromStr for Remote {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Remote, RemoteError> {
        let refuse = |detail| RemoteError {
            text: text.to_owned(),
            detail,
        };
        if text.is_empty() {
            return Err(refuse("a folder or an address is expected"));
        }
        if let Some(rest) = text.strip_prefix("ssh://") {
            return ssh(rest).map(Remote::Ssh).map_err(refuse);
        }
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("http://") || lower.starts_with("https://") {
            let rest = text.split_once("://").map_or("", |(_, rest)| rest);
            if rest.is_empty() || rest.starts_with('/') {
                return Err(refuse("it does not name a host"));
            }
            if text.contains(['?', '#'])
                || text.chars().any(|c| c.is_whitespace() || c.is_control())
            {
                return Err(refuse("an address of a cache has no ?, # or blanks in it"));
            }
            return Ok(Remote::Http(text.trim_end_matches('/').to_owned()));
        }
        if let Some((scheme, _)) = text.split_once("://")
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return match scheme {
                "file" => Ok(Remote::Folder(text["file://".len()..].into())),
                _ => Err(refuse("it may be a folder, ssh://, http:// or https://")),
            };
        }
        // As scp writes places. A folder of that name is meant with ./ in front.
        if let Some((before, _)) = text.split_once(':')
            && !before.is_empty()
            && !before.contains('/')
        {
            return Err(refuse(
                "that is how scp names a place: write ssh://[USER@]HOST/STORE, or ./ in front of a folder's name",
            ));
        }
        Ok(Remote::Folder(Path::new(text).to_owned()))
    }
}

fn ssh(rest: &str) -> Result<SshAddress, &'static str> {
    let (authority, path) = match rest.find('/') {
        Some(at) => (&rest[..at], Some(&rest[at..])),
        None => (rest, None),
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let (host, port) = if let Some(inner) = host.strip_prefix('[') {
        let (inner, after) = inner.split_once(']').ok_or("`[` without `]`")?;
        (inner, after.strip_prefix(':'))
    } else {
        match host.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        }
    };
    let port = match port {
        None => None,
        Some(port) => Some(port.parse().map_err(|_| "its port is not a number")?),
    };
    // What begins with a dash would be an option of ssh.
    let plain = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-:%@+".contains(&b))
    };
    if !plain(host) || user.is_some_and(|user| !plain(user)) {
        return Err("it does not name a host that can be");
    }
    if path.is_some_and(|path| path.chars().any(char::is_control)) {
        return Err("its path has control characters");
    }
    Ok(SshAddress {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
        store: path.filter(|p| *p != "/").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_users_write_them() {
        let place = |text: &str| text.parse::<Remote>();
        assert_eq!(place("a/b"), Ok(Remote::Folder("a/b".into())));
        assert_eq!(place("./a:b"), Ok(Remote::Folder("./a:b".into())));
        assert_eq!(place("/a:b"), Ok(Remote::Folder("/a:b".into())));
        assert_eq!(place("file:///a/b"), Ok(Remote::Folder("/a/b".into())));
        assert_eq!(
            place("https://cache.example.org/x/"),
            Ok(Remote::Http("https://cache.example.org/x".into()))
        );
        let Ok(Remote::Ssh(ssh)) = place("ssh://me@builder:2222/srv/a store") else {
            panic!();
        };
        assert_eq!(ssh.user.as_deref(), Some("me"));
        assert_eq!((ssh.host.as_str(), ssh.port), ("builder", Some(2222)));
        assert_eq!(ssh.store.as_deref(), Some("/srv/a store"));
        let Ok(Remote::Ssh(ssh)) = place("ssh://[::1]") else {
            panic!();
        };
        assert_eq!(
            (ssh.host.as_str(), ssh.port, ssh.store),
            ("::1", None, None)
        );
        for bad in [
            "",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://-x@host",
            "ssh://host:port",
            "ssh://a b",
            "ssh://[::1",
            "ftp://host",
            "http://",
            "http:///x",
            "http://host/?x",
            "http://host/ x",
            "me@host:path",
            "me@host:/srv/store",
            "host:path",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
