//! How often one may ask: buckets by address, by user, and smaller ones for clean-up.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::server::config::Rates;
use crate::server::problem::{Kind, Problem};

/// All buckets. What is `None` is without limit.
pub(super) struct Limits {
    addresses: Option<Buckets<IpAddr>>,
    users: Option<Buckets<String>>,
    cleanups: Option<Buckets<String>>,
}

struct Buckets<K: Clone + std::hash::Hash + Eq> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
}

impl<K: Clone + std::hash::Hash + Eq> Buckets<K> {
    /// A bucket for each key, which holds what comes in two of these times.
    fn new(rate: u32, each: fn(NonZeroU32) -> Quota) -> Option<Self> {
        let rate = NonZeroU32::new(rate)?;
        let quota = each(rate).allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1)));
        Some(Self { limiter: RateLimiter::keyed(quota), clock: DefaultClock::default() })
    }

    fn take(&self, key: &K) -> Result<(), Problem> {
        self.limiter.check_key(key).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            let seconds = wait.saturating_add(Duration::from_millis(999)).as_secs().max(1);
            Problem::new(Kind::TooMany, "too many requests; wait as Retry-After says")
                .retry_after(seconds)
        })
    }

    fn tidy(&self) {
        self.limiter.retain_recent();
    }
}

impl Limits {
    pub(super) fn new(rates: &Rates) -> Self {
        Self {
            addresses: Buckets::new(rates.per_address, Quota::per_second),
            users: Buckets::new(rates.per_user, Quota::per_second),
            cleanups: Buckets::new(rates.cleanups, Quota::per_minute),
        }
    }

    /// Takes a request of this address.
    ///
    /// # Errors
    /// A problem when it has asked too often.
    pub(super) fn address(&self, address: IpAddr) -> Result<(), Problem> {
        self.addresses.as_ref().map_or(Ok(()), |buckets| buckets.take(&network(address)))
    }

    /// Takes a request of this user.
    ///
    /// # Errors
    /// A problem when it has asked too often.
    pub(super) fn user(&self, name: &str) -> Result<(), Problem> {
        self.users.as_ref().map_or(Ok(()), |buckets| buckets.take(&name.to_owned()))
    }

    /// Takes a clean-up of this user.
    ///
    /// # Errors
    /// A problem when it has cleaned up too often.
    pub(super) fn cleanup(&self, name: &str) -> Result<(), Problem> {
        self.cleanups.as_ref().map_or(Ok(()), |buckets| buckets.take(&name.to_owned()))
    }

    /// Forgets those that have not asked for long.
    pub(super) fn tidy(&self) {
        self.addresses.iter().for_each(Buckets::tidy);
        self.users.iter().for_each(Buckets::tidy);
        self.cleanups.iter().for_each(Buckets::tidy);
    }
}

/// One who has an address of version 6 has, as a rule, all that begin with the same 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_empty_after_its_burst_and_others_are_not() {
        let limits = Limits::new(&Rates { per_address: 0, per_user: 5, cleanups: 1 });
        let taken = (0..100).filter(|_| limits.user("ann").is_ok()).count();
        assert!((10..15).contains(&taken), "{taken}");
        assert!(limits.user("bob").is_ok());
        let cleanups = (0..10).filter(|_| limits.cleanup("ann").is_ok()).count();
        assert_eq!(cleanups, 2);
        for _ in 0..10_000 {
            limits.address(IpAddr::from([127, 0, 0, 1])).unwrap();
        }
        limits.tidy();
    }

    #[test]
    fn one_network_is_one_address() {
        let ip = |text: &str| network(text.parse().unwrap());
        assert_eq!(ip("2001:db8:1:2:3:4:5:6"), ip("2001:db8:1:2:ffff::1"));
        assert_ne!(ip("2001:db8:1:2::1"), ip("2001:db8:1:3::1"));
        assert_eq!(ip("::ffff:10.0.0.1"), ip("10.0.0.1"));
        assert_ne!(ip("10.0.0.1"), ip("10.0.0.2"));
    }
}
