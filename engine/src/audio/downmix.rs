//! Folds any speaker layout to stereo and mono by ITU-R BS.775 weights.
//!
//! It must not resample or buffer: one frame in, one frame out.

use super::AudioError;

/// Most channels that are accepted (7.1).
pub const MAX_CHANNELS: usize = 8;
const MINUS_3_DB: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Where a channel stands. Layouts are lists of these in the stream's own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    Left,
    Right,
    /// Front centre, or the one channel of a mono stream.
    Centre,
    /// Low-frequency effects: BS.775 leaves it out of a downmix.
    Lfe,
    SurroundLeft,
    SurroundRight,
    /// A single surround behind.
    SurroundCentre,
    /// Anything not known by name: goes to both sides like a centre.
    Other,
}

impl Speaker {
    fn stereo_gains(self) -> [f32; 2] {
        match self {
            Speaker::Left => [1.0, 0.0],
            Speaker::Right => [0.0, 1.0],
            Speaker::Centre | Speaker::Other => [MINUS_3_DB, MINUS_3_DB],
            Speaker::Lfe => [0.0, 0.0],
            Speaker::SurroundLeft => [MINUS_3_DB, 0.0],
            Speaker::SurroundRight => [0.0, MINUS_3_DB],
            Speaker::SurroundCentre => [0.5, 0.5],
        }
    }
}

/// A fixed matrix from a layout to left and right. No output can exceed full scale when the inputs do not.
#[derive(Clone, Debug, PartialEq)]
pub struct Downmix {
    gains: Vec<[f32; 2]>,
}

impl Downmix {
    /// For a known layout. Mono and stereo pass at unity; wider layouts are scaled so that nothing can clip.
    pub fn new(layout: &[Speaker]) -> Result<Self, AudioError> {
        if layout.is_empty() || layout.len() > MAX_CHANNELS {
            return Err(AudioError::Channels(layout.len()));
        }
        if layout.len() == 1 {
            return Ok(Self { gains: vec![[1.0, 1.0]] });
        }
        let mut gains: Vec<[f32; 2]> = layout.iter().map(|s| s.stereo_gains()).collect();
        let loudest = (0..2).map(|side| gains.iter().map(|g| g[side]).sum::<f32>()).fold(1.0_f32, f32::max);
        gains.iter_mut().flatten().for_each(|g| *g /= loudest);
        Ok(Self { gains })
    }

    /// For a stream that names no speakers: the usual WAVE order for that count.
    pub fn from_count(channels: usize) -> Result<Self, AudioError> {
        use Speaker::*;
        let order: &[Speaker] = match channels {
            1 => &[Centre],
            2 => &[Left, Right],
            3 => &[Left, Right, Centre],
            4 => &[Left, Right, SurroundLeft, SurroundRight],
            5 => &[Left, Right, Centre, SurroundLeft, SurroundRight],
            6 => &[Left, Right, Centre, Lfe, SurroundLeft, SurroundRight],
            7 => &[Left, Right, Centre, Lfe, SurroundCentre, SurroundLeft, SurroundRight],
            8 => &[Left, Right, Centre, Lfe, SurroundLeft, SurroundRight, SurroundLeft, SurroundRight],
            n => return Err(AudioError::Channels(n)),
        };
        Self::new(order)
    }

    /// Channels of the input.
    pub fn channels(&self) -> usize {
        self.gains.len()
    }

    /// Interleaved frames in, interleaved left/right appended to `out`. A partial last frame is ignored.
    pub fn to_stereo(&self, interleaved: &[f32], out: &mut Vec<f32>) {
        for frame in interleaved.chunks_exact(self.gains.len()) {
            out.extend(self.fold(frame));
        }
    }

    /// Interleaved frames in, (left + right) / 2 appended to `out`.
    pub fn to_mono(&self, interleaved: &[f32], out: &mut Vec<f32>) {
        for frame in interleaved.chunks_exact(self.gains.len()) {
            let [left, right] = self.fold(frame);
            out.push(0.5 * (left + right));
        }
    }

    fn fold(&self, frame: &[f32]) -> [f32; 2] {
        frame.iter().zip(&self.gains).fold([0.0; 2], |[l, r], (x, g)| [l + x * g[0], r + x * g[1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mono_and_stereo_pass_untouched() {
        let mut out = Vec::new();
        Downmix::from_count(1).unwrap().to_stereo(&[0.25, -0.5], &mut out);
        assert_eq!(out, [0.25, 0.25, -0.5, -0.5]);
        out.clear();
        Downmix::from_count(2).unwrap().to_stereo(&[0.25, -0.5], &mut out);
        assert_eq!(out, [0.25, -0.5]);
        out.clear();
        Downmix::from_count(2).unwrap().to_mono(&[0.25, -0.5], &mut out);
        assert_eq!(out, [-0.125]);
    }

    #[test]
    fn surround_keeps_itu_ratios_drops_lfe_and_cannot_clip() {
        let mix = Downmix::from_count(6).unwrap();
        let one = |channel: usize| {
            let mut frame = [0.0; 6];
            frame[channel] = 1.0;
            let mut out = Vec::new();
            mix.to_stereo(&frame, &mut out);
            [out[0], out[1]]
        };
        let left = one(0)[0];
        assert!((one(2)[0] / left - MINUS_3_DB).abs() < 1e-6 && (one(2)[1] / left - MINUS_3_DB).abs() < 1e-6);
        assert!((one(4)[0] / left - MINUS_3_DB).abs() < 1e-6 && one(4)[1] == 0.0);
        assert_eq!(one(3), [0.0, 0.0]);
        let mut out = Vec::new();
        mix.to_stereo(&[1.0; 6], &mut out);
        assert!(out.iter().all(|x| *x <= 1.0 + 1e-6));
    }

    #[test]
    fn too_many_channels_are_refused() {
        assert!(matches!(Downmix::from_count(9), Err(AudioError::Channels(9))));
        assert!(matches!(Downmix::from_count(0), Err(AudioError::Channels(0))));
    }
}
