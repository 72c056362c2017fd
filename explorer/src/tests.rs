//! Tests over a small invented chain that obeys the protocol.

pub(crate) mod audit;
mod browser;
pub(crate) mod resume;
mod trie;
mod votes;
mod web;
pub(crate) mod world;
