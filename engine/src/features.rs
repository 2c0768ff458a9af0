//! Causal log-mel and onset strength at 60 Hz.
