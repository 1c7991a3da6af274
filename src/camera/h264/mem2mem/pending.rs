//! The pictures that an encoder has, and how many of them it keeps back. Pure.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crate::frame::Timestamp;

/// Pictures that are waited for at most. Encoders leave pictures out without a word.
const MAX_PENDING: usize = 16;

/// The pictures that went in and have not come out.
#[derive(Debug, Default)]
pub(super) struct PendingPictures {
    times: VecDeque<Timestamp>,
    /// So many pictures stay inside until another one goes in. Learned.
    kept_back: usize,
}

impl PendingPictures {
    /// A picture goes in.
    pub(super) fn gave(&mut self, at: Timestamp) {
        if self.times.len() == MAX_PENDING {
            self.times.pop_front();
        }
        self.times.push_back(at);
    }

    /// The picture of this time came out, so earlier ones will not.
    pub(super) fn took(&mut self, at: Timestamp) {
        let is_known = self.times.contains(&at);
        while let Some(&first) = self.times.front()
            && (first <= at || !is_known)
        {
            self.times.pop_front();
            if !is_known {
                // An encoder with a clock of its own: one for one.
                break;
            }
        }
        // One that has given all at once can do so again.
        self.kept_back = self.kept_back.min(self.times.len());
    }

    /// Whether a picture is expected without another one going in.
    pub(super) fn is_due(&self) -> bool {
        self.times.len() > self.kept_back
    }

    /// What was due did not come: the encoder keeps it back until it gets more.
    pub(super) fn keeps_back(&mut self) {
        self.kept_back = self.times.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(given: u64) -> PendingPictures {
        let mut pending = PendingPictures::default();
        (1..=given).for_each(|at| pending.gave(Timestamp(at)));
        pending
    }

    #[test]
    fn what_is_kept_back_is_learned_and_unlearned() {
        let mut pending = after(2);
        assert!(pending.is_due());
        pending.keeps_back();
        assert!(!pending.is_due());
        pending.gave(Timestamp(3));
        assert!(pending.is_due());
        pending.took(Timestamp(1));
        assert!(!pending.is_due(), "two stay inside");
        pending.took(Timestamp(3));
        pending.gave(Timestamp(4));
        assert!(pending.is_due(), "it has given all");
    }

    #[test]
    fn pictures_that_are_left_out_are_not_waited_for() {
        let mut pending = after(3);
        pending.took(Timestamp(2));
        assert_eq!(pending.times, [Timestamp(3)]);
        pending.took(Timestamp(77));
        assert!(pending.times.is_empty(), "a clock of its own");
        assert_eq!(after(1000).times.len(), MAX_PENDING);
    }
}
