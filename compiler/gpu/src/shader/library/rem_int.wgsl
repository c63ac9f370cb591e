// With the sign of y. A division by 0 is kept for the report.
fn rest(x: i32, y: i32, site: u32) -> i32 {
    if y == 0 {
        atomicMin(&faults[site], 0);
        return 0;
    }
    if y == -1 {
        return 0;
    }
    let left = x - x / y * y;
    return select(left, left + y, left != 0 && (left < 0) != (y < 0));
}
