//! Evaluations, tables, claims.

use super::*;
use crate::stage::evaluate::AnswerKind;
use crate::stage::graph::{Cell, Points, Series};
use crate::stage::train::Keep;

#[test]
fn evaluations_of_a_stage_read_the_policy_as_it_trains() {
    let slots =
        format!("{SLOTS}\neval {{ worse: perplexity(demos), right: accuracy(p, demos) }}, every: 5\nkeep best(right)");
    graph(&program(DEMOS, &slots, ""), |graph| {
        let node = train(graph, "tuned");
        assert_eq!(node.stage.eval_every, Some(5));
        assert_eq!(node.stage.keep, Keep::Best("right".into()));
        assert!(graph.to_string().contains("\n  keep best(right)\n"));
        let names: Vec<&str> = node.evals.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["worse", "right"]);
        for eval in &node.evals {
            assert_eq!(eval.evaluations.len(), 1);
            assert_eq!(eval.evaluations[0].policies.len(), 1);
            assert_eq!(eval.number.reads()[0].0.index(), 0);
        }
        assert!((node.evals[0].number.value(&|_, _| 1.0, &|_, _| vec![]) - 1f64.exp()).abs() < 1e-12);
        assert!(!graph.stages().any(|(_, stage)| matches!(stage.kind, StageKind::Evaluate(_))));
    });
}

/// Means of the fields of a record are numbers of one evaluation; where no policy is asked they are known at once.
#[test]
fn means_of_records() {
    let rest = "let m = mean(demos |> map(x => { sum: sum[time](logp(tuned, x.reply)), token: logp(start, x.reply) }))\n\
                show m.sum, m.token\n\
                let n = mean(demos |> map(x => { a: 1.5, b: 4 }))\n\
                assert n.a == 1.5 and n.b == 4";
    graph(&program(DEMOS, SLOTS, rest), |graph| {
        let evaluations: Vec<_> = graph
            .stages()
            .filter_map(|(_, s)| if let StageKind::Evaluate(e) = &s.kind { Some(e) } else { None })
            .collect();
        let [one] = &evaluations[..] else { panic!("{}", evaluations.len()) };
        assert_eq!((&one.numbers[..], one.policies.len()), (&["sum".to_string(), "token".to_string()][..], 2));
        let holds = graph.stages().find_map(|(_, s)| if let StageKind::Assert(a) = &s.kind { Some(a) } else { None });
        assert_eq!(holds.unwrap().holds.known(), Some(1.0));
    });
}

#[test]
fn the_least_is_kept() {
    let slots = format!("{SLOTS}\neval perplexity(demos), every: 5\nkeep least(perplexity)");
    graph(&program(DEMOS, &slots, ""), |graph| {
        assert_eq!(train(graph, "tuned").stage.keep, Keep::Least("perplexity".into()));
    });
}

#[test]
fn what_is_shown_saved_and_asserted() {
    let rest = "show perplexity(tuned, demos), 3, \"x\"\n\
                show demos |> take(2) |> map(x => { asked: x.prompt, is: x.reply, sure: sum[time](logp(tuned, x.reply)) })\n\
                show [{ a: 1, b: 2.5 }, { a: 2, b: 0.5 }]\n\
                assert perplexity(tuned, demos) < perplexity(start, demos) and 1 < 2\n\
                save tuned, to: \"out/x\"\n\
                plot history(tuned).loss";
    graph(&program(DEMOS, SLOTS, rest), |graph| {
        let kinds = |which: fn(&StageKind) -> bool| graph.stages().filter(|(_, s)| which(&s.kind)).count();
        assert_eq!(kinds(|k| matches!(k, StageKind::Show(_))), 3);
        assert_eq!(kinds(|k| matches!(k, StageKind::Evaluate(_))), 3);
        let tables: Vec<_> = graph
            .stages()
            .filter_map(|(_, s)| if let StageKind::Show(show) = &s.kind { Some(&show.table) } else { None })
            .collect();
        assert_eq!(tables[0].head, ["perplexity(tuned, demos)", "3", "\"x\""]);
        assert_eq!(tables[1].head, ["asked", "is", "sure"]);
        assert!(matches!(&tables[1].rows[1][0], Cell::Text(text) if text == "q1:"));
        assert!(matches!(&tables[1].rows[1][2], Cell::Answer { row: 1, .. }));
        assert_eq!(tables[2].rows.len(), 2);
        let order = graph.order();
        assert_eq!(order.len(), graph.stages().count());
        let saved = graph.stages().find_map(|(id, s)| matches!(s.kind, StageKind::Save(_)).then_some(id)).unwrap();
        assert_eq!(graph.input(saved, Reads::Policy), graph.find("tuned"));
        let StageKind::Assert(assert) =
            &graph.stages().find(|(_, s)| matches!(s.kind, StageKind::Assert(_))).unwrap().1.kind
        else {
            unreachable!()
        };
        assert_eq!(assert.parts.len(), 2);
        let holds = |sign: f64| assert.holds.value(&|stage, _| sign * f64::from(stage.index() as u32), &|_, _| vec![]);
        assert_eq!((holds(1.0), holds(-1.0)), (1.0, 0.0), "the tuned policy was evaluated first");
    });
    let kind = AnswerKind::Number;
    assert_eq!((kind.show(&[0.25]), kind.show(&[3.0])), ("0.2500".into(), "3".into()));
}

#[test]
fn rounds_of_a_loop_are_told_apart() {
    let rest = "for seed in [4, 5] {\n\
                  let c = train start { on demos; loss sft(.reply); optimizer adamw(lr: 1e-3); batch 4 examples; \
                  steps 2; seed seed }\n\
                  show perplexity(c, demos)\n\
                  show demos |> take(1) |> map(x => { asked: x.prompt })\n\
                }\n\
                let d = train tuned { on demos; loss sft(.reply); optimizer adamw(lr: 1e-3); batch 4 examples; steps 2 }\n\
                show perplexity(d, demos)";
    graph(&program(DEMOS, SLOTS, rest), |graph| {
        let seeds = ["c", "c.2", "tuned", "d"].map(|name| train(graph, name).stage.seed);
        assert_eq!(seeds[..2], [4, 5]);
        let shows = graph.stages().filter_map(|(_, s)| match &s.kind {
            StageKind::Show(show) => Some(&show.table),
            _ => None,
        });
        let tables: Vec<_> = shows.collect();
        assert_eq!(tables.len(), 5);
        for (table, seed) in tables.iter().zip(["4", "4", "5", "5"]) {
            assert_eq!(table.head[0], "seed");
            assert!(matches!(&table.rows[0][0], Cell::Text(text) if text == seed), "{:?}", table.rows);
        }
        assert_eq!(tables[1].head, ["seed", "asked"]);
        assert_eq!(tables[4].head, ["perplexity(d, demos)"]);
    });
}

#[test]
fn what_cannot_be_shown_or_compared_says_what_can() {
    let helps = |data: &str, rest: &str| {
        let text = program(data, SLOTS, rest);
        let world = Memory::default();
        let (program, _) = load("main.align", &text, &world);
        let error = build(&program, &BuildOptions::default(), &world).map(|_| ()).unwrap_err().remove(0);
        format!("{}; {}", error.message, error.help.unwrap_or_default())
    };
    assert!(helps(DEMOS, "show [1, 2]").contains("a List cannot be shown; `show` prints numbers"));
    assert!(helps(DEMOS, "show history(tuned)").contains("`plot history(p).loss`"));
    let kept = format!("{DEMOS} |> filter(x => x.prompt != \"q1:\")");
    assert!(helps(&kept, "").ends_with("cannot be compared; compare its text: `x.prompt.text == \"..\"`"));
}

/// Curves of lists, pairs and tensors of constants; what is none says so.
#[test]
fn what_can_be_plotted() {
    let rest = "plot history(tuned).loss, [3, 4.5], cumsum[n](tensor[n]([1.0, 2.0])) * 2, tensor[n, k]([[1, 2], [3, 4]]), pairs: [(2, 1), (4, 0.5)]";
    graph(&program(DEMOS, SLOTS, rest), |graph| {
        let plot = graph.stages().find_map(|(_, stage)| match &stage.kind {
            StageKind::Plot(plot) => Some(plot),
            _ => None,
        });
        let series = &plot.expect("a plot").series;
        let known = |series: &Series| match &series.points {
            Points::Numbers(points) => points.iter().map(|(x, y)| (x.known().unwrap(), y.known().unwrap())).collect(),
            Points::Logged { .. } => vec![],
        };
        assert_eq!(series.len(), 6);
        assert!(matches!(&series[0].points, Points::Logged { name, .. } if name == "loss"));
        assert_eq!((series[1].label.as_str(), known(&series[1])), ("[3, 4.5]", vec![(1.0, 3.0), (2.0, 4.5)]));
        assert_eq!((series[5].label.as_str(), known(&series[5])), ("pairs", vec![(2.0, 1.0), (4.0, 0.5)]));
        assert_eq!(known(&series[2]), [(1.0, 2.0), (2.0, 6.0)]);
        assert_eq!((series[4].label.contains(", k 1"), known(&series[4])), (true, vec![(1.0, 2.0), (2.0, 4.0)]));
    });
    let wrong = program(DEMOS, SLOTS, "plot history(tuned)");
    assert!(error(&wrong).contains("cannot be drawn"), "{}", error(&wrong));
}
