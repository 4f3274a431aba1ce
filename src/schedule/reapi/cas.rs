//! Blobs of an engine: which it lacks, to it and from it. What comes is believed by its hash alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use bazel_remote_apis::google::bytestream::{ReadRequest, WriteRequest};
use re::content_addressable_storage_client::ContentAddressableStorageClient;
use tonic::Code;
use tonic::codegen::tokio_stream;

use super::channel::{Abilities, LONG, Line, MOST_MESSAGE, Pauses, SHORT};
use super::digest::{Blob, Digest, Function};
use super::trouble::{Call, Status, Trouble};

/// Digests that are asked about in one call.
const MOST_ASKED: usize = 10_000;
/// Bytes that a blob takes in a message beside its content, about.
const AROUND: usize = 160;
/// Bytes of a blob that are written at once.
const PIECE: usize = 512 << 10;
/// How often a blob is read anew that came with another content.
const MOST_WRONG: u32 = 2;

/// Blobs that travel together: in one message, or one alone.
pub type Portion = Vec<Digest>;

/// The blobs of an engine.
#[derive(Clone)]
pub struct Cas {
    line: Arc<Line>,
    abilities: Abilities,
}

fn disagrees<T>(what: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Disagrees(what.into()))
}

fn status_of(status: &Option<bazel_remote_apis::google::rpc::Status>) -> Status {
    status
        .as_ref()
        .map_or_else(Status::ok, Status::of_operation)
}

impl Cas {
    /// Those of an engine that can do this.
    pub fn new(line: Arc<Line>, abilities: Abilities) -> Cas {
        Cas { line, abilities }
    }

    fn client(
        channel: tonic::transport::Channel,
    ) -> ContentAddressableStorageClient<tonic::transport::Channel> {
        ContentAddressableStorageClient::new(channel)
            .max_decoding_message_size(MOST_MESSAGE)
            .max_encoding_message_size(MOST_MESSAGE)
    }

    /// Those of some digests whose blobs it lacks.
    pub async fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, Trouble> {
        let mut missing = Vec::new();
        for some in digests.chunks(MOST_ASKED) {
            let message = re::FindMissingBlobsRequest {
                instance_name: self.line.instance(),
                blob_digests: some.iter().map(Digest::wire).collect(),
                digest_function: self.abilities.named,
            };
            let ask = |channel, request| async move {
                Self::client(channel).find_missing_blobs(request).await
            };
            let answer = self.line.ask(Call::Blobs, message, SHORT, ask).await?;
            let asked: HashSet<&Digest> = some.iter().collect();
            let mut named = HashSet::new();
            for digest in &answer.missing_blob_digests {
                let digest = Digest::read(digest)?;
                if !asked.contains(&digest) {
                    return disagrees(format!(
                        "it says that it lacks {digest}, of which it was not asked"
                    ));
                }
                if named.insert(digest) {
                    missing.push(digest);
                }
            }
        }
        Ok(missing)
    }

    /// Divides blobs into those that travel in one message together, and large ones alone.
    pub fn portions(&self, digests: &[Digest]) -> Vec<Portion> {
        let weight = |digest: &Digest| {
            usize::try_from(digest.size).map_or(usize::MAX, |size| size.saturating_add(AROUND))
        };
        let (mut portions, mut small, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
        for digest in digests {
            let weight = weight(digest);
            if weight > self.abilities.batch {
                portions.push(vec![*digest]);
                continue;
            }
            if bytes + weight > self.abilities.batch && !small.is_empty() {
                portions.push(std::mem::take(&mut small));
                bytes = 0;
            }
            bytes += weight;
            small.push(*digest);
        }
        if !small.is_empty() {
            portions.push(small);
        }
        portions
    }

    fn fits(&self, blobs: impl Iterator<Item = u64>) -> bool {
        let weight = |size: u64| size.saturating_add(AROUND as u64);
        let all = blobs.map(weight).fold(0, u64::saturating_add);
        all <= self.abilities.batch as u64
    }

    /// Uploads a portion. One that breaks off begins anew.
    pub async fn upload(&self, blobs: Vec<Blob>) -> Result<(), Trouble> {
        if self.fits(blobs.iter().map(|blob| blob.digest.size)) {
            return self.upload_together(blobs).await;
        }
        for blob in blobs {
            let mut pauses = Pauses::new(self.line.settings.patience);
            while let Err(trouble) = self.write(&blob).await {
                pauses.after(trouble).await?;
            }
        }
        Ok(())
    }

    async fn upload_together(&self, blobs: Vec<Blob>) -> Result<(), Trouble> {
        let mut left: HashMap<Digest, Vec<u8>> = blobs
            .into_iter()
            .map(|blob| (blob.digest, blob.bytes))
            .collect();
        let mut pauses = Pauses::new(self.line.settings.patience);
        while !left.is_empty() {
            let mut requests: Vec<_> = left
                .iter()
                .map(|(digest, bytes)| re::batch_update_blobs_request::Request {
                    digest: Some(digest.wire()),
                    data: bytes.clone(),
                    compressor: 0,
                })
                .collect();
            requests.sort_by(|a, b| {
                let key =
                    |r: &re::batch_update_blobs_request::Request| r.digest.clone().map(|d| d.hash);
                key(a).cmp(&key(b))
            });
            let message = re::BatchUpdateBlobsRequest {
                instance_name: self.line.instance(),
                requests,
                digest_function: self.abilities.named,
            };
            let ask = |channel, request| async move {
                Self::client(channel).batch_update_blobs(request).await
            };
            let answer = self.line.ask(Call::Blobs, message, LONG, ask).await?;
            let mut failed = None;
            let before = left.len();
            for response in &answer.responses {
                let Some(digest) = &response.digest else {
                    return disagrees("it answers an upload without saying of which blob");
                };
                let digest = Digest::read(digest)?;
                let status = status_of(&response.status);
                match status.code {
                    Code::Ok | Code::AlreadyExists => {
                        left.remove(&digest);
                    }
                    _ => failed = Some(status),
                }
            }
            match failed {
                Some(status) => pauses.after(Trouble::Call(Call::Blobs, status)).await?,
                None if left.len() == before => {
                    return disagrees("it answers an upload without saying what became of it");
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The end of the name of a blob's resource.
    fn resource(&self, digest: &Digest) -> String {
        match self.abilities.function {
            Function::Sha256 => format!("blobs/{digest}"),
            Function::Blake3 => format!("blobs/blake3/{digest}"),
        }
    }

    fn within_instance(&self, rest: String) -> String {
        match self.line.instance() {
            instance if instance.is_empty() => rest,
            instance => format!("{instance}/{rest}"),
        }
    }

    /// Writes one blob as a stream.
    async fn write(&self, blob: &Blob) -> Result<(), Trouble> {
        let name = format!("uploads/{}/{}", uuid(), self.resource(&blob.digest));
        let name = self.within_instance(name);
        let mut pieces: Vec<&[u8]> = blob.bytes.chunks(PIECE).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        let (last, mut offset) = (pieces.len() - 1, 0_i64);
        let mut messages = Vec::with_capacity(pieces.len());
        for (at, piece) in pieces.into_iter().enumerate() {
            messages.push(WriteRequest {
                // Only the first has it: later ones may leave it out.
                resource_name: if at == 0 { name.clone() } else { String::new() },
                write_offset: offset,
                finish_write: at == last,
                data: piece.to_vec(),
            });
            offset += piece.len() as i64;
        }
        let ask = |channel, request: tonic::Request<Vec<WriteRequest>>| async move {
            let mut client = ByteStreamClient::new(channel).max_encoding_message_size(MOST_MESSAGE);
            client.write(request.map(tokio_stream::iter)).await
        };
        let answer = self.line.once(Call::Blobs, messages, LONG, ask).await?;
        match answer.committed_size {
            // As those answer that had it already.
            -1 => Ok(()),
            size if size == offset => Ok(()),
            size => disagrees(format!(
                "it took {size} bytes of a blob of {offset}, and says that this is all"
            )),
        }
    }

    /// Reads one blob as a stream; one that breaks off goes on where it was.
    pub async fn read(&self, digest: Digest) -> Result<Vec<u8>, Trouble> {
        let name = self.within_instance(self.resource(&digest));
        let size = usize::try_from(digest.size).unwrap_or(usize::MAX);
        // Not all at once: whoever says that it is large has not sent it yet.
        let mut bytes: Vec<u8> = Vec::with_capacity(size.min(1 << 20));
        let mut pauses = Pauses::new(self.line.settings.patience);
        let mut wrong = 0;
        loop {
            let before = bytes.len();
            let trouble = match self.read_on(&name, size, &mut bytes).await {
                Ok(()) if bytes.len() < size => Trouble::Call(
                    Call::Blobs,
                    Status {
                        code: Code::Unavailable,
                        message: format!("a blob ended after {} of {size} bytes", bytes.len()),
                        ..Status::ok()
                    },
                ),
                Ok(()) if self.abilities.function.digest(&bytes) == digest => return Ok(bytes),
                Ok(()) => {
                    wrong += 1;
                    if wrong >= MOST_WRONG {
                        return disagrees(format!("what it sends as {digest} has another content"));
                    }
                    bytes.clear();
                    continue;
                }
                Err(Trouble::Call(_, status)) if status.code == Code::NotFound => {
                    return Err(Trouble::Gone(digest));
                }
                Err(trouble) => trouble,
            };
            if bytes.len() > before {
                pauses.forget();
            }
            pauses.after(trouble).await?;
        }
    }

    /// Reads on from where the bytes end.
    async fn read_on(&self, name: &str, size: usize, bytes: &mut Vec<u8>) -> Result<(), Trouble> {
        if bytes.len() == size {
            return Ok(());
        }
        let message = ReadRequest {
            resource_name: name.to_owned(),
            read_offset: bytes.len() as i64,
            read_limit: 0,
        };
        let ask = |channel, request| async move {
            let mut client = ByteStreamClient::new(channel).max_decoding_message_size(MOST_MESSAGE);
            client.read(request).await
        };
        let mut stream = self.line.once(Call::Blobs, message, LONG, ask).await?;
        let broken = |status: &tonic::Status| Trouble::Call(Call::Blobs, Status::of_call(status));
        loop {
            let next = match tokio::time::timeout(SHORT, stream.message()).await {
                Ok(next) => next.map_err(|status| broken(&status))?,
                Err(_) => {
                    self.line.reconnect();
                    return Err(broken(&tonic::Status::deadline_exceeded(
                        "a blob stopped coming",
                    )));
                }
            };
            let Some(piece) = next else {
                return Ok(());
            };
            if piece.data.len() > size - bytes.len() {
                return disagrees(format!(
                    "it sends more than the {size} bytes that a blob has"
                ));
            }
            bytes.extend_from_slice(&piece.data);
            if bytes.len() == size {
                return Ok(());
            }
        }
    }

    /// Reads a portion. Gives the blobs in the order of the digests.
    pub async fn read_all(&self, digests: Portion) -> Result<Vec<Vec<u8>>, Trouble> {
        if let [one] = digests[..]
            && !self.fits([one.size].into_iter())
        {
            return Ok(vec![self.read(one).await?]);
        }
        let message = re::BatchReadBlobsRequest {
            instance_name: self.line.instance(),
            digests: digests.iter().map(Digest::wire).collect(),
            acceptable_compressors: Vec::new(),
            digest_function: self.abilities.named,
        };
        let ask =
            |channel, request| async move { Self::client(channel).batch_read_blobs(request).await };
        let answer = self.line.ask(Call::Blobs, message, LONG, ask).await?;
        let mut found: HashMap<Digest, Vec<u8>> = HashMap::new();
        for response in answer.responses {
            let Some(digest) = &response.digest else {
                return disagrees("it sends a blob without saying which");
            };
            let digest = Digest::read(digest)?;
            let status = status_of(&response.status);
            match status.code {
                _ if !digests.contains(&digest) => {
                    return disagrees(format!("it sends {digest}, of which it was not asked"));
                }
                Code::Ok if self.abilities.function.digest(&response.data) == digest => {
                    found.insert(digest, response.data);
                }
                Code::Ok => {
                    return disagrees(format!("what it sends as {digest} has another content"));
                }
                Code::NotFound => return Err(Trouble::Gone(digest)),
                // By itself it is asked for again as long as that may help.
                _ => {}
            }
        }
        let mut all = Vec::with_capacity(digests.len());
        for digest in &digests {
            all.push(match found.get(digest) {
                Some(bytes) => bytes.clone(),
                None => self.read(*digest).await?,
            });
        }
        Ok(all)
    }
}

/// A random name of an upload, in the form of a UUID.
fn uuid() -> String {
    let mut bytes = [0_u8; 16];
    // Where the system gives nothing, the name is one that others may have: engines write by digest all the same.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let number = u128::from_be_bytes(bytes);
    let part = |from: u32, bits: u32| (number >> from) & ((1 << bits) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(96, 32),
        part(80, 16),
        part(64, 16),
        part(48, 16),
        part(0, 48)
    )
}
