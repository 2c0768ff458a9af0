//! H.264 by openh264: constrained baseline, low complexity, no B-frames, forced keyframes and a live bitrate.

use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, Profile, RateControlMode, SpsPpsStrategy, UsageType, VuiConfig,
};
use openh264::formats::YUVSlices;

use super::MediaError;
use super::picture::I420;

/// One stream's encoder. Colour is signalled as BT.709 limited.
pub struct H264Encoder {
    encoder: Encoder,
    bitrate_bps: u32,
    fresh: bool,
}

impl H264Encoder {
    /// # Errors
    /// If the encoder cannot be made.
    pub fn new(bitrate_bps: u32, fps: f32) -> Result<Self, MediaError> {
        let config = EncoderConfig::new()
            .profile(Profile::Baseline)
            .complexity(Complexity::Low)
            .usage_type(UsageType::CameraVideoRealTime)
            .rate_control_mode(RateControlMode::Bitrate)
            .bitrate(BitRate::from_bps(bitrate_bps))
            .max_frame_rate(FrameRate::from_hz(fps))
            // A skipped frame would be a hole in the dance; the queue in front drops instead, and counts.
            .skip_frames(false)
            .scene_change_detect(false)
            .background_detection(false)
            .adaptive_quantization(false)
            .sps_pps_strategy(SpsPpsStrategy::ConstantId)
            .num_threads(1)
            .vui(VuiConfig::bt709());
        let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config)?;
        let mut quiet: i32 = openh264_sys2::WELS_LOG_QUIET;
        // SAFETY: this option is allowed before initialisation and reads one int, which lives over the call.
        unsafe { encoder.raw_api().set_option(openh264_sys2::ENCODER_OPTION_TRACE_LEVEL, (&raw mut quiet).cast()) };
        Ok(Self { encoder, bitrate_bps, fresh: true })
    }

    /// Appends one Annex B access unit to `out`; says whether it is a keyframe. SPS and PPS precede every keyframe.
    ///
    /// # Errors
    /// If the encoder refuses the picture.
    pub fn encode(&mut self, picture: &I420, keyframe: bool, out: &mut Vec<u8>) -> Result<bool, MediaError> {
        if keyframe && !self.fresh {
            self.encoder.force_intra_frame();
        }
        let I420 { width, height, y, u, v } = picture;
        let slices = YUVSlices::new((y, u, v), (*width, *height), (*width, *width / 2, *width / 2));
        let stream = self.encoder.encode(&slices)?;
        self.fresh = false;
        stream.write_vec(out);
        Ok(matches!(stream.frame_type(), FrameType::IDR | FrameType::I))
    }

    /// Changes the bitrate from the next frame on.
    pub fn set_bitrate(&mut self, bitrate_bps: u32) {
        if bitrate_bps == self.bitrate_bps || self.fresh {
            return;
        }
        self.bitrate_bps = bitrate_bps;
        for option in [openh264_sys2::ENCODER_OPTION_MAX_BITRATE, openh264_sys2::ENCODER_OPTION_BITRATE] {
            let mut info = openh264_sys2::SBitrateInfo { iLayer: openh264_sys2::SPATIAL_LAYER_ALL, iBitrate: bitrate_bps as i32 };
            // SAFETY: the encoder was initialised by its first frame (`fresh` is false) and the option reads one
            // SBitrateInfo, which lives over the call.
            unsafe { self.encoder.raw_api().set_option(option, (&raw mut info).cast()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::picture::{ColourMatrix, Converter, Ground};
    use super::super::video::test_pattern;
    use super::*;

    #[test]
    fn round_trip_keeps_the_picture_and_forces_keyframes() {
        let mut encoder = H264Encoder::new(2_000_000, 30.0).unwrap();
        let mut decoder = openh264::decoder::Decoder::new().unwrap();
        let mut converter = Converter::default();
        let mut keys = Vec::new();
        for n in 0..20 {
            let rgba = test_pattern(192, 128, n);
            let picture = converter.convert(&rgba, 192, 128, Ground::Colour([27, 24, 48]), ColourMatrix::Bt709).unwrap();
            let mut bytes = Vec::new();
            keys.push(encoder.encode(picture, n == 12, &mut bytes).unwrap());
            let decoded = decoder.decode(&bytes).unwrap().expect("every access unit gives its picture at once: no reordering");
            use openh264::formats::YUVSource;
            let (stride, ..) = decoded.strides();
            let error: f64 = (0..128)
                .flat_map(|row| (0..192).map(move |x| (row, x)))
                .map(|(row, x)| f64::from(decoded.y()[row * stride + x].abs_diff(picture.y[row * 192 + x])))
                .sum::<f64>()
                / (192.0 * 128.0);
            assert!(error < 4.0, "frame {n}: mean luma error {error}");
        }
        assert_eq!(keys.iter().enumerate().filter(|(_, k)| **k).map(|(n, _)| n).collect::<Vec<_>>(), [0, 12]);
    }

    #[test]
    fn constrained_baseline_is_what_the_stream_says() {
        let mut encoder = H264Encoder::new(1_000_000, 30.0).unwrap();
        let mut converter = Converter::default();
        let rgba = test_pattern(512, 512, 0);
        let mut bytes = Vec::new();
        encoder.encode(converter.convert(&rgba, 512, 512, Ground::Packed, ColourMatrix::Bt709).unwrap(), true, &mut bytes).unwrap();
        let sps = bytes.windows(5).find(|w| w[..4] == [0, 0, 0, 1] && w[4] & 31 == 7).is_some();
        let at = bytes.windows(4).position(|w| w[..3] == [0, 0, 1] && w[3] & 31 == 7).unwrap();
        assert!(sps);
        assert_eq!(bytes[at + 4], 66, "baseline");
        assert_eq!(bytes[at + 5] & 0x40, 0x40, "constrained");
    }

    #[test]
    fn a_lower_bitrate_gives_smaller_frames() {
        let mut encoder = H264Encoder::new(3_000_000, 30.0).unwrap();
        let mut converter = Converter::default();
        let mut size = |bitrate: u32, from: u32| {
            encoder.set_bitrate(bitrate);
            (from..from + 45)
                .map(|n| {
                    let rgba = test_pattern(512, 512, n);
                    let mut bytes = Vec::new();
                    let picture = converter.convert(&rgba, 512, 512, Ground::Colour([0; 3]), ColourMatrix::Bt709).unwrap();
                    encoder.encode(picture, false, &mut bytes).unwrap();
                    bytes.len()
                })
                .skip(15)
                .sum::<usize>()
        };
        let (high, low) = (size(3_000_000, 0), size(300_000, 45));
        assert!(low * 2 < high, "{low} against {high}");
    }
}
