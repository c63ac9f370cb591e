//! Drawn tokens beside the distributions that they are drawn from.

use std::sync::atomic::AtomicBool;

use align_compiler::stage::generate::Drawing;
use align_runtime::engine::{Cpu, Engine, Interpreter};
use align_runtime::generate::model::Writer;
use align_runtime::generate::{Drawn, Generator, Request};
use align_runtime::world::Files;
use serde_json::Value;

use crate::tiny;

/// Replies of a model.
fn write(engine: &dyn Engine, writer: &Writer, requests: &[Request], seed: u64, memory: usize) -> Vec<Vec<Drawn>> {
    let (mut generator, placed) = (writer.generator(engine).unwrap(), writer.placed(engine));
    run(&mut generator, &placed, requests, seed, memory)
}

type Placed<'w> = std::collections::HashMap<String, align_runtime::train::held::Resident<'w>>;

fn run(generator: &mut Generator, placed: &Placed, requests: &[Request], seed: u64, memory: usize) -> Vec<Vec<Drawn>> {
    let weight = |path: &str| placed.get(path).map(|values| values.slot());
    let mut heard: Vec<Vec<Vec<u32>>> = requests.iter().map(|r| vec![r.begin.clone(); r.n]).collect();
    let mut hear = |request: usize, sample: usize, token| heard[request][sample].push(token);
    let found = generator.run(&weight, requests, seed, memory, &AtomicBool::new(false), &mut hear);
    let found = found.unwrap_or_else(|error| panic!("{error}")).expect("nothing stops it");
    let tokens: Vec<Vec<Vec<u32>>> = found.iter().map(|all| all.iter().map(|x| x.tokens.clone()).collect()).collect();
    assert_eq!(heard, tokens, "tokens are told as they come");
    found
}

fn open(model: &str, drawing: &Drawing, top_p: Option<f64>) -> Writer {
    Writer::open(&Files::new("."), model, drawing, top_p, None).unwrap_or_else(|error| panic!("{error}"))
}

fn request(prompt: &[u32], n: usize, max_tokens: usize) -> Request {
    Request { prompt: prompt.to_vec(), n, max_tokens, row: 7, ..Request::default() }
}

/// The stored log-probabilities of what comes after a prefix of a sequence.
fn stored(sequence: &Value, length: usize) -> Vec<f64> {
    let logits = sequence["logits"][length - 1].as_array().unwrap();
    let logits: Vec<f64> = logits.iter().map(|x| x.as_f64().unwrap()).collect();
    let total = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
    logits.into_iter().map(|x| x - total).collect()
}

/// Pearson's statistic of counts, and how many standard deviations it lies above what is expected; rare tokens are one.
pub fn surprise(counts: &[usize], probabilities: &[f64]) -> f64 {
    let total = counts.iter().sum::<usize>() as f64;
    let (mut statistic, mut cells) = (0.0, -1.0);
    let mut rare = (0.0, 0.0);
    for (count, p) in counts.iter().zip(probabilities) {
        let (count, expected) = (*count as f64, p * total);
        if expected < 8.0 {
            rare = (rare.0 + count, rare.1 + expected);
        } else {
            statistic += (count - expected).powi(2) / expected;
            cells += 1.0;
        }
    }
    if rare.1 > 0.0 {
        statistic += (rare.0 - rare.1).powi(2) / rare.1.max(1.0);
        cells += 1.0;
    }
    (statistic - cells) / f64::sqrt(2.0 * cells.max(1.0))
}

/// Tokens come as often as the softmax at the temperature says; their log-probabilities are those of the model.
#[test]
fn draws_follow_the_softmax() {
    let folder = tiny::folder("llama");
    let stored_json = crate::json("tiny/llama/logits.json");
    let sequence = &stored_json["sequences"][0];
    let ids = crate::ids(&sequence["ids"]);
    let logps = stored(sequence, 5);
    for (temperature, top_p) in [(1.0, None), (0.7, None), (1.0, Some(0.6))] {
        let drawing = Drawing { temperature, ..Drawing::default() };
        let writer = open(folder.path().to_str().unwrap(), &drawing, top_p);
        let found = write(&Cpu::new(2), &writer, &[request(&ids[..5], 6000, 1)], 3, 1 << 30);
        let mut weights: Vec<f64> = logps.iter().map(|x| (x / temperature).exp()).collect();
        if let Some(share) = top_p {
            let mut order: Vec<usize> = (0..weights.len()).collect();
            order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
            let mut above = 0.0;
            for token in order {
                let own = weights[token];
                weights[token] = if above < share { own } else { 0.0 };
                above += own;
            }
        }
        let total: f64 = weights.iter().sum();
        let wanted: Vec<f64> = weights.iter().map(|x| x / total).collect();
        let mut counts = vec![0; wanted.len()];
        for drawn in &found[0] {
            let token = drawn.tokens[0] as usize;
            counts[token] += 1;
            assert!((f64::from(drawn.logps[0]) - logps[token]).abs() < 1e-4, "{token}");
            assert!((f64::from(drawn.drawn_logps[0]) - wanted[token].ln()).abs() < 1e-4, "{token} at {temperature}");
        }
        let surprise = surprise(&counts, &wanted);
        println!("temperature {temperature}, top p {top_p:?}: {surprise:.2} deviations");
        assert!(surprise.abs() < 4.0, "{surprise} at {temperature}, {top_p:?}");
    }
}

/// Whole replies of models: each token's log-probability is that of the sequence so far, by the interpreter too.
#[test]
fn log_probs_are_those_of_scores() {
    for name in tiny::NAMES {
        let folder = tiny::folder(name);
        let path = folder.path().to_str().unwrap();
        let stored = crate::json(&format!("tiny/{name}/logits.json"));
        let ids = tiny::sequences(&stored)[0].clone();
        let writer = open(path, &Drawing::default(), None);
        let found = write(&Cpu::new(2), &writer, &[request(&ids[..4], 3, 6)], 1, 1 << 30);
        let rows: Vec<_> = found[0].iter().map(|drawn| (ids[..4].to_vec(), drawn.tokens.clone())).collect();
        let scored = crate::ids::with(path, 2, |graph| tiny::answers(graph, rows));
        let mut far = 0.0f64;
        for (drawn, scored) in found[0].iter().zip(&scored[0]) {
            assert_eq!(drawn.logps.len(), scored.len());
            far = drawn.logps.iter().zip(scored).map(|(x, y)| (f64::from(*x) - y).abs()).fold(far, f64::max);
        }
        println!("{name}: log-probs of drawn tokens within {far:.1e}");
        assert!(far < 1e-4, "{name}: {far}");
        let slow = write(&Interpreter, &writer, &[request(&ids[..4], 3, 2)], 1, 1 << 30);
        for (slow, fast) in slow[0].iter().zip(&found[0]) {
            assert_eq!(slow.tokens, fast.tokens[..slow.tokens.len()], "{name}");
        }
    }
}

/// A reply is the same whatever is written beside it, in however much memory.
#[test]
fn replies_do_not_depend_on_their_company() {
    let folder = tiny::folder("llama");
    let writer = open(folder.path().to_str().unwrap(), &Drawing::default(), None);
    let engine = Cpu::new(2);
    let requests: Vec<Request> = [(3usize, 2usize), (9, 3), (1, 1), (20, 2)]
        .into_iter()
        .enumerate()
        .map(|(row, (length, n))| {
            let prompt = (0..length as u32).map(|i| (i * 7 + 5) % 97).collect();
            Request { prompt, n, row: row as u64 * 1000, max_tokens: 8, ..Request::default() }
        })
        .collect();
    let all = write(&engine, &writer, &requests, 5, 1 << 30);
    let tokens = |replies: &[Drawn]| replies.iter().map(|drawn| drawn.tokens.clone()).collect::<Vec<_>>();
    for (request, together) in requests.iter().zip(&all) {
        let alone = write(&engine, &writer, std::slice::from_ref(request), 5, 1 << 30);
        assert_eq!(tokens(&alone[0]), tokens(together));
        let fewer = Request { n: 1, ..request.clone() };
        let first = write(&engine, &writer, &[fewer], 5, 1 << 30);
        assert_eq!(tokens(&first[0])[0], together[0].tokens);
    }
    let others = write(&engine, &writer, &requests, 6, 1 << 30);
    assert_ne!(others, all, "another seed gives other replies");
    // What was given is gone on with, as if it had been drawn.
    let whole = &all[1][0];
    let begin = whole.tokens[..3].to_vec();
    let rest = Request { begin: begin.clone(), n: 1, max_tokens: 5, ..requests[1].clone() };
    let gone_on = write(&engine, &writer, &[rest], 5, 1 << 30);
    assert_eq!(gone_on[0][0].tokens, whole.tokens);
    assert_eq!(gone_on[0][0].logps.len(), whole.tokens.len() - 3);
}

#[test]
fn what_does_not_fit() {
    let folder = tiny::folder("llama");
    let writer = open(folder.path().to_str().unwrap(), &Drawing::default(), None);
    let engine = Cpu::new(1);
    let (mut generator, placed) = (writer.generator(&engine).unwrap(), writer.placed(&engine));
    let prompt: Vec<u32> = (0..64).map(|i| i % 97).collect();
    // The context is full.
    let cut = run(&mut generator, &placed, &[request(&prompt[..60], 2, 100)], 1, 1 << 30);
    assert!(cut[0].iter().all(|drawn| drawn.finished || drawn.tokens.len() == 4), "{cut:?}");
    let weight = |path: &str| placed.get(path).map(|values| values.slot());
    let mut fault = |request: Request, memory: usize| {
        let never = AtomicBool::new(false);
        generator.run(&weight, &[request], 1, memory, &never, &mut |_, _, _| {}).unwrap_err().to_string()
    };
    let error = fault(request(&prompt, 1, 5), 1 << 30);
    assert_eq!(
        error,
        "prompt: it leaves no room for a reply; expected less than the policy's context of 64 tokens, found 64 tokens. \
         Shorten the prompt."
    );
    let error = fault(request(&prompt[..10], 1, 5), 100);
    assert!(error.contains("does not fit in memory"), "{error}");
    // Nothing is drawn of what is finished.
    let stop = writer.tokenizer().stop();
    let begin = vec![5, stop];
    let done = run(&mut generator, &placed, &[Request { begin: begin.clone(), ..request(&prompt, 2, 9) }], 1, 1 << 30);
    assert_eq!(done[0][1], Drawn { tokens: begin, finished: true, ..Drawn::default() });
}

/// A sampler of a program reads other policies too; the temperature comes first.
#[test]
fn samplers_of_programs() {
    let folder = tiny::folder("llama");
    let stored_json = crate::json("tiny/llama/logits.json");
    let other_json = crate::json("tiny/llama_untied/logits.json");
    let other = tiny::folder("llama_untied");
    let text = format!(
        "edition 2026\npolicy own = load(\"{}\")\npolicy other = load(\"{}\")\n\
         sampler mixture(policy: Policy, reference: Policy, beta: Float = 0.25)(context) -> Tensor[vocab] =\n  \
         (1 - beta) * next(policy, context) + beta * next(reference, context)\n\
         let mixed = mixture(reference: other, beta: 0.5)\n\
         sampler wrong(policy: Policy)(context) = sum[vocab](next(policy, context))\n\
         sampler greedy(policy: Policy)(context) -> Tensor[vocab] =\n  \
         where(next(policy, context) == max[vocab](next(policy, context)), 0, -inf)\n",
        folder.path().display(),
        other.path().display()
    );
    let of = |temperature, sampler: &str| {
        let drawing = Drawing { temperature, ..Drawing::default() };
        Writer::of_program(&Files::new("."), &text, "own", &drawing, Some(sampler))
    };
    let [sequence, second] = [&stored_json, &other_json].map(|json| &json["sequences"][0]);
    let ids = crate::ids(&sequence["ids"]);
    assert_eq!(ids, crate::ids(&second["ids"]), "both read the same");
    let (own, reference) = (stored(sequence, 5), stored(second, 5));
    let temperature = 0.8;
    let weights: Vec<f64> =
        own.iter().zip(&reference).map(|(x, y)| ((0.5 * x + 0.5 * y) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    let writer = of(temperature, "mixed").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(writer.generation.policies.len(), 2);
    let found = write(&Cpu::new(2), &writer, &[request(&ids[..5], 50, 1)], 3, 1 << 30);
    for drawn in &found[0] {
        let token = drawn.tokens[0] as usize;
        assert!((f64::from(drawn.drawn_logps[0]) - (weights[token] / total).ln()).abs() < 1e-4, "{token}");
        assert!((f64::from(drawn.logps[0]) - own[token]).abs() < 1e-4, "{token}");
    }
    let greedy = of(1.0, "greedy").unwrap_or_else(|error| panic!("{error}"));
    let best = (0..own.len()).max_by(|a, b| own[*a].total_cmp(&own[*b])).unwrap();
    let found = write(&Cpu::new(2), &greedy, &[request(&ids[..5], 3, 1)], 3, 1 << 30);
    assert!(found[0].iter().all(|drawn| drawn.tokens[0] as usize == best && drawn.drawn_logps[0].abs() < 1e-6));
    let wrong = of(1.0, "wrong").err().expect("one number is no distribution").to_string();
    assert!(wrong.contains("gives log-weights on `vocab`"), "{wrong}");
}

/// What needs all tokens at once says so, and is computed whole where that is asked for.
#[test]
fn nets_that_look_at_all_tokens() {
    let text = "edition 2026\n\
                net pooled(tokenizer: Tokenizer, width: Int) {\n  axis vocab = 257, dim = width\n  \
                weight embed: [vocab, dim] ~ normal(1)\n  \
                logits(tokens: Int each time) -> Tensor[time, vocab] {\n    let x = embed[vocab: tokens]\n    \
                sum[dim]((x + tile[time](mean[time](x))) * embed)\n  }\n}\n\
                policy own = pooled(tokenizer: bytes, width: 4)\n";
    let of = |incremental| {
        let drawing = Drawing { incremental, ..Drawing::default() };
        Writer::of_program(&Files::new("."), text, "own", &drawing, None)
    };
    let error = of(true).err().expect("it needs all tokens").to_string();
    assert!(error.starts_with("E0501: `pooled` cannot go on from kept tokens: "), "{error}");
    let writer = of(false).unwrap_or_else(|error| panic!("{error}"));
    let found = write(&Cpu::new(2), &writer, &[request(&[1, 2, 3], 2, 4)], 3, 1 << 30);
    assert!(found[0].iter().all(|drawn| drawn.finished || drawn.tokens.len() == 4), "{found:?}");
}

/// New tokens over what is kept give what whole contexts give: the tokens, and log-probabilities but for rounding. In little
/// memory too, where sequences wait and prompts come in parts.
#[test]
fn kept_tokens_change_nothing() {
    let mut farthest = 0.0f32;
    for name in tiny::NAMES {
        let folder = tiny::folder(name);
        let open = |incremental| {
            let drawing = Drawing { incremental, ..Drawing::default() };
            open(folder.path().to_str().unwrap(), &drawing, None)
        };
        let (whole, cached) = (open(false), open(true));
        assert!(whole.generation.one.is_none() && cached.generation.one.is_some());
        let requests: Vec<Request> = [(1usize, 2usize), (3, 1), (17, 3), (40, 2), (30, 1)]
            .into_iter()
            .enumerate()
            .map(|(row, (length, n))| {
                let prompt = (0..length as u32).map(|i| (i * 11 + row as u32 * 3 + 5) % 97).collect();
                Request { prompt, n, row: row as u64, max_tokens: 20, ..Request::default() }
            })
            .collect();
        let engine = Cpu::new(2);
        let want = write(&engine, &whole, &requests, 11, 1 << 30);
        // The least that any works in, and a little more.
        let (mut generator, placed) = (cached.generator(&engine).unwrap(), cached.placed(&engine));
        let least = (12..30).map(|bits| 1 << bits).find(|memory| {
            let weight = |path: &str| placed.get(path).map(|values| values.slot());
            generator.run(&weight, &requests, 11, *memory, &AtomicBool::new(false), &mut |_, _, _| {}).is_ok()
        });
        for memory in [1 << 30, least.unwrap(), 2 * least.unwrap()] {
            let got = write(&engine, &cached, &requests, 11, memory);
            for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
                assert_eq!((&got.tokens, got.finished), (&want.tokens, want.finished), "{name} in {memory} bytes");
                let pairs = got.logps.iter().zip(&want.logps).chain(got.drawn_logps.iter().zip(&want.drawn_logps));
                farthest = pairs.map(|(x, y)| (x - y).abs()).fold(farthest, f32::max);
            }
        }
        let slow = write(&Interpreter, &cached, &requests[..2], 11, 1 << 30);
        for (slow, want) in slow.iter().flatten().zip(want.iter().flatten()) {
            assert_eq!(slow.tokens, want.tokens, "{name} by the interpreter");
        }
    }
    println!("log-probs over kept tokens within {farthest:.1e} of those of whole contexts");
    assert!(farthest < 2e-5, "{farthest}");
}

/// A net without attention whose sums, scans and earlier tokens go on: the whole contexts give the same.
#[test]
fn states_of_nets_go_on() {
    let text = "edition 2026\n\
                net going(tokenizer: Tokenizer, width: Int) {\n  axis vocab = 257, dim = width\n  \
                weight embed: [vocab, dim] ~ normal(1)\n  weight out: [vocab, dim] ~ normal(1)\n  \
                logits(tokens: Int each time) -> Tensor[time, vocab] {\n    let x = embed[vocab: tokens]\n    \
                let mean = cumsum[time](x) / (index[time](x) + 1)\n    \
                let state = scan[time](x, from: 0.5, (h, x) => tanh(0.5 * h + x))\n    \
                let before = x[time: index[time](x) - 1, or: 0] + 0.5 * x[time: index[time](x) - 3, or: 0.25]\n    \
                sum[dim]((mean + state + before) * out)\n  }\n}\n\
                policy own = going(tokenizer: bytes, width: 8)\n";
    let of = |incremental| {
        let drawing = Drawing { incremental, ..Drawing::default() };
        Writer::of_program(&Files::new("."), text, "own", &drawing, None).unwrap_or_else(|error| panic!("{error}"))
    };
    let requests: Vec<Request> = [(1usize, 2usize), (2, 1), (90, 3), (7, 2)]
        .into_iter()
        .enumerate()
        .map(|(row, (length, n))| {
            let prompt = (0..length as u32).map(|i| (i * 11 + row as u32 * 3 + 5) % 97).collect();
            Request { prompt, n, row: row as u64, max_tokens: 12, ..Request::default() }
        })
        .collect();
    let (whole, cached) = (of(false), of(true));
    let want = write(&Cpu::new(2), &whole, &requests, 11, 1 << 30);
    for memory in [1 << 30, 1 << 18] {
        let got = write(&Cpu::new(2), &cached, &requests, 11, memory);
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            assert_eq!(got.tokens, want.tokens, "in {memory} bytes");
            assert!(got.logps.iter().zip(&want.logps).all(|(x, y)| (x - y).abs() < 2e-5));
        }
    }
    let slow = write(&Interpreter, &cached, &requests[..2], 11, 1 << 30);
    assert!(slow.iter().flatten().zip(want.iter().flatten()).all(|(slow, want)| slow.tokens == want.tokens));
}

/// The most likely tokens are those that transformers gives.
#[test]
fn greedy_replies_of_a_real_model() {
    let Some(model) = crate::smollm() else { return };
    let stored = crate::json("smollm2/logps.json");
    let drawing = Drawing { temperature: 0.0, ..Drawing::default() };
    let writer = open(&model, &drawing, None);
    let (mut requests, mut wanted) = (vec![], vec![]);
    for greedy in stored["greedy"].as_array().unwrap() {
        let ids = crate::ids(&greedy["ids"]);
        requests.push(Request { max_tokens: ids.len(), ..request(&crate::ids(&greedy["prompt_ids"]), 1, 0) });
        wanted.push(ids);
    }
    let found = write(&Cpu::new(2), &writer, &requests, 0, 4 << 30);
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found[0].tokens, *wanted, "{}", writer.tokenizer().decode(&found[0].tokens));
    }
}

/// Weights of a file that has them in fewer bits are held so, and are the same numbers: the likeliest tokens and their
/// log-probabilities are those of weights in f32.
#[test]
fn fewer_bits_lose_nothing() {
    let Some(path) = crate::smollm() else { return };
    let drawing = Drawing { temperature: 0.0, ..Drawing::default() };
    let [floats, exact] = [false, true].map(|exact| {
        let writer = open(&path, &drawing, None);
        if exact { writer.exact() } else { writer }
    });
    let narrow = &exact.generation.narrow;
    assert_eq!(narrow.len(), 1 + 7 * 30, "the embedding and all products of 30 blocks");
    let engine = Cpu::new(2);
    let prompt = exact.tokenizer().encode("The capital of France is", true);
    let requests: Vec<Request> = [1, 2, 6].map(|n| Request { n, ..request(&prompt, n, 6) }).into();
    let [floats, exact] = [&floats, &exact].map(|writer| write(&engine, writer, &requests, 1, 1 << 30));
    for (x, y) in floats.iter().flatten().zip(exact.iter().flatten()) {
        assert_eq!(x.tokens, y.tokens);
        let far = x.logps.iter().zip(&y.logps).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "{far}");
    }
}
