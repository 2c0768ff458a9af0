//! Sound from any source to 24 kHz mono.
