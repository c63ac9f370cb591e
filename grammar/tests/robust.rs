//! Any text whatever is read: without a panic, in little time, and with places that lie in it.

use align_syntax::format::format;
use align_syntax::parse;
use align_syntax::print::print;
use align_syntax::span::{FileId, Span};
use std::time::{Duration, Instant};

/// Random numbers, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

fn programs() -> Vec<String> {
    let mut paths = Vec::new();
    for folder in ["../tests/good/design", "../tests/bad/syntax"] {
        for entry in std::fs::read_dir(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))).expect("the folder is there")
        {
            paths.push(entry.expect("a folder's entry").path());
        }
    }
    paths.sort();
    paths.iter().map(|p| std::fs::read_to_string(p).expect("a program is UTF-8")).collect()
}

/// Reads a text and looks at all places in its tree and its diagnostics.
fn check(text: &str) {
    let start = Instant::now();
    let parsed = parse(FileId(0), text);
    // Generous, as tests share a busy machine; a loop without end or of high power takes longer.
    let limit = Duration::from_millis(500 + text.len() as u64 / 4);
    assert!(start.elapsed() < limit, "{:?} for {} bytes:\n{text}", start.elapsed(), text.len());
    let inside = |start: usize, end: usize| {
        let whole = start <= end && end <= text.len() && text.is_char_boundary(start) && text.is_char_boundary(end);
        assert!(whole, "{start}..{end} of {} bytes:\n{text}", text.len());
    };
    for (Span { start, end, .. }, _) in parsed.diagnostics.iter().flat_map(|d| &d.labels) {
        inside(*start as usize, *end as usize);
    }
    for span in format!("{:?}", parsed.file).split("start: ").skip(1) {
        let mut numbers = span.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
        let mut next = || numbers.next().and_then(|n| n.parse().ok()).expect("a span has two numbers");
        inside(next(), next());
    }
    if let Ok(formatted) = format(text) {
        let tree = |text: &str| print(&parse(FileId(0), text).file);
        assert_eq!(tree(text), tree(&formatted), "formatting changes the tree of:\n{text}");
        assert_eq!(format(&formatted).as_ref(), Ok(&formatted), "formatting twice differs for:\n{text}");
    }
}

/// About forty lines of a program, from the start of a line.
fn part<'a>(text: &'a str, random: &mut Random) -> &'a str {
    let starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
    let first = random.below(starts.len());
    let last = (first + 40).min(starts.len() - 1);
    &text[starts[first]..starts[last]]
}

/// A place between two characters.
fn place(text: &str, random: &mut Random) -> usize {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[test]
fn cut_texts() {
    let mut random = Random(1);
    for program in programs() {
        for _ in 0..6 {
            let text = part(&program, &mut random);
            check(&text[..place(text, &mut random)]);
            check(&text[place(text, &mut random)..]);
        }
    }
}

#[test]
fn texts_with_a_character_more_or_less() {
    const MORE: [&str; 36] = [
        "(", ")", "[", "]", "{", "}", "\"", "\"\"\"", "=", ":", ",", ";", ".", "..", "-", ">", "=>", "|>", "#", "\\",
        "\n", " ", "'", "é", "\u{1}", "\r", "/", "//", "///", "let ", "if ", "else ", "train ", "1", "x", "^",
    ];
    let mut random = Random(2);
    for program in programs() {
        for _ in 0..12 {
            let mut text = part(&program, &mut random).to_string();
            for _ in 0..1 + random.below(3) {
                let at = place(&text, &mut random);
                if random.below(2) == 0 && at < text.len() {
                    text.remove(at);
                } else {
                    text.insert_str(at, MORE[random.below(MORE.len())]);
                }
            }
            check(&text);
        }
    }
}

#[test]
fn texts_of_tokens_in_any_order() {
    const TOKENS: [&str; 40] = [
        "fn", "f", "(", ")", "{", "}", "[", "]", "=", ":", ",", "\n", ";", "x", "1", "2.5", "\"t\"", "\"\"\"a{",
        "}\"\"\"", "=>", "->", "|>", "+", "-", "not", "if", "then", "else", "for", "in", "train", "as", "let",
        "record", "Pair", ".y", "..", "each", "///d\n", "^",
    ];
    let mut random = Random(3);
    for _ in 0..400 {
        let text: String = (0..random.below(60)).map(|_| format!("{} ", TOKENS[random.below(TOKENS.len())])).collect();
        check(&text);
    }
}

#[test]
fn deep_and_long_texts() {
    for n in [30, 60, 63, 64, 65, 100_000] {
        for (open, middle, close) in [
            ("(", "x", ")"),
            ("[", "x", "]"),
            ("{ ", "x", " }"),
            ("f(", "x", ")"),
            ("x => ", "x", ""),
            ("(x => ", "x", ")"),
            ("if x then ", "x", ""),
            ("-", "x", ""),
            ("- ", "x", ""),
            ("not ", "x", ""),
            ("x ^ ", "x", ""),
            ("x + ", "x", ""),
            ("x.y", "", ".y"),
            ("x", "", "[1]"),
            ("x", "", "(1)"),
            ("x", "", "?"),
            ("\"\"\"{", "x", "}\"\"\""),
            ("train x { on ", "x", " }"),
            ("for x in y { ", "x", " }"),
            ("(a, b) => ", "x", ""),
            ("x |> ", "x", ""),
            ("x as T", "", " as T"),
        ] {
            check(&format!("let a = {}{middle}{}", open.repeat(n), close.repeat(n)));
            check(&format!("let a = {}{middle}", open.repeat(n)));
            check(&format!("fn f(x: {}{middle}{}) = x", open.repeat(n), close.repeat(n)));
        }
        check(&format!("fn f(x: {}Int) = x", "Int -> ".repeat(n)));
        check(&format!("fn f(x: Int{}) = x", " each a".repeat(n)));
        check(&format!("fn f{} = x", "(x)".repeat(n)));
        check(&"let a = 1\n".repeat(n / 10));
        check(&format!("let a = [{}]", "1, ".repeat(n / 10)));
    }
}
