//! Reads what an SDP offer can do, before any WebRTC machinery sees it. Text in, choices out.

use super::RtcError;
use crate::media::video::VideoCodec;

/// Offers longer than this are refused unread.
pub const MAX_OFFER_BYTES: usize = 64 * 1024;

/// What an offer says, as far as answering needs it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// `H264` entries with their format parameters, in the peer's order.
    pub h264: Vec<String>,
    pub vp8: bool,
    pub opus: bool,
    pub video_sections: usize,
    pub audio_sections: usize,
    /// The peer insists on being DTLS server (`setup:passive`).
    pub passive: bool,
    /// Names of all video codecs, for messages.
    pub video_names: Vec<String>,
}

impl Offer {
    /// # Errors
    /// If this is no offer or is too long.
    pub fn parse(sdp: &str) -> Result<Self, RtcError> {
        if sdp.len() > MAX_OFFER_BYTES {
            return Err(RtcError::OfferTooLong { limit_bytes: MAX_OFFER_BYTES });
        }
        if !sdp.starts_with("v=0") || !sdp.contains("a=ice-ufrag:") || !sdp.contains("a=fingerprint:") {
            return Err(RtcError::BadOffer("it needs v=0, ice-ufrag and fingerprint lines".into()));
        }
        let mut offer = Offer::default();
        let mut kind = "";
        // Payload type and name of the current section's H.264 entries, until their fmtp comes.
        let mut h264: Vec<&str> = Vec::new();
        for line in sdp.lines().map(str::trim_end) {
            if let Some(media) = line.strip_prefix("m=") {
                kind = media.split(' ').next().unwrap_or("");
                h264.clear();
                match kind {
                    "video" => offer.video_sections += 1,
                    "audio" => offer.audio_sections += 1,
                    _ => {}
                }
            } else if let Some(map) = line.strip_prefix("a=rtpmap:") {
                let Some((payload_type, codec)) = map.split_once(' ') else { continue };
                let name = codec.split('/').next().unwrap_or("").to_ascii_uppercase();
                match (kind, name.as_str()) {
                    ("video", "H264") => h264.push(payload_type),
                    ("video", "VP8") => offer.vp8 = true,
                    ("audio", "OPUS") => offer.opus = true,
                    _ => {}
                }
                if kind == "video" && !["RTX", "RED", "ULPFEC", "FLEXFEC-03"].contains(&name.as_str()) && !offer.video_names.contains(&name) {
                    offer.video_names.push(name);
                }
            } else if let Some(parameters) = line.strip_prefix("a=fmtp:") {
                if let Some((payload_type, parameters)) = parameters.split_once(' ')
                    && h264.contains(&payload_type)
                {
                    offer.h264.push(parameters.to_owned());
                }
            } else if line == "a=setup:passive" {
                offer.passive = true;
            }
        }
        if offer.video_sections + offer.audio_sections == 0 {
            return Err(RtcError::BadOffer("it has neither audio nor video".into()));
        }
        Ok(offer)
    }

    /// The H.264 variant that we can send: packetization mode 1, (constrained) baseline, or a profile that decodes it.
    fn h264_parameters(&self) -> Option<&str> {
        let rank = |parameters: &str| {
            if !parameters.contains("packetization-mode=1") {
                return None;
            }
            let profile = parameters.split(';').find_map(|p| p.trim().strip_prefix("profile-level-id="))?;
            match profile.get(..4)?.to_ascii_lowercase().as_str() {
                "42e0" => Some(0),
                "42c0" | "4200" => Some(1),
                _ => None,
            }
        };
        self.h264.iter().filter_map(|p| rank(p).map(|r| (r, p))).min_by_key(|(r, _)| *r).map(|(_, p)| p.as_str())
    }

    /// Chooses the codec to send, and its format parameters: `wanted` or nothing; else H.264, else VP8.
    ///
    /// # Errors
    /// If there is none in common; says what was offered.
    pub fn choose_video(&self, wanted: Option<VideoCodec>) -> Result<(VideoCodec, String), RtcError> {
        let h264 = || self.h264_parameters().map(|p| (VideoCodec::H264, p.to_owned()));
        let vp8 = || self.vp8.then(|| (VideoCodec::Vp8, String::new()));
        let choice = match wanted {
            Some(VideoCodec::H264) => h264(),
            Some(VideoCodec::Vp8) => vp8(),
            None => h264().or_else(vp8),
        };
        choice.ok_or_else(|| RtcError::NoCommonCodec {
            kind: "video",
            ours: match wanted {
                None => "H.264 (constrained baseline, packetization mode 1) or VP8".into(),
                Some(codec) => codec.name().into(),
            },
            offered: if self.video_names.is_empty() { "nothing".into() } else { self.video_names.join(", ") },
        })
    }
}

/// The candidates of a trickle fragment (RFC 8840): media id and candidate line.
pub fn trickled(fragment: &str) -> Vec<(Option<String>, String)> {
    let mut mid = None;
    let mut found = Vec::new();
    for line in fragment.lines().map(str::trim_end) {
        if let Some(id) = line.strip_prefix("a=mid:") {
            mid = Some(id.to_owned());
        } else if let Some(candidate) = line.strip_prefix("a=candidate:") {
            found.push((mid.clone(), format!("candidate:{candidate}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\na=fingerprint:sha-256 00\r\n";

    fn offer(body: &str) -> Offer {
        Offer::parse(&format!("{HEAD}{}", body.replace('\n', "\r\n"))).unwrap()
    }

    #[test]
    fn the_plainest_h264_is_chosen_with_the_peers_own_parameters() {
        let chrome = offer(
            "a=setup:actpass\nm=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103\na=rtpmap:96 VP8/90000\na=rtpmap:97 rtx/90000\na=rtpmap:102 H264/90000\n\
             a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\na=rtpmap:103 H264/90000\n\
             a=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\nm=audio 9 UDP/TLS/RTP/SAVPF 111\na=rtpmap:111 opus/48000/2\n",
        );
        assert!(chrome.opus && !chrome.passive);
        let (codec, parameters) = chrome.choose_video(None).unwrap();
        assert_eq!((codec, parameters.as_str()), (VideoCodec::H264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"));
        assert_eq!(chrome.choose_video(Some(VideoCodec::Vp8)).unwrap().0, VideoCodec::Vp8);
    }

    #[test]
    fn a_peer_without_our_codecs_is_told_what_it_offered() {
        let odd = offer("m=video 9 UDP/TLS/RTP/SAVPF 45\na=rtpmap:45 AV1/90000\na=setup:passive\n");
        assert!(odd.passive);
        let message = odd.choose_video(None).unwrap_err().to_string();
        assert!(message.contains("AV1") && message.contains("VP8"), "{message}");
    }

    #[test]
    fn what_is_no_offer_is_refused() {
        for text in ["", "hello", "v=0\r\n", HEAD] {
            assert!(Offer::parse(text).is_err(), "{text:?}");
        }
        assert!(matches!(Offer::parse(&"v".repeat(MAX_OFFER_BYTES + 1)), Err(RtcError::OfferTooLong { .. })));
    }

    #[test]
    fn trickled_candidates_keep_their_section() {
        let fragment = "a=ice-ufrag:x\r\na=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 5 typ host\r\na=mid:1\r\na=candidate:2 1 udp 1 127.0.0.1 6 typ host\r\n";
        let found = trickled(fragment);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], (Some("1".into()), "candidate:2 1 udp 1 127.0.0.1 6 typ host".into()));
    }
}
