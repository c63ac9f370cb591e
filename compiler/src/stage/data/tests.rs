use super::sources::unplaced;
use super::*;
use crate::program::Program;
use crate::stage::testing::{Lines, Memory};
use std::collections::BTreeSet;

/// Runs with an evaluator of an empty program.
fn with<T>(f: impl FnOnce(&mut Eval) -> T) -> T {
    let (program, world) = (Program::default(), Memory::default());
    f(&mut Eval::new(&program, &world))
}

fn numbers(len: usize) -> Data<usize> {
    Data::generated(len, |_| Some(Hasher::new("numbers").finish()), |_, i| Ok(i))
}

fn row(data: &Data<usize>, index: usize) -> Result<usize, String> {
    with(|eval| data.get(eval, index).map_err(|error| error.message))
}

fn all(data: &Data<usize>) -> Vec<usize> {
    (0..data.len()).map(|i| row(data, i).unwrap()).collect()
}

#[test]
fn a_shuffle_is_a_permutation_by_seed() {
    let (a, b) = (numbers(100).shuffle(1), numbers(100).shuffle(2));
    assert_ne!(all(&a), all(&b));
    assert_eq!(all(&a), all(&numbers(100).shuffle(1)));
    assert_eq!(all(&a).into_iter().collect::<BTreeSet<_>>().len(), 100);
    assert_eq!(a.place(0), format!("row {}", row(&a, 0).unwrap() + 1));
    let first: Vec<usize> = (0..500).map(|seed| row(&numbers(5).shuffle(seed), 0).unwrap()).collect();
    for row in 0..5 {
        let count = first.iter().filter(|r| **r == row).count();
        assert!((60..140).contains(&count), "{count}");
    }
}

#[test]
fn parts_cover_the_rows_once() {
    for len in [0, 1, 7, 10, 9_999] {
        let parts = numbers(len).split(&[Share::Part(0.6), Share::Part(0.3), Share::Part(0.1)]).unwrap();
        let rows: Vec<usize> = parts.iter().flat_map(all).collect();
        assert_eq!(rows, (0..len).collect::<Vec<_>>());
    }
    let parts = numbers(10).split(&[Share::Rows(3), Share::Rows(2)]).unwrap();
    assert_eq!((all(&parts[0]), all(&parts[1])), (vec![0, 1, 2], vec![3, 4]));
    assert!(numbers(10).split(&[Share::Rows(11)]).is_err());
    assert!(numbers(10).split(&[Share::Part(0.9), Share::Part(0.2)]).is_err());
    assert!(numbers(10).split(&[Share::Part(-0.1)]).is_err());
    assert!(numbers(10).split(&[Share::Part(1.0), Share::Rows(1)]).is_err());
}

#[test]
fn rows_are_made_when_asked_for_and_errors_name_theirs() {
    let data = numbers(10).map(|_| None, |_, x| if x == 7 { Err(unplaced("E0702", "no".into())) } else { Ok(x * 2) });
    let even = with(|eval| data.slice(2, 3).filter(eval, |_, x| Ok(x % 4 == 0))).unwrap();
    assert_eq!(all(&even), [4, 8]);
    let again = data.map(|_| None, |_, x| Ok(x)).slice(5, 100).map(|_| None, |_, x| Ok(x));
    assert_eq!(again.len(), 5);
    assert_eq!(row(&again, 2).unwrap_err(), "row 8: no");
    assert!(with(|eval| again.content(eval, |_, _| {})).is_err());
}

#[test]
fn parts_of_rows_and_rows_after_others() {
    let flat = with(|eval| numbers(5).flat(eval, |x| Ok((0..x % 3).map(|k| 10 * x + k).collect()))).unwrap();
    assert_eq!(all(&flat), [10, 20, 21, 40]);
    assert_eq!(flat.place(2), "row 3");
    assert_eq!(all(&flat.slice(1, 2).shuffle(3)).iter().sum::<usize>(), 41);
    assert!(with(|eval| numbers(2).flat::<usize>(eval, |_| Err(unplaced("E0113", "no".into())))).is_err());
    let both = flat.then(&numbers(2));
    assert_eq!(all(&both), [10, 20, 21, 40, 0, 1]);
    assert_eq!((both.place(3), both.place(5)), ("row 5".to_string(), "row 2".to_string()));
    let none = with(|eval| numbers(3).flat(eval, |_| Ok(Vec::<usize>::new()))).unwrap();
    assert_eq!((none.len(), both.then(&none).len()), (0, 6));
}

#[test]
fn the_hash_of_rows_is_that_of_their_content() {
    let hash = |data: Data<usize>| {
        let add = |x: &usize, h: &mut Hasher| {
            h.int("x", *x as u64);
        };
        with(|eval| data.content(eval, add)).unwrap()
    };
    assert_eq!(hash(numbers(5).map(|_| None, |_, x| Ok(x + 1))), hash(numbers(6).slice(1, 5)));
    assert_ne!(hash(numbers(5)), hash(numbers(4)));
}

#[test]
fn rows_of_files_name_file_and_line() {
    let lines = Lines { name: "a.jsonl", lines: vec!["1", "{", "3"] };
    let data = Data::file(Rc::new(lines), |_, json| Ok(json.as_u64().unwrap_or(0) as usize));
    assert_eq!(row(&data, 2), Ok(3));
    assert_eq!(row(&data.picked(vec![2, 1]), 1).unwrap_err(), "a.jsonl:2: this is not JSON");
}

/// Counts the rows that are worked out.
fn counted(len: usize) -> (Data<usize>, Rc<std::cell::Cell<usize>>) {
    let count = Rc::new(std::cell::Cell::new(0));
    let made = count.clone();
    let row = move |_: &mut Eval, i| {
        made.set(made.get() + 1);
        Ok(i)
    };
    (Data::generated(len, |_| Some(Hasher::new("numbers").finish()), row), count)
}

#[test]
fn rows_that_nobody_reads_are_not_made() {
    let add = |x: &usize, h: &mut Hasher| {
        h.int("x", *x as u64);
    };
    let (data, made) = counted(1 << 45);
    let key = |name: &'static str| move |_: &Eval| Some(Hasher::new(name).finish());
    let parts =
        data.map(key("double"), |_, x| Ok(2 * x)).shuffle(7).split(&[Share::Part(0.9), Share::Rows(100)]).unwrap();
    let pairs = parts[0].slice(5, 1 << 40).zip(&parts[0].slice(0, 1 << 40), |x, y| x + y);
    assert_eq!(made.get(), 0);
    let sample = pairs.sample(16);
    assert_eq!((all(&sample).len(), made.get()), (16, 32));
    // What it is made of is its hash; a function without one must be looked at, row by row.
    let hash = |data: &Data<usize>| with(|eval| data.content(eval, add)).unwrap();
    let other = data.map(key("half"), |_, x| Ok(x / 2)).shuffle(7);
    let same = data.map(key("half"), |_, x| Ok(x / 2)).shuffle(7);
    assert!(hash(&pairs) != hash(&other) && hash(&other) == hash(&same) && hash(&other) != hash(&other.shuffle(7)));
    assert_eq!(made.get(), 32);
    let (few, made) = counted(READ_FIRST);
    assert_eq!(hash(&few), hash(&few.map(|_| None, |_, x| Ok(x))));
    assert_eq!(made.get(), 2 * READ_FIRST);
    let (many, made) = counted(READ_FIRST + 1);
    hash(&many);
    assert_eq!(made.get(), 0);
    hash(&many.map(|_| None, |_, x| Ok(x)));
    assert_eq!(made.get(), READ_FIRST + 1);
}
