//! Drawing: the puppet pass, composition, and their CPU twins.

pub mod cpu;
pub mod raster;
