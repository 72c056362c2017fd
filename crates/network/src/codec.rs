//! The request-response codec of one lane: frames on a stream.
//!
//! A request that cannot be read is passed on as a value, not as an error: only then does the swarm task
//! learn which peer sent it, and can count it.

use std::io;

use futures::{AsyncRead, AsyncWrite};
use libp2p::{request_response, StreamProtocol};

use crate::frame::{read_frame, write_frame, Frame, FrameBounds, FrameError};
use crate::upload::Pace;

/// What arrives or leaves as a request.
pub(crate) type Request = Result<Frame, FrameError>;

/// Codec of one lane.
#[derive(Clone, Debug)]
pub(crate) struct LaneCodec {
    pub(crate) request: FrameBounds,
    pub(crate) answer: FrameBounds,
    pub(crate) pace: Pace,
}

impl request_response::Codec for LaneCodec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(read_frame(io, &self.request).await)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(read_frame(io, &self.answer).await?.bytes)
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: Request) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let frame = request?;
        Ok(write_frame(io, &frame.bytes, self.request.limit_bytes, &self.pace).await?)
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, answer: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        Ok(write_frame(io, &answer, self.answer.limit_bytes, &self.pace).await?)
    }
}
