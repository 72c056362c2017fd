//! Follows the chain for the operator: where the epoch stands, who the neighbours are, what was earned.
//! Reads only; a slow answer delays the view and nothing else.

use std::time::Instant;

use iota_chain::{At, ChainError};
use iota_network::{Network, Reach};
use iota_protocol::ids::{Epoch, Stage};
use iota_protocol::view::{MemberView, ScoreView};
use iota_service::ss58;
use iota_worker::session::{RunSnapshot, Session};
use serde_json::{json, Value};

use crate::gauges::Gauges;
use crate::judged::{Judgements, Source};
use crate::meter::WireMeter;

/// Scored epochs shown; a terminal has room for as many.
const HISTORY: u32 = 8;

/// Blocks after which their pace is believed; until then a block takes the second that its slot has.
const PACE: u32 = 16;

/// What an observer needs.
pub struct Observer {
    /// The followed run.
    pub session: Session,
    /// What carries messages, and fetches validators' reports.
    pub network: Network,
    /// Ourselves, as registered.
    pub me: MemberView,
    /// Where it goes.
    pub gauges: Gauges,
    /// Bytes sent.
    pub meter: WireMeter,
}

impl Observer {
    /// Follows until the session closes.
    pub async fn run(mut self) {
        let (mut told, mut pace) = (None, None);
        let mut judgements = Judgements::new(Source {
            chain: std::sync::Arc::clone(&self.session.chain),
            run: self.session.run,
            network: self.network.clone(),
            me: self.me.clone(),
            gauges: self.gauges.clone(),
        });
        self.identity();
        while let Ok(view) = self.session.next().await {
            self.gauges.alive();
            self.clock(&view);
            let (since, first) = *pace.get_or_insert((Instant::now(), view.head.number));
            let seconds =
                seconds_per_block(since.elapsed().as_secs_f64(), view.head.number.saturating_sub(first));
            self.gauges.fact("seconds_per_block", json!(seconds));
            self.memory();
            self.gauges.carried(&self.network.stats());
            self.reach();
            for (boundary, bytes) in self.meter.totals() {
                self.gauges.sent(boundary, bytes);
            }
            if told == Some(view.epoch()) {
                continue;
            }
            // Parameters may have changed with the epoch.
            self.identity();
            self.neighbours(&view);
            match self.earnings(&view, &mut judgements).await {
                Ok(()) => told = Some(view.epoch()),
                Err(error) => tracing::debug!(%error, "earnings not read; trying again at the next block"),
            }
        }
    }

    fn identity(&self) {
        let facts = [
            ("run", json!(self.session.run)),
            ("uid", json!(self.me.uid)),
            ("incarnation", json!(self.me.incarnation)),
            ("hotkey", json!(ss58::encode(&self.me.hotkey.0))),
            ("coldkey", json!(ss58::encode(&self.me.coldkey.0))),
            ("tokens_per_sample", json!(self.session.params.tokens_per_sample())),
            ("epochs", json!(self.session.params.epochs)),
            ("stages", json!(self.session.params.n_stages())),
        ];
        facts.into_iter().for_each(|(name, fact)| self.gauges.fact(name, fact));
    }

    fn clock(&self, view: &RunSnapshot) {
        let (phase, head) = (view.phase(), view.head.number);
        let window = view.schedule.window(phase);
        self.gauges.fact("phase", json!(format!("{phase:?}")));
        self.gauges.fact("phase_blocks_left", json!(window.end.saturating_sub(head)));
        self.gauges.fact("epoch_blocks_left", json!(view.schedule.close().saturating_sub(head)));
        self.gauges.fact("epoch_length", json!(view.schedule.close().saturating_sub(view.clock.start)));
        self.gauges.fact("settling", json!(self.session.params.is_settling(view.epoch())));
        self.gauges.fact("state", json!(format!("{:?}", view.clock.state)));
        self.gauges.number("iota_block", "Newest finalized block.", f64::from(head));
        self.gauges.number("iota_epoch", "Epoch of the run.", f64::from(view.epoch().0));
        // Exact up to 2^53 tokens, a thousand times what any preset trains on.
        self.gauges.number(
            "iota_run_tokens",
            "Tokens that the run has trained on.",
            view.clock.tokens as f64,
        );
    }

    /// How others get here.
    fn reach(&self) {
        let told = match self.network.reach() {
            Reach::Unknown => Value::Null,
            Reach::Direct(_) => json!("reached directly"),
            Reach::Nowhere => json!("not reached: no relay has a place yet"),
            Reach::Relayed(_) => json!("reached through a relay"),
        };
        self.gauges.fact("reach", told);
        let through = self.network.stats().relayed_peers as f64;
        self.gauges.number("iota_relayed_peers", "Peers that are reached through relays only.", through);
    }

    fn memory(&self) {
        if let Some(bytes) = crate::memory::resident() {
            self.gauges.number("iota_memory_bytes", "Bytes of this process in memory.", bytes as f64);
        }
    }

    fn neighbours(&self, view: &RunSnapshot) {
        let stage = view.member(self.me.uid).and_then(|me| me.stage);
        self.gauges.fact("stage", stage.map_or(Value::Null, |stage| json!(stage)));
        let counts: Vec<usize> =
            (0..self.session.params.n_stages()).map(|stage| view.miners(Stage(stage)).count()).collect();
        self.gauges.fact("replicas", json!(counts));
        let Some(stage) = stage else { return };
        let replicas: Vec<_> = view.miners(stage).map(|m| m.uid).filter(|uid| *uid != self.me.uid).collect();
        self.gauges.fact("partners", json!(replicas));
    }

    /// What is owed now, and the last scored epochs as the chain settled them. What validators found follows.
    async fn earnings(&self, view: &RunSnapshot, judgements: &mut Judgements) -> Result<(), ChainError> {
        let at = self.session.chain.at_finalized().await?;
        let owed = at.owed(self.me.coldkey).await?;
        self.gauges.fact("owed", json!(owed.to_string()));
        let (mut history, mut judged) = (Vec::new(), Vec::new());
        for number in view.epoch().0.saturating_sub(HISTORY)..view.epoch().0 {
            let epoch = Epoch(number);
            let Some(report) = at.report(self.session.run, epoch).await? else { continue };
            let mine = |uid, incarnation| (uid, incarnation) == (self.me.uid, self.me.incarnation);
            let paid: u128 =
                report.payouts.iter().filter(|p| mine(p.uid, p.incarnation)).map(|p| p.amount).sum();
            let snapshot = at.snapshot(self.session.run, epoch).await?;
            let samples = snapshot.and_then(|snapshot| {
                snapshot.miners.iter().find(|m| mine(m.uid, m.incarnation)).map(|m| m.samples)
            });
            judged.push((epoch, report.terms.scored_by));
            history.push(json!({
                "epoch": number,
                "void": report.void,
                "paid": paid.to_string(),
                "samples": samples,
                "scores": self.scores(&at, report.terms.scored_by).await?,
            }));
        }
        self.gauges.fact("history", json!(history));
        judgements.look(&judged);
        Ok(())
    }

    /// Our score in each revealed row; the chain keeps rows for a few epochs only.
    async fn scores(&self, at: &At, epoch: Epoch) -> Result<Vec<u16>, ChainError> {
        let rows = at.scores(self.session.run, epoch).await?;
        let ours = |row: &ScoreView| {
            let entries = row.entries.as_ref()?;
            Some(entries.iter().find(|entry| entry.uid == self.me.uid).map_or(0, |entry| entry.score))
        };
        Ok(rows.iter().filter_map(ours).collect())
    }
}

/// How long a block takes: the slot's second, until enough have been seen to know better.
fn seconds_per_block(seconds: f64, blocks: u32) -> f64 {
    if blocks < PACE {
        return 1.0;
    }
    seconds / f64::from(blocks)
}

#[cfg(test)]
mod tests {
    use super::seconds_per_block;

    #[test]
    fn the_pace_of_blocks_is_believed_once_some_were_seen() {
        assert_eq!(seconds_per_block(100.0, 15), 1.0, "too few");
        assert_eq!(seconds_per_block(20.0, 16), 1.25);
    }
}
