// An index below a size; else 0, and the least such index is kept for the report.
fn checked(index: i32, below: u32, site: u32) -> u32 {
    if index < 0 || u32(index) >= below {
        // The largest Int says that there is no fault; as an index it is told as 0, which is one below no size but 0.
        atomicMin(&faults[site], select(index, 0, index == 2147483647));
        return 0u;
    }
    return u32(index);
}
