//! Paths, and values by their paths.

use crate::eval::value::Tensor;
use std::collections::BTreeMap;

/// A step of the path of an inner value, or of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Name(String),
    At(i64),
    Cut(i64, Option<i64>),
}

/// The steps of `blocks[-1].attend`.
pub(crate) fn steps(path: &str) -> Vec<Step> {
    let mut steps = vec![];
    for part in path.split_inclusive(']').filter(|part| !part.is_empty()) {
        let (words, index) = match part.split_once('[') {
            Some((words, index)) => (words, index.strip_suffix(']')),
            None => (part, None),
        };
        steps.extend(words.split('.').filter(|word| !word.is_empty()).map(|word| Step::Name(word.into())));
        steps.extend(index.and_then(|index| match index.split_once("..") {
            Some((from, to)) => Some(Step::Cut(from.parse().ok()?, to.parse().ok())),
            None => Some(Step::At(index.parse().ok()?)),
        }));
    }
    steps
}

/// Values by their paths.
#[derive(Default)]
pub(super) struct Tree {
    /// Each with its depth.
    pub(super) values: Vec<(usize, Tensor)>,
    parts: BTreeMap<String, Tree>,
}

/// What a path names.
pub(super) enum Found {
    One(Tensor),
    /// The same in each layer of a stack.
    Layers(Vec<Found>),
}

impl Tree {
    pub(super) fn at(&mut self, path: &str) -> &mut Tree {
        path.split('.').fold(self, |tree, word| tree.parts.entry(word.to_string()).or_default())
    }

    /// The values that the fewest functions lie before.
    fn nearest(&self) -> Vec<Tensor> {
        let least = self.values.iter().map(|(depth, _)| *depth).min();
        self.values.iter().filter(|(depth, _)| Some(*depth) == least).map(|(_, tensor)| *tensor).collect()
    }

    pub(super) fn merge(&mut self, other: Tree) {
        self.values.extend(other.values);
        for (word, part) in other.parts {
            self.parts.entry(word).or_default().merge(part);
        }
    }

    /// The layers of a stack in order; none for anything else.
    fn layers(&self) -> Vec<&Tree> {
        let mut layers: Vec<(usize, &Tree)> =
            self.parts.iter().filter_map(|(word, part)| Some((word.parse().ok()?, part))).collect();
        layers.sort_by_key(|(i, _)| *i);
        layers.into_iter().map(|(_, part)| part).collect()
    }

    /// What steps lead to from here; `None` if they lead nowhere.
    fn resolve(&self, steps: &[Step], shown: &str) -> Result<Option<Found>, String> {
        let layers = self.layers();
        let each = |of: &[&Tree], steps: &[Step]| -> Result<Option<Found>, String> {
            let found: Option<Vec<Found>> =
                of.iter().map(|layer| layer.resolve(steps, shown)).collect::<Result<_, String>>()?;
            Ok(found.map(Found::Layers))
        };
        let place = |i: i64| {
            let at = if i < 0 { i + layers.len() as i64 } else { i };
            match usize::try_from(at).ok().filter(|at| *at < layers.len()) {
                Some(at) => Ok(at),
                None => Err(format!("there is no place {i} in a stack of {}", layers.len())),
            }
        };
        match steps {
            [Step::At(i), rest @ ..] if !layers.is_empty() => layers[place(*i)?].resolve(rest, shown),
            [Step::Cut(from, to), rest @ ..] if !layers.is_empty() => {
                let from = place(*from)?;
                // The end is one after the last.
                let to = to.map_or(Ok(layers.len()), |to| place(to - 1).map(|last| last + 1))?;
                if from >= to {
                    return Err(format!("the range {from}..{to} is empty"));
                }
                each(&layers[from..to], rest)
            }
            [Step::At(_) | Step::Cut(..), ..] => Ok(None),
            steps if !layers.is_empty() => each(&layers, steps),
            [Step::Name(name), rest @ ..] => match self.parts.get(name) {
                Some(part) => part.resolve(rest, shown),
                None => Ok(None),
            },
            [] => match &self.nearest()[..] {
                [] => Ok(None),
                [value] => Ok(Some(Found::One(*value))),
                values => {
                    let message =
                        format!("`{shown}` has {} values: it is made or applied more than once;", values.len());
                    Err(format!("{message} give the one that is meant a name with `let`"))
                }
            },
        }
    }

    /// What a path names. The first words of a full path may be left out where one place alone fits.
    pub(super) fn find(&self, path: &[Step]) -> Result<Option<Found>, String> {
        let shown = shown(path);
        if let Some(found) = self.resolve(path, &shown)? {
            return Ok(Some(found));
        }
        let mut level: Vec<(String, &Tree)> = vec![(String::new(), self)];
        while !level.is_empty() {
            let (mut next, mut found) = (vec![], vec![]);
            for (before, tree) in level {
                // Of a stack the first layer speaks for all.
                let parts: Vec<(String, &Tree)> = match &tree.layers()[..] {
                    [] => tree.parts.iter().map(|(word, part)| (format!("{before}.{word}"), part)).collect(),
                    [first, ..] => first.parts.iter().map(|(word, part)| (format!("{before}.{word}"), part)).collect(),
                };
                for (name, part) in parts {
                    let full: Vec<Step> = steps(&name).into_iter().chain(path.iter().cloned()).collect();
                    if let Some(value) = self.resolve(&full, &shown)? {
                        found.push((name.clone(), value));
                    }
                    next.push((name, part));
                }
            }
            match found.len() {
                0 => level = next,
                1 => return Ok(found.pop().map(|(_, value)| value)),
                _ => {
                    let all: Vec<String> = found.iter().map(|(before, _)| format!("`{before}{shown}`")).collect();
                    return Err(format!("`{shown}` may be {}: say which", all.join(" or ")));
                }
            }
        }
        Ok(None)
    }

    /// A place of the one stack that is nearest to the top.
    pub(super) fn layer(&self, i: i64) -> Result<Option<Found>, String> {
        let mut level: Vec<&Tree> = vec![self];
        while !level.is_empty() {
            let stacks: Vec<&&Tree> = level.iter().filter(|tree| !tree.layers().is_empty()).collect();
            match stacks[..] {
                [] => level = level.iter().flat_map(|tree| tree.parts.values()).collect(),
                [stack] => return stack.resolve(&[Step::At(i)], "layer"),
                _ => return Err("the net has several stacks: `read(net, reply, .name[i])` says which".into()),
            }
        }
        Ok(None)
    }

    /// All paths, without the numbers of layers.
    pub(super) fn paths(&self, before: &str, all: &mut Vec<String>) {
        for (word, part) in &self.parts {
            let path = match word.parse::<usize>() {
                Ok(_) => before.to_string(),
                Err(_) => format!("{before}.{word}"),
            };
            if !part.values.is_empty() && !path.is_empty() && !all.contains(&path) {
                all.push(path.clone());
            }
            part.paths(&path, all);
        }
    }
}

/// A path as it is written.
pub(super) fn shown(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Name(name) => format!(".{name}"),
        Step::At(i) => format!("[{i}]"),
        Step::Cut(from, to) => format!("[{from}..{}]", to.map_or(String::new(), |to| to.to_string())),
    };
    path.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_names_and_places() {
        let name = |text: &str| Step::Name(text.into());
        assert_eq!(steps("blocks[-1].attend"), [name("blocks"), Step::At(-1), name("attend")]);
        assert_eq!(steps("blocks[0..8]"), [name("blocks"), Step::Cut(0, Some(8))]);
        assert_eq!(steps("a.b[2..][0].c"), [name("a"), name("b"), Step::Cut(2, None), Step::At(0), name("c")]);
        assert_eq!(shown(&steps("a.b[2..][-1].c")), ".a.b[2..][-1].c");
    }
}
