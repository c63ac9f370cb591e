//! How rotary positions reach beyond the places of training: the forms that the ecosystem has, and the net's setting.

use std::f64::consts::PI;

use serde_json::{Value, json};

/// What frequencies are divided by, and what turned vectors are scaled by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    /// All by one factor.
    Linear { factor: f64 },
    /// Slow ones by a factor, fast ones by none: those between `low` and `high` turns over the original places go over.
    Llama3 { factor: f64, original: f64, low: f64, high: f64 },
    /// The same with a ramp over the frequencies' indices; `scale` is that of queries and keys alike.
    Yarn { factor: f64, original: f64, slow: f64, fast: f64, scale: f64 },
}

impl Reach {
    /// The scale that YaRN's authors found to be right.
    pub fn yarn_scale(factor: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 }
    }

    /// The setting `reach` of the library's nets.
    pub fn setting(&self) -> Value {
        let (factor, original, low, high, by_index, scale) = match *self {
            Reach::Linear { factor } => (factor, 0.0, 1.0, 4.0, false, 1.0),
            Reach::Llama3 { factor, original, low, high } => (factor, original, low, high, false, 1.0),
            Reach::Yarn { factor, original, slow, fast, scale } => (factor, original, slow, fast, true, scale),
        };
        json!({ "factor": factor, "original": original, "low": low, "high": high, "by_index": by_index, "scale": scale })
    }

    /// The form of a setting: `Some(None)` where nothing is changed, `None` where no form of the ecosystem does the same.
    pub fn of_setting(setting: &Value) -> Option<Option<Reach>> {
        let number = |name: &str| setting[name].as_f64();
        let (factor, original, scale) = (number("factor")?, number("original")?, number("scale")?);
        let (low, high) = (number("low")?, number("high")?);
        Some(match (original == 0.0, setting["by_index"].as_bool()?, scale == 1.0) {
            (_, _, true) if factor == 1.0 => None,
            (true, _, true) => Some(Reach::Linear { factor }),
            (false, false, true) => Some(Reach::Llama3 { factor, original, low, high }),
            (false, true, _) => Some(Reach::Yarn { factor, original, slow: low, fast: high, scale }),
            _ => return None,
        })
    }

    /// Whether its numbers mean anything.
    pub fn is_sound(&self) -> bool {
        let above = |least: f64, x: f64| x.is_finite() && x > least;
        match *self {
            Reach::Linear { factor } => above(0.0, factor),
            Reach::Llama3 { factor, original, low, high } => {
                above(0.0, factor) && above(0.0, original) && above(0.0, low) && above(low, high)
            }
            Reach::Yarn { factor, original, slow, fast, scale } => {
                let ramp = above(0.0, slow) && above(slow, fast);
                above(0.0, factor) && above(0.0, original) && above(0.0, scale) && ramp
            }
        }
    }

    /// What Llama 3's form divides each of `half` frequencies by; files of GGUF hold these.
    pub fn divisors(&self, half: usize, theta: f64) -> Option<Vec<f64>> {
        let Reach::Llama3 { factor, original, low, high } = *self else { return None };
        let of = |index: usize| {
            let turns = original * theta.powf(-(index as f64) / half as f64) / (2.0 * PI);
            let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            1.0 / (keep + (1.0 - keep) / factor)
        };
        Some((0..half).map(of).collect())
    }

    /// The form that divides frequencies by these numbers, if there is one. Three numbers of it matter only in their
    /// proportion: where the usual ones do not fit, `low` is 1.
    pub fn of_divisors(divisors: &[f32], theta: f64) -> Option<Option<Reach>> {
        let factor = divisors.iter().copied().fold(1.0, f32::max);
        if divisors.iter().all(|d| *d == factor) {
            return Some((factor != 1.0).then_some(Reach::Linear { factor: f64::from(factor) }));
        }
        let (half, factor) = (divisors.len(), f64::from(factor));
        let fits = |reach: Reach| {
            let want = reach.divisors(half, theta)?;
            let near = |(a, b): (&f32, f64)| (f64::from(*a) - b).abs() <= 1e-5 * b;
            (reach.is_sound() && divisors.iter().zip(want).all(near)).then_some(Some(reach))
        };
        let usual = Reach::Llama3 { factor, original: 8192.0, low: 1.0, high: 4.0 };
        if let Some(found) = fits(usual) {
            return Some(found);
        }
        // What is kept of a frequency is a straight line of its turns a place where it goes over, so two points say all.
        // Where fewer lie on the line, its ends do for one: many lines go through all points then, and any will do.
        let point = |(index, divisor): (usize, &f32)| {
            let keep = (1.0 / f64::from(*divisor) - 1.0 / factor) / (1.0 - 1.0 / factor);
            (theta.powf(-(index as f64) / half as f64) / (2.0 * PI), keep)
        };
        let points: Vec<(f64, f64)> = divisors.iter().enumerate().map(point).collect();
        let (first, last) = (
            points.iter().rposition(|(_, keep)| *keep >= 1.0 - 1e-6).unwrap_or(0),
            points.iter().position(|(_, keep)| *keep <= 1e-6).unwrap_or(half - 1),
        );
        let line = |from: usize, to: usize| {
            let slope = (points.get(from)?.1 - points.get(to)?.1) / (points[from].0 - points[to].0);
            // keep = (original pace - low) / (high - low), with low = 1.
            let below = slope * points[to].0 - points[to].1;
            let high = 1.0 + 1.0 / below;
            fits(Reach::Llama3 { factor, original: slope * (high - 1.0), low: 1.0, high })
        };
        let inner = line(first + 1, last.saturating_sub(1));
        inner
            .or_else(|| line(first, last.saturating_sub(1)))
            .or_else(|| line(first + 1, last))
            .or_else(|| line(first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_lead_back() {
        let all = [
            Reach::Linear { factor: 4.0 },
            Reach::Llama3 { factor: 8.0, original: 8192.0, low: 1.0, high: 4.0 },
            Reach::Yarn { factor: 4.0, original: 32768.0, slow: 1.0, fast: 32.0, scale: Reach::yarn_scale(4.0) },
        ];
        for reach in all {
            assert_eq!(Reach::of_setting(&reach.setting()), Some(Some(reach)));
        }
        let odd = json!({"factor": 2, "original": 0, "low": 1, "high": 4, "by_index": false, "scale": 1.5});
        assert_eq!(Reach::of_setting(&odd), None);
        assert_eq!(Reach::of_setting(&Reach::Linear { factor: 1.0 }.setting()), Some(None));
    }

    /// The same frequencies, if not the same numbers.
    #[test]
    fn divisors_lead_back() {
        for (reach, theta) in [
            (Reach::Llama3 { factor: 32.0, original: 8192.0, low: 1.0, high: 4.0 }, 500_000.0),
            (Reach::Llama3 { factor: 4.0, original: 2048.0, low: 1.5, high: 5.0 }, 10_000.0),
            (Reach::Llama3 { factor: 8.0, original: 64.0, low: 1.0, high: 4.0 }, 10_000.0),
            (Reach::Llama3 { factor: 8.0, original: 300.0, low: 3.0, high: 3.5 }, 10_000.0),
        ] {
            for half in [4, 5, 8, 32, 64] {
                let want = reach.divisors(half, theta).unwrap();
                let short: Vec<f32> = want.iter().map(|d| *d as f32).collect();
                let found = Reach::of_divisors(&short, theta);
                let found = found.unwrap_or_else(|| panic!("{reach:?} {half}: {want:?}")).unwrap();
                let got = found.divisors(half, theta).unwrap();
                let far = got.iter().zip(&want).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
                assert!(far < 1e-5, "{found:?}: {far}");
            }
        }
        assert_eq!(Reach::of_divisors(&[4.0; 8], 1e4), Some(Some(Reach::Linear { factor: 4.0 })));
        assert_eq!(Reach::of_divisors(&[1.0; 8], 1e4), Some(None));
        assert_eq!(Reach::of_divisors(&[1.0, 2.0, 1.0, 5.0, 3.0, 1.0, 1.0, 1.0], 1e4), None);
    }
}
