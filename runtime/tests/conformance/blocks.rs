//! Every GGUF type that can be read, value by value, through a file that holds nothing but its blocks.

use align_runtime::model::gguf::Gguf;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// A version 3 file of one tensor `t`.
fn file(kind: u32, values: usize, data: &[u8]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.push(b't');
    out.extend(1u32.to_le_bytes());
    out.extend((values as u64).to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.resize(out.len().next_multiple_of(32), 0);
    out.extend(data);
    out
}

#[test]
fn values_equal_the_published_ones() {
    let stored = crate::json("gguf_blocks.json");
    let types = stored["types"].as_object().unwrap();
    assert_eq!(types.len(), 14);
    for (name, entry) in types {
        for block in entry["blocks"].as_array().unwrap() {
            let want: Vec<f32> = (block["values"].as_array().unwrap().iter())
                .map(|value| value.as_f64().map_or_else(|| value.as_str().unwrap().parse().unwrap(), |v| v as f32))
                .collect();
            let data = bytes(block["hex"].as_str().unwrap());
            let kind = entry["ggml_type"].as_u64().unwrap() as u32;
            let path = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(path.path(), file(kind, want.len(), &data)).unwrap();
            let got = Gguf::open(path.path()).unwrap().tensor("t").unwrap().1;
            let same = |a: &f32, b: &f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(
                got.len() == want.len() && got.iter().zip(&want).all(|(a, b)| same(a, b)),
                "{name}: {got:?} {want:?}"
            );
        }
    }
}
