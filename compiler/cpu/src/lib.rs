//! Executes kernel programs on the CPU: fused loop nests by Cranelift, matrix products by `gemm`, attention by blocks.

pub mod gemm;
pub mod host_program;
pub mod pool;
