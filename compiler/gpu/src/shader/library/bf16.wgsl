// To the nearest number that bf16 has, ties to even.
fn to_bf16(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u;
    return select(bitcast<f32>(rounded), x, is_nan(x));
}
