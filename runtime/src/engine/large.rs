//! Vectors of many numbers, in large pages where the system has them: they are faster to be had, and to be read from end to end.

/// Bytes of a large page.
const PAGE: usize = 2 << 20;

/// So many zeros.
pub fn zeros(len: usize) -> Vec<f32> {
    let all = vec![0.0; len];
    advise(&all);
    all
}

/// An empty vector with room for so many numbers.
pub fn with_room(len: usize) -> Vec<f32> {
    let all = Vec::with_capacity(len);
    advise(&all);
    all
}

/// Asks for large pages, where nothing was written yet.
#[cfg(target_os = "linux")]
fn advise(of: &Vec<f32>) {
    let (from, bytes) = (of.as_ptr() as usize, of.capacity() * size_of::<f32>());
    let (first, end) = (from.next_multiple_of(PAGE), (from + bytes) / PAGE * PAGE);
    if end > first {
        // SAFETY: whole pages of memory that is owned. Advice that is refused changes nothing.
        unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &Vec<f32>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_all_sizes() {
        for len in [0, 1, PAGE / 4, 3 * PAGE] {
            let mut room = with_room(len);
            room.extend(zeros(len));
            assert!(room.len() == len && room.iter().all(|x| *x == 0.0));
        }
    }
}
