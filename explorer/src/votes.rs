//! Fetching what makes blocks final: the first voters, the votes on each block that replaces them, and the
//! votes on a block at or soon after each one that paid.
//!
//! Beside the indexer, because votes on a block are often stored some blocks later, and because a node that
//! lacks them must not hold the index up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use iota_chain::{ChainError, Head};
use iota_service::tasks::Shutdown;

use crate::audit::finality::{voters_key, Change, Header};
use crate::follow::blocking;
use crate::source::Source;
use crate::store::{Store, StoreError};

/// Between two rounds; a justification is stored every few blocks.
const ROUND: Duration = Duration::from_secs(2);
/// Blocks after one that paid in which a justification is looked for. Nodes store one at least every 16
/// blocks; older ones did so every 512.
pub(crate) const REACH: u32 = 600;
/// Headers looked through in one turn, so that catching up does not hold the database for long.
const BATCH: u32 = 2_000;
/// Payments whose votes are looked for in one round.
const TURN: usize = 100;

/// What a round has to ask for.
#[derive(Debug, Default)]
struct Wanted {
    first_voters: bool,
    handoffs: Vec<Head>,
    paid: Vec<u32>,
}

/// Asks for votes until shutdown.
///
/// # Errors
/// When the database fails. A node that does not answer is asked again.
pub async fn fetch<S: Source>(store: Store, source: Arc<S>, stop: Shutdown) -> anyhow::Result<()> {
    // Blocks that were looked at and have no justification, for each block that paid: up to where.
    let mut looked = BTreeMap::new();
    while !stop.is_requested() {
        match round(&store, &*source, &mut looked).await {
            Ok(()) => {}
            Err(error) if error.downcast_ref::<ChainError>().is_some() => {
                tracing::debug!(error = %format!("{error:#}"), "votes not read; asking again");
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            biased;
            () = stop.requested() => return Ok(()),
            () = tokio::time::sleep(ROUND) => {}
        }
    }
    Ok(())
}

/// One round over everything that is missing.
///
/// # Errors
/// As [`fetch`], and when the node does not answer.
pub(crate) async fn round<S: Source>(
    store: &Store,
    source: &S,
    looked: &mut BTreeMap<u32, u32>,
) -> anyhow::Result<()> {
    let scanning = store.clone();
    let wanted = blocking(move || scan(&scanning)).await?;
    if wanted.first_voters {
        first_voters(store, source).await?;
    }
    for head in wanted.handoffs {
        if let Some(justification) = source.justification(head).await? {
            let writing = store.clone();
            blocking(move || writing.put_justification(head.number, &justification)).await?;
        }
    }
    // Those that were looked for in vain to the end do not stand in the way of others.
    let open = |paid: &u32| looked.get(paid).is_none_or(|next| *next <= paid.saturating_add(REACH));
    let open: Vec<u32> = wanted.paid.into_iter().filter(open).take(TURN).collect();
    for paid in open {
        look_for(store, source, paid, looked).await?;
    }
    Ok(())
}

async fn first_voters<S: Source>(store: &Store, source: &S) -> anyhow::Result<()> {
    let genesis = Head { number: 0, hash: source.genesis() };
    match source.proof(genesis, vec![voters_key()]).await {
        Ok(nodes) => {
            let header = source.block(0).await?.header;
            let writing = store.clone();
            blocking(move || writing.put_first_voters(&header, &nodes)).await
        }
        // Only an archive has the state of block 0.
        Err(error) if error.is_state_gone() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Finds headers that replace the voters, and blocks that paid and have no votes yet.
fn scan(store: &Store) -> Result<Wanted, StoreError> {
    let reader = store.reader()?;
    let mut wanted = Wanted { first_voters: reader.first_voters()?.is_none(), ..Wanted::default() };
    // Block 0 changes nothing, and is not in an index that begins with block 1.
    let (from, newest) = (reader.voters_followed()?.max(1), reader.newest()?.map_or(0, |block| block.number));
    let end = newest.saturating_add(1).min(from.saturating_add(BATCH));
    let mut followed = from;
    for number in from..end {
        // Whoever began later than block 1 cannot know all changes.
        let Some(bytes) = reader.header(number)? else { break };
        if Header::read(&bytes).is_some_and(|header| header.change() != Change::None) {
            store.put_handoff(number)?;
        }
        followed = number.saturating_add(1);
    }
    if followed > from {
        store.follow_voters(followed)?;
    }
    wanted.handoffs = reader.handoffs_without_votes()?;
    wanted.paid = reader.paid_without_votes(REACH)?;
    Ok(wanted)
}

/// Looks at the blocks from one that paid on for the first with votes.
async fn look_for<S: Source>(
    store: &Store,
    source: &S,
    paid: u32,
    looked: &mut BTreeMap<u32, u32>,
) -> anyhow::Result<()> {
    let from = looked.get(&paid).copied().unwrap_or(paid);
    for number in from..=paid.saturating_add(REACH) {
        let reading = store.clone();
        let Some(head) = blocking(move || reading.reader()?.head(number)).await? else { break };
        let found = source.justification(head).await?;
        looked.insert(paid, number.saturating_add(1));
        if let Some(justification) = found {
            let writing = store.clone();
            return blocking(move || writing.put_justification(number, &justification)).await;
        }
    }
    Ok(())
}
