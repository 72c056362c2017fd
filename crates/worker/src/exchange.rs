//! Typed requests over the network's two lanes.

use std::time::Duration;

use codec::Encode;
use iota_network::{Lane, Network, RequestError};
use iota_protocol::view::MemberView;
use iota_protocol::wire::{self, FetchReply, FetchRequest, TrainReply, TrainRequest, WireError};

/// Most bytes of one message on the fetch protocol: one megabyte of chunks plus proof and framing
/// fits several times over, and a stranger cannot make us allocate more.
pub const FETCH_LIMIT: usize = 8 << 20;
/// Answers on the training protocol carry at most one signature.
const TRAIN_REPLY_LIMIT: usize = 128;

/// Why a peer gave no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The member has not published an endpoint.
    #[error("uid {0} has not published an endpoint")]
    NoEndpoint(iota_protocol::ids::Uid),
    /// The network did not deliver.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The answer is not a message.
    #[error("the answer is malformed: {0}")]
    Wire(WireError),
}

fn peer_of(member: &MemberView) -> Result<[u8; 32], ExchangeError> {
    member.endpoint.as_ref().map(|endpoint| endpoint.peer).ok_or(ExchangeError::NoEndpoint(member.uid))
}

/// Sends a request on the training protocol.
///
/// # Errors
/// See [`ExchangeError`].
pub async fn train(
    network: &Network,
    to: &MemberView,
    request: &TrainRequest,
    timeout: Duration,
) -> Result<TrainReply, ExchangeError> {
    let bytes = network.request(peer_of(to)?, Lane::Train, request.encode(), timeout).await?;
    wire::decode(&bytes, TRAIN_REPLY_LIMIT).map_err(ExchangeError::Wire)
}

/// Sends a request on the fetch protocol.
///
/// # Errors
/// See [`ExchangeError`].
pub async fn fetch(
    network: &Network,
    from: &MemberView,
    request: &FetchRequest,
    timeout: Duration,
) -> Result<FetchReply, ExchangeError> {
    let bytes = network.request(peer_of(from)?, Lane::Fetch, request.encode(), timeout).await?;
    wire::decode(&bytes, FETCH_LIMIT).map_err(ExchangeError::Wire)
}
