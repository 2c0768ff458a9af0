//! The thread that sends a session's sound: Opus, 20 ms at a time, on the session's clock.
//!
//! It is apart from the pictures' thread so that a heavy frame never makes the sound late.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use crate::live::{Play, Source};
use crate::media::opus::{FRAME_SAMPLES as PACKET_SAMPLES, OpusEncoder};
use crate::rtc::AudioPacket;

const PACKET: Duration = Duration::from_millis(20);
/// Samples of the 24 kHz master clock in a packet.
const PACKET_MEDIA: u64 = PACKET_SAMPLES as u64 / 2;

/// Ends when dropped.
pub struct SoundThread {
    plays: SyncSender<Play>,
}

impl SoundThread {
    pub fn start(out: broadcast::Sender<AudioPacket>, play: Play) -> Self {
        let (plays, inbox) = sync_channel(8);
        let spawned = std::thread::Builder::new().name("odori-sound".into()).spawn(move || match OpusEncoder::new() {
            Ok(encoder) => run(encoder, &out, play, &inbox),
            Err(e) => tracing::error!(error = %e, "sound cannot be encoded"),
        });
        if let Err(e) = spawned {
            tracing::error!(error = %e, "the sound's thread cannot be started");
        }
        SoundThread { plays }
    }

    /// Plays this from now on.
    pub fn play(&self, play: Play) {
        let _ = self.plays.try_send(play);
    }
}

fn run(mut encoder: OpusEncoder, out: &broadcast::Sender<AudioPacket>, mut play: Play, inbox: &Receiver<Play>) {
    let mut block = vec![0.0f32; PACKET_SAMPLES * 2];
    let mut sent = 0u64;
    loop {
        let due = play.anchor + PACKET * sent as u32;
        let wait = match &play.source {
            // Live sound is sent when it is there; this only keeps the thread answering.
            Source::Live(_) => Duration::ZERO,
            _ => due.saturating_duration_since(Instant::now()),
        };
        match inbox.recv_timeout(wait) {
            Ok(next) => {
                play = next;
                sent = 0;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        match &play.source {
            Source::Live(live) => {
                if !live.take_listen(&mut block, PACKET * 2) {
                    continue;
                }
            }
            Source::Silence => block.fill(0.0),
            Source::Song { song, looping } => {
                let frames = song.listen.len() / 2;
                for (i, pair) in block.chunks_exact_mut(2).enumerate() {
                    let at = sent as usize * PACKET_SAMPLES + i;
                    let at = if *looping && frames > 0 { at % frames } else { at };
                    let from = song.listen.get(at * 2..at * 2 + 2).unwrap_or(&[0.0, 0.0]);
                    pair.copy_from_slice(from);
                }
            }
        }
        let media_samples = play.start + sent * PACKET_MEDIA;
        sent += 1;
        if out.receiver_count() == 0 {
            continue;
        }
        match encoder.encode(&block) {
            Ok(data) => drop(out.send(AudioPacket { data: data.into(), media_samples })),
            Err(e) => tracing::error!(error = %e, "encoding sound"),
        }
    }
}

