//! Whether finality moves: how high it has been seen, and since when it stands. Decides when a node that answers
//! is left for another one, and which; `client` asks the nodes.

use std::time::{Duration, Instant};

/// Blocks in which a finalized head must have moved, or other nodes are looked at: GRANDPA finalizes every one
/// to three. Authorities that are away stop all nodes alike, and then nobody is ahead.
const STILL_BLOCKS: u32 = 10;
/// At least so long, however short blocks are: a node that restarts or a busy machine takes as much.
const LEAST: Duration = Duration::from_secs(15);

/// How high finality has been seen, and when it last moved.
#[derive(Debug)]
pub(crate) struct Pulse {
    seen: u32,
    since: Instant,
    still: Duration,
}

impl Pulse {
    pub(crate) fn new(block_time: Duration, now: Instant) -> Self {
        Self { seen: 0, since: now, still: block_time.saturating_mul(STILL_BLOCKS).max(LEAST) }
    }

    /// The newest finalized height that any node has shown.
    pub(crate) fn seen(&self) -> u32 {
        self.seen
    }

    /// Takes a height in; whether nothing newer has come for [`STILL_BLOCKS`], which it says once in that time.
    pub(crate) fn stands_still(&mut self, number: u32, now: Instant) -> bool {
        if number > self.seen {
            self.seen = number;
            self.since = now;
            return false;
        }
        let still = now.saturating_duration_since(self.since) >= self.still;
        if still {
            self.since = now;
        }
        still
    }
}

/// Of other nodes and their heights the one that is farthest ahead of a height, the first of several.
pub(crate) fn ahead(heights: &[(usize, Option<u32>)], of: u32) -> Option<usize> {
    let known = heights.iter().filter_map(|(index, height)| Some((*index, (*height)?)));
    let ahead = known.filter(|(_, height)| *height > of);
    ahead.min_by_key(|(index, height)| (std::cmp::Reverse(*height), *index)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standing_still_is_said_after_its_time_and_once_in_it() {
        let start = Instant::now();
        // Ten blocks of six seconds.
        let still = Duration::from_secs(60);
        let mut pulse = Pulse::new(Duration::from_secs(6), start);
        assert!(!pulse.stands_still(7, start + still), "it moved");
        let almost = start + still * 2 - Duration::from_millis(1);
        assert!(!pulse.stands_still(7, almost));
        assert!(pulse.stands_still(7, almost + Duration::from_millis(1)));
        assert!(!pulse.stands_still(7, almost + Duration::from_millis(2)), "said already");
        assert!(pulse.stands_still(6, start + still * 3), "a node that went back stands as well");
        assert_eq!(pulse.seen(), 7);
        assert_eq!(Pulse::new(Duration::from_secs(1), start).still, LEAST);
    }

    #[test]
    fn the_farthest_node_ahead_is_taken_and_none_that_is_not() {
        assert_eq!(ahead(&[(0, None), (2, Some(9)), (3, Some(11)), (4, Some(11))], 9), Some(3));
        assert_eq!(ahead(&[(0, None), (1, Some(9)), (2, Some(3))], 9), None);
        assert_eq!(ahead(&[], 0), None);
    }
}
