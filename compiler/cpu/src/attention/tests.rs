use super::backward::backward_in;
use super::forward::forward_in;
use super::*;
use crate::pool::Pool;
use crate::simd::Width;
use crate::testing::numbers;

/// Dense [time, kv, rep, width], or without rep.
fn operand(values: &[f32], problem: &Problem, width: usize, rep: bool) -> Operand {
    let reps = if rep { problem.rep } else { 1 };
    Operand {
        at: values.as_ptr().cast_mut(),
        bf16: false,
        time: problem.kv * reps * width,
        width: 1,
        kv: (0..problem.kv).map(|i| i * reps * width).collect(),
        rep: (0..reps).map(|i| i * width).collect(),
        add: false,
    }
}

struct Given {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    cotangent: Vec<f32>,
}

fn given(problem: &Problem) -> Given {
    let tokens: usize = problem.segments.iter().map(|s| s.1).sum();
    let Problem { kv, rep, hdim, vdim, .. } = *problem;
    Given {
        query: numbers(tokens * kv * rep * hdim, 1),
        key: numbers(tokens * kv * hdim, 2),
        value: numbers(tokens * kv * vdim, 3),
        cotangent: numbers(tokens * kv * rep * vdim, 4),
    }
}

/// Out, lse, and the cotangents of query, key and value, in double precision by plain loops.
fn plain(problem: &Problem, x: &Given) -> [Vec<f64>; 5] {
    let Problem { kv, rep, hdim, vdim, .. } = *problem;
    let tokens = x.key.len() / (kv * hdim);
    let mut out = vec![0.0; tokens * kv * rep * vdim];
    let mut lse = vec![0.0; tokens * kv * rep];
    let [mut dq, mut dk, mut dv] = [x.query.len(), x.key.len(), x.value.len()].map(|n| vec![0.0; n]);
    let at = |x: &[f32], i: usize| f64::from(x[i]);
    for (start, length) in &problem.segments {
        for (t, head) in (0..*length).flat_map(|t| (0..kv * rep).map(move |h| (t, h))) {
            let (query, shared) = ((start + t) * kv * rep + head, head / rep);
            let sees = |s: &usize| match &problem.tree {
                None => true,
                Some(Tree { ends, places }) => {
                    let apart = (places[start + t] - places[start + s]) as usize;
                    t < ends[start + s] as usize && problem.window.is_none_or(|w| apart < w)
                }
            };
            let keys: Vec<usize> = (problem.first_key(t)..=t).filter(sees).map(|s| (start + s) * kv + shared).collect();
            let score = |k: &usize| {
                let dot: f64 = (0..hdim).map(|i| at(&x.query, query * hdim + i) * at(&x.key, k * hdim + i)).sum();
                dot * f64::from(problem.scale)
            };
            let scores: Vec<f64> = keys.iter().map(score).collect();
            let top = scores.iter().copied().fold(f64::MIN, f64::max);
            let total = top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln();
            lse[query] = total;
            let p: Vec<f64> = scores.iter().map(|s| (s - total).exp()).collect();
            for (p, k) in p.iter().zip(&keys) {
                (0..vdim).for_each(|i| out[query * vdim + i] += p * at(&x.value, k * vdim + i));
            }
            let slope = |k: &usize| -> f64 {
                (0..vdim).map(|i| at(&x.cotangent, query * vdim + i) * at(&x.value, k * vdim + i)).sum()
            };
            let slopes: Vec<f64> = keys.iter().map(slope).collect();
            let mean: f64 = p.iter().zip(&slopes).map(|(p, s)| p * s).sum();
            for ((p, s), k) in p.iter().zip(&slopes).zip(&keys) {
                let ds = p * (s - mean) * f64::from(problem.scale);
                for i in 0..hdim {
                    dq[query * hdim + i] += ds * at(&x.key, k * hdim + i);
                    dk[k * hdim + i] += ds * at(&x.query, query * hdim + i);
                }
                (0..vdim).for_each(|i| dv[k * vdim + i] += p * at(&x.cotangent, query * vdim + i));
            }
        }
    }
    [out, lse, dq, dk, dv]
}

fn blocked(problem: &Problem, x: &Given, threads: usize, width: Width) -> [Vec<f32>; 5] {
    let Problem { kv, rep, hdim, vdim, .. } = *problem;
    let pool = Pool::new(threads);
    let tokens = x.key.len() / (kv * hdim);
    let sizes = [tokens * kv * rep * vdim, tokens * kv * rep, x.query.len(), x.key.len(), x.value.len()];
    let results = sizes.map(|n| vec![f32::NAN; n]);
    let [out, lse, dq, dk, dv] = &results;
    let q = operand(&x.query, problem, hdim, true);
    let (k, v) = (operand(&x.key, problem, hdim, false), operand(&x.value, problem, vdim, false));
    let (o, l) = (operand(out, problem, vdim, true), operand(lse, problem, 1, true));
    let c = operand(&x.cotangent, problem, vdim, true);
    let (dq, dk) = (operand(dq, problem, hdim, true), operand(dk, problem, hdim, false));
    let dv = operand(dv, problem, vdim, false);
    // SAFETY: the vectors have the sizes that the operands say.
    unsafe {
        forward_in(width, &pool, problem, [&q, &k, &v, &o, &l]);
        backward_in(width, &pool, problem, [&q, &k, &v, &o, &l, &c, &dq, &dk, &dv]);
    }
    results
}

/// The tables of trees of a root and what is below it, by their lengths.
fn tree(trees: &[&[usize]]) -> Tree {
    let mut tree = Tree { ends: vec![], places: vec![] };
    for lengths in trees {
        let (all, root) = (lengths.iter().sum::<usize>() as i32, lengths.first().map_or(0, |n| *n as i32));
        let mut end = 0;
        for (i, n) in lengths.iter().map(|n| *n as i32).enumerate() {
            end += n;
            let (ends, first) = if i == 0 { (all, 0) } else { (end, root) };
            tree.ends.extend((0..n).map(|_| ends));
            tree.places.extend((0..n).map(|place| first + place));
        }
    }
    tree
}

fn problems() -> Vec<Problem> {
    let segments = |lengths: &[usize]| {
        let start = |i: usize| lengths[..i].iter().sum();
        lengths.iter().enumerate().map(|(i, n)| (start(i), *n)).collect::<Vec<_>>()
    };
    let base = Problem {
        segments: vec![],
        kv: 2,
        rep: 3,
        hdim: 20,
        vdim: 12,
        scale: 0.3,
        window: None,
        tree: None,
        cache: None,
    };
    let forest = |trees: &[&[usize]], base: Problem| {
        let lengths: Vec<usize> = trees.iter().map(|tree| tree.iter().sum()).collect();
        Problem { segments: segments(&lengths), tree: Some(tree(trees)), ..base }
    };
    let one = Problem { kv: 1, rep: 1, ..base.clone() };
    vec![
        forest(&[&[7, 3, 4], &[1, 0, 2], &[], &[5]], Problem { hdim: 16, vdim: 16, ..base.clone() }),
        forest(&[&[70, 65, 1, 0, 90], &[1, 130, 64]], base.clone()),
        forest(&[&[3, 200, 190, 5]], Problem { window: Some(10), ..base.clone() }),
        forest(&[&[64, 30, 40]], Problem { window: Some(1), ..base.clone() }),
        forest(&[&[500, 100, 80], &[9, 600]], one.clone()),
        forest(&[&[100, 300, 300]], Problem { window: Some(120), ..one }),
        Problem { segments: segments(&[1, 5, 0, 70, 64, 3]), ..base.clone() },
        Problem { segments: segments(&[130, 7]), window: Some(50), ..base.clone() },
        Problem { segments: segments(&[200]), window: Some(1), kv: 1, rep: 1, ..base.clone() },
        Problem { segments: segments(&[600, 2]), kv: 1, rep: 2, hdim: 16, vdim: 16, ..base.clone() },
        Problem { segments: segments(&[16, 1, 17, 9]), hdim: 16, vdim: 32, ..base.clone() },
        Problem { segments: segments(&[3, 16, 12]), hdim: 32, vdim: 16, window: Some(4), ..base.clone() },
        Problem { segments: segments(&[570]), kv: 1, rep: 1, window: Some(100), ..base.clone() },
    ]
}

#[test]
fn blocks_give_what_plain_loops_give() {
    for (problem, width) in
        problems().into_iter().flat_map(|p| Width::available().into_iter().map(move |w| (p.clone(), w)))
    {
        let x = given(&problem);
        let (want, got) = (plain(&problem, &x), blocked(&problem, &x, 2, width));
        for (i, (want, got)) in want.iter().zip(&got).enumerate() {
            let largest = want.iter().fold(0f64, |m, x| m.max(x.abs()));
            for (j, (w, g)) in want.iter().zip(got).enumerate() {
                let off = (w - f64::from(*g)).abs();
                assert!(
                    off <= 1e-5 * w.abs() + 2e-6 * largest + 1e-6,
                    "result {i} at {j}: {w} {g} ({problem:?}, {width:?})"
                );
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for problem in problems() {
        let x = given(&problem);
        let width = Width::of_machine();
        let bits =
            |threads| blocked(&problem, &x, threads, width).map(|r| r.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
        assert_eq!(bits(1), bits(3));
    }
}

/// The last places of each segment, over keys and values of the first that are kept in rows elsewhere, have the bits that they
/// have among all.
#[test]
fn earlier_places_may_be_kept_elsewhere() {
    let wide = Problem { hdim: 32, vdim: 16, ..problems()[6].clone() };
    let long = Problem { hdim: 16, vdim: 16, ..problems()[7].clone() };
    for problem in problems().into_iter().chain([wide, long]).filter(|problem| problem.tree.is_none()) {
        for (width, seed) in Width::available().into_iter().flat_map(|w| [1usize, 7, 40].map(|seed| (w, seed))) {
            let Problem { kv, rep, hdim, vdim, .. } = problem;
            let x = given(&problem);
            let [out, lse, ..] = blocked(&problem, &x, 2, width);
            let tokens = lse.len() / (kv * rep);
            // Pages of 16 rows in an order of their own, and what is new of each segment.
            let row = |token: usize| (tokens / 16 + 1 - token / 16) * 16 + token % 16;
            let [mut keys, mut values] = [hdim, vdim].map(|w| vec![f32::NAN; (tokens + 48) * kv * w]);
            let (mut rows, mut kept, mut segments, mut new) = (vec![], vec![], vec![], vec![]);
            for (start, length) in &problem.segments {
                let cut = (length * seed / 41).min(length.saturating_sub(1));
                kept.push((rows.len(), cut));
                segments.push((new.len(), length - cut));
                for token in *start..start + cut {
                    for (to, from, w) in [(&mut keys, &x.key, hdim * kv), (&mut values, &x.value, vdim * kv)] {
                        to[row(token) * w..][..w].copy_from_slice(&from[token * w..][..w]);
                    }
                    rows.push(row(token));
                }
                new.extend(start + cut..start + length);
            }
            let of_new = |from: &[f32], w: usize| -> Vec<f32> {
                new.iter().flat_map(|token| from[token * w..(token + 1) * w].to_vec()).collect()
            };
            let (q, k) = (of_new(&x.query, kv * rep * hdim), of_new(&x.key, kv * hdim));
            let v = of_new(&x.value, kv * vdim);
            let cache = Cache {
                keys: operand(&keys, &problem, hdim, false),
                values: operand(&values, &problem, vdim, false),
                segments: kept,
                rows,
            };
            let part = Problem { segments, cache: Some(cache), ..problem.clone() };
            let (o, l) = (vec![f32::NAN; new.len() * kv * rep * vdim], vec![f32::NAN; new.len() * kv * rep]);
            let operands = [(&q, hdim, true), (&k, hdim, false), (&v, vdim, false), (&o, vdim, true), (&l, 1, true)]
                .map(|(x, width, rep)| operand(x, &problem, width, rep));
            // SAFETY: the vectors have the sizes that the operands say.
            unsafe { forward_in(width, &Pool::new(2), &part, operands.each_ref()) };
            let (want_out, want_lse) = (of_new(&out, kv * rep * vdim), of_new(&lse, kv * rep));
            // Short segments alone are made another way.
            let is_short = |x: &Problem| x.segments.iter().any(|s| s.1 <= 16) && hdim % 16 == 0 && vdim % 16 == 0;
            let most = if is_short(&problem) { 1e-6 } else { 0.0 };
            for (got, want) in o.iter().zip(&want_out).chain(l.iter().zip(&want_lse)) {
                assert!((got - want).abs() <= most, "{got} {want} ({problem:?}, {width:?}, {seed})");
            }
        }
    }
}
