//! The UDP ports that peers may use: a small, stated range, one port a peer.

use std::collections::HashSet;
use std::net::{IpAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
pub struct PortPool {
    range: RangeInclusive<u16>,
    /// Where the search begins: two servers that share a range would else reach for the same port at the same moment.
    first: usize,
    taken: Mutex<HashSet<u16>>,
}

/// A port, given back when dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    pool: Arc<PortPool>,
}

impl PortPool {
    pub fn new(range: RangeInclusive<u16>) -> Arc<Self> {
        let first = rand::random_range(0..range.len().max(1));
        Arc::new(Self { range, first, taken: Mutex::default() })
    }

    /// A port of the range that neither we nor another program on `ip` uses; `None` if all are in use.
    pub fn take(self: &Arc<Self>, ip: IpAddr) -> Option<Port> {
        let mut taken = self.taken.lock().expect("no panic while held");
        let (before, after) = (self.range.clone().take(self.first), self.range.clone().skip(self.first));
        let number = after.chain(before).find(|n| !taken.contains(n) && UdpSocket::bind((ip, *n)).is_ok())?;
        taken.insert(number);
        Some(Port { number, pool: self.clone() })
    }

    pub fn range(&self) -> &RangeInclusive<u16> {
        &self.range
    }
}

impl Port {
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.pool.taken.lock().expect("no panic while held").remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_port_is_lent_once_skipped_when_foreign_and_returned() {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let foreign = UdpSocket::bind((ip, 0)).unwrap();
        let first = foreign.local_addr().unwrap().port();
        let pool = PortPool::new(first..=first.saturating_add(2));
        let a = pool.take(ip).unwrap();
        assert_ne!(a.number(), first);
        let b = pool.take(ip).unwrap();
        assert_ne!(a.number(), b.number());
        assert!(pool.take(ip).is_none());
        let freed = a.number();
        drop(a);
        assert_eq!(pool.take(ip).unwrap().number(), freed);
    }
}
