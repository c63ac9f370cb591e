fn BUFFER_at(i: u32) -> f32 {
    let word = BUFFER[i >> 1u];
    return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (i & 1u) == 1u));
}
