"""The synthesiser's promises: exact beats, determinism, speed, and a MIDI file's own tempo map."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from odori_training import music, synth  # noqa: E402
from odori_training.synth_genres import GENRES  # noqa: E402
from odori_training.synth_voices import PATCHES, note  # noqa: E402


def test_same_seed_same_song():
    a, b = (synth.render(synth.random_song(np.random.default_rng(5), 121.0, 8)) for _ in range(2))
    assert np.array_equal(a.audio, b.audio)
    c = synth.render(synth.random_song(np.random.default_rng(6), 121.0, 8))
    assert not np.array_equal(a.audio, c.audio)


@pytest.mark.parametrize("genre", GENRES)
def test_every_genre_renders_clean(genre):
    spec = synth.random_song(np.random.default_rng(1), 110.0, 12, genre)
    out = synth.render(spec)
    assert out.audio.dtype == np.float32 and np.isfinite(out.audio).all()
    assert 0.3 < np.abs(out.audio).max() < 0.98
    assert len(out.beats) == 48 and len(out.downbeats) == 12 and len(out.energy) == 12
    assert abs(len(out.audio) / out.rate - 48 * 60 / 110) < 1e-3
    assert sum(s.bars for s in out.sections) == 12


def test_kicks_lie_on_the_beats():
    kick = synth.Track("drums", "drums", notes=[synth.Note(k, 0.25, 36, 1.0) for k in range(16)])
    spec = synth.SongSpec(127.0, 4, "test", 0, [synth.Section("drop", 0, 4)], np.ones(4), [kick])
    out = synth.render(spec)
    for beat in out.beats:
        at = int(round(beat * out.rate))
        assert np.abs(out.audio[max(at - 240, 0) : max(at - 1, 1)]).max() < 0.1
        assert np.abs(out.audio[at : at + 240]).max() > 0.4


def test_a_loop_follows_the_songs_tempo():
    rate, bpm = 24000, 100.0
    sound = np.zeros(int(4 * 60 / bpm * rate), np.float32)
    for k in range(4):
        at = int(k * 60 / bpm * rate)
        sound[at : at + 200] = 1.0
    for faster in (0.75, 1.0, 1.4):
        loop = synth.Track("loop", "loop", notes=[synth.Note(bar * 4, 4, 0, 1.0) for bar in range(4)], sample=synth.Sample(sound, beats=4))
        beats = 60 / bpm / faster * np.arange(17) * (1 + 0.002 * np.arange(17))
        spec = synth.SongSpec(bpm * faster, 4, "test", 0, [synth.Section("drop", 0, 4)], np.ones(4), [loop], beat_seconds=beats)
        out = synth.render(spec)
        assert len(out.beats) == 16
        for beat in out.beats:
            at = int(round(beat * rate))
            assert np.abs(out.audio[max(at - 200, 0) : max(at - 2, 1)]).max() < 0.1
            assert np.abs(out.audio[at : at + 240]).max() > 0.4


def test_a_sample_sounds_at_the_pitch_of_the_note():
    rate = 24000
    sample = synth.Sample(np.sin(2 * np.pi * 110 * np.arange(rate) / rate).astype(np.float32), pitch=45)
    for pitch, hz in ((45, 110), (48, 130.8), (57, 110), (43, 98)):
        x = synth._sampled(sample, pitch, 0.5, rate)
        assert len(x) == rate // 2
        assert np.argmax(np.abs(np.fft.rfft(x))) * 2 == pytest.approx(hz, abs=2)


def test_mp3_and_people_keep_the_time():
    rng = np.random.default_rng(3)
    x = np.zeros(24000 * 6, np.float32)
    x[::6000] = 0.8
    x = np.convolve(x, rng.standard_normal(240) * np.exp(-np.arange(240) / 60))[: len(x)].astype(np.float32) * 0.3
    for _ in range(8):
        y = music.mp3(x, rng)
        assert len(y) == len(x) and not np.array_equal(x, y)
        lags = [np.dot(x[3000:-3000], y[3000 + d : len(y) - 3000 + d]) for d in range(-300, 301)]
        assert abs(int(np.argmax(lags)) - 300) <= 2
        assert len(music.spoil(x, rng)) == len(x)
    people = music.crowd(rng, 24000 * 4)
    assert len(people) == 24000 * 4 and np.sqrt(np.mean(people**2)) == pytest.approx(0.1, rel=0.01)


def test_swing_moves_only_off_sixteenths():
    assert synth.swing_position(3.0, 1.0) == 3.0
    assert synth.swing_position(3.5, 1.0) == 3.5
    assert synth.swing_position(3.25, 1.0) == pytest.approx(3 + 1 / 3)


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.parametrize("pitch", [24, 60, 100])
def test_every_patch_plays_every_register(patch, pitch):
    x = note(patch, pitch, 0.3, 0.7, 24000, 2)
    assert x.shape[0] == 2 and x.dtype == np.float32 and np.isfinite(x).all()
    assert 0.02 < np.abs(x).max() < 3 and np.abs(x[:, -1]).max() < 1e-3


def test_faster_than_sixty_times_real_time():
    start = time.process_time()
    out = synth.render(synth.random_song(np.random.default_rng(2), 120.0, 24, "house"))
    assert (time.process_time() - start) * 60 < len(out.audio) / out.rate


def test_midi_keeps_its_tempo_map(tmp_path):
    mido = pytest.importorskip("mido")
    midi, track = mido.MidiFile(ticks_per_beat=480), mido.MidiTrack()
    midi.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=500000))
    for k in range(8):
        if k == 4:
            track.append(mido.MetaMessage("set_tempo", tempo=600000))
        track.append(mido.Message("note_on", channel=9, note=36, velocity=100))
        track.append(mido.Message("note_off", channel=9, note=36, time=480))
    midi.save(tmp_path / "a.mid")
    out = synth.render_midi(tmp_path / "a.mid")
    assert np.allclose(out.beats, [0, 0.5, 1.0, 1.5, 2.0, 2.6, 3.2, 3.8])
    assert np.allclose(out.downbeats, [0, 2.0])


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError):
        synth.random_song(np.random.default_rng(0), 10.0, 8)
    with pytest.raises(ValueError):
        synth.random_song(np.random.default_rng(0), 120.0, 8, "waltz")
