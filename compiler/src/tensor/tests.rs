use super::parse::parse;
use super::print::print;
use super::verify::{assert_valid, verify};
use super::*;
use crate::batch::objective::{Objective, Per};
use crate::batch::{BatchOptions, training::forward};
use crate::rewrite::model::{Style, model};
use crate::rewrite::{PER_ITEM, Rewrites, rewrite};

/// Graphs of every level of the way to a training step.
fn graphs() -> Vec<Graph> {
    let mut all = vec![];
    for style in [Style::Quotient, Style::Sums, Style::LogWindow] {
        let item = model(style);
        all.push(rewrite(&item, PER_ITEM, &Rewrites::default()));
        let term = Objective { name: "sft".into(), per: Per::Token, value: "nll".into(), weight: None };
        let wide = Rewrites { wide: 8, ..Rewrites::default() };
        for rewrites in [Rewrites::none(), wide] {
            let made = forward(&item, std::slice::from_ref(&term), &[], &BatchOptions::default(), &rewrites);
            let made = made.expect("the model packs");
            all.extend([made.step, made.counts]);
        }
        all.push(item);
    }
    all
}

#[test]
fn text_is_read_back() {
    for graph in graphs() {
        let text = print(&graph);
        let read = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(print(&read), text);
        assert!(read == graph);
    }
}

#[test]
fn passes_make_valid_graphs() {
    graphs().iter().for_each(assert_valid);
}

#[test]
fn small_text() {
    let text = r#"%0 = input "x" : float[time#1*, dim:4]
%1 = const -inf : float[]
%2 = max (%0, %1) : float[time#1*, dim:4]
%3 = reduce sum [dim:4] (%2) : float[time#1*]
%4 = table start time#1* : int[item]
%5 = gather time#1* (%3, %4) : float[item]
outputs "y\n" = %5, "z" = %3
"#;
    let graph = parse(text).expect("a graph");
    assert_eq!(print(&graph), text);
    assert_valid(&graph);
    let error = parse(&text.replace("reduce sum", "reduce some")).unwrap_err();
    assert_eq!(error.line, 4);
}

#[test]
fn what_is_wrong_is_said() {
    let cases = [
        (r#"%0 = iota : int[a:2, b:3]"#, "%0: Iota: an index runs along one axis"),
        (r#"%0 = const 1.0 : float[a:2]"#, "%0: Const(1.0): lies on [a:2], [] expected"),
        (r#"%0 = array {1.0} : float[a:2]"#, "%0: Array([1.0]): 1 numbers on [a:2]"),
    ];
    for (line, expected) in cases {
        let graph = parse(&format!("{line}\noutputs ")).expect("a graph");
        assert_eq!(verify(&graph), [expected]);
    }
    let two = "%0 = input \"x\" : float[a:2]\n";
    let cases = [
        ("%1 = reduce sum [b:2] (%0) : float[a:2]", "input 0 lies on [a:2], without b:2"),
        ("%1 = exp (%0) : int[a:2]", "a Int, Float expected"),
        ("%1 = add (%0) : float[a:2]", "1 inputs, 2 expected"),
        ("%1 = rename a:2 b:3 (%0) : float[b:3]", "a:2 and b:3 have different sizes"),
        ("%1 = slice a:2 c:2 1 (%0) : float[c:2]", "c:2 from 1 does not fit into a:2"),
        ("%1 = gather a:2 (%0, %0) : float[a:2]", "input 1 is a Float, Int expected"),
        ("%1 = result 0 (%0) : float[]", "the input has one result"),
    ];
    for (line, expected) in cases {
        let graph = parse(&format!("{two}{line}\noutputs ")).expect("a graph");
        let found = verify(&graph);
        assert!(found.len() == 1 && found[0].ends_with(expected), "{found:?}, not {expected}");
    }
}
