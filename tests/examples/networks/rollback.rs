//! Going back with real processes: all validators vote that the stages return to an earlier epoch's states;
//! miners find those states on their disks, train on, and the run ends as any other. Five minutes.

use clap::Parser;
use iota_chain::{Call, Submitter};
use iota_protocol::ids::{Epoch, Hash, Stage};
use iota_protocol::phase::Phase;
use iota_protocol::work::Role;
use iota_service::keys::Hotkey;
use iota_tests::collect::Records;
use iota_tests::network::{Devnet, RUN};
use iota_tests::options::Options;
use iota_tests::run::{follow, summarise};
use iota_worker::identity::coldkey_signer;

use iota_tests::outcome::Outcome;

/// The epoch in which validators vote.
const VOTED: u32 = 2;
/// The epoch whose states all stages have again after it.
const TO: u32 = 0;
/// Epochs that train.
const EPOCHS: u32 = 4;

fn options() -> anyhow::Result<Options> {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/shakespeare.txt");
    let (blocks, epochs) = (iota_tests::speed::stretched(24)?.to_string(), EPOCHS.to_string());
    let args = ["rollback", "--preset", "nano", "--data", data, "--train-blocks", &blocks];
    let shape = ["--stages", "2", "--miners", "2", "--validators", "2", "--epochs", &epochs];
    Ok(Options::try_parse_from(args.iter().chain(&shape).copied())?)
}

/// All validators vote, once, in the `Train` of the chosen epoch.
async fn vote(devnet: &Devnet, records: &Records, voted: &mut Option<u32>) -> anyhow::Result<()> {
    let Some(clock) = &records.clock else { return Ok(()) };
    let phase = clock.schedule(&devnet.params).phase_at(records.block);
    if voted.is_some() || clock.epoch != Epoch(VOTED) || phase != Phase::Train {
        return Ok(());
    }
    for member in devnet.members.iter().filter(|member| member.role == Role::Validator) {
        // The validator's own process numbers its transactions from the same pool.
        let hotkey = Hotkey::load(&member.dir.join("hotkey.json"))?;
        let submitter = Submitter::new(std::sync::Arc::clone(&devnet.chain), coldkey_signer(hotkey));
        submitter.submit(&Call::vote_rollback(RUN, Epoch(VOTED), Epoch(TO))).await?;
    }
    *voted = Some(records.block);
    Ok(())
}

/// Canonical roots of an epoch, in stage order.
fn roots(records: &Records, epoch: u32) -> Vec<Option<Hash>> {
    let record = records.epochs.get(&Epoch(epoch));
    record.into_iter().flat_map(|record| &record.merges).map(|merge| merge.canonical_root).collect()
}

/// What committers of a stage reported.
fn reported(records: &Records, epoch: u32, stage: Stage) -> Vec<Hash> {
    let merge = records.epochs.get(&Epoch(epoch)).and_then(|own| own.merges.get(usize::from(stage.0)));
    merge.into_iter().flat_map(|merge| &merge.commits).filter_map(|commit| commit.root).collect()
}

fn tokens(records: &Records, epoch: u32) -> Option<u64> {
    records.epochs.get(&Epoch(epoch))?.tokens_after
}

/// Runs it.
///
/// # Errors
/// When the network does not start, or ends before its run does.
pub async fn run() -> anyhow::Result<Outcome> {
    let mut devnet = Devnet::start(options()?).await?;
    eprintln!("logs are in {}", devnet.dir.display());
    let mut voted = None;
    let records = follow(&mut devnet, async |devnet, records| {
        vote(devnet, records, &mut voted).await?;
        Ok(Vec::new())
    })
    .await?;
    let summary = summarise(&devnet, &records)?;
    devnet.stop();
    let told = voted
        .map(|block| format!("epoch {VOTED}, block {block}: both validators vote to go back to epoch {TO}"));
    let mut outcome =
        Outcome::new("Going back to an earlier epoch's states", summary, told.into_iter().collect());
    outcome.claim("the vote was cast", true, voted.is_some(), voted.is_some());
    went_back(&mut outcome, &records);
    (0..devnet.params.n_stages()).map(Stage).for_each(|stage| went_on(&mut outcome, &records, stage));
    outcome.checks(&["all_epochs_trained", "emission_conserved", "every_payment_rederived"]);
    Ok(outcome)
}

fn went_back(outcome: &mut Outcome, records: &Records) {
    let (states, now) = (roots(records, TO), roots(records, VOTED));
    let same = !states.is_empty() && states.iter().all(Option::is_some) && states == now;
    let says = format!("stages that left epoch {VOTED} with the states after epoch {TO}");
    let found = states.iter().zip(&now).filter(|(earlier, later)| earlier == later).count();
    outcome.claim(&says, states.len(), found, same);
    let (then, after) = (tokens(records, TO), tokens(records, VOTED));
    outcome.claim(
        "tokens of the run after going back",
        show(then),
        show(after),
        then.is_some() && then == after,
    );
    let last = tokens(records, EPOCHS - 1);
    outcome.claim("tokens at the end", format!("more than {}", show(after)), show(last), last > after);
}

fn went_on(outcome: &mut Outcome, records: &Records, stage: Stage) {
    let own = reported(records, VOTED, stage);
    let back = roots(records, VOTED).get(usize::from(stage.0)).copied().flatten();
    let left = own.iter().filter(|root| Some(**root) != back).count();
    let says = format!("stage {stage}: members whose own merge of epoch {VOTED} was left behind");
    outcome.claim(&says, 2, left, left == 2);
    let next = reported(records, EPOCHS - 1, stage);
    let same = next.len() == 2 && next.iter().all(|root| Some(root) == next.first());
    let says = format!("stage {stage}: members with one root after the last epoch");
    outcome.claim(&says, 2, if same { 2 } else { 0 }, same);
}

fn show(tokens: Option<u64>) -> String {
    tokens.map_or("not recorded".into(), |tokens| tokens.to_string())
}
