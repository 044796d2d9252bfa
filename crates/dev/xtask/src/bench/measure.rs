//! Taking turns, and what comes of it.

use std::time::Duration;

use super::Scenario;
use super::contender::{Contender, Place};

/// How one time follows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once.
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

/// Lets each do the thing in its turn, `times` times. A contender that fails is left out.
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
    // The first round warms caches up, and does not count.
    for round in 0..=times {
        all.retain_mut(|(one, seconds)| {
            if pace == Pace::Paused {
                std::thread::sleep(Duration::from_secs(1));
            }
            let result = one.once(scenario, place);
            one.after(scenario, place);
            match result {
                Ok(_) if round == 0 => true,
                Ok(took) => {
                    seconds.push(took);
                    true
                }
                Err(why) => {
                    failures.push(format!("{} in `{}`: {why}", one.name, scenario.title()));
                    false
                }
            }
        });
    }
    let named = |(one, seconds): (&Contender, _)| (one.name.clone(), Samples::new(seconds));
    (all.into_iter().map(named).collect(), failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_between_the_samples() {
        let samples = Samples::new(vec![0.004, 0.001, 0.002, 0.003]);
        assert!((samples.median() - 2.5).abs() < 1e-9);
        assert!((samples.quantile(0.0) - 1.0).abs() < 1e-9);
        assert!((samples.quantile(1.0) - 4.0).abs() < 1e-9);
        assert!(Samples::new(vec![]).median().is_nan());
    }
}
