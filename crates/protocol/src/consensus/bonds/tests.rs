//! Bonds by hand, and what holds of any table.

use super::*;
use crate::ids::Stage;
use proptest::prelude::*;

const ONE: u64 = 1 << 32;

fn miners(count: u16) -> Vec<Miner> {
    (0..count).map(|uid| Miner { uid: Uid(uid), incarnation: Incarnation(7), stage: Stage(0) }).collect()
}

fn bond(uid: u16, part: u32) -> Bond {
    Bond { uid: Uid(uid), incarnation: Incarnation(7), part }
}

fn parts(rows: &[Vec<Bond>], miner: u16) -> Vec<u32> {
    let part = |row: &Vec<Bond>| row.iter().find(|bond| bond.uid == Uid(miner)).map_or(0, |bond| bond.part);
    rows.iter().map(part).collect()
}

#[test]
fn worked_first_epoch_is_the_support_itself() {
    let holders = [
        Holder { uid: Uid(8), stake: 3, clipped: &[ONE / 2, ONE / 2], before: &[] },
        Holder { uid: Uid(9), stake: 1, clipped: &[ONE / 2, 0], before: &[] },
    ];
    let rows = renew(&miners(2), &holders);
    assert_eq!(parts(&rows, 0), [BOND_ONE / 4 * 3, BOND_ONE / 4]);
    assert_eq!(parts(&rows, 1), [BOND_ONE, 0]);
}

#[test]
fn worked_average_moves_by_a_tenth() {
    let before = [bond(0, BOND_ONE)];
    let holders = [
        Holder { uid: Uid(8), stake: 1, clipped: &[0], before: &before },
        Holder { uid: Uid(9), stake: 1, clipped: &[ONE], before: &[] },
    ];
    // 0.9 of the old owner's whole, 0.1 of the new supporter's whole; 2^31 * 0.9 = 1,932,735,283.2.
    assert_eq!(parts(&renew(&miners(1), &holders), 0), [1_932_735_283, 214_748_365]);
}

#[test]
fn a_miner_that_nobody_supports_now_keeps_its_bonds() {
    let (first, second) = ([bond(0, 3)], [bond(0, 1)]);
    let holders = [
        Holder { uid: Uid(8), stake: 1, clipped: &[0], before: &first },
        Holder { uid: Uid(9), stake: 1, clipped: &[0], before: &second },
    ];
    assert_eq!(parts(&renew(&miners(1), &holders), 0), [BOND_ONE / 4 * 3, BOND_ONE / 4]);
}

#[test]
fn another_incarnation_inherits_no_bond() {
    let old = [Bond { incarnation: Incarnation(6), ..bond(0, BOND_ONE) }];
    let holders = [
        Holder { uid: Uid(8), stake: 1, clipped: &[0], before: &old },
        Holder { uid: Uid(9), stake: 1, clipped: &[1], before: &[] },
    ];
    assert_eq!(parts(&renew(&miners(1), &holders), 0), [0, BOND_ONE]);
}

#[test]
fn worked_dividends() {
    let rows = vec![vec![bond(0, 3), bond(1, 5)], vec![bond(1, 2), bond(9, 100)]];
    let earnings = BTreeMap::from([(Uid(0), 10), (Uid(1), 7)]);
    assert_eq!(dividends(&rows, &earnings), [65, 14]);
    assert_eq!(dividends(&[], &earnings), Vec::<u128>::new());
}

#[test]
fn the_root_covers_every_field() {
    let row = BondRow { uid: Uid(3), incarnation: Incarnation(1), bonds: vec![bond(0, 5)] };
    let mut other = row.clone();
    other.bonds[0].part = 6;
    let one = [row.clone()];
    assert_ne!(bonds_root(&one), bonds_root(&[other]));
    assert_ne!(bonds_root(&one), bonds_root(&[row.clone(), row]));
}

type Table = Vec<(u128, Vec<u64>, Vec<u32>)>;

fn table() -> impl Strategy<Value = Table> {
    let row = (
        0u128..1 << 60,
        prop::collection::vec(0u64..=ONE, 5),
        prop::collection::vec(prop_oneof![Just(0u32), 0u32..=BOND_ONE], 5),
    );
    prop::collection::vec(row, 1..8)
}

fn old(table: &Table) -> Vec<Vec<Bond>> {
    table
        .iter()
        .map(|(_, _, parts)| (0u16..).zip(parts).map(|(uid, part)| bond(uid, *part)).collect())
        .collect()
}

fn holders<'a>(table: &'a Table, before: &'a [Vec<Bond>]) -> Vec<Holder<'a>> {
    (100u16..)
        .zip(table.iter().zip(before))
        .map(|(uid, ((stake, clipped, _), before))| Holder { uid: Uid(uid), stake: *stake, clipped, before })
        .collect()
}

proptest! {
    #[test]
    fn parts_of_a_miner_sum_to_one_whole_or_to_nothing(table in table()) {
        let before = old(&table);
        let rows = renew(&miners(5), &holders(&table, &before));
        for miner in 0..5u16 {
            let sum: u64 = parts(&rows, miner).into_iter().map(u64::from).sum();
            prop_assert!(sum == 0 || sum == u64::from(BOND_ONE), "{sum}");
        }
        prop_assert!(rows.iter().all(|row| row.windows(2).all(|pair| pair[0].uid < pair[1].uid)));
        prop_assert!(rows.iter().flatten().all(|bond| bond.part > 0));
    }

    #[test]
    fn a_bond_never_loses_more_than_a_tenth_of_itself(table in table()) {
        // Two epochs: the first makes bonds whose columns are whole.
        let before = old(&table);
        let first = renew(&miners(5), &holders(&table, &before));
        let second = renew(&miners(5), &holders(&table, &first));
        for miner in 0..5u16 {
            for (a, b) in parts(&first, miner).into_iter().zip(parts(&second, miner)) {
                prop_assert!(u64::from(b) + 2 >= u64::from(a) * 9 / 10, "{a} {b}");
            }
        }
    }

    #[test]
    fn the_order_of_holders_and_miners_does_not_matter(table in table(), by in 0usize..5) {
        let before = old(&table);
        let all = holders(&table, &before);
        let rows = renew(&miners(5), &all);
        let mut turned_miners = miners(5);
        turned_miners.rotate_left(by);
        let turn = by % all.len();
        let mut turned: Vec<(Vec<u64>, Holder<'_>)> = all
            .iter()
            .map(|holder| {
                let mut clipped = holder.clipped.to_vec();
                clipped.rotate_left(by);
                (clipped, *holder)
            })
            .collect();
        turned.rotate_left(turn);
        let turned: Vec<Holder<'_>> = turned.iter().map(|(clipped, own)| Holder { clipped, ..*own }).collect();
        let mut again = renew(&turned_miners, &turned);
        again.rotate_right(turn);
        prop_assert_eq!(rows, again);
    }

    #[test]
    fn more_support_never_lowers_a_bond(table in table(), more in 1u64..=ONE) {
        let before = old(&table);
        let rows = renew(&miners(5), &holders(&table, &before));
        let mut raised = table.clone();
        raised[0].1[2] = (raised[0].1[2] + more).min(ONE);
        let after = renew(&miners(5), &holders(&raised, &before));
        prop_assert!(parts(&after, 2)[0] + 2 >= parts(&rows, 2)[0]);
    }
}
