//! Whether, and when, a program that has ended is started again: Docker's rules.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What happens when the program ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again; where somebody has ended it, when the daemon starts.
    Always,
    /// It is started again unless somebody has ended it.
    UnlessStopped,
    /// It is started again when its exit code is not 0.
    OnFailure {
        /// How often at most; 0: any number of times.
        max: u32,
    },
}

impl RestartPolicy {
    /// Whether a program that ended with `exit_code`, and was started again `count` times before, is
    /// to be started again. `stopped`: somebody has ended it.
    pub fn wants(self, exit_code: i32, stopped: bool, count: u32) -> bool {
        match self {
            Self::No => false,
            _ if stopped => false,
            Self::Always | Self::UnlessStopped => true,
            Self::OnFailure { max } => exit_code != 0 && (max == 0 || count < max),
        }
    }
}

impl RestartPolicy {
    /// Whether one that was ended since it was unhealthy is to be started again: also without a policy,
    /// and as often as the policy allows.
    pub fn wants_unhealthy(self, stopped: bool, count: u32) -> bool {
        !stopped && !matches!(self, Self::OnFailure { max } if max > 0 && count >= max)
    }
}

/// How long to wait before the next start: 100 ms, twice as long each time, at most a minute; from the
/// beginning after a program that ran for ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_mins(1);
    const LONG_LIFE: Duration = Duration::from_secs(10);

    /// The next wait, after a program that ran for `ran`.
    pub fn next(&mut self, ran: Duration) -> Duration {
        let again = self.0.is_zero() || ran >= Self::LONG_LIFE;
        self.0 = if again { Self::FIRST } else { (self.0 * 2).min(Self::LONGEST) };
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_dockers() {
        let on_failure = |max| RestartPolicy::OnFailure { max };
        for (policy, exit_code, stopped, count, wants) in [
            (RestartPolicy::No, 1, false, 0, false),
            (RestartPolicy::Always, 0, false, 99, true),
            (RestartPolicy::Always, 137, true, 0, false),
            (RestartPolicy::UnlessStopped, 0, false, 0, true),
            (RestartPolicy::UnlessStopped, 1, true, 0, false),
            (on_failure(0), 1, false, 1000, true),
            (on_failure(0), 0, false, 0, false),
            (on_failure(3), 1, false, 2, true),
            (on_failure(3), 1, false, 3, false),
            (on_failure(3), 1, true, 0, false),
        ] {
            let got = policy.wants(exit_code, stopped, count);
            assert_eq!(got, wants, "{policy:?} {exit_code} {stopped} {count}");
        }
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_ten_seconds() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.next(Duration::from_secs(9))).collect();
        let ms = |n| Duration::from_millis(n);
        assert_eq!(waits[..4], [ms(100), ms(200), ms(400), ms(800)]);
        assert_eq!(waits[9..], [ms(51_200), ms(60_000), ms(60_000)]);
        assert_eq!(backoff.next(Duration::from_secs(10)), ms(100));
        assert_eq!(backoff.next(Duration::ZERO), ms(200));
    }
}
