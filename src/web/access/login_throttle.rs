//! Who has guessed wrong lately, and how long they have to wait. Pure: told the time.
//!
//! An address has a few wrong guesses free, then waits twice as long after each, up to a quarter of an hour. What is sent
//! again and again is one guess: it tells its sender nothing new, and a forgotten program with an old password harms
//! nobody behind the same router. Whoever shows something that is known to be right never comes here.
//!
//! The table is of fixed size. When it is full, the least guilty is forgotten for the next: to be forgotten, one who has
//! guessed often needs as many others who have guessed as often, each of whom had to wait for it.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::web::server::listener::household;

/// Addresses that are kept in mind.
const MOST: usize = 1024;
/// Wrong guesses before the first wait.
const FREE: u32 = 5;
/// The longest wait, and that of those who share an address with everybody.
const LONGEST: Duration = Duration::from_secs(900);
const LONGEST_SHARED: Duration = Duration::from_secs(4);
/// An address that has guessed nothing wrong for so long, and is not waiting, starts afresh.
const FORGET: Duration = Duration::from_secs(3600);
/// Different wrong guesses of an address that are known again.
const KNOWN: usize = 4;
/// Guesses of one address that may wait to be checked, and of all. Checking one takes as long as it must.
const WAITING_EACH: u32 = 4;
const WAITING: u32 = 32;

/// Whom a guess is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::web) enum Suspect {
    /// An address, or the first of all that a household has.
    Address(IpAddr),
    /// This machine.
    Local,
}

impl Suspect {
    /// Whoever is at `remote` and came in at `own`.
    pub(in crate::web) fn of(remote: IpAddr, own: Option<IpAddr>) -> Self {
        let Some(whole) = household(remote) else { return Self::Local };
        let remote = remote.to_canonical();
        // Neighbours on the same link share their network with each other; one must not stand in for all.
        let is_neighbour = matches!(remote, IpAddr::V6(ip) if ip.is_unicast_link_local())
            || own.and_then(household) == Some(whole);
        Self::Address(if is_neighbour { remote } else { whole })
    }

    fn longest(self) -> Duration {
        if self == Self::Local { LONGEST_SHARED } else { LONGEST }
    }
}

/// What is to be done with a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Verdict {
    /// Check it.
    Check,
    /// It was wrong before.
    Wrong,
    /// Not before so much time has passed.
    Wait(Duration),
}

#[derive(Debug, Default)]
struct Entry {
    wrong: u32,
    last: Duration,
    until: Duration,
    known: [Option<u64>; KNOWN],
}

/// The table.
#[derive(Debug, Default)]
pub(in crate::web) struct Ledger {
    entries: HashMap<Suspect, Entry>,
    waiting: HashMap<Suspect, u32>,
}

impl Ledger {
    /// What is to be done with a guess that `mark` stands for.
    pub(in crate::web) fn judge(&self, peer: Suspect, mark: u64, now: Duration) -> Verdict {
        match self.entries.get(&peer) {
            Some(entry) if entry.is_forgotten(now) => Verdict::Check,
            Some(entry) if entry.known.contains(&Some(mark)) => Verdict::Wrong,
            Some(entry) if entry.until > now => Verdict::Wait(entry.until - now),
            _ => Verdict::Check,
        }
    }

    /// Takes a place among those who wait to be checked, if there is one; [`Ledger::leave`] gives it back.
    pub(in crate::web) fn queue(&mut self, peer: Suspect) -> bool {
        let own = self.waiting.get(&peer).copied().unwrap_or_default();
        if own >= WAITING_EACH || self.waiting.values().sum::<u32>() >= WAITING {
            return false;
        }
        self.waiting.insert(peer, own + 1);
        true
    }

    /// Gives a place back.
    pub(in crate::web) fn leave(&mut self, peer: Suspect) {
        if let Some(own) = self.waiting.get_mut(&peer) {
            *own -= 1;
            if *own == 0 {
                self.waiting.remove(&peer);
            }
        }
    }

    /// Takes down a wrong guess.
    pub(in crate::web) fn wrong(&mut self, peer: Suspect, mark: u64, now: Duration) {
        if !self.entries.contains_key(&peer) {
            self.make_room(now);
        }
        let entry = self.entries.entry(peer).or_default();
        if entry.is_forgotten(now) {
            *entry = Entry::default();
        }
        entry.known[entry.wrong as usize % KNOWN] = Some(mark);
        entry.wrong = entry.wrong.saturating_add(1);
        entry.last = now;
        if let Some(doublings) = entry.wrong.checked_sub(FREE + 1) {
            let wait = Duration::from_secs(1 << doublings.min(20));
            entry.until = now + wait.min(peer.longest());
        }
    }

    /// How many have to wait at present.
    pub(in crate::web) fn locked_out(&self, now: Duration) -> usize {
        self.entries.values().filter(|entry| entry.until > now).count()
    }

    fn make_room(&mut self, now: Duration) {
        if self.entries.len() < MOST {
            return;
        }
        self.entries.retain(|_, entry| !entry.is_forgotten(now));
        if self.entries.len() >= MOST {
            let least = self.entries.iter().min_by_key(|(_, entry)| (entry.wrong, entry.last));
            let least = least.map(|(peer, _)| *peer);
            least.and_then(|peer| self.entries.remove(&peer));
        }
    }
}

impl Entry {
    fn is_forgotten(&self, now: Duration) -> bool {
        now >= self.until && now.saturating_sub(self.last) >= FORGET
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn peer(text: &str) -> Suspect {
        Suspect::of(text.parse().unwrap(), None)
    }

    /// Somebody with a network of their own.
    fn customer(number: u32) -> Suspect {
        let ip = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number) << 64 | 1);
        Suspect::of(ip.into(), None)
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Guesses as fast as it may for so long; how many guesses were checked.
    fn guess_on(ledger: &mut Ledger, peer: Suspect, from: Duration, time: Duration) -> u32 {
        let (mut now, mut checked) = (from, 0);
        while now < from + time {
            match ledger.judge(peer, u64::from(checked) + 1000, now) {
                Verdict::Check => {
                    checked += 1;
                    ledger.wrong(peer, u64::from(checked) + 999, now);
                }
                Verdict::Wait(time) => now += time,
                verdict => panic!("{verdict:?}"),
            }
        }
        checked
    }

    #[test]
    fn addresses_are_told_apart_as_far_as_they_can_be_chosen() {
        assert_eq!(peer("192.0.2.1"), peer("::ffff:192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("2001:db8:0:1::1"), peer("2001:db8:0:1:ffff::2"));
        assert_ne!(peer("2001:db8:0:1::1"), peer("2001:db8:0:2::1"));
        assert_ne!(peer("fe80::1"), peer("fe80::2"));
        for local in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(peer(local), Suspect::Local, "{local}");
        }
        let near =
            |remote: &str| Suspect::of(remote.parse().unwrap(), Some("2001:db8:0:1::99".parse().unwrap()));
        assert_ne!(near("2001:db8:0:1::1"), near("2001:db8:0:1::2"), "neighbours stand in for each other");
        assert_eq!(near("2001:db8:0:2::1"), near("2001:db8:0:2::2"));
    }

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour() {
        let mut ledger = Ledger::default();
        let attacker = peer("192.0.2.1");
        let mut now = SECOND;
        let mut waits = Vec::new();
        for guess in 0..20 {
            assert_eq!(ledger.judge(attacker, guess, now), Verdict::Check, "guess {guess}");
            ledger.wrong(attacker, guess, now);
            match ledger.judge(attacker, 99, now) {
                Verdict::Wait(wait) => {
                    waits.push(wait.as_secs());
                    assert_eq!(
                        ledger.judge(attacker, 99, now + wait - SECOND / 1000),
                        Verdict::Wait(SECOND / 1000)
                    );
                    now += wait;
                }
                verdict => assert_eq!((verdict, guess < u64::from(FREE)), (Verdict::Check, true)),
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900]);
        assert_eq!(ledger.judge(peer("192.0.2.2"), 99, SECOND), Verdict::Check, "a neighbour is locked out");
    }

    #[test]
    fn a_day_holds_few_guesses() {
        let day = 86_400 * SECOND;
        let mut ledger = Ledger::default();
        let checked = guess_on(&mut ledger, peer("192.0.2.1"), SECOND, day);
        assert!((100..=115).contains(&checked), "{checked} guesses in a day");
        // Everybody behind a proxy: never away for long.
        let checked = guess_on(&mut ledger, Suspect::Local, SECOND, day);
        assert!(checked < 22_000, "{checked} guesses in a day");
        assert_eq!(ledger.locked_out(SECOND + day - SECOND), 2);
    }

    #[test]
    fn the_same_again_is_no_new_guess() {
        let mut ledger = Ledger::default();
        let nat = peer("192.0.2.1");
        ledger.wrong(nat, 7, SECOND);
        for _ in 0..1000 {
            assert_eq!(ledger.judge(nat, 7, 2 * SECOND), Verdict::Wrong);
        }
        assert_eq!(ledger.judge(nat, 8, 2 * SECOND), Verdict::Check, "a neighbour's own password");
    }

    #[test]
    fn who_rests_is_forgotten() {
        let mut ledger = Ledger::default();
        let clumsy = peer("192.0.2.1");
        for guess in 0..7 {
            ledger.wrong(clumsy, guess, SECOND);
        }
        assert_eq!(ledger.judge(clumsy, 99, SECOND), Verdict::Wait(2 * SECOND));
        let later = SECOND + FORGET;
        assert_eq!(ledger.judge(clumsy, 0, later), Verdict::Check);
        ledger.wrong(clumsy, 0, later);
        assert_eq!(ledger.judge(clumsy, 99, later), Verdict::Check, "starts afresh");
    }

    #[test]
    fn a_crowd_does_not_make_the_guilty_forgotten_nor_the_table_grow() {
        let mut ledger = Ledger::default();
        let attacker = peer("198.51.100.1");
        guess_on(&mut ledger, attacker, SECOND, 1000 * SECOND);
        let now = 1001 * SECOND;
        assert!(matches!(ledger.judge(attacker, 99, now), Verdict::Wait(_)));
        // Twenty times as many networks as there is room for, each with its free guesses.
        for network in 0..20 * MOST as u32 {
            let own = customer(network);
            for guess in 0..u64::from(FREE) {
                ledger.wrong(own, guess, now);
            }
            assert!(ledger.entries.len() <= MOST);
        }
        assert!(matches!(ledger.judge(attacker, 99, now), Verdict::Wait(_)), "the attacker was forgotten");
    }

    #[test]
    fn few_wait_of_each_and_not_many_of_all() {
        let mut ledger = Ledger::default();
        let one = peer("192.0.2.1");
        let places = (0..100).filter(|_| ledger.queue(one)).count();
        assert_eq!(places as u32, WAITING_EACH);
        assert!(ledger.queue(peer("192.0.2.2")), "one who waits keeps others out");
        let all = (0..1000).filter(|n| ledger.queue(customer(*n))).count() as u32;
        assert_eq!(all + WAITING_EACH + 1, WAITING);
        for _ in 0..WAITING_EACH {
            ledger.leave(one);
        }
        ledger.leave(one);
        assert!(ledger.queue(one));
        assert_eq!(ledger.waiting[&one], 1);
    }
}
