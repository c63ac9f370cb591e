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

/// What people have on their disks.
#[test]
fn files_that_are_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.data");
    let wide: Vec<u8> = "{\"a\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    let cases: [(&str, &[u8], &[&str]); 9] = [
        ("gzip", &[0x1F, 0x8B, 8, 0, 0, 0], &["rows.data", "gzip", "Unpack"]),
        ("zstd", &[0x28, 0xB5, 0x2F, 0xFD, 0], &["rows.data", "zstd"]),
        ("bzip2", b"BZh91AY", &["rows.data", "bzip2"]),
        ("xz", &[0xFD, b'7', b'z', b'X', b'Z', 0], &["rows.data", "xz"]),
        ("zip", b"PK\x03\x04\x14", &["rows.data", "zip"]),
        ("Parquet", b"PAR1\x15\x04", &["rows.data", "parquet(..)"]),
        ("Git LFS", lfs.as_bytes(), &["rows.data", "git lfs pull"]),
        ("UTF-16 without a mark", &wide, &["rows.data", "UTF-16", "UTF-8"]),
        ("UTF-16", b"\xFE\xFF\0{", &["rows.data", "UTF-16"]),
    ];
    for (name, bytes, words) in cases {
        std::fs::write(&path, bytes).unwrap();
        for format in [Format::Json, Format::Lines, CSV] {
            wrong(&format!("{name}, {format:?}"), words, || read(&path, format));
        }
    }
}

#[test]
fn rows_that_other_programs_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.data");
    let json: [(&str, &str, &[&str]); 10] = [
        ("NaN", "{\"a\": NaN}", &["rows.data:1", "write null"]),
        ("Infinity", "{\"a\": 1}\n{\"a\": -Infinity}", &["rows.data:2", "write null"]),
        ("a word of Python", "{\"a\": True}", &["rows.data:1", "true, false and null"]),
        ("a text of Python", "{'a': 1}", &["rows.data:1", "double quotes"]),
        ("a lone surrogate", "{\"a\": \"\\ud83d\"}", &["rows.data:1", "in pairs"]),
        ("a comma too many", "{\"a\": 1,}", &["rows.data:1", "comma"]),
        ("two objects", "{\"a\": 1}{\"a\": 2}", &["rows.data:1", "trailing"]),
        ("a tab in a text", "{\"a\": \"x\ty\"}", &["rows.data:1", "control character"]),
        ("a pretty object", "{\n  \"a\": 1\n}\n", &["rows.data:1", "too early"]),
        ("a list of lists", "[[1, 2], [3, 4]]", &["rows.data:1", "a JSON object"]),
    ];
    for (name, text, words) in json {
        std::fs::write(&path, text).unwrap();
        wrong(name, words, || read(&path, Format::Json));
    }
    // These are read.
    for (name, text, format) in [
        ("a number beyond 64 bits", "{\"a\": 123456789012345678901234567890}", Format::Json),
        ("a name twice", "{\"a\": 1, \"a\": 2}", Format::Json),
        ("Windows", "\u{feff}a,b\r\n\"1\r\n2\",3\r\n", CSV),
        ("no end of line", "a,b\n1,2", CSV),
        ("other columns in each row", "{\"a\": 1}\n{\"b\": 2}\n", Format::Json),
    ] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(case(name, || read(&path, format)), None, "{name}");
    }
}

/// Pipes and devices have no end, or wait for who writes.
#[cfg(unix)]
#[test]
fn what_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("rows.data");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    for path in [&*pipe, Path::new("/dev/zero"), Path::new("/dev/null")] {
        for format in [Format::Json, Format::Lines, CSV] {
            wrong(&format!("{path:?}, {format:?}"), &["pipe or a device", "to a file first"], || read(path, format));
        }
    }
    wrong("a folder", &["no file that ends in"], || read(folder.path(), Format::Json));
    let long = folder.path().join("x".repeat(5000));
    wrong("a name that is too long", &["cannot read"], || read(&long, Format::Json));
    // Who may read all cannot test this.
    let closed = folder.path().join("closed.jsonl");
    std::fs::write(&closed, "{}\n").unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::read(&closed).is_err() {
        wrong("no permission", &["closed.jsonl", "cannot read"], || read(&closed, Format::Json));
    }
}
