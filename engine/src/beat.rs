//! Tempo, beat and bar phase, predicted ahead.
