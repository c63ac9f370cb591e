//! Graphs through fusion and machine code, against the interpreter in double precision.

mod bodies;
mod device;
mod faults;
mod harness;
mod indices;
mod maps;
mod random;
mod reductions;
mod stored;
mod transformer;
