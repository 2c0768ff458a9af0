//! What dances are judged by: a folder of songs with exact beats and of real dance, as
//! `python -m odori_training.eval_set` makes it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use odori_engine::audio::{Limits, SongReader};
use odori_engine::pose::{FRAME_DIM, Pose};
use odori_kernels::Weights;
use serde::Deserialize;

/// Songs longer than this are refused: everything is held in memory.
const MAX_SONG_S: f64 = 900.0;
const MAX_SONGS: usize = 200;

pub struct Song {
    pub name: String,
    pub path: PathBuf,
    /// 24 kHz mono.
    pub sound: Vec<f32>,
    /// Seconds, ascending.
    pub beats: Vec<f32>,
    pub bpm: f32,
    /// Against the tune's own tempo: 1 but for those made to see what tempo does.
    pub tempo: f32,
    /// Name and second of every part of the song, where known.
    pub sections: Vec<(String, f32)>,
}

impl Song {
    pub fn seconds(&self) -> f32 {
        self.sound.len() as f32 / 24_000.0
    }
}

/// What a dance of the set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Trained,
    HeldOut,
    /// Held-out clips laid on the beats of one of the songs: what the network was to learn.
    Choreography,
    /// What the first model made of a song, as its network gave it.
    First,
}

pub struct Dance {
    pub name: String,
    pub style: String,
    pub split: Split,
    pub poses: Vec<Pose>,
}

pub struct EvalSet {
    pub songs: Vec<Song>,
    pub dances: Vec<Dance>,
}

#[derive(Deserialize)]
struct Sidecar {
    beats: Vec<f32>,
    bpm: f32,
    tempo: f32,
    #[serde(default)]
    sections: Vec<(String, f32)>,
}

impl EvalSet {
    /// # Errors
    /// Names the file that is missing or wrong, and what makes it.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let songs = songs(folder)?;
        let path = folder.join("dance.safetensors");
        let bytes = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let dances = dances(&Weights::from_safetensors(&bytes)?).with_context(|| path.display().to_string())?;
        Ok(EvalSet { songs, dances })
    }
}

/// The songs of a set alone.
///
/// # Errors
/// Names the file that is missing or wrong, and what makes it.
pub fn songs(folder: &Path) -> anyhow::Result<Vec<Song>> {
    let shown = folder.display();
    let list = std::fs::read_dir(folder).with_context(|| format!("{shown} cannot be read"))?;
    let mut paths: Vec<_> = list.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "wav")).collect();
    paths.sort();
    if paths.is_empty() || paths.len() > MAX_SONGS {
        bail!("{shown} holds {} songs (NAME.wav beside NAME.json); make it with: python -m odori_training.eval_set --data DIR -o {shown}", paths.len());
    }
    paths.iter().map(|p| song(p).with_context(|| p.display().to_string())).collect()
}

fn song(path: &Path) -> anyhow::Result<Song> {
    let text = std::fs::read_to_string(path.with_extension("json")).context("its .json cannot be read")?;
    let Sidecar { beats, bpm, tempo, sections } = serde_json::from_str(&text).context("its .json does not say what it should")?;
    if beats.len() < 4 || beats.windows(2).any(|w| w[0] >= w[1] || !w[1].is_finite()) || !(20.0..400.0).contains(&bpm) || !(0.1..10.0).contains(&tempo) {
        bail!("its .json: four beats or more must ascend, bpm and tempo be sensible");
    }
    let file = std::fs::File::open(path)?;
    let mut reader = SongReader::new(Box::new(file), &path.display().to_string(), Limits::default())?;
    let (mut listen, mut sound) = (Vec::new(), Vec::new());
    while reader.next_into(&mut listen, &mut sound)? {
        listen.clear();
        if sound.len() as f64 > MAX_SONG_S * 24_000.0 {
            bail!("it is longer than {MAX_SONG_S} s");
        }
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Song { name, path: path.to_owned(), sound, beats, bpm, tempo, sections })
}

fn dances(file: &Weights) -> anyhow::Result<Vec<Dance>> {
    let words = |key: &str| -> anyhow::Result<Vec<String>> { Ok(serde_json::from_str(file.metadata(key).with_context(|| format!("no {key} in its metadata"))?)?) };
    let (names, styles) = (words("names")?, words("styles")?);
    let Some((&[_, FRAME_DIM], frames)) = file.get("frames") else { bail!("no frames of {FRAME_DIM} features") };
    let numbers = |key: &str, len: usize| match file.get(key) {
        Some((_, data)) if data.len() == len => Ok(data),
        _ => bail!("{key} should have {len} numbers"),
    };
    let (start, split) = (numbers("start", names.len() + 1)?, numbers("split", names.len())?);
    if styles.len() != names.len() {
        bail!("{} styles for {} names", styles.len(), names.len());
    }
    let (frames, _) = frames.as_chunks::<FRAME_DIM>();
    names
        .into_iter()
        .zip(styles)
        .enumerate()
        .map(|(i, (name, style))| {
            let part = frames.get(start[i] as usize..start[i + 1] as usize).context("start lies outside the frames")?;
            let split = match split[i] as u32 {
                0 => Split::Trained,
                1 => Split::HeldOut,
                2 => Split::Choreography,
                3 => Split::First,
                other => bail!("dance {name:?} is of split {other}, which is none of 0 to 3; make the set anew"),
            };
            Ok(Dance { name, style, split, poses: part.iter().map(Pose::from_features).collect() })
        })
        .collect()
}
