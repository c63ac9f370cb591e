//! Nests that work entry by entry on the same values, a few steps apart, as one: what both load and work out is then loaded
//! and worked out once. Such pairs come of values that are made again ([`super::remake`]) just before the derivatives of what they
//! are made of.

use super::schedule::Lives;
use crate::kernel::ir::{Address, Block, BufferId, Index, Let, Part, Program, Rows, Scalar, Step, Store, Value};
use crate::kernel::size::Access;
use std::collections::BTreeSet;

/// Steps in between beyond which results of the second nest would be held for long.
const NEAR: usize = 4;

/// The same program with such nests joined, where no more is held at once.
pub fn join(mut program: Program) -> Program {
    let mut first = 0;
    while first < program.steps.len() {
        let second =
            (first + 1..program.steps.len().min(first + 1 + NEAR)).find_map(|second| joined(&program, first, second));
        match second {
            Some(joined) => program = joined,
            None => first += 1,
        }
    }
    program
}

/// The program with the second step done in the first.
fn joined(program: &Program, first: usize, second: usize) -> Option<Program> {
    let (Step::Rows(one), Step::Rows(other)) = (&program.steps[first], &program.steps[second]) else { return None };
    let (own, theirs) = (pointwise(one)?, pointwise(other)?);
    if (&one.rows, one.lanes) != (&other.rows, other.lanes) || !moves(program, first, second) {
        return None;
    }
    let loads = |block: &Block| -> BTreeSet<BufferId> {
        block
            .lets
            .iter()
            .filter_map(|l| if let Scalar::Load(buffer, _) = &l.op { Some(*buffer) } else { None })
            .collect()
    };
    if loads(own).intersection(&loads(theirs)).count() < 2 {
        return None;
    }
    let name = format!("{} {}", one.name, other.name);
    let mut nest = Rows { name, ..one.clone() };
    let block = appended(own, theirs, &mut nest, other);
    nest.parts = vec![Part::Row(block)];
    let mut next = program.clone();
    next.steps[first] = Step::Rows(nest);
    next.steps.remove(second);
    if second < next.origins.len() {
        let more = next.origins.remove(second);
        let own = &mut next.origins[first];
        more.into_iter().for_each(|origin| {
            if !own.contains(&origin) {
                own.push(origin);
            }
        });
    }
    let most = |program: &Program| Lives::of(program).peak(program).map(|(_, bytes)| bytes);
    (most(&next) <= most(program)).then_some(next)
}

/// The block of a nest that is nothing else.
fn pointwise(nest: &Rows) -> Option<&Block> {
    match &nest.parts[..] {
        [Part::Row(block)] if !nest.rows.is_empty() => Some(block),
        _ => None,
    }
}

/// Whether a step can be done as early as another one.
fn moves(program: &Program, to: usize, from: usize) -> bool {
    let own = program.steps[from].accesses();
    program.steps[to..from].iter().flat_map(Step::accesses).all(|(buffer, access)| {
        own.iter().all(|(b, mine)| *b != buffer || (access, *mine) == (Access::Read, Access::Read))
    })
}

/// One block after another. What the first has worked out already is taken from there.
fn appended(first: &Block, second: &Block, nest: &mut Rows, other: &Rows) -> Block {
    let mut block = first.clone();
    // Neither stores what the other loads.
    let stored: BTreeSet<BufferId> = first.stores.iter().chain(&second.stores).map(|store| store.buffer).collect();
    let mut names: Vec<Option<Value>> = vec![None; other.values.len()];
    for Let { value, op } in &second.lets {
        let op = renamed(op, &names);
        let known = match &op {
            Scalar::Load(buffer, _) if stored.contains(buffer) => None,
            op => block.lets.iter().find(|l| l.op == *op).map(|l| l.value),
        };
        let dtype = other.values[value.0 as usize];
        let known = known.filter(|known| nest.values[known.0 as usize] == dtype);
        names[value.0 as usize] = Some(known.unwrap_or_else(|| {
            let value = Value(nest.values.len() as u32);
            nest.values.push(dtype);
            block.lets.push(Let { value, op });
            value
        }));
    }
    for store in &second.stores {
        let at = address(&store.at, &names);
        block.stores.push(Store { at, value: name(store.value, &names), ..store.clone() });
    }
    block
}

fn name(value: Value, names: &[Option<Value>]) -> Value {
    names[value.0 as usize].expect("a scalar is made before it is read")
}

fn address(at: &Address, names: &[Option<Value>]) -> Address {
    let mut at = at.clone();
    for term in &mut at.terms {
        if let Index::Value { value, .. } = &mut term.index {
            *value = name(*value, names);
        }
    }
    at
}

fn renamed(op: &Scalar, names: &[Option<Value>]) -> Scalar {
    let to = |value: &Value| name(*value, names);
    match op {
        Scalar::Const(_) | Scalar::Index(_) | Scalar::Size(_) => op.clone(),
        Scalar::Load(buffer, at) => Scalar::Load(*buffer, address(at, names)),
        Scalar::Map(map, args) => Scalar::Map(*map, args.iter().map(to).collect()),
        Scalar::Cast(x) => Scalar::Cast(to(x)),
        Scalar::Random { kind, stream, seed, counter } => {
            let counter = counter.iter().map(to).collect();
            Scalar::Random { kind: *kind, stream: *stream, seed: to(seed), counter }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::parse::parse;

    /// Two nests on the same values with a third step in between, of which `between` is a line.
    fn program(between: &str) -> Program {
        let mut text = String::new();
        let kinds = ["input \"x\"", "input \"y\"", "temp", "output \"p\"", "output \"q\"", "temp"];
        for (i, kind) in kinds.iter().enumerate() {
            text += &format!("%{i} = {kind} float {{a:4}} \"b{i}\"\n");
        }
        let both = "  v0 float = load %0[0 + i0*1]\n  v1 float = load %1[0 + i0*1]\n";
        text += &format!(
            "rows \"one\" ([a:4]) lanes rows {{\n{both}  v2 float = mul v0, v1\n  store %2[0 + i0*1] v2\n}}\n"
        );
        text += &format!(
            "rows \"use\" ([a:4]) lanes pass {{\n  v0 float = load %2[0 + i0*1]\n  {between}[0 + i0*1] v0\n}}\n"
        );
        let sum = "  v2 float = mul v0, v1\n  v3 float = add v2, v0\n  store %4[0 + i0*1] v3\n";
        text += &format!("rows \"two\" ([a:4]) lanes rows {{\n{both}{sum}}}\n");
        parse(&text).unwrap_or_else(|e| panic!("{e:?}\n{text}"))
    }

    #[test]
    fn what_both_work_out_is_worked_out_once() {
        let joined = join(program("store %3"));
        let Step::Rows(nest) = &joined.steps[0] else { panic!("{joined:?}") };
        let block = pointwise(nest).expect("it is one block");
        assert_eq!((joined.steps.len(), block.lets.len(), block.stores.len()), (2, 4, 2), "{joined:?}");
        assert_eq!(nest.name, "one two");
    }

    #[test]
    fn a_step_does_not_move_across_what_it_meets() {
        assert_eq!(join(program("store %4")).steps.len(), 3, "both write one output");
    }
}
