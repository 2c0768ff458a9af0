//! The dance for other programs, by the VMC protocol (<https://protocol.vmc.info/english>): bones and face of the leader as OSC
//! over UDP, for every frame, whether or not its picture is drawn.
//!
//! One session sends at a time, as receivers know of one performer: the first one that dances, until it stops. Packets leave
//! from a thread of their own; a frame on its way only leaves a copy of its pose.

mod face;

use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use anyhow::Context;
use crossbeam_queue::ArrayQueue;
use odori_engine::avatar::Expression;
use odori_engine::pose::Pose;
use odori_engine::skeleton::SKELETON;
use rosc::{OscBundle, OscMessage, OscPacket, OscTime, OscType, encoder};

pub use face::Face;

/// Poses that may wait for the sender; more than that, and the oldest are let go.
const ROOM: usize = 4;
/// A bundle stays within one packet of most networks.
const PACKET_BYTES: usize = 1400;

/// A frame's dance.
#[derive(Clone, Debug)]
struct Moment {
    pose: Pose,
    face: Expression,
    /// Seconds since the session's start.
    time: f32,
}

/// Sends to other programs what one session dances.
#[derive(Debug)]
pub struct Vmc {
    moments: Arc<ArrayQueue<Moment>>,
    sender: Thread,
    taken: AtomicBool,
}

impl Vmc {
    /// Sends to each of `targets`, written HOST:PORT.
    ///
    /// # Errors
    /// Names the target that has no address, or says why there is no socket to send from.
    pub fn open(targets: &[String]) -> anyhow::Result<Self> {
        let mut sockets = Vec::new();
        for target in targets {
            let address = target.to_socket_addrs().with_context(|| format!("--vmc {target}: write it as HOST:PORT, for example 127.0.0.1:39539"))?;
            let address = address.into_iter().next().with_context(|| format!("--vmc {target}: no address was found"))?;
            let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
            let socket = UdpSocket::bind(any).with_context(|| format!("--vmc {target}"))?;
            sockets.push((socket, address));
        }
        let moments = Arc::new(ArrayQueue::new(ROOM));
        let waiting = moments.clone();
        let thread = std::thread::Builder::new().name("vmc".into()).spawn(move || send(&waiting, &sockets))?;
        Ok(Vmc { moments, sender: thread.thread().clone(), taken: AtomicBool::new(false) })
    }

    /// The right to send, if nobody has it.
    pub fn take(&self) -> Option<Turn<'_>> {
        (!self.taken.swap(true, Ordering::AcqRel)).then_some(Turn(self))
    }
}

/// The right to send, given back when it is dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a Vmc);

impl Turn<'_> {
    /// Hands a frame on; neither waits nor allocates.
    pub fn send(&self, pose: &Pose, face: Expression, time: f32) {
        let _ = self.0.moments.force_push(Moment { pose: pose.clone(), face, time });
        self.0.sender.unpark();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}

fn send(moments: &ArrayQueue<Moment>, sockets: &[(UdpSocket, SocketAddr)]) {
    let names = bone_names();
    loop {
        let Some(moment) = moments.pop() else {
            std::thread::park();
            continue;
        };
        for packet in packets(&moment, &names) {
            for (socket, address) in sockets {
                // Nobody listens yet, or no longer: it may come back.
                if let Err(error) = socket.send_to(&packet, address) {
                    tracing::debug!(%address, %error, "VMC");
                }
            }
        }
    }
}

/// The names that Unity's humanoid has for the skeleton's bones: VRM's of old, which count the thumb's from one joint further out.
fn bone_names() -> Vec<String> {
    let unity = |name: &str| {
        let (first, rest) = name.split_at(1);
        first.to_uppercase() + &rest.replace("ThumbProximal", "ThumbIntermediate").replace("ThumbMetacarpal", "ThumbProximal")
    };
    SKELETON.bones.iter().map(|b| unity(&b.name)).collect()
}

fn message(address: &str, args: Vec<OscType>) -> OscMessage {
    OscMessage { addr: format!("/VMC/Ext/{address}"), args }
}

/// Position and rotation as Unity has them: its X axis points the other way.
fn placed(name: &str, p: glam::Vec3, q: glam::Quat) -> Vec<OscType> {
    let numbers = [-p.x, p.y, p.z, q.x, -q.y, -q.z, q.w];
    std::iter::once(OscType::String(name.into())).chain(numbers.map(OscType::Float)).collect()
}

fn messages(moment: &Moment, names: &[String]) -> Vec<OscMessage> {
    let Moment { pose, face, time } = moment;
    let mut out = vec![
        message("OK", vec![OscType::Int(1)]),
        message("T", vec![OscType::Float(*time)]),
        message("Root/Pos", placed("root", glam::Vec3::ZERO, glam::Quat::IDENTITY)),
    ];
    for ((i, bone), name) in SKELETON.bones.iter().enumerate().zip(names) {
        let at = if bone.parent.is_none() { pose.root } else { bone.offset };
        out.push(message("Bone/Pos", placed(name, at, pose.rotations[i])));
    }
    for (name, value) in [("Blink", face.lids), ("A", face.mouth)] {
        out.push(message("Blend/Val", vec![OscType::String(name.into()), OscType::Float(value.clamp(0.0, 1.0))]));
    }
    out.push(message("Blend/Apply", vec![]));
    out
}

/// A frame as bundles that fit into packets.
fn packets(moment: &Moment, names: &[String]) -> Vec<Vec<u8>> {
    let bundle = |content: &[OscPacket]| {
        let whole = OscPacket::Bundle(OscBundle { timetag: OscTime { seconds: 0, fractional: 1 }, content: content.to_vec() });
        encoder::encode(&whole).unwrap_or_default()
    };
    let (mut out, mut content, mut bytes) = (Vec::new(), Vec::new(), 16);
    for message in messages(moment, names) {
        let message = OscPacket::Message(message);
        let size = 4 + encoder::encode(&message).map_or(0, |m| m.len());
        if bytes + size > PACKET_BYTES {
            out.push(bundle(&content));
            content.clear();
            bytes = 16;
        }
        bytes += size;
        content.push(message);
    }
    out.push(bundle(&content));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bones_have_the_names_of_unitys_humanoid() {
        let names = bone_names();
        for known in ["Hips", "UpperChest", "LeftUpperArm", "RightLowerLeg", "LeftThumbProximal", "LeftThumbIntermediate", "LeftThumbDistal", "RightLittleDistal"] {
            assert_eq!(names.iter().filter(|n| *n == known).count(), 1, "{known}");
        }
        assert!(!names.iter().any(|n| n.contains("Metacarpal")));
    }

    #[test]
    fn what_goes_left_with_us_goes_left_with_them() {
        // The character's left is +X with us, -X in Unity. An arm lowered by a turn about Z lies the same way down in both.
        let turn = glam::Quat::from_rotation_z(-1.2);
        let ours = turn * glam::Vec3::X;
        let args = placed("LeftUpperArm", glam::Vec3::new(0.2, 1.4, 0.1), turn);
        let n: Vec<f32> = args[1..].iter().map(|a| a.clone().float().unwrap()).collect();
        let theirs = glam::Quat::from_xyzw(n[3], n[4], n[5], n[6]) * glam::Vec3::NEG_X;
        assert!((theirs - glam::Vec3::new(-ours.x, ours.y, ours.z)).length() < 1e-6, "{ours} {theirs}");
        assert_eq!(&n[..3], [-0.2, 1.4, 0.1]);
    }

    #[test]
    fn a_frame_fits_into_packets_and_loses_nothing() {
        let moment = Moment { pose: Pose::default(), face: Expression::default(), time: 1.0 };
        let packets = packets(&moment, &bone_names());
        assert!(packets.iter().all(|p| p.len() <= PACKET_BYTES), "{:?}", packets.iter().map(Vec::len).collect::<Vec<_>>());
        let mut read = Vec::new();
        for packet in &packets {
            let (_, OscPacket::Bundle(bundle)) = rosc::decoder::decode_udp(packet).unwrap() else { panic!("a bundle") };
            read.extend(bundle.content);
        }
        assert_eq!(read.len(), 3 + SKELETON.bones.len() + 3);
    }

    #[test]
    fn one_session_sends_at_a_time() {
        let vmc = Vmc::open(&[]).unwrap();
        let turn = vmc.take().unwrap();
        assert!(vmc.take().is_none());
        drop(turn);
        assert!(vmc.take().is_some());
        assert!(Vmc::open(&["nowhere".into()]).unwrap_err().to_string().contains("HOST:PORT"));
    }
}
