// An infinity or a nan, which texts cannot say.
fn float_of(bits: u32) -> f32 {
    return bitcast<f32>(bits);
}
