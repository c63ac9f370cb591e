use super::{BatchOptions, batch};
use crate::rewrite::attention::attention;
use crate::rewrite::model::{ITEMS, Style, item, model, packed, past, reply, time};
use crate::rewrite::oracle::{Named, Value, assert_close, fill, noise, run};
use crate::rewrite::simplify::simplify;
use crate::tensor::parse::parse;
use crate::tensor::print::print;
use crate::tensor::{Axis, AxisKind, DType, Graph, Lengths, MapOp, Op, ReduceOp};

/// The packed graph gives, for all items at once, what the per-item graph gives for each.
fn check_model(graph: &Graph) -> Graph {
    let batched = batch(graph, &BatchOptions::default()).expect("it has a packed form");
    let (given, lengths) = packed(graph);
    let all = run(&batched, &given, &lengths);
    for (name, value) in &all {
        let each: Vec<f64> = (0..ITEMS.len())
            .flat_map(|i| {
                let (given, lengths) = item(graph, i);
                run(graph, &given, &lengths)[name].data.clone()
            })
            .collect();
        assert_close(name, &each, &value.data);
    }
    batched
}

#[test]
fn a_transformer_and_its_losses() {
    for style in [Style::Quotient, Style::Sums, Style::LogWindow] {
        check_model(&model(style));
        let calls = check_model(&attention(&simplify(&model(style))));
        assert_eq!(crate::rewrite::oracle::count(&calls, |op| matches!(op, Op::Call { .. })), 2);
    }
}

/// Runs a graph with Float inputs on `time`, on `reply`, which is half as long, and on `item`, for items of these lengths, and
/// compares.
fn check(lengths: &[usize], build: impl Fn(&mut Graph)) {
    let mut graph = Graph::new();
    build(&mut graph);
    let batched = batch(&graph, &BatchOptions::default()).expect("it has a packed form");
    let replies: Vec<usize> = lengths.iter().map(|n| n.div_ceil(2)).collect();
    let all_lengths = Lengths::new()
        .with(Axis::item(), vec![lengths.len()])
        .with(time().packed(), lengths.to_vec())
        .with(reply().packed(), replies.clone());
    let mut all_given = Named::new();
    fill(&batched, &mut all_given, &all_lengths);
    let all = run(&batched, &all_given, &all_lengths);
    let mut each: std::collections::BTreeMap<String, Vec<f64>> = Default::default();
    for (i, n) in lengths.iter().enumerate() {
        let own = Lengths::new().with(time(), vec![*n]).with(reply(), vec![replies[i]]);
        let mut given = Named::new();
        for (_, data) in graph.nodes() {
            if let Op::Input(name) = &data.op {
                let value = &all_given[name];
                let rows: usize =
                    value.axes.iter().filter(|a| a.fixed_size().is_none()).map(|a| all_lengths.size(a)).product();
                let width = value.data.len() / rows;
                let of = |all: &[usize]| (all[..i].iter().sum::<usize>(), all[..=i].iter().sum::<usize>());
                let (from, to) = match (data.axes.contains(&time()), data.axes.contains(&reply())) {
                    (true, _) => of(lengths),
                    (_, true) => of(&replies),
                    _ => (i, i + 1),
                };
                let data = Value::floats(data.axes.clone(), value.data[from * width..to * width].to_vec());
                given.insert(name.clone(), data);
            } else if let Op::Weight(name) = &data.op {
                given.insert(name.clone(), all_given[name].clone());
            }
        }
        for (name, value) in run(&graph, &given, &own) {
            each.entry(name).or_default().extend(value.data);
        }
    }
    for (name, each) in each {
        assert_close(&name, &each, &all[&name].data);
    }
}

const LENGTHS: [usize; 5] = [3, 1, 7, 2, 5];

#[test]
fn reductions_and_values_of_the_item() {
    check(&LENGTHS, |g| {
        let x = g.input("x", vec![time(), Axis::fixed("dim", 3)], DType::Float);
        let c = g.input("c", vec![], DType::Float);
        let shifted = g.map(MapOp::Add, &[x, c]);
        for (name, op) in
            [("sum", ReduceOp::Sum), ("max", ReduceOp::Max), ("min", ReduceOp::Min), ("prod", ReduceOp::Prod)]
        {
            let out = g.reduce(op, shifted, &[time(), Axis::fixed("dim", 3)]);
            g.output(name, out);
        }
        let by_dim = g.sum(shifted, &[time()]);
        g.output("by_dim", by_dim);
        let constant = g.float(2.0);
        let tiled = g.tile(constant, &time());
        let twice_length = g.sum(tiled, &[time()]);
        g.output("length", twice_length);
        let back = g.map(MapOp::Div, &[x, by_dim]);
        g.output("back", back);
    });
}

#[test]
fn indices_sums_and_scatters() {
    check(&LENGTHS, |g| {
        let x = g.input("x", vec![time()], DType::Float);
        let here = g.iota(&time());
        let one = g.float(1.0);
        let ones = g.tile(one, &time());
        let length = g.sum(ones, &[time()]);
        let length = g.cast(length, DType::Int);
        let last = g.int(1);
        let last = g.map(MapOp::Sub, &[length, last]);
        let at_end = g.gather(x, &time(), last);
        g.output("last", at_end);
        let mirror = g.map(MapOp::Sub, &[last, here]);
        let reversed = g.gather(x, &time(), mirror);
        g.output("reversed", reversed);
        let running = g.cumsum(reversed, &time(), false);
        g.output("running", running);
        let running = g.cumsum(x, &time(), true);
        g.output("running_back", running);
        let scattered = g.scatter_add(mirror, x, &time(), vec![time()]);
        g.output("scattered", scattered);
        let two = g.int(2);
        let even = g.map(MapOp::Rem, &[here, two]);
        let bins = g.scatter_add(even, x, &Axis::fixed("bin", 2), vec![Axis::fixed("bin", 2)]);
        g.output("bins", bins);
    });
}

#[test]
fn places_in_order() {
    check(&LENGTHS, |g| {
        let x = g.input("x", vec![time()], DType::Float);
        // Ties, and places that are not numbers.
        let (eight, zero) = (g.float(3.0), g.float(0.0));
        let x8 = g.map(MapOp::Mul, &[x, eight]);
        let coarse = g.map(MapOp::Floor, &[x8]);
        let (nan, high) = (g.map(MapOp::Div, &[zero, zero]), g.map(MapOp::Lt, &[zero, x]));
        let holes = g.map(MapOp::Where, &[high, nan, coarse]);
        for (name, key) in [("plain", x), ("ties", coarse), ("holes", holes)] {
            let order = g.argsort(key, &time());
            g.output(name, order);
            let sorted = g.gather(x, &time(), order);
            g.output(format!("{name} sorted"), sorted);
            let rank = g.argsort(order, &time());
            g.output(format!("{name} rank"), rank);
        }
    });
}

#[test]
fn pairs_of_places() {
    let dim = Axis::fixed("dim", 3);
    check(&LENGTHS, |g| {
        let x = g.input("x", vec![time(), dim.clone()], DType::Float);
        let y = g.rename(x, &time(), &past());
        let score = g.contract(x, y, std::slice::from_ref(&dim));
        let (here, there) = (g.iota(&time()), g.iota(&past()));
        let distance = g.map(MapOp::Sub, &[here, there]);
        let score = g.map(MapOp::Mul, &[score, distance]);
        g.output("score", score);
        let best = g.reduce(ReduceOp::Max, score, &[past()]);
        g.output("best_key", best);
        let best = g.reduce(ReduceOp::Max, score, &[time()]);
        let best = g.rename(best, &past(), &time());
        g.output("best_query", best);
        let all = g.reduce(ReduceOp::Min, score, &[time(), past()]);
        g.output("all", all);
        let mixed = g.contract(score, y, &[past()]);
        g.output("mixed", mixed);
        let picked = g.gather(score, &past(), here);
        g.output("picked", picked);
    });
}

/// Of the pairs of places of a stream those whose first place is one of a reply, in every order of what is done with them.
#[test]
fn pairs_of_places_of_two_axes() {
    let dim = Axis::fixed("dim", 3);
    let build = |g: &mut Graph| {
        let x = g.input("x", vec![time(), dim.clone()], DType::Float);
        let r = g.input("r", vec![reply()], DType::Float);
        let y = g.rename(x, &time(), &past());
        let score = g.contract(x, y, std::slice::from_ref(&dim));
        let here = g.iota(&reply());
        let picked = g.gather(score, &time(), here);
        g.output("picked", picked);
        let weighed = g.map(MapOp::Mul, &[picked, r]);
        let there = g.iota(&past());
        let weighed = g.map(MapOp::Mul, &[weighed, there]);
        let by_reply = g.sum(weighed, &[past()]);
        g.output("by_reply", by_reply);
        let by_past = g.reduce(ReduceOp::Max, weighed, &[reply()]);
        g.output("by_past", by_past);
        let all = g.reduce(ReduceOp::Min, weighed, &[reply(), past()]);
        g.output("all", all);
        let diagonal = g.gather(weighed, &past(), here);
        g.output("diagonal", diagonal);
        let mixed = g.contract(weighed, y, &[past()]);
        g.output("mixed", mixed);
        let zero = g.int(0);
        for (name, value, axis) in [("first_of_stream", score, time()), ("first_of_reply", weighed, reply())] {
            let first = g.gather(value, &axis, zero);
            g.output(name, first);
        }
        let there = Axis::new("there", AxisKind::Paired(time()));
        let renamed = g.rename(weighed, &past(), &there);
        let renamed = g.sum(renamed, &[there]);
        g.output("renamed", renamed);
        let again = g.gather(score, &time(), here);
        let again = g.gather(again, &reply(), here);
        g.output("again", again);
        let same = g.iota(&time());
        let same = g.gather(score, &time(), same);
        g.output("same", same);
    };
    check(&LENGTHS, build);
    let mut graph = Graph::new();
    build(&mut graph);
    let packed = batch(&graph, &BatchOptions::default()).expect("it has a packed form");
    assert_eq!(parse(&print(&packed)).as_ref(), Ok(&packed));
}

/// Groups: replies of an item on `sample`, their tokens on `time` of each. The items here have replies of one length.
#[test]
fn groups() {
    let sample = Axis::ragged("sample", 0, None);
    let inner = Axis::ragged("time", 1, Some(sample.clone()));
    let mut g = Graph::new();
    let lp = g.input("lp", vec![sample.clone(), inner.clone()], DType::Float);
    let reward = g.input("reward", vec![sample.clone()], DType::Float);
    let weight = g.input("weight", vec![], DType::Float);
    let total = g.sum(reward, std::slice::from_ref(&sample));
    let advantage = g.map(MapOp::Sub, &[reward, total]);
    let place = g.iota(&inner);
    let token = g.map(MapOp::Mul, &[lp, advantage]);
    let token = g.map(MapOp::Mul, &[token, place]);
    g.output("token", token);
    let by_sample = g.sum(token, std::slice::from_ref(&inner));
    g.output("by_sample", by_sample);
    let all = g.reduce(ReduceOp::Max, token, &[sample.clone(), inner.clone()]);
    let all = g.map(MapOp::Mul, &[all, weight]);
    g.output("all", all);
    let batched = batch(&g, &BatchOptions::default()).expect("it has a packed form");
    let shapes = [(2, 3), (1, 4), (3, 1)];
    let lengths = Lengths::new()
        .with(Axis::item(), vec![3])
        .with(sample.packed(), shapes.iter().map(|s| s.0).collect())
        .with(inner.packed(), shapes.iter().flat_map(|s| vec![s.1; s.0]).collect());
    let (tokens, rewards) = (noise(1, 13), noise(2, 6));
    let given = Named::from([
        ("lp".into(), Value::floats(vec![inner.packed()], tokens.clone())),
        ("reward".into(), Value::floats(vec![sample.packed()], rewards.clone())),
        ("weight".into(), Value::floats(vec![Axis::item()], vec![1.0, 2.0, 3.0])),
    ]);
    let all = run(&batched, &given, &lengths);
    let (mut token_at, mut sample_at) = (0, 0);
    let mut each: std::collections::BTreeMap<String, Vec<f64>> = Default::default();
    for (i, (samples, length)) in shapes.into_iter().enumerate() {
        let own = Lengths::new().with(sample.clone(), vec![samples]).with(inner.clone(), vec![length]);
        let lp = tokens[token_at..token_at + samples * length].to_vec();
        let reward = rewards[sample_at..sample_at + samples].to_vec();
        (token_at, sample_at) = (token_at + samples * length, sample_at + samples);
        let given = Named::from([
            ("lp".into(), Value::floats(vec![sample.clone(), inner.clone()], lp)),
            ("reward".into(), Value::floats(vec![sample.clone()], reward)),
            ("weight".into(), Value::number((i + 1) as f64)),
        ]);
        for (name, value) in run(&g, &given, &own) {
            each.entry(name).or_default().extend(value.data);
        }
    }
    for (name, each) in each {
        assert_close(&name, &each, &all[&name].data);
    }
}

#[test]
fn what_has_no_packed_form_says_why() {
    let fails = |build: &dyn Fn(&mut Graph)| {
        let mut g = Graph::new();
        build(&mut g);
        batch(&g, &BatchOptions::default()).expect_err("it has no packed form").what
    };
    let sorted = fails(&|g| {
        let x = g.input("x", vec![time(), Axis::fixed("dim", 2)], DType::Float);
        g.argsort(x, &time());
    });
    assert!(sorted.contains("sorted"), "{sorted}");
    let apart = fails(&|g| {
        let x = g.input("x", vec![time()], DType::Float);
        let y = g.input("y", vec![reply()], DType::Float);
        g.map(MapOp::Add, &[x, y]);
    });
    assert!(apart.contains("no place in common"), "{apart}");
}

#[test]
fn inputs_of_the_step_have_no_rows() {
    let mut g = Graph::new();
    let step = g.input("progress", vec![], DType::Float);
    let own = g.input("c", vec![], DType::Float);
    let x = g.map(MapOp::Mul, &[step, own]);
    g.output("x", x);
    let options = BatchOptions { step_inputs: ["progress".to_string()].into() };
    let batched = batch(&g, &options).expect("it has a packed form");
    assert_eq!(batched.axes(batched.outputs[0].1), [Axis::item()]);
    let axes: Vec<usize> =
        batched.nodes().filter(|(_, d)| matches!(d.op, Op::Input(_))).map(|(_, d)| d.axes.len()).collect();
    assert_eq!(axes, [0, 1]);
}

/// A scan along a ragged axis begins anew in each item, forwards and backwards, with what the item gives.
#[test]
fn scans_along_tokens() {
    let dim = Axis::fixed("dim", 3);
    check(&[3, 1, 4], |graph| {
        let x = graph.input("x", vec![time(), dim.clone()], DType::Float);
        let own = graph.input("own", vec![], DType::Float);
        let start = graph.input("start", vec![dim.clone()], DType::Float);
        let w = graph.weight("w", vec![dim.clone()]);
        for reverse in [false, true] {
            let mut body = Graph::new();
            let carry = body.param(vec![dim.clone()], DType::Float);
            let count = body.param(vec![], DType::Int);
            let slice = body.param(vec![dim.clone()], DType::Float);
            let own_here = body.param(vec![], DType::Float);
            let w_here = body.param(vec![dim.clone()], DType::Float);
            let half = body.map(MapOp::Mul, &[carry, w_here]);
            let sum = body.map(MapOp::Add, &[half, slice]);
            let next = body.map(MapOp::Add, &[sum, own_here]);
            let one = body.int(1);
            let more = body.map(MapOp::Add, &[count, one]);
            let kept = body.map(MapOp::Mul, &[next, more]);
            for (name, node) in [("next", next), ("more", more), ("kept", kept), ("counted", more)] {
                body.output(name, node);
            }
            let zero = graph.int(0);
            let op = Op::Scan { axis: time(), reverse, carries: 2, xs: 1, body: Box::new(body) };
            let inputs = vec![start, zero, x, own, w];
            let scan = graph.push(crate::tensor::NodeData::new(op, inputs, vec![], DType::Float));
            for i in [2, 3] {
                let result = graph.result(scan, i);
                graph.output(format!("result.{reverse}.{i}"), result);
            }
        }
    });
}
