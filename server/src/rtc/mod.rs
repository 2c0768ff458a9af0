//! WebRTC, behind one door: nothing outside this module names the webrtc crate.
//!
//! [`RtcNet`] holds what all peers share (address, ports, ICE servers). [`ViewerPeer`] answers a WHEP offer and takes
//! encoded media; [`SenderPeer`] answers a WHIP offer and gives Opus packets.
//! [`client::Client`] is a viewer of our own, for the latency instrument. Sessions, HTTP and codecs are elsewhere.

pub mod client;
pub mod interceptors;
pub mod offer;
mod peer;
pub mod ports;
mod sender;
mod viewer;

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

pub use interceptors::PathReport;
pub use sender::{OpusPacket, SenderPeer};
pub use viewer::{ViewerPeer, ViewerRequest};

/// What can go wrong between an offer and a connection.
#[derive(Debug, thiserror::Error)]
pub enum RtcError {
    #[error("this is not an SDP offer that can be answered: {0}")]
    BadOffer(String),
    #[error("the SDP offer is longer than {limit_bytes} bytes")]
    OfferTooLong { limit_bytes: usize },
    #[error("no {kind} codec in common: this server needs {ours}, the peer offers {offered}")]
    NoCommonCodec { kind: &'static str, ours: String, offered: String },
    #[error("all UDP ports from {} to {} are in use; widen the range with --udp-ports or close viewers", .0.start(), .0.end())]
    NoPort(RangeInclusive<u16>),
    #[error("WebRTC failed: {0}")]
    Engine(String),
}

impl RtcError {
    /// The library's errors, cut short: some of them print whole packets.
    fn engine(error: impl std::fmt::Display) -> Self {
        let text = error.to_string();
        if text.contains("RTPSender created with no codecs") {
            return RtcError::NoCommonCodec { kind: "media", ours: "H.264, VP8 and Opus".into(), offered: "none of them".into() };
        }
        RtcError::Engine(text.chars().take(160).collect())
    }
}

/// What happens to a peer after it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    Connected,
    /// Nothing comes from it any more; it may come back.
    Interrupted,
    /// It cannot decode until the next keyframe.
    KeyframeWanted,
    /// It is gone; nothing more follows.
    Closed,
}

/// What all peers share.
#[derive(Clone, Debug)]
pub struct RtcNet {
    /// Where media sockets bind; an unspecified address means every interface.
    pub ip: IpAddr,
    pub ports: Arc<ports::PortPool>,
    /// Also listen for ICE over TCP, on the same port numbers.
    pub ice_tcp: bool,
    /// `stun:` URLs for peers and for us.
    pub ice_servers: Vec<String>,
}
