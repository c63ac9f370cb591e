//! Functions of Floats that the processor does not have.

/// A function of one or two Floats.
#[derive(Clone, Copy)]
pub enum Math {
    One(extern "C" fn(f64) -> f64),
    Two(extern "C" fn(f64, f64) -> f64),
}

impl Math {
    pub fn address(self) -> *const u8 {
        match self {
            Math::One(f) => f as *const u8,
            Math::Two(f) => f as *const u8,
        }
    }
}

/// Name, number of arguments, function.
pub const SYMBOLS: &[(&str, usize, Math)] = &[
    ("host_exp", 1, Math::One(exp)),
    ("host_log", 1, Math::One(log)),
    ("host_sin", 1, Math::One(sin)),
    ("host_cos", 1, Math::One(cos)),
    ("host_tanh", 1, Math::One(tanh)),
    ("host_sigmoid", 1, Math::One(sigmoid)),
    ("host_pow", 2, Math::Two(pow)),
    ("host_rem", 2, Math::Two(rem)),
];

extern "C" fn exp(x: f64) -> f64 {
    x.exp()
}

extern "C" fn log(x: f64) -> f64 {
    x.ln()
}

extern "C" fn sin(x: f64) -> f64 {
    x.sin()
}

extern "C" fn cos(x: f64) -> f64 {
    x.cos()
}

extern "C" fn tanh(x: f64) -> f64 {
    x.tanh()
}

extern "C" fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

extern "C" fn pow(x: f64, y: f64) -> f64 {
    x.powf(y)
}

/// With the sign of the divisor.
extern "C" fn rem(x: f64, y: f64) -> f64 {
    x - (x / y).floor() * y
}
