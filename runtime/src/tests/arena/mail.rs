//! The network between members and the chain: what is sent arrives later, in another order, or has to be sent
//! again; who is cut off is not heard until it is back. Drawn from a seed, on the chain's own blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use iota_protocol::seed::Draw;
use pallet_iota::Call;

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
    draw: Draw,
    letters: BTreeMap<(u32, u64), Letter>,
    cut: Vec<(Range<u32>, BTreeSet<usize>)>,
    /// Sendings that were lost on the way.
    pub lost: u32,
    /// Calls that could not be in a block in time.
    pub late: u32,
}

impl Mail {
    /// A network of that weather.
    pub fn new(weather: Weather, draw: Draw) -> Self {
        Self { weather, draw, letters: BTreeMap::new(), cut: Vec::new(), lost: 0, late: 0 }
    }

    /// Nothing that these members send in these blocks arrives before their end.
    pub fn cut(&mut self, blocks: Range<u32>, members: BTreeSet<usize>) {
        self.cut.push((blocks, members));
    }

    /// Sends a call in block `now`; it is given up if it cannot arrive before `until`.
    pub fn post(&mut self, now: u32, from: usize, call: Call<Runtime>, until: u32) {
        let mut due = now;
        loop {
            due += 1 + self.below(self.weather.delay);
            due = self.back_after(from, due);
            if due >= until {
                self.late += 1;
                return;
            }
            if u64::from(self.below(100)) >= self.weather.lost {
                break;
            }
            self.lost += 1;
            due += AGAIN;
        }
        let order = self.draw.next_u64();
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

    fn below(&mut self, count: u32) -> u32 {
        u32::try_from(self.draw.below(count.into())).unwrap_or(0)
    }
}
