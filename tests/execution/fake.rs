//! An engine of the Remote Execution API in this process: it keeps blobs, runs jobs, and fails in whatever way a test
//! wants, at whatever call.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use bazel_remote_apis::build::bazel::semver::SemVer;
use bazel_remote_apis::google::bytestream as bs;
use bazel_remote_apis::google::bytestream::byte_stream_server::{ByteStream, ByteStreamServer};
use bazel_remote_apis::google::longrunning::operations_server::{Operations, OperationsServer};
use bazel_remote_apis::google::{longrunning as lr, protobuf, rpc};
use prost::Message;
use re::action_cache_server::{ActionCache, ActionCacheServer};
use re::capabilities_server::{Capabilities, CapabilitiesServer};
use re::content_addressable_storage_server::{
    ContentAddressableStorage as Cas, ContentAddressableStorageServer,
};
use re::execution_server::{Execution, ExecutionServer};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tonic::codegen::tokio_stream::{self, Stream};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};

/// How a call goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// It ends with this status.
    Status(Code),
    /// The same with a text.
    Refused(Code, &'static str),
    /// It ends with FAILED_PRECONDITION, whose details name every blob of the action as missing.
    Missing,
    /// A stream breaks off after so many bytes or messages.
    Cut(usize),
    /// A blob comes with other bytes of the same length.
    Wrong,
    /// A blob comes with more bytes than it has.
    Long,
    /// What is asked for is answered with digests that were not.
    Foreign,
    /// There is no answer.
    Silent,
    /// An operation ends with this status and exit status, and no outputs.
    Ended(Code, i32),
    /// The operation is over with neither a response nor an error.
    Nothing,
    /// The record is about another key.
    OtherKey,
    /// The record is no record.
    BadRecord,
    /// The record names another tree.
    OtherTree,
    /// The record is left out, the exit status stays.
    NoRecord,
    /// The worker says that its sandbox lacks something.
    NoSandbox,
    /// The step fails.
    Fails,
    /// The step fails, and it is said that this came from the cache.
    CachedFailure,
    /// Blobs of the result are lost as soon as it is there.
    Evicted,
    /// All blobs of the input are lost before it begins.
    Swept,
    /// The operation is forgotten once its name was told.
    Forgotten,
    /// It stays in the queue until it is cancelled.
    Queued,
    /// It is executed until it is cancelled.
    Endless,
    /// It ends, and whoever began it is never told.
    Held,
}

/// Decides what goes wrong: is given the call and how often it was made before.
pub type Faults = dyn Fn(&str, usize) -> Option<Fault> + Send + Sync;

/// What a job comes to: is given the staged folder of an action, and gives the exit status.
pub type Worker = dyn Fn(&Path) -> i32 + Send + Sync;

type Reply<T> = Result<Response<T>, Status>;
type Flow<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the engine has and did.
pub struct State {
    faults: Box<Faults>,
    worker: Box<Worker>,
    top: PathBuf,
    pub blobs: Mutex<HashMap<String, Vec<u8>>>,
    pub cache: Mutex<HashMap<String, re::ActionResult>>,
    pub operations: Mutex<HashMap<String, lr::Operation>>,
    /// Calls by their names, in their order.
    pub calls: Mutex<Vec<String>>,
    pub batch: i64,
    pub token: Mutex<Option<String>>,
    /// The range of priorities that it announces, and those that it was given.
    pub range: Mutex<Option<(i32, i32)>>,
    pub priorities: Mutex<Vec<Option<i32>>>,
    /// What it was asked to execute.
    pub actions: Mutex<Vec<re::Digest>>,
    numbers: AtomicU64,
}

impl State {
    /// Notes a call, and says what goes wrong with it.
    fn call<T>(&self, name: &str, request: &Request<T>) -> Result<Option<Fault>, Status> {
        let count = {
            let mut calls = self.calls.lock().unwrap();
            let count = calls.iter().filter(|call| *call == name).count();
            calls.push(name.to_owned());
            count
        };
        if let Some(token) = &*self.token.lock().unwrap() {
            let said = request.metadata().get("authorization");
            if said.and_then(|said| said.to_str().ok()) != Some(&*format!("Bearer {token}")) {
                return Err(Status::unauthenticated("a token is needed"));
            }
        }
        match (self.faults)(name, count) {
            Some(Fault::Status(code)) => Err(Status::new(code, "on purpose")),
            Some(Fault::Refused(code, text)) => Err(Status::new(code, text)),
            other => Ok(other),
        }
    }

    /// How often a call was made.
    pub fn count(&self, name: &str) -> usize {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .filter(|call| *call == name)
            .count()
    }

    fn put(&self, bytes: Vec<u8>) -> re::Digest {
        let digest = digest(&bytes);
        self.blobs
            .lock()
            .unwrap()
            .insert(digest.hash.clone(), bytes);
        digest
    }

    fn get(&self, digest: Option<&re::Digest>) -> Result<Vec<u8>, Status> {
        let hash = digest.map(|digest| digest.hash.clone()).unwrap_or_default();
        let found = self.blobs.lock().unwrap().get(&hash).cloned();
        found.ok_or_else(|| Status::not_found(format!("not the blob {hash}")))
    }

    /// All digests that an action needs; an error names what is missing.
    fn needed(&self, action: &re::Digest) -> Result<Vec<re::Digest>, Status> {
        let mut all = vec![action.clone()];
        let mut missing = Vec::new();
        if let Ok(bytes) = self.get(Some(action)) {
            let action = re::Action::decode(&*bytes).unwrap();
            all.extend(action.command_digest);
            let mut folders: Vec<re::Digest> = action.input_root_digest.into_iter().collect();
            while let Some(folder) = folders.pop() {
                all.push(folder.clone());
                if let Ok(bytes) = self.get(Some(&folder)) {
                    let folder = re::Directory::decode(&*bytes).unwrap();
                    all.extend(folder.files.into_iter().filter_map(|file| file.digest));
                    folders.extend(folder.directories.into_iter().filter_map(|it| it.digest));
                }
            }
        }
        for digest in &all {
            if self.get(Some(digest)).is_err() {
                missing.push(digest.clone());
            }
        }
        match missing.is_empty() {
            true => Ok(all),
            false => Err(lacking(&missing)),
        }
    }

    /// Writes the input root of an action to a folder.
    fn stage(&self, digest: &re::Digest, folder: &Path) -> Result<(), Status> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(folder).unwrap();
        let directory = re::Directory::decode(&*self.get(Some(digest))?).unwrap();
        for file in directory.files {
            let path = folder.join(&file.name);
            std::fs::write(&path, self.get(file.digest.as_ref())?).unwrap();
            let mode = if file.is_executable { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        for below in directory.directories {
            self.stage(below.digest.as_ref().unwrap(), &folder.join(&below.name))?;
        }
        Ok(())
    }

    /// Runs an action, and keeps what came out.
    fn work(&self, action: &re::Digest) -> Result<re::ActionResult, Status> {
        let bytes = self.get(Some(action))?;
        let action = re::Action::decode(&*bytes).unwrap();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let folder = self.top.join(format!("run-{number}"));
        self.stage(action.input_root_digest.as_ref().unwrap(), &folder)?;
        let exit = (self.worker)(&folder);
        let file = |path: &str| {
            let bytes = std::fs::read(folder.join(path)).ok()?;
            Some(re::OutputFile {
                path: path.to_owned(),
                digest: Some(self.put(bytes)),
                ..re::OutputFile::default()
            })
        };
        let output_files = ["log.zst", "result"]
            .iter()
            .filter_map(|path| file(path))
            .collect();
        let mut tree = re::Tree::default();
        let mut root = re::Directory::default();
        if let Ok(listed) = std::fs::read_dir(folder.join("out")) {
            for entry in listed.flatten() {
                root.files.push(re::FileNode {
                    name: entry.file_name().into_string().unwrap(),
                    digest: Some(self.put(std::fs::read(entry.path()).unwrap())),
                    ..re::FileNode::default()
                });
            }
        }
        tree.root = Some(root);
        let tree = self.put(tree.encode_to_vec());
        std::fs::remove_dir_all(&folder).unwrap();
        Ok(re::ActionResult {
            output_files,
            output_directories: vec![re::OutputDirectory {
                path: "out".to_owned(),
                tree_digest: Some(tree),
                ..re::OutputDirectory::default()
            }],
            exit_code: exit,
            ..re::ActionResult::default()
        })
    }

    /// Puts another record in the place of that of a result.
    fn change_record(
        &self,
        result: &mut re::ActionResult,
        change: impl FnOnce(&mut mstore::share::action::Record),
    ) {
        let file = result
            .output_files
            .iter_mut()
            .find(|file| file.path == "result")
            .unwrap();
        let bytes = self.get(file.digest.as_ref()).unwrap();
        let mut record = mstore::share::action::Record::decode(&bytes).unwrap();
        change(&mut record);
        file.digest = Some(self.put(record.encode().unwrap()));
    }

    /// What an operation comes to.
    fn operate(&self, name: &str, action: &re::Digest, fault: Option<Fault>) -> lr::Operation {
        use mstore::share::action::Outcome;
        let mut operation = lr::Operation {
            name: name.to_owned(),
            done: true,
            ..lr::Operation::default()
        };
        let mut response = re::ExecuteResponse::default();
        let ended = |code: Code| {
            Some(rpc::Status {
                code: code as i32,
                message: "on purpose".to_owned(),
                ..rpc::Status::default()
            })
        };
        match &fault {
            Some(Fault::Nothing) => return operation,
            Some(Fault::Ended(code, exit)) => {
                response.status = ended(*code);
                response.result = Some(re::ActionResult {
                    exit_code: *exit,
                    ..re::ActionResult::default()
                });
            }
            _ => match self.work(action) {
                Ok(mut result) => {
                    match &fault {
                        Some(Fault::OtherKey) => self.change_record(&mut result, |record| {
                            record.key = mstore::drv::Key(mstore_store::Hash::of(b"another"));
                        }),
                        Some(Fault::OtherTree) => self.change_record(&mut result, |record| {
                            if let Outcome::Built { tree, .. } = &mut record.outcome {
                                *tree = mstore_store::TreeHash(mstore_store::Hash::of(b"another"));
                            }
                        }),
                        Some(Fault::BadRecord) => {
                            let file = result
                                .output_files
                                .iter_mut()
                                .find(|file| file.path == "result");
                            file.unwrap().digest = Some(self.put(b"nonsense".to_vec()));
                        }
                        Some(Fault::NoRecord) => {
                            result.output_files.retain(|file| file.path != "result")
                        }
                        Some(Fault::Fails | Fault::CachedFailure) => {
                            self.change_record(&mut result, |record| {
                                record.outcome = Outcome::Failed {
                                    how: "exit status 7".to_owned(),
                                    step: 0,
                                    limit: false,
                                    status: 7 << 8,
                                };
                            });
                            result.exit_code = 1;
                            response.cached_result = fault == Some(Fault::CachedFailure);
                        }
                        Some(Fault::NoSandbox) => {
                            self.change_record(&mut result, |record| {
                                record.outcome = Outcome::Infrastructure {
                                    code: 101,
                                    what: "not a user namespace".to_owned(),
                                };
                            });
                            result.exit_code = 101;
                        }
                        Some(Fault::Evicted) => {
                            let mut blobs = self.blobs.lock().unwrap();
                            for file in &result.output_files {
                                blobs.remove(&file.digest.as_ref().unwrap().hash);
                            }
                        }
                        _ => {}
                    }
                    if result.exit_code == 0 {
                        let key = action.hash.clone();
                        self.cache.lock().unwrap().insert(key, result.clone());
                    }
                    response.result = Some(result);
                }
                Err(status) => {
                    response.status = Some(rpc::Status {
                        code: Code::FailedPrecondition as i32,
                        message: status.message().to_owned(),
                        ..rpc::Status::default()
                    });
                }
            },
        }
        operation.result = Some(lr::operation::Result::Response(protobuf::Any {
            type_url: "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteResponse"
                .to_owned(),
            value: response.encode_to_vec(),
        }));
        operation
    }
}

/// The digest of some bytes.
pub fn digest(bytes: &[u8]) -> re::Digest {
    let hash = Sha256::digest(bytes);
    re::Digest {
        hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        size_bytes: bytes.len() as i64,
    }
}

#[derive(Clone, PartialEq, Message)]
struct PreconditionFailure {
    #[prost(message, repeated, tag = "1")]
    violations: Vec<Violation>,
}

#[derive(Clone, PartialEq, Message)]
struct Violation {
    #[prost(string, tag = "1")]
    r#type: String,
    #[prost(string, tag = "2")]
    subject: String,
}

/// FAILED_PRECONDITION that names these.
fn lacking(missing: &[re::Digest]) -> Status {
    let violation = |digest: &re::Digest| Violation {
        r#type: "MISSING".to_owned(),
        subject: format!("blobs/{}/{}", digest.hash, digest.size_bytes),
    };
    let details = rpc::Status {
        code: Code::FailedPrecondition as i32,
        message: "blobs are missing".to_owned(),
        details: vec![protobuf::Any {
            type_url: "type.googleapis.com/google.rpc.PreconditionFailure".to_owned(),
            value: PreconditionFailure {
                violations: missing.iter().map(violation).collect(),
            }
            .encode_to_vec(),
        }],
    };
    Status::with_details(
        Code::FailedPrecondition,
        "blobs are missing",
        details.encode_to_vec().into(),
    )
}

#[derive(Clone)]
struct Service(Arc<State>);

fn flow<T: Send + 'static>(items: Vec<Result<T, Status>>) -> Flow<T> {
    Box::pin(tokio_stream::iter(items))
}

async fn silence() {
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

#[tonic::async_trait]
impl Capabilities for Service {
    async fn get_capabilities(
        &self,
        request: Request<re::GetCapabilitiesRequest>,
    ) -> Reply<re::ServerCapabilities> {
        if self.0.call("capabilities", &request)? == Some(Fault::Silent) {
            silence().await;
        }
        let version = |minor| {
            Some(SemVer {
                major: 2,
                minor,
                ..SemVer::default()
            })
        };
        let range = *self.0.range.lock().unwrap();
        let range =
            range.map(
                |(min_priority, max_priority)| re::priority_capabilities::PriorityRange {
                    min_priority,
                    max_priority,
                },
            );
        Ok(Response::new(re::ServerCapabilities {
            cache_capabilities: Some(re::CacheCapabilities {
                digest_functions: vec![1],
                max_batch_total_size_bytes: self.0.batch,
                ..re::CacheCapabilities::default()
            }),
            execution_capabilities: Some(re::ExecutionCapabilities {
                digest_function: 1,
                exec_enabled: true,
                execution_priority_capabilities: range.map(|range| re::PriorityCapabilities {
                    priorities: vec![range],
                }),
                ..re::ExecutionCapabilities::default()
            }),
            low_api_version: version(0),
            high_api_version: version(2),
            ..re::ServerCapabilities::default()
        }))
    }
}

#[tonic::async_trait]
impl Cas for Service {
    async fn find_missing_blobs(
        &self,
        request: Request<re::FindMissingBlobsRequest>,
    ) -> Reply<re::FindMissingBlobsResponse> {
        let fault = self.0.call("missing", &request)?;
        let asked = request.into_inner().blob_digests;
        let blobs = self.0.blobs.lock().unwrap();
        let mut missing: Vec<re::Digest> = asked
            .into_iter()
            .filter(|digest| !blobs.contains_key(&digest.hash))
            .collect();
        if fault == Some(Fault::Foreign) {
            missing.push(digest(b"foreign"));
        }
        Ok(Response::new(re::FindMissingBlobsResponse {
            missing_blob_digests: missing,
        }))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<re::BatchUpdateBlobsRequest>,
    ) -> Reply<re::BatchUpdateBlobsResponse> {
        let fault = self.0.call("update", &request)?;
        let mut responses = Vec::new();
        for part in request.into_inner().requests {
            let said = part.digest.unwrap();
            let code = match digest(&part.data) == said {
                true if fault == Some(Fault::Cut(0)) && responses.is_empty() => Code::Unavailable,
                true => {
                    self.0.put(part.data);
                    Code::Ok
                }
                false => Code::InvalidArgument,
            };
            responses.push(re::batch_update_blobs_response::Response {
                digest: Some(said),
                status: Some(rpc::Status {
                    code: code as i32,
                    ..rpc::Status::default()
                }),
            });
        }
        if fault == Some(Fault::Foreign) {
            responses.clear();
        }
        Ok(Response::new(re::BatchUpdateBlobsResponse { responses }))
    }

    async fn batch_read_blobs(
        &self,
        request: Request<re::BatchReadBlobsRequest>,
    ) -> Reply<re::BatchReadBlobsResponse> {
        let fault = self.0.call("batch", &request)?;
        let mut responses = Vec::new();
        for digest in request.into_inner().digests {
            let (code, mut data) = match self.0.get(Some(&digest)) {
                Ok(data) => (Code::Ok, data),
                Err(_) => (Code::NotFound, Vec::new()),
            };
            match fault {
                Some(Fault::Wrong) => data.iter_mut().for_each(|byte| *byte ^= 1),
                Some(Fault::Long) => data.push(0),
                _ => {}
            }
            responses.push(re::batch_read_blobs_response::Response {
                digest: Some(digest),
                data,
                status: Some(rpc::Status {
                    code: code as i32,
                    ..rpc::Status::default()
                }),
                ..re::batch_read_blobs_response::Response::default()
            });
        }
        match fault {
            Some(Fault::Cut(kept)) => responses.truncate(kept),
            Some(Fault::Foreign) => {
                for response in &mut responses {
                    response.digest = Some(digest(b"foreign"));
                }
            }
            _ => {}
        }
        Ok(Response::new(re::BatchReadBlobsResponse { responses }))
    }

    type GetTreeStream = Flow<re::GetTreeResponse>;

    async fn get_tree(&self, _: Request<re::GetTreeRequest>) -> Reply<Self::GetTreeStream> {
        Err(Status::unimplemented("not needed"))
    }

    async fn split_blob(&self, _: Request<re::SplitBlobRequest>) -> Reply<re::SplitBlobResponse> {
        Err(Status::unimplemented("not needed"))
    }

    async fn splice_blob(
        &self,
        _: Request<re::SpliceBlobRequest>,
    ) -> Reply<re::SpliceBlobResponse> {
        Err(Status::unimplemented("not needed"))
    }

    type GetChunkMappingStream = Flow<re::GetChunkMappingResponse>;

    async fn get_chunk_mapping(
        &self,
        _: Request<re::GetChunkMappingRequest>,
    ) -> Reply<Self::GetChunkMappingStream> {
        Err(Status::unimplemented("not needed"))
    }

    async fn register_chunk_mapping(
        &self,
        _: Request<Streaming<re::RegisterChunkMappingRequest>>,
    ) -> Reply<re::RegisterChunkMappingResponse> {
        Err(Status::unimplemented("not needed"))
    }
}

#[tonic::async_trait]
impl ByteStream for Service {
    type ReadStream = Flow<bs::ReadResponse>;

    async fn read(&self, request: Request<bs::ReadRequest>) -> Reply<Self::ReadStream> {
        let fault = self.0.call("read", &request)?;
        let request = request.into_inner();
        let parts: Vec<&str> = request.resource_name.rsplit('/').take(2).collect();
        let wanted = re::Digest {
            hash: parts[1].to_owned(),
            size_bytes: parts[0].parse().unwrap(),
        };
        let mut bytes = self.0.get(Some(&wanted))?;
        match fault {
            Some(Fault::Wrong) => bytes.iter_mut().for_each(|byte| *byte ^= 1),
            Some(Fault::Long) => bytes.extend_from_slice(&[0; 1024]),
            Some(Fault::Silent) => silence().await,
            _ => {}
        }
        let rest = bytes.split_off(request.read_offset as usize);
        let end = match fault {
            Some(Fault::Cut(after)) => after.min(rest.len()),
            _ => rest.len(),
        };
        let mut items: Vec<_> = rest[..end]
            .chunks(64 << 10)
            .map(|data| {
                Ok(bs::ReadResponse {
                    data: data.to_vec(),
                })
            })
            .collect();
        if end < rest.len() {
            items.push(Err(Status::unavailable("cut")));
        }
        Ok(Response::new(flow(items)))
    }

    async fn write(
        &self,
        request: Request<Streaming<bs::WriteRequest>>,
    ) -> Reply<bs::WriteResponse> {
        let fault = self.0.call("write", &request)?;
        let mut stream = request.into_inner();
        let (mut name, mut bytes) = (String::new(), Vec::new());
        while let Some(piece) = stream.message().await? {
            if !piece.resource_name.is_empty() {
                name = piece.resource_name;
            }
            assert_eq!(piece.write_offset as usize, bytes.len());
            bytes.extend_from_slice(&piece.data);
            match fault {
                Some(Fault::Cut(after)) if bytes.len() >= after => {
                    return Err(Status::unavailable("cut"));
                }
                Some(Fault::Silent) => silence().await,
                _ => {}
            }
            if piece.finish_write {
                break;
            }
        }
        assert!(name.contains("uploads/"), "{name}");
        let digest = digest(&bytes);
        if !name.ends_with(&format!("/blobs/{}/{}", digest.hash, digest.size_bytes)) {
            return Err(Status::invalid_argument("another digest"));
        }
        let mut committed = bytes.len() as i64;
        match fault {
            Some(Fault::Wrong) => committed -= 1,
            _ => drop(self.0.put(bytes)),
        }
        Ok(Response::new(bs::WriteResponse {
            committed_size: committed,
        }))
    }

    async fn query_write_status(
        &self,
        _: Request<bs::QueryWriteStatusRequest>,
    ) -> Reply<bs::QueryWriteStatusResponse> {
        Err(Status::unimplemented("as BuildGrid and casd"))
    }
}

#[tonic::async_trait]
impl ActionCache for Service {
    async fn get_action_result(
        &self,
        request: Request<re::GetActionResultRequest>,
    ) -> Reply<re::ActionResult> {
        let _ = self.0.call("cached", &request)?;
        let hash = request.into_inner().action_digest.unwrap().hash;
        let cache = self.0.cache.lock().unwrap();
        match cache.get(&hash) {
            Some(result) => Ok(Response::new(result.clone())),
            None => Err(Status::not_found("not cached")),
        }
    }

    async fn update_action_result(
        &self,
        _: Request<re::UpdateActionResultRequest>,
    ) -> Reply<re::ActionResult> {
        panic!("a client writes no entry");
    }
}

#[tonic::async_trait]
impl Execution for Service {
    type ExecuteStream = Flow<lr::Operation>;
    type WaitExecutionStream = Flow<lr::Operation>;

    async fn execute(&self, request: Request<re::ExecuteRequest>) -> Reply<Self::ExecuteStream> {
        let fault = self.0.call("execute", &request)?;
        let request = request.into_inner();
        assert!(
            request.skip_cache_lookup,
            "a failure could come from the cache"
        );
        let policy = request.execution_policy.map(|policy| policy.priority);
        self.0.priorities.lock().unwrap().push(policy);
        let action = request.action_digest.unwrap();
        self.0.actions.lock().unwrap().push(action.clone());
        match &fault {
            Some(Fault::Swept) => self.0.blobs.lock().unwrap().clear(),
            Some(Fault::Silent) => silence().await,
            _ => {}
        }
        let needed = self.0.needed(&action)?;
        if fault == Some(Fault::Missing) {
            return Err(lacking(&needed));
        }
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let name = format!("operations/{number}");
        let mut begun = lr::Operation {
            name: name.clone(),
            ..lr::Operation::default()
        };
        if fault == Some(Fault::Endless) {
            let metadata = re::ExecuteOperationMetadata {
                stage: re::execution_stage::Value::Executing as i32,
                ..re::ExecuteOperationMetadata::default()
            };
            begun.metadata = Some(protobuf::Any {
                type_url: "x/build.bazel.remote.execution.v2.ExecuteOperationMetadata".to_owned(),
                value: metadata.encode_to_vec(),
            });
        }
        if matches!(fault, Some(Fault::Queued | Fault::Endless)) {
            self.0
                .operations
                .lock()
                .unwrap()
                .insert(name, begun.clone());
            let state = Arc::clone(&self.0);
            let (sender, receiver) = tokio::sync::mpsc::channel(4);
            tokio::spawn(async move {
                let _ = sender.send(Ok(begun.clone())).await;
                while state.operations.lock().unwrap().contains_key(&begun.name) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                let _ = sender
                    .send(Err(Status::cancelled("it was cancelled")))
                    .await;
            });
            return Ok(Response::new(Box::pin(Received(receiver))));
        }
        let state = Arc::clone(&self.0);
        let (at, with) = (name.clone(), fault.clone());
        let work = tokio::task::spawn_blocking(move || state.operate(&at, &action, with));
        let done = work.await.unwrap();
        let mut items = vec![Ok(begun)];
        match fault {
            Some(Fault::Forgotten) => items.push(Err(Status::unavailable("restarted"))),
            Some(Fault::Cut(messages)) => {
                self.0.operations.lock().unwrap().insert(name, done);
                items.truncate(messages);
                if messages > 0 {
                    items.push(Err(Status::unavailable("cut")));
                }
            }
            Some(Fault::Held) => {
                let (sender, receiver) = tokio::sync::mpsc::channel(4);
                sender.send(items.remove(0)).await.unwrap();
                self.0.operations.lock().unwrap().insert(name, done);
                tokio::spawn(async move {
                    silence().await;
                    drop(sender);
                });
                return Ok(Response::new(Box::pin(Received(receiver))));
            }
            _ => {
                self.0.operations.lock().unwrap().insert(name, done.clone());
                items.push(Ok(done));
            }
        }
        Ok(Response::new(flow(items)))
    }

    async fn wait_execution(
        &self,
        request: Request<re::WaitExecutionRequest>,
    ) -> Reply<Self::WaitExecutionStream> {
        let fault = self.0.call("wait", &request)?;
        let name = request.into_inner().name;
        let found = self.0.operations.lock().unwrap().get(&name).cloned();
        let found = found.ok_or_else(|| Status::not_found("not an operation"))?;
        Ok(Response::new(flow(match fault {
            Some(Fault::Cut(_)) => Vec::new(),
            _ => vec![Ok(found)],
        })))
    }
}

struct Received<T>(tokio::sync::mpsc::Receiver<T>);

impl<T> Stream for Received<T> {
    type Item = T;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<T>> {
        self.0.poll_recv(context)
    }
}

#[tonic::async_trait]
impl Operations for Service {
    async fn list_operations(
        &self,
        _: Request<lr::ListOperationsRequest>,
    ) -> Reply<lr::ListOperationsResponse> {
        Err(Status::unimplemented("not needed"))
    }

    async fn get_operation(&self, _: Request<lr::GetOperationRequest>) -> Reply<lr::Operation> {
        Err(Status::unimplemented("not needed"))
    }

    async fn delete_operation(
        &self,
        _: Request<lr::DeleteOperationRequest>,
    ) -> Reply<protobuf::Empty> {
        Err(Status::unimplemented("not needed"))
    }

    async fn cancel_operation(
        &self,
        request: Request<lr::CancelOperationRequest>,
    ) -> Reply<protobuf::Empty> {
        let _ = self.0.call("cancel", &request)?;
        let name = request.into_inner().name;
        self.0.operations.lock().unwrap().remove(&name);
        Ok(Response::new(protobuf::Empty::default()))
    }

    async fn wait_operation(&self, _: Request<lr::WaitOperationRequest>) -> Reply<lr::Operation> {
        Err(Status::unimplemented("not needed"))
    }
}

/// A running engine, which ends with this.
pub struct Fake {
    pub state: Arc<State>,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _top: tempfile::TempDir,
}

impl Fake {
    /// Starts an engine whose jobs `worker` does.
    pub fn start(
        batch: i64,
        worker: impl Fn(&Path) -> i32 + Send + Sync + 'static,
        faults: impl Fn(&str, usize) -> Option<Fault> + Send + Sync + 'static,
    ) -> Fake {
        Fake::with_tls(None, batch, worker, faults)
    }

    /// The same behind certificates.
    pub fn with_tls(
        tls: Option<ServerTlsConfig>,
        batch: i64,
        worker: impl Fn(&Path) -> i32 + Send + Sync + 'static,
        faults: impl Fn(&str, usize) -> Option<Fault> + Send + Sync + 'static,
    ) -> Fake {
        let top = tempfile::tempdir_in("/var/tmp").unwrap();
        let state = Arc::new(State {
            faults: Box::new(faults),
            worker: Box::new(worker),
            top: top.path().to_owned(),
            blobs: Mutex::default(),
            cache: Mutex::default(),
            operations: Mutex::default(),
            calls: Mutex::default(),
            batch,
            token: Mutex::default(),
            range: Mutex::default(),
            priorities: Mutex::default(),
            actions: Mutex::default(),
            numbers: AtomicU64::new(0),
        });
        let service = Service(Arc::clone(&state));
        let (stop, stopped) = oneshot::channel::<()>();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
                sender.send(incoming.local_addr().unwrap()).unwrap();
                let most = 64 << 20;
                let mut server = Server::builder();
                if let Some(tls) = tls {
                    server = server.tls_config(tls).unwrap();
                }
                let server = server
                    .add_service(CapabilitiesServer::new(service.clone()))
                    .add_service(
                        ContentAddressableStorageServer::new(service.clone())
                            .max_decoding_message_size(most),
                    )
                    .add_service(ByteStreamServer::new(service.clone()))
                    .add_service(ActionCacheServer::new(service.clone()))
                    .add_service(ExecutionServer::new(service.clone()))
                    .add_service(OperationsServer::new(service))
                    .serve_with_incoming(incoming);
                tokio::select! {
                    _ = stopped => {}
                    served = server => served.unwrap(),
                }
            });
            // Whoever is silent on purpose is not waited for.
            runtime.shutdown_background();
        });
        Fake {
            state,
            address: receiver.recv().unwrap(),
            stop: Some(stop),
            thread: Some(thread),
            _top: top,
        }
    }

    /// The address, as mstore takes it.
    pub fn url(&self) -> String {
        format!("reapi://{}/main", self.address)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}
