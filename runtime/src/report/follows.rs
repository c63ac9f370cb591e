//! Whether a reward follows the length of replies: a sign that a policy is paid for writing more, or less, and not for what it says.

/// A reply that was drawn: its tokens, and what it got.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    pub length: f64,
    pub reward: f64,
}

/// Rewards that follow length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Follows {
    /// The rank correlation of length and reward, from -1 to 1.
    pub correlation: f64,
    /// Replies that it was worked out of.
    pub replies: usize,
    /// Whether replies were compared with those to the same prompt alone.
    pub in_groups: bool,
}

/// The rank correlation from which on a reward is said to follow length, and the fewest replies that say anything.
const BOUND: f64 = 0.5;
const FEWEST: usize = 32;
/// How many standard errors it must be from 0.
const ERRORS: f64 = 4.0;

/// Whether rewards follow lengths: by Spearman's rank correlation of both, in groups of replies to one prompt after the mean of the
/// group was taken away, so that a prompt with long answers does not count. Groups of one reply each are taken as one group.
pub fn follows_length(groups: &[Vec<Sampled>]) -> Option<Follows> {
    let in_groups = groups.iter().any(|group| group.len() > 1);
    let mut all: Vec<Sampled> = vec![];
    for group in groups.iter().filter(|group| !in_groups || group.len() > 1) {
        let finite = group.iter().filter(|one| one.length.is_finite() && one.reward.is_finite());
        let finite: Vec<Sampled> = finite.copied().collect();
        let mean = |of: fn(&Sampled) -> f64| finite.iter().map(of).sum::<f64>() / finite.len().max(1) as f64;
        let (length, reward) = if in_groups { (mean(|one| one.length), mean(|one| one.reward)) } else { (0.0, 0.0) };
        all.extend(finite.iter().map(|one| Sampled { length: one.length - length, reward: one.reward - reward }));
    }
    if all.len() < FEWEST {
        return None;
    }
    let lengths: Vec<f64> = all.iter().map(|one| one.length).collect();
    let rewards: Vec<f64> = all.iter().map(|one| one.reward).collect();
    let correlation = spearman(&lengths, &rewards)?;
    let error = ((1.0 - correlation * correlation) / (all.len() - 2) as f64).sqrt();
    let is_clear = correlation.abs() >= BOUND && correlation.abs() > ERRORS * error;
    is_clear.then_some(Follows { correlation, replies: all.len(), in_groups })
}

impl Follows {
    /// What a report says of it.
    pub fn sentence(&self) -> String {
        let (more, what) = match self.correlation > 0.0 {
            true => (
                "longer",
                "Is length paid for, whatever is said? A `soft_overlong` in the reward takes from replies that are too long.",
            ),
            false => ("shorter", "Is brevity paid for, whatever is said? See what an empty answer gets."),
        };
        let among = if self.in_groups { " to the same prompts" } else { "" };
        format!(
            "The reward follows length: of {} replies{among} the {more} ones got more (rank correlation {:.2}). {what}",
            self.replies, self.correlation
        )
    }
}

/// Spearman's rank correlation; `None` where one side is all the same.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    pearson(&ranks(x), &ranks(y))
}

fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let sum = |of: &dyn Fn(f64, f64) -> f64| x.iter().zip(y).map(|(x, y)| of(x - mx, y - my)).sum::<f64>();
    let (xx, yy, xy) = (sum(&|x, _| x * x), sum(&|_, y| y * y), sum(&|x, y| x * y));
    (xx > 0.0 && yy > 0.0).then(|| xy / (xx * yy).sqrt())
}

/// Places in order; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|i| near(values[**i], values[order[start]])).count();
        let rank = start as f64 + (same - 1) as f64 / 2.0;
        order[start..start + same].iter().for_each(|i| ranks[*i] = rank);
        start += same;
    }
    ranks
}

/// Equal but for rounding: means were taken away.
fn near(x: f64, y: f64) -> bool {
    (x - y).abs() <= 1e-12 * x.abs().max(y.abs()).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(pairs: impl IntoIterator<Item = (f64, f64)>) -> Vec<Sampled> {
        pairs.into_iter().map(|(length, reward)| Sampled { length, reward }).collect()
    }

    /// Numbers without order, from 0 to 1.
    fn noise(i: usize) -> f64 {
        ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64
    }

    #[test]
    fn correlations_of_ranks() {
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 200.0, 201.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(spearman(&[1.0, 1.0], &[3.0, 2.0]), None);
        // By hand: ranks 0, 1.5, 1.5, 3 and 0, 2, 1, 3.
        assert!((spearman(&[1.0, 2.0, 2.0, 4.0], &[1.0, 3.0, 2.0, 4.0]).unwrap() - 4.5 / 22.5f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_reward_that_grows_with_length_is_told() {
        let groups: Vec<_> =
            (0..16).map(|g| group((0..8).map(|i| ((10 * g + i) as f64, i as f64 + 2.0 * noise(8 * g + i))))).collect();
        let found = follows_length(&groups).expect("it follows");
        assert!(found.correlation > 0.8 && found.replies == 128 && found.in_groups, "{found:?}");
        assert!(found.sentence().contains("of 128 replies to the same prompts the longer ones got more"));
        let turned: Vec<_> = groups.iter().map(|g| group(g.iter().map(|one| (one.length, -one.reward)))).collect();
        assert!(follows_length(&turned).expect("it follows").sentence().contains("the shorter ones got more"));
    }

    #[test]
    fn a_reward_for_what_is_said_is_not() {
        let apart: Vec<_> = (0..16)
            .map(|g| group((0..8).map(|i| (noise(i + 99 * g), f64::from(u8::from(noise(7 * i + g) > 0.5))))))
            .collect();
        assert_eq!(follows_length(&apart), None);
        // Long answers to some prompts are paid more, but not among those to one prompt.
        let between: Vec<_> = (0..16)
            .map(|g| group((0..8).map(|i| (10.0 * g as f64 + noise(i + 99 * g), g as f64 + noise(7 * i + g)))))
            .collect();
        assert_eq!(follows_length(&between), None);
        assert_eq!(follows_length(&[group((0..8).map(|i| (i as f64, i as f64)))]), None, "too few");
        assert_eq!(follows_length(&[group((0..99).map(|i| (i as f64, 1.0)))]), None, "all the same");
        assert_eq!(follows_length(&[]), None);
    }

    #[test]
    fn single_replies_are_compared_with_each_other() {
        let single: Vec<_> = (0..64).map(|i| group([(i as f64, i as f64 + 9.0 * noise(i))])).collect();
        let found = follows_length(&single).expect("it follows");
        assert!(!found.in_groups && found.sentence().contains("of 64 replies the longer"), "{found:?}");
        let with_nan: Vec<_> =
            (0..64).map(|i| group([(i as f64, if i % 2 == 0 { f64::NAN } else { i as f64 })])).collect();
        assert_eq!(follows_length(&with_nan).map(|found| found.replies), Some(32));
    }
}
