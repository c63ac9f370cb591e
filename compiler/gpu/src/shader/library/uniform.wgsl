// A multiple of 2^-24 in 0..1.
fn draw_uniform(counter: vec4<u32>, seed: vec2<u32>) -> f32 {
    return f32(philox(counter, seed).x >> 8u) * 5.9604645e-8;
}
