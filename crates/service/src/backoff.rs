//! How long to wait before the next attempt: doubling, with a ceiling, and never in step with others.

use std::time::Duration;

use rand::Rng;

/// Delays that double from `first` to `ceiling`; each is drawn from the upper half of its step.
///
/// The jitter keeps a thousand workers that lost the same node from coming back in the same millisecond.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    ceiling: Duration,
    attempts: u32,
}

impl Backoff {
    /// Starts at `first` (at least a millisecond) and never waits longer than `ceiling`.
    #[must_use]
    pub fn new(first: Duration, ceiling: Duration) -> Self {
        let first = first.max(Duration::from_millis(1));
        Self { first, ceiling: ceiling.max(first), attempts: 0 }
    }

    /// The delay before the next attempt.
    #[must_use = "a delay that is not waited for backs off from nothing"]
    pub fn next_delay(&mut self) -> Duration {
        let factor = 2u32.checked_pow(self.attempts).unwrap_or(u32::MAX);
        self.attempts = self.attempts.saturating_add(1);
        let step = self.first.checked_mul(factor).map_or(self.ceiling, |step| step.min(self.ceiling));
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Waits before the next attempt.
    ///
    /// # Cancel safety
    /// Cancel safe; the attempt is counted as soon as the wait begins.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }

    /// Attempts since the last success.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Starts again from the first delay, after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_ceiling_and_keep_half_at_least() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000));
        for step in [100, 200, 400, 800, 1000, 1000] {
            let delay = backoff.next_delay();
            assert!(delay >= ms(step) / 2 && delay <= ms(step), "{delay:?} of {step}");
        }
        (0..100).for_each(|_| assert!(backoff.next_delay() <= ms(1000)));
        backoff.reset();
        assert!(backoff.next_delay() <= ms(100));
    }

    #[test]
    fn two_workers_do_not_wait_in_step() {
        let delays = || {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
            [0; 8].map(|_| backoff.next_delay())
        };
        assert_ne!(delays(), delays());
    }
}
