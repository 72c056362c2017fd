//! Audits that were made, kept while nothing that they rest on changes: a page of twenty epochs is asked for by
//! many, and each audit settles its epoch again and follows the voters from block 0.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use iota_protocol::ids::{Epoch, RunId};

use super::model::{self, Audited};
use crate::audit::Memory;
use crate::store::{Reader, Stamp, StoreError};
use crate::votes::REACH;

/// Audits that are kept, of some kilobytes each. When there are more, the oldest epochs go.
const KEPT: usize = 1_000;

/// What was found about epochs, and which changes of the voters were seen to be signed.
#[derive(Default)]
pub(super) struct Audits {
    memory: Memory,
    known: Mutex<BTreeMap<(RunId, Epoch), (Stamp, Audited)>>,
}

impl Audits {
    /// The audit of an epoch; `None` for a run or epoch that is not there.
    pub(super) fn of(
        &self,
        reader: &Reader,
        run: RunId,
        epoch: Epoch,
    ) -> Result<Option<Audited>, StoreError> {
        // Before the epoch is read: what changes meanwhile makes the audit stale, not the stamp.
        let Some(stamp) = reader.stamp(run, epoch, REACH)? else {
            return model::audited(reader, run, epoch, &self.memory);
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&(run, epoch)).cloned();
        if let Some((_, audited)) = known.filter(|(old, _)| *old == stamp) {
            return Ok(Some(audited));
        }
        let Some(audited) = model::audited(reader, run, epoch, &self.memory)? else { return Ok(None) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((run, epoch), (stamp, audited.clone()));
        if known.len() > KEPT {
            known.pop_first();
        }
        Ok(Some(audited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Status;
    use crate::source::Source;
    use crate::store::Store;
    use crate::tests::audit::{fetch_all, indexed};
    use crate::tests::resume::index_until;
    use crate::tests::world::{World, RUN};
    use std::sync::Arc;

    #[tokio::test]
    async fn an_audit_is_made_again_when_something_comes_in_that_it_rests_on() {
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(World::new());
        let store = Store::open(&dir.path().join("explorer.sqlite"), world.genesis(), 0).unwrap();
        let (audits, epoch) = (Audits::default(), Epoch(1));
        let verdict = |store: &Store| {
            let reader = store.reader().unwrap();
            let found = audits.of(&reader, RUN, epoch).unwrap().unwrap();
            let fresh = model::audited(&reader, RUN, epoch, &Memory::default()).unwrap().unwrap();
            assert_eq!((found.digest, &found.findings), (fresh.digest, &fresh.findings));
            found.verdict
        };
        for block in [world.paid_at(Epoch(0)), world.paid_at(epoch) - 1, world.paid_at(epoch), world.last()] {
            index_until(&world, &store, block).await;
            assert_eq!(verdict(&store), Status::NotChecked, "without votes and reports, block {block}");
        }
        for ((of, uid), report) in world.published.iter().filter(|((of, _), _)| *of == epoch) {
            store.put_report(*uid, report).unwrap();
            assert_eq!(verdict(&store), Status::NotChecked, "without votes, {of} {uid}");
        }
        fetch_all(&world, &store).await;
        assert_eq!(verdict(&store), Status::Pass);
        for lost in
            ["DELETE FROM meta WHERE key = 'first_voters'", "UPDATE justifications SET justification = NULL"]
        {
            store.writer().execute(lost, []).unwrap();
            assert_eq!(verdict(&store), Status::NotChecked, "{lost}");
            fetch_all(&world, &store).await;
            assert_eq!(verdict(&store), Status::Pass, "{lost}, and fetched again");
        }
    }

    /// Blocks, epochs and votes after those of an epoch are not its own.
    #[tokio::test]
    async fn what_comes_later_makes_no_audit_anew() {
        let dir = tempfile::tempdir().unwrap();
        let world = Arc::new(World::new());
        let store = Store::open(&dir.path().join("explorer.sqlite"), world.genesis(), 0).unwrap();
        let stamp = |store: &Store| store.reader().unwrap().stamp(RUN, Epoch(0), REACH).unwrap().unwrap();
        index_until(&world, &store, world.paid_at(Epoch(0)) + 6).await;
        let before = stamp(&store);
        fetch_all(&world, &store).await;
        let after = stamp(&store);
        assert_ne!(after, before, "votes and reports came in");
        index_until(&world, &store, world.last()).await;
        fetch_all(&world, &store).await;
        assert_eq!(stamp(&store), after);
    }

    /// What is kept is what is answered, or keeping it saves nothing.
    #[tokio::test]
    async fn an_audit_that_nothing_changes_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let (_, store) = indexed(dir.path()).await;
        let audits = Audits::default();
        let reader = store.reader().unwrap();
        let first = audits.of(&reader, RUN, Epoch(1)).unwrap().unwrap();
        audits.known.lock().unwrap().get_mut(&(RUN, Epoch(1))).unwrap().1.verdict = Status::Fail;
        assert_eq!(first.verdict, Status::Pass);
        assert_eq!(audits.of(&reader, RUN, Epoch(1)).unwrap().unwrap().verdict, Status::Fail);
    }
}
