//! The text of the files for systemd-networkd, wpa_supplicant and the SSH server.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use super::address::{Addresses, Subnet};
use super::network::{Network, WifiNetwork};

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

/// `wpa_supplicant.conf`. The country counts before the radio listens or sends. Of networks that are to be had, that with the
/// larger priority is joined. With `sae_pwe=2` all access points with WPA3 will do, with the newer way of deriving an element
/// from the passphrase and with the older.
pub(super) fn wpa_supplicant(network: &Network) -> Option<String> {
    let wifi = network.wifi.as_ref()?;
    let sae = if network.wifi_networks().any(|wifi| wifi.wpa3) { "sae_pwe=2\n" } else { "" };
    let networks: String =
        network.wifi_networks().zip([1, 0]).map(|(wifi, priority)| wifi_block(wifi, priority)).collect();
    Some(format!("country={}\n{sae}{networks}", wifi.country))
}

/// A `network` of `wpa_supplicant.conf`. Name and passphrase are written in hexadecimal: any byte may be part of them.
fn wifi_block(wifi: &WifiNetwork, priority: u8) -> String {
    let WifiNetwork { ssid, passphrase, hidden, wpa3, .. } = wifi;
    let key = match (passphrase, wpa3) {
        (Some(passphrase), true) => {
            format!("key_mgmt=SAE\n\tieee80211w=2\n\tsae_password={}", hex::encode(passphrase))
        }
        (Some(key), false) => format!("key_mgmt=WPA-PSK\n\tpsk={key}"),
        (None, _) => "key_mgmt=NONE".to_owned(),
    };
    let (ssid, scan) = (hex::encode(ssid), u8::from(*hidden));
    format!("network={{\n\tssid={ssid}\n\tscan_ssid={scan}\n\tpriority={priority}\n\t{key}\n}}\n")
}

/// `authorized_keys`.
pub(super) fn authorized_keys(network: &Network) -> Option<String> {
    let lines: String = network.ssh_key.iter().map(|key| format!("{key}\n")).collect();
    Some(lines).filter(|lines| !lines.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::network::Wifi;
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

    fn wifi(ssid: &str, passphrase: Option<String>, wpa3: bool) -> WifiNetwork {
        WifiNetwork { ssid: ssid.into(), passphrase, open: false, hidden: !wpa3, wpa3 }
    }

    fn joins(first: WifiNetwork, second_wifi: Option<WifiNetwork>) -> Network {
        let wifi = Wifi { country: "DE".into(), network: first, addresses: Addresses::default() };
        Network { wifi: Some(wifi), second_wifi, ..Network::default() }
    }

    #[test]
    fn whatever_a_network_is_called_is_one_value_of_wpa_supplicant() {
        let key = "ab".repeat(32);
        let closed = joins(wifi("a\"\n}b", Some(key.clone()), false), None);
        assert_eq!(
            wpa_supplicant(&closed).unwrap(),
            format!(
                "country=DE\nnetwork={{\n\tssid=61220a7d62\n\tscan_ssid=1\n\tpriority=1\n\tkey_mgmt=WPA-PSK\n\tpsk={key}\n}}\n"
            )
        );
        let open = wpa_supplicant(&joins(wifi("a", None, false), None)).unwrap();
        assert!(open.contains("key_mgmt=NONE\n"), "{open}");
        assert_eq!(wpa_supplicant(&Network::default()), None);
    }

    #[test]
    fn a_second_network_comes_after_the_first_and_wpa3_has_its_own_passphrase() {
        let both =
            joins(wifi("a", Some("ab".repeat(32)), false), Some(wifi("b", Some("p\"\n}".into()), true)));
        let text = wpa_supplicant(&both).unwrap();
        let (first, second) =
            text.strip_prefix("country=DE\nsae_pwe=2\nnetwork=").unwrap().split_once("network=").unwrap();
        assert!(
            first.contains("ssid=61\n") && first.contains("priority=1\n") && first.contains("WPA-PSK"),
            "{text}"
        );
        let expected = "{\n\tssid=62\n\tscan_ssid=0\n\tpriority=0\n\tkey_mgmt=SAE\n\tieee80211w=2\n\tsae_password=70220a7d\n}\n";
        assert_eq!(second, expected);
    }
}
