//! Tests over a small invented chain that obeys the protocol.

mod audit;
mod browser;
mod resume;
mod trie;
mod votes;
mod web;
pub(crate) mod world;
