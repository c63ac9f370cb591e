//! Files of rows.

use std::path::Path;
use std::rc::Rc;

use align_compiler::world::{Format, World};
use align_runtime::world::Files;

use crate::Draw;
use crate::guard::{case, wrong};

fn read(path: &Path, format: Format) -> Result<(), String> {
    let rows = Files::new(".").rows(&[Rc::from(path.to_str().unwrap())], format)?;
    (0..rows.len()).try_for_each(|i| rows.row(i).map(drop))
}

const CSV: Format = Format::Csv { separator: None };

#[test]
fn damaged_files_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.data");
    let line = r#"{"prompt": "2+2=", "reply": "4 \u00e9 é", "n": [1, 2.5e3, null, true], "deep": {"a": {"b": {}}}}"#;
    let lines = format!("{line}\n\n{line}\r\n{line}").into_bytes();
    let list = format!("[\n{line},\n {line} ,{line}]").into_bytes();
    let table = "prompt,reply\n\"a \"\"b\"\"\nc\",é\r\n1,2\n,\n".as_bytes().to_vec();
    let all = [(&lines, Format::Json), (&list, Format::Json), (&table, CSV), (&lines, Format::Lines)];
    let mut found = 0;
    for seed in 0..400u64 {
        let mut draw = Draw::new(seed);
        let (good, format) = draw.one(&all);
        std::fs::write(&path, draw.damaged(good, good.len())).unwrap();
        if let Some(said) = case(&format!("rows {seed}"), || read(&path, *format)) {
            assert!(said.contains("rows.data"), "{seed}: {said}");
            found += 1;
        }
    }
    assert!(found > 100, "{found} of 400 are errors");
}

#[test]
fn hostile_files_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.data");
    let big = "x".repeat(10 << 20);
    let deep = format!("{{\"a\": {}", "[".repeat(200_000));
    let cases: [(&str, Vec<u8>, Format, &[&str]); 12] = [
        ("a line of 10 MB", format!("{{\"a\": \"{big}").into_bytes(), Format::Json, &["rows.data:1", "too early"]),
        (
            "a number of 10 MB",
            format!("{{\"a\": {}}}", "9".repeat(10 << 20)).into_bytes(),
            Format::Json,
            &["rows.data:1"],
        ),
        ("a depth of 200,000", deep.clone().into_bytes(), Format::Json, &["rows.data:1"]),
        ("a depth in a list", format!("[{deep}]").into_bytes(), Format::Json, &["rows.data:1"]),
        (
            "a deep element",
            format!("[{}{}]", "[".repeat(200_000), "]".repeat(200_000)).into_bytes(),
            Format::Json,
            &["rows.data:1"],
        ),
        ("huge numbers", b"{\"a\": 1e999}".to_vec(), Format::Json, &["rows.data:1", "number out of range"]),
        ("no UTF-8", b"{\"a\": \"\xC3\x28\"}".to_vec(), Format::Json, &["rows.data:1", "UTF-8"]),
        ("no UTF-8 in a line", b"a\n\xFF\n".to_vec(), Format::Lines, &["rows.data:2", "UTF-8"]),
        ("a quote of 10 MB", format!("a,b\n1,\"{big}").into_bytes(), CSV, &["rows.data:2", "never closed"]),
        ("many columns", format!("a{}\n1\n", ",".repeat(100_000)).into_bytes(), CSV, &["rows.data:2"]),
        ("a header alone", b"a,b\n".to_vec(), CSV, &["rows.data", "no rows"]),
        ("zeros", vec![0; 1 << 20], Format::Json, &["rows.data:1"]),
    ];
    for (name, bytes, format, words) in cases {
        std::fs::write(&path, bytes).unwrap();
        wrong(name, words, || read(&path, format));
    }
    std::fs::write(&path, format!("{{\"a\": \"{big}\"}}\n")).unwrap();
    assert_eq!(case("a good line of 10 MB", || read(&path, Format::Json)), None);
}
