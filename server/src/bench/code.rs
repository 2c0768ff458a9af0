//! The time code: a frame's number and the clicks heard before it, as a block of light and dark cells in the picture's
//! upper left corner, with a checksum. It survives the encoder and the decoder; what does not is refused, never guessed.
//!
//! ```text
//! 24 bits frame, 8 bits clicks, 16 bits CRC-16/CCITT, row by row in 8 x 6 cells, most significant first; light is 1
//! ```

/// What one picture says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Number of the frame since the dancer began; modulo 2^24, six days.
    pub tick: u32,
    /// Clicks heard up to this frame, modulo 256.
    pub clicks: u8,
}

pub const COLUMNS: usize = 8;
pub const ROWS: usize = 6;

/// Side of a cell in pixels: a block of the encoder's own in a picture of 512.
pub const fn cell(width: usize) -> usize {
    let side = width / 64;
    if side < 4 { 4 } else { side }
}

/// Width and height of the whole block.
pub const fn block(width: usize) -> (usize, usize) {
    (cell(width) * COLUMNS, cell(width) * ROWS)
}

/// CRC-16/CCITT-FALSE.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |c, _| if c & 0x8000 == 0 { c << 1 } else { c << 1 ^ 0x1021 })
    })
}

impl Code {
    fn bits(self) -> u64 {
        let body = (self.tick & 0xff_ffff) << 8 | u32::from(self.clicks);
        u64::from(body) << 16 | u64::from(crc(&body.to_be_bytes()))
    }

    fn from_bits(bits: u64) -> Option<Self> {
        let body = (bits >> 16) as u32;
        (crc(&body.to_be_bytes()) == bits as u16).then_some(Code { tick: body >> 8, clicks: body as u8 })
    }

    /// Draws the block over an RGBA picture of `width` pixels a row, opaque.
    pub fn draw(self, rgba: &mut [u8], width: usize) {
        let bits = self.bits();
        let side = cell(width);
        for y in 0..ROWS * side {
            for x in 0..COLUMNS * side {
                let n = y / side * COLUMNS + x / side;
                let light = bits >> (COLUMNS * ROWS - 1 - n) & 1 == 1;
                let at = (y * width + x) * 4;
                rgba[at..at + 4].copy_from_slice(if light { &[235, 235, 235, 255] } else { &[20, 20, 20, 255] });
            }
        }
    }

    /// Reads it from a luma plane; `None` if it is not there or was damaged.
    pub fn read(luma: &[u8], stride: usize, width: usize) -> Option<Self> {
        let side = cell(width);
        let quarter = side / 4;
        let mut bits = 0;
        for n in 0..COLUMNS * ROWS {
            let (left, top) = (n % COLUMNS * side + quarter, n / COLUMNS * side + quarter);
            let (mut sum, mut count) = (0, 0);
            for y in top..top + side - 2 * quarter {
                for v in luma.get(y * stride + left..y * stride + left + side - 2 * quarter)? {
                    sum += u32::from(*v);
                    count += 1;
                }
            }
            bits = bits << 1 | u64::from(sum > 126 * count);
        }
        Self::from_bits(bits)
    }
}

#[cfg(test)]
mod tests {
    use openh264::formats::YUVSource;

    use super::*;
    use crate::media::picture::Ground;
    use crate::media::video::{VideoCodec, VideoEncoder};

    const TICKS: [u32; 6] = [0, 1, 0x55_5555, 0xaa_aaaa, 0xff_ffff, 123_456];

    /// Noise that starves the encoder, so that the code is read from a bad picture.
    fn busy_picture(size: usize, seed: u32) -> Vec<u8> {
        (0..size * size).flat_map(|i| { let v = ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8; [v / 2, v, v / 3, 255] }).collect()
    }

    #[test]
    fn a_code_survives_h264_at_every_size_and_a_starved_bitrate() {
        for size in [128, 256, 512, 720] {
            let mut encoder = VideoEncoder::new(VideoCodec::H264, 300_000, 30);
            let mut decoder = openh264::decoder::Decoder::new().unwrap();
            for (n, tick) in TICKS.into_iter().enumerate() {
                let code = Code { tick, clicks: n as u8 * 41 };
                let mut rgba = busy_picture(size, n as u32);
                code.draw(&mut rgba, size);
                let mut bytes = Vec::new();
                encoder.encode(&rgba, size as u32, size as u32, Ground::Colour([0; 3]), false, &mut bytes).unwrap();
                let picture = decoder.decode(&bytes).unwrap().unwrap();
                assert_eq!(Code::read(picture.y(), picture.strides().0, size), Some(code), "size {size}, frame {n}");
            }
        }
    }

    #[test]
    fn a_picture_without_a_code_or_with_a_damaged_one_is_refused() {
        for luma in [vec![0; 512 * 512], vec![255; 512 * 512], vec![130; 512 * 512]] {
            assert_eq!(Code::read(&luma, 512, 512), None);
        }
        let mut rgba = vec![0; 512 * 512 * 4];
        Code { tick: 77, clicks: 3 }.draw(&mut rgba, 512);
        let mut luma: Vec<u8> = rgba.as_chunks::<4>().0.iter().map(|p| p[0]).collect();
        assert!(Code::read(&luma, 512, 512).is_some());
        for n in 0..COLUMNS * ROWS {
            // One cell turned over, every cell in turn.
            let mut turned = luma.clone();
            for y in 0..8 {
                for x in 0..8 {
                    let at = (n / COLUMNS * 8 + y) * 512 + n % COLUMNS * 8 + x;
                    turned[at] = 255 - turned[at];
                }
            }
            assert_eq!(Code::read(&turned, 512, 512), None, "cell {n}");
        }
        luma.truncate(1000);
        assert_eq!(Code::read(&luma, 512, 512), None, "a picture cut short");
    }
}
