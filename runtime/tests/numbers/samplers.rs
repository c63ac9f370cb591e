//! Samplers of the library beside their definitions, worked out in double precision: how often tokens come, and what is recorded.

use std::sync::atomic::AtomicBool;

use align_compiler::stage::generate::Drawing;
use align_runtime::engine::Cpu;
use align_runtime::generate::model::Writer;
use align_runtime::generate::{Drawn, Request};
use align_runtime::world::Files;

use crate::tiny;

/// How much likelier each token is than `exp` says of another one: log-weights, of the context and the logits of two policies.
type Exact = fn(&[u32], &[f64], &[f64]) -> Vec<f64>;

/// The sampler in a program, and its definition.
const SAMPLERS: [(&str, Exact); 13] = [
    ("temperature(t: 0.7)", |_, z, _| z.iter().map(|z| z / 0.7).collect()),
    ("greedy", |_, z, _| cut(z, |i| i == order(z)[0])),
    ("top_k(k: 7)", |_, z, _| cut(z, |i| order(z)[..7].contains(&i))),
    ("nucleus(p: 0.6)", |_, z, _| cut(z, |i| nucleus(z, 0.6).contains(&i))),
    ("min_p(p: 0.3)", |_, z, _| cut(z, |i| chances(z)[i] >= 0.3 * chances(z)[order(z)[0]])),
    ("typical(p: 0.5)", |_, z, _| {
        let p = chances(z);
        let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
        let far: Vec<f64> = p.iter().map(|p| -(-p.ln() - entropy).abs()).collect();
        cut(z, |i| reach(&order(&far), &p, 0.5).contains(&i))
    }),
    ("epsilon_cutoff(epsilon: 0.012)", |_, z, _| cut(z, |i| chances(z)[i] >= 0.012)),
    ("repetition_penalty(penalty: 1.8)", |context, z, _| {
        let penalised = |z: f64| if z < 0.0 { z * 1.8 } else { z / 1.8 };
        (0..z.len()).map(|i| if context.contains(&(i as u32)) { penalised(z[i]) } else { z[i] }).collect()
    }),
    ("presence_frequency(presence: 0.7, frequency: 0.4)", |context, z, _| {
        let count = |i: usize| context.iter().filter(|token| **token == i as u32).count() as f64;
        (0..z.len()).map(|i| z[i] - 0.4 * count(i) - if count(i) > 0.0 { 0.7 } else { 0.0 }).collect()
    }),
    ("contrastive(amateur: other, alpha: 0.2, beta: 0.8)", |_, z, other| {
        let (p, q) = (chances(z), chances(other));
        let most = p[order(z)[0]];
        (0..z.len()).map(|i| if p[i] >= 0.2 * most { p[i].ln() - 0.8 * q[i].ln() } else { f64::NEG_INFINITY }).collect()
    }),
    ("mixture(reference: other, beta: 0.3)", |_, z, other| {
        z.iter().zip(other).map(|(z, other)| 0.7 * z + 0.3 * other).collect()
    }),
    ("teacher_mixed(teacher: other, alpha: 0.4)", |_, z, other| {
        chances(z).iter().zip(chances(other)).map(|(p, q)| (0.6 * p + 0.4 * q).ln()).collect()
    }),
    ("within_nucleus_of(mask: other, p: 0.7)", |_, z, other| cut(z, |i| nucleus(other, 0.7).contains(&i))),
];

fn chances(z: &[f64]) -> Vec<f64> {
    let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = z.iter().map(|z| (z - most).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|x| x / total).collect()
}

/// Places, the largest first.
fn order(z: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..z.len()).collect();
    order.sort_by(|a, b| z[*b].total_cmp(&z[*a]));
    order
}

/// The first places of an order that have a share of the probability together.
fn reach(order: &[usize], p: &[f64], share: f64) -> Vec<usize> {
    let mut sum = 0.0;
    let mut kept = vec![];
    for i in order {
        if sum >= share {
            break;
        }
        sum += p[*i];
        kept.push(*i);
    }
    kept
}

fn nucleus(z: &[f64], share: f64) -> Vec<usize> {
    reach(&order(z), &chances(z), share)
}

fn cut(z: &[f64], keeps: impl Fn(usize) -> bool) -> Vec<f64> {
    (0..z.len()).map(|i| if keeps(i) { z[i] } else { f64::NEG_INFINITY }).collect()
}

/// The models, and a name for each sampler: `s0`, `s1`, ..
struct Models {
    own: tempfile::TempDir,
    _other: tempfile::TempDir,
    program: String,
}

impl Models {
    fn new() -> Models {
        let (own, other) = (tiny::folder("llama"), tiny::folder("llama_untied"));
        let names: Vec<&str> = SAMPLERS.iter().map(|(text, _)| text.split('(').next().unwrap()).collect();
        let mut program = format!(
            "edition 2026\nuse std.samplers {{ {} }}\npolicy own = load(\"{}\")\npolicy other = load(\"{}\")\n",
            names.join(", "),
            own.path().display(),
            other.path().display()
        );
        for (i, (text, _)) in SAMPLERS.iter().enumerate() {
            program += &format!("let s{i} = {text}\n");
        }
        Models { own, _other: other, program }
    }

    fn writer(&self, sampler: usize, incremental: bool) -> Writer {
        let drawing = Drawing { incremental, ..Drawing::default() };
        let name = format!("s{sampler}");
        let found = Writer::of_program(&Files::new("."), &self.program, "own", &drawing, Some(&name));
        let writer = found.unwrap_or_else(|error| panic!("{}: {error}", SAMPLERS[sampler].0));
        assert_eq!(writer.generation.one.is_some(), incremental);
        writer
    }
}

fn write(writer: &Writer, requests: &[Request], memory: usize) -> Vec<Vec<Drawn>> {
    let engine = Cpu::new(2);
    let (mut generator, placed) = (writer.generator(&engine).unwrap(), writer.placed(&engine));
    let weight = |path: &str| placed.get(path).map(|values| values.slot());
    let found = generator.run(&weight, requests, 3, memory, &AtomicBool::new(false), &mut |_, _, _| {});
    found.unwrap_or_else(|error| panic!("{error}")).expect("nothing stops it")
}

/// Draws of one token after a context beside the exact chances: Pearson's statistic lies below four of its standard deviations.
fn compare(name: &str, found: &[Drawn], policy: &[f64], chances: &[f64]) {
    let mut counts = vec![0; chances.len()];
    for drawn in found {
        let token = drawn.tokens[0] as usize;
        counts[token] += 1;
        let far = (f64::from(drawn.logps[0]) - policy[token].ln()).abs();
        assert!(far < 1e-4, "{name}: the policy's log-prob of {token} is {far} off");
        let far = (f64::from(drawn.drawn_logps[0]) - chances[token].ln()).abs();
        assert!(far < 1e-4, "{name}: the sampler's log-prob of {token} is {far} off");
    }
    let surprise = crate::generate::surprise(&counts, chances);
    println!("{name}: {surprise:.2} deviations");
    assert!(surprise < 4.0, "{name}: {surprise}");
}

/// Tokens come as often as each sampler's definition says, over kept tokens and over whole contexts; recorded are the policy's own
/// log-prob of each token, and that of what it was drawn from.
#[test]
fn samplers_draw_what_they_define() {
    const DRAWS: usize = 4000;
    let models = Models::new();
    let logits = |name: &str| -> (Vec<u32>, Vec<f64>) {
        let stored = crate::json(&format!("tiny/{name}/logits.json"));
        let sequence = &stored["sequences"][0];
        let z = sequence["logits"][4].as_array().unwrap().iter().map(|z| z.as_f64().unwrap()).collect();
        (crate::ids(&sequence["ids"])[..5].to_vec(), z)
    };
    let ((context, own), (_, other)) = (logits("llama"), logits("llama_untied"));
    for (i, (name, exact)) in SAMPLERS.iter().enumerate() {
        let wanted = chances(&exact(&context, &own, &other));
        for incremental in [true, false] {
            let request = Request { prompt: context.clone(), n: DRAWS, max_tokens: 1, row: 7, ..Request::default() };
            let found = write(&models.writer(i, incremental), &[request], 1 << 30);
            compare(&format!("{name}, kept tokens: {incremental}"), &found[0], &chances(&own), &wanted);
        }
    }
}

/// Counts are those of the whole context, the reply's tokens too.
#[test]
fn counts_of_a_context_that_repeats() {
    let models = Models::new();
    let (at, exact) = SAMPLERS.iter().enumerate().find(|(_, (name, _))| name.starts_with("presence")).unwrap();
    let context: Vec<u32> = vec![57, 82, 57, 25, 57, 82, 60];
    let rows = (0..97).map(|token| (context.clone(), vec![token])).collect();
    let scored = crate::ids::with(models.own.path().to_str().unwrap(), 2, |graph| tiny::answers(graph, rows));
    let own: Vec<f64> = scored[0].iter().map(|row| row[0]).collect();
    let wanted = chances(&exact.1(&context, &own, &own));
    // Some of it is prompt, some was given of the reply.
    let (prompt, begin) = context.split_at(4);
    let request =
        Request { prompt: prompt.to_vec(), begin: begin.to_vec(), n: 4000, max_tokens: 1, ..Request::default() };
    let mut found = write(&models.writer(at, true), &[request], 1 << 30);
    found[0].iter_mut().for_each(|drawn| drop(drawn.tokens.drain(..3)));
    compare(exact.0, &found[0], &chances(&own), &wanted);
}

/// What goes on from token to token gives what whole contexts give: in little memory too, where sequences wait and prompts come in
/// parts.
#[test]
fn kept_states_change_nothing() {
    let models = Models::new();
    let lengths = [(1usize, 2usize), (3, 1), (17, 3), (40, 2), (30, 1)];
    let request = |(row, (length, n)): (usize, (usize, usize))| {
        let prompt = (0..length as u32).map(|i| (i * 11 + row as u32 * 3 + 5) % 31).collect();
        Request { prompt, n, row: row as u64, max_tokens: 20, ..Request::default() }
    };
    let requests: Vec<Request> = lengths.into_iter().enumerate().map(request).collect();
    let mut farthest = 0.0f32;
    for (i, (name, _)) in SAMPLERS.iter().enumerate() {
        let (whole, cached) = (models.writer(i, false), models.writer(i, true));
        let counts = name.starts_with("repetition") || name.starts_with("presence");
        assert_eq!(cached.generation.one.as_ref().unwrap().states.len(), usize::from(counts), "{name}");
        let wanted = write(&whole, &requests, 1 << 30);
        for memory in if counts { vec![1 << 30, 1 << 19] } else { vec![1 << 30] } {
            let found = write(&cached, &requests, memory);
            for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
                assert_eq!((&found.tokens, found.finished), (&wanted.tokens, wanted.finished), "{name} in {memory}");
                let pairs = found.logps.iter().zip(&wanted.logps);
                let pairs = pairs.chain(found.drawn_logps.iter().zip(&wanted.drawn_logps));
                farthest = pairs.map(|(x, y)| (x - y).abs()).fold(farthest, f32::max);
            }
        }
    }
    println!("log-probs over kept states within {farthest:.1e} of those of whole contexts");
    assert!(farthest < 5e-5, "{farthest}");
}
