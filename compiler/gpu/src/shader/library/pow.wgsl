// x^y; of a negative x where y is a whole number.
fn power(x: f32, y: f32) -> f32 {
    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    let whole = floor(y) == y;
    let odd = whole && floor(y * 0.5) * 2.0 != y;
    if x == 0.0 {
        return select(0.0, float_of(0x7f800000u), y < 0.0);
    }
    let size = abs(x);
    // The power of two apart, so that the logarithm is small.
    let parts = frexp(size);
    let low = parts.fract < 0.70710678;
    let fraction = select(parts.fract, parts.fract * 2.0, low);
    let exponent = f32(parts.exp) - select(0.0, 1.0, low);
    let t = (fraction - 1.0) / (fraction + 1.0);
    let square = t * t;
    // log2 of the fraction: 2 / ln 2 (t + t^3 / 3 + ..), its first term in two parts.
    let tail = fma(fma(fma(fma(0.2222222, square, 0.2857143), square, 0.4), square, 0.6666667), square * t, 2.0 * t) * 1.44269504;
    // Both products exactly: what they lose is added to the fraction of the result.
    let a = exponent * y;
    let a_rest = fma(exponent, y, -a);
    let b = tail * y;
    let b_rest = fma(tail, y, -b);
    let n = round(a + b);
    let rest = ((a - n) + b) + (a_rest + b_rest);
    var result = select(exp2(rest) * exp2(clamp(n, -126.0, 127.0)), 0.0, n < -126.0);
    if n >= 128.0 {
        result = float_of(0x7f800000u);
    }
    if (bitcast<u32>(y) & 0x7fffffffu) == 0x7f800000u || (bitcast<u32>(x) & 0x7fffffffu) >= 0x7f800000u {
        result = pow(size, y);
    }
    if x < 0.0 {
        return select(float_of(0x7fc00000u), select(result, -result, odd), whole);
    }
    return result;
}
