//! Text whose lines fit: of a long line the part around what is said of it.

use std::ops::Range;

/// The text with each line cut to `room` characters, and the places, from and to in bytes, where they are then. A line is cut
/// around the first place that begins in it; places in what is cut off move to where it was.
pub fn narrowed(text: &str, places: &[(usize, usize)], room: usize) -> (String, Vec<(usize, usize)>) {
    let mut out = String::with_capacity(text.len());
    let mut moved = places.to_vec();
    let mut start = 0;
    for line in text.split('\n') {
        let of_line = |place: usize| (start..=start + line.len()).contains(&place);
        let focus = places.iter().map(|place| place.0).find(|place| of_line(*place)).unwrap_or(start);
        let shown = window(line, focus - start, room);
        if start > 0 {
            out.push('\n');
        }
        if shown.start > 0 {
            out.push('…');
        }
        let base = out.len();
        out += &line[shown.clone()];
        let place = |old: usize| base + (old - start).clamp(shown.start, shown.end) - shown.start;
        for (old, new) in places.iter().zip(&mut moved) {
            if of_line(old.0) {
                new.0 = place(old.0);
            }
            if of_line(old.1) {
                new.1 = place(old.1);
            }
        }
        if shown.end < line.len() {
            out.push('…');
        }
        start += line.len() + 1;
    }
    (out, moved)
}

/// The part of a line that is shown, in bytes.
fn window(line: &str, focus: usize, room: usize) -> Range<usize> {
    if line.len() <= room {
        return 0..line.len();
    }
    let starts: Vec<usize> = line.char_indices().map(|(at, _)| at).collect();
    if starts.len() <= room {
        return 0..line.len();
    }
    let at = starts.partition_point(|start| *start < focus);
    let from = if at < room / 2 { 0 } else { (at - room / 4).min(starts.len() - room) };
    starts[from]..starts.get(from + room).copied().unwrap_or(line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lines_stay() {
        let text = "let é = 1\n\nlet b\n";
        let places = [(4, 6), (12, 15), (18, 18)];
        assert_eq!(narrowed(text, &places, 20), (text.to_string(), places.to_vec()));
    }

    #[test]
    fn places_stay_on_what_they_mark() {
        let text =
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n0123456789012345678901234567é!9012345678901234567890\nend";
        let mark = text.find('é').expect("it is there");
        let (cut, places) = narrowed(text, &[(mark, mark + 2), (text.len() - 3, text.len()), (0, text.len())], 12);
        assert_eq!(cut, "aaaaaaaaaaaa…\n…567é!9012345…\nend");
        assert_eq!(&cut[places[0].0..places[0].1], "é");
        assert_eq!(&cut[places[1].0..places[1].1], "end");
        assert_eq!(places[2], (0, cut.len()));
    }
}
