// The larger; nan if one is.
fn larger(x: f32, y: f32) -> f32 {
    return select(select(y, x, x > y), x + y, is_nan(x) || is_nan(y));
}
