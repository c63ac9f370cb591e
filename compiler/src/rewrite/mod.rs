//! Rewrites: graphs to equal graphs that are cheaper to run. [`PER_ITEM`], [`PACKED`] and [`STEP`]
//! are the lists of them, in order.

pub mod attention;
pub mod bf16;
pub mod chunk;
pub mod incremental;
pub mod inline;
pub mod lay_out;
pub mod one_hot;
pub mod prefixes;
pub mod rebuild;
pub mod simplify;
pub mod sink;

#[cfg(any(test, feature = "testing"))]
pub mod model;
#[cfg(any(test, feature = "testing"))]
pub mod oracle;

use crate::tensor::Graph;

/// Which rewrites run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrites {
    pub simplify: bool,
    pub attention: bool,
    pub prefixes: bool,
    /// Generation keeps what attention needs of earlier tokens: [`incremental`]. Without it all is computed for each token.
    pub incremental: bool,
    pub sink: bool,
    pub chunk: bool,
    pub one_hot: bool,
    /// Weights that are not trained have no gradient. Without it they have one, of which only its sum is left.
    pub frozen: bool,
    /// Products in bf16, but for the weights of these names: not an equal graph, but one that a stage may ask for.
    pub bf16: Option<Vec<String>>,
    /// A fixed axis with at least so many entries is wide: values on packed rows with it are not stored.
    pub wide: usize,
}

impl Default for Rewrites {
    fn default() -> Rewrites {
        Rewrites {
            simplify: true,
            attention: true,
            prefixes: true,
            incremental: true,
            sink: true,
            chunk: true,
            one_hot: true,
            frozen: true,
            bf16: None,
            wide: 4096,
        }
    }
}

impl Rewrites {
    /// None at all: graphs stay as they were traced.
    pub fn none() -> Rewrites {
        Rewrites {
            simplify: false,
            attention: false,
            prefixes: false,
            incremental: false,
            sink: false,
            chunk: false,
            one_hot: false,
            frozen: true,
            bf16: None,
            wide: 4096,
        }
    }

    /// Switches one by its name; false if there is none of this name.
    pub fn switch(&mut self, name: &str, on: bool) -> bool {
        let flag = match name {
            "simplify" => &mut self.simplify,
            "attention" => &mut self.attention,
            "prefixes" => &mut self.prefixes,
            "incremental" => &mut self.incremental,
            "sink" => &mut self.sink,
            "chunk" => &mut self.chunk,
            "one_hot" => &mut self.one_hot,
            "frozen" => &mut self.frozen,
            _ => return false,
        };
        *flag = on;
        true
    }
}

/// A rewrite: its name, whether it is on, what it does.
pub struct Rewrite {
    pub name: &'static str,
    on: fn(&Rewrites) -> bool,
    apply: fn(&Graph, &Rewrites) -> Graph,
}

const SIMPLIFY: Rewrite = Rewrite { name: "simplify", on: |r| r.simplify, apply: |g, _| simplify::simplify(g) };

/// What runs on the graph of one item, before it is packed.
pub const PER_ITEM: &[Rewrite] = &[
    SIMPLIFY,
    Rewrite { name: "attention", on: |r| r.attention, apply: |g, _| attention::attention(g) },
    SIMPLIFY,
    Rewrite { name: "prefixes", on: |r| r.prefixes, apply: |g, _| prefixes::prefixes(g) },
];

/// What runs on the packed graph, before derivatives are taken.
pub const PACKED: &[Rewrite] = &[
    SIMPLIFY,
    Rewrite { name: "sink", on: |r| r.sink, apply: |g, r| sink::sink(g, r.wide) },
    SIMPLIFY,
    Rewrite { name: "chunk", on: |r| r.chunk, apply: |g, r| chunk::chunk(g, r.wide) },
];

/// What runs on the packed graph once all derivatives are taken.
pub const STEP: &[Rewrite] = &[
    SIMPLIFY,
    Rewrite { name: "one_hot", on: |r| r.one_hot, apply: |g, _| one_hot::one_hot(g) },
    SIMPLIFY,
    Rewrite {
        name: "bf16",
        on: |r| r.bf16.is_some(),
        apply: |g, r| bf16::bf16(g, r.bf16.as_deref().unwrap_or_default()),
    },
];

/// Applies the rewrites of a list that are on.
pub fn rewrite(graph: &Graph, list: &[Rewrite], which: &Rewrites) -> Graph {
    let on = list.iter().filter(|r| (r.on)(which));
    on.fold(inline::inline_plain(graph), |graph, r| (r.apply)(&graph, which))
}
