//! An MP4 file with one H.264 track and one Opus track. The only place that knows the muxer crate.

use std::io::{Seek, SeekFrom, Write};
use std::num::NonZeroU32;

use shiguredo_mp4::boxes::{AudioSampleEntryFields, Avc1Box, AvccBox, DopsBox, OpusBox, SampleEntry, VisualSampleEntryFields};
use shiguredo_mp4::mux::{Mp4FileMuxer, Mp4FileMuxerOptions, Sample, estimate_maximum_moov_box_size};
use shiguredo_mp4::{FixedPointNumber, TrackKind, Uint};

use super::MediaError;
use super::opus::{FRAME_SAMPLES, RATE_HZ};

/// Writes samples as they come; [`Mp4Writer::finish`] makes the file playable.
pub struct Mp4Writer<W> {
    file: W,
    muxer: Mp4FileMuxer,
    position: u64,
    width: u16,
    height: u16,
    fps: NonZeroU32,
    pre_skip: u16,
    has_video: bool,
    has_audio: bool,
}

fn mux(error: impl std::fmt::Display) -> MediaError {
    MediaError::Mp4(error.to_string())
}

/// The NAL units of an Annex B access unit, without start codes.
fn nal_units(annex_b: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts = Vec::new();
    let mut i = 0;
    while i + 3 <= annex_b.len() {
        if annex_b[i..i + 3] == [0, 0, 1] {
            starts.push(i + 3);
            i += 3;
        } else {
            i += 1;
        }
    }
    let ends: Vec<usize> = starts.iter().skip(1).map(|s| s - 3).chain([annex_b.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| {
        // Zeros before a start code belong to it; a NAL unit never ends in one.
        let unit = &annex_b[start..end];
        &unit[..unit.iter().rposition(|&b| b != 0).map_or(0, |p| p + 1)]
    })
}

impl<W: Write + Seek> Mp4Writer<W> {
    /// `frames`: an estimate of how many, so that the index fits at the front of the file. `pre_skip`: see
    /// [`super::opus::OpusEncoder::pre_skip`].
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn new(mut file: W, width: u32, height: u32, fps: u32, frames: usize, pre_skip: u16) -> Result<Self, MediaError> {
        let side = |n: u32| u16::try_from(n).map_err(|_| MediaError::Size { width, height, bytes: 0 });
        let packets = frames * RATE_HZ as usize / FRAME_SAMPLES / fps as usize + 2;
        let options = Mp4FileMuxerOptions {
            reserved_moov_box_size: estimate_maximum_moov_box_size(&[frames + 2, packets]),
            ..Mp4FileMuxerOptions::default()
        };
        let muxer = Mp4FileMuxer::with_options(options).map_err(mux)?;
        let initial = muxer.initial_boxes_bytes();
        file.write_all(initial)?;
        let position = initial.len() as u64;
        let fps = NonZeroU32::new(fps).ok_or_else(|| MediaError::Mp4("zero frames a second".into()))?;
        Ok(Self { file, muxer, position, width: side(width)?, height: side(height)?, fps, pre_skip, has_video: false, has_audio: false })
    }

    fn append(&mut self, kind: TrackKind, entry: Option<SampleEntry>, keyframe: bool, timescale: NonZeroU32, duration: u32, data: &[u8]) -> Result<(), MediaError> {
        self.file.write_all(data)?;
        let sample = Sample {
            track_kind: kind,
            sample_entry: entry,
            keyframe,
            timescale,
            duration,
            composition_time_offset: None,
            data_offset: self.position,
            data_size: data.len(),
        };
        self.muxer.append_sample(&sample).map_err(mux)?;
        self.position += data.len() as u64;
        Ok(())
    }

    /// One access unit (Annex B), shown for one frame's time. The first must be a keyframe.
    ///
    /// # Errors
    /// If the file cannot be written or the first frame carries no parameter sets.
    pub fn video(&mut self, annex_b: &[u8], keyframe: bool) -> Result<(), MediaError> {
        let (mut sps, mut pps, mut data) = (Vec::new(), Vec::new(), Vec::with_capacity(annex_b.len() + 16));
        for unit in nal_units(annex_b).filter(|u| !u.is_empty()) {
            match unit[0] & 31 {
                7 => sps.push(unit.to_vec()),
                8 => pps.push(unit.to_vec()),
                _ => {
                    data.extend((unit.len() as u32).to_be_bytes());
                    data.extend_from_slice(unit);
                }
            }
        }
        let entry = if self.has_video {
            None
        } else {
            let Some([_, profile, compatibility, level, ..]) = sps.first().map(Vec::as_slice) else {
                return Err(MediaError::Mp4("the first frame carries no parameter sets".into()));
            };
            Some(SampleEntry::Avc1(Avc1Box {
                visual: VisualSampleEntryFields {
                    data_reference_index: VisualSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
                    width: self.width,
                    height: self.height,
                    horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
                    vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
                    frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
                    compressorname: [0; 32],
                    depth: VisualSampleEntryFields::DEFAULT_DEPTH,
                },
                avcc_box: AvccBox {
                    avc_profile_indication: *profile,
                    profile_compatibility: *compatibility,
                    avc_level_indication: *level,
                    length_size_minus_one: Uint::new(3),
                    sps_list: sps,
                    pps_list: pps,
                    chroma_format: None,
                    bit_depth_luma_minus8: None,
                    bit_depth_chroma_minus8: None,
                    sps_ext_list: Vec::new(),
                },
                unknown_boxes: Vec::new(),
            }))
        };
        self.has_video = true;
        self.append(TrackKind::Video, entry, keyframe, self.fps, 1, &data)
    }

    /// One Opus packet of 20 ms.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn audio(&mut self, packet: &[u8]) -> Result<(), MediaError> {
        let entry = (!self.has_audio).then(|| {
            SampleEntry::Opus(OpusBox {
                audio: AudioSampleEntryFields {
                    data_reference_index: AudioSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
                    channelcount: 2,
                    samplesize: AudioSampleEntryFields::DEFAULT_SAMPLESIZE,
                    samplerate: FixedPointNumber::new(RATE_HZ as u16, 0),
                },
                dops_box: DopsBox { output_channel_count: 2, pre_skip: self.pre_skip, input_sample_rate: RATE_HZ, output_gain: 0 },
                unknown_boxes: Vec::new(),
            })
        });
        self.has_audio = true;
        let rate = NonZeroU32::new(RATE_HZ).expect("not zero");
        self.append(TrackKind::Audio, entry, true, rate, FRAME_SAMPLES as u32, packet)
    }

    /// Writes the index; the file is complete when this returns.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(mut self) -> Result<W, MediaError> {
        let boxes = self.muxer.finalize().map_err(mux)?;
        for (offset, bytes) in boxes.offset_and_bytes_pairs() {
            self.file.seek(SeekFrom::Start(offset))?;
            self.file.write_all(bytes)?;
        }
        self.file.flush()?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use shiguredo_mp4::demux::{Input, Mp4FileDemuxer};

    use super::super::opus::OpusEncoder;
    use super::super::picture::Ground;
    use super::super::video::{VideoCodec, VideoEncoder, test_pattern};
    use super::*;

    #[test]
    fn start_codes_of_both_lengths_are_found() {
        let data = [0, 0, 0, 1, 7, 9, 0, 0, 1, 8, 5, 0, 0, 0, 1, 5, 1, 2];
        assert_eq!(nal_units(&data).collect::<Vec<_>>(), [&[7, 9][..], &[8, 5], &[5, 1, 2]]);
    }

    #[test]
    fn the_file_holds_both_tracks_of_equal_length() {
        let mut opus = OpusEncoder::new().unwrap();
        let mut writer = Mp4Writer::new(Cursor::new(Vec::new()), 192, 128, 30, 60, opus.pre_skip()).unwrap();
        let mut video = VideoEncoder::new(VideoCodec::H264, 800_000, 30);
        let mut packets = 0;
        for n in 0..60 {
            let mut unit = Vec::new();
            let key = video.encode(&test_pattern(192, 128, n), 192, 128, Ground::Colour([0; 3]), n == 0, &mut unit).unwrap();
            writer.video(&unit, key).unwrap();
            while packets * 30 < (n + 1) * 50 {
                writer.audio(&opus.encode(&[0.1; FRAME_SAMPLES * 2]).unwrap()).unwrap();
                packets += 1;
            }
        }
        let file = writer.finish().unwrap().into_inner();
        if let Ok(path) = std::env::var("ODORI_TEST_MP4") {
            std::fs::write(path, &file).unwrap();
        }
        let mut demuxer = Mp4FileDemuxer::new();
        while let Some(required) = demuxer.required_input() {
            let from = required.position as usize;
            let to = required.size.map_or(file.len(), |size| (from + size).min(file.len()));
            demuxer.handle_input(Input { position: required.position, data: &file[from..to] });
        }
        let seconds: Vec<f64> = demuxer.tracks().unwrap().iter().map(|t| t.duration as f64 / f64::from(t.timescale.get())).collect();
        assert_eq!(seconds.len(), 2);
        assert!(seconds.iter().all(|s| (s - 2.0).abs() < 0.001), "{seconds:?}");
    }
}
