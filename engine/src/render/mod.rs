//! Drawing: the puppet pass, composition and packing, as WGSL on a GPU or as their CPU twins.
//!
//! [`open`] chooses at start; both kinds of [`Drawer`] answer the same calls with pictures that agree within a
//! few code values (tested). Only this module names wgpu.

pub mod compose;
pub mod cpu;
mod cpu_drawer;
mod gpu;
pub mod raster;
#[cfg(test)]
mod tests;
pub mod yuv;

pub use compose::{DENOISED_CHANNELS, WORK_CHANNELS};
pub use cpu_drawer::CpuDrawer;
pub use gpu::{GpuDrawer, GpuInfo};
pub use yuv::Matrix;

use std::sync::Arc;

use crate::avatar::{Avatar, Image, PuppetFrame};

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("no graphics adapter was found; install a Vulkan driver (Debian: mesa-vulkan-drivers) or draw on the CPU")]
    NoAdapter,
    #[error("the graphics device cannot be opened: {0}")]
    Device(String),
    #[error("the graphics device was lost or failed: {0}")]
    Lost(String),
    #[error("a picture of {width}x{height} cannot be drawn: sides must be even, 16 to 4096 pixels")]
    Size { width: usize, height: usize },
    #[error("no avatar is set")]
    NoAvatar,
}

/// Pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

impl Size {
    pub fn new(width: usize, height: usize) -> Self {
        Size { width, height }
    }
    pub fn square(side: usize) -> Self {
        Size { width: side, height: side }
    }
    pub fn pixels(self) -> usize {
        self.width * self.height
    }
    fn check(self) -> Result<(), RenderError> {
        let fine = |v: usize| (16..=4096).contains(&v) && v.is_multiple_of(2);
        if fine(self.width) && fine(self.height) {
            Ok(())
        } else {
            Err(RenderError::Size { width: self.width, height: self.height })
        }
    }
}

/// What lies behind the figure.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Background {
    /// Transparent: the frame keeps its alpha.
    #[default]
    Clear,
    Colour([u8; 3]),
    /// Opaque, of the frame's own size; another size is ignored.
    Picture(Arc<Image>),
}

/// Which kind of drawing to try first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// A real GPU if there is one, else the CPU: software Vulkan is slower than our own rasteriser.
    #[default]
    Auto,
    /// Any Vulkan, Metal or DX12 adapter, software ones too.
    Gpu,
    Cpu,
}

/// Draws frames. One owner; every call returns when its result is there.
pub enum Drawer {
    Gpu(Box<GpuDrawer>),
    Cpu(Box<CpuDrawer>),
}

/// Opens a drawer. Never fails: without a usable adapter it warns and draws on the CPU.
pub fn open(prefer: Prefer) -> Drawer {
    if prefer == Prefer::Cpu {
        return Drawer::Cpu(Box::default());
    }
    match GpuDrawer::open(prefer == Prefer::Gpu) {
        Ok(gpu) => Drawer::Gpu(Box::new(gpu)),
        Err(e) => {
            if prefer == Prefer::Gpu {
                tracing::warn!("drawing on the CPU: {e}");
            } else {
                tracing::info!("drawing on the CPU: {e}");
            }
            Drawer::Cpu(Box::default())
        }
    }
}

impl Drawer {
    /// For `odori doctor`: what draws, and on what.
    pub fn description(&self) -> String {
        match self {
            Drawer::Gpu(g) => g.info().to_string(),
            Drawer::Cpu(_) => "CPU rasteriser (no graphics driver needed)".into(),
        }
    }

    pub fn is_gpu(&self) -> bool {
        matches!(self, Drawer::Gpu(_))
    }

    pub fn set_avatar(&mut self, avatar: &Avatar) {
        match self {
            Drawer::Gpu(g) => g.set_avatar(avatar),
            Drawer::Cpu(c) => c.set_avatar(avatar),
        }
    }

    /// Draws the puppet at `full` and gives it at `work`: work.height * work.width * 5 floats, premultiplied
    /// RGBA then validity, 0 to 1.
    pub fn draw_puppet(&mut self, frame: &PuppetFrame, full: Size, work: Size) -> Result<&[f32], RenderError> {
        full.check()?;
        work.check()?;
        match self {
            Drawer::Gpu(g) => g.draw_puppet(frame, full, work),
            Drawer::Cpu(c) => c.draw_puppet(frame, full, work),
        }
    }

    /// Finishes the frame of the last [`draw_puppet`](Self::draw_puppet): `denoised` is work *
    /// [`DENOISED_CHANNELS`] floats, `None` shows the puppet alone. Gives premultiplied RGBA,
    /// full.height * full.width * 4 bytes.
    pub fn compose(&mut self, denoised: Option<&[f32]>, background: &Background) -> Result<&[u8], RenderError> {
        match self {
            Drawer::Gpu(g) => g.compose(denoised, background),
            Drawer::Cpu(c) => c.compose(denoised, background),
        }
    }

    /// The last composed frame as I420, see [`yuv::pack_i420`]; `out` is resized.
    pub fn pack(&mut self, matrix: Matrix, matte: bool, out: &mut Vec<u8>) -> Result<(), RenderError> {
        match self {
            Drawer::Gpu(g) => g.pack(matrix, matte, out),
            Drawer::Cpu(c) => c.pack(matrix, matte, out),
        }
    }
}
