//! A network between server and viewer, in this process: delay, jitter, loss in bursts, a bottleneck with its queue.
//! [`Link`] is the model, without sockets or clock: same seed, same fate of every packet. [`Emulator`] is a UDP relay that
//! lives by two of them, one each way.

use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// What one direction of a path does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkProfile {
    pub delay_ms: f64,
    /// Mean of what comes on top of the delay, exponentially distributed; order is kept.
    pub jitter_ms: f64,
    /// Share of packets lost in the long run, 0 to 1.
    pub loss: f64,
    /// Mean length of a run of lost packets; 1 for independent losses.
    pub burst: f64,
    /// Bottleneck in bits a second; 0 for none.
    pub rate_bps: f64,
    /// What may wait at the bottleneck, in milliseconds of its rate; what comes beyond it is dropped.
    pub queue_ms: f64,
}

/// A kind of network, by name. Both directions are alike but for the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    pub name: &'static str,
    pub about: &'static str,
    /// `None`: straight to the server, no emulator between.
    pub link: Option<LinkProfile>,
}

const PERFECT: LinkProfile = LinkProfile { delay_ms: 0.0, jitter_ms: 0.0, loss: 0.0, burst: 1.0, rate_bps: 0.0, queue_ms: 0.0 };

/// The networks that every report shows.
pub const PROFILES: [Profile; 5] = [
    Profile { name: "clean", about: "loopback, nothing between", link: None },
    Profile {
        name: "wifi",
        about: "4 ms RTT, 1.5 ms jitter, 0.5 % loss in runs of 3, 40 Mbit/s",
        link: Some(LinkProfile { delay_ms: 2.0, jitter_ms: 1.5, loss: 0.005, burst: 3.0, rate_bps: 40e6, queue_ms: 100.0 }),
    },
    Profile {
        name: "4g",
        about: "50 ms RTT, 6 ms jitter, 0.3 % loss in runs of 4, 8 Mbit/s",
        link: Some(LinkProfile { delay_ms: 25.0, jitter_ms: 6.0, loss: 0.003, burst: 4.0, rate_bps: 8e6, queue_ms: 200.0 }),
    },
    Profile { name: "loss5", about: "20 ms RTT, 5 % loss, independent", link: Some(LinkProfile { delay_ms: 10.0, loss: 0.05, ..PERFECT }) },
    Profile { name: "rtt200", about: "200 ms RTT", link: Some(LinkProfile { delay_ms: 100.0, ..PERFECT }) },
];

impl Profile {
    pub fn named(name: &str) -> Option<Self> {
        PROFILES.into_iter().find(|p| p.name == name)
    }

    /// A perfect link with `delay` each way, for calibration.
    pub fn delay(delay: Duration) -> Self {
        Profile { name: "delay", about: "a known delay", link: Some(LinkProfile { delay_ms: delay.as_secs_f64() * 1e3, ..PERFECT }) }
    }
}

/// One direction's model. Time is an argument.
#[derive(Debug)]
pub struct Link {
    profile: LinkProfile,
    random: StdRng,
    losing: bool,
    /// When the bottleneck has sent all it was given.
    free_at: Duration,
    /// No packet arrives before the one in front of it.
    last_arrival: Duration,
}

impl Link {
    pub fn new(profile: LinkProfile, seed: u64) -> Self {
        Self { profile, random: StdRng::seed_from_u64(seed), losing: false, free_at: Duration::ZERO, last_arrival: Duration::ZERO }
    }

    /// A packet of `bytes` enters at `now`: when it comes out, or `None` if it is lost.
    pub fn pass(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let p = self.profile;
        // Two states, Gilbert's model: out of a loss with probability 1/burst, into one so often that the share is right.
        let leave = 1.0 / p.burst.max(1.0);
        let enter = (leave * p.loss / (1.0 - p.loss).max(1e-9)).min(1.0);
        let (turn, jitter): (f64, f64) = (self.random.random(), self.random.random());
        self.losing = if self.losing { turn >= leave } else { turn < enter };
        if self.losing {
            return None;
        }
        let mut at = now;
        if p.rate_bps > 0.0 {
            let start = self.free_at.max(now);
            if start - now > Duration::from_secs_f64(p.queue_ms / 1e3) {
                return None;
            }
            self.free_at = start + Duration::from_secs_f64(bytes as f64 * 8.0 / p.rate_bps);
            at = self.free_at;
        }
        let extra_ms = p.delay_ms - p.jitter_ms * (1.0 - jitter).ln();
        self.last_arrival = self.last_arrival.max(at + Duration::from_secs_f64(extra_ms / 1e3));
        Some(self.last_arrival)
    }
}

#[derive(PartialEq, Eq)]
struct Waiting {
    due: Instant,
    number: u64,
    bytes: Vec<u8>,
}

impl Ord for Waiting {
    // The heap gives its greatest: the earliest, and of these the first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Packets on their way in one direction.
#[derive(Default)]
struct Pipe {
    waiting: Mutex<BinaryHeap<Waiting>>,
    changed: Condvar,
    passed: AtomicU64,
    lost: AtomicU64,
}

/// Packets that may be on their way at once, each way: more than any profile's delay times its rate.
const ROOM: usize = 20_000;

/// A UDP relay in front of one address of the server.
pub struct Emulator {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    pipes: [Arc<Pipe>; 2],
}

impl Emulator {
    /// Relays between whoever sends to [`Emulator::address`] and `server`.
    ///
    /// # Errors
    /// If no socket or thread can be had.
    pub fn start(profile: LinkProfile, seed: u64, server: SocketAddr) -> std::io::Result<Self> {
        let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        far.connect(server)?;
        let address = near.local_addr()?;
        let viewer = Arc::new(Mutex::new(None::<SocketAddr>));
        let over = Arc::new(AtomicBool::new(false));
        let pipes = [Arc::<Pipe>::default(), Arc::<Pipe>::default()];
        for (n, pipe) in pipes.iter().enumerate() {
            let up = n == 0;
            let (from, to) = if up { (&near, &far) } else { (&far, &near) };
            let (from, to) = (from.try_clone()?, to.try_clone()?);
            // A blocked receive looks up this often to see whether it is over.
            from.set_read_timeout(Some(Duration::from_millis(100)))?;
            let (viewer_in, viewer_out) = (viewer.clone(), viewer.clone());
            let (pipe_in, pipe_out) = (pipe.clone(), pipe.clone());
            let (over_in, over_out) = (over.clone(), over.clone());
            let mut link = Link::new(profile, seed.wrapping_mul(2).wrapping_add(n as u64));
            let epoch = Instant::now();
            std::thread::Builder::new().name("net-in".into()).spawn(move || {
                let mut buffer = vec![0; 2048];
                let mut number = 0;
                while !over_in.load(Ordering::Relaxed) {
                    let Ok((length, sender)) = from.recv_from(&mut buffer) else { continue };
                    if up {
                        *viewer_in.lock().expect("no panic while held") = Some(sender);
                    }
                    let Some(due) = link.pass(epoch.elapsed(), length) else {
                        pipe_in.lost.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    let mut waiting = pipe_in.waiting.lock().expect("no panic while held");
                    if waiting.len() < ROOM {
                        waiting.push(Waiting { due: epoch + due, number, bytes: buffer[..length].to_vec() });
                        number += 1;
                        pipe_in.changed.notify_one();
                    }
                }
            })?;
            std::thread::Builder::new().name("net-out".into()).spawn(move || {
                while let Some(packet) = pipe_out.next(&over_out) {
                    let target = if up { Some(server) } else { *viewer_out.lock().expect("no panic while held") };
                    // A peer that is gone refuses; a network would not tell either.
                    let sent = match target {
                        Some(_) if up => to.send(&packet),
                        Some(address) => to.send_to(&packet, address),
                        None => continue,
                    };
                    pipe_out.passed.fetch_add(u64::from(sent.is_ok()), Ordering::Relaxed);
                }
            })?;
        }
        Ok(Self { address, over, pipes })
    }

    /// Where the viewer sends to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Packets passed and lost on the way to the viewer.
    pub fn counts(&self) -> (u64, u64) {
        let down = &self.pipes[1];
        (down.passed.load(Ordering::Relaxed), down.lost.load(Ordering::Relaxed))
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.pipes.iter().for_each(|p| p.changed.notify_all());
    }
}

impl Pipe {
    /// Waits for the next packet that is due; `None` when it is over.
    fn next(&self, over: &AtomicBool) -> Option<Vec<u8>> {
        let mut waiting = self.waiting.lock().expect("no panic while held");
        loop {
            if over.load(Ordering::Relaxed) {
                return None;
            }
            let now = Instant::now();
            let wait = match waiting.peek() {
                Some(first) if first.due <= now => return waiting.pop().map(|w| w.bytes),
                Some(first) => first.due - now,
                None => Duration::from_millis(100),
            };
            waiting = self.changed.wait_timeout(waiting, wait).expect("no panic while held").0;
        }
    }
}

/// Takes an SDP offer's own candidates out, so that the server can only answer to where packets come from: the emulator.
pub fn without_candidates(sdp: &str) -> String {
    sdp.lines().filter(|l| !l.starts_with("a=candidate:") && !l.starts_with("a=end-of-candidates")).map(|l| format!("{}\r\n", l.trim_end())).collect()
}

/// The first UDP candidate of an SDP answer.
pub fn first_candidate(sdp: &str) -> Option<SocketAddr> {
    sdp.lines().filter_map(|l| l.strip_prefix("a=candidate:")).find_map(|l| {
        let words: Vec<&str> = l.split_whitespace().collect();
        let is_udp = words.get(2)?.eq_ignore_ascii_case("udp");
        is_udp.then(|| Some(SocketAddr::new(words.get(4)?.parse().ok()?, words.get(5)?.parse().ok()?)))?
    })
}

/// An SDP answer whose only candidate is `address`.
pub fn with_candidate(sdp: &str, address: SocketAddr) -> String {
    let candidate = format!("a=candidate:1 1 udp 2130706431 {} {} typ host\r\n", address.ip(), address.port());
    let mut done = false;
    let mut out = String::new();
    for line in sdp.lines().map(str::trim_end) {
        if line.starts_with("a=candidate:") {
            if !done {
                out.push_str(&candidate);
                done = true;
            }
        } else {
            out.push_str(line);
            out.push_str("\r\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(profile: LinkProfile, seed: u64, packets: u64) -> Vec<Option<Duration>> {
        let mut link = Link::new(profile, seed);
        (0..packets).map(|n| link.pass(Duration::from_micros(n * 1000), 1200)).collect()
    }

    #[test]
    fn one_seed_is_one_network_and_another_seed_another() {
        for profile in PROFILES.into_iter().filter_map(|p| p.link).filter(|l| l.loss > 0.0) {
            assert_eq!(fates(profile, 7, 5000), fates(profile, 7, 5000));
            assert_ne!(fates(profile, 7, 5000), fates(profile, 8, 5000));
        }
    }

    #[test]
    fn loss_is_what_the_profile_says_and_comes_in_runs() {
        for (loss, burst) in [(0.05, 1.0), (0.02, 4.0)] {
            let out = fates(LinkProfile { loss, burst, ..PERFECT }, 3, 200_000);
            let lost = out.iter().filter(|f| f.is_none()).count() as f64;
            let runs = out.windows(2).filter(|w| w[0].is_some() && w[1].is_none()).count() as f64;
            assert!((lost / 200_000.0 / loss - 1.0).abs() < 0.1, "{lost} of 200000 at {loss}");
            let length = lost / runs;
            // Independent losses at 5 % also stand side by side now and then.
            assert!((length / burst - 1.0).abs() < 0.1, "runs of {length}, wanted {burst}");
        }
    }

    #[test]
    fn packets_keep_their_order_and_their_least_delay() {
        let profile = PROFILES[2].link.unwrap();
        let out = fates(profile, 1, 20_000);
        let arrived: Vec<(usize, Duration)> = out.iter().enumerate().filter_map(|(n, f)| Some((n, (*f)?))).collect();
        assert!(arrived.windows(2).all(|w| w[0].1 <= w[1].1));
        let least = Duration::from_secs_f64(profile.delay_ms / 1e3);
        assert!(arrived.iter().all(|(n, at)| *at - Duration::from_micros(*n as u64 * 1000) >= least));
    }

    #[test]
    fn a_bottleneck_delays_then_drops_and_never_carries_more_than_its_rate() {
        let profile = LinkProfile { rate_bps: 2e6, queue_ms: 50.0, ..PERFECT };
        // 9.6 Mbit/s into 2.
        let out = fates(profile, 1, 5000);
        let arrived: Vec<Duration> = out.iter().flatten().copied().collect();
        let carried_bps = arrived.len() as f64 * 1200.0 * 8.0 / arrived.last().unwrap().as_secs_f64();
        assert!((1.9e6..=2.01e6).contains(&carried_bps), "{carried_bps}");
        let longest = out.iter().enumerate().filter_map(|(n, f)| Some((*f)? - Duration::from_micros(n as u64 * 1000))).max().unwrap();
        assert!((50..=56).contains(&longest.as_millis()), "{longest:?}");
    }

    #[test]
    fn the_relay_carries_both_ways_with_its_delay() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Emulator::start(Profile::delay(Duration::from_millis(30)).link.unwrap(), 1, server.local_addr().unwrap()).unwrap();
        let viewer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for socket in [&server, &viewer] {
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        let start = Instant::now();
        viewer.send_to(b"there", relay.address()).unwrap();
        let mut buffer = [0; 64];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"there");
        server.send_to(b"and back", from).unwrap();
        let (length, _) = viewer.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"and back");
        assert!(start.elapsed() >= Duration::from_millis(60), "{:?}", start.elapsed());
    }

    #[test]
    fn descriptions_lead_through_the_relay_alone() {
        let sdp = "v=0\r\nm=video 9 UDP\r\na=candidate:1 1 udp 1 10.0.0.1 5000 typ host\r\na=candidate:2 1 udp 1 127.0.0.1 5000 typ host\r\na=end-of-candidates\r\na=mid:0\r\n";
        assert_eq!(without_candidates(sdp), "v=0\r\nm=video 9 UDP\r\na=mid:0\r\n");
        assert_eq!(first_candidate(sdp), "10.0.0.1:5000".parse().ok());
        let through = with_candidate(sdp, "127.0.0.1:6000".parse().unwrap());
        assert_eq!(through.matches("a=candidate:").count(), 1);
        assert_eq!(first_candidate(&through), "127.0.0.1:6000".parse().ok());
        assert!(through.contains("a=end-of-candidates\r\na=mid:0\r\n"));
    }
}
