//! What the decoder does with good files, and with every kind of bad one.

use super::*;

/// A WAVE file: `tag` 1 = integers, 3 = floats.
fn wav(rate: u32, channels: u16, tag: u16, bits: u16, data: &[u8]) -> Vec<u8> {
    let align = channels * bits / 8;
    let mut out = Vec::new();
    out.extend(b"RIFF");
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16u32.to_le_bytes());
    out.extend(tag.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * u32::from(align)).to_le_bytes());
    out.extend(align.to_le_bytes());
    out.extend(bits.to_le_bytes());
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

fn s16(frames: usize, channels: usize) -> Vec<u8> {
    (0..frames * channels).flat_map(|i| ((i as i32 * 7919 % 30_000) as i16 - 15_000).to_le_bytes()).collect()
}

fn go(bytes: Vec<u8>) -> Result<DecodedAudio, AudioError> {
    decode_bytes(bytes, "song.wav", Limits::default())
}

#[test]
fn a_wave_file_comes_back_sample_for_sample() {
    for channels in [1u16, 2] {
        let data = s16(5_000, channels.into());
        let audio = go(wav(44_100, channels, 1, 16, &data)).unwrap();
        assert_eq!((audio.rate, audio.channels), (44_100, channels.into()));
        let truth: Vec<f32> =
            data.chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0).collect();
        assert_eq!(audio.samples, truth);
        assert!(!audio.truncated && audio.damaged_packets == 0 && audio.cleaned_samples == 0);
    }
}

#[test]
fn the_extension_is_only_a_hint() {
    let bytes = wav(48_000, 1, 1, 16, &s16(100, 1));
    for name in ["song.mp3", "song", "", "a.very-long-extension"] {
        assert_eq!(decode_bytes(bytes.clone(), name, Limits::default()).unwrap().samples.len(), 100, "{name}");
    }
}

#[test]
fn not_a_number_becomes_silence() {
    let data: Vec<u8> = [0.5, f32::NAN, f32::INFINITY, 1e9, -0.5].iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
    let audio = go(wav(48_000, 1, 3, 32, &data)).unwrap();
    assert_eq!(audio.samples, [0.5, 0.0, 0.0, 16.0, -0.5]);
    assert_eq!(audio.cleaned_samples, 3);
}

#[test]
fn a_truncated_file_gives_what_is_there_and_says_so() {
    let mut bytes = wav(48_000, 2, 1, 16, &s16(48_000, 2));
    bytes.truncate(44 + 96_000);
    let audio = go(bytes).unwrap();
    assert!(audio.truncated);
    assert!(audio.samples.len() > 40_000 && audio.samples.len() <= 48_000, "{}", audio.samples.len());
}

#[test]
fn nothing_and_noise_are_refused_with_a_reason() {
    assert!(matches!(go(Vec::new()), Err(AudioError::Empty)));
    assert!(matches!(go(wav(48_000, 1, 1, 16, &[])), Err(AudioError::Empty)), "zero seconds");
    let text = b"this is certainly not a song, however long one looks at it ".repeat(200);
    assert!(matches!(go(text), Err(AudioError::UnknownFormat(_))));
    let mut header_only = wav(48_000, 1, 1, 16, &s16(100, 1));
    header_only.truncate(30);
    assert!(go(header_only).is_err());
}

#[test]
fn limits_hold() {
    let bytes = wav(8_000, 1, 1, 16, &s16(16_000, 1));
    let limits = |f: fn(&mut Limits)| {
        let mut l = Limits::default();
        f(&mut l);
        decode_bytes(bytes.clone(), "a.wav", l)
    };
    assert!(matches!(limits(|l| l.duration_s = 1.5), Err(AudioError::TooLong { .. })));
    assert!(matches!(limits(|l| l.file_bytes = 1_000), Err(AudioError::TooLarge { .. })));
    assert!(matches!(limits(|l| l.decoded_bytes = 1_000), Err(AudioError::TooMuchMemory { .. })));
    assert!(matches!(go(wav(4_000, 1, 1, 16, &s16(100, 1))), Err(AudioError::Rate(4_000))));
    assert!(matches!(go(wav(48_000, 12, 1, 16, &s16(100, 12))), Err(AudioError::Channels(12))));
}

#[test]
fn an_unsupported_codec_is_named() {
    // An Ogg stream whose only page is an Opus header, as any browser's recorder writes it.
    let mut head = b"OpusHead".to_vec();
    head.extend([1, 2, 0x38, 1, 0x80, 0xbb, 0, 0, 0, 0, 0]);
    let mut tags = b"OpusTags".to_vec();
    tags.extend([0, 0, 0, 0, 0, 0, 0, 0]);
    let mut bytes = ogg_page(2, 0, &head);
    bytes.extend(ogg_page(0, 1, &tags));
    bytes.extend(ogg_page(4, 2, &[0xfc, 0xff, 0xfe]));
    match decode_bytes(bytes, "a.ogg", Limits::default()) {
        Err(AudioError::UnsupportedCodec(name)) => assert!(name.contains("Opus"), "{name}"),
        other => panic!("{:?}", other.map(|a| a.samples.len())),
    }
}

fn ogg_page(flags: u8, sequence: u32, packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend(960u64.to_le_bytes());
    page.extend(7u32.to_le_bytes());
    page.extend(sequence.to_le_bytes());
    page.extend([0; 4]);
    page.extend([1, packet.len() as u8]);
    page.extend(packet);
    let mut crc = 0u32;
    for byte in &page {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = (crc << 1) ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 };
        }
    }
    page[22..26].copy_from_slice(&crc.to_le_bytes());
    page
}

#[test]
fn five_channels_and_lfe_fold_to_stereo() {
    let frame: Vec<u8> = [0i16, 0, 0, 32_767, 0, 0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let audio = go(wav(48_000, 6, 1, 16, &frame.repeat(1_000))).unwrap();
    let mut stereo = Vec::new();
    audio.downmix.to_stereo(&audio.samples, &mut stereo);
    assert_eq!(stereo.len(), 2_000);
    assert!(stereo.iter().all(|x| *x == 0.0), "the effects channel stays out of the mix");
}

#[test]
fn blocks_join_to_the_whole() {
    let bytes = wav(48_000, 2, 1, 16, &s16(30_000, 2));
    let whole = go(bytes.clone()).unwrap();
    let mut decoder = Decoder::new(Box::new(Cursor::new(bytes)), "a.wav", Limits::default()).unwrap();
    let mut joined = Vec::new();
    while let Some(block) = decoder.next_block().unwrap() {
        joined.extend_from_slice(block);
    }
    assert_eq!(joined, whole.samples);
    assert!(decoder.next_block().unwrap().is_none(), "the end stays the end");
    assert_eq!(decoder.stated_duration_s(), Some(0.625));
}

#[test]
fn mutated_files_never_panic() {
    let good = wav(48_000, 2, 1, 16, &s16(2_000, 2));
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize
    };
    for _ in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..1 + next() % 6 {
            let at = if next() % 2 == 0 { next() % 48 } else { next() % bytes.len() };
            bytes[at] = next() as u8;
        }
        bytes.truncate(1 + next() % bytes.len());
        let _ = go(bytes);
    }
}
