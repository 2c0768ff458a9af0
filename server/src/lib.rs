//! The server's parts, as a library: the binary is a thin front, and tests drive the same code.

pub mod bench;
pub mod built_in;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod dancer;
pub mod direction;
pub mod engine;
pub mod http;
pub mod live;
pub mod measure;
pub mod media;
pub mod rtc;
pub mod session;
pub mod vmc;
