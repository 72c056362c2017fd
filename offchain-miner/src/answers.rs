//! Answers to requests for evidence that validators put on chain: a miner that is asked and serves what
//! is wanted says so, and its pay is not held for a failure that was only the network's.

use std::sync::Arc;

use codec::Decode;
use iota_chain::{Call, Submitter};
use iota_protocol::court::RequestView;
use iota_protocol::ids::{Epoch, Hash};
use iota_protocol::receipt::{LogEvent, Receipt};
use iota_protocol::view::MemberView;
use iota_protocol::wire::FetchReply;
use iota_worker::fetch::list_root;
use iota_worker::session::{RunSnapshot, Session};

use crate::serve::Server;

/// What answering needs.
pub struct Answers {
    /// The followed run, a handle of our own.
    pub session: Session,
    /// Submits with our hotkey.
    pub submitter: Arc<Submitter>,
    /// Ourselves.
    pub me: MemberView,
    /// What we serve, so that nothing is promised that is not there.
    pub server: Server,
}

impl Answers {
    /// Answers until the run ends or the program does.
    pub async fn run(mut self) {
        while let Ok(view) = self.session.next().await {
            if !view.is_running() {
                continue;
            }
            let last = view.epoch().previous();
            for epoch in [last, last.and_then(Epoch::previous)].into_iter().flatten() {
                if let Err(error) = self.attend(&view, epoch).await {
                    tracing::warn!(%epoch, %error, "request for evidence not answered yet");
                }
            }
        }
    }

    async fn attend(&self, view: &RunSnapshot, epoch: Epoch) -> anyhow::Result<()> {
        let court = self.session.chain.at_finalized().await?.court(self.session.run, epoch).await?;
        let first = view.epoch() == epoch.next();
        let Some(request) = court.request(self.me.uid).filter(|own| self.is_due(own, first)) else {
            return Ok(());
        };
        if view.head.number >= view.schedule.evidence_answered_until() {
            return Ok(());
        }
        let wanted = request.wanted;
        if !serves(&self.server, epoch, wanted).await {
            tracing::warn!(%epoch, %wanted, "a validator asks for evidence that is not here; pay for the epoch may lapse");
            return Ok(());
        }
        self.submitter.submit_finalized(&Call::answer_evidence(self.session.run, epoch, wanted)).await?;
        tracing::info!(%epoch, %wanted, "answered a request for evidence: it is served");
        Ok(())
    }

    fn is_due(&self, request: &RequestView, first: bool) -> bool {
        request.incarnation == self.me.incarnation && request.answer.is_none() && request.again != first
    }
}

/// Whether this miner serves what a hash of its own commitment stands for.
pub(crate) async fn serves(server: &Server, epoch: Epoch, wanted: Hash) -> bool {
    if server.withholds(epoch) {
        return false;
    }
    let store = &server.store;
    if store.has_codes(epoch, &wanted) {
        return true;
    }
    let receipts = store.receipts(epoch).and_then(|bytes| Vec::<Receipt>::decode(&mut bytes.as_slice()).ok());
    if receipts.is_some_and(|receipts| list_root(&receipts) == wanted) {
        return true;
    }
    let log = store.log(epoch).and_then(|bytes| Vec::<LogEvent>::decode(&mut bytes.as_slice()).ok());
    let Some(log) = log else { return false };
    if list_root(&log) == wanted {
        return true;
    }
    let step = log.iter().find_map(|event| match event {
        LogEvent::Step { version, state_root } if *state_root == wanted => Some(*version),
        _ => None,
    });
    match step {
        Some(version) => matches!(server.step_state(epoch, version, 0).await, FetchReply::Bytes(_)),
        None => false,
    }
}
