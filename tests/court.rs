//! Verdicts with real processes: a miner that takes no real steps is accused, judged and not paid, one
//! that withholds its evidence has its pay held until it lapses, in the run's last epoch too, one that opens
//! wrong merge results is named, and honest miners lose nothing.
//!
//! Needs the programs to be built (`scripts/build`); `scripts/test` does that first. Run by hand with
//! `IOTA_BIN_CHAIN` and `IOTA_BIN_WORK` set to their folders.

use anyhow::Context;
use clap::Parser;
use iota_protocol::court::{AccusationView, Accused};
use iota_protocol::ids::{Epoch, Incarnation, Uid};
use iota_protocol::work::Role;
use iota_tests::collect::Records;
use iota_tests::network::{Devnet, RUN};
use iota_tests::options::Options;
use iota_tests::run::{follow, summarise};

/// `Train` of each epoch on the reference machine: enough for a row, three audits, a verdict and a
/// second request for evidence.
const TRAIN_BLOCKS: u32 = 30;
/// Works honestly in epoch 0, so that it has pay to lose, and takes no real steps from epoch 1 on.
const IDLER: &str = "miner-0";
/// Serves receipts and nothing else.
const REFUSER: &str = "miner-1";
/// Opens wrong results for the merge shards that it owns, from epoch 1 on.
const LIAR: &str = "miner-2";
/// Judges that are killed and started again between an accusation and its verdict.
const RESTARTED: &str = "validator-2";

fn options() -> Options {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/shakespeare.txt");
    let blocks = iota_tests::speed::stretched(TRAIN_BLOCKS).expect("the probe trains a model").to_string();
    let args = ["court", "--preset", "nano", "--data", data, "--train-blocks", &blocks];
    let shape = ["--stages", "2", "--miners", "2", "--validators", "3", "--epochs", "2"];
    let mut options = Options::try_parse_from(args.iter().chain(&shape).copied())
        .expect("the test's own options are valid; qed");
    let own = |list: &[&str]| list.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
    options.member_args.insert(IDLER.into(), own(&["--fault", "skips-steps", "--fault-from", "1"]));
    options.member_args.insert(LIAR.into(), own(&["--fault", "wrong-shards", "--fault-from", "1"]));
    options.member_args.insert(REFUSER.into(), own(&["--fault", "refuses-evidence"]));
    for number in 0..3 {
        // Each looks at every miner: chance must not decide whether the cheat is looked at.
        options.member_args.insert(format!("validator-{number}"), own(&["--audits", "4"]));
    }
    options
}

fn named(devnet: &Devnet, records: &Records, name: &str) -> anyhow::Result<(Uid, Incarnation)> {
    let member = devnet.members.iter().find(|member| member.name == name).context("no such member")?;
    let found = records.members.iter().find(|own| own.hotkey == member.hotkey);
    let found = found.with_context(|| format!("{name} is not registered"))?;
    Ok((found.uid, found.incarnation))
}

/// Kills a judge as soon as somebody is accused, and starts it again in the next look.
async fn act(devnet: &mut Devnet, records: &Records, step: &mut u8) -> anyhow::Result<Vec<String>> {
    let accused = records.epochs.values().any(|record| !record.court.accusations.is_empty());
    match *step {
        0 if accused => {
            devnet.process(RESTARTED)?.kill()?;
            *step = 1;
        }
        1 => {
            devnet.process(RESTARTED)?.restart()?;
            *step = 2;
        }
        _ => {}
    }
    Ok(vec![RESTARTED.into()])
}

/// Names of chain events of the run with the uid that they are about.
async fn events(devnet: &Devnet, last: u32) -> anyhow::Result<Vec<(String, u64, Option<String>)>> {
    let mut all = Vec::new();
    for number in 1..=last {
        let block = devnet.chain.block(number).await?;
        for event in block.content.into_iter().flat_map(|content| content.events) {
            let text = |field: &str| event.fields.get(field).and_then(|own| own.as_str().map(str::to_owned));
            let uid = text("uid").and_then(|own| own.parse().ok());
            if event.pallet == "Iota" {
                all.push((event.name.clone(), uid.unwrap_or(u64::MAX), text("unvested")));
            }
        }
    }
    Ok(all)
}

#[test]
fn a_cheat_is_judged_a_refuser_is_not_paid_and_honest_miners_lose_nothing() {
    iota_compute::init_runtime(1);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut devnet = Devnet::start(options()).await.unwrap();
        let mut step = 0;
        let records =
            follow(&mut devnet, async |devnet, records| act(devnet, records, &mut step).await).await.unwrap();
        let summary = summarise(&devnet, &records).unwrap();
        let events = events(&devnet, records.block).await.unwrap();
        eprintln!("{:#?}\n{:?}", summary.epochs, summary.checks);
        for (epoch, record) in &records.epochs {
            eprintln!("epoch {epoch}: {:#?}", record.court);
        }
        eprintln!("logs are in {}", devnet.dir.display());
        let [idler, refuser, liar] =
            [IDLER, REFUSER, LIAR].map(|name| named(&devnet, &records, name).unwrap());
        let owed_to_idler = owed(&devnet, IDLER).await;
        devnet.stop();
        judged(&records, idler, refuser, liar);
        let of = |name: &str, uid: Uid| {
            events.iter().filter(|(own, about, _)| own == name && *about == u64::from(uid.0)).count()
        };
        let forfeited =
            events.iter().find(|(name, uid, _)| name == "Forfeited" && *uid == u64::from(idler.0 .0));
        let unvested: u128 = forfeited.and_then(|(_, _, own)| own.as_ref()?.parse().ok()).unwrap_or(0);
        assert!(unvested > 0, "what had not vested of epoch 0 went to the treasury");
        assert!(owed_to_idler < unvested, "it keeps at most what had vested before: {owed_to_idler}");
        // Of both epochs that trained: the last one's too, about which validators ask while it is settled.
        assert_eq!(of("PayHeld", refuser.0), 2, "the pay of epochs 0 and 1 was held");
        assert_eq!(of("PayLapsed", refuser.0), 2);
        last_pay_lapsed(&records, refuser);
        honest(&records, &events, &[idler, refuser, liar]);
        assert_eq!(step, 2, "a judge was killed between accusation and verdict");
        for name in [
            "emission_conserved",
            "every_payment_rederived",
            "verdicts_rederived",
            "scores_follow_from_reports",
        ] {
            assert!(summary.checks.holds(name), "{name}");
        }
    });
}

async fn owed(devnet: &Devnet, name: &str) -> u128 {
    let coldkey = devnet.members.iter().find(|member| member.name == name).map(|own| own.coldkey).unwrap();
    devnet.chain.at_finalized().await.unwrap().owed(coldkey).await.unwrap()
}

/// What epochs 0 and 1 were decided by.
fn judged(
    records: &Records,
    idler: (Uid, Incarnation),
    refuser: (Uid, Incarnation),
    liar: (Uid, Incarnation),
) {
    let record = |epoch| records.epochs.get(&Epoch(epoch)).expect("the epoch was seen");
    let (first, second) = (record(0), record(1));
    assert!(first.court.accusations.is_empty(), "everybody worked in epoch 0");
    let accusations = &second.court.accusations;
    for (guilty, is_shard) in [(idler, false), (liar, true)] {
        let of: Vec<_> = accusations.iter().filter(|own| (own.uid, own.incarnation) == guilty).collect();
        assert!(
            of.iter().any(|own| own.verdict == Some(true) && own.votes.len() >= 2),
            "two of three voted: {of:?}"
        );
        let kind = |own: &&AccusationView| matches!(Accused::of(own.segment), Accused::Shard(_)) == is_shard;
        assert!(of.iter().all(kind), "each for what it did: {of:?}");
    }
    let others = accusations.iter().filter(|own| own.uid != idler.0 && own.uid != liar.0).count();
    assert_eq!(others, 0, "only the cheats are accused: {accusations:?}");
    assert!(accusations.iter().all(|own| own.votes.iter().all(|(_, guilty)| *guilty)));
    let mut gated = vec![idler, liar];
    gated.sort_unstable();
    assert_eq!(second.court.gated, gated);
    let paid = |record: &iota_tests::collect::EpochRecord, member: (Uid, Incarnation)| {
        let report = record.report.as_ref().expect("the epoch was settled");
        let own = report.payouts.iter().filter(|pay| (pay.uid, pay.incarnation) == member);
        own.map(|pay| pay.amount).sum::<u128>()
    };
    for guilty in [idler, liar] {
        assert!(paid(first, guilty) > 0, "it worked in epoch 0");
        assert_eq!(paid(second, guilty), 0, "the gate stops the pay of epoch 1");
    }
    assert!(paid(first, refuser) > 0, "its receipts earn it a score");
    let held: Vec<_> = first.court.held.iter().map(|pay| (pay.uid, pay.incarnation)).collect();
    assert_eq!(held, [refuser], "held, and nobody else's");
    let asked = first.court.request(refuser.0).expect("validators asked for its evidence");
    assert!(asked.again && asked.quorum && asked.answer.is_none(), "{asked:?}");
    let transcripts: usize = [first, second].iter().map(|own| own.court.opened().len()).sum();
    assert!(transcripts >= 3, "validators were paid for audits: {transcripts}");
}

/// Refusing evidence does not pay in the last epoch of a run either: it settles for one more.
fn last_pay_lapsed(records: &Records, refuser: (Uid, Incarnation)) {
    let clock = records.clock.as_ref().expect("the run was seen");
    assert_eq!(clock.epoch, Epoch(3), "two epochs of training, one to settle, one in which to ask again");
    let court = &records.epochs[&Epoch(1)].court;
    let held: Vec<_> = court.held.iter().map(|pay| (pay.uid, pay.incarnation)).collect();
    assert_eq!(held, [refuser]);
    let asked = court.request(refuser.0).expect("validators asked for its evidence");
    assert!(asked.again && asked.quorum && asked.answer.is_none(), "{asked:?}");
}

/// Nobody else is accused, gated, held, or forfeits anything, and everybody else is paid.
fn honest(records: &Records, events: &[(String, u64, Option<String>)], guilty: &[(Uid, Incarnation)]) {
    let miners = records.members.iter().filter(|member| member.role == Role::Miner);
    let honest: Vec<_> = miners.filter(|own| !guilty.contains(&(own.uid, own.incarnation))).collect();
    assert_eq!(honest.len(), 1);
    for member in honest {
        let uid = u64::from(member.uid.0);
        let against = ["Accused", "Forfeited", "PayHeld", "PayLapsed", "Equivocated"];
        let found: Vec<_> =
            events.iter().filter(|own| own.1 == uid && against.contains(&own.0.as_str())).collect();
        assert!(found.is_empty(), "uid {uid} of run {RUN}: {found:?}");
        for epoch in [Epoch(0), Epoch(1)] {
            let report = records.epochs[&epoch].report.as_ref().unwrap();
            assert!(
                report.payouts.iter().any(|pay| pay.uid == member.uid && pay.amount > 0),
                "uid {uid}, epoch {epoch}"
            );
        }
    }
}
