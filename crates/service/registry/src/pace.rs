//! How fast a body comes: one that trickles holds nobody for ever.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::error::Transport;
use crate::http::next_piece;
use crate::retry::Retry;

/// Watches one body. Only what is waited for counts: a disk that is slow is not the registry's fault.
#[derive(Debug)]
pub(crate) struct Pace {
    silence: Duration,
    slowest: u64,
    /// Since the last look,
    n_bytes: u64,
    /// and for how long it was waited for.
    waited: Duration,
}

impl Pace {
    pub(crate) fn new(retry: &Retry) -> Self {
        let (silence, slowest) = (retry.silence, retry.slowest);
        Self { silence, slowest, n_bytes: 0, waited: Duration::ZERO }
    }

    /// The next piece of the body; an error where it does not come, or where too little has come for
    /// as long as nothing may.
    pub(crate) async fn next(&mut self, body: &mut Incoming) -> Option<Result<Bytes, Transport>> {
        let asked = Instant::now();
        let piece = next_piece(body, self.silence).await;
        let Some(Ok(bytes)) = &piece else { return piece };
        self.took(bytes.len(), asked.elapsed()).map_or(piece, |slow| Some(Err(slow)))
    }

    /// Counts a piece, and how long it was waited for.
    fn took(&mut self, n_bytes: usize, waited: Duration) -> Option<Transport> {
        self.n_bytes += n_bytes as u64;
        self.waited += waited;
        if self.waited < self.silence {
            return None;
        }
        let wanted = self.waited.as_secs_f64() * self.slowest as f64;
        let (n_bytes, time) = (self.n_bytes, self.waited);
        (self.n_bytes, self.waited) = (0, Duration::ZERO);
        ((n_bytes as f64) < wanted).then_some(Transport::TooSlow { n_bytes, time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_told_from_a_slow_line() {
        let second = Duration::from_secs(1);
        let retry = Retry { silence: second * 10, slowest: 100, ..Retry::default() };
        let mut slow = Pace::new(&retry);
        // Enough on the whole, and a pause that is no silence.
        for (n_bytes, waited) in [(1, 9), (999, 1), (1000, 9), (1, 1), (5000, 9), (1, 1)] {
            assert!(slow.took(n_bytes, second * waited).is_none(), "{n_bytes} in {waited} s");
        }
        let mut trickle = Pace::new(&retry);
        for _ in 0..9 {
            assert!(trickle.took(1, second).is_none());
        }
        let found = trickle.took(1, second);
        assert!(matches!(found, Some(Transport::TooSlow { n_bytes: 10, .. })), "{found:?}");
        // What was fast before does not count for later.
        let mut late = Pace::new(&retry);
        assert!(late.took(1 << 30, second * 10).is_none());
        assert!(late.took(1, second * 10).is_some());
    }
}
