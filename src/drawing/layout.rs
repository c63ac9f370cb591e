//! Where boxes and arrows lie: in layers, each box below all that lead to it. Long arrows take a place in each layer that they
//! pass, so none runs through a box (Sugiyama, Tagawa and Toda 1981).

use super::Drawing;

/// Of a letter and a line, and around text, in pixels.
pub const LETTER: f64 = 6.7;
pub const LINE: f64 = 15.0;
pub const PAD: f64 = 9.0;
/// Between boxes of a layer, and between layers.
const APART: f64 = 22.0;
const BETWEEN: f64 = 38.0;
/// The width of the place where an arrow passes a layer.
const PASS: f64 = 10.0;
/// Rounds of putting boxes near to their neighbours.
const ROUNDS: usize = 24;

/// A box on the picture: left, top, width, height.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// The whole picture.
pub struct Layout {
    pub places: Vec<Place>,
    /// The points of each arrow, from the bottom of a box to the top of another one.
    pub paths: Vec<Vec<(f64, f64)>>,
    pub width: f64,
    pub height: f64,
}

/// A box, or the place where an arrow passes a layer.
struct Node {
    layer: usize,
    width: f64,
    height: f64,
    /// The left edge.
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

impl Node {
    fn middle(&self) -> f64 {
        self.x + self.width / 2.0
    }
}

pub fn layout(drawing: &Drawing) -> Layout {
    let layers = layers(drawing);
    let mut nodes: Vec<Node> = drawing
        .boxes
        .iter()
        .zip(&layers)
        .map(|(of, layer)| {
            let letters = of.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) as f64;
            let (width, height) = (letters * LETTER + 2.0 * PAD, of.lines.len() as f64 * LINE + 2.0 * PAD);
            Node { layer: *layer, width, height, x: 0.0, above: vec![], below: vec![] }
        })
        .collect();
    // The nodes that each arrow passes, its ends included.
    let mut passes: Vec<Vec<usize>> = vec![];
    for arrow in &drawing.arrows {
        let mut pass = vec![arrow.from];
        for layer in layers[arrow.from] + 1..layers[arrow.to] {
            nodes.push(Node { layer, width: PASS, height: 0.0, x: 0.0, above: vec![], below: vec![] });
            pass.push(nodes.len() - 1);
        }
        pass.push(arrow.to);
        for pair in pass.windows(2) {
            nodes[pair[0]].below.push(pair[1]);
            nodes[pair[1]].above.push(pair[0]);
        }
        passes.push(pass);
    }
    let count = nodes.iter().map(|node| node.layer + 1).max().unwrap_or(0);
    let mut rows: Vec<Vec<usize>> = vec![vec![]; count];
    nodes.iter().enumerate().for_each(|(i, node)| rows[node.layer].push(i));
    order(&mut nodes, &mut rows);
    settle(&mut nodes, &rows);
    picture(&nodes, &rows, &passes, drawing.boxes.len())
}

/// The layer of each box: below all that lead to it, and as near as can be to what it leads to.
fn layers(drawing: &Drawing) -> Vec<usize> {
    let mut layers = vec![0; drawing.boxes.len()];
    // Boxes come after those that lead to them, so one pass over the arrows by their ends is enough.
    let mut arrows = drawing.arrows.clone();
    arrows.sort_by_key(|arrow| arrow.to);
    for arrow in &arrows {
        layers[arrow.to] = layers[arrow.to].max(layers[arrow.from] + 1);
    }
    arrows.sort_by_key(|arrow| std::cmp::Reverse(arrow.from));
    for i in (0..layers.len()).rev() {
        let leads: Vec<usize> = arrows.iter().filter(|a| a.from == i).map(|a| layers[a.to]).collect();
        let is_source = arrows.iter().all(|arrow| arrow.to != i);
        if let (true, Some(next)) = (is_source, leads.into_iter().min()) {
            layers[i] = next - 1;
        }
    }
    layers
}

/// Orders layers so that boxes stand below the middle of those that lead to them, and keeps the order with the fewest crossings.
fn order(nodes: &mut [Node], rows: &mut [Vec<usize>]) {
    let mut best = (crossings(nodes, rows), rows.to_vec());
    for round in 0..ROUNDS {
        let down = round % 2 == 0;
        let mut turn: Vec<usize> = (0..rows.len()).collect();
        if !down {
            turn.reverse();
        }
        for layer in turn {
            let mut at = vec![0.0; nodes.len()];
            for row in rows.iter() {
                row.iter().enumerate().for_each(|(place, node)| at[*node] = (place as f64 + 0.5) / row.len() as f64);
            }
            let key = |node: &usize| {
                let near = if down { &nodes[*node].above } else { &nodes[*node].below };
                match near.len() {
                    0 => at[*node],
                    n => near.iter().map(|other| at[*other]).sum::<f64>() / n as f64,
                }
            };
            rows[layer].sort_by(|a, b| key(a).total_cmp(&key(b)));
        }
        let found = crossings(nodes, rows);
        if found < best.0 {
            best = (found, rows.to_vec());
        }
    }
    rows.clone_from_slice(&best.1);
}

fn crossings(nodes: &[Node], rows: &[Vec<usize>]) -> usize {
    let mut place = vec![0; nodes.len()];
    rows.iter().for_each(|row| row.iter().enumerate().for_each(|(at, node)| place[*node] = at));
    let in_row = |row: &Vec<usize>| {
        let ends: Vec<(usize, usize)> =
            row.iter().flat_map(|a| nodes[*a].below.iter().map(|b| (place[*a], place[*b]))).collect();
        let crosses = |(i, a): (usize, &(usize, usize))| {
            ends[..i].iter().filter(|b| (a.0 < b.0) != (a.1 < b.1) && a.0 != b.0 && a.1 != b.1).count()
        };
        ends.iter().enumerate().map(crosses).sum::<usize>()
    };
    rows.iter().map(in_row).sum()
}

/// Moves what stands in layers to the middle of its neighbours, as far as the others of its layer let it.
fn settle(nodes: &mut [Node], rows: &[Vec<usize>]) {
    for row in rows {
        let mut x = 0.0;
        for node in row {
            nodes[*node].x = x;
            x += nodes[*node].width + APART;
        }
    }
    for round in 0..ROUNDS {
        for row in rows {
            let wanted: Vec<f64> = row
                .iter()
                .map(|node| {
                    let node = &nodes[*node];
                    let near = if round % 2 == 0 { &node.above } else { &node.below };
                    let near = if near.is_empty() {
                        node.above.iter().chain(&node.below).collect::<Vec<_>>()
                    } else {
                        near.iter().collect()
                    };
                    match near.len() {
                        0 => node.x,
                        n => {
                            near.iter().map(|other| nodes[**other].middle()).sum::<f64>() / n as f64 - node.width / 2.0
                        }
                    }
                })
                .collect();
            // From the left each as far left as it may, from the right likewise; between these lies what is fair to all.
            let (mut left, mut right) = (wanted.clone(), wanted);
            for i in 1..row.len() {
                left[i] = left[i].max(left[i - 1] + nodes[row[i - 1]].width + APART);
            }
            for i in (0..row.len().saturating_sub(1)).rev() {
                right[i] = right[i].min(right[i + 1] - nodes[row[i]].width - APART);
            }
            for (i, node) in row.iter().enumerate() {
                nodes[*node].x = (left[i] + right[i]) / 2.0;
            }
        }
    }
}

fn picture(nodes: &[Node], rows: &[Vec<usize>], passes: &[Vec<usize>], boxes: usize) -> Layout {
    let left = nodes.iter().map(|node| node.x).fold(f64::INFINITY, f64::min);
    let left = if left.is_finite() { left } else { 0.0 };
    let (mut tops, mut y) = (vec![], APART);
    for row in rows {
        let height = row.iter().map(|node| nodes[*node].height).fold(0.0, f64::max);
        tops.push((y, height));
        y += height + BETWEEN;
    }
    let x = |node: &Node| node.x - left + APART;
    let place = |node: &Node| {
        let (top, height) = tops[node.layer];
        Place { x: x(node), y: top + (height - node.height) / 2.0, width: node.width, height: node.height }
    };
    let middle = |node: &Node| x(node) + node.width / 2.0;
    let path = |pass: &Vec<usize>| {
        let mut points = vec![];
        for (i, node) in pass.iter().enumerate() {
            let (node, own) = (&nodes[*node], place(&nodes[*node]));
            let (top, height) = tops[node.layer];
            match i {
                0 => points.push((middle(node), own.y + own.height)),
                i if i + 1 == pass.len() => points.push((middle(node), own.y)),
                // Straight through the layer.
                _ => points.extend([(middle(node), top), (middle(node), top + height)]),
            }
        }
        points
    };
    let width = nodes.iter().map(|node| x(node) + node.width).fold(0.0, f64::max) + APART;
    Layout {
        places: nodes[..boxes].iter().map(place).collect(),
        paths: passes.iter().map(path).collect(),
        width,
        height: y - BETWEEN + APART,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arrow, Box, Look, wrapped};
    use super::*;

    fn drawing(boxes: usize, arrows: &[(usize, usize)]) -> Drawing {
        let name = "perplexity(a_very_long_name_of_a_policy, problems.test, .chat) and even more of it";
        Drawing {
            boxes: (0..boxes)
                .map(|i| Box { lines: wrapped(&name[..name.len() - 7 * (i % 9)], 28), look: Look::Kept })
                .collect(),
            arrows: arrows.iter().map(|(from, to)| Arrow { from: *from, to: *to, strong: true }).collect(),
        }
    }

    #[test]
    fn nothing_overlaps() {
        let arrows =
            [(0, 2), (1, 2), (2, 3), (0, 3), (0, 4), (3, 5), (4, 5), (0, 6), (1, 6), (6, 7), (2, 7), (1, 7), (3, 8)];
        let drawing = drawing(9, &arrows);
        let layout = layout(&drawing);
        for (i, a) in layout.places.iter().enumerate() {
            assert!(a.x >= 0.0 && a.x + a.width <= layout.width && a.y + a.height <= layout.height);
            for b in &layout.places[..i] {
                let apart =
                    a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
                assert!(apart, "{a:?} {b:?}");
            }
        }
        for (path, (from, to)) in layout.paths.iter().zip(arrows) {
            assert!(layout.places[from].y + layout.places[from].height <= layout.places[to].y);
            // Upright parts of an arrow, where it passes a layer, meet no box.
            for pair in path.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
                for (i, place) in layout.places.iter().enumerate().filter(|(i, _)| *i != from && *i != to) {
                    let beside = pair[0].0 <= place.x || place.x + place.width <= pair[0].0;
                    let off = pair[1].1 <= place.y || place.y + place.height <= pair[0].1;
                    assert!(beside || off, "box {i} and {pair:?}");
                }
            }
        }
    }
}
