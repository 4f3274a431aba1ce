//! What goes wrong with an engine, as it is seen, before anybody says who is to blame.

use bazel_remote_apis::google::rpc;
use mstore_store::StoreError;
use prost::Message;
use tonic::Code;

use super::digest::{Digest, NoDigest};

/// Most letters that are shown of what an engine says.
const MOST_SHOWN: usize = 400;
/// Most details of a status that are looked at, and most blobs that are believed to be named in them.
const MOST_DETAILS: usize = 16;
const MOST_NAMED: usize = 10_000;
/// What a detail is called that says what a request lacks.
const PRECONDITION: &str = "google.rpc.PreconditionFailure";

/// How an engine answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// What it says, for people.
    pub message: String,
    /// Blobs that it says it lacks.
    pub missing: Vec<Digest>,
    /// Whether it came from the certificates, before anything was asked.
    pub tls: bool,
}

/// Which call it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The first one of a channel: what the engine can do.
    Capabilities,
    /// Something about blobs or the cache of actions.
    Blobs,
    /// The one that begins an operation.
    Execute,
    /// The one that waits for an operation which is known.
    Wait,
}

/// Why something that was asked of an engine did not come about.
#[derive(Debug)]
pub enum Trouble {
    /// A call ended with a status.
    Call(Call, Status),
    /// Something does not agree with something else that the engine or a worker said.
    Disagrees(String),
    /// The engine, or this machine, is not set up for what is wanted.
    Setup {
        /// What is wrong.
        why: String,
        /// What helps.
        remedy: String,
    },
    /// A blob that the engine said it had is gone.
    Gone(Digest),
    /// It was cancelled from here.
    Cancelled,
    /// It ran longer than its step may, and was cancelled from here.
    Over,
    /// The store of this machine failed.
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Store(error)
    }
}

impl From<NoDigest> for Trouble {
    fn from(NoDigest(what): NoDigest) -> Trouble {
        Trouble::Disagrees(what)
    }
}

/// A text of an engine as it may be shown: one line, bounded, nothing that moves a terminal.
pub fn shown(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MOST_SHOWN)
        .collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PreconditionFailure {
    #[prost(message, repeated, tag = "1")]
    pub violations: Vec<Violation>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Violation {
    #[prost(string, tag = "1")]
    pub r#type: String,
    #[prost(string, tag = "2")]
    pub subject: String,
}

impl Status {
    /// What an operation says of itself.
    pub fn of_operation(status: &rpc::Status) -> Status {
        Status {
            code: Code::from_i32(status.code),
            message: shown(&status.message),
            missing: missing(status),
            tls: false,
        }
    }

    /// What a call ended with.
    pub fn of_call(status: &tonic::Status) -> Status {
        let details = rpc::Status::decode(status.details()).unwrap_or_default();
        let mut message = status.message().to_owned();
        let mut tls = false;
        // What lies below says more than "transport error".
        let mut source = std::error::Error::source(status);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<std::io::Error>() {
                tls |= io.kind() == std::io::ErrorKind::InvalidData;
            }
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = error.source();
        }
        Status {
            code: status.code(),
            message: shown(&message),
            missing: missing(&details),
            tls,
        }
    }

    /// The status of an operation that says nothing.
    pub fn ok() -> Status {
        Status {
            code: Code::Ok,
            message: String::new(),
            missing: Vec::new(),
            tls: false,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", name(self.code))?;
        match self.message.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", self.message),
        }
    }
}

/// What the protocol calls a code.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The blobs that a status names as missing.
fn missing(status: &rpc::Status) -> Vec<Digest> {
    let details = status.details.iter().take(MOST_DETAILS);
    let failures = details
        .filter(|any| any.type_url.rsplit('/').next() == Some(PRECONDITION))
        .filter_map(|any| PreconditionFailure::decode(&*any.value).ok());
    let violations = failures.flat_map(|failure| failure.violations);
    violations
        .filter(|violation| violation.r#type == "MISSING")
        .filter_map(|violation| Digest::of_resource(&violation.subject))
        .take(MOST_NAMED)
        .collect()
}

#[cfg(test)]
mod tests {
    use bazel_remote_apis::google::protobuf::Any;

    use super::super::digest::Function;
    use super::*;

    #[test]
    fn missing_blobs_are_read_from_details() {
        let digest = Function::Sha256.digest(b"gone");
        let violation = |kind: &str, subject: String| Violation {
            r#type: kind.to_owned(),
            subject,
        };
        let failure = PreconditionFailure {
            violations: vec![
                violation("MISSING", format!("blobs/{digest}")),
                violation("OTHER", format!("blobs/{digest}")),
                violation("MISSING", "blobs/no/digest".to_owned()),
            ],
        };
        let status = rpc::Status {
            code: Code::FailedPrecondition as i32,
            message: "a\nb\u{1b}[2J".to_owned(),
            details: vec![Any {
                type_url: format!("type.googleapis.com/{PRECONDITION}"),
                value: failure.encode_to_vec(),
            }],
        };
        let of_operation = Status::of_operation(&status);
        assert_eq!(of_operation.missing, [digest]);
        assert_eq!(of_operation.message, "a b [2J");
        let call = tonic::Status::with_details(
            Code::FailedPrecondition,
            "a b",
            status.encode_to_vec().into(),
        );
        assert_eq!(Status::of_call(&call).missing, [digest]);
    }
}
