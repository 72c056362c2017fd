//! What validators' reports say about this miner, for the live view. Fetched beside everything else: an author that is
//! away costs seconds of patience, and the view's clock must not wait for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use iota_chain::Chain;
use iota_network::Network;
use iota_protocol::ids::{Epoch, RunId};
use iota_protocol::report::MinerLine;
use iota_protocol::view::{MemberView, ScoreView};
use serde_json::{json, Value};
use tokio::task::{JoinHandle, JoinSet};

use crate::explain::ask;
use crate::gauges::Gauges;

/// What is known of each epoch; told as the fact `clasp`, by the epoch's number.
type Known = Arc<Mutex<BTreeMap<u32, Vec<Value>>>>;

/// Where reports come from, and about whom they are read.
#[derive(Clone)]
pub(crate) struct Source {
    /// The chain, which has the roots.
    pub chain: Arc<Chain>,
    /// The run.
    pub run: RunId,
    /// What asks the authors.
    pub network: Network,
    /// Ourselves.
    pub me: MemberView,
    /// Where it goes.
    pub gauges: Gauges,
}

/// Asks for reports, for one lot of epochs at a time.
pub(crate) struct Judgements {
    source: Source,
    known: Known,
    asking: Option<JoinHandle<()>>,
}

impl Judgements {
    /// Nothing is known yet.
    pub(crate) fn new(source: Source) -> Self {
        Self { source, known: Known::default(), asking: None }
    }

    /// Asks for what is not known of these epochs, each with the one whose rows scored it, and forgets all others. Does
    /// nothing while it still asks for those of before.
    pub(crate) fn look(&mut self, wanted: &[(Epoch, Epoch)]) {
        if self.asking.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let missing: Vec<(Epoch, Epoch)> = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|number, _| wanted.iter().any(|(epoch, _)| epoch.0 == *number));
            wanted.iter().filter(|(epoch, _)| !known.contains_key(&epoch.0)).copied().collect()
        };
        if !missing.is_empty() {
            self.asking = Some(tokio::spawn(ask_all(self.source.clone(), Arc::clone(&self.known), missing)));
        }
    }
}

async fn ask_all(source: Source, known: Known, epochs: Vec<(Epoch, Epoch)>) {
    for (epoch, scored_by) in epochs {
        let found = match found(&source, scored_by).await {
            Ok(found) if !found.is_empty() => found,
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!(%epoch, %error, "no judgement for the view");
                continue;
            }
        };
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(epoch.0, found);
        source.gauges.fact("clasp", json!(*known));
    }
}

/// What each validator that answers found about us. A report is believed only if it has the root that stands beside
/// its author's row.
async fn found(source: &Source, scored_by: Epoch) -> anyhow::Result<Vec<Value>> {
    let at = source.chain.at_finalized().await?;
    let members = at.members(source.run).await?;
    // At most as many as validators have a permit.
    let mut asked = JoinSet::new();
    for row in at.scores(source.run, scored_by).await? {
        let own = |m: &&MemberView| (m.uid, m.incarnation) == (row.uid, row.incarnation);
        if let (Some(root), Some(author)) = (row.report_root, members.iter().find(own)) {
            let (source, author) = (source.clone(), author.clone());
            asked.spawn(async move {
                let report = ask::report(&source.network, &author, source.run, scored_by, root).await.ok()?;
                let ours = |line: &&MinerLine| {
                    (line.uid, line.incarnation) == (source.me.uid, source.me.incarnation)
                };
                report.miners.iter().find(ours).map(|line| (row.uid, judged(&row, line)))
            });
        }
    }
    let mut found: Vec<_> = asked.join_all().await.into_iter().flatten().collect();
    found.sort_by_key(|(uid, _)| *uid);
    Ok(found.into_iter().map(|(_, line)| line).collect())
}

/// A validator's line on us: the factor, and what we took off a sample's loss with its interval of 95 %.
fn judged(row: &ScoreView, line: &MinerLine) -> Value {
    let interval =
        line.contribution().map(|(mean, (low, high))| json!({ "mean": mean, "low": low, "high": high }));
    json!({ "validator": row.uid, "factor_ppm": line.factor_ppm, "contribution": interval })
}
