//! The book in `docs/`: every command in it is a command, and its tutorials work.
//!
//! `blocks` reads the book, `commands` parses its commands with the programs' own parsers, `facts`
//! compares its reference chapters with the sources, `tutorial` runs its chapters against a network of
//! real processes as `reader` does, `browser` and `load` look at the explorer of that network while it runs, `kills`
//! kills one, `upload` asks a miner for more than it may send, `verify` hands altered bundles to `verify-epoch`.
//!
//! Needs the programs to be built (`scripts/build`); `scripts/test` does that first. Run by hand with
//! `IOTA_BIN_CHAIN` and `IOTA_BIN_WORK` set to their folders.

mod blocks;
mod browser;
mod commands;
mod facts;
mod kills;
mod load;
mod reader;
mod render;
mod shell;
mod tutorial;
mod upload;
mod verify;

use iota_tests::http;
