//! Whole stages against each other: a pipeline against one model, a replay against its original.

mod ahead;
mod clipping;
mod equivalence;
mod line;
mod refusals;
mod replay;
