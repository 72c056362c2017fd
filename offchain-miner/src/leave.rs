//! Leaving in good order: what a miner does with the samples that it holds when it is asked to stop.
//!
//! It takes no new sample and says so, whereupon the stage before offers the sample to the next miner in its order
//! at once. What is open here is finished: its gradient goes back and its receipts are in the journal. What nobody
//! downstream takes any more is given up; a neighbour that asks after it hears that it is not known here.

use std::future::Future;
use std::time::Duration;

use iota_protocol::phase::Phase;
use iota_service::tasks::Shutdown;
use tokio::sync::watch;
use tokio::time::Instant;

/// Longest time for the samples that are open. On the links of a home network a sample passes all stages and comes
/// back in one to four seconds; service managers kill after twenty or more.
pub const BOUND: Duration = Duration::from_secs(6);

/// Longest time from the request to stop until the commit of an epoch whose training is over stands on chain: a block
/// takes at most 6 seconds, and a service manager kills after 20 in ours.
pub const COMMIT_BOUND: Duration = Duration::from_secs(12);

/// Whether a miner that was asked to stop still commits what it trained: only when the window for it is open.
/// Before that the journal keeps its samples for when it comes back, and the epoch may go on without it.
#[must_use]
pub fn commits_first(phase: Phase, same_epoch: bool) -> bool {
    same_epoch && phase == Phase::Commit
}

/// The result of a future, or nothing if it is not there `bound` after the request to stop.
///
/// # Cancel safety
/// As the future.
pub async fn within<T>(stop: &Shutdown, bound: Duration, future: impl Future<Output = T>) -> Option<T> {
    let over = async {
        stop.requested().await;
        tokio::time::sleep(bound).await;
    };
    tokio::select! {
        biased;
        result = future => Some(result),
        () = over => None,
    }
}

/// The wish to leave, and since when it is known.
pub struct Leaving {
    stop: Shutdown,
    bound: Duration,
    until: Option<Instant>,
}

impl Leaving {
    /// Watches a request to stop.
    #[must_use]
    pub fn on(stop: Shutdown, bound: Duration) -> Self {
        Self { stop, bound, until: None }
    }

    /// Never leaves.
    #[must_use]
    pub fn never() -> Self {
        Self::on(Shutdown::new(), BOUND)
    }

    /// Returns when the request comes, once; never again after that.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn asked(&mut self) {
        if self.until.is_some() {
            return std::future::pending().await;
        }
        self.stop.requested().await;
        self.until = Some(Instant::now() + self.bound);
    }

    /// Whether the request has come.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.until.is_some()
    }

    /// Whether the time for open samples is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// Returns once the request to stop has come and the miner neither has samples in its hands nor commits to those
/// that it trained. Everything else that it does
/// may be cut off anywhere: what was promised is on disk before it is promised.
pub async fn free_to_go(stop: &Shutdown, mut training: watch::Receiver<bool>) {
    stop.requested().await;
    // An error means that the miner is gone.
    let _ended = training.wait_for(|training| !training).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_request_is_heard_once_and_open_samples_have_a_bound() {
        let stop = Shutdown::new();
        let bound = Duration::from_millis(300);
        let mut leaving = Leaving::on(stop.clone(), bound);
        let soon = Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, leaving.asked()).await.is_err() && !leaving.is_asked());
        stop.request();
        leaving.asked().await;
        assert!(leaving.is_asked() && leaving.until.is_some_and(|until| until <= Instant::now() + bound));
        assert!(tokio::time::timeout(soon, leaving.asked()).await.is_err(), "not twice");
        tokio::time::sleep(bound).await;
        assert!(leaving.is_over());
    }

    #[tokio::test]
    async fn a_finished_epoch_is_committed_before_leaving_but_not_waited_for_without_end() {
        assert!(commits_first(Phase::Commit, true));
        assert!(!commits_first(Phase::Train, true), "it may go on in the journal");
        assert!(!commits_first(Phase::Commit, false) && !commits_first(Phase::Attest, true), "too late");
        let (stop, bound) = (Shutdown::new(), Duration::from_millis(200));
        let commit = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            7
        };
        stop.request();
        assert_eq!(within(&stop, bound, commit).await, Some(7));
        assert_eq!(within(&stop, bound, std::future::pending::<u8>()).await, None);
        let never = Shutdown::new();
        let endless = within(&never, Duration::ZERO, std::future::pending::<u8>());
        assert!(tokio::time::timeout(Duration::from_millis(20), endless).await.is_err(), "nobody asked");
    }

    #[tokio::test]
    async fn a_miner_that_trains_is_not_cut_off() {
        let (stop, (training, seen)) = (Shutdown::new(), watch::channel(true));
        stop.request();
        let soon = Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, free_to_go(&stop, seen.clone())).await.is_err());
        training.send_replace(false);
        free_to_go(&stop, seen).await;
    }
}
