//! Slows down guessing: counts wrong guesses per address and tells how long it has to wait. Pure: it is told the time.
//!
//! An address has a few guesses free. After that each wrong one doubles its wait, up to a quarter of an hour. Repeating one
//! guess counts once: it tells the sender nothing new, and a forgotten program with an old password locks nobody out.
//! Known secrets are not guesses and never come here.
//!
//! The table has a fixed size. When it is full, the address with the fewest wrong guesses is forgotten. To have its own
//! count forgotten, an attacker needs as many other addresses with as many wrong guesses, each of which had to wait.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::web::server::address::address_group;

/// Addresses in the table, of which the one with the fewest guesses is forgotten first.
const MAX_ADDRESSES: usize = 1024;
/// Wrong guesses before the first wait.
const FREE_GUESSES: u32 = 5;
const MAX_WAIT: Duration = Duration::from_secs(900);
/// The longest wait of this machine. A proxy on it makes it the address of every client, so it must stay short.
const MAX_WAIT_LOCAL: Duration = Duration::from_secs(4);
/// An address without a wrong guess for this long, and without a wait, is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// Wrong guesses of an address that are recognised when repeated.
const REMEMBERED_GUESSES: usize = 4;
/// Guesses of one address that may be queued for hashing.
const MAX_QUEUED_PER_ADDRESS: u32 = 4;
/// Guesses that may be queued in total. They are hashed one at a time.
const MAX_QUEUED: u32 = 32;

/// What guesses are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ThrottleKey {
    /// An address, or the first one of an address group.
    Address(IpAddr),
    Local,
}

impl ThrottleKey {
    /// Of a client at `remote` that connected to the address `local` of this machine.
    pub(crate) fn of(remote: IpAddr, local: Option<IpAddr>) -> Self {
        let Some(group) = address_group(remote) else { return Self::Local };
        let remote = remote.to_canonical();
        // Machines on the same link share a network. They are counted one by one.
        let is_neighbour = matches!(remote, IpAddr::V6(ip) if ip.is_unicast_link_local())
            || local.and_then(address_group) == Some(group);
        Self::Address(if is_neighbour { remote } else { group })
    }

    fn max_wait(self) -> Duration {
        if self == Self::Local { MAX_WAIT_LOCAL } else { MAX_WAIT }
    }
}

/// What to do with a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThrottleDecision {
    Check,
    /// Reject it: it was wrong before.
    KnownWrong,
    /// Reject it: the address has to wait this long.
    Wait(Duration),
}

#[derive(Debug, Default)]
struct GuessRecord {
    wrong: u32,
    last_wrong: Duration,
    wait_until: Duration,
    recent: [Option<u64>; REMEMBERED_GUESSES],
}

/// The table of wrong guesses, and the queue of guesses that wait to be hashed.
#[derive(Debug, Default)]
pub(super) struct LoginThrottle {
    records: HashMap<ThrottleKey, GuessRecord>,
    queued: HashMap<ThrottleKey, u32>,
}

impl LoginThrottle {
    /// What to do with a guess. `guess` identifies it.
    pub(super) fn decide(&self, key: ThrottleKey, guess: u64, now: Duration) -> ThrottleDecision {
        match self.records.get(&key) {
            Some(record) if record.is_forgotten(now) => ThrottleDecision::Check,
            Some(record) if record.recent.contains(&Some(guess)) => ThrottleDecision::KnownWrong,
            Some(record) if record.wait_until > now => ThrottleDecision::Wait(record.wait_until - now),
            _ => ThrottleDecision::Check,
        }
    }

    /// Takes a slot in the queue for hashing, if there is one. [`LoginThrottle::dequeue`] gives it back.
    pub(super) fn enqueue(&mut self, key: ThrottleKey) -> bool {
        let own = self.queued.get(&key).copied().unwrap_or_default();
        if own >= MAX_QUEUED_PER_ADDRESS || self.queued.values().sum::<u32>() >= MAX_QUEUED {
            return false;
        }
        self.queued.insert(key, own + 1);
        true
    }

    pub(super) fn dequeue(&mut self, key: ThrottleKey) {
        if let Some(own) = self.queued.get_mut(&key) {
            *own -= 1;
            if *own == 0 {
                self.queued.remove(&key);
            }
        }
    }

    pub(super) fn record_wrong(&mut self, key: ThrottleKey, guess: u64, now: Duration) {
        if !self.records.contains_key(&key) {
            self.make_room(now);
        }
        let record = self.records.entry(key).or_default();
        if record.is_forgotten(now) {
            *record = GuessRecord::default();
        }
        record.recent[record.wrong as usize % REMEMBERED_GUESSES] = Some(guess);
        record.wrong = record.wrong.saturating_add(1);
        record.last_wrong = now;
        if let Some(doublings) = record.wrong.checked_sub(FREE_GUESSES + 1) {
            let wait = Duration::from_secs(1 << doublings.min(20));
            record.wait_until = now + wait.min(key.max_wait());
        }
    }

    pub(super) fn locked_out(&self, now: Duration) -> usize {
        self.records.values().filter(|record| record.wait_until > now).count()
    }

    fn make_room(&mut self, now: Duration) {
        if self.records.len() < MAX_ADDRESSES {
            return;
        }
        self.records.retain(|_, record| !record.is_forgotten(now));
        if self.records.len() >= MAX_ADDRESSES {
            let fewest = self.records.iter().min_by_key(|(_, record)| (record.wrong, record.last_wrong));
            fewest.map(|(key, _)| *key).and_then(|key| self.records.remove(&key));
        }
    }
}

impl GuessRecord {
    fn is_forgotten(&self, now: Duration) -> bool {
        now >= self.wait_until && now.saturating_sub(self.last_wrong) >= FORGET_AFTER
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::ThrottleDecision::{Check, KnownWrong, Wait};
    use super::*;

    fn peer(text: &str) -> ThrottleKey {
        ThrottleKey::of(text.parse().unwrap(), None)
    }

    /// An address in an IPv6 network of its own.
    fn customer(number: u32) -> ThrottleKey {
        let ip = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number) << 64 | 1);
        ThrottleKey::of(ip.into(), None)
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Guesses as fast as the throttle allows. Returns how many guesses were checked.
    fn guess_on(throttle: &mut LoginThrottle, peer: ThrottleKey, from: Duration, time: Duration) -> u32 {
        let (mut now, mut checked) = (from, 0);
        while now < from + time {
            match throttle.decide(peer, u64::from(checked) + 1000, now) {
                Check => {
                    checked += 1;
                    throttle.record_wrong(peer, u64::from(checked) + 999, now);
                }
                Wait(time) => now += time,
                verdict => panic!("{verdict:?}"),
            }
        }
        checked
    }

    #[test]
    fn addresses_that_one_client_can_choose_from_count_as_one() {
        assert_eq!(peer("192.0.2.1"), peer("::ffff:192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("2001:db8:0:1::1"), peer("2001:db8:0:1:ffff::2"));
        assert_ne!(peer("2001:db8:0:1::1"), peer("2001:db8:0:2::1"));
        assert_ne!(peer("fe80::1"), peer("fe80::2"));
        for local in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(peer(local), ThrottleKey::Local, "{local}");
        }
        let near = |remote: &str| {
            ThrottleKey::of(remote.parse().unwrap(), Some("2001:db8:0:1::99".parse().unwrap()))
        };
        assert_ne!(near("2001:db8:0:1::1"), near("2001:db8:0:1::2"), "machines on one link count as one");
        assert_eq!(near("2001:db8:0:2::1"), near("2001:db8:0:2::2"));
    }

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour() {
        let mut throttle = LoginThrottle::default();
        let attacker = peer("192.0.2.1");
        let mut now = SECOND;
        let mut waits = Vec::new();
        for guess in 0..20 {
            assert_eq!(throttle.decide(attacker, guess, now), Check, "guess {guess}");
            throttle.record_wrong(attacker, guess, now);
            match throttle.decide(attacker, 99, now) {
                Wait(wait) => {
                    waits.push(wait.as_secs());
                    let last_moment = now + wait - SECOND / 1000;
                    assert_eq!(throttle.decide(attacker, 99, last_moment), Wait(SECOND / 1000));
                    now += wait;
                }
                verdict => assert_eq!((verdict, guess < u64::from(FREE_GUESSES)), (Check, true)),
            }
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900]);
        assert_eq!(throttle.decide(peer("192.0.2.2"), 99, SECOND), Check, "another address is locked out");
    }

    #[test]
    fn a_day_holds_few_guesses() {
        let day = 86_400 * SECOND;
        let mut throttle = LoginThrottle::default();
        let checked = guess_on(&mut throttle, peer("192.0.2.1"), SECOND, day);
        assert!((100..=115).contains(&checked), "{checked} guesses in a day");
        // Clients behind a local proxy never wait long.
        let checked = guess_on(&mut throttle, ThrottleKey::Local, SECOND, day);
        assert!(checked < 22_000, "{checked} guesses in a day");
        assert_eq!(throttle.locked_out(SECOND + day - SECOND), 2);
    }

    #[test]
    fn a_repeated_guess_counts_once() {
        let mut throttle = LoginThrottle::default();
        let nat = peer("192.0.2.1");
        throttle.record_wrong(nat, 7, SECOND);
        for _ in 0..1000 {
            assert_eq!(throttle.decide(nat, 7, 2 * SECOND), KnownWrong);
        }
        assert_eq!(throttle.decide(nat, 8, 2 * SECOND), Check, "another guess from the same address");
    }

    #[test]
    fn an_address_is_forgotten_after_an_hour_without_wrong_guesses() {
        let mut throttle = LoginThrottle::default();
        let address = peer("192.0.2.1");
        for guess in 0..7 {
            throttle.record_wrong(address, guess, SECOND);
        }
        assert_eq!(throttle.decide(address, 99, SECOND), Wait(2 * SECOND));
        let later = SECOND + FORGET_AFTER;
        assert_eq!(throttle.decide(address, 0, later), Check);
        throttle.record_wrong(address, 0, later);
        assert_eq!(throttle.decide(address, 99, later), Check, "starts afresh");
    }

    #[test]
    fn many_addresses_neither_hide_an_attacker_nor_grow_the_table() {
        let mut throttle = LoginThrottle::default();
        let attacker = peer("198.51.100.1");
        guess_on(&mut throttle, attacker, SECOND, 1000 * SECOND);
        let now = 1001 * SECOND;
        assert!(matches!(throttle.decide(attacker, 99, now), Wait(_)));
        // Twenty times as many networks as fit, each with all of its free guesses.
        for network in 0..20 * MAX_ADDRESSES as u32 {
            let own = customer(network);
            for guess in 0..u64::from(FREE_GUESSES) {
                throttle.record_wrong(own, guess, now);
            }
            assert!(throttle.records.len() <= MAX_ADDRESSES);
        }
        assert!(matches!(throttle.decide(attacker, 99, now), Wait(_)), "the attacker was forgotten");
    }

    #[test]
    fn the_queue_is_limited_per_address_and_in_total() {
        let mut throttle = LoginThrottle::default();
        let one = peer("192.0.2.1");
        let places = (0..100).filter(|_| throttle.enqueue(one)).count();
        assert_eq!(places as u32, MAX_QUEUED_PER_ADDRESS);
        assert!(throttle.enqueue(peer("192.0.2.2")), "one address takes the slots of others");
        let all = (0..1000).filter(|n| throttle.enqueue(customer(*n))).count() as u32;
        assert_eq!(all + MAX_QUEUED_PER_ADDRESS + 1, MAX_QUEUED);
        for _ in 0..MAX_QUEUED_PER_ADDRESS {
            throttle.dequeue(one);
        }
        throttle.dequeue(one);
        assert!(throttle.enqueue(one));
        assert_eq!(throttle.queued[&one], 1);
    }
}
