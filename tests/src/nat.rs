//! Made-up routers that translate addresses, as those at home do: the two kinds that decide whether a hole can be
//! punched. Pure: packets in, packets out; `links` carries them. UDP only, the rest does not pass.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};

/// IP's number for UDP.
const UDP: u8 = 17;
/// First port that a router gives out; none of those that programs here listen on.
const FIRST: u16 = 20_000;

/// How a router gives out ports. Both let in only what was asked for: an answer from the very address and port that
/// something was sent to (RFC 4787: address and port-dependent filtering).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One outer port for one inner, whoever is talked to.
    Cone,
    /// Another outer port for each that is talked to: nobody can know it in advance.
    Symmetric,
}

/// One router, with one machine behind it.
#[derive(Debug)]
pub struct Nat {
    kind: Kind,
    inner: Ipv4Addr,
    outer: Ipv4Addr,
    ports: HashMap<(u16, Option<SocketAddrV4>), u16>,
    open: HashMap<u16, (u16, HashSet<SocketAddrV4>)>,
}

impl Nat {
    /// A router that knows nobody yet.
    #[must_use]
    pub fn new(kind: Kind, inner: Ipv4Addr, outer: Ipv4Addr) -> Self {
        Self { kind, inner, outer, ports: HashMap::new(), open: HashMap::new() }
    }

    /// A packet from inside gets an outer source; whether it goes out.
    pub fn out(&mut self, packet: &mut [u8]) -> bool {
        let Some(udp) = Udp::read(packet).filter(|udp| *udp.source.ip() == self.inner) else { return false };
        let inner = udp.source.port();
        let towards = (self.kind == Kind::Symmetric).then_some(udp.destination);
        let Ok(given) = u16::try_from(self.open.len()) else { return false };
        // A prime step, so that the port after one is not the next.
        let fresh = FIRST.saturating_add(given.wrapping_mul(37) % 40_000);
        let port = *self.ports.entry((inner, towards)).or_insert(fresh);
        self.open.entry(port).or_insert_with(|| (inner, HashSet::new())).1.insert(udp.destination);
        rewrite(packet, udp.at, 12, 0, SocketAddrV4::new(self.outer, port));
        true
    }

    /// A packet from outside gets its inner destination; whether it is let in.
    pub fn back(&mut self, packet: &mut [u8]) -> bool {
        let Some(udp) = Udp::read(packet) else { return false };
        let Some((inner, known)) = self.open.get(&udp.destination.port()) else { return false };
        if *udp.destination.ip() != self.outer || !known.contains(&udp.source) {
            return false;
        }
        rewrite(packet, udp.at, 16, 2, SocketAddrV4::new(self.inner, *inner));
        true
    }
}

/// What a router reads of a packet.
struct Udp {
    source: SocketAddrV4,
    destination: SocketAddrV4,
    /// Where the UDP header begins.
    at: usize,
}

impl Udp {
    fn read(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        if first >> 4 != 4 || *packet.get(9)? != UDP {
            return None;
        }
        let at = usize::from(first & 15) * 4;
        let address = |from: usize, port: usize| {
            let ip: [u8; 4] = packet.get(from..from + 4)?.try_into().ok()?;
            let port: [u8; 2] = packet.get(at + port..at + port + 2)?.try_into().ok()?;
            Some(SocketAddrV4::new(ip.into(), u16::from_be_bytes(port)))
        };
        // The checksum is rewritten, so that it must be there.
        packet.get(at..at + 8)?;
        Some(Self { source: address(12, 0)?, destination: address(16, 2)?, at })
    }
}

/// Puts an address and a port into their places and corrects both checksums (RFC 1624).
fn rewrite(packet: &mut [u8], udp: usize, ip_at: usize, port_at: usize, to: SocketAddrV4) {
    let old: Vec<u8> = [&packet[ip_at..ip_at + 4], &packet[udp + port_at..udp + port_at + 2]].concat();
    let new: Vec<u8> = [&to.ip().octets()[..], &to.port().to_be_bytes()].concat();
    packet[ip_at..ip_at + 4].copy_from_slice(&new[..4]);
    packet[udp + port_at..udp + port_at + 2].copy_from_slice(&new[4..]);
    correct(&mut packet[10..12], &old[..4], &new[..4]);
    if packet[udp + 6..udp + 8] != [0, 0] {
        correct(&mut packet[udp + 6..udp + 8], &old, &new);
    }
}

fn correct(checksum: &mut [u8], old: &[u8], new: &[u8]) {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    let mut sum = u32::from(!u16::from_be_bytes([checksum[0], checksum[1]]));
    sum += old.chunks(2).map(|pair| 0xffff - word(pair)).sum::<u32>();
    sum += new.chunks(2).map(word).sum::<u32>();
    checksum.copy_from_slice(&(!folded(sum)).to_be_bytes());
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: Ipv4Addr = Ipv4Addr::new(192, 168, 3, 2);
    const OUTER: Ipv4Addr = Ipv4Addr::new(10, 77, 3, 2);

    fn at(last: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 77, 3, last), port)
    }

    fn sum(bytes: &[u8]) -> u32 {
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
    }

    /// Both sums over what they cover; a right checksum makes each 0xffff.
    fn sums(packet: &[u8]) -> (u16, u16) {
        let length = u32::try_from(packet.len() - 20).unwrap();
        (folded(sum(&packet[..20])), folded(sum(&packet[12..]) + u32::from(UDP) + length))
    }

    fn packet(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 33, 0, 0, 0x40, 0, 64, UDP, 0, 0];
        packet.extend(from.ip().octets());
        packet.extend(to.ip().octets());
        packet.extend(from.port().to_be_bytes());
        packet.extend(to.port().to_be_bytes());
        packet.extend([0, 13, 0, 0]);
        packet.extend(b"hello");
        let (ip, udp) = sums(&packet);
        packet[10..12].copy_from_slice(&(!ip).to_be_bytes());
        packet[26..28].copy_from_slice(&(!udp).to_be_bytes());
        assert_eq!(sums(&packet), (0xffff, 0xffff));
        packet
    }

    /// Sends from inside, returns the source that is seen outside.
    fn send(nat: &mut Nat, port: u16, to: SocketAddrV4) -> SocketAddrV4 {
        let mut sent = packet(SocketAddrV4::new(INNER, port), to);
        assert!(nat.out(&mut sent));
        assert_eq!(sums(&sent), (0xffff, 0xffff), "checksums are corrected");
        let seen = Udp::read(&sent).unwrap();
        assert_eq!((seen.destination, *seen.source.ip()), (to, OUTER));
        seen.source
    }

    fn arrives(nat: &mut Nat, from: SocketAddrV4, to: SocketAddrV4) -> Option<u16> {
        let mut sent = packet(from, to);
        nat.back(&mut sent).then(|| {
            assert_eq!(sums(&sent), (0xffff, 0xffff));
            let got = Udp::read(&sent).unwrap();
            assert_eq!((got.source, *got.destination.ip()), (from, INNER));
            got.destination.port()
        })
    }

    #[test]
    fn a_cone_shows_everybody_the_same_port_and_lets_in_whom_it_was_sent_to() {
        let mut nat = Nat::new(Kind::Cone, INNER, OUTER);
        let seen = send(&mut nat, 4_001, at(5, 1));
        assert_ne!(seen.port(), 4_001);
        assert_eq!(arrives(&mut nat, at(6, 1), seen), None, "nothing was sent there yet");
        assert_eq!(send(&mut nat, 4_001, at(6, 1)), seen);
        assert_eq!(arrives(&mut nat, at(6, 1), seen), Some(4_001));
        assert_eq!(arrives(&mut nat, at(6, 2), seen), None, "another port of the same machine");
        assert_ne!(send(&mut nat, 4_002, at(6, 1)), seen);
    }

    #[test]
    fn a_symmetric_one_shows_each_another_port() {
        let mut nat = Nat::new(Kind::Symmetric, INNER, OUTER);
        let (one, other) = (send(&mut nat, 4_001, at(5, 1)), send(&mut nat, 4_001, at(6, 1)));
        assert_ne!(one, other);
        assert_eq!(send(&mut nat, 4_001, at(5, 1)), one);
        assert_eq!(arrives(&mut nat, at(5, 1), one), Some(4_001));
        assert_eq!(arrives(&mut nat, at(6, 1), one), None, "the port that the other was shown");
    }

    #[test]
    fn only_udp_from_the_machine_behind_it_passes() {
        let mut nat = Nat::new(Kind::Cone, INNER, OUTER);
        let mut foreign = packet(at(9, 4_001), at(5, 1));
        assert!(!nat.out(&mut foreign));
        let mut tcp = packet(SocketAddrV4::new(INNER, 1), at(5, 1));
        tcp[9] = 6;
        assert!(!nat.out(&mut tcp));
        assert!(!nat.out(&mut tcp[..22]) && !nat.out(&mut []));
    }
}
