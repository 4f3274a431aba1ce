//! Addresses of engines: `reapi://HOST:PORT/INSTANCE`, and `reapis://` over TLS.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The port of an engine without TLS whose address has none.
const PLAIN_PORT: u16 = 50051;
/// The same with TLS.
const TLS_PORT: u16 = 443;
/// Most bytes of an address.
const MOST: usize = 1024;
/// Parts of a name that the protocol gives a meaning to: an instance cannot have them.
const RESERVED: [&str; 7] = [
    "blobs",
    "uploads",
    "actions",
    "actionResults",
    "operations",
    "capabilities",
    "compressed-blobs",
];

/// Where an engine is, and which of its instances is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineAddress {
    secure: bool,
    host: String,
    port: u16,
    instance: String,
}

/// A text that is not the address of an engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the address of an engine: {detail}")]
pub struct AddressError {
    text: String,
    detail: String,
}

impl EngineAddress {
    /// Whether what travels is encrypted, and the engine proves who it is.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name of the instance; empty where there is none.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether it is this machine, so that nothing travels over a network.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        address.map_or(self.host == "localhost", |ip| ip.is_loopback())
    }

    /// What gRPC calls the place.
    pub fn uri(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Host and port.
    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// What its realisations give as their host, and files may be called by.
    pub fn label(&self) -> String {
        let authority = self.authority();
        match self.instance.is_empty() {
            true => authority,
            false => format!("{}@{authority}", self.instance.replace('/', "+")),
        }
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "reapis" } else { "reapi" };
        write!(f, "{scheme}://{}", self.authority())?;
        if !self.instance.is_empty() {
            write!(f, "/{}", self.instance)?;
        }
        Ok(())
    }
}

impl FromStr for EngineAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<EngineAddress, AddressError> {
        parse(text).map_err(|detail| AddressError {
            // A secret that somebody put there is not shown.
            text: match text.rsplit_once('@') {
                Some((_, after)) => format!("…@{after}"),
                None => text.chars().take(MOST).collect(),
            },
            detail: detail.to_owned(),
        })
    }
}

fn parse(text: &str) -> Result<EngineAddress, &'static str> {
    const FORM: &str = "it is of the form reapi://HOST:PORT/INSTANCE, or reapis:// over TLS";
    if text.len() > MOST {
        return Err("it is too long");
    }
    let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
    let secure = match scheme {
        "reapi" => false,
        "reapis" => true,
        _ => return Err(FORM),
    };
    let (authority, instance) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err("it has a user or a secret; a token goes into a file (reapi/token)");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']').ok_or(FORM)?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("what stands in brackets is not an IPv6 address");
            }
            (host, after)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        None if !port.is_empty() => return Err(FORM),
        None if secure => TLS_PORT,
        None => PLAIN_PORT,
        Some(port) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err("its port is not a number from 1 to 65535"),
        },
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if host.is_empty() || !host.chars().all(fits) {
        return Err("it has no host, or one with letters that no host has");
    }
    let instance = instance.strip_suffix('/').unwrap_or(instance);
    let fits = |c: char| c.is_ascii_graphic() && !"?#\\\"<>@".contains(c);
    for part in instance.split('/').filter(|_| !instance.is_empty()) {
        if part.is_empty() || !part.chars().all(fits) {
            return Err("its instance has an empty part, or letters other than ASCII");
        }
        if RESERVED.contains(&part) {
            return Err("its instance has a word that the protocol keeps for itself");
        }
    }
    Ok(EngineAddress {
        secure,
        host: host.to_owned(),
        port,
        instance: instance.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_and_have_labels() {
        let shown = |text: &str| {
            let address: EngineAddress = text.parse().unwrap();
            (address.to_string(), address.uri(), address.label())
        };
        let all = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            shown("reapi://127.0.0.1:8980/main/x"),
            all(
                "reapi://127.0.0.1:8980/main/x",
                "http://127.0.0.1:8980",
                "main+x@127.0.0.1:8980"
            )
        );
        assert_eq!(
            shown("reapis://farm.example"),
            all(
                "reapis://farm.example:443",
                "https://farm.example:443",
                "farm.example:443"
            )
        );
        assert_eq!(shown("reapi://[::1]/").1, "http://[::1]:50051");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is = |text: &str| text.parse::<EngineAddress>().unwrap().is_loopback();
        assert!(is("reapi://localhost") && is("reapi://127.3.2.1") && is("reapi://[::1]:2"));
        assert!(!is("reapi://10.0.0.1") && !is("reapi://localhost.example"));
    }

    #[test]
    fn what_is_no_address_is_refused_and_no_secret_is_shown() {
        for text in [
            "",
            "http://a",
            "reapi://",
            "reapi://a:0",
            "reapi://a:70000",
            "reapi://a:b",
            "reapi://[::1",
            "reapi://[a]:1",
            "reapi://a b",
            "reapi://a/x//y",
            "reapi://a/x/blobs",
            "reapi://a/x?y",
        ] {
            assert!(text.parse::<EngineAddress>().is_err(), "{text}");
        }
        let error = "reapi://me:hunter2@farm/x".parse::<EngineAddress>();
        let error = error.unwrap_err().to_string();
        assert!(
            !error.contains("hunter2") && error.contains("reapi/token"),
            "{error}"
        );
    }
}
