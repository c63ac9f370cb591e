//! Curves made ready for drawing: gaps, smoothing, fewer points, the scale of the value axis.

/// Points of a drawn line at most; a screen shows no more.
const DRAWN: usize = 400;
/// From so many points on, a smoothed line is drawn over the raw one.
const SMOOTHED: usize = 40;

/// A named row of values over steps. A value that is not finite is a gap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    pub label: String,
    pub points: Vec<(f64, f64)>,
}

impl Series {
    pub fn finite(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
    }
}

/// Whether values are better seen by their logarithm: all above 0, far apart, and most of them near the bottom.
pub fn is_logarithmic<'a>(series: impl IntoIterator<Item = &'a Series>) -> bool {
    const APART: f64 = 30.0;
    let mut values: Vec<f64> = series.into_iter().flat_map(Series::finite).map(|(_, y)| y).collect();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(middle), Some(most)) => *least > 0.0 && *most > APART * least && *middle < 0.1 * most,
        _ => false,
    }
}

/// The runs of a curve between its gaps.
pub fn runs(points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![vec![]];
    for point in points {
        match point.1.is_finite() {
            true => runs.last_mut().expect("there is one").push(*point),
            false => runs.push(vec![]),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// Fewer points that look the same: of each stretch the least and the greatest value, where they stand.
pub fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= DRAWN {
        return points.to_vec();
    }
    let stretches = DRAWN / 2;
    let mut thin = Vec::with_capacity(DRAWN);
    for i in 0..stretches {
        let part = &points[i * points.len() / stretches..(i + 1) * points.len() / stretches];
        let least = (0..part.len()).min_by(|a, b| part[*a].1.total_cmp(&part[*b].1)).unwrap_or(0);
        let most = (0..part.len()).max_by(|a, b| part[*a].1.total_cmp(&part[*b].1)).unwrap_or(0);
        thin.push(part[least.min(most)]);
        if least != most {
            thin.push(part[least.max(most)]);
        }
    }
    thin
}

/// The mean of what lies around each point, in logarithms where `log`. Nothing for a curve that is short or smooth as it is.
pub fn smoothed(points: &[(f64, f64)], log: bool) -> Option<Vec<(f64, f64)>> {
    let turns = points.windows(3).filter(|p| (p[1].1 - p[0].1) * (p[2].1 - p[1].1) < 0.0).count();
    if points.len() < SMOOTHED || turns < points.len() / 5 {
        return None;
    }
    let (to, back): (fn(f64) -> f64, fn(f64) -> f64) = if log { (f64::ln, f64::exp) } else { (|y| y, |y| y) };
    let mut sums = vec![0.0];
    points.iter().for_each(|(_, y)| sums.push(sums[sums.len() - 1] + to(*y)));
    let around = (points.len() / 50).max(2);
    let mean = |i: usize| {
        // As far on both sides, so that the ends are drawn towards the middle no more than noise demands.
        let reach = around.min(i.min(points.len() - 1 - i).max(around / 3));
        let (from, to) = (i.saturating_sub(reach), (i + reach + 1).min(points.len()));
        back((sums[to] - sums[from]) / (to - from) as f64)
    };
    // Between two drawn points nothing of a smooth line is lost.
    let every = points.len().div_ceil(DRAWN);
    let mut kept: Vec<usize> = (0..points.len()).step_by(every).collect();
    if kept.last() != Some(&(points.len() - 1)) {
        kept.push(points.len() - 1);
    }
    Some(kept.into_iter().map(|i| (points[i].0, mean(i))).collect())
}

/// A number for people: four digits that matter, `12k` and `3.4M` for large ones.
pub fn number(x: f64) -> String {
    let trimmed = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    };
    match x.abs() {
        _ if !x.is_finite() => format!("{x}"),
        0.0 => "0".into(),
        a if !(1e-3..1e12).contains(&a) => {
            let text = format!("{x:.2e}");
            let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{power}", trimmed(digits.to_string()))
        }
        a if a >= 1e9 => trimmed(format!("{:.2}", x / 1e9)) + "G",
        a if a >= 1e6 => trimmed(format!("{:.2}", x / 1e6)) + "M",
        a if a >= 1e4 => trimmed(format!("{:.1}", x / 1e3)) + "k",
        a => {
            let digits = (3 - a.log10().floor() as i32).max(0) as usize;
            trimmed(format!("{x:.digits$}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(len: usize, y: impl Fn(usize) -> f64) -> Vec<(f64, f64)> {
        (0..len).map(|i| (i as f64, y(i))).collect()
    }

    #[test]
    fn a_long_curve_keeps_its_spikes() {
        let points = line(100_000, |i| if i == 54_321 { 9.0 } else { (i as f64 / 1e4).sin() });
        let thin = thinned(&points);
        assert!(thin.len() <= DRAWN && thin.contains(&(54_321.0, 9.0)));
        assert!(thin.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(thinned(&points[..30]), points[..30]);
    }

    #[test]
    fn a_smooth_line_follows() {
        let noisy = line(1000, |i| 2.0 + i as f64 * 0.01 + if i % 2 == 0 { 0.5 } else { -0.5 });
        let smooth = smoothed(&noisy, false).unwrap();
        assert!(smooth.len() <= DRAWN + 1 && smooth[0].0 == 0.0 && smooth.last().unwrap().0 == 999.0);
        assert!((smooth[0].1 - 2.0).abs() < 0.15, "{:?}", smooth[0]);
        assert!(smooth[20..smooth.len() - 20].iter().all(|(x, y)| (y - 2.0 - x * 0.01).abs() < 0.05));
        assert_eq!(smoothed(&noisy[..10], false), None);
        let decay = line(200, |i| (-(i as f64) / 20.0).exp());
        assert_eq!(smoothed(&decay, true), None, "it is smooth as it is");
        let shaken = line(200, |i| (-(i as f64) / 20.0 + if i % 2 == 0 { 0.5 } else { -0.5 }).exp());
        let smooth = smoothed(&shaken, true).unwrap();
        assert!(smooth[5..195].iter().zip(&decay[5..]).all(|(a, b)| (a.1 / b.1).ln().abs() < 0.12), "by its logarithm");
    }

    #[test]
    fn scales_and_gaps() {
        let of = |points: Vec<(f64, f64)>| [Series { label: String::new(), points }];
        assert!(is_logarithmic(&of(line(100, |i| 5.0 * (-(i as f64) / 10.0).exp()))));
        // A share of right answers that rises from almost nothing.
        assert!(!is_logarithmic(&of(line(100, |i| 0.01 + i as f64 / 100.0))));
        assert!(!is_logarithmic(&of(line(100, |i| i as f64 - 1.0))) && !is_logarithmic(&[]));
        let gap = [(1.0, 1.0), (2.0, f64::NAN), (3.0, 3.0), (4.0, 4.0)];
        assert_eq!(runs(&gap), [vec![(1.0, 1.0)], vec![(3.0, 3.0), (4.0, 4.0)]]);
    }

    #[test]
    fn numbers() {
        let shown = [0.0, 1.0, 0.5, 123.456, 2500.0, 12_000.0, 3.4e6, 1.5e9, 2e-5, -0.25].map(number);
        assert_eq!(shown, ["0", "1", "0.5", "123.5", "2500", "12k", "3.4M", "1.5G", "2e-5", "-0.25"]);
    }
}
