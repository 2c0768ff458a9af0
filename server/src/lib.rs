//! The odori server: HTTP, WebRTC, sessions, encoding and the command line.
//!
//! Read `live` first: the thread that owns a session. The server knows no tensors.

pub mod cli;
pub mod commands;
pub mod engine;
pub mod http;
pub mod intake;
pub mod library;
pub mod live;
pub mod media;
pub mod metrics;
pub mod rtc;
pub mod session;
pub mod sound;
pub mod stats;
