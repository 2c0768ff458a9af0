//! Whole-system tests, named after behaviour. Those of the engine are here in `tests/`; those that need a browser or
//! another WebRTC stack are in `system/` and `peers/`, started by `run`.
