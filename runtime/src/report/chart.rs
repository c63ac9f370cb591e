//! Curves as SVG.
//!
//! Colours in the SVG are names: the page's style sheet gives each its colour by day and by night.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::curve::{Series, is_logarithmic, number, runs, smoothed, thinned};

/// The size of a chart on the page, in pixels.
const SIZE: (u32, u32) = (540, 250);
/// Units of the drawing a pixel: its coordinates are whole.
const SCALE: u32 = 10;

/// Colours by name; `style.css` says what they look like.
const GRID: RGBColor = RGBColor(0, 0, 1);
const TEXT: RGBColor = RGBColor(0, 0, 2);
/// Of the first curve; that of the next is one more. So many there are.
const CURVE: u8 = 16;
const CURVES: usize = 8;

/// The name of a curve's colour, as the legend and the SVG have it.
pub fn colour(curve: usize) -> usize {
    curve % CURVES
}

fn ink(curve: usize) -> RGBColor {
    RGBColor(0, 0, CURVE + colour(curve) as u8)
}

/// A chart of curves over steps, as an `<svg>`. Nothing where no value is finite.
pub fn chart(series: &[Series]) -> Option<String> {
    let log = is_logarithmic(series);
    let all = || series.iter().flat_map(Series::finite);
    let span = |of: fn((f64, f64)) -> f64| {
        all().map(of).fold(None, |span: Option<(f64, f64)>, v| match span {
            None => Some((v, v)),
            Some((low, high)) => Some((low.min(v), high.max(v))),
        })
    };
    let (x, y) = (span(|(x, _)| x)?, span(|(_, y)| y)?);
    let x = if x.0 == x.1 { (x.0 - 0.5, x.1 + 0.5) } else { x };
    let mut svg = String::new();
    let drawn = match log {
        true => draw(&mut svg, series, log, x, (y.0 / 1.15..y.1 * 1.15).log_scale()),
        false => {
            let room = if y.0 == y.1 { 0.1 * y.0.abs().max(1e-9) } else { 0.06 * (y.1 - y.0) };
            // A curve that touches 0 stands on it.
            let low = if y.0 >= 0.0 && y.0 < room { 0.0 } else { y.0 - room };
            draw(&mut svg, series, log, x, low..y.1 + room)
        }
    };
    // Drawing into a text fails only where a range has no length.
    drawn.ok()?;
    // The page sizes it; the drawing has its own units.
    let (head, body) = svg.split_at(svg.find("<svg")?);
    debug_assert!(!head.contains("<svg"));
    let body = body.replacen(&format!("width=\"{}\" height=\"{}\" ", SCALE * SIZE.0, SCALE * SIZE.1), "", 1);
    Some(body.replacen("xmlns=\"http://www.w3.org/2000/svg\"", "class=\"chart\" role=\"img\"", 1))
}

fn draw<Y>(
    svg: &mut String,
    series: &[Series],
    log: bool,
    x: (f64, f64),
    y: Y,
) -> Result<(), Box<dyn std::error::Error>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let px = |n: u32| (n * SCALE) as i32;
    let area = SVGBackend::with_string(svg, (SIZE.0 * SCALE, SIZE.1 * SCALE)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(px(8))
        .margin_right(px(14))
        .x_label_area_size(px(24))
        .y_label_area_size(px(48))
        .build_cartesian_2d(x.0..x.1, y)?;
    // Steps have no halves.
    let whole = series.iter().flat_map(Series::finite).all(|(x, _)| x.fract() == 0.0);
    let font = ("sans-serif", px(12)).into_font().color(&TEXT);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.stroke_width(SCALE))
        .axis_style(TRANSPARENT)
        .x_labels(7)
        .y_labels(5)
        .set_all_tick_mark_size(px(4))
        .x_label_style(font.clone().pos(Pos::new(HPos::Center, VPos::Top)))
        .y_label_style(font)
        .x_label_formatter(&|x| if whole && x.fract() != 0.0 { String::new() } else { number(*x) })
        .y_label_formatter(&|y| number(*y))
        .draw()?;
    for (i, one) in series.iter().enumerate() {
        for run in runs(&one.points) {
            let smooth = smoothed(&run, log);
            let thin = thinned(&run);
            let raw = if smooth.is_some() { ink(i).mix(0.35) } else { ink(i).mix(1.0) };
            let wide = if smooth.is_some() { SCALE } else { 2 * SCALE };
            chart.draw_series(LineSeries::new(thin.iter().copied(), raw.stroke_width(wide)))?;
            if run.len() <= DOTS {
                chart.draw_series(run.iter().map(|point| Circle::new(*point, px(3), ink(i).filled())))?;
            }
            if let Some(smooth) = smooth {
                chart.draw_series(LineSeries::new(smooth, ink(i).stroke_width(2 * SCALE)))?;
            }
        }
    }
    area.present()?;
    Ok(())
}

/// Up to so many points are drawn as dots too.
const DOTS: usize = 30;
