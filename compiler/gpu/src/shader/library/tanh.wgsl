fn tangent(x: f32) -> f32 {
    let square = x * x;
    let p = fma(fma(fma(fma(-5.7049887e-3, square, 2.063909e-2), square, -5.3739717e-2), square, 1.3331442e-1), square, -3.3333284e-1);
    // Near 0, elsewhere 1 - 2 / (e^2|x| + 1).
    let far = 1.0 - 2.0 / (exp(2.0 * min(abs(x), 20.0)) + 1.0);
    return select(select(select(far, -far, x < 0.0), fma(p, square * x, x), abs(x) < 0.625), x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}
