//! Attention over segments and its derivative, by their formulas.

use super::Memory;
use crate::interp::Value as Tensor;
use crate::kernel::ir::{AttentionGradStep, AttentionStep, Tree, View};
use crate::tensor::{Attention, Axis, TableKind};

/// All heads of attention as numbers: places of one row of a view.
struct Heads<'a> {
    attention: &'a Attention,
    /// Index along each head axis, for each query head.
    heads: Vec<Vec<(Axis, usize)>>,
}

impl Memory<'_> {
    fn heads<'a>(&self, attention: &'a Attention) -> Heads<'a> {
        let mut heads = vec![vec![]];
        for axis in attention.kv.iter().chain(&attention.rep) {
            let size = self.lengths.size(axis);
            let with = |head: Vec<(Axis, usize)>, i: usize| [head, vec![(axis.clone(), i)]].concat();
            heads = heads
                .into_iter()
                .flat_map(|h: Vec<(Axis, usize)>| (0..size).map(move |i| with(h.clone(), i)))
                .collect();
        }
        Heads { attention, heads }
    }

    /// The first place of a head at a time, and the stride of its last axis.
    fn row(&self, view: &View, time: (&Axis, usize), head: &[(Axis, usize)]) -> usize {
        let at = |axis: &Axis, i: usize| view.stride(axis).get(self.lengths) * i;
        view.offset + at(time.0, time.1) + head.iter().map(|(axis, i)| at(axis, *i)).sum::<usize>()
    }

    fn vector(
        &self,
        view: &View,
        time: (&Axis, usize),
        head: &[(Axis, usize)],
        along: &Axis,
    ) -> Result<Vec<f64>, String> {
        let (from, stride) = (self.row(view, time, head), view.stride(along).get(self.lengths));
        (0..self.lengths.size(along)).map(|i| self.read(view.buffer, from + i * stride)).collect()
    }

    fn add_vector(
        &mut self,
        view: &View,
        time: (&Axis, usize),
        head: &[(Axis, usize)],
        along: &Axis,
        x: &[f64],
    ) -> Result<(), String> {
        let (from, stride) = (self.row(view, time, head), view.stride(along).get(self.lengths));
        x.iter().enumerate().try_for_each(|(i, x)| self.write(view.buffer, from + i * stride, *x, true))
    }

    /// The keys of each query.
    fn keys(&self, attention: &Attention, tree: Option<&Tree>) -> Result<Vec<Vec<usize>>, String> {
        let places = self.lengths.table(&attention.time, TableKind::Position);
        let Some(tree) = tree else {
            let of = |(i, place): (usize, &i32)| {
                let seen = attention.window.map_or(*place as usize, |w| (*place as usize).min(w.max(1) - 1));
                (i - seen..=i).collect()
            };
            return Ok(places.iter().enumerate().map(of).collect());
        };
        let read = |view: &View, i: usize| self.read(view.buffer, self.row(view, (&attention.time, i), &[]));
        let window = attention.window.map_or(f64::INFINITY, |w| w.max(1) as f64);
        let of = |(i, place): (usize, &i32)| {
            let mut keys = vec![];
            for key in i - *place as usize..=i {
                let near = read(&tree.places, i)? - read(&tree.places, key)? < window;
                if near && f64::from(*place) < read(&tree.ends, key)? {
                    keys.push(key);
                }
            }
            Ok(keys)
        };
        places.iter().enumerate().map(of).collect()
    }

    /// The rows of earlier places that each query sees.
    fn earlier(&self, step: &AttentionStep) -> Result<Vec<Vec<usize>>, String> {
        let a = &step.attention;
        let places = self.lengths.table(&a.time, TableKind::Position);
        let (Some(cached), Some(cache)) = (&a.cached, &step.cache) else { return Ok(vec![vec![]; places.len()]) };
        let segments = self.lengths.table(&a.time, TableKind::Segment);
        let (starts, counts) =
            (self.lengths.table(cached, TableKind::Start), self.lengths.table(cached, TableKind::Length));
        let last = cache.row().map_or(0, |row| self.lengths.size(row)).saturating_sub(1);
        let of = |(segment, place): (&i32, &i32)| {
            let (start, count) = (starts[*segment as usize] as usize, counts[*segment as usize] as usize);
            let reach = a.window.map_or(usize::MAX, |w| w.max(1) - 1).saturating_sub(*place as usize);
            let seen = start + count.saturating_sub(reach)..start + count;
            let row = |i: usize| self.read(cache.rows.buffer, self.row(&cache.rows, (cached, i), &[]));
            seen.map(|i| row(i).map(|row| (row.max(0.0) as usize).min(last))).collect()
        };
        segments.iter().zip(&places).map(of).collect()
    }

    fn zero(&mut self, view: &View) -> Result<(), String> {
        let axes: Vec<Axis> = view.axes.iter().map(|(axis, _)| axis.clone()).collect();
        let count = axes.iter().map(|a| self.lengths.size(a)).product();
        self.put(view, &Tensor::floats(axes, vec![0.0; count]), false)
    }

    pub(super) fn attention(&mut self, step: &AttentionStep) -> Result<(), String> {
        let a = &step.attention;
        self.zero(&step.out)?;
        let earlier = self.earlier(step)?;
        for head in &self.heads(a).heads {
            for (now, keys) in self.keys(a, step.tree.as_ref())?.into_iter().enumerate() {
                let query = self.vector(&step.query, (&a.time, now), head, &a.hdim)?;
                // Keys and values of what is kept, then the step's own.
                let mut seen: Vec<[(&View, &Axis, usize); 2]> = vec![];
                if let Some((cache, row)) = step.cache.as_ref().and_then(|cache| Some((cache, cache.row()?))) {
                    seen.extend(earlier[now].iter().map(|i| [(&cache.keys, row, *i), (&cache.values, row, *i)]));
                }
                seen.extend(keys.into_iter().map(|i| [(&step.key, &a.time, i), (&step.value, &a.time, i)]));
                let mut scores = vec![];
                for [(view, axis, then), _] in &seen {
                    let key = self.vector(view, (axis, *then), head, &a.hdim)?;
                    scores.push(a.scale * dot(&query, &key));
                }
                let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - maximum).exp()).sum();
                let mut out = vec![0.0; self.lengths.size(&a.vdim)];
                for ([_, (view, axis, then)], score) in seen.into_iter().zip(&scores) {
                    let p = (score - maximum).exp() / sum;
                    let value = self.vector(view, (axis, then), head, &a.vdim)?;
                    out.iter_mut().zip(value).for_each(|(o, v)| *o += p * v);
                }
                self.add_vector(&step.out, (&a.time, now), head, &a.vdim, &out)?;
                let at = self.row(&step.lse, (&a.time, now), head);
                self.write(step.lse.buffer, at, maximum + sum.ln(), false)?;
            }
        }
        Ok(())
    }

    pub(super) fn attention_grad(&mut self, step: &AttentionGradStep) -> Result<(), String> {
        let heads = self.heads(&step.attention);
        let a = heads.attention;
        for view in [&step.query_grad, &step.key_grad, &step.value_grad] {
            self.zero(view)?;
        }
        for head in &heads.heads {
            for (now, keys) in self.keys(a, step.tree.as_ref())?.into_iter().enumerate() {
                let here = (&a.time, now);
                let query = self.vector(&step.query, here, head, &a.hdim)?;
                let out = self.vector(&step.out, here, head, &a.vdim)?;
                let cotangent = self.vector(&step.cotangent, here, head, &a.vdim)?;
                let lse = self.read(step.lse.buffer, self.row(&step.lse, here, head))?;
                let total = dot(&out, &cotangent);
                for then in keys {
                    let there = (&a.time, then);
                    let key = self.vector(&step.key, there, head, &a.hdim)?;
                    let value = self.vector(&step.value, there, head, &a.vdim)?;
                    let p = (a.scale * dot(&query, &key) - lse).exp();
                    let score = a.scale * p * (dot(&cotangent, &value) - total);
                    let times = |x: &[f64], by: f64| x.iter().map(|x| x * by).collect::<Vec<f64>>();
                    self.add_vector(&step.query_grad, here, head, &a.hdim, &times(&key, score))?;
                    self.add_vector(&step.key_grad, there, head, &a.hdim, &times(&query, score))?;
                    self.add_vector(&step.value_grad, there, head, &a.vdim, &times(&cotangent, p))?;
                }
            }
        }
        Ok(())
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}
