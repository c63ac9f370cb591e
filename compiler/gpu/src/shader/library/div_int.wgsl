// Towards minus infinity. A division by 0 is kept for the report.
fn divided(x: i32, y: i32, site: u32) -> i32 {
    if y == 0 {
        atomicMin(&faults[site], 0);
        return 0;
    }
    if y == -1 {
        return -x;
    }
    let quotient = x / y;
    return select(quotient, quotient - 1, quotient * y != x && (x < 0) != (y < 0));
}
