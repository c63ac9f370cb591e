//! A drawing as SVG.

use super::layout::{LETTER, LINE, PAD, layout};
use super::{Drawing, Look};

pub fn svg(drawing: &Drawing) -> String {
    let layout = layout(drawing);
    let (width, height) = (layout.width.ceil(), layout.height.ceil());
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <defs><marker id=\"end\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#555\"/></marker></defs>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (path, arrow) in layout.paths.iter().zip(&drawing.arrows) {
        let dash = if arrow.strong { "" } else { " stroke-dasharray=\"4 3\"" };
        out += &format!(
            "<path d=\"{}\" fill=\"none\" stroke=\"#555\" stroke-width=\"1.2\"{dash} marker-end=\"url(#end)\"/>\n",
            curve(path)
        );
    }
    for (place, of) in layout.places.iter().zip(&drawing.boxes) {
        let (fill, stroke, round) = match of.look {
            Look::Source => ("#eef3f8", "#6b8299", 9),
            Look::Kept => ("#fff6e0", "#a8842c", 3),
            Look::End => ("#eef7ee", "#5f8f5f", 3),
        };
        out += &format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{round}\" fill=\"{fill}\" stroke=\"{stroke}\"/>\n",
            place.x, place.y, place.width, place.height
        );
        for (i, line) in of.lines.iter().enumerate() {
            let weight = if i == 0 { " fill=\"#666\"" } else { "" };
            // A font of another width is drawn in the width that was laid out.
            out += &format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" font-family=\"monospace\" font-size=\"11\" textLength=\"{:.1}\" \
                 lengthAdjust=\"spacingAndGlyphs\"{weight}>{}</text>\n",
                place.x + PAD,
                place.y + PAD + LINE * (i as f64 + 0.75),
                line.chars().count() as f64 * LETTER,
                escaped(line)
            );
        }
    }
    out + "</svg>\n"
}

/// From point to point, upright at each.
fn curve(points: &[(f64, f64)]) -> String {
    let mut out = points.first().map_or(String::new(), |(x, y)| format!("M{x:.1} {y:.1}"));
    for pair in points.windows(2) {
        let ((x, y), (to_x, to_y)) = (pair[0], pair[1]);
        let middle = (y + to_y) / 2.0;
        out += &format!("C{x:.1} {middle:.1} {to_x:.1} {middle:.1} {to_x:.1} {to_y:.1}");
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
