//! Weights that a stage leaves as they are and holds in fewer bits.

use super::evaluate::PolicyUse;
use super::policy::PolicySpec;
use crate::kernel::{Layouts, base};
use crate::storage::Storage;
use crate::tensor::{Axis, Graph, Node, Op};
use std::collections::BTreeSet;

/// A weight in fewer bits than f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Narrow {
    /// As the graphs of the stage name it.
    pub name: String,
    pub form: Form,
}

/// How the numbers of a weight lie in memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    pub storage: Storage,
    /// The order of its axes, slowest first: that of the checkpoint that says one, so that what a file holds in blocks of
    /// the same kind stays as it is.
    pub axes: Vec<Axis>,
}

/// The form of the weights that [`orders`] names. `trained` says which weights are left out.
pub fn narrow<'g>(
    graphs: impl IntoIterator<Item = &'g Graph>,
    own: &PolicySpec,
    others: &[PolicyUse],
    trained: impl Fn(&str) -> bool,
    storage: Storage,
) -> Vec<Narrow> {
    if storage == Storage::F32 {
        return vec![];
    }
    let orders = orders(graphs, own, others).into_iter().filter(|(name, _)| !trained(name));
    orders.map(|(name, axes)| Narrow { name, form: Form { storage, axes } }).collect()
}

/// The weights that a stage may hold in fewer bits, as its graphs name them, and the order of their axes then: those with two
/// axes and more that are a factor of a product or are looked up in. All others (norms, biases) are f32. `graphs` are the
/// stage's losses for one item. `own` is the policy that trains, by its plain paths.
pub fn orders<'g>(
    graphs: impl IntoIterator<Item = &'g Graph>,
    own: &PolicySpec,
    others: &[PolicyUse],
) -> Vec<(String, Vec<Axis>)> {
    let of = |name: &str| {
        let used = others.iter().find_map(|used| Some((&*used.policy, name.strip_prefix(used.prefix.as_str())?)));
        let (policy, path) = used.unwrap_or((own, name));
        let at = policy.weights.iter().position(|weight| weight.path == path)?;
        let axes = policy.stored[at].as_ref().map_or(&policy.weights[at].axes, |stored| &stored.axes);
        (axes.len() > 1).then(|| axes.clone())
    };
    let names: BTreeSet<String> = graphs.into_iter().flat_map(multiplied).collect();
    names.into_iter().filter_map(|name| Some((of(&name)?, name))).map(|(axes, name)| (name, axes)).collect()
}

/// How the kernels of a stage find its narrow weights.
pub fn layouts(narrow: &[Narrow]) -> Layouts {
    let mut layouts = Layouts::default();
    for Narrow { name, form } in narrow {
        layouts.inputs.insert(name.clone(), form.axes.clone());
        layouts.storage.insert(name.clone(), form.storage);
    }
    layouts
}

/// The weights that products and lookups read.
fn multiplied(graph: &Graph) -> BTreeSet<String> {
    let read = |node: Node| match graph.op(node) {
        Op::Weight(name) => Some(name.clone()),
        _ => None,
    };
    let bodies = graph.nodes().filter_map(|(_, data)| match &data.op {
        Op::Scan { body, .. } | Op::Loop { body, .. } | Op::Call { body, .. } => Some(multiplied(body)),
        _ => None,
    });
    factors(graph).into_iter().filter_map(read).chain(bodies.flatten()).collect()
}

/// The leaves that products and lookups read, as they are or through views.
fn factors(graph: &Graph) -> BTreeSet<Node> {
    let mut found = BTreeSet::new();
    for (_, data) in graph.nodes() {
        let read: Vec<Node> = match &data.op {
            Op::Contract(_) => data.inputs.clone(),
            Op::Gather(_) => vec![data.inputs[0]],
            Op::Scan { body, .. } | Op::Loop { body, .. } | Op::Call { body, .. } => {
                let inner = factors(body);
                let params = body.params.iter().zip(&data.inputs);
                params.filter(|(param, _)| inner.contains(param)).map(|(_, input)| *input).collect()
            }
            _ => vec![],
        };
        found.extend(read.into_iter().map(|node| base(graph, node)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::policy::Stored;
    use crate::stage::train::WeightSpec;
    use crate::tensor::{CallKind, DType, MapOp};
    use std::rc::Rc;

    #[test]
    fn products_and_lookups_make_weights_narrow() {
        let [words, dim, out] = [("words", 9), ("dim", 4), ("out", 3)].map(|(name, size)| Axis::fixed(name, size));
        let mut body = Graph::new();
        let (x, w) =
            (body.param(vec![dim.clone()], DType::Float), body.param(vec![dim.clone(), out.clone()], DType::Float));
        let product = body.contract(x, w, std::slice::from_ref(&dim));
        body.output("y", product);
        let mut g = Graph::new();
        let token = g.input("token", vec![], DType::Int);
        let matrix = vec![dim.clone(), out.clone()];
        let embed = g.weight("embed", vec![words.clone(), dim.clone()]);
        let [up, scaled, inside, trained, of_other] =
            ["up", "scaled", "inside", "trained", "p0:up"].map(|name| g.weight(name, matrix.clone()));
        let [norm, score] = ["norm", "score"].map(|name| g.weight(name, vec![dim.clone()]));
        let x = g.gather(embed, &words, token);
        let x = g.map(MapOp::Mul, &[x, norm]);
        let moved = g.rename(up, &out, &Axis::fixed("more", 3));
        let [a, b, c] = [moved, trained, of_other].map(|w| g.contract(x, w, std::slice::from_ref(&dim)));
        let call = g.call(CallKind::Plain, body, &[x, inside]);
        let d = g.result(call, 0);
        let (e, f) = (g.sum(scaled, std::slice::from_ref(&dim)), g.contract(x, score, std::slice::from_ref(&dim)));
        [a, b, c, d, e, f].into_iter().enumerate().for_each(|(i, n)| g.output(i.to_string(), n));

        let weight =
            |path: &str, axes: &[Axis]| WeightSpec { path: path.into(), axes: axes.to_vec(), offset: 0, len: 0 };
        let all = ["up", "scaled", "inside", "trained"].map(|path| weight(path, &matrix));
        let more = [
            weight("embed", &[words.clone(), dim.clone()]),
            weight("norm", &matrix[..1]),
            weight("score", &matrix[..1]),
        ];
        let weights: Vec<WeightSpec> = all.into_iter().chain(more).collect();
        let turned = Stored { tensor: "up".into(), axes: vec![out.clone(), dim.clone()], shape: vec![3, 4] };
        let mut stored = vec![None; weights.len()];
        stored[0] = Some(turned);
        let own = PolicySpec { weights, stored, ..PolicySpec::default() };
        let other = PolicySpec { weights: vec![weight("up", &matrix)], stored: vec![None], ..PolicySpec::default() };
        let used = PolicyUse { prefix: "p0:".into(), policy: Rc::new(other) };
        let found = narrow([&g], &own, &[used], |name| name == "trained", Storage::Q8);
        let of = |name: &str, axes: &[Axis]| Narrow {
            name: name.into(),
            form: Form { storage: Storage::Q8, axes: axes.to_vec() },
        };
        let want =
            [of("embed", &[words, dim.clone()]), of("inside", &matrix), of("p0:up", &matrix), of("up", &[out, dim])];
        assert_eq!(found, want);
        assert_eq!(narrow([&g], &own, &[], |_| false, Storage::F32), []);
        assert_eq!(layouts(&found).inputs["up"], found[3].form.axes);
    }
}
