//! Home connections on one machine: each member in a network namespace of its own, whose only way out
//! is a TUN device. The kernel's token bucket (`tbf`) limits what goes up; a relay in this process
//! limits what comes down and adds delay, jitter and loss from a seed (kernels without `netem` have no
//! other way).
//!
//! Needs root, `iproute2` and `/dev/net/tun`. Everything that is made here is taken away when dropped.

use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{bail, Context};

use crate::nat::{Kind, Nat};
use crate::relay::{Downlink, LinkSpec, Packet};

/// Largest IP packet; the devices keep the usual 1,500.
const PACKET: usize = 2_048;
/// Packets under way at a time, over all links: 64 MiB of full ones; more are dropped.
const UNDER_WAY: usize = 32_768;
/// How long a reader waits before it looks whether it should stop.
const PATIENCE_MS: i32 = 100;
/// The node and the observer are not at home: their link never is what limits.
const BACKBONE: u64 = 10_000_000_000;

/// Counts the networks of this process: each has names and a subnet of its own.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The links of one devnet. Number 0 is this process and its node, 1 and up are members.
pub struct Links {
    namespaces: Vec<String>,
    subnet: u8,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    number: AtomicU64,
    devices: Vec<File>,
    downlinks: Vec<Mutex<Downlink>>,
    /// Cut in both directions.
    cut: Vec<AtomicBool>,
    /// Routers between members and the rest.
    nats: Vec<Option<Mutex<Nat>>>,
    heap: Mutex<BinaryHeap<Packet>>,
    wake: Condvar,
}

impl Shared {
    fn is_cut(&self, number: usize) -> bool {
        self.cut.get(number).is_some_and(|cut| cut.load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Whether the routers at both ends let a packet through; they change its addresses.
    fn passes(&self, from: usize, to: usize, packet: &mut [u8]) -> bool {
        let router = |number: usize| self.nats.get(number).and_then(Option::as_ref);
        router(from).is_none_or(|nat| locked(nat).out(packet))
            && router(to).is_none_or(|nat| locked(nat).back(packet))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing below panics while it holds a lock, and a relay that lost a packet is still a relay.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    run("ip", args)
}

fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("running {program}: links need iproute2 (`apt-get install iproute2`)"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` failed: {}; links need root", args.join(" "), said.trim());
    }
    Ok(())
}

/// A TUN device of this name: every read is one IP packet, every write another.
fn tun(name: &str) -> anyhow::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .context("opening /dev/net/tun: links need root and the kernel's TUN device")?;
    // Safety: all-zero bytes are a valid `ifreq`.
    #[expect(unsafe_code, reason = "the kernel's interface for making a device")]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).context("flags of a TUN device")?;
    // Safety: the descriptor is open and the request lives through the call.
    #[expect(unsafe_code, reason = "the kernel's interface for making a device")]
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &request) };
    if done < 0 {
        bail!("making the device {name}: {}; links need root", std::io::Error::last_os_error());
    }
    Ok(file)
}

impl Links {
    /// Makes `members` links like `link`, and one for this process that limits nothing.
    ///
    /// # Errors
    /// When a device or a namespace cannot be made; what was made is taken away again.
    pub fn start(link: LinkSpec, members: usize, seed: u64) -> anyhow::Result<Self> {
        Self::behind(link, members, seed, &[])
    }

    /// As [`Links::start`], with a router before some members, in their order; those have an address of their own
    /// behind it ([`Links::inner`]).
    ///
    /// # Errors
    /// As [`Links::start`].
    pub fn behind(
        link: LinkSpec,
        members: usize,
        seed: u64,
        routers: &[Option<Kind>],
    ) -> anyhow::Result<Self> {
        if members > 250 {
            bail!("{members} members behind links: at most 250 have an address in one subnet");
        }
        let (id, subnet) = free_place()?;
        let mut made = Made::default();
        let mut devices = Vec::new();
        let mut nats = Vec::new();
        let mut downlinks = Vec::new();
        let now = Instant::now();
        for number in 0..=members {
            let name = format!("io{:04x}-{number}", id % 65_536);
            devices.push(tun(&name)?);
            let router = number.checked_sub(1).and_then(|member| routers.get(member).copied().flatten());
            let own = router.map_or(address(subnet, number), |_| inner(subnet, number));
            nats.push(router.map(|kind| Mutex::new(Nat::new(kind, own, address(subnet, number)))));
            let address = format!("{own}/24");
            if number == 0 {
                plug(None, &name, &address, None)?;
            } else {
                ip(&["netns", "add", &name])?;
                made.0.push(name.clone());
                ip(&["link", "set", &name, "netns", &name])?;
                plug(Some(&name), &name, &address, Some(link))?;
                if router.is_some() {
                    ip(&["-n", &name, "route", "add", "default", "dev", &name])?;
                }
            }
            let down = if number == 0 { LinkSpec { rate: BACKBONE, ..link } } else { link };
            downlinks.push(Mutex::new(Downlink::new(down, seed.wrapping_add(number as u64), now)));
        }
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            number: AtomicU64::new(0),
            devices,
            downlinks,
            cut: (0..=members).map(|_| AtomicBool::new(false)).collect(),
            nats,
            heap: Mutex::new(BinaryHeap::new()),
            wake: Condvar::new(),
        });
        let threads = threads(&shared)?;
        Ok(Self { namespaces: std::mem::take(&mut made.0), subnet, shared, threads })
    }

    /// Address of a member, or of this process and its node (number 0).
    #[must_use]
    pub fn address(&self, number: usize) -> Ipv4Addr {
        address(self.subnet, number)
    }

    /// Address that a member behind a router has there.
    #[must_use]
    pub fn inner(&self, number: usize) -> Ipv4Addr {
        inner(self.subnet, number)
    }

    /// Cuts a member's link, or mends it. What is under way arrives.
    pub fn cut(&self, number: usize, cut: bool) {
        if let Some(own) = self.shared.cut.get(number) {
            own.store(cut, Ordering::Relaxed);
        }
    }

    /// Changes what comes down to a member: rate, delay, loss. What goes up keeps its rate.
    pub fn change(&self, number: usize, link: LinkSpec) {
        if let Some(downlink) = self.shared.downlinks.get(number) {
            locked(downlink).change(link);
        }
    }

    /// Namespace of a member, 1 and up.
    #[must_use]
    pub fn namespace(&self, number: usize) -> Option<&str> {
        self.namespaces.get(number.checked_sub(1)?).map(String::as_str)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
        drop(Made(std::mem::take(&mut self.namespaces)));
    }
}

/// Namespaces to take away when making the rest fails.
#[derive(Default)]
struct Made(Vec<String>);

impl Drop for Made {
    fn drop(&mut self) {
        for name in &self.0 {
            if let Err(error) = ip(&["netns", "del", name]) {
                tracing::warn!(%error, "a network namespace stays behind");
            }
        }
    }
}

/// A number for names and a subnet that no other network on this machine has: several run at a time.
fn free_place() -> anyhow::Result<(u64, u8)> {
    let output = Command::new("ip").args(["-4", "-o", "addr", "show"]).output();
    let output = output.context("running ip: links need iproute2 (`apt-get install iproute2`)")?;
    let taken = String::from_utf8_lossy(&output.stdout);
    for _ in 0..256 {
        let id = u64::from(std::process::id()) + NEXT.fetch_add(1, Ordering::Relaxed) * 131;
        let subnet = u8::try_from(id % 256).unwrap_or(0);
        if !taken.contains(&format!(" 10.77.{subnet}.")) {
            return Ok((id, subnet));
        }
    }
    bail!("all 256 subnets of 10.77.0.0/16 are taken: end what made them (`ip -4 addr show`)")
}

fn address(subnet: u8, number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, subnet, u8::try_from(number + 1).unwrap_or(u8::MAX))
}

fn inner(subnet: u8, number: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, subnet, u8::try_from(number + 1).unwrap_or(u8::MAX))
}

/// Gives a device its address and, in a member's namespace, its rate upwards.
fn plug(namespace: Option<&str>, device: &str, address: &str, up: Option<LinkSpec>) -> anyhow::Result<()> {
    let inside = |args: &[&str]| match namespace {
        Some(name) => ip(&[&["-n", name][..], args].concat()),
        None => ip(args),
    };
    inside(&["addr", "add", address, "dev", device])?;
    inside(&["link", "set", device, "up"])?;
    if namespace.is_some() {
        inside(&["link", "set", "lo", "up"])?;
    }
    if let (Some(name), Some(link)) = (namespace, up) {
        let rate = format!("{}bit", link.rate);
        // A bucket of 1 ms at the rate, at least some full packets: what a modem sends at once.
        let burst = (link.rate / 8_000).max(16_000).to_string();
        let latency = format!("{}us", link.queue().as_micros());
        let bucket = ["root", "tbf", "rate", &rate, "burst", &burst, "latency", &latency];
        run("tc", &[&["-n", name, "qdisc", "add", "dev", device][..], &bucket].concat())?;
    }
    Ok(())
}

fn threads(shared: &Arc<Shared>) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for from in 0..shared.devices.len() {
        let shared = Arc::clone(shared);
        let name = format!("link-{from}");
        threads.push(std::thread::Builder::new().name(name).spawn(move || take_in(&shared, from))?);
    }
    let shared = Arc::clone(shared);
    threads.push(std::thread::Builder::new().name("links-out".into()).spawn(move || give_out(&shared))?);
    Ok(threads)
}

/// Reads what one member sends and decides when it arrives.
fn take_in(shared: &Shared, from: usize) {
    let Some(mut device) = shared.devices.get(from) else { return };
    let mut buffer = vec![0; PACKET];
    while !shared.stop.load(Ordering::Relaxed) {
        if !readable(device) {
            continue;
        }
        let Ok(length) = device.read(&mut buffer) else { continue };
        let Some(packet) = buffer.get_mut(..length) else { continue };
        let Some(to) = receiver(packet) else { continue };
        if !shared.passes(from, to, packet) {
            continue;
        }
        if shared.is_cut(from) || shared.is_cut(to) {
            continue;
        }
        let (Some(downlink), now) = (shared.downlinks.get(to), Instant::now()) else { continue };
        let Some(at) = locked(downlink).arrival(now, length) else { continue };
        let number = shared.number.fetch_add(1, Ordering::Relaxed);
        let mut heap = locked(&shared.heap);
        if heap.len() < UNDER_WAY {
            heap.push(Packet { at, number, to, bytes: packet.to_vec() });
            drop(heap);
            shared.wake.notify_one();
        }
    }
}

fn readable(device: &File) -> bool {
    let mut wait = libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // Safety: one entry, which lives through the call.
    #[expect(unsafe_code, reason = "a read that can be given up")]
    let ready = unsafe { libc::poll(&raw mut wait, 1, PATIENCE_MS) };
    ready > 0
}

/// Whose packet this is: the last byte of an IPv4 destination in our subnet, less one.
fn receiver(packet: &[u8]) -> Option<usize> {
    if packet.first()? >> 4 != 4 || packet.get(16..18)? != [10, 77] {
        return None;
    }
    usize::from(*packet.get(19)?).checked_sub(1)
}

/// Hands packets over when their time has come.
fn give_out(shared: &Shared) {
    let mut heap = locked(&shared.heap);
    while !shared.stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let wait = match heap.peek() {
            Some(first) if first.at <= now => Duration::ZERO,
            Some(first) => first.at.duration_since(now),
            None => Duration::from_millis(PATIENCE_MS.unsigned_abs().into()),
        };
        if !wait.is_zero() {
            heap = shared.wake.wait_timeout(heap, wait).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        let Some(packet) = heap.pop() else { continue };
        drop(heap);
        if let Some(mut device) = shared.devices.get(packet.to) {
            // A device whose member has gone takes nothing: lost, as on a real line.
            drop(device.write(&packet.bytes));
        }
        heap = locked(&shared.heap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_goes_to_the_last_byte_of_its_destination() {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&[10, 77, 3, 5]);
        assert_eq!(receiver(&packet), Some(4));
        packet[16] = 11;
        assert_eq!(receiver(&packet), None, "not of our subnet");
        packet[0] = 0x60;
        assert_eq!(receiver(&packet), None, "IPv6");
        assert_eq!(receiver(&packet[..10]), None, "cut off");
    }
}
