//! Patches: `policy with lora(rank: 8)` puts a net of the library beside weights of another net.
//!
//! A patch is a net whose brackets name packs of axes that it gets from the net that it is put on. One with the method
//! `product(x, w)` says how x is multiplied with a weight that it is on. Its packs are the axes of such a product,
//! `net lora[..from, ..to](..)`: those that are summed over, and the weight's others. It has weights of its own for each
//! weight that it is on. Two more names mean something in it: `targets`, which says what it is on, and `trains`, which of the
//! weights that were there before it go on training (all, where it does not say). A patch without `product` adds its methods
//! to the net: see [`super::added`].

use super::bind::Values;
use super::merged::is_product;
use super::read::{Step, steps};
use super::value::{Applied, Function, Net, NetShape, Patch, PatchedWeight, Tensor, Value};
use super::{Eval, Res, fault};
use crate::tensor::{Axis, Graph, MapOp, Node, Op, ReduceOp};
use align_syntax::ast::{DefKind, Generic};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::rc::Rc;

/// The method by which a patch multiplies.
const PRODUCT: &str = "product";

/// A weight that sums of products read.
pub(super) struct Multiplied {
    pub path: String,
    pub from: Vec<Axis>,
    pub to: Vec<Axis>,
}

impl Eval<'_> {
    /// `net with patch`
    pub(crate) fn with_patch(&mut self, net: &Rc<Net>, applied: &Rc<Applied>, span: Span) -> Res<Value> {
        whole(net, span)?;
        let named = self.patch_net(applied, &[], span)?;
        let (mut on, mut adds) = (vec![], None);
        if named.has_method(PRODUCT) {
            let found = self.multiplied(net, span)?;
            let targets = self.patch_setting(&named, "targets")?;
            let chosen = self.chosen(net, &found, targets.as_ref(), applied.span)?;
            for weight in chosen {
                on.push(self.patch_beside(applied, weight, span)?);
            }
        } else {
            adds = Some(self.added_net(net, &named, applied, span)?);
        }
        let trains = match self.patch_setting(&named, "trains")? {
            None => None,
            Some(list) => {
                let all = self.net_weights(net, span)?;
                let mut paths = vec![];
                for target in self.target_words(&list, applied.span)? {
                    let own: Vec<String> =
                        all.iter().filter(|w| matches(&w.path, &target)).map(|w| w.path.clone()).collect();
                    if own.is_empty() {
                        return Err(no_weight(net, &target, all.iter().map(|w| w.path.as_str()), applied.span));
                    }
                    paths.extend(own);
                }
                Some(paths)
            }
        };
        Ok(Value::Net(Rc::new(self.patched(net, applied, on, adds, trains))))
    }

    /// The net of a patch that multiplies, without a weight that it is on; an error where it is none, or cannot be put on
    /// this net.
    pub(crate) fn patch_alone(&mut self, net: &Rc<Net>, applied: &Rc<Applied>, span: Span) -> Res<Rc<Net>> {
        whole(net, span)?;
        let named = self.patch_net(applied, &[], span)?;
        match named.has_method(PRODUCT) {
            true => Ok(named),
            false => {
                let message =
                    format!("the net `{}` is on no weight: it has no method `{PRODUCT}`", applied.code.name());
                fault("E0120", applied.code.span(), message)
            }
        }
    }

    /// The patch as it is beside a weight.
    pub(super) fn patch_beside(
        &mut self,
        applied: &Rc<Applied>,
        weight: &Multiplied,
        span: Span,
    ) -> Res<PatchedWeight> {
        let packs: Vec<&str> = packs(&applied.code.def.generics).collect();
        let [first, second] = packs[..] else {
            let message = format!("the brackets of a patch with `{PRODUCT}` name the axes of a product");
            let diagnostic = Diagnostic::error("E0113", applied.code.span(), message);
            return Err(Box::new(diagnostic.help("`net lora[..from, ..to](..)`")));
        };
        let (from, to): (Rc<[Axis]>, Rc<[Axis]>) = (weight.from.clone().into(), weight.to.clone().into());
        let by = self.patch_net(applied, &[(first, &from), (second, &to)], span)?;
        Ok(PatchedWeight { path: weight.path.clone(), by, from, to })
    }

    /// The net with one patch more. `trains`: paths of its weights that go on training; all where nothing is said.
    pub(super) fn patched(
        &mut self,
        net: &Rc<Net>,
        applied: &Rc<Applied>,
        on: Vec<PatchedWeight>,
        adds: Option<Rc<Net>>,
        trains: Option<Vec<String>>,
    ) -> Net {
        let mut patched = net.with_source(net.source);
        if let Some(adds) = &adds {
            patched.patches = Rc::new(net.patches.iter().filter(|p| !p.is_hidden_by(adds)).cloned().collect());
        }
        let name = self.patch_name(&patched, applied.code.name()).into();
        let trains = trains.map(Rc::new);
        let patch = Patch { name, applied: applied.clone(), on: Rc::new(on), adds, trains };
        patched.patches = Rc::new(patched.patches.iter().cloned().chain([patch]).collect());
        if let Some(hooks) = self.hooks.clone() {
            patched.source = hooks.patched(&patched);
        }
        patched
    }

    /// The net of a patch with axes for its packs.
    pub(crate) fn patch_net(
        &mut self,
        applied: &Rc<Applied>,
        known: &[(&str, &Rc<[Axis]>)],
        span: Span,
    ) -> Res<Rc<Net>> {
        let none: Rc<[Axis]> = [].into();
        let axes = |name| known.iter().find(|(known, _)| *known == name).map_or(&none, |(_, axes)| *axes);
        let packs: Vec<(&str, &Rc<[Axis]>)> =
            packs(&applied.code.def.generics).map(|name| (name, axes(name))).collect();
        let values = Values {
            positional: applied.positional.iter().map(|v| (v.clone(), applied.span)).collect(),
            named: applied.named.iter().map(|(n, v)| (n.clone(), v.clone(), applied.span)).collect(),
        };
        match self.build_net_along(&applied.code.clone(), vec![], &packs, values, span)? {
            Value::Net(net) => Ok(net),
            other => fault("E0113", span, format!("a patch is a net, this is {}", other.kind())),
        }
    }

    /// What a patch says under a name; nothing for one that it lacks, and for `none`.
    pub(crate) fn patch_setting(&mut self, net: &Net, name: &str) -> Res<Option<Value>> {
        let NetShape::Defined { env, .. } = &*net.shape else { return Ok(None) };
        Ok(match env.get(name) {
            Some(Value::None) | None => None,
            Some(Value::Some(value)) => Some((*value).clone()),
            Some(value) => Some(value),
        })
    }

    /// A name for a patch that no part or weight of the net has, nor an earlier patch.
    fn patch_name(&self, net: &Net, name: &str) -> String {
        let taken = |name: &str| {
            net.patches.iter().any(|p| &*p.name == name)
                || match &*net.shape {
                    NetShape::Defined { parts, weights, .. } => {
                        parts.iter().any(|(n, _)| &**n == name) || weights.iter().any(|w| &*w.name == name)
                    }
                    NetShape::Stack { .. } => false,
                }
        };
        let others = (2..).map(|i| format!("{name}{i}"));
        std::iter::once(name.to_string()).chain(others).find(|name| !taken(name)).unwrap_or_default()
    }

    // ------------------------------------------------------------------------------------------- what it is on

    /// The weights of a net, without those of its patches, that sums of products read; in order, each once.
    pub(super) fn multiplied(&mut self, net: &Rc<Net>, span: Span) -> Res<Vec<Multiplied>> {
        let graph = self.trace_methods(net, span)?;
        let mut found: Vec<Multiplied> = vec![];
        for (_, data) in graph.nodes() {
            let Op::Reduce(ReduceOp::Sum, over) = &data.op else { continue };
            let mut factors = vec![];
            factors_of(&graph, data.inputs[0], &mut factors);
            for factor in factors {
                let Op::Weight(path) = graph.op(factor) else { continue };
                let (from, to) = sides(graph.axes(factor), over);
                if !is_product(graph.axes(factor), over)
                    || net.patches.iter().any(|p| path.starts_with(&format!("{}.", p.name)))
                {
                    continue;
                }
                match found.iter().find(|m| m.path == *path) {
                    Some(known) if known.from != from => {
                        let message = format!("{path} is summed over different axes in different places");
                        return fault("E0113", span, message);
                    }
                    Some(_) => {}
                    None => found.push(Multiplied { path: path.clone(), from, to }),
                }
            }
        }
        Ok(found)
    }

    /// Of the weights those that the targets name. Without targets: those in stacks, or all if the net has none.
    fn chosen<'m>(
        &mut self,
        net: &Net,
        found: &'m [Multiplied],
        targets: Option<&Value>,
        span: Span,
    ) -> Res<Vec<&'m Multiplied>> {
        let Some(targets) = targets else {
            let stacked: Vec<&Multiplied> = found.iter().filter(|m| is_stacked(&m.path)).collect();
            let all = if stacked.is_empty() { found.iter().collect() } else { stacked };
            return match all.first() {
                Some(_) => Ok(all),
                None => fault("E0207", span, format!("the net `{}` multiplies with no weight", net.name())),
            };
        };
        let targets = self.target_words(targets, span)?;
        for target in &targets {
            if !found.iter().any(|m| matches(&m.path, target)) {
                let paths = found.iter().map(|m| m.path.as_str());
                return Err(no_weight(net, target, paths, span));
            }
        }
        Ok(found.iter().filter(|m| targets.iter().any(|t| matches(&m.path, t))).collect())
    }

    /// The paths in a list of accessors (`.attend.q`) or texts.
    fn target_words(&mut self, targets: &Value, span: Span) -> Res<Vec<Vec<String>>> {
        let one = |value: &Value| -> Option<Vec<String>> {
            let path = match value {
                Value::Function(f) => match &**f {
                    Function::Accessor(path) => path.to_string(),
                    _ => return None,
                },
                value => value.as_text()?.to_string(),
            };
            let words = steps(&path).into_iter().map(|step| match step {
                Step::Name(name) => Some(name),
                Step::At(i) => usize::try_from(i).ok().map(|i| i.to_string()),
                Step::Cut(..) => None,
            });
            words.collect::<Option<Vec<String>>>().filter(|words| !words.is_empty())
        };
        let list = match targets {
            Value::List(list) => list.to_vec(),
            one => vec![one.clone()],
        };
        let words: Option<Vec<_>> = list.iter().map(one).collect();
        match words {
            Some(words) => Ok(words),
            None => {
                let diagnostic = Diagnostic::error("E0113", span, "targets are paths of weights");
                Err(Box::new(diagnostic.help("for instance `targets: [.attend.q, .attend.v]`")))
            }
        }
    }

    // ------------------------------------------------------------------------------------------- products

    /// Notes that a weight is patched. `path`: its path in its net.
    pub(crate) fn note_patches(&mut self, weight: &Value, net: &Net, path: &str) {
        let Value::Tensor(tensor) = weight else { return };
        let by = net.patched_by(path);
        if !by.is_empty() && !self.patched.iter().any(|(known, _)| known == tensor) {
            self.patched.push((*tensor, by));
        }
    }

    /// The sum of a product in which a patched weight is a factor; `None` if there is none.
    pub(crate) fn patched_sum(&mut self, product: Node, over: &[Axis], span: Span) -> Res<Option<Value>> {
        if self.patched.is_empty() {
            return Ok(None);
        }
        let mut factors = vec![];
        factors_of(self.graph(), product, &mut factors);
        let is_on = |factor: &Node| {
            let tensor = self.outer(*factor);
            self.patched.iter().position(|(weight, by)| *weight == tensor && !by.is_empty())
        };
        let Some((factor, at)) = factors.iter().find_map(|f| Some((*f, is_on(f)?))) else { return Ok(None) };
        if !is_product(self.graph().axes(factor), over) {
            return Ok(None);
        }
        // The last patch multiplies; in it the product is that of those before it.
        let Some(patch) = self.patched[at].1.pop() else { return Ok(None) };
        let x = self.other_factors(product, factor, &factors);
        let result = self.product(&patch, factor, x, over, span);
        self.patched[at].1.push(patch);
        result.map(Some)
    }

    /// What a node of the innermost graph captures, or the node itself.
    fn outer(&self, node: Node) -> Tensor {
        let mut tensor = Tensor { frame: self.frames.len() as u32 - 1, node };
        while let Some((outer, _)) =
            self.frames[tensor.frame as usize].captured.iter().find(|(_, param)| *param == tensor.node)
        {
            tensor = *outer;
        }
        tensor
    }

    /// The product without one of its factors.
    fn other_factors(&mut self, product: Node, without: Node, factors: &[Node]) -> Node {
        let graph = self.graph();
        if let (Op::Map(MapOp::Mul), [a, b]) = (graph.op(product), &graph.get(product).inputs[..])
            && (*a == without || *b == without)
        {
            return if *a == without { *b } else { *a };
        }
        let at = factors.iter().position(|f| *f == without);
        let others = factors.iter().enumerate().filter(|(i, _)| Some(*i) != at).map(|(_, f)| *f);
        let product = others.reduce(|x, y| graph.map(MapOp::Mul, &[x, y]));
        product.unwrap_or_else(|| graph.float(1.0))
    }

    fn product(&mut self, patch: &PatchedWeight, weight: Node, x: Node, over: &[Axis], span: Span) -> Res<Value> {
        let mut x = x;
        let graph = self.graph();
        // What is summed over and not the weight's is summed first.
        let beside: Vec<Axis> = over.iter().filter(|a| !graph.has(weight, a)).cloned().collect();
        if !beside.is_empty() {
            x = graph.tile_to(x, &beside);
            x = graph.sum(x, &beside);
        }
        x = graph.tile_to(x, &patch.from);
        let (x, w) = (self.tensor(x), self.tensor(weight));
        self.net_method(&patch.by, PRODUCT, vec![x, w], span)
    }
}

/// An error for a part of a net.
fn whole(net: &Net, span: Span) -> Res<()> {
    match net.prefix.is_empty() {
        true => Ok(()),
        false => fault("E0113", span, "a patch is put on a whole net, not on a part of one"),
    }
}

impl Patch {
    /// The net with its settings, as it is on one of its weights.
    pub fn by(&self) -> Option<&Rc<Net>> {
        self.adds.as_ref().or_else(|| self.on.first().map(|on| &on.by))
    }
}

/// The names of the packs in the brackets of a declaration.
pub(crate) fn packs(generics: &[Generic]) -> impl Iterator<Item = &str> {
    generics.iter().filter_map(|g| match g {
        Generic::Pack(name) => Some(name.text.as_str()),
        _ => None,
    })
}

/// Whether a declaration is that of a patch: a net whose axes depend on what it is put on.
pub(crate) fn is_patch(def: &align_syntax::ast::Def) -> bool {
    def.kind == DefKind::Net && packs(&def.generics).next().is_some()
}

/// The factors of a product.
fn factors_of(graph: &Graph, node: Node, factors: &mut Vec<Node>) {
    match graph.op(node) {
        Op::Map(MapOp::Mul) => graph.get(node).inputs.iter().for_each(|n| factors_of(graph, *n, factors)),
        _ => factors.push(node),
    }
}

/// A weight's axes: those that are summed over, and the others.
fn sides(axes: &[Axis], over: &[Axis]) -> (Vec<Axis>, Vec<Axis>) {
    axes.iter().cloned().partition(|a| over.contains(a))
}

/// Whether a path leads through a stack.
fn is_stacked(path: &str) -> bool {
    path.split('.').any(|word| word.parse::<usize>().is_ok())
}

/// Whether the words stand one after another in a path; numbers of layers may be left out.
fn matches(path: &str, words: &[String]) -> bool {
    let numbered = words.iter().any(|w| w.parse::<usize>().is_ok());
    let all: Vec<&str> = path.split('.').filter(|w| numbered || w.parse::<usize>().is_err()).collect();
    all.windows(words.len()).any(|window| window.iter().zip(words).all(|(a, b)| a == b))
}

/// E0207, with what there is instead.
fn no_weight<'a>(net: &Net, target: &[String], paths: impl Iterator<Item = &'a str>, span: Span) -> Box<Diagnostic> {
    let mut all: Vec<String> = vec![];
    for path in paths {
        let words: Vec<&str> = path.split('.').filter(|w| w.parse::<usize>().is_err()).collect();
        let path = words.join(".");
        if !all.contains(&path) {
            all.push(path);
        }
    }
    let target = target.join(".");
    let message = format!("the net `{}` multiplies with no weight `.{target}`", net.name());
    let diagnostic = Diagnostic::error("E0207", span, message);
    let ends = all.iter().map(|path| path.rsplit('.').next().unwrap_or(path));
    let near = did_you_mean(&target, all.iter().map(String::as_str).chain(ends));
    Box::new(match near {
        Some(near) => diagnostic.meant(format!(".{near}")),
        None => {
            diagnostic.help(format!("it has {}", all.iter().map(|p| format!("`.{p}`")).collect::<Vec<_>>().join(", ")))
        }
    })
}
