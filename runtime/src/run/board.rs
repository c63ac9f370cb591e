//! Event files for TensorBoard: `tensorboard --logdir FOLDER`. A stage is a run of TensorBoard, a metric is a tag.
//!
//! A file is a row of records: the length, its checksum, a message of protocol buffers (`Event` of
//! tensorflow/core/util/event.proto), its checksum. Of the messages only scalars are needed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What the names of event files begin with.
const NAME: &str = "events.out.tfevents.";

/// A folder of event files, one for each stage.
pub struct Board {
    folder: PathBuf,
    files: HashMap<String, (PathBuf, File)>,
}

impl Board {
    /// Files are made in this folder as stages begin.
    pub fn new(folder: PathBuf) -> Board {
        Board { folder, files: HashMap::new() }
    }

    /// Begins the file of a stage. What an earlier run wrote of the stage is removed: a stage that goes on writes all of it.
    /// `at`: seconds since 1970.
    pub fn begin(&mut self, stage: &str, at: f64) -> Result<()> {
        let folder = self.folder.join(file_name(stage));
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create", &e))?;
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(NAME) {
                // What cannot be removed is superseded below.
                let _ = fs::remove_file(entry.path());
            }
        }
        let path = folder.join(format!("{NAME}{:010}.{}.alignc", at as u64, std::process::id()));
        let file = File::create(&path).map_err(|e| Error::io(&path, "create", &e))?;
        self.files.insert(stage.to_string(), (path, file));
        self.add(stage, &event(at, 0, VERSION, b"brain.Event:2"))?;
        // A reader that has seen an earlier file forgets what it read from the first step on.
        self.add(stage, &event(at, 1, SESSION, &number(1, START)))
    }

    /// The values of a step. `at`: when it ended, in seconds since 1970.
    pub fn scalars<'a>(
        &mut self,
        stage: &str,
        step: usize,
        at: f64,
        values: impl Iterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let mut summary = vec![];
        for (tag, value) in values {
            let mut one = bytes(1, tag.as_bytes());
            one.push(2 << 3 | FIXED32);
            one.extend((value as f32).to_le_bytes());
            summary.extend(bytes(1, &one));
        }
        self.add(stage, &event(at, step as u64, SUMMARY, &summary))
    }

    fn add(&mut self, stage: &str, event: &[u8]) -> Result<()> {
        let Some((path, file)) = self.files.get_mut(stage) else { return Ok(()) };
        file.write_all(&record(event)).map_err(|e| Error::io(path, "write", &e))
    }
}

/// A stage's name as that of a folder.
fn file_name(stage: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = stage.chars().map(plain).collect();
    if Path::new(&name).file_name().is_none() { "stage".into() } else { name }
}

// ------------------------------------------------------------------------------------------ messages

/// Fields of `Event` beside the time and the step.
const VERSION: u8 = 3;
const SUMMARY: u8 = 5;
const SESSION: u8 = 7;
/// `SessionLog.status`
const START: u64 = 1;
/// Wire types.
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED32: u8 = 5;

fn event(at: f64, step: u64, field: u8, content: &[u8]) -> Vec<u8> {
    let mut event = vec![1 << 3 | FIXED64];
    event.extend(at.to_le_bytes());
    event.extend(number(2, step));
    event.extend(bytes(field, content));
    event
}

/// A field that is a number.
fn number(field: u8, value: u64) -> Vec<u8> {
    let mut out = vec![field << 3];
    varint(&mut out, value);
    out
}

/// A field that is a text or a message.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | LENGTH];
    varint(&mut out, content.len() as u64);
    out.extend(content);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

// ------------------------------------------------------------------------------------------ records

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(&length).to_le_bytes());
    out.extend(event);
    out.extend(masked(event).to_le_bytes());
    out
}

/// The checksum of a record: that of the bytes, turned and shifted so that a checksum of checksums is no trivial one.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32 with the polynomial of Castagnoli.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let (mut crc, mut bit) = (i as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums() {
        // The check value of the catalogue of CRCs, and vectors of RFC 3720.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    /// Records of a file, taken apart by the format's own rules.
    fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut records = vec![];
        while !file.is_empty() {
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            let sum = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            assert_eq!(sum(8), masked(&file[..8]));
            let content = &file[12..12 + length];
            assert_eq!(sum(12 + length), masked(content));
            records.push(content.to_vec());
            file = &file[16 + length..];
        }
        records
    }

    #[test]
    fn a_stage_that_begins_again_has_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = Board::new(folder.path().join("tensorboard"));
        for at in [1e9, 2e9] {
            board.begin("a stage/..", at).unwrap();
            board.scalars("a stage/..", 300, at + 0.5, [("loss", 0.25), ("accuracy", 1.0)].into_iter()).unwrap();
        }
        let stage = folder.path().join("tensorboard/a_stage_..");
        let files: Vec<_> = fs::read_dir(&stage).unwrap().flatten().collect();
        let [file] = &files[..] else { panic!("{files:?}") };
        assert!(file.file_name().to_string_lossy().starts_with("events.out.tfevents.2000000000."));
        let records = records(&fs::read(file.path()).unwrap());
        assert_eq!(records.len(), 3);
        assert!(records[0].ends_with(b"\x1a\x0dbrain.Event:2"));
        assert!(records[1].ends_with(&[2 << 3, 1, 7 << 3 | 2, 2, 1 << 3, 1]));
        let loss = [&[0x0a, 4][..], b"loss", &[0x15], &0.25f32.to_le_bytes()].concat();
        let accuracy = [&[0x0a, 8][..], b"accuracy", &[0x15], &1f32.to_le_bytes()].concat();
        let values = [&[0x0a, loss.len() as u8][..], &loss, &[0x0a, accuracy.len() as u8], &accuracy].concat();
        let step = [0x10, 0xac, 0x02, 0x2a, values.len() as u8];
        assert_eq!(records[2][9..], [&step[..], &values].concat());
    }
}
