//! Tables in plain text.

/// Columns as wide as they need; numbers to the right, texts to the left.
pub fn text(head: &[String], rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).chain([head.len()]).max().unwrap_or(0);
    let cell = |row: &[String], i: usize| row.get(i).map_or(String::new(), |cell| cell.replace('\n', "\\n"));
    let width = |i: usize| rows.iter().map(|row| cell(row, i)).chain([cell(head, i)]).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|i| width(i).unwrap_or(0)).collect();
    let right: Vec<bool> = (0..columns).map(|i| rows.iter().all(|row| cell(row, i).parse::<f64>().is_ok())).collect();
    let line = |row: &[String]| {
        let cells = (0..columns).map(|i| match right[i] {
            true => format!("{:>1$}", cell(row, i), widths[i]),
            false => format!("{:<1$}", cell(row, i), widths[i]),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    let mut out = String::new();
    if head.iter().any(|h| !h.is_empty()) {
        out += &line(head);
        out += &line(&widths.iter().map(|w| "─".repeat(*w)).collect::<Vec<_>>());
    }
    rows.iter().for_each(|row| out += &line(row));
    out
}

/// As [`text`], with the columns from the one of this number on to the right whatever they hold.
pub fn aligned(head: &[String], rows: &[Vec<String>], from: usize) -> String {
    let cell = |row: &[String], i: usize| row.get(i).cloned().unwrap_or_default();
    let all = || std::iter::once(head).chain(rows.iter().map(Vec::as_slice));
    let widths: Vec<usize> =
        (0..head.len()).map(|i| all().map(|row| cell(row, i).chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String]| {
        let cells = (0..head.len()).map(|i| match i < from {
            true => format!("{:<1$}", cell(row, i), widths[i]),
            false => format!("{:>1$}", cell(row, i), widths[i]),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    let rule = line(&widths.iter().map(|w| "─".repeat(*w)).collect::<Vec<_>>());
    line(head) + &rule + &rows.iter().map(|row| line(row)).collect::<String>()
}

/// Lines of a name and words, these broken where they are wider than `width` columns. A name that comes twice is written once.
pub fn named(all: &[(&str, String)], width: usize) -> String {
    let names = all.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let (mut out, mut last) = (String::new(), "");
    for (name, words) in all {
        let shown = if *name == last { "" } else { name };
        for (i, line) in broken(words, width.saturating_sub(names + 4).max(20)).into_iter().enumerate() {
            let name = if i == 0 { shown } else { "" };
            out += format!("  {name:<names$}  {line}").trim_end();
            out += "\n";
        }
        last = name;
    }
    out
}

/// Words in lines of at most so many characters, where no word is longer.
fn broken(words: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split_whitespace() {
        let line = lines.last_mut().expect("there is one");
        match line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width {
            true if line.is_empty() => *line = word.to_string(),
            true => *line += &format!(" {word}"),
            false => lines.push(word.to_string()),
        }
    }
    lines
}

/// Four digits that matter.
pub fn number(x: f64) -> String {
    match x.abs() {
        a if a == 0.0 || !x.is_finite() => format!("{x}"),
        a if x.fract() == 0.0 && a < 1e15 => format!("{x}"),
        a if (1e-3..1e6).contains(&a) => {
            let digits = (3 - a.log10().floor() as i32).max(0) as usize;
            format!("{x:.digits$}")
        }
        _ => format!("{x:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right() {
        let of = |cells: &[&str]| cells.iter().map(|c| c.to_string()).collect::<Vec<_>>();
        let shown = text(&of(&["what", "value"]), &[of(&["a", "0.5"]), of(&["longer", "12"])]);
        assert_eq!(shown, "what    value\n──────  ─────\na         0.5\nlonger     12\n");
    }

    #[test]
    fn four_digits() {
        assert_eq!([0.76123, 123.456, 12.0, 1e-7, 0.0].map(number), ["0.7612", "123.5", "12", "1.000e-7", "0"]);
    }
}
