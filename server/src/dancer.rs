//! The engine's pipeline as a session's dancer: the one place where server and engine meet.

use std::sync::Arc;

use odori_engine::avatar::Avatar;
use odori_engine::dance::Direction;
use odori_engine::pipeline::{Pipeline, Settings, Stage};

use crate::built_in;
use crate::engine::Machine;
use crate::live::{AvatarEntry, Beat, DanceSettings, Dancer, DancerRequest, Engine, LiveError, LiveFrame};
use crate::session::secret_id;

/// Side of the live picture.
pub const LIVE_SIZE: u32 = 512;

struct PipelineDancer(Pipeline);

/// What the engine makes of a person's settings.
pub fn settings(d: &DanceSettings) -> Settings {
    let direction = Direction { hands: d.hands, head: d.head, footwork: d.footwork, facing_deg: d.facing };
    let mut settings = Settings { energy: d.energy, style: d.style, direction, pace: d.pace, ..Settings::default() };
    settings.sampling.seed = d.seed;
    settings
}

fn words(e: impl std::fmt::Display) -> LiveError {
    LiveError(e.to_string())
}

impl Dancer for PipelineDancer {
    fn push_audio(&mut self, mono: &[f32]) -> usize {
        self.0.push_audio(mono)
    }

    fn next_frame(&mut self, draw: bool) -> Result<Option<LiveFrame<'_>>, LiveError> {
        let frame = if draw { self.0.next_frame() } else { self.0.skip_frame() }.map_err(words)?;
        Ok(frame.map(|f| LiveFrame {
            rgba: f.rgba,
            width: f.width,
            height: f.height,
            media_samples: f.media_samples,
            beat: Beat { bpm: f.beat.bpm, beat_phase: f.beat.beat_phase, bar_phase: f.beat.bar_phase, confidence: f.beat.confidence },
            rung: f.rung.name(),
            stages: Stage::ALL.iter().zip(f.timings).map(|(s, t)| (s.name(), t.as_secs_f32() * 1e3)).collect(),
        }))
    }

    fn set(&mut self, d: &DanceSettings) {
        self.0.settings = settings(d);
    }

    fn discontinuity(&mut self) {
        self.0.discontinuity();
    }
}

/// The engine as the server sees it.
///
/// # Errors
/// Names the avatar or song file that cannot be used.
pub fn engine(machine: Arc<Machine>, avatars: &[std::path::PathBuf], songs: &[std::path::PathBuf]) -> anyhow::Result<Engine> {
    let styles = machine.styles().to_vec();
    let reader = machine.clone();
    let make = move |request: &DancerRequest| -> Result<Box<dyn Dancer>, LiveError> {
        let avatar = Avatar::from_bytes(&request.avatar.file).map_err(words)?;
        let pipeline = machine
            .pipeline(avatar, (request.width, request.height), settings(&request.settings), true)
            .map_err(|e| LiveError(format!("{e:#}")))?;
        Ok(Box::new(PipelineDancer(pipeline)))
    };
    let import = |name: &str, bytes: &[u8]| -> Result<AvatarEntry, LiveError> {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let avatar = built_in::read_avatar(bytes).map_err(|e| LiveError(format!("{name}: {e:#}")))?;
        let id = format!("{}-{}", built_in::id_of(stem), &secret_id()[..6]);
        built_in::entry(&id, stem, &avatar).map_err(|e| LiveError(format!("{name}: {e:#}")))
    };
    Ok(Engine::new(built_in::avatars(avatars)?, built_in::songs(songs)?, styles, (LIVE_SIZE, LIVE_SIZE), Box::new(make), Box::new(import)).with_prompts(Box::new(move |text| reader.prompts.read(text))))
}
