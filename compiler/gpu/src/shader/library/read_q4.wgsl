// A block is a scale and a least value in f16 and 32 whole numbers of 4 bits, the first half of them in the low halves of 16
// bytes.
fn BUFFER_at(i: u32) -> f32 {
    let start = (i >> 5u) * 5u;
    let ends = unpack2x16float(BUFFER[start]);
    let byte = BUFFER[start + 1u + ((i & 15u) >> 2u)] >> ((i & 3u) * 8u);
    return f32((byte >> ((i & 16u) >> 2u)) & 15u) * ends.x + ends.y;
}
