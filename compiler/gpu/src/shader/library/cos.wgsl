fn cosine(x: f32) -> f32 {
    let turned = quarter_turns(x);
    let r = turned.x;
    let square = r * r;
    let odd = fma(fma(fma(-1.9515296e-4, square, 8.3321609e-3), square, -1.6666655e-1), square * r, r);
    let even = fma(fma(fma(2.4433157e-5, square, -1.3887316e-3), square, 4.1666646e-2), square * square, fma(-0.5, square, 1.0));
    let size = select(even, odd, turned.y == 1.0 || turned.y == 3.0);
    return select(size, -size, turned.y == 1.0 || turned.y == 2.0);
}
