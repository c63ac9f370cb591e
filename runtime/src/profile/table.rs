//! The table of a stage: alike kernels in one row, the longest first.

use std::collections::{BTreeMap, BTreeSet};

use align_syntax::span::Sources;
use serde_json::{Value, json};

use super::{Section, StageSpent};
use align_compiler::kernel::Work;
use align_compiler::tensor::Origin;
use align_compiler::tensor::origin::FROZEN;

/// Where a kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: String,
    pub line: usize,
    /// The part of the net, such as `blocks.3.attend`, of a product its weight; in a row `*` stands for the numbers of its layers.
    pub part: String,
    /// A derivative of what stands there.
    pub backward: bool,
}

impl Place {
    pub fn of(origin: &Origin, sources: &Sources) -> Option<Place> {
        let place = origin.place.as_ref()?;
        let (line, _) = sources.line_column(place.span.file, place.span.start);
        let file = sources.get(place.span.file).name.clone();
        Some(Place { file, line, part: place.part.clone(), backward: origin.backward })
    }

    fn json(&self) -> Value {
        json!({ "file": self.file, "line": self.line, "part": self.part, "backward": self.backward })
    }
}

/// Kernels that are alike, or a part of the host's work.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `product`, `attention`, `pack`.
    pub what: String,
    /// `None` for the host's work.
    pub place: Option<Place>,
    /// Places that have part in it too.
    pub also: Vec<Place>,
    /// Layers of the net that are in the row; 0 where the place is in none.
    pub layers: usize,
    /// Different kernels, and their runs.
    pub kernels: usize,
    pub runs: u64,
    /// In all.
    pub seconds: f64,
    pub work: Work,
}

/// What a stage took.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub stage: String,
    pub steps: usize,
    pub tokens: u64,
    pub seconds: f64,
    /// The longest first.
    pub rows: Vec<Row>,
    pub memory: Vec<(&'static str, usize)>,
    /// Multiplications and additions a second of a large product, as they were measured.
    pub peak: Option<f64>,
}

impl Table {
    pub fn new(stage: &StageSpent, sources: &Sources, peak: Option<f64>) -> Table {
        let mut rows: BTreeMap<(&str, Option<Place>), (Row, BTreeSet<String>)> = BTreeMap::new();
        for (_, spent) in stage.kernels.iter().filter(|(_, spent)| spent.counter.runs > 0) {
            let mut places = spent.origins.iter().filter_map(|origin| Place::of(origin, sources));
            let first = places.next().map(|place| match &spent.weight {
                Some(weight) => with_weight(place, weight),
                None => place,
            });
            let mut places = first.into_iter().chain(places).map(without_layer);
            let (place, layer) = places.next().map_or((None, None), |(place, layer)| (Some(place), layer));
            let (row, layers) = rows
                .entry((spent.what, place.clone()))
                .or_insert_with(|| (Row { place, ..Row::of_host(spent.what, 0.0) }, BTreeSet::new()));
            layers.extend(layer);
            row.layers = layers.len();
            row.kernels += usize::from(!spent.host);
            row.runs += spent.counter.runs;
            row.seconds += spent.counter.seconds;
            row.work += spent.counter.work;
            for (other, _) in places {
                if row.place.as_ref() != Some(&other) && !row.also.contains(&other) {
                    row.also.push(other);
                }
            }
        }
        let mut rows: Vec<Row> = rows.into_values().map(|(row, _)| row).collect();
        let mut left = stage.seconds;
        for section in Section::ALL {
            let own = stage.kernels.iter().filter(|(of, _)| *of == section).map(|(_, s)| s.counter.seconds);
            let counter = stage.clock.of(section);
            left -= counter.seconds;
            let row = Row::of_host(section.word(), (counter.seconds - own.sum::<f64>()).max(0.0));
            rows.extend((counter.runs > 0).then_some(Row { runs: counter.runs, ..row }));
        }
        rows.push(Row::of_host("other work of the host", left.max(0.0)));
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let StageSpent { name, steps, tokens, seconds, memory, .. } = stage.clone();
        Table { stage: name, steps, tokens, seconds, rows, memory, peak }
    }

    /// What all kernels did, and what products did in which time.
    pub fn work(&self) -> (Work, Work, f64) {
        let (mut all, mut products, mut seconds) = (Work::default(), Work::default(), 0.0);
        for row in &self.rows {
            all += row.work;
            if row.is_product() {
                products += row.work;
                seconds += row.seconds;
            }
        }
        (all, products, seconds)
    }

    /// All of it.
    pub fn json(&self) -> Value {
        let steps = self.steps.max(1) as f64;
        let rows: Vec<Value> = self.rows.iter().map(|row| row.json(self.seconds, steps)).collect();
        let (all, products, seconds) = self.work();
        let memory: serde_json::Map<_, _> = self.memory.iter().map(|(part, n)| (part.to_string(), json!(n))).collect();
        json!({
            "stage": self.stage, "steps": self.steps, "tokens": self.tokens, "seconds": self.seconds,
            "tokens_per_second": self.tokens as f64 / self.seconds.max(1e-9),
            "flops_a_step": all.flops / steps,
            "flops_per_second": all.flops / self.seconds.max(1e-9),
            "product_flops_per_second": products.flops / seconds.max(1e-9),
            "memory_bytes": memory, "rows": rows,
        })
    }
}

impl Row {
    fn of_host(what: &str, seconds: f64) -> Row {
        let (place, also, work) = (None, vec![], Work::default());
        Row { what: what.into(), place, also, layers: 0, kernels: 0, runs: 0, seconds, work }
    }

    /// Whether its operations, and not the bytes that it moves, say how good it is.
    pub fn is_product(&self) -> bool {
        ["product", "attention"].contains(&self.what.as_str())
    }

    fn json(&self, all: f64, steps: f64) -> Value {
        let seconds = self.seconds.max(1e-12);
        json!({
            "what": self.what, "host": self.kernels == 0, "share": self.seconds / all.max(1e-12),
            "seconds_a_step": self.seconds / steps, "runs": self.runs, "kernels": self.kernels, "layers": self.layers,
            "flops_a_step": self.work.flops / steps, "bytes_a_step": self.work.bytes / steps,
            "flops_per_second": self.work.flops / seconds, "bytes_per_second": self.work.bytes / seconds,
            "place": self.place.as_ref().map(Place::json),
            "also": self.also.iter().map(Place::json).collect::<Vec<_>>(),
        })
    }
}

/// The place of a product with a weight. Which policy's it is, the part of the net says.
fn with_weight(place: Place, weight: &str) -> Place {
    let path = weight.split_once(':').map_or(weight, |(_, path)| path);
    let word = if place.part.starts_with(FROZEN) { FROZEN } else { "" };
    Place { part: format!("{word}{path}"), ..place }
}

/// The place with `*` for numbers of layers, and these numbers.
fn without_layer(place: Place) -> (Place, Option<String>) {
    let is_number = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let numbers: Vec<&str> = place.part.split('.').filter(is_number).collect();
    let layer = (!numbers.is_empty()).then(|| numbers.join("."));
    let words = place.part.split('.').map(|word| if is_number(&word) { "*" } else { word });
    (Place { part: words.collect::<Vec<_>>().join("."), ..place.clone() }, layer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use align_compiler::tensor;
    use align_syntax::span::Span;

    use super::*;
    use crate::engine::{Counter, Spent};
    use crate::profile::Clock;

    fn spent(what: &'static str, part: &str, backward: bool, span: Span, seconds: f64) -> (Section, Spent) {
        let place = tensor::Place { span, own: None, part: part.into() };
        let origins = vec![Origin { place: Some(Arc::new(place)), backward }];
        let work = Work { flops: 8.0, bytes: 4.0 };
        let counter = Counter { runs: 2, seconds, work, ..Counter::default() };
        (Section::Step, Spent { what, name: "made".into(), weight: None, origins, host: false, counter })
    }

    #[test]
    fn layers_share_a_row_and_the_rest_is_the_hosts() {
        let mut sources = Sources::default();
        let file = sources.add("net.align", "one\ntwo\nthree\n");
        let (two, three) = (Span::new(file, 4, 7), Span::new(file, 8, 13));
        let counter = Counter { runs: 2, seconds: 0.25, ..Counter::default() };
        let of_device =
            Spent { what: "encode", name: "encode".into(), weight: None, origins: vec![], host: true, counter };
        let of_device = (Section::Step, of_device);
        let kernels = vec![
            spent("product", "blocks.0.up", false, two, 1.0),
            spent("product", "blocks.11.up", false, two, 2.0),
            spent("product", "blocks.11.up", true, two, 4.0),
            spent("pointwise", "", false, three, 0.5),
            of_device,
        ];
        let stage = StageSpent {
            name: "tuned".into(),
            steps: 2,
            tokens: 100,
            seconds: 10.0,
            clock: Clock::default(),
            kernels,
            memory: vec![],
        };
        let table = Table::new(&stage, &sources, None);
        let seen: Vec<_> = table.rows.iter().map(|row| (row.what.as_str(), row.seconds, row.layers)).collect();
        assert_eq!(
            seen,
            [
                ("other work of the host", 10.0, 0),
                ("product", 4.0, 1),
                ("product", 3.0, 2),
                ("pointwise", 0.5, 0),
                ("encode", 0.25, 0)
            ]
        );
        assert_eq!(table.json()["rows"][4]["host"], true);
        let place = Place { file: "net.align".into(), line: 2, part: "blocks.*.up".into(), backward: false };
        assert_eq!(table.rows[2].place, Some(place));
        assert_eq!(table.work(), (Work { flops: 32.0, bytes: 16.0 }, Work { flops: 24.0, bytes: 12.0 }, 7.0));
        assert_eq!(table.json()["rows"][2]["flops_a_step"], 8.0);
    }
}
