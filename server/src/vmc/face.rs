//! A person's face from another program, by the VMC protocol: a tracker's blend shapes and eyes move the dancer's lids, mouth and gaze.
//!
//! A thread of its own hears the packets; who makes a frame reads the newest face without waiting. When nothing comes any more the
//! dancer's own face goes on.

use std::io::ErrorKind;
use std::net::{ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use glam::{Quat, Vec2, Vec3};
use odori_engine::avatar::Expression;
use rosc::{OscMessage, OscPacket, OscType, decoder};

/// Larger packets are none of a tracker's.
const PACKET_BYTES: usize = 8192;
/// A face older than this is no longer the person's.
const FRESH: Duration = Duration::from_millis(500);
/// How far eyes are turned where they look as far aside, up or down as ours can, sines of the angles.
const ASIDE: f32 = 0.42;
const UP: f32 = 0.34;

/// How far shapes open a mouth: VRM's vowels of old and of now, ARKit's jaw.
const MOUTH: [(&str, f32); 11] =
    [("a", 1.0), ("aa", 1.0), ("o", 0.7), ("oh", 0.7), ("e", 0.55), ("ee", 0.35), ("i", 0.35), ("ih", 0.35), ("u", 0.4), ("ou", 0.4), ("jawopen", 1.3)];
/// Shapes of both lids, and of the left and the right.
const LIDS: [&str; 1] = ["blink"];
const LID_PAIRS: [[&str; 2]; 3] = [["blink_l", "blink_r"], ["blinkleft", "blinkright"], ["eyeblinkleft", "eyeblinkright"]];
/// Shapes of a look: to the character's left, right, up and down, of VRM and of ARKit (an eye each).
const LOOKS: [(&str, Vec2); 12] = [
    ("lookleft", Vec2::X),
    ("lookright", Vec2::NEG_X),
    ("lookup", Vec2::NEG_Y),
    ("lookdown", Vec2::Y),
    ("eyelookoutleft", Vec2::new(0.5, 0.0)),
    ("eyelookinright", Vec2::new(0.5, 0.0)),
    ("eyelookinleft", Vec2::new(-0.5, 0.0)),
    ("eyelookoutright", Vec2::new(-0.5, 0.0)),
    ("eyelookupleft", Vec2::new(0.0, -0.5)),
    ("eyelookupright", Vec2::new(0.0, -0.5)),
    ("eyelookdownleft", Vec2::new(0.0, 0.5)),
    ("eyelookdownright", Vec2::new(0.0, 0.5)),
];

/// The newest face that was heard.
#[derive(Debug)]
pub struct Face {
    /// Four numbers of 16 bits: lids, gaze and mouth, -1 to 1.
    shown: AtomicU64,
    /// When, milliseconds after `began`; 0 before the first.
    heard_ms: AtomicU64,
    began: Instant,
}

impl Face {
    /// Listens at `address`, written HOST:PORT.
    ///
    /// # Errors
    /// If it is no address, or if another program listens there.
    pub fn listen(address: &str) -> anyhow::Result<Arc<Face>> {
        let at = address.to_socket_addrs().with_context(|| format!("--vmc-face {address}: write it as HOST:PORT, for example 127.0.0.1:39540"))?;
        let at = at.into_iter().next().with_context(|| format!("--vmc-face {address}: no address was found"))?;
        let socket = UdpSocket::bind(at).with_context(|| format!("--vmc-face {address}: cannot listen there; does another program?"))?;
        socket.set_read_timeout(Some(FRESH))?;
        tracing::info!(address = %socket.local_addr()?, "listening for a face by VMC");
        let face = Arc::new(Face { shown: AtomicU64::new(0), heard_ms: AtomicU64::new(0), began: Instant::now() });
        let heard = face.clone();
        std::thread::Builder::new().name("vmc-face".into()).spawn(move || hear(&socket, &heard))?;
        Ok(face)
    }

    /// What the person's face shows; `None` if nobody's is heard.
    pub fn shown(&self, now: Instant) -> Option<Expression> {
        let heard = self.heard_ms.load(Ordering::Acquire);
        let age = now.saturating_duration_since(self.began + Duration::from_millis(heard));
        (heard > 0 && age < FRESH).then(|| unpacked(self.shown.load(Ordering::Acquire)))
    }

    fn show(&self, face: Expression, now: Instant) {
        self.shown.store(packed(face), Ordering::Release);
        let ms = now.saturating_duration_since(self.began).as_millis() as u64;
        self.heard_ms.store(ms.max(1), Ordering::Release);
    }
}

fn packed(face: Expression) -> u64 {
    [face.lids, face.gaze.x, face.gaze.y, face.mouth].iter().fold(0, |all, v| all << 16 | u64::from((v.clamp(-1.0, 1.0) * 32767.0) as i16 as u16))
}

fn unpacked(all: u64) -> Expression {
    let at = |n: u32| f32::from((all >> (16 * n)) as u16 as i16) / 32767.0;
    Expression { lids: at(3), gaze: Vec2::new(at(2), at(1)), mouth: at(0) }
}

fn hear(socket: &UdpSocket, face: &Face) {
    let mut buffer = [0; PACKET_BYTES + 1];
    let (mut tracked, mut there) = (Tracked::default(), false);
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, _)) if length <= PACKET_BYTES => match decoder::decode_udp(&buffer[..length]) {
                Ok((_, packet)) => tracked.take(packet, &mut |shown| face.show(shown, Instant::now())),
                Err(error) => tracing::debug!(%error, "VMC face: not a packet of OSC"),
            },
            Ok((length, _)) => tracing::debug!(length, "VMC face: too large a packet"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => {
                tracing::debug!(%error, "VMC face");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if there != face.shown(Instant::now()).is_some() {
            there = !there;
            tracing::info!(heard = there, "{}", if there { "a face comes by VMC" } else { "no face comes by VMC any more" });
        }
    }
}

/// What was said of a face since it was last applied.
#[derive(Debug, Default)]
struct Tracked {
    lids: f32,
    pairs: [[f32; 2]; LID_PAIRS.len()],
    mouth: [f32; MOUTH.len()],
    looks: [f32; LOOKS.len()],
    eyes: [Option<Vec2>; 2],
}

impl Tracked {
    fn take(&mut self, packet: OscPacket, show: &mut impl FnMut(Expression)) {
        match packet {
            OscPacket::Message(message) => self.hear(&message, show),
            OscPacket::Bundle(bundle) => bundle.content.into_iter().for_each(|p| self.take(p, show)),
        }
    }

    fn hear(&mut self, message: &OscMessage, show: &mut impl FnMut(Expression)) {
        match (message.addr.as_str(), message.args.as_slice()) {
            ("/VMC/Ext/Blend/Val", [OscType::String(name), OscType::Float(value), ..]) if value.is_finite() => self.blend(&name.to_ascii_lowercase(), value.clamp(0.0, 1.0)),
            ("/VMC/Ext/Bone/Pos", [OscType::String(name), numbers @ ..]) if numbers.len() >= 7 => {
                let Some(eye) = ["LeftEye", "RightEye"].iter().position(|e| e == name) else { return };
                let turn = [3, 4, 5, 6].map(|i| if let OscType::Float(v) = numbers[i] { v } else { f32::NAN });
                let Some(turn) = Some(Quat::from_array(turn)).filter(|q| q.is_finite() && q.length_squared() > 0.5) else { return };
                // Unity's X axis points to the character's right, the picture's left.
                let ahead = turn.normalize() * Vec3::Z;
                self.eyes[eye] = Some(Vec2::new(-ahead.x / ASIDE, -ahead.y / UP));
            }
            ("/VMC/Ext/Blend/Apply", _) => show(self.expression()),
            _ => {}
        }
    }

    fn blend(&mut self, name: &str, value: f32) {
        if LIDS.contains(&name) {
            self.lids = value;
        }
        for (pair, names) in self.pairs.iter_mut().zip(LID_PAIRS) {
            pair.iter_mut().zip(names).filter(|(_, n)| *n == name).for_each(|(v, _)| *v = value);
        }
        self.mouth.iter_mut().zip(MOUTH).filter(|(_, (n, _))| *n == name).for_each(|(v, _)| *v = value);
        self.looks.iter_mut().zip(LOOKS).filter(|(_, (n, _))| *n == name).for_each(|(v, _)| *v = value);
    }

    fn expression(&self) -> Expression {
        let pairs = self.pairs.iter().map(|[l, r]| 0.5 * (l + r));
        let open = self.mouth.iter().zip(MOUTH).map(|(v, (_, k))| v * k).fold(0.0, f32::max);
        let looks: Vec2 = self.looks.iter().zip(LOOKS).map(|(v, (_, to))| to * *v).sum();
        let eyes: Vec<Vec2> = self.eyes.iter().flatten().copied().collect();
        let eyes = eyes.iter().sum::<Vec2>() / eyes.len().max(1) as f32;
        let gaze = (looks + eyes).clamp(Vec2::splat(-1.0), Vec2::ONE);
        // A mouth that a tracker sees shut is shut; half open is as it is drawn.
        Expression { lids: pairs.fold(self.lids, f32::max).min(1.0), gaze, mouth: (2.0 * open - 1.0).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rosc::{OscBundle, OscTime, encoder};

    fn message(address: &str, args: Vec<OscType>) -> OscPacket {
        OscPacket::Message(OscMessage { addr: format!("/VMC/Ext/{address}"), args })
    }

    fn blend(name: &str, value: f32) -> OscPacket {
        message("Blend/Val", vec![OscType::String(name.into()), OscType::Float(value)])
    }

    fn shown(packets: Vec<OscPacket>) -> Option<Expression> {
        let (mut tracked, mut last) = (Tracked::default(), None);
        let content = packets.into_iter().chain([message("Blend/Apply", vec![])]).collect();
        tracked.take(OscPacket::Bundle(OscBundle { timetag: OscTime { seconds: 0, fractional: 1 }, content }), &mut |e| last = Some(e));
        last
    }

    #[test]
    fn trackers_of_every_kind_move_lids_mouth_and_eyes() {
        for packets in [
            vec![blend("Blink", 0.9), blend("A", 0.5), blend("LookLeft", 0.6)],
            vec![blend("blinkLeft", 0.9), blend("blinkRight", 0.9), blend("aa", 0.5), blend("lookLeft", 0.6)],
            vec![blend("EyeBlinkLeft", 0.9), blend("EyeBlinkRight", 0.9), blend("jawOpen", 0.385), blend("EyeLookOutLeft", 0.6), blend("EyeLookInRight", 0.6)],
        ] {
            let face = shown(packets).unwrap();
            assert!((face.lids - 0.9).abs() < 1e-3 && face.mouth.abs() < 0.01 && (face.gaze.x - 0.6).abs() < 1e-3, "{face:?}");
        }
        // Both eyes a quarter turn to the character's left, Unity's -X.
        let turn = Quat::from_rotation_y(-0.3).to_array().map(OscType::Float);
        let bone = |name: &str| message("Bone/Pos", [OscType::String(name.into())].into_iter().chain([0.0; 3].map(OscType::Float)).chain(turn.clone()).collect());
        let face = shown(vec![bone("LeftEye"), bone("RightEye")]).unwrap();
        assert!(face.gaze.x > 0.5 && face.gaze.y.abs() < 1e-3 && face.mouth == -1.0, "{face:?}");
    }

    #[test]
    fn nonsense_moves_nothing() {
        let broken = message("Bone/Pos", vec![OscType::String("LeftEye".into()), OscType::Int(1)]);
        let blind = message("Bone/Pos", [OscType::String("LeftEye".into())].into_iter().chain([f32::NAN; 7].map(OscType::Float)).collect());
        let face = shown(vec![blend("Blink", f32::NAN), blend("A", f32::INFINITY), blend("", 1.0), broken, blind]).unwrap();
        assert_eq!(face, Expression { mouth: -1.0, ..Expression::default() });
        let face = shown(vec![blend("Blink", 7.0), blend("A", -3.0)]).unwrap();
        assert_eq!((face.lids, face.mouth), (1.0, -1.0));
    }

    #[test]
    fn a_face_that_is_no_longer_heard_is_no_longer_shown() {
        let face = Face { shown: AtomicU64::new(0), heard_ms: AtomicU64::new(0), began: Instant::now() };
        let now = face.began + Duration::from_secs(5);
        assert_eq!(face.shown(now), None);
        let seen = Expression { lids: 0.25, gaze: Vec2::new(-0.5, 0.75), mouth: -1.0 };
        face.show(seen, now);
        let shown = face.shown(now + Duration::from_millis(100)).unwrap();
        assert!((shown.lids - 0.25).abs() < 1e-3 && (shown.gaze - seen.gaze).length() < 1e-3 && (shown.mouth + 1.0).abs() < 1e-3, "{shown:?}");
        assert_eq!(face.shown(now + FRESH), None);
    }

    #[test]
    fn it_listens_where_it_is_told_and_says_why_it_cannot() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let busy = taken.local_addr().unwrap().to_string();
        assert!(Face::listen(&busy).unwrap_err().to_string().contains("another program"));
        assert!(Face::listen("nowhere").unwrap_err().to_string().contains("HOST:PORT"));
        drop(taken);
        let face = Face::listen(&busy).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for packet in [blend("Blink", 1.0), message("Blend/Apply", vec![])] {
            sender.send_to(&encoder::encode(&packet).unwrap(), &busy).unwrap();
        }
        sender.send_to(b"no packet", &busy).unwrap();
        let heard = (0..500).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            face.shown(Instant::now())
        });
        assert_eq!(heard.map(|f| f.lids), Some(1.0));
    }
}
