// x^n; of a negative n as much as is whole.
fn power_int(x: i32, n: i32) -> i32 {
    if n < 0 {
        let sign = select(1, x, (n & 1) == 1);
        return select(0, sign, x == 1 || x == -1);
    }
    var result = 1;
    var base = x;
    var rest = u32(n);
    for (var round = 0u; round < 32u && rest > 0u; round++) {
        result = select(result, result * base, (rest & 1u) == 1u);
        base *= base;
        rest >>= 1u;
    }
    return result;
}
