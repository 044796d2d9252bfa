//! Taking turns, and what comes of it.

use std::time::Duration;

use super::Scenario;
use super::contender::{Contender, Place};

/// How one time follows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Several of one program, each at once after the one before.
    Burst,
    /// After a second of nothing.
    Paused,
}

impl Pace {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Burst => "in a burst",
            Self::Paused => "after a pause",
        }
    }
}

/// How long each time took, in seconds, the shortest first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn new(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        Self(seconds)
    }

    /// In milliseconds.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// What a share of the times stayed below, in milliseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1) as f64;
        let at = share * last;
        let (low, high) = (at.floor(), at.ceil());
        let value = |at: f64| self.0.get(at as usize).copied().unwrap_or(f64::NAN);
        (value(low) + (value(high) - value(low)) * (at - low)) * 1000.0
    }
}

/// How many times in a row are a burst.
pub(crate) const BURST: usize = 5;

/// Lets each do the thing in its turn, `times` times altogether. A contender that fails is left out.
///
/// A turn is one time after a second of pause, or a burst: a second in which what the others have left
/// to be cleaned up is, one time that does not count, and then [`BURST`] times at once.
pub(crate) fn measure(
    contenders: &[&Contender],
    scenario: Scenario,
    pace: Pace,
    times: usize,
    place: &Place,
) -> (Vec<(String, Samples)>, Vec<String>) {
    let mut all: Vec<(&Contender, Vec<f64>)> =
        contenders.iter().map(|one| (*one, Vec::new())).collect();
    let mut failures = Vec::new();
    for turn in turns(pace, times) {
        all.retain_mut(|(one, seconds)| {
            std::thread::sleep(Duration::from_secs(1));
            for counts in &turn {
                let result = one.once(scenario, place);
                one.after(scenario, place);
                match result {
                    Ok(took) if *counts => seconds.push(took),
                    Ok(_) => {}
                    Err(why) => {
                        failures.push(format!("{} in `{}`: {why}", one.name, scenario.title()));
                        return false;
                    }
                }
            }
            true
        });
    }
    let named = |(one, seconds): (&Contender, _)| (one.name.clone(), Samples::new(seconds));
    (all.into_iter().map(named).collect(), failures)
}

/// What is done in each turn: for each time, whether it counts.
fn turns(pace: Pace, times: usize) -> Vec<Vec<bool>> {
    match pace {
        // The first round warms caches up.
        Pace::Paused => (0..=times).map(|round| vec![round > 0]).collect(),
        Pace::Burst => (0..times)
            .step_by(BURST)
            .map(|done| {
                let n = BURST.min(times - done);
                std::iter::once(false).chain(std::iter::repeat_n(true, n)).collect()
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_counts_once() {
        for (pace, times, n_turns) in [(Pace::Burst, 12, 3), (Pace::Paused, 4, 5)] {
            let all = turns(pace, times);
            assert_eq!(all.len(), n_turns);
            assert_eq!(all.iter().flatten().filter(|counts| **counts).count(), times);
            assert!(!all[0][0], "the first warms caches up");
        }
    }

    #[test]
    fn quantiles_are_between_the_samples() {
        let samples = Samples::new(vec![0.004, 0.001, 0.002, 0.003]);
        assert!((samples.median() - 2.5).abs() < 1e-9);
        assert!((samples.quantile(0.0) - 1.0).abs() < 1e-9);
        assert!((samples.quantile(1.0) - 4.0).abs() < 1e-9);
        assert!(Samples::new(vec![]).median().is_nan());
    }
}
