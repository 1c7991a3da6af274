//! Static addresses of this machine in a network.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Static addresses of an interface; without any, DHCP gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Addresses {
    /// Of this machine.
    pub(super) address: Vec<Subnet>,
    /// The routers to other networks.
    pub(super) gateway: Vec<IpAddr>,
    /// Name servers, besides those from DHCP.
    pub(super) dns: Vec<IpAddr>,
}

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    ip: IpAddr,
    prefix: u8,
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no_address = || {
            format!(
                "{text:?} must be an address and the length of its prefix, as 192.168.1.20/24: /24 is 255.255.255.0"
            )
        };
        let (ip, prefix) = text.split_once('/').ok_or_else(no_address)?;
        let ip: IpAddr = ip.parse().map_err(|_| no_address())?;
        let prefix: u8 = prefix.parse().map_err(|_| no_address())?;
        if prefix == 0 || prefix > bits(ip) {
            return Err(no_address());
        }
        let subnet = Self { ip, prefix };
        let host = number(ip) & subnet.mask();
        // Where there are more than two addresses, the first stands for the network and the last of IPv4 for all in it.
        let is_for_all = ip.is_ipv4() && host == subnet.mask();
        let is_taken = bits(ip) - prefix > 1 && (host == 0 || is_for_all);
        if ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || is_taken {
            return Err(format!("{text:?} is no address that a machine can have"));
        }
        Ok(subnet)
    }
}

impl Subnet {
    /// The bits in which the addresses of the network differ.
    fn mask(self) -> u128 {
        let host = u32::from(bits(self.ip) - self.prefix);
        1u128.checked_shl(host).map_or(u128::MAX, |bit| bit - 1)
    }

    fn contains(self, other: IpAddr) -> bool {
        let same_kind = self.ip.is_ipv4() == other.is_ipv4();
        same_kind && number(self.ip) & !self.mask() == number(other) & !self.mask()
    }

    /// A gateway of a machine with these addresses.
    pub(super) fn gateway(subnets: &[Self], text: &str) -> Result<IpAddr, String> {
        let gateway: IpAddr =
            text.parse().map_err(|_| format!("{text:?} is no address, as 192.168.1.1 is one"))?;
        let is_link_local = matches!(gateway, IpAddr::V6(ip) if ip.is_unicast_link_local());
        if subnets.is_empty() {
            return Err("needs address beside it: without one, DHCP tells the gateway".into());
        }
        if subnets.iter().any(|subnet| subnet.ip == gateway) {
            return Err(format!("{text:?} is this machine's own address; name the router's"));
        }
        if !is_link_local && !subnets.iter().any(|subnet| subnet.contains(gateway)) {
            return Err(format!("{text:?} is not in the network of address, so it cannot be reached"));
        }
        Ok(gateway)
    }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_is_none() {
        for text in
            ["192.168.1.20/24", "10.0.0.1/8", "10.0.0.0/31", "10.0.0.5/32", "fd00::5/64", "fd00::1/128"]
        {
            assert_eq!(text.parse::<Subnet>().unwrap().to_string(), text);
        }
        for text in ["192.168.1.20", "192.168.1.20/33", "192.168.1.20/0", "a/24", "1.2.3.4/", "fd00::1/129"] {
            assert!(text.parse::<Subnet>().unwrap_err().contains("as 192.168.1.20/24"), "{text}");
        }
        for text in
            ["192.168.1.0/24", "192.168.1.255/24", "127.0.0.1/8", "224.0.0.1/4", "0.0.0.0/8", "fd00::/64"]
        {
            assert!(text.parse::<Subnet>().unwrap_err().contains("that a machine can have"), "{text}");
        }
    }

    #[test]
    fn a_gateway_is_another_machine_in_the_same_network() {
        let subnets = ["192.168.1.20/24", "fd00::5/64"].map(|text| text.parse().unwrap());
        for text in ["192.168.1.1", "fd00::1", "fe80::1"] {
            assert_eq!(Subnet::gateway(&subnets, text).unwrap().to_string(), text);
        }
        let why = |text| Subnet::gateway(&subnets, text).unwrap_err();
        assert!(why("192.168.2.1").contains("cannot be reached"));
        assert!(why("fd00:1::1").contains("cannot be reached"));
        assert!(why("192.168.1.20").contains("own address"));
        assert!(why("router").contains("is no address"));
        assert!(Subnet::gateway(&[], "192.168.1.1").unwrap_err().contains("needs address beside it"));
    }
}
