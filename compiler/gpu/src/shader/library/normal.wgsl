// By Box and Muller (the cosine half).
fn draw_normal(counter: vec4<u32>, seed: vec2<u32>) -> f32 {
    let words = vec2<f32>(philox(counter, seed) >> vec2(8u));
    let radius = sqrt(-2.0 * log((words.x + 1.0) * 5.9604645e-8));
    return radius * cosine(words.y * 5.9604645e-8 * 6.2831853);
}
