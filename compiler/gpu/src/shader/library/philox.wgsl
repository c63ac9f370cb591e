// Philox4x32-10 (J. Salmon et al., SC 2011): the first two words.
fn philox(start: vec4<u32>, seed: vec2<u32>) -> vec2<u32> {
    var counter = start;
    var key = seed;
    for (var round = 0u; round < 10u; round++) {
        let a = product_of(0xd2511f53u, counter.x);
        let b = product_of(0xcd9e8d57u, counter.z);
        counter = vec4(b.y ^ counter.y ^ key.x, b.x, a.y ^ counter.w ^ key.y, a.x);
        key += vec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter.xy;
}
