//! A film being written: frames and sound in, an MP4 file out. Offline, so it never drops.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::Context;

use crate::media::mp4::Mp4Writer;
use crate::media::opus::{FRAME_SAMPLES, OpusEncoder};
use crate::media::picture::Ground;
use crate::media::video::{VideoCodec, VideoEncoder};

const FPS: u32 = 30;
/// Seconds between keyframes, so that players can seek.
const KEY_EVERY_FRAMES: u64 = 2 * FPS as u64;

pub struct Film {
    file: Mp4Writer<BufWriter<File>>,
    video: VideoEncoder,
    opus: OpusEncoder,
    /// Behind frames that come without a ground of their own.
    background: [u8; 3],
    frames: u64,
    sound: Vec<f32>,
    data: Vec<u8>,
}

impl Film {
    /// `frames`: an estimate, so that the index fits at the front.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(path: &Path, width: u32, height: u32, frames: usize, background: [u8; 3]) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut opus = OpusEncoder::new()?;
        // 12 bits a pixel and second: visually clean for flat-coloured characters.
        let bitrate_bps = (width * height * 12).clamp(1_000_000, 20_000_000);
        Ok(Self {
            file: Mp4Writer::new(BufWriter::new(file), width, height, FPS, frames, opus.pre_skip())?,
            video: VideoEncoder::new(VideoCodec::H264, bitrate_bps, FPS),
            opus,
            background,
            frames: 0,
            sound: Vec::new(),
            data: Vec::new(),
        })
    }

    /// One frame, premultiplied RGBA, and what lies behind it, if anything.
    ///
    /// # Errors
    /// If it cannot be encoded or written.
    pub fn frame(&mut self, rgba: &[u8], ground: &[u8], width: u32, height: u32) -> anyhow::Result<()> {
        self.data.clear();
        let key = self.frames.is_multiple_of(KEY_EVERY_FRAMES);
        let ground = if ground.is_empty() { Ground::Colour(self.background) } else { Ground::Picture(ground) };
        let key = self.video.encode(rgba, width, height, ground, key, &mut self.data)?;
        self.file.video(&self.data, key)?;
        self.frames += 1;
        Ok(())
    }

    /// Any length of 48 kHz stereo, interleaved.
    ///
    /// # Errors
    /// If it cannot be encoded or written.
    pub fn sound(&mut self, stereo: &[f32]) -> anyhow::Result<()> {
        self.sound.extend_from_slice(stereo);
        let whole = self.sound.len() / (FRAME_SAMPLES * 2) * (FRAME_SAMPLES * 2);
        for block in self.sound[..whole].chunks_exact(FRAME_SAMPLES * 2) {
            let packet = self.opus.encode(block)?;
            self.file.audio(&packet)?;
        }
        self.sound.drain(..whole);
        Ok(())
    }

    /// # Errors
    /// If the end cannot be written.
    pub fn finish(mut self) -> anyhow::Result<()> {
        if !self.sound.is_empty() {
            let missing = FRAME_SAMPLES * 2 - self.sound.len();
            self.sound(&vec![0.0; missing])?;
        }
        self.file.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_has_all_its_frames_and_sound() {
        let path = std::env::temp_dir().join(format!("odori-film-{}.mp4", std::process::id()));
        let mut film = Film::create(&path, 64, 64, 30, [0; 3]).unwrap();
        for n in 0..30u8 {
            film.frame(&[n * 8; 64 * 64 * 4], &[], 64, 64).unwrap();
            film.sound(&vec![0.1; 3200]).unwrap();
        }
        film.finish().unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::remove_file(&path).unwrap();
        assert!(length > 2000, "{length}");
        assert!(Film::create(Path::new("/nonexistent/x.mp4"), 64, 64, 1, [0; 3]).is_err());
    }
}
