//! Sequences of an item as a forest: what several begin with is there once. See [`crate::rewrite::prefixes`].

use super::items::{Item, ItemInput, ItemLayout, ItemValue, STREAM};
use crate::tensor::{Axis, AxisKind, DType, Graph, Op};

/// Ends the name of an input that holds the tokens of a forest.
const FOREST: &str = ".forest";
/// Ends the name of an input that holds for each of them its place in its own sequence.
const PLACES: &str = ".forest.places";
/// Ends the name of an input that holds for each of them where in the forest the tokens end that come after it in any sequence.
const ENDS: &str = ".forest.ends";
/// Ends the name of an input on a stream: where its tokens lie in the forest.
const SEATS: &str = ".forest.seats";

/// The streams of some fields of an item, as one.
///
/// Its tokens lie so that each sequence's are in order and what is below a token comes right after it: a prompt, then one
/// reply to it, then the other. Sequences go apart where their tokens first differ, wherever that is.
#[derive(Clone, Debug, PartialEq)]
pub struct Forest {
    /// The fields, joined.
    name: String,
    /// The axis of its tokens: ragged, of the item.
    pub axis: Axis,
}

impl Forest {
    /// A forest of these fields; `origin` is that of the first one's stream.
    pub fn new<'a>(paths: impl Iterator<Item = &'a str>, origin: u32) -> Forest {
        Forest { name: paths.collect::<Vec<_>>().join("+"), axis: Axis::ragged("forest", origin, None) }
    }

    /// The forests that a graph reads, for one item or packed.
    pub fn of(graph: &Graph) -> Vec<Forest> {
        let read = |op: &Op, axis: &Axis| match (op, axis.kind()) {
            (Op::Input(name), AxisKind::Packed(axis)) => {
                Some(Forest { name: name.strip_suffix(FOREST)?.to_string(), axis: axis.clone() })
            }
            (Op::Input(name), _) => Some(Forest { name: name.strip_suffix(FOREST)?.to_string(), axis: axis.clone() }),
            _ => None,
        };
        graph.nodes().filter_map(|(_, data)| read(&data.op, data.axes.first()?)).collect()
    }

    /// The input with its tokens.
    pub fn tokens(&self) -> String {
        format!("{}{FOREST}", self.name)
    }

    /// The input with the place of each token in its own sequence.
    pub fn places(&self) -> String {
        format!("{}{PLACES}", self.name)
    }

    /// The input with the end of what sees each token, counted in the forest.
    pub fn ends(&self) -> String {
        format!("{}{ENDS}", self.name)
    }

    /// The input with the places in the forest of the tokens of a field's stream.
    pub fn seats(path: &str) -> String {
        format!("{path}{SEATS}")
    }

    /// All its inputs, for a layout that has its streams.
    pub fn inputs(&self, layout: &ItemLayout) -> Vec<ItemInput> {
        let own = [self.tokens(), self.places(), self.ends()].map(|name| (name, vec![self.axis.clone()]));
        let seats = self.streams(layout).map(|(path, i)| (Forest::seats(path), layout.inputs[i].axes.clone()));
        own.into_iter().chain(seats).map(|(name, axes)| ItemInput { name, axes, dtype: DType::Int }).collect()
    }

    /// Its fields, each with the number of its stream among the layout's inputs.
    fn streams<'a>(&'a self, layout: &'a ItemLayout) -> impl Iterator<Item = (&'a str, usize)> {
        self.name.split('+').map(|path| {
            let is_it = |input: &ItemInput| input.name.strip_suffix(STREAM) == Some(path);
            (path, layout.inputs.iter().position(is_it).expect("the layout has all streams of a forest"))
        })
    }

    /// The values of [`Forest::inputs`] for items end to end, and the number of tokens of each.
    pub(super) fn pack<'a>(
        &self,
        layout: &ItemLayout,
        items: impl Iterator<Item = &'a Item>,
    ) -> (Vec<(String, Vec<i32>)>, Vec<usize>) {
        let streams: Vec<(&str, usize)> = self.streams(layout).collect();
        let mut lengths = vec![];
        let (mut all, mut seats) = (Planted::default(), vec![vec![]; streams.len()]);
        for item in items {
            let sequences: Vec<Vec<&[i32]>> = streams.iter().map(|(_, i)| sequences(layout, item, *i)).collect();
            let planted = plant(&sequences.concat());
            lengths.push(planted.tokens.len());
            let mut rest = planted.seats.into_iter();
            for (to, sequences) in seats.iter_mut().zip(&sequences) {
                to.extend(rest.by_ref().take(sequences.len()).flatten());
            }
            all.tokens.extend(planted.tokens);
            all.places.extend(planted.places);
            all.ends.extend(planted.ends);
        }
        let own = [(self.tokens(), all.tokens), (self.places(), all.places), (self.ends(), all.ends)];
        let seats = streams.iter().zip(seats).map(|((path, _), seats)| (Forest::seats(path), seats));
        (own.into_iter().chain(seats).collect(), lengths)
    }
}

/// The sequences of a stream of an item.
fn sequences<'a>(layout: &ItemLayout, item: &'a Item, input: usize) -> Vec<&'a [i32]> {
    let time = layout.inputs[input].axes.last().expect("a stream has an axis");
    let lengths = &item.lengths[layout.ragged.iter().position(|axis| axis == time).expect("it is ragged")];
    let ItemValue::Ints(tokens) = &item.values[input] else { unreachable!("tokens are Ints") };
    let mut rest = &tokens[..];
    let mut cut = |n: &usize| {
        let (one, after) = rest.split_at(*n);
        rest = after;
        one
    };
    lengths.iter().map(&mut cut).collect()
}

/// Sequences of one item as a forest.
#[derive(Clone, Debug, Default, PartialEq)]
struct Planted {
    tokens: Vec<i32>,
    /// The place of each token in its sequence.
    places: Vec<i32>,
    /// Where what is below each token ends.
    ends: Vec<i32>,
    /// For each sequence where its tokens lie.
    seats: Vec<Vec<i32>>,
}

fn plant(sequences: &[&[i32]]) -> Planted {
    let mut planted = Planted { seats: vec![vec![]; sequences.len()], ..Planted::default() };
    planted.grow(sequences, &(0..sequences.len()).collect::<Vec<_>>(), 0);
    planted
}

impl Planted {
    /// Adds these sequences, which are equal before `from`, from there on.
    fn grow(&mut self, sequences: &[&[i32]], these: &[usize], from: usize) {
        let Some(first) = these.first().map(|i| sequences[*i]) else { return };
        let shared = |place: &usize| these.iter().all(|i| sequences[*i].get(*place) == Some(&first[*place]));
        let to = (from..first.len()).take_while(shared).last().map_or(from, |place| place + 1);
        let start = self.tokens.len();
        let end = start + to - from;
        these.iter().for_each(|i| self.seats[*i].extend(start as i32..end as i32));
        self.tokens.extend(&first[from..to]);
        self.places.extend(from as i32..to as i32);
        self.ends.resize(end, 0);
        // By their next tokens, in the order in which these first come.
        let mut rest: Vec<usize> = these.iter().copied().filter(|i| sequences[*i].len() > to).collect();
        while let Some(next) = rest.first().map(|i| sequences[*i][to]) {
            let (alike, others): (Vec<usize>, Vec<usize>) = rest.iter().partition(|i| sequences[**i][to] == next);
            self.grow(sequences, &alike, to);
            rest = others;
        }
        let below = self.tokens.len() as i32;
        self.ends[start..end].fill(below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_comes_before_its_replies() {
        let planted = plant(&[&[7, 8, 1, 2], &[7, 8, 3]]);
        assert_eq!(planted.tokens, [7, 8, 1, 2, 3]);
        assert_eq!(planted.places, [0, 1, 2, 3, 2]);
        assert_eq!(planted.ends, [5, 5, 4, 4, 5]);
        assert_eq!(planted.seats, [vec![0, 1, 2, 3], vec![0, 1, 4]]);
    }

    #[test]
    fn deeper_trees_and_several_of_them() {
        let sequences: [&[i32]; 6] = [&[1, 2, 3], &[9], &[1, 2, 4, 5], &[], &[1, 2, 3], &[1, 2, 4, 6]];
        let planted = plant(&sequences);
        assert_eq!(planted.tokens, [1, 2, 3, 4, 5, 6, 9]);
        assert_eq!(planted.places, [0, 1, 2, 2, 3, 3, 0]);
        assert_eq!(planted.ends, [6, 6, 3, 6, 5, 6, 7]);
        for (sequence, seats) in sequences.iter().zip(&planted.seats) {
            let read: Vec<i32> = seats.iter().map(|seat| planted.tokens[*seat as usize]).collect();
            assert_eq!(read, *sequence);
            // Each token sees those of its sequence up to itself, and no others.
            for seat in seats {
                let sees = (0..=*seat).filter(|key| *seat < planted.ends[*key as usize]);
                let own = seats.iter().copied().filter(|other| other <= seat);
                assert!(sees.eq(own), "{sequence:?}");
            }
        }
    }
}
