//! The ten consensus vectors of the reference with their inputs, and the money rules around them.
//!
//! Each vector holds what went in (`miners`, `rows`, `bonds_before`, `terms`) and what came out, so
//! that another language needs nothing but the file. Amounts are strings: JSON numbers lose them.

use codec::Encode;
use serde_json::{json, Value};

use super::{check_vectors, Vectors};
use crate::consensus::bonds::{Bond, BondRow};
use crate::consensus::{solve, Miner, Row};
use crate::emission::{apportion, epoch_emission, payouts_root, settle, Settlement, Terms, MAX_SUPPLY};
use crate::ids::{AccountKey, Epoch, Hash, Incarnation, Stage, Uid};
use crate::params::RunParams;
use crate::sample_params::params_with_shares;
use crate::view::{ScoreView, SnapshotEntry, SnapshotValidator, SnapshotView};
use crate::work::ScoreEntry;

/// Stake and scores by uid, over five miners: three in stage 0 and two in stage 1. `None` did not
/// reveal.
type Told = (u128, Option<[u16; 5]>);

/// Incarnation of every miner.
const INCARNATION: Incarnation = Incarnation(3);

struct Case {
    name: &'static str,
    rows: Vec<Told>,
    /// Miners whose entries name an incarnation that has left.
    stale: Vec<u16>,
    /// Uids are taken in this order.
    order: [u16; 5],
    bonds: Vec<BondRow>,
    terms: Terms,
}

fn case(name: &'static str, rows: &[(u128, [u16; 5])]) -> Case {
    let rows = rows.iter().map(|(stake, scores)| (*stake, Some(*scores))).collect();
    let terms = Terms::plain(Epoch(5), 123_456_789);
    Case { name, rows, stale: vec![], order: [0, 1, 2, 3, 4], bonds: vec![], terms }
}

const CABAL: [(u128, [u16; 5]); 3] =
    [(35, [30, 30, 20, 9, 9]), (25, [29, 31, 20, 9, 8]), (40, [0, 0, 65_535, 0, 1])];

fn ten() -> Vec<Case> {
    let mut inactive = case("e_inactive_validator", &[(26, [9, 0, 0, 1, 1]), (25, [0, 4, 0, 1, 1])]);
    inactive.rows.push((49, None));
    let scaled = CABAL.map(|(stake, row)| (stake, if stake == 40 { row } else { row.map(|own| own * 100) }));
    let staked = CABAL.map(|(stake, row)| (stake * 1_000_000_007, row));
    vec![
        case("a_one_validator", &[(7, [3, 2, 1, 5, 5])]),
        case("b_cabal", &CABAL),
        case("c_above_consensus", &[(1, [1; 5]), (1, [1; 5]), (1, [4, 1, 1, 1, 3])]),
        Case { stale: vec![2], ..case("d_new_miner_after_registration", &CABAL) },
        inactive,
        case("f_no_weights", &[(40, [0; 5]), (60, [0; 5])]),
        case("g_all_equal", &[(1, [1; 5]), (u128::MAX, [7; 5])]),
        Case { order: [4, 2, 0, 3, 1], ..case("h_miners_in_another_order", &CABAL) },
        case("i_rows_scaled", &scaled),
        case("j_stakes_scaled", &staked),
    ]
}

/// What the ten do not show: bonds that were there before, gates, transcripts, a run's share.
fn more() -> Vec<Case> {
    let bond = |uid: u16, part| Bond { uid: Uid(uid), incarnation: INCARNATION, part };
    let row = |uid: u16, bonds| BondRow { uid: Uid(uid), incarnation: Incarnation(4), bonds };
    let bonds = vec![row(10, vec![bond(0, 1 << 31), bond(3, 1 << 30)]), row(12, vec![bond(3, 1 << 30)])];
    let mut gated = case("l_gate_transcripts_and_share", &CABAL);
    gated.terms.gated = vec![(Uid(1), INCARNATION)].try_into().unwrap();
    gated.terms.transcripts = vec![(Uid(10), 1), (Uid(12), 2)].try_into().unwrap();
    gated.terms.share_ppm = 250_000;
    vec![Case { bonds, ..case("k_bonds_before", &CABAL) }, gated]
}

impl Case {
    fn snapshot(&self) -> SnapshotView {
        let key = |uid: u16| AccountKey([u8::try_from(uid).unwrap(); 32]);
        let miners = self.order.map(|uid| SnapshotEntry {
            uid: Uid(uid),
            incarnation: INCARNATION,
            stage: Stage(uid / 3),
            coldkey: key(uid),
            samples: 10,
        });
        let validators = (10u16..).zip(&self.rows).map(|(uid, (stake, _))| SnapshotValidator {
            uid: Uid(uid),
            incarnation: Incarnation(4),
            hotkey: key(uid),
            coldkey: key(uid),
            stake: *stake,
        });
        SnapshotView { miners: miners.to_vec(), validators: validators.collect() }
    }

    fn scores(&self) -> Vec<ScoreView> {
        let entry = |(uid, score): (u16, &u16)| ScoreEntry {
            uid: Uid(uid),
            incarnation: if self.stale.contains(&uid) { Incarnation(2) } else { INCARNATION },
            score: *score,
        };
        let view = |(uid, (_, row)): (u16, &Told)| ScoreView {
            uid: Uid(uid),
            incarnation: Incarnation(4),
            commit: Hash::ZERO,
            entries: row.as_ref().map(|scores| (0u16..).zip(scores).map(entry).collect()),
            report_root: None,
        };
        (10u16..).zip(&self.rows).map(view).collect()
    }

    fn vector(&self, params: &RunParams) -> Value {
        let (snapshot, scores) = (self.snapshot(), self.scores());
        let rows: Vec<Row<'_>> = snapshot
            .validators
            .iter()
            .zip(&scores)
            .map(|(own, view)| Row {
                uid: own.uid,
                stake: own.stake,
                entries: view.entries.as_deref().unwrap_or_default(),
            })
            .collect();
        let miners: Vec<Miner> = snapshot
            .miners
            .iter()
            .map(|own| Miner { uid: own.uid, incarnation: own.incarnation, stage: own.stage })
            .collect();
        let outcome = solve(2, &miners, &rows);
        let settled = settle(params, &snapshot, &scores, &self.bonds, &self.terms);
        json!({
            "miners": miners.iter().map(|own| json!([own.uid, own.incarnation, own.stage])).collect::<Vec<_>>(),
            "rows": snapshot.validators.iter().zip(&scores).map(|(own, view)| json!({
                "uid": own.uid, "stake": own.stake.to_string(), "entries": view.entries,
            })).collect::<Vec<_>>(),
            "bonds_before": self.bonds,
            "terms": terms(&self.terms),
            "incentives": outcome.incentives,
            "trust": outcome.trust,
            "consensus": outcome.consensus,
            "clipped": outcome.clipped,
            "settled": settlement(&settled),
        })
    }
}

fn terms(terms: &Terms) -> Value {
    json!({
        "minted_before": terms.minted_before.to_string(),
        "share_ppm": terms.share_ppm,
        "gated": terms.gated.to_vec(),
        "transcripts": terms.transcripts.to_vec(),
        "scale": hex::encode(terms.encode()),
    })
}

fn settlement(settled: &Settlement) -> Value {
    json!({
        "void": settled.void,
        "payouts": settled.payouts.iter().map(|own| (own.uid, own.amount.to_string())).collect::<Vec<_>>(),
        "payouts_root": payouts_root(&settled.payouts),
        "split": hex::encode(settled.split.encode()),
        "bonds": settled.bonds,
        "bonds_root": settled.bonds_root(),
    })
}

#[test]
fn consensus_and_settlement() {
    let mut vectors = Vectors::new();
    let params = params_with_shares(&[450_000, 550_000]);
    for case in ten().iter().chain(&more()) {
        assert_eq!(vectors.insert(case.name.into(), case.vector(&params)), None, "{} twice", case.name);
    }
    let same = |a: &str, b: &str| assert_eq!(vectors[a]["consensus"], vectors[b]["consensus"], "{a} {b}");
    same("b_cabal", "i_rows_scaled");
    same("b_cabal", "j_stakes_scaled");
    assert_eq!(
        vectors["b_cabal"]["settled"]["payouts"],
        vectors["h_miners_in_another_order"]["settled"]["payouts"]
    );
    let thresholds =
        [0, MAX_SUPPLY / 2 - 1, MAX_SUPPLY / 2, MAX_SUPPLY / 8 * 7, MAX_SUPPLY - 5_000, MAX_SUPPLY];
    let emissions: Vec<String> = thresholds.map(epoch_emission).iter().map(u128::to_string).collect();
    vectors.insert("epoch_emission".into(), json!(emissions));
    let shares: Vec<String> = apportion(1_000, &[7, 0, 3, 3, 11]).iter().map(u128::to_string).collect();
    vectors.insert("apportion".into(), json!(shares));
    check_vectors("consensus.json", &vectors);
}
