//! The arena: whole runs on the real chain, with members that cheat, are late, or are cut off.
//!
//! Every call is dispatched to the runtime's pallet, every block runs the runtime's hooks, every rule that decides
//! about pay, seats, shards and verdicts is the chain's own. Simulated are losses (`stage`), the network between
//! members and the chain (`mail`) and what a merge gives (`merge`). Time is the chain's blocks. What has no chain in it
//! is the laboratory's (`tests/lab`), whose names of cheats these are.
//!
//! The gate runs the short version. `scripts/lab` runs the long one (`IOTA_ARENA=full`, results into the folder
//! `IOTA_ARENA_OUT`), up to as many members as a run has seats, for hundreds of epochs. Every run prints its seed;
//! what is asserted of it are the functions of `story` by their names.

mod chain;
mod court;
mod crowd;
mod fault;
mod hearing;
mod mail;
mod merge;
mod outcome;
mod scenarios;
mod stage;
mod story;
mod world;
