//! Sessions of browsers that have logged in. Ids are random and kept as keyed hashes, so that the time of a lookup reveals
//! no secret. The table has a fixed size and ends with the process. Pure: it is told the time.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::time::Duration;

use super::role::UserRole;

/// A secret hashed with a key of this process.
pub(super) type SecretDigest = [u8; 32];

/// Most sessions. A further one replaces the least recently used.
const MAX_SESSIONS: usize = 256;
/// A session ends when it was not used for this long.
const MAX_IDLE: Duration = Duration::from_secs(7 * 86_400);
/// A session ends at this age, however much it is used.
pub(super) const MAX_AGE: Duration = Duration::from_secs(30 * 86_400);

#[derive(Debug)]
struct LoginSession {
    role: UserRole,
    began: Duration,
    used: Duration,
}

/// The table of sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<SecretDigest, LoginSession>);

impl Sessions {
    /// Begins a session.
    pub(super) fn begin(&mut self, id: SecretDigest, role: UserRole, now: Duration) {
        self.0.retain(|_, session| session.is_alive(now));
        if self.0.len() >= MAX_SESSIONS {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
            oldest.and_then(|id| self.0.remove(&id));
        }
        self.0.insert(id, LoginSession { role, began: now, used: now });
    }

    /// The role of a session. Counts as a use.
    pub(super) fn role(&mut self, id: &SecretDigest, now: Duration) -> Option<UserRole> {
        let session = self.0.get_mut(id).filter(|session| session.is_alive(now))?;
        session.used = now;
        Some(session.role)
    }

    /// Ends a session, if there is one.
    pub(super) fn end(&mut self, id: &SecretDigest) -> bool {
        self.0.remove(id).is_some()
    }

    /// The number of sessions.
    pub(super) fn count(&self, now: Duration) -> usize {
        self.0.values().filter(|session| session.is_alive(now)).count()
    }
}

impl LoginSession {
    fn is_alive(&self, now: Duration) -> bool {
        now.saturating_sub(self.used) < MAX_IDLE && now.saturating_sub(self.began) < MAX_AGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> SecretDigest {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_le_bytes());
        id
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_session_lasts_while_it_is_used_up_to_its_age() {
        let mut all = Sessions::default();
        all.begin(id(1), UserRole::Viewer, SECOND);
        assert_eq!(all.role(&id(1), MAX_IDLE), Some(UserRole::Viewer));
        assert_eq!(all.role(&id(2), MAX_IDLE), None);
        assert_eq!(all.role(&id(1), MAX_IDLE * 2), None, "unused for too long");
        all.begin(id(1), UserRole::Admin, Duration::ZERO);
        let mut now = Duration::ZERO;
        while now + MAX_IDLE / 2 < MAX_AGE {
            now += MAX_IDLE / 2;
            assert_eq!(all.role(&id(1), now), Some(UserRole::Admin), "{now:?}");
        }
        assert_eq!(all.role(&id(1), MAX_AGE), None);
        assert_eq!(all.count(MAX_AGE), 0);
    }

    #[test]
    fn a_session_ends_at_logout() {
        let mut all = Sessions::default();
        all.begin(id(1), UserRole::Viewer, SECOND);
        assert!(all.end(&id(1)) && !all.end(&id(1)));
        assert_eq!(all.role(&id(1), SECOND), None);
    }

    #[test]
    fn the_table_stays_small_and_keeps_sessions_in_use() {
        let mut all = Sessions::default();
        all.begin(id(0), UserRole::Viewer, Duration::ZERO);
        for number in 1..10 * MAX_SESSIONS {
            let now = SECOND * number as u32;
            assert_eq!(all.role(&id(0), now), Some(UserRole::Viewer));
            all.begin(id(number), UserRole::Viewer, now);
            assert!(all.0.len() <= MAX_SESSIONS);
        }
        assert_eq!(all.role(&id(1), SECOND * 10 * MAX_SESSIONS as u32), None);
    }
}
