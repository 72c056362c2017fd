//! The network between members and the chain: what is sent arrives later, in another order, or has to be sent
//! again; who is cut off is not heard until it is back. Drawn from a seed, on the chain's own blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use iota_protocol::{
    hash::{hash_of, Domain},
    ids::Hash,
    seed::Draw,
};
use pallet_iota::Call;
use polkadot_sdk::frame_support::traits::GetCallName;

use crate::Runtime;

/// Blocks after which a worker sends again what it does not find in a block.
const AGAIN: u32 = 2;

/// What the network does to what is sent.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Longest way to a block, in blocks; the shortest is the next.
    pub delay: u32,
    /// Sendings of a hundred that never arrive.
    pub lost: u64,
}

/// A call on its way.
struct Letter {
    from: usize,
    call: Call<Runtime>,
}

/// Calls on their way to a block.
pub struct Mail {
    weather: Weather,
    seed: Hash,
    letters: BTreeMap<(u32, u64), Letter>,
    cut: Vec<(Range<u32>, BTreeSet<usize>)>,
    /// Sendings that were lost on the way.
    pub lost: u32,
    /// Calls that could not be in a block in time.
    pub late: u32,
}

impl Mail {
    /// A network of that weather.
    pub fn new(weather: Weather, seed: Hash) -> Self {
        Self { weather, seed, letters: BTreeMap::new(), cut: Vec::new(), lost: 0, late: 0 }
    }

    /// Nothing that these members send in these blocks arrives before their end.
    pub fn cut(&mut self, blocks: Range<u32>, members: BTreeSet<usize>) {
        self.cut.push((blocks, members));
    }

    /// Sends a call in block `now`; it is given up if it cannot arrive before `until`.
    ///
    /// What happens to it depends on nothing else that is sent, so that a run in which somebody sends less is
    /// otherwise the same run.
    pub fn post(&mut self, now: u32, from: usize, call: Call<Runtime>, until: u32) {
        let own = hash_of(Domain::Seed, &(self.seed, from as u32, now, call.get_call_name()));
        let mut draw = Draw::new(&own, b"letter");
        let mut due = now;
        loop {
            due += 1 + below(&mut draw, self.weather.delay);
            due = self.back_after(from, due);
            if due >= until {
                self.late += 1;
                return;
            }
            if draw.below(100) >= self.weather.lost {
                break;
            }
            self.lost += 1;
            due += AGAIN;
        }
        let mut order = draw.next_u64();
        // Several calls of one kind in one block keep their order.
        while self.letters.contains_key(&(due, order)) {
            order = order.wrapping_add(1);
        }
        self.letters.insert((due, order), Letter { from, call });
    }

    /// What arrives in block `now`, in the order in which it does.
    pub fn arrive(&mut self, now: u32) -> Vec<(usize, Call<Runtime>)> {
        let later = self.letters.split_off(&(now + 1, 0));
        let here = std::mem::replace(&mut self.letters, later);
        self.cut.retain(|(blocks, _)| blocks.end > now);
        here.into_values().map(|letter| (letter.from, letter.call)).collect()
    }

    fn back_after(&self, from: usize, block: u32) -> u32 {
        let cuts = self.cut.iter().filter(|(blocks, who)| blocks.contains(&block) && who.contains(&from));
        cuts.map(|(blocks, _)| blocks.end).max().unwrap_or(block)
    }
}

fn below(draw: &mut Draw, count: u32) -> u32 {
    u32::try_from(draw.below(count.into())).unwrap_or(0)
}
