//! Whether a published address can lie outside of the dialler's own house.
//!
//! Members publish addresses, and everybody else dials them. One that points inwards, to a loopback, a private
//! or a reserved range, makes the diallers knock at machines behind their own routers, which strangers could not
//! reach. On networks of strangers such addresses are not dialled. Ranges are those that the IANA registries of
//! special addresses do not mark as globally reachable, as of 2026.
//!
//! What a name resolves to is not known here: a name that stands for an inward address passes.

use core::net::{Ipv4Addr, Ipv6Addr};

/// Ranges of IPv4 that no stranger's machine has: first address, and bits that are fixed.
const INWARD_V4: [([u8; 4], u32); 16] = [
    // This host and network.
    ([0, 0, 0, 0], 8),
    // Private.
    ([10, 0, 0, 0], 8),
    ([172, 16, 0, 0], 12),
    ([192, 168, 0, 0], 16),
    // Shared by the customers of one provider.
    ([100, 64, 0, 0], 10),
    // Loopback.
    ([127, 0, 0, 0], 8),
    // Link-local; the metadata services of clouds among them.
    ([169, 254, 0, 0], 16),
    // Protocol assignments.
    ([192, 0, 0, 0], 24),
    // Relays from IPv6, withdrawn.
    ([192, 88, 99, 0], 24),
    // Documentation.
    ([192, 0, 2, 0], 24),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Benchmarks.
    ([198, 18, 0, 0], 15),
    // Multicast, reserved, broadcast.
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

/// Endings of names that no public name server knows.
const INWARD_NAMES: [&str; 8] =
    ["localhost", "local", "internal", "intranet", "lan", "home", "private", "home.arpa"];

/// Whether a machine of the internet can have this address.
#[must_use]
pub fn is_public_v4(address: Ipv4Addr) -> bool {
    let of = |bytes: [u8; 4]| u32::from_be_bytes(bytes);
    let inside = |(first, fixed): &([u8; 4], u32)| {
        // All bits fixed where nothing is to be shifted away.
        let free = 32u32.saturating_sub(*fixed);
        of(*first).checked_shr(free) == of(address.octets()).checked_shr(free)
    };
    !INWARD_V4.iter().any(inside)
}

/// Whether a machine of the internet can have this address. Only the range of global unicast can, without the
/// parts of it that are for documentation or carry an address of IPv4, which is judged in its place.
#[must_use]
pub fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let [a, b, c, ..] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([p, q], [r, s]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(p, q, r, s)
    };
    match (a, b) {
        // Documentation; protocol assignments, tunnels through routers among them.
        (0x2001, 0xdb8) => false,
        (0x2001, 0..=0x1ff) => false,
        (0x3fff, 0..=0x0fff) => false,
        // The second and third part are an address of IPv4.
        (0x2002, _) => is_public_v4(v4(b, c)),
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

/// Whether a name can be one of the public name system: two labels at least, none empty, the last no number (what
/// ends in a number is an address in some spelling) and no ending that stays in a house.
#[must_use]
pub fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| !label.is_empty() && label.bytes().all(allowed);
    let Some((_, last)) = name.rsplit_once('.') else { return false };
    let numeric = last.bytes().next().is_none_or(|byte| byte.is_ascii_digit());
    let inward = INWARD_NAMES.iter().any(|ending| ends_in(name, ending));
    name.split('.').all(label) && !numeric && !inward
}

/// Whether a name is `ending`, or lies below it.
fn ends_in(name: &str, ending: &str) -> bool {
    let Some(at) = name.len().checked_sub(ending.len()) else { return false };
    let (Some(before), Some(end)) = (name.get(..at), name.get(at..)) else { return false };
    end.eq_ignore_ascii_case(ending) && (before.is_empty() || before.ends_with('.'))
}

/// Whether a published multiaddress, as text, may be dialled on a network of strangers: by what its first part
/// says, which is the machine that is dialled. What cannot be read is not.
#[must_use]
pub fn is_public(address: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(address) else { return false };
    let mut parts = text.split('/');
    let (Some(""), Some(kind), Some(host)) = (parts.next(), parts.next(), parts.next()) else { return false };
    match kind {
        "ip4" => host.parse().is_ok_and(is_public_v4),
        "ip6" => host.parse().is_ok_and(is_public_v6),
        "dns" | "dns4" | "dns6" | "dnsaddr" => is_public_name(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.as_bytes())
    }

    #[test]
    fn row_30_an_address_that_points_inwards_is_told_from_one_of_the_internet() {
        for inward in [
            "/ip4/127.0.0.1/tcp/4001",
            "/ip4/10.1.2.3/tcp/22",
            "/ip4/172.31.255.255/udp/1/quic-v1",
            "/ip4/192.168.1.1/tcp/80",
            "/ip4/169.254.169.254/tcp/80",
            "/ip4/100.64.0.1/tcp/1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/224.0.0.251/udp/5353",
            "/ip4/255.255.255.255/tcp/1",
            "/ip6/::/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6zone/eth0/ip6/fe80::1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/ff02::fb/udp/5353",
            // Addresses of IPv4 in other clothes.
            "/ip6/::ffff:127.0.0.1/tcp/1",
            "/ip6/2002:7f00:1::/tcp/1",
            "/ip6/64:ff9b::a00:1/tcp/1",
            "/dns/localhost/tcp/1",
            "/dns4/router.LOCAL./tcp/1",
            "/dns/nas.home.arpa/tcp/1",
            "/dns/intranet/tcp/1",
            // The resolvers of some systems read these as 127.0.0.1.
            "/dns4/127.0.0.1/tcp/1",
            "/dns4/0x7f.1/tcp/1",
            "/dns4/2130706433/tcp/1",
            "/memory/7",
            "/unix/var/run/docker.sock",
            "ip4/8.8.8.8/tcp/1",
            "",
            "/",
            "/ip4",
            "/ip4/8.8.8.8.8/tcp/1",
            "/ip4/010.8.8.8/tcp/1",
        ] {
            assert!(!public(inward), "{inward}");
        }
        for outward in [
            "/ip4/8.8.8.8/tcp/4001",
            "/ip4/172.32.0.1/tcp/1",
            "/ip4/100.128.0.1/udp/1/quic-v1",
            "/ip4/223.255.255.255/tcp/1",
            "/ip6/2606:4700::1111/tcp/1",
            "/ip6/2002:808:808::/tcp/1",
            "/ip6/::ffff:8.8.8.8/tcp/1",
            "/dns/miner.example.org/tcp/4001",
            "/dns4/a-b.co./tcp/1",
            // Through a relay: the relay is dialled.
            "/ip4/8.8.8.8/tcp/4001/p2p/12D3KooW/p2p-circuit",
        ] {
            assert!(public(outward), "{outward}");
        }
        assert!(!is_public(&[b'/', 0xff]));
    }

    /// By hand: 172.16.0.0/12 ends where the top twelve bits change, 172.31 being 1010_1100 0001_1111.
    #[test]
    fn the_edges_of_a_range() {
        let v4 = |a, b, c, d| is_public_v4(Ipv4Addr::new(a, b, c, d));
        assert!(v4(172, 15, 255, 255) && !v4(172, 16, 0, 0));
        assert!(!v4(172, 31, 255, 255) && v4(172, 32, 0, 0));
        assert!(v4(126, 255, 255, 255) && !v4(127, 0, 0, 0) && !v4(127, 255, 255, 255) && v4(128, 0, 0, 0));
        assert!(v4(198, 17, 255, 255) && !v4(198, 18, 0, 0) && !v4(198, 19, 255, 255) && v4(198, 20, 0, 0));
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = is_public(&bytes);
        }

        /// Against the standard library's own judgements, which know fewer ranges.
        #[test]
        fn nothing_that_the_standard_library_calls_inward_is_public(bits in any::<u32>(), long in any::<u128>()) {
            let v4 = Ipv4Addr::from(bits);
            let known = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
                || v4.is_unspecified() || v4.is_broadcast() || v4.is_documentation();
            prop_assert!(!(known && is_public_v4(v4)), "{v4}");
            let v6 = Ipv6Addr::from(long);
            let known = v6.is_loopback() || v6.is_multicast() || v6.is_unspecified()
                || v6.is_unique_local() || v6.is_unicast_link_local();
            prop_assert!(!(known && is_public_v6(v6)), "{v6}");
        }

        /// Most addresses are public, so that the rule does not close the door on everybody.
        #[test]
        fn an_address_outside_of_every_range_is_public(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b, c, _] = v4.octets();
            let outside = (1..224).contains(&a) && ![10, 127, 100, 169, 172, 192, 198, 203].contains(&a);
            prop_assume!(outside);
            prop_assert!(is_public_v4(v4), "{a}.{b}.{c}");
        }

        #[test]
        fn an_address_is_judged_alike_in_all_its_clothes(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            prop_assert_eq!(public(&format!("/ip4/{v4}/tcp/1")), is_public_v4(v4));
            prop_assert_eq!(is_public_v6(v4.to_ipv6_mapped()), is_public_v4(v4));
            let name = format!("/dns/{v4}/tcp/1");
            prop_assert!(!public(&name));
        }
    }
}
