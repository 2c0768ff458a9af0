//! A beat clock that runs by itself and is corrected a little at each reading.
//!
//! The filter's reading jitters and may flip; a dancer must not. So the clock's phase moves on steadily, follows
//! small errors at a limited pace, and jumps only when a different reading has insisted. In silence it runs on at
//! the last tempo. It must not go backwards.

/// How long a contrary reading must insist before the clock jumps to it, in readings.
const INSIST: u32 = 15;
/// Beats of error that count as contrary.
const CONTRARY_BEATS: f64 = 0.14;
/// Relative tempo error that counts as contrary.
const CONTRARY_TEMPO: f64 = 0.06;

/// The clock. Its unit is the beat.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Beats since some beat; its fraction is the phase.
    pub beats: f64,
    pub bpm: f64,
    contrary: u32,
    /// A reading has been accepted at least once.
    pub running: bool,
    /// How often it jumped: what was learnt about single beats before may be off by one.
    pub jumps: u32,
}

impl Default for Clock {
    fn default() -> Self {
        Self { beats: 0.0, bpm: 120.0, contrary: 0, running: false, jumps: 0 }
    }
}

/// `x` wrapped to -0.5..0.5.
pub fn wrap(x: f64) -> f64 {
    x - x.round()
}

impl Clock {
    /// `seconds` later.
    pub fn advance(&mut self, seconds: f64) {
        self.beats += seconds * self.bpm / 60.0;
    }

    /// A reading (tempo, phase now), `seconds` after the last, and how far it is to be believed, 0..1.
    pub fn correct(&mut self, seconds: f64, bpm: f64, phase: f64, belief: f64) {
        let error = wrap(phase - self.beats);
        let tempo_error = bpm / self.bpm - 1.0;
        if !self.running {
            if belief > 0.10 {
                self.running = true;
                self.jump(bpm, error);
            }
            return;
        }
        let against = error.abs() > CONTRARY_BEATS || tempo_error.abs() > CONTRARY_TEMPO;
        if against && belief > 0.25 {
            self.contrary += 1;
            if self.contrary >= INSIST {
                self.contrary = 0;
                self.jump(bpm, error);
            }
        } else {
            self.contrary = self.contrary.saturating_sub(1);
            if !against {
                let pace = belief.min(1.0);
                // Less than a third of the step's own advance: the clock may slow down but not stop.
                let most = 0.3 * seconds * self.bpm / 60.0;
                self.beats += (0.19 * pace * error).clamp(-most, most);
                self.bpm *= 1.0 + 0.12 * pace * tempo_error;
            }
        }
    }

    /// Takes a reading as it is. The beat count never falls, so a beat is never told twice.
    fn jump(&mut self, bpm: f64, error: f64) {
        self.jumps += 1;
        self.bpm = bpm;
        self.beats += if error < -0.25 { error + 1.0 } else { error };
    }
}
