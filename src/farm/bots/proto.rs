//! The few messages of google.devtools.remoteworkers.v1test2 that a worker needs, and its two calls.

use bazel_remote_apis::google::protobuf::{Any, Timestamp};
use bazel_remote_apis::google::rpc;
use prost::Message;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// The call that begins a session.
pub const CREATE: &str = "/google.devtools.remoteworkers.v1test2.Bots/CreateBotSession";
/// The call that keeps it up.
pub const UPDATE: &str = "/google.devtools.remoteworkers.v1test2.Bots/UpdateBotSession";
/// Most bytes of an answer.
const MOST: usize = 4 << 20;

/// Asks for nothing but to go on.
pub const STATUS_OK: i32 = 1;
/// Takes no leases for now.
pub const STATUS_UNHEALTHY: i32 = 2;
/// Takes no more leases.
pub const STATUS_TERMINATING: i32 = 4;

/// The server waits for it to be taken.
pub const LEASE_PENDING: i32 = 1;
/// It was taken.
pub const LEASE_ACTIVE: i32 = 2;
/// It ended, and the result is there.
pub const LEASE_COMPLETED: i32 = 4;
/// The server does not want it any more.
pub const LEASE_CANCELLED: i32 = 5;

/// A session of a worker.
#[derive(Clone, PartialEq, Message)]
pub struct BotSession {
    /// The server's name for it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The worker's own name.
    #[prost(string, tag = "2")]
    pub bot_id: String,
    /// How the worker is.
    #[prost(int32, tag = "3")]
    pub status: i32,
    /// What the worker is like.
    #[prost(message, optional, tag = "4")]
    pub worker: Option<Worker>,
    /// What it has been given.
    #[prost(message, repeated, tag = "5")]
    pub leases: Vec<Lease>,
    /// When the session ends, unless it is kept up.
    #[prost(message, optional, tag = "6")]
    pub expire_time: Option<Timestamp>,
    /// The server's own; it wants it back.
    #[prost(string, tag = "7")]
    pub version: String,
}

/// Something that a worker has been given.
#[derive(Clone, PartialEq, Message)]
pub struct Lease {
    /// Which state it is in.
    #[prost(int32, tag = "2")]
    pub state: i32,
    /// How it ended.
    #[prost(message, optional, tag = "3")]
    pub status: Option<rpc::Status>,
    /// What it takes.
    #[prost(message, optional, tag = "4")]
    pub requirements: Option<Worker>,
    /// When it ends.
    #[prost(message, optional, tag = "5")]
    pub expire_time: Option<Timestamp>,
    /// The server's name for it.
    #[prost(string, tag = "7")]
    pub id: String,
    /// What is to be done.
    #[prost(message, optional, tag = "8")]
    pub payload: Option<Any>,
    /// What came of it.
    #[prost(message, optional, tag = "9")]
    pub result: Option<Any>,
}

/// What a worker is like.
#[derive(Clone, PartialEq, Message)]
pub struct Worker {
    /// Its devices; the first one is what it runs on.
    #[prost(message, repeated, tag = "1")]
    pub devices: Vec<Device>,
    /// What holds for all of it.
    #[prost(message, repeated, tag = "2")]
    pub properties: Vec<Property>,
}

/// A device of a worker.
#[derive(Clone, PartialEq, Message)]
pub struct Device {
    /// What it is called.
    #[prost(string, tag = "1")]
    pub handle: String,
    /// What it is like.
    #[prost(message, repeated, tag = "2")]
    pub properties: Vec<Property>,
}

/// A property.
#[derive(Clone, PartialEq, Message)]
pub struct Property {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Asks for a session.
#[derive(Clone, PartialEq, Message)]
pub struct CreateBotSessionRequest {
    /// The instance.
    #[prost(string, tag = "1")]
    pub parent: String,
    /// What it is to be like.
    #[prost(message, optional, tag = "2")]
    pub bot_session: Option<BotSession>,
}

/// Keeps a session up.
#[derive(Clone, PartialEq, Message)]
pub struct UpdateBotSessionRequest {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How it is now.
    #[prost(message, optional, tag = "2")]
    pub bot_session: Option<BotSession>,
}

/// Calls a method that takes one message and gives a session.
pub async fn call<M>(
    channel: Channel,
    path: &'static str,
    request: Request<M>,
) -> Result<Response<BotSession>, Status>
where
    M: Message + Send + Sync + 'static,
{
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(MOST);
    let ready = client.ready().await;
    ready.map_err(|error| Status::from_error(Box::new(error)))?;
    let codec = ProstCodec::<M, BotSession>::default();
    client
        .unary(request, PathAndQuery::from_static(path), codec)
        .await
}
