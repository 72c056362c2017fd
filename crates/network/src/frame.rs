//! Length-prefixed frames: four bytes of length, little endian, then as many bytes.
//!
//! Reading trusts nothing: the claimed length is compared with the limit before anything is reserved, the
//! buffer never holds more than twice what has arrived (plus one step), each step of 64 KiB has its own
//! deadline, and unsolicited frames are charged against a budget that all peers share.

use std::{io, sync::Arc, time::Duration};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::upload::Pace;

/// Bytes read under one stall deadline, and the first reservation. 64 KiB is one default stream window
/// quarter: small against the budget, large against the cost of a timer.
const STEP: usize = 64 << 10;

/// Charges are counted in KiB, and every frame costs at least one, so that empty frames are bounded too.
const CHARGE_UNIT: usize = 1 << 10;

/// Bytes of a frame's length prefix.
pub(crate) const PREFIX: usize = 4;

/// Memory that frames not yet answered may hold, shared by all peers.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget of this many bytes, rounded down to KiB.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / CHARGE_UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Bytes that are not charged to anyone now.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.0.available_permits() * CHARGE_UNIT
    }

    /// Room for so many bytes; `None` if the budget is spent.
    pub(crate) fn take(&self, bytes: usize) -> Option<Charge> {
        self.charge(bytes).map(|permit| Charge(Some(permit)))
    }

    fn charge(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(CHARGE_UNIT)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(units).ok()
    }
}

/// A frame's share of the [`Budget`]; given back when dropped.
#[derive(Debug, Default)]
pub struct Charge(Option<OwnedSemaphorePermit>);

impl Charge {
    /// Takes `more` bytes in addition; `false` if the budget is spent.
    fn grow(&mut self, budget: Option<&Budget>, more: usize) -> bool {
        let Some(budget) = budget else { return true };
        let Some(extra) = budget.charge(more) else { return false };
        match &mut self.0 {
            Some(permit) => permit.merge(extra),
            none => *none = Some(extra),
        }
        true
    }
}

/// A frame's bytes and what they are charged.
#[derive(Debug, Default)]
pub struct Frame {
    /// The payload, without its length.
    pub bytes: Vec<u8>,
    /// Held for as long as the bytes are.
    pub charge: Charge,
}

/// What a frame may cost.
#[derive(Clone, Debug)]
pub struct FrameBounds {
    /// Longest payload.
    pub limit_bytes: usize,
    /// How long the length may take to come: the time in which the other side thinks.
    pub start: Duration,
    /// How long each 64 KiB may take: the least rate at which a frame may arrive.
    pub stall: Duration,
    /// How long the first of them may take after the length: a sender who holds to a rate tells the length at
    /// once and waits for its turn with the rest.
    pub turn: Duration,
    /// What unsolicited frames are charged against; `None` for answers, which are bounded by what was asked.
    pub budget: Option<Budget>,
}

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The other side closed the stream instead of sending a frame: it declines.
    #[error("stream closed before the first byte of a frame; the peer declined")]
    Missing,
    /// The stream ended inside a frame.
    #[error("stream ended inside a frame: got {got} bytes, expected {expected}")]
    Truncated {
        /// Bytes that arrived for certain.
        got: usize,
        /// Bytes that were claimed.
        expected: usize,
    },
    /// The frame is longer than the lane allows.
    #[error(
        "frame of {got} bytes is over the limit of {limit} bytes; split it or raise the limit on both sides"
    )]
    TooLarge {
        /// Bytes claimed by the prefix, or given to be sent.
        got: usize,
        /// The lane's limit.
        limit: usize,
    },
    /// No progress.
    #[error("frame stalled: {got} of {expected} bytes, then nothing that counts within {stall:?}")]
    Stalled {
        /// Bytes that arrived for certain.
        got: usize,
        /// Bytes that were claimed.
        expected: usize,
        /// The deadline of one step.
        stall: Duration,
    },
    /// Too many unanswered requests are held already.
    #[error("no memory left for a frame of {expected} bytes; unanswered requests hold the whole budget")]
    NoMemory {
        /// Bytes that were claimed.
        expected: usize,
    },
    /// The stream failed.
    #[error("stream failed: {0}")]
    Io(#[from] io::Error),
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => error,
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// Reads one frame.
///
/// Must run inside a tokio runtime with timers. Reserves at most `limit_bytes`, whatever the prefix claims.
///
/// # Errors
/// See [`FrameError`]; after an error the stream is in the middle of nowhere and must be dropped.
///
/// # Cancel safety
/// Not cancel safe: what was read is lost. Drop the stream with the future.
pub async fn read_frame<T>(io: &mut T, bounds: &FrameBounds) -> Result<Frame, FrameError>
where
    T: AsyncRead + Unpin,
{
    let expected = read_prefix(io, bounds.start).await?;
    if expected > bounds.limit_bytes {
        return Err(FrameError::TooLarge { got: expected, limit: bounds.limit_bytes });
    }
    let mut frame = Frame::default();
    if !frame.charge.grow(bounds.budget.as_ref(), CHARGE_UNIT) {
        return Err(FrameError::NoMemory { expected });
    }
    while frame.bytes.len() < expected {
        reserve(&mut frame, expected, bounds.budget.as_ref())?;
        let patience = if frame.bytes.is_empty() { bounds.turn.max(bounds.stall) } else { bounds.stall };
        read_step(io, &mut frame.bytes, expected, patience).await?;
    }
    Ok(frame)
}

/// Writes one frame and flushes it. The length leaves at once, so that a reader who waits for the first
/// byte hears it; the payload leaves at the lane's pace.
///
/// # Errors
/// [`FrameError::TooLarge`] before a single byte is written, [`FrameError::Stalled`] if nobody reads a paced frame;
/// otherwise the stream's failure.
pub async fn write_frame<T>(
    io: &mut T,
    bytes: &[u8],
    limit_bytes: usize,
    pace: &Pace,
) -> Result<(), FrameError>
where
    T: AsyncWrite + Unpin,
{
    let too_large = FrameError::TooLarge { got: bytes.len(), limit: limit_bytes };
    if bytes.len() > limit_bytes {
        return Err(too_large);
    }
    let Ok(length) = u32::try_from(bytes.len()) else { return Err(too_large) };
    io.write_all(&length.to_le_bytes()).await?;
    let step = pace.piece(bytes.len());
    if step < bytes.len() {
        io.flush().await?;
    }
    let _turn = pace.turn(bytes.len()).await;
    for piece in bytes.chunks(step) {
        pace.take(piece.len(), bytes.len()).await;
        let written = async {
            io.write_all(piece).await?;
            io.flush().await
        };
        if step < bytes.len() {
            let stalled =
                FrameError::Stalled { got: piece.len(), expected: bytes.len(), stall: pace.unread() };
            timeout(pace.unread(), written).await.map_err(|_| stalled)??;
        } else {
            written.await?;
        }
    }
    io.flush().await?;
    Ok(())
}

async fn read_prefix<T: AsyncRead + Unpin>(io: &mut T, stall: Duration) -> Result<usize, FrameError> {
    let mut prefix = [0u8; PREFIX];
    let mut got = 0;
    let read = async {
        while let Some(rest) = prefix.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match io.read(rest).await? {
                0 if got == 0 => return Err(FrameError::Missing),
                0 => return Err(FrameError::Truncated { got, expected: PREFIX }),
                more => got += more,
            }
        }
        Ok(())
    };
    match timeout(stall, read).await {
        Ok(result) => result?,
        Err(_) => return Err(FrameError::Stalled { got, expected: PREFIX, stall }),
    }
    // A length beyond the address space is beyond every limit.
    Ok(usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX))
}

/// Doubles the buffer when it is full: never beyond the claim, and twice what arrived at most.
fn reserve(frame: &mut Frame, expected: usize, budget: Option<&Budget>) -> Result<(), FrameError> {
    let len = frame.bytes.len();
    if len < frame.bytes.capacity() {
        return Ok(());
    }
    let more = len.max(STEP).min(expected - len);
    if !frame.charge.grow(budget, more) {
        return Err(FrameError::NoMemory { expected });
    }
    frame.bytes.reserve_exact(more);
    Ok(())
}

async fn read_step<T: AsyncRead + Unpin>(
    io: &mut T,
    bytes: &mut Vec<u8>,
    expected: usize,
    stall: Duration,
) -> Result<(), FrameError> {
    let got = bytes.len();
    let end = expected.min(got + STEP).min(bytes.capacity());
    bytes.resize(end, 0);
    let step = bytes.get_mut(got..).unwrap_or_default();
    match timeout(stall, io.read_exact(step)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(FrameError::Truncated { got, expected })
        }
        Ok(Err(error)) => Err(FrameError::Io(error)),
        Err(_) => Err(FrameError::Stalled { got, expected, stall }),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;
    use crate::config::Lane;

    fn free() -> Pace {
        Pace::free(Lane::Train)
    }

    fn bounds(limit_bytes: usize) -> FrameBounds {
        let stall = Duration::from_secs(5);
        FrameBounds { limit_bytes, start: stall, stall, turn: stall, budget: None }
    }

    fn now<F: std::future::Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime")
            .block_on(future)
    }

    /// Gives the bytes it has and then nothing, forever, without ever closing.
    struct Silent<'a>(&'a [u8]);

    impl AsyncRead for Silent<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            if self.0.is_empty() {
                return Poll::Pending;
            }
            let take = self.0.len().min(out.len());
            let (head, tail) = self.0.split_at(take);
            out[..take].copy_from_slice(head);
            self.0 = tail;
            Poll::Ready(Ok(take))
        }
    }

    /// Gives the length, waits for its turn, gives the rest.
    struct Waits<'a> {
        length: Cursor<&'a [u8]>,
        turn: Pin<Box<tokio::time::Sleep>>,
        rest: Cursor<&'a [u8]>,
    }

    impl AsyncRead for Waits<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            out: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            if self.length.position() < self.length.get_ref().len() as u64 {
                return Pin::new(&mut self.length).poll_read(cx, out);
            }
            std::task::ready!(std::future::Future::poll(self.turn.as_mut(), cx));
            Pin::new(&mut self.rest).poll_read(cx, out)
        }
    }

    #[test]
    fn claim_of_four_gigabytes_is_refused_before_anything_is_reserved() {
        let mut bytes = Cursor::new(vec![0xff; 64]);
        let budget = Budget::new(1 << 20);
        let bounds = FrameBounds { budget: Some(budget.clone()), ..bounds(8 << 20) };
        let error = now(read_frame(&mut bytes, &bounds)).expect_err("too large");
        assert!(matches!(error, FrameError::TooLarge { got: 0xffff_ffff, .. }), "{error}");
        assert_eq!(bytes.position(), 4);
        assert_eq!(budget.free_bytes(), 1 << 20);
    }

    #[test]
    fn claim_within_the_limit_reserves_one_step_until_bytes_arrive() {
        let mut sent = (8u32 << 20).to_le_bytes().to_vec();
        sent.extend([1; 100]);
        // Enough for one step and the base charge, not for the claim.
        let budget = Budget::new(STEP + CHARGE_UNIT);
        let bounds = FrameBounds { budget: Some(budget.clone()), ..bounds(8 << 20) };
        let error = now(read_frame(&mut Cursor::new(sent), &bounds)).expect_err("cut short");
        assert!(matches!(error, FrameError::Truncated { .. }), "{error}");
        assert_eq!(budget.free_bytes(), STEP + CHARGE_UNIT);
    }

    #[test]
    fn frame_beyond_the_shared_budget_is_refused_and_refunded() {
        let payload = vec![3; 4 * STEP];
        let mut sent = u32::try_from(payload.len()).expect("small").to_le_bytes().to_vec();
        sent.extend(&payload);
        let budget = Budget::new(2 * STEP);
        let bounds = FrameBounds { budget: Some(budget.clone()), ..bounds(8 << 20) };
        let error = now(read_frame(&mut Cursor::new(sent), &bounds)).expect_err("no memory");
        assert!(matches!(error, FrameError::NoMemory { .. }), "{error}");
        assert_eq!(budget.free_bytes(), 2 * STEP);
    }

    #[test]
    fn slow_reader_is_given_up_after_the_stall_deadline() {
        let stall = Duration::from_millis(30);
        let hasty = FrameBounds { start: stall, stall, turn: stall, ..bounds(64) };
        for sent in [&[][..], &[9, 0], &[9, 0, 0, 0, 1, 2]] {
            let error = now(read_frame(&mut Silent(sent), &hasty)).expect_err("stalls");
            assert!(matches!(error, FrameError::Stalled { .. }), "{error}");
        }
    }

    #[test]
    fn a_turn_is_waited_for_and_what_follows_is_held_to_the_least_rate() {
        let payload = vec![5; 2 * STEP];
        let patient = FrameBounds {
            stall: Duration::from_millis(50),
            turn: Duration::from_secs(20),
            ..bounds(1 << 20)
        };
        now(async {
            let mut sent = u32::try_from(payload.len()).expect("small").to_le_bytes().to_vec();
            sent.extend(&payload);
            // One who waits for its turn four times as long as a step may take, then sends.
            let turn = Box::pin(tokio::time::sleep(Duration::from_millis(200)));
            let mut waits =
                Waits { length: Cursor::new(&sent[..PREFIX]), turn, rest: Cursor::new(&sent[PREFIX..]) };
            assert_eq!(read_frame(&mut waits, &patient).await.expect("in time").bytes, payload);
            // One who stops after its first step.
            let cut = &sent[..PREFIX + STEP + 1];
            let error = read_frame(&mut Silent(cut), &patient).await.expect_err("stalls");
            assert!(matches!(error, FrameError::Stalled { got: STEP, .. }), "{error}");
        });
    }

    #[test]
    fn closed_stream_without_a_byte_is_told_apart_from_a_cut_one() {
        let read = |sent: &[u8]| now(read_frame(&mut Cursor::new(sent.to_vec()), &bounds(64)));
        assert!(matches!(read(&[]), Err(FrameError::Missing)));
        assert!(matches!(read(&[1, 0]), Err(FrameError::Truncated { got: 2, expected: 4 })));
        assert!(matches!(read(&[2, 0, 0, 0, 7]), Err(FrameError::Truncated { expected: 2, .. })));
        assert_eq!(read(&[0, 0, 0, 0]).expect("an empty frame").bytes, Vec::<u8>::new());
    }

    #[test]
    fn oversize_payload_is_refused_before_it_is_written() {
        let mut out = Vec::new();
        let error = now(write_frame(&mut out, &[0; 65], 64, &free())).expect_err("too large");
        assert!(matches!(error, FrameError::TooLarge { got: 65, limit: 64 }), "{error}");
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn any_payload_reads_back(payload in proptest::collection::vec(any::<u8>(), 0..200_000)) {
            let mut sent = Vec::new();
            now(write_frame(&mut sent, &payload, 1 << 20, &free())).expect("fits");
            prop_assert_eq!(sent.len(), payload.len() + PREFIX);
            let frame = now(read_frame(&mut Cursor::new(sent), &bounds(1 << 20))).expect("whole");
            prop_assert_eq!(frame.bytes, payload);
        }

        #[test]
        fn any_bytes_give_a_frame_or_an_error_within_the_limit(
            sent in proptest::collection::vec(any::<u8>(), 0..512),
            small in any::<bool>(),
            limit in 0usize..256,
        ) {
            let mut sent = sent;
            // Half of the cases claim a length that can fit, so that bodies are reached too.
            if small { sent.iter_mut().skip(1).take(3).for_each(|byte| *byte = 0); }
            match now(read_frame(&mut Cursor::new(sent.clone()), &bounds(limit))) {
                Ok(frame) => {
                    prop_assert!(frame.bytes.capacity() <= limit);
                    prop_assert_eq!(&frame.bytes[..], &sent[PREFIX..PREFIX + frame.bytes.len()]);
                }
                Err(FrameError::TooLarge { got, .. }) => prop_assert!(got > limit),
                Err(FrameError::Truncated { .. } | FrameError::Missing) => {}
                Err(other) => prop_assert!(false, "unexpected: {}", other),
            }
        }
    }
}
