//! Browsers that have logged in. Ids are random and kept as keyed hashes, so that what is looked up by is no secret; the
//! table is of fixed size and forgotten with the process. Pure: told the time.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::time::Duration;

use super::password::Role;

/// A secret as it is kept and looked up: hashed with a key of this process.
pub(in crate::web) type Tag = [u8; 32];

/// Sessions at a time. One more takes the place of the one that was used least recently.
const MOST: usize = 256;
/// How long a session lasts from its last use, and at all.
const IDLE: Duration = Duration::from_secs(7 * 86_400);
pub(in crate::web) const LIFE: Duration = Duration::from_secs(30 * 86_400);

#[derive(Debug)]
struct Session {
    role: Role,
    began: Duration,
    used: Duration,
}

/// The table.
#[derive(Debug, Default)]
pub(in crate::web) struct Sessions(HashMap<Tag, Session>);

impl Sessions {
    /// Begins a session.
    pub(in crate::web) fn begin(&mut self, id: Tag, role: Role, now: Duration) {
        self.0.retain(|_, session| session.is_alive(now));
        if self.0.len() >= MOST {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
            oldest.and_then(|id| self.0.remove(&id));
        }
        self.0.insert(id, Session { role, began: now, used: now });
    }

    /// Whose session this is, which counts as a use.
    pub(in crate::web) fn role(&mut self, id: &Tag, now: Duration) -> Option<Role> {
        let session = self.0.get_mut(id).filter(|session| session.is_alive(now))?;
        session.used = now;
        Some(session.role)
    }

    /// Ends a session, if there is one.
    pub(in crate::web) fn end(&mut self, id: &Tag) -> bool {
        self.0.remove(id).is_some()
    }

    /// How many there are.
    pub(in crate::web) fn count(&self, now: Duration) -> usize {
        self.0.values().filter(|session| session.is_alive(now)).count()
    }
}

impl Session {
    fn is_alive(&self, now: Duration) -> bool {
        now.saturating_sub(self.used) < IDLE && now.saturating_sub(self.began) < LIFE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> Tag {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        id
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_lasts_while_it_is_used_and_never_for_ever() {
        let mut all = Sessions::default();
        all.begin(id(1), Role::Viewer, SECOND);
        assert_eq!(all.role(&id(1), IDLE), Some(Role::Viewer));
        assert_eq!(all.role(&id(2), IDLE), None);
        assert_eq!(all.role(&id(1), IDLE * 2), None, "unused for too long");
        all.begin(id(1), Role::Admin, Duration::ZERO);
        let mut now = Duration::ZERO;
        while now + IDLE / 2 < LIFE {
            now += IDLE / 2;
            assert_eq!(all.role(&id(1), now), Some(Role::Admin), "{now:?}");
        }
        assert_eq!(all.role(&id(1), LIFE), None);
        assert_eq!(all.count(LIFE), 0);
    }

    #[test]
    fn whoever_logs_out_is_out() {
        let mut all = Sessions::default();
        all.begin(id(1), Role::Viewer, SECOND);
        assert!(all.end(&id(1)) && !all.end(&id(1)));
        assert_eq!(all.role(&id(1), SECOND), None);
    }

    #[test]
    fn there_are_never_more_than_fit_and_the_one_in_use_stays() {
        let mut all = Sessions::default();
        all.begin(id(0), Role::Viewer, Duration::ZERO);
        for number in 1..10 * MOST {
            let now = SECOND * number as u32;
            assert_eq!(all.role(&id(0), now), Some(Role::Viewer));
            all.begin(id(number), Role::Viewer, now);
            assert!(all.0.len() <= MOST);
        }
        assert_eq!(all.role(&id(1), SECOND * 10 * MOST as u32), None);
    }
}
