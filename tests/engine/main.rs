//! The engine from outside: bundles of other tools, attacks on bundles, models on a disk, the command line.

mod attacks;
mod facts;
mod support;
mod vectors;
