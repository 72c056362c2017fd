//! Merkle trees over chunks, logs and receipts, and proofs that a range of leaves stands in one.
//!
//! Nodes are paired from the left; an odd last node moves up unchanged. Leaves and nodes have
//! their own hash domains, so an inner node never passes for a leaf. The number of leaves is not in
//! the root: verifiers know it from the run's parameters or from the commit.

use alloc::vec::Vec;
use codec::{Decode, Encode};

use crate::hash::{hash, hash_parts, Domain};
use crate::ids::Hash;

/// Hash of one leaf's bytes.
#[must_use]
pub fn leaf(bytes: &[u8]) -> Hash {
    hash(Domain::Leaf, bytes)
}

fn node(left: &Hash, right: &Hash) -> Hash {
    hash_parts(Domain::Node, &[&left.0, &right.0])
}

/// The level above `level`.
fn parents(level: &[Hash]) -> Vec<Hash> {
    level
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => node(left, right),
            [single] => *single,
            _ => Hash::ZERO,
        })
        .collect()
}

/// Leaves of pieces of `len` bytes each, in order; the last may be shorter. None for a `len` of 0.
#[must_use]
pub fn leaves(bytes: &[u8], len: usize) -> Vec<Hash> {
    if len == 0 {
        return Vec::new();
    }
    bytes.chunks(len).map(leaf).collect()
}

/// Root over leaf hashes; `Hash::ZERO` for none.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = parents(&level);
    }
    level.first().copied().unwrap_or(Hash::ZERO)
}

/// Proof that consecutive leaves stand under a root.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct RangeProof {
    /// Neighbours that the range lacks, from the leaves up, left before right.
    pub nodes: Vec<Hash>,
}

/// Proves leaves `first..first + count`; `None` for an empty range or one that passes the end.
///
/// # Complexity
/// Hashes the whole tree once; who proves many ranges of one list keeps its [`Tree`].
#[must_use]
pub fn prove_range(leaves: &[Hash], first: usize, count: usize) -> Option<RangeProof> {
    Tree::new(leaves.to_vec()).prove_range(first, count)
}

/// A tree with all its levels: twice the memory of its leaves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree {
    /// Leaves first, the root last; one empty level for no leaves.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over these leaves.
    ///
    /// # Complexity
    /// Hashes every inner node once.
    #[must_use]
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = Vec::new();
        let mut level = leaves;
        while level.len() > 1 {
            let above = parents(&level);
            levels.push(level);
            level = above;
        }
        levels.push(level);
        Self { levels }
    }

    /// Leaves of the tree.
    #[must_use]
    pub fn leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// Its root; `Hash::ZERO` for no leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.levels.last().and_then(|level| level.first()).copied().unwrap_or(Hash::ZERO)
    }

    /// Proves leaves `first..first + count`; `None` for an empty range or one that passes the end.
    ///
    /// # Complexity
    /// Hashes nothing: looks up two nodes of each level at most.
    #[must_use]
    pub fn prove_range(&self, first: usize, count: usize) -> Option<RangeProof> {
        let mut walk = Walk::new(self.leaves().len(), first, count)?;
        let mut nodes = Vec::new();
        for level in &self.levels {
            if walk.total > 1 {
                for position in [walk.left(), walk.right()].into_iter().flatten() {
                    nodes.push(*level.get(position)?);
                }
            }
            walk.climb();
        }
        Some(RangeProof { nodes })
    }
}

impl RangeProof {
    /// Whether `leaves` are the leaves from `first` on in the tree of `total` leaves under `root`.
    ///
    /// # Complexity
    /// Hashes `leaves.len() + log2(total)` nodes; never looks further than the input.
    #[must_use]
    pub fn verify(&self, root: &Hash, total: usize, first: usize, leaves: &[Hash]) -> bool {
        self.fold(total, first, leaves).is_some_and(|found| found == *root)
    }

    fn fold(&self, total: usize, first: usize, leaves: &[Hash]) -> Option<Hash> {
        let mut walk = Walk::new(total, first, leaves.len())?;
        let mut given = self.nodes.iter();
        let mut range = leaves.to_vec();
        while walk.total > 1 {
            let mut level = Vec::with_capacity(range.len().saturating_add(2));
            if walk.left().is_some() {
                level.push(*given.next()?);
            }
            level.append(&mut range);
            if walk.right().is_some() {
                level.push(*given.next()?);
            }
            range = parents(&level);
            walk.climb();
        }
        if given.next().is_some() {
            None
        } else {
            range.first().copied()
        }
    }
}

/// A range of nodes on its way up a tree.
struct Walk {
    /// Nodes of this level.
    total: usize,
    start: usize,
    end: usize,
}

impl Walk {
    fn new(total: usize, first: usize, count: usize) -> Option<Self> {
        let end = first.checked_add(count)?;
        (count > 0 && end <= total).then_some(Self { total, start: first, end })
    }

    /// The left neighbour that pairs with the range's first node, if it is outside.
    fn left(&self) -> Option<usize> {
        (self.start % 2 == 1).then(|| self.start.saturating_sub(1))
    }

    /// The right neighbour that pairs with the range's last node, if it is outside and exists.
    fn right(&self) -> Option<usize> {
        (self.end % 2 == 1 && self.end < self.total).then_some(self.end)
    }

    fn climb(&mut self) {
        self.total = self.total.div_ceil(2);
        self.start /= 2;
        self.end = self.end.div_ceil(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|i| leaf(&i.to_le_bytes())).collect()
    }

    #[test]
    fn worked_tree_of_five() {
        let l = leaves(5);
        let left = node(&node(&l[0], &l[1]), &node(&l[2], &l[3]));
        assert_eq!(root(&l), node(&left, &l[4]));
        let proof = prove_range(&l, 1, 2).unwrap();
        assert_eq!(proof.nodes, [l[0], l[3], l[4]]);
        assert!(proof.verify(&root(&l), 5, 1, &l[1..3]));
        assert_eq!(prove_range(&l, 4, 1).unwrap().nodes, [node(&node(&l[0], &l[1]), &node(&l[2], &l[3]))]);
    }

    #[test]
    fn leaves_of_bytes_are_those_of_their_pieces() {
        let bytes = [1, 2, 3, 4, 5];
        assert_eq!(super::leaves(&bytes, 2), [leaf(&[1, 2]), leaf(&[3, 4]), leaf(&[5])]);
        assert_eq!(super::leaves(&bytes, 0), []);
        assert_eq!(super::leaves(&[], 4), []);
    }

    #[test]
    fn roots_of_none_and_one() {
        assert_eq!((root(&[]), Tree::new(Vec::new()).root()), (Hash::ZERO, Hash::ZERO));
        let one = leaves(1);
        assert_eq!(root(&one), one[0]);
        assert!(prove_range(&one, 0, 1).unwrap().verify(&one[0], 1, 0, &one));
    }

    #[test]
    fn empty_and_outside_ranges_have_no_proof() {
        let l = leaves(4);
        assert_eq!(prove_range(&l, 0, 0), None);
        assert_eq!(prove_range(&l, 3, 2), None);
        assert_eq!(prove_range(&l, usize::MAX, 2), None);
        let empty = RangeProof { nodes: Vec::new() };
        assert!(!empty.verify(&Hash::ZERO, 0, 0, &[]));
        assert!(!empty.verify(&root(&l), usize::MAX, usize::MAX - 1, &l));
    }

    #[test]
    fn an_inner_node_does_not_pass_for_a_leaf_of_bytes() {
        let l = leaves(2);
        let mut bytes = l[0].0.to_vec();
        bytes.extend_from_slice(&l[1].0);
        assert_ne!(leaf(&bytes), root(&l));
    }

    proptest! {
        #[test]
        fn every_range_verifies_and_no_other_does(total in 1usize..70, a: usize, b: usize, shift in 0usize..70) {
            let l = leaves(total);
            let first = a % total;
            let count = 1 + b % (total - first);
            let top = root(&l);
            let proof = prove_range(&l, first, count).unwrap();
            let tree = Tree::new(l.clone());
            prop_assert_eq!((tree.root(), tree.leaves()), (top, &l[..]));
            prop_assert_eq!(tree.prove_range(first, total - first + 1), None);
            let range = &l[first..first + count];
            prop_assert!(proof.verify(&top, total, first, range));
            if shift != first {
                prop_assert!(!proof.verify(&top, total, shift, range));
            }
            let mut wrong = range.to_vec();
            wrong[b % count].0[0] ^= 1;
            prop_assert!(!proof.verify(&top, total, first, &wrong));
            let mut longer = proof.clone();
            longer.nodes.push(Hash::ZERO);
            prop_assert!(!longer.verify(&top, total, first, range));
            for at in 0..proof.nodes.len() {
                let mut bent = proof.clone();
                bent.nodes[at].0[5] ^= 4;
                prop_assert!(!bent.verify(&top, total, first, range));
            }
        }
    }
}
