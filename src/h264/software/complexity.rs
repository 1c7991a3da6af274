//! How much work the encoder puts into a picture: less when pictures take too much of the time between two of them.
#![forbid(unsafe_code)]

use std::time::Duration;

/// How thoroughly the encoder looks for what it can refer to. Less is faster and takes more bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EncodingComplexity {
    /// The fastest.
    Low,
    /// Where it begins.
    Medium,
    /// The fewest bits.
    High,
}

impl EncodingComplexity {
    /// Its name, for status and log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    const fn less(self) -> Option<Self> {
        match self {
            Self::High => Some(Self::Medium),
            Self::Medium => Some(Self::Low),
            Self::Low => None,
        }
    }

    const fn more(self) -> Option<Self> {
        match self {
            Self::Low => Some(Self::Medium),
            Self::Medium => Some(Self::High),
            Self::High => None,
        }
    }
}

/// The part of its time that a picture may take. Beyond it the next one is near to being late.
const MOST_LOAD: f32 = 0.5;
/// Below this part of its time a picture may take more work: the next level takes less than twice as long.
const LITTLE_LOAD: f32 = 0.2;
/// Weight of the newest picture in the mean: key frames take longer, and one of them is no reason for less work.
const WEIGHT: f32 = 0.1;
/// Pictures whose mean is above [`MOST_LOAD`], one after the other, before there is less work: half a second at 30 a second.
const PICTURES_BEFORE_LESS: u32 = 15;
/// Time with little load before there is more work.
const BEFORE_MORE: Duration = Duration::from_secs(10);
/// The longest such time. It doubles whenever more work was too much, so that a machine at the limit changes seldom.
const LONGEST_BEFORE_MORE: Duration = Duration::from_secs(320);

/// Chooses the complexity from the time that each picture takes.
#[derive(Clone, Debug)]
pub(super) struct ComplexityControl {
    level: EncodingComplexity,
    /// Mean of the parts of their time that pictures took.
    load: f32,
    /// Pictures in a row with too much load.
    overloaded: u32,
    /// Time in a row with little load.
    idle: Duration,
    before_more: Duration,
}

impl Default for ComplexityControl {
    fn default() -> Self {
        Self::from(EncodingComplexity::Medium)
    }
}

impl From<EncodingComplexity> for ComplexityControl {
    fn from(level: EncodingComplexity) -> Self {
        Self { level, load: 0.0, overloaded: 0, idle: Duration::ZERO, before_more: BEFORE_MORE }
    }
}

impl ComplexityControl {
    pub(super) fn level(&self) -> EncodingComplexity {
        self.level
    }

    /// Notes that a picture took `took` of the time `of` that it has. Returns the new level if there is one.
    pub(super) fn note(&mut self, took: Duration, of: Duration) -> Option<EncodingComplexity> {
        let part = took.as_secs_f32() / of.as_secs_f32().max(1e-6);
        self.load += (part.min(4.0) - self.load) * WEIGHT;
        self.overloaded = if self.load > MOST_LOAD { self.overloaded + 1 } else { 0 };
        self.idle = if self.load < LITTLE_LOAD { self.idle + of } else { Duration::ZERO };
        if self.overloaded >= PICTURES_BEFORE_LESS {
            let less = self.level.less()?;
            self.before_more = (self.before_more * 2).min(LONGEST_BEFORE_MORE);
            return Some(self.change(less));
        }
        if self.idle >= self.before_more {
            let more = self.level.more()?;
            return Some(self.change(more));
        }
        None
    }

    fn change(&mut self, level: EncodingComplexity) -> EncodingComplexity {
        (self.level, self.overloaded, self.idle) = (level, 0, Duration::ZERO);
        level
    }
}

#[cfg(test)]
mod tests {
    use EncodingComplexity::{High, Low, Medium};

    use super::*;

    const TIME: Duration = Duration::from_millis(40);

    /// Pictures until the level changes, and the new level.
    fn until_change(control: &mut ComplexityControl, percent: u32) -> Option<(usize, EncodingComplexity)> {
        (1..=10_000).find_map(|n| Some((n, control.note(TIME * percent / 100, TIME)?)))
    }

    #[test]
    fn there_is_less_work_when_pictures_take_more_than_half_their_time() {
        let mut control = ComplexityControl::default();
        let (pictures, level) = until_change(&mut control, 80).unwrap();
        assert_eq!(level, Low);
        assert!((15..40).contains(&pictures), "after {pictures}");
        assert_eq!(until_change(&mut control, 80), None, "there is nothing below");
    }

    #[test]
    fn one_slow_picture_changes_nothing() {
        let mut control = ComplexityControl::default();
        for n in 0..1000 {
            let percent = if n % 60 == 0 { 150 } else { 35 };
            assert_eq!(control.note(TIME * percent / 100, TIME), None, "picture {n}");
        }
    }

    #[test]
    fn there_is_more_work_after_ten_seconds_with_little() {
        let mut control = ComplexityControl::default();
        assert_eq!(until_change(&mut control, 10), Some((250, High)));
        assert_eq!(until_change(&mut control, 10), None);
        assert_eq!(control.level(), High);
    }

    #[test]
    fn a_level_that_is_too_much_is_tried_less_and_less_often() {
        let mut control = ComplexityControl::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            let (wait, level) = until_change(&mut control, 10).unwrap();
            assert_eq!(level, High);
            waits.push(wait);
            assert_eq!(until_change(&mut control, 90).unwrap().1, Medium);
        }
        assert!(waits.is_sorted(), "{waits:?}");
        assert!(waits[7] > 8000 * 9 / 10 && waits[7] == waits[6], "{waits:?}");
    }
}
