//! Requests that come one by one, each with settings of its own.

use std::collections::HashMap;
use std::rc::Rc;

use align_compiler::stage::generate::Drawing;
use align_compiler::world::{Constraint, Grammar, World};
use align_runtime::Result;
use align_runtime::engine::Cpu;
use align_runtime::generate::model::Writer;
use align_runtime::generate::{Ask, Desk, Drawn, Request, Told};
use align_runtime::world::Files;

use crate::tiny;

/// What becomes of replies, and which requests are given up after so many of their tokens.
#[derive(Default)]
struct Heard {
    replies: HashMap<(usize, usize), Drawn>,
    tokens: HashMap<(usize, usize), Vec<u32>>,
    likeliest: HashMap<(usize, usize), Vec<(Vec<i32>, Vec<f32>)>>,
    given_up: HashMap<usize, usize>,
}

impl Desk for Heard {
    fn is_wanted(&self, request: usize) -> bool {
        let heard = self.tokens.iter().filter(|((id, _), _)| *id == request).map(|(_, tokens)| tokens.len()).max();
        self.given_up.get(&request).is_none_or(|most| heard.unwrap_or(0) < *most)
    }

    fn token(&mut self, at: (usize, usize), told: &Told) {
        self.tokens.entry(at).or_default().push(told.token);
        let (ids, logps) = told.likeliest;
        self.likeliest.entry(at).or_default().push((ids.to_vec(), logps.to_vec()));
    }

    fn ended(&mut self, at: (usize, usize), drawn: Drawn) {
        assert!(self.replies.insert(at, drawn).is_none(), "{at:?} ends once");
    }
}

/// Of each request: its prompt's length, replies, temperature, share of the probability, whether it keeps to numbers, and after how many requests
/// that were there before it came it comes in steps.
const ASKED: [(u32, usize, f64, f64, bool, usize); 7] = [
    (3, 2, 1.0, 1.0, false, 0),
    (17, 1, 0.0, 1.0, false, 0),
    (40, 3, 0.7, 0.6, false, 2),
    (1, 1, 1.3, 1.0, false, 5),
    (20, 2, 1.0, 1.0, true, 6),
    (30, 2, 0.0, 0.5, false, 6),
    (12, 2, 1.0, 1.0, true, 9),
];

fn request(at: usize) -> Request {
    let (length, n, ..) = ASKED[at];
    let prompt = (0..length).map(|i| (i * 11 + at as u32 * 3 + 5) % 85).collect();
    Request { prompt, n, row: at as u64, max_tokens: 14, ..Request::default() }
}

const PATTERN: &str = "[0-9]{3,6}";

/// Replies are those of a generator that is made for their settings, whatever is written beside them, whenever they come, in little memory too, and
/// where others are given up.
#[test]
fn rows_have_settings_of_their_own() -> Result<()> {
    let folder = tiny::folder("llama");
    let path = folder.path().to_str().expect("a text");
    let (files, engine) = (Files::new("."), Cpu::new(2));
    let mut wanted = vec![];
    for (at, (.., temperature, share, is_number, _)) in ASKED.iter().enumerate() {
        let drawing = Drawing { temperature: *temperature, ..Drawing::default() };
        let grammar = is_number.then(|| Grammar::Pattern(PATTERN.into()));
        let share = Some(*share).filter(|share| *share < 1.0);
        let writer = Writer::open(&files, path, &drawing, share, grammar.as_ref()).unwrap_or_else(|e| panic!("{e}"));
        let (mut generator, placed) = (writer.generator(&engine)?, writer.placed(&engine));
        let weight = |path: &str| placed.get(path).map(|values| values.slot());
        let stop = std::sync::atomic::AtomicBool::new(false);
        let found = generator.run(&weight, &[request(at)], at as u64, 1 << 30, &stop, &mut |_, _, _| {})?;
        wanted.push(found.expect("nothing stops it").remove(0));
    }
    let writer = Writer::by_row(&files, path, 4).unwrap_or_else(|error| panic!("{error}"));
    let numbers: Rc<dyn Constraint> =
        files.grammar(&Grammar::Pattern(PATTERN.into()), writer.tokenizer()).expect("it is a pattern");
    let (mut generator, placed) = (writer.generator(&engine)?, writer.placed(&engine));
    let weight = |path: &str| placed.get(path).map(|values| values.slot());
    let least = (14..30).map(|bits| 1 << bits).find(|memory| generator.open(16, 64, *memory).is_ok()).expect("some is");
    for (memory, given_up) in [(1 << 30, vec![]), (least, vec![]), (least, vec![(1, 5), (2, 3), (6, 0)])] {
        let mut running = generator.open(16, 64, memory)?;
        let mut heard = Heard { given_up: given_up.into_iter().collect(), ..Heard::default() };
        let (mut steps, mut next) = (0, 0);
        while next < ASKED.len() || !running.is_idle() {
            while let Some((_, _, temperature, top_p, is_number, from)) = ASKED.get(next)
                && *from <= steps
            {
                running.ask(Ask {
                    id: next,
                    request: request(next),
                    seed: next as u64,
                    temperature: *temperature as f32,
                    top_p: *top_p as f32,
                    grammar: is_number.then(|| numbers.begin()),
                    likeliest: next == 1,
                })?;
                next += 1;
            }
            running.step(&weight, &mut heard)?;
            steps += 1;
            assert!(steps < 2000, "it comes to an end");
        }
        assert_eq!(running.counts(), (0, 0));
        for (at, wanted) in wanted.iter().enumerate() {
            for (sample, wanted) in wanted.iter().enumerate() {
                let tokens = heard.tokens.get(&(at, sample)).cloned().unwrap_or_default();
                if let Some(most) = heard.given_up.get(&at) {
                    assert!(tokens.len() <= *most && !heard.replies.contains_key(&(at, sample)), "{at} goes on");
                    assert_eq!(tokens[..], wanted.tokens[..tokens.len()]);
                    continue;
                }
                let found = &heard.replies[&(at, sample)];
                assert_eq!((&found.tokens, found.finished), (&wanted.tokens, wanted.finished), "{at}.{sample}");
                assert_eq!(tokens, found.tokens);
                let pairs = found.logps.iter().zip(&wanted.logps);
                assert!(pairs.clone().all(|(x, y)| (x - y).abs() < 1e-4), "{at}.{sample}: {pairs:?}");
            }
        }
        // What is likeliest is what is taken at temperature 0.
        let tokens = heard.tokens[&(1, 0)].iter();
        for (token, (ids, logps)) in tokens.zip(&heard.likeliest[&(1, 0)]) {
            assert_eq!((ids.len(), ids[0]), (4, *token as i32));
            assert!(
                logps.windows(2).all(|two| two[0] >= two[1]) && logps.iter().map(|x| x.exp()).sum::<f32>() <= 1.0001
            );
        }
    }
    // What cannot be answered is said, and nothing else is held up.
    let mut running = generator.open(1, 64, 1 << 30)?;
    let long = Request { prompt: vec![5; 64], n: 1, max_tokens: 1, ..Request::default() };
    let ask = |request| Ask { id: 0, request, seed: 0, temperature: 1.0, top_p: 1.0, grammar: None, likeliest: false };
    let error = running.ask(ask(long)).expect_err("it is too long").to_string();
    assert!(error.contains("leaves no room") && running.is_idle(), "{error}");
    Ok(())
}
