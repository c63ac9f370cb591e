// What division by y leaves, with the sign of y.
fn remainder(x: f32, y: f32) -> f32 {
    let rest = x % y;
    return select(rest, rest + y, rest != 0.0 && (rest < 0.0) != (y < 0.0));
}
