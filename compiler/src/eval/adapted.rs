//! Patches whose weights are stored: which weights of a net they are on follows from the names of their tensors.

use super::patch::Multiplied;
use super::value::{Applied, Net, NetShape, PatchedWeight, Value, WeightDecl};
use super::weights::whole;
use super::{Eval, Res, fault};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A net with a patch that is stored.
pub struct Adapted {
    pub net: Rc<Net>,
    /// Paths of weights below the patch of which other values are stored beside it.
    pub changed: Vec<String>,
}

impl Eval<'_> {
    /// Puts a patch on the weights that `stored` has tensors for; shapes by name.
    pub fn adapted(
        &mut self,
        net: &Rc<Net>,
        applied: &Rc<Applied>,
        stored: &BTreeMap<String, Vec<usize>>,
        span: Span,
    ) -> Res<Adapted> {
        let (whole, mut names, mut used, mut on) = (whole(net), vec![], vec![], vec![]);
        for weight in self.multiplied(net, span)? {
            let Some((by, tensors)) = self.stored_patch(&whole, applied, &weight, stored, &mut names, span)? else {
                continue;
            };
            used.extend(tensors);
            on.push(by);
        }
        let own = self.net_weights(net, span)?;
        let mut changed = vec![];
        for (tensor, shape) in stored.iter().filter(|(tensor, _)| !used.contains(tensor)) {
            let is_it = |place: &crate::stage::policy::Stored| place.tensor == *tensor;
            let weight = own.iter().find(|weight| match &weight.stored {
                Some(place) => is_it(place),
                None => weight.path == *tensor,
            });
            let Some(weight) = weight else {
                let message =
                    format!("the adapter holds {tensor}, which is of no weight that `{}` multiplies with", net.name());
                let diagnostic = Diagnostic::error("E0709", span, message);
                let known = own.iter().filter_map(|weight| Some(weight.stored.as_ref()?.tensor.as_str()));
                return Err(Box::new(match did_you_mean(tensor, known) {
                    Some(near) => diagnostic.help(format!("it has {near}; is it an adapter of another model?")),
                    None => diagnostic.help("is it an adapter of another model?"),
                }));
            };
            let wanted = match &weight.stored {
                Some(place) => place.shape.clone(),
                None => weight.axes.iter().filter_map(crate::tensor::Axis::fixed_size).collect(),
            };
            fits(tensor, shape, &wanted, &weight.path, span)?;
            changed.push(weight.path.clone());
        }
        if on.is_empty() {
            return fault("E0709", span, "the adapter has no tensors of a patch");
        }
        let net = self.patched(net, applied, on, None, Some(changed.clone()));
        Ok(Adapted { net: Rc::new(net), changed })
    }

    /// The patch beside a weight, if tensors for it are there, with their names.
    fn stored_patch(
        &mut self,
        whole: &Rc<Net>,
        applied: &Rc<Applied>,
        weight: &Multiplied,
        stored: &BTreeMap<String, Vec<usize>>,
        names: &mut Vec<(usize, Value)>,
        span: Span,
    ) -> Res<Option<(PatchedWeight, Vec<String>)>> {
        let by = self.patch_beside(applied, weight, span)?;
        let (mut found, mut missing) = (vec![], None);
        for (path, decl) in declarations(&by.by, "") {
            let Some(place) = self.stored_beside(whole, &by, &path, &decl.axes, names, span)? else {
                let message = format!("the net `{}` does not say how its {path} is stored", by.by.name());
                return fault("E0712", applied.code.span(), message);
            };
            match stored.get(&place.tensor) {
                Some(shape) => {
                    fits(&place.tensor, shape, &place.shape, &weight.path, span)?;
                    found.push(place.tensor);
                }
                None => missing = missing.or(Some(place.tensor)),
            }
        }
        match (found.first(), missing) {
            (None, _) => Ok(None),
            (Some(_), None) => Ok(Some((by, found))),
            (Some(there), Some(missing)) => fault("E0709", span, format!("the adapter has {there}, but not {missing}")),
        }
    }
}

fn fits(tensor: &str, shape: &[usize], wanted: &[usize], path: &str, span: Span) -> Res<()> {
    if shape == wanted {
        return Ok(());
    }
    let message = format!("tensor {tensor} of the adapter has the shape {shape:?}, {path} needs {wanted:?}");
    let help = "are the adapter's settings those of its tensors, and is it for this model?";
    Err(Box::new(Diagnostic::error("E0709", span, message).help(help)))
}

/// The weights that a net and its parts declare, by path.
fn declarations<'n>(net: &'n Net, prefix: &str) -> Vec<(String, &'n WeightDecl)> {
    let NetShape::Defined { weights, parts, .. } = &*net.shape else { return vec![] };
    let own = weights.iter().map(|weight| (format!("{prefix}{}", weight.name), weight));
    let inner = parts.iter().flat_map(|(name, part)| match part {
        Value::Net(part) => declarations(part, &format!("{prefix}{name}.")),
        _ => vec![],
    });
    own.chain(inner).collect()
}
