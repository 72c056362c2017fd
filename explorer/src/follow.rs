//! The indexer: one finalized block after the other, each in one transaction, from where the store
//! ends to the newest, for ever.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use iota_chain::{ChainError, Head};
use iota_service::tasks::Shutdown;
use tokio::sync::watch;

use crate::look::look;
use crate::source::Source;
use crate::store::Store;

/// Wait before a block that could not be read is tried again. The connection heals itself meanwhile.
const RETRY: Duration = Duration::from_secs(1);

/// The indexer.
pub struct Indexer<S> {
    source: Arc<S>,
    store: Store,
    newest: watch::Sender<Option<u32>>,
}

impl<S: Source> Indexer<S> {
    /// An indexer that writes into `store`.
    #[must_use]
    pub fn new(source: Arc<S>, store: Store) -> Self {
        Self { source, store, newest: watch::Sender::new(None) }
    }

    /// The number of the newest block in the store, as it changes.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<Option<u32>> {
        self.newest.subscribe()
    }

    /// Indexes the next block if it is not above `finalized`. Returns its number.
    ///
    /// *Cancel safety*: a block is in the store as a whole or not at all.
    ///
    /// # Errors
    /// When the node or the database fails, or the node's chain is not the one in the store.
    pub async fn step(&self, finalized: u32) -> anyhow::Result<Option<u32>> {
        let store = self.store.clone();
        let (next, known) = blocking(move || store.next()).await?;
        if next > finalized {
            return Ok(None);
        }
        let look = look(&*self.source, next, &known).await?;
        let store = self.store.clone();
        blocking(move || store.apply(&look)).await?;
        self.newest.send_replace(Some(next));
        Ok(Some(next))
    }

    /// Follows the finalized heads until shutdown.
    ///
    /// # Errors
    /// When the database fails or holds another chain. A node that does not answer is asked again.
    pub async fn run(self, mut heads: watch::Receiver<Option<Head>>, stop: Shutdown) -> anyhow::Result<()> {
        while !stop.is_requested() {
            let head = *heads.borrow_and_update();
            let wait = match head {
                None => None,
                Some(head) => match self.step(head.number).await {
                    Ok(Some(number)) => {
                        progress(number, head.number);
                        continue;
                    }
                    Ok(None) => None,
                    Err(error) if error.downcast_ref::<ChainError>().is_some() => {
                        tracing::warn!(error = %format!("{error:#}"), "block not read; asking again");
                        Some(RETRY)
                    }
                    Err(error) => return Err(error),
                },
            };
            let later = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.requested() => return Ok(()),
                changed = heads.changed() => changed.context("nobody follows the chain any more")?,
                () = later => {}
            }
        }
        Ok(())
    }
}

/// One line for every thousand blocks of catching up, and none while following.
fn progress(number: u32, finalized: u32) {
    if number.is_multiple_of(1_000) && number < finalized {
        tracing::info!(number, finalized, "catching up");
    }
}

/// Runs database work off the runtime's threads.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> anyhow::Result<T>
where
    T: Send + 'static,
    E: Into<anyhow::Error> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.context("database work was cut short")?.map_err(Into::into)
}
