//! A session's peers: viewers by WHEP, a sender by WHIP, and the tasks that carry between them and the session's lanes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::mpsc;
use tracing::{Instrument, debug};

use super::queue::SoundQueue;
use super::viewers::{Variant, Viewer};
use super::{Session, SessionError, SourceChoice, secret_id};
use crate::media::opus::OpusDecoder;
use crate::media::video::VideoCodec;
use crate::measure::{Span, Stage, frame_id};
use crate::rtc::{OpusPacket, PeerEvent, SenderPeer, ViewerPeer, ViewerRequest};

impl Session {
    /// Answers a WHEP offer; gives the viewer's id and the SDP answer.
    ///
    /// # Errors
    /// If the offer cannot be answered or there are too many viewers.
    pub async fn watch(self: &Arc<Self>, sdp: String, codec: Option<VideoCodec>, packed: bool) -> Result<(String, String), SessionError> {
        if self.viewers.count() >= self.shared.max_viewers {
            return Err(SessionError::Full(format!("{} viewers watch this session already; raise --max-viewers or publish to an SFU", self.shared.max_viewers)));
        }
        let max_bps = self.shared.max_bitrate_bps;
        let request = ViewerRequest { sdp, codec, initial_bps: max_bps * 3 / 4, max_bps: max_bps * 5 / 4 };
        let (peer, answer, events) = ViewerPeer::answer(&self.shared.net, &self.clock, request).await?;
        let peer = Arc::new(peer);
        let id = secret_id();
        let viewer = Arc::new(Viewer::new(id.clone(), Variant { codec: peer.codec(), packed }, peer.estimate_bps()));
        {
            let mut inner = self.inner();
            if inner.closed {
                let peer = peer.clone();
                tokio::spawn(async move { peer.close().await });
                return Err(SessionError::NoSession);
            }
            inner.touched = Instant::now();
            inner.peers.push((id.clone(), peer.clone()));
            self.viewers.add(viewer.clone());
        }
        self.serve(peer, viewer, events);
        Ok((id, answer))
    }

    /// The three tasks of a viewer: its news, its pictures, its sound.
    fn serve(self: &Arc<Self>, peer: Arc<ViewerPeer>, viewer: Arc<Viewer>, mut events: mpsc::Receiver<PeerEvent>) {
        let session = self.clone();
        let (news, watched) = (viewer.clone(), peer.clone());
        let follow = async move {
            while let Some(event) = events.recv().await {
                match event {
                    PeerEvent::Connected => {
                        debug!(codec = news.variant.codec.name(), packed = news.variant.packed, "a viewer joined");
                        news.connect();
                    }
                    PeerEvent::Interrupted => news.pause(),
                    PeerEvent::KeyframeWanted => news.want_key(),
                    PeerEvent::Closed => break,
                }
            }
            drop(watched);
            session.leave(&news.id).await;
        };
        tokio::spawn(follow.instrument(self.span.clone()));

        let (pictures, sender) = (viewer.clone(), peer.clone());
        let (stats, clock, session) = (self.stats.clone(), self.clock.clone(), Arc::downgrade(self));
        let show = async move {
            while let Some(picture) = pictures.video.next().await {
                if let Err(error) = sender.send_video(&picture.data, picture.sample).await {
                    debug!(%error, "a picture was not sent");
                    continue;
                }
                let now = Instant::now();
                pictures.estimate_bps.store(sender.estimate_bps(), Ordering::Relaxed);
                let (began, cost) = (picture.encoded_at, now.saturating_duration_since(picture.encoded_at));
                stats.span(frame_id(picture.sample), Span { stage: Stage::Send, began, cost });
                stats.sent(now, picture.sample, clock.instant_of(picture.sample));
                if let Some(path) = sender.path_report() {
                    pictures.heard_of_path(&path, &stats.meters, now);
                    if let Some(session) = session.upgrade() {
                        session.look_ahead(now);
                    }
                }
            }
        };
        tokio::spawn(show.instrument(self.span.clone()));
        let play = async move {
            while let Some(sound) = viewer.audio.next().await {
                if let Err(error) = peer.send_audio(&sound.data, sound.sample).await {
                    debug!(%error, "a sound packet was not sent");
                }
            }
        };
        tokio::spawn(play.instrument(self.span.clone()));
    }

    /// Ends a viewer; says whether there was one.
    pub async fn leave(&self, id: &str) -> bool {
        self.viewers.remove(id);
        let peer = {
            let mut inner = self.inner();
            inner.touched = Instant::now();
            inner.peers.iter().position(|(i, _)| i == id).map(|at| inner.peers.swap_remove(at).1)
        };
        match peer {
            Some(peer) => {
                peer.close().await;
                true
            }
            None => false,
        }
    }

    /// Answers a WHIP offer; gives the sender's id and the SDP answer. The source becomes the sender.
    ///
    /// # Errors
    /// If the offer cannot be answered or another sender is there.
    pub async fn listen(self: &Arc<Self>, sdp: String) -> Result<(String, String), SessionError> {
        let busy = || SessionError::Conflict("another sender is connected to this session; let it end first".into());
        if self.inner().sender.is_some() {
            return Err(busy());
        }
        let (peer, answer, mut events, packets) = SenderPeer::answer(&self.shared.net, sdp).await?;
        let peer = Arc::new(peer);
        let id = secret_id();
        {
            let mut inner = self.inner();
            if inner.sender.is_some() || inner.closed {
                tokio::spawn(async move { peer.close().await });
                return Err(if inner.closed { SessionError::NoSession } else { busy() });
            }
            inner.sender = Some((id.clone(), peer));
        }
        self.choose(SourceChoice::Live {})?;
        tokio::spawn(decode(packets, self.live.clone()).instrument(self.span.clone()));
        let (session, sender) = (Arc::downgrade(self), id.clone());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if event == PeerEvent::Closed {
                    break;
                }
            }
            if let Some(session) = session.upgrade() {
                session.hang_up(&sender).await;
            }
        });
        Ok((id, answer))
    }

    /// Ends the sender; says whether it was this one.
    pub async fn hang_up(&self, id: &str) -> bool {
        let peer = {
            let mut inner = self.inner();
            inner.touched = Instant::now();
            match &inner.sender {
                Some((i, _)) if i == id => inner.sender.take(),
                _ => None,
            }
        };
        match peer {
            Some((_, peer)) => {
                peer.close().await;
                true
            }
            None => false,
        }
    }

    /// Adds trickled candidates to a viewer or sender; `false` if there is none of that id.
    ///
    /// # Errors
    /// If the peer is gone.
    pub async fn trickle(&self, id: &str, fragment: &str) -> Result<bool, SessionError> {
        let (viewer, sender) = {
            let inner = self.inner();
            let viewer = inner.peers.iter().find(|(i, _)| i == id).map(|(_, p)| p.clone());
            let sender = inner.sender.as_ref().filter(|(i, _)| i == id).map(|(_, p)| p.clone());
            (viewer, sender)
        };
        match (viewer, sender) {
            (Some(peer), _) => peer.trickle(fragment).await?,
            (_, Some(peer)) => peer.trickle(fragment).await?,
            _ => return Ok(false),
        };
        Ok(true)
    }
}

/// Turns a sender's packets into sound, until they end.
async fn decode(mut packets: mpsc::Receiver<OpusPacket>, live: Arc<SoundQueue>) {
    let mut decoder = match OpusDecoder::new() {
        Ok(decoder) => decoder,
        Err(error) => return tracing::error!(%error, "sound cannot be decoded"),
    };
    while let Some(packet) = packets.recv().await {
        for _ in 0..packet.lost {
            if let Ok(sound) = decoder.conceal() {
                live.push(sound);
            }
        }
        match decoder.decode(&packet.data) {
            Ok(sound) => {
                live.push(sound);
            }
            Err(error) => debug!(%error, "a sound packet was not Opus"),
        }
    }
}
