//! Training a small net end to end: the same numbers whatever the micro-batches, stops, kills and damaged files.

mod example;
mod faults;
mod resume;
mod steps;
