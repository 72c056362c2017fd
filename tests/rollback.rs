//! Going back with real processes: all validators vote that the stages return to an earlier epoch's states;
//! miners find those states on their disks, train on, and the run ends as any other.
//!
//! Five minutes; by hand, with the programs built (`scripts/build`):
//!
//! ```text
//! . scripts/env.sh
//! export IOTA_BIN_CHAIN=$IOTA_TARGET_CHAIN/debug IOTA_BIN_WORK=$IOTA_TARGET_WORK/debug
//! iota_cargo work test --locked "${IOTA_WORK_CRATES[@]}" --test rollback -- --ignored --nocapture
//! ```

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

/// The epoch in which validators vote.
const VOTED: u32 = 2;
/// The epoch whose states all stages have again after it.
const TO: u32 = 0;
/// Epochs that train.
const EPOCHS: u32 = 4;

fn options() -> Options {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/shakespeare.txt");
    let blocks = iota_tests::speed::stretched(24).expect("the probe trains a model").to_string();
    let args = ["rollback", "--preset", "nano", "--data", data, "--train-blocks", &blocks];
    let shape = ["--stages", "2", "--miners", "2", "--validators", "2", "--epochs", "4"];
    Options::try_parse_from(args.iter().chain(&shape).copied())
        .expect("the test's own options are valid; qed")
}

/// All validators vote, once, in the `Train` of the chosen epoch.
async fn vote(devnet: &Devnet, records: &Records, voted: &mut bool) -> anyhow::Result<()> {
    let Some(clock) = &records.clock else { return Ok(()) };
    let phase = clock.schedule(&devnet.params).phase_at(records.block);
    if *voted || clock.epoch != Epoch(VOTED) || phase != Phase::Train {
        return Ok(());
    }
    for member in devnet.members.iter().filter(|member| member.role == Role::Validator) {
        // The validator's own process numbers its transactions from the same pool.
        let hotkey = Hotkey::load(&member.dir.join("hotkey.json"))?;
        let submitter = Submitter::new(std::sync::Arc::clone(&devnet.chain), coldkey_signer(hotkey));
        submitter.submit(&Call::vote_rollback(RUN, Epoch(VOTED), Epoch(TO))).await?;
    }
    *voted = true;
    Ok(())
}

/// Canonical roots of an epoch, in stage order.
fn roots(records: &Records, epoch: u32) -> Vec<Option<Hash>> {
    records.epochs[&Epoch(epoch)].merges.iter().map(|merge| merge.canonical_root).collect()
}

/// What committers of a stage reported.
fn reported(records: &Records, epoch: u32, stage: Stage) -> Vec<Hash> {
    let merge = &records.epochs[&Epoch(epoch)].merges[usize::from(stage.0)];
    merge.commits.iter().filter_map(|commit| commit.root).collect()
}

#[test]
#[ignore = "five minutes; see the top of the file for the command"]
fn stages_go_back_to_an_earlier_epochs_states_and_train_on() {
    iota_compute::init_runtime(1);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut devnet = Devnet::start(options()).await.unwrap();
        let mut voted = false;
        let records = follow(&mut devnet, async |devnet, records| {
            vote(devnet, records, &mut voted).await?;
            Ok(Vec::new())
        })
        .await
        .unwrap();
        let summary = summarise(&devnet, &records).unwrap();
        devnet.stop();
        eprintln!("{:#?}\n{:?}\nlogs are in {}", summary.epochs, summary.checks, devnet.dir.display());
        assert!(voted);
        let states = roots(&records, TO);
        assert!(states.iter().all(Option::is_some), "{states:?}");
        assert_eq!(roots(&records, VOTED), states, "every stage left epoch {VOTED} with the earlier state");
        let tokens = |epoch: u32| records.epochs[&Epoch(epoch)].tokens_after;
        assert_eq!(tokens(VOTED), tokens(TO), "and the run with its tokens");
        for stage in (0..devnet.params.n_stages()).map(Stage) {
            let own = reported(&records, VOTED, stage);
            let back = states[usize::from(stage.0)];
            assert!(!own.is_empty() && own.iter().all(|root| Some(*root) != back), "work was left behind");
            // Both replicas went on from the same state: they merged to the same root again.
            let next = reported(&records, EPOCHS - 1, stage);
            assert_eq!(next.len(), 2, "{next:?}");
            assert!(next.iter().all(|root| *root == next[0]), "{next:?}");
        }
        assert!(tokens(EPOCHS - 1) > tokens(VOTED), "training went on");
        for name in ["all_epochs_trained", "emission_conserved", "every_payment_rederived"] {
            assert!(summary.checks.holds(name), "{name}");
        }
    });
}
