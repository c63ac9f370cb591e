// A block is a scale in f16 and 32 whole numbers of 8 bits.
fn BUFFER_at(i: u32) -> f32 {
    let start = (i >> 5u) * 34u;
    let scale = unpack2x16float(BUFFER[start >> 2u] >> ((start & 2u) * 8u)).x;
    let place = start + 2u + (i & 31u);
    let byte = BUFFER[place >> 2u] >> ((place & 3u) * 8u);
    return f32(bitcast<i32>(byte << 24u) >> 24u) * scale;
}
