//! Edits of a text, and where in the old text a place of the new one is.

/// `start..end` of the old text is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub start: usize,
    pub end: usize,
    pub text: &'static str,
}

/// A piece of new text: `len` bytes from `new` on stand for the old ones from `old` on; what is added stands for none.
#[derive(Clone, Copy, Debug)]
struct Run {
    new: usize,
    old: usize,
    len: usize,
}

/// From the places of an edited text to those of the text before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Vec<Run>);

impl Places {
    /// The old place of a new one.
    pub fn old(&self, new: usize) -> usize {
        let after = self.0.partition_point(|run| run.new <= new);
        match after.checked_sub(1).map(|i| self.0[i]) {
            Some(run) => run.old + (new - run.new).min(run.len),
            None => new,
        }
    }
}

/// The part `start..end` of a text after edits, which are in order and apart; those outside of the part do not count.
pub(crate) fn edited(text: &str, start: usize, end: usize, edits: &[Edit]) -> (String, Places) {
    let (mut out, mut runs, mut at) = (String::with_capacity(end - start), Vec::new(), start);
    let copy = |out: &mut String, runs: &mut Vec<Run>, from: usize, to: usize| {
        runs.push(Run { new: out.len(), old: from, len: to - from });
        out.push_str(&text[from..to]);
    };
    for edit in edits.iter().filter(|e| start <= e.start && e.end <= end) {
        copy(&mut out, &mut runs, at, edit.start);
        runs.push(Run { new: out.len(), old: edit.start, len: 0 });
        out.push_str(edit.text);
        at = edit.end;
    }
    copy(&mut out, &mut runs, at, end);
    (out, Places(runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lead_back() {
        let edits = [Edit { start: 4, end: 7, text: "!" }, Edit { start: 9, end: 9, text: "++" }];
        let (text, places) = edited("0123456789ab", 2, 12, &edits);
        assert_eq!(text, "23!78++9ab");
        let old: Vec<usize> = (0..=10).map(|i| places.old(i)).collect();
        assert_eq!(old, [2, 3, 4, 7, 8, 9, 9, 9, 10, 11, 12]);
    }
}
