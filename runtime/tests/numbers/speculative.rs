//! Tokens that another policy drafts: replies are distributed as without it.

use std::sync::atomic::AtomicBool;

use align_compiler::stage::generate::Drawing;
use align_runtime::engine::Cpu;
use align_runtime::generate::model::Writer;
use align_runtime::generate::{DRAFT, Drafts, Drawn, Generator, Request};
use align_runtime::world::Files;

use crate::tiny;

/// A policy, and one that drafts for it, with samplers.
fn program(models: [&tempfile::TempDir; 2]) -> String {
    let [own, other] = models.map(|folder| folder.path().display().to_string());
    format!(
        "edition 2026\nuse std.samplers {{ top_k, presence_frequency, constrained, repetition_penalty }}\n\
         policy own = load(\"{own}\")\npolicy other = load(\"{other}\")\n\
         let few = top_k(k: 12)\nlet counted = presence_frequency(presence: 0.5, frequency: 0.5)\n\
         let penal = repetition_penalty(penalty: 1.5)\n\
         let words = constrained(grammar: matching(\"( ?[a-m]{{1,3}}[0-9]?)*\\\\.\"))\n"
    )
}

fn writer(text: &str, policy: &str, temperature: f64, sampler: Option<&str>, weighs: bool) -> Writer {
    let drawing = Drawing { temperature, weighs, ..Drawing::default() };
    let found = Writer::of_program(&Files::new("."), text, policy, &drawing, sampler);
    found.unwrap_or_else(|error| panic!("{sampler:?}: {error}"))
}

type Placed<'w> = std::collections::HashMap<String, align_runtime::train::held::Resident<'w>>;

fn run(generator: &mut Generator, placed: &Placed, requests: &[Request], memory: usize) -> Vec<Vec<Drawn>> {
    let weight = |path: &str| placed.get(path).map(|values| values.slot());
    let found = generator.run(&weight, requests, 3, memory, &AtomicBool::new(false), &mut |_, _, _| {});
    found.unwrap_or_else(|error| panic!("{error}")).expect("nothing stops it")
}

/// Replies of the one that the other drafts.
fn drafted(
    [own, other]: [&Writer; 2],
    (ahead, greedy): (usize, bool),
    requests: &[Request],
    memory: usize,
) -> (Vec<Vec<Drawn>>, Drafts) {
    let engine = Cpu::new(2);
    let pair = (&own.generation, &other.generation);
    let mut generator = Generator::with_draft(&engine, pair, (ahead, greedy)).unwrap();
    let mut placed = own.placed(&engine);
    placed.extend(other.placed(&engine).into_iter().map(|(path, weight)| (format!("{DRAFT}{path}"), weight)));
    let found = run(&mut generator, &placed, requests, memory);
    (found, generator.drafts().unwrap())
}

/// The first and the second token come as often as the policy says: Pearson's statistic of each lies below four of its standard
/// deviations. The first is compared with numbers of another implementation.
#[test]
fn drafts_leave_the_distribution_as_it_is() {
    const STOP: usize = 2;
    let models = [tiny::folder("llama"), tiny::folder("llama_untied")];
    let text = program([&models[0], &models[1]]);
    let stored = |name: &str| crate::json(&format!("tiny/{name}/logits.json"))["sequences"][0].clone();
    let logits = |name: &str| -> Vec<f64> {
        stored(name)["logits"][4].as_array().unwrap().iter().map(|z| z.as_f64().unwrap()).collect()
    };
    let context = crate::ids(&stored("llama")["ids"])[..5].to_vec();
    let z = logits("llama");
    let (count, temperature) = (z.len(), 0.8);
    let chances = |z: &[f64]| {
        let total: f64 = z.iter().map(|z| (z / temperature).exp()).sum();
        z.iter().map(|z| (z / temperature).exp() / total).collect::<Vec<f64>>()
    };
    let first = chances(&z);
    // What comes second, where the reply has not ended.
    let rows = (0..count).flat_map(|t| (0..count).map(move |u| (t as u32, u as u32)));
    let rows = rows.map(|(t, u)| ([&context[..], &[t]].concat(), vec![u])).collect();
    let path = models[0].path().to_str().unwrap();
    let scored = crate::ids::with(path, 2, |graph| tiny::answers(graph, rows));
    let logps: Vec<f64> = scored[0].iter().map(|row| row[0]).collect();
    let mut second = vec![0.0; count];
    for (t, logps) in logps.chunks(count).enumerate().filter(|(t, _)| *t != STOP) {
        chances(logps).iter().zip(&mut second).for_each(|(p, all)| *all += first[t] * p / (1.0 - first[STOP]));
    }
    let [own, other] = ["own", "other"].map(|policy| writer(&text, policy, temperature, None, true));
    for (draft, ahead) in [(&other, 4), (&other, 1), (&own, 3)] {
        let request = Request { prompt: context.clone(), n: 6000, max_tokens: 3, row: 7, ..Request::default() };
        let (found, drafts) = drafted([&own, draft], (ahead, false), &[request], 1 << 30);
        for (place, wanted) in [(0, &first), (1, &second)] {
            let mut counts = vec![0; count];
            for drawn in found[0].iter().filter(|drawn| drawn.tokens.len() > place) {
                counts[drawn.tokens[place] as usize] += 1;
            }
            let surprise = crate::generate::surprise(&counts, wanted);
            println!("ahead {ahead}, token {place}: {surprise:.2} deviations, {:.3} taken", drafts.rate());
            assert!(surprise < 4.0, "ahead {ahead}, token {place}: {surprise}");
        }
        for drawn in &found[0] {
            let token = drawn.tokens[0] as usize;
            assert!((f64::from(drawn.drawn_logps[0]) - first[token].ln()).abs() < 1e-4, "{token}");
            let logp = (z[token].exp() / z.iter().map(|z| z.exp()).sum::<f64>()).ln();
            assert!((f64::from(drawn.logps[0]) - logp).abs() < 1e-4, "{token}");
        }
        if std::ptr::eq(draft, &own) {
            assert!(drafts.rate() > 0.999, "{drafts:?}");
        }
    }
    // One token is drafted of each reply: it is taken as often as the distributions overlap.
    let request = Request { prompt: context, n: 6000, max_tokens: 2, row: 8, ..Request::default() };
    let (_, drafts) = drafted([&own, &other], (1, false), &[request], 1 << 30);
    let q = chances(&logits("llama_untied"));
    let overlap: f64 = first.iter().zip(&q).map(|(p, q)| p.min(*q)).sum();
    let deviation = (overlap * (1.0 - overlap) / 6000.0).sqrt();
    println!("{:.3} taken, the distributions overlap by {overlap:.3}", drafts.rate());
    assert!(drafts.drafted == 6000 && (drafts.rate() - overlap).abs() < 4.0 * deviation, "{drafts:?}, {overlap}");
}

/// The likeliest tokens are those of plain decoding, with samplers whose states go back where a token is not taken, and grammars.
#[test]
fn the_likeliest_tokens_are_the_same() {
    let models = [tiny::folder("llama"), tiny::folder("llama_untied")];
    let text = program([&models[0], &models[1]]);
    let requests: Vec<Request> = [(1usize, 2usize), (3, 1), (17, 2), (40, 1)]
        .into_iter()
        .enumerate()
        .map(|(row, (length, n))| {
            let prompt = (0..length as u32).map(|i| (i * 11 + row as u32 * 3 + 5) % 31).collect();
            Request { prompt, n, row: row as u64, max_tokens: 18, ..Request::default() }
        })
        .collect();
    for sampler in [None, Some("few"), Some("counted"), Some("penal"), Some("words")] {
        let plain = writer(&text, "own", 0.0, sampler, false);
        let engine = Cpu::new(2);
        let wanted = run(&mut plain.generator(&engine).unwrap(), &plain.placed(&engine), &requests, 1 << 30);
        let [own, other] = ["own", "other"].map(|policy| writer(&text, policy, 0.0, sampler, true));
        for (ahead, memory) in [(4, 1 << 30), (2, 4 << 20)] {
            let (found, drafts) = drafted([&own, &other], (ahead, true), &requests, memory);
            println!("{sampler:?}, ahead {ahead}: {:.2} taken", drafts.rate());
            for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
                assert_eq!((&found.tokens, found.finished), (&wanted.tokens, wanted.finished), "{sampler:?}, {ahead}");
                let far = found.logps.iter().zip(&wanted.logps).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                assert!(far < 5e-5, "{sampler:?}: {far}");
            }
        }
    }
}

/// What is drawn does not depend on what is drawn beside it.
#[test]
fn drafted_replies_do_not_depend_on_their_company() {
    let models = [tiny::folder("llama"), tiny::folder("llama_untied")];
    let text = program([&models[0], &models[1]]);
    let [own, other] = ["own", "other"].map(|policy| writer(&text, policy, 1.0, Some("counted"), true));
    let request = |row: u64, length: u32, n: usize| Request {
        prompt: (0..length).map(|i| (i * 7 + 5) % 97).collect(),
        n,
        row,
        max_tokens: 12,
        ..Request::default()
    };
    let requests = [request(1, 3, 3), request(2, 40, 2), request(3, 9, 2)];
    let (all, _) = drafted([&own, &other], (3, false), &requests, 1 << 30);
    for (request, together) in requests.iter().zip(&all) {
        let (alone, _) = drafted([&own, &other], (3, false), std::slice::from_ref(request), 4 << 20);
        let tokens = |all: &[Drawn]| all.iter().map(|drawn| drawn.tokens.clone()).collect::<Vec<_>>();
        assert_eq!(tokens(&alone[0]), tokens(together));
    }
    assert!(all.iter().flatten().any(|drawn| drawn.tokens.len() > 4));
}
