// x = r + n pi / 2 with r in -pi/4..pi/4, as (r, n modulo 4). Where x is large, its mantissa times the bits of 2 / pi that
// give no whole turns (M. Payne, R. Hanek, "Radian reduction for trigonometric functions", 1983).
fn quarter_turns(x: f32) -> vec2<f32> {
    if abs(x) < 3000.0 {
        let n = round(x * 0.636619772);
        var r = fma(n, -1.5703125, x);
        r = fma(n, -4.837512969970703125e-4, r);
        r = fma(n, -7.549789954891882e-8, r);
        return vec2(r, n - 4.0 * floor(n * 0.25));
    }
    let bits = bitcast<u32>(x);
    let exponent = (bits >> 23u) & 0xffu;
    if exponent == 0xffu {
        return vec2(bitcast<f32>(bits | 0x7fc00000u), 0.0);
    }
    let mantissa = (bits & 0x7fffffu) | 0x800000u;
    var digits = array<u32, 9>(
        0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu, 0xdebbc561u);
    // A float is its mantissa times 2^(exponent - 150); the digits begin 32 places before the point.
    let first = exponent - 120u;
    let word = first >> 5u;
    let shift = first & 31u;
    var part = array<u32, 3>();
    for (var i = 0u; i < 3u; i++) {
        let next = select(0u, digits[min(word + i + 1u, 8u)] >> ((32u - shift) & 31u), shift > 0u);
        part[i] = (digits[min(word + i, 8u)] << shift) | next;
    }
    let low = product_of(mantissa, part[2]);
    let middle = product_of(mantissa, part[1]);
    let below = middle.x + low.y;
    let above = mantissa * part[0] + middle.y + select(0u, 1u, below < middle.x);
    let fraction = bitcast<i32>((above << 2u) | (below >> 30u));
    let n = f32(((above >> 30u) + select(0u, 1u, fraction < 0)) & 3u);
    let r = (f32(fraction) + f32(below << 2u) * 2.3283064e-10) * 3.6572957e-10;
    return select(vec2(r, n), vec2(-r, (4.0 - n) - 4.0 * floor((4.0 - n) * 0.25)), x < 0.0);
}
