//! The explorer: follows finalized blocks into an embedded database, shows them as pages and as JSON,
//! and audits every epoch's emission with the same protocol functions that the chain pays by.
//!
//! `follow` reads the chain through [`source::Source`], `store` keeps what was read, `audit` judges one
//! epoch from a [`bundle::Bundle`], and `web` shows it. It holds no key and signs nothing.

pub mod audit;
pub mod bundle;
pub mod cli;
pub mod config;
pub mod follow;
pub mod gauges;
pub mod look;
pub mod manifest;
pub mod member;
pub mod reports;
pub mod source;
pub mod store;
pub mod votes;
pub mod web;

#[cfg(test)]
mod tests;
