//! Weights in fewer bits where these hold every number as it is, as many files do: each new token reads all weights, so it takes
//! as long as memory needs to give them.

use align_compiler::stage::generate::Generation;
use align_compiler::stage::narrow::{Narrow, orders};
use align_compiler::stage::policy::PolicySpec;

use crate::train::held::Held;

/// Puts weights, by their names in the graphs, into fewer bits where nothing is lost. Gives what is in fewer bits now.
pub fn exact(generation: &Generation, weights: &mut [(String, Held)]) -> Vec<Narrow> {
    let mut found = vec![];
    // Products are found in graphs that were rewritten.
    let graphs = std::iter::once(&generation.whole).chain(generation.one.iter().map(|one| &one.graph));
    for (name, to) in orders(graphs, &PolicySpec::default(), &generation.policies) {
        let own = generation.policies.iter().find_map(|used| {
            let path = name.strip_prefix(used.prefix.as_str())?;
            used.policy.weights.iter().find(|weight| weight.path == path)
        });
        let held = weights.iter_mut().find(|(other, _)| *other == name);
        let (Some(own), Some((_, held))) = (own, held) else { continue };
        *held = held.clone().exact(&own.axes, &to);
        if let Held::Narrow(narrow) = held {
            found.push(Narrow { name, form: narrow.form.clone() });
        }
    }
    found
}
