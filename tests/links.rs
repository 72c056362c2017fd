//! Made-up home connections: what goes through one takes at least as long as its rate and delay say,
//! and nothing stays behind. Needs root and `/dev/net/tun`; says so and passes where they are missing.

#[path = "links/nat.rs"]
mod nat;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use iota_tests::links::Links;
use iota_tests::relay::LinkSpec;

/// What is sent: at 10 Mb/s four tenths of a second and a little more.
const BYTES: usize = 512 * 1024;

fn possible() -> bool {
    // Safety: asks for a number.
    #[expect(unsafe_code, reason = "the standard library does not say who we are")]
    let root = unsafe { libc::geteuid() } == 0;
    let possible = root && File::options().write(true).open("/dev/net/tun").is_ok();
    if !possible {
        let missing = "skipped: network namespaces need root and /dev/net/tun";
        assert!(std::env::var_os("IOTA_NO_SKIP").is_none(), "{missing}");
        println!("{missing}");
    }
    possible
}

/// Runs `work` on a thread inside a namespace.
fn inside<T: Send + 'static>(
    namespace: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let place = File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::spawn(move || {
        // Safety: the descriptor is open; only this thread moves.
        #[expect(unsafe_code, reason = "the kernel's interface for namespaces")]
        let moved = unsafe { libc::setns(place.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(moved, 0, "{}", std::io::Error::last_os_error());
        work()
    })
}

/// Time to open a connection between two members, and time to send [`BYTES`] over it.
fn send(links: &Links) -> (Duration, Duration) {
    let (from, to) = (links.namespace(1).unwrap().to_owned(), links.namespace(2).unwrap());
    let address = SocketAddr::from((links.address(2), 4_000));
    let listening = inside(to, move || TcpListener::bind(address).unwrap()).join().unwrap();
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listening.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&[1]).unwrap();
        all.len()
    });
    let sender = inside(&from, move || {
        let start = Instant::now();
        let mut stream = TcpStream::connect(address).unwrap();
        let opened = start.elapsed();
        stream.write_all(&vec![7; BYTES]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        (opened, start.elapsed() - opened)
    });
    assert_eq!(receiver.join().unwrap(), BYTES);
    sender.join().unwrap()
}

#[test]
fn rate_and_round_trip_are_at_least_what_was_asked_for() {
    if !possible() {
        return;
    }
    let link: LinkSpec = "rate=10mbit,rtt=60ms".parse().unwrap();
    let links = Links::start(link, 2, 1).unwrap();
    let names: Vec<String> = (1..=2).map(|number| links.namespace(number).unwrap().to_owned()).collect();
    let (opened, sent) = send(&links);
    println!("connected in {opened:?}, {BYTES} bytes in {sent:?}");
    assert!(opened >= link.rtt, "{opened:?}");
    // The bucket lets some milliseconds' worth through at once.
    assert!(sent >= link.time(BYTES as u64 - 64 * 1024), "{sent:?}");
    drop(links);
    for name in names {
        assert!(!std::path::Path::new("/run/netns").join(&name).exists(), "{name} stays behind");
    }
}

#[test]
fn a_link_that_loses_everything_connects_nobody() {
    if !possible() {
        return;
    }
    let links = Links::start("rate=10mbit,loss=100%".parse().unwrap(), 2, 1).unwrap();
    let address = SocketAddr::from((links.address(2), 4_000));
    let listening =
        inside(links.namespace(2).unwrap(), move || TcpListener::bind(address).unwrap()).join().unwrap();
    let result = inside(links.namespace(1).unwrap(), move || {
        TcpStream::connect_timeout(&address, Duration::from_millis(700)).map(drop)
    });
    assert_eq!(result.join().unwrap().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    drop(listening);
}

#[test]
fn more_members_than_addresses_are_refused() {
    let error = Links::start("rate=10mbit".parse().unwrap(), 251, 1).err().unwrap();
    assert!(error.to_string().contains("250"), "{error}");
}
