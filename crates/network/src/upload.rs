//! What this node sends, held to a rate: one token bucket for both lanes and all peers.
//!
//! Frames that are too small to matter never wait: acknowledgements, probes and questions would otherwise
//! stand behind chunks of megabytes, and a sample would be started elsewhere because its acknowledgement
//! was late. What they cost is taken from the next large frame, so that the rate holds all the same. Of
//! answers on [`Lane::Fetch`] only a few are on the wire at once; hops on [`Lane::Train`] go between their
//! pieces. Nothing that speaks to the chain passes here.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

use leaky_bucket::RateLimiter;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::Lane;

/// Frames up to this size never wait: an acknowledgement has about 70 bytes, the longest question 256.
const SMALL: usize = 1 << 10;
/// Bytes that are sent in one go. At the lowest rate it takes an eighth of a second, which is what a hop
/// waits for each large answer before it.
const PIECE: usize = 8 << 10;
/// Large answers on the wire at once. Two, so that one slow receiver does not block the others; more would
/// divide the rate so far that receivers give up on a stalled stream.
const LARGE_AT_ONCE: usize = 2;
/// A receiver that takes not one piece in this time has gone, or means to hold a turn for nothing.
const UNREAD: Duration = Duration::from_secs(10);
/// How often the bucket is filled.
const REFILL: Duration = Duration::from_millis(50);
/// Refills in a second.
const REFILLS: u64 = 20;
/// One part in so many is added for headers below ours: TCP over Ethernet takes 3 percent, QUIC and its
/// tags 6.
const OVERHEAD: usize = 16;

/// The least rate in bytes a second. Below it a hop of 64 KiB takes longer than the patience of two seconds
/// that its sender's neighbours have with it.
pub(crate) const LEAST_RATE: u64 = 64_000;

/// The bucket.
#[derive(Debug)]
pub struct Upload {
    bucket: RateLimiter,
    /// Cost of small frames that went out unasked.
    owed: AtomicUsize,
    turns: Semaphore,
}

impl Upload {
    /// A bucket for so many bytes in a second.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        let rate = usize::try_from(bytes_per_second.max(LEAST_RATE) / REFILLS).unwrap_or(usize::MAX / 4);
        // A quarter of a second may go out at once, and at least two pieces.
        let most = (rate * 5).max(2 * cost(PIECE));
        let bucket = RateLimiter::builder().refill(rate).interval(REFILL).max(most).initial(most).build();
        Self { bucket, owed: AtomicUsize::new(0), turns: Semaphore::new(LARGE_AT_ONCE) }
    }

    /// Waits until so many bytes may be sent.
    ///
    /// *Cancel safety*: dropped, it has taken nothing, or tokens that nobody sends.
    async fn take(&self, bytes: usize) {
        let owed = self.owed.swap(0, Relaxed);
        self.bucket.acquire(cost(bytes).saturating_add(owed)).await;
    }
}

fn cost(bytes: usize) -> usize {
    bytes.saturating_add(bytes / OVERHEAD)
}

/// How the frames of one lane are sent.
#[derive(Clone, Debug)]
pub struct Pace {
    upload: Option<Arc<Upload>>,
    lane: Lane,
    unread: Duration,
}

impl Pace {
    /// As fast as the connection takes it.
    #[must_use]
    pub fn free(lane: Lane) -> Self {
        Self::of(None, lane)
    }

    /// Through a bucket.
    #[must_use]
    pub fn of(upload: Option<Arc<Upload>>, lane: Lane) -> Self {
        Self { upload, lane, unread: UNREAD }
    }

    /// How long a receiver may take nothing of a frame that goes out in pieces.
    pub(crate) fn unread(&self) -> Duration {
        self.unread
    }

    /// The pieces in which a payload goes out.
    pub(crate) fn piece(&self, payload: usize) -> usize {
        if self.upload.is_none() || payload <= SMALL {
            payload.max(1)
        } else {
            PIECE
        }
    }

    /// Waits for the frame's turn among the large ones; keep what is returned until the frame is out.
    pub(crate) async fn turn(&self, payload: usize) -> Option<SemaphorePermit<'_>> {
        let upload = self.upload.as_ref().filter(|_| self.lane == Lane::Fetch && payload > SMALL)?;
        // The semaphore is never closed.
        upload.turns.acquire().await.ok()
    }

    /// Waits until a piece of a payload may be sent; small payloads do not wait.
    pub(crate) async fn take(&self, piece: usize, payload: usize) {
        let Some(upload) = &self.upload else { return };
        if payload > SMALL {
            upload.take(piece).await;
        } else {
            upload.owed.fetch_add(cost(payload), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Instant;

    use futures::future::join_all;
    use futures::{AsyncWrite, FutureExt};

    use super::*;
    use crate::frame::{write_frame, FrameError};

    const RATE: u64 = 256_000;

    fn run<F: std::future::Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime")
            .block_on(future)
    }

    async fn send(pace: &Pace, bytes: usize) -> usize {
        let mut sent = Vec::new();
        write_frame(&mut sent, &vec![7; bytes], 1 << 20, pace).await.expect("fits");
        sent.len()
    }

    /// Seconds that must pass for so many bytes: what the bucket holds at first is free.
    fn least(bytes: usize) -> f64 {
        let most = (RATE as usize / 20 * 5).max(2 * cost(PIECE));
        (cost(bytes).saturating_sub(most)) as f64 / RATE as f64
    }

    #[test]
    fn all_peers_and_lanes_together_are_held_to_the_rate() {
        run(async {
            let upload = Arc::new(Upload::new(RATE));
            let paces = [Lane::Train, Lane::Fetch].map(|lane| Pace::of(Some(Arc::clone(&upload)), lane));
            let started = Instant::now();
            let frames = (0..8).map(|n| send(&paces[n % 2], 20_000));
            let sent: usize = join_all(frames).await.into_iter().sum();
            assert_eq!(sent, 8 * 20_004);
            let took = started.elapsed().as_secs_f64();
            assert!(took > 0.9 * least(160_000), "{took} s for what takes {} s", least(160_000));
        });
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        run(async {
            assert_eq!(send(&Pace::free(Lane::Fetch), 1 << 20).now_or_never(), Some((1 << 20) + 4));
        });
    }

    #[test]
    fn small_frames_overtake_large_ones_and_are_paid_by_them() {
        run(async {
            let upload = Arc::new(Upload::new(RATE));
            let pace = Pace::of(Some(Arc::clone(&upload)), Lane::Fetch);
            let large = async {
                send(&pace, 200_000).await;
                Instant::now()
            };
            let small = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                for number in 0..100 {
                    assert_eq!(send(&pace, 1_000).now_or_never(), Some(1_004), "small frame {number} waited");
                }
                Instant::now()
            };
            let started = Instant::now();
            let (large_done, small_done) = tokio::join!(large, small);
            assert!(small_done < large_done, "the small ones stood behind the large one");
            let took = large_done.duration_since(started).as_secs_f64();
            let both = least(300_000);
            assert!(took > 0.9 * both, "{took} s, but both together take {both} s at the rate");
        });
    }

    /// Takes so many bytes and then nothing.
    struct Deaf(usize);

    impl AsyncWrite for Deaf {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.0 == 0 {
                return Poll::Pending;
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn readers_that_take_nothing_lose_their_turns_to_those_that_do() {
        run(async {
            let upload = Some(Arc::new(Upload::new(RATE)));
            let pace = Pace { upload, lane: Lane::Fetch, unread: Duration::from_millis(20) };
            let deaf = async || write_frame(&mut Deaf(5_000), &[7; 20_000], 1 << 20, &pace).await;
            let (one, other, sent) = tokio::join!(deaf(), deaf(), send(&pace, 20_000));
            assert_eq!(sent, 20_004, "both turns were taken when it came");
            for ended in [one, other] {
                assert!(matches!(ended, Err(FrameError::Stalled { expected: 20_000, .. })), "{ended:?}");
            }
        });
    }
}
