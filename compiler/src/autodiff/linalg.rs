//! Small dense linear algebra. A matrix has its rows on one axis and its columns on another; further axes run along.
//!
//! Townsend, "Differentiating the singular value decomposition", 2016; Giles, "Collected matrix derivative results", 2008.

use super::Site;
use super::body::{jvp_body, vjp_body};
use super::cotangent::{Cotangent, sum_to};
use super::reduce::twin;
use crate::rewrite::inline::paste;
use crate::tensor::{Axis, DType, Graph, MapOp, Node, Op};

// ------------------------------------------------------------------------------------------------ matrices

/// x with the names of two axes exchanged.
fn transposed(graph: &mut Graph, x: Node, a: &Axis, b: &Axis) -> Node {
    let aside = twin(graph, &[x], a);
    let x = graph.rename(x, a, &aside);
    let x = graph.rename(x, b, a);
    graph.rename(x, &aside, b)
}

/// Sum over one axis of x · y.
fn dot(graph: &mut Graph, x: Node, y: Node, over: &Axis) -> Node {
    graph.contract(x, y, std::slice::from_ref(over))
}

/// How the indices of two axes of one size compare.
fn compare(graph: &mut Graph, op: MapOp, a: &Axis, b: &Axis) -> Node {
    let (a, b) = (graph.iota(a), graph.iota(b));
    graph.map(op, &[a, b])
}

/// The diagonal of x on b, as a tensor without a.
fn diagonal(graph: &mut Graph, x: Node, a: &Axis, b: &Axis) -> Node {
    let same = compare(graph, MapOp::Eq, a, b);
    let zero = graph.float(0.0);
    let kept = graph.map(MapOp::Where, &[same, x, zero]);
    graph.sum(kept, std::slice::from_ref(a))
}

/// x off the diagonal divided by `gap`, and `on` (or zeros) on it.
fn by_gaps(graph: &mut Graph, x: Option<Node>, gap: Node, on: Option<Node>, a: &Axis, b: &Axis) -> Node {
    let same = compare(graph, MapOp::Eq, a, b);
    let (zero, one) = (graph.float(0.0), graph.float(1.0));
    let gap = graph.map(MapOp::Where, &[same, one, gap]);
    let off = x.map_or(zero, |x| graph.map(MapOp::Div, &[x, gap]));
    graph.map(MapOp::Where, &[same, on.unwrap_or(zero), off])
}

fn half(graph: &mut Graph, x: Node) -> Node {
    let half = graph.float(0.5);
    graph.map(MapOp::Mul, &[x, half])
}

/// (x + x') / 2.
fn symmetric(graph: &mut Graph, x: Node, a: &Axis, b: &Axis) -> Node {
    let other = transposed(graph, x, a, b);
    let sum = graph.map(MapOp::Add, &[x, other]);
    half(graph, sum)
}

/// One cotangent, of the only input, with exactly its axes.
fn only(graph: &mut Graph, site: &Site, value: Option<Node>) -> Vec<Option<Cotangent>> {
    let axes = graph.axes(site.data.inputs[0]).to_vec();
    vec![value.map(|value| Cotangent::plain(sum_to(graph, value, &axes)))]
}

fn values<const N: usize>(results: &[Option<Cotangent>]) -> [Option<Node>; N] {
    std::array::from_fn(|i| results.get(i).copied().flatten().map(|c| c.value))
}

// --------------------------------------------------------------------------------------------------- solve

fn solve_axes(site: &Site) -> (&Axis, &Axis) {
    match &site.data.op {
        Op::Solve(a, b) | Op::Cholesky(a, b) | Op::Qr(a, b) | Op::Eigh(a, b) | Op::Svd(a, b) => (a, b),
        _ => unreachable!("rows of linear algebra"),
    }
}

pub fn solve_vjp(graph: &mut Graph, site: &Site, x: Cotangent) -> Vec<Option<Cotangent>> {
    let (a, b) = solve_axes(site);
    let &[m, y] = site.data.inputs.as_slice() else { unreachable!("a matrix and a right side") };
    let back = graph.solve(m, x.value, b, a);
    let [of_m, of_y] = [m, y].map(|n| graph.axes(n).to_vec());
    let outer = graph.map(MapOp::Mul, &[back, site.node]);
    let outer = graph.map(MapOp::Neg, &[outer]);
    let [outer, back] = [(outer, of_m), (back, of_y)].map(|(n, axes)| Cotangent::plain(sum_to(graph, n, &axes)));
    vec![Some(outer), Some(back)]
}

pub fn solve_jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Option<Node> {
    let (a, b) = solve_axes(site);
    let moved = tangents[0].map(|m| {
        let product = dot(graph, m, site.node, b);
        graph.map(MapOp::Neg, &[product])
    });
    let right = super::add(graph, tangents[1], moved)?;
    Some(graph.solve(site.data.inputs[0], right, a, b))
}

// ------------------------------------------------------------------------------------------------ cholesky

/// The lower triangle of x with its diagonal halved.
fn lower_half(graph: &mut Graph, x: Node, a: &Axis, b: &Axis) -> Node {
    let (below, same) = (compare(graph, MapOp::Gt, a, b), compare(graph, MapOp::Eq, a, b));
    let zero = graph.float(0.0);
    let halved = half(graph, x);
    let rest = graph.map(MapOp::Where, &[same, halved, zero]);
    graph.map(MapOp::Where, &[below, x, rest])
}

/// For m = L L': symmetric part of L'⁻¹ lower_half(L' L̄) L⁻¹.
pub fn cholesky_vjp(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let (a, b) = solve_axes(site);
    let l = site.node;
    let (a2, b2) = (twin(graph, &[l], a), twin(graph, &[l], b));
    let own = graph.rename(y.value, b, &b2);
    let product = dot(graph, l, own, a);
    let lower = lower_half(graph, product, b, &b2);
    let left = graph.solve(l, lower, b, a);
    let other = graph.rename(l, a, &a2);
    let other = graph.rename(other, b, &b2);
    let both = graph.solve(other, left, &b2, &a2);
    let both = graph.rename(both, &a2, b);
    let value = symmetric(graph, both, a, b);
    only(graph, site, Some(value))
}

/// L lower_half(L⁻¹ ṁ L'⁻¹).
pub fn cholesky_jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Option<Node> {
    let (a, b) = solve_axes(site);
    let l = site.node;
    let (a2, b2) = (twin(graph, &[l], a), twin(graph, &[l], b));
    let m = graph.rename(tangents[0]?, b, &a2);
    let left = graph.solve(l, m, a, b);
    let other = graph.rename(l, a, &a2);
    let other = graph.rename(other, b, &b2);
    let both = graph.solve(other, left, &a2, &b2);
    let lower = lower_half(graph, both, b, &b2);
    let product = dot(graph, l, lower, b);
    Some(graph.rename(product, &b2, b))
}

// ------------------------------------------------------------------------------------------------------ qr

/// Whether the matrix has more columns than rows.
fn is_broad(site: &Site) -> bool {
    let (a, b) = solve_axes(site);
    a.fixed_size() < b.fixed_size()
}

/// A broad matrix, taken apart: its first columns are decomposed, the others turned.
fn broad_qr(graph: &Graph, site: &Site) -> Graph {
    let (a, b) = solve_axes(site);
    let sizes = [a, b].map(|n| n.fixed_size().expect("the sides of a matrix have fixed sizes"));
    let (first, rest) = (Axis::fixed("first", sizes[0]), Axis::fixed("rest", sizes[1] - sizes[0]));
    let mut body = Graph::new();
    let m = body.param(graph.axes(site.data.inputs[0]).to_vec(), DType::Float);
    let square = body.slice(m, b, &first, 0);
    let others = body.slice(m, b, &rest, sizes[0]);
    let [q, r] = body.qr(square, a, &first);
    let turned = dot(&mut body, q, others, a);
    let r = body.concat(&[r, turned], &[first, rest], b);
    body.output("q", q);
    body.output("r", r);
    body
}

/// (q̄ + q sym(r r̄' - q̄' q)) r'⁻¹, where sym mirrors the lower triangle.
pub fn qr_vjp(graph: &mut Graph, site: &Site, results: &[Option<Cotangent>]) -> Vec<Option<Cotangent>> {
    let [of_q, of_r] = values(results);
    if is_broad(site) {
        let seeded: Vec<usize> = (0..results.len()).filter(|i| results[*i].is_some()).collect();
        let derived = vjp_body(&broad_qr(graph, site), &seeded, &[0]);
        let inputs: Vec<Node> = [Some(site.data.inputs[0]), of_q, of_r].into_iter().flatten().collect();
        let made = paste(graph, &derived.body, &inputs);
        return only(graph, site, made.first().copied());
    }
    let (a, b) = solve_axes(site);
    let m = site.data.inputs[0];
    let [q, r] = graph.qr(m, a, b);
    let k = rank(graph, q, m);
    let k2 = twin(graph, &[q, r], &k);
    let by_r = of_r.map(|of_r| {
        let own = graph.rename(of_r, &k, &k2);
        dot(graph, r, own, b)
    });
    let by_q = of_q.map(|of_q| {
        let own = graph.rename(q, &k, &k2);
        let product = dot(graph, of_q, own, a);
        graph.map(MapOp::Neg, &[product])
    });
    let Some(product) = super::add(graph, by_r, by_q) else { return vec![None] };
    let below = compare(graph, MapOp::Ge, &k, &k2);
    let mirrored = transposed(graph, product, &k, &k2);
    let mirrored = graph.map(MapOp::Where, &[below, product, mirrored]);
    let turned = dot(graph, q, mirrored, &k);
    let own = of_q.map(|of_q| graph.rename(of_q, &k, &k2));
    let right = super::add(graph, Some(turned), own).expect("one is there");
    let r = graph.rename(r, &k, &k2);
    let value = graph.solve(r, right, &k2, b);
    only(graph, site, Some(value))
}

/// With x = ṁ r⁻¹, c = q' x and its antisymmetric part w below the diagonal: q̇ = x - q (c - w), ṙ = (c - w) r.
pub fn qr_jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Vec<Option<Node>> {
    let (Some(tangent), m) = (tangents[0], site.data.inputs[0]) else { return vec![None, None] };
    if is_broad(site) {
        let derived = jvp_body(&broad_qr(graph, site), &[0]);
        let made = paste(graph, &derived.body, &[m, tangent]);
        return derived.outputs.iter().map(|i| i.map(|i| made[i])).collect();
    }
    let (a, b) = solve_axes(site);
    let [q, r] = graph.qr(m, a, b);
    let k = rank(graph, q, m);
    let k2 = twin(graph, &[q, r], &k);
    let x = graph.solve(r, tangent, b, &k);
    let x = graph.rename(x, &k, &k2);
    let c = dot(graph, q, x, a);
    // c - w: above the diagonal c + c', on it c, below 0.
    let (above, same) = (compare(graph, MapOp::Lt, &k, &k2), compare(graph, MapOp::Eq, &k, &k2));
    let mirrored = transposed(graph, c, &k, &k2);
    let sum = graph.map(MapOp::Add, &[c, mirrored]);
    let zero = graph.float(0.0);
    let rest = graph.map(MapOp::Where, &[same, c, zero]);
    let upper = graph.map(MapOp::Where, &[above, sum, rest]);
    let turned = dot(graph, q, upper, &k);
    let of_q = graph.map(MapOp::Sub, &[x, turned]);
    let of_q = graph.rename(of_q, &k2, &k);
    let other = graph.rename(r, &k, &k2);
    let of_r = dot(graph, upper, other, &k2);
    vec![Some(of_q), Some(of_r)]
}

/// The axis of a factor that the matrix itself lacks.
fn rank(graph: &Graph, factor: Node, matrix: Node) -> Axis {
    let own = graph.axes(factor).iter().find(|n| !graph.has(matrix, n));
    own.expect("a factor has the inner axis").clone()
}

// ---------------------------------------------------------------------------------------------------- eigh

/// v (diag(w̄) + (v' v̄) / gaps) v', with gaps w_j - w_i; symmetric part.
pub fn eigh_vjp(graph: &mut Graph, site: &Site, results: &[Option<Cotangent>]) -> Vec<Option<Cotangent>> {
    let (a, b) = solve_axes(site);
    let m = site.data.inputs[0];
    let [of_w, of_v] = values(results);
    let [w, v] = graph.eigh(m, a, b);
    let b2 = twin(graph, &[m], b);
    let product = of_v.map(|of_v| {
        let own = graph.rename(of_v, b, &b2);
        dot(graph, v, own, a)
    });
    let gap = gaps(graph, w, b, &b2);
    let inner = by_gaps(graph, product, gap, of_w, b, &b2);
    let left = dot(graph, v, inner, b);
    let b3 = twin(graph, &[left, m], b);
    let right = graph.rename(v, a, &b3);
    let right = graph.rename(right, b, &b2);
    let both = dot(graph, left, right, &b2);
    let both = graph.rename(both, &b3, b);
    let value = symmetric(graph, both, a, b);
    only(graph, site, Some(value))
}

/// With c = v' ṁ v: ẇ is its diagonal, v̇ = v (c / gaps).
pub fn eigh_jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Vec<Option<Node>> {
    let (Some(tangent), m) = (tangents[0], site.data.inputs[0]) else { return vec![None, None] };
    let (a, b) = solve_axes(site);
    let [w, v] = graph.eigh(m, a, b);
    let b2 = twin(graph, &[m], b);
    let b3 = twin(graph, &[m, tangent], &b2);
    let moved = graph.rename(tangent, b, &b3);
    let left = dot(graph, v, moved, a);
    let right = graph.rename(v, a, &b3);
    let right = graph.rename(right, b, &b2);
    let c = dot(graph, left, right, &b3);
    let of_w = diagonal(graph, c, &b2, b);
    let gap = gaps(graph, w, b, &b2);
    let inner = by_gaps(graph, Some(c), gap, None, b, &b2);
    let of_v = dot(graph, v, inner, b);
    vec![Some(of_w), Some(graph.rename(of_v, &b2, b))]
}

/// w_j - w_i for i on `k`, j on `k2`.
fn gaps(graph: &mut Graph, w: Node, k: &Axis, k2: &Axis) -> Node {
    let other = graph.rename(w, k, k2);
    graph.map(MapOp::Sub, &[other, w])
}

// ----------------------------------------------------------------------------------------------------- svd

/// A decomposition and names for its parts.
struct Svd {
    u: Node,
    s: Node,
    v: Node,
    k: Axis,
    k2: Axis,
    /// s_j² - s_i².
    gap: Node,
}

impl Svd {
    fn new(graph: &mut Graph, site: &Site) -> Svd {
        let (a, b) = solve_axes(site);
        let m = site.data.inputs[0];
        let [u, s, v] = graph.svd(m, a, b);
        let k = rank(graph, u, m);
        let k2 = twin(graph, &[u, v], &k);
        let squares = graph.map(MapOp::Mul, &[s, s]);
        let gap = gaps(graph, squares, &k, &k2);
        Svd { u, s, v, k, k2, gap }
    }

    fn second(&self, graph: &mut Graph, x: Node) -> Node {
        graph.rename(x, &self.k, &self.k2)
    }

    /// x on `side` and `k2`, less its part within the columns of `basis`.
    fn outside(&self, graph: &mut Graph, basis: Node, x: Node, side: &Axis) -> Node {
        let within = dot(graph, basis, x, side);
        let within = dot(graph, basis, within, &self.k);
        graph.map(MapOp::Sub, &[x, within])
    }

    /// The part of ū (or v̄): `(x' x̄ - x̄' x) / gaps` on k, k2, and what is outside of x's columns, divided by s, on k2.
    fn turn(&self, graph: &mut Graph, x: Node, of_x: Node, side: &Axis) -> (Node, Node) {
        let own = self.second(graph, of_x);
        let product = dot(graph, x, own, side);
        let mirrored = transposed(graph, product, &self.k, &self.k2);
        let turn = graph.map(MapOp::Sub, &[product, mirrored]);
        let turn = by_gaps(graph, Some(turn), self.gap, None, &self.k, &self.k2);
        let outside = self.outside(graph, x, own, side);
        let s = self.second(graph, self.s);
        (turn, graph.map(MapOp::Div, &[outside, s]))
    }

    /// The tangent of u (or v): x ((p s_j + s_i p') / gaps), and what of `moved` is outside of x's columns, divided by s.
    fn moved(&self, graph: &mut Graph, x: Node, moved: Node, side: &Axis, [p, mirrored]: [Node; 2]) -> Node {
        let s = self.second(graph, self.s);
        let (first, second) = (graph.map(MapOp::Mul, &[p, s]), graph.map(MapOp::Mul, &[mirrored, self.s]));
        let turn = graph.map(MapOp::Add, &[first, second]);
        let turn = by_gaps(graph, Some(turn), self.gap, None, &self.k, &self.k2);
        let within = dot(graph, x, turn, &self.k);
        let outside = self.outside(graph, x, moved, side);
        let outside = graph.map(MapOp::Div, &[outside, s]);
        let sum = graph.map(MapOp::Add, &[within, outside]);
        graph.rename(sum, &self.k2, &self.k)
    }
}

pub fn svd_vjp(graph: &mut Graph, site: &Site, results: &[Option<Cotangent>]) -> Vec<Option<Cotangent>> {
    let (a, b) = solve_axes(site);
    let [of_u, of_s, of_v] = values(results);
    let svd = Svd::new(graph, site);
    let (s2, v2) = (svd.second(graph, svd.s), svd.second(graph, svd.v));
    // What stands between u and v'.
    let mut inner = of_s.map(|of_s| {
        let same = compare(graph, MapOp::Eq, &svd.k, &svd.k2);
        let zero = graph.float(0.0);
        graph.map(MapOp::Where, &[same, of_s, zero])
    });
    let mut value = None;
    if let Some(of_u) = of_u {
        let (turn, outside) = svd.turn(graph, svd.u, of_u, a);
        let turn = graph.map(MapOp::Mul, &[turn, s2]);
        inner = super::add(graph, inner, Some(turn));
        let outside = dot(graph, outside, v2, &svd.k2);
        value = super::add(graph, value, Some(outside));
    }
    if let Some(of_v) = of_v {
        let (turn, outside) = svd.turn(graph, svd.v, of_v, b);
        let turn = graph.map(MapOp::Mul, &[turn, svd.s]);
        inner = super::add(graph, inner, Some(turn));
        let u2 = svd.second(graph, svd.u);
        let outside = dot(graph, u2, outside, &svd.k2);
        value = super::add(graph, value, Some(outside));
    }
    if let Some(inner) = inner {
        let left = dot(graph, svd.u, inner, &svd.k);
        let both = dot(graph, left, v2, &svd.k2);
        value = super::add(graph, value, Some(both));
    }
    only(graph, site, value)
}

/// With p = u' ṁ v: ṡ is its diagonal, u̇ = u ((p s + s p') / gaps) + (1 - u u') ṁ v / s, v̇ alike from p'.
pub fn svd_jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Vec<Option<Node>> {
    let Some(tangent) = tangents[0] else { return vec![None; 3] };
    let (a, b) = solve_axes(site);
    let svd = Svd::new(graph, site);
    let (u2, v2) = (svd.second(graph, svd.u), svd.second(graph, svd.v));
    let by_v = dot(graph, tangent, v2, b);
    let by_u = dot(graph, tangent, u2, a);
    let p = dot(graph, svd.u, by_v, a);
    let of_s = diagonal(graph, p, &svd.k2, &svd.k);
    let mirrored = transposed(graph, p, &svd.k, &svd.k2);
    let of_u = svd.moved(graph, svd.u, by_v, a, [p, mirrored]);
    let of_v = svd.moved(graph, svd.v, by_u, b, [mirrored, p]);
    vec![Some(of_u), Some(of_s), Some(of_v)]
}
