//! Sound that arrives from outside, waiting for the two threads that use it: bounded, newest wins.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use odori_engine::audio::{AudioError, Downmix, Intake};

/// What waits at most, in samples of each timeline: 200 ms.
const MODEL_BOUND: usize = 24_000 / 5;
const LISTEN_BOUND: usize = 2 * 48_000 / 5;

struct Waiting {
    intake: Intake,
    /// Mono 24 kHz.
    model: VecDeque<f32>,
    /// Interleaved stereo 48 kHz.
    listen: VecDeque<f32>,
    model_out: Vec<f32>,
    listen_out: Vec<f32>,
    arrived: Instant,
    dropped: usize,
}

/// A live source's sound. One pushes, two take.
pub struct LiveSound {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

impl LiveSound {
    /// For interleaved sound at this rate.
    ///
    /// # Errors
    /// If rate or channel count is out of range.
    pub fn new(rate_hz: u32, channels: usize) -> Result<Self, AudioError> {
        let waiting = Waiting {
            intake: Intake::new(rate_hz, Downmix::from_count(channels)?)?,
            model: VecDeque::with_capacity(MODEL_BOUND * 2),
            listen: VecDeque::with_capacity(LISTEN_BOUND * 2),
            model_out: Vec::new(),
            listen_out: Vec::new(),
            arrived: Instant::now(),
            dropped: 0,
        };
        Ok(LiveSound { waiting: Mutex::new(waiting), more: Condvar::new() })
    }

    /// Whole interleaved frames. What nobody took in 200 ms is dropped, oldest first.
    pub fn push(&self, interleaved: &[f32]) {
        let mut guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let w = &mut *guard;
        w.model_out.clear();
        w.listen_out.clear();
        w.intake.push(interleaved, &mut w.listen_out, &mut w.model_out);
        w.model.extend(w.model_out.iter());
        w.listen.extend(w.listen_out.iter());
        w.arrived = Instant::now();
        if w.model.len() > MODEL_BOUND {
            let excess = w.model.len() - MODEL_BOUND;
            w.model.drain(..excess);
            w.dropped += excess;
        }
        if w.listen.len() > LISTEN_BOUND {
            // Whole frames only.
            let excess = (w.listen.len() - LISTEN_BOUND).next_multiple_of(2);
            w.listen.drain(..excess);
        }
        drop(guard);
        self.more.notify_all();
    }

    /// Waits until `block` can be filled with mono sound, at most `patience`; the rest is then silence. Says when the
    /// sound came in, and how many samples were dropped since it was last asked.
    pub fn take_model(&self, block: &mut [f32], patience: Duration) -> (Instant, usize) {
        let guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut w, _) = self
            .more
            .wait_timeout_while(guard, patience, |w| w.model.len() < block.len())
            .unwrap_or_else(PoisonError::into_inner);
        let have = block.len().min(w.model.len());
        for (to, from) in block.iter_mut().zip(w.model.drain(..have)) {
            *to = from;
        }
        block[have..].fill(0.0);
        let arrived = if have == block.len() { w.arrived } else { Instant::now() };
        (arrived, std::mem::take(&mut w.dropped))
    }

    /// Waits until `block` can be filled with stereo sound, at most `patience`; `false` if it cannot.
    pub fn take_listen(&self, block: &mut [f32], patience: Duration) -> bool {
        let guard = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut w, _) = self
            .more
            .wait_timeout_while(guard, patience, |w| w.listen.len() < block.len())
            .unwrap_or_else(PoisonError::into_inner);
        if w.listen.len() < block.len() {
            return false;
        }
        for (to, from) in block.iter_mut().zip(w.listen.drain(..block.len())) {
            *to = from;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_200_ms_are_kept_and_the_rest_is_counted() {
        let sound = LiveSound::new(48_000, 2).unwrap();
        for _ in 0..100 {
            sound.push(&[0.1; 960]);
        }
        let mut block = [0.0; 800];
        let (_, dropped) = sound.take_model(&mut block, Duration::ZERO);
        assert!(dropped > 15_000, "{dropped}");
        assert!(block.iter().all(|s| (s - 0.1).abs() < 0.02));
    }

    #[test]
    fn a_source_that_says_nothing_is_silence() {
        let sound = LiveSound::new(44_100, 1).unwrap();
        let mut block = [1.0; 800];
        sound.take_model(&mut block, Duration::from_millis(5));
        assert!(block.iter().all(|s| *s == 0.0));
        assert!(!sound.take_listen(&mut [0.0; 1920], Duration::from_millis(1)));
    }
}
