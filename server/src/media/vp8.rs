//! VP8 by libvpx: real time, cpu-used -12, forced keyframes and a live bitrate. The only door to its C interface.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use vpx_sys::*;

use super::MediaError;
use super::picture::I420;

/// One stream's encoder. Receivers read the colour as BT.601 limited.
pub struct Vp8Encoder {
    // Boxed: libvpx keeps a pointer to the configuration inside the context.
    context: Box<vpx_codec_ctx_t>,
    config: Box<vpx_codec_enc_cfg_t>,
    frames: i64,
}

// SAFETY: a context belongs to one owner and libvpx ties it to no thread.
unsafe impl Send for Vp8Encoder {}

/// The text of a libvpx error.
fn check(code: vpx_codec_err_t) -> Result<(), MediaError> {
    if code == VPX_CODEC_OK {
        return Ok(());
    }
    // SAFETY: the function returns a pointer to a static, terminated string for every code.
    let text = unsafe { CStr::from_ptr(vpx_codec_err_to_string(code)) };
    Err(MediaError::Vp8(text.to_string_lossy().into_owned()))
}

impl Vp8Encoder {
    /// # Errors
    /// If the size or the bitrate is refused.
    pub fn new(width: u32, height: u32, bitrate_bps: u32, fps: u32) -> Result<Self, MediaError> {
        let mut config = MaybeUninit::<vpx_codec_enc_cfg_t>::zeroed();
        // SAFETY: the call fills the whole configuration it is given; zeros are a valid value of it before.
        let mut config = unsafe {
            check(vpx_codec_enc_config_default(vpx_codec_vp8_cx(), config.as_mut_ptr(), 0))?;
            Box::new(config.assume_init())
        };
        config.g_w = width;
        config.g_h = height;
        config.g_timebase.num = 1;
        config.g_timebase.den = fps as i32;
        config.g_threads = 1;
        config.g_lag_in_frames = 0;
        config.g_error_resilient = 0;
        config.rc_end_usage = vpx_rc_mode::VPX_CBR;
        config.rc_target_bitrate = (bitrate_bps / 1000).max(1);
        config.rc_dropframe_thresh = 0;
        config.rc_min_quantizer = 2;
        config.rc_max_quantizer = 56;
        config.rc_undershoot_pct = 100;
        config.rc_overshoot_pct = 15;
        config.rc_buf_initial_sz = 300;
        config.rc_buf_optimal_sz = 400;
        config.rc_buf_sz = 600;
        config.kf_mode = vpx_kf_mode::VPX_KF_DISABLED;
        let mut context = Box::new(MaybeUninit::<vpx_codec_ctx_t>::zeroed());
        // SAFETY: the context is zeroed memory of the right type, initialised by the call; the configuration is
        // boxed and so outlives it in place. Control calls take the integer types that libvpx documents.
        let context = unsafe {
            check(vpx_codec_enc_init_ver(context.as_mut_ptr(), vpx_codec_vp8_cx(), &raw const *config, 0, VPX_ENCODER_ABI_VERSION as i32))?;
            Box::from_raw(Box::into_raw(context).cast::<vpx_codec_ctx_t>())
        };
        let mut encoder = Self { context, config, frames: 0 };
        encoder.control(vp8e_enc_control_id::VP8E_SET_CPUUSED, -12)?;
        encoder.control(vp8e_enc_control_id::VP8E_SET_NOISE_SENSITIVITY, 0)?;
        encoder.control(vp8e_enc_control_id::VP8E_SET_STATIC_THRESHOLD, 1)?;
        encoder.control(vp8e_enc_control_id::VP8E_SET_MAX_INTRA_BITRATE_PCT, 600)?;
        Ok(encoder)
    }

    fn control(&mut self, id: vp8e_enc_control_id, value: i32) -> Result<(), MediaError> {
        // SAFETY: the context is initialised and each control used here takes one int.
        check(unsafe { vpx_codec_control_(&raw mut *self.context, id as i32, value) })
    }

    /// Appends one frame to `out`; says whether it is a keyframe.
    ///
    /// # Errors
    /// If the picture has another size than the encoder, or libvpx fails.
    pub fn encode(&mut self, picture: &I420, keyframe: bool, out: &mut Vec<u8>) -> Result<bool, MediaError> {
        let I420 { width, height, y, u, v } = picture;
        if (*width as u32, *height as u32) != (self.config.g_w, self.config.g_h) {
            return Err(MediaError::Vp8(format!("made for {}x{}, given {width}x{height}", self.config.g_w, self.config.g_h)));
        }
        let flags = if keyframe { i64::from(VPX_EFLAG_FORCE_KF) } else { 0 };
        let mut image = MaybeUninit::<vpx_image_t>::zeroed();
        // SAFETY: `wrap` fills the image header; the planes are set to slices of the sizes that it states and live
        // over the call; the encoder only reads them. Packets stay valid until the next encode call, and their
        // union holds a frame when the kind says so.
        unsafe {
            let wrapped = vpx_img_wrap(image.as_mut_ptr(), vpx_img_fmt::VPX_IMG_FMT_I420, self.config.g_w, self.config.g_h, 1, y.as_ptr().cast_mut());
            if wrapped.is_null() {
                return Err(MediaError::Vp8("the picture could not be described to libvpx".into()));
            }
            let mut image = image.assume_init();
            image.planes[..3].copy_from_slice(&[y.as_ptr().cast_mut(), u.as_ptr().cast_mut(), v.as_ptr().cast_mut()]);
            image.stride[..3].copy_from_slice(&[*width as i32, *width as i32 / 2, *width as i32 / 2]);
            check(vpx_codec_encode(&raw mut *self.context, &raw const image, self.frames, 1, flags, u64::from(VPX_DL_REALTIME)))?;
            self.frames += 1;
            let mut iterator = std::ptr::null();
            let mut key = false;
            loop {
                let packet = vpx_codec_get_cx_data(&raw mut *self.context, &raw mut iterator);
                if packet.is_null() {
                    break Ok(key);
                }
                if (*packet).kind == vpx_codec_cx_pkt_kind::VPX_CODEC_CX_FRAME_PKT {
                    let frame = (*packet).data.frame;
                    key |= frame.flags & VPX_FRAME_IS_KEY != 0;
                    out.extend_from_slice(std::slice::from_raw_parts(frame.buf.cast::<u8>(), frame.sz as usize));
                }
            }
        }
    }

    /// Changes the bitrate from the next frame on.
    pub fn set_bitrate(&mut self, bitrate_bps: u32) {
        let kbps = (bitrate_bps / 1000).max(1);
        if kbps != self.config.rc_target_bitrate {
            self.config.rc_target_bitrate = kbps;
            // SAFETY: context and configuration are initialised and stay in place.
            unsafe { vpx_codec_enc_config_set(&raw mut *self.context, &raw const *self.config) };
        }
    }
}

impl Drop for Vp8Encoder {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { vpx_codec_destroy(&raw mut *self.context) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::picture::{ColourMatrix, Converter, Ground};
    use super::super::video::test_pattern;
    use super::*;

    /// Luma of a decoded frame, packed rows.
    fn decode(context: &mut vpx_codec_ctx_t, data: &[u8]) -> (usize, usize, Vec<u8>) {
        // SAFETY: an initialised decoder, a slice that outlives the call, and an image read before the next call.
        unsafe {
            check(vpx_codec_decode(context, data.as_ptr(), data.len() as u32, std::ptr::null_mut(), 0)).unwrap();
            let mut iterator = std::ptr::null();
            let image = vpx_codec_get_frame(context, &raw mut iterator);
            assert!(!image.is_null(), "every frame is shown at once");
            let image = &*image;
            let rows = (0..image.d_h as usize)
                .flat_map(|row| std::slice::from_raw_parts(image.planes[0].add(row * image.stride[0] as usize), image.d_w as usize));
            (image.d_w as usize, image.d_h as usize, rows.copied().collect())
        }
    }

    #[test]
    fn round_trip_keeps_the_picture_and_forces_keyframes() {
        let mut encoder = Vp8Encoder::new(192, 256, 2_000_000, 30).unwrap();
        let mut context = MaybeUninit::<vpx_codec_ctx_t>::zeroed();
        // SAFETY: zeroed memory of the right type, initialised by the call.
        let mut context = unsafe {
            check(vpx_codec_dec_init_ver(context.as_mut_ptr(), vpx_codec_vp8_dx(), std::ptr::null(), 0, VPX_DECODER_ABI_VERSION as i32)).unwrap();
            context.assume_init()
        };
        let mut converter = Converter::default();
        let mut keys = Vec::new();
        for n in 0..20 {
            let rgba = test_pattern(192, 128, n);
            let picture = converter.convert(&rgba, 192, 128, Ground::Packed, ColourMatrix::Bt601).unwrap();
            let mut bytes = Vec::new();
            if encoder.encode(picture, n == 12, &mut bytes).unwrap() {
                keys.push(n);
            }
            let (width, height, luma) = decode(&mut context, &bytes);
            assert_eq!((width, height), (192, 256));
            let error = luma.iter().zip(&picture.y).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / luma.len() as f64;
            assert!(error < 4.0, "frame {n}: mean luma error {error}");
            encoder.set_bitrate(1_500_000 + n * 1000);
        }
        assert_eq!(keys, [0, 12]);
        // SAFETY: initialised above, destroyed once.
        unsafe { vpx_codec_destroy(&raw mut context) };
    }
}
