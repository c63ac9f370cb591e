//! The suite of the CPU's kernels on a GPU: graphs through fusion and WGSL, against the interpreter in double precision.

mod counted;
mod device;
mod tuned;

#[path = "../../../cpu/tests/graphs/bodies.rs"]
mod bodies;
#[path = "../../../cpu/tests/graphs/faults.rs"]
mod faults;
#[path = "../../../cpu/tests/graphs/harness.rs"]
mod harness;
#[path = "../../../cpu/tests/graphs/indices.rs"]
mod indices;
#[path = "../../../cpu/tests/graphs/maps.rs"]
mod maps;
#[path = "../../../cpu/tests/graphs/random.rs"]
mod random;
#[path = "../../../cpu/tests/graphs/reductions.rs"]
mod reductions;
#[path = "../../../cpu/tests/graphs/stored.rs"]
mod stored;
#[path = "../../../cpu/tests/graphs/transformer.rs"]
mod transformer;
