//! The compiler of `.align` programs: pure passes from a tree to kernels. Files, models and clocks are outside.

pub mod autodiff;
pub mod batch;
pub mod check;
pub mod eval;
pub mod host;
pub mod interp;
pub mod kernel;
pub mod linalg;
pub mod philox;
pub mod program;
pub mod rewrite;
pub mod stage;
pub mod storage;
pub mod tensor;
pub mod update;
pub mod world;
