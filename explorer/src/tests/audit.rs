//! The audit of an honest chain, and of bundles in which something was changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use iota_protocol::emission::UNIT;
use iota_protocol::ids::{Epoch, Hash, Uid};
use serde_json::Value as Json;

use super::resume::index_all;
use super::world::{World, RUN};
use crate::audit::{audit, verdict, Status};
use crate::bundle::{Bundle, Carried, Ruling, RulingKind, Term};
use crate::cli::read_bundle;
use crate::source::Source;
use crate::store::Store;

/// A database over the whole world with all published reports.
pub async fn indexed(dir: &std::path::Path) -> (Arc<World>, Store) {
    let world = Arc::new(World::new());
    let store = open_all(&world, dir).await;
    (world, store)
}

async fn open_all(world: &Arc<World>, dir: &std::path::Path) -> Store {
    let store = Store::open(&dir.join("explorer.sqlite"), world.genesis(), 0).unwrap();
    index_all(world, &store).await;
    fetch_all(world, &store).await;
    store
}

/// What is fetched beside the blocks: votes on them, and the reports that validators publish.
pub async fn fetch_all(world: &World, store: &Store) {
    crate::votes::round(store, world, &mut Default::default()).await.unwrap();
    for ((_, uid), report) in &world.published {
        store.put_report(*uid, report).unwrap();
    }
}

async fn bundles() -> Vec<Bundle> {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = indexed(dir.path()).await;
    let reader = store.reader().unwrap();
    (0..3).map(|epoch| Bundle::collect(&reader, RUN, Epoch(epoch)).unwrap().unwrap()).collect()
}

fn failing(bundle: &Bundle) -> Vec<String> {
    audit(bundle).into_iter().filter(|f| f.status == Status::Fail).map(|f| f.id).collect()
}

#[tokio::test]
async fn an_honest_chain_passes_every_invariant() {
    for bundle in bundles().await {
        for finding in audit(&bundle) {
            assert_eq!(finding.status, Status::Pass, "epoch {}: {finding:#?}", bundle.epoch);
        }
    }
}

/// Everybody may burn: the audit passes, counts it once and says where it was.
#[tokio::test]
async fn a_burn_outside_of_every_run_is_named_and_an_unexplained_one_fails() {
    let all = bundles().await;
    let finding = |bundle: &Bundle| audit(bundle).into_iter().find(|f| f.id == "I2").unwrap();
    let burns = |bundle: &Bundle| {
        let terms = bundle.issuance.clone().unwrap().terms;
        terms.into_iter().filter(|term| term.event == "Balances.Burned").collect::<Vec<_>>()
    };
    // In epoch 0 beside a registration by the same owner at the same price, later alone.
    let counted =
        |name: &str| all[0].issuance.as_ref().unwrap().terms.iter().filter(|t| t.event == name).count();
    assert_eq!((counted("Iota.Registered"), counted("Balances.Burned")), (8, 2));
    for bundle in &all {
        let burn = burns(bundle).pop().unwrap();
        assert_eq!((burn.made, burn.destroyed), (0, UNIT));
        let found = finding(bundle);
        assert_eq!(found.status, Status::Pass);
        let named = format!("block {}: Balances.Burned -{UNIT}", burn.block);
        assert!(found.notes.contains(&named), "{:?}", found.notes);
        let mut hidden = bundle.clone();
        hidden.issuance.as_mut().unwrap().terms.retain(|term| *term != burn);
        assert_eq!(finding(&hidden).status, Status::Fail, "a burn without an event");
    }
    // Tokens that no run emitted are refused even where the sums agree.
    let mut minted = all[1].clone();
    let span = minted.issuance.as_mut().unwrap();
    span.after += 5;
    let event = "Balances.Issued".into();
    span.terms.push(Term { block: span.to_block, event, made: 5, destroyed: 0, emission: None });
    let found = finding(&minted);
    assert_eq!((found.status, found.sides[0].value == found.sides[1].value), (Status::Fail, true));
    assert!(found.notes.iter().any(|note| note.ends_with("no run's emission")), "{:?}", found.notes);
}

#[tokio::test]
async fn what_is_missing_is_not_claimed() {
    let honest = bundles().await.remove(1);
    let salts = Vec::new();
    let bundle = Bundle { funds: None, proof: None, published: Vec::new(), issuance: None, salts, ..honest };
    let unchecked: Vec<String> =
        audit(&bundle).into_iter().filter(|f| f.status == Status::NotChecked).map(|f| f.id).collect();
    assert_eq!(unchecked, ["I1", "I2", "I6", "I7", "I8", "I9", "I11"]);
    assert_eq!(verdict(&audit(&bundle)), Status::NotChecked);
}

/// A lie that is sealed with a fresh digest is found by the invariant that it breaks.
#[tokio::test]
async fn sealed_lies_break_the_invariant_that_they_are_about() {
    let honest = bundles().await.remove(1);
    let check = |id: &str, lie: &dyn Fn(&mut Bundle)| {
        let mut bundle = honest.clone();
        lie(&mut bundle);
        assert!(failing(&bundle).contains(&id.to_owned()), "{id}: {:?}", failing(&bundle));
    };
    check("I1", &|b| b.funds.as_mut().unwrap().balances = Some(1));
    check("I2", &|b| b.issuance.as_mut().unwrap().after += 1);
    check("I2", &|b| {
        let terms = &mut b.issuance.as_mut().unwrap().terms;
        terms.iter_mut().find(|term| term.made > 0).unwrap().made -= 1;
    });
    check("I2", &|b| b.issuance.as_mut().unwrap().terms.retain(|term| term.event != "Balances.Burned"));
    // The emission of another epoch, of another block, or none at all.
    let emission = |b: &mut Bundle, alter: &dyn Fn(&mut Term)| {
        let terms = &mut b.issuance.as_mut().unwrap().terms;
        alter(terms.iter_mut().find(|term| term.emission.is_some()).unwrap());
    };
    check("I2", &|b| emission(b, &|term| term.emission.as_mut().unwrap().epoch = Epoch(0)));
    check("I2", &|b| emission(b, &|term| term.emission.as_mut().unwrap().run.0 = 7));
    check("I2", &|b| emission(b, &|term| term.emission = None));
    check("I2", &|b| emission(b, &|term| term.block -= 1));
    check("I2", &|b| {
        let span = b.issuance.as_mut().unwrap();
        (span.from_block, span.before) = (span.to_block, span.after);
        span.terms.clear();
    });
    // More minted than the report says, and the issuance raised to match: the report is proven.
    check("I2", &|b| {
        emission(b, &|term| term.made += 5);
        b.issuance.as_mut().unwrap().after += 5;
    });
    check("I3", &|b| b.report.as_mut().unwrap().split.minted += 1);
    check("I3", &|b| b.minted_before = Some(0));
    check("I4", &|b| b.report.as_mut().unwrap().split.treasury -= 1);
    check("I5", &|b| b.report.as_mut().unwrap().payouts[0].amount += 1);
    check("I5", &|b| b.snapshot.as_mut().unwrap().validators[0].stake = 0);
    check("I5", &|b| b.scores[0].entries.as_mut().unwrap()[0].score = 1);
    check("I5", &|b| b.report.as_mut().unwrap().terms.minted_before += 1_000_000 * UNIT * 11);
    check("I5", &|b| b.bonds.as_mut().unwrap().clear());
    check("I5", &|b| {
        b.carried = Some(Carried { snapshot: b.snapshot.clone().unwrap(), scores: b.scores.clone() })
    });
    check("I5", &|b| b.bonds.as_mut().unwrap()[0].bonds[0].part /= 2);
    check("I6", &|b| b.submissions[0].block += 30);
    check("I6", &|b| b.submissions.clear());
    // A salt, row or root that was not committed.
    check("I6", &|b| b.salts.iter_mut().for_each(|own| own.salt.0[0] ^= 1));
    check("I6", &|b| b.scores[0].entries.as_mut().unwrap()[0].score ^= 1);
    check("I6", &|b| b.scores[0].report_root = Some(Hash::ZERO));
    check("I6", &|b| b.scores[0].commit.0[0] ^= 1);
    check("I6", &|b| b.snapshot.as_mut().unwrap().validators[0].hotkey.0[0] ^= 1);
    // A gate that nobody voted for, a verdict that was not carried out, transcripts that nobody opened.
    let gate = |b: &mut Bundle| {
        let guilty = b.snapshot.as_ref().unwrap().miners[0].clone();
        b.report.as_mut().unwrap().terms.gated.try_push((guilty.uid, guilty.incarnation)).unwrap();
    };
    let votes = |b: &mut Bundle| {
        let uid = b.snapshot.as_ref().unwrap().miners[0].uid;
        let block = b.report.as_ref().unwrap().block - 1;
        for voter in b.snapshot.clone().unwrap().validators {
            let kind = RulingKind::Vote { uid, segment: 2, voter: voter.uid, guilty: true };
            b.rulings.push(Ruling { block, kind });
        }
    };
    check("I10", &gate);
    check("I10", &|b| b.rulings.clear());
    check("I10", &|b| b.rulings.retain(|own| kind(&own.kind) != "opened"));
    // The miner is gated by the votes as well as by the proof: either alone would do, neither does not.
    let without = |kinds: &[&str]| {
        let mut bundle = honest.clone();
        bundle.rulings.retain(|own| !kinds.contains(&kind(&own.kind)));
        failing(&bundle).contains(&"I10".to_owned())
    };
    assert!(!without(&["vote"]) && !without(&["equivocated"]) && without(&["vote", "equivocated"]));
    check("I10", &votes);
    check("I10", &|b| b.report.as_mut().unwrap().terms.transcripts.try_push((Uid(9), 2)).unwrap());
    let mut judged = honest.clone();
    gate(&mut judged);
    votes(&mut judged);
    assert!(!failing(&judged).contains(&"I10".to_owned()), "a gate with its votes");
    check("I7", &|b| b.funds.as_mut().unwrap().owed = u128::MAX);
    check("I7", &|b| b.funds.as_mut().unwrap().records.as_mut().unwrap().claimable += 1);
    check("I7", &|b| b.funds.as_mut().unwrap().records.as_mut().unwrap().vesting -= 1);
    check("I7", &|b| b.funds.as_mut().unwrap().waiting += 101);
    // Without the records a lack still shows, and nothing more is claimed.
    let status = |bundle: &Bundle| audit(bundle).into_iter().find(|f| f.id == "I7").unwrap().status;
    let mut crowded = honest.clone();
    crowded.funds.as_mut().unwrap().records = None;
    assert_eq!(status(&crowded), Status::NotChecked);
    crowded.funds.as_mut().unwrap().pot = 0;
    assert_eq!(status(&crowded), Status::Fail);
    check("I8", &|b| b.proof.as_mut().unwrap().hash.0[0] ^= 1);
    check("I8", &|b| b.report.as_mut().unwrap().payouts[0].amount += 1);
    check("I8", &|b| b.proof.as_mut().unwrap().nodes.clear());
    check("I8", &|b| b.claims[0].amount += 1);
    check("I8", &|b| b.claims[0].coldkey.0[0] ^= 1);
    check("I8", &|b| b.claims.truncate(1));
    check("I8", &|b| b.issuance.as_mut().unwrap().after += 1);
    check("I8", &|b| b.funds.as_mut().unwrap().owed -= 1);
    check("I8", &|b| b.funds.as_mut().unwrap().waiting -= 1);
    check("I8", &|b| b.funds.as_mut().unwrap().pot += 1);
    check("I8", &|b| b.funds.as_mut().unwrap().records.as_mut().unwrap().claimable = 1);
    check("I9", &|b| b.scores[0].report_root = Some(Hash::ZERO));
    check("I9", &|b| b.published[0].body.replace_range(40..42, "ff"));
    // The order of members says nothing; who served which stage does.
    check("I9", &|b| {
        let (first, second) = (b.members[0].stage, b.members[4].stage);
        (b.members[0].stage, b.members[4].stage) = (second, first);
    });
    check("I9", &|b| b.members.retain(|member| member.uid.0 != 4));
}

/// A void epoch that is scored by the rows of the next is settled again as the chain did it.
#[tokio::test]
async fn a_void_epoch_that_was_scored_with_the_next_is_settled_again() {
    let dir = tempfile::tempdir().unwrap();
    let world = Arc::new(World::with_void(Epoch(1)));
    let store = open_all(&world, dir.path()).await;
    let reader = store.reader().unwrap();
    let of = |epoch| Bundle::collect(&reader, RUN, Epoch(epoch)).unwrap().unwrap();
    let (void, next) = (of(1), of(2));
    let report = void.report.clone().unwrap();
    assert_eq!(
        (report.void, report.terms.scored_by, report.block),
        (false, Epoch(2), next.report.clone().unwrap().block)
    );
    assert!(void.scores.iter().all(|row| row.entries.is_none()) && void.carried.is_some());
    let not_passed = |bundle: &Bundle| {
        let findings = audit(bundle).into_iter().filter(|f| f.status != Status::Pass);
        findings.map(|f| (f.id, f.status)).collect::<Vec<_>>()
    };
    // Nobody revealed in it, so that no report stands behind a row of its own.
    assert_eq!(not_passed(&void), [("I9".to_owned(), Status::NotChecked)]);
    for bundle in [of(0), next] {
        assert_eq!(not_passed(&bundle), [], "{:#?}", audit(&bundle));
    }
    let check = |expected: Status, lie: &dyn Fn(&mut Bundle)| {
        let mut bundle = void.clone();
        lie(&mut bundle);
        let found = audit(&bundle).into_iter().find(|f| f.id == "I5").unwrap();
        assert_eq!(found.status, expected, "{found:#?}");
    };
    check(Status::NotChecked, &|b| b.carried = None);
    let carried = |b: &mut Bundle, alter: &dyn Fn(&mut Carried)| alter(b.carried.as_mut().unwrap());
    check(Status::Fail, &|b| carried(b, &|own| own.scores[0].entries.as_mut().unwrap()[0].score = 1));
    check(Status::Fail, &|b| carried(b, &|own| own.scores.clear()));
    check(Status::Fail, &|b| carried(b, &|own| own.snapshot.validators[0].stake = 0));
    check(Status::Fail, &|b| b.report.as_mut().unwrap().terms.scored_by = Epoch(3));
    check(Status::Fail, &|b| b.report.as_mut().unwrap().terms.scored_by = Epoch(1));
}

/// Every number, text and flag of the file, changed one at a time. The epoch is the one with rulings, beside which
/// stands what another that was void is scored by: no list of the file is empty, so that every kind of field
/// is there.
#[tokio::test]
async fn altering_any_field_of_the_file_fails_loudly() {
    let mut bundle = bundles().await.remove(1);
    bundle.carried =
        Some(Carried { snapshot: bundle.snapshot.clone().unwrap(), scores: bundle.scores.clone() });
    let bundle = bundle.sealed();
    let kinds: BTreeSet<&str> = bundle.rulings.iter().map(|ruling| kind(&ruling.kind)).collect();
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.json");
    let text = serde_json::to_string(&bundle).unwrap();
    std::fs::write(&path, &text).unwrap();
    assert_eq!(read_bundle(&path, None).unwrap(), bundle);
    let whole: Json = serde_json::from_str(&text).unwrap();
    let mut paths = Vec::new();
    leaves(&whole, String::new(), &mut paths);
    // Of what may be absent, only this is: validators hold no stage, and burns are no emission.
    let may_be = |pointer: &String| pointer.ends_with("/stage") || pointer.ends_with("/emission");
    let absent = |pointer: &&String| whole.pointer(pointer).unwrap().is_null() && !may_be(pointer);
    assert_eq!(paths.iter().filter(absent).count(), 0, "{:?}", paths.iter().find(absent));
    assert!(paths.len() > 300, "{} fields", paths.len());
    for pointer in paths {
        let mut altered = whole.clone();
        alter(altered.pointer_mut(&pointer).unwrap());
        std::fs::write(&path, altered.to_string()).unwrap();
        let error = read_bundle(&path, None).expect_err(&pointer).to_string();
        assert!(
            error.contains("altered") || error.contains("no bundle") || error.contains("version"),
            "{pointer}: {error}"
        );
    }
    // Added fields are refused, too.
    std::fs::write(&path, text.replacen('{', "{\"extra\":1,", 1)).unwrap();
    assert!(read_bundle(&path, None).is_err());
}

fn kind(kind: &RulingKind) -> &'static str {
    match kind {
        RulingKind::Vote { .. } => "vote",
        RulingKind::Equivocated { .. } => "equivocated",
        RulingKind::Opened { .. } => "opened",
    }
}

/// Lists of numbers and hex count as one field each: one element stands for all.
fn leaves(value: &Json, at: String, out: &mut Vec<String>) {
    match value {
        Json::Object(fields) => {
            for (name, value) in fields {
                leaves(value, format!("{at}/{name}"), out);
            }
        }
        Json::Array(items) => {
            assert!(!items.is_empty(), "{at} is empty");
            for (index, item) in items.iter().enumerate() {
                leaves(item, format!("{at}/{index}"), out);
            }
        }
        _ => out.push(at),
    }
}

fn alter(value: &mut Json) {
    *value = match value.take() {
        Json::Null => Json::from(1),
        Json::Bool(flag) => Json::Bool(!flag),
        Json::Number(number) => Json::from(number.as_u64().map_or(7, |n| n ^ 1)),
        Json::String(text) => {
            let last = if text.ends_with('0') { '1' } else { '0' };
            let mut text = text;
            text.pop();
            text.push(last);
            Json::String(text)
        }
        other => other,
    };
}
