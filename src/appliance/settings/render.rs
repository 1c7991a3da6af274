//! The text of the files for systemd-networkd, wpa_supplicant and the SSH server.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::address::{Addresses, Subnet};
use super::network::{Network, Wifi};

/// Route metrics: where there are both, packets take the cable, whose metric is smaller (systemd.network(5)).
const ETHERNET_METRIC: u32 = 100;
const WIFI_METRIC: u32 = 600;

/// Files of `/run/systemd/network`, by name.
pub(super) fn networks(network: &Network) -> [(&'static str, Option<String>); 2] {
    let wifi = network.wifi.as_ref();
    [
        ("10-ethernet.network", Some(interface("ether", ETHERNET_METRIC, &network.ethernet))),
        ("20-wifi.network", wifi.map(|wifi| interface("wlan", WIFI_METRIC, &wifi.addresses))),
    ]
}

/// A `.network` file. Without DHCP the interface has a link-local address, which is enough for a PC at the other end of a
/// cable. DHCP servers know the interface by its MAC address, so that they recognise it when the state is lost.
fn interface(kind: &str, metric: u32, addresses: &Addresses) -> String {
    let Addresses { address, gateway, dns } = addresses;
    let is_static = |ipv4: bool| address.iter().any(|address| address.to_string().contains('.') == ipv4);
    let dhcp = match (is_static(true), is_static(false)) {
        (false, false) => "yes",
        (true, false) => "ipv6",
        (false, true) => "ipv4",
        (true, true) => "no",
    };
    let lines = |key: &str, values: &[String]| -> String {
        values.iter().map(|value| format!("{key}={value}\n")).collect()
    };
    let texts = |ips: &[IpAddr]| -> Vec<String> { ips.iter().map(IpAddr::to_string).collect() };
    let addresses = lines("Address", &address.iter().map(Subnet::to_string).collect::<Vec<_>>());
    let dns = lines("DNS", &texts(dns));
    let route = |gateway: &IpAddr| format!("\n[Route]\nGateway={gateway}\nMetric={metric}\n");
    let routes: String = gateway.iter().map(route).collect();
    format!(
        "[Match]\nType={kind}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP={dhcp}\nLinkLocalAddressing=yes\n\
         MulticastDNS=yes\n{addresses}{dns}{routes}\n[DHCPv4]\nClientIdentifier=mac\nUseDomains=yes\n\
         RouteMetric={metric}\n\n[IPv6AcceptRA]\nRouteMetric={metric}\n"
    )
}

/// `wpa_supplicant.conf`. The name is written in hexadecimal: any byte may be part of it.
pub(super) fn wpa_supplicant(wifi: &Wifi) -> String {
    let Wifi { country, ssid, passphrase, hidden, .. } = wifi;
    let key = match passphrase {
        Some(key) => format!("key_mgmt=WPA-PSK\n\tpsk={key}"),
        None => "key_mgmt=NONE".to_owned(),
    };
    let (ssid, scan) = (hex::encode(ssid), u8::from(*hidden));
    format!("country={country}\nnetwork={{\n\tssid={ssid}\n\tscan_ssid={scan}\n\t{key}\n}}\n")
}

/// `authorized_keys`.
pub(super) fn authorized_keys(network: &Network) -> Option<String> {
    let lines: String = network.ssh_key.iter().map(|key| format!("{key}\n")).collect();
    Some(lines).filter(|lines| !lines.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_address_takes_the_place_of_dhcp_for_its_kind() {
        let mut network = Network::default();
        let [(_, ethernet), (_, wifi)] = networks(&network);
        assert_eq!(
            ethernet.unwrap(),
            "[Match]\nType=ether\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=yes\nLinkLocalAddressing=yes\n\
             MulticastDNS=yes\n\n[DHCPv4]\nClientIdentifier=mac\nUseDomains=yes\nRouteMetric=100\n\n[IPv6AcceptRA]\nRouteMetric=100\n"
        );
        assert_eq!(wifi, None);
        network.ethernet = Addresses {
            address: vec!["192.168.1.20/24".parse().unwrap()],
            gateway: vec!["192.168.1.1".parse().unwrap()],
            dns: vec!["9.9.9.9".parse().unwrap()],
        };
        let [(_, ethernet), _] = networks(&network);
        let ethernet = ethernet.unwrap();
        assert!(ethernet.contains("DHCP=ipv6\n"), "{ethernet}");
        assert!(ethernet.contains("Address=192.168.1.20/24\nDNS=9.9.9.9\n"), "{ethernet}");
        assert!(ethernet.contains("[Route]\nGateway=192.168.1.1\nMetric=100\n"), "{ethernet}");
    }

    #[test]
    fn whatever_a_network_is_called_is_one_value_of_wpa_supplicant() {
        let mut wifi = Wifi {
            country: "DE".into(),
            ssid: "a\"\n}b".into(),
            passphrase: Some("ab".repeat(32)),
            open: false,
            hidden: true,
            addresses: Addresses::default(),
        };
        let key = "ab".repeat(32);
        assert_eq!(
            wpa_supplicant(&wifi),
            format!(
                "country=DE\nnetwork={{\n\tssid=61220a7d62\n\tscan_ssid=1\n\tkey_mgmt=WPA-PSK\n\tpsk={key}\n}}\n"
            )
        );
        wifi.passphrase = None;
        assert!(wpa_supplicant(&wifi).contains("key_mgmt=NONE\n"));
    }
}
