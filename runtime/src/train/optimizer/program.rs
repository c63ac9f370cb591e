//! A compiled program of an update, and what it reads and gives.

use std::collections::BTreeSet;

use align_compiler::kernel::Layouts;
use align_compiler::tensor::{Axis, Graph, Lengths};

use super::{Fixed, Known};
use crate::engine::{Bindings, Compiled, Engine, Slot, Spent, inputs, weights};
use crate::error::Result;

/// Marks outputs, which else have the names of inputs.
const NEXT: &str = "next.";

pub struct Program {
    compiled: Box<dyn Compiled>,
    reads: BTreeSet<String>,
    /// Prefixes of policies of which it reads the weight of the same path, and paths of weights that it reads whole.
    policies: Vec<String>,
    /// Names, and names as they are bound.
    pub outputs: Vec<(String, String)>,
    /// Numbers in each output whose size is fixed; 0 for others.
    sizes: Vec<usize>,
}

/// A stretch of a group's weights that a program works on.
pub struct Piece<'a> {
    /// The path of a weight, where it is one.
    pub path: &'a str,
    /// Its place in the family.
    pub here: i32,
    pub family: usize,
    /// Its place in the arenas.
    pub range: std::ops::Range<usize>,
    pub lengths: &'a Lengths,
}

impl Program {
    pub fn new(engine: &dyn Engine, graph: &Graph) -> Result<Program> {
        let reads = inputs(graph).into_iter().map(|(name, _)| name).collect();
        let mut renamed = graph.clone();
        renamed.outputs.iter_mut().for_each(|(name, _)| *name = format!("{NEXT}{name}"));
        let outputs = graph.outputs.iter().map(|(name, _)| (name.clone(), format!("{NEXT}{name}"))).collect();
        let size = |axes: &[Axis]| axes.iter().map(|axis| axis.fixed_size().unwrap_or(0)).product();
        let sizes = graph.outputs.iter().map(|(_, node)| size(graph.axes(*node))).collect();
        Ok(Program {
            compiled: engine.compile(&renamed, &Layouts::default())?,
            reads,
            policies: weights(graph),
            outputs,
            sizes,
        })
    }

    /// Numbers in an output of fixed size, by the name by which it is bound.
    pub fn size(&self, output: &str) -> usize {
        self.outputs.iter().position(|(_, name)| name == output).map_or(0, |i| self.sizes[i])
    }

    /// Whether an output may be written over the input of its name.
    pub fn overlays(&self, name: &str) -> bool {
        self.compiled.overlays(name, &format!("{NEXT}{name}"))
    }

    pub fn count(&self, events: bool) {
        self.compiled.count(events);
    }

    pub fn spent(&self) -> Vec<Spent> {
        self.compiled.spent()
    }

    pub fn memory(&self, lengths: &Lengths) -> usize {
        self.compiled.memory(lengths)
    }

    /// Runs it. `own` gives what the piece reads by name, `bindings` the place of each output and inputs that lie there.
    pub fn run<'o>(
        &self,
        piece: &Piece,
        known: &Known,
        fixed: &Fixed,
        own: &dyn Fn(&str) -> Option<Slot<'o>>,
        bindings: Bindings,
    ) -> std::result::Result<(), String> {
        let (here, seed) = ([piece.here], [known.seed]);
        let mut bindings: Bindings = bindings;
        for name in &self.reads {
            if bindings.contains_key(name.as_str()) {
                continue;
            }
            let slot = match name.as_str() {
                "here" => Slot::Ints(&here),
                "seed" => Slot::Ints(&seed),
                "factor" => Slot::Floats(std::slice::from_ref(&known.factor)),
                name => {
                    let unknown = || format!("{name} is not known");
                    match name.split_once('.') {
                        Some(("scalar", _)) => {
                            let (_, value) = known.scalars.iter().find(|(n, _)| n == name).ok_or_else(unknown)?;
                            Slot::Floats(std::slice::from_ref(value))
                        }
                        Some(("all", _)) => {
                            let found = known.exchanged.get(&(piece.family, name.to_string()));
                            found.ok_or_else(unknown)?.whole()
                        }
                        Some((word @ ("gradient" | "value"), k)) => {
                            let point = k.parse().unwrap_or_default();
                            let (value, gradient) = known.answers.get(&(piece.family, point)).ok_or_else(unknown)?;
                            match word {
                                "value" => Slot::Floats(std::slice::from_ref(value)),
                                _ => gradient.slot(piece.range.clone()),
                            }
                        }
                        _ => own(name).ok_or_else(unknown)?,
                    }
                }
            };
            bindings.insert(name, slot);
        }
        for name in &self.policies {
            // A prefix alone stands for the weight of the same path; a whole path for a weight of a net that the rule asks.
            let path = if name.ends_with(':') { format!("{name}{}", piece.path) } else { name.clone() };
            let values = fixed(&path).ok_or_else(|| format!("the weights beside {} have no such part", piece.path))?;
            bindings.insert(name, values);
        }
        self.compiled.run(piece.lengths, &mut bindings).map_err(|fault| fault.what)
    }
}

/// The lengths of a program on so many entries.
pub fn lengths(view: &[Axis], entries: usize, members: usize) -> Lengths {
    let mut lengths = Lengths::new().with(align_compiler::update::tensor_axis(), vec![members]);
    for axis in view.iter().filter(|axis| axis.fixed_size().is_none()) {
        lengths.set(axis.clone(), vec![entries]);
    }
    lengths
}
