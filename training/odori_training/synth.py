"""The synthesiser: songs as notes on a beat grid, rendered to sound whose beats are known exactly.

`random_song` writes a song, `render` plays it, `render_midi` plays a MIDI file with the same instruments.
Everything is deterministic per seed. It must not read the clock, files other than the MIDI given, or torch.

A beat is a quarter note and a bar is four beats. Positions and lengths of notes are in beats; swing and human
timing move notes, never the grid.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.signal import oaconvolve

from . import synth_drums as drums
from .synth_drums import Kit, band
from .synth_voices import note as voice_note

BEATS_PER_BAR = 4


@dataclass(frozen=True)
class Note:
    beat: float
    length: float  # beats
    pitch: int  # MIDI; on a drum track the General MIDI percussion number
    velocity: float  # 0..1


@dataclass(frozen=True, eq=False)
class Sample:
    """Recorded sound, mono at the song's rate: an instrument that sounds at `pitch`, or a loop of `beats` beats."""

    audio: np.ndarray  # float32 (samples,)
    pitch: int | None = None
    beats: int | None = None


@dataclass
class Track:
    """An instrument: a patch of synth_voices, or "drums", "riser", "impact"; "sample" and "loop" play their `sample`."""

    name: str
    patch: str
    gain: float = 1.0
    pan: float = 0.0
    reverb: float = 0.0
    delay: float = 0.0
    duck: float = 0.0  # how far the kick pushes it down, 0..1
    bright: float = 0.5
    drive: float = 0.0
    low_cut_hz: float = 0.0
    level: float | None = None  # RMS that the track's loud parts are brought to (before gain)
    notes: list[Note] = field(default_factory=list)
    # (beat, cutoff 0..1) points of a slow low-pass over the track; empty is open.
    filter: list[tuple[float, float]] = field(default_factory=list)
    sample: Sample | None = None


@dataclass(frozen=True)
class Section:
    name: str  # intro, verse, build, drop, break, outro
    bar: int
    bars: int


@dataclass
class SongSpec:
    bpm: float
    bars: int
    genre: str
    seed: int
    sections: list[Section]
    energy: np.ndarray  # (bars,) 0..1
    tracks: list[Track]
    kit: Kit = Kit()
    swing: float = 0.0  # 0..1; at 1 off-16ths are late by a triplet's worth
    human_ms: float = 0.0  # standard deviation of the players' timing
    reverb_s: float = 1.2
    beat_seconds: np.ndarray | None = None  # tempo map: the time of every beat; None is constant bpm
    hits: dict[int, np.ndarray] = field(default_factory=dict)  # recorded hits, by General MIDI number, instead of the kit's

    def beat_times(self) -> np.ndarray:
        """Seconds of beats 0 ..= bars * 4 (the last closes the last bar)."""
        count = self.bars * BEATS_PER_BAR + 1
        return np.arange(count) * (60.0 / self.bpm) if self.beat_seconds is None else self.beat_seconds[:count]


@dataclass
class Rendered:
    audio: np.ndarray  # float32 (samples,) or (2, samples)
    rate: int
    beats: np.ndarray  # seconds
    downbeats: np.ndarray  # seconds
    energy: np.ndarray  # (bars,)
    sections: list[Section]


def swing_position(beat: float, swing: float) -> float:
    """Moves an off-16th later: its pair of 16ths is split (1 + swing / 3) to (1 - swing / 3)."""
    cell = np.floor(beat * 2) / 2
    x = (beat - cell) * 2  # 0..1 within the eighth
    mid = 0.5 + swing / 6
    x = x * mid / 0.5 if x < 0.5 else mid + (x - 0.5) * (1 - mid) / 0.5
    return float(cell + x / 2)


def seconds_at(beat_times: np.ndarray, beat) -> np.ndarray:
    """Time of fractional beats; beyond the last beat the last tempo goes on."""
    beat = np.asarray(beat, float)
    last = len(beat_times) - 1
    over = np.maximum(beat - last, 0) * (beat_times[-1] - beat_times[-2])
    return np.interp(beat, np.arange(len(beat_times)), beat_times) + over


def _add(bus: np.ndarray, at: int, x: np.ndarray, gain) -> None:
    if at < 0:
        x, at = x[:, -at:], 0
    n = min(x.shape[1], bus.shape[1] - at)
    if n > 0:
        bus[:, at : at + n] += x[:, :n] * gain


def _pan(x: np.ndarray, pan: float, channels: int) -> np.ndarray:
    """Mono (samples,) to (channels, samples), equal power."""
    if channels == 1:
        return x[None]
    angle = (pan + 1) * np.pi / 4
    return np.stack([x * np.float32(np.cos(angle) * 1.414), x * np.float32(np.sin(angle) * 1.414)])


def _riser(seconds: float, rate: int, seed: int) -> np.ndarray:
    """Noise that opens and grows, for the end of a build."""
    n = max(int(seconds * rate), 8)
    noise = np.random.default_rng(seed).standard_normal(n, dtype=np.float32)
    x = np.linspace(0, 1, n, dtype=np.float32)
    low, mid, high = band(noise, rate, 300, 900), band(noise, rate, 900, 3000), band(noise, rate, 3000, 9000)
    return 0.5 * (low * (1 - x) + 1.2 * mid * x * (1.3 - x) * 2 + high * x**2) * x**1.5


def _impact(rate: int, seed: int) -> np.ndarray:
    t = np.arange(int(1.6 * rate), dtype=np.float32) / rate
    noise = np.random.default_rng(seed).standard_normal(len(t), dtype=np.float32)
    boom = np.sin(2 * np.pi * (42 * t + 4 * (1 - np.exp(-t / 0.06))), dtype=np.float32) * np.exp(-t / 0.45)
    return boom + 0.35 * band(noise, rate, 400, 7000) * np.exp(-t / 0.3)


def _drum_bus(spec: SongSpec, track: Track, times, bus: np.ndarray, send: np.ndarray, rate: int) -> None:
    channels = bus.shape[0]
    hits: dict[int, np.ndarray] = {}
    for note, at in zip(track.notes, times, strict=True):
        if note.pitch not in hits:
            number = drums.ALIASES.get(note.pitch, note.pitch)
            hit = spec.hits[number] if number in spec.hits else drums.drum(spec.kit, note.pitch, rate)
            hits[note.pitch] = _pan(hit, drums.PAN.get(number, 0.0), channels)
        hit, at = hits[note.pitch], int(round(at * rate))
        gain = np.float32(DRUM_LEVEL.get(drums.ALIASES.get(note.pitch, note.pitch), 0.4) * note.velocity**1.3)
        _add(bus, at, hit, gain * np.float32(track.gain))
        room = drums.ROOM.get(note.pitch, 0.2) * track.reverb
        if room > 0:
            _add(send, at, hit, gain * np.float32(track.gain * room))


DRUM_LEVEL = {
    drums.KICK: 1.0, drums.SNARE: 0.62, drums.CLAP: 0.5, drums.RIM: 0.4, drums.HAT: 0.27, drums.PEDAL_HAT: 0.22,
    drums.OPEN_HAT: 0.27, drums.CRASH: 0.4, drums.RIDE: 0.25, drums.TOM_LOW: 0.6, drums.TOM_MID: 0.55,
    drums.TOM_HIGH: 0.5, drums.SHAKER: 0.2, drums.CABASA: 0.2, drums.TAMBOURINE: 0.22, drums.COWBELL: 0.25,
    drums.CONGA_HIGH: 0.42, drums.CONGA_LOW: 0.45, drums.CONGA_MUTE: 0.35, drums.CLAVE: 0.3,
}  # fmt: skip


def _note_bus(spec: SongSpec, track: Track, times, ends, bus: np.ndarray, rate: int) -> None:
    channels = bus.shape[0]
    cache: dict = {}
    for note, at, end in zip(track.notes, times, ends, strict=True):
        if track.patch == "riser":
            _add(bus, int(round(at * rate)), _pan(_riser(end - at, rate, note.pitch), 0.0, channels), np.float32(note.velocity * track.gain))
            continue
        gate = max(round(max(end - at, 0.03) * 40) / 40, 0.04)
        level = round(note.velocity * 4) / 4
        key = (note.pitch, gate, level)
        if key not in cache:
            bright = float(np.clip(track.bright + 0.35 * (level - 0.75), 0, 1))
            if track.patch == "impact":
                x = _pan(_impact(rate, note.pitch), 0.0, channels)
            elif track.patch == "sample":
                x = _pan(_sampled(track.sample, note.pitch, gate, rate), 0.0, channels)
            else:
                x = voice_note(track.patch, note.pitch, gate, bright, rate, channels)
            if track.pan and channels == 2:
                x = x * np.float32(1.414) * np.array([[np.cos((track.pan + 1) * np.pi / 4)], [np.sin((track.pan + 1) * np.pi / 4)]], np.float32)
            cache[key] = x
        _add(bus, int(round(at * rate)), cache[key], np.float32(note.velocity * track.gain))


def _sampled(sample: Sample, pitch: int, gate: float, rate: int) -> np.ndarray:
    """The sample at a pitch, moved by octaves to within half of one of its own, for `gate` seconds."""
    semitones = (pitch - sample.pitch + 6) % 12 - 6
    at = np.arange(0, len(sample.audio) - 1, 2 ** (semitones / 12))[: int(gate * rate)]
    x = np.interp(at, np.arange(len(sample.audio)), sample.audio).astype(np.float32)
    n = min(len(x), int(0.012 * rate))
    x[len(x) - n :] *= np.linspace(1, 0, n, dtype=np.float32)
    return x


def _loop_bus(track: Track, beat_times, bus: np.ndarray, rate: int) -> None:
    """A loop cut into sixteenths, each played where the song has it, so that it follows any tempo; it begins anew with
    every stretch of notes that touch one another."""
    sample, begins, goes_on = track.sample, 0.0, -1.0
    sixteenths = sample.beats * 4
    edges = np.round(np.arange(sixteenths + 1) * len(sample.audio) / sixteenths).astype(int)
    rise, fall = int(0.001 * rate), int(0.006 * rate)
    for note in sorted(track.notes, key=lambda n: n.beat):
        begins = begins if abs(note.beat - goes_on) < 1e-6 else note.beat
        goes_on = note.beat + note.length
        steps = np.arange(note.beat, goes_on - 1e-6, 0.25)
        for beat, at, end in zip(steps, seconds_at(beat_times, steps), seconds_at(beat_times, steps + 0.25), strict=True):
            k = int(round((beat - begins) * 4)) % sixteenths
            x, long = sample.audio[edges[k] : edges[k + 1]], int((end - at) * rate) + fall
            if len(x) < long:  # slower than it was: its end goes to and fro, fading
                tail = x[len(x) // 2 :]
                times = (long - len(x)) // max(len(tail), 1) + 1
                more = np.concatenate([tail[::-1] if i % 2 == 0 else tail for i in range(times)])[: long - len(x)]
                x = np.concatenate([x, more * np.linspace(0.8, 0.2, len(more), dtype=np.float32)])
            x = x[:long].copy()
            x[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
            x[-fall:] *= np.linspace(1, 0, fall, dtype=np.float32)
            _add(bus, int(round(at * rate)), _pan(x, track.pan, bus.shape[0]), np.float32(note.velocity * track.gain))


def _duck_curve(kicks: np.ndarray, samples: int, rate: int, recover_s: float) -> np.ndarray:
    """0 at a kick, back to 1 after recover_s: the pumping of a side-chain compressor."""
    curve = np.ones(samples, np.float32)
    n = int(recover_s * rate)
    shape = (1 - np.cos(np.pi * np.linspace(0, 1, n))) * 0.5
    shape[: int(0.004 * rate)] = np.linspace(1, shape[int(0.004 * rate)], int(0.004 * rate))
    for at in (kicks * rate).astype(int):
        if 0 <= at < samples:
            m = min(n, samples - at)
            curve[at : at + m] = np.minimum(curve[at : at + m], shape[:m])
    return curve


def _swept(bus: np.ndarray, points, beat_times, rate: int) -> np.ndarray:
    """Low-pass automation by cross-fading between the bus and three darker copies of it."""
    n = bus.shape[1]
    x, y = seconds_at(beat_times, [p[0] for p in points]) * rate, [p[1] for p in points]
    level = np.interp(np.arange(n), x, y).astype(np.float32) * 3
    copies = [np.stack([band(c, rate, None, hz) for c in bus]) for hz in (220, 800, 2600)] + [bus]
    return sum(c * np.clip(1 - np.abs(level - k), 0, 1) for k, c in enumerate(copies))


def _reverb(send: np.ndarray, rate: int, seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng((seed, 5))
    t = np.arange(int(seconds * rate), dtype=np.float32) / rate
    out = np.empty_like(send)
    for c in range(send.shape[0]):
        ir = rng.standard_normal(len(t), dtype=np.float32) * np.exp(-t * (6.9 / seconds)) * np.minimum(t / 0.012, 1)
        ir = band(ir, rate, 250, 7000, 1)
        out[c] = oaconvolve(send[c], ir / np.sqrt(np.sum(ir**2)))[: send.shape[1]]
    return out


def _echo(send: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    """Ping-pong echo: four repeats, each darker by nothing and quieter by half."""
    out = np.zeros_like(send)
    for k in range(1, 5):
        shift = int(k * seconds * rate)
        if shift >= send.shape[1]:
            break
        source = send if send.shape[0] == 1 else (send[::-1] if k % 2 else send) * np.array([[1.0], [0.45]] if k % 2 else [[0.45], [1.0]], np.float32)
        out[:, shift:] += source[:, :-shift] * np.float32(0.5**k * 1.2)
    return out


def render(spec: SongSpec, rate: int = 24000, stereo: bool = False, tail_s: float = 0.0, loudness: float = 0.2, ceiling: float = 0.97) -> Rendered:
    """Plays a song. loudness is the RMS that the loud parts are brought to before the soft limiter, ceiling its top."""
    beat_times = spec.beat_times()
    channels = 2 if stereo else 1
    samples = int(round((beat_times[-1] + tail_s) * rate))
    shape = (channels, samples)
    mix, reverb_send, delay_send = (np.zeros(shape, np.float32) for _ in range(3))
    rng = np.random.default_rng((spec.seed, 11))

    kicks = np.concatenate(
        [seconds_at(beat_times, [n.beat for n in t.notes if n.pitch in (35, 36)]) for t in spec.tracks if t.patch == "drums" and t.notes] or [np.zeros(0)]
    )
    recover = min(0.9 * 60 / spec.bpm, 0.42)
    duck = _duck_curve(kicks, samples, rate, recover) if any(t.duck for t in spec.tracks) else None

    for track in spec.tracks:
        if not track.notes:
            continue
        starts = np.array([swing_position(n.beat, spec.swing) if spec.swing else n.beat for n in track.notes])
        times, ends = seconds_at(beat_times, starts), seconds_at(beat_times, starts + [n.length for n in track.notes])
        if spec.human_ms:
            jitter = np.clip(rng.standard_normal(len(times)), -2, 2) * spec.human_ms / 1000
            times, ends = times + jitter, ends + jitter
        bus = np.zeros(shape, np.float32)
        if track.patch == "drums":
            drum_send = np.zeros(shape, np.float32)
            _drum_bus(spec, track, times, bus, drum_send, rate)
        elif track.patch == "loop":
            _loop_bus(track, beat_times, bus, rate)
        else:
            _note_bus(spec, track, times, ends, bus, rate)
        if track.level is not None:
            leveled = np.float32(track.level / (_loud_rms(bus, rate) + 1e-6))
            bus *= leveled
            if track.patch == "drums":
                drum_send *= leveled
        if track.filter:
            bus = _swept(bus, track.filter, beat_times, rate)
        if track.low_cut_hz:
            bus = np.stack([band(c, rate, track.low_cut_hz, None) for c in bus])
        if track.drive:
            bus = np.tanh(bus * (1 + 3 * track.drive)) / (1 + 1.5 * track.drive)
        if track.duck and duck is not None:
            bus *= 1 - track.duck * (1 - duck)
        mix += bus
        if track.patch == "drums":
            reverb_send += drum_send
        elif track.reverb:
            reverb_send += bus * np.float32(track.reverb)
        if track.delay:
            delay_send += bus * np.float32(track.delay)

    if delay_send.any():
        echo = _echo(delay_send, rate, 0.75 * 60 / spec.bpm)
        mix += echo
        reverb_send += 0.3 * echo
    if reverb_send.any():
        mix += _reverb(reverb_send, rate, spec.reverb_s, spec.seed)

    mix *= np.float32(loudness / (_loud_rms(mix, rate) + 1e-9))
    mix = _limit(mix, ceiling)
    beats = beat_times[:-1]
    return Rendered(mix if stereo else mix[0], rate, beats, beats[::BEATS_PER_BAR], np.asarray(spec.energy, np.float32), spec.sections)


def _loud_rms(x: np.ndarray, rate: int) -> float:
    """The RMS of the loud parts: of 0.4 s blocks that are not silent, the 80th percentile."""
    block = max(int(0.4 * rate), 1)
    starts = np.arange(0, x.shape[1], block)
    power = np.add.reduceat((x**2).mean(0), starts) / np.diff(np.append(starts, x.shape[1]))
    power = power[power > 1e-7]
    return float(np.sqrt(np.quantile(power, 0.8))) if len(power) else 0.0


def _limit(x: np.ndarray, ceiling: float) -> np.ndarray:
    """Linear below 0.6 of the ceiling, then bends smoothly towards it."""
    knee, room = np.float32(0.6 * ceiling), np.float32(0.4 * ceiling)
    magnitude = np.abs(x)
    bent = room * np.tanh(np.maximum(magnitude - knee, 0) / room)
    return (np.sign(x) * (np.minimum(magnitude, knee) + bent)).astype(np.float32)


def random_song(rng: np.random.Generator, bpm: float, bars: int, genre: str | None = None) -> SongSpec:
    """A song of `bars` bars at `bpm`; genre None draws one (see synth_genres.GENRES). 4/4 throughout."""
    from .synth_genres import compose

    return compose(rng, bpm, bars, genre)


# --- MIDI ---------------------------------------------------------------------------------------------------


def _program_patch(program: int, pitch_hint: float) -> str:
    """The General MIDI program's nearest patch."""
    table = [
        (4, "piano"), (8, "epiano"), (16, "lead_bell"), (24, "organ"), (28, "guitar"), (29, "guitar_mute"), (32, "guitar_drive"),
        (36, "bass_finger"), (38, "bass_slap"), (40, "bass_saw"), (52, "strings"), (55, "lead_voice"), (56, "stab"), (64, "brass"),
        (72, "brass"), (80, "lead_flute"), (81, "lead_square"), (88, "lead_saw"), (96, "pad"), (104, "lead_bell"), (112, "guitar"),
        (120, "lead_bell"), (128, "pluck"),
    ]  # fmt: skip
    name = next(name for limit, name in table if program < limit)
    return "bass_finger" if pitch_hint < 42 and not name.startswith("bass") else name


def midi_song(path, seed: int = 0, kit: Kit | None = None, max_seconds: float | None = None) -> SongSpec:
    """A MIDI file as a song with its exact tempo map. Raises ValueError for files that are not 4/4 PPQ music."""
    import mido

    midi = mido.MidiFile(path, clip=True)
    if midi.type == 2 or midi.ticks_per_beat <= 0:
        raise ValueError(f"{path}: only type 0 and 1 MIDI files with ticks per beat are supported")
    ppq = midi.ticks_per_beat
    tempos, notes, held, programs, clock = [(0, 500000)], {}, {}, {}, 0
    for message in mido.merge_tracks(midi.tracks):
        clock += message.time
        if message.type == "set_tempo":
            tempos.append((clock, message.tempo))
        elif message.type == "time_signature" and message.numerator not in (2, 4, 8):
            raise ValueError(f"{path}: {message.numerator}/{message.denominator} time; only 4/4 is supported")
        elif message.type == "program_change":
            programs[message.channel] = message.program
        elif message.type in ("note_on", "note_off"):
            key = (message.channel, message.note)
            if key in held:
                start, velocity, program = held.pop(key)
                notes.setdefault((message.channel, program), []).append(Note(start / ppq, max(clock - start, 1) / ppq, message.note, velocity / 127))
            if message.type == "note_on" and message.velocity:
                held[key] = (clock, message.velocity, programs.get(message.channel, 0))
    for (channel, pitch), (start, velocity, program) in held.items():
        notes.setdefault((channel, program), []).append(Note(start / ppq, max(clock - start, 1) / ppq, pitch, velocity / 127))
    if not notes:
        raise ValueError(f"{path}: the file has no notes")

    last = max(n.beat + n.length for group in notes.values() for n in group)
    bars = int(np.ceil(last / BEATS_PER_BAR))
    ticks = np.arange(bars * BEATS_PER_BAR + 1) * ppq
    at, seconds = [t for t, _ in tempos], [0.0]
    for (t0, us), (t1, _) in zip(tempos, tempos[1:], strict=False):
        seconds.append(seconds[-1] + (t1 - t0) / ppq * us / 1e6)
    index = np.searchsorted(at, ticks, "right") - 1
    beat_seconds = np.array(seconds)[index] + (ticks - np.array(at)[index]) / ppq * np.array([us for _, us in tempos])[index] / 1e6
    if max_seconds is not None:
        bars = min(bars, max(int(np.searchsorted(beat_seconds, max_seconds) // BEATS_PER_BAR), 1))
        beat_seconds = beat_seconds[: bars * BEATS_PER_BAR + 1]
    bpm = 60 / np.median(np.diff(beat_seconds))

    tracks = []
    for (channel, program), group in sorted(notes.items()):
        group = [n for n in group if n.beat < bars * BEATS_PER_BAR]
        if not group:
            continue
        if channel == 9:
            tracks.append(Track("drums", "drums", reverb=0.25, level=0.3, notes=group))
            continue
        pitches = np.array([n.pitch for n in group])
        name = _program_patch(program, float(np.median(pitches)))
        bass = name.startswith("bass")
        tracks.append(Track(f"channel {channel}", name, level=0.2 if bass else 0.09, pan=0 if bass else ((channel * 37) % 9 - 4) / 10, reverb=0 if bass else 0.18, notes=[replace(n, pitch=int(np.clip(n.pitch, 24, 108))) for n in group]))  # fmt: skip
    density = np.bincount([int(n.beat) // BEATS_PER_BAR for t in tracks for n in t.notes], weights=[n.velocity for t in tracks for n in t.notes], minlength=bars)[:bars]
    energy = np.clip(density / (np.quantile(density, 0.9) + 1e-6), 0, 1)
    rng = np.random.default_rng(seed)
    kit = kit or Kit(drums.FLAVOURS[rng.integers(3)], tune=rng.uniform(0.92, 1.08), decay=rng.uniform(0.8, 1.2), seed=seed)
    return SongSpec(float(bpm), bars, "midi", seed, [Section("verse", 0, bars)], energy, tracks, kit, beat_seconds=beat_seconds)


def render_midi(path, rate: int = 24000, stereo: bool = False, seed: int = 0, kit: Kit | None = None, max_seconds: float | None = None) -> Rendered:
    """Plays a MIDI file through the instruments; beats are the file's own quarter notes, downbeats every fourth."""
    return render(midi_song(path, seed, kit, max_seconds), rate, stereo)
