//! Worked shares of senders and receivers, and what must hold for any of them.

use alloc::vec;

use proptest::prelude::*;

use super::*;

fn uids(of: &[u16]) -> Vec<Uid> {
    of.iter().copied().map(Uid).collect()
}

/// So many samples of that order that those took.
fn times(count: usize, order: &[u16], took: &[u16]) -> Vec<Sent> {
    vec![Sent { order: uids(order), took: uids(took) }; count]
}

fn of(senders: &[(u16, Vec<Vec<Sent>>)]) -> BTreeMap<Uid, Vec<Sent>> {
    senders.iter().map(|(uid, sent)| (Uid(*uid), sent.concat())).collect()
}

fn counts(senders: &[(u16, Vec<Vec<Sent>>)]) -> Vec<(u16, u32)> {
    count(&of(senders)).into_iter().map(|(uid, count)| (uid.0, count)).collect()
}

/// Twelve samples for three receivers, four first for each, all taken in order.
fn fair() -> Vec<Vec<Sent>> {
    vec![times(4, &[7, 8, 9], &[7]), times(4, &[8, 9, 7], &[8]), times(4, &[9, 7, 8], &[9])]
}

#[test]
fn who_follows_the_order_brings_all_it_sent() {
    assert_eq!(counts(&[(0, fair()), (1, fair()), (2, fair())]), [(7, 12), (8, 12), (9, 12)]);
}

#[test]
fn worked_a_friends_friend() {
    // 0 sends all twelve to 7. The others skip nobody, so of 0 each was to get 4; they got 12, 0, 0: the middle
    // one nothing, and 7 is left with what 1 and 2 sent it.
    let all = vec![times(4, &[7, 8, 9], &[7]), times(4, &[8, 9, 7], &[7]), times(4, &[9, 7, 8], &[7])];
    assert_eq!(counts(&[(0, all), (1, fair()), (2, fair())]), [(7, 8), (8, 8), (9, 8)]);
}

#[test]
fn worked_a_little_favour() {
    // 0 sends two of 8's samples to 7: they were to get 4, 4, 4 and got 6, 2, 4. The middle one has its whole
    // share, so that 7 may have its own 4 and no more.
    let some = vec![
        times(4, &[7, 8, 9], &[7]),
        times(2, &[8, 9, 7], &[7]),
        times(2, &[8, 9, 7], &[8]),
        times(4, &[9, 7, 8], &[9]),
    ];
    assert_eq!(counts(&[(0, some), (1, fair()), (2, fair())]), [(7, 12), (8, 10), (9, 12)]);
}

#[test]
fn worked_a_target_that_was_away() {
    // 9 was away for all: 7 and 8 share its samples by the order, and are paid for them.
    let away = || {
        vec![
            times(4, &[7, 8, 9], &[7]),
            times(4, &[8, 9, 7], &[8]),
            times(2, &[9, 7, 8], &[7]),
            times(2, &[9, 8, 7], &[8]),
        ]
    };
    assert_eq!(counts(&[(0, away()), (1, away()), (2, away())]), [(7, 18), (8, 18)]);
    // A friend may not pass all of them to one of the two: it was to get 4 + 2 and may have 4 + 3.
    let friend = vec![
        times(4, &[7, 8, 9], &[7]),
        times(4, &[8, 9, 7], &[8]),
        times(2, &[9, 7, 8], &[7]),
        times(2, &[9, 8, 7], &[7]),
    ];
    // Of it 7 got 8 of 6 and 8 got 4 of 6; with 9, which was to get nothing and says nothing, the upper
    // middle of two is 8 / 6: 7 * 8 / 6 = 9.3 would do, so all eight count.
    assert_eq!(counts(&[(0, friend.clone()), (1, away()), (2, away())]), [(7, 20), (8, 16)]);
}

#[test]
fn worked_a_slow_target() {
    // 9 refuses half of what it is offered, from all alike: it is paid for the other half, and who took its
    // samples instead for those.
    let slow = || {
        vec![
            times(4, &[7, 8, 9], &[7]),
            times(4, &[8, 9, 7], &[8]),
            times(2, &[9, 7, 8], &[9]),
            times(1, &[9, 7, 8], &[7]),
            times(1, &[9, 8, 7], &[8]),
        ]
    };
    assert_eq!(counts(&[(0, slow()), (1, slow())]), [(7, 10), (8, 10), (9, 4)]);
}

#[test]
fn two_senders_may_favour_nobody_of_two_beyond_the_other() {
    // One friend among two senders and one among two receivers: half of a stage is no minority.
    let all = vec![times(6, &[7, 8], &[7]), times(6, &[8, 7], &[7])];
    let even = vec![times(6, &[7, 8], &[7]), times(6, &[8, 7], &[8])];
    // 7 got 12 of 6, 8 got 0 of 6: the upper middle is 7's own, so that 8 cannot take pay from 7 by refusing.
    assert_eq!(counts(&[(0, all), (1, even)]), [(7, 18), (8, 6)]);
}

#[test]
fn a_receiver_that_refuses_one_sender_costs_its_fellows_nothing() {
    // 9 takes nothing from 0.
    let refused = vec![
        times(4, &[7, 8, 9], &[7]),
        times(4, &[8, 9, 7], &[8]),
        times(2, &[9, 7, 8], &[7]),
        times(2, &[9, 8, 7], &[8]),
    ];
    // They got 6, 6, 0 of 4, 4, 4: 7 and 8 keep what they did, for 6 of 4 is the middle.
    assert_eq!(counts(&[(0, refused), (1, fair()), (2, fair())]), [(7, 14), (8, 14), (9, 8)]);
}

#[test]
fn an_only_sender_is_believed() {
    let all = vec![times(4, &[7, 8], &[7]), times(4, &[8, 7], &[7])];
    assert_eq!(counts(&[(0, all)]), [(7, 8)]);
}

fn routing(stages: &[&[u16]]) -> Routing {
    let stage = |uids: &&[u16]| uids.iter().map(|uid| (Uid(*uid), 1_000)).collect();
    Routing { seed: Hash([4; 32]), stages: stages.iter().map(stage).collect() }
}

#[test]
fn a_starter_that_picks_the_numbers_that_prefer_its_friend_brings_it_nothing() {
    let routing = routing(&[&[0, 1, 2], &[3, 4, 5]]);
    let first = |sample: u32| routing.order(Sample(sample), Stage(1))[0];
    let honest = (0..90).filter(|sample| sample % 3 > 0);
    // Thirty of its own numbers that prefer 3; the last is some ninetieth.
    let picked: Vec<u32> = (0..3_000).filter(|s| s % 3 == 0 && first(*s) == Uid(3)).take(30).collect();
    let deliver = |sample: u32| Delivery {
        stage: Stage(1),
        from: Uid(u16::try_from(sample % 3).unwrap()),
        sample: Sample(sample),
        to: first(sample),
    };
    let all: BTreeSet<Delivery> = honest.chain(picked.iter().copied()).map(deliver).collect();
    let counted = counted(&all, &mut Orders::new(&routing));
    for uid in [3, 4, 5].map(Uid) {
        let drawn = (0..90).filter(|s| s % 3 > 0 && first(*s) == uid).count();
        assert_eq!(counted[&uid] as usize, drawn, "{uid}");
    }
}

#[test]
fn what_a_starter_of_a_later_round_than_twice_its_samples_sent_does_not_count() {
    let routing = routing(&[&[0, 1], &[3]]);
    let deliver = |sample| Delivery { stage: Stage(1), from: Uid(0), sample: Sample(sample), to: Uid(3) };
    // Two samples: rounds below 2 * 2 + 8 count, so the first does and the one of round 12 does not.
    let all = [deliver(0), deliver(24)].into();
    let only = counted(&all, &mut Orders::new(&routing));
    assert_eq!(only, [(Uid(3), 1)].into());
}

/// Senders 0 to 3 and receivers 10 to 14, by what each sample of theirs was to do.
fn any_sent() -> impl Strategy<Value = BTreeMap<Uid, Vec<Sent>>> {
    let order = Just(uids(&[10, 11, 12, 13, 14])).prop_shuffle();
    let one = (order, prop::collection::vec(0usize..5, 0..3));
    let sender = prop::collection::vec(one, 0..30);
    prop::collection::btree_map(0u16..4, sender, 0..5).prop_map(|senders| {
        let sent = |(order, took): (Vec<Uid>, Vec<usize>)| {
            let took: BTreeSet<Uid> = took.into_iter().map(|at| order[at]).collect();
            Sent { took: took.into_iter().collect(), order }
        };
        senders.into_iter().map(|(uid, all)| (Uid(uid), all.into_iter().map(sent).collect())).collect()
    })
}

fn delivered(sent: &BTreeMap<Uid, Vec<Sent>>, to: Uid) -> u32 {
    sent.values().flatten().flat_map(|sample| &sample.took).filter(|uid| **uid == to).count() as u32
}

proptest! {
    #[test]
    fn nobody_counts_more_than_it_was_sent(sent in any_sent()) {
        for (uid, count) in count(&sent) {
            prop_assert!(count <= delivered(&sent, uid));
        }
    }

    #[test]
    fn the_order_drawn_is_paid_in_full(seed: [u8; 32], senders in 1u16..6, receivers in 1u16..9, rounds in 1u32..40) {
        let stage = |from: u16, count: u16| (from..from + count).map(|uid| (Uid(uid), 1_000)).collect();
        let routing = Routing { seed: Hash(seed), stages: vec![stage(0, senders), stage(100, receivers)] };
        let deliver = |sample: u32| Delivery {
            stage: Stage(1),
            from: Uid((sample % u32::from(senders)) as u16),
            sample: Sample(sample),
            to: routing.order(Sample(sample), Stage(1))[0],
        };
        let all: BTreeSet<Delivery> = (0..rounds * u32::from(senders)).map(deliver).collect();
        let counted = counted(&all, &mut Orders::new(&routing));
        let sum: u32 = counted.values().sum();
        prop_assert_eq!(sum, rounds * u32::from(senders));
    }

    #[test]
    fn a_sender_that_sends_all_to_one_of_three_or_more_brings_it_nothing(
        senders in 2u16..6, receivers in 3u16..9, rounds in 20u32..60, seed: [u8; 32],
    ) {
        let stage = |from: u16, count: u16| (from..from + count).map(|uid| (Uid(uid), 1_000)).collect();
        let routing = Routing { seed: Hash(seed), stages: vec![stage(0, senders), stage(100, receivers)] };
        let deliver = |sample: u32, favour: bool| {
            let from = Uid((sample % u32::from(senders)) as u16);
            let first = routing.order(Sample(sample), Stage(1))[0];
            let to = if favour && from == Uid(0) { Uid(100) } else { first };
            Delivery { stage: Stage(1), from, sample: Sample(sample), to }
        };
        let numbers = 0..rounds * u32::from(senders);
        let told = |favour: bool, without: bool| {
            let all = numbers.clone().map(|sample| deliver(sample, favour));
            let all = all.filter(|delivery| !without || delivery.from != Uid(0)).collect();
            counted(&all, &mut Orders::new(&routing))
        };
        // Twenty samples for at most eight receivers: more than half of them were drawn first for one, or the
        // friend is all that tells.
        let telling = (100..100 + receivers).filter(|uid| {
            numbers.clone().any(|s| s % u32::from(senders) == 0 && deliver(s, false).to == Uid(*uid))
        });
        let telling = telling.count();
        prop_assume!(telling >= 3);
        let (favoured, without) = (told(true, false), told(false, true));
        prop_assert_eq!(favoured.get(&Uid(100)).copied().unwrap_or(0), without.get(&Uid(100)).copied().unwrap_or(0));
    }

    #[test]
    fn what_a_sender_in_order_brought_counts_whatever_others_do(
        sent in any_sent(), firsts in prop::collection::vec(Just(uids(&[10, 11, 12, 13, 14])).prop_shuffle(), 0..30),
    ) {
        let mut sent = sent;
        let follow = |order: Vec<Uid>| Sent { took: order[..1].to_vec(), order };
        sent.insert(Uid(9), firsts.iter().cloned().map(follow).collect());
        let all = count(&sent);
        for uid in uids(&[10, 11, 12, 13, 14]) {
            let first = firsts.iter().filter(|order| order[0] == uid).count() as u32;
            prop_assert!(all.get(&uid).copied().unwrap_or(0) >= first);
        }
    }
}
